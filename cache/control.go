package cache

import (
	"github.com/sluice-gateway/sluice/message"
)

// directives walks the directives of a Cache-Control value (RFC 9111 section 5.2), or of a field of its form.
type directives struct {
	rest []byte
}

// directive is one of them. argument is nil without "="; the quotes of a quoted one are taken off and its escapes left, because no argument with a
// meaning has any.
type directive struct {
	name     []byte
	argument []byte
	// broken says that something follows which is no part of a directive, such as white space before the "=".
	broken bool
}

// next returns the next directive; ok is false at the end.
func (d *directives) next() (v directive, ok bool) {
	for len(d.rest) > 0 {
		if c := d.rest[0]; c == ' ' || c == '\t' || c == ',' {
			d.rest = d.rest[1:]
			continue
		}
		n := 0
		for n < len(d.rest) && message.IsTokenByte(d.rest[n]) {
			n++
		}
		v.name, d.rest = d.rest[:n], d.rest[n:]
		if len(d.rest) > 0 && d.rest[0] == '=' {
			v.argument, d.rest = argument(d.rest[1:])
		}
		v.broken = d.skip()
		if n > 0 {
			return v, true
		}
		v = directive{}
	}
	return v, false
}

// argument reads a token or a quoted string.
func argument(b []byte) (value, rest []byte) {
	if len(b) > 0 && b[0] == '"' {
		for i := 1; i < len(b); i++ {
			switch b[i] {
			case '\\':
				i++
			case '"':
				return b[1:i], b[i+1:]
			}
		}
		return b[len(b):], b[len(b):] // never closed: nothing in it can be told from what follows
	}
	n := 0
	for n < len(b) && message.IsTokenByte(b[n]) {
		n++
	}
	return b[:n:n], b[n:]
}

// skip goes to the comma that ends the directive and reports whether anything but white space stood before it.
func (d *directives) skip() (found bool) {
	for len(d.rest) > 0 && d.rest[0] != ',' {
		if d.rest[0] == '"' {
			_, d.rest = argument(d.rest)
			found = true
			continue
		}
		found = found || d.rest[0] != ' ' && d.rest[0] != '\t'
		d.rest = d.rest[1:]
	}
	return found
}

// maxDelta is what a number of seconds is cut to, as RFC 9111 section 1.2.2 has it.
const maxDelta = 1 << 31

// seconds reads delta-seconds.
func seconds(b []byte) (n int64, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(10*n+int64(c-'0'), maxDelta)
	}
	return n, len(b) > 0
}

// lifetime reads the argument of a directive that limits a lifetime. What cannot be read counts as no time at all (RFC 9111 section 4.2.1 encourages
// to consider such answers stale). Of several the first holds, as that section has it.
func (v *directive) lifetime(old int64) int64 {
	if old >= 0 {
		return old
	}
	n, ok := seconds(v.argument)
	if !ok || v.broken {
		return 0
	}
	return n
}

// extension reads the argument of a directive that permits something. What cannot be read permits nothing.
func (v *directive) extension(old int64) int64 {
	if n, ok := seconds(v.argument); ok && !v.broken && old < 0 {
		return n
	}
	return old
}

// control is what the Cache-Control of a response says, or a targeted field in its place. Times are in seconds, -1 where nothing is said.
type control struct {
	noStore, noCache, private, public bool
	mustRevalidate, proxyRevalidate   bool
	mustUnderstand                    bool

	maxAge, sMaxAge, whileRevalidate, ifError int64

	fields []byte // of no-cache="…": what must not be used again without validation
}

// noControl says nothing.
func noControl() control {
	return control{maxAge: -1, sMaxAge: -1, whileRevalidate: -1, ifError: -1}
}

