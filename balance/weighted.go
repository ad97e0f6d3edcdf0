package balance

import (
	"math"
	"math/bits"
)

// weighted draws members at random by weight in constant time: the alias method in Vose's form
// (A Linear Algorithm for Generating Random Numbers with a Given Distribution, 1991), in whole
// numbers, so that every share is exact to 2⁻⁶⁴.
type weighted struct {
	members []Member
	rows    []aliasRow
	total   uint64
}

// aliasRow is one column of the alias table: a draw that falls on it means the member itself if
// its fraction is below the threshold, and else the other member.
type aliasRow struct {
	threshold uint64
	other     uint32
}

func newWeighted(members []Member) weighted {
	w := weighted{members: members, rows: make([]aliasRow, len(members))}
	for _, m := range members {
		w.total += uint64(m.Weight)
	}
	n := uint64(len(members))
	scaled := make([]uint64, n) // weight in units in which the average member has total
	var small, large []uint32
	for i, m := range members {
		scaled[i] = uint64(m.Weight) * n
		if scaled[i] < w.total {
			small = append(small, uint32(i))
		} else {
			large = append(large, uint32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		threshold, _ := bits.Div64(scaled[s], 0, w.total) // scaled[s]/total as a fraction of 2⁶⁴
		w.rows[s] = aliasRow{threshold, l}
		if scaled[l] -= w.total - scaled[s]; scaled[l] < w.total {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	// What is left has exactly the average. The sums are whole, so small is empty here.
	for _, i := range append(small, large...) {
		w.rows[i] = aliasRow{math.MaxUint64, i}
	}
	return w
}

// draw returns the index of a member drawn by weight, whether it was tried or not.
func (w *weighted) draw(random uint64) int {
	i, fraction := bits.Mul64(random, uint64(len(w.rows)))
	row := &w.rows[i]
	if fraction < row.threshold {
		return int(i)
	}
	return int(row.other)
}

// scanUpTo is the number of members up to which a draw that must leave some out sums the others'
// weights instead of drawing again.
const scanUpTo = 32

// drawUntried returns the index of a member that was not tried, by weight, or -1 if all were.
func (w *weighted) drawUntried(q *Query) int {
	if q.Tried.Empty() {
		return w.draw(q.Random)
	}
	if len(w.members) <= scanUpTo {
		return w.scan(q)
	}
	random := q.Random
	for range 4 {
		if i := w.draw(random); !q.Tried.Has(w.members[i].Slot) {
			return i
		}
		random = next(random)
	}
	return untriedFrom(w.members, q, random)
}

// scan draws by weight among the members that were not tried, exactly.
func (w *weighted) scan(q *Query) int {
	left := w.total
	for i := range w.members {
		if q.Tried.Has(w.members[i].Slot) {
			left -= uint64(w.members[i].Weight)
		}
	}
	if left == 0 {
		return -1
	}
	at := below(q.Random, left)
	for i := range w.members {
		if q.Tried.Has(w.members[i].Slot) {
			continue
		}
		weight := uint64(w.members[i].Weight)
		if at < weight {
			return i
		}
		at -= weight
	}
	return -1
}

// other draws a member that is not first and was not tried, or -1 if there is none. After a few
// draws that fall on first, because it has most of the weight, it takes any other.
func (w *weighted) other(q *Query, first int) int {
	random := q.Random
	for range 4 {
		random = next(random)
		if i := w.draw(random); i != first && (q.Tried.Empty() || !q.Tried.Has(w.members[i].Slot)) {
			return i
		}
	}
	n := len(w.members)
	i := int(below(next(random), uint64(n)))
	for range n {
		if i != first && !q.Tried.Has(w.members[i].Slot) {
			return i
		}
		if i++; i == n {
			i = 0
		}
	}
	return -1
}

// untriedFrom returns the index of the first member from a random place on that was not tried, or
// -1 if all were. At most MaxTried members were, so the search is short.
func untriedFrom(members []Member, q *Query, random uint64) int {
	n := len(members)
	i := int(below(random, uint64(n)))
	for range n {
		if !q.Tried.Has(members[i].Slot) {
			return i
		}
		if i++; i == n {
			i = 0
		}
	}
	return -1
}
