package limit

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// ConcurrencyOptions are those of a Concurrency.
type ConcurrencyOptions struct {
	// Max is how many requests of one key may be under way; at least 1.
	Max int
	// Queue is how many requests of one key may wait, in the order in which they came; 0 means none.
	Queue int
	// Timeout bounds how long a request waits; needed with a Queue.
	Timeout time.Duration
	// Look is how often Ticket.Wait returns before the wait is over, so that who waits can see whether it is still wanted; 0 means never.
	Look time.Duration
	// Keys is how many keys may have requests under way at once; 0 means DefaultKeys. Requests of further keys are refused.
	Keys int
}

// Concurrency limits how many requests of each key are under way. A key is remembered only while it has some.
//
// A request is admitted like this:
//
//	switch c.Acquire(&ticket, key, 0) {
//	case limit.Admitted:
//	case limit.Queued:
//		for x.Await(ticket.Wait); ticket.Again(); x.Await(ticket.Wait) {
//			… ticket.Cancel() if nobody wants it any more
//		}
//		if ticket.Settle() != limit.Admitted { … refuse }
//	case limit.Full:
//		… refuse
//	}
//	… later: ticket.Release()
//
// All methods may be called by any goroutine. An admission without a wait allocates nothing.
type Concurrency struct {
	o     ConcurrencyOptions
	t     *table
	lines []lines // of the shards

	full    atomic.Uint64
	late    atomic.Uint64
	crowded atomic.Uint64
}

// Admission is what becomes of a request.
type Admission uint8

const (
	// Admitted requests may go on, and have to be released.
	Admitted Admission = 1 + iota
	// Queued requests have to wait.
	Queued
	// Full says that the queue is full, or there is none.
	Full
	// TimedOut says that the wait was too long.
	TimedOut
	// Cancelled says that Ticket.Cancel has ended the wait.
	Cancelled
)

// String returns the state as a word for a log.
func (a Admission) String() string {
	switch a {
	case Admitted:
		return "admitted"
	case Queued:
		return "queued"
	case Full:
		return "full"
	case TimedOut:
		return "timed out"
	case Cancelled:
		return "cancelled"
	}
	return ""
}

// Ticket is the part of a request in a Concurrency: its place in the queue and the place that it takes when it is admitted. The zero value is ready.
// It belongs to the caller, who may use it again after Release or a refusal, and must not copy it in between.
type Ticket struct {
	// Wait returns when the wait of a queued request is over, in whatever way, or when it is time to look; Again then tells. It is set by Acquire, to a
	// function that is made once for the life of the ticket.
	Wait func()

	c            *Concurrency
	d            digest
	older, newer *Ticket
	state        Admission // guarded by the shard's lock while the ticket is queued
	woken        chan struct{}
	told         bool          // Wait has taken the token
	left         time.Duration // that may be waited behind the present look
	timer        *time.Timer
}

// The words of a concurrency's payload.
const (
	flightCount = iota // requests under way
	flightLine         // the number of the line of those who wait, plus 1; 0 for none
	flightWords
)

// line are the requests of one key that wait.
type line struct {
	oldest, newest *Ticket
	length         int
}

// lines are those of a shard, guarded by its lock. There are as many as ever were needed at once.
type lines struct {
	all  []line
	free []int
}

// NewConcurrency returns a limiter with nothing under way.
func NewConcurrency(o ConcurrencyOptions) (*Concurrency, error) {
	switch {
	case o.Max < 1:
		return nil, fmt.Errorf("at most %d requests at once: it has to be at least 1", o.Max)
	case o.Queue < 0:
		return nil, fmt.Errorf("a queue of %d: it has to be 0 or more", o.Queue)
	case o.Queue > 0 && o.Timeout <= 0:
		return nil, errors.New("a queue needs a timeout")
	}
	if o.Keys <= 0 {
		o.Keys = DefaultKeys
	}
	c := &Concurrency{o: o}
	// All that is in the table is in use, and nothing of it may be forgotten.
	c.t = newTable(o.Keys, flightWords, newSeed(), func([]uint64, int64) int64 { return 1 })
	c.lines = make([]lines, len(c.t.shards))
	return c, nil
}

// Acquire admits a request, or puts it into the queue, or refuses it: Admitted, Queued or Full. patience shortens the wait, as a deadline of
// the request does; 0 leaves it at the timeout, and less than 0 means no wait. The key is not kept.
func (c *Concurrency) Acquire(t *Ticket, key []byte, patience time.Duration) Admission {
	t.c, t.d = c, c.t.seed.of(key)
	s, n := c.t.shard(t.d)
	s.mu.Lock()
	a := c.enter(s, &c.lines[n], t, patience >= 0)
	t.state = a // another may change it as soon as the lock is free
	if a == Queued {
		// Under the lock, before anybody can end the wait.
		t.arm(c.o.Timeout, patience)
	}
	s.mu.Unlock()
	if a == Full {
		c.full.Add(1)
	}
	return a
}

// enter is Acquire under the lock.
func (c *Concurrency) enter(s *shard, ls *lines, t *Ticket, mayWait bool) Admission {
	payload := c.t.find(s, t.d)
	if payload == nil {
		if s.used >= c.t.max {
			c.crowded.Add(1)
			return Full
		}
		payload, _ = c.t.insert(s, t.d, 0)
	}
	if payload[flightCount] < uint64(c.o.Max) {
		payload[flightCount]++
		return Admitted
	}
	if !mayWait || c.o.Queue == 0 {
		return Full
	}
	if payload[flightLine] == 0 {
		payload[flightLine] = uint64(ls.open()) + 1
	}
	l := &ls.all[payload[flightLine]-1]
	if l.length >= c.o.Queue {
		return Full
	}
	l.append(t)
	return Queued
}

