package upstream

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/http1"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// bounded returns a change of options for a bound of in-flight requests and a queue.
func bounded(inFlight, queue int, timeout time.Duration) func(*Options) {
	return func(o *Options) { o.MaxInFlight, o.Queue, o.QueueTimeout = inFlight, queue, timeout }
}

// guest is one exchange of a test that stays at its endpoint until it leaves.
type guest struct {
	flight  Flight
	x       *message.Exchange
	failure *message.Failure
	at      time.Duration // when Do had returned, since the begin of the test
	done    atomic.Bool   // Do has returned
}

// hall sends guests to a backend in a bubble.
type hall struct {
	t     *testing.T
	b     *Backend
	begin time.Time
	wg    sync.WaitGroup
	order []string // names in the order in which they got a place
	mu    sync.Mutex
}

func newHall(t *testing.T, b *Backend) *hall { return &hall{t: t, b: b, begin: time.Now()} }

// come starts an exchange and returns when it has got a place, has failed or waits.
func (h *hall) come(name string, change func(*message.Exchange)) *guest {
	return h.comeWith(name, nil, change)
}

// comeWith is come with what can end it.
func (h *hall) comeWith(name string, cancel *http1.Cancel, change func(*message.Exchange)) *guest {
	g := &guest{x: newExchange("GET")}
	g.flight.Cancel = cancel
	if change != nil {
		change(g.x)
	}
	h.wg.Go(func() {
		failure := h.b.Do(g.x, &g.flight)
		h.mu.Lock()
		defer h.mu.Unlock()
		g.at = time.Since(h.begin)
		defer g.done.Store(true)
		if failure != nil {
			f := *failure
			g.failure = &f
			g.x.Fail(failure)
			g.flight.Finish(g.x)
			return
		}
		h.order = append(h.order, name)
	})
	synctest.Wait()
	return g
}

// leave ends an exchange that has a place.
func (h *hall) leave(g *guest) {
	h.t.Helper()
	if !g.done.Load() || g.failure != nil {
		h.t.Fatalf("a guest that leaves has no place: done %v, failure %v", g.done.Load(), g.failure)
	}
	g.flight.Finish(g.x)
	synctest.Wait()
}

func (h *hall) sequence() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.order, " ")
}

// reason returns the reason of a guest's failure, "place" if it has one and "waits" while it waits.
func (g *guest) reason() string {
	switch {
	case !g.done.Load():
		return "waits"
	case g.failure == nil:
		return "place"
	}
	return g.failure.Reason.String()
}

func TestQueueServesTheOldestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, bounded(1, 10, time.Second), answers(200), answers(200))
		h := newHall(t, g.Backend)
		a, b := h.come("a", nil), h.come("b", nil)
		if a.x.Outcome.Endpoint == b.x.Outcome.Endpoint {
			t.Errorf("both went to %s", a.x.Outcome.Endpoint)
		}
		c, d, e := h.come("c", nil), h.come("d", nil), h.come("e", nil)
		if got := g.Snapshot(); c.reason() != "waits" || d.reason() != "waits" || e.reason() != "waits" || got.InFlight != 2 || got.Waiting != 3 {
			t.Errorf("c %s, d %s, e %s, %d in flight, %d waiting", c.reason(), d.reason(), e.reason(), got.InFlight, got.Waiting)
		}
		h.leave(b)
		if c.reason() != "place" || c.x.Outcome.Endpoint != b.x.Outcome.Endpoint || d.reason() != "waits" {
			t.Errorf("c %s at %s, d %s", c.reason(), c.x.Outcome.Endpoint, d.reason())
		}
		h.leave(a)
		h.leave(c)
		h.leave(d)
		h.leave(e)
		h.wg.Wait()
		if got := h.sequence(); got != "a b c d e" {
			t.Errorf("served in the order %s", got)
		}
		if n := g.inFlight(); n != 0 {
			t.Errorf("%d in flight at the end", n)
		}
	})
}

