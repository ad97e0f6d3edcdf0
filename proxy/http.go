package proxy

import (
	"bytes"
	"sync/atomic"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/route"
	"github.com/sluice-gateway/sluice/upstream"
)

// HTTP answers the exchanges of one listener. It outlives configurations: each exchange takes
// the site of its moment and keeps it to its end.
type HTTP struct {
	site   atomic.Pointer[Site]
	mixed  atomic.Bool // sites have differed in how paths are read
	shards atomic.Uint32
}

// NewHTTP returns the handler of a listener that serves site.
func NewHTTP(site *Site) *HTTP {
	h := &HTTP{}
	h.site.Store(site)
	return h
}

// Swap makes site the one that later exchanges are answered by.
func (h *HTTP) Swap(site *Site) {
	if site.Paths != h.site.Load().Paths {
		h.mixed.Store(true) // before the site: who sees the site sees this
	}
	h.site.Store(site)
}

// state is what the proxy remembers of an exchange between Serve and Finish. It stays with the
// Exchange for the next one. Exchanges are pooled, and the pool keeps them near a core, so the
// shard of a state is mostly that core's own.
type state struct {
	shard  metric.Shard
	site   *Site
	route  *Route
	flight upstream.Flight
	mirror mirroring
	served bool // between Serve and Finish
	flying bool // flight was given to a backend
	found  route.Result[*Route]
	asked  asked
	line   metric.Line

	versioned versioned

	failure message.Failure // what refuse returns
}

// asked is what the log tells of a request and stored answers are found by: as the client sent it and the route was chosen by,
// whatever policies make of it. The slices belong to the exchange.
type asked struct {
	host, port, path, query, agent []byte
	unsafe                         bool // it may change something (RFC 9110 section 9.2.1)
}

// Serve implements message.Handler.
func (h *HTTP) Serve(x *message.Exchange) {
	s, ok := x.State.(*state)
	if !ok {
		s = &state{shard: metric.Shard(h.shards.Add(1))}
		s.flight.Shard = s.shard
		x.State = s
	}
	site := h.site.Load()
	s.site, s.served = site, true
	if x.Outcome.Reason != message.ReasonNone { // refused by the codec
		site.recognise(x)
		site.identify(x)
		s.note(x)
		site.problem(x)
		return
	}
	reason := message.ReasonNone
	if h.mixed.Load() {
		// A connection keeps the codec's settings that it was accepted with, and the path may have
		// been read by those of another site: it is read again, so that the table matches what its
		// routes forward.
		reason = site.readPath(x, site.Paths, s.shard)
	}
	site.receive(x)
	if reason == message.ReasonNone && s.preflight(x) {
		s.note(x)
		return
	}
	failure := s.choose(x, reason)
	s.note(x)
	if failure != nil {
		x.Fail(failure)
		site.problem(x)
		s.tellPages(x, failure.Reason)
		s.tellVersion(x)
		return
	}
	s.run(x, 0)
}

// run lets the route's policies, but for the first from, and its action answer.
func (s *state) run(x *message.Exchange, from int) {
	r := s.route
	x.Outcome.Route = r.Name
	if r.Timeout > 0 {
		x.Deadline = x.Times.Read + int64(r.Timeout)
	}
	ran, done, failure := r.Policies.Request(x, from, s)
	if failure == nil && !done {
		failure = s.act(x)
	}
	if failure != nil {
		x.Fail(failure)
		s.site.problem(x)
	}
	s.answer(x, ran, from)
}

// act lets the route's action answer. The method that a route rewrites to is the backend's affair: the client's own is back when it returns, because the
// answer is framed by it, and log and response policies tell of it.
func (s *state) act(x *message.Exchange) *message.Failure {
	r, method := s.route, x.Request.Method
	if r.Rewrite != nil {
		if reason := r.Rewrite.apply(x); reason != message.ReasonNone {
			return s.refuse(reason)
		}
	}
	x.Times.Routed = x.Times.Read
	if r.Policies.Len() > 0 {
		x.Times.Routed = message.Now()
	}
	if x.Identity != nil {
		tellIdentity(x)
	}
	if r.Mirror != nil {
		s.mirror.begin(x, r.Mirror, s.shard)
	}
	failure := r.Action.serve(x, s)
	if r.Mirror != nil {
		s.mirror.sent(x, s.shard, false)
	}
	if r.Rewrite != nil {
		r.Rewrite.undo(x, method)
	}
	return failure
}

// note keeps what the log tells of the request, and what stored answers are found by.
func (s *state) note(x *message.Exchange) {
	if s.site.Log == nil && s.site.Caches == nil {
		return
	}
	if s.site.Log != nil {
		s.site.Log.due.Inc(s.shard)
	}
	r := &x.Request
	s.asked = asked{
		host: r.Host, port: r.Port, path: r.Path, query: r.Query, agent: r.Header.Get(message.UserAgent), unsafe: !r.Method.Safe() && r.Method.Known != message.CONNECT,
	}
	if len(r.Path) == 0 {
		s.asked.path = r.RawPath // it was refused: what the client sent is all there is
	}
}

