package discovery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/metric"
)

const (
	// lookupTimeout bounds a whole lookup, however many hosts and resolvers it has. What is not answered by then has failed.
	lookupTimeout = 15 * time.Second
	// firstRetry and lastRetry are the first and the longest wait after a lookup that failed; it doubles in between.
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
	// reportEvery is the shortest time between two lines about a target that cannot be looked up.
	reportEvery = time.Minute
	// jitter is the largest share by which a wait is shortened, so that many watchers do not fall into step.
	jitter = 0.1
)

// Watcher looks a target up for as long as it is open. All methods may be called by any goroutine.
type Watcher struct {
	target  Target
	options Options
	lookup  lookup // used by the watcher's goroutine only

	current atomic.Pointer[[]Found] // nil until something was found

	mu          sync.Mutex
	status      Status          // guarded by mu; Known, Endpoints and TTL are filled in by Status
	expires     time.Time       // guarded by mu: when the first record of the last good lookup runs out
	subscribers []*subscription // guarded by mu

	first     chan struct{}
	firstOnce sync.Once
	cancel    context.CancelFunc
	done      chan struct{} // closed when the goroutine has ended

	reports reports
	metrics watcherMetrics
}

// watcherMetrics are the counters of a watcher by the outcome of lookups; nil ones count nothing.
type watcherMetrics struct {
	ok      *metric.Counter
	partial *metric.Counter // some questions failed, and the set is whole with what was known before
	empty   *metric.Counter // the name does not exist or has no addresses
	failed  *metric.Counter
}

// subscription is one subscriber.
type subscription struct {
	mu     sync.Mutex // held while f runs
	f      func(found []Found)
	closed bool // guarded by mu
}

