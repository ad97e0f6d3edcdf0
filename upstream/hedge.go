package upstream

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/balance"
	"github.com/sluice-gateway/sluice/http1"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// hedging is how a backend sends requests a second time that are slow (Dean and Barroso, The Tail at Scale, CACM 2013: the second attempt is put
// off until the first has taken longer than most do, which costs a few percent of work and takes the worst of the waiting away).
type hedging struct {
	after  time.Duration // 0: as recent says
	recent *recent       // nil: after
	budget budget        // of second attempts under way
}

// minHedge is the least that a second attempt is put off by what endpoints were seen to take.
const minHedge = 5 * time.Millisecond

// newHedging returns nil if o is.
func newHedging(o *HedgeOptions) *hedging {
	if o == nil {
		return nil
	}
	h := &hedging{after: o.After}
	h.budget.share, h.budget.floor = o.Budget, 1
	if o.After <= 0 {
		h.recent = newRecent(o.Percentile)
	}
	return h
}

// delay returns how long a first attempt may take before there is a second, 0 for as long as it likes.
func (h *hedging) delay() time.Duration {
	if h.recent == nil {
		return h.after
	}
	d := h.recent.value()
	if d == 0 {
		return 0
	}
	return max(d, minHedge)
}

// observe takes the time that an endpoint took for its answer, or that it was waited for in vain.
func (h *hedging) observe(took, now int64) {
	if h.recent != nil {
		h.recent.observe(took, now)
	}
}

// hedgeable reports whether a second attempt can do no harm: the request is defined to change nothing, has no body, and is none of those that mean
// something only to the connection that they go over (Negotiate and NTLM log a connection in, RFC 4559 section 6).
func hedgeable(x *message.Exchange, ep *Endpoint) bool {
	r := &x.Request
	switch r.Method.Known {
	case message.GET, message.HEAD, message.OPTIONS:
	default:
		return false
	}
	if r.Length != 0 || r.Upgrade != nil || r.Header.Has(message.Authorization) && logsIn(r.Header.Get(message.Authorization)) {
		return false
	}
	if x.Bindings.Any() {
		t, ok := ep.transport.Load().Transport.(interface{ Bound(*message.Bindings) bool })
		return !ok || !t.Bound(x.Bindings)
	}
	return true
}

// logsIn reports whether credentials are of a scheme that logs a connection in.
func logsIn(credentials []byte) bool {
	scheme, _, _ := bytes.Cut(credentials, []byte{' '})
	return message.EqualFold(scheme, "negotiate") || message.EqualFold(scheme, "ntlm")
}

// good reports whether an answer of this status ends the race between two attempts. One that is a failure of the endpoint does not while the
// other may still bring a better one.
func (b *Backend) good(status int) bool {
	return !b.retry.onStatus(status) && failingStatus(status) < 0
}

// winners of a race.
const (
	nobody = iota
	firstWon
	secondWon
)

// rival is the second attempt of an exchange, beside a slow first one. The first runs on the exchange's own thread of control, the second on
// the goroutine of a timer, with a copy of the request: it writes nothing that belongs to the exchange. Whichever has a good answer first
// takes winner and cancels the other; the exchange's thread takes the second's answer over when its own attempt has come back.
//
// What is read of the exchange and of its flight for the second attempt, is read under mu before over is set: until then the exchange's thread is in its own
// attempt, where a transport only reads the request, or waits at mu. The goroutine ends with a token in done, which the thread takes before
// it uses anything of the second attempt, and at the latest in Finish. So there is at most one goroutine, and it never outlives the exchange.
//
// A rival belongs to its Flight and is used again.
type rival struct {
	timer *time.Timer
	done  chan struct{} // gets a token when the goroutine has ended
	await func()        // join, bound once

	mu   sync.Mutex // held for the begin of the second attempt, and for a moment by the end of the first
	over bool       // the first attempt has ended: nothing is begun any more; guarded by mu
	sent bool       // the second attempt has begun; guarded by mu

	winner        atomic.Int32
	first, second http1.Cancel

	// Of the exchange, for begin.
	backend  *Backend
	flight   *Flight
	exchange *message.Exchange
	slot     int // of the first attempt

	// Of the second attempt. The goroutine's until it has ended, then the exchange's.
	shard    metric.Shard
	query    balance.Query
	choice   *choice
	taken    int // slot
	endpoint *Endpoint
	shadow   *message.Exchange
	call     Call
	begun    int64
	answer   bool // there is one in shadow.Response
	panicked any

	// The exchange's.
	used    bool // there was a second attempt: there is not to be another one
	running bool // the goroutine was not joined yet
	adopted bool // the exchange has its answer
	body    adoptedBody
}

// shadows is read-only in the sense that matters: what is in a pool carries no meaning from one user to the next.
var shadows = sync.Pool{New: func() any {
	x := new(message.Exchange)
	x.Reset()
	return x
}}

