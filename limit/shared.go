package limit

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"
)

// FailureMode is what a Shared limiter does while its store is away.
type FailureMode uint8

const (
	// Share counts in this process against an equal share of the limit: one part for each instance that the store had seen last.
	Share FailureMode = iota
	// Open lets everything pass.
	Open
	// Closed lets nothing pass.
	Closed
)

// SharedOptions are those of a Shared limiter.
type SharedOptions struct {
	// Store is where requests are counted; required. It has to outlive the limiter.
	Store *Store
	// Name tells limiters of one store apart. Limiters of the same name, windows and period count together, in whatever process they are.
	Name string
	// Windows of the rate; none for no rate.
	Windows []Window
	// Quota, if Limit is not 0. Its own name is not used.
	Quota QuotaOptions
	// OnFailure is what to do while the store is away.
	OnFailure FailureMode
	// Keys is how many keys are remembered for the time without the store; 0 means DefaultKeys.
	Keys int
}

// Shared is a Limiter that counts in a Store, so that all gateways with the same store keep one limit between them.
//
// The store gets a key as a hash of the limiter's name and the key, 128 bits of SHA-256. That keeps texts out of the store and of its logs; it does not
// hide a key that can be guessed, such as an address, from who can read the store.
type Shared struct {
	store  *Store
	mode   FailureMode
	name   string
	meters []meter
	args   []string // of the windows
	rate   string   // suffix of the rate's key

	limit    int64 // of the quota; 0 for none
	calendar calendar
	terms    atomic.Pointer[terms]

	share *Rate // while the store is away; nil without a rate
	books *table
	// unsettled counts what may have to be added to the store.
	unsettled atomic.Int64
}

// terms are three terms in a row, and what the store calls them.
type terms struct {
	at    [3]term
	names [3]string
	until [3]string
}

// The words of a payload of Shared.books.
const (
	bookStart = iota // of the term that the others are about
	bookUsed         // by all instances, as the store has said last
	bookMine         // counted here since then without the store
	bookWords
)

// NewShared returns a limiter on a store.
func NewShared(o SharedOptions) (*Shared, error) {
	if o.Store == nil {
		return nil, errors.New("a shared limit needs a store")
	}
	if len(o.Windows) == 0 && o.Quota.Limit == 0 {
		return nil, errors.New("a shared limit needs a rate or a quota")
	}
	if o.Keys <= 0 {
		o.Keys = DefaultKeys
	}
	sh := &Shared{store: o.Store, mode: o.OnFailure, name: o.Name}
	if err := sh.prepareRate(&o); err != nil {
		return nil, err
	}
	if err := sh.prepareQuota(&o); err != nil {
		return nil, err
	}
	o.Store.mu.Lock()
	o.Store.limiter[sh] = struct{}{}
	o.Store.mu.Unlock()
	return sh, nil
}

func (sh *Shared) prepareRate(o *SharedOptions) (err error) {
	if len(o.Windows) == 0 {
		return nil
	}
	if sh.meters, err = compile(o.Windows); err != nil {
		return err
	}
	if sh.share, err = NewRate(RateOptions{Windows: o.Windows, Keys: o.Keys}); err != nil {
		return err
	}
	spec := make([]byte, 0, 64)
	for i := range sh.meters {
		m := &sh.meters[i]
		one := float64(m.p) / float64(m.c) / 1000
		sh.args = append(sh.args, strconv.FormatFloat(one, 'g', 17, 64), strconv.FormatFloat(one*float64(m.burst), 'g', 17, 64))
		spec = fmt.Appendf(spec, "%d/%d %d,", m.c, m.p, m.burst)
	}
	// A rate of other windows starts anew: what is owed in one says nothing about another.
	sum := sha256.Sum256(spec)
	sh.rate = ":r" + hex.EncodeToString(sum[:4])
	return nil
}

func (sh *Shared) prepareQuota(o *SharedOptions) error {
	if o.Quota.Limit == 0 {
		return nil
	}
	if err := o.Quota.check(); err != nil {
		return err
	}
	sh.limit = o.Quota.Limit
	sh.calendar.period, sh.calendar.zone = o.Quota.Period, o.Quota.Zone
	sh.books = newTable(o.Keys, bookWords, seed{}, func(payload []uint64, start int64) int64 {
		if int64(payload[bookStart]) != start {
			return 0
		}
		return 1 + int64(payload[bookUsed]) + int64(payload[bookMine])
	})
	return nil
}

// Waits implements Limiter.
func (sh *Shared) Waits() bool { return true }

// Close parts from the store. What was counted without the store and not yet added to it is lost.
func (sh *Shared) Close() {
	sh.store.mu.Lock()
	defer sh.store.mu.Unlock()
	delete(sh.store.limiter, sh)
}

// Stats returns how many keys are remembered for the time without the store: of the rate and of the quota.
func (sh *Shared) Stats() (rate, quota TableStats) {
	if sh.share != nil {
		rate = sh.share.Stats()
	}
	if sh.books != nil {
		quota = sh.books.stats()
	}
	return rate, quota
}

// Take implements Limiter.
func (sh *Shared) Take(key []byte, cost, now, wall int64, r *Result) {
	sh.decide(key, max(1, cost), now, wall, r)
}

