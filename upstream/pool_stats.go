package upstream

import (
	"sync"

	"github.com/sluice-gateway/sluice/http1"
	"github.com/sluice-gateway/sluice/metric"
)

// retired is what the transports of an endpoint that were replaced had counted, so that counters go on where the next one begins at 0.
type retired struct {
	mu    sync.Mutex // held while one transport follows another, and by whoever reads the sum
	stats http1.PoolStats
}

// statsOf returns what a transport tells of its connections, nothing if it tells nothing.
func statsOf(t Transport) http1.PoolStats {
	if p, ok := t.(interface{ Stats() http1.PoolStats }); ok {
		return p.Stats()
	}
	return http1.PoolStats{}
}

// replace makes t the endpoint's transport. What the one before counts from then on, for exchanges that still have its connections, is in no sum.
func (ep *Endpoint) replace(t *boundTransport) {
	ep.retired.mu.Lock()
	before := ep.transport.Swap(t)
	s := statsOf(before.Transport)
	sum := &ep.retired.stats
	sum.Stale += s.Stale
	sum.Raced += s.Raced
	sum.Spared += s.Spared
	sum.Evicted += s.Evicted
	ep.retired.mu.Unlock()
	before.Close()
}

// poolStats returns how the connections of the endpoint are used: Idle and Bound of its transport, the counters of all that it has had.
func (ep *Endpoint) poolStats() http1.PoolStats {
	ep.retired.mu.Lock()
	defer ep.retired.mu.Unlock()
	s, sum := statsOf(ep.transport.Load().Transport), &ep.retired.stats
	s.Stale += sum.Stale
	s.Raced += sum.Raced
	s.Spared += sum.Spared
	s.Evicted += sum.Evicted
	return s
}

// openPool shows how the connections of the endpoint are used.
func (m *endpointMetrics) openPool(ep *Endpoint) {
	m.scope.GaugeFunc(metric.UpstreamConnectionsIdle, func() int64 { return int64(ep.poolStats().Idle) }, ep.backend, ep.address)
	m.scope.GaugeFunc(metric.UpstreamConnectionsBound, func() int64 { return int64(ep.poolStats().Bound) }, ep.backend, ep.address)
	for _, c := range []struct {
		reason string
		of     func(*http1.PoolStats) uint64
	}{
		{"stale", func(s *http1.PoolStats) uint64 { return s.Stale }},
		{"raced", func(s *http1.PoolStats) uint64 { return s.Raced }},
		{"spared", func(s *http1.PoolStats) uint64 { return s.Spared }},
		{"evicted", func(s *http1.PoolStats) uint64 { return s.Evicted }},
	} {
		m.scope.CounterFunc(metric.UpstreamConnectionsUnusable, func() int64 { s := ep.poolStats(); return int64(c.of(&s)) }, ep.backend, ep.address, c.reason)
	}
}