// Watch begins to look the target up, at once. A target that cannot be looked up ([Target.Check]) is reported like a resolver that fails. Close ends it.
func Watch(t Target, o Options) *Watcher {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Report == nil {
		o.Report = func(string) {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watcher{target: t, options: o, lookup: newLookup(t, &o), first: make(chan struct{}), cancel: cancel, done: make(chan struct{})}
	w.reports = reports{target: t.String(), out: o.Report}
	w.measure(time.Now())
	go w.run(ctx)
	return w
}

// measure registers the metrics. Age counts from began until there is a first answer.
func (w *Watcher) measure(began time.Time) {
	name, scope := w.target.String(), w.options.Metrics
	w.metrics = watcherMetrics{
		ok:      scope.Counter(metric.DiscoveryLookups, name, "ok"),
		partial: scope.Counter(metric.DiscoveryLookups, name, "partial"),
		empty:   scope.Counter(metric.DiscoveryLookups, name, "empty"),
		failed:  scope.Counter(metric.DiscoveryLookups, name, "failed"),
	}
	scope.GaugeFunc(metric.DiscoveryEndpoints, func() int64 {
		found, _ := w.Current()
		return int64(len(found))
	}, name)
	scope.GaugeFunc(metric.DiscoveryAge, func() int64 {
		w.mu.Lock()
		last := w.status.LastAnswer
		w.mu.Unlock()
		if last.IsZero() {
			last = began
		}
		return int64(time.Since(last) / time.Second)
	}, name)
}

// Current returns the set as it is now, and whether anything was ever found; without that it is empty. The set is sorted by priority and address,
// without duplicate addresses, and belongs to the watcher: it must not be changed. It never changes after it was returned.
func (w *Watcher) Current() (found []Found, known bool) {
	if p := w.current.Load(); p != nil {
		return *p, true
	}
	return nil, false
}

// Subscribe has f called with the new set after each change from now on, in the order of the changes, by the watcher's goroutine, one call at a time.
// What f is given must not be changed; while it runs there are no lookups. A caller that also needs what is there already reads Current
// after Subscribe, under the lock that f takes, so that an older set never replaces a newer one.
//
// cancel ends the subscription. When it returns, f is not running and will not run again. f itself must call neither its own cancel nor Close.
func (w *Watcher) Subscribe(f func(found []Found)) (cancel func()) {
	s := &subscription{f: f}
	w.mu.Lock()
	w.subscribers = append(w.subscribers, s)
	w.mu.Unlock()
	return func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		w.mu.Lock()
		// The slice may be in the hands of publish, so it is replaced and not changed.
		w.subscribers = slices.DeleteFunc(slices.Clone(w.subscribers), func(o *subscription) bool { return o == s })
		w.mu.Unlock()
	}
}

// First returns a channel that is closed after the first lookup, whether it found something or not, or by Close.
func (w *Watcher) First() <-chan struct{} { return w.first }

// Status returns what is known about the target now.
func (w *Watcher) Status() Status {
	w.mu.Lock()
	s, expires := w.status, w.expires
	w.mu.Unlock()
	found, known := w.Current()
	s.Endpoints, s.Known = len(found), known
	if known {
		s.TTL = max(0, time.Until(expires))
	}
	return s
}

// Close ends the lookups, one that is under way too, and waits until the watcher's goroutine has ended, with it all calls of subscribers. The set
// stays as it was.
func (w *Watcher) Close() {
	w.cancel()
	<-w.done
}

// Target returns what is looked up.
func (w *Watcher) Target() Target { return w.target }

// run is the watcher's goroutine.
func (w *Watcher) run(ctx context.Context) {
	defer close(w.done)
	defer w.firstOnce.Do(func() { close(w.first) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		limited, cancel := context.WithTimeout(ctx, lookupTimeout)
		out := w.lookup.run(limited, time.Now())
		cancel()
		if ctx.Err() != nil {
			return // cut by Close: the result says nothing
		}
		timer.Reset(w.take(out, time.Now()))
		w.firstOnce.Do(func() { close(w.first) })
	}
}

// take publishes what a lookup found, or keeps what is there, and returns the wait until the next lookup.
func (w *Watcher) take(out outcome, now time.Time) time.Duration {
	good := len(out.found) > 0
	wait := w.note(&out, good, now)
	switch {
	case good && out.err == nil:
		w.metrics.ok.Inc(0)
	case good:
		w.metrics.partial.Inc(0)
	case out.err == nil:
		w.metrics.empty.Inc(0)
	default:
		w.metrics.failed.Inc(0)
	}
	found, known := w.Current()
	switch {
	case good && !out.incomplete:
		w.reports.works(len(out.found))
	case good:
		w.reports.fails(now, fmt.Sprintf("%s; what is known of it stays in use (endpoints in all: %d)", out.problem(), len(out.found)))
	case known:
		w.reports.fails(now, fmt.Sprintf("%s; the set found before stays in use (endpoints: %d)", out.problem(), len(found)))
	default:
		w.reports.fails(now, out.problem()+"; no endpoints are known yet")
	}
	w.reports.leftOut(now, out.leftOut)
	if good && !(known && slices.Equal(found, out.found)) {
		w.publish(out.found)
	}
	return wait
}

// note writes the status of a lookup and returns the wait until the next.
func (w *Watcher) note(out *outcome, good bool, now time.Time) time.Duration {
	lowest, highest := w.target.ttls()
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &w.status
	s.LastError = ""
	if !good || out.err != nil {
		s.LastError = out.problem()
	}
	_, known := w.Current()
	s.Stale = known && (!good || out.incomplete)
	if good {
		s.LastAnswer, w.expires = now, out.expires
	}
	if good && !out.incomplete {
		s.Failures = 0
	} else {
		s.Failures++
	}
	wait := highest
	if good && !out.due.IsZero() {
		wait = out.due.Sub(now)
	}
	if s.Failures > 0 {
		retry := min(lastRetry, firstRetry<<min(s.Failures-1, 10), highest)
		wait = min(wait, shortened(retry, rand.Float64()))
	}
	wait = max(wait, lowest)
	s.NextLookup = now.Add(wait)
	return wait
}

// shortened returns d less a part of jitter; random is from 0 to 1.
func shortened(d time.Duration, random float64) time.Duration {
	return d - time.Duration(jitter*random*float64(d))
}

// publish makes found the current set and tells the subscribers.
func (w *Watcher) publish(found []Found) {
	// Under the lock, so that each subscriber either sees the set when it subscribes or is told of it.
	w.mu.Lock()
	w.current.Store(&found)
	subscribers := w.subscribers
	w.mu.Unlock()
	for _, s := range subscribers {
		s.mu.Lock()
		if !s.closed {
			s.f(found)
		}
		s.mu.Unlock()
	}
}
