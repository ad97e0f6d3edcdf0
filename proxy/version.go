package proxy

import (
	"strconv"
	"time"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/route"
)

// API is what the answers of an API's routes tell of its versions. It is immutable, and shared by the sites of a configuration.
type API struct {
	name     string
	versions []Version
	inPath   bool
	params   []string // query parameters that name versions
	fields   []string // request fields that name versions
	vary     []byte   // the same as a value of Vary
	listed   []byte   // the names of the versions as a member of a problem
	callers  *Callers
}

// Version is one version of an API.
type Version struct {
	Name       string
	Deprecated time.Time // zero if it is not
	Sunset     time.Time // the moment from which it is answered 410; zero for never
	Successor  string    // name of the version to change to, "" for none
	Link       string    // address that explains the deprecation, "" for none

	deprecation, sunset, link []byte             // values of fields; nil for none
	ends                      int64              // the sunset in Unix seconds; 0 for never
	requests                  *metric.CounterSet // by caller
}

// Callers are the consumers whose use of versions is counted. It is immutable.
type Callers struct {
	names  []string // "" first, for callers that are no consumers
	places map[string]int
}

// NewCallers returns the callers of a configuration by the names of its consumers.
func NewCallers(consumers []string) *Callers {
	c := &Callers{names: append([]string{""}, consumers...), places: make(map[string]int, len(consumers))}
	for i, name := range consumers {
		c.places[name] = i + 1
	}
	return c
}

// NewAPI returns the API whose versions are found by of. There is one Version for each of its names, in the same order.
func NewAPI(of *route.API, versions []Version, scope *metric.Scope, callers *Callers) *API {
	a := &API{name: of.Name, versions: versions, callers: callers}
	for _, s := range of.By {
		switch s.Kind {
		case route.SelectPath:
			a.inPath = true
		case route.SelectHeader:
			a.addField(message.NameOf(s.Name).String())
		case route.SelectMediaType:
			a.addField(message.Accept.String())
		case route.SelectQuery:
			a.params = append(a.params, s.Name)
		}
	}
	a.listed = append(a.listed, `,"versions":[`...)
	for i := range versions {
		if i > 0 {
			a.listed = append(a.listed, ',')
		}
		a.listed = metric.AppendString(a.listed, versions[i].Name)
		versions[i].seal(a, scope)
	}
	a.listed = append(a.listed, ']')
	return a
}

func (a *API) addField(name string) {
	if len(a.fields) > 0 {
		a.vary = append(a.vary, ", "...)
	}
	a.vary = append(a.vary, name...)
	a.fields = append(a.fields, name)
}

// seal makes the values of fields.
func (v *Version) seal(a *API, scope *metric.Scope) {
	if !v.Deprecated.IsZero() {
		v.deprecation = strconv.AppendInt([]byte{'@'}, v.Deprecated.Unix(), 10) // RFC 9745 section 2.1
	}
	if !v.Sunset.IsZero() {
		v.ends = v.Sunset.Unix()
		v.sunset = v.Sunset.UTC().AppendFormat(nil, "Mon, 02 Jan 2006 15:04:05 GMT") // RFC 8594 section 3
	}
	if v.Link != "" {
		v.link = append(appendReference([]byte{'<'}, []byte(v.Link)), `>; rel="deprecation"`...) // RFC 9745 section 3
	}
	v.requests = scope.CounterSet(metric.APIRequests, a.callers.names, a.name, v.Name)
}

// versioned is what a request has to do with versions. The slices belong to the exchange.
type versioned struct {
	api  *API     // nil: its route belongs to none
	of   *Version // nil: it means none that there is
	full []byte   // the path with the version, if it was taken off; else nil

	path, query []byte // as they were matched, whatever is sent to a backend
}

// enterVersion notes what a found route has to do with versions. What is forwarded, cached and shown to policies has no version in its path.
func (s *state) enterVersion(x *message.Exchange) *message.Failure {
	a := s.route.API
	if a == nil || s.found.Version < 0 {
		return nil
	}
	v := &a.versions[s.found.Version]
	x.Version = v.Name
	s.versioned = versioned{api: a, of: v}
	if s.found.InPath {
		s.versioned.full = x.Request.Path
		x.Request.Path = route.TrimVersion(x.Request.Path)
	}
	s.versioned.path, s.versioned.query = x.Request.Path, x.Request.Query
	if v.ends != 0 && message.WallTime(x.Times.Read).Unix() >= v.ends {
		x.Outcome.Route = s.route.Name
		return s.refuse(message.VersionSunset)
	}
	return nil
}

// leaveVersion undoes enterVersion, for a request whose route is looked for again.
func (s *state) leaveVersion(x *message.Exchange) {
	if s.versioned.full != nil {
		x.Request.Path = s.versioned.full
	}
	s.versioned, x.Version = versioned{}, ""
}

