package upstream

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// queue is where requests wait while every endpoint that they may use has as many in flight as it may have. There is one for each generation of
// a backend that has such a bound.
//
// A queue makes up for bursts; what it cannot make up for is that more comes than is ever served. Then every request waits for as long as it
// may, and most of those that are served in the end have been given up by their clients. So the queue goes by how long it has been standing,
// that is, since when it has not been empty (Maurer, Fail at Scale, ACM Queue 2015, with the 100 ms that CoDel takes for a standing queue:
// Nichols and Jacobson, Controlling Queue Delay, ACM Queue 2012):
//
//   - at first the oldest is served first;
//   - after 100 ms the newest is (adaptive LIFO): most clients then wait for next to nothing, in place of all waiting for long;
//   - after the queue's timeout, which no burst that it could have made up for would have taken, nobody waits for longer than a tenth of
//     that any more, and not for longer than 100 ms: who would not be served anyway is told early.
//
// No place is given away twice, and none is forgotten. Who waits is in the list before it looks for a free place the last time; who ends a
// request frees the place before it looks into the list. One of the two sees the other. The place itself is taken by Load.TryBegin in the waiter's name,
// so that the bound holds whoever else comes in between; who did come in between looks into the list when it ends.
type queue struct {
	b        *Backend
	max      int64 // requests in flight of one endpoint
	limit    int   // requests that wait
	patience int64 // how long one waits at most
	target   int64 // the same in a queue that has been standing for longer than patience

	waiting atomic.Int32 // length of the list; changed under mu

	mu             sync.Mutex // guards what follows; held for a look through endpoints or waiters, never while anything waits
	oldest, newest *waiter
	easy           int   // of those in the list, how many take any endpoint
	since          int64 // moment from which the list has not been empty
	closed         bool  // the generation has ended: only exchanges that began in it come here
	seated         bool  // the endpoints know the queue
	home           []seat
}

// standing is how long a queue is not empty before the newest in it is served first.
const standing = int64(100 * time.Millisecond)

// Bounds of queue.target.
const (
	minTarget = int64(5 * time.Millisecond)
	maxTarget = int64(100 * time.Millisecond)
)

// newQueue returns nil if the options set no bound.
func newQueue(b *Backend) *queue {
	o := &b.options
	if o.MaxInFlight <= 0 {
		return nil
	}
	patience := int64(o.QueueTimeout)
	return &queue{
		b: b, max: int64(o.MaxInFlight), limit: o.Queue, patience: patience,
		target: min(patience, max(minTarget, min(maxTarget, patience/10))), seated: true,
	}
}

// seat is what an endpoint knows of a queue: where to offer its free places, and under which slot it stands there. ep is the endpoint.
type seat struct {
	queue *queue
	slot  int
	ep    *Endpoint
}

// sit makes the endpoint offer its free places to a queue too.
func (ep *Endpoint) sit(s seat) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	var all []seat
	if p := ep.seats.Load(); p != nil {
		all = slices.Clone(*p)
	}
	all = append(all, s)
	ep.seats.Store(&all)
}

// rise takes a queue from the endpoint.
func (ep *Endpoint) rise(q *queue) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	p := ep.seats.Load()
	if p == nil {
		return
	}
	all := slices.DeleteFunc(slices.Clone(*p), func(s seat) bool { return s.queue == q })
	if len(all) == 0 {
		ep.seats.Store(nil)
		return
	}
	ep.seats.Store(&all)
}

// release ends a request that was counted in flight, and gives its place to one that waits, if one does.
func (ep *Endpoint) release() {
	ep.load.End()
	if ep.seats.Load() != nil {
		ep.offer()
	}
}

// offer gives a free place to one request that waits for it, and reports whether it did. Queues of older generations come first: they get no
// new requests.
func (ep *Endpoint) offer() bool {
	p := ep.seats.Load()
	if p == nil {
		return false
	}
	for _, s := range *p {
		if s.queue.waiting.Load() != 0 && s.queue.offer(s) {
			return true
		}
	}
	return false
}

// offerAll gives the free places of all endpoints of a choice to those that wait.
func (c *choice) offerAll() {
	for _, ep := range c.slots {
		for ep != nil && ep.offer() {
		}
	}
}

