package listen

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
)

func TestDrainLetsRequestsFinish(t *testing.T) {
	w := &words{busy: make(chan *Conn, 1), release: make(chan struct{})}
	l := start(t, &Options{Protocols: Protocols{HTTP1: w}})
	c := connect(t, l)
	c.send("a")
	conn := await(t, "the request", w.busy)
	done := drain(t.Context(), l, 0)
	eventually(t, "the drain", conn.Draining)
	eventually(t, "the socket to close", func() bool {
		nc, err := (&net.Dialer{Timeout: patience}).Dial("tcp", l.Addr().String())
		if err == nil {
			nc.Close()
		}
		return err != nil
	})
	select {
	case <-done:
		t.Fatal("Drain ended with a request in flight")
	default:
	}
	w.release <- struct{}{}
	c.want("a last")
	c.wantEnd()
	if cut := await(t, "the drain", done); cut != 0 {
		t.Errorf("%d connections cut, want 0", cut)
	}
	await(t, "the end", l.Ended())
}

func TestDrainClosesIdleConnections(t *testing.T) {
	w := &words{waiting: make(chan *Conn, 100)}
	l := start(t, &Options{Protocols: Protocols{HTTP1: w}})
	var clients []*client
	for i := range 20 {
		c := connect(t, l)
		if i%2 == 0 { // between requests; the others never sent one
			c.send("a")
			c.want("a")
		}
		clients = append(clients, c)
	}
	for range 30 { // idle 20 times at the start, 10 times after a request
		await(t, "an idle connection", w.waiting)
	}
	if cut := await(t, "the drain", drain(t.Context(), l, 0)); cut != 0 {
		t.Errorf("%d cut, want 0", cut)
	}
	for _, c := range clients {
		c.wantEnd()
	}
}

// A request that arrives while the drain begins is served, at whatever step of it: the client is told that it was the last. The codec lingers
// for longer than the test may take, so that only a lost wake-up or a wake-up that hits a request can fail it.
func TestRequestRacesDrain(t *testing.T) {
	rounds := 100
	if testing.Short() {
		rounds = 20
	}
	for round := range rounds {
		w := &words{linger: 2 * patience}
		l := Start(bind(t), &Options{Name: "test", Protocols: Protocols{HTTP1: w}})
		const n = 4
		var clients [n]*client
		for i := range clients {
			clients[i] = connect(t, l)
			if i%2 == 0 {
				clients[i].send("a")
				clients[i].want("a")
			}
		}
		var wg sync.WaitGroup
		begin := make(chan struct{})
		for i, c := range clients {
			spin := rand.IntN(200)
			wg.Go(func() {
				<-begin
				for range spin * 20 {
					_ = l.draining.Load()
				}
				// In two pieces, so that a wake-up can come in the middle of a request.
				if _, err := io.WriteString(c, "b"); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
				if i >= n/2 {
					for !l.draining.Load() {
						time.Sleep(10 * time.Microsecond)
					}
				}
				if _, err := io.WriteString(c, "c\n"); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
				got := c.receive()
				if got == "bc" { // before the drain; the next one is the last
					if _, err := io.WriteString(c, "d\n"); err != nil {
						t.Errorf("round %d: %v", round, err)
					}
					if got = c.receive(); got == "d" {
						for !l.draining.Load() {
							time.Sleep(10 * time.Microsecond)
						}
						if _, err := io.WriteString(c, "e\n"); err != nil {
							t.Errorf("round %d: %v", round, err)
						}
						got = c.receive()
					}
				}
				if got != "bc last" && got != "d last" && got != "e last" {
					t.Errorf("round %d, client %d: got %q, want an answer that is the last", round, i, got)
				}
			})
		}
		close(begin)
		cut := l.Drain(t.Context(), 0)
		wg.Wait()
		if cut != 0 || t.Failed() {
			t.Fatalf("round %d: %d connections cut, want 0", round, cut)
		}
		await(t, "the end", l.Ended())
	}
}

