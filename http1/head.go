package http1

import (
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// errFieldInvalid is what writers return for a field that a policy or the proxy made and that
// must not go out: what is written is checked as what is read.
var errFieldInvalid = errors.New("a field name or value holds a byte that must not be written")

// appendFields appends the fields of h but those that belong to a connection or frame a
// message, which the codec writes itself, and those with a flag of skip.
func appendFields(dst []byte, h *message.Header, skip message.Flag) ([]byte, error) {
	skip |= message.FlagHop | message.FlagFraming
	for i := 0; i < h.Len(); {
		if lines, next, checked := h.Lines(i, skip); checked {
			dst = append(dst, lines...)
			i = next
			continue
		}
		f := h.At(i)
		i++
		if f.ID.Flags()&skip != 0 {
			continue
		}
		if !message.LegalValue(f.Value) || f.ID == 0 && !message.ValidToken(f.Name) {
			return dst, errFieldInvalid
		}
		dst = append(dst, f.Name...)
		dst = append(dst, ':', ' ')
		dst = append(dst, f.Value...)
		dst = append(dst, '\r', '\n')
	}
	return dst, nil
}

func appendResponseHead(dst []byte, x *message.Exchange, f framing, keep bool, date *dateCache) ([]byte, error) {
	r := &x.Response
	dst = appendStatusLine(dst, r.Status)
	dst, err := appendFields(dst, &r.Header, 0)
	if err != nil {
		return dst, err
	}
	if !r.Header.Has(message.Date) && r.Status >= 200 {
		dst = append(dst, date.now()...)
	}
	switch {
	case f == frameChunked:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	case r.Length >= 0 && r.Status != 204 && r.Status >= 200 && (r.Status != 304 || r.Length > 0):
		// HEAD and 304 state the length that a GET would have (RFC 9110 section 8.6).
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, r.Length, 10)
		dst = append(dst, '\r', '\n')
	}
	switch {
	case !keep:
		dst = append(dst, "Connection: close\r\n"...)
	case x.Request.Protocol == message.HTTP10:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	return append(dst, '\r', '\n'), nil
}

// appendRequestHead appends the request as an endpoint gets it. Host comes first (RFC 9110
// section 7.2).
func appendRequestHead(dst []byte, x *message.Exchange) ([]byte, error) {
	r := &x.Request
	dst = r.Method.AppendTo(dst)
	dst = append(dst, ' ')
	dst = append(dst, r.Path...)
	if r.Query != nil {
		dst = append(dst, '?')
		dst = append(dst, r.Query...)
	}
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, r.Host...)
	if len(r.Port) > 0 {
		dst = append(dst, ':')
		dst = append(dst, r.Port...)
	}
	dst = append(dst, '\r', '\n')
	dst, err := appendFields(dst, &r.Header, 0)
	if err != nil {
		return dst, err
	}
	switch {
	case r.Length == message.LengthUnknown:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	case r.Length > 0 || r.Method.Known == message.POST || r.Method.Known == message.PUT || r.Method.Known == message.PATCH:
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, r.Length, 10)
		dst = append(dst, '\r', '\n')
	}
	switch {
	case r.Upgrade != nil:
		dst = append(dst, "Connection: upgrade\r\nUpgrade: "...)
		dst = append(dst, r.Upgrade...)
		dst = append(dst, '\r', '\n')
	case r.WantsTrailers:
		dst = append(dst, "Connection: TE\r\nTE: trailers\r\n"...)
	}
	return append(dst, '\r', '\n'), nil
}

// legalTarget reports whether a path and query that a policy may have changed can be written:
// visible ASCII only.
func legalTarget(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c >= 0x7F {
			return false
		}
	}
	return true
}

// statusLines is read-only: the status lines with the usual reason phrases.
var statusLines = func() (t [1000]string) {
	for s := range t {
		t[s] = "HTTP/1.1 " + strconv.Itoa(s) + " " + phrases[s] + "\r\n"
	}
	return t
}()

// StatusText returns the reason phrase of a status, "" if it has none here.
func StatusText(status int) string { return phrases[status] }

// phrases is read-only.
var phrases = map[int]string{
	100: "Continue", 101: "Switching Protocols", 102: "Processing", 103: "Early Hints",
	200: "OK", 201: "Created", 202: "Accepted", 203: "Non-Authoritative Information", 204: "No Content",
	205: "Reset Content", 206: "Partial Content", 207: "Multi-Status", 208: "Already Reported", 226: "IM Used",
	300: "Multiple Choices", 301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified",
	305: "Use Proxy", 307: "Temporary Redirect", 308: "Permanent Redirect",
	400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
	405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout",
	409: "Conflict", 410: "Gone", 411: "Length Required", 412: "Precondition Failed", 413: "Content Too Large",
	414: "URI Too Long", 415: "Unsupported Media Type", 416: "Range Not Satisfiable", 417: "Expectation Failed",
	421: "Misdirected Request", 422: "Unprocessable Content", 423: "Locked", 424: "Failed Dependency",
	425: "Too Early", 426: "Upgrade Required", 428: "Precondition Required", 429: "Too Many Requests",
	431: "Request Header Fields Too Large", 451: "Unavailable For Legal Reasons", 499: "Client Closed Request",
	500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
	504: "Gateway Timeout", 505: "HTTP Version Not Supported", 506: "Variant Also Negotiates",
	507: "Insufficient Storage", 508: "Loop Detected", 510: "Not Extended", 511: "Network Authentication Required",
}

func appendStatusLine(dst []byte, status int) []byte {
	if status < 100 || status > 999 {
		status = 500
	}
	return append(dst, statusLines[status]...)
}

// dateCache holds the Date field line of the current second (RFC 9110 section 6.6.1).
type dateCache struct {
	line atomic.Pointer[dateLine]
}

type dateLine struct {
	until int64 // moment of message.Now at which the second ends
	text  []byte
}

func (d *dateCache) now() []byte {
	now := message.Now()
	if l := d.line.Load(); l != nil && now < l.until {
		return l.text
	}
	t := message.WallTime(now).UTC()
	text := t.AppendFormat([]byte("Date: "), "Mon, 02 Jan 2006 15:04:05 GMT\r\n")
	l := &dateLine{until: now + int64(time.Second) - int64(t.Nanosecond()), text: text}
	d.line.Store(l)
	return l.text
}
