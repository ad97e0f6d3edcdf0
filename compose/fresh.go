package compose

import (
	"bytes"
	"strconv"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// freshness is how long answers may be kept (RFC 9111 sections 4.2 and 5.2.2): that of one part, or the least of several.
type freshness struct {
	noStore bool
	private bool
	noCache bool  // a part says it, or says nothing
	known   bool  // seconds says something
	seconds int64 // that all parts are still fresh for
}

// freshnessOf reads the freshness of an answer. safe says that the request changes nothing: answers to others are not kept.
func freshnessOf(h *message.Header, safe bool) freshness {
	f := freshness{noStore: !safe}
	for i := h.Index(cacheControl, 0); i >= 0; i = h.Index(cacheControl, i+1) {
		for rest := h.At(i).Value; len(rest) > 0; {
			var directive []byte
			directive, rest = cutElement(rest)
			f.read(directive)
		}
	}
	if !f.known {
		f.expires(h)
	}
	if !f.known {
		f.noCache = true
		return f
	}
	if age, ok := seconds(h.Get(message.Age)); ok {
		f.seconds = max(f.seconds-age, 0)
	}
	return f
}

// cutElement cuts the first element off a list (RFC 9110 section 5.6.1). A comma in quotes separates nothing.
func cutElement(list []byte) (element, rest []byte) {
	quoted := false
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case c == ',' && !quoted:
			return message.TrimSpace(list[:i]), list[i+1:]
		}
	}
	return message.TrimSpace(list), nil
}

// read takes one directive of Cache-Control. What limits keeping to certain fields limits it altogether.
func (f *freshness) read(directive []byte) {
	name, value, _ := bytes.Cut(directive, equals)
	switch {
	case message.EqualFold(name, "no-store"):
		f.noStore = true
	case message.EqualFold(name, "private"):
		f.private = true
	case message.EqualFold(name, "no-cache"):
		f.noCache = true
	case message.EqualFold(name, "max-age"), message.EqualFold(name, "s-maxage"):
		n, ok := seconds(bytes.Trim(value, `"`))
		if !ok {
			n = 0 // what cannot be read is stale (RFC 9111 section 4.2.1)
		}
		f.least(n)
	}
}

var equals = []byte{'='}

// least takes a lifetime into account.
func (f *freshness) least(n int64) {
	if !f.known || n < f.seconds {
		f.known, f.seconds = true, n
	}
}

// seconds reads a number of seconds. One that is larger than any clock can tell is just large (RFC 9111 section 1.2.2).
func seconds(v []byte) (int64, bool) {
	const most = 1 << 31
	n := int64(0)
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+int64(c-'0'), most)
	}
	return n, len(v) > 0
}

// expires reads the lifetime from Expires and Date, which says the same in another way.
func (f *freshness) expires(h *message.Header) {
	v := h.Get(message.Expires)
	if v == nil {
		return
	}
	at, ok := httpDate(v)
	from, dated := httpDate(h.Get(message.Date))
	if !dated {
		from = time.Now()
	}
	n := int64(0)
	if ok {
		n = max(int64(at.Sub(from)/time.Second), 0)
	}
	f.least(n)
}

// httpDate reads a date in the form that is sent (RFC 9110 section 5.6.7).
func httpDate(v []byte) (time.Time, bool) {
	if len(v) != len(time.RFC1123) {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC1123, string(v))
	return t, err == nil
}

// merge makes f the least of itself and another.
func (f *freshness) merge(g freshness) {
	f.noStore = f.noStore || g.noStore
	f.private = f.private || g.private
	f.noCache = f.noCache || g.noCache
	if g.known {
		f.least(g.seconds)
	}
}

// appendTo appends the freshness as Cache-Control.
func (f *freshness) appendTo(b []byte) []byte {
	if f.noStore {
		return append(b, "no-store"...)
	}
	if f.private {
		b = append(b, "private, "...)
	}
	if f.noCache || !f.known {
		return append(b, "no-cache"...)
	}
	return strconv.AppendInt(append(b, "max-age="...), f.seconds, 10)
}
