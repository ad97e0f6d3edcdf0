package metric

import (
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
)

// Scope collects the handles of one owner, for instance one generation of the configuration or one endpoint, so that they can be given back
// together. It is safe for concurrent use. A nil Scope gives nil handles, which do nothing.
type Scope struct {
	reg *Registry

	mu       sync.Mutex
	handles  []handle // guarded by mu
	released bool     // guarded by mu
}

// Scope makes an empty scope. A nil Registry makes a nil Scope.
func (r *Registry) Scope() *Scope {
	if r == nil {
		return nil
	}
	return &Scope{reg: r}
}

// Counter is [Registry.Counter]; the scope releases it.
func (s *Scope) Counter(id ID, values ...string) *Counter {
	if s == nil {
		return nil
	}
	c := s.reg.Counter(id, values...)
	s.keep(c)
	return c
}

// Gauge is [Registry.Gauge]; the scope releases it.
func (s *Scope) Gauge(id ID, values ...string) *Gauge {
	if s == nil {
		return nil
	}
	g := s.reg.Gauge(id, values...)
	s.keep(g)
	return g
}

// GaugeFunc is [Registry.GaugeFunc]; the scope releases it.
func (s *Scope) GaugeFunc(id ID, f func() int64, values ...string) {
	if s == nil {
		return
	}
	if r := s.reg.GaugeFunc(id, f, values...); r != nil {
		s.keep(r)
	}
}

// CounterFunc is [Registry.CounterFunc]; the scope releases it.
func (s *Scope) CounterFunc(id ID, f func() int64, values ...string) {
	if s == nil {
		return
	}
	if r := s.reg.CounterFunc(id, f, values...); r != nil {
		s.keep(r)
	}
}

// Histogram is [Registry.Histogram]; the scope releases it.
func (s *Scope) Histogram(id ID, values ...string) *Histogram {
	if s == nil {
		return nil
	}
	h := s.reg.Histogram(id, values...)
	s.keep(h)
	return h
}

// handle is what a scope gives back: a Counter, Gauge, Histogram or Reader.
type handle interface{ Release() }

// keep remembers the handle for Release. A handle that an exchange asks for after its scope was released still counts, but
// nobody would give it back, so that is done at once.
func (s *Scope) keep(h handle) {
	s.mu.Lock()
	released := s.released
	if !released {
		s.handles = append(s.handles, h)
	}
	s.mu.Unlock()
	if released {
		h.Release()
	}
}

// Release gives back all handles of the scope. Calling it again does nothing.
func (s *Scope) Release() {
	if s == nil {
		return
	}
	s.mu.Lock()
	list := s.handles
	s.handles, s.released = nil, true
	s.mu.Unlock()
	for _, h := range list {
		h.Release()
	}
}

// variantPage is how many variants of a [CounterSet] are resolved behind one pointer, so that a set of 500 of which five occur stays small.
const variantPage = 16

// CounterSet is a row of counters that differ in their last label: a status code, a reason. A variant's series is made when
// it first occurs, which takes a lock and allocates; from then on counting it is as cheap as a [Counter].
// It is safe for concurrent use; a nil CounterSet counts nothing.
type CounterSet struct {
	scope    *Scope
	id       ID
	values   []string // without the last
	variants []string // names, shared between sets, never written
	pages    []atomic.Pointer[[variantPage]atomic.Pointer[Counter]]
}

// CounterSet makes a set whose last label takes the given names; values are those of the labels before it. The set keeps
// both slices and neither may change afterwards. Share one slice of names between all sets of a kind.
func (s *Scope) CounterSet(id ID, variants []string, values ...string) *CounterSet {
	if s == nil {
		return nil
	}
	pages := (len(variants) + variantPage - 1) / variantPage
	c := &CounterSet{scope: s, id: id, values: values, variants: variants, pages: make([]atomic.Pointer[[variantPage]atomic.Pointer[Counter]], pages)}
	// Variants that occurred in a generation before are taken over at once: if they waited for their next occurrence, the release of that
	// generation would set them back to 0.
	for _, old := range s.reg.families[id].inherit(values) {
		s.keep(old.counter)
		if i := slices.Index(variants, old.values[len(values)]); i >= 0 {
			c.place(i, old.counter)
		}
	}
	return c
}

// place makes ctr the counter of variant i.
func (c *CounterSet) place(i int, ctr *Counter) {
	slot := &c.pages[i/variantPage]
	if slot.Load() == nil {
		slot.CompareAndSwap(nil, new([variantPage]atomic.Pointer[Counter]))
	}
	slot.Load()[i%variantPage].Store(ctr)
}

// Inc adds one to variant i. A number outside of the set counts nothing.
func (c *CounterSet) Inc(s Shard, i int) {
	if ctr := c.Counter(i); ctr != nil {
		ctr.Inc(s)
	}
}

// Counter returns the counter of variant i, nil if i is outside of the set.
func (c *CounterSet) Counter(i int) *Counter {
	if c == nil || uint(i) >= uint(len(c.variants)) {
		return nil
	}
	if p := c.pages[i/variantPage].Load(); p != nil {
		if ctr := p[i%variantPage].Load(); ctr != nil {
			return ctr
		}
	}
	return c.resolve(i)
}

// resolve makes the counter of a variant. Of two that race, both get the same series; the second reference goes with the scope.
func (c *CounterSet) resolve(i int) *Counter {
	values := append(append(make([]string, 0, len(c.values)+1), c.values...), c.variants[i])
	ctr := c.scope.Counter(c.id, values...)
	c.place(i, ctr)
	return ctr
}

const (
	minStatus = 100
	maxStatus = 599
)

// statusNames are "100" to "599", then "other". Never written.
var statusNames = func() []string {
	names := make([]string, 0, maxStatus-minStatus+2)
	for code := minStatus; code <= maxStatus; code++ {
		names = append(names, strconv.Itoa(code))
	}
	return append(names, otherValue)
}()

// StatusCounters is a [CounterSet] whose last label is an HTTP status code. What is not 100 to 599 counts as "other".
// A nil StatusCounters counts nothing.
type StatusCounters struct {
	// ok is the counter of status 200 once it has occurred. With thousands of routes the way through the set is what a request waits for:
	// each step of it is a read of memory that is in no cache.
	ok  atomic.Pointer[Counter]
	set *CounterSet
}

// StatusCounters makes counters by status code; values are those of the labels before it.
func (s *Scope) StatusCounters(id ID, values ...string) *StatusCounters {
	if s == nil {
		return nil
	}
	return &StatusCounters{set: s.CounterSet(id, statusNames, values...)}
}

// Inc adds one for a status code.
func (c *StatusCounters) Inc(s Shard, status int) {
	if c == nil {
		return
	}
	if status == 200 {
		ctr := c.ok.Load()
		if ctr == nil {
			ctr = c.set.Counter(200 - minStatus)
			c.ok.Store(ctr)
		}
		ctr.Inc(s)
		return
	}
	if status < minStatus || status > maxStatus {
		status = maxStatus + 1
	}
	c.set.Inc(s, status-minStatus)
}
