package proxy

import (
	"net/netip"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/policy"
	"github.com/sluice-gateway/sluice/route"
	"github.com/sluice-gateway/sluice/upstream"
)

// Site is one generation of what a listener serves. It is immutable once it is given to HTTP.
type Site struct {
	Listener       string
	Table          *route.Table[*Route]
	TrustedProxies []netip.Prefix
	RFC7239        bool   // backends get Forwarded besides X-Forwarded-*
	ProblemType    string // member type of problems; {reason} is replaced
	Log            *metric.LogWriter
	Metrics        SiteMetrics

	none *Route // stands for requests that no route was found for
}

// SiteMetrics are the handles of a listener.
type SiteMetrics struct {
	Received *metric.Counter // bytes of request bodies
	Sent     *metric.Counter // bytes of response bodies
}

// Seal completes a site. scope keeps its metrics.
func (s *Site) Seal(scope *metric.Scope) {
	s.Metrics.Received = scope.Counter(metric.BytesReceived, s.Listener)
	s.Metrics.Sent = scope.Counter(metric.BytesSent, s.Listener)
	s.none = &Route{Metrics: NewRouteMetrics(scope, s.Listener, "")}
}

// Route is one compiled route on one listener.
type Route struct {
	Name     string
	Timeout  time.Duration // of the whole exchange; 0 for none
	Policies *policy.Chain
	Action   Action
	Upgrade  []string       // protocols that the route permits, lower case
	Trailers []message.Name // request trailers that the route forwards
	Metrics  RouteMetrics

	// PlainPaths says that the path needs no second look: the route reads paths as its listener does.
	PlainPaths bool
	Paths      message.PathRules
}

// RouteMetrics are the handles of a route on a listener.
type RouteMetrics struct {
	Requests *metric.StatusCounters
	Duration *metric.Histogram
	Failures *metric.CounterSet
}

// NewRouteMetrics resolves the handles of a route.
func NewRouteMetrics(scope *metric.Scope, listener, name string) RouteMetrics {
	return RouteMetrics{
		Requests: scope.StatusCounters(metric.Requests, listener, name),
		Duration: scope.Histogram(metric.RequestDuration, name),
		Failures: scope.CounterSet(metric.Failures, reasonWords, name),
	}
}

// reasonWords is read-only: the words of all reasons, by number.
var reasonWords = func() []string {
	words := []string{"none"}
	for r := range message.Reasons {
		words = append(words, r.String())
	}
	return words
}()

// ReasonWords returns the words of all reasons, by number. The slice is shared.
func ReasonWords() []string { return reasonWords }

// permitsUpgrade reports whether the route lets clients change to a protocol.
func (r *Route) permitsUpgrade(protocol []byte) bool {
	for _, p := range r.Upgrade {
		if message.EqualFold(protocol, p) {
			return true
		}
	}
	return false
}

// checkPath applies the route's own reading of paths. The listener has read the path in the
// mildest way that any of its routes asks for.
func (r *Route) checkPath(x *message.Exchange) message.Reason {
	if len(x.Request.RawPath) == 0 || x.Request.RawPath[0] != '/' {
		return message.ReasonNone
	}
	path, _, reason := message.AppendPath(x.Scratch(), x.Request.RawPath, r.Paths)
	if reason != message.ReasonNone {
		return reason
	}
	x.Request.Path = x.KeepScratch(path)
	return message.ReasonNone
}

// Action is what a route does with a request: one of Forward, Redirect, Respond.
type Action interface {
	serve(x *message.Exchange, s *state) *message.Failure
}

// Forward sends the request to a backend.
type Forward struct{ Backend *upstream.Backend }

func (a *Forward) serve(x *message.Exchange, s *state) *message.Failure {
	s.flying = true
	failure := a.Backend.Do(x, &s.flight)
	if failure != nil && x.Deadline != 0 && failure.Side == message.SideUpstream && message.Now() >= x.Deadline {
		f := *failure
		f.Reason = message.RouteTimeout
		return &f
	}
	return failure
}

// Redirect answers with the address of another place.
type Redirect struct {
	To     *expr.Template
	Status int
}

func (a *Redirect) serve(x *message.Exchange, _ *state) *message.Failure {
	to, ok, reason := a.To.Append(x.Scratch(), x, expr.URL)
	if reason != message.ReasonNone {
		return refused(reason)
	}
	if !ok {
		return refused(message.PathValueInvalid)
	}
	x.Response.Header.Set(location, to)
	x.Response.Status, x.Response.Length, x.Response.Body = a.Status, 0, message.NoBody{}
	return nil
}

// Respond answers with fixed content.
type Respond struct {
	Status      int
	ContentType string
	Body        []byte
	Headers     []Field
}

// Field is a header field of a fixed answer.
type Field struct {
	Name  message.Name
	Value string
}

func (a *Respond) serve(x *message.Exchange, _ *state) *message.Failure {
	r := &x.Response
	r.Status = a.Status
	if a.ContentType != "" {
		r.Header.Set(contentType, []byte(a.ContentType))
	}
	for i := range a.Headers {
		r.Header.Add(a.Headers[i].Name, []byte(a.Headers[i].Value))
	}
	fixed(x, a.Body)
	return nil
}

// fixed makes body, which is not changed any more, the body of the response.
func fixed(x *message.Exchange, body []byte) {
	x.Fixed.Reset(body)
	x.Response.Body, x.Response.Length = &x.Fixed, int64(len(body))
}

// problem makes the response that describes x.Outcome.Reason (RFC 9457). It names no endpoint,
// no file and no cause: those are for the log.
func (s *Site) problem(x *message.Exchange) {
	r := &x.Response
	reason := x.Outcome.Reason
	word := reason.String()
	r.Status = reason.Status()
	allowed := r.Header.Get(message.Allow)
	if allowed != nil {
		allowed = x.Keep(allowed)
	}
	r.Header.Reset()
	r.Trailer.Reset()
	if allowed != nil && reason == message.MethodNotAllowed {
		r.Header.Add(allow, allowed)
	}
	r.Header.Add(contentType, []byte("application/problem+json"))
	r.Header.Add(sluiceReason, []byte(word))
	if r.Status == 503 {
		r.Header.Add(retryAfter, []byte("1"))
	}
	r.Header.Set(requestID, x.ID)
	b := append(x.Scratch(), `{"type":`...)
	b = metric.AppendString(b, strings.ReplaceAll(s.ProblemType, "{reason}", word))
	b = append(b, `,"title":`...)
	b = metric.AppendString(b, reason.Title())
	b = append(b, `,"status":`...)
	b = append(b, byte('0'+r.Status/100), byte('0'+r.Status/10%10), byte('0'+r.Status%10))
	b = append(b, `,"detail":`...)
	b = metric.AppendString(b, reason.Detail())
	b = append(b, `,"reason":"`...)
	b = append(b, word...)
	b = append(b, `","request_id":"`...)
	b = append(b, x.ID...)
	b = append(b, "\"}\n"...)
	fixed(x, x.KeepScratch(b))
}
