package balance

// trialWork is how much one request in flight counts at an endpoint of which no answer is known yet, where it would be 1 at others: a new endpoint
// is tried with about one request at a time until it has answered, unless the others have dozens.
const trialWork = 32

// leastLatency takes the endpoint with the least latency × (in flight + 1) / weight: of all of them up to eight, of two drawn by
// weight beyond that (peak EWMA as in Twitter's Finagle and in Linkerd; Load has the average, and how failures and silence count). An endpoint
// of which nothing is known is taken for as fast as the mean of the others that are looked at.
//
// While none of those looked at has work, it is always the faster of two drawn by weight, whatever their weights: the fastest of a few must not
// get every request of an idle backend for a difference of microseconds, nor the heaviest for being heavy.
type leastLatency struct {
	weighted
	inverse []float64 // 1/weight by member
}

func newLeastLatency(members []Member, _ *Options) Picker {
	l := &leastLatency{newWeighted(members), make([]float64, len(members))}
	for i := range members {
		l.inverse[i] = 1 / float64(members[i].Weight)
	}
	return l
}

func (l *leastLatency) Pick(q *Query) int {
	now := tickOf(q.Now)
	i := -1
	if len(l.members) <= exactRequests {
		i = l.least(q, now)
	} else {
		i = l.ofTwo(q, now)
	}
	if i < 0 {
		return -1
	}
	m := &l.members[i]
	m.Load.pick(now)
	return m.Slot
}

// outlook is what is to be expected of one member.
type outlook struct {
	latency float64 // as Load.estimate has it: 0 if unknown, below 0 if only failures are
	factor  float64 // how many times worse failures make it
	work    float64 // requests in flight
}

func lookAt(m *Member, now uint32) outlook {
	latency, factor := m.Load.estimate(now)
	return outlook{latency, factor, float64(max(m.Load.InFlight(), 0))}
}

// cost is what one more request would cost at a member of weight 1, where those with a latency of their own have mean.
func (o *outlook) cost(mean float64) float64 {
	if o.latency > 0 {
		return o.latency * o.factor * (o.work + 1)
	}
	return max(mean, -o.latency) * o.factor * (trialWork*o.work + 1)
}

// least looks at every member that was not tried.
func (l *leastLatency) least(q *Query, now uint32) int {
	var looks [exactRequests]outlook
	var places [exactRequests]int
	n, known, sum, work := 0, 0.0, 0.0, 0.0
	for i := range l.members {
		if !q.Tried.Empty() && q.Tried.Has(l.members[i].Slot) {
			continue
		}
		o := lookAt(&l.members[i], now)
		if o.latency > 0 {
			known++
			sum += o.latency
		}
		work += o.work
		looks[n], places[n] = o, i
		n++
	}
	if work == 0 {
		return l.ofTwo(q, now)
	}
	mean := 1.0
	if known > 0 {
		mean = sum / known
	}
	best := -1
	var least float64
	var ties uint64 // weight of all that cost as little as best
	random := q.Random
	for j := range looks[:n] {
		i := places[j]
		weight, cost := uint64(l.members[i].Weight), looks[j].cost(mean)*l.inverse[i]
		if best >= 0 && cost > least {
			continue
		}
		if best >= 0 && cost == least {
			// Reservoir sampling, as in leastRequest.least.
			ties += weight
			random = next(random)
			if below(random, ties) < weight {
				best = i
			}
			continue
		}
		best, least, ties = i, cost, weight
	}
	return best
}

// ofTwo draws two different members and takes the one that costs less.
func (l *leastLatency) ofTwo(q *Query, now uint32) int {
	first := l.drawUntried(q)
	if first < 0 {
		return -1
	}
	second := l.other(q, first)
	if second < 0 {
		return first
	}
	a, b := lookAt(&l.members[first], now), lookAt(&l.members[second], now)
	mean := 1.0
	switch {
	case a.latency > 0 && b.latency > 0:
	case a.latency > 0:
		mean = a.latency
	case b.latency > 0:
		mean = b.latency
	}
	x, y := a.cost(mean), b.cost(mean)
	if a.work > 0 || b.work > 0 {
		x, y = x*l.inverse[first], y*l.inverse[second]
	}
	if y < x {
		return second
	}
	return first // also when they are equal: it was drawn by weight
}
