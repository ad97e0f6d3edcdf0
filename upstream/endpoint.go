package upstream

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/balance"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// Endpoint is one address of one backend, with its connections and with what was learned about it. It outlives the generations of the
// configuration that name it, so that a reload forgets neither health nor connections. It is safe for any number of goroutines.
type Endpoint struct {
	load balance.Load // on cache lines of its own: every request writes to it

	backend   string
	address   string
	literal   netip.AddrPort // address, where its host is no name
	transport atomic.Pointer[boundTransport]
	metrics   endpointMetrics

	// What failed requests leave behind. On the hot path these are read, and written only when they are not 0 or something failed.
	failing      atomic.Int32 // failures in a row
	refused      atomic.Int32 // connections in a row that could not be opened
	ejections    atomic.Int32 // ejections in a row
	ejectedUntil atomic.Int64 // moment of message.Now; 0: never was
	failures     atomic.Uint64
	window       window      // of the error rate
	down         atomic.Bool // active checks say so; written under mu

	employed atomic.Bool              // a generation has worked with it
	since    atomic.Int64             // moment from which a slow start counts; 0 for none
	override atomic.Pointer[Override] // what an operator has set; nil for nothing

	seats atomic.Pointer[[]seat] // queues that get its free places, the oldest generation's first; replaced under mu

	mu       sync.Mutex
	record   checkRecord // guarded by mu
	watchers []*Backend  // generations that are live; guarded by mu
	retired  retired
}

// boundTransport is a transport with the settings that it was made with.
type boundTransport struct {
	Transport
	options TransportOptions
	tls     *tls.Config // for connections of layer 4; nil for plain ones
}

// NewEndpoint makes the endpoint of a backend that o names. Its series stand in reg, which may be nil, until Close.
func NewEndpoint(backend string, o TransportOptions, reg *metric.Registry) (*Endpoint, error) {
	t, err := bind(o)
	if err != nil {
		return nil, fmt.Errorf("backend %q: endpoint %s: %w", backend, o.Address, err)
	}
	ep := newEndpoint(backend, o, t.Transport, reg)
	ep.transport.Store(t)
	return ep, nil
}

// bind makes the transport for settings.
func bind(o TransportOptions) (*boundTransport, error) {
	open := transportOf(o.Protocol)
	if open == nil {
		return nil, fmt.Errorf("no protocol %q for backends", o.Protocol)
	}
	t := &boundTransport{options: o}
	if o.Secure {
		var err error
		if t.tls, err = ClientTLS(o.TLS); err != nil {
			return nil, err
		}
	}
	t.Transport = open(o, t.tls)
	return t, nil
}

func newEndpoint(backend string, o TransportOptions, t Transport, reg *metric.Registry) *Endpoint {
	ep := &Endpoint{backend: backend, address: o.Address}
	if literal, err := netip.ParseAddrPort(o.Address); err == nil {
		ep.literal = literal
	}
	ep.transport.Store(&boundTransport{Transport: t, options: o})
	ep.metrics.open(reg, ep)
	return ep
}

// Address returns the address that the configuration gives.
func (ep *Endpoint) Address() string { return ep.address }

// Backend returns the name of the backend that the endpoint belongs to.
func (ep *Endpoint) Backend() string { return ep.backend }

// Close closes the endpoint's unused connections and gives its series back. The owner calls it when no generation names the endpoint any
// more. Exchanges that are still under way end as they would have.
func (ep *Endpoint) Close() {
	ep.transport.Load().Close()
	ep.metrics.scope.Release()
}

// Sweep closes connections that were unused for too long, or that the endpoint has closed. The owner of the endpoints calls it every few
// seconds for each.
func (ep *Endpoint) Sweep() { ep.transport.Load().Sweep() }

// adopt gives the endpoint a new transport if its settings have changed. Exchanges under way keep the connection that they have. New has
// tried the settings; if a file has vanished since, the endpoint keeps what it has.
func (ep *Endpoint) adopt(o TransportOptions) {
	if ep.transport.Load().options.same(o) {
		return
	}
	if t, err := bind(o); err == nil {
		ep.replace(t)
	}
}

// State is whether an endpoint takes part in the work, as an operator has set it.
type State uint8

// The states.
const (
	StateReady State = iota // as health and weight say
	StateDrain              // it gets nothing new but the requests of clients whose session is there
	StateMaint              // it gets nothing
)

// states are the words of the states. Read-only.
var states = [...]string{"ready", "drain", "maint"}

// String returns the word of the state.
func (s State) String() string { return states[s] }

// ParseState returns the state of a word.
func ParseState(word string) (State, bool) {
	i := slices.Index(states[:], word)
	return State(max(i, 0)), i >= 0
}

// Override is what an operator has set of an endpoint, against the configuration. It outlives reloads, and ends with the program.
type Override struct {
	State  State
	Weight int // -1 for that of the configuration
}

