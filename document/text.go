package document

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// AppendText appends the decoded text of a string to dst; false for other kinds, with dst as it was.
func (v Value) AppendText(dst []byte) ([]byte, bool) {
	if v.Kind() != String {
		return dst, false
	}
	return appendDecoded(dst, inner(v.text)), true
}

// Equals reports whether v is a string with this decoded text.
func (v Value) Equals(s string) bool {
	if v.Kind() != String {
		return false
	}
	return equalName(inner(v.text), true, s)
}

// appendDecoded appends what raw, the inside of a string, stands for.
func appendDecoded(dst, raw []byte) []byte {
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return append(dst, raw...)
		}
		dst = append(dst, raw[:i]...)
		r, size := unescape(raw[i:])
		dst = utf8.AppendRune(dst, r)
		raw = raw[i+size:]
	}
}

// unescape returns what the escape at the beginning of raw stands for, and its length, which is at least 1. A surrogate without its other
// half, which Parse refuses, is U+FFFD.
func unescape(raw []byte) (r rune, size int) {
	if len(raw) < 2 {
		return utf8.RuneError, len(raw)
	}
	switch raw[1] {
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		return unescapeUnit(raw)
	}
	return rune(raw[1]), 2 // '"', '\\', '/'
}

// unescapeUnit is unescape for \uXXXX.
func unescapeUnit(raw []byte) (r rune, size int) {
	r = hex4(raw)
	if r < 0 {
		return utf8.RuneError, min(len(raw), 6)
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if low := hex4(raw[6:]); low >= 0 {
		if full := utf16.DecodeRune(r, low); full != utf8.RuneError {
			return full, 12
		}
	}
	return utf8.RuneError, 6
}

// hex4 returns the value of \uXXXX at the beginning of raw, or -1.
func hex4(raw []byte) rune {
	if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
		return -1
	}
	r := rune(0)
	for _, c := range raw[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// equalName reports whether raw, the inside of a string, stands for s. Without escapes it is compared as it lies.
func equalName[T string | []byte](raw []byte, escaped bool, s T) bool {
	if !escaped {
		return string(raw) == string(s)
	}
	if len(raw) < len(s) {
		return false // an escape is never shorter than what it stands for
	}
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return string(raw) == string(s)
		}
		if len(s) < i || string(raw[:i]) != string(s[:i]) {
			return false
		}
		r, size := unescape(raw[i:])
		raw, s = raw[i+size:], s[i:]
		var one [utf8.UTFMax]byte
		n := utf8.EncodeRune(one[:], r)
		if len(s) < n || string(one[:n]) != string(s[:n]) {
			return false
		}
		s = s[n:]
	}
}

const lowerHex = "0123456789abcdef"

// AppendString appends text as a JSON string. Invalid UTF-8 becomes U+FFFD; what need not be escaped is not.
func AppendString(dst, text []byte) []byte {
	dst = append(dst, '"')
	for {
		n := plainLength(text)
		dst = append(dst, text[:n]...)
		if text = text[n:]; len(text) == 0 {
			return append(dst, '"')
		}
		c := text[0]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRune(text)
			dst = utf8.AppendRune(dst, r)
			text = text[size:]
			continue
		}
		dst = append(dst, '\\')
		switch c {
		case '"', '\\':
			dst = append(dst, c)
		case '\b':
			dst = append(dst, 'b')
		case '\f':
			dst = append(dst, 'f')
		case '\n':
			dst = append(dst, 'n')
		case '\r':
			dst = append(dst, 'r')
		case '\t':
			dst = append(dst, 't')
		default:
			dst = append(dst, 'u', '0', '0', lowerHex[c>>4], lowerHex[c&15])
		}
		text = text[1:]
	}
}

// plainLength returns how many bytes at the beginning of text stand for themselves in a string and are ASCII.
func plainLength(text []byte) int {
	i := 0
	for ; i+8 <= len(text); i += 8 {
		if found := special(binary.LittleEndian.Uint64(text[i:])); found != 0 {
			return i + bits.TrailingZeros64(found)>>3
		}
	}
	for i < len(text) && text[i] >= ' ' && text[i] != '"' && text[i] != '\\' && text[i] < utf8.RuneSelf {
		i++
	}
	return i
}

// special returns a number whose lowest bit set is the top bit of the first byte, of the eight in w, that is a quote, a backslash, a control
// byte or no ASCII; 0 if there is none. Bits above the lowest may be wrong: a byte found borrows from the next. What is no ASCII has its top bit
// set in one of the first two differences at least.
func special(w uint64) uint64 {
	return (((w ^ '"'*repeat) - repeat) | ((w ^ '\\'*repeat) - repeat) | (w - ' '*repeat)) & highs
}
