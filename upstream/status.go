package upstream

import (
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/discovery"
	"github.com/sluice-gateway/sluice/message"
)

// Status is a backend as it stands at one moment.
type Status struct {
	Name      string
	Algorithm string
	Usable    int       // endpoints that are neither down nor ejected
	Panic     bool      // endpoints are used that are not well
	Shares    []float64 // of the requests, by level of priority
	InFlight  int64
	Waiting   int // requests in the queue
	Endpoints []EndpointStatus
	Sources   []SourceStatus // of endpoints that are looked up

	Retries       uint64 // tries besides the first, without replays
	RetriesSaved  uint64 // of these, those that brought an answer
	RetriesDenied uint64 // that the budget did not allow
	Replays       uint64 // on a new connection, after an idle one had been closed
	BodyBytes     int64  // of request bodies kept for retries now
	BodiesDropped uint64 // request bodies not kept because there were too many
}

// SourceStatus is what is known of a name under which endpoints are looked up.
type SourceStatus struct {
	Name string // as the discovery's reports have it
	discovery.Status
}

// EndpointStatus is an endpoint as it stands at one moment.
type EndpointStatus struct {
	Address    string
	Host       string // name it was found under; "" for an address of the configuration
	Weight     int    // of the configuration, or found
	Priority   int
	Override   *Override     // what an operator has set; nil for nothing
	Healthy    bool          // active checks have nothing against it
	EjectedFor time.Duration // how much longer it is left out for its failures; 0 if it is not
	Ejections  int           // in a row
	InFlight   int64
	Requests   uint64
	Failures   uint64
	Latency    time.Duration // expected, where the algorithm goes by it; else 0
	KeepAlive  time.Duration // how long the endpoint seems to keep unused connections; 0 if that is not known
	Checked    bool          // there was an active check
	CheckedAt  time.Time
	CheckFault string // what was wrong at the last check; "" if it passed
}

// Snapshot returns the backend as it stands. It is for people and tests, not for every request.
func (b *Backend) Snapshot() Status {
	now := message.Now()
	c := b.current()
	s := Status{
		Name: b.options.Name, Algorithm: b.options.Algorithm,
		Usable: c.usable, Panic: c.panics, Shares: c.shares, InFlight: b.inFlight(),
		RetriesSaved:  b.metrics.saved.Value(),
		RetriesDenied: b.metrics.exhausted.Value(),
		Replays:       b.metrics.replayed.Value(),
		BodyBytes:     b.store.held.Load(),
		BodiesDropped: b.store.dropped.Load(),
	}
	s.Retries = s.RetriesSaved + b.metrics.lost.Value()
	if b.queue != nil {
		s.Waiting = int(b.queue.waiting.Load())
	}
	for i := range b.options.Endpoints {
		if w, ok := b.options.Endpoints[i].Source.(interface {
			Status() discovery.Status
			Target() discovery.Target
		}); ok {
			s.Sources = append(s.Sources, SourceStatus{w.Target().String(), w.Status()})
		}
	}
	b.mu.Lock()
	roster := slices.Clone(b.roster)
	b.mu.Unlock()
	for i := range roster {
		if roster[i].ep != nil {
			s.Endpoints = append(s.Endpoints, b.endpointStatus(&roster[i], now))
		}
	}
	return s
}

func (b *Backend) endpointStatus(e *entry, now int64) EndpointStatus {
	ep := e.ep
	check := ep.lastCheck()
	s := EndpointStatus{
		Address: ep.address, Host: e.host, Weight: e.weight, Priority: e.priority, Override: ep.Override(),
		Healthy: b.well(ep), EjectedFor: ep.ejectedFor(now), Ejections: int(ep.ejections.Load()),
		InFlight: ep.load.InFlight(), Requests: ep.metrics.requests.Value(), Failures: ep.failures.Load(),
		Checked: check.known, CheckFault: check.fault,
	}
	if b.timed {
		s.Latency = time.Duration(ep.load.Latency(now))
	}
	if t, ok := ep.transport.Load().Transport.(interface {
		KeepAlive() (time.Duration, bool)
	}); ok {
		s.KeepAlive, _ = t.KeepAlive()
	}
	if check.known {
		s.CheckedAt = message.WallTime(check.at)
	}
	return s
}

// Endpoint returns the endpoint at an address, or nil.
func (b *Backend) Endpoint(address string) *Endpoint {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.roster {
		if ep := b.roster[i].ep; ep != nil && ep.address == address {
			return ep
		}
	}
	return nil
}
