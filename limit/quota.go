package limit

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// QuotaOptions are those of a Quota.
type QuotaOptions struct {
	// Name tells quotas apart in a ledger: counts are found again after a restart by the name, the period and the zone, whatever the limit is then.
	Name string
	// Limit is how much each key has in one period; at least 1.
	Limit int64
	// Period of the calendar, and Zone in which it begins; nil means UTC.
	Period Period
	Zone   *time.Location
	// Keys is how many keys are remembered at most; 0 means DefaultKeys.
	Keys int
}

// check fills in defaults and returns what is wrong.
func (o *QuotaOptions) check() error {
	if o.Limit < 1 {
		return fmt.Errorf("a quota of %d: it has to be at least 1", o.Limit)
	}
	if o.Period < Second || o.Period > Month {
		return errors.New("a quota needs a period: second, minute, hour, day, week or month")
	}
	if o.Zone == nil {
		o.Zone = time.UTC
	}
	if o.Keys <= 0 {
		o.Keys = DefaultKeys
	}
	return nil
}

// scope is the name under which counts are kept that belong together.
func (o *QuotaOptions) scope() string {
	return o.Name + "\x00" + o.Period.String() + "\x00" + o.Zone.String()
}

// Usage is what a quota says to one request.
type Usage struct {
	// Allowed says that the request may pass, and was counted. What is refused is not counted.
	Allowed bool
	// Limit is that of the quota, Remaining what is left of it after the decision.
	Limit, Remaining int64
	// Reset is how many nanoseconds there are until the next period begins.
	Reset int64
	// Length is how long this period lasts, in seconds: the parameter w of the field RateLimit-Policy.
	Length int64
}

// Seconds returns the parameter t of the field RateLimit: the whole seconds, rounded up, until the quota is whole again.
func (u *Usage) Seconds() int64 { return ceilSeconds(u.Reset) }

// RetryAfter returns the value of Retry-After: whole seconds, rounded up, and at least 1.
func (u *Usage) RetryAfter() int64 { return max(1, u.Seconds()) }

// fill describes a key that has used so much of a term.
func (u *Usage) fill(limit, used int64, t term, wall int64) {
	u.Limit, u.Remaining = limit, max(0, limit-used)
	u.Reset = max(0, (t.end-floorDiv(wall, int64(time.Second)))*int64(time.Second)-floorMod(wall, int64(time.Second)))
	u.Length = t.end - t.start
}

// The words of a quota's payload.
const (
	quotaStart  = iota // of the term that was counted in
	quotaUsed          // in that term
	quotaListed        // 1 when the key is in its shard's list of changes
	quotaWords
)

// Quota counts requests by calendar period. Unlike a Rate it says nothing about how they are spread over the period.
//
// With a ledger the counts outlive the process. All methods may be called by any goroutine; a decision allocates nothing once the key is known in
// the period, but for what the first of a period allocates.
type Quota struct {
	limit    int64
	calendar calendar
	t        *table
	changes  []changes // of the shards; nil without a ledger
	ledger   *Ledger
	scope    string
}

// changes are the digests of a shard that the ledger does not know yet in their present state. The shard's lock guards them. Each digest that is in memory
// is in it at most once, and of those that had to go there are no more than keys.
type changes struct{ list []digest }

// NewQuota returns a quota that is kept in memory only.
func NewQuota(o QuotaOptions) (*Quota, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	return newQuota(o, newSeed()), nil
}

func newQuota(o QuotaOptions, s seed) *Quota {
	q := &Quota{limit: o.Limit, scope: o.scope()}
	q.calendar.period, q.calendar.zone = o.Period, o.Zone
	q.t = newTable(o.Keys, quotaWords, s, func(payload []uint64, start int64) int64 {
		if int64(payload[quotaStart]) != start {
			return 0 // another period's
		}
		return int64(payload[quotaUsed])
	})
	return q
}

// Take counts a request of a key that costs cost, at least 1, if so much is left. wall is the time of day in Unix nanoseconds; u gets the answer.
// The key is not kept.
func (q *Quota) Take(key []byte, cost, wall int64, u *Usage) { q.TakeOf(key, cost, 0, wall, u) }

// TakeOf is Take with another limit than that of the options; 0 means that one. What is counted is the same, so that a limit can be changed, or be another for
// some of the keys.
func (q *Quota) TakeOf(key []byte, cost, limit, wall int64, u *Usage) {
	if limit <= 0 {
		limit = q.limit
	}
	q.take(q.t.seed.of(key), max(1, cost), limit, wall, u)
}

func (q *Quota) take(d digest, cost, limit, wall int64, u *Usage) {
	t := q.calendar.at(wall)
	s, n := q.t.shard(d)
	s.mu.Lock()
	payload := q.t.find(s, d)
	used := int64(0)
	if payload != nil && int64(payload[quotaStart]) == t.start {
		used = int64(payload[quotaUsed])
	}
	if u.Allowed = cost <= limit-used; u.Allowed {
		used += cost
		if payload == nil {
			payload = q.insert(s, n, d, t)
		}
		q.set(n, d, payload, t, used)
	}
	s.mu.Unlock()
	u.fill(limit, used, t, wall)
}

