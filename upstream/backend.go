package upstream

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/balance"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// leastLatency is the algorithm that is told how long answers take.
const leastLatency = "least_latency"

// Keeper keeps endpoints for longer than a generation of a backend. It is safe for any number of goroutines.
type Keeper interface {
	// Acquire returns the endpoint of a backend that o names, made if there is none yet. Each Acquire is followed by a Release.
	Acquire(backend string, o TransportOptions) (*Endpoint, error)
	// Release gives an endpoint back. One that nobody has any more is closed.
	Release(ep *Endpoint)
}

// Backend is one generation of a named group of endpoints. It is safe for any number of goroutines.
type Backend struct {
	options Options
	keeper  Keeper
	check   Check // nil: no active checks
	retry   retryRules
	budget  budget
	store   bodyStore
	session *session // nil: clients are not kept at their endpoints
	queue   *queue   // nil: endpoints take any number of requests
	hedging *hedging // nil: no request is sent twice because it is slow
	timed   bool     // the algorithm goes by latency
	metrics backendMetrics

	choice atomic.Pointer[choice]
	mu     sync.Mutex     // guards what follows, and one at a time decides an ejection or replaces choice
	roster []entry        // by slot
	places map[string]int // slot by address
	vacant []int          // slots of which the endpoint has gone
	found  [][]placed     // by index of options.Endpoints: what is there of each, nil before a Source has found anything
	built  bool           // choice was built before
	live   bool           // Start was called
	closed bool

	quick  atomic.Bool // a choice is made so soon that a request can do it
	timing sync.Mutex  // guards what follows; held for a moment
	timer  *time.Timer // makes the choice anew when time has changed something
	ended  bool        // Close was called: the timer is not set any more

	ready      chan struct{}   // closed when every endpoint was checked once, and every Source has answered or failed once
	pending    int             // what ready waits for; guarded by mu
	checks     context.Context // its end ends the checks, which run beside the requests
	stopChecks func()
	checkers   sync.WaitGroup
	cancels    []func() // of subscriptions
	closing    sync.Once
}

// choice is what a request picks from. It never changes.
type choice struct {
	picker balance.Picker
	slots  []*Endpoint    // by slot; nil where an endpoint has gone
	open   []bool         // by slot: the endpoint has a weight above 0
	until  int64          // moment at which it must be made anew
	usable int            // endpoints that are neither down nor ejected
	total  int            // endpoints of a weight above 0
	panics bool           // endpoints are used that are not well
	shares []float64      // of the requests, by level of priority
	tokens map[string]int // session token to slot; nil without sessions
	values []string       // session token by slot
}

// New makes a backend. It serves at once, but it checks nothing and changes nothing about the endpoints before Start. Close ends it, started or
// not. reg may be nil.
func New(o Options, keeper Keeper, reg *metric.Registry) (*Backend, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.TLS != nil {
		read := *o.TLS
		if err := read.readFiles(); err != nil {
			return nil, fmt.Errorf("backend %q: %w", o.Name, err)
		}
		o.TLS = &read
	}
	b := &Backend{
		options: o, keeper: keeper, retry: newRetryRules(&o.Retry), session: newSession(o.Session, o.Name),
		ready: make(chan struct{}), found: make([][]placed, len(o.Endpoints)), places: make(map[string]int, len(o.Endpoints)),
	}
	b.queue, b.hedging = newQueue(b), newHedging(o.Hedge)
	b.timed = o.Algorithm == leastLatency
	b.budget.share, b.budget.floor = o.Retry.Budget, int64(o.Retry.Floor)
	b.store.limit = o.Retry.MaxKept
	if o.Check != nil {
		check, err := newCheck(o.Check)
		if err != nil {
			return nil, fmt.Errorf("backend %q: %w", o.Name, err)
		}
		b.check = check
	}
	t, err := bind(o.Transport("", ""))
	if err != nil {
		return nil, fmt.Errorf("backend %q: %w", o.Name, err)
	}
	t.Close()
	if _, err := balance.New(b.balancing(), nil); err != nil {
		return nil, fmt.Errorf("backend %q: %w", o.Name, err)
	}
	if err := b.enlist(); err != nil {
		b.closed = true
		b.dismiss()
		return nil, err
	}
	b.metrics.open(reg, o.Name)
	if b.queue != nil {
		b.metrics.openQueue(o.Name)
	}
	if b.hedging != nil {
		b.metrics.openHedges(o.Name)
	}
	b.refresh(message.Now())
	return b, nil
}

