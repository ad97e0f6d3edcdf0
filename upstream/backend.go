package upstream

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/sluice-gateway/sluice/balance"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// Backend is one generation of a named group of endpoints. It is safe for any number of goroutines.
type Backend struct {
	options   Options
	endpoints []*Endpoint // by slot, as in options.Endpoints
	check     Check       // nil: no active checks
	retry     retryRules
	budget    budget
	store     bodyStore
	metrics   backendMetrics

	choice atomic.Pointer[choice]
	mu     sync.Mutex // one at a time decides an ejection or replaces choice
	built  bool       // choice was built before; guarded by mu

	ready      chan struct{} // closed when every endpoint was checked once
	firstRound atomic.Int64  // endpoints that were not
	stopChecks func()        // nil: none were started
	checkers   sync.WaitGroup
	closing    sync.Once
}

// choice is what a request picks from. It never changes.
type choice struct {
	picker balance.Picker
	until  int64 // moment at which an ejection ends and the choice must be made anew
	usable int   // endpoints that are neither down nor ejected
	total  int   // endpoints of a weight above 0
	panics bool  // all endpoints are used, well or not
}

// New makes a backend over endpoints that its owner keeps, one for each of o.Endpoints and in that order. It serves at once, but it checks
// nothing and changes nothing about the endpoints before Start. Close ends it, started or not. reg may be nil.
func New(o Options, endpoints []*Endpoint, reg *metric.Registry) (*Backend, error) {
	if err := o.validate(endpoints); err != nil {
		return nil, err
	}
	b := &Backend{options: o, endpoints: endpoints, retry: newRetryRules(&o.Retry), ready: make(chan struct{})}
	b.budget.share, b.budget.floor = o.Retry.Budget, int64(o.Retry.Floor)
	b.store.limit = o.Retry.MaxKept
	if o.Check != nil {
		check, err := newCheck(o.Check)
		if err != nil {
			return nil, fmt.Errorf("backend %q: %w", o.Name, err)
		}
		b.check = check
	}
	if transportOf(o.Protocol) == nil {
		return nil, fmt.Errorf("backend %q: no protocol %q for backends", o.Name, o.Protocol)
	}
	if _, err := balance.New(o.Algorithm, nil, 0); err != nil {
		return nil, fmt.Errorf("backend %q: %w", o.Name, err)
	}
	b.metrics.open(reg, o.Name)
	b.refresh(message.Now())
	return b, nil
}

// Name returns the backend's name.
func (b *Backend) Name() string { return b.options.Name }

// Start makes b the generation that is live: its connection settings become those of its endpoints, and its checks begin. The owner
// closes the generation before it first, so that no endpoint is checked twice. Start is called at most once, and not after Close.
func (b *Backend) Start() {
	for i, ep := range b.endpoints {
		ep.adopt(b.options.Transport(i))
		ep.watch(b)
		if b.check == nil {
			ep.forget()
		}
	}
	if b.check == nil {
		close(b.ready)
	} else {
		b.startChecks()
	}
	b.mu.Lock()
	b.built = false // nothing was sent by the choice that New made
	b.rebuild(message.Now())
	b.mu.Unlock()
}

// Ready is closed when, after Start, every endpoint has been checked once, now or in a generation before. Without active checks that
// is at once.
func (b *Backend) Ready() <-chan struct{} { return b.ready }

// Close ends the checks, waits until they have ended, and gives the series back. Exchanges that are under way go on, and may begin
// further tries. The endpoints stay as they are.
func (b *Backend) Close() {
	b.closing.Do(func() {
		if b.stopChecks != nil {
			b.stopChecks()
			b.checkers.Wait()
		}
		for _, ep := range b.endpoints {
			ep.unwatch(b)
		}
		b.metrics.scope.Release()
	})
}

// current returns the choice for a request at the moment now. When an ejection has ended since it was made, the first request that
// comes by makes it anew, and the others go on with the old one meanwhile.
func (b *Backend) current(now int64) *choice {
	c := b.choice.Load()
	if now >= c.until && b.mu.TryLock() {
		b.rebuild(now)
		b.mu.Unlock()
		c = b.choice.Load()
	}
	return c
}

// refresh makes the choice anew.
func (b *Backend) refresh(now int64) {
	b.mu.Lock()
	b.rebuild(now)
	b.mu.Unlock()
}

// rebuild is refresh for a caller that holds mu.
func (b *Backend) rebuild(now int64) {
	c := &choice{until: math.MaxInt64}
	all := make([]balance.Member, 0, len(b.endpoints))
	well := make([]balance.Member, 0, len(b.endpoints))
	for i, ep := range b.endpoints {
		weight := b.options.Endpoints[i].Weight
		if weight == 0 {
			continue
		}
		m := balance.Member{Slot: i, Weight: uint32(weight), Load: &ep.load}
		all = append(all, m)
		if left := ep.ejectedFor(now); left > 0 {
			c.until = min(c.until, now+int64(left))
		} else if b.well(ep) {
			well = append(well, m)
		}
	}
	c.total, c.usable = len(all), len(well)
	if c.panics = panics(c.total-c.usable, c.total, b.options.Panic); c.panics {
		well = all
	}
	start := uint64(0)
	if b.built {
		start = rand.Uint64()
	}
	b.built = true
	picker, err := balance.New(b.options.Algorithm, well, start)
	if err != nil {
		return // New has tried the algorithm: the choice stays as it is
	}
	c.picker = picker
	b.choice.Store(c)
}

// well reports whether the checks of this generation, if it has any, have nothing against ep.
func (b *Backend) well(ep *Endpoint) bool { return b.check == nil || !ep.down.Load() }

// panics reports whether so many endpoints are down that all are used: more than the share of them, or all. At exactly the share there is no
// panic, because with the default of one half it would undo the most ordinary failover, that of one endpoint of two, and the loss of one
// of two zones, and also the default of ejecting up to one half.
func panics(down, total int, share float64) bool {
	return share > 0 && down > 0 && (down == total || float64(down) > share*float64(total))
}

// inFlight returns the number of requests in flight to all endpoints.
func (b *Backend) inFlight() int64 {
	var n int64
	for _, ep := range b.endpoints {
		n += ep.load.InFlight()
	}
	return n
}

// backendMetrics are the handles of a backend's series.
type backendMetrics struct {
	scope     *metric.Scope
	duration  *metric.Histogram
	saved     *metric.Counter
	lost      *metric.Counter
	replayed  *metric.Counter
	exhausted *metric.Counter
}

func (m *backendMetrics) open(reg *metric.Registry, backend string) {
	m.scope = reg.Scope()
	m.duration = m.scope.Histogram(metric.UpstreamDuration, backend)
	m.saved = m.scope.Counter(metric.Retries, backend, "succeeded")
	m.lost = m.scope.Counter(metric.Retries, backend, "failed")
	m.replayed = m.scope.Counter(metric.Retries, backend, "replayed")
	m.exhausted = m.scope.Counter(metric.RetryBudgetExhausted, backend)
	if m.saved == nil { // without a registry Snapshot shows them all the same
		m.saved, m.lost = metric.NewCounter(1), metric.NewCounter(1)
		m.replayed, m.exhausted = metric.NewCounter(1), metric.NewCounter(1)
	}
}
