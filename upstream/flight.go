package upstream

import (
	"math/rand/v2"
	"time"

	"github.com/sluice-gateway/sluice/balance"
	"github.com/sluice-gateway/sluice/http1"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/stream"
)

// Flight is what a backend remembers of one exchange. Whoever drives exchanges keeps one in the state of each and uses it again: the zero
// value is ready, and so it is after Finish. It belongs to the exchange's thread of control.
type Flight struct {
	// Shard is where the exchange counts; it stays from exchange to exchange.
	Shard metric.Shard
	// Cancel ends an attempt from elsewhere, and the one beside it if there are two; nil if nobody wants to.
	Cancel *http1.Cancel

	backend  *Backend
	choice   *choice   // that the last pick was made from
	own      int       // slot that the client's session cookie names, or -1
	endpoint *Endpoint // that is answering; nil without an answer
	judged   bool      // the answer's status was held against the endpoint
	retrying bool      // the try under way is a retry
	charged  bool      // it was taken from the budget
	replayed bool
	retries  int // so far, without the replay
	query    balance.Query
	call     Call
	failure  message.Failure // what Do returns, so that the transport's own may be shared
	body     replayBody
	prelude  []byte // memory of call.Prelude

	exchange *message.Exchange // nil for connections of layer 4
	waiter   waiter            // its place in a queue
	rival    *rival            // the second attempt beside a slow one; kept for the next exchange, nil before the first
}

// The failures of exchanges that no endpoint gets to see. Read-only.
var (
	noEndpoint = message.Failure{Reason: message.NoHealthyEndpoint, Side: message.SideUpstream, Stage: message.StageConnect}
	noTime     = message.Failure{Reason: message.RouteTimeout, Side: message.SideInternal, Stage: message.StageRoute}
)

// Do sends x.Request to an endpoint and fills x.Response, whose body borrows a connection until it is closed. If a try fails it may make
// others, as retries and the deadline of x allow, but never after a byte of an answer was passed on. A failure is valid until Finish.
//
// Every Do is followed by f.Finish when the exchange has ended. Until then x.Request.Body is the backend's; nobody else pulls it.
func (b *Backend) Do(x *message.Exchange, f *Flight) *message.Failure {
	f.backend, f.exchange = b, x
	x.Outcome.Backend = b.options.Name
	if x.Request.Length != 0 {
		f.body.open(x.Request.Body, x.Request.Length, &b.store, b.retry.maxBody)
		x.Request.Body = &f.body
	}
	now := x.Times.Routed
	if now == 0 {
		now = message.Now()
	}
	if x.Deadline != 0 && x.Deadline-now < minTryTime {
		return f.end(x, &noTime)
	}
	b.read(x, f)
	slot, refused := b.reserve(f, now, x.Deadline, -1)
	if refused != nil {
		return f.end(x, refused)
	}
	if failure := b.prepare(x, f); failure != nil {
		f.choice.slots[slot].release()
		return f.end(x, failure)
	}
	for {
		var failure *message.Failure
		slot, failure = b.try(x, f, slot, f.query.Now)
		if failure == nil && !b.retry.onStatus(x.Response.Status) {
			return b.accept(x, f, slot, true)
		}
		now = message.Now()
		if failure != nil {
			failure = b.blame(x, f, f.choice.slots[slot], failure, now)
		}
		next := b.next(x, f, slot, failure, now)
		if next < 0 {
			if failure == nil {
				return b.accept(x, f, slot, false)
			}
			b.settle(f, false)
			return f.end(x, failure)
		}
		if failure == nil {
			f.discard(x)
		}
		f.body.rewind()
		slot = next
	}
}

// accept takes the answer of an endpoint for the client. saved says that a retry, if it was one, has helped.
func (b *Backend) accept(x *message.Exchange, f *Flight, slot int, saved bool) *message.Failure {
	b.settle(f, saved)
	f.body.commit(x.Request.Pumping)
	// A try that found no place has left a newer choice behind, in which the slot may be another endpoint's.
	if b.session != nil && slot < len(f.choice.slots) && f.choice.slots[slot] == f.endpoint {
		b.session.answer(x, f.choice, slot, f.own)
	}
	return nil
}

