package message

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
)

// MaxHost is the longest host that is accepted, in bytes: that of the DNS, with its dot (RFC 1035 section 2.3.4).
const MaxHost = 255

// hostTable is read-only: a byte of a host name in lower case, 0 if names do not hold it.
var hostTable = func() (t [256]byte) {
	for c := '0'; c <= '9'; c++ {
		t[c] = byte(c)
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-32] = byte(c), byte(c)
	}
	t['-'], t['.'], t['_'] = '-', '.', '_'
	return t
}()

// oddHostBytes are legal in the host of a URI (RFC 3986 section 3.2.2) and in no name that exists; a comma could be two hosts.
const oddHostBytes = "!$&'()*+,;=~%"

// ParseAuthority reads the authority of a request: its Host field, :authority, or what stands between "://" and the path of an absolute target (RFC 9110
// section 7.2, RFC 3986 section 3.2). The host is appended to dst: in lower case (ASCII only: folding Unicode would let two names meet that differ on
// the wire), without the root's trailing dot, an IPv6 address in brackets and in its shortest form (RFC 5952). port is the part of raw behind
// the colon, 1 to 65535, or nil if there is none.
//
// Anything else is HostInvalid: userinfo, a comma, a space, an escape, a byte over 0x7F, an empty name or label, more than MaxHost bytes, a port out
// of range or with leading zeros. host is then nil, unless the authority is at least well-formed by RFC 3986, so that a listener that only
// warns can forward it.
//
// It does not allocate beyond growing dst.
func ParseAuthority(dst, raw []byte) (host, port []byte, reason Reason) {
	name := raw
	if len(raw) > 0 && raw[0] == '[' {
		end := bytes.IndexByte(raw, ']')
		if end < 0 || end+1 < len(raw) && raw[end+1] != ':' {
			return nil, nil, HostInvalid
		}
		name = raw[:end+1]
	} else if colon := bytes.IndexByte(raw, ':'); colon >= 0 {
		name = raw[:colon]
	}
	if len(name) == 0 || len(name) > MaxHost {
		return nil, nil, HostInvalid
	}
	if len(name)+1 < len(raw) {
		port = raw[len(name)+1:]
	}
	strict, wellFormed := checkPort(port)
	if !wellFormed {
		return nil, nil, HostInvalid
	}
	if name[0] == '[' {
		host, reason = appendIPv6(dst, name)
	} else {
		host, reason = appendHostName(dst, name)
	}
	switch {
	case host == nil:
		return nil, nil, reason
	case !strict:
		return host, port, HostInvalid
	}
	return host, port, reason
}

// checkPort judges a port, whose absence is fine. wellFormed is what RFC 3986 section 3.2.3 says: any digits.
func checkPort(b []byte) (strict, wellFormed bool) {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return false, false
		}
		if n <= 65535 {
			n = 10*n + int(c-'0')
		}
	}
	return len(b) == 0 || b[0] != '0' && n <= 65535, true
}

// appendHostName appends a name in lower case.
func appendHostName(dst, name []byte) ([]byte, Reason) {
	if n := len(name); n > 1 && name[n-1] == '.' {
		name = name[:n-1]
	}
	n := len(dst)
	dst = slices.Grow(dst, len(name))[:n+len(name)]
	host, last := dst[n:], byte('.')
	for i, c := range name {
		c = hostTable[c]
		if c == 0 || c == '.' && last == '.' { // an empty label
			return appendOddHost(dst[:n], name)
		}
		host[i], last = c, c
	}
	if last == '.' {
		return appendOddHost(dst[:n], name)
	}
	return dst, ReasonNone
}

// appendOddHost appends a name that is refused, if it is at least well-formed.
func appendOddHost(dst, name []byte) ([]byte, Reason) {
	for i, c := range name {
		lower := hostTable[c]
		if lower == 0 {
			if _, ok := Unescape(name, i); c == '%' && !ok || strings.IndexByte(oddHostBytes, c) < 0 {
				return nil, HostInvalid
			}
			lower = c
		}
		dst = append(dst, lower)
	}
	return dst, HostInvalid
}

// appendIPv6 appends an address in brackets in its shortest form, so that every spelling of it selects the same route. A zone is refused: it
// means something on one machine only.
func appendIPv6(dst, literal []byte) ([]byte, Reason) {
	addr, ok := parseIPv6(literal[1 : len(literal)-1])
	if !ok {
		return nil, HostInvalid
	}
	dst = append(dst, '[')
	dst = netip.AddrFrom16(addr).AppendTo(dst)
	return append(dst, ']'), ReasonNone
}

// parseIPv6 reads the text of an IPv6 address (RFC 4291 section 2.2). netip.ParseAddr does the same from a string, which would have to be allocated.
func parseIPv6(b []byte) (addr [16]byte, ok bool) {
	n, gap := 0, -1 // bytes of addr filled; where "::" stands
	if len(b) >= 2 && b[0] == ':' && b[1] == ':' {
		gap, b = 0, b[2:]
	}
	for len(b) > 0 && n < 16 {
		digits, group := hexGroup(b)
		if digits == 0 {
			return addr, false
		}
		if digits < len(b) && b[digits] == '.' { // the last four bytes as an IPv4 address
			v4, ok := parseIPv4(b)
			if !ok || n > 12 {
				return addr, false
			}
			n += copy(addr[n:], v4[:])
			b = nil
			break
		}
		addr[n], addr[n+1] = byte(group>>8), byte(group)
		n += 2
		b = b[digits:]
		if len(b) == 0 {
			break
		}
		if b[0] != ':' || len(b) == 1 {
			return addr, false
		}
		b = b[1:]
		if b[0] == ':' {
			if gap >= 0 {
				return addr, false
			}
			gap, b = n, b[1:]
		}
	}
	switch {
	case len(b) > 0, n == 16 && gap >= 0, n < 16 && gap < 0:
		return addr, false
	case gap >= 0:
		moved := copy(addr[16-(n-gap):], addr[gap:n])
		clear(addr[gap : 16-moved])
	}
	return addr, true
}

// hexGroup reads up to four hexadecimal digits.
func hexGroup(b []byte) (digits int, value uint16) {
	for digits < len(b) && hexTable[b[digits]] < 16 {
		if digits == 4 {
			return 0, 0
		}
		value = value<<4 | uint16(hexTable[b[digits]])
		digits++
	}
	return digits, value
}

// parseIPv4 reads four decimal numbers without leading zeros.
func parseIPv4(b []byte) (addr [4]byte, ok bool) {
	for i := range addr {
		n, digits := 0, 0
		for digits < len(b) && digits < 3 && b[digits] >= '0' && b[digits] <= '9' {
			n = 10*n + int(b[digits]-'0')
			digits++
		}
		if digits == 0 || n > 255 || digits > 1 && b[0] == '0' {
			return addr, false
		}
		addr[i], b = byte(n), b[digits:]
		if i == 3 {
			break
		}
		if len(b) == 0 || b[0] != '.' {
			return addr, false
		}
		b = b[1:]
	}
	return addr, len(b) == 0
}
