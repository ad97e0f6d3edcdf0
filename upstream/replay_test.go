package upstream

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// lender is a client's body that takes every piece back at the next call, by overwriting it.
type lender struct {
	pieces [][]byte
	err    error // after the pieces; nil means io.EOF
	lent   []byte
	pulled int
	ready  bool
	broken bool // it was interrupted
	closes int
}

func (l *lender) Next() ([]byte, error) {
	for i := range l.lent {
		l.lent[i] = 0xFF
	}
	l.lent = nil
	if len(l.pieces) == 0 {
		if l.err != nil {
			return nil, l.err
		}
		return nil, io.EOF
	}
	l.lent = bytes.Clone(l.pieces[0])
	l.pieces = l.pieces[1:]
	l.pulled++
	return l.lent, nil
}
func (l *lender) Close() error { l.closes++; return nil }
func (l *lender) Ready() bool  { return l.ready }
func (l *lender) Interrupt()   { l.broken = true }

// cut cuts content into pieces of at most size bytes.
func cut(content []byte, size func() int) (pieces [][]byte) {
	for len(content) > 0 {
		n := min(len(content), max(1, size()))
		pieces = append(pieces, content[:n])
		content = content[n:]
	}
	return pieces
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i/251)
	}
	return b
}

// TestReplay sends bodies of all sizes in pieces of all sizes, known length or not, several times, each but the last broken off somewhere, and
// compares what every try got. A body is replayable as long as all that was pulled fits the bound.
func TestReplay(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var r replayBody
	replays, losses := 0, 0
	for round := range 800 {
		store := &bodyStore{limit: 1 << 20}
		content := pattern(rnd.IntN(1 << (1 + rnd.UintN(17))))
		pieceSize := 1 << rnd.UintN(15)
		size := func() int { return 1 + rnd.IntN(pieceSize) }
		source := &lender{pieces: cut(content, size)}
		length := int64(len(content))
		if round%2 == 0 || length == 0 {
			length = message.LengthUnknown
		}
		const bound = 64 << 10
		r.open(source, length, store, bound)
		for tries := 0; ; tries++ {
			whole := tries == 3
			var got []byte
			for whole || rnd.IntN(8) != 0 {
				piece, err := r.Next()
				if err == io.EOF {
					whole = true
					break
				}
				if err != nil || len(piece) == 0 {
					t.Fatalf("round %d: piece of %d bytes, error %v", round, len(piece), err)
				}
				got = append(got, piece...)
			}
			if !bytes.HasPrefix(content, got) || whole && len(got) != len(content) {
				t.Fatalf("round %d, try %d: got %d bytes of %d that differ", round, tries, len(got), len(content))
			}
			if whole {
				break
			}
			if !r.replayable(false) {
				losses++
				if len(got) <= bound && length <= bound {
					t.Fatalf("round %d: a body of %d bytes (length %d) is lost after %d", round, len(content), length, len(got))
				}
				break
			}
			replays++
			r.rewind()
		}
		if r.kept > bound {
			t.Fatalf("round %d: %d bytes are kept", round, r.kept)
		}
		r.close()
		if store.held.Load() != 0 || source.closes != 0 {
			t.Fatalf("round %d: %d bytes still held, source closed %d times", round, store.held.Load(), source.closes)
		}
	}
	if replays < 300 || losses < 10 {
		t.Errorf("only %d replays and %d losses were tried", replays, losses)
	}
}

// TestReplayOfOnePiece: the usual body, one piece of known length, is passed on and repeated without a copy and without asking the client again.
func TestReplayOfOnePiece(t *testing.T) {
	source := &lender{pieces: [][]byte{pattern(100)}}
	store := &bodyStore{limit: 0} // no copy is possible
	var r replayBody
	r.open(source, 100, store, 64<<10)
	for range 3 {
		piece, err := r.Next()
		if err != nil || !bytes.Equal(piece, pattern(100)) {
			t.Fatalf("%d bytes, error %v", len(piece), err)
		}
		if _, err := r.Next(); err != io.EOF {
			t.Fatalf("after the piece: %v, want EOF", err)
		}
		if !r.replayable(false) {
			t.Fatal("not replayable")
		}
		r.rewind()
	}
	if source.pulled != 1 || store.held.Load() != 0 {
		t.Errorf("pulled %d times, %d bytes held: want one pull and no copy", source.pulled, store.held.Load())
	}
}

// TestReplayBounds is case 57 of the security list: what is kept is bounded for one body and for all together, and counted.
func TestReplayBounds(t *testing.T) {
	sized := func(n int) func() int { return func() int { return n } }
	drain := func(r *replayBody) (n int) {
		for {
			piece, err := r.Next()
			if err != nil {
				return n
			}
			n += len(piece)
		}
	}
	t.Run("one body", func(t *testing.T) {
		for _, test := range []struct {
			length int
			known  bool
			kept   bool
		}{{65536, true, true}, {65537, true, false}, {65536, false, true}, {65537, false, false}, {1 << 20, false, false}} {
			store := &bodyStore{limit: 1 << 30}
			var r replayBody
			length := int64(message.LengthUnknown)
			if test.known {
				length = int64(test.length)
			}
			r.open(&lender{pieces: cut(pattern(test.length), sized(1000))}, length, store, 65536)
			if n := drain(&r); n != test.length || r.replayable(false) != test.kept || store.held.Load() > 65536 {
				t.Errorf("%d of %d bytes passed (known %v), replayable %v, %d held", n, test.length, test.known, r.replayable(false), store.held.Load())
			}
			if !test.kept && store.held.Load() != 0 {
				t.Errorf("%d bytes held of a body that cannot be repeated", store.held.Load())
			}
			r.close()
		}
	})
	t.Run("all bodies", func(t *testing.T) {
		store := &bodyStore{limit: 4 * blockSize}
		bodies := make([]replayBody, 3)
		kept := 0
		for i := range bodies {
			bodies[i].open(&lender{pieces: cut(pattern(2*blockSize), sized(1000))}, message.LengthUnknown, store, 65536)
			if n := drain(&bodies[i]); n != 2*blockSize {
				t.Errorf("body %d passed %d bytes", i, n)
			}
			if bodies[i].replayable(false) {
				kept++
			}
		}
		if kept != 2 || store.held.Load() != 4*blockSize || store.dropped.Load() != 1 {
			t.Errorf("%d bodies kept in %d bytes, %d dropped; want 2 in %d, 1 dropped", kept, store.held.Load(), store.dropped.Load(), 4*blockSize)
		}
		for i := range bodies {
			bodies[i].close()
		}
		if store.held.Load() != 0 {
			t.Errorf("%d bytes held at the end", store.held.Load())
		}
	})
}

