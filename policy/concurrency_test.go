package policy

import (
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/limit"
	"github.com/sluice-gateway/sluice/message"
)

// place enters a chain with a concurrency policy.
func place(c *Chain, x *message.Exchange) message.Reason {
	_, _, f := c.Request(x, 0, nil)
	return failureOrNone(f)
}

// stats returns what is under way in the only limiter of a program.
func (p *counting) stats() limit.ConcurrencyStats {
	for _, thing := range p.things {
		if c, ok := thing.(keptConcurrency); ok {
			return c.Stats()
		}
	}
	p.t.Fatal("there is no limiter")
	return limit.ConcurrencyStats{}
}

// pipe is a tunnel.
type pipe struct {
	run    chan error
	closed atomic.Int32
}

func (p *pipe) Run(message.Stream, []byte) (int64, int64, error) { return 1, 2, <-p.run }
func (p *pipe) Close() error                                     { p.closed.Add(1); return nil }

// TestConcurrencyRelease: a place is free again once, and only once, however the response ends.
func TestConcurrencyRelease(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name   string
		body   func() message.Body
		tunnel *pipe
		atOnce bool // free as soon as there is a response
		end    func(t *testing.T, r *message.Response)
	}{
		{"no body", func() message.Body { return message.NoBody{} }, nil, true, nil},
		{"a body that lies there", func() message.Body { return &message.Bytes{} }, nil, true, nil},
		{"closed", func() message.Body { return split("text", 2) }, nil, false, func(_ *testing.T, r *message.Response) { _ = r.Body.Close() }},
		{"closed twice", func() message.Body { return split("text", 2) }, nil, false, func(_ *testing.T, r *message.Response) { _, _ = r.Body.Close(), r.Body.Close() }},
		{"read and not closed", func() message.Body { return split("text", 2) }, nil, false, func(t *testing.T, r *message.Response) {
			_, err := r.Body.Next()
			if b, ok := r.Body.(*ticketBody); !ok || b.ticket == nil {
				t.Error("the place is free in the midst of the body")
			}
			for err == nil {
				_, err = r.Body.Next()
			}
			if err != io.EOF {
				t.Error(err)
			}
		}},
		{"broken, and closed", func() message.Body { s := split("text", 2); s.end = broken; return s }, nil, false, func(t *testing.T, r *message.Response) {
			for {
				if _, err := r.Body.Next(); err != nil {
					if err != broken {
						t.Error(err)
					}
					break
				}
			}
			_ = r.Body.Close()
		}},
		{"a tunnel that runs", func() message.Body { return message.NoBody{} }, &pipe{run: make(chan error, 1)}, false, func(t *testing.T, r *message.Response) {
			p := r.Tunnel.(*ticketTunnel).Tunnel.(*pipe)
			p.run <- broken
			if in, out, err := r.Tunnel.Run(nil, nil); in != 1 || out != 2 || err != broken {
				t.Error(in, out, err)
			}
			if _ = r.Tunnel.Close(); p.closed.Load() != 1 {
				t.Error("the tunnel was not closed")
			}
		}},
		{"a tunnel that never runs", func() message.Body { return message.NoBody{} }, &pipe{}, false, func(_ *testing.T, r *message.Response) { _ = r.Tunnel.Close() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newCounting(t)
			g := p.generation(limits("[few]", "policies: {few: {concurrency: {max: 1}}}"))
			for range 3 {
				x := exchange("-")
				if got := place(g.chains["a"], x); got != passed {
					t.Fatalf("%v; %+v", got, p.stats())
				}
				if got := place(g.chains["a"], exchange("-")); got != message.ConcurrencyExceeded {
					t.Fatalf("beside another one: %v", got)
				}
				x.Response.Body = c.body()
				if c.tunnel != nil {
					x.Response.Tunnel = c.tunnel
					c.tunnel.closed.Store(0)
				}
				g.chains["a"].Response(x, 1, 0)
				if got := p.stats().InFlight == 0; got != c.atOnce {
					t.Errorf("free at once: %v, want %v", got, c.atOnce)
				}
				if c.end != nil {
					c.end(t, &x.Response)
				}
				if st := p.stats(); st.InFlight != 0 || st.Keys != 0 {
					t.Fatalf("in the end: %+v", st)
				}
			}
		})
	}
}

