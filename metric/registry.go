package metric

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

const (
	defaultMaxSeries = 10_000
	// maxLabelValue bounds a label value in bytes; a longer one is cut.
	maxLabelValue = 256
	// otherValue is every label's value in the series that takes what a full family cannot keep.
	otherValue = "other"
)

// Options are the settings of a [Registry]. The zero value is good.
type Options struct {
	// Shards is the number of cells of a counter or histogram, rounded up to a power of two, 1 to 16. 0 means two for each core.
	Shards int
	// MaxSeries is the highest number of series of a family for which the table names no other. 0 means 10,000.
	MaxSeries int
}

// Registry holds the series of one gateway and writes them for Prometheus. It is safe for concurrent use. Its methods are for
// configuration time and for the scrape: they lock, allocate and look up by label values. Handles do none of that.
type Registry struct {
	shards   int
	families [numFamilies]family
	next     atomic.Uint32
	started  time.Time
}

// family is a table row with its series.
type family struct {
	row
	limit int

	mu     sync.Mutex
	series map[string]*series // by rendered labels; guarded by mu
	// groups holds the counters by their labels without the last, where a CounterSet of the next generation finds those of the one before;
	// guarded by mu.
	groups map[string][]*series
	sorted []*series // what a scrape reads; replaced as a whole, nil when series changed; guarded by mu
}

// series is one set of label values of a family. Exactly one of counter, gauge and histogram is not nil.
type series struct {
	family    *family
	labels    string // rendered without braces: listener="web",code="200"
	values    []string
	refs      int // handles given out and not yet released; guarded by family.mu
	counter   *Counter
	gauge     *Gauge
	histogram *Histogram
	readers   []*Reader // who is asked for the value of a gauge, the last one counts; guarded by family.mu
}

// Reader is a gauge or counter whose value is read from a function; see [Registry.GaugeFunc]. A nil Reader does nothing.
type Reader struct {
	read   func() int64
	series *series
}

// Release gives the reader back; its function is not called by later scrapes.
func (r *Reader) Release() {
	if r == nil {
		return
	}
	f := r.series.family
	f.mu.Lock()
	r.series.readers = slices.DeleteFunc(r.series.readers, func(o *Reader) bool { return o == r })
	f.mu.Unlock()
	r.series.release()
}

// NewRegistry makes an empty registry.
func NewRegistry(o Options) *Registry {
	if o.Shards <= 0 {
		o.Shards = defaultShards()
	}
	if o.MaxSeries <= 0 {
		o.MaxSeries = defaultMaxSeries
	}
	r := &Registry{shards: roundShards(o.Shards), started: time.Now()}
	for id := range table {
		f := &r.families[id]
		f.row = table[id]
		f.limit = f.row.limit
		if f.limit == 0 {
			f.limit = o.MaxSeries
		}
	}
	return r
}

// NextShard deals out shards in turn, for connections and workers. It is one atomic increment.
func (r *Registry) NextShard() Shard {
	if r == nil {
		return 0
	}
	return Shard(r.next.Add(1))
}

// Counter returns a handle of the series of family id with the given label values, in the order of the table, and makes the series
// if it does not exist. If the family is full, the handle is that of the series whose values are all "other".
//
// A series lives while it has handles: whoever asked must call Release once. A reload asks for its handles before the
// old configuration releases its own, so a series that both have keeps its count, and one that only the old one has disappears.
// [Scope] does the book-keeping. A nil Registry returns nil, which is a handle that does nothing.
//
// It panics if id is no counter or the number of values is wrong: both are mistakes in the program, not in its input.
func (r *Registry) Counter(id ID, values ...string) *Counter {
	if r == nil {
		return nil
	}
	return r.acquire(id, counter, values, true).counter
}

// Gauge is [Registry.Counter] for a gauge.
func (r *Registry) Gauge(id ID, values ...string) *Gauge {
	if r == nil {
		return nil
	}
	return r.acquire(id, gauge, values, true).gauge
}