// Peek implements Limiter.
func (sh *Shared) Peek(key []byte, now, wall int64, r *Result) {
	if sh.decide(key, 0, now, wall, r); r.Verdict != StoreAway {
		r.Verdict = Passed
	}
}

// decide is Take, or Peek for a cost of 0.
func (sh *Shared) decide(key []byte, cost, now, wall int64, r *Result) {
	wall = sh.store.wall(now, wall)
	r.HasRate, r.HasQuota = sh.share != nil, sh.limit > 0
	if !sh.store.Available() {
		sh.alone(key, cost, now, wall, r)
		return
	}
	d := sh.digest(key)
	tag := sh.tag(d)
	keys := make([]string, 1, 3)
	keys[0] = tag + sh.rate
	args := make([]string, 0, 6+2*MaxWindows)
	args = append(args, strconv.FormatInt(cost, 10), strconv.Itoa(len(sh.meters)), strconv.FormatInt(sh.limit, 10))
	var before, after term
	if sh.limit > 0 {
		ts, i := sh.nearest(wall)
		before, after = ts.at[i], ts.at[i+1]
		keys = append(keys, tag+ts.names[i], tag+ts.names[i+1])
		args = append(args, strconv.FormatInt(after.start, 10), ts.until[i], ts.until[i+1])
	} else {
		args = append(args, "0", "0", "0")
	}
	reply, ok := sh.store.ask(keys, append(args, sh.args...))
	if !ok || len(reply) != 3+len(sh.meters) {
		sh.alone(key, cost, now, wall, r)
		return
	}
	t := before
	if reply[1] == 1 {
		t = after
	}
	sh.read(reply, cost, t, wall, r)
	if sh.limit > 0 {
		sh.note(d, t, max(0, reply[2]))
	}
}

// read fills in a result from the store's answer, whose length was checked; nothing else of it is taken for granted.
func (sh *Shared) read(reply []int64, cost int64, t term, wall int64, r *Result) {
	r.Source = FromStore
	switch reply[0] {
	case 1:
		r.Verdict = Passed
	case 2:
		r.Verdict = RateRefused
	default:
		r.Verdict = QuotaRefused
	}
	if sh.share != nil {
		sh.readRate(reply[3:], cost, &r.Rate, r.Verdict != RateRefused)
	}
	if sh.limit > 0 {
		r.Quota.Allowed = r.Verdict == Passed
		r.Quota.fill(sh.limit, max(0, reply[2]), t, wall)
	}
}

// readRate makes the decision of a rate from the owed times of the store's answer.
func (sh *Shared) readRate(owed []int64, cost int64, d *Decision, allowed bool) {
	var waits [MaxWindows]int64
	d.N, d.Allowed = len(sh.meters), allowed
	for i := range sh.meters {
		m := &sh.meters[i]
		exact := span{q: min(max(0, owed[i]), maxSpan)}
		// What the store takes for one request may be rounded, and that little must not cost a whole request; the script is as generous.
		about := span{q: min(max(0, exact.q-m.one.q/10_000), m.size.q)}
		d.States[i] = m.state(about, 1)
		d.States[i].Full = exact.q
		if d.States[i].Remaining == 0 {
			d.States[i].Next = max(1, m.wait(exact, m.one))
		}
		if !allowed && m.add(about, m.cost(cost)).more(m.size) {
			waits[i] = m.wait(exact, m.cost(cost))
		}
	}
	d.pick(&waits)
}

// digest hashes a key, the same in all processes.
func (sh *Shared) digest(key []byte) digest {
	var space [256]byte
	text := append(append(append(space[:0], sh.name...), 0), key...)
	sum := sha256.Sum256(text)
	d := digest{binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])}
	if d == (digest{}) {
		d.lo = 1
	}
	return d
}

// tag returns the beginning of the names under which the store keeps a key. The braces make a cluster keep them in one place.
func (sh *Shared) tag(d digest) string {
	b := make([]byte, 0, 64)
	b = append(b, sh.store.o.Prefix...)
	b = append(b, '{')
	for _, n := range [...]uint64{d.hi, d.lo} {
		var text [8]byte
		binary.BigEndian.PutUint64(text[:], n)
		b = hex.AppendEncode(b, text[:])
	}
	return string(append(b, '}'))
}

// nearest returns three terms around a moment, and the first of the two that come into question: those before and behind the nearest boundary.
func (sh *Shared) nearest(wall int64) (*terms, int) {
	now := sh.calendar.at(wall)
	ts := sh.terms.Load()
	if ts == nil || ts.at[1] != now {
		ts = &terms{at: [3]term{sh.calendar.period.termOf(now.start-1, sh.calendar.zone), now, sh.calendar.period.termOf(now.end, sh.calendar.zone)}}
		for i, t := range ts.at {
			ts.names[i] = sh.termName(t)
			ts.until[i] = strconv.FormatInt(t.end+clockStep, 10)
		}
		sh.terms.Store(ts)
	}
	unix := floorDiv(wall, int64(time.Second))
	if unix-now.start < now.end-unix {
		return ts, 0
	}
	return ts, 1
}

// termName returns the suffix of a quota's key.
func (sh *Shared) termName(t term) string {
	return ":q" + sh.calendar.period.String() + strconv.FormatInt(t.start, 10)
}
