package balance

// enough is the share of usable endpoints with which a level takes all the requests that it is offered, in tenths.
const enough = 7

// Level is what a backend has of one priority: members of a weight above 0.
type Level struct {
	All    []Member
	Usable []Member // those neither down nor ejected
}

// Plan is how the requests are spread over the levels.
type Plan struct {
	// Panics says that endpoints are used which are not usable, because there are too few others.
	Panics bool
	// Shares are the parts of the requests, one for each level. They add up to 1, or to 0 if there is nothing to pick.
	Shares []float64
}

// NewLevels builds the picker of an algorithm over levels of priority, the most wanted first.
//
// A level can take min(1, usable / total / 0.7) of all requests, by the number of its endpoints: the first gets as much as it can take, the
// next what is left, and so on. If together they cannot take all, each gets proportionally more. A request goes to another level than the
// one that it was meant for only when all of that one's endpoints were tried. Algorithms that place by key choose the level by the key as well.
//
// panic is the share of a level's endpoints that may be unusable before all of them are used, well or not: more than that share, or all of them.
// 0 is never. If there are several levels, it holds only while together they cannot take all requests. When no level has a usable
// endpoint, all endpoints of all levels are used alike.
//
// Levels without members of a weight above 0 count as if they were not there. Errors are those of New. Over one level the picker is that of New.
func NewLevels(o Options, levels []Level, panic float64) (Picker, Plan, error) {
	plan := Plan{Shares: make([]float64, len(levels))}
	var groups []group
	for i := range levels {
		g := group{level: i, all: ofWeight(levels[i].All), members: ofWeight(levels[i].Usable)}
		if len(g.all) > 0 {
			groups = append(groups, g)
		}
	}
	sum := spread(groups)
	usable := 0
	for i := range groups {
		g := &groups[i]
		usable += len(g.members)
		down := len(g.all) - len(g.members)
		if (sum < 1 || len(groups) == 1) && panics(down, len(g.all), panic) {
			g.members = g.all
			plan.Panics = plan.Panics || g.share > 0
		}
	}
	if usable == 0 {
		return nothingUsable(o, groups, plan, panic > 0)
	}
	for _, g := range groups {
		plan.Shares[g.level] = g.share
	}
	picker, err := newLevels(o, groups)
	return picker, plan, err
}

// group is a level that has members.
type group struct {
	level   int // place in the caller's list
	all     []Member
	members []Member // those that are used
	share   float64
}

// spread gives each group its share, and returns what all could take together, at most 1. If that is less than 1, the shares are of what they take.
func spread(groups []group) float64 {
	sum := 0.0
	for i := range groups {
		g := &groups[i]
		can := 1.0
		if usable, total := 10*len(g.members), enough*len(g.all); usable < total {
			can = float64(usable) / float64(total)
		}
		g.share = min(can, 1-sum)
		sum += g.share
	}
	if sum > 0 && sum < 1 {
		for i := range groups {
			groups[i].share /= sum
		}
	}
	return sum
}

// panics reports whether so many of a level's endpoints are down that all are used. At exactly the share there is no panic, because with the
// default of one half it would undo the most ordinary failover, that of one endpoint of two.
func panics(down, total int, share float64) bool {
	return share > 0 && down > 0 && (down == total || float64(down) > share*float64(total))
}

// nothingUsable is the picker when no endpoint is well: of all endpoints of all levels, or of none.
func nothingUsable(o Options, groups []group, plan Plan, useAll bool) (Picker, Plan, error) {
	var all []Member
	total := 0.0
	plan.Panics = useAll && len(groups) > 0
	if plan.Panics {
		for _, g := range groups {
			for _, m := range g.all {
				plan.Shares[g.level] += float64(m.Weight)
				total += float64(m.Weight)
			}
			all = append(all, g.all...)
		}
		for i := range plan.Shares {
			plan.Shares[i] /= total
		}
	}
	picker, err := New(o, all)
	return picker, plan, err
}

// leveled picks a level, and lets the level's picker pick the endpoint.
type leveled struct {
	levels []levelRow // by priority
	keyed  bool
}

// levelRow is one level: a request whose number is at most upTo, and above that of the level before, is meant for it.
type levelRow struct {
	upTo   uint64
	picker Picker
}

// newLevels returns the picker over groups, of which at least one has a share.
func newLevels(o Options, groups []group) (Picker, error) {
	l := &leveled{keyed: Keyed(o.Algorithm)}
	sum, last := 0.0, 0
	for _, g := range groups {
		if len(g.members) == 0 {
			continue
		}
		picker, err := New(o, g.members)
		if err != nil {
			return nil, err
		}
		sum += g.share
		l.levels = append(l.levels, levelRow{fraction(sum), picker})
		if g.share > 0 {
			last = len(l.levels) - 1
		}
	}
	for i := last; i < len(l.levels); i++ {
		l.levels[i].upTo = 1<<64 - 1 // whatever the rounding of the sum
	}
	if len(l.levels) == 1 {
		return l.levels[0].picker, nil
	}
	return l, nil
}

// fraction returns x of 2⁶⁴, for 0 ≤ x ≤ 1.
func fraction(x float64) uint64 {
	if x >= 1 {
		return 1<<64 - 1
	}
	return uint64(x * (1 << 64))
}

// Pick returns a slot of the level that the request is meant for. If all of that were tried, it asks the other levels by priority.
func (l *leveled) Pick(q *Query) int {
	number := q.Random
	if l.keyed && q.Keyed {
		number = q.Hash
	}
	number = next(number) // the level's picker must not see which part of the numbers it gets
	meant := 0
	for number > l.levels[meant].upTo {
		meant++
	}
	if slot := l.levels[meant].picker.Pick(q); slot >= 0 {
		return slot
	}
	for i := range l.levels {
		if i == meant {
			continue
		}
		if slot := l.levels[i].picker.Pick(q); slot >= 0 {
			return slot
		}
	}
	return -1
}
