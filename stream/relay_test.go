package stream

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// ends are the far ends of a relay's two connections.
type ends struct {
	a, b net.Conn
	s    *RelaySession
	done chan RelayResult
}

// way is how the bytes of a relay go.
type way struct {
	name  string
	a, b  bool // by TCP; else in memory
	pipes bool
	small bool // the sockets' buffers stay small
}

var ways = []way{
	{name: "tcp", a: true, b: true},
	{name: "spliced", a: true, b: true, pipes: true},
	{name: "memory"},
	{name: "tcp to memory", a: true},
	{name: "memory to tcp", b: true},
}

func pair(t testing.TB, tcp bool) (far, near net.Conn) {
	if tcp {
		return testnet.TCPPair(t)
	}
	return testnet.Pipe(1000)
}

// relayed runs a relay.
func relayed(t *testing.T, w way, o RelayOptions) ends {
	t.Helper()
	a, nearA := pair(t, w.a)
	b, nearB := pair(t, w.b)
	if w.pipes {
		pipes := NewPipes(4)
		t.Cleanup(func() { closePipes(t, pipes) })
		o.Pipes = pipes
	}
	e := ends{a: a, b: b, s: new(RelaySession), done: make(chan RelayResult, 1)}
	for _, c := range []net.Conn{a, nearA, b, nearB} {
		if c, ok := c.(*net.TCPConn); ok && w.small {
			_ = c.SetReadBuffer(32 << 10)
			_ = c.SetWriteBuffer(32 << 10)
		}
	}
	for _, c := range []net.Conn{a, b} {
		_ = c.SetDeadline(time.Now().Add(testnet.Patience))
		t.Cleanup(func() { _ = c.Close() })
	}
	go func() { e.done <- e.s.Run(nearA, nearB, o) }()
	return e
}

// closePipes closes a pool that must have got back all that it lent.
func closePipes(t *testing.T, p *Pipes) {
	t.Helper()
	if s := p.State(); s.Open != s.Idle {
		t.Errorf("pipes are missing: %+v", s)
	}
	p.Close()
	if s := p.State(); s.Open != 0 || s.Idle != 0 {
		t.Errorf("pipes are open: %+v", s)
	}
}

// result waits for the end of the relay.
func (e ends) result(t *testing.T) RelayResult {
	t.Helper()
	return testnet.Receive(t, "the end of the relay", e.done)
}

// want compares bytes and ends.
func (e ends) want(t *testing.T, ab, ba int64, first, last RelayEnd) {
	t.Helper()
	got := e.result(t)
	if got.AB != ab || got.BA != ba || got.First != first || got.Last != last {
		t.Errorf("the relay returned %+v, want %d and %d bytes, first %v, last %v", got, ab, ba, first, last)
	}
	if got.FirstAB > got.Duration || got.FirstBA > got.Duration || ab > 0 != (got.FirstAB > 0) || ba > 0 != (got.FirstBA > 0) {
		t.Errorf("moments: %+v", got)
	}
}

func closeWrite(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("received %.100q (%d bytes), %v; want %.100q", got[:n], n, err, want)
	}
}

func receiveEnd(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("received %d bytes, %v; want the end", n, err)
	}
}

// receiveReset reads until c fails, which must be by a reset where there is TCP.
func receiveReset(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	if _, tcp := c.(*net.TCPConn); tcp && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("the connection ended with %v, want a reset", err)
	}
}

func eachWay(t *testing.T, test func(t *testing.T, w way)) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) { test(t, w) })
	}
}

// Bytes that came before the relay go first; each direction ends by itself.
func TestRelay(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		e := relayed(t, w, RelayOptions{Idle: testnet.Patience, EarlyA: []byte("early a "), EarlyB: []byte("early b ")})
		send(t, e.a, "hello")
		receive(t, e.b, "early a hello")
		send(t, e.b, "world")
		receive(t, e.a, "early b world")
		closeWrite(t, e.a)
		receiveEnd(t, e.b)
		send(t, e.b, "still here")
		receive(t, e.a, "still here")
		testnet.Eventually(t, "the bytes are counted", func() bool { ab, ba := e.s.Moved(); return ab == 13 && ba == 23 })
		closeWrite(t, e.b)
		receiveEnd(t, e.a)
		e.want(t, 13, 23, RelayEnd{SideA, EndFIN}, RelayEnd{SideB, EndFIN})
	})
}

