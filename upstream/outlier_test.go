package upstream

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// flaky returns a transport function that follows *status, and fails with a reset when that is 0.
func flaky(status *int) func(*message.Exchange, *Call) *message.Failure {
	return func(x *message.Exchange, c *Call) *message.Failure {
		if *status == 0 {
			return fails(resetFailure)(x, c)
		}
		return answers(*status)(x, c)
	}
}

func noRetry(o *Options) { o.Retry.Attempts = 0 }

// ejected returns which endpoints are ejected, as a string of x and -.
func (g *group) ejected() string {
	s := ""
	for _, e := range g.Snapshot().Endpoints {
		if e.EjectedFor > 0 {
			s += "x"
		} else {
			s += "-"
		}
	}
	return s
}

// TestWhatCountsAsFailure is the list of SEMANTICS 11.5.
func TestWhatCountsAsFailure(t *testing.T) {
	connectTimeout := refusedFailure
	connectTimeout.Reason = message.UpstreamConnectTimeout
	for _, test := range []struct {
		name   string
		answer func(*message.Exchange, *Call) *message.Failure
		finish func(x *message.Exchange)
		counts bool
	}{
		{"refused", fails(refusedFailure), nil, true},
		{"connect timeout", fails(connectTimeout), nil, true},
		{"reset", fails(resetFailure), nil, true},
		{"timeout", fails(slowFailure), nil, true},
		{"malformed answer", fails(brokenFailure), nil, true},
		{"500", answers(500), nil, true},
		{"502", answers(502), nil, true},
		{"503", answers(503), nil, true},
		{"504", answers(504), nil, true},
		{"501", answers(501), nil, false},
		{"505", answers(505), nil, false},
		{"404", answers(404), nil, false},
		{"200", answers(200), nil, false},
		{"client gone", fails(clientFailure), nil, false},
		{"client gone later", answers(200), func(x *message.Exchange) { x.Fail(&clientFailure) }, false},
		{"body broken off", answers(200), func(x *message.Exchange) {
			x.Fail(&message.Failure{Reason: message.UpstreamBodyBroken, Side: message.SideUpstream, Stage: message.StageReceive})
		}, true},
		{"route's time up while it sent", answers(200), func(x *message.Exchange) {
			x.Fail(&message.Failure{Reason: message.RouteTimeout, Side: message.SideUpstream, Stage: message.StageReceive})
		}, false},
		{"503, then the client left", answers(503), func(x *message.Exchange) { x.Fail(&clientFailure) }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newGroup(t, noRetry, test.answer)
			for i := range 3 {
				var f Flight
				x := newExchange("GET")
				if failure := g.Do(x, &f); failure != nil {
					x.Fail(failure)
				} else if test.finish != nil {
					test.finish(x)
				}
				f.Finish(x)
				want := 0
				if test.counts {
					want = i + 1
				}
				ep := g.endpoints[0]
				if got := ep.failing.Load(); int(got) != want || int(ep.failures.Load()) != want {
					t.Fatalf("after %d requests %d failures in a row of %d, want %d", i+1, got, ep.failures.Load(), want)
				}
			}
			g.transports[0].answer = answers(200)
			g.send("GET")
			if got := g.endpoints[0].failing.Load(); got != 0 {
				t.Errorf("%d failures in a row after a success", got)
			}
		})
	}
}

func TestEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := 503
		g := newGroup(t, noRetry, flaky(&bad), answers(200))
		for range 9 { // turns: the first gets five
			g.send("GET")
		}
		if got := g.ejected(); got != "x-" {
			t.Fatalf("after five failures in a row: %s, want the first ejected", got)
		}
		before := g.transports[0].calls.Load()
		for range 10 {
			g.send("GET")
		}
		if n := g.transports[0].calls.Load() - before; n != 0 {
			t.Errorf("%d requests went to an ejected endpoint", n)
		}
		pass(10*time.Second - 1)
		if got := g.ejected(); got != "x-" {
			t.Errorf("back too early: %s", got)
		}
		pass(1)
		for range 4 {
			g.send("GET")
		}
		if n := g.transports[0].calls.Load() - before; n != 2 || g.ejected() != "--" {
			t.Errorf("%d of 4 requests went to the endpoint after its return (%s), want 2", n, g.ejected())
		}
	})
}

