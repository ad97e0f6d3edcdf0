package balance

const (
	// pointsEach is the number of points on the ring of the heaviest member. Shares then have a standard deviation of 6 %.
	pointsEach = 256
	// maxPoints bounds the ring (9 MiB): beyond 4,096 members each has fewer points.
	maxPoints = 1 << 20
)

// ringHash is consistent hashing (Karger and others, 1997) with points by weight, as Ketama has it: 256 for the heaviest member and fewer for the
// others. A key belongs to the next point on the ring. The loss of an endpoint moves its own keys and no other, unless it was the only heaviest:
// then the others' points are counted anew. Of the three that place by key its shares are the least even.
type ringHash struct {
	keyed
	index []uint32 // the first point of each of len(index) equal parts of the ring, which have about four points
	shift uint     // bits of a position that are not its part
}

func newRingHash(members []Member, o *Options) Picker {
	k, seeds := newKeyed(members, o)
	each := uint64(max(1, min(pointsEach, maxPoints/len(members))))
	var heaviest uint64
	for i := range k.members {
		heaviest = max(heaviest, uint64(k.members[i].Weight))
	}
	counts := make([]uint64, len(k.members))
	var total uint64
	for i := range k.members {
		counts[i] = max(1, (each*uint64(k.members[i].Weight)+heaviest/2)/heaviest)
		total += counts[i]
	}
	r := &ringHash{keyed: k, shift: 32}
	for uint64(4)<<(32-r.shift) < total {
		r.shift--
	}
	r.place(seeds, counts, total)
	return r
}

// place puts the points onto the ring: into their part by counting, and inside a part by insertion.
func (r *ringHash) place(seeds, counts []uint64, total uint64) {
	r.index = make([]uint32, 1<<(32-r.shift))
	for i, seed := range seeds {
		for k := range counts[i] {
			r.index[pointAt(seed, k)>>r.shift]++
		}
	}
	sum := uint32(0)
	for part, n := range r.index {
		sum += n
		r.index[part] = sum // the end of the part, which goes down to its beginning as the points are put in
	}
	r.ring = make([]uint64, total)
	for i, seed := range seeds {
		for k := range counts[i] {
			p := pointAt(seed, k)
			r.index[p>>r.shift]--
			r.ring[r.index[p>>r.shift]] = uint64(p)<<32 | uint64(i) // with the member, so that equal positions have an order of their own
		}
	}
	for i := 1; i < len(r.ring); i++ {
		for j := i; j > 0 && r.ring[j] < r.ring[j-1]; j-- {
			r.ring[j], r.ring[j-1] = r.ring[j-1], r.ring[j]
		}
	}
}

// pointAt returns the position of the k-th point of a member.
func pointAt(seed, k uint64) uint32 { return uint32(next(seed+k*goldenRatio) >> 32) }

// Pick finds the first point from the key on.
func (r *ringHash) Pick(q *Query) int {
	if !q.Keyed {
		return r.random(q)
	}
	position := q.Hash >> 32
	at := uint64(r.index[position>>r.shift])
	for at < uint64(len(r.ring)) && r.ring[at]>>32 < position {
		at++
	}
	if at == uint64(len(r.ring)) {
		at = 0
	}
	return r.from(q, at)
}
