package cache

import (
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// Verdict is how a wait has ended.
type Verdict uint8

// The verdicts.
const (
	// Served: the response is filled; its body may still grow.
	Served Verdict = iota
	// Again: what came is for other requests. Lookup is asked once more.
	Again
	// GoAlone: what came is for one request only. The request goes on without the store; its response is given to Use.Passed.
	GoAlone
	// Failed: there is no answer; Wait returns the failure.
	Failed
)

// The failures of requests that wait. Read-only.
var (
	waitTimeout = message.Failure{Reason: message.RouteTimeout, Side: message.SideUpstream, Stage: message.StageWait, Err: errDeadline}
	waitLeft    = message.Failure{Reason: message.ClientClosed, Side: message.SideClient, Stage: message.StageWait}
	// NotStored is the failure of requests that take nothing but a stored answer (RFC 9111 section 5.2.1.7), for Refuse.
	NotStored = message.Failure{Reason: message.NotCached, Side: message.SideClient, Stage: message.StageRoute}
)

// markTime is for how long requests do not wait for each other after an answer that was for one of them only.
const markTime = 2 * second

// Wait waits until the answer of the flight has a head, and fills the response from it. It ends at the exchange's deadline, too, and when the client
// has left, where the codec that reads it can tell. The body of the response has to be closed, as always.
func (u *Use) Wait(x *message.Exchange) (Verdict, *message.Failure) {
	f, r := u.flight, u.reader
	f.mu.Lock()
	for f.state == flying && !f.ended {
		w := f.waker()
		f.mu.Unlock()
		failure := &waitLeft
		x.Await(func() { failure = attend(w, x) })
		if failure != nil {
			u.Leave()
			return Failed, failure
		}
		f.mu.Lock()
	}
	state, failure, t, stored := f.state, f.failure, f.terms, f.keeps
	f.mu.Unlock()
	now := u.store.clock()
	switch state {
	case growing:
		return u.fromGrowing(x, &t, stored, now), nil
	case landed:
		return u.fromEntry(x, now), nil
	}
	u.Leave()
	if failure == nil {
		return Failed, &waitLeft // abandoned: that cannot come about while somebody waits
	}
	if !r.leads && failure.Side == message.SideClient {
		return u.alone(), nil
	}
	return Failed, failure
}

// lookEvery is how often a client that waits is looked at. Looking costs a system call; whatever works for a client that has left is to end within
// 100 ms.
const lookEvery = 25 * time.Millisecond

// attend waits until w is closed, and returns nil, or why the exchange waits no longer.
func attend(w <-chan struct{}, x *message.Exchange) *message.Failure {
	client, looks := x.Interim.(interface{ Gone() bool })
	if !looks {
		if await(w, x.Deadline) {
			return nil
		}
		return &waitTimeout
	}
	for {
		look := message.Now() + int64(lookEvery)
		last := x.Deadline != 0 && x.Deadline <= look
		if last {
			look = x.Deadline
		}
		switch {
		case await(w, look):
			return nil
		case last:
			return &waitTimeout
		case client.Gone():
			return &waitLeft
		}
	}
}

// alone sends the request on without the store.
func (u *Use) alone() Verdict {
	u.Leave()
	u.count(Alone)
	return GoAlone
}

// fromEntry answers with what the flight has landed.
func (u *Use) fromEntry(x *message.Exchange, now int64) Verdict {
	f, leads := u.flight, u.reader.leads
	e, rescued := f.entry, f.fwd != 304
	if !leads && !rescued && (!e.terms.kept || !e.terms.isFresh(now)) {
		return u.alone()
	}
	u.Leave()
	u.serve(x, e, now)
	s := said{status: f.fwd, collapsed: !leads}
	switch {
	case rescued:
		u.result = Rescued
	case leads:
		u.result = Validated
	}
	if rescued {
		s.stale, s.now = &e.terms, now
	}
	if leads {
		addFields(x, &f.own)
	}
	u.sayForward(x, u.why, s)
	return Served
}

// fromGrowing answers with what is coming in. t are its terms, stored tells whether it will be.
func (u *Use) fromGrowing(x *message.Exchange, t *terms, stored bool, now int64) Verdict {
	f, r := u.flight, u.reader
	if !r.leads {
		switch {
		case !t.kept:
			f.mark(now)
			return u.alone()
		case !t.isFresh(now):
			return u.alone()
		case !f.fits(x):
			u.Leave()
			return Again
		}
	}
	p, q := &x.Response, &x.Request.Header
	p.Header.CopyFrom(&f.header)
	p.Status, p.Length, p.Body = f.status, f.length, r
	if r.leads {
		addFields(x, &f.own)
	}
	if t.kept && (f.upAge || !r.leads) {
		addAge(x, t, now)
	}
	if f.status/100 == 2 && conditional(q) && unmodified(q, &f.header, message.WallTime(now).Unix()) {
		f.hold() // the client has what is coming, and the next one may not
		notModified(x)
	}
	u.sayForward(x, u.why, said{stored: stored, collapsed: !r.leads})
	return Served
}

// fits reports whether the answer of the flight is one for the request of x.
func (f *Flight) fits(x *message.Exchange) bool {
	spec, _ := varyOf(&f.header)
	if spec == nil {
		return true
	}
	mine := spec.appendValues(nil, &f.request, nil)
	return string(spec.appendValues(nil, &x.Request.Header, nil)) == string(mine)
}

// mark notes that answers of the resource are of no use to others, so that requests of the next moments do not wait for each other for nothing.
func (f *Flight) mark(now int64) {
	res := f.res
	sh := res.shard
	sh.mu.RLock()
	known := false
	for _, e := range res.entries {
		known = known || e.isMark() && now < e.terms.fresh
	}
	sh.mu.RUnlock()
	if known {
		return
	}
	e := &Entry{res: res, hash: f.hash, stamped: now, terms: terms{fresh: now + markTime}}
	e.weigh(len(res.key))
	f.store.keep(e, 0, nil)
}

// addFields adds the fields of h to the response.
func addFields(x *message.Exchange, h *message.Header) {
	for i := range h.Len() {
		f := h.At(i)
		x.Response.Header.Add(nameOf(f), f.Value)
	}
}

// Passed completes the response of a request that went on without the store. A HEAD brings what is stored of its GET up to date, or ends it (RFC 9111
// section 4.3.5). Unsafe requests invalidate by Store.Invalidate, whether or not their route has a cache.
func (u *Use) Passed(x *message.Exchange, now int64) {
	p := &x.Response
	if e := u.entry; e != nil {
		u.entry = nil
		u.fromHead(e, p, x, now)
	}
	u.sayForward(x, u.why, said{})
}

// fromHead takes what the answer to a HEAD says of a stored answer to a GET.
func (u *Use) fromHead(e *Entry, p *message.Response, x *message.Exchange, now int64) {
	switch {
	case p.Status >= 500:
		return
	case p.Status != e.status || !sameField(&p.Header, &e.header, message.ETag) || !sameField(&p.Header, &e.header, message.LastModified),
		p.Length > 0 && p.Length != e.length:
		u.store.drop(e)
		return
	}
	known := u.rules.BehindIdentity || x.Request.Header.Has(message.Authorization)
	fresh := renewed(e, &p.Header, u.rules, fetched{began: now, now: now, authorised: known})
	if !fresh.terms.kept {
		u.store.drop(e)
		return
	}
	u.store.replace(e, fresh)
}

// sameField reports whether two headers say the same in a field, or nothing.
func sameField(a, b *message.Header, id message.ID) bool {
	x, y := a.Get(id), b.Get(id)
	return (x == nil) == (y == nil) && string(x) == string(y)
}