func TestQueueRefuses(t *testing.T) {
	const patience = 700 * time.Millisecond
	for _, test := range []struct {
		name   string
		queue  int
		left   time.Duration // deadline of the third, 0 for none
		fourth bool          // look at the fourth, which comes while the third waits
		reason string
		after  time.Duration
	}{
		{"no queue", 0, 0, false, "queue_full", 0},
		{"full", 1, 0, true, "queue_full", 0},
		{"timeout", 1, 0, false, "queue_timeout", patience},
		{"deadline", 1, 300 * time.Millisecond, false, "queue_timeout", 299 * time.Millisecond},
		{"no time to wait", 1, time.Duration(minTryTime), false, "queue_timeout", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg := metric.NewRegistry(metric.Options{})
				g := newGroup(t, bounded(1, test.queue, patience), answers(200), answers(200))
				g.metrics.open(reg, "shop")
				g.metrics.openQueue("shop")
				h := newHall(t, g.Backend)
				a, b := h.come("a", nil), h.come("b", nil)
				third := h.come("c", func(x *message.Exchange) {
					if test.left > 0 {
						x.Deadline = message.Now() + int64(test.left)
					}
				})
				looked := third
				if test.fourth {
					looked = h.come("d", nil)
				}
				pass(patience)
				if looked.reason() != test.reason || looked.at != test.after {
					t.Errorf("%s after %v, want %s after %v", looked.reason(), looked.at, test.reason, test.after)
				}
				if f := looked.failure; f != nil && (f.Side != message.SideUpstream || f.Reason.Status() != 503 || looked.x.Outcome.Attempts != 0) {
					t.Errorf("failure %+v after %d attempts", f, looked.x.Outcome.Attempts)
				}
				h.leave(a)
				h.leave(b)
				h.wg.Wait()
				want := map[string]int64{"queue_full": 0, "queue_timeout": 0}
				want[test.reason]++
				if test.fourth {
					want["queue_timeout"]++ // the third
				}
				reg.Each(metric.QueueRefused, func(values []string, n int64) {
					if n != want[values[1]] {
						t.Errorf("%s counted %d times, want %d", values[1], n, want[values[1]])
					}
				})
				reg.Each(metric.BackendQueue, func(_ []string, n int64) {
					if n != 0 {
						t.Errorf("%d are still said to wait", n)
					}
				})
			})
		})
	}
}

// TestQueueServesTheNewestFirstWhenItStands: after 100 ms without an empty queue.
func TestQueueServesTheNewestFirstWhenItStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, bounded(1, 10, time.Second), answers(200))
		h := newHall(t, g.Backend)
		a := h.come("a", nil)
		b, c, d := h.come("b", nil), h.come("c", nil), h.come("d", nil)
		pass(time.Duration(standing))
		h.leave(a) // at 100 ms it is still the oldest
		pass(time.Millisecond)
		e := h.come("e", nil)
		for _, next := range []*guest{b, e, d, c} {
			h.leave(next)
		}
		f, z := h.come("f", nil), h.come("z", nil) // the queue was empty: from the beginning
		y := h.come("y", nil)
		for _, next := range []*guest{f, z, y} {
			h.leave(next)
		}
		h.wg.Wait()
		if got := h.sequence(); got != "a b e d c f z y" {
			t.Errorf("served in the order %s", got)
		}
	})
}

// TestQueueShedsUnderOverload: a queue that has been standing for longer than anyone may wait keeps nobody for long.
func TestQueueShedsUnderOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const patience = 500 * time.Millisecond // so the target is 50 ms
		g := newGroup(t, bounded(1, 100, patience), answers(200))
		h := newHall(t, g.Backend)
		last := h.come("0", nil)
		var all []*guest
		// One request each 10 ms, and one is served each 20 ms: twice as many as can be.
		for i := 1; i <= 100; i++ {
			pass(10 * time.Millisecond)
			all = append(all, h.come(fmt.Sprint(i), nil))
			if i%2 == 0 {
				h.leave(last)
				last = nil
				for _, o := range all {
					if o.done.Load() && o.failure == nil && o.flight.endpoint != nil {
						last = o
					}
				}
				if last == nil {
					t.Fatalf("nobody has the place after %d", i)
				}
			}
		}
		var early, late int // of those that came in the second half
		longest := time.Duration(0)
		for i, o := range all {
			waited := o.at - time.Duration(i+1)*10*time.Millisecond
			switch {
			case !o.done.Load():
			case o.failure == nil && i >= 60:
				early++
				longest = max(longest, waited)
			case o.failure != nil && i >= 60:
				late++
				longest = max(longest, waited)
			}
		}
		if longest > 60*time.Millisecond {
			t.Errorf("somebody waited for %v under overload, where 50 ms is the bound", longest)
		}
		if early < 18 || late < 12 {
			t.Errorf("of the last 40, %d were served and %d refused", early, late)
		}
		h.leave(last)
		pass(patience)
		for _, o := range all {
			if o.done.Load() && o.failure == nil && o.flight.endpoint != nil {
				h.leave(o)
			}
		}
		h.wg.Wait()
	})
}

