package cache

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// Flight is one fetch of an answer, and the answer while it grows. Requests wait for its head and then read it, each at its own pace; what has come
// stays until all have read it, and becomes a stored answer when it is complete.
//
// Whoever got it from [Use.Flight] runs it, in one goroutine: Start, Prepare, the fetch, and then exactly one of Fill and Fail.
type Flight struct {
	store *Store
	rules *Rules
	res   *resource
	hash  uint64
	began int64

	// request are the fields of the request as the client has sent it: Vary is about them, and not about what later policies make of them.
	request    message.Header
	authorised bool
	stale      *Entry // the stored answer that is being validated, or nil
	asks       bool   // Prepare has made the request conditional

	// Guarded by the shard's mu: who may join.
	spec     *vary
	values   string
	joinable bool
	listed   bool
	doomed   bool // invalidated meanwhile: nothing of it is stored

	mu      sync.Mutex    // guards what follows; nothing waits while it is held
	wake    chan struct{} // closed when something has come; nil while nobody waits
	room    chan struct{} // closed when a reader has gone on; nil while the writer does not wait
	state   flightState
	readers *reader // all that take part, linked
	crowd   int     // how many they are
	held    bool    // it goes on without readers
	cancel  func()
	failure *message.Failure
	entry   *Entry // of a flight that has ended with a stored answer
	status  int
	header  message.Header // as it is stored, or as it came if it is not
	own     message.Header // what only the request that it was fetched for gets
	length  int64
	terms   terms
	upAge   bool // the answer came with an age
	fwd     int  // status of the answer that a stored one stands in for

	chunks  [][]byte // from offset base on; the last one is being filled
	base    int64
	size    int64 // bytes that readers may have
	filled  int64 // bytes that have come; the writer's own
	grown   int64 // bytes reserved of the store's
	dropped int64 // of them, bytes of chunks that are gone
	keeps   bool  // it is to be stored: nothing is dropped before it is complete
	ended   bool  // there will be no more bytes
	err     error // why it broke off
	spare   []byte
}

// flightState is how far a flight has come.
type flightState uint8

const (
	flying  flightState = iota // no head yet
	growing                    // head is there, and a body that grows
	landed                     // entry is the answer
	failed                     // failure is
)

// Errors that readers of a growing body get.
var (
	errAbandoned = errors.New("cache: the fetch was given up because nobody read it")
	errLagging   = errors.New("cache: the reader was too far behind the others")
	errDeadline  = errors.New("cache: the deadline of the exchange has passed")
)

// Bounds of bodies that pass through: how far the fetch may be ahead of its slowest reader, and for how long the others wait for that one.
const (
	passWindow   = 256 << 10
	passPatience = 5 * time.Second
)

// Chunks of bodies, in bytes.
const (
	firstChunk = 4 << 10
	largeChunk = 64 << 10
)

// reader is one participant of a flight, and the body that it reads.
type reader struct {
	flight     *Flight
	prev, next *reader // guarded by the flight's mu, as all that follows

	at       int64 // bytes given back
	lent     int64 // bytes lent since
	out      bool
	cut      bool
	deadline int64
	leads    bool
}

// Start gives the flight what ends its fetch. cancel is called at most once, from another goroutine and under no lock, when nobody wants the answer
// any more; it must not wait. If that has come about already, Start reports false, cancel is not called, and Fail has to follow at once.
func (f *Flight) Start(cancel func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.crowd == 0 && !f.held {
		return false
	}
	f.cancel = cancel
	return true
}

// Background reports whether nobody waits for the flight: it renews an answer that was given away stale.
func (f *Flight) Background() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held && f.crowd == 0
}

// Prepare makes h, the header of the request of the fetch, one that asks for the whole answer, or for its validation if there is one in the store.
func (f *Flight) Prepare(h *message.Header) {
	dropConditions(h)
	if f.stale != nil {
		f.asks = addConditions(h, &f.stale.header)
	}
}

// join adds a reader; nil if the flight is over. The caller may hold the shard's lock.
func (f *Flight) join(x *message.Exchange) *reader {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended || f.crowd == 0 && !f.held {
		return nil
	}
	return f.enter(x)
}

// enter adds a reader. The caller holds mu, or is alone with f.
func (f *Flight) enter(x *message.Exchange) *reader {
	r := &reader{flight: f, next: f.readers, deadline: x.Deadline}
	if r.next != nil {
		r.next.prev = r
	}
	f.readers = r
	f.crowd++
	return r
}

// leave takes a reader out. The fetch is cancelled if it was the last.
func (r *reader) leave() {
	f := r.flight
	f.mu.Lock()
	if r.out {
		f.mu.Unlock()
		return
	}
	r.out = true
	if r.prev != nil {
		r.prev.next = r.next
	} else {
		f.readers = r.next
	}
	if r.next != nil {
		r.next.prev = r.prev
	}
	f.crowd--
	var cancel func()
	lonely := f.crowd == 0 && !f.held && !f.ended
	if lonely {
		cancel, f.cancel = f.cancel, nil
		f.end(errAbandoned)
	} else {
		f.trim()
	}
	f.mu.Unlock()
	if !lonely {
		return
	}
	f.rules.Namespace.count(Abandoned, f.hash)
	f.delist()
	if cancel != nil {
		cancel()
	}
}