// A direction that must not be waited for: the other one has ended, and then this one goes on for long.
func TestRelayEndOfBFirst(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		e := relayed(t, w, RelayOptions{})
		closeWrite(t, e.b)
		receiveEnd(t, e.a)
		go func() {
			_, _ = io.WriteString(e.a, strings.Repeat("x", 300_000))
			closeWrite(t, e.a)
		}()
		receive(t, e.b, strings.Repeat("x", 300_000))
		receiveEnd(t, e.b)
		e.want(t, 300_000, 0, RelayEnd{SideB, EndFIN}, RelayEnd{SideA, EndFIN})
	})
}

// pattern fills p with the bytes of a stream from offset on; no stretch of it repeats soon.
func pattern(p []byte, offset int) {
	for i := range p {
		n := offset + i
		p[i] = byte(n) ^ byte(n>>8)*31 ^ byte(n>>16)*17
	}
}

// sendPattern sends size bytes in pieces of random size. Small ones come in bursts, so that the
// relay changes between copying and splicing.
func sendPattern(c net.Conn, size int, r *rand.Rand) error {
	buf := make([]byte, 200_000)
	burst, limit := 0, 0
	for sent := 0; sent < size; {
		if burst == 0 {
			burst, limit = 1+r.IntN(40), []int{10, 3000, len(buf)}[r.IntN(3)]
		}
		burst--
		p := buf[:min(1+r.IntN(limit), size-sent)]
		pattern(p, sent)
		if _, err := c.Write(p); err != nil {
			return err
		}
		sent += len(p)
	}
	return c.(interface{ CloseWrite() error }).CloseWrite()
}

// checkPattern reads until the end and compares.
func checkPattern(c net.Conn, size int) error {
	buf, want := make([]byte, 100_000), make([]byte, 100_000)
	for got := 0; ; {
		n, err := c.Read(buf)
		pattern(want[:n], got)
		if !bytes.Equal(buf[:n], want[:n]) {
			return errors.New("other bytes than were sent")
		}
		if got += n; err == io.EOF && got == size {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Every byte arrives as it was sent, once and in order, both ways at the same time.
func TestRelayIsExact(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		for seed := range uint64(4) {
			r := rand.New(rand.NewPCG(seed, 1))
			sizes := [2]int{r.IntN(4 << 20), r.IntN(4 << 20)}
			if !w.a && !w.b {
				sizes = [2]int{r.IntN(1 << 20), r.IntN(1 << 20)}
			}
			e := relayed(t, w, RelayOptions{Idle: testnet.Patience, Stuck: testnet.Patience, Lifetime: 10 * testnet.Patience})
			results := make(chan error, 4)
			for i, c := range []net.Conn{e.a, e.b} {
				mine := rand.New(rand.NewPCG(seed, uint64(i)+2))
				go func() { results <- sendPattern(c, sizes[i], mine) }()
				go func() { results <- checkPattern(c, sizes[1-i]) }()
			}
			for range 4 {
				if err := testnet.Receive(t, "a direction", results); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
			got := e.result(t)
			if got.AB != int64(sizes[0]) || got.BA != int64(sizes[1]) || got.Last.How != EndFIN || got.First.Side == got.Last.Side {
				t.Errorf("seed %d: %+v, want %v bytes", seed, got, sizes)
			}
		}
	})
}

// idle is a bound that a busy machine does not meet by itself.
const idle = 400 * time.Millisecond

// The relay ends when nothing moves in either direction; in order, for nothing was under way.
func TestRelayIdle(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		t.Parallel()
		e := relayed(t, w, RelayOptions{Idle: idle})
		send(t, e.a, "x")
		receive(t, e.b, "x")
		receiveEnd(t, e.a)
		receiveEnd(t, e.b)
		e.want(t, 1, 0, RelayEnd{How: EndIdle}, RelayEnd{How: EndIdle})
	})
}

// A session of which one direction has ended is bounded as well.
func TestRelayIdleAfterTheFirstEnd(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		t.Parallel()
		e := relayed(t, w, RelayOptions{Idle: idle})
		closeWrite(t, e.b)
		receiveEnd(t, e.a)
		receiveEnd(t, e.b)
		e.want(t, 0, 0, RelayEnd{SideB, EndFIN}, RelayEnd{How: EndIdle})
	})
}

