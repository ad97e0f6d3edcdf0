package metric

import (
	"encoding/binary"
	"strconv"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// plain says which bytes stand for themselves in a JSON string: ASCII that can be seen, but the quote and the backslash. Never written.
var plain = func() (t [256]bool) {
	for b := 0x20; b < 0x7f; b++ {
		t[b] = b != '"' && b != '\\'
	}
	return t
}()

// AppendString appends s as a JSON string with its quotes. The result is one line of printable UTF-8 whatever s holds: control characters (also DEL,
// those of U+0080 to U+009F that drive terminals, and the line separators that are not ASCII) are escaped, and bytes that are not UTF-8 become U+FFFD.
// It never reads beyond s and keeps no reference to it.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	done := 0
	for i := 0; i < len(s); {
		if plain[s[i]] {
			i++
			continue
		}
		dst = append(dst, s[done:i]...)
		r, n := utf8.DecodeRuneInString(s[i:])
		dst = appendRune(dst, r, n)
		i += n
		done = i
	}
	dst = append(dst, s[done:]...)
	return append(dst, '"')
}

// AppendBytes is [AppendString] for a byte slice.
func AppendBytes(dst, s []byte) []byte {
	dst = append(dst, '"')
	i := plainPrefix(s)
	dst = append(dst, s[:i]...)
	for i < len(s) {
		r, n := utf8.DecodeRune(s[i:])
		dst = appendRune(dst, r, n)
		i += n
		n = plainPrefix(s[i:])
		dst = append(dst, s[i:i+n]...)
		i += n
	}
	return append(dst, '"')
}

// plainPrefix returns how many bytes at the start of s stand for themselves. It looks at eight bytes at a time with the usual
// tests within a word (Anderson, "Bit Twiddling Hacks": hasless, haszero); a false alarm is only possible behind a true one.
func plainPrefix(s []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(s); i += 8 {
		w := binary.LittleEndian.Uint64(s[i:])
		quote, slash, del := w^ones*'"', w^ones*'\\', w^ones*0x7f
		bad := (w - ones*0x20) | (quote - ones) | (slash - ones) | (del - ones) | w
		if bad&highs != 0 {
			break
		}
	}
	for i < len(s) && plain[s[i]] {
		i++
	}
	return i
}

// appendRune appends a rune that is not plain; n is its length in the input, 1 with utf8.RuneError for a byte that is not UTF-8.
func appendRune(dst []byte, r rune, n int) []byte {
	switch {
	case r == '"' || r == '\\':
		return append(dst, '\\', byte(r))
	case r == '\n':
		return append(dst, `\n`...)
	case r == '\r':
		return append(dst, `\r`...)
	case r == '\t':
		return append(dst, `\t`...)
	case r == utf8.RuneError && n == 1:
		return append(dst, "\uFFFD"...)
	case strconv.IsPrint(r):
		return utf8.AppendRune(dst, r)
	case r > 0xffff: // a surrogate pair, RFC 8259 section 7
		r -= 0x10000
		return appendEscape(appendEscape(dst, 0xd800+r>>10), 0xdc00+r&0x3ff)
	default:
		return appendEscape(dst, r)
	}
}

func appendEscape(dst []byte, r rune) []byte {
	return append(dst, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}
