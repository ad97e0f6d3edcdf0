package upstream

import (
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/metric"
)

// TestPoolMetrics: what becomes of unused connections shows, and goes on when a reload replaces the pool.
func TestPoolMetrics(t *testing.T) {
	// The second request of each connection is answered by its end.
	origin := newHTTPOrigin(t, func(_, request int) (string, bool) {
		if request == 1 {
			return "", true
		}
		return okAnswer, false
	})
	reg := metric.NewRegistry(metric.Options{})
	o := Default()
	o.Name, o.Algorithm, o.Retry.Attempts = "shop", "round_robin", 0
	o.Endpoints = []EndpointOptions{{Address: origin.Addr().String(), Weight: 1}}
	k := newKeeper()
	k.reg = reg
	b, err := New(o, k, reg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	b.Start()
	ep := b.Endpoint(origin.Addr().String())
	value := func(id metric.ID, labels ...string) (found int64) {
		found = -1
		reg.Each(id, func(values []string, v int64) {
			if len(labels) == 0 || values[2] == labels[0] {
				found = v
			}
		})
		return found
	}
	want := func(idle, raced int64) {
		t.Helper()
		if got := value(metric.UpstreamConnectionsIdle); got != idle {
			t.Errorf("%d idle connections, want %d", got, idle)
		}
		if got := value(metric.UpstreamConnectionsUnusable, "raced"); got != raced {
			t.Errorf("%d raced, want %d", got, raced)
		}
		for _, reason := range []string{"stale", "spared", "evicted"} {
			if got := value(metric.UpstreamConnectionsUnusable, reason); got != 0 {
				t.Errorf("%d %s, want 0", got, reason)
			}
		}
		if got := value(metric.UpstreamConnectionsBound); got != 0 {
			t.Errorf("%d bound connections, want 0", got)
		}
	}
	send := func() {
		t.Helper()
		if got, failure, _ := exchange(b, "GET", ""); failure != nil || got != "ok" {
			t.Fatalf("%q, %v", got, failure)
		}
	}
	send()
	want(1, 0)
	send() // meets the end of the connection, and is sent again
	want(1, 1)
	o.Idle += time.Second
	ep.adopt(o.Transport(ep.address, ""))
	want(0, 1)
	send()
	send()
	want(1, 2)
}