// TestEjectionGrows: each ejection without a success in between is longer by the first one, up to ten times; a success after the return begins anew.
func TestEjectionGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := 0
		g := newGroup(t, func(o *Options) { noRetry(o); o.Outlier.Consecutive = 2 }, flaky(&bad), answers(200))
		eject := func() time.Duration {
			t.Helper()
			for range 4 {
				g.send("GET")
			}
			left := g.Snapshot().Endpoints[0].EjectedFor
			if left == 0 {
				t.Fatal("not ejected")
			}
			pass(left)
			return left
		}
		for n := 1; n <= 12; n++ {
			if got, want := eject(), time.Duration(min(n, 10))*10*time.Second; got != want {
				t.Errorf("ejection %d lasts %s, want %s", n, got, want)
			}
		}
		bad = 200
		g.send("GET")
		g.send("GET")
		bad = 500
		if got := eject(); got != 10*time.Second {
			t.Errorf("after a success the next ejection lasts %s, want 10s", got)
		}
	})
}

// TestLateResults: what comes in during an ejection from requests that had begun before changes nothing.
func TestLateResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := 200
		g := newGroup(t, func(o *Options) { noRetry(o); o.Outlier.Consecutive = 1 }, flaky(&bad), answers(200))
		var late Flight
		x := newExchange("GET")
		if failure := g.Do(x, &late); failure != nil { // at the first endpoint
			t.Fatal(failure)
		}
		g.send("GET") // at the second
		bad = 0
		g.send("GET")
		if g.ejected() != "x-" {
			t.Fatal("not ejected")
		}
		late.Finish(x)
		g.failed(g.endpoints[0], 0, 0, false, message.Now())
		if ep := g.endpoints[0]; ep.ejections.Load() != 1 || ep.failing.Load() != 0 {
			t.Errorf("a late success and a late failure left %d ejections and %d failures in a row, want 1 and 0", ep.ejections.Load(), ep.failing.Load())
		}
	})
}

// TestNeverTheLast: however bad all are, one stays, and never more than the share is out.
func TestNeverTheLast(t *testing.T) {
	for _, test := range []struct {
		endpoints int
		share     float64
		want      int // ejected at most
	}{{1, 1, 0}, {2, 1, 1}, {3, 1, 2}, {5, 1, 4}, {2, 0.5, 1}, {3, 0.5, 1}, {4, 0.5, 2}, {5, 0.5, 2}, {10, 0.1, 1}, {10, 0.05, 1}, {3, 0, 0}} {
		t.Run(fmt.Sprint(test.endpoints, " ", test.share), func(t *testing.T) {
			bad := 500
			var all []func(*message.Exchange, *Call) *message.Failure
			for range test.endpoints {
				all = append(all, flaky(&bad))
			}
			g := newGroup(t, func(o *Options) { noRetry(o); o.Outlier.MaxEjected = test.share; o.Panic = 0 }, all...)
			for range 20 * test.endpoints {
				if failure, _ := g.send("GET"); failure != nil {
					t.Fatalf("no endpoint was left: %v", failure)
				}
			}
			if s := g.Snapshot(); test.endpoints-s.Usable != test.want {
				t.Errorf("%d of %d ejected, want %d", test.endpoints-s.Usable, test.endpoints, test.want)
			}
		})
	}
}

// TestNeverTheLastUsable: the others do not count when checks have found them down.
func TestNeverTheLastUsable(t *testing.T) {
	bad := 500
	g := newGroup(t, func(o *Options) {
		noRetry(o)
		o.Panic = 0
		o.Check = &CheckOptions{Kind: "tcp", Interval: time.Hour, Timeout: time.Second, Rise: 1, Fall: 1}
	}, flaky(&bad), flaky(&bad), flaky(&bad))
	for _, ep := range g.endpoints[1:] {
		ep.checked(fmt.Errorf("down"), 1, 1, 1)
	}
	g.refresh(message.Now())
	for range 20 {
		g.send("GET")
	}
	if got := g.ejected(); got != "---" {
		t.Errorf("ejected %s although no other endpoint is up", got)
	}
}

