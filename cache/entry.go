package cache

import (
	"strconv"
	"sync/atomic"

	"github.com/sluice-gateway/sluice/message"
)

// Entry is one stored answer. It is immutable but for its links: what changes it is another entry in its place. Readers may hold it for as long as
// they like; it is memory like any other, and goes when the last one has let it go.
type Entry struct {
	prev, next *Entry // guarded by the queue's mu
	place      uint8  // guarded by the queue's mu
	gone       bool   // guarded by the queue's mu: it has left, or must not enter
	asked      atomic.Uint32

	res    *resource
	spec   *vary
	values string // what the request said in the fields of spec
	native string // the same with the language of the answer in place of Accept-Language, or ""
	hash   uint64

	status  int
	header  message.Header
	chunks  [][]byte // none is empty
	length  int64
	terms   terms
	stamped int64 // when it came, in moments of message.Now

	tags []tagLink // guarded by the tags' mu
	size int64     // bytes that it counts for
}

// What an entry counts for besides its bytes: the structs, their slots in maps and slices, and the rounding of the allocator.
const (
	entryOverhead = 1024
	fieldOverhead = 28
)

// weigh sets the size.
func (e *Entry) weigh(key int) {
	n := int64(entryOverhead + 2*key + len(e.values) + len(e.native))
	n += int64(e.header.Size()*5/4 + e.header.Len()*fieldOverhead)
	n += e.spec.size()
	for _, c := range e.chunks {
		n += int64(cap(c)) + 24
	}
	for i := range e.tags {
		n += e.tags[i].weight()
	}
	e.size = n
}

// isMark reports whether e is no answer but the note that answers of the resource are of no use to others.
func (e *Entry) isMark() bool { return e.status == 0 }

// give fills the response of x with the stored answer, without its body if x asks for none. It does not allocate for bodies of one chunk.
func (e *Entry) give(x *message.Exchange, now int64) {
	p := &x.Response
	p.Status = e.status
	p.Header.CopyFrom(&e.header)
	p.Length = e.length
	addAge(x, &e.terms, now)
	switch {
	case x.Request.Method.Known == message.HEAD || len(e.chunks) == 0:
		p.Body = message.NoBody{}
	case len(e.chunks) == 1:
		x.Fixed.Reset(e.chunks[0])
		p.Body = &x.Fixed
	default:
		p.Body = &chunkBody{chunks: e.chunks}
	}
}

// addAge adds the Age of an answer (RFC 9111 section 5.1).
func addAge(x *message.Exchange, t *terms, now int64) {
	var room [20]byte
	x.Response.Header.Add(message.Age.Name(), strconv.AppendInt(room[:0], min(t.age(now)/second, maxDelta), 10))
}

// notModified makes the response of x, which is filled from a stored answer, a 304 (RFC 9110 section 15.4.5).
func notModified(x *message.Exchange) {
	p := &x.Response
	_ = p.Body.Close() // nothing was read
	p.Status, p.Body, p.Length = 304, message.NoBody{}, 0
	for _, id := range left304 {
		if p.Header.Has(id) {
			p.Header.Remove(id.Name())
		}
	}
}

// chunkBody reads chunks that do not change.
type chunkBody struct {
	chunks [][]byte
}

// Next implements message.Body.
func (b *chunkBody) Next() ([]byte, error) {
	if len(b.chunks) == 0 {
		return message.NoBody{}.Next()
	}
	c := b.chunks[0]
	b.chunks = b.chunks[1:]
	return c, nil
}

// Close implements message.Body.
func (b *chunkBody) Close() error { b.chunks = nil; return nil }

// slice returns the bytes from one offset to another, the latter not included.
func slice(chunks [][]byte, from, to int64) [][]byte {
	var out [][]byte
	for _, c := range chunks {
		n := int64(len(c))
		if from < n && to > 0 {
			out = append(out, c[max(0, from):min(n, to)])
		}
		from, to = from-n, to-n
	}
	return out
}

// keptHeader makes dst the header that is stored of an answer (RFC 9111 section 3.1): without the fields of its connection and, where it is kept for
// others, without its age and without the fields that belong to one caller, which go into own. date is put where there is none.
func keptHeader(dst, own *message.Header, src *message.Header, t *terms, date []byte) {
	for i := range src.Len() {
		f := src.At(i)
		if f.ID.Flags()&(message.FlagHop|message.FlagFraming) != 0 || ofConnection(f.Name) || src.HasToken(message.Connection, string(f.Name)) {
			continue
		}
		to := dst
		if t.kept {
			switch {
			case f.ID == message.Age:
				continue
			case f.ID == message.SetCookie, f.ID == message.RateLimit, f.ID == message.RateLimitPolicy, listed(t.fields, f.Name):
				to = own
			}
		}
		to.Add(nameOf(f), f.Value)
	}
	if !dst.Has(message.Date) && !own.Has(message.Date) {
		dst.Add(message.Date.Name(), date)
	}
}

// nameOf returns the name of a field as it was written, or as it usually is.
func nameOf(f message.Field) message.Name {
	if f.ID != 0 {
		return f.ID.Name()
	}
	return message.NameOf(string(f.Name))
}

// ofConnection reports whether a field without an ID belongs to one connection (RFC 9111 section 3.1).
func ofConnection(name []byte) bool {
	return message.EqualFold(name, "proxy-authentication-info")
}

// listed reports whether a list of field names holds name.
func listed(list, name []byte) bool {
	for e, rest, ok := message.NextElement(list); ok; e, rest, ok = message.NextElement(rest) {
		if message.EqualFold(e, name) {
			return true
		}
	}
	return false
}