// TestConcurrencyKeys: each key has places of its own; one that has no value is refused.
func TestConcurrencyKeys(t *testing.T) {
	p := newCounting(t)
	c := p.generation(limits("[{concurrency: {max: 2, key: request.query.k}}]", "")).chains["a"]
	for _, want := range []struct {
		query  string
		reason message.Reason
	}{{"k=a", passed}, {"k=a", passed}, {"k=a", message.ConcurrencyExceeded}, {"k=b", passed}, {"", message.ExpressionFailed}, {"k=", passed}} {
		if got := place(c, exchange(want.query)); got != want.reason {
			t.Errorf("%q: %v, want %v", want.query, got, want.reason)
		}
	}
	if got := p.series("concurrency"); got != "passed 4, refused 2" {
		t.Errorf("counted: %s", got)
	}
}

// impatient is a client that leaves.
type impatient struct {
	message.Interim
	left atomic.Bool
}

func (i *impatient) Gone() bool { return i.left.Load() }

// TestConcurrencyQueue: who waits gets the place that becomes free, or is told that it took too long, or leaves and takes none.
func TestConcurrencyQueue(t *testing.T) {
	p := newCounting(t)
	c := p.generation(limits("[few]", "policies: {few: {concurrency: {max: 1, queue: 2, queue_timeout: 5m}}}")).chains["a"]
	first := exchange("-")
	if got := place(c, first); got != passed {
		t.Fatal(got)
	}
	late := exchange("-")
	late.Deadline = message.Now() + int64(20*time.Millisecond)
	if got := place(c, late); got != message.ConcurrencyExceeded {
		t.Errorf("beyond the deadline of its route: %v", got)
	}
	late.Deadline = message.Now() - 1
	if got := place(c, late); got != message.ConcurrencyExceeded {
		t.Errorf("behind the deadline of its route: %v", got)
	}
	client := &impatient{}
	leaves, stays := exchange("-"), exchange("-")
	leaves.Interim = client
	ended := make(chan message.Reason, 2)
	go func() { ended <- place(c, leaves) }()
	testnet.Eventually(t, "one in the queue", func() bool { return p.stats().Queued == 1 })
	go func() { ended <- place(c, stays) }()
	testnet.Eventually(t, "two in the queue", func() bool { return p.stats().Queued == 2 })
	if got := place(c, exchange("-")); got != message.ConcurrencyExceeded {
		t.Errorf("a queue that is full: %v", got)
	}
	client.left.Store(true)
	if got := testnet.Receive(t, "the end of the one that leaves", ended); got != message.ClientClosed {
		t.Errorf("the one that leaves: %v", got)
	}
	c.Response(first, 1, 0)
	if got := testnet.Receive(t, "the place", ended); got != passed {
		t.Errorf("the one that stays: %v", got)
	}
	c.Response(stays, 1, 0)
	if st := p.stats(); st.InFlight != 0 || st.Queued != 0 || st.Keys != 0 {
		t.Errorf("%+v is left", st)
	}
}

// TestConcurrencyCrowd: never more than max at once, and nothing is left in the end.
func TestConcurrencyCrowd(t *testing.T) {
	p := newCounting(t)
	c := p.generation(limits("[few]", "policies: {few: {concurrency: {max: 3, queue: 1000, queue_timeout: 1m}}}")).chains["a"]
	var now, most atomic.Int32
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			x := exchange("-")
			if got := place(c, x); got != passed {
				t.Error(got)
				return
			}
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			x.Response.Body = split(strings.Repeat("x", 1+i%5), 1)
			now.Add(-1)
			c.Response(x, 1, 0)
			if i%2 == 0 {
				_, _ = x.Response.Body.Next()
			}
			_ = x.Response.Body.Close()
		})
	}
	wg.Wait()
	if st := p.stats(); most.Load() > 3 || st.InFlight != 0 || st.Keys != 0 {
		t.Errorf("%d at once; %+v is left", most.Load(), st)
	}
}
