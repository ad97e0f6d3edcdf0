package cache

import (
	"github.com/sluice-gateway/sluice/message"
)

// Action is what Lookup wants done with a request.
type Action uint8

// The actions.
const (
	// Pass goes on without the store. The response is given to Use.Passed.
	Pass Action = iota
	// Hit has filled the response.
	Hit
	// Refresh has filled the response with a stale answer. Use.Flight is started in the background.
	Refresh
	// Lead wants Use.Flight started, and then Use.Wait.
	Lead
	// Follow wants Use.Wait.
	Follow
	// Refuse answers with the failure NotCached: the client takes nothing but a stored answer, and there is none.
	Refuse
)

// why is the reason for which a request goes forward (RFC 9211 section 2.2).
type why uint8

const (
	whyMiss why = iota
	whyVary
	whyStale
	whyRequest
	whyMethod
)

// whyNames is read-only.
var whyNames = [...]string{"uri-miss", "vary-miss", "stale", "request", "method"}

// Use is one request's way through the store. It belongs to the thread of control of the exchange and is valid as long as that; the zero value is ready,
// and [Store.Lookup] empties it but for the number of its attempts.
type Use struct {
	store  *Store
	rules  *Rules
	flight *Flight
	reader *reader
	entry  *Entry // of a HEAD that goes forward: what it may tell of
	asks   requested
	hash   uint64
	why    why
	tries  uint8
	result Event
}

// Reset lets go of what the request used.
func (u *Use) Reset() { *u = Use{} }

// Result is what became of the request so far, in the words of Events: Hits, StaleHits, Misses, Collapsed, Passes or Refused after [Store.Lookup], and
// after [Use.Wait] also Validated, Rescued or Alone.
func (u *Use) Result() Event { return u.result }

// count counts an event, and makes it the result.
func (u *Use) count(e Event) {
	u.result = e
	u.rules.Namespace.count(e, u.hash)
}

// maxTries is how often a request joins a flight of others before it goes for its own.
const maxTries = 3

// Lookup decides what becomes of a request, and fills the response of a hit. extra is the further part of the key, made with BeginValue; it may be
// nil. now is a moment of message.Now.
//
// The response needs to be empty. Lookup uses memory of the exchange (Keep), and does not allocate for hits whose bodies are of one chunk.
func (s *Store) Lookup(u *Use, x *message.Exchange, r *Rules, extra []byte, now int64) Action {
	*u = Use{store: s, rules: r, asks: noRequest(), tries: u.tries + 1}
	q := &x.Request
	if !r.IgnoreClient && q.Header.Has(message.CacheControl) {
		u.asks = requestControl(&q.Header)
	}
	switch {
	case q.Method.Known != message.GET && q.Method.Known != message.HEAD:
		return u.pass(whyMethod)
	case u.asks.noStore, q.Upgrade != nil, q.Length != 0, q.Header.Has(message.IfMatch), q.Header.Has(message.IfUnmodifiedSince):
		// RFC 9111 section 4.3.2: the last two are about the origin's state, and not for a cache to evaluate. A body could change the answer.
		return u.pass(whyRequest)
	}
	key, uri := appendKey(x.Scratch(), q, r.Namespace, x.Version, extra)
	key = x.KeepScratch(key)
	sh, hash := s.shardOf(key[keyHead : keyHead+uri])
	u.hash = hash
	sh.mu.RLock()
	res := sh.resources[string(key)]
	var e *Entry
	u.why = whyMiss
	if res != nil {
		if e = res.find(&q.Header, now, x.Scratch()); e == nil && len(res.entries) > 0 {
			u.why = whyVary
		}
	}
	sh.mu.RUnlock()
	if e != nil && !e.isMark() {
		how := u.usable(e, now)
		if how == useFresh {
			e.touch()
			return u.hit(x, e, now)
		}
		return s.stale(u, x, e, how, now)
	}
	switch {
	case u.asks.onlyIfCached:
		u.count(Refused)
		return Refuse
	case e != nil, q.Method.Known == message.HEAD, q.Header.Has(message.Range):
		// A mark says that waiting would be for nothing. The answer to a HEAD has no body to keep, and that to a Range only a part.
		return u.pass(u.why)
	}
	return s.lead(u, x, sh, key, uri, nil, now)
}

// use is what a stored answer is good for.
type use uint8

const (
	useFresh    use = iota // it is the answer
	useStale               // it is the answer though it is stale
	useRefresh             // the same, and a new one is fetched
	useValidate            // the origin has to be asked
)

// usable tells what e is good for (RFC 9111 sections 4.2.4 and 5.2.1), and sets why the request goes forward if it does.
func (u *Use) usable(e *Entry, now int64) use {
	t, q := &e.terms, &u.asks
	u.why = whyStale
	late := now - t.fresh // negative while it is fresh
	if t.validate {
		return useValidate
	}
	switch {
	case q.noCache, q.maxAge >= 0 && t.age(now) > q.maxAge*second && (late < 0 || q.maxStale < 0):
		u.why = whyRequest
		return useValidate
	case late < 0:
		if q.minFresh >= 0 && -late < q.minFresh*second {
			u.why = whyRequest
			return useValidate
		}
		return useFresh
	case q.minFresh >= 0:
		return useValidate
	case !t.bound && q.maxStale >= 0 && late <= q.maxStale*second:
		return useStale
	case now < t.swr:
		return useRefresh
	}
	return useValidate
}

