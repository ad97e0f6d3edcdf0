package upstream

import (
	"math/rand/v2"
	"time"

	"github.com/sluice-gateway/sluice/balance"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// Flight is what a backend remembers of one exchange. Whoever drives exchanges keeps one in the state of each and uses it again: the zero
// value is ready, and so it is after Finish. It belongs to the exchange's thread of control.
type Flight struct {
	// Shard is where the exchange counts; it stays from exchange to exchange.
	Shard metric.Shard

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
	f.backend = b
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
	slot, refused := b.reserve(x, f, now, -1)
	if refused != nil {
		return f.end(x, refused)
	}
	for {
		ep := f.choice.slots[slot]
		failure := b.try(x, f, ep, now)
		if failure == nil && !b.retry.onStatus(x.Response.Status) {
			return b.accept(x, f, slot, true)
		}
		now = message.Now()
		if failure != nil {
			failure = b.blame(x, f, ep, failure, now)
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
	if b.session != nil {
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
	if b.options.Key != nil {
		if key, ok := b.options.Key.Append(x.Scratch(), x); ok {
			f.query.Hash, f.query.Keyed = balance.Hash(key), true
		}
	}
}

// reserve picks an endpoint and counts the request in flight there. last is the slot of the try before, or -1. A failure says that there is
// none.
func (b *Backend) reserve(_ *message.Exchange, f *Flight, now int64, last int) (int, *message.Failure) {
	c := b.current()
	f.choice = c
	f.query.Now = now
	slot := b.pick(c, f, last)
	if slot < 0 {
		return -1, &noEndpoint
	}
	c.slots[slot].load.Begin()
	return slot, nil
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

// keeps reports whether the endpoint of a slot still serves the clients whose session is there: one that is drained does.
func (c *choice) keeps(slot int, now int64) bool {
	if slot >= len(c.slots) || c.slots[slot] == nil {
		return false
	}
	ep := c.slots[slot]
	return ep.usable(now) && ep.state() != StateMaint
}

// try sends the exchange to one endpoint, at the moment now. The request is counted in flight there already; after a failure it no longer is.
func (b *Backend) try(x *message.Exchange, f *Flight, ep *Endpoint, now int64) *message.Failure {
	ep.metrics.requests.Inc(f.Shard)
	o, t := &x.Outcome, &x.Times
	o.Attempts++
	o.Endpoint = ep.address
	t.Connected, t.FirstByte = 0, 0
	f.call.Reused = false
	f.call.FirstByte = b.options.FirstByte
	f.call.Deadline, f.call.Begun = x.Deadline, now
	if b.retry.perTry > 0 && (x.Deadline == 0 || x.Deadline > now+b.retry.perTry) {
		f.call.Deadline = now + b.retry.perTry
	}
	failure := ep.transport.Load().Do(x, &f.call)
	o.Reused = f.call.Reused
	if f.call.Reused {
		ep.metrics.reused.Inc(f.Shard)
	} else if failure == nil || failure.Stage != message.StageConnect {
		ep.metrics.fresh.Inc(f.Shard)
	}
	if failure != nil {
		ep.load.End()
		return failure
	}
	f.endpoint = ep
	if t.FirstByte == 0 {
		t.FirstByte = message.Now()
	}
	took := t.FirstByte - now
	b.metrics.duration.Observe(f.Shard, time.Duration(took))
	if i := failingStatus(x.Response.Status); i >= 0 {
		f.judged = true
		b.penalise(ep, t.FirstByte, took)
		b.failed(ep, f.Shard, kindOfStatus(i), false, t.FirstByte)
	} else if b.timed {
		ep.load.Observe(t.FirstByte, took)
	}
	return nil
}

// penalise tells an algorithm that goes by latency of a failure: it is never a fast answer, however soon it came.
func (b *Backend) penalise(ep *Endpoint, now, took int64) {
	if b.timed {
		ep.load.Penalize(now, took)
	}
}

// blame gives a failure its final reason and holds it against the endpoint, if it is the endpoint's.
func (b *Backend) blame(x *message.Exchange, f *Flight, ep *Endpoint, failure *message.Failure, now int64) *message.Failure {
	if failure.Side != message.SideUpstream || idleRace(failure, f.call.Reused) {
		return failure
	}
	kind, fair := kindOf(failure.Reason), true
	waited := timedOut(failure.Reason) || failure.Reason == message.UpstreamConnectTimeout
	switch {
	case waited && x.Deadline != 0 && now >= x.Deadline:
		// The exchange's own time is up. The endpoint is to blame only if it had all of that time.
		fair = x.Outcome.Attempts == 1
		f.failure = *failure
		f.failure.Reason, f.failure.Retry = message.RouteTimeout, message.RetryNever
		failure = &f.failure
	case failure.Reason == message.UpstreamTimeoutFirstByte && b.retry.perTry > 0 && now >= f.call.Deadline:
		f.failure = *failure
		f.failure.Reason = message.UpstreamTimeoutPerTry
		failure, kind = &f.failure, kindOf(message.UpstreamTimeoutPerTry)
	}
	if fair {
		b.penalise(ep, now, now-f.call.Begun)
		b.failed(ep, f.Shard, kind, failure.Stage == message.StageConnect, now)
	}
	return failure
}

// next returns the slot for another try, or -1 if there is to be none. failure is nil if an answer is to be dropped for it.
func (b *Backend) next(x *message.Exchange, f *Flight, slot int, failure *message.Failure, now int64) int {
	v := b.retry.decide(&try{
		failure: failure, status: x.Response.Status, reused: f.call.Reused, replayed: f.replayed,
		repeats: b.retry.repeatable(x.Request.Method), left: b.retry.attempts - f.retries,
		kept: f.body.replayable(x.Request.Pumping),
	})
	if v == giveUp || x.Deadline != 0 && x.Deadline-now < minTryTime {
		return -1
	}
	// After one race the pool's other connections are under suspicion too: the endpoint was likely restarted.
	if v == replay {
		f.replayed, f.call.Fresh = true, true
		b.metrics.replayed.Inc(f.Shard)
		f.choice.slots[slot].load.Begin()
		return slot
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
	other, refused := b.reserve(x, f, now, slot)
	if refused != nil {
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
	f.endpoint.load.End()
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
	if ep := f.endpoint; ep != nil {
		ep.load.End()
		switch {
		case f.judged:
		case x.Outcome.Side == message.SideUpstream && x.Outcome.Reason != message.RouteTimeout:
			b.failed(ep, f.Shard, kindOf(x.Outcome.Reason), false, message.Now())
		default:
			ep.succeeded()
		}
	}
	f.backend, f.choice, f.endpoint = nil, nil, nil
	f.judged, f.replayed, f.retries = false, false, 0
	f.query.Tried.Reset()
	f.call = Call{}
	f.failure = message.Failure{}
}