func TestEjectionOff(t *testing.T) {
	bad := 500
	g := newGroup(t, func(o *Options) { noRetry(o); o.Outlier.Consecutive = 0 }, flaky(&bad), answers(200))
	for range 40 {
		g.send("GET")
	}
	if got := g.ejected(); got != "--" {
		t.Errorf("ejected %s with ejection turned off", got)
	}
}

// TestPanic: with too many down all are used; with panic off nothing is answered when all are down; with no endpoint nothing ever is.
func TestPanic(t *testing.T) {
	check := &CheckOptions{Kind: "tcp", Interval: time.Hour, Timeout: time.Second, Rise: 1, Fall: 1}
	for _, test := range []struct {
		share     float64
		endpoints int
		down      int
		calls     string // after 12 requests; "" for 503
	}{
		{0.5, 3, 1, "0 6 6"}, {0.5, 3, 2, "4 4 4"}, {0.5, 3, 3, "4 4 4"}, {0.5, 2, 1, "0 12"}, {0, 3, 2, "0 0 12"}, {0, 3, 3, ""}, {1, 3, 2, "0 0 12"}, {1, 3, 3, "4 4 4"}, {0.5, 0, 0, ""},
	} {
		var all []func(*message.Exchange, *Call) *message.Failure
		for range test.endpoints {
			all = append(all, answers(200))
		}
		g := newGroup(t, func(o *Options) { o.Panic, o.Check = test.share, check }, all...)
		for _, ep := range g.endpoints[:test.down] {
			ep.checked(fmt.Errorf("down"), 1, 1, 1)
		}
		g.refresh(message.Now())
		g.built = false // begin with the first turn again
		g.refresh(message.Now())
		for range 12 {
			failure, x := g.send("GET")
			if unwell := test.calls == ""; unwell != (failure != nil) {
				t.Fatalf("%+v: failure %v", test, failure)
			} else if unwell && (failure.Reason != message.NoHealthyEndpoint || x.Outcome.Attempts != 0) {
				t.Fatalf("%+v: failure %v after %d attempts, want no_healthy_endpoint", test, failure, x.Outcome.Attempts)
			}
		}
		if got := g.calls(); test.calls != "" && got != test.calls {
			t.Errorf("%+v: calls %s", test, got)
		}
	}
}

func TestWeightZeroGetsNothing(t *testing.T) {
	for _, algorithm := range []string{"round_robin", "random", "least_request"} {
		g := newGroup(t, func(o *Options) { o.Algorithm = algorithm; o.Endpoints[0].Weight = 0 }, answers(200), answers(200))
		for range 20 {
			g.send("GET")
		}
		if got := g.calls(); got != "0 20" {
			t.Errorf("%s: calls %s", algorithm, got)
		}
	}
}

// TestManyAtOnce is for the race detector: requests, failures, ejections, checks and snapshots at the same time leave no request in flight and
// never all endpoints ejected.
func TestManyAtOnce(t *testing.T) {
	g := newGroup(t, func(o *Options) {
		o.Algorithm = "least_request"
		o.Outlier.Consecutive, o.Outlier.Eject, o.Outlier.MaxEjected = 2, time.Microsecond, 1
		o.Retry.Statuses = []StatusRange{{500, 599}}
		o.Check = &CheckOptions{Kind: "tcp", Interval: time.Hour, Timeout: time.Second, Rise: 1, Fall: 2}
	}, answers(200), answers(500), fails(refusedFailure), fails(resetFailure), answers(200))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				if failure, _ := g.send("GET"); failure != nil && failure.Reason == message.NoHealthyEndpoint {
					t.Error("no endpoint was left")
				}
			}
		})
	}
	wg.Go(func() {
		for i := range 200 {
			var err error
			if i%2 == 0 {
				err = fmt.Errorf("down")
			}
			if ep := g.endpoints[i%len(g.endpoints)]; ep.checked(err, 1, 2, message.Now()) {
				g.refresh(message.Now())
			}
			g.Snapshot()
		}
	})
	wg.Wait()
	if s := g.Snapshot(); s.InFlight != 0 || g.budget.retrying.Load() != 0 {
		t.Errorf("%d in flight and %d retries at the end", s.InFlight, g.budget.retrying.Load())
	}
}
