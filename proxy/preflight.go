package proxy

import (
	"github.com/sluice-gateway/sluice/message"
)

// preflight answers a preflight request (Fetch, section CORS-preflight fetch) if the route that the request to come would have answers such, and
// reports whether it did. A route that takes OPTIONS itself and has no such policy gets the request like any other.
func (s *state) preflight(x *message.Exchange) bool {
	r := &x.Request
	if !s.site.Preflights || r.Method.Known != message.OPTIONS || !r.Header.Has(message.Origin) {
		return false
	}
	method := r.Header.Get(message.AccessControlRequestMethod)
	if method == nil || !message.ValidToken(method) {
		return false
	}
	options, path, slash, upgrade := r.Method, r.Path, r.HasSlash, r.Upgrade
	r.Method = message.MethodOf(method)
	failure := s.choose(x, message.ReasonNone)
	r.Method = options
	route := s.route
	if failure != nil { // a browser asks without the field that would name the version
		route = s.versionRoute(failure.Reason)
	}
	if route == nil || route.Policies.Preflight() == nil {
		// The route of the request itself is looked for as if nothing had happened.
		s.leaveVersion(x)
		r.Path, r.HasSlash, r.Upgrade = path, slash, upgrade
		x.Response.Header.Remove(allow)
		x.Outcome.Route = ""
		return false
	}
	s.route = route
	x.Outcome.Route = route.Name
	route.Policies.Preflight().Preflight(x)
	x.Response.Header.Set(requestID, x.ID)
	return true
}

// tellPages lets the policy that answers preflights say who may read the problem of a request whose version is why no route takes it. Its preflight was
// answered by the same route.
func (s *state) tellPages(x *message.Exchange, reason message.Reason) {
	if r := s.versionRoute(reason); r != nil && r.Policies.Preflight() != nil {
		if _, failure := r.Policies.Response(x, 1, 0); failure != nil { // it stands first
			s.site.problem(x)
		}
	}
}