// waiter is a request in a queue, or one that could be. It is a part of its Flight.
type waiter struct {
	older, newer *waiter
	only         int // the slot that alone will do, because the client's session is there, or -1
	avoid        int // the slot that will not do, because the request has just failed there, or -1
	since        int64
	state        waiterState // guarded by the queue's mu until a token is in woken
	choice       *choice     // with slot, what a waiter that was served has got
	slot         int

	woken chan struct{} // gets a token when the wait has ended by another's hand
	timer *time.Timer
	gone  chan struct{} // gets a token when nobody wants the place any more
	sleep func()        // rest, bound once
	leave func()        // quit, bound once
	told  bool          // rest has taken the token
}

// waiterState is what became of a waiter.
type waiterState uint8

const (
	waits  waiterState = iota // it is in the list
	served                    // it has a place
	shed                      // it has waited too long, or would
)

// easy reports whether any endpoint will do.
func (w *waiter) easy() bool { return w.only < 0 && w.avoid < 0 }

// rest waits until the time is up or another wakes the waiter.
func (w *waiter) rest() {
	select {
	case <-w.woken:
		w.told = true
	case <-w.timer.C:
	case <-w.gone:
	}
}

// quit ends the waiter's wait, or its next one.
func (w *waiter) quit() {
	select {
	case w.gone <- struct{}{}:
	default:
	}
}

// arm makes the waiter ready to wait for d.
func (w *waiter) arm(d time.Duration) {
	if w.timer == nil {
		w.woken, w.gone = make(chan struct{}, 1), make(chan struct{}, 1)
		w.leave = w.quit
		w.timer = time.NewTimer(d)
		w.sleep = w.rest
	} else {
		w.timer.Reset(d)
	}
}

// The failures of requests that did not get a place. Read-only.
var (
	queueFull    = message.Failure{Reason: message.QueueFull, Side: message.SideUpstream, Stage: message.StageConnect}
	queueTimeout = message.Failure{Reason: message.QueueTimeout, Side: message.SideUpstream, Stage: message.StageConnect}
	clientLeft   = message.Failure{Reason: message.ClientClosed, Side: message.SideClient, Stage: message.StageConnect}
)

// reserve takes a place at an endpoint, or waits for one, until the moment deadline at most (0 for none). now is the present moment, last is the
// slot of the try before, or -1. f.choice and f.query.Now are the choice that the slot belongs to, and the moment at which it was taken. A
// failure says that there is none.
func (b *Backend) reserve(f *Flight, now, deadline int64, last int) (slot int, failure *message.Failure) {
	f.query.Now = now
	c := b.current()
	q := b.queue
	if q == nil {
		f.choice = c
		if slot = b.pick(c, f, last); slot < 0 {
			return -1, &noEndpoint
		}
		c.slots[slot].load.Begin()
		return slot, nil
	}
	// While others wait, those who come later go behind them, but for those who want something special: for them there may be a place.
	if q.waiting.Load() == 0 || f.own >= 0 || last >= 0 {
		f.choice = c
		slot, full := q.take(c, f, last)
		if slot >= 0 {
			return slot, nil
		}
		if !full {
			return -1, &noEndpoint
		}
	}
	return q.enter(f, now, deadline, last)
}

// picks is how often the algorithm is asked for another endpoint when that which it has picked has no place. After that, the next endpoint
// with a place will do: all others are full, or nearly all.
const picks = 4

// take takes a place at an endpoint that has one. full says that there are endpoints, but no place.
func (q *queue) take(c *choice, f *Flight, last int) (slot int, full bool) {
	slot = q.b.pick(c, f, last)
	if slot < 0 {
		return -1, false
	}
	if c.slots[slot].load.TryBegin(q.max) {
		return slot, false
	}
	if slot == f.own && f.query.Tried.Empty() {
		return -1, true // the session is there, and nowhere else
	}
	if slot = q.another(c, f, slot); slot < 0 {
		slot = q.scan(c, f, last)
	}
	return slot, slot < 0
}

// another asks the algorithm for an endpoint that has a place, when slot has none. Those that are full count as tried, but for this pick only.
func (q *queue) another(c *choice, f *Flight, slot int) int {
	tried := f.query.Tried
	defer func() { f.query.Tried = tried }()
	for range picks {
		f.query.Tried.Add(slot)
		f.query.Random = rand.Uint64()
		if slot = c.picker.Pick(&f.query); slot < 0 {
			return -1
		}
		if c.slots[slot].load.TryBegin(q.max) {
			return slot
		}
	}
	return -1
}

