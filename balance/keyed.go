package balance

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

const (
	// largeSet is the number of members beyond which a hash table of the usual size would give some of them next to nothing.
	largeSet = 6553
	// maxSteps bounds the search for a member that was not tried and is below its bound of load.
	maxSteps = 64
	// goldenRatio is the step of SplitMix64: the k-th number of the sequence that begins at s is next(s + k·goldenRatio).
	goldenRatio = 0x9e3779b97f4a7c15
)

// keyed is what the algorithms have in common that place a request by its key: a table of owners, of which the key's hash chooses the first
// place. If its owner was tried already, or has its part of the work, the next place is looked at, and so on.
//
// Without a key it draws at random by weight, as random does.
type keyed struct {
	weighted
	owners  []uint32 // index of the member by place
	ring    []uint64 // or, in place of owners, by the points of a ring: position << 32 | index of the member
	scatter bool     // the next place is drawn anew by the key, and is not the one beside
	bound   *bound   // nil: none
}

// newKeyed orders members by identity, so that the order in which they are listed means nothing, and returns the seeds of their numbers.
func newKeyed(members []Member, o *Options) (k keyed, seeds []uint64) {
	for i := range members {
		if members[i].ID == "" {
			members[i].ID = strconv.Itoa(members[i].Slot)
		}
	}
	slices.SortStableFunc(members, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	seeds = make([]uint64, len(members))
	for i := range members {
		seeds[i] = Hash([]byte(members[i].ID))
		if i > 0 && members[i].ID == members[i-1].ID {
			seeds[i] = next(^seeds[i-1]) // the same identity twice: they must not lie on the same places
		}
	}
	k.weighted = newWeighted(members)
	if o.BoundedLoad > 0 {
		k.bound = &bound{factor: o.BoundedLoad / float64(k.total), seen: make([]atomic.Int64, len(members))}
	}
	return k, seeds
}

// random returns the slot for a request without a key.
func (k *keyed) random(q *Query) int {
	if i := k.drawUntried(q); i >= 0 {
		return k.members[i].Slot
	}
	return -1
}

// from returns the slot for a request whose key leads to the place at.
func (k *keyed) from(q *Query, at uint64) int {
	if k.bound != nil {
		return k.bounded(q, at)
	}
	m := &k.members[k.owner(at)]
	if q.Tried.Empty() || !q.Tried.Has(m.Slot) {
		return m.Slot
	}
	number := q.Hash
	for range maxSteps {
		at, number = k.step(at, number)
		if m = &k.members[k.owner(at)]; !q.Tried.Has(m.Slot) {
			return m.Slot
		}
	}
	if j := untriedFrom(k.members, q, number); j >= 0 {
		return k.members[j].Slot
	}
	return -1
}

// owner returns the index of the member that has a place.
func (k *keyed) owner(at uint64) uint32 {
	if k.ring != nil {
		return uint32(k.ring[at])
	}
	return k.owners[at]
}

// step returns the place after at, and the number after number.
func (k *keyed) step(at, number uint64) (uint64, uint64) {
	number = next(number)
	if k.scatter {
		return below(number, uint64(len(k.owners))), number
	}
	if at++; at == uint64(len(k.owners)+len(k.ring)) { // one of them is empty
		at = 0
	}
	return at, number
}

// bounded is from for a bound of load: the first on the way that was not tried and may have one more. A key that fills all of its first
// maxSteps places goes to any member that may have more; and if none may, because the others were tried, to the one with the least of its part.
func (k *keyed) bounded(q *Query, at uint64) int {
	b := k.bound
	mayHave := b.perWeight(k.members, q.Random)
	number := q.Hash
	for range maxSteps {
		i := int(k.owner(at))
		if q.Tried.Empty() || !q.Tried.Has(k.members[i].Slot) {
			if b.filled(k.members, i, mayHave) < 1 {
				return b.take(k.members, i)
			}
		}
		at, number = k.step(at, number)
	}
	// Begun at random, it meets one with room soon: at least 1 - 1/c of the parts are free.
	n := len(k.members)
	i := int(below(next(q.Random), uint64(n)))
	best, least := -1, math.Inf(1)
	for range n {
		if !q.Tried.Has(k.members[i].Slot) {
			if filled := b.filled(k.members, i, mayHave); filled < least {
				best, least = i, filled
			}
			if least < 1 {
				break
			}
		}
		if i++; i == n {
			i = 0
		}
	}
	if best < 0 {
		return -1
	}
	return b.take(k.members, best)
}

// refreshed is how many members each pick looks at to keep the sum of the work true, beside those on its way.
const refreshed = 4

// bound keeps each member below c times its part of the work (Mirrokni, Thorup, Zadimoghaddam, Consistent Hashing with Bounded
// Loads, 2017): a member of weight w may have ⌈c · w · (m+1) / Σw⌉ requests in flight, where m is what all have together.
//
// To add up m for each pick would take as long as there are members. Instead it is kept as a sum, of what was last seen of each member: a pick
// counts the request that it places, and looks again at those on its way and at some others. So m is exact for up to four members, and otherwise
// late only in noticing that requests have ended, by about as many picks as a quarter of the members.
type bound struct {
	factor float64 // c / Σw
	seen   []atomic.Int64
	_      [32]byte // sum has a cache line of its own: every pick writes to it
	sum    atomic.Int64
	_      [56]byte
}

// perWeight returns the work that a member may have for each unit of its weight, if one request more is placed.
func (b *bound) perWeight(members []Member, random uint64) float64 {
	n := len(members)
	i := 0
	if n > refreshed {
		i = int(below(next(random), uint64(n)))
	}
	for range min(n, refreshed) {
		b.refresh(members, i)
		if i++; i == n {
			i = 0
		}
	}
	return b.factor * float64(max(b.sum.Load(), 0)+1)
}

// refresh returns the work of a member, and corrects the sum by how it differs from what was seen before.
func (b *bound) refresh(members []Member, i int) int64 {
	n := max(members[i].Load.InFlight(), 0)
	if b.seen[i].Load() != n {
		b.sum.Add(n - b.seen[i].Swap(n))
	}
	return n
}

// filled returns how much of the work that it may have a member has; from 1 on it may have no more.
func (b *bound) filled(members []Member, i int, perWeight float64) float64 {
	limit := math.Ceil(perWeight*float64(members[i].Weight) - 1e-9) // less than the sum's rounding, so that a whole number stays what it is
	return float64(b.refresh(members, i)) / limit
}

// take counts a request that is placed on a member, which the caller will do by Load.Begin, and returns the slot.
func (b *bound) take(members []Member, i int) int {
	b.seen[i].Add(1)
	b.sum.Add(1)
	return members[i].Slot
}