// Peek tells what a key has, without counting anything.
func (q *Quota) Peek(key []byte, wall int64, u *Usage) { q.PeekOf(key, 0, wall, u) }

// PeekOf is Peek with another limit than that of the options; 0 means that one.
func (q *Quota) PeekOf(key []byte, limit, wall int64, u *Usage) {
	if limit <= 0 {
		limit = q.limit
	}
	t := q.calendar.at(wall)
	d := q.t.seed.of(key)
	s, _ := q.t.shard(d)
	s.mu.Lock()
	used := int64(0)
	if payload := q.t.find(s, d); payload != nil && int64(payload[quotaStart]) == t.start {
		used = int64(payload[quotaUsed])
	}
	s.mu.Unlock()
	u.Allowed = used < limit
	u.fill(limit, used, t, wall)
}

// insert makes room for a digest.
func (q *Quota) insert(s *shard, n int, d digest, t term) []uint64 {
	payload, gone := q.t.insert(s, d, t.start)
	if gone != (digest{}) {
		q.forget(n, gone)
	}
	return payload
}

// forget notes that a digest is gone from memory. While nothing can be written there is an end to this as well; then a count stays in the file until
// its term is over.
func (q *Quota) forget(n int, d digest) {
	if q.changes != nil && len(q.changes[n].list) < 2*q.t.max {
		q.changes[n].list = append(q.changes[n].list, d)
	}
}

// set writes down what a digest has used.
func (q *Quota) set(n int, d digest, payload []uint64, t term, used int64) {
	payload[quotaStart], payload[quotaUsed] = uint64(t.start), uint64(used)
	if q.changes != nil && payload[quotaListed] == 0 {
		payload[quotaListed] = 1
		q.changes[n].list = append(q.changes[n].list, d)
	}
}

// Return takes back what Take has counted for an allowed request that then did not happen, if the period is still the same.
func (q *Quota) Return(key []byte, cost, wall int64) {
	q.add(q.t.seed.of(key), -max(1, cost), wall)
}

// add changes what a key has used without asking whether it may.
func (q *Quota) add(d digest, cost, wall int64) {
	t := q.calendar.at(wall)
	s, n := q.t.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	payload := q.t.find(s, d)
	switch {
	case payload == nil && cost <= 0:
		return
	case payload == nil:
		payload = q.insert(s, n, d, t)
	case int64(payload[quotaStart]) == t.start:
		cost = int64(payload[quotaUsed]) + min(cost, math.MaxInt64-int64(payload[quotaUsed]))
	}
	q.set(n, d, payload, t, max(0, cost))
}

// Stats returns how many keys there are.
func (q *Quota) Stats() TableStats { return q.t.stats() }

// Close writes what has changed into the ledger, if there is one, and parts from it; requests that still come are counted in memory. The error is
// that of the last write.
func (q *Quota) Close() error {
	if q.ledger == nil {
		return nil
	}
	return q.ledger.leave(q)
}

// count is what a ledger knows of one key: what it has used since start, or that it is forgotten when used is 0.
type count struct {
	d           digest
	start, used int64
}

// collect appends the changes since the last call to counts.
func (q *Quota) collect(counts []count) []count {
	for i := range q.t.shards {
		s := &q.t.shards[i]
		s.mu.Lock()
		list := q.changes[i].list
		for _, d := range list {
			c := count{d: d}
			if payload := q.t.find(s, d); payload != nil {
				payload[quotaListed] = 0
				c.start, c.used = int64(payload[quotaStart]), int64(payload[quotaUsed])
			}
			counts = append(counts, c)
		}
		q.changes[i].list = list[:0]
		if cap(list) > shardKeys {
			q.changes[i].list = nil // after a flood
		}
		s.mu.Unlock()
	}
	return counts
}

// recollect takes back what could not be written: it is a change again.
func (q *Quota) recollect(counts []count) {
	for _, c := range counts {
		s, n := q.t.shard(c.d)
		s.mu.Lock()
		switch payload := q.t.find(s, c.d); {
		case payload == nil:
			q.forget(n, c.d)
		case payload[quotaListed] == 0:
			payload[quotaListed] = 1
			q.changes[n].list = append(q.changes[n].list, c.d)
		}
		s.mu.Unlock()
	}
}

// load puts a count of the ledger into the table. It is called before the quota is used.
func (q *Quota) load(c count) {
	s, n := q.t.shard(c.d)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := term{start: c.start}
	payload := q.t.find(s, c.d)
	if payload == nil {
		payload = q.insert(s, n, c.d, t)
	}
	payload[quotaStart], payload[quotaUsed] = uint64(c.start), uint64(c.used)
}
