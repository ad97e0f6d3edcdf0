package upstream

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/metric"
)

// TestMetrics: what happens to requests shows in the series, which go with their owners.
func TestMetrics(t *testing.T) {
	reg := metric.NewRegistry(metric.Options{})
	g := newGroup(t, func(o *Options) { o.Retry.Statuses = []StatusRange{{503, 503}}; o.Outlier.Consecutive = 2 }, fails(refusedFailure), answers(200))
	for _, ep := range g.endpoints {
		ep.metrics.open(reg, ep)
	}
	g.metrics.open(reg, "shop")
	for range 2 {
		g.send("GET")
	}
	g.transports[0].answer = answers(503)
	g.transports[1].answer = answers(503)
	g.send("GET")
	text := func() string {
		var b bytes.Buffer
		if _, err := reg.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	got := text()
	for _, line := range []string{
		`sluice_endpoint_requests_total{backend="shop",endpoint="127.0.0.1:9000"} 2`,
		`sluice_endpoint_failures_total{backend="shop",endpoint="127.0.0.1:9000",reason="upstream_connect_refused"} 2`,
		`sluice_endpoint_failures_total{backend="shop",endpoint="127.0.0.1:9001",reason="status_503"} 2`,
		`sluice_endpoint_ejections_total{backend="shop",endpoint="127.0.0.1:9000"} 1`,
		`sluice_endpoint_healthy{backend="shop",endpoint="127.0.0.1:9000"} 0`,
		`sluice_endpoint_healthy{backend="shop",endpoint="127.0.0.1:9001"} 1`,
		`sluice_endpoint_in_flight{backend="shop",endpoint="127.0.0.1:9001"} 0`,
		`sluice_retries_total{backend="shop",outcome="succeeded"} 2`,
		`sluice_retries_total{backend="shop",outcome="failed"} 1`,
		`sluice_upstream_duration_seconds_count{backend="shop"} 4`,
	} {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
	g.Close()
	for _, ep := range g.endpoints {
		ep.Close()
	}
	if left := text(); strings.Contains(left, `backend="shop"`) {
		t.Errorf("series are left after their owners were closed:\n%s", left)
	}
}
