package identity

import (
	"bytes"
	"hash/maphash"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

const (
	// defaultCacheBytes bounds a cache whose owner says nothing.
	defaultCacheBytes = 32 << 20
	// bytesPerSlot is for how much memory there is a place. Entries are seldom smaller than twice that, so that bytes and not places are what is short.
	bytesPerSlot = 512
	// ways is how many places an entry may stand in.
	ways = 4
	// entryOverhead is what an entry costs besides the bytes that it refers to.
	entryOverhead = 256
	// claimOverhead is what each claim costs besides.
	claimOverhead = 96
)

// forever is a moment that never comes.
const forever = math.MaxInt64

// source is what an entry rests on: a key, a line of a file. An entry is worth nothing once its source is retired. Sources are shared by entries
// and retired once.
type source struct{ retired atomic.Bool }

// CacheMetrics counts what a cache does. Nil ones count nothing.
type CacheMetrics struct {
	Hits    *metric.Counter
	Misses  *metric.Counter
	Evicted *metric.Counter // entries pushed out by others while they were good
}

// CacheStats is what a cache holds.
type CacheStats struct {
	Entries int64
	Bytes   int64 // about what the entries cost
	Bound   int64 // what Bytes stays below
}

// cache remembers who was recognised by what. It is a table of fixed size in which each key may stand in one of four places; get takes no lock.
//
// The key is found by a seeded hash of 64 bits and then compared as a whole, so that nothing depends on the hash but the place: a collision costs a
// place, and nobody outside can make one since the seed is chosen at start. A hash of cryptographic strength in its place would take longer than
// everything else for keys of 1 KiB. The comparison is not of constant time: it begins only when all 64 bits agree, which somebody who does not
// have the credential cannot bring about, and so cannot approach it byte by byte.
type cache struct {
	seed    maphash.Seed
	bound   int64
	mask    uint64
	places  []atomic.Pointer[entry] // ways for each value of hash & mask
	metrics CacheMetrics

	mu      sync.Mutex
	hand    int          // guarded by mu: where eviction goes on
	bytes   atomic.Int64 // written under mu
	entries atomic.Int64 // written under mu
}

// entry is immutable but for used.
type entry struct {
	hash        uint64
	key         []byte
	identity    *message.Identity
	source      *source
	from, until int64 // nanoseconds of Unix time between which it is good
	size        int64
	used        atomic.Bool // since the hand of the clock came by
}

// newCache returns a cache of about so many bytes: 0 is the default, and a negative number makes one that keeps nothing.
func newCache(bound int64, metrics CacheMetrics) *cache {
	if bound == 0 {
		bound = defaultCacheBytes
	}
	c := &cache{seed: maphash.MakeSeed(), bound: max(bound, 0), metrics: metrics}
	if bound < 0 {
		return c
	}
	buckets := uint64(1) << bits.Len64(uint64(max(bound/bytesPerSlot/ways, 1)-1))
	c.mask, c.places = buckets-1, make([]atomic.Pointer[entry], buckets*ways)
	return c
}

// good reports whether the entry may be used at the moment.
func (e *entry) good(now int64) bool {
	return e.from <= now && now < e.until && !e.source.retired.Load()
}

// bucket returns the places that a hash may stand in.
func (c *cache) bucket(hash uint64) []atomic.Pointer[entry] {
	at := (hash & c.mask) * ways
	return c.places[at : at+ways]
}

// get returns who was recognised by the key, or nil. now is in nanoseconds of Unix time.
func (c *cache) get(key []byte, now int64) *message.Identity {
	if len(c.places) == 0 {
		return nil
	}
	hash := maphash.Bytes(c.seed, key)
	bucket := c.bucket(hash)
	for i := range bucket {
		e := bucket[i].Load()
		if e == nil || e.hash != hash || !bytes.Equal(e.key, key) || !e.good(now) {
			continue
		}
		if !e.used.Load() { // a write that is not needed would move the line between processors
			e.used.Store(true)
		}
		c.metrics.Hits.Inc(0)
		return e.identity
	}
	c.metrics.Misses.Inc(0)
	return nil
}

// put remembers who was recognised by the key, of which it takes a copy, and returns the identity to use: another one if somebody was faster, so that
// all requests share one.
func (c *cache) put(key []byte, id *message.Identity, from, until, now int64, s *source) *message.Identity {
	e := &entry{hash: maphash.Bytes(c.seed, key), identity: id, source: s, from: from, until: until, size: sizeOf(key, id)}
	if len(c.places) == 0 || e.size > c.bound || !e.good(now) {
		return id
	}
	e.key = bytes.Clone(key)
	c.mu.Lock()
	defer c.mu.Unlock()
	place := c.place(e, now)
	if old := place.Load(); old != nil && old.hash == e.hash && bytes.Equal(old.key, key) && old.good(now) {
		return old.identity
	}
	c.replace(place, e, now)
	c.shrink(now)
	return id
}

// place returns where e goes: where its key stands, else a place that is free or no longer good, else one that was not used of late, else any.
// The caller holds mu.
func (c *cache) place(e *entry, now int64) *atomic.Pointer[entry] {
	bucket := c.bucket(e.hash)
	var free, idle *atomic.Pointer[entry]
	for i := range bucket {
		switch old := bucket[i].Load(); {
		case old == nil:
			free = &bucket[i]
		case old.hash == e.hash && bytes.Equal(old.key, e.key):
			return &bucket[i]
		case !old.good(now):
			free = &bucket[i]
		case !old.used.Load():
			idle = &bucket[i]
		}
	}
	switch {
	case free != nil:
		return free
	case idle != nil:
		return idle
	}
	for i := range bucket {
		bucket[i].Load().used.Store(false)
	}
	return &bucket[e.hash>>62] // two bits that have no part in finding the bucket
}

// replace puts e, or nothing, into a place. The caller holds mu.
func (c *cache) replace(place *atomic.Pointer[entry], e *entry, now int64) {
	if old := place.Load(); old != nil {
		c.bytes.Add(-old.size)
		c.entries.Add(-1)
		if old.good(now) && (e == nil || e.hash != old.hash) {
			c.metrics.Evicted.Inc(0)
		}
	}
	if e != nil {
		c.bytes.Add(e.size)
		c.entries.Add(1)
	}
	place.Store(e)
}

// shrink evicts entries by the clock algorithm until the bytes are within their bound. The caller holds mu. Two rounds are enough: the first takes
// the marks away. What was just put in is not used yet, and may go; its caller has its identity all the same.
func (c *cache) shrink(now int64) {
	for range 2 * len(c.places) {
		if c.bytes.Load() <= c.bound {
			return
		}
		place := &c.places[c.hand]
		c.hand = (c.hand + 1) % len(c.places)
		if e := place.Load(); e != nil && !(e.good(now) && e.used.Swap(false)) {
			c.replace(place, nil, now)
		}
	}
}

func (c *cache) stats() CacheStats {
	return CacheStats{Entries: c.entries.Load(), Bytes: c.bytes.Load(), Bound: c.bound}
}

// sizeOf returns about how many bytes an entry keeps alive.
func sizeOf(key []byte, id *message.Identity) int64 {
	return int64(entryOverhead + len(key) + len(id.Raw) + claimOverhead*len(id.Claims))
}
