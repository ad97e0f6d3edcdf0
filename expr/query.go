package expr

import (
	"bytes"
)

// Parameter is one parameter of a query as it was sent, still encoded. Its slices belong to the query that it was cut from.
type Parameter struct {
	Raw   []byte // the whole parameter, as between two "&"; may be empty
	Name  []byte // before the first "="
	Value []byte // behind the first "=", nil if there is none
}

// CutParameter cuts the first parameter off a query (without "?") and returns it with the rest; more is false when nothing follows, not
// even an empty parameter. Parameters are separated by "&" alone, as the WHATWG URL standard (application/x-www-form-urlencoded) and
// nearly all servers read them: a ";" belongs to its value.
func CutParameter(query []byte) (p Parameter, rest []byte, more bool) {
	p.Raw, rest, more = bytes.Cut(query, ampersand)
	p.Name = p.Raw
	if i := bytes.IndexByte(p.Raw, '='); i >= 0 {
		p.Name, p.Value = p.Raw[:i:i], p.Raw[i+1:]
	}
	return p, rest, more
}

var ampersand = []byte{'&'}

// FindParameter returns the encoded value of the first parameter of that (decoded) name; ok is false if there is none. A parameter
// without "=" has an empty value.
func FindParameter(query []byte, name string) (value []byte, ok bool) {
	for len(query) > 0 {
		p := query
		if i := bytes.IndexByte(query, '&'); i >= 0 {
			p, query = query[:i], query[i+1:]
		} else {
			query = nil
		}
		// An empty piece ("a&&b", or a final "&") is no parameter. Most others are told apart by their first byte.
		if len(p) == 0 || name != "" && p[0] != name[0] && p[0] != '%' && p[0] != '+' {
			continue
		}
		end := bytes.IndexByte(p, '=')
		if end < 0 {
			end = len(p)
		}
		if EqualDecoded(p[:end], name) {
			return p[min(end+1, len(p)):], true
		}
	}
	return nil, false
}

// EqualDecoded reports whether an encoded name or value of a query decodes to text.
func EqualDecoded(encoded []byte, text string) bool {
	i := 0
	for len(encoded) > 0 {
		if i == len(text) {
			return false
		}
		var c byte
		if c, encoded = nextDecoded(encoded); c != text[i] {
			return false
		}
		i++
	}
	return i == len(text)
}

// AppendDecoded appends the decoded form of a name or value of a query: "+" is a space, escapes are decoded once, and what is not an
// escape stays as it is (WHATWG URL, percent-decode).
func AppendDecoded(dst, encoded []byte) []byte {
	for len(encoded) > 0 {
		var c byte
		c, encoded = nextDecoded(encoded)
		dst = append(dst, c)
	}
	return dst
}

// nextDecoded decodes the first byte of encoded, which is not empty.
func nextDecoded(encoded []byte) (byte, []byte) {
	switch c := encoded[0]; {
	case c == '+':
		return ' ', encoded[1:]
	case c == '%' && len(encoded) >= 3:
		high, low := unhex(encoded[1]), unhex(encoded[2])
		if high < 16 && low < 16 {
			return high<<4 | low, encoded[3:]
		}
	}
	return encoded[0], encoded[1:]
}

// unhex returns the value of a hexadecimal digit, 255 for other bytes.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 255
}
