package http1

import (
	"bytes"

	"github.com/sluice-gateway/sluice/message"
)

// A head is read line by line as it arrives. Every complete line is looked at once: its fields
// enter the message's header as offsets from the start of the head, and when the head is
// complete the whole block is copied into the header's arena at offset 0.

// line is one field line as offsets into the head.
type line struct {
	id       message.ID
	nameLen  int // the name begins where the line begins
	value    int
	valueLen int
}

// nextLine returns the end (the offset of its LF) of the line that begins at at, or -1 if it is
// not complete. reason is LineEndInvalid if it does not end with CR LF.
func nextLine(b []byte, at int) (end int, reason message.Reason) {
	i := bytes.IndexByte(b[at:], '\n')
	if i < 0 {
		return -1, message.ReasonNone
	}
	if i == 0 || b[at+i-1] != '\r' {
		return at + i, message.LineEndInvalid
	}
	return at + i, message.ReasonNone
}

// parseField reads the field line b[at:end], end being the offset of its CR.
func parseField(b []byte, at, end int) (f line, reason message.Reason) {
	l := b[at:end]
	if l[0] == ' ' || l[0] == '\t' {
		return f, message.HeaderFolded // RFC 9112 section 5.2
	}
	n := 0
	for n < len(l) && message.IsTokenByte(l[n]) {
		n++
	}
	if n == len(l) {
		return f, message.HeaderInvalid
	}
	if l[n] != ':' {
		if l[n] == ' ' || l[n] == '\t' {
			return f, message.HeaderInvalid // RFC 9112 section 5.1: no space before the colon
		}
		return f, message.HeaderNameInvalid
	}
	if n == 0 || n > maxNameLen {
		return f, message.HeaderNameInvalid
	}
	v, e := n+1, len(l)
	for v < e && (l[v] == ' ' || l[v] == '\t') {
		v++
	}
	for e > v && (l[e-1] == ' ' || l[e-1] == '\t') {
		e--
	}
	if !message.LegalValue(l[v:e]) {
		return f, message.HeaderValueInvalid
	}
	return line{id: message.Lookup(l[:n]), nameLen: n, value: at + v, valueLen: e - v}, message.ReasonNone
}

// enter enters the line b[at:cr] into h, whose arena gets the whole head later.
func (f *line) enter(h *message.Header, b []byte, at, cr int) {
	plain := f.value == at+f.nameLen+2 && b[f.value-1] == ' ' && f.value+f.valueLen == cr
	h.AddLine(f.id, uint32(at), f.nameLen, uint32(f.value), f.valueLen, plain)
}

// maxNameLen bounds a field name; nothing sensible comes near it.
const maxNameLen = 1024

// parseLength reads a Content-Length: one plain decimal number (RFC 9112 section 6.3 item 5).
func parseLength(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 { // 18 digits fit an int64
		return 0, false
	}
	n := int64(0)
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// parseVersion reads "HTTP/1.0" or "HTTP/1.1". ok is false if b is no HTTP version at all; a
// version of another major number is known == ProtocolUnknown.
func parseVersion(b []byte) (known message.Protocol, ok bool) {
	switch string(b) {
	case "HTTP/1.1":
		return message.HTTP11, true
	case "HTTP/1.0":
		return message.HTTP10, true
	}
	if len(b) == 8 && string(b[:5]) == "HTTP/" && isDigit(b[5]) && b[6] == '.' && isDigit(b[7]) {
		if b[5] == '1' {
			return message.HTTP11, true // a later minor version is spoken to as 1.1 (RFC 9110 section 6.2)
		}
		return message.ProtocolUnknown, true
	}
	return message.ProtocolUnknown, false
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// connectionOptions is what the Connection fields of a message say.
type connectionOptions struct {
	close     bool
	keepAlive bool
	upgrade   bool
	fields    bool // fields are listed, which belong to this connection only
}

func (o *connectionOptions) read(v []byte) {
	for {
		token, rest, ok := message.NextElement(v)
		if !ok {
			return
		}
		v = rest
		switch {
		case message.EqualFold(token, "keep-alive"):
			o.keepAlive = true
		case message.EqualFold(token, "close"):
			o.close = true
		case message.EqualFold(token, "upgrade"):
			o.upgrade = true
		default:
			o.fields = true
		}
	}
}

// maxConnectionTokens bounds what a Connection field may list: removing is tokens times fields.
const maxConnectionTokens = 32

// removeConnectionFields removes the fields that Connection lists: they belong to this
// connection (RFC 9110 section 7.6.1). It runs before the proxy sets fields of its own, so a
// client can only take away what it sent itself. It reports false if the list is too long.
func removeConnectionFields(h *message.Header) bool {
	tokens := 0
	for i := 0; i < h.Len(); i++ {
		f := h.At(i)
		if f.ID != message.Connection {
			continue
		}
		rest := f.Value
		for {
			token, r, ok := message.NextElement(rest)
			if !ok {
				break
			}
			rest = r
			if tokens++; tokens > maxConnectionTokens {
				return false
			}
			id := message.Lookup(token)
			if id != 0 && id.Flags()&(message.FlagFraming|message.FlagHop) != 0 {
				continue // framing is not the sender's to take away; hop fields go anyway
			}
			for j := h.Len() - 1; j >= 0; j-- {
				g := h.At(j)
				if g.ID == id && (id != 0 || message.EqualFold(g.Name, token)) {
					h.RemoveAt(j)
					if j < i {
						i--
					}
				}
			}
		}
	}
	return true
}
