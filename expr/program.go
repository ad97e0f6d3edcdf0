package expr

import (
	"bytes"
	"strconv"

	"github.com/sluice-gateway/sluice/message"
)

// op is what a program reads.
type op uint8

const (
	opNone    op = iota
	opLiteral    // text in quotes
	opMethod
	opScheme
	opHost      // without port
	opHostField // as the field Host: with the port if the client gave one
	opPath
	opQuery          // the whole query
	opParameter      // one parameter of it, decoded
	opRequestHeaders // the map; never in a program
	opRequestHeader
	opCookies // the map; never in a program
	opCookie
	opSize
	opID
	opCapture
	opRest // a capture of several segments
	opClientIP
	opClientPort
	opStatus
	opResponseHeaders // the map; never in a program
	opResponseHeader
)

// Program is one compiled expression. It is immutable.
type Program struct {
	op   op
	name message.Name // of a header
	text string       // a literal, or the name of a parameter, cookie or capture
}

// Literal returns the value of a program that is a text in quotes.
func (p *Program) Literal() (string, bool) { return p.text, p.op == opLiteral }

// Append appends the value of the expression as text. Without a value it appends nothing and ok is false.
func (p *Program) Append(dst []byte, x *message.Exchange) (out []byte, ok bool) {
	switch p.op {
	case opLiteral:
		return append(dst, p.text...), true
	case opMethod:
		return x.Request.Method.AppendTo(dst), true
	case opScheme:
		return append(dst, x.Request.Scheme...), x.Request.Scheme != ""
	case opHost:
		return append(dst, x.Request.Host...), len(x.Request.Host) > 0
	case opHostField:
		return appendHost(dst, x), len(x.Request.Host) > 0
	case opPath:
		return append(dst, x.Request.Path...), len(x.Request.Path) > 0
	case opQuery:
		return append(dst, x.Request.Query...), true
	case opParameter:
		value, ok := FindParameter(x.Request.Query, p.text)
		return AppendDecoded(dst, value), ok
	case opRequestHeader:
		return appendField(dst, &x.Request.Header, p.name)
	case opCookie:
		return appendCookie(dst, &x.Request.Header, p.text)
	case opSize:
		if x.Request.Length < 0 {
			return dst, false
		}
		return strconv.AppendInt(dst, x.Request.Length, 10), true
	case opID:
		return append(dst, x.ID...), len(x.ID) > 0
	case opCapture, opRest:
		return appendCapture(dst, x, p.text)
	case opClientIP:
		if !x.Client.Addr.IsValid() {
			return dst, false
		}
		return x.Client.Addr.Unmap().AppendTo(dst), true
	case opClientPort:
		return appendClientPort(dst, x)
	case opStatus:
		if x.Response.Status == 0 {
			return dst, false
		}
		return strconv.AppendInt(dst, int64(x.Response.Status), 10), true
	case opResponseHeader:
		return appendField(dst, &x.Response.Header, p.name)
	}
	return dst, false
}

// refuses reports whether the value holds a byte that no header may hold.
func (p *Program) refuses(x *message.Exchange) bool {
	switch p.op {
	case opLiteral:
		return message.IndexInvalidValue([]byte(p.text)) >= 0
	case opParameter:
		for value, _ := FindParameter(x.Request.Query, p.text); len(value) > 0; {
			var c [1]byte
			if c[0], value = nextDecoded(value); message.IndexInvalidValue(c[:]) >= 0 {
				return true
			}
		}
	case opCapture, opRest:
		return message.IndexInvalidValue(x.Capture(p.text)) >= 0
	}
	return false
}

// appendHost appends the authority as the field Host holds it. It is read from the request's one authority, so that it is the host that
// was matched even when an absolute target overruled the field.
func appendHost(dst []byte, x *message.Exchange) []byte {
	dst = append(dst, x.Request.Host...)
	if len(x.Request.Port) > 0 {
		dst = append(append(dst, ':'), x.Request.Port...)
	}
	return dst
}

// appendField appends all values of a field, joined as the field is joined (RFC 9110 section 5.3; Cookie: RFC 9113 section 8.2.3).
func appendField(dst []byte, h *message.Header, n message.Name) ([]byte, bool) {
	i := h.Index(n, 0)
	if i < 0 {
		return dst, false
	}
	dst = append(dst, h.At(i).Value...)
	for i = h.Index(n, i+1); i >= 0; i = h.Index(n, i+1) {
		if n.ID() == message.Cookie {
			dst = append(dst, "; "...)
		} else {
			dst = append(dst, ", "...)
		}
		dst = append(dst, h.At(i).Value...)
	}
	return dst, true
}

// appendCookie appends the value of the first cookie of that name, whose case matters, as it was sent (RFC 6265 section 4.2).
func appendCookie(dst []byte, h *message.Header, name string) ([]byte, bool) {
	if !h.Has(message.Cookie) {
		return dst, false
	}
	for i := range h.Len() {
		f := h.At(i)
		if f.ID != message.Cookie {
			continue
		}
		for rest := f.Value; len(rest) > 0; {
			pair := rest
			if i := bytes.IndexByte(rest, ';'); i >= 0 {
				pair, rest = rest[:i], rest[i+1:]
			} else {
				rest = nil
			}
			for len(pair) > 0 && (pair[0] == ' ' || pair[0] == '\t') {
				pair = pair[1:]
			}
			if n := len(name); len(pair) > n && pair[n] == '=' && string(pair[:n]) == name {
				return append(dst, message.TrimSpace(pair[n+1:])...), true
			}
		}
	}
	return dst, false
}

// appendCapture appends a capture. Unlike Exchange.Capture it tells an empty value from none.
func appendCapture(dst []byte, x *message.Exchange, name string) ([]byte, bool) {
	for i := range x.Captures {
		if x.Captures[i].Name == name {
			return append(dst, x.Captures[i].Value...), true
		}
	}
	return dst, false
}

// appendClientPort appends the port of the client, which is known only where the client itself is the peer: behind a trusted proxy the
// peer's port is the proxy's.
func appendClientPort(dst []byte, x *message.Exchange) ([]byte, bool) {
	if !x.Client.Peer.IsValid() || x.Client.Peer.Addr().Unmap() != x.Client.Addr.Unmap() {
		return dst, false
	}
	return strconv.AppendUint(dst, uint64(x.Client.Peer.Port()), 10), true
}