// scan takes a place at any endpoint that has one: at one that was not tried before, else at one that was; at the last one only if there is
// no other that could be waited for.
func (q *queue) scan(c *choice, f *Flight, last int) int {
	n := len(c.slots)
	from := int(f.query.Random % uint64(n))
	for _, tried := range [...]bool{false, true} {
		if tried && f.query.Tried.Empty() {
			break
		}
		for i := range n {
			slot := (from + i) % n
			if slot != last && f.query.Tried.Has(slot) == tried && q.serves(c, slot, f.query.Now) && c.slots[slot].load.TryBegin(q.max) {
				return slot
			}
		}
	}
	if last >= 0 && !q.others(c, last, f.query.Now) && q.serves(c, last, f.query.Now) && c.slots[last].load.TryBegin(q.max) {
		return last
	}
	return -1
}

// serves reports whether new requests may go to the endpoint of a slot, as the choice and the last moments say.
func (q *queue) serves(c *choice, slot int, now int64) bool {
	if slot >= len(c.slots) || !c.open[slot] {
		return false
	}
	ep := c.slots[slot]
	return ep.state() == StateReady && (c.panics || q.b.well(ep) && ep.ejectedFor(now) == 0)
}

// others reports whether an endpoint besides that of a slot is in use.
func (q *queue) others(c *choice, slot int, now int64) bool {
	for i := range c.slots {
		if i != slot && q.serves(c, i, now) {
			return true
		}
	}
	return false
}

// suits reports whether a waiter can be given the endpoint of a slot.
func (q *queue) suits(w *waiter, c *choice, slot int, now int64) bool {
	if w.only >= 0 && c.keeps(w.only, now) {
		return slot == w.only
	}
	return slot != w.avoid && q.serves(c, slot, now)
}

// enter waits for a place. Its arguments and results are those of reserve.
func (q *queue) enter(f *Flight, now, deadline int64, last int) (slot int, failure *message.Failure) {
	slot, failure = q.join(f, now, deadline, last)
	if slot >= 0 || failure != nil {
		if failure != nil {
			q.refuse(f, failure)
		}
		return slot, failure
	}
	w := &f.waiter
	if f.Cancel == nil || f.Cancel.Watch(w.leave) {
		if f.exchange != nil {
			f.exchange.Await(w.sleep)
		} else {
			w.rest()
		}
	}
	fired := f.Cancel != nil && !f.Cancel.Watch(nil)
	select {
	case <-w.gone:
	default:
	}
	w.timer.Stop()
	if !w.told {
		q.mu.Lock()
		if w.state == waits {
			q.remove(w)
			w.state = shed
		} else {
			<-w.woken // was put there under the lock
		}
		q.mu.Unlock()
	}
	f.query.Now = message.Now()
	q.b.metrics.waited.Observe(f.Shard, time.Duration(f.query.Now-w.since))
	if w.state != served {
		if fired {
			return -1, &clientLeft
		}
		q.refuse(f, &queueTimeout)
		return -1, &queueTimeout
	}
	f.choice, w.choice = w.choice, nil
	if fired || f.exchange != nil && gone(f.exchange) {
		f.choice.slots[w.slot].release()
		return -1, &clientLeft
	}
	return w.slot, nil
}

// refuse counts a request that did not get a place.
func (q *queue) refuse(f *Flight, failure *message.Failure) {
	switch failure.Reason {
	case message.QueueFull:
		q.b.metrics.refusedFull.Inc(f.Shard)
	case message.QueueTimeout:
		q.b.metrics.refusedLate.Inc(f.Shard)
	}
}

// gone reports whether the client of an exchange has left, where the codec that reads it can tell. Asking costs a system call, which is worth it
// only after a wait.
func gone(x *message.Exchange) bool {
	c, ok := x.Interim.(interface{ Gone() bool })
	return ok && c.Gone()
}