// hold lets the flight go on to its end without readers, if its answer will be stored.
func (f *Flight) hold() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = f.held || f.keeps
}

// end ends the flight; err is why before its time, or nil. The caller holds mu.
func (f *Flight) end(err error) {
	if f.ended {
		return
	}
	f.ended, f.err, f.cancel = true, err, nil
	f.signal()
	if f.room != nil {
		close(f.room)
		f.room = nil
	}
}

// signal wakes all that wait for more. The caller holds mu.
func (f *Flight) signal() {
	if f.wake != nil {
		close(f.wake)
		f.wake = nil
	}
}

// waker returns what is closed when something has come. The caller holds mu.
func (f *Flight) waker() <-chan struct{} {
	if f.wake == nil {
		f.wake = make(chan struct{})
	}
	return f.wake
}

// delist takes the flight out of the index: nobody joins it any more.
func (f *Flight) delist() {
	sh := f.res.shard
	sh.mu.Lock()
	defer sh.mu.Unlock()
	f.unlist()
}

// unlist is delist for who holds the shard's lock.
func (f *Flight) unlist() {
	if !f.listed {
		return
	}
	f.listed, f.joinable = false, false
	res := f.res
	for i, o := range res.flights {
		if o == f {
			last := len(res.flights) - 1
			res.flights[i] = res.flights[last]
			res.flights[last] = nil
			res.flights = res.flights[:last]
			break
		}
	}
	res.settle()
}

// Next implements message.Body: it waits for more where all that has come was read.
func (r *reader) Next() ([]byte, error) {
	f := r.flight
	f.mu.Lock()
	r.at += r.lent
	r.lent = 0
	f.trim()
	for {
		switch {
		case r.out:
			f.mu.Unlock()
			return nil, io.EOF
		case r.cut:
			f.mu.Unlock()
			return nil, errLagging
		case r.at < f.size:
			piece := f.piece(r.at)
			r.lent = int64(len(piece))
			f.mu.Unlock()
			return piece, nil
		case f.ended:
			err := f.err
			f.mu.Unlock()
			if err == nil {
				err = io.EOF
			}
			return nil, err
		}
		w := f.waker()
		f.mu.Unlock()
		if !await(w, r.deadline) {
			return nil, errDeadline
		}
		f.mu.Lock()
	}
}

// Close implements message.Body.
func (r *reader) Close() error {
	r.leave()
	return nil
}

// await waits until w is closed, or the moment deadline has come (0 for none), and reports whether w is.
func await(w <-chan struct{}, deadline int64) bool {
	if deadline == 0 {
		<-w
		return true
	}
	left := deadline - message.Now()
	if left <= 0 {
		select {
		case <-w:
			return true
		default:
			return false
		}
	}
	timer := time.NewTimer(time.Duration(left))
	defer timer.Stop()
	select {
	case <-w:
		return true
	case <-timer.C:
		return false
	}
}

// piece returns the bytes from an offset on that lie in one chunk. The caller holds mu; at is less than size. The bytes stay as they are: the writer
// writes behind them only.
func (f *Flight) piece(at int64) []byte {
	at -= f.base
	end := f.size - f.base
	for _, c := range f.chunks {
		if n := int64(cap(c)); at >= n {
			at, end = at-n, end-n
			continue
		}
		to := min(end, int64(cap(c)))
		return c[at:to:to]
	}
	return nil
}

// slowest returns how far the reader that is furthest behind has come. The caller holds mu.
func (f *Flight) slowest() int64 {
	least := f.size
	for r := f.readers; r != nil; r = r.next {
		if !r.cut {
			least = min(least, r.at)
		}
	}
	return least
}

// trim drops chunks that all have read of a body that is not kept, and lets the writer go on. The caller holds mu.
func (f *Flight) trim() {
	if f.keeps || f.state != growing {
		return
	}
	least := f.slowest()
	for len(f.chunks) > 1 && f.base+int64(cap(f.chunks[0])) <= least {
		c := f.chunks[0]
		f.base += int64(cap(c))
		f.chunks[0] = nil
		f.chunks = f.chunks[1:]
		f.dropped = min(f.grown, f.dropped+int64(cap(c)))
		if cap(c) == largeChunk && !f.lent(f.base) {
			f.spare = c
		}
	}
	if f.room != nil {
		close(f.room)
		f.room = nil
	}
}

// lent reports whether a reader that was cut off still holds bytes from before an offset: it has not noticed yet. The caller holds mu.
func (f *Flight) lent(before int64) bool {
	for r := f.readers; r != nil; r = r.next {
		if r.at < before {
			return true
		}
	}
	return false
}