// Again reports, after Wait has returned, whether the wait goes on: then Wait is to be called again. Else Settle tells how it has ended.
func (t *Ticket) Again() bool {
	if t.told || t.left <= 0 {
		return false
	}
	t.rest()
	return true
}

// rest sets the timer to the next look, or to the end.
func (t *Ticket) rest() {
	d := t.left
	if look := t.c.o.Look; look > 0 {
		d = min(d, look)
	}
	t.left -= d
	t.timer.Reset(d)
}

// Settle tells how the wait of a queued ticket has ended: Admitted, TimedOut or Cancelled. It is called when Again has said so, once.
func (t *Ticket) Settle() Admission {
	c := t.c
	t.timer.Stop()
	s, n := c.t.shard(t.d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.state == Queued {
		t.state = TimedOut
		c.leave(s, n, t)
		c.late.Add(1)
	} else if !t.told {
		<-t.woken // was put there under the lock
	}
	return t.state
}

// Cancel ends the wait of a queued ticket, from any goroutine, when nobody needs its place any more. It may come at any time between Acquire and
// Settle, and does nothing when the wait has already ended.
func (t *Ticket) Cancel() {
	s, n := t.c.t.shard(t.d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.state == Queued {
		t.state = Cancelled
		t.c.leave(s, n, t)
		t.woken <- struct{}{} // has room: the ticket was queued
	}
}

// leave takes a ticket out of its line.
func (c *Concurrency) leave(s *shard, n int, t *Ticket) {
	payload := c.t.find(s, t.d)
	ls := &c.lines[n]
	l := &ls.all[payload[flightLine]-1]
	l.remove(t)
	if l.length == 0 {
		ls.close(int(payload[flightLine] - 1))
		payload[flightLine] = 0
	}
}

// Release ends a request that was admitted. Its place goes to the one that has waited longest, if one waits.
func (t *Ticket) Release() {
	c := t.c
	s, n := c.t.shard(t.d)
	s.mu.Lock()
	payload := c.t.find(s, t.d)
	switch {
	case payload == nil || t.state != Admitted:
		// Was not admitted, or released already.
	case payload[flightLine] != 0:
		next := c.lines[n].all[payload[flightLine]-1].oldest
		c.leave(s, n, next)
		next.state = Admitted
		next.woken <- struct{}{} // has room: the ticket was queued
	case payload[flightCount] > 1:
		payload[flightCount]--
	default:
		c.t.delete(s, t.d)
	}
	t.state = 0
	s.mu.Unlock()
}

// arm makes the ticket ready to wait.
func (t *Ticket) arm(timeout, patience time.Duration) {
	if patience > 0 {
		timeout = min(timeout, patience)
	}
	t.told, t.left = false, timeout
	if t.timer == nil {
		t.woken = make(chan struct{}, 1)
		t.timer = time.NewTimer(timeout)
		t.Wait = t.wait
	}
	t.rest()
}

func (t *Ticket) wait() {
	select {
	case <-t.woken:
		t.told = true
	case <-t.timer.C:
	}
}

// open returns the number of an empty line, close gives one back.
func (ls *lines) open() int {
	if n := len(ls.free); n > 0 {
		i := ls.free[n-1]
		ls.free = ls.free[:n-1]
		return i
	}
	ls.all = append(ls.all, line{})
	return len(ls.all) - 1
}

func (ls *lines) close(i int) { ls.free = append(ls.free, i) }

func (l *line) append(t *Ticket) {
	t.older, t.newer = l.newest, nil
	if l.newest != nil {
		l.newest.newer = t
	} else {
		l.oldest = t
	}
	l.newest = t
	l.length++
}

func (l *line) remove(t *Ticket) {
	if t.older != nil {
		t.older.newer = t.newer
	} else {
		l.oldest = t.newer
	}
	if t.newer != nil {
		t.newer.older = t.older
	} else {
		l.newest = t.older
	}
	t.older, t.newer = nil, nil
	l.length--
}

// ConcurrencyStats tells what is under way.
type ConcurrencyStats struct {
	Keys     int    // with requests under way
	InFlight int64  // requests under way
	Queued   int64  // requests that wait
	Full     uint64 // refused because the queue was full, since the start; Crowded are among them
	TimedOut uint64 // refused because the wait was too long, since the start
	Crowded  uint64 // refused because too many keys were in use, since the start
}

// Stats counts what is under way now, shard by shard.
func (c *Concurrency) Stats() ConcurrencyStats {
	st := ConcurrencyStats{Full: c.full.Load(), TimedOut: c.late.Load(), Crowded: c.crowded.Load()}
	for i := range c.t.shards {
		s := &c.t.shards[i]
		s.mu.Lock()
		st.Keys += s.used
		for at := range s.n {
			if p := c.t.payload(s, at); p[flightCount] != 0 {
				st.InFlight += int64(p[flightCount])
				if p[flightLine] != 0 {
					st.Queued += int64(c.lines[i].all[p[flightLine]-1].length)
				}
			}
		}
		s.mu.Unlock()
	}
	return st
}