// answer runs the response policies of the first ran policies, without the first from, and adds what every response has.
func (s *state) answer(x *message.Exchange, ran, from int) {
	for {
		left, failure := s.route.Policies.Response(x, ran, from)
		if failure == nil {
			break
		}
		drop(&x.Response)
		x.Fail(failure)
		s.site.problem(x)
		ran = left
	}
	x.Response.Header.Set(requestID, x.ID)
	if from == 0 {
		s.tellVersion(x)
	}
	// A redirect by which a policy turns a caller away has changed nothing: anybody could empty caches by being turned away.
	if a := &s.asked; a.unsafe && s.site.Caches != nil && x.Response.Status < 400 && x.Outcome.Reason == message.ReasonNone {
		s.site.Caches.Invalidate(x, a.host, a.port, a.path, a.query)
	}
}

// drop gives back what a response borrows that will not be sent. An error of it is that of a
// connection that nobody uses any more.
func drop(r *message.Response) {
	_ = r.Body.Close()
	if r.Tunnel != nil {
		_ = r.Tunnel.Close()
		r.Tunnel = nil
	}
}

// Finish implements message.Handler.
func (h *HTTP) Finish(x *message.Exchange) {
	s, ok := x.State.(*state)
	if !ok || !s.served {
		return
	}
	s.served = false
	s.end(x)
	s.count(x)
	if s.site.Log != nil {
		s.log(x)
	}
	s.site, s.route = nil, nil
	s.found, s.asked, s.versioned = route.Result[*Route]{}, asked{}, versioned{}
}

// end ends what the exchange has under way.
func (s *state) end(x *message.Exchange) {
	if s.flying {
		s.flight.Finish(x)
		s.flying = false
		s.mirror.sent(x, s.shard, true)
	}
}

// choose finds the route and applies what it says of paths, upgrades and trailers. reason is what
// the site has against the path.
func (s *state) choose(x *message.Exchange, reason message.Reason) *message.Failure {
	s.route = s.site.none
	if reason != message.ReasonNone {
		return s.refuse(reason)
	}
	if s.versioned.api != nil {
		s.leaveVersion(x)
	}
	s.site.Table.Lookup(x, &s.found)
	if reason = s.found.Reason; reason == message.PathAmbiguous {
		reason = s.site.lenient(x, reason, s.shard)
	}
	if reason != message.ReasonNone {
		if reason == message.MethodNotAllowed {
			x.Response.Header.Set(allow, s.found.Allow)
		}
		if s.found.API != nil {
			return s.refuseVersion(reason)
		}
		return s.refuse(reason)
	}
	r := s.found.Payload
	if r.Paths != s.site.Paths {
		if reason := s.rereadPath(x, r); reason != message.ReasonNone {
			return s.refuse(reason)
		}
	}
	s.route = r
	if x.Request.Upgrade != nil && !r.permitsUpgrade(x.Request.Upgrade) {
		x.Request.Upgrade = nil
	}
	x.Request.Trailers = r.Trailers
	return s.enterVersion(x)
}

// rereadPath reads the path as the route r, which was chosen, wants it read.
func (s *state) rereadPath(x *message.Exchange, r *Route) message.Reason {
	matched := x.Request.Path
	if reason := s.site.readPath(x, r.Paths, s.shard); reason != message.ReasonNone {
		return reason
	}
	if r.Paths.Slashes != message.SlashesMerge || s.site.Paths.Slashes == message.SlashesMerge || bytes.Equal(matched, x.Request.Path) {
		return message.ReasonNone
	}
	// The path was matched with slashes that are now gone. What is forwarded must not be the path
	// of another route, or that of another version.
	version := s.found.Version
	if s.site.Table.Lookup(x, &s.found); s.found.Payload != r || s.found.Version != version {
		return message.PathAmbiguous
	}
	return message.ReasonNone
}

// refuse returns the failure of a request that the proxy itself does not take. It is valid until
// the exchange has ended.
func (s *state) refuse(reason message.Reason) *message.Failure {
	s.failure = message.Failure{Reason: reason, Side: message.SideClient, Stage: message.StageRoute}
	return &s.failure
}

// Names that the proxy sets; read-only.
var (
	requestID      = message.XRequestId.Name()
	allow          = message.Allow.Name()
	retryAfter     = message.RetryAfter.Name()
	sluiceReason   = message.SluiceReason.Name()
	contentType    = message.ContentType.Name()
	location       = message.Location.Name()
	forwarded      = message.Forwarded.Name()
	forwardedFor   = message.XForwardedFor.Name()
	forwardedHost  = message.XForwardedHost.Name()
	forwardedProto = message.XForwardedProto.Name()
	consumerField  = message.XConsumer.Name()
	planField      = message.XConsumerPlan.Name()
)