// arm sets the timer for a second attempt if there may be one. It reports whether it did: contest follows the attempt at slot then.
func (b *Backend) arm(x *message.Exchange, f *Flight, slot int, now int64) bool {
	r := f.rival
	if r != nil && r.used || slot == f.own || !hedgeable(x, f.choice.slots[slot]) {
		return false
	}
	delay := b.hedging.delay()
	if delay <= 0 || x.Deadline != 0 && x.Deadline-now < int64(delay)+minTryTime {
		return false
	}
	if r == nil {
		r = &rival{done: make(chan struct{}, 1)}
		r.await = r.join
		r.timer = time.AfterFunc(time.Hour, r.launch)
		r.timer.Stop()
		f.rival = r
	}
	r.mu.Lock()
	r.over, r.sent, r.answer, r.adopted = false, false, false, false
	r.backend, r.flight, r.exchange, r.slot, r.shard = b, f, x, slot, f.Shard
	r.mu.Unlock()
	r.winner.Store(nobody)
	r.first.Reset()
	r.second.Reset()
	f.call.Cancel = &r.first
	if f.Cancel != nil {
		f.Cancel.Lend(&r.first, &r.second)
	}
	r.timer.Reset(delay)
	return true
}

// launch is run by the timer.
func (r *rival) launch() {
	defer func() {
		// A mistake of this program ends the exchange, as it would in the exchange's own goroutine, and nothing else.
		r.panicked = recover()
		r.done <- struct{}{}
	}()
	if r.begin() {
		r.run()
	}
}

// begin takes a place for the second attempt, and copies the request. It reports whether there is to be one.
func (r *rival) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return false
	}
	b := r.backend
	if !b.hedging.budget.take(b.inFlight()) {
		b.metrics.hedgesDenied.Inc(r.shard)
		return false
	}
	r.begun = message.Now()
	if !r.pick(b.current()) {
		b.hedging.budget.give()
		b.metrics.hedgesDenied.Inc(r.shard)
		return false
	}
	r.shadow = shadows.Get().(*message.Exchange)
	message.CopyRequest(r.shadow, r.exchange)
	r.call = Call{FirstByte: b.options.FirstByte, Deadline: r.exchange.Deadline, Begun: r.begun, Cancel: &r.second, Prelude: r.flight.call.Prelude}
	if b.retry.perTry > 0 && (r.call.Deadline == 0 || r.call.Deadline > r.begun+b.retry.perTry) {
		r.call.Deadline = r.begun + b.retry.perTry
	}
	r.sent = true
	return true
}

// pick takes a place at another endpoint than the exchange has tried. Nobody waits for one.
func (r *rival) pick(c *choice) bool {
	r.query = r.flight.query
	q := &r.query
	q.Now = r.begun
	q.Tried.Add(r.slot)
	for range picks {
		q.Random = rand.Uint64()
		slot := c.picker.Pick(q)
		if slot < 0 || slot == r.slot {
			return false
		}
		ep := c.slots[slot]
		if queue := r.backend.queue; queue == nil {
			ep.load.Begin()
		} else if !ep.load.TryBegin(queue.max) {
			q.Tried.Add(slot)
			continue
		}
		r.choice, r.taken, r.endpoint = c, slot, ep
		return true
	}
	return false
}

// run is the second attempt.
func (r *rival) run() {
	b, ep := r.backend, r.endpoint
	ep.metrics.requests.Inc(r.shard)
	failure := ep.transport.Load().Do(r.shadow, &r.call)
	b.hedging.budget.give()
	ep.countConnection(r.shard, &r.call, failure)
	if failure != nil {
		b.charge(ep, r.shard, &r.call, failure, r.shadow.Deadline, false, message.Now())
		ep.release()
		return
	}
	if r.shadow.Times.FirstByte == 0 {
		r.shadow.Times.FirstByte = message.Now()
	}
	r.answer = true
	if !b.good(r.shadow.Response.Status) {
		return // kept until the first attempt has brought something better, or has not
	}
	if r.winner.CompareAndSwap(nobody, secondWon) {
		r.first.Fire()
		return
	}
	r.drop()
}

// contest decides between the two attempts after the first has come back with failure, or with an answer if that is nil. It returns the slot of
// the second attempt if the exchange has its answer now; else -1, and the first one's result stands.
func (b *Backend) contest(x *message.Exchange, f *Flight, slot int, failure *message.Failure, now int64) int {
	r := f.rival
	if r.timer.Stop() {
		return -1 // there was no need for it, nearly always
	}
	r.running = true
	r.mu.Lock()
	r.over = true
	sent := r.sent
	r.mu.Unlock()
	if !sent {
		r.join() // which begins nothing any more
		return -1
	}
	r.used = true
	x.Outcome.Attempts++
	if failure == nil && b.good(x.Response.Status) && r.winner.CompareAndSwap(nobody, firstWon) {
		r.second.Fire() // and Finish waits for its end
		return -1
	}
	if failure != nil && failure.Side != message.SideUpstream && r.winner.Load() != secondWon {
		r.second.Fire() // the client, or the request itself: the other attempt fares no better
		return -1
	}
	x.Await(r.await)
	if r.winner.Load() == secondWon || r.answer && failure != nil {
		b.leave(x, f, f.choice.slots[slot], failure, now)
		return r.adopt(x, f)
	}
	if r.answer {
		r.drop() // both are bad, and the first one's stands
	}
	f.query.Tried.Add(r.taken) // a retry goes elsewhere
	return -1
}

