package proxy

import (
	"bytes"
	"net/netip"
)

// parseAddr reads an address as X-Forwarded-For has it, with or without a port: 192.0.2.1,
// 192.0.2.1:80, 2001:db8::1, [2001:db8::1], [2001:db8::1]:80. A zone means something on its own
// machine only and is refused.
//
// IPv4, which is nearly all that comes, costs no allocation. For IPv6 netip needs a string.
func parseAddr(b []byte) (netip.Addr, bool) {
	if a, rest, ok := parseIPv4(b); ok {
		return a, len(rest) == 0 || validPort(rest)
	}
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 || end+1 < len(b) && !validPort(b[end+1:]) {
			return netip.Addr{}, false
		}
		b = b[1:end]
	}
	const longest = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")
	if len(b) > longest {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(string(b))
	return a.Unmap(), err == nil && a.Is6() && a.Zone() == ""
}

// parseIPv4 reads the four numbers of an IPv4 address, without leading zeros, at the beginning of b.
func parseIPv4(b []byte) (a netip.Addr, rest []byte, ok bool) {
	var octets [4]byte
	for i := range octets {
		if i > 0 {
			if len(b) == 0 || b[0] != '.' {
				return a, nil, false
			}
			b = b[1:]
		}
		n, digits := number(b)
		if n > 255 {
			return a, nil, false
		}
		octets[i], b = byte(n), b[digits:]
	}
	return netip.AddrFrom4(octets), b, true
}

// validPort reports whether b is a colon and a port.
func validPort(b []byte) bool {
	if b[0] != ':' {
		return false
	}
	n, digits := number(b[1:])
	return n <= 65535 && digits == len(b)-1
}

// number reads a decimal number of at most five digits without leading zeros at the beginning of
// b. Without one it is larger than any that is asked for.
func number(b []byte) (n, digits int) {
	for digits < len(b) && digits < 6 && b[digits] >= '0' && b[digits] <= '9' {
		n = 10*n + int(b[digits]-'0')
		digits++
	}
	if digits == 0 || digits > 1 && b[0] == '0' {
		return 1 << 30, digits
	}
	return n, digits
}