// refuseVersion is refuse for a request whose version is why it has no route.
func (s *state) refuseVersion(reason message.Reason) *message.Failure {
	f := s.refuse(reason)
	if a := s.found.Payload.API; a != nil {
		s.versioned.api = a
		if f.Status = s.found.Status; reason == message.VersionUnknown {
			f.Members = a.listed
		}
	}
	return f
}

// versionRoute returns the route that a request would have in another version, if its version is why it was refused, else nil.
func (s *state) versionRoute(reason message.Reason) *Route {
	switch reason {
	case message.VersionSunset:
		return s.route
	case message.VersionUnknown, message.VersionNotOffered:
		return s.found.Payload
	}
	return nil
}

// tellVersion adds to the response what the versions of the route's API have to say. It comes last, so that it stands on failures too, and in place of what
// a service says of the same.
func (s *state) tellVersion(x *message.Exchange) {
	a, v := s.versioned.api, s.versioned.of
	if a == nil {
		return
	}
	a.tellVary(x)
	if v == nil {
		return
	}
	h := &x.Response.Header
	if v.deprecation != nil {
		h.Set(deprecation, v.deprecation)
	}
	if v.sunset != nil {
		h.Set(sunset, v.sunset)
	}
	if v.Successor != "" {
		h.Add(link, s.successor(x))
	}
	if v.link != nil {
		h.Add(link, v.link)
	}
}

// tellVary says which fields of the request the answer depends on, besides those that are there.
func (a *API) tellVary(x *message.Exchange) {
	h := &x.Response.Header
	if len(a.fields) == 0 || h.HasToken(message.Vary, "*") {
		return
	}
	if !h.Has(message.Vary) {
		h.Add(vary, a.vary)
		return
	}
	for _, name := range a.fields {
		if !h.HasToken(message.Vary, name) {
			h.Set(vary, joined(x, h, message.Vary, []byte(name)))
		}
	}
}

// successor returns the link to what was asked for in the successor of its version (RFC 5829 section 3.2). It is built of what the request was matched
// by, on memory of the exchange.
func (s *state) successor(x *message.Exchange) []byte {
	to := s.versioned.of.Successor
	b := append(x.Scratch(), '<')
	path := s.versioned.path
	switch {
	case s.versioned.api.inPath:
		b = append(b, '/')
		b = append(b, to...)
	case len(path) > 1 && path[1] == '/':
		b = append(b, "/."...) // two slashes would begin an authority (RFC 3986 section 4.2)
	}
	b = appendReference(b, path)
	if query := s.versioned.query; query != nil {
		b = append(b, '?')
		for more := true; more; {
			var param []byte
			param, query, more = cutParam(query)
			b = appendParam(b, param, s.versioned.api.params, to)
			if more {
				b = append(b, '&')
			}
		}
	}
	return x.KeepScratch(append(b, `>; rel="successor-version"`...))
}

func cutParam(query []byte) (param, rest []byte, more bool) {
	for i, c := range query {
		if c == '&' {
			return query[:i], query[i+1:], true
		}
	}
	return query, nil, false
}

// appendParam appends a parameter of a query. One that names the version gets the successor's.
func appendParam(b, param []byte, names []string, version string) []byte {
	name := param
	for i, c := range param {
		if c == '=' {
			name = param[:i]
			break
		}
	}
	b = appendReference(b, name)
	for _, n := range names {
		if route.EqualParam(name, n) {
			b = append(b, '=')
			return append(b, version...)
		}
	}
	return appendReference(b, param[len(name):])
}

// appendReference appends a piece of a URI, with escapes for the bytes that clients send in it and that it must not hold (RFC 3986 section 2): a '>' would
// end it in a Link field.
func appendReference(b, piece []byte) []byte {
	const digits = "0123456789ABCDEF"
	for _, c := range piece {
		switch {
		case c <= ' ', c >= 0x7F, c == '"', c == '<', c == '>', c == '\\', c == '^', c == '`', c == '{', c == '|', c == '}':
			b = append(b, '%', digits[c>>4], digits[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}

// countVersion counts who uses which version.
func (s *state) countVersion(x *message.Exchange) {
	v := s.versioned.of
	if v == nil {
		return
	}
	caller := 0
	if x.Identity != nil {
		// A map, because there may be thousands of consumers; it is asked once for a request whose caller is known, and the key is not copied.
		caller = s.versioned.api.callers.places[x.Identity.Consumer]
	}
	v.requests.Inc(s.shard, caller)
}

// logVersion writes which version of which API was meant.
func (s *state) logVersion(x *message.Exchange) {
	if s.versioned.api == nil {
		return
	}
	s.line.String(keyAPI, s.versioned.api.name)
	if x.Version != "" {
		s.line.String(keyVersion, x.Version)
	}
}

// Names and keys that the proxy writes; read-only.
var (
	vary        = message.Vary.Name()
	link        = message.Link.Name()
	deprecation = message.Deprecation.Name()
	sunset      = message.Sunset.Name()

	keyAPI     = metric.NewKey("api")
	keyVersion = metric.NewKey("version")
)