// Override returns what is set against the configuration, nil for nothing.
func (ep *Endpoint) Override() *Override { return ep.override.Load() }

// SetOverride sets something against the configuration, or with nil takes it back.
func (ep *Endpoint) SetOverride(o *Override) {
	ep.override.Store(o)
	ep.changed()
}

// state returns the state that an operator has set.
func (ep *Endpoint) state() State {
	if o := ep.override.Load(); o != nil {
		return o.State
	}
	return StateReady
}

// begun returns the moment from which a slow start counts: when the endpoint came, or became well, or its last ejection ended; 0 for none.
func (ep *Endpoint) begun(now int64) int64 {
	since := ep.since.Load()
	if until := ep.ejectedUntil.Load(); until != 0 && until <= now {
		since = max(since, until)
	}
	return since
}

// usable reports whether the endpoint is neither down nor ejected.
func (ep *Endpoint) usable(now int64) bool {
	return !ep.down.Load() && ep.ejectedFor(now) == 0
}

// ejectedFor returns how much longer the endpoint is ejected, 0 if it is not.
func (ep *Endpoint) ejectedFor(now int64) time.Duration {
	if until := ep.ejectedUntil.Load(); until != 0 {
		return time.Duration(max(0, until-now))
	}
	return 0
}

// watch makes b learn of changes; unwatch ends that.
func (ep *Endpoint) watch(b *Backend) {
	ep.mu.Lock()
	ep.watchers = append(slices.Clone(ep.watchers), b)
	ep.mu.Unlock()
}

func (ep *Endpoint) unwatch(b *Backend) {
	ep.mu.Lock()
	ep.watchers = slices.DeleteFunc(slices.Clone(ep.watchers), func(o *Backend) bool { return o == b })
	ep.mu.Unlock()
}

// changed tells the live generations that the endpoint has become usable or unusable. The caller holds no lock.
func (ep *Endpoint) changed() {
	for _, b := range ep.watching() {
		b.refresh(message.Now())
	}
}

// changedBeside is changed for a caller that has a request in hand, and has told the generation known already.
func (ep *Endpoint) changedBeside(known *Backend) {
	for _, b := range ep.watching() {
		if b != known {
			b.refreshBeside(message.Now())
		}
	}
}

// watching returns the live generations; the slice is copied when it changes.
func (ep *Endpoint) watching() []*Backend {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return ep.watchers
}

// succeeded takes a request that went well: what was held against the endpoint is forgotten.
func (ep *Endpoint) succeeded() {
	if ep.failing.Load() != 0 {
		ep.failing.Store(0)
	}
	if ep.refused.Load() != 0 {
		ep.refused.Store(0)
	}
	// A success counts towards ejections only after the return: requests that were under way, or that came in panic, prove little.
	if ep.ejections.Load() != 0 && ep.ejectedFor(message.Now()) == 0 {
		ep.ejections.Store(0)
	}
}

// endpointMetrics are the handles of an endpoint's series. They are never nil pointers in use: without a registry they count nothing,
// but for requests, which Snapshot shows.
type endpointMetrics struct {
	scope     *metric.Scope
	requests  *metric.Counter
	failures  *metric.CounterSet // by failureNames
	ejections *metric.Counter
	fresh     *metric.Counter
	reused    *metric.Counter
	passed    *metric.Counter
	failed    *metric.Counter
}

// failureNames are the reasons of message in their order, "" first, and then the statuses that count as failures. Read-only.
var failureNames = func() []string {
	names := []string{""}
	for r := range message.Reasons {
		names = append(names, r.String())
	}
	for _, s := range failingStatuses {
		names = append(names, s.name)
	}
	return names
}()

func (m *endpointMetrics) open(reg *metric.Registry, ep *Endpoint) {
	m.scope = reg.Scope()
	m.requests = m.scope.Counter(metric.EndpointRequests, ep.backend, ep.address)
	if m.requests == nil {
		m.requests = metric.NewCounter(1)
	}
	m.failures = m.scope.CounterSet(metric.EndpointFailures, failureNames, ep.backend, ep.address)
	m.ejections = m.scope.Counter(metric.EndpointEjections, ep.backend, ep.address)
	m.fresh = m.scope.Counter(metric.UpstreamConnections, ep.backend, ep.address, "new")
	m.reused = m.scope.Counter(metric.UpstreamConnections, ep.backend, ep.address, "reused")
	m.passed = m.scope.Counter(metric.HealthChecks, ep.backend, ep.address, "passed")
	m.failed = m.scope.Counter(metric.HealthChecks, ep.backend, ep.address, "failed")
	m.scope.GaugeFunc(metric.EndpointInFlight, ep.load.InFlight, ep.backend, ep.address)
	m.openPool(ep)
	m.scope.GaugeFunc(metric.EndpointHealthy, func() int64 {
		if ep.usable(message.Now()) {
			return 1
		}
		return 0
	}, ep.backend, ep.address)
}