// When each bound is met, and when it is looked at next.
func TestRelayBounds(t *testing.T) {
	const second = int64(time.Second)
	none := RelayEnd{}
	for _, test := range []struct {
		name           string
		o              RelayOptions
		ab, ba         int64 // moments of the last bytes
		waitAB, waitBA int64 // moments since which a peer takes nothing
		now            int64
		due            RelayEnd
		nextAt         int64 // moment of the next look; 0 for none
	}{
		{name: "no bounds", now: 99 * second, due: none},
		{name: "not idle yet", o: RelayOptions{Idle: 10 * time.Second}, now: 9 * second, due: none, nextAt: 10*second + 1},
		{name: "idle from the beginning", o: RelayOptions{Idle: 10 * time.Second}, now: 10 * second, due: RelayEnd{How: EndIdle}},
		{name: "a byte of a", o: RelayOptions{Idle: 10 * time.Second}, ab: 5 * second, now: 14 * second, due: none, nextAt: 15 * second},
		{name: "a byte of b", o: RelayOptions{Idle: 10 * time.Second}, ab: 5 * second, ba: 6 * second, now: 15 * second, due: none, nextAt: 16 * second},
		{name: "long after both", o: RelayOptions{Idle: 10 * time.Second}, ab: 5 * second, ba: 6 * second, now: 16 * second, due: RelayEnd{How: EndIdle}},
		{name: "idle, and b takes nothing", o: RelayOptions{Idle: 10 * time.Second}, waitAB: second, now: 10 * second, due: RelayEnd{SideB, EndStuck}},
		{name: "lifetime before idle", o: RelayOptions{Idle: 10 * time.Second, Lifetime: 7 * time.Second}, ab: 5 * second, now: 6 * second, due: none, nextAt: 7*second + 1},
		{name: "lifetime", o: RelayOptions{Idle: 10 * time.Second, Lifetime: 7 * time.Second}, ab: 7 * second, now: 7*second + 1, due: RelayEnd{How: EndLifetime}},
		{name: "stuck, not yet", o: RelayOptions{Stuck: 3 * time.Second}, waitBA: 5 * second, now: 7 * second, due: none, nextAt: 8 * second},
		{name: "stuck", o: RelayOptions{Stuck: 3 * time.Second}, waitBA: 5 * second, now: 8 * second, due: RelayEnd{SideA, EndStuck}},
		{name: "stuck may begin now", o: RelayOptions{Stuck: 3 * time.Second}, now: 7 * second, due: none, nextAt: 10 * second},
	} {
		s := RelaySession{o: test.o}
		s.ab.side, s.ba.side = SideA, SideB
		s.ab.last.Store(test.ab)
		s.ba.last.Store(test.ba)
		s.ab.waiting.Store(test.waitAB)
		s.ba.waiting.Store(test.waitBA)
		if got := s.due(test.now); got != test.due {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.due)
		}
		if test.due != none {
			continue
		}
		if got := s.next(test.now); got != max(test.nextAt-test.now, 0) {
			t.Errorf("%s: the next look is %v away, want %v", test.name, time.Duration(got), time.Duration(test.nextAt-test.now))
		}
	}
}

// A lifetime ends a relay that moves, and both sides see that it was cut.
func TestRelayLifetime(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		e := relayed(t, w, RelayOptions{Idle: testnet.Patience, Lifetime: 100 * time.Millisecond})
		go func() {
			for {
				if _, err := e.a.Write(make([]byte, 5000)); err != nil {
					return
				}
			}
		}()
		receiveReset(t, e.b)
		got := e.result(t)
		if want := (RelayEnd{How: EndLifetime}); got.First != want || got.Last != want || got.Duration < 100*time.Millisecond {
			t.Errorf("%+v", got)
		}
	})
}

// A peer that takes nothing makes the sender wait. Nothing but the buffers of the sockets and one
// buffer or pipe of ours fills, and the bound ends it, even while the other direction moves.
func TestRelayStuck(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		w.small = true
		e := relayed(t, w, RelayOptions{Idle: testnet.Patience, Stuck: 150 * time.Millisecond})
		accepted := make(chan int64, 1)
		go func() {
			n, _ := io.Copy(onlyWriter{e.a}, endless{})
			accepted <- n
		}()
		go func() {
			for {
				if _, err := e.b.Write([]byte("x")); err != nil {
					return
				}
				if _, err := e.a.Read(make([]byte, 100)); err != nil {
					return
				}
			}
		}()
		got := e.result(t)
		if want := (RelayEnd{SideB, EndStuck}); got.First != want || got.Last != want {
			t.Errorf("%+v", got)
		}
		const held = 512 << 10 // one pipe, and two sockets of which each may hold four times the size that was asked for
		if n := testnet.Receive(t, "the end of the sender", accepted); n-got.AB > held {
			t.Errorf("%d bytes were accepted and %d given to a peer that takes none", n, got.AB)
		}
	})
}

