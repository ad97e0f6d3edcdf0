package compose

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/upstream"
)

// TestClientLeaves: the calls of a client that leaves are ended, wherever they stand, and nothing more begins (SEMANTICS 7.11).
func TestClientLeaves(t *testing.T) {
	for _, tc := range []struct {
		name string
		say  string // what the service says before it falls silent
	}{
		{"before the answer", ""},
		{"within the head", "HTTP/1.1 200 X\r\n"},
		{"within the body", "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n[1,"},
		{"before the body", "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
				if _, ok := c.ReadHead(); ok {
					c.Send(tc.say)
					c.Hang()
				}
			})
			p := plan(t, o.Addr, `
timeout: 1m
steps:
  one: {backend: app, path: /one}
  two: {backend: app, path: /two, optional: true}
  three: {backend: app, path: "/three/${item}", for_each: "[1, 2, 3]", parallel: 2}
  after: {backend: app, path: "/after/${two.body}"}
body: {}
`)
			c := connect(t, front{p})
			c.Send("GET /whole/7 HTTP/1.1\r\nHost: example.test\r\n\r\n")
			for i := range 4 {
				testnet.Eventually(t, "the calls are under way", func() bool { return len(o.Conn(i).Received()) > 0 })
			}
			left := time.Now()
			if err := c.Conn.Close(); err != nil {
				t.Fatal(err)
			}
			for i := range 4 {
				testnet.Receive(t, "the end of a call", o.Conn(i).Ended())
			}
			t.Logf("all calls had ended after %v", time.Since(left))
			if n := o.Conns(); n != 4 {
				t.Errorf("%d calls, want 4", n)
			}
		})
	}
}

// silent is a client that leaves when it is told to.
type silent struct{ left atomic.Bool }

func (*silent) WriteInterim(int, *message.Header) error { return nil }
func (s *silent) Gone() bool                            { return s.left.Load() }

// patient is a client that stays, and tells how often it was looked at.
type patient struct {
	silent
	looks atomic.Int64
}

func (p *patient) Gone() bool { p.looks.Add(1); return false }

// TestClientStays: a client that waits is looked at again and again, and gets its answer.
func TestClientStays(t *testing.T) {
	client := &patient{}
	o := serve(t, func(_ *testnet.Request, c *testnet.OriginConn) string {
		for client.looks.Load() < 3 {
			select {
			case <-c.TestEnds():
				return ""
			case <-time.After(time.Millisecond):
			}
		}
		return ok("1")
	})
	p := plan(t, o.Addr, "timeout: 1m\nsteps:\n  a: {backend: app, path: /a}\nbody: ${a.body}\n")
	for range 2 {
		x := exchange()
		x.Interim = client
		wantBody(t, askWith(t, p, x), "1")
	}
}

// TestHandedOver: an exchange's thread that has nothing to do makes one of the calls that become ready.
func TestHandedOver(t *testing.T) {
	release := make(chan struct{})
	o := serve(t, func(r *testnet.Request, c *testnet.OriginConn) string {
		if r.Target == "/slow" && !c.Wait(release) {
			return ""
		}
		return ok("1")
	})
	p := plan(t, o.Addr, `
timeout: 1m
steps:
  slow: {backend: app, path: /slow}
  quick: {backend: app, path: /quick}
  c: {backend: app, path: "/c/${slow.body}"}
  d: {backend: app, path: "/d/${slow.body}"}
body: ["${c.body}", "${d.body}"]
`)
	r := newRun(p)
	p.runs.New = func() any { return r }
	done := make(chan answer)
	go func() { done <- ask(t, p) }()
	testnet.Eventually(t, "the exchange's thread has nothing to do", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.idle
	})
	close(release)
	wantBody(t, testnet.Receive(t, "the answer", done), "[1,1]")
}

