package balance

// exactUpTo is the number of members up to which least_request looks at all of them.
const exactUpTo = 8

// leastRequest takes the endpoint with the least (in flight + 1) / weight: of all of them up to
// eight, of two drawn by weight beyond that (Mitzenmacher, The Power of Two Choices in Randomized
// Load Balancing, 2001). Endpoints that are equal are drawn by weight, never by their place in
// the list. While none of those looked at has work, they count as equal too: an idle backend
// spreads its requests by weight instead of giving all to the heaviest endpoint.
type leastRequest struct{ weighted }

func newLeastRequest(members []Member, _ uint64) Picker {
	return &leastRequest{newWeighted(members)}
}

func (l *leastRequest) Pick(q *Query) int {
	i := -1
	if len(l.members) <= exactUpTo {
		i = l.least(q)
	} else {
		i = l.ofTwo(q)
	}
	if i < 0 {
		return -1
	}
	return l.members[i].Slot
}

// least looks at every member that was not tried.
func (l *leastRequest) least(q *Query) int {
	var loads [exactUpTo]uint64 // in flight + 1, 0 for those tried
	idle := true
	for i := range l.members {
		m := &l.members[i]
		if q.Tried.Empty() || !q.Tried.Has(m.Slot) {
			loads[i] = load(m)
			idle = idle && loads[i] == 1
		}
	}
	if idle {
		return l.drawUntried(q)
	}
	best := -1
	var ties uint64 // weight of all that are as good as best
	random := q.Random
	for i := range l.members {
		if loads[i] == 0 {
			continue
		}
		weight := uint64(l.members[i].Weight)
		if best >= 0 {
			a, b := loads[i]*uint64(l.members[best].Weight), loads[best]*weight
			if a > b {
				continue
			}
			if a == b {
				// Reservoir sampling: each of the equal ones is taken in proportion to its weight.
				ties += weight
				random = next(random)
				if below(random, ties) < weight {
					best = i
				}
				continue
			}
		}
		best, ties = i, weight
	}
	return best
}

// ofTwo draws two different members and takes the one with less to do for its weight.
func (l *leastRequest) ofTwo(q *Query) int {
	first := l.drawUntried(q)
	if first < 0 {
		return -1
	}
	second := l.other(q, first)
	if second < 0 {
		return first
	}
	a, b := &l.members[first], &l.members[second]
	la, lb := load(a), load(b)
	if la == 1 && lb == 1 {
		return first // both idle; first was drawn by weight
	}
	x, y := lb*uint64(a.Weight), la*uint64(b.Weight)
	if x < y {
		return second
	}
	return first
}

// other draws a member that is not first and was not tried, or -1 if there is none. After a few
// draws that fall on first, because it has most of the weight, it takes any other.
func (l *leastRequest) other(q *Query, first int) int {
	random := q.Random
	for range 4 {
		random = next(random)
		if i := l.draw(random); i != first && (q.Tried.Empty() || !q.Tried.Has(l.members[i].Slot)) {
			return i
		}
	}
	n := len(l.members)
	i := int(below(next(random), uint64(n)))
	for range n {
		if i != first && !q.Tried.Has(l.members[i].Slot) {
			return i
		}
		if i++; i == n {
			i = 0
		}
	}
	return -1
}

// load is the member's work if it gets the request. A count below zero cannot come from pairs of
// Begin and End; it is read as 0 so that it does no harm.
func load(m *Member) uint64 { return uint64(max(m.Load.InFlight(), 0)) + 1 }