// GaugeFunc makes a gauge whose value is read from f when the registry is written, for numbers that somebody keeps anyway. f must be
// quick and safe for concurrent use, and must not call the registry. If the series has several readers, because a reload is under way,
// the latest one that is not released is shown. In a full family the reader is nil and f is never called: there is no use
// in showing one of many under "other".
func (r *Registry) GaugeFunc(id ID, f func() int64, values ...string) *Reader {
	if r == nil {
		return nil
	}
	return r.reader(id, gauge, f, values)
}

// CounterFunc is [Registry.GaugeFunc] for a counter: f must never return less than before.
func (r *Registry) CounterFunc(id ID, f func() int64, values ...string) *Reader {
	if r == nil {
		return nil
	}
	return r.reader(id, counter, f, values)
}

func (r *Registry) reader(id ID, k kind, f func() int64, values []string) *Reader {
	s := r.acquire(id, k, values, false)
	if s == nil {
		return nil
	}
	rd := &Reader{read: f, series: s}
	s.family.mu.Lock()
	s.readers = append(s.readers, rd)
	s.family.mu.Unlock()
	return rd
}

// Histogram is [Registry.Counter] for a histogram.
func (r *Registry) Histogram(id ID, values ...string) *Histogram {
	if r == nil {
		return nil
	}
	return r.acquire(id, histogram, values, true).histogram
}

// Each calls f with the label values and the present value of every counter or gauge series of a family, in the order of the exposition.
// It is for the admin API and the demo. The values must not be changed.
func (r *Registry) Each(id ID, f func(values []string, value int64)) {
	if r == nil {
		return
	}
	for _, s := range r.families[id].snapshot() {
		switch {
		case s.counter != nil:
			f(s.values, s.counterValue())
		case s.gauge != nil:
			f(s.values, s.gaugeValue())
		}
	}
}

// EachHistogram calls f with the label values of every histogram series of a family and a snapshot, which f may keep only until it returns.
func (r *Registry) EachHistogram(id ID, f func(values []string, s *Snapshot)) {
	if r == nil {
		return
	}
	var snap Snapshot
	for _, s := range r.families[id].snapshot() {
		if s.histogram != nil {
			s.histogram.Snapshot(&snap)
			f(s.values, &snap)
		}
	}
}

// acquire returns the series for the values with one more reference. If the family is full it is the series "other", or nil if other is false.
func (r *Registry) acquire(id ID, k kind, values []string, other bool) *series {
	f := &r.families[id]
	if f.kind != k || f.scraped || len(values) != len(f.labels) {
		//house:allow panic kinds and labels are constants of the callers and every caller's tests run them, so no input reaches this
		panic(fmt.Sprintf("metric: %s is a %s with labels %q, asked for a %s with values %q", f.name, f.kind, f.labels, k, values))
	}
	s := f.acquire(r.shards, values)
	if s == nil {
		// Outside of the lock of f, because the overflow family is a family too. It cannot overflow itself: it has one series for each family.
		r.Counter(SeriesOverflow, f.name).Inc(0)
		if other {
			s = f.acquireOther(r.shards)
		}
	}
	return s
}

// acquire returns nil if the family is full.
func (f *family) acquire(shards int, values []string) *series {
	key := renderLabels(f.labels, values)
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.series[key]
	if s == nil {
		if len(f.series) >= f.limit {
			return nil
		}
		s = f.add(key, values, shards)
	}
	s.refs++
	return s
}

// acquireOther returns the series for everything that a full family cannot keep, which may exceed the limit by one.
func (f *family) acquireOther(shards int) *series {
	values := slices.Repeat([]string{otherValue}, len(f.labels))
	key := renderLabels(f.labels, values)
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.series[key]
	if s == nil {
		s = f.add(key, values, shards)
	}
	s.refs++
	return s
}