// TestClientLeavesQueue: a call that waits for a place at an endpoint gives its place up when its client has left.
func TestClientLeavesQueue(t *testing.T) {
	o := testnet.NewOrigin(t, func(c *testnet.OriginConn) { c.Hang() })
	b := backend(t, o.Addr, func(o *upstream.Options) { o.MaxInFlight, o.Queue, o.QueueTimeout = 1, 10, testnet.Patience })
	p := planWith(t, "timeout: 1m\nsteps:\n  one: {backend: app, path: /one}\n  two: {backend: app, path: /two}\nbody: {}\n", nil,
		func(string) *upstream.Backend { return b })
	client := &silent{}
	x := exchange()
	x.Interim = client
	done := make(chan answer)
	go func() { done <- askWith(t, p, x) }()
	o.Conn(0)
	client.left.Store(true)
	testnet.Receive(t, "the end of the call that has the place", o.Conn(0).Ended())
	a := testnet.Receive(t, "the end of the composition", done)
	if a.failure == nil || a.failure.Reason != message.ClientClosed {
		t.Errorf("failure %v, want that the client has left", a.failure)
	}
	if n := o.Conns(); n > 1 {
		t.Errorf("%d calls: the second was made for nobody", n)
	}
}

// TestDeadline: the composition's time bounds all steps, a step's own its own from its begin, and the exchange's both (SEMANTICS 7.9).
func TestDeadline(t *testing.T) {
	hang := testnet.NewOrigin(t, func(c *testnet.OriginConn) { c.Hang() })
	good := files(t, map[string]string{"/good": ok("1")})
	backends := func(name string) *upstream.Backend {
		if name == "other" {
			return backend(t, hang.Addr, nil)
		}
		return backend(t, good.Addr, nil)
	}
	const steps = "steps:\n  slow: {backend: other, path: /slow, optional: true, TIMEOUT}\nbody: [\"${slow.body}\", 1]\n"
	for _, tc := range []struct {
		name, compose string
		deadline      time.Duration
	}{
		{"of the step", "timeout: 1m\n" + strings.ReplaceAll(steps, "TIMEOUT", "timeout: 30ms"), 0},
		{"of the composition", "timeout: 30ms\n" + strings.ReplaceAll(steps, "TIMEOUT", "timeout: 1m"), 0},
		{"of the exchange", "timeout: 1m\n" + strings.ReplaceAll(steps, "TIMEOUT", "method: GET"), 30 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := planWith(t, tc.compose, nil, backends)
			x := exchange()
			if tc.deadline > 0 {
				x.Deadline = message.Now() + int64(tc.deadline)
			}
			a := askWith(t, p, x)
			wantBody(t, a, `[null,1]`)
			if got := a.header["Sluice-Partial"]; got != "slow;reason=timeout" {
				t.Errorf("Sluice-Partial %q", got)
			}
		})
	}
	t.Run("no time is left for a later step", func(t *testing.T) {
		p := planWith(t, "timeout: 30ms\nsteps:\n  slow: {backend: other, path: /slow, optional: true}\n  next: {backend: app, path: /good, headers: {X-A: \"${slow.status}\"}}\nbody: {}\n", nil, backends)
		before := len(good.seen())
		wantParts(t, ask(t, p), 504, `{"step":"slow","outcome":"timeout","reason":"timeout"},{"step":"next","outcome":"timeout","reason":"timeout"}`)
		if n := len(good.seen()); n != before {
			t.Error("a step was begun when the time was up")
		}
	})
}

// TestPanic: a panic in a call, which is a bug, ends the exchange as one of its own, and only when all other calls have ended.
func TestPanic(t *testing.T) {
	hang := testnet.NewOrigin(t, func(c *testnet.OriginConn) { c.Hang() })
	for _, steps := range []string{
		"  bug: {backend: app, path: /}\n  slow: {backend: other, path: /slow}\n",
		"  slow: {backend: other, path: /slow}\n  bug: {backend: app, path: /}\n",
	} {
		p := planWith(t, "timeout: 1m\nsteps:\n"+steps+"body: {}\n", nil, func(name string) *upstream.Backend {
			if name == "app" {
				return nil
			}
			return backend(t, hang.Addr, nil)
		})
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was lost")
				}
			}()
			p.Serve(exchange(), 0)
		}()
	}
	testnet.Eventually(t, "the other calls have ended", func() bool {
		for i := range hang.Conns() {
			select {
			case <-hang.Conn(i).Ended():
			default:
				return false
			}
		}
		return true
	})
}
