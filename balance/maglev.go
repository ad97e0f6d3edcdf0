package balance

import (
	"math"
	"math/bits"
)

const (
	// maglevSize is the size of the table: a prime, and more than 100 times the number of endpoints that one usually has.
	maglevSize = 65_537
	// maglevLarge is the size for large sets.
	maglevLarge = 655_373
)

// maglev is the table of Google's load balancer (Eisenbud and others, Maglev, 2016, section 3.4), with one change. Every member has the places of
// the table in an order of its own, by offset and skip, and they take turns by weight until all places are taken.
//
// In the paper a member in its turn goes on until it has found a free place, so that all get the same number. Who finds what then depends on all
// that was found before, and the loss of one endpoint among many upsets the late turns: of 600 it moves six times as many keys as it has to. Here
// a turn is one look at one place, so that what a member looks at when depends on nobody else, and a member stops when it has its part, rounded up,
// and one place more where that is not 2 % more. Nobody gets more than that; of many, some get less, down to five sixths at 600; and the loss of
// one of 600 moves twice what it has to, of 100 a quarter more.
type maglev struct{ keyed }

func newMaglev(members []Member, o *Options) Picker {
	k, seeds := newKeyed(members, o)
	size := uint32(maglevSize)
	if len(k.members) > largeSet {
		size = maglevLarge
	}
	type walk struct{ at, skip, left uint32 }
	walks := make([]walk, len(k.members))
	for i, seed := range seeds {
		walks[i] = walk{
			at:   uint32(below(next(seed), uint64(size))),
			skip: 1 + uint32(below(next(seed+goldenRatio), uint64(size-1))),
			left: k.mostPlaces(i, size),
		}
	}
	const free = math.MaxUint32
	k.owners = make([]uint32, size)
	for at := range k.owners {
		k.owners[at] = free
	}
	turns := newOrder(k.members)
	for empty := size; empty > 0; {
		again := turns[:0] // the turns of the members that may have more
		for _, i := range turns {
			w := &walks[i]
			if w.left == 0 {
				continue
			}
			again = append(again, i)
			if k.owners[w.at] == free {
				k.owners[w.at] = i
				w.left--
				empty--
			}
			if w.at += w.skip; w.at >= size {
				w.at -= size
			}
		}
		turns = again
	}
	return &maglev{k}
}

// mostPlaces returns how many places of a table a member may have. All together may have at least all. It reckons in whole numbers, so
// that every machine makes the same table.
func (k *keyed) mostPlaces(i int, size uint32) uint32 {
	hi, lo := bits.Mul64(uint64(k.members[i].Weight), uint64(size))
	most, rest := bits.Div64(hi, lo, k.total) // weight ≤ total, so that it fits
	if rest > 0 {
		most++
	}
	if most > 100 { // one more, beside the one by rounding, is at most 2 %
		most++
	}
	return uint32(most)
}

// Pick looks the key up.
func (m *maglev) Pick(q *Query) int {
	if !q.Keyed {
		return m.random(q)
	}
	return m.from(q, below(q.Hash, uint64(len(m.owners))))
}
