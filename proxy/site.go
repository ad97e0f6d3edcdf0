package proxy

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/policy"
	"github.com/sluice-gateway/sluice/route"
	"github.com/sluice-gateway/sluice/upstream"
)

// Site is one generation of what a listener serves. It is immutable once it is sealed and given to
// HTTP.
type Site struct {
	Listener       string
	Table          *route.Table[*Route]
	Paths          message.PathRules // how the listener reads paths before the route is known
	Warn           bool              // paths that can be read in two ways are counted and let through
	TrustedProxies []netip.Prefix
	RFC7239        bool   // backends get Forwarded besides X-Forwarded-*
	ProblemType    string // member type of problems; {reason} is replaced
	Log            *Log   // nil for none
	Metrics        SiteMetrics
	Preflights     bool               // there are routes that answer preflight requests
	Branches       *Branches          // what runs beside exchanges
	Caches         policy.Invalidator // nil where nothing is cached
	Secrets        []string           // query parameters that hold credentials: the log does not show their values

	tasks    atomic.Int64
	none     *Route   // stands for requests that no route was found for
	problems []string // by reason: the document up to the request id
}

// SiteMetrics are the handles of a listener.
type SiteMetrics struct {
	Received *metric.Counter    // bytes of request bodies
	Sent     *metric.Counter    // bytes of response bodies
	Warned   *metric.CounterSet // requests let through that are not read in one way only, by reason
}

// Seal completes a site. scope keeps its metrics.
func (s *Site) Seal(scope *metric.Scope) {
	s.Metrics.Received = scope.Counter(metric.BytesReceived, s.Listener)
	s.Metrics.Sent = scope.Counter(metric.BytesSent, s.Listener)
	s.Metrics.Warned = scope.CounterSet(metric.Strictness, reasonWords, s.Listener)
	s.none = &Route{Metrics: NewRouteMetrics(scope, s.Listener, "")}
	s.problems = make([]string, len(reasonWords))
	for r := range message.Reasons {
		s.problems[r] = s.describe(r)
	}
}

// lenient counts and notes a reason and takes it back if the listener only warns.
func (s *Site) lenient(x *message.Exchange, r message.Reason, shard metric.Shard) message.Reason {
	if !s.Warn || r == message.ReasonNone {
		return r
	}
	x.Outcome.Warning = r
	s.Metrics.Warned.Inc(shard, int(r))
	return message.ReasonNone
}

// Route is one compiled route on one listener.
type Route struct {
	Name     string
	Timeout  time.Duration // of the whole exchange; 0 for none
	Policies *policy.Chain
	Action   Action
	Rewrite  *Rewrite       // nil for none
	Mirror   *Mirror        // nil for none
	API      *API           // that the route belongs to; nil for none
	Upgrade  []string       // protocols that the route permits, lower case
	Trailers []message.Name // request trailers that the route forwards
	Metrics  RouteMetrics

	// Paths is how the route reads paths; where it differs from the site's, the path is looked at
	// again. KeepEncodedSlash is the table's affair and not set.
	Paths message.PathRules
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

// readPath makes the path of the request anew, by rules that are not those it was read by. The
// listener has read it in the mildest way that any of its routes asks for.
func (s *Site) readPath(x *message.Exchange, rules message.PathRules, shard metric.Shard) message.Reason {
	r := &x.Request
	if len(r.RawPath) == 0 || r.RawPath[0] != '/' || message.PlainPath(r.RawPath) {
		return message.ReasonNone
	}
	path, slash, reason := message.AppendPath(x.Scratch(), r.RawPath, rules)
	if path == nil {
		return reason
	}
	if reason = s.lenient(x, reason, shard); reason == message.ReasonNone {
		r.Path, r.HasSlash = x.KeepScratch(path), slash
	}
	return reason
}

// Action is what a route does with a request: one of Forward, Split, Compose, Redirect, Respond.
type Action interface {
	serve(x *message.Exchange, s *state) *message.Failure
}

// Forward sends the request to a backend.
type Forward struct{ Backend *upstream.Backend }

func (a *Forward) serve(x *message.Exchange, s *state) *message.Failure {
	s.flying = true
	return a.Backend.Do(x, &s.flight)
}

// Compose makes one answer of several.
type Compose struct{ Plan Composer }

// Composer calls backends and makes an answer of theirs.
type Composer interface {
	// Serve fills x.Response. It uses the exchange's own thread of control, and what it has begun has ended when it returns.
	Serve(x *message.Exchange, shard metric.Shard) *message.Failure
}

func (a *Compose) serve(x *message.Exchange, s *state) *message.Failure {
	return a.Plan.Serve(x, s.shard)
}

// Redirect answers with the address of another place.
type Redirect struct {
	To     *expr.Template
	Status int
}

func (a *Redirect) serve(x *message.Exchange, s *state) *message.Failure {
	to, ok, reason := a.To.Append(x.Scratch(), x, expr.URL)
	if reason != message.ReasonNone {
		return s.refuse(reason)
	}
	if !ok {
		return s.refuse(message.PathValueInvalid)
	}
	x.Response.Header.Set(location, x.KeepScratch(to))
	x.Response.Status, x.Response.Length, x.Response.Body = a.Status, 0, message.NoBody{}
	return nil
}

// Respond answers with fixed content.
type Respond struct {
	Status      int
	ContentType []byte // nil for none
	Body        []byte
	Headers     []Field
}

// Field is a header field of a fixed answer.
type Field struct {
	Name  message.Name
	Value []byte
}

func (a *Respond) serve(x *message.Exchange, _ *state) *message.Failure {
	r := &x.Response
	r.Status = a.Status
	if a.ContentType != nil {
		r.Header.Set(contentType, a.ContentType)
	}
	for i := range a.Headers {
		r.Header.Add(a.Headers[i].Name, a.Headers[i].Value)
	}
	fixed(x, a.Body)
	return nil
}

// fixed makes body, which is not changed any more, the body of the response.
func fixed(x *message.Exchange, body []byte) {
	x.Fixed.Reset(body)
	x.Response.Body, x.Response.Length = &x.Fixed, int64(len(body))
}
