package cache

import (
	"bytes"

	"github.com/sluice-gateway/sluice/message"
)

// opaque returns an entity tag without its weakness, for the weak comparison (RFC 9110 section 8.8.3.2).
func opaque(tag []byte) []byte {
	if len(tag) > 2 && tag[0] == 'W' && tag[1] == '/' {
		return tag[2:]
	}
	return tag
}

// strong reports whether tag is a strong entity tag.
func strong(tag []byte) bool { return len(tag) >= 2 && tag[0] == '"' && tag[len(tag)-1] == '"' }

// nextTag cuts the first entity tag off a list (RFC 9110 section 13.1.2). Tags that somebody has forgotten to quote are taken as they stand.
func nextTag(list []byte) (tag, rest []byte, ok bool) {
	for len(list) > 0 && (list[0] == ' ' || list[0] == '\t' || list[0] == ',') {
		list = list[1:]
	}
	if len(list) == 0 {
		return nil, nil, false
	}
	n, quoted := 0, false
	for ; n < len(list) && (quoted || list[n] != ','); n++ {
		if list[n] == '"' { // there are no escapes in a tag
			quoted = !quoted
		}
	}
	return message.TrimSpace(list[:n]), list[n:], true
}

// matchesAny reports whether the If-None-Match of a request names tag, or everything.
func matchesAny(h *message.Header, tag []byte) bool {
	tag = opaque(tag)
	for i := range h.Len() {
		f := h.At(i)
		if f.ID != message.IfNoneMatch {
			continue
		}
		if string(message.TrimSpace(f.Value)) == "*" {
			return true
		}
		for t, rest, ok := nextTag(f.Value); ok; t, rest, ok = nextTag(rest) {
			if len(tag) > 0 && bytes.Equal(opaque(t), tag) {
				return true
			}
		}
	}
	return false
}

// conditional reports whether the request has a condition that a cache evaluates.
func conditional(h *message.Header) bool {
	return h.Has(message.IfNoneMatch) || h.Has(message.IfModifiedSince)
}

// unmodified evaluates the conditions of a request for a stored answer with the fields of stored (RFC 9111 section 4.3.2, RFC 9110 section 13.2.2)
// and reports whether it is answered by 304. now is in seconds since 1970.
func unmodified(q, stored *message.Header, now int64) bool {
	if q.Has(message.IfNoneMatch) { // If-Modified-Since counts for nothing beside it
		return matchesAny(q, stored.Get(message.ETag))
	}
	since, ok := dateOf(q, message.IfModifiedSince, now)
	if !ok {
		return false
	}
	modified, ok := dateOf(stored, message.LastModified, now)
	if !ok {
		modified, ok = dateOf(stored, message.Date, now)
	}
	return ok && modified <= since
}

// conditionIDs are the fields of conditional and range requests. Read-only.
var conditionIDs = [...]message.ID{
	message.IfNoneMatch, message.IfModifiedSince, message.IfMatch, message.IfUnmodifiedSince, message.IfRange, message.Range,
}

// dropConditions takes the client's conditions from the request of a fetch: they are about what the client has.
func dropConditions(h *message.Header) {
	for _, id := range conditionIDs {
		if h.Has(id) {
			h.Remove(id.Name())
		}
	}
}

// addConditions makes a request one that validates a stored answer (RFC 9111 section 4.3.1). It reports false if the answer has nothing to be
// recognised by.
func addConditions(h, stored *message.Header) bool {
	some := false
	if tag := stored.Get(message.ETag); len(tag) > 0 && stored.Count(message.ETag) == 1 {
		h.Set(message.IfNoneMatch.Name(), tag)
		some = true
	}
	if date := stored.Get(message.LastModified); len(date) > 0 && stored.Count(message.LastModified) == 1 {
		h.Set(message.IfModifiedSince.Name(), date)
		some = true
	}
	return some
}

// left304 are fields of a 200 that a 304 does not repeat: they describe a body (RFC 9110 section 15.4.5). Read-only.
var left304 = [...]message.ID{
	message.ContentEncoding, message.ContentLanguage, message.ContentType, message.ContentRange, message.ContentMD5, message.ContentDigest,
	message.Digest, message.ContentDisposition,
}

// described reports whether the field describes the body of an answer, so that a 304 cannot change it (RFC 9111 section 3.2).
func described(id message.ID) bool {
	switch id {
	case message.ETag, message.ContentEncoding, message.ContentLength, message.ContentRange, message.ContentMD5, message.ContentDigest, message.Digest:
		return true
	}
	return false
}