func (b *Backend) balancing() balance.Options {
	return balance.Options{Algorithm: b.options.Algorithm, BoundedLoad: b.options.BoundedLoad}
}

// Name returns the backend's name.
func (b *Backend) Name() string { return b.options.Name }

// Start makes b the generation that is live: its connection settings become those of its endpoints, and its checks begin. The owner
// closes the generation before it first, so that no endpoint is checked twice. Start is called at most once, and not after Close.
func (b *Backend) Start() {
	//house:allow call checks run beside the requests; their context ends dials and reads at once when the backend is closed
	b.checks, b.stopChecks = context.WithCancel(context.Background())
	b.mu.Lock()
	b.live = true
	b.built = false // nothing was sent by the choice that New made
	b.pending = 1   // taken off below: whatever is ready meanwhile does not make the backend ready alone
	for slot := range b.roster {
		b.employ(slot, b.options.Running)
	}
	b.rebuild(message.Now())
	b.mu.Unlock()
	for i := range b.options.Endpoints {
		b.follow(i)
	}
	b.settled()
}

// settled takes one thing off what Ready waits for.
func (b *Backend) settled() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pending--; b.pending == 0 {
		close(b.ready)
	}
}

// Ready is closed when, after Start, every Source has found something or failed once, and every endpoint known by then has been checked once,
// now or in a generation before.
func (b *Backend) Ready() <-chan struct{} { return b.ready }

// Close ends the checks, waits until they have ended, gives the endpoints back to their keeper and the series to the registry. Exchanges
// that are under way go on, and may begin further tries.
func (b *Backend) Close() {
	b.closing.Do(func() {
		for _, cancel := range b.cancels {
			cancel()
		}
		if b.stopChecks != nil {
			b.stopChecks()
			b.checkers.Wait()
		}
		b.mu.Lock()
		b.closed = true
		b.mu.Unlock()
		b.timing.Lock()
		b.ended = true
		if b.timer != nil {
			b.timer.Stop()
		}
		b.timing.Unlock()
		b.dismiss()
		b.metrics.scope.Release()
	})
}

// current returns the choice for a request.
func (b *Backend) current() *choice { return b.choice.Load() }

// cheap is the number of endpoints up to which whoever has changed something makes the choice anew at once; beyond it, and for algorithms that
// make a large table, a goroutine of its own does, so that no request waits for it.
const cheap = 64

// refresh makes the choice anew.
func (b *Backend) refresh(now int64) {
	b.mu.Lock()
	b.rebuild(now)
	b.mu.Unlock()
}

// refreshBeside is refresh for a caller that has a request in hand.
func (b *Backend) refreshBeside(now int64) {
	if b.quick.Load() {
		b.refresh(now)
	} else {
		b.wake(0) // takes no lock that is held while a choice is made
	}
}

// wake makes the choice anew after d, unless it is made before.
func (b *Backend) wake(d time.Duration) {
	b.timing.Lock()
	defer b.timing.Unlock()
	switch {
	case b.ended:
	case b.timer == nil:
		b.timer = time.AfterFunc(d, b.tick)
	default:
		b.timer.Reset(d)
	}
}

// tick is run by the timer. After Close it finds nothing to do.
func (b *Backend) tick() { b.refresh(message.Now()) }

// rebuild is refresh for a caller that holds mu.
func (b *Backend) rebuild(now int64) {
	if b.closed {
		return // the endpoints were given back; exchanges that are under way go on with the last choice
	}
	b.quick.Store(len(b.roster) <= cheap && b.options.Key == nil)
	c := &choice{until: math.MaxInt64, slots: make([]*Endpoint, len(b.roster)), open: make([]bool, len(b.roster))}
	levels := b.levels(c, now)
	start := uint64(0)
	if b.built {
		start = rand.Uint64()
	}
	b.built = true
	o := b.balancing()
	o.Start = start
	picker, plan, err := balance.NewLevels(o, levels, b.options.Panic)
	if err != nil {
		return // New has tried the algorithm: the choice stays as it is
	}
	c.picker, c.panics, c.shares = picker, plan.Panics, plan.Shares
	c.tokens, c.values = b.session.tokens(c.slots)
	b.choice.Store(c)
	c.offerAll()
	if c.until != math.MaxInt64 {
		b.wake(time.Duration(max(0, c.until-now)))
	}
}

