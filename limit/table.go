package limit

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

const (
	// shardKeys is how many keys a shard holds in a large table. It bounds how long a lock is held while a shard grows or is swept: tens of
	// microseconds.
	shardKeys = 4096
	// maxShards bounds the shards of a table, however large it is.
	maxShards = 4096
	// firstSlots is how many slots a shard begins with, when its first key comes.
	firstSlots = 16
	// sample is among how many keys the victim of an eviction is chosen.
	sample = 8
)

// table is a bounded map from digests to a few words of 64 bits. It has no pointers, so that a million keys cost the collector nothing.
//
// It is cut into shards, each with its own lock and its own open addressing with linear probing. A lock is held for one decision, 20 to 50 ns,
// and never while anything waits; with hundreds of shards two requests rarely meet at one.
//
// When a shard is full, room is made from what is worth least. What a key is worth is how much would be forgiven if it were forgotten, as its
// owner measures it: for a rate the time until the key is full again, for a quota what was used. Keys that are worth nothing, because forgetting
// them changes no decision, go first; else the least worth of a random sample goes and is counted. So a flood of new keys pushes out the keys of
// the flood, each of which was used once, and not the one that has used up its limit: whoever wants that one forgotten has to bring as many other
// keys to the same state as the table holds.
type table struct {
	seed   seed
	words  int // of payload for each key
	stride int // words of a slot: the digest and the payload
	max    int // keys of a shard
	mask   uint64
	shards []shard

	// worth says what a payload is worth at a moment of the owner's clock; nothing or less is forgotten without a trace.
	worth func(payload []uint64, now int64) int64

	keys    atomic.Int64
	slots   atomic.Int64
	evicted atomic.Uint64
}

// shard is a part of a table. Its mu guards all of it.
type shard struct {
	mu    sync.Mutex
	n     int      // slots
	used  int      // slots with a key
	fresh int      // keys that came since the last sweep
	data  []uint64 // n slots of stride words each; a slot whose digest is 0 is empty
	_     [8]byte
}

// newTable returns a table for at most keys keys. Shards fill unevenly, so that evictions begin when it is nearly full: at about 97 %.
func newTable(keys, words int, s seed, worth func(payload []uint64, now int64) int64) *table {
	shards := 1
	for shards < maxShards && keys/(2*shards) >= shardKeys/2 {
		shards *= 2
	}
	t := &table{seed: s, words: words, stride: 2 + words, max: max(1, keys/shards), mask: uint64(shards - 1), worth: worth}
	t.shards = make([]shard, shards)
	return t
}

// shard returns the shard of a digest, and its number.
func (t *table) shard(d digest) (*shard, int) {
	i := int(d.hi & t.mask)
	return &t.shards[i], i
}

// home is the slot that a digest has when it is alone.
func (s *shard) home(lo uint64) int {
	h, _ := bits.Mul64(lo, uint64(s.n))
	return int(h)
}

// find returns the payload of a digest, or nil. The lock is held.
func (t *table) find(s *shard, d digest) []uint64 {
	if s.n == 0 {
		return nil
	}
	at, ok := t.seek(s, d)
	if !ok {
		return nil
	}
	return t.payload(s, at)
}

// payload returns the words of slot at.
func (t *table) payload(s *shard, at int) []uint64 {
	from := at*t.stride + 2
	return s.data[from : from+t.words : from+t.words]
}

// seek returns the slot of a digest, or the empty one where it would be. There always is an empty one.
func (t *table) seek(s *shard, d digest) (at int, ok bool) {
	at = s.home(d.lo)
	for {
		slot := s.data[at*t.stride:][:2]
		if slot[1] == d.lo && slot[0] == d.hi {
			return at, true
		}
		if slot[0]|slot[1] == 0 {
			return at, false
		}
		if at++; at == s.n {
			at = 0
		}
	}
}

// insert adds a digest that is not there and returns its payload, all zero. If another key had to go for it that was worth something, gone is
// its digest. The lock is held.
func (t *table) insert(s *shard, d digest, now int64) (payload []uint64, gone digest) {
	gone = t.makeRoom(s, d, now)
	at, _ := t.seek(s, d)
	slot := s.data[at*t.stride:][:t.stride]
	slot[0], slot[1] = d.hi, d.lo
	s.used++
	s.fresh++
	t.keys.Add(1)
	return t.payload(s, at), gone
}

