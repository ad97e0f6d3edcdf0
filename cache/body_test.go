package cache

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

// TestTooLarge: a body beyond max_object passes to all who read it, and is not kept; nobody joins it any more.
func TestTooLarge(t *testing.T) {
	for _, known := range []bool{true, false} {
		s, r := newTestStore(Rules{MaxObject: 100 << 10})
		lead, x1 := lookup(t, s, r, "", Lead)
		follow, x2 := lookup(t, s, r, "", Follow)
		big := text(300 << 10)
		done := make(chan struct{})
		go func() {
			defer close(done)
			y := new(message.Exchange)
			y.Reset()
			lead.Flight().Start(func() {})
			answer{fields: "Cache-Control: max-age=60"}.put(y)
			y.Response.Body, y.Response.Length = &pieces{rest: []byte(big), size: 10_000}, message.LengthUnknown
			if known {
				y.Response.Length = int64(len(big))
			}
			lead.Flight().Fill(y, at(0))
		}()
		wait(t, lead, x1, Served)
		bodies := []message.Body{x1.Response.Body}
		if known {
			wait(t, follow, x2, GoAlone) // it is known from the beginning that all of it would have to be held
		} else {
			wait(t, follow, x2, Served)
			bodies = append(bodies, x2.Response.Body)
		}
		var all sync.WaitGroup
		for _, b := range bodies {
			all.Go(func() {
				if got, err := drain(b); got != big || err != nil {
					t.Errorf("known %v: %d bytes, %v", known, len(got), err)
				}
			})
		}
		all.Wait()
		testnet.Receive(t, "end of the fetch", done)
		if total, _ := s.Bytes(); s.Objects() > 1 || total > entryOverhead*2 { // the mark of the follower that was sent away
			t.Errorf("known %v: %d objects, %d bytes", known, s.Objects(), total)
		}
		if n := r.Namespace.Count(TooLarge); n != 1 {
			t.Errorf("known %v: counted %d times", known, n)
		}
	}
}

// TestPassWindow: the fetch of a body that is not kept is not ahead of its one reader by more than the window.
func TestPassWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newTestStore(Rules{})
		lead, x := lookup(t, s, r, "", Lead)
		body := newFeed()
		_, ended := takeoff(lead.Flight(), 200, "Cache-Control: no-store", body)
		wait(t, lead, x, Served)
		var sent atomic.Int64
		piece := strings.Repeat("x", 10_000)
		stop := make(chan struct{})
		go func() {
			defer close(body.pieces)
			for {
				select {
				case body.pieces <- piece:
					sent.Add(int64(len(piece)))
				case <-stop:
					return
				}
			}
		}()
		synctest.Wait()
		if n := sent.Load(); n < passWindow || n > passWindow+3*largeChunk {
			t.Errorf("%d bytes were taken in for a reader that reads nothing", n)
		}
		read := int64(0)
		for read < 1<<20 {
			p, err := x.Response.Body.Next()
			if err != nil {
				t.Fatal(err)
			}
			read += int64(len(p))
		}
		synctest.Wait()
		if ahead := sent.Load() - read; ahead > passWindow+3*largeChunk {
			t.Errorf("%d bytes ahead", ahead)
		}
		close(stop)
		synctest.Wait()
		rest, err := drain(x.Response.Body)
		if err != nil || int64(len(rest))+read < sent.Load() {
			t.Errorf("%d of %d bytes, %v", int64(len(rest))+read, sent.Load(), err)
		}
		<-ended
	})
}

// TestLaggard: a reader that reads nothing holds the others up for a moment, and is cut off then.
func TestLaggard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newTestStore(Rules{MaxObject: 300 << 10})
		lead, x1 := lookup(t, s, r, "", Lead)
		slow, x2 := lookup(t, s, r, "", Follow)
		big := text(4 << 20)
		_, ended := takeoff(lead.Flight(), 200, "Cache-Control: max-age=60", &pieces{rest: []byte(big), size: 16 << 10})
		wait(t, slow, x2, Served)
		wait(t, lead, x1, Served)
		first, err := x2.Response.Body.Next()
		if err != nil {
			t.Fatal(err)
		}
		held := string(first)
		if got, err := drain(x1.Response.Body); got != big || err != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if string(first) != held {
			t.Error("what the slow reader holds was changed")
		}
		if _, err := drain(x2.Response.Body); !errors.Is(err, errLagging) {
			t.Errorf("slow reader: %v", err)
		}
		<-ended
		clean(t, s, 0)
	})
}

// TestChunks: bodies of all sizes come out as they went in, whether or not their length is known.
func TestChunks(t *testing.T) {
	for _, size := range []int{0, 1, 6, 7, 4095, 4096, 4097, 10_000, 65535, 65536, 65537, 131072, 200_001} {
		for _, known := range []bool{true, false} {
			for _, piece := range []int{7, 1000, 1 << 20} {
				if size/piece > 5000 {
					continue
				}
				what := fmt.Sprintf("%d bytes, known %v, pieces of %d", size, known, piece)
				s, r := newTestStore(Rules{})
				body := text(size)
				origin := func(x *message.Exchange) *message.Failure {
					answer{fields: "Cache-Control: max-age=60"}.put(x)
					x.Response.Body, x.Response.Length = &pieces{rest: []byte(body), size: piece}, message.LengthUnknown
					if known {
						x.Response.Length = int64(size)
					}
					return nil
				}
				if got := get(t, s, r, request("GET "+page, ""), at(0), origin); got.body != body {
					t.Errorf("%s: first: %d bytes", what, len(got.body))
				}
				x := request("GET "+page, "")
				var u Use
				if act := s.Lookup(&u, x, r, nil, at(1)); act != Hit {
					t.Fatalf("%s: action %d", what, act)
				}
				if x.Response.Length != int64(size) {
					t.Errorf("%s: length %d", what, x.Response.Length)
				}
				if got := readBody(t, x.Response.Body); got != body {
					t.Errorf("%s: stored: %d bytes", what, len(got))
				}
				if total, _ := s.Bytes(); total > int64(size)*4/3+3*entryOverhead {
					t.Errorf("%s: counts for %d bytes", what, total)
				}
			}
		}
	}
}

// TestStoredFirst: whoever has the last byte of an answer whose length was told finds it in the store. Readers get the end only when the body has ended.
func TestStoredFirst(t *testing.T) {
	for _, size := range []int{0, 1, 5000} {
		s, r := newTestStore(Rules{})
		lead, x := lookup(t, s, r, "", Lead)
		body, ended := text(size), make(chan struct{})
		y := new(message.Exchange)
		y.Reset()
		answer{fields: "Cache-Control: max-age=60"}.put(y)
		last := make(chan struct{})
		y.Response.Body, y.Response.Length = &ending{pieces{rest: []byte(body), size: 1000}, last}, int64(size)
		go func() {
			defer close(ended)
			lead.Flight().Fill(y, at(0))
		}()
		if size == 0 {
			close(last)
		}
		wait(t, lead, x, Served)
		got := 0
		for got < size {
			if size-got <= 1000 {
				close(last) // all but the last piece is there already
				last = nil
			}
			piece, err := x.Response.Body.Next()
			if err != nil {
				t.Fatal(err)
			}
			got += len(piece)
		}
		lookup(t, s, r, "", Hit)
		testnet.Receive(t, "end of the fetch", ended)
		clean(t, s, 1)
	}
}

// ending is a body whose end comes when it is told.
type ending struct {
	pieces
	last chan struct{}
}

func (e *ending) Next() ([]byte, error) {
	if len(e.rest) == 0 {
		<-e.last
	}
	return e.pieces.Next()
}
