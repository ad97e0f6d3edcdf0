package demo

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/gateway"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/upstream"
)

// maxEvents bounds how many events are remembered.
const maxEvents = 8

// journal remembers the latest events. It is safe for any number of goroutines.
type journal struct {
	began time.Time

	mu      sync.Mutex
	events  []event
	failure string
	partial time.Time // when addPartial was called last
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, event{time.Since(j.began), fmt.Sprintf(format, args...)})
	if n := len(j.events) - maxEvents; n > 0 {
		j.events = slices.Delete(j.events, 0, n)
	}
}

// addMoved notes that something is elsewhere than it was wanted, if it is.
func (j *journal) addMoved(wanted, what, at string) {
	if port(wanted) != ":0" && port(wanted) != port(at) {
		j.add("%s is taken: %s is at %s", wanted, what, at)
	}
}

// addFailure notes what the client saw of a request that failed.
func (j *journal) addFailure(what string) {
	j.add("failed: %s", what)
	j.mu.Lock()
	j.failure = what
	j.mu.Unlock()
}

// partialPause is how long answers must have been whole for the next one that is not to be worth telling.
const partialPause = 2 * time.Second

// addPartial notes what an answer lacks, once for as long as that goes on.
func (j *journal) addPartial(without string) {
	j.mu.Lock()
	first := time.Since(j.partial) > partialPause
	j.partial = time.Now()
	j.mu.Unlock()
	if first {
		j.add("sluice: an overview is answered without %s", strings.ReplaceAll(without, ";reason=", ": "))
	}
}

// latest returns the latest events and the latest failure.
func (j *journal) latest() (events []event, failure string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.events), j.failure
}

// observer turns what gateway, bank and load count into frames. One goroutine uses it.
type observer struct {
	gateway *gateway.Gateway
	bank    *bank
	load    *load
	journal *journal
	source  string
	tries   []string

	at      time.Time // of the frame before
	before  figures   // of the frame before, since the start
	latency metric.Snapshot
	seen    map[seenKey]*seen
}

type seenKey struct{ backend, address string }

// seen is what is known of an endpoint from looks before.
type seen struct {
	state    state
	trouble  trouble
	downs    uint64
	requests uint64 // at the frame before
}

func newObserver(g *gateway.Gateway, b *bank, l *load, j *journal, source string, tries []string) *observer {
	o := &observer{gateway: g, bank: b, load: l, journal: j, source: source, tries: tries, at: j.began, seen: make(map[seenKey]*seen)}
	for _, s := range b.services {
		for _, e := range s.endpoints {
			o.seen[seenKey{s.name, e.address}] = new(seen)
		}
	}
	return o
}

// look notes what has changed since the last look.
func (o *observer) look() {
	for _, b := range o.gateway.Backends() {
		for i := range b.Endpoints {
			o.compare(b.Name, &b.Endpoints[i])
		}
	}
}

func (o *observer) compare(backend string, e *upstream.EndpointStatus) {
	s, ok := o.seen[seenKey{backend, e.Address}]
	if !ok {
		return // the gateway serves nothing but the bank
	}
	name := backend + " " + port(e.Address)
	if p := o.bank.find(e.Address); p != nil {
		if now := p.trouble(); now != s.trouble {
			s.trouble = now
			o.journal.add("bank: %s %s", name, orElse(now.story, "works again"))
		}
	}
	now := stateOf(e)
	if now == s.state {
		return
	}
	s.state = now
	switch now {
	case down:
		s.downs++
		o.journal.add("sluice: %s is down: %s", name, orElse(e.CheckFault, "connections to it fail"))
	case ejected:
		o.journal.add("sluice: %s is ejected for %s: its requests fail", name, duration(e.EjectedFor))
	default:
		o.journal.add("sluice: %s is used again", name)
	}
}

func stateOf(e *upstream.EndpointStatus) state {
	switch {
	case !e.Healthy:
		return down
	case e.EjectedFor > 0:
		return ejected
	}
	return healthy
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// frame returns what is to be shown now. What it says of the time since the frame before is said once.
func (o *observer) frame() *frame {
	o.look()
	now := time.Now()
	f := &frame{elapsed: now.Sub(o.journal.began), rate: o.load.rate, source: o.source, tries: o.tries}
	f.total, f.last = o.figures(now)
	ejections := make(map[seenKey]uint64)
	o.gateway.Registry().Each(metric.EndpointEjections, func(values []string, n int64) {
		ejections[seenKey{values[0], values[1]}] = uint64(n)
	})
	over := now.Sub(o.at)
	for _, b := range o.gateway.Backends() {
		row := backendRow{name: b.Name, usable: b.Usable}
		for i := range b.Endpoints {
			row.endpoints = append(row.endpoints, o.endpoint(b.Name, &b.Endpoints[i], over))
		}
		row.shares()
		for i := range row.endpoints {
			e := &row.endpoints[i]
			e.ejections = ejections[seenKey{b.Name, e.address}]
			f.total.ejections += e.ejections
			f.total.downs += e.downs
		}
		f.total.saved += b.RetriesSaved
		f.total.retries += b.Retries
		f.total.denied += b.RetriesDenied
		f.backends = append(f.backends, row)
	}
	f.last.saved = f.total.saved - o.before.saved
	o.at, o.before = now, f.total
	f.events, f.failure = o.journal.latest()
	return f
}

// figures returns what the load has counted since the start and since the frame before.
func (o *observer) figures(now time.Time) (total, last figures) {
	total = figures{
		over: o.load.over(now), answered: o.load.answered.Value(), failed: o.load.failures.Value(), skipped: o.load.skipped.Load(),
		cached: o.load.cached.Value(), partial: o.load.partial.Value(),
	}
	last = figures{
		over:     now.Sub(o.at),
		answered: total.answered - o.before.answered, failed: total.failed - o.before.failed, skipped: total.skipped - o.before.skipped,
		cached: total.cached - o.before.cached, partial: total.partial - o.before.partial,
	}
	var all metric.Snapshot
	o.load.latency.Snapshot(&all)
	total.quantiles(&all)
	since := all
	since.Sub(&o.latency)
	last.quantiles(&since)
	o.latency = all
	return total, last
}

func (o *observer) endpoint(backend string, e *upstream.EndpointStatus, over time.Duration) endpointRow {
	row := endpointRow{
		address: e.Address, state: stateOf(e), ejected: e.EjectedFor, inFlight: e.InFlight, requests: e.Requests, failures: e.Failures,
	}
	if p := o.bank.find(e.Address); p != nil {
		row.trouble = p.trouble()
	}
	if s, ok := o.seen[seenKey{backend, e.Address}]; ok {
		row.perSecond = perSecond(e.Requests-s.requests, over)
		row.downs = s.downs
		s.requests = e.Requests
	}
	return row
}

// shares fills what part each endpoint has of the backend's requests.
func (b *backendRow) shares() {
	var rate float64
	var all uint64
	for i := range b.endpoints {
		rate += b.endpoints[i].perSecond
		all += b.endpoints[i].requests
	}
	for i := range b.endpoints {
		e := &b.endpoints[i]
		e.share, e.totalShare = -1, -1
		if rate > 0 {
			e.share = e.perSecond / rate
		}
		if all > 0 {
			e.totalShare = float64(e.requests) / float64(all)
		}
	}
}
