package message

import "bytes"

// This file holds the one reading of a request target's path (RFC 3986 sections 2.3, 5.2.4 and 6.2.2). It is made once, before routing; what it
// yields is matched, authorised, cached, logged and forwarded. What could be read in two ways is refused and not repaired.

// SlashRule says what becomes of slashes that follow each other.
type SlashRule uint8

// The slash rules.
const (
	SlashesMerge  SlashRule = iota // one slash is left
	SlashesKeep                    // they stay
	SlashesRefuse                  // the path is refused
)

// PathRules are the readings that a listener or route may choose. The zero value is the strictest that every client lives with.
type PathRules struct {
	Slashes          SlashRule
	KeepBackslash    bool // `\` and %5C pass; by default they are refused, because some servers read them as a slash
	KeepEncodedSlash bool // %2F is trusted to be read as it is meant: AppendPath does not report it
}

// The classes of bytes in a path.
const (
	pathPlain     = iota // stays as it is
	pathSlash            // ends a segment
	pathEscape           // '%'
	pathSemicolon        // begins the parameters of a segment
	pathBackslash        // refused or kept
	pathBad              // never legal: a control byte, a space, '?', '#', a byte over 0x7F
)

// pathTable is read-only: the class of every byte. Visible ASCII that RFC 3986 would have escaped ('"', '<', '|', …) is plain: browsers send it.
var pathTable = func() (t [256]uint8) {
	for c := range t {
		if c <= ' ' || c >= 0x7F {
			t[c] = pathBad
		}
	}
	t['/'], t['%'], t[';'], t['\\'], t['?'], t['#'] = pathSlash, pathEscape, pathSemicolon, pathBackslash, pathBad, pathBad
	return t
}()

// unreservedTable is read-only: the bytes that mean the same with and without an escape (RFC 3986 section 2.3).
var unreservedTable = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-32] = true, true
	}
	for _, c := range "-._~" {
		t[c] = true
	}
	return t
}()

// hexTable is read-only: the value of a hexadecimal digit, 0xFF for other bytes.
var hexTable = func() (t [256]uint8) {
	for c := range t {
		t[c] = 0xFF
	}
	for c := range 10 {
		t['0'+c] = uint8(c)
	}
	for c := range 6 {
		t['a'+c], t['A'+c] = uint8(10+c), uint8(10+c)
	}
	return t
}()

const upperHex = "0123456789ABCDEF"

// Unescape returns the byte that the escape at b[i] stands for, if b[i] is a '%' that begins one.
func Unescape(b []byte, i int) (c byte, ok bool) {
	if i+2 >= len(b) || b[i] != '%' {
		return 0, false
	}
	high, low := hexTable[b[i+1]], hexTable[b[i+2]]
	return high<<4 | low, high|low < 16
}

// appendEscape appends c percent-encoded.
func appendEscape(dst []byte, c byte) []byte {
	return append(dst, '%', upperHex[c>>4], upperHex[c&15])
}

