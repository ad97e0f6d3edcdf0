package cache

import (
	"runtime"
	"sync/atomic"

	"github.com/sluice-gateway/sluice/metric"
)

// Namespace holds the answers of one policy. Two namespaces share no answers.
type Namespace struct {
	id      uint32
	dropped atomic.Bool
	events  [eventCount]*metric.Counter
}

// Event is something that is counted for a namespace.
type Event uint8

// The events.
const (
	Hits        Event = iota // answered with a stored answer, as it was
	StaleHits                // answered with a stale one, as the rules or the client allow
	Misses                   // led a flight because nothing usable was stored
	Collapsed                // waited for the flight of another
	Refused                  // wanted nothing but a stored answer, and there was none
	Passes                   // went on without the store
	Validated                // a stored answer was found to be still good
	Rescued                  // answered with a stale one because no new one could be had
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
	"hit", "stale", "miss", "collapsed", "refused", "pass", "validated", "rescued", "alone", "stored", "unkept", "too_large", "broken", "abandoned",
	"evicted", "invalidated", "purged",
}

// String returns the word that metrics use.
func (e Event) String() string { return eventNames[e] }

// IsResult reports whether e tells what became of a request: each lookup counts as one of these.
func (e Event) IsResult() bool { return e <= Passes }

// Events calls yield with every event.
func Events(yield func(Event) bool) {
	for e := range eventCount {
		if !yield(e) {
			return
		}
	}
}

// NewNamespace makes an empty namespace. counter gives the counters of its events; nil makes some that nobody else sees.
func (s *Store) NewNamespace(counter func(Event) *metric.Counter) *Namespace {
	ns := &Namespace{id: s.nextID.Add(1)}
	for e := range eventCount {
		if counter != nil {
			ns.events[e] = counter(e)
		} else {
			ns.events[e] = metric.NewCounter(2 * runtime.GOMAXPROCS(0))
		}
	}
	return ns
}

// Drop drops all that is in a namespace that is not asked any more. Nothing is stored in it from then on; flights that are on their way serve who
// waits for them.
func (s *Store) Drop(ns *Namespace) {
	ns.dropped.Store(true)
	s.purge(func(res *resource) bool { return res.ns == ns }, eventCount)
}

// Count returns how often something has happened.
func (ns *Namespace) Count(e Event) uint64 { return ns.events[e].Value() }

// count notes that something has happened to what has this hash.
func (ns *Namespace) count(e Event, hash uint64) {
	if e < eventCount {
		ns.events[e].Inc(metric.Shard(hash >> 40))
	}
}
