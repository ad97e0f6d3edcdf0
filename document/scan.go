package document

import (
	"encoding/binary"
	"math/bits"
)

// This file moves over text that is known to be valid JSON. Should it not be (Of takes anybody's word), what is found is nonsense, but
// every step stays within the text and goes forward, so that nothing here panics or runs for ever.

// Eight bytes are looked at as one number: repeat times a byte is that byte eight times, highs are the top bits.
const (
	repeat = 0x0101010101010101
	highs  = 0x80 * repeat
)

// isSpace reports whether c is white space of JSON (RFC 8259 section 2).
func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// skipSpace returns the first index from i on that holds no white space, or len(text).
func skipSpace(text []byte, i int) int {
	for i < len(text) && text[i] <= ' ' && isSpace(text[i]) {
		i++
	}
	return i
}

// skipString returns the index behind the string whose opening quote stands at i, and whether it has escapes.
func skipString(text []byte, i int) (end int, escaped bool) {
	i++
	for {
		// The lowest bit found is exact; those above it may come from its borrow (Hacker's Delight, section 6-1).
		for i+8 <= len(text) {
			w := binary.LittleEndian.Uint64(text[i:])
			quote, slash := w^'"'*repeat, w^'\\'*repeat
			found := ((quote-repeat)&^quote | (slash-repeat)&^slash) & highs
			if found != 0 {
				i += bits.TrailingZeros64(found) >> 3
				break
			}
			i += 8
		}
		for i < len(text) && text[i] != '"' && text[i] != '\\' {
			i++
		}
		switch {
		case i >= len(text):
			return len(text), escaped
		case text[i] == '"':
			return i + 1, escaped
		}
		escaped = true
		i = min(i+2, len(text))
	}
}

// skipValue returns the index behind the value that begins at i. It goes forward by at least one byte unless i is len(text).
func skipValue(text []byte, i int) int {
	if i >= len(text) {
		return len(text)
	}
	switch text[i] {
	case '"':
		end, _ := skipString(text, i)
		return end
	case '{', '[':
		return skipRest(text, i+1)
	}
	return skipScalar(text, i)
}

// skipScalar returns the index behind the number or literal at i.
func skipScalar(text []byte, i int) int {
	for i++; i < len(text); i++ {
		switch text[i] {
		case ',', '}', ']', ' ', '\n', '\r', '\t', ':', '"', '{', '[':
			return i
		}
	}
	return i
}

// The classes of bytes that skipRest looks at.
const (
	scanPlain = iota
	scanQuote
	scanOpen
	scanClose
)

// scanTable is read-only: the class of every byte.
var scanTable = func() (t [256]uint8) {
	t['"'], t['{'], t['['], t['}'], t[']'] = scanQuote, scanOpen, scanOpen, scanClose, scanClose
	return t
}()

// skipRest returns the index behind the array or object within which i stands. It counts brackets without telling them apart: the text has
// been parsed.
func skipRest(text []byte, i int) int {
	for depth := 1; i < len(text); {
		switch scanTable[text[i]] {
		case scanQuote:
			i, _ = skipString(text, i)
			continue
		case scanOpen:
			depth++
		case scanClose:
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return len(text)
}

// cursor walks over the members of an object or the elements of an array.
type cursor struct {
	text []byte
	next int // where the next member or element, white space or the closing bracket begins
}

// enter returns a cursor within the object or array whose text begins at i.
func enter(text []byte, i int) cursor { return cursor{text, i + 1} }

// item is one member or element: text[start:end] is its value, and of a member text[name:nameEnd] its name with quotes.
type item struct {
	name, nameEnd, start, end int
	escaped                   bool // the name has escapes
}

// advance finds the beginning of the next element or member, and reports whether there is one. If not, next is behind the closing bracket.
func (c *cursor) advance() bool {
	i := skipSpace(c.text, c.next)
	if i < len(c.text) && c.text[i] == ',' {
		i = skipSpace(c.text, i+1)
	}
	if i >= len(c.text) || c.text[i] == '}' || c.text[i] == ']' {
		c.next = min(i+1, len(c.text))
		return false
	}
	c.next = i
	return true
}

// element returns the next element of an array.
func (c *cursor) element() (it item, ok bool) {
	if !c.advance() {
		return item{}, false
	}
	it.start = c.next
	it.end = skipValue(c.text, c.next)
	c.next = it.end
	return it, true
}

// member returns the next member of an object.
func (c *cursor) member() (it item, ok bool) {
	if it, ok = c.memberName(); !ok {
		return item{}, false
	}
	it.end = skipValue(c.text, it.start)
	c.next = it.end
	return it, true
}

// memberName returns the next member of an object but for its end. The caller skips the value and sets next behind it.
func (c *cursor) memberName() (it item, ok bool) {
	if !c.advance() {
		return item{}, false
	}
	it.name = c.next
	it.nameEnd, it.escaped = skipString(c.text, c.next)
	i := skipSpace(c.text, it.nameEnd)
	if i < len(c.text) && c.text[i] == ':' {
		i++
	}
	it.start = skipSpace(c.text, i)
	c.next = it.start
	return it, true
}

// nameOf returns the name of a member, between the quotes.
func (c *cursor) nameOf(it item) []byte { return inner(c.text[it.name:it.nameEnd]) }

// inner returns what stands between the quotes of a string.
func inner(s []byte) []byte {
	if len(s) < 2 {
		return nil
	}
	return s[1 : len(s)-1]
}