// read takes from the request what its endpoint is picked by.
func (b *Backend) read(x *message.Exchange, f *Flight) {
	f.own, f.query.Keyed = -1, false
	if b.session != nil {
		f.own = b.session.slotOf(b.current(), x)
	}
	if x.Bindings.Any() {
		if slot := b.current().boundTo(x.Bindings); slot >= 0 {
			f.own = slot
		}
	}
	if b.options.Key != nil {
		if key, ok := b.options.Key.Append(x.Scratch(), x); ok {
			f.query.Hash, f.query.Keyed = balance.Hash(key), true
		}
	}
}

// prepare sets what all tries of the exchange have in common.
func (b *Backend) prepare(x *message.Exchange, f *Flight) *message.Failure {
	// A request that cannot be sent again must not meet the end of an idle connection.
	f.call.Once = !b.retry.repeatable(x.Request.Method) || x.Request.Length > b.retry.maxBody
	if b.options.ProxyProtocol == 0 {
		return nil
	}
	h := stream.ProxyHeader{Source: x.Client.Peer, Destination: x.Client.Local, Transport: stream.ProxyStream}
	h.Local = !h.Source.IsValid() || !h.Destination.IsValid()
	var err error
	if f.prelude, err = stream.AppendProxyHeader(f.prelude[:0], b.options.ProxyProtocol, &h); err != nil {
		f.failure = message.Failure{Reason: message.Internal, Side: message.SideInternal, Stage: message.StageConnect, Err: err}
		return &f.failure
	}
	f.call.Prelude = f.prelude
	return nil
}

// pick chooses an endpoint that was not tried; if all were, any but the last; if there is no other, that. -1 means that there is none.
func (b *Backend) pick(c *choice, f *Flight, last int) int {
	tried := &f.query.Tried
	if f.own >= 0 && tried.Empty() && c.keeps(f.own, f.query.Now) {
		return f.own
	}
	f.query.Random = rand.Uint64()
	slot := c.picker.Pick(&f.query)
	if slot < 0 && !tried.Empty() {
		tried.Reset()
		tried.Add(last)
		if slot = c.picker.Pick(&f.query); slot < 0 {
			tried.Reset()
			slot = c.picker.Pick(&f.query)
		}
	}
	return slot
}

// boundTo returns the slot of the endpoint at which the client's connection is logged in (NTLM, Negotiate), or -1: anywhere else it would have to log in
// anew.
func (c *choice) boundTo(bindings *message.Bindings) int {
	for slot, ep := range c.slots {
		if ep == nil {
			continue
		}
		if t, ok := ep.transport.Load().Transport.(interface{ Bound(*message.Bindings) bool }); ok && t.Bound(bindings) {
			return slot
		}
	}
	return -1
}

// keeps reports whether the endpoint of a slot still serves the clients whose session is there: one that is drained does.
func (c *choice) keeps(slot int, now int64) bool {
	if slot >= len(c.slots) || c.slots[slot] == nil {
		return false
	}
	ep := c.slots[slot]
	return ep.state() != StateMaint && (c.panics || ep.usable(now))
}

// try sends the exchange to the endpoint of a slot, at the moment now. The request is counted in flight there already, and still is after a
// failure. It returns the slot whose answer or failure it is: that of the second attempt, if there was one and it was better.
func (b *Backend) try(x *message.Exchange, f *Flight, slot int, now int64) (int, *message.Failure) {
	ep := f.choice.slots[slot]
	ep.metrics.requests.Inc(f.Shard)
	o, t := &x.Outcome, &x.Times
	o.Attempts++
	o.Endpoint = ep.address
	t.Connected, t.FirstByte = 0, 0
	f.call.Reused, f.call.Cancel = false, f.Cancel
	f.call.FirstByte = b.options.FirstByte
	f.call.Deadline, f.call.Begun = x.Deadline, now
	if b.retry.perTry > 0 && (x.Deadline == 0 || x.Deadline > now+b.retry.perTry) {
		f.call.Deadline = now + b.retry.perTry
	}
	armed := b.hedging != nil && b.arm(x, f, slot, now)
	failure := ep.transport.Load().Do(x, &f.call)
	o.Reused = f.call.Reused
	ep.countConnection(f.Shard, &f.call, failure)
	if armed {
		other := b.contest(x, f, slot, failure, now)
		if f.Cancel != nil {
			f.Cancel.Return(failure == nil || other >= 0)
		}
		if other >= 0 {
			return other, nil
		}
	}
	if failure != nil {
		return slot, failure
	}
	f.endpoint = ep
	if t.FirstByte == 0 {
		t.FirstByte = message.Now()
	}
	f.judged = b.answered(ep, f.Shard, x.Response.Status, now, t.FirstByte)
	return slot, nil
}

