package document

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// The bounds of a document where Limits has none.
const (
	DefaultDepth  = 64
	DefaultKeys   = 10_000
	DefaultDigits = 1000
)

// MaxDepth is the largest depth of a document; a larger limit is read as this one.
const MaxDepth = 1024

// Limits are the bounds of a document. What a field of zero or less means stands beside it.
type Limits struct {
	Depth  int // arrays and objects within each other; DefaultDepth, at most MaxDepth
	Keys   int // members of all objects together; DefaultKeys
	Digits int // digits that a number has when it is written without an exponent, so that 1e999 has 1000; DefaultDigits

	// Duplicates refuses an object with two members of one name. Without it both are there, and the last one counts.
	Duplicates bool
}

// ErrorKind is why a text is refused.
type ErrorKind uint8

// The kinds of errors.
const (
	Invalid       ErrorKind = iota // not JSON (RFC 8259), not UTF-8, or half of a surrogate pair
	TooDeep                        // over Limits.Depth
	TooManyKeys                    // over Limits.Keys
	NumberTooLong                  // over Limits.Digits
	DuplicateKey                   // two members of one name
)

// errorTexts are read-only, in the order of the kinds.
var errorTexts = [...]string{
	"not valid JSON",
	"more arrays and objects within each other than allowed",
	"more members than allowed",
	"a number with more digits than allowed",
	"a second member of the same name",
}

// String returns the kind in words.
func (k ErrorKind) String() string {
	if int(k) < len(errorTexts) {
		return errorTexts[k]
	}
	return "refused"
}

// Error says why and where Parse refuses a text. It holds nothing of the text, and may go to whoever sent it.
type Error struct {
	Kind   ErrorKind
	Offset int // of the byte that is wrong, from 0; the length of the text if it ends too early
}

func (e *Error) Error() string { return e.Kind.String() + " at byte " + strconv.Itoa(e.Offset) }

// Parse checks that text is one JSON value and within the limits, and returns it. It reads the text once, in time and memory bounded by its
// length, and allocates nothing; for the check of duplicates it borrows a table that grows with the number of members. The error is an *Error.
func Parse(text []byte, l Limits) (Value, error) {
	p := parser{text: text, depthLimit: l.Depth, keys: l.Keys, digits: l.Digits}
	if p.depthLimit <= 0 {
		p.depthLimit = DefaultDepth
	}
	p.depthLimit = min(p.depthLimit, MaxDepth)
	if p.keys <= 0 {
		p.keys = DefaultKeys
	}
	if p.digits <= 0 {
		p.digits = DefaultDigits
	}
	if l.Duplicates {
		p.names = borrowNames()
	}
	start := skipSpace(text, 0)
	end, ok := p.value(start)
	if p.names != nil {
		p.names.release()
	}
	if ok {
		if p.at = skipSpace(text, end); p.at == len(text) {
			return Value{text[start:end:end]}, nil
		}
	}
	return Value{}, &Error{p.kind, p.at}
}

// parser is the state of one Parse. It lives on the stack.
type parser struct {
	text       []byte
	depthLimit int
	keys       int    // left
	digits     int    // of a number
	names      *names // the names seen, if duplicates are refused

	kind ErrorKind // what is wrong, when something is
	at   int       // and where

	depth   int
	object  bool // what is open innermost is an object
	objects [MaxDepth / 64]uint64
}

// fail notes an error, and returns what value returns for one.
func (p *parser) fail(kind ErrorKind, at int) (int, bool) {
	p.kind, p.at = kind, at
	return at, false
}

// open notes the beginning of an array or object.
func (p *parser) open(object bool) bool {
	if p.depth >= p.depthLimit {
		return false
	}
	if word, bit := p.depth>>6, uint64(1)<<(p.depth&63); p.object {
		p.objects[word] |= bit
	} else {
		p.objects[word] &^= bit
	}
	p.depth++
	p.object = object
	if p.names != nil && object {
		p.names.enter()
	}
	return true
}

// close notes the end of an array or object.
func (p *parser) close() {
	if p.names != nil && p.object {
		p.names.leave()
	}
	p.depth--
	p.object = p.objects[p.depth>>6]>>(p.depth&63)&1 != 0
}

// value checks the value at i, and returns the index behind it.
func (p *parser) value(i int) (int, bool) {
	text := p.text
	for {
		// A value begins at i.
		if i >= len(text) {
			return p.fail(Invalid, i)
		}
		var ok bool
		switch c := text[i]; c {
		case '"':
			if i, _, ok = p.string(i); !ok {
				return i, false
			}
		case '{':
			if !p.open(true) {
				return p.fail(TooDeep, i)
			}
			if i = skipSpace(text, i+1); i >= len(text) || text[i] != '}' {
				if i, ok = p.name(i); !ok {
					return i, false
				}
				continue
			}
			p.close()
			i++
		case '[':
			if !p.open(false) {
				return p.fail(TooDeep, i)
			}
			if i = skipSpace(text, i+1); i >= len(text) || text[i] != ']' {
				continue
			}
			p.close()
			i++
		case 't', 'f', 'n':
			if i, ok = p.literal(i); !ok {
				return i, false
			}
		default:
			if i, ok = p.number(i); !ok {
				return i, false
			}
		}
		// A value has ended before i.
		if i, ok = p.after(i); !ok {
			return i, false
		}
		if p.depth == 0 {
			return i, true
		}
	}
}

