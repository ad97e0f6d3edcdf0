package upstream

import (
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// Status is a backend as it stands at one moment.
type Status struct {
	Name      string
	Algorithm string
	Usable    int  // endpoints that are neither down nor ejected
	Panic     bool // all endpoints are used, well or not
	InFlight  int64
	Endpoints []EndpointStatus

	Retries       uint64 // tries besides the first, without replays
	RetriesSaved  uint64 // of these, those that brought an answer
	RetriesDenied uint64 // that the budget did not allow
	Replays       uint64 // on a new connection, after an idle one had been closed
	BodyBytes     int64  // of request bodies kept for retries now
	BodiesDropped uint64 // request bodies not kept because there were too many
}

// EndpointStatus is an endpoint as it stands at one moment.
type EndpointStatus struct {
	Address    string
	Weight     int
	Healthy    bool          // active checks have nothing against it
	EjectedFor time.Duration // how much longer it is left out for its failures; 0 if it is not
	InFlight   int64
	Requests   uint64
	Failures   uint64
	Checked    bool // there was an active check
	CheckedAt  time.Time
	CheckFault string // what was wrong at the last check; "" if it passed
}

// Snapshot returns the backend as it stands. It is for people and tests, not for every request.
func (b *Backend) Snapshot() Status {
	now := message.Now()
	c := b.current(now)
	s := Status{
		Name: b.options.Name, Algorithm: b.options.Algorithm,
		Usable: c.usable, Panic: c.panics, InFlight: b.inFlight(),
		Endpoints:     make([]EndpointStatus, len(b.endpoints)),
		RetriesSaved:  b.metrics.saved.Value(),
		RetriesDenied: b.metrics.exhausted.Value(),
		Replays:       b.metrics.replayed.Value(),
		BodyBytes:     b.store.held.Load(),
		BodiesDropped: b.store.dropped.Load(),
	}
	s.Retries = s.RetriesSaved + b.metrics.lost.Value()
	for i, ep := range b.endpoints {
		check := ep.lastCheck()
		e := EndpointStatus{
			Address: ep.address, Weight: b.options.Endpoints[i].Weight,
			Healthy: b.well(ep), EjectedFor: ep.ejectedFor(now),
			InFlight: ep.load.InFlight(), Requests: ep.metrics.requests.Value(), Failures: ep.failures.Load(),
			Checked: check.known, CheckFault: check.fault,
		}
		if check.known {
			e.CheckedAt = message.WallTime(check.at)
		}
		s.Endpoints[i] = e
	}
	return s
}
