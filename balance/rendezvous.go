package balance

import "math"

const (
	// buckets is the number of parts that the keys are cut into. With n endpoints shares have a standard deviation of √(n / 2·buckets): 0.9 % of
	// ten, 9 % of a thousand.
	buckets = 1 << 16
	// bucketsLarge is the number for large sets.
	bucketsLarge = 1 << 20
)

// rendezvous is highest random weight (Thaler, Ravishankar, 1998) with weights, worked out beforehand for each of 65,536 buckets of keys: every member
// has a number for every bucket that depends on nothing but the two and its weight, and the member with the best owns the bucket. So
// the loss of an endpoint moves its own keys and no other, and more weight for one takes keys from the others and moves none between them.
//
// To make the numbers of all members for all buckets would take their product. Only the best of each bucket matters, though, and those come
// first if the members throw darts: each throws its own sequence of random darts at the buckets, w in a unit of time if its weight is w, and its number for a
// bucket is the time of its first dart there. These times are distributed exponentially with rate w, which is what weighted rendezvous hashing draws
// (Schindelhauer, Schomaker, 2005), and the first dart of all in a bucket decides. After about 12 darts for each bucket all have one.
type rendezvous struct{ keyed }

func newRendezvous(members []Member, o *Options) Picker {
	k, seeds := newKeyed(members, o)
	k.scatter = true
	size := uint64(buckets)
	if len(k.members) > largeSet {
		size = bucketsLarge
	}
	k.owners = make([]uint32, size)
	first := make([]float32, size) // time of the first dart in each bucket
	for at := range first {
		first[at] = math.MaxFloat32
	}
	thrown := make([]uint64, len(k.members))
	// In one unit of time all together throw as many darts as there are buckets. A bucket is decided only when every dart up to
	// that moment was thrown.
	for until, empty := float32(1), size; empty > 0; until++ {
		for i, seed := range seeds {
			pause := float32(float64(k.total) / (float64(k.members[i].Weight) * float64(size)))
			for n := thrown[i]; ; n++ {
				dart := next(seed + n*goldenRatio)
				at := below(dart, size)
				// Low bits, which did not choose the bucket, say when inside its interval the dart comes: so no two come at once.
				time := (float32(n) + float32(uint32(dart))/(1<<32)) * pause
				if time > until {
					thrown[i] = n
					break
				}
				if time < first[at] {
					if first[at] == math.MaxFloat32 {
						empty--
					}
					first[at], k.owners[at] = time, uint32(i)
				}
			}
		}
	}
	return &rendezvous{k}
}

// Pick looks the key up.
func (r *rendezvous) Pick(q *Query) int {
	if !q.Keyed {
		return r.random(q)
	}
	return r.from(q, below(q.Hash, uint64(len(r.owners))))
}
