package policy

import (
	"bytes"

	"github.com/sluice-gateway/sluice/message"
)

// Names and values of fields that body policies look at or write; read-only.
var (
	acceptEncoding  = message.AcceptEncoding.Name()
	acceptRanges    = message.AcceptRanges.Name()
	contentDigest   = message.ContentDigest.Name()
	contentEncoding = message.ContentEncoding.Name()
	contentLength   = message.ContentLength.Name()
	contentMD5      = message.ContentMD5.Name()
	contentType     = message.ContentType.Name()
	digestField     = message.Digest.Name()
	etag            = message.ETag.Name()
	ifRange         = message.IfRange.Name()
	rangeField      = message.Range.Name()
	reprDigest      = message.NameOf("Repr-Digest")

	identityCoding = []byte("identity")
	jsonContent    = []byte("application/json")
)

// mediaType returns the media type of a message without parameters; nil if there is none, or more than one.
func mediaType(h *message.Header) []byte {
	if h.Count(message.ContentType) != 1 {
		return nil
	}
	t := h.Get(message.ContentType)
	if i := bytes.IndexByte(t, ';'); i >= 0 {
		t = t[:i]
	}
	return message.TrimSpace(t)
}

// jsonType reports whether the message says that its body is JSON: application/json, or a type with the suffix +json (RFC 6839 section 3.1).
func jsonType(h *message.Header) bool { return isJSONType(mediaType(h)) }

func isJSONType(t []byte) bool {
	const suffix = "+json"
	if message.EqualFold(t, "application/json") {
		return true
	}
	n := len(t) - len(suffix)
	return n > 0 && bytes.IndexByte(t[:n], '/') > 0 && message.EqualFold(t[n:], suffix)
}

// isEncoded reports whether the body of the message is encoded in some way.
func isEncoded(h *message.Header) bool {
	if !h.Has(message.ContentEncoding) {
		return false
	}
	for i := range h.Len() {
		f := h.At(i)
		if f.ID == message.ContentEncoding && len(f.Value) > 0 && !message.EqualFold(f.Value, "identity") {
			return true
		}
	}
	return false
}

// isGzip reports whether gzip is the only encoding of the body.
func isGzip(h *message.Header) bool {
	v := h.Get(message.ContentEncoding)
	return h.Count(message.ContentEncoding) == 1 && (message.EqualFold(v, "gzip") || message.EqualFold(v, "x-gzip"))
}

// removeDigests removes what was said of bytes that are not the same any more.
func removeDigests(h *message.Header) {
	h.Remove(contentMD5)
	h.Remove(digestField)
	h.Remove(contentDigest)
	h.Remove(reprDigest)
	h.Remove(contentLength)
}

// changedHeader is what a header loses when its body is changed: what names the bytes of the old one. The codec derives length and framing.
func changedHeader(h *message.Header) {
	removeDigests(h)
	h.Remove(contentEncoding)
	h.Remove(acceptRanges)
	weaken(h)
}

// weaken makes an entity tag a weak one (RFC 9110 section 8.8.1): what it stood for byte by byte is sent in another form.
func weaken(h *message.Header) {
	tag := h.Get(message.ETag)
	if tag == nil || bytes.HasPrefix(tag, []byte(`W/"`)) {
		return
	}
	if len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"' || len(tag) > 1000 {
		h.Remove(etag)
		return
	}
	var weak [1024]byte
	h.Set(etag, append(append(weak[:0], "W/"...), tag...))
}