// slowSteps is in how many steps a slow start grows.
const slowSteps = 20

// fullWeight is what weights are multiplied by while one of them is still growing, so that a tenth of 1 is not nothing.
const fullWeight = 100

// levels returns the members of every priority that has any, in order, and notes in c what is known of them and when that changes. The
// caller holds mu.
func (b *Backend) levels(c *choice, now int64) []balance.Level {
	grown := true
	percents := make([]uint32, len(b.roster))
	for slot := range b.roster {
		percents[slot] = b.growth(c, b.roster[slot].ep, now)
		grown = grown && percents[slot] == fullWeight
	}
	byPriority := map[int]*balance.Level{}
	var priorities []int
	for slot := range b.roster {
		e := &b.roster[slot]
		if e.ep == nil {
			continue
		}
		c.slots[slot] = e.ep
		weight := e.effectiveWeight()
		if weight == 0 {
			continue
		}
		m := balance.Member{Slot: slot, Weight: weight, Load: &e.ep.load, ID: e.ep.address}
		if !grown {
			m.Weight *= percents[slot]
		}
		l := byPriority[e.priority]
		if l == nil {
			l = &balance.Level{}
			byPriority[e.priority] = l
			priorities = append(priorities, e.priority)
		}
		l.All = append(l.All, m)
		c.open[slot] = true
		c.total++
		if left := e.ep.ejectedFor(now); left > 0 {
			c.until = min(c.until, now+int64(left))
		} else if b.well(e.ep) {
			l.Usable = append(l.Usable, m)
			c.usable++
		}
	}
	slices.Sort(priorities)
	levels := make([]balance.Level, len(priorities))
	for i, p := range priorities {
		levels[i] = *byPriority[p]
	}
	return levels
}

// growth returns how much of its weight an endpoint has by now, in percent.
func (b *Backend) growth(c *choice, ep *Endpoint, now int64) uint32 {
	slow := int64(b.options.SlowStart)
	if slow == 0 || ep == nil {
		return fullWeight
	}
	begun := ep.begun(now)
	if begun == 0 || now >= begun+slow {
		return fullWeight
	}
	step := max(slow/slowSteps, int64(10*time.Millisecond))
	c.until = min(c.until, now+step)
	return uint32(fullWeight/10 + (now-begun)*(fullWeight-fullWeight/10)/slow)
}

// well reports whether the checks of this generation, if it has any, have nothing against ep.
func (b *Backend) well(ep *Endpoint) bool { return b.check == nil || !ep.down.Load() }

// inFlight returns the number of requests in flight to all endpoints.
func (b *Backend) inFlight() int64 {
	var n int64
	for _, ep := range b.current().slots {
		if ep != nil {
			n += ep.load.InFlight()
		}
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

	queued      *metric.Gauge
	waited      *metric.Histogram
	refusedFull *metric.Counter
	refusedLate *metric.Counter

	hedgesWon    *metric.Counter
	hedgesLost   *metric.Counter
	hedgesDenied *metric.Counter
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

// openQueue makes the series of a backend with a queue. Without one nothing is counted there.
func (m *backendMetrics) openQueue(backend string) {
	m.queued = m.scope.Gauge(metric.BackendQueue, backend)
	m.waited = m.scope.Histogram(metric.QueueWait, backend)
	m.refusedFull = m.scope.Counter(metric.QueueRefused, backend, message.QueueFull.String())
	m.refusedLate = m.scope.Counter(metric.QueueRefused, backend, message.QueueTimeout.String())
}

// openHedges makes the series of a backend with hedging.
func (m *backendMetrics) openHedges(backend string) {
	m.hedgesWon = m.scope.Counter(metric.Hedges, backend, "won")
	m.hedgesLost = m.scope.Counter(metric.Hedges, backend, "lost")
	m.hedgesDenied = m.scope.Counter(metric.Hedges, backend, "denied")
}