// onlyWriter hides all but Write.
type onlyWriter struct{ io.Writer }

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// Without a bound of its own a stuck peer meets that for idle sessions, and is told apart from them.
func TestRelayIdleStuck(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		e := relayed(t, w, RelayOptions{Idle: 100 * time.Millisecond})
		go func() { _, _ = io.Copy(onlyWriter{e.b}, endless{}) }()
		got := e.result(t)
		if want := (RelayEnd{SideA, EndStuck}); got.First != want || got.Last != want {
			t.Errorf("%+v", got)
		}
		receiveReset(t, e.a)
	})
}

// Stop ends what runs and what does not run yet.
func TestRelayStop(t *testing.T) {
	stopped := RelayEnd{How: EndStopped}
	eachWay(t, func(t *testing.T, w way) {
		t.Run("quiet", func(t *testing.T) {
			e := relayed(t, w, RelayOptions{})
			send(t, e.a, "x")
			receive(t, e.b, "x")
			e.s.Stop()
			e.s.Stop()
			receiveReset(t, e.a)
			receiveReset(t, e.b)
			e.want(t, 1, 0, stopped, stopped)
			e.s.Stop()
		})
		t.Run("moving", func(t *testing.T) {
			e := relayed(t, w, RelayOptions{})
			go func() { _, _ = io.Copy(onlyWriter{e.a}, endless{}) }()
			go func() { _, _ = io.Copy(io.Discard, e.b) }()
			testnet.Eventually(t, "much has moved", func() bool { n, _ := e.s.Moved(); return n > 300_000 })
			e.s.Stop()
			if got := e.result(t); got.First != stopped || got.Last != stopped {
				t.Errorf("%+v", got)
			}
		})
		t.Run("half ended", func(t *testing.T) {
			e := relayed(t, w, RelayOptions{})
			closeWrite(t, e.a)
			receiveEnd(t, e.b)
			e.s.Stop()
			receiveReset(t, e.a)
			e.want(t, 0, 0, RelayEnd{SideA, EndFIN}, stopped)
		})
		t.Run("before it runs", func(t *testing.T) {
			a, nearA := pair(t, w.a)
			_, nearB := pair(t, w.b)
			var s RelaySession
			s.Stop()
			if got := s.Run(nearA, nearB, RelayOptions{}); got.First != stopped || got.Last != stopped {
				t.Errorf("%+v", got)
			}
			receiveReset(t, a)
		})
	})
}

// Somebody may close a connection of a relay: that stops it.
func TestRelayClosedByOthers(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		_, nearA := pair(t, w.a)
		b, nearB := pair(t, w.b)
		done := make(chan RelayResult, 1)
		go func() { done <- Relay(nearA, nearB, RelayOptions{}) }()
		send(t, b, "x")
		_ = nearA.Close()
		got := testnet.Receive(t, "the end of the relay", done)
		// Who closes may also overtake the byte: then it is a write to a that fails first.
		if got.Last.How != EndStopped && got.Last != (RelayEnd{SideA, EndReset}) {
			t.Errorf("%+v", got)
		}
	})
}

// plain is a connection that cannot be closed in one direction.
type plain struct{ Conn }

// Where an end cannot be passed on as one direction's, it ends the connection.
func TestRelayWithoutHalfClose(t *testing.T) {
	a, nearA := testnet.Pipe(100)
	b, nearB := testnet.Pipe(100)
	e := ends{done: make(chan RelayResult, 1)}
	go func() { e.done <- Relay(plain{nearA}, plain{nearB}, RelayOptions{}) }()
	send(t, a, "bye")
	closeWrite(t, a)
	receive(t, b, "bye")
	receiveEnd(t, b)
	e.want(t, 3, 0, RelayEnd{SideA, EndFIN}, RelayEnd{SideA, EndFIN})
	receiveEnd(t, a)
}

func TestRelayNames(t *testing.T) {
	for e := EndNone; e <= EndStopped; e++ {
		if e.String() == "" {
			t.Errorf("ending %d has no name", e)
		}
	}
	if got := NoSide.String() + SideA.String() + SideB.String() + EndStopped.String(); got != "noneabstopped" {
		t.Error(got)
	}
}
