package balance

const (
	// exactRequests is the number of members up to which least_request looks at all of them.
	exactRequests = 8
	// exactConnections is the same for least_connections. Connections last, and so do the mistakes in placing them; and there are fewer of
	// them, so that a longer look at each costs little.
	exactConnections = 32
)

// leastRequest takes the endpoint with the least (in flight + 1) / weight: of all of them up to a
// number of members, of two drawn by weight beyond that (Mitzenmacher, The Power of Two Choices in Randomized
// Load Balancing, 2001). Endpoints that are equal are drawn by weight, never by their place in
// the list. While none of those looked at has work, they count as equal too: an idle backend
// spreads its requests by weight instead of giving all to the heaviest endpoint.
type leastRequest struct {
	weighted
	exact bool
}

func newLeastRequest(members []Member, _ *Options) Picker {
	return &leastRequest{newWeighted(members), len(members) <= exactRequests}
}

// newLeastConnections is least_request for what is in flight for long.
func newLeastConnections(members []Member, _ *Options) Picker {
	return &leastRequest{newWeighted(members), len(members) <= exactConnections}
}

func (l *leastRequest) Pick(q *Query) int {
	i := -1
	if l.exact {
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
	best, idle := -1, true
	var least, weight uint64 // of best
	var ties uint64          // weight of all that are as good as best
	random := q.Random
	for i := range l.members {
		m := &l.members[i]
		if !q.Tried.Empty() && q.Tried.Has(m.Slot) {
			continue
		}
		n, w := load(m), uint64(m.Weight)
		idle = idle && n == 1
		if best >= 0 {
			a, b := n*weight, least*w
			if a > b {
				continue
			}
			if a == b {
				// Reservoir sampling: each of the equal ones is taken in proportion to its weight.
				ties += w
				random = next(random)
				if below(random, ties) < w {
					best, least, weight = i, n, w
				}
				continue
			}
		}
		best, least, weight, ties = i, n, w, w
	}
	if idle {
		return l.drawUntried(q)
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

// load is the member's work if it gets the request. A count below zero cannot come from pairs of
// Begin and End; it is read as 0 so that it does no harm.
func load(m *Member) uint64 { return uint64(max(m.Load.InFlight(), 0)) + 1 }
