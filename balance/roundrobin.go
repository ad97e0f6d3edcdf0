package balance

import "sync/atomic"

const (
	// exactSteps bounds the work of building NGINX's order: turns × members.
	exactSteps = 1 << 20
	// maxTurns bounds the length of an order (256 KiB) before rounding up adds at most one turn
	// for each member.
	maxTurns = 1 << 16
)

// roundRobin takes turns by weight in a fixed order that repeats: the order is worked out when
// the picker is built, so that picking is one atomic addition (the idea of static stride
// scheduling, without its search for the next turn).
type roundRobin struct {
	_       [64]byte // the counter has a cache line of its own
	turn    atomic.Uint64
	_       [56]byte
	order   []uint32 // index of the member of each turn
	members []Member
}

func newRoundRobin(members []Member, o *Options) Picker {
	r := &roundRobin{members: members, order: newOrder(members)}
	r.turn.Store(o.Start % uint64(len(r.order)))
	return r
}

func (r *roundRobin) Pick(q *Query) int {
	n := uint64(len(r.order))
	i := r.order[(r.turn.Add(1)-1)%n]
	m := &r.members[i]
	if q.Tried.Empty() || !q.Tried.Has(m.Slot) {
		return m.Slot
	}
	// A second attempt: the next turns belong, in the mean, to the others.
	for range MaxTried {
		m = &r.members[r.order[(r.turn.Add(1)-1)%n]]
		if !q.Tried.Has(m.Slot) {
			return m.Slot
		}
	}
	if j := untriedFrom(r.members, q, q.Random); j >= 0 {
		return r.members[j].Slot
	}
	return -1
}

// newOrder returns the order of turns, as short as the weights allow.
func newOrder(members []Member) []uint32 {
	weights := make([]uint32, len(members))
	var divisor uint32
	for i, m := range members {
		weights[i] = m.Weight
		divisor = gcd(divisor, m.Weight)
	}
	var total uint64
	for i := range weights {
		weights[i] /= divisor
		total += uint64(weights[i])
	}
	if total == uint64(len(weights)) {
		order := make([]uint32, len(weights)) // all equal
		for i := range order {
			order[i] = uint32(i)
		}
		return order
	}
	if total > maxTurns {
		// Shares are rounded to 1/65536 of the whole, and nobody is rounded down to nothing.
		sum := uint64(0)
		for i, w := range weights {
			weights[i] = uint32(max(1, (uint64(w)*maxTurns+total/2)/total))
			sum += uint64(weights[i])
		}
		total = sum
	}
	if total*uint64(len(weights)) <= exactSteps {
		return smoothOrder(weights, total)
	}
	return deadlineOrder(weights, total)
}

func gcd(a, b uint32) uint32 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// smoothOrder is NGINX's smooth weighted round robin: in each turn everyone gains its weight, the
// one that has most is taken and pays the sum of all. {5, 1, 1} makes a a b a c a a.
func smoothOrder(weights []uint32, total uint64) []uint32 {
	current := make([]int64, len(weights))
	order := make([]uint32, total)
	for turn := range order {
		best := 0
		for i, w := range weights {
			if current[i] += int64(w); current[i] > current[best] {
				best = i
			}
		}
		current[best] -= int64(total)
		order[turn] = uint32(best)
	}
	return order
}

// deadlineOrder is earliest deadline first: the k-th turn of a member is due at (2k+1)/(2·weight)
// of a round. It spreads as evenly as smoothOrder and takes n·log n steps, so it serves the large
// sets, where the exact order would take seconds to build.
func deadlineOrder(weights []uint32, total uint64) []uint32 {
	type due struct {
		at     uint64 // 2k+1
		weight uint64
		index  uint32
	}
	before := func(a, b *due) bool {
		x, y := a.at*b.weight, b.at*a.weight
		return x < y || x == y && a.index < b.index
	}
	heap := make([]due, len(weights))
	for i, w := range weights {
		heap[i] = due{1, uint64(w), uint32(i)}
	}
	sink := func(i int) {
		for {
			least := i
			for c := 2*i + 1; c <= 2*i+2 && c < len(heap); c++ {
				if before(&heap[c], &heap[least]) {
					least = c
				}
			}
			if least == i {
				return
			}
			heap[i], heap[least] = heap[least], heap[i]
			i = least
		}
	}
	for i := len(heap)/2 - 1; i >= 0; i-- {
		sink(i)
	}
	order := make([]uint32, total)
	for turn := range order {
		order[turn] = heap[0].index
		heap[0].at += 2
		sink(0)
	}
	return order
}