func TestQueueTarget(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{
		time.Millisecond: time.Millisecond, 20 * time.Millisecond: 5 * time.Millisecond, 200 * time.Millisecond: 20 * time.Millisecond,
		time.Second: 100 * time.Millisecond, time.Minute: 100 * time.Millisecond,
	} {
		b := &Backend{}
		bounded(1, 1, timeout)(&b.options)
		if got := time.Duration(newQueue(b).target); got != want {
			t.Errorf("queue_timeout %v: target %v, want %v", timeout, got, want)
		}
	}
	if newQueue(&Backend{}) != nil {
		t.Error("a queue without a bound")
	}
}

// TestFullEndpointsAreSkipped: as long as one of many has a place, nobody waits, whatever the algorithm.
func TestFullEndpointsAreSkipped(t *testing.T) {
	for _, algorithm := range []string{"round_robin", "random", "least_request", "maglev", "ring_hash", "rendezvous", "least_latency", "least_connections"} {
		t.Run(algorithm, func(t *testing.T) {
			const endpoints, inFlight = 40, 2
			var all []func(*message.Exchange, *Call) *message.Failure
			for range endpoints {
				all = append(all, answers(200))
			}
			g := newGroup(t, func(o *Options) {
				bounded(inFlight, 0, time.Second)(o)
				o.Algorithm = algorithm
			}, all...)
			flights := make([]Flight, endpoints*inFlight+1)
			for i := range flights {
				failure := g.Do(newExchange("GET"), &flights[i])
				if full := i == endpoints*inFlight; full != (failure != nil) {
					t.Fatalf("request %d: %v", i, failure)
				}
			}
			for i := range flights {
				flights[i].Finish(newExchange("GET"))
			}
			for _, ep := range g.endpoints {
				if n := ep.load.InFlight(); n != 0 {
					t.Errorf("%s has %d in flight at the end", ep.address, n)
				}
			}
		})
	}
}

// TestSessionWaitsForItsEndpoint: the client's session is nowhere else.
func TestSessionWaitsForItsEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, func(o *Options) {
			bounded(1, 10, time.Second)(o)
			o.Session = &SessionOptions{Cookie: "s", Secret: []byte("0123456789abcdef")}
		}, answers(200), answers(200))
		h := newHall(t, g.Backend)
		cookie := func(slot int) func(*message.Exchange) {
			return func(x *message.Exchange) {
				x.Request.Header.Add(message.Cookie.Name(), []byte("s="+g.session.token(g.endpoints[slot].address)))
			}
		}
		a := h.come("a", cookie(1))
		b := h.come("b", cookie(1))
		if a.x.Outcome.Endpoint != g.endpoints[1].address || b.reason() != "waits" {
			t.Fatalf("a at %s, b %s", a.x.Outcome.Endpoint, b.reason())
		}
		c := h.come("c", nil) // behind one that waits for something special
		if c.reason() != "place" || c.x.Outcome.Endpoint != g.endpoints[0].address {
			t.Errorf("c %s at %s", c.reason(), c.x.Outcome.Endpoint)
		}
		d := h.come("d", nil)
		h.leave(c)
		if b.reason() != "waits" || d.reason() != "place" {
			t.Errorf("the place at the other endpoint: b %s, d %s", b.reason(), d.reason())
		}
		h.leave(a)
		if b.reason() != "place" || b.x.Outcome.Endpoint != g.endpoints[1].address {
			t.Errorf("b %s at %s", b.reason(), b.x.Outcome.Endpoint)
		}
		e := h.come("e", cookie(1))
		h.leave(d)
		g.endpoints[1].down.Store(true) // the session's endpoint has gone: any other will do
		g.endpoints[1].changed()
		g.refresh(message.Now())
		if e.reason() != "place" {
			synctest.Wait()
		}
		if e.reason() != "place" || e.x.Outcome.Endpoint != g.endpoints[0].address {
			t.Errorf("e %s at %s", e.reason(), e.x.Outcome.Endpoint)
		}
		h.leave(e)
		h.leave(b)
		h.wg.Wait()
	})
}

