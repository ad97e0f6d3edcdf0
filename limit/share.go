package limit

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// alone decides without the store.
func (sh *Shared) alone(key []byte, cost, now, wall int64, r *Result) {
	switch sh.mode {
	case Closed:
		r.Verdict, r.Source = StoreAway, FromNobody
	case Open:
		sh.open(wall, r)
	default:
		sh.divide(key, cost, now, wall, r)
	}
}

// open lets a request pass, with the state of a key that was never seen.
func (sh *Shared) open(wall int64, r *Result) {
	r.Verdict, r.Source = Passed, FromNobody
	if sh.share != nil {
		r.Rate.Allowed, r.Rate.N = true, len(sh.meters)
		for i := range sh.meters {
			r.Rate.States[i] = sh.meters[i].state(span{}, 1)
		}
		r.Rate.pick(new([MaxWindows]int64))
	}
	if sh.limit > 0 {
		r.Quota.Allowed = true
		r.Quota.fill(sh.limit, 0, sh.calendar.at(wall), wall)
	}
}

// divide decides by this instance's share: an equal part of the rate and of the burst, and of what was left of the quota when the store was asked for
// the last time.
func (sh *Shared) divide(key []byte, cost, now, wall int64, r *Result) {
	instances := int64(sh.store.Instances())
	r.Verdict, r.Source = Passed, FromShare
	if sh.share != nil {
		sh.share.ask(key, cost, instances, now, cost > 0, &r.Rate)
		if !r.Rate.Allowed {
			r.Verdict = RateRefused
		}
	}
	if sh.limit == 0 {
		return
	}
	if !sh.spend(sh.digest(key), cost, instances, r.Verdict == Passed && cost > 0, wall, &r.Quota) && r.Verdict == Passed {
		r.Verdict = QuotaRefused
		if sh.share != nil && cost > 0 {
			sh.share.give(key, cost, instances, now)
			sh.share.ask(key, 1, instances, now, false, &r.Rate)
		}
	}
}

// spend counts against the share of a quota if take says so, and reports whether there is enough. What is left is divided and rounded up, so that the
// last of it is not lost; all instances together may spend less than one request for each of them too many.
func (sh *Shared) spend(d digest, cost, instances int64, take bool, wall int64, u *Usage) bool {
	t := sh.calendar.at(wall)
	s, _ := sh.books.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	payload := sh.page(s, d, t, false)
	used, mine := int64(0), int64(0)
	if payload != nil {
		used, mine = int64(payload[bookUsed]), int64(payload[bookMine])
	}
	part := (max(0, sh.limit-used) + instances - 1) / instances
	u.Allowed = cost <= part-mine
	if u.Allowed && take {
		if payload == nil {
			payload = sh.page(s, d, t, true)
		}
		mine += cost
		payload[bookMine] = uint64(mine)
		sh.unsettled.Add(1)
	}
	u.fill(part, mine, t, wall)
	u.Limit = sh.limit
	return u.Allowed
}

// note remembers what the store has said.
func (sh *Shared) note(d digest, t term, used int64) {
	s, _ := sh.books.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	sh.page(s, d, t, true)[bookUsed] = uint64(used)
}

// page returns what the books have on a key in a term. It is nil when there is nothing, unless add says to begin.
func (sh *Shared) page(s *shard, d digest, t term, add bool) []uint64 {
	payload := sh.books.find(s, d)
	if payload == nil {
		if !add {
			return nil
		}
		payload, _ = sh.books.insert(s, d, t.start)
	}
	if int64(payload[bookStart]) != t.start {
		payload[bookStart], payload[bookUsed], payload[bookMine] = uint64(t.start), 0, 0
	}
	return payload
}

const (
	// settleBatch is how many counts are sent to the store in one go.
	settleBatch = 500
	// settlePatience bounds how long one go may take.
	settlePatience = time.Second
)

// debt is what was counted of one key without the store.
type debt struct {
	d    digest
	t    term
	mine int64
}

// settle adds to the store what was counted without it: by the share while it was away, and for calls that were not answered in time. A call that was
// late and yet counted is counted twice then; so the limit errs on the strict side, by no more than was under way at the time.
func (sh *Shared) settle(ctx context.Context, l *link) error {
	if sh.limit == 0 || sh.unsettled.Swap(0) == 0 {
		return nil
	}
	debts := sh.collect()
	for len(debts) > 0 {
		n := min(len(debts), settleBatch)
		if err := sh.pay(ctx, l, debts[:n]); err != nil {
			sh.restore(debts)
			return err
		}
		debts = debts[n:]
	}
	return nil
}

// collect takes what was counted here out of the books.
func (sh *Shared) collect() (debts []debt) {
	now := sh.calendar.now.Load()
	if now == nil {
		return nil
	}
	for i := range sh.books.shards {
		s := &sh.books.shards[i]
		s.mu.Lock()
		for at := range s.n {
			p := sh.books.payload(s, at)
			if p[bookMine] == 0 || int64(p[bookStart]) != now.start {
				continue // nothing, or of a term that is over
			}
			slot := s.data[at*sh.books.stride:]
			debts = append(debts, debt{digest{slot[0], slot[1]}, *now, int64(p[bookMine])})
			p[bookUsed] += p[bookMine]
			p[bookMine] = 0
		}
		s.mu.Unlock()
	}
	return debts
}

// restore puts back what could not be paid.
func (sh *Shared) restore(debts []debt) {
	for _, o := range debts {
		s, _ := sh.books.shard(o.d)
		s.mu.Lock()
		if p := sh.books.find(s, o.d); p != nil && int64(p[bookStart]) == o.t.start {
			p[bookMine] += uint64(o.mine)
			p[bookUsed] -= min(p[bookUsed], uint64(o.mine))
		}
		s.mu.Unlock()
	}
	sh.unsettled.Add(1)
}

// pay sends one batch.
func (sh *Shared) pay(ctx context.Context, l *link, debts []debt) error {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	commands := make([]rueidis.Completed, 0, 2*len(debts))
	for _, o := range debts {
		key := sh.tag(o.d) + sh.termName(o.t)
		commands = append(commands, l.B().Incrby().Key(key).Increment(o.mine).Build(),
			l.B().Arbitrary("EXPIREAT").Keys(key).Args(strconv.FormatInt(o.t.end+clockStep, 10)).Build())
	}
	for _, reply := range l.DoMulti(ctx, commands...) {
		if err := reply.Error(); err != nil {
			return err
		}
	}
	return nil
}
