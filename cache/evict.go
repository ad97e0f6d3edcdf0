package cache

import (
	"sync"
	"sync/atomic"
)

// queue decides what stays: S3-FIFO (Yang, Zhang, Qiu, Yue and Vigfusson, FIFO queues are all you need for cache eviction, SOSP 2023), counted in
// bytes. New entries enter a small queue, a tenth of the memory. Those that were asked for more than once by the time they reach its end go on into
// the main queue, the others leave, and only a mark of them remains for a while: who comes back to its mark enters the main queue at once. So a scan,
// which asks for everything once, passes through a tenth of the memory and leaves the rest alone. In the main queue an entry stays for another round
// for each time that it was asked for, three at most.
//
// It was preferred to W-TinyLFU, which decides about as well, because a hit changes nothing but one small number of the entry itself: the lookup needs
// no lock of the queue, no list is written to and nothing is dropped under load.
type queue struct {
	used    atomic.Int64 // bytes of entries; written under mu
	growing atomic.Int64 // bytes of bodies that are still coming; written under mu
	objects atomic.Int64 // entries; written under mu

	mu          sync.Mutex // guards what follows, and the links of entries; held for the time of a few evictions
	limit       int64
	small, main ring
	ghosts      ghosts
	victims     *Entry // evicted and not yet taken from the index, linked by next
}

// The places of an entry.
const (
	outside = iota // not yet, or no more
	inSmall
	inMain
)

// mostRounds bounds how many entries of the main queue get another round before one leaves whatever its count, so that the lock is not held for long.
const mostRounds = 128

// ring is a doubly linked list of entries; the newest is first.
type ring struct {
	first, last *Entry
	bytes       int64
	count       int
}

func (r *ring) push(e *Entry) {
	e.prev, e.next = nil, r.first
	if r.first != nil {
		r.first.prev = e
	} else {
		r.last = e
	}
	r.first = e
	r.bytes += e.size
	r.count++
}

func (r *ring) remove(e *Entry) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		r.first = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		r.last = e.prev
	}
	e.prev, e.next = nil, nil
	r.bytes -= e.size
	r.count--
}

// init sets the bound.
func (q *queue) init(limit int64) {
	q.limit = limit
	q.ghosts.init(limit)
}

// add takes in an entry whose body has occupied grown bytes until now. It returns what has to leave for it, linked by next. An entry that was removed
// before it came here does not enter.
func (q *queue) add(e *Entry, grown int64) (victims *Entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.growing.Add(-grown)
	if e.gone {
		return nil
	}
	q.used.Add(e.size)
	q.objects.Add(1)
	if q.ghosts.take(e.hash, q.main.count) {
		e.place = inMain
		q.main.push(e)
	} else {
		e.place = inSmall
		q.small.push(e)
	}
	return q.shrink()
}

// remove lets an entry go.
func (q *queue) remove(e *Entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e.gone = true
	q.out(e)
}

// out takes an entry from its ring.
func (q *queue) out(e *Entry) {
	switch e.place {
	case inSmall:
		q.small.remove(e)
	case inMain:
		q.main.remove(e)
	default:
		return
	}
	e.place = outside
	q.used.Add(-e.size)
	q.objects.Add(-1)
}

// grow reserves n bytes for a body that is coming, or gives them back if n is negative. ok is false if there is no room, whatever leaves; nothing is
// reserved then.
func (q *queue) grow(n int64) (victims *Entry, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n > 0 && q.growing.Load()+n > q.limit {
		return nil, false
	}
	q.growing.Add(n)
	return q.shrink(), true
}

// resize sets the bound to another number of bytes.
func (q *queue) resize(limit int64) (victims *Entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.init(limit)
	return q.shrink()
}

// shrink evicts until everything fits.
func (q *queue) shrink() *Entry {
	for q.used.Load()+q.growing.Load() > q.limit && q.objects.Load() > 0 {
		if q.small.count > 0 && (q.small.bytes*10 >= q.limit || q.main.count == 0) {
			q.shrinkSmall()
		} else {
			q.shrinkMain()
		}
	}
	v := q.victims
	q.victims = nil
	return v
}

// shrinkSmall takes the oldest entry of the small queue out, for good or into the main queue.
func (q *queue) shrinkSmall() {
	e := q.small.last
	if e.asked.Load() <= 1 {
		q.ghosts.put(e.hash)
		q.evict(e)
		return
	}
	q.small.remove(e)
	e.asked.Store(0)
	e.place = inMain
	q.main.push(e)
}

// shrinkMain takes one entry out of the main queue.
func (q *queue) shrinkMain() {
	for rounds := 0; ; rounds++ {
		e := q.main.last
		if n := e.asked.Load(); n > 0 && rounds < mostRounds {
			// A hit that counts meanwhile may be lost. It would have bought the entry one round.
			e.asked.Store(n - 1)
			q.main.remove(e)
			q.main.push(e)
			continue
		}
		q.evict(e)
		return
	}
}

// evict takes e out and notes it for its removal from the index.
func (q *queue) evict(e *Entry) {
	q.out(e)
	e.gone = true
	e.next, q.victims = q.victims, e
}

// mostAsked is what the count of an entry is cut to.
const mostAsked = 3

// touch notes that an entry was asked for. A popular entry is only read.
func (e *Entry) touch() {
	if n := e.asked.Load(); n < mostAsked {
		e.asked.CompareAndSwap(n, n+1) // of several at once one counts
	}
}

// ghosts remembers the hashes of entries that have left the small queue, in the order in which they left: a table of the size of a power of two, in
// which later marks take the place of earlier ones. Each mark is half of a hash and a number that says when.
type ghosts struct {
	marks []uint64
	clock uint32
}

// bytesPerMark is how many bytes of memory there are for each mark: as many marks as there are entries of this size. At 8 bytes for a mark the table
// takes 1/128 of the memory besides.
const bytesPerMark = 1024

func (g *ghosts) init(limit int64) {
	n := int64(1024)
	for n < 1<<22 && n*bytesPerMark < limit {
		n *= 2
	}
	if int64(len(g.marks)) != n {
		g.marks, g.clock = make([]uint64, n), 0
	}
}

func (g *ghosts) put(hash uint64) {
	g.clock++
	g.marks[hash&uint64(len(g.marks)-1)] = hash>>32<<32 | uint64(g.clock)
}

// take reports whether there is a mark that is not older than window others, and rubs it out. The published window is as many marks as the main queue
// has entries; while that is nearly empty a few hundred do no harm.
func (g *ghosts) take(hash uint64, window int) bool {
	m := &g.marks[hash&uint64(len(g.marks)-1)]
	if *m == 0 || *m>>32 != hash>>32 || g.clock-uint32(*m) > uint32(max(window, 256)) {
		return false
	}
	*m = 0
	return true
}
