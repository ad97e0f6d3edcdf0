package message

import "encoding/binary"

// tokenTable is read-only: the bytes of a token (RFC 9110 section 5.6.2).
var tokenTable = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-32] = true, true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()

// valueTable is read-only: the bytes that a field value may hold (RFC 9110 section 5.5):
// tab, space, visible ASCII and the bytes above 0x7F. No CR, no LF, no NUL.
var valueTable = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= 0x20 && c != 0x7F
	}
	t['\t'] = true
	return t
}()

// IsTokenByte reports whether c may stand in a token.
func IsTokenByte(c byte) bool { return tokenTable[c] }

// ValidToken reports whether b is a token: a legal method or field name.
func ValidToken(b []byte) bool {
	for _, c := range b {
		if !tokenTable[c] {
			return false
		}
	}
	return len(b) > 0
}

// ValidValue reports whether b may be written as a field value: legal bytes only, and no white
// space at either end. Every codec asks it when it reads and when it writes.
func ValidValue(b []byte) bool {
	for _, c := range b {
		if !valueTable[c] {
			return false
		}
	}
	if n := len(b); n > 0 {
		return b[0] != ' ' && b[0] != '\t' && b[n-1] != ' ' && b[n-1] != '\t'
	}
	return true
}

// IndexInvalidValue returns the index of the first byte that a field value must not hold, or -1.
func IndexInvalidValue(b []byte) int {
	for i, c := range b {
		if !valueTable[c] {
			return i
		}
	}
	return -1
}

// LegalValue is IndexInvalidValue(b) < 0, eight bytes at a time: a byte below 0x20 or equal to
// 0x7F makes the fast test fail, and the table decides (a tab is legal).
func LegalValue(b []byte) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for len(b) >= 8 {
		w := binary.LittleEndian.Uint64(b)
		low := (w - ones*0x20) & ^w & highs
		del := w ^ ones*0x7F
		del = (del - ones) & ^del & highs
		if low|del != 0 {
			return IndexInvalidValue(b) < 0
		}
		b = b[8:]
	}
	return IndexInvalidValue(b) < 0
}

// TrimSpace removes the optional white space (space, tab) at both ends of b.
func TrimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for n := len(b); n > 0 && (b[n-1] == ' ' || b[n-1] == '\t'); n-- {
		b = b[:n-1]
	}
	return b
}

// NextElement cuts the first element off a comma separated list (RFC 9110 section 5.6.1) and
// returns it trimmed, with the rest. Empty elements are passed over; ok is false at the end.
// Commas in quoted strings are not recognised: use it for lists of tokens.
func NextElement(list []byte) (element, rest []byte, ok bool) {
	for len(list) > 0 {
		i := 0
		for i < len(list) && list[i] != ',' {
			i++
		}
		element = TrimSpace(list[:i])
		if i < len(list) {
			i++
		}
		list = list[i:]
		if len(element) > 0 {
			return element, list, true
		}
	}
	return nil, nil, false
}

// HasToken reports whether any field id holds the token, in any case, in its list.
func (h *Header) HasToken(id ID, token string) bool {
	if !h.Has(id) {
		return false
	}
	for i := range h.fields {
		if h.fields[i].id != id {
			continue
		}
		rest := h.At(i).Value
		for {
			e, r, ok := NextElement(rest)
			if !ok {
				break
			}
			if EqualFold(e, token) {
				return true
			}
			rest = r
		}
	}
	return false
}