// countConnection counts what an attempt went over, if it had a connection.
func (ep *Endpoint) countConnection(shard metric.Shard, c *Call, failure *message.Failure) {
	if c.Reused {
		ep.metrics.reused.Inc(shard)
	} else if failure == nil || failure.Stage != message.StageConnect {
		ep.metrics.fresh.Inc(shard)
	}
}

// answered takes the head of an answer to an attempt that began at the moment begun, and reports whether its status was held against the endpoint.
func (b *Backend) answered(ep *Endpoint, shard metric.Shard, status int, begun, firstByte int64) (judged bool) {
	took := firstByte - begun
	b.metrics.duration.Observe(shard, time.Duration(took))
	if i := failingStatus(status); i >= 0 {
		b.penalise(ep, firstByte, took)
		b.failed(ep, shard, kindOfStatus(i), false, firstByte)
		return true
	}
	if b.timed {
		ep.load.Observe(firstByte, took)
	}
	if b.hedging != nil {
		b.hedging.observe(took, firstByte)
	}
	return false
}

// penalise tells an algorithm that goes by latency of a failure: it is never a fast answer, however soon it came.
func (b *Backend) penalise(ep *Endpoint, now, took int64) {
	if b.timed {
		ep.load.Penalize(now, took)
	}
}

// blame gives a failure its final reason and holds it against the endpoint, if it is the endpoint's.
func (b *Backend) blame(x *message.Exchange, f *Flight, ep *Endpoint, failure *message.Failure, now int64) *message.Failure {
	reason, expired := b.charge(ep, f.Shard, &f.call, failure, x.Deadline, x.Outcome.Attempts == 1, now)
	if reason == failure.Reason {
		return failure
	}
	f.failure = *failure
	f.failure.Reason = reason
	if expired {
		f.failure.Retry = message.RetryNever
	}
	return &f.failure
}

// charge holds the failure of an attempt against the endpoint, if it is the endpoint's. whole says that the attempt had all of the exchange's
// time. It returns the final reason, and whether the exchange's time is up.
func (b *Backend) charge(ep *Endpoint, shard metric.Shard, c *Call, failure *message.Failure, deadline int64, whole bool, now int64) (reason message.Reason, expired bool) {
	reason = failure.Reason
	if failure.Side != message.SideUpstream || idleRace(failure, c.Reused) {
		return reason, false
	}
	kind, fair := kindOf(reason), true
	waited := timedOut(reason) || reason == message.UpstreamConnectTimeout
	switch {
	case waited && deadline != 0 && now >= deadline:
		// The exchange's own time is up. The endpoint is to blame only if it had all of that time.
		reason, expired, fair = message.RouteTimeout, true, whole
	case reason == message.UpstreamTimeoutFirstByte && b.retry.perTry > 0 && now >= c.Deadline:
		reason = message.UpstreamTimeoutPerTry
		kind = kindOf(reason)
	}
	if fair {
		b.penalise(ep, now, now-c.Begun)
		b.failed(ep, shard, kind, failure.Stage == message.StageConnect, now)
		if waited && b.hedging != nil {
			b.hedging.observe(now-c.Begun, now)
		}
	}
	return reason, expired
}

