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
	// Payload, Name and Pattern are those of the route; zero if there is none. They are also set with PathAmbiguous, for a listener that only warns.
	Payload T
	Name    string
	Pattern string
	// Reason is ReasonNone if the request has a route, else NoRoute, MethodNotAllowed or PathAmbiguous.
	Reason message.Reason
	// Allow is the value of the Allow field for MethodNotAllowed, else nil. It belongs to the exchange and is valid until its Reset.
	Allow []byte
}

// Len returns how many routes the table has.
func (t *Table[T]) Len() int { return len(t.routes) }

// Lookup finds the route of x.Request by its Host, Path, HasSlash, Method, Header and Query, and fills res. What the route's pattern takes from the path
// replaces x.Captures, percent-decoded once; the values belong to the exchange. The path "*" has no route.
//
// It allocates nothing once the exchange's memory has its size, and it ends after a number of steps that the table bounds.
func (t *Table[T]) Lookup(x *message.Exchange, res *Result[T]) {
	*res = Result[T]{}
	var e *entry
	e, res.Reason, res.Allow = t.matcher.lookup(x)
	if e == nil {
		return
	}
	r := &t.routes[e.index]
	res.Payload, res.Name, res.Pattern = r.payload, r.name, r.pattern
}

// matcher is the part of a table that does not depend on what its routes lead to.
type matcher struct {
	hosts   hosts
	methods methods
}

func (m *matcher) lookup(x *message.Exchange) (e *entry, reason message.Reason, allow []byte) {
	x.Captures = x.Captures[:0]
	path := x.Request.Path
	if len(path) == 0 || path[0] != '/' {
		return nil, message.NoRoute, nil
	}
	form := path
	if bytes.IndexByte(path, '%') >= 0 || bytes.IndexByte(path, ';') >= 0 {
		form = x.KeepScratch(message.AppendMatchPath(x.Scratch(), path, false))
	}
	q := query{x: x}
	q.method, q.viaGet = m.methods.of(x.Request.Method)
	q.read(form)
	e = m.hosts.find(&q, x.Request.Host)
	if e == nil {
		if !q.missed {
			return nil, message.NoRoute, nil
		}
		q.collect = true
		m.hosts.find(&q, x.Request.Host)
		if q.allow == 0 {
			return nil, message.NoRoute, nil // a predicate did not hold either
		}
		return nil, message.MethodNotAllowed, x.KeepScratch(m.methods.appendAllow(x.Scratch(), q.allow))
	}
	e.capture(x, form)
	if x.Request.HasSlash && !e.keepSlash {
		q.read(x.KeepScratch(message.AppendMatchPath(x.Scratch(), path, true)))
		if other := m.hosts.find(&q, x.Request.Host); other != nil && other.index != e.index {
			return e, message.PathAmbiguous, nil
		}
	}
	return e, message.ReasonNone, nil
}

// capture appends to x.Captures what the pattern of e takes from path.
func (e *entry) capture(x *message.Exchange, path []byte) {
	left, at := path[1:], 0
	for _, c := range e.captures {
		for ; at < c.segment; at++ {
			left = left[bytes.IndexByte(left, '/')+1:] // there is one: the pattern matched
		}
		value, raw := left, []byte(nil)
		if c.rest {
			raw = afterSegments(x.Request.Path, c.segment)
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