func TestReplayOfABrokenBody(t *testing.T) {
	gone := errors.New("gone")
	var r replayBody
	r.open(&lender{pieces: [][]byte{{1}, {2}}, err: gone}, 10, &bodyStore{limit: 1 << 20}, 100)
	for range 2 {
		var got []byte
		var err error
		for err == nil {
			var piece []byte
			piece, err = r.Next()
			got = append(got, piece...)
		}
		if !bytes.Equal(got, []byte{1, 2}) || err != gone {
			t.Errorf("got %v and %v, want the pieces and the client's error each time", got, err)
		}
		r.rewind()
	}
	r.close()
}

func TestReplayCommit(t *testing.T) {
	for _, pulling := range []bool{false, true} {
		store := &bodyStore{limit: 1 << 20}
		var r replayBody
		r.open(&lender{pieces: [][]byte{{1}, {2}, {3}, {4}}}, 4, store, 100)
		for range 2 {
			if _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
		}
		r.commit(pulling)
		if held := store.held.Load() != 0; held != pulling {
			t.Errorf("pulling %v: memory held %v", pulling, held)
		}
		for _, want := range []byte{3, 4} {
			if piece, err := r.Next(); err != nil || len(piece) != 1 || piece[0] != want {
				t.Errorf("pulling %v: got %v, %v; want the rest of the body", pulling, piece, err)
			}
		}
		if _, err := r.Next(); err != io.EOF || r.replayable(false) || store.held.Load() != 0 {
			t.Errorf("pulling %v: %v at the end, replayable %v, %d held", pulling, err, r.replayable(false), store.held.Load())
		}
		r.close()
	}
}

func TestReplayPassesOnWhatCodecsAsk(t *testing.T) {
	source := &lender{pieces: cut(pattern(50), func() int { return 10 })}
	var r replayBody
	r.open(source, 50, &bodyStore{limit: 1 << 20}, 40)
	if r.Ready() {
		t.Error("ready although the client's body is not")
	}
	if source.ready = true; !r.Ready() {
		t.Error("not ready although the client's body is")
	}
	if r.Interrupt(); !source.broken {
		t.Error("the interrupt did not reach the client's body")
	}
	if r.Source() != source {
		t.Error("a body too large to keep is not handed out")
	}
	if r.replayable(false) {
		t.Error("a body that was handed out counts as replayable")
	}
	r.close()

	r.open(source, 50, &bodyStore{limit: 1 << 20}, 100)
	if r.Source() != nil {
		t.Error("a body that is kept was handed out")
	}
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	source.ready = false
	if r.rewind(); !r.Ready() {
		t.Error("not ready although a piece is kept")
	}
	if err := r.Close(); err != nil || source.closes != 0 {
		t.Errorf("close: %v, and the client's body was closed %d times; it belongs to its codec", err, source.closes)
	}
	r.close()
}

// TestFlightReplaysBodies: whole flights with bodies, through several failing tries.
func TestFlightReplaysBodies(t *testing.T) {
	read := func(x *message.Exchange, upTo int) (got []byte) {
		for len(got) < upTo {
			piece, err := x.Request.Body.Next()
			if err != nil {
				break
			}
			got = append(got, piece...)
		}
		return got
	}
	for _, test := range []struct {
		name   string
		size   int
		first  int // bytes that the first try pulls
		method string
		ok     bool
	}{
		{"nothing pulled", 200_000, 0, "POST", true},
		{"one piece pulled of a large body", 200_000, 1, "POST", true},
		{"much pulled of a large body", 200_000, 100_000, "POST", false},
		{"all of a small body", 30_000, 30_000, "POST", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []byte
			g := newGroup(t, nil, func(x *message.Exchange, c *Call) *message.Failure {
				read(x, test.first)
				return fails(refusedFailure)(x, c)
			}, func(x *message.Exchange, c *Call) *message.Failure {
				got = read(x, test.size+1)
				return answers(200)(x, c)
			})
			x := newExchange(test.method)
			source := &lender{pieces: cut(pattern(test.size), func() int { return 4096 })}
			x.Request.Body, x.Request.Length = source, int64(test.size)
			var f Flight
			failure := g.Do(x, &f)
			if (failure == nil) != test.ok {
				t.Fatalf("failure %v, want success: %v", failure, test.ok)
			}
			if test.ok && !bytes.Equal(got, pattern(test.size)) {
				t.Errorf("the second try got %d bytes that differ from the %d sent", len(got), test.size)
			}
			if failure != nil && x.Request.Body != source {
				t.Error("the client's body was not given back with the failure")
			}
			f.Finish(x)
			if x.Request.Body != source || g.Snapshot().BodyBytes != 0 {
				t.Errorf("at the end the body is %T and %d bytes are held", x.Request.Body, g.Snapshot().BodyBytes)
			}
		})
	}
}
