package balance

import "math/bits"

// Picker picks one endpoint of a fixed set. It is safe for any number of goroutines.
type Picker interface {
	// Pick returns the slot of the endpoint to use, or -1 if every endpoint was tried. It reads q
	// and keeps nothing of it. The caller calls Load.Begin at once, so that the next pick sees
	// this one: picks that act on the same old numbers would all fall on the same endpoint.
	Pick(q *Query) int
}

// Member is one endpoint as an algorithm sees it.
type Member struct {
	// Slot is what Pick returns: the caller's own number of the endpoint, which stays the same
	// from picker to picker. Not negative.
	Slot int
	// Weight is the member's part of the requests against the others'. Members with 0 get none.
	Weight uint32
	// Load is what is known of the endpoint's work. It outlives the picker.
	Load *Load
	// ID names the endpoint for hash algorithms, which place it by this and not by Slot or by its place in the list: its address, for
	// one. The same in every process, and different for each member. Where it is empty, Slot stands for it.
	ID string
}

// Query is what an algorithm may know of a request.
type Query struct {
	// Random is uniform over all values and fresh for each pick.
	Random uint64
	// Hash is the request's key by the function Hash, if Keyed. Only hash algorithms look at it.
	Hash uint64
	// Keyed says that the request has a key. Hash algorithms place a request without one at random by weight.
	Keyed bool
	// Now is the moment in nanoseconds of a monotonic clock, the one that Load.Observe gets. Only least_latency looks at it.
	Now int64
	// Tried are the slots that have failed this request already.
	Tried Tried
}

// MaxTried is how many slots a Tried holds: more than any number of attempts that a
// configuration allows for.
const MaxTried = 16

// Tried is a small set of slots. Beyond MaxTried slots it forgets the oldest.
type Tried struct {
	slots [MaxTried]uint32
	n     uint32
}

// Add puts a slot into the set.
func (t *Tried) Add(slot int) {
	t.slots[t.n%MaxTried] = uint32(slot)
	t.n++
}

// Has reports whether slot is in the set.
func (t *Tried) Has(slot int) bool {
	for _, s := range t.slots[:min(t.n, MaxTried)] {
		if s == uint32(slot) {
			return true
		}
	}
	return false
}

// Empty reports whether nothing was added.
func (t *Tried) Empty() bool { return t.n == 0 }

// Reset empties the set.
func (t *Tried) Reset() { t.n = 0 }

// none picks nothing: a set without members of any weight.
type none struct{}

func (none) Pick(*Query) int { return -1 }

// below maps a random number to 0 ≤ i < n without the bias and the division of a remainder
// (Lemire, Fast Random Integer Generation in an Interval, 2019).
func below(random, n uint64) uint64 {
	hi, _ := bits.Mul64(random, n)
	return hi
}

// next returns the random number after r, so that one pick may draw several times (SplitMix64:
// Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, 2014).
func next(r uint64) uint64 {
	r += 0x9e3779b97f4a7c15
	r = (r ^ r>>30) * 0xbf58476d1ce4e5b9
	r = (r ^ r>>27) * 0x94d049bb133111eb
	return r ^ r>>31
}