// TestEndpointsThatComeWakeWaiters: an endpoint that an operator had taken out, and one whose ejection ends.
func TestEndpointsThatComeWakeWaiters(t *testing.T) {
	for _, test := range []struct {
		name string
		out  func(b *Backend, ep *Endpoint)
		in   func(b *Backend, ep *Endpoint)
	}{
		{"override", func(_ *Backend, ep *Endpoint) { ep.SetOverride(&Override{State: StateMaint, Weight: -1}) }, func(_ *Backend, ep *Endpoint) { ep.SetOverride(nil) }},
		{"ejection", func(b *Backend, ep *Endpoint) {
			ep.ejectedUntil.Store(message.Now() + int64(300*time.Millisecond))
			b.refresh(message.Now())
		}, func(*Backend, *Endpoint) { pass(301 * time.Millisecond) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGroup(t, bounded(1, 10, time.Second), answers(200), answers(200))
				g.Start()
				test.out(g.Backend, g.endpoints[1])
				h := newHall(t, g.Backend)
				a, b := h.come("a", nil), h.come("b", nil)
				if a.x.Outcome.Endpoint != g.endpoints[0].address || b.reason() != "waits" {
					t.Fatalf("a at %s, b %s", a.x.Outcome.Endpoint, b.reason())
				}
				test.in(g.Backend, g.endpoints[1])
				synctest.Wait()
				if b.reason() != "place" || b.x.Outcome.Endpoint != g.endpoints[1].address {
					t.Errorf("b %s at %s", b.reason(), b.x.Outcome.Endpoint)
				}
				h.leave(a)
				h.leave(b)
				h.wg.Wait()
				g.Close()
			})
		})
	}
}

// TestRetriesAndFullEndpoints: where a retry goes when the endpoints that it has not tried are full.
func TestRetriesAndFullEndpoints(t *testing.T) {
	for _, test := range []struct {
		name     string
		first    func(*message.Exchange, *Call) *message.Failure
		statuses bool
		frees    bool // the other endpoint gets a place after 100 ms
		reason   string
		calls    string
	}{
		{"waits for the other", fails(refusedFailure), false, true, "place", "1 1"},
		{"not for longer than the queue's timeout", fails(refusedFailure), false, false, "upstream_connect_refused", "1 0"},
		{"does not wait while it holds an answer", answers(503), true, true, "place", "1 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGroup(t, func(o *Options) {
					bounded(1, 10, time.Second)(o)
					if test.statuses {
						o.Retry.Statuses = []StatusRange{{503, 503}}
					}
				}, test.first, answers(200))
				g.endpoints[1].load.Begin()
				h := newHall(t, g.Backend)
				a := h.come("a", nil)
				pass(100 * time.Millisecond)
				if test.frees {
					g.endpoints[1].release()
				}
				pass(time.Second)
				if a.reason() != test.reason || g.calls() != test.calls {
					t.Errorf("%s after calls %s, want %s after %s", a.reason(), g.calls(), test.reason, test.calls)
				}
				if a.failure == nil {
					h.leave(a)
				}
				h.wg.Wait()
				if n := g.endpoints[0].load.InFlight(); n != 0 {
					t.Errorf("%d in flight at the first endpoint at the end", n)
				}
			})
		})
	}
}

// TestRetryGoesBackWhenThereIsNoOther: the only endpoint is waited for, and used again.
func TestRetryGoesBackWhenThereIsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		g := newGroup(t, bounded(1, 10, time.Second), func(x *message.Exchange, c *Call) *message.Failure {
			if tries++; tries == 1 {
				return fails(refusedFailure)(x, c)
			}
			return answers(200)(x, c)
		})
		if failure, x := g.send("GET"); failure != nil || x.Outcome.Attempts != 2 {
			t.Errorf("%v after %d attempts", failure, x.Outcome.Attempts)
		}
	})
}