// join looks for a place a last time, and enters the list if there is none: slot is -1 then, and failure nil.
func (q *queue) join(f *Flight, now, deadline int64, last int) (slot int, failure *message.Failure) {
	w := &f.waiter
	q.mu.Lock()
	defer q.mu.Unlock()
	q.shed(now)
	bound := q.patience
	if q.overloaded(now) {
		bound = q.target
	}
	if deadline != 0 {
		bound = min(bound, deadline-minTryTime-now)
	}
	c := q.b.current()
	f.choice = c
	w.only, w.avoid = -1, -1
	if f.own >= 0 && f.query.Tried.Empty() && c.keeps(f.own, now) {
		w.only = f.own
	}
	if last >= 0 && q.others(c, last, now) {
		w.avoid = last
	}
	fits := bound > 0 && int(q.waiting.Load()) < q.limit
	// Behind one that would take any endpoint there is nothing to be found: that one would have it. Of an ended generation nobody can be sure,
	// because it does not learn when an endpoint has become well.
	futile := q.easy > 0 && w.easy() && !q.closed
	if fits {
		q.append(w, now) // before the look, see above
	}
	if !futile {
		slot, full := q.take(c, f, last)
		if fits && (slot >= 0 || !full) {
			q.remove(w)
		}
		if slot >= 0 {
			return slot, nil
		}
		if !full {
			return -1, &noEndpoint
		}
	}
	if fits {
		w.arm(time.Duration(bound))
		return -1, nil
	}
	if deadline != 0 && bound <= 0 && int(q.waiting.Load()) < q.limit && deadline > now {
		return -1, &queueTimeout
	}
	return -1, &queueFull
}

// offer gives a free place at an endpoint to one that waits, and reports whether it did.
func (q *queue) offer(s seat) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := message.Now()
	q.shed(now)
	c := q.b.current()
	if s.slot >= len(c.slots) || c.slots[s.slot] != s.ep {
		return false
	}
	newest := q.standing(now)
	w := q.oldest
	if newest {
		w = q.newest
	}
	for w != nil && !q.suits(w, c, s.slot, now) {
		if newest {
			w = w.older
		} else {
			w = w.newer
		}
	}
	if w == nil || !s.ep.load.TryBegin(q.max) {
		return false
	}
	w.choice, w.slot = c, s.slot
	q.wake(w, served)
	return true
}

// standing reports whether the newest is served first.
func (q *queue) standing(now int64) bool { return q.oldest != nil && now-q.since > standing }

// overloaded reports whether more comes than is served.
func (q *queue) overloaded(now int64) bool { return q.oldest != nil && now-q.since > q.patience }

// shed ends the wait of those who have waited for too long in an overloaded queue.
func (q *queue) shed(now int64) {
	if !q.overloaded(now) {
		return
	}
	for w := q.oldest; w != nil && now-w.since > q.target; w = q.oldest {
		q.wake(w, shed)
	}
}

// wake ends the wait of w.
func (q *queue) wake(w *waiter, state waiterState) {
	q.remove(w)
	w.state = state
	w.woken <- struct{}{} // has room: w was waiting
}

// append puts w at the end of the list.
func (q *queue) append(w *waiter, now int64) {
	w.state, w.told, w.since = waits, false, now
	w.older, w.newer = q.newest, nil
	if q.newest != nil {
		q.newest.newer = w
	} else {
		q.oldest, q.since = w, now
	}
	q.newest = w
	if w.easy() {
		q.easy++
	}
	if q.closed && !q.seated {
		q.seat()
	}
	q.waiting.Add(1)
	q.b.metrics.queued.Inc()
}

// remove takes w out of the list.
func (q *queue) remove(w *waiter) {
	if w.older != nil {
		w.older.newer = w.newer
	} else {
		q.oldest = w.newer
	}
	if w.newer != nil {
		w.newer.older = w.older
	} else {
		q.newest = w.older
	}
	w.older, w.newer = nil, nil
	if w.easy() {
		q.easy--
	}
	q.waiting.Add(-1)
	q.b.metrics.queued.Dec()
	if q.closed && q.oldest == nil {
		q.unseat()
	}
}

// seat makes the endpoints know the queue, unseat forget it.
func (q *queue) seat() {
	for _, s := range q.home {
		s.ep.sit(s)
	}
	q.seated = true
}

func (q *queue) unseat() {
	for _, s := range q.home {
		s.ep.rise(q)
	}
	q.seated = false
}

// close is called when the generation has ended, with the endpoints that it had. Those who wait go on waiting, and more may come: exchanges that
// began in the generation. The endpoints know the queue for as long as somebody is in it.
func (q *queue) close(roster []entry) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for slot := range roster {
		if ep := roster[slot].ep; ep != nil {
			q.home = append(q.home, seat{q, slot, ep})
		}
	}
	if q.oldest == nil {
		q.unseat()
	}
}
