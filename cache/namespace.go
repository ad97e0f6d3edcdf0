package cache

import (
	"runtime"

	"github.com/sluice-gateway/sluice/metric"
)

// Namespace holds the answers of one policy. Two namespaces share no answers.
type Namespace struct {
	name   string
	id     uint32
	events [eventCount]*metric.Counter
}

// Event is something that is counted for a namespace.
type Event uint8

// The events.
const (
	Hits        Event = iota // answered with a stored answer, as it was
	StaleHits                // answered with a stale one, as the rules or the client allow
	Misses                   // led a flight because nothing usable was stored
	Followed                 // waited for the flight of another
	Validated                // a stored answer was found to be still good
	Rescued                  // answered with a stale one because no new one could be had
	Passes                   // went on without the store
	Alone                    // had waited for an answer that was not for it
	Stored                   // an answer was stored
	Unkept                   // an answer was not stored: it must not be, or is of no use
	TooLarge                 // an answer was not stored for its size, or for want of room
	Broken                   // an answer ended before its end
	Abandoned                // a fetch was cancelled because nobody wanted it any more
	Evicted                  // an answer made room for others
	Invalidated              // an answer was dropped because of an unsafe request
	Purged                   // an answer was dropped because the operator said so
	eventCount
)

// eventNames is read-only: the words that metrics use.
var eventNames = [eventCount]string{
	"hit", "stale", "miss", "followed", "validated", "rescued", "pass", "alone", "stored", "unkept", "too_large", "broken", "abandoned", "evicted",
	"invalidated", "purged",
}

// String returns the word that metrics use.
func (e Event) String() string { return eventNames[e] }

// Events calls yield with every event.
func Events(yield func(Event) bool) {
	for e := range eventCount {
		if !yield(e) {
			return
		}
	}
}

// Namespace returns the namespace of a name, made if there is none. Whoever changes what may be shared gives it another name: what is stored
// was judged by the rules of its time.
func (s *Store) Namespace(name string) *Namespace {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ns := s.namespaces[name]; ns != nil {
		return ns
	}
	s.nextID++
	ns := &Namespace{name: name, id: s.nextID}
	for i := range ns.events {
		ns.events[i] = metric.NewCounter(2 * runtime.GOMAXPROCS(0))
	}
	s.namespaces[name] = ns
	return ns
}

// Retain drops the namespaces whose names keep does not want, with all that is in them. Flights that are on their way end as they would.
func (s *Store) Retain(keep func(name string) bool) {
	s.mu.Lock()
	gone := make(map[*Namespace]bool)
	for name, ns := range s.namespaces {
		if !keep(name) {
			gone[ns] = true
			delete(s.namespaces, name)
		}
	}
	s.mu.Unlock()
	if len(gone) > 0 {
		s.purge(func(res *resource) bool { return gone[res.ns] }, eventCount)
	}
}

// Name returns the name that the namespace was made with.
func (ns *Namespace) Name() string { return ns.name }

// Count returns how often something has happened.
func (ns *Namespace) Count(e Event) uint64 { return ns.events[e].Value() }

// count notes that something has happened to what has this hash.
func (ns *Namespace) count(e Event, hash uint64) {
	if e < eventCount {
		ns.events[e].Inc(metric.Shard(hash >> 40))
	}
}
