package proxy

import (
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
	shards atomic.Uint32
}

// NewHTTP returns the handler of a listener that serves site.
func NewHTTP(site *Site) *HTTP {
	h := &HTTP{}
	h.site.Store(site)
	return h
}

// Swap makes site the one that later exchanges are answered by.
func (h *HTTP) Swap(site *Site) { h.site.Store(site) }

// state is what the proxy remembers of an exchange between Serve and Finish. It stays with the
// Exchange for the next one. Exchanges are pooled, and the pool keeps them near a core, so the
// shard of a state is mostly that core's own.
type state struct {
	shard  metric.Shard
	site   *Site
	route  *Route
	flight upstream.Flight
	served bool // between Serve and Finish
	flying bool // flight was given to a backend
	found  route.Result[*Route]
	line   metric.Line
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
	if x.Outcome.Reason != message.ReasonNone {
		site.identify(x) // refused by the codec; the answer still has an id
		site.problem(x)
		return
	}
	site.receive(x)
	if failure := s.choose(x); failure != nil {
		x.Fail(failure)
		site.problem(x)
		return
	}
	r := s.route
	x.Outcome.Route = r.Name
	if r.Timeout > 0 {
		x.Deadline = x.Times.Read + int64(r.Timeout)
	}
	ran, done, failure := r.Policies.Request(x)
	if failure == nil && !done {
		x.Times.Routed = x.Times.Read
		if r.Policies.Len() > 0 {
			x.Times.Routed = message.Now()
		}
		failure = r.Action.serve(x, s)
	}
	if failure != nil {
		x.Fail(failure)
		site.problem(x)
	}
	s.answer(x, ran)
}

// answer runs the response policies of the first ran policies and adds what every response has.
func (s *state) answer(x *message.Exchange, ran int) {
	for {
		left, failure := s.route.Policies.Response(x, ran)
		if failure == nil {
			break
		}
		_ = x.Response.Body.Close()
		x.Fail(failure)
		s.site.problem(x)
		ran = left
	}
	x.Response.Header.Set(requestID, x.ID)
}

// Finish implements message.Handler.
func (h *HTTP) Finish(x *message.Exchange) {
	s, ok := x.State.(*state)
	if !ok || !s.served {
		return
	}
	s.served = false
	if s.flying {
		s.flight.Finish(x)
		s.flying = false
	}
	s.count(x)
	if s.site.Log != nil {
		s.log(x)
	}
	s.site, s.route = nil, nil
	s.found = route.Result[*Route]{}
}

// choose finds the route and applies what it says of paths, upgrades and trailers.
func (s *state) choose(x *message.Exchange) *message.Failure {
	s.route = s.site.none
	s.site.Table.Lookup(x, &s.found)
	if reason := s.found.Reason; reason != message.ReasonNone {
		if reason == message.MethodNotAllowed {
			x.Response.Header.Set(allow, s.found.Allow)
		}
		return refused(reason)
	}
	s.route = s.found.Payload
	r := s.route
	if !r.PlainPaths {
		if reason := r.checkPath(x); reason != message.ReasonNone {
			return refused(reason)
		}
	}
	if x.Request.Upgrade != nil && !r.permitsUpgrade(x.Request.Upgrade) {
		x.Request.Upgrade = nil
	}
	x.Request.Trailers = r.Trailers
	return nil
}

func refused(reason message.Reason) *message.Failure {
	return &message.Failure{Reason: reason, Side: message.SideClient, Stage: message.StageRoute}
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
)