// add takes in one directive. What restricts holds however it is written; what permits must be written right.
func (c *control) add(v *directive) {
	n := v.name
	switch {
	case message.EqualFold(n, "max-age"):
		c.maxAge = v.lifetime(c.maxAge)
	case message.EqualFold(n, "s-maxage"):
		c.sMaxAge = v.lifetime(c.sMaxAge)
	case message.EqualFold(n, "no-store"):
		c.noStore = true
	case message.EqualFold(n, "private"):
		// private="…" would let the rest be shared. It means that somebody's data is in the answer, and fields are not all that it may be in.
		c.private = true
	case message.EqualFold(n, "no-cache"):
		if len(v.argument) > 0 && !v.broken && len(c.fields) == 0 {
			c.fields = v.argument
		} else {
			c.noCache = true
		}
	case message.EqualFold(n, "must-revalidate"):
		c.mustRevalidate = true
	case message.EqualFold(n, "proxy-revalidate"):
		c.proxyRevalidate = true
	case message.EqualFold(n, "public"):
		c.public = c.public || !v.broken
	case message.EqualFold(n, "must-understand"):
		c.mustUnderstand = true
	case message.EqualFold(n, "stale-while-revalidate"):
		c.whileRevalidate = v.extension(c.whileRevalidate)
	case message.EqualFold(n, "stale-if-error"):
		c.ifError = v.extension(c.ifError)
	}
}

// responseControl reads what the response says of being kept. targeted are the names of fields that hold in place of Cache-Control and Expires, the
// first that is there and well-formed (RFC 9213 section 2.2); byTarget reports that one does.
func responseControl(h *message.Header, targeted []message.Name) (c control, byTarget bool) {
	for _, name := range targeted {
		if c, ok := targetedControl(h, name); ok {
			return c, true
		}
	}
	c = noControl()
	if !h.Has(message.CacheControl) {
		return c, false
	}
	for i := range h.Len() {
		f := h.At(i)
		if f.ID != message.CacheControl {
			continue
		}
		d := directives{f.Value}
		for v, ok := d.next(); ok; v, ok = d.next() {
			c.add(&v)
		}
	}
	return c, false
}

// targetedControl reads a targeted field. It is a dictionary of structured fields, which count for nothing when they are empty or malformed (RFC 9213
// section 2.1). The form that directives take there is looked at as far as a wrong reading could make an answer live longer.
func targetedControl(h *message.Header, name message.Name) (c control, ok bool) {
	c = noControl()
	found := false
	for i := h.Index(name, 0); i >= 0; i = h.Index(name, i+1) {
		d := directives{h.At(i).Value}
		for v, more := d.next(); more; v, more = d.next() {
			if v.broken || v.argument != nil && len(v.argument) == 0 {
				return c, false
			}
			found = true
			c.add(&v)
		}
	}
	return c, found
}

// requested is what the Cache-Control of a request asks for. Times are in seconds, -1 where nothing is said.
type requested struct {
	noCache, noStore, onlyIfCached bool

	maxAge, maxStale, minFresh int64
}

// noRequest asks for nothing.
func noRequest() requested { return requested{maxAge: -1, maxStale: -1, minFresh: -1} }

// requestControl reads what the client asks for. Pragma means nothing any more (RFC 9111 section 5.4).
func requestControl(h *message.Header) requested {
	q := noRequest()
	for i := range h.Len() {
		f := h.At(i)
		if f.ID != message.CacheControl {
			continue
		}
		d := directives{f.Value}
		for v, ok := d.next(); ok; v, ok = d.next() {
			q.add(&v)
		}
	}
	return q
}

func (q *requested) add(v *directive) {
	n := v.name
	switch {
	case message.EqualFold(n, "no-cache"):
		q.noCache = true
	case message.EqualFold(n, "no-store"):
		q.noStore = true
	case message.EqualFold(n, "only-if-cached"):
		q.onlyIfCached = true
	case message.EqualFold(n, "max-age"):
		q.maxAge = v.lifetime(q.maxAge)
	case message.EqualFold(n, "min-fresh"):
		q.minFresh = v.extension(q.minFresh)
	case message.EqualFold(n, "max-stale"):
		if v.argument == nil && !v.broken {
			q.maxStale = maxDelta
		} else {
			q.maxStale = v.extension(q.maxStale)
		}
	}
}

// particular reports whether the request limits which stored answer it takes, so that what another request has asked for may not do.
func (q *requested) particular() bool { return q.noCache || q.maxAge >= 0 || q.minFresh >= 0 }