// after reads what stands behind a value: closing brackets, and in what is still open a comma, which the next value follows. That begins at
// the index returned, unless nothing is open any more.
func (p *parser) after(i int) (int, bool) {
	text := p.text
	for p.depth > 0 {
		if i < len(text) && text[i] <= ' ' {
			i = skipSpace(text, i)
		}
		if i >= len(text) {
			return p.fail(Invalid, i)
		}
		switch c := text[i]; {
		case c == ',':
			if i = skipSpace(text, i+1); p.object {
				return p.name(i)
			}
			return i, true
		case c == '}' && p.object, c == ']' && !p.object:
			p.close()
			i++
		default:
			return p.fail(Invalid, i)
		}
	}
	return i, true
}

// name checks the name of a member and the colon behind it, and returns where its value begins.
func (p *parser) name(start int) (int, bool) {
	if start >= len(p.text) || p.text[start] != '"' {
		return p.fail(Invalid, start)
	}
	if p.keys--; p.keys < 0 {
		return p.fail(TooManyKeys, start)
	}
	i, escaped, ok := p.string(start)
	if !ok {
		return i, false
	}
	if p.names != nil {
		if _, added := p.names.add(p.text[start+1:i-1], escaped); !added {
			return p.fail(DuplicateKey, start)
		}
	}
	if i < len(p.text) && p.text[i] != ':' {
		i = skipSpace(p.text, i)
	}
	if i >= len(p.text) || p.text[i] != ':' {
		return p.fail(Invalid, i)
	}
	return skipSpace(p.text, i+1), true
}

// string checks the string whose opening quote stands at i, and returns the index behind it and whether it has escapes.
func (p *parser) string(i int) (end int, escaped, ok bool) {
	text := p.text
	i++
	for {
		for i+8 <= len(text) {
			if found := special(binary.LittleEndian.Uint64(text[i:])); found != 0 {
				i += bits.TrailingZeros64(found) >> 3
				break
			}
			i += 8
		}
		for i < len(text) && text[i] >= ' ' && text[i] != '"' && text[i] != '\\' && text[i] < utf8.RuneSelf {
			i++
		}
		if i >= len(text) {
			p.fail(Invalid, i)
			return i, false, false
		}
		switch c := text[i]; {
		case c == '"':
			return i + 1, escaped, true
		case c == '\\':
			escaped = true
			n := escapeLength(text[i:])
			if n == 0 {
				p.fail(Invalid, i)
				return i, false, false
			}
			i += n
		case c < ' ':
			p.fail(Invalid, i)
			return i, false, false
		default:
			// Text in other scripts comes in runs.
			for i < len(text) && text[i] >= utf8.RuneSelf {
				r, size := utf8.DecodeRune(text[i:])
				if r == utf8.RuneError && size == 1 {
					p.fail(Invalid, i)
					return i, false, false
				}
				i += size
			}
		}
	}
}

// escapeLength returns the length of the escape at the beginning of text, 0 if it is none. Both halves of a surrogate pair are one escape.
func escapeLength(text []byte) int {
	if len(text) < 2 {
		return 0
	}
	switch text[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
	default:
		return 0
	}
	r := hex4(text)
	switch {
	case r < 0:
		return 0
	case !utf16.IsSurrogate(r):
		return 6
	}
	low := hex4(text[6:])
	if low < 0 || utf16.DecodeRune(r, low) == utf8.RuneError {
		return 0 // no pair of surrogates stands for U+FFFD itself
	}
	return 12
}

// literal checks true, false or null at i.
func (p *parser) literal(i int) (int, bool) {
	word := "null"
	switch p.text[i] {
	case 't':
		word = "true"
	case 'f':
		word = "false"
	}
	for j := range len(word) {
		if i+j >= len(p.text) || p.text[i+j] != word[j] {
			return p.fail(Invalid, i+j)
		}
	}
	return i + len(word), true
}

// number checks the number at i.
func (p *parser) number(start int) (int, bool) {
	text, i := p.text, start
	if text[i] == '-' {
		i++
	}
	first := i
	i = skipDigits(text, i)
	count := i - first
	if count == 0 || count > 1 && text[first] == '0' {
		return p.fail(Invalid, min(first+count, first+1))
	}
	if i < len(text) && text[i] == '.' {
		end := skipDigits(text, i+1)
		if end == i+1 {
			return p.fail(Invalid, end)
		}
		count += end - i - 1
		i = end
	}
	if i < len(text) && text[i]|0x20 == 'e' {
		if i++; i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		end := skipDigits(text, i)
		if end == i {
			return p.fail(Invalid, end)
		}
		// The exponent counts as the zeros that it stands for: 1e999999999 is short here, and a gigabyte for who computes exactly.
		count += max(exponentOf(text[i:end]), end-i)
		i = end
	}
	if count > p.digits {
		return p.fail(NumberTooLong, start)
	}
	return i, true
}

// skipDigits returns the first index from i on that holds no digit.
func skipDigits(text []byte, i int) int {
	for i < len(text) && text[i]-'0' <= 9 {
		i++
	}
	return i
}
