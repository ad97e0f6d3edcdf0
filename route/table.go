package route

import (
	"bytes"

	"github.com/sluice-gateway/sluice/message"
)

// Table finds the route of a request. It is made by a Builder and never changes; any number of goroutines may use it at once. T is what a route
// leads to.
type Table[T any] struct {
	matcher matcher
	routes  []listed[T] // by entry.index
}

// listed is what a table tells of a route.
type listed[T any] struct {
	payload       T
	name, pattern string
}

// Result is what Lookup found.
type Result[T any] struct {
	// Payload, Name and Pattern are those of the route; zero if there is none. They are also set with PathAmbiguous, for a listener that only warns, and
	// where the version is what is wrong, to tell of its API.
	Payload T
	Name    string
	Pattern string
	// API is the one that the route belongs to, nil for none. Version is the place of the version among those of the API, below 0 if it has none
	// of that name. InPath says that the path names a version, which stands before what the pattern is for: see TrimVersion.
	API     *API
	Version int
	InPath  bool
	// Reason is ReasonNone if the request has a route, else NoRoute, MethodNotAllowed, PathAmbiguous, VersionUnknown, VersionNotOffered or
	// HeaderRepeated.
	Reason message.Reason
	// Status answers the request in place of the status of Reason, unless it is 0.
	Status int
	// Allow is the value of the Allow field for MethodNotAllowed, else nil. It belongs to the exchange and is valid until its Reset.
	Allow []byte
}

// Len returns how many routes the table has.
func (t *Table[T]) Len() int { return len(t.routes) }

// Lookup finds the route of x.Request by its Host, Path, HasSlash, Method, Header and Query, and fills res. What the route's pattern takes from the path
// replaces x.Captures, percent-decoded once; the values belong to the exchange. The path "*" has no route. The request stays as it is: a version in its
// path is still there.
//
// It allocates nothing once the exchange's memory has its size, and it ends after a number of steps that the table bounds.
func (t *Table[T]) Lookup(x *message.Exchange, res *Result[T]) {
	*res = Result[T]{}
	q := query{x: x}
	var e *entry
	e, res.Reason, res.Allow = t.matcher.lookup(x, &q)
	if e == nil {
		return
	}
	r := &t.routes[e.index]
	res.Payload, res.Name, res.Pattern = r.payload, r.name, r.pattern
	if e.offer != nil {
		res.API, res.Version, res.InPath, res.Status = e.offer.api.API, int(q.version.place), q.version.inPath, int(q.version.status)
	}
}

// matcher is the part of a table that does not depend on what its routes lead to.
type matcher struct {
	hosts   hosts
	methods methods
	inPath  bool // routes belong to an API that has its versions in the path
}

func (m *matcher) lookup(x *message.Exchange, q *query) (e *entry, reason message.Reason, allow []byte) {
	x.Captures = x.Captures[:0]
	path := x.Request.Path
	if len(path) == 0 || path[0] != '/' {
		return nil, message.NoRoute, nil
	}
	form := path
	if bytes.IndexByte(path, '%') >= 0 || bytes.IndexByte(path, ';') >= 0 {
		form = x.KeepScratch(message.AppendMatchPath(x.Scratch(), path, false))
	}
	q.method, q.viaGet = m.methods.of(x.Request.Method)
	if e = m.find(q, form); e == nil {
		return m.miss(q)
	}
	if e.offer != nil {
		if reason = q.settle(e); reason != message.ReasonNone {
			return e, reason, nil
		}
		if q.version.inPath {
			path, form = TrimVersion(path), TrimVersion(form)
		}
	}
	e.capture(x, path, form)
	if x.Request.HasSlash && !e.keepSlash {
		other := m.find(q, x.KeepScratch(message.AppendMatchPath(x.Scratch(), x.Request.Path, true)))
		if other != nil && (other.index != e.index || e.offer != nil && q.otherwise(other)) {
			return e, message.PathAmbiguous, nil
		}
	}
	return e, message.ReasonNone, nil
}

// find returns the best entry for a path, or nil.
func (m *matcher) find(q *query, path []byte) *entry {
	q.read(path)
	if m.inPath {
		q.first, q.meaning.api = q.segment(0), nil
	}
	return m.hosts.find(q, q.x.Request.Host)
}

// miss finds out what a request lacks for which there is no entry: the right method, then the right version.
func (m *matcher) miss(q *query) (e *entry, reason message.Reason, allow []byte) {
	if q.missed {
		q.collect = true
		m.find(q, q.path)
		if q.allow != 0 { // else a predicate did not hold either
			return nil, message.MethodNotAllowed, q.x.KeepScratch(m.methods.appendAllow(q.x.Scratch(), q.allow))
		}
	}
	if q.passed != nil {
		return q.passed, q.settle(q.passed), nil
	}
	return nil, message.NoRoute, nil
}

// capture appends to x.Captures what the pattern of e takes from a path; form is that which is matched.
func (e *entry) capture(x *message.Exchange, path, form []byte) {
	left, at := form[1:], 0
	for _, c := range e.captures {
		for ; at < c.segment; at++ {
			left = left[bytes.IndexByte(left, '/')+1:] // there is one: the pattern matched
		}
		value, raw := left, []byte(nil)
		if c.rest {
			raw = afterSegments(path, c.segment)
		} else if i := bytes.IndexByte(left, '/'); i >= 0 {
			value = left[:i]
		}
		if bytes.IndexByte(value, '%') >= 0 {
			value = x.KeepScratch(message.AppendDecoded(x.Scratch(), value))
		}
		x.Captures = append(x.Captures, message.Capture{Name: c.name, Value: value, Raw: raw})
	}
}

// afterSegments returns what follows the first n segments of a path. The path has as many as the form of it that was matched: escapes and
// parameters hold no separator.
func afterSegments(path []byte, n int) []byte {
	path = path[1:]
	for ; n > 0; n-- {
		path = path[bytes.IndexByte(path, '/')+1:]
	}
	return path
}
