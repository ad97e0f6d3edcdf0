package cache

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/sluice-gateway/sluice/message"
)

// span is one range of a body: from first up to but not including end.
type span struct {
	first, end int64
}

// maxSpans bounds how many ranges of one request are served; a request for more gets the whole.
const maxSpans = 16

// partOverhead is what a part costs besides its bytes: ranges that are nearer to each other than that are sent as one (RFC 9110 section 15.3.7.2).
const partOverhead = 80

// parseRanges reads a Range field for a body of size bytes (RFC 9110 section 14.1.2). ok is false if it has to be ignored: it is not of bytes,
// malformed, or asks for more ranges than are served. Without any span in the result, none can be satisfied.
func parseRanges(value []byte, size int64, spans []span) (out []span, ok bool) {
	unit, list, found := bytes.Cut(value, []byte("="))
	if !found || !message.EqualFold(message.TrimSpace(unit), "bytes") {
		return nil, false
	}
	count := 0
	for e, rest, more := message.NextElement(list); more; e, rest, more = message.NextElement(rest) {
		if count++; count > maxSpans {
			return nil, false
		}
		s, legal := parseSpan(e, size)
		if !legal {
			return nil, false
		}
		if s.first < s.end {
			spans = append(spans, s)
		}
	}
	return spans, count > 0
}

// parseSpan reads one range, cut to the size. One that cannot be satisfied is empty.
func parseSpan(e []byte, size int64) (s span, ok bool) {
	from, to, found := bytes.Cut(e, []byte("-"))
	if !found {
		return s, false
	}
	from, to = message.TrimSpace(from), message.TrimSpace(to)
	last, hasLast := offset(to)
	if len(from) == 0 {
		return span{max(0, size-last), size}, hasLast && len(to) > 0
	}
	first, hasFirst := offset(from)
	switch {
	case !hasFirst, len(to) > 0 && (!hasLast || last < first):
		return s, false
	case first >= size:
		return s, true
	case len(to) == 0 || last >= size:
		return span{first, size}, true
	}
	return span{first, last + 1}, true
}

// offset reads a number of bytes. One that is too large for any body is cut.
func offset(b []byte) (n int64, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(10*n+int64(c-'0'), 1<<58)
	}
	return n, len(b) > 0
}

// join brings ranges that overlap, or nearly touch, together. Others stay in the order in which they were asked for.
func join(spans []span) []span {
	if len(spans) < 2 {
		return spans
	}
	sorted := slices.Clone(spans)
	slices.SortFunc(sorted, func(a, b span) int {
		switch {
		case a.first < b.first:
			return -1
		case a.first > b.first:
			return 1
		}
		return 0
	})
	out := sorted[:1]
	for _, s := range sorted[1:] {
		if last := &out[len(out)-1]; s.first <= last.end+partOverhead {
			last.end = max(last.end, s.end)
			continue
		}
		out = append(out, s)
	}
	if len(out) == len(spans) {
		return spans
	}
	return out
}

// giveRanges turns the response of x, which is filled with the whole of e, into the parts that the request asks for, if it may (RFC 9110 section 14.2).
func giveRanges(x *message.Exchange, e *Entry, now int64) {
	q := &x.Request.Header
	if q.Count(message.Range) > 1 || e.header.Has(message.ContentRange) || !unchanged(q, &e.header, message.WallTime(now).Unix()) {
		return
	}
	var room [maxSpans]span
	spans, ok := parseRanges(q.Get(message.Range), e.length, room[:0])
	if !ok {
		return
	}
	p := &x.Response
	if len(spans) == 0 {
		_ = p.Body.Close() // nothing was read
		p.Status, p.Body, p.Length = 416, message.NoBody{}, 0
		for _, id := range left304 {
			p.Header.Remove(id.Name())
		}
		p.Header.Set(message.ContentRange.Name(), strconv.AppendInt([]byte("bytes */"), e.length, 10))
		return
	}
	spans = join(spans)
	if wanted(spans) >= e.length && len(spans) > 1 {
		return // the whole is shorter than its parts
	}
	_ = p.Body.Close() // nothing was read
	p.Status = 206
	if len(spans) == 1 {
		s := spans[0]
		p.Header.Set(message.ContentRange.Name(), appendContentRange(nil, s, e.length))
		p.Body, p.Length = &chunkBody{chunks: slice(e.chunks, s.first, s.end)}, s.end-s.first
		return
	}
	giveParts(x, e, spans)
}

// wanted returns how many bytes the parts have with what stands around them.
func wanted(spans []span) (n int64) {
	for _, s := range spans {
		n += s.end - s.first + partOverhead
	}
	return n
}

// unchanged evaluates If-Range (RFC 9110 section 13.1.5): the stored answer has to be exactly what the client has a part of.
func unchanged(q, stored *message.Header, now int64) bool {
	v := q.Get(message.IfRange)
	if v == nil {
		return true
	}
	if q.Count(message.IfRange) > 1 {
		return false
	}
	if strong(v) {
		return bytes.Equal(v, stored.Get(message.ETag))
	}
	since, ok := parseDate(v, now)
	modified, has := dateOf(stored, message.LastModified, now)
	date, dated := dateOf(stored, message.Date, now)
	// A date is a strong validator only when the answer was made so long after it that it cannot have changed twice in that second (section 8.8.2.2).
	return ok && has && dated && since == modified && date-modified >= 60
}

// appendContentRange appends the value of Content-Range.
func appendContentRange(dst []byte, s span, size int64) []byte {
	dst = append(dst, "bytes "...)
	dst = strconv.AppendInt(dst, s.first, 10)
	dst = append(dst, '-')
	dst = strconv.AppendInt(dst, s.end-1, 10)
	dst = append(dst, '/')
	return strconv.AppendInt(dst, size, 10)
}

// giveParts gives several parts (RFC 9110 section 14.6). The boundary comes from a seeded hash, so that no body can be made to hold it.
func giveParts(x *message.Exchange, e *Entry, spans []span) {
	boundary := strconv.AppendUint(append([]byte(nil), "sluice-"...), e.hash^uint64(e.stamped)*0x9E3779B97F4A7C15, 36)
	kind := bytes.Clone(e.header.Get(message.ContentType))
	var chunks [][]byte
	total := int64(0)
	for i, s := range spans {
		head := make([]byte, 0, 128)
		if i > 0 {
			head = append(head, "\r\n"...)
		}
		head = append(append(append(head, "--"...), boundary...), "\r\n"...)
		if len(kind) > 0 {
			head = append(append(append(head, "Content-Type: "...), kind...), "\r\n"...)
		}
		head = append(appendContentRange(append(head, "Content-Range: "...), s, e.length), "\r\n\r\n"...)
		chunks = append(append(chunks, head), slice(e.chunks, s.first, s.end)...)
		total += int64(len(head)) + s.end - s.first
	}
	tail := append(append(append([]byte(nil), "\r\n--"...), boundary...), "--\r\n"...)
	p := &x.Response
	p.Header.Set(message.ContentType.Name(), append([]byte("multipart/byteranges; boundary="), boundary...))
	p.Header.Remove(message.ContentRange.Name())
	p.Body, p.Length = &chunkBody{chunks: append(chunks, tail)}, total+int64(len(tail))
}