// TestReplayKeepsItsPlace: between the two tries nobody else can take it.
func TestReplayKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g *group
		seen := int64(0)
		g = newGroup(t, bounded(1, 10, time.Second), func(x *message.Exchange, c *Call) *message.Failure {
			seen = max(seen, g.endpoints[0].load.InFlight())
			if !c.Fresh {
				c.Reused = true
				return fails(raceFailure)(x, c)
			}
			return answers(200)(x, c)
		})
		h := newHall(t, g.Backend)
		var all []*guest
		for i := range 5 {
			all = append(all, h.come(fmt.Sprint(i), nil))
		}
		for _, a := range all {
			h.leave(a)
		}
		h.wg.Wait()
		if got := h.sequence(); got != "0 1 2 3 4" || seen != 1 {
			t.Errorf("order %s, at most %d in flight", got, seen)
		}
	})
}

// TestQueueSurvivesReloads: who waits in a generation that has ended gets a place when an exchange of any generation leaves one.
func TestQueueSurvivesReloads(t *testing.T) {
	for _, unbounded := range []bool{false, true} {
		t.Run(fmt.Sprintf("unbounded %v", unbounded), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGroup(t, bounded(1, 10, time.Second), answers(200))
				g.Start()
				old := newHall(t, g.Backend)
				a, b := old.come("a", nil), old.come("b", nil)
				o := g.options
				o.Running = true
				if unbounded {
					o.MaxInFlight = 0
				}
				next, err := New(o, g.keeper, nil)
				if err != nil {
					t.Fatal(err)
				}
				g.Close()
				next.Start()
				fresh := newHall(t, next)
				c := fresh.come("c", nil)
				if want := map[bool]string{false: "waits", true: "place"}[unbounded]; b.reason() != "waits" || c.reason() != want {
					t.Fatalf("b %s, c %s, want %s", b.reason(), c.reason(), want)
				}
				old.leave(a)
				if unbounded {
					if b.reason() != "waits" {
						t.Errorf("b got a place where one is taken: %s", b.reason())
					}
					fresh.leave(c)
				}
				if b.reason() != "place" {
					t.Errorf("b %s", b.reason())
				}
				d := old.come("d", nil) // one of the old generation that comes late
				if d.reason() != "waits" {
					t.Errorf("d %s", d.reason())
				}
				old.leave(b)
				if !unbounded { // c came before it
					fresh.leave(c)
				}
				if d.reason() != "place" {
					t.Errorf("d %s", d.reason())
				}
				old.leave(d)
				old.wg.Wait()
				fresh.wg.Wait()
				p := g.endpoints[0].seats.Load()
				switch {
				case unbounded && p != nil:
					t.Errorf("the endpoint still knows %d queues", len(*p))
				case !unbounded && (p == nil || len(*p) != 1 || (*p)[0].queue != next.queue):
					t.Errorf("the endpoint knows queues %v", p)
				}
				next.Close()
				if g.endpoints[0].seats.Load() != nil {
					t.Error("the endpoint still knows a queue")
				}
			})
		})
	}
}

// goneClient is the connection of a client that has left.
type goneClient struct{ gone atomic.Bool }

func (*goneClient) WriteInterim(int, *message.Header) error { return nil }
func (c *goneClient) Gone() bool                            { return c.gone.Load() }

// TestQueueNoticesThatTheClientHasLeft: its turn goes to the next.
func TestQueueNoticesThatTheClientHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, bounded(1, 10, time.Second), answers(200))
		h := newHall(t, g.Backend)
		client := &goneClient{}
		a := h.come("a", nil)
		b := h.come("b", func(x *message.Exchange) { x.Interim = client })
		c := h.come("c", nil)
		client.gone.Store(true)
		h.leave(a)
		if b.reason() != "client_closed" || b.x.Outcome.Attempts != 0 || c.reason() != "place" {
			t.Errorf("b %s after %d attempts, c %s", b.reason(), b.x.Outcome.Attempts, c.reason())
		}
		h.leave(c)
		h.wg.Wait()
	})
}