// fits reports whether one more key fits as the shard is: three quarters of the slots may be in use.
func (t *table) fits(s *shard) bool { return s.used < t.max && 4*(s.used+1) <= 3*s.n }

// makeRoom sees to it that one more key fits.
func (t *table) makeRoom(s *shard, d digest, now int64) (gone digest) {
	if t.fits(s) {
		return digest{}
	}
	// A sweep looks at all slots, so it has to be earned by new keys.
	if 4*s.fresh >= s.used && s.used > 0 {
		t.sweep(s, now)
		if size := 2 * s.used; s.n > firstSlots && 8*s.used < s.n {
			t.resize(s, size) // after a flood: give the memory back
		}
		if t.fits(s) {
			return digest{}
		}
	}
	if s.used < t.max {
		t.resize(s, 2*s.n)
		return digest{}
	}
	return t.evict(s, d, now)
}

// sweep removes what is worth nothing.
func (t *table) sweep(s *shard, now int64) {
	s.fresh = 0
	for at := 0; at < s.n; {
		if slot := s.data[at*t.stride:]; slot[0]|slot[1] != 0 && t.worth(t.payload(s, at), now) <= 0 {
			t.remove(s, at) // brings another one to this place, perhaps
			continue
		}
		at++
	}
}

// evict removes the least worth of a few keys, from all over the shard: neighbours have much in common, because new keys end up behind old ones. d
// chooses them, which nobody without the seed can foresee. gone is the digest of the victim if it was worth anything.
func (t *table) evict(s *shard, d digest, now int64) (gone digest) {
	least, victim := int64(0), -1
	place := bits.RotateLeft64(d.hi, 32) ^ d.lo
	for seen := 0; seen < sample; {
		place += 0x9e3779b97f4a7c15 // the golden ratio: in the long run it comes near every slot
		at := s.home(place)
		if slot := s.data[at*t.stride:]; slot[0]|slot[1] != 0 {
			seen++
			if w := t.worth(t.payload(s, at), now); victim < 0 || w < least {
				least, victim = w, at
			}
		}
	}
	slot := s.data[victim*t.stride:]
	if least > 0 {
		gone = digest{slot[0], slot[1]}
		t.evicted.Add(1)
	}
	t.remove(s, victim)
	return gone
}

// remove empties slot at. What stands behind it moves up, so that every digest is found from its home without a gap.
func (t *table) remove(s *shard, at int) {
	s.used--
	t.keys.Add(-1)
	for next := at; ; {
		if next++; next == s.n {
			next = 0
		}
		slot := s.data[next*t.stride:][:t.stride]
		if slot[0]|slot[1] == 0 {
			break
		}
		// It may move if its home is not between the gap and itself, in the circle.
		home := s.home(slot[1])
		if at <= next && (home <= at || home > next) || at > next && home <= at && home > next {
			copy(s.data[at*t.stride:][:t.stride], slot)
			at = next
		}
	}
	clear(s.data[at*t.stride:][:t.stride])
}

// delete removes a digest, if it is there. The lock is held.
func (t *table) delete(s *shard, d digest) {
	if s.n == 0 {
		return
	}
	if at, ok := t.seek(s, d); ok {
		t.remove(s, at)
	}
}

// resize gives a shard about n slots, and what it needs at least, at most and at first.
func (t *table) resize(s *shard, n int) {
	n = max(min(n, (t.max+1)*4/3+2), firstSlots)
	old, slots := s.data, s.n
	s.data, s.n = make([]uint64, n*t.stride), n
	t.slots.Add(int64(n - slots))
	for i := range slots {
		slot := old[i*t.stride:][:t.stride]
		if slot[0]|slot[1] == 0 {
			continue
		}
		at, _ := t.seek(s, digest{slot[0], slot[1]})
		copy(s.data[at*t.stride:], slot)
	}
}

// TableStats tells how full a table of keys is.
type TableStats struct {
	Keys    int64  // remembered now; keys that need not be remembered any more may be among them
	Evicted uint64 // forgotten for lack of room although it mattered, since the start
	Bytes   int64  // of memory for them
}

func (t *table) stats() TableStats {
	return TableStats{Keys: t.keys.Load(), Evicted: t.evicted.Load(), Bytes: t.slots.Load()*int64(t.stride)*8 + int64(len(t.shards))*64}
}