// PlainPath reports whether raw is already the canonical reading of itself under all rules, with nothing in it that would have to be looked at
// again: no escape, no parameter, no dot segment, no empty segment. It says no to some canonical paths (those with escapes).
func PlainPath(raw []byte) bool {
	if len(raw) == 0 || raw[0] != '/' {
		return false
	}
	for i, c := range raw {
		switch pathTable[c] {
		case pathPlain:
		case pathSlash:
			// A dot at the beginning of a segment need not be a dot segment; the long way finds out.
			if i+1 < len(raw) && (raw[i+1] == '/' || raw[i+1] == '.') {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// AppendPath appends the canonical reading of raw, the path of a request target without its query, to dst:
//
//   - escapes of unreserved characters are decoded, the digits of the others made upper case;
//   - plain dot segments are resolved, none leads above the root;
//   - slashes that follow each other are treated as the rules say.
//
// encodedSlash reports that path holds %2F, whose reading as a separator could select another route; KeepEncodedSlash silences it.
//
// A path that does not begin with '/', has a broken escape, %00, an overlong UTF-8 sequence, or a byte that no path may hold is PathInvalid. One
// that another server could read differently is PathAmbiguous: a dot segment in any disguise (escaped once or more, joined to something by an encoded
// slash, a backslash, or parameters), a backslash, a segment of parameters only. With a reason other than ReasonNone, path is nil if the target is
// not well-formed; else it is the best reading there is, for listeners that only warn.
//
// The canonical reading of a canonical path is itself. It does not allocate beyond growing dst.
func AppendPath(dst, raw []byte, rules PathRules) (path []byte, encodedSlash bool, reason Reason) {
	if PlainPath(raw) {
		return append(dst, raw...), false, ReasonNone
	}
	if len(raw) == 0 || raw[0] != '/' {
		return nil, false, PathInvalid
	}
	p := pathReader{out: append(dst, '/'), base: len(dst), rules: rules}
	for rest, more := raw[1:], true; more; {
		var segment []byte
		end := bytes.IndexByte(rest, '/')
		if more = end >= 0; more {
			segment, rest = rest[:end], rest[end+1:]
		} else {
			segment = rest
		}
		if !p.segment(segment, more) {
			return nil, false, PathInvalid
		}
	}
	if p.slashed && !rules.KeepEncodedSlash {
		// A segment that held it may have been resolved away. Every '%' of a canonical path begins an escape, so this finds no other.
		encodedSlash = bytes.Contains(p.out[p.base:], []byte("%2F"))
	}
	return p.out, encodedSlash, p.reason
}

// pathReader is the state of AppendPath. Between segments, out ends in '/'.
type pathReader struct {
	out     []byte
	base    int // where the path begins in out
	rules   PathRules
	slashed bool // an encoded slash was seen
	reason  Reason
}

// refuse notes a reason; that a path is invalid weighs more than that it is ambiguous.
func (p *pathReader) refuse(r Reason) {
	if p.reason != PathInvalid {
		p.reason = r
	}
}

// segment reads one segment; more says that a slash follows it. It returns false if the segment is not well-formed.
func (p *pathReader) segment(raw []byte, more bool) bool {
	if len(raw) == 0 {
		if more && p.rules.Slashes == SlashesRefuse {
			p.refuse(PathAmbiguous)
		}
		if more && p.rules.Slashes != SlashesMerge {
			p.out = append(p.out, '/')
		}
		return true
	}
	if raw[0] == ';' {
		p.refuse(PathAmbiguous) // without its parameters it is empty
	}
	start := len(p.out)
	suspect, ok := p.bytes(raw)
	if !ok {
		return false
	}
	if suspect && hidesDots(p.out, raw) {
		p.refuse(PathAmbiguous)
	}
	switch string(p.out[start:]) {
	case ".":
		p.out = p.out[:start]
	case "..":
		p.out = p.out[:start]
		if start > p.base+1 {
			p.out = p.out[:p.base+bytes.LastIndexByte(p.out[p.base:start-1], '/')+1]
		}
	default:
		if more {
			p.out = append(p.out, '/')
		}
	}
	return true
}

// bytes appends the canonical form of a segment. suspect says that it may hide a dot segment.
func (p *pathReader) bytes(raw []byte) (suspect, ok bool) {
	dot, other := false, false // what a disguise is made of
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		class := pathTable[c]
		other = other || class != pathPlain
		switch class {
		case pathEscape:
			e, ok := Unescape(raw, i)
			if !ok {
				return false, false
			}
			p.escape(e, raw[i+3:])
			// %25 may be the first layer of an encoded dot.
			dot = dot || e == '.' || e == '%'
			i += 2
			continue
		case pathBackslash:
			if !p.rules.KeepBackslash {
				p.refuse(PathAmbiguous)
			}
		case pathBad:
			return false, false
		}
		dot = dot || c == '.'
		p.out = append(p.out, c)
	}
	return dot && other, true
}

// escape appends the canonical form of an escaped byte; next is what follows the escape.
func (p *pathReader) escape(c byte, next []byte) {
	switch {
	case unreservedTable[c]:
		p.out = append(p.out, c)
		return
	case c == '/':
		p.slashed = true
	case c == '\\' && !p.rules.KeepBackslash:
		p.refuse(PathAmbiguous)
	case c == 0, c >= 0xC0 && overlong(c, following(next)):
		p.refuse(PathInvalid)
	}
	p.out = appendEscape(p.out, c)
}

// overlong reports whether the bytes c and next begin a UTF-8 sequence longer than its character needs (RFC 3629 section 3): a tolerant decoder would
// find a slash or a dot in it. Other bytes that are not UTF-8 pass; old clients send Latin-1.
func overlong(c, next byte) bool {
	switch c {
	case 0xC0, 0xC1: // whatever follows: some decoders do not look
		return true
	case 0xE0:
		return next >= 0x80 && next < 0xA0
	case 0xF0:
		return next >= 0x80 && next < 0x90
	case 0xF8:
		return next >= 0x80 && next < 0x88
	case 0xFC:
		return next >= 0x80 && next < 0x84
	}
	return false
}

// following returns the byte whose escape b begins with, or 0.
func following(b []byte) byte {
	c, ok := Unescape(b, 0)
	if !ok {
		return 0
	}
	return c
}

// isDots reports whether b is "." or "..".
func isDots(b []byte) bool { return string(b) == "." || string(b) == ".." }

// hidesDots reports whether some server could find a dot segment in b: after decoding it as often as there is something to decode, reading slashes and
// backslashes as separators, and dropping parameters. It uses the memory behind dst and leaves dst as it is.
func hidesDots(dst, b []byte) bool {
	n := len(dst)
	for _, c := range b {
		dst = append(dst, c)
		// One decoding can complete the next: %25%32%65 is %2e is a dot. Each makes dst two bytes shorter, so the work stays linear.
		for k := len(dst) - 3; k >= n; k -= 2 {
			e, ok := Unescape(dst, k)
			if !ok {
				break
			}
			dst = append(dst[:k], e)
		}
	}
	for rest := dst[n:]; ; {
		piece, end := rest, bytes.IndexAny(rest, `/\`)
		if end >= 0 {
			piece = rest[:end]
		}
		if i := bytes.IndexByte(piece, ';'); i >= 0 {
			piece = piece[:i]
		}
		if isDots(piece) {
			return true
		}
		if end < 0 {
			return false
		}
		rest = rest[end+1:]
	}
}

// CheckQuery reports whether a query (without "?") may be forwarded as it was sent: PathInvalid if it holds a control byte, a space, '#' or a byte over
// 0x7F, else ReasonNone. Escapes in it are not looked at.
func CheckQuery(raw []byte) Reason {
	for _, c := range raw {
		if pathTable[c] == pathBad && c != '?' {
			return PathInvalid
		}
	}
	return ReasonNone
}

// AppendMatchPath appends the form of a canonical path in which patterns are matched: without the parameters of segments, and with every escape of
// visible ASCII decoded but those of '/', ';' and '%', so that no other spelling of a literal slips past its route (%40 past "@"). A pattern's
// literals are brought to the same form. With slash, %2F is read as a slash, and slashes that then follow each other are merged.
func AppendMatchPath(dst, path []byte, slash bool) []byte {
	base := len(dst)
	parameters := false
	for i := 0; i < len(path); i++ {
		c := path[i]
		escaped := false
		if e, ok := Unescape(path, i); ok {
			c, escaped = e, true
			i += 2
		}
		switch {
		case c == '/' && (!escaped || slash):
			parameters = false
			if slash && len(dst) > base && dst[len(dst)-1] == '/' {
				continue
			}
			dst = append(dst, '/')
		case parameters:
		case !escaped && c == ';':
			parameters = true
		case escaped && (c <= ' ' || c >= 0x7F || c == '/' || c == ';' || c == '%'):
			dst = appendEscape(dst, c)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// AppendDecoded appends b with its escapes decoded, once: %252F becomes %2F. A '%' that begins no escape stays.
func AppendDecoded(dst, b []byte) []byte {
	for i := 0; i < len(b); i++ {
		c := b[i]
		if e, ok := Unescape(b, i); ok {
			c = e
			i += 2
		}
		dst = append(dst, c)
	}
	return dst
}

// AppendPathValue appends value, which is put into a path for one segment or a part of one, percent-encoded: every byte but the unreserved ones, '/' and
// '%' included, so that a decoded capture arrives as its client sent it. A value that is empty, a dot segment, or one after decoding, or that
// hides one among others, or holds NUL or overlong UTF-8, is refused with PathValueInvalid; dst is then returned as it was.
func AppendPathValue(dst, value []byte) ([]byte, Reason) {
	if len(value) == 0 || !validPathValue(dst, value) {
		return dst, PathValueInvalid
	}
	return appendEncoded(dst, value, false), ReasonNone
}

// AppendPathRest is AppendPathValue for a value of several segments, as {name...} and a final * capture them: '/' stays a separator, and the value may be
// empty.
func AppendPathRest(dst, value []byte) ([]byte, Reason) {
	if !validPathValue(dst, value) {
		return dst, PathValueInvalid
	}
	return appendEncoded(dst, value, true), ReasonNone
}

// AppendQueryValue appends value percent-encoded for a name or value in a query: every byte but the unreserved ones, so that no '&', '=' or '+' of
// it is read as one of the query's own.
func AppendQueryValue(dst, value []byte) []byte { return appendEncoded(dst, value, false) }

func appendEncoded(dst, value []byte, slash bool) []byte {
	for _, c := range value {
		if unreservedTable[c] || slash && c == '/' {
			dst = append(dst, c)
		} else {
			dst = appendEscape(dst, c)
		}
	}
	return dst
}

// validPathValue reports whether value, encoded, is something that AppendPath would accept. It uses the memory behind dst.
func validPathValue(dst, value []byte) bool {
	special := false
	for i, c := range value {
		special = special || !unreservedTable[c] || c == '.'
		if c != 0 && c < 0xC0 {
			continue
		}
		next := byte(0)
		if i+1 < len(value) {
			next = value[i+1]
		}
		if c == 0 || overlong(c, next) {
			return false
		}
	}
	return !special || !hidesDots(dst, value)
}