// next returns the slot for another try, or -1 if there is to be none. failure is nil if an answer is to be dropped for it. After a failure the place
// at the endpoint is given back, unless the next try goes there as well.
func (b *Backend) next(x *message.Exchange, f *Flight, slot int, failure *message.Failure, now int64) int {
	v := b.retry.decide(&try{
		failure: failure, status: x.Response.Status, reused: f.call.Reused, replayed: f.replayed,
		repeats: b.retry.repeatable(x.Request.Method), left: b.retry.attempts - f.retries,
		kept: f.body.replayable(x.Request.Pumping),
	})
	if x.Deadline != 0 && x.Deadline-now < minTryTime {
		v = giveUp
	}
	// After one race the pool's other connections are under suspicion too: the endpoint was likely restarted.
	if v == replay {
		f.replayed, f.call.Fresh = true, true
		f.query.Now = now
		b.metrics.replayed.Inc(f.Shard)
		return slot
	}
	if failure != nil {
		f.choice.slots[slot].release()
	}
	if v == giveUp {
		return -1
	}
	// The request itself is in flight as well, between two tries.
	b.settle(f, false)
	f.query.Tried.Add(slot)
	// The budget keeps retries from multiplying the work of the endpoints. One of which nothing was sent makes no work twice; charging it
	// would only fail the requests that a stopped endpoint had been picked for, all at once, before anyone knew that it had stopped.
	if failure == nil || failure.Retry != message.RetryUnsent {
		if !b.budget.take(b.inFlight() + 1) {
			b.metrics.exhausted.Inc(f.Shard)
			return -1
		}
		f.charged = true
	}
	other := b.again(x, f, slot, failure == nil, now)
	if other < 0 {
		if f.charged {
			f.charged = false
			b.budget.give()
		}
		return -1
	}
	f.retrying = true
	f.retries++
	return other
}

// again waits as the backoff says and takes a place for another try, or returns -1. occupied says that the exchange still holds the place of the try
// before, with an answer that it may have to be content with.
func (b *Backend) again(x *message.Exchange, f *Flight, last int, occupied bool, now int64) int {
	if wait := b.retry.pause(f.retries, rand.Uint64(), now, x.Deadline); wait > 0 {
		f.pause(x, wait)
		now = message.Now()
	}
	if occupied && b.queue != nil {
		// To wait for one place while holding another could go round in a circle.
		f.choice, f.query.Now = b.current(), now
		slot, _ := b.queue.take(f.choice, f, last)
		return slot
	}
	slot, refused := b.reserve(f, now, x.Deadline, last)
	if refused != nil {
		return -1
	}
	return slot
}

// pause waits for d.
func (f *Flight) pause(x *message.Exchange, d time.Duration) {
	w := &f.waiter
	w.arm(d)
	x.Await(w.sleep) // nobody wakes a waiter that is in no list
}

// settle ends the retry under way, if there is one.
func (b *Backend) settle(f *Flight, saved bool) {
	if !f.retrying {
		return
	}
	f.retrying = false
	if f.charged {
		f.charged = false
		b.budget.give()
	}
	if saved {
		b.metrics.saved.Inc(f.Shard)
	} else {
		b.metrics.lost.Inc(f.Shard)
	}
}

// discard drops an answer of which nothing has reached the client.
func (f *Flight) discard(x *message.Exchange) {
	r := &x.Response
	_ = r.Body.Close()
	if r.Tunnel != nil {
		_ = r.Tunnel.Close()
	}
	r.Header.Reset()
	r.Trailer.Reset()
	r.Status, r.Body, r.Length, r.Tunnel, r.Close = 0, message.NoBody{}, 0, nil, false
	f.endpoint.release()
	f.endpoint, f.judged = nil, false
}

// end gives the client's body back when there will be no answer, and keeps the failure.
func (f *Flight) end(x *message.Exchange, failure *message.Failure) *message.Failure {
	f.release(x)
	if failure != &f.failure {
		f.failure = *failure
	}
	return &f.failure
}

// release gives the client's body back.
func (f *Flight) release(x *message.Exchange) {
	if f.body.source != nil {
		x.Request.Body = f.body.source
		f.body.close()
	}
}

// Finish ends the flight when the exchange has: after the last byte of the answer, or when it was given up. x.Outcome says how it ended, and
// the answer's body is closed. It does nothing if there was no Do.
func (f *Flight) Finish(x *message.Exchange) {
	b := f.backend
	if b == nil {
		return
	}
	f.release(x)
	if f.rival != nil {
		f.rival.finish()
	}
	if ep := f.endpoint; ep != nil {
		ep.release()
		switch {
		case f.judged:
		case x.Outcome.Side == message.SideUpstream && x.Outcome.Reason != message.RouteTimeout:
			b.failed(ep, f.Shard, kindOf(x.Outcome.Reason), false, message.Now())
		default:
			b.succeeded(ep, x.Times.FirstByte)
		}
	}
	f.backend, f.choice, f.endpoint, f.exchange = nil, nil, nil, nil
	f.judged, f.replayed, f.retries = false, false, 0
	f.query.Tried.Reset()
	f.call = Call{}
	f.failure = message.Failure{}
}