// leave ends the first attempt when the second has brought the answer. That it was cancelled is not held against the endpoint.
func (b *Backend) leave(x *message.Exchange, f *Flight, ep *Endpoint, failure *message.Failure, begun int64) {
	now := message.Now()
	switch {
	case failure == nil: // an answer that is bad, or was a moment too late
		if x.Times.FirstByte == 0 {
			x.Times.FirstByte = now
		}
		if !b.answered(ep, f.Shard, x.Response.Status, begun, x.Times.FirstByte) {
			b.succeeded(ep, x.Times.FirstByte)
		}
		f.endpoint = ep
		f.discard(x)
		return
	case failure.Side == message.SideUpstream:
		b.charge(ep, f.Shard, &f.call, failure, x.Deadline, false, now)
	default:
		// It would have taken longer than this. Not to say so would make the slow endpoint look as fast as it was before, and the times that
		// second attempts are put off by shorter and shorter.
		took := now - begun
		b.hedging.observe(took, now)
		if b.timed && took > ep.load.Latency(now) {
			ep.load.Observe(now, took)
		}
	}
	ep.release()
}

// adopt makes the second attempt's answer that of the exchange, and returns its slot.
func (r *rival) adopt(x *message.Exchange, f *Flight) int {
	s, b := r.shadow, r.backend
	from, to := &s.Response, &x.Response
	to.Status, to.Length, to.Close = from.Status, from.Length, from.Close
	to.Header, from.Header = from.Header, to.Header
	to.Body, from.Body = from.Body, message.NoBody{}
	if to.Length < 0 { // only a body that tells its own end has trailers
		r.body = adoptedBody{to.Body, &from.Trailer, &to.Trailer}
		to.Body = &r.body
	}
	x.Times.Connected, x.Times.FirstByte = s.Times.Connected, s.Times.FirstByte
	x.Outcome.Endpoint, x.Outcome.Reused = r.endpoint.address, r.call.Reused
	r.adopted = true
	f.endpoint, f.choice = r.endpoint, r.choice
	f.judged = b.answered(r.endpoint, f.Shard, to.Status, r.begun, s.Times.FirstByte)
	return r.taken
}

// drop ends an answer of the second attempt that nobody wants.
func (r *rival) drop() {
	r.answer = false
	s, b := r.shadow, r.backend
	_ = s.Response.Body.Close()
	if !b.answered(r.endpoint, r.shard, s.Response.Status, r.begun, s.Times.FirstByte) {
		b.succeeded(r.endpoint, s.Times.FirstByte)
	}
	r.endpoint.release()
}

// join waits for the goroutine, which ends as soon as its attempt does.
func (r *rival) join() {
	<-r.done
	r.running = false
	if p := r.panicked; p != nil {
		r.panicked = nil
		//house:allow panic it is another goroutine's, handed on
		panic(p)
	}
}

// finish ends what there is of a second attempt when the exchange has ended.
func (r *rival) finish() {
	if r.backend == nil {
		return // it was not armed
	}
	if r.running {
		r.join()
	}
	if r.used {
		b := r.backend
		if r.adopted {
			b.metrics.hedgesWon.Inc(r.shard)
		} else {
			b.metrics.hedgesLost.Inc(r.shard)
		}
		if r.answer && !r.adopted {
			r.drop()
		}
		r.body = adoptedBody{Body: message.NoBody{}}
		r.shadow.Reset()
		shadows.Put(r.shadow)
	}
	r.used, r.adopted, r.answer = false, false, false
	r.backend, r.flight, r.exchange, r.shadow, r.choice, r.endpoint = nil, nil, nil, nil, nil, nil
	r.call = Call{}
}

// adoptedBody is the body of an answer that was read into another exchange: its trailers are brought over when it has ended.
type adoptedBody struct {
	message.Body
	from, to *message.Header
}

// Next implements message.Body.
func (a *adoptedBody) Next() ([]byte, error) {
	piece, err := a.Body.Next()
	if err == io.EOF {
		a.to.CopyFrom(a.from)
	}
	return piece, err
}

// Ready reports whether Next returns without waiting; codecs ask before they put a piece into the same write as the head.
func (a *adoptedBody) Ready() bool {
	s, ok := a.Body.(interface{ Ready() bool })
	return ok && s.Ready()
}