// add makes a series. The caller holds f.mu.
func (f *family) add(key string, values []string, shards int) *series {
	s := &series{family: f, labels: key, values: slices.Clone(values)}
	switch f.kind {
	case counter:
		s.counter = NewCounter(shards)
		s.counter.series = s
	case gauge:
		s.gauge = &Gauge{series: s}
	case histogram:
		s.histogram = NewHistogram(shards)
		s.histogram.series = s
	}
	if f.series == nil {
		f.series = make(map[string]*series)
	}
	f.series[key] = s
	f.sorted = nil
	if g, ok := f.group(values); ok {
		if f.groups == nil {
			f.groups = make(map[string][]*series)
		}
		f.groups[g] = append(f.groups[g], s)
	}
	return s
}

// group returns the key of f.groups, for counters of several labels.
func (f *family) group(values []string) (key string, ok bool) {
	n := len(f.labels) - 1
	if f.kind != counter || n < 1 {
		return "", false
	}
	return renderLabels(f.labels[:n], values[:n]), true
}

// inherit gives one more reference to every counter whose labels without the last have the values, and returns them.
func (f *family) inherit(values []string) []*series {
	key := renderLabels(f.labels[:len(values)], values)
	f.mu.Lock()
	defer f.mu.Unlock()
	all := slices.Clone(f.groups[key])
	for _, s := range all {
		s.refs++
	}
	return all
}

// release takes one reference back; the last one removes the series. A handle without a registry has a nil series.
func (s *series) release() {
	if s == nil {
		return
	}
	f := s.family
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.refs--; s.refs == 0 {
		delete(f.series, s.labels)
		f.sorted = nil
		f.leaveGroup(s)
	}
}

// leaveGroup takes a series out of its group. The caller holds f.mu.
func (f *family) leaveGroup(s *series) {
	key, ok := f.group(s.values)
	if !ok {
		return
	}
	rest := slices.DeleteFunc(f.groups[key], func(o *series) bool { return o == s })
	if len(rest) == 0 {
		delete(f.groups, key)
		return
	}
	f.groups[key] = rest
}

// snapshot returns the series in order of their labels. The slice is shared and never written again.
func (f *family) snapshot() []*series {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sorted == nil && len(f.series) > 0 {
		f.sorted = make([]*series, 0, len(f.series))
		for _, s := range f.series {
			f.sorted = append(f.sorted, s)
		}
		slices.SortFunc(f.sorted, func(a, b *series) int { return strings.Compare(a.labels, b.labels) })
	}
	return f.sorted
}

func (s *series) gaugeValue() int64 {
	if rd := s.reader(); rd != nil {
		return rd.read()
	}
	return s.gauge.Value()
}

func (s *series) counterValue() int64 {
	if rd := s.reader(); rd != nil {
		return rd.read()
	}
	return int64(s.counter.Value())
}

// reader returns the reader that counts, or nil.
func (s *series) reader() *Reader {
	s.family.mu.Lock()
	defer s.family.mu.Unlock()
	if n := len(s.readers); n > 0 {
		return s.readers[n-1]
	}
	return nil
}

// renderLabels writes the labels as the exposition shows them, which is also an unambiguous key.
func renderLabels(names, values []string) string {
	var b strings.Builder
	for i, name := range names {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(name)
		b.WriteString(`="`)
		writeLabelValue(&b, values[i])
		b.WriteByte('"')
	}
	return b.String()
}

// writeLabelValue escapes as the text format demands. Values come from configuration files and may hold anything: they are cut at a rune,
// and what is not UTF-8 is replaced, because Prometheus would refuse the whole page.
func writeLabelValue(b *strings.Builder, v string) {
	if len(v) > maxLabelValue {
		v = v[:maxLabelValue]
		for len(v) > maxLabelValue-utf8.UTFMax {
			if r, n := utf8.DecodeLastRuneInString(v); r != utf8.RuneError || n != 1 {
				break
			}
			v = v[:len(v)-1]
		}
	}
	for _, r := range v { // an invalid byte comes out as U+FFFD
		switch r {
		case '\\':
			b.WriteString(`\\`)
		case '"':
			b.WriteString(`\"`)
		case '\n':
			b.WriteString(`\n`)
		default:
			b.WriteRune(r)
		}
	}
}
