package upstream

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

func TestWindow(t *testing.T) {
	o := &OutlierOptions{ErrorRate: 0.5, Window: 10 * time.Second, MinRequests: 20}
	second := int64(time.Second)
	for _, test := range []struct {
		name       string
		good, bad  int
		goodAt     int64 // seconds
		badAt      int64
		want       bool
		afterClear bool
	}{
		{"too few", 5, 10, 100, 100, false, false},
		{"few failures", 30, 10, 100, 100, false, false},
		{"exactly the share", 10, 10, 100, 100, true, false},
		{"all", 0, 20, 100, 100, true, false},
		{"spread over the window", 10, 10, 101, 109, true, false},
		{"the good ones are forgotten", 100, 20, 100, 111, true, false},
		{"the good ones are just not forgotten", 100, 20, 101, 110, false, false},
		{"around the ring", 10, 10, 1009, 1013, true, false},
		{"after clear", 0, 19, 100, 100, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var w window
			if test.afterClear {
				for range 50 {
					w.failed(test.badAt*second, o)
				}
				w.clear()
			}
			for range test.good {
				w.succeeded(test.goodAt*second, o)
			}
			got := false
			for range test.bad {
				got = w.failed(test.badAt*second, o)
			}
			if got != test.want {
				requests, failures := w.sum(step(test.badAt*second, o))
				t.Errorf("%v with %d of %d", got, failures, requests)
			}
		})
	}
}

// TestErrorRate: an endpoint that fails every second request never fails five in a row, and is left out all the same.
func TestErrorRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		flapping := func(x *message.Exchange, _ *Call) *message.Failure {
			x.Response.Status = 200
			if n++; n%2 == 0 {
				x.Response.Status = 503
			}
			x.Times.FirstByte = message.Now()
			return nil
		}
		g := newGroup(t, func(o *Options) {
			noRetry(o)
			o.Outlier.ErrorRate, o.Outlier.MinRequests = 0.5, 20
		}, flapping, answers(200))
		for range 2 * 19 {
			g.send("GET")
		}
		if got := g.ejected(); got != "--" {
			t.Fatalf("ejected %s after 19 requests, fewer than min_requests", got)
		}
		for range 4 {
			g.send("GET")
		}
		if got := g.ejected(); got != "x-" {
			t.Errorf("ejected %s after %d requests of which half failed", got, n)
		}
	})
}