func TestDrainDeadlineCuts(t *testing.T) {
	w := &words{busy: make(chan *Conn, 3), waiting: make(chan *Conn, 10), release: make(chan struct{}), linger: 2 * patience}
	l := start(t, &Options{Protocols: Protocols{HTTP1: w}})
	for range 3 {
		connect(t, l).send("a")
		await(t, "a request", w.busy)
	}
	idle := connect(t, l)
	eventually(t, "four connections", func() bool { return l.Open() == 4 })
	for range 4 {
		await(t, "an idle connection", w.waiting)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := drain(ctx, l, 0)
	eventually(t, "the drain", l.draining.Load)
	cancel()
	idle.wantEnd() // its linger is longer than the deadline
	close(w.release)
	if cut := await(t, "the drain", done); cut != 3 {
		t.Errorf("%d connections cut, want the 3 with a request", cut)
	}
	await(t, "the end", l.Ended())
}

func TestDrainDelayGoesOnAccepting(t *testing.T) {
	w := &words{mark: "1 "}
	l := start(t, &Options{Protocols: Protocols{HTTP1: w}})
	ctx, cancel := context.WithCancel(t.Context())
	done := drain(ctx, l, time.Hour)
	c := connect(t, l)
	c.send("a")
	c.want("1 a")
	c.send("b")
	c.want("1 b")
	c.Close()
	eventually(t, "no connection", func() bool { return l.Open() == 0 })
	cancel() // ends the delay too
	if cut := await(t, "the drain", done); cut != 0 {
		t.Errorf("%d cut, want 0", cut)
	}
}

// gate is a listening socket that can hold its accept loop up.
type gate struct {
	net.Listener
	open chan struct{}
}

func (g *gate) Accept() (net.Conn, error) {
	<-g.open
	return g.Listener.Accept()
}

func (g *gate) SetDeadline(t time.Time) error { return g.Listener.(*net.TCPListener).SetDeadline(t) }

// Who has connected before the drain stands in the system's queue, perhaps with a request sent. Closing the socket would reset all of them.
func TestDrainServesTheQueue(t *testing.T) {
	s := bind(t)
	g := &gate{Listener: s.ln, open: make(chan struct{})}
	s.ln = g
	w := &words{linger: 2 * patience}
	l := startOn(t, s, &Options{Protocols: Protocols{HTTP1: w}})
	var clients []*client
	for i := range 30 {
		c := connect(t, l)
		c.send(fmt.Sprint(i))
		clients = append(clients, c)
	}
	done := drain(t.Context(), l, 0)
	eventually(t, "the drain", func() bool {
		select {
		case <-l.stop:
			return true
		default:
			return false
		}
	})
	close(g.open)
	for i, c := range clients {
		c.want(fmt.Sprint(i, " last"))
		c.wantEnd()
	}
	if cut := await(t, "the drain", done); cut != 0 {
		t.Errorf("%d cut, want 0", cut)
	}
}

// A listener that vanishes drains while another goes on.
func TestDrainLeavesOthersAlone(t *testing.T) {
	w := &words{mark: "1 "}
	stays, goes := start(t, &Options{Protocols: Protocols{HTTP1: w}}), start(t, &Options{Protocols: Protocols{HTTP1: w}})
	a, b := connect(t, stays), connect(t, goes)
	for _, c := range []*client{a, b} {
		c.send("x")
		c.want("1 x")
	}
	if cut := await(t, "the drain", drain(t.Context(), goes, 0)); cut != 0 {
		t.Errorf("%d cut, want 0", cut)
	}
	b.wantEnd()
	a.send("y")
	a.want("1 y")
	c := connect(t, stays)
	c.send("z")
	c.want("1 z")
}

// Drain and Close may meet; each waits for the end.
func TestDrainTwice(t *testing.T) {
	w := &words{busy: make(chan *Conn, 1), release: make(chan struct{})}
	l := start(t, &Options{Protocols: Protocols{HTTP1: w}})
	c := connect(t, l)
	c.send("a")
	await(t, "the request", w.busy)
	first, second := drain(t.Context(), l, 0), drain(t.Context(), l, 0)
	eventually(t, "the drain", l.draining.Load)
	w.release <- struct{}{}
	c.want("a last")
	if cut := await(t, "the first", first) + await(t, "the second", second) + l.Close(); cut != 0 {
		t.Errorf("%d cut, want 0", cut)
	}
}

// fakeConn notes when its read deadline is moved.
type fakeConn struct {
	net.Conn
	nudged func()
}

func (f *fakeConn) SetReadDeadline(time.Time) error { f.nudged(); return nil }
func (f *fakeConn) RemoteAddr() net.Addr            { return nil }
func (f *fakeConn) LocalAddr() net.Addr             { return nil }

// The invariant behind the drain: the read deadline never moves between the return of Idle(false) and the next Idle(true).
func TestNudgeNeverHitsARequest(t *testing.T) {
	f := &fakeConn{}
	c := newConn(&Listener{}, f, &Options{}, 0)
	var serving sync.Mutex // held while a request is served
	hits, nudges := 0, 0
	f.nudged = func() {
		runtime.Gosched() // lets the connection go on, if it does not wait for this to end
		if !serving.TryLock() {
			hits++
			return
		}
		nudges++
		serving.Unlock()
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				c.nudge()
			}
		}
	})
	c.Idle(true)
	eventually(t, "the first nudge", c.Draining)
	for range 20_000 {
		c.Idle(true)
		c.Idle(true)
		c.Idle(false)
		serving.Lock()
		runtime.Gosched()
		if c.isIdle() {
			t.Error("idle while a request is served")
		}
		serving.Unlock()
		c.Idle(false)
	}
	close(stop)
	wg.Wait()
	if hits != 0 || nudges == 0 || !c.Draining() {
		t.Errorf("%d nudges of an idle connection, %d hit a request; draining: %v", nudges, hits, c.Draining())
	}
}

// A connection that is being nudged does not go on before the nudge is over.
func TestRequestWaitsForNudge(t *testing.T) {
	f := &fakeConn{}
	c := newConn(&Listener{}, f, &Options{}, 0)
	entered, release, served, nudged := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan bool, 1)
	f.nudged = func() {
		close(entered)
		<-release
	}
	c.Idle(true)
	go func() { nudged <- c.nudge() }()
	await(t, "the nudge", entered)
	go func() {
		c.Idle(false)
		close(served)
	}()
	for range 1000 {
		runtime.Gosched()
		select {
		case <-served:
			t.Fatal("the request went on while its read deadline was being moved")
		default:
		}
	}
	close(release)
	await(t, "the request", served)
	if !await(t, "the nudge", nudged) || !c.Draining() || c.isIdle() {
		t.Errorf("draining %v, idle %v", c.Draining(), c.isIdle())
	}
	// Now that a request is served, there is nothing to wake.
	if c.nudge() {
		t.Error("a busy connection is taken for an idle one")
	}
}
