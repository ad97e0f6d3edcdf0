package cache

import (
	"bytes"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/message"
)

// vary is the set of request fields that answers of a resource depend on, as a Vary field names them (RFC 9110 section 12.5.5). It is immutable.
type vary struct {
	names    []message.Name // in alphabetical order, each once
	text     string         // the names in lower case, joined by commas: two sets are the same when their texts are
	language int            // place of Accept-Language in names, or -1
}

// maxVary bounds how many fields an answer may depend on.
const maxVary = 16

// varyOf reads the Vary fields of a response. v is nil if there are none. any reports a "*", or more names than are kept: such an answer is never used
// again.
func varyOf(h *message.Header) (v *vary, any bool) {
	if !h.Has(message.Vary) {
		return nil, false
	}
	var names []string
	for i := range h.Len() {
		f := h.At(i)
		if f.ID != message.Vary {
			continue
		}
		for e, rest, ok := message.NextElement(f.Value); ok; e, rest, ok = message.NextElement(rest) {
			if string(e) == "*" || !message.ValidToken(e) {
				return nil, true
			}
			if message.Lookup(e).Flags()&message.FlagIdentity != 0 {
				return nil, true // the proxy sets it behind the cache: what a caller sends under that name says nothing
			}
			names = append(names, lower(e))
			if len(names) > 4*maxVary {
				return nil, true
			}
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	switch {
	case len(names) == 0:
		return nil, false
	case len(names) > maxVary:
		return nil, true
	}
	v = &vary{text: strings.Join(names, ","), language: -1}
	for i, n := range names {
		v.names = append(v.names, message.NameOf(n))
		if v.names[i].ID() == message.AcceptLanguage {
			v.language = i
		}
	}
	return v, false
}

// size is what v occupies, in bytes.
func (v *vary) size() int64 {
	if v == nil {
		return 0
	}
	return int64(64 + 32*len(v.names) + 2*len(v.text))
}

// same reports whether two sets are the same.
func (v *vary) same(w *vary) bool {
	if v == nil || w == nil {
		return v == w
	}
	return v == w || v.text == w.text
}

// appendValues appends what the request says in the fields of the set, in a form that is the same for requests that mean the same (RFC 9111 section
// 4.1). With a language it stands in the place of Accept-Language.
func (v *vary) appendValues(dst []byte, h *message.Header, language []byte) []byte {
	if v == nil {
		return dst
	}
	for i, n := range v.names {
		if i == v.language && language != nil {
			dst = append(dst, 2)
			dst = append(dst, language...)
		} else {
			dst = appendNormal(dst, h, n)
		}
		dst = append(dst, 0) // no field value holds it
	}
	return dst
}

// appendNormal appends all values of a field of a request in one form. A field that is absent is another than one that is empty.
func appendNormal(dst []byte, h *message.Header, n message.Name) []byte {
	i := h.Index(n, 0)
	if i < 0 {
		return append(dst, 1)
	}
	start := len(dst)
	single := n.ID().Flags()&message.FlagSingle != 0
	for ; i >= 0; i = h.Index(n, i+1) {
		value := h.At(i).Value
		if single {
			// White space and commas may mean something in what is no list, such as a cookie.
			dst = append(append(dst, value...), '\n')
			continue
		}
		dst = appendElements(dst, value)
	}
	if end := len(dst) - 1; end >= start {
		dst = dst[:end] // the last comma or line end
	}
	switch n.ID() {
	case message.AcceptLanguage, message.AcceptEncoding, message.AcceptCharset:
		return dst[:start+normalWeights(dst[start:])]
	}
	return dst
}

// appendElements appends the elements of a list, each with a comma behind it and without the white space around it. Commas in quoted strings do not
// separate.
func appendElements(dst, list []byte) []byte {
	for len(list) > 0 {
		n, quoted := 0, false
		for ; n < len(list) && (quoted || list[n] != ','); n++ {
			switch list[n] {
			case '"':
				quoted = !quoted
			case '\\':
				if quoted && n+1 < len(list) {
					n++
				}
			}
		}
		if e := message.TrimSpace(list[:n]); len(e) > 0 {
			dst = append(append(dst, e...), ',')
		}
		list = list[min(n+1, len(list)):]
	}
	return dst
}

// maxSorted bounds how many elements are put in order: the order of a longer list is left as it is.
const maxSorted = 32

// normalWeights brings a list of tokens with weights into one form: lower case, no white space, in alphabetical order, because neither means anything
// (RFC 9110 section 12.4.2). It works within b and returns how long the result is.
func normalWeights(b []byte) int {
	n := 0
	for _, c := range b {
		if c == ' ' || c == '\t' {
			continue
		}
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		b[n] = c
		n++
	}
	b = b[:n]
	if bytes.IndexByte(b, ',') < 0 {
		return n
	}
	var room [256]byte
	var parts [maxSorted][]byte
	if n > len(room) {
		return n
	}
	count := 0
	for rest := room[:copy(room[:], b)]; len(rest) > 0; count++ {
		if count == maxSorted {
			return n
		}
		end := bytes.IndexByte(rest, ',')
		if end < 0 {
			end = len(rest)
		}
		parts[count] = rest[:end]
		rest = rest[min(end+1, len(rest)):]
	}
	sortParts(parts[:count])
	out := b[:0]
	for i, p := range parts[:count] {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, p...)
	}
	return n
}

// sortParts is an insertion sort: the lists are short, and slices.SortFunc would let the parts escape.
func sortParts(p [][]byte) {
	for i := 1; i < len(p); i++ {
		for j := i; j > 0 && bytes.Compare(p[j], p[j-1]) < 0; j-- {
			p[j], p[j-1] = p[j-1], p[j]
		}
	}
}

// favourite returns the language that the request wants more than any other, in lower case, or nil if there is no such one. An answer in that
// language is what the origin would choose, whatever else the client would put up with.
func favourite(h *message.Header) []byte {
	i := h.Index(message.AcceptLanguage.Name(), 0)
	if i < 0 || h.Count(message.AcceptLanguage) > 1 {
		return nil
	}
	var best []byte
	top, shared := int64(0), false
	for e, rest, ok := message.NextElement(h.At(i).Value); ok; e, rest, ok = message.NextElement(rest) {
		tag, weight := weighted(e)
		switch {
		case weight > top:
			best, top, shared = tag, weight, false
		case weight == top:
			shared = true
		}
	}
	if shared || len(best) == 0 || best[0] == '*' {
		return nil
	}
	return bytes.ToLower(best)
}

// weighted reads an element with its weight, in thousandths (RFC 9110 section 12.4.2). A weight that cannot be read is 0.
func weighted(e []byte) (token []byte, weight int64) {
	semicolon := bytes.IndexByte(e, ';')
	if semicolon < 0 {
		return e, 1000
	}
	token = message.TrimSpace(e[:semicolon])
	q := message.TrimSpace(e[semicolon+1:])
	if len(q) < 3 || q[0]|0x20 != 'q' || q[1] != '=' {
		return token, 0
	}
	q = q[2:]
	for i, scale := 0, int64(1000); i < len(q); i++ {
		switch {
		case i == 1 && q[i] == '.':
			continue
		case q[i] < '0' || q[i] > '9' || i > 4 || i == 0 && q[i] > '1':
			return token, 0
		}
		weight += int64(q[i]-'0') * scale
		scale /= 10
	}
	return token, min(weight, 1000)
}