// pass lets the request go forward.
func (u *Use) pass(w why) Action {
	u.why = w
	u.count(Passes)
	return Pass
}

// hit answers with a stored answer.
func (u *Use) hit(x *message.Exchange, e *Entry, now int64) Action {
	event := Hits
	if now >= e.terms.fresh {
		event = StaleHits
	}
	u.count(event)
	u.serve(x, e, now)
	u.sayHit(x, &e.terms, now)
	return Hit
}

// serve fills the response from e as the conditions and ranges of the request have it.
func (u *Use) serve(x *message.Exchange, e *Entry, now int64) {
	e.give(x, now)
	q := &x.Request.Header
	if e.status < 300 && conditional(q) && unmodified(q, &e.header, message.WallTime(now).Unix()) {
		notModified(x)
		return
	}
	if e.status == 200 && q.Has(message.Range) && x.Request.Method.Known == message.GET {
		giveRanges(x, e, now)
	}
}

// stale decides about a request for which there is an answer that is not fresh, or not fresh enough.
func (s *Store) stale(u *Use, x *message.Exchange, e *Entry, how use, now int64) Action {
	if how == useStale {
		e.touch()
		return u.hit(x, e, now)
	}
	if how == useRefresh {
		e.touch()
		w := u.why
		act := Hit
		if s.renew(u, x, e, now) {
			act = Refresh
		}
		u.why = w
		u.hit(x, e, now)
		return act
	}
	switch {
	case u.asks.onlyIfCached:
		u.count(Refused)
		return Refuse
	case x.Request.Method.Known == message.HEAD:
		u.entry = e
		return u.pass(u.why)
	}
	res := e.res
	return s.lead(u, x, res.shard, []byte(res.key), len(res.uri), e, now)
}

// renew makes a flight that renews e, unless one is on its way.
func (s *Store) renew(u *Use, x *message.Exchange, e *Entry, now int64) bool {
	sh := e.res.shard
	f := s.newFlight(u, x, e, now)
	f.held = true
	sh.mu.Lock()
	defer sh.mu.Unlock()
	res := e.res
	if !res.linked {
		return false // dropped meanwhile: the next request fetches it anew
	}
	for _, o := range res.flights {
		if o.joinable && o.spec.same(e.spec) && o.values == e.values {
			return false
		}
	}
	f.list(res, e.spec, e.values, true)
	u.flight = f
	return true
}

// lead joins the flight that brings what the request wants, or makes one. e is the stored answer that it validates, or nil.
func (s *Store) lead(u *Use, x *message.Exchange, sh *shard, key []byte, uri int, e *Entry, now int64) Action {
	alone := u.tries > maxTries || u.asks.particular() || e != nil && (e.terms.validate || e.terms.stillborn)
	var made *Flight
	if alone {
		made = s.newFlight(u, x, e, now)
	}
	room := x.Scratch()
	sh.mu.Lock()
	res := sh.resourceAt(key, uri, u.rules.Namespace)
	if !alone {
		if u.join(x, res, room, now) {
			sh.mu.Unlock()
			return Follow
		}
		made = s.newFlight(u, x, e, now)
	}
	var values string
	if res.spec != nil {
		values = string(res.spec.appendValues(room[:0], &x.Request.Header, nil))
	}
	u.reader = made.enter(x)
	u.reader.leads = true
	made.list(res, res.spec, values, !alone)
	sh.mu.Unlock()
	u.flight = made
	u.count(Misses)
	return Lead
}

// join joins a flight of the resource, the newest that fits. The caller holds the shard's lock.
func (u *Use) join(x *message.Exchange, res *resource, room []byte, now int64) bool {
	for i := len(res.flights) - 1; i >= 0; i-- {
		f := res.flights[i]
		if !f.joinable {
			continue
		}
		if f.spec != nil && f.values != string(f.spec.appendValues(room[:0], &x.Request.Header, nil)) {
			continue
		}
		if r := f.join(x); r != nil {
			u.flight, u.reader = f, r
			u.count(Collapsed)
			return true
		}
	}
	return false
}

// newFlight makes a flight for the request of x.
func (s *Store) newFlight(u *Use, x *message.Exchange, e *Entry, now int64) *Flight {
	f := &Flight{
		store: s, rules: u.rules, hash: u.hash, began: now, stale: e, length: message.LengthUnknown,
		authorised: u.rules.BehindIdentity || x.Request.Header.Has(message.Authorization),
	}
	f.request.CopyFrom(&x.Request.Header)
	return f
}

// list enters the flight in the index. The caller holds the shard's lock.
func (f *Flight) list(res *resource, spec *vary, values string, joinable bool) {
	f.res, f.spec, f.values, f.joinable, f.listed = res, spec, values, joinable, true
	res.flights = append(res.flights, f)
}

// Flight returns what is to be started after Lead and Refresh.
func (u *Use) Flight() *Flight { return u.flight }

// Leave ends the wait of a request that did not come to Wait: after Lead and Follow, one of the two is called.
func (u *Use) Leave() {
	if u.reader != nil {
		u.reader.leave()
		u.reader = nil
	}
}
