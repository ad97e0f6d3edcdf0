package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"iter"
	"net/netip"
)

// What ParseProxyHeader and ParseClientHello say about bytes that are not (yet) what is looked for.
// Anything else that they return is a *FormatError.
var (
	ErrMoreNeeded     = errors.New("more bytes are needed")
	ErrNotProxyHeader = errors.New("no PROXY protocol header")
	ErrNotTLS         = errors.New("not TLS")
)

// FormatError says what is wrong with bytes that began as what they should be. Its texts are
// fixed, few, and safe to be logged and counted by.
type FormatError struct{ What string }

func (e *FormatError) Error() string { return e.What }

// The faults of a PROXY header.
var (
	errProxyLine      = &FormatError{"PROXY header: no CRLF within 107 bytes"}
	errProxyFields    = &FormatError{"PROXY header: fields of version 1"}
	errProxyVersion   = &FormatError{"PROXY header: version or command"}
	errProxyFamily    = &FormatError{"PROXY header: address family or transport"}
	errProxyLength    = &FormatError{"PROXY header: too short for its addresses"}
	errProxyTooLong   = &FormatError{"PROXY header: longer than 4,096 bytes"}
	errProxyTLV       = &FormatError{"PROXY header: length of a TLV"}
	errProxyCRC       = &FormatError{"PROXY header: CRC-32C"}
	errProxyNoVersion = &FormatError{"PROXY header: only versions 1 and 2 can be written"}
	errProxyDatagram  = &FormatError{"PROXY header: version 1 cannot name datagrams"}
	errProxySize      = &FormatError{"PROXY header: more than 65,535 bytes of addresses and TLVs"}
)

const (
	// MaxProxyHeader is the length of the longest header that is accepted: version 2 with 4 KiB of
	// addresses and TLVs. The protocol allows 64 KiB; what is in use (ids, an authority, a client
	// certificate) stays below 3 KiB, and every byte is buffered for a peer of which nothing is known yet.
	MaxProxyHeader = proxyV2Header + 4096

	proxyV1Max    = 107
	proxyV2Header = 16
	proxyV2Size   = 65535 // of addresses and TLVs; the field has 16 bits
)

// The beginnings of both versions. They differ from the first byte on.
const (
	proxyV1Signature = "PROXY "
	proxyV2Signature = "\r\n\r\n\x00\r\nQUIT\n"
)

// ProxyTransport is what the client used.
type ProxyTransport uint8

// The transports.
const (
	ProxyUnspecified ProxyTransport = iota
	ProxyStream
	ProxyDatagram
)

// ProxyHeader is a PROXY protocol header (haproxy.org, proxy-protocol.txt): what a proxy in front
// says about the connection that it took.
type ProxyHeader struct {
	Version int // 1 or 2

	// Local says that the proxy speaks for itself (a health check): the connection's own addresses
	// are the right ones.
	Local bool

	// Source is the client, Destination the address that it came to. Both are invalid where the
	// header has none: Local, an unknown protocol, Unix sockets. The connection's own addresses
	// count then. Mapped IPv4 addresses stand here as IPv4.
	Source, Destination netip.AddrPort

	Transport ProxyTransport // unspecified where there are no addresses

	// TLVs are what else version 2 says, as it came: see TLV and EachTLV. The lengths in it are
	// right. It lies in the bytes that were parsed.
	TLVs []byte
}

// The TLV types of the protocol.
const (
	ProxyALPN      = 0x01 // the protocol that was negotiated
	ProxyAuthority = 0x02 // the host name that the client gave (SNI), UTF-8
	ProxyCRC32C    = 0x03 // over the whole header; it was right when the header was parsed
	ProxyNoop      = 0x04 // padding
	ProxyUniqueID  = 0x05 // up to 128 bytes that name the connection
	ProxySSL       = 0x20 // see ProxyTLS
	ProxyNetNS     = 0x30 // name of the network namespace, US-ASCII

	proxyUniqueIDMax = 128
)

// The TLV types within ProxySSL.
const (
	ProxySSLVersion    = 0x21
	ProxySSLCommonName = 0x22
	ProxySSLCipher     = 0x23
	ProxySSLSignature  = 0x24
	ProxySSLKey        = 0x25
)

// castagnoli is read-only: the table of CRC-32C.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// noCRC is read-only: what counts in place of the checksum. A literal would be allocated each time.
var noCRC = []byte{0, 0, 0, 0}

// ParseProxyHeader reads the header at the beginning of b. n is its length; what follows belongs to
// the connection. With ErrMoreNeeded n is the least number of bytes that b must have in all, and
// with ErrNotProxyHeader and a *FormatError it is 0. It allocates nothing, but for an IPv6 address
// in version 1. The header's TLVs lie in b.
func ParseProxyHeader(b []byte) (h ProxyHeader, n int, err error) {
	switch {
	case hasPrefix(b, proxyV1Signature):
		return parseProxyV1(b)
	case hasPrefix(b, proxyV2Signature):
		return parseProxyV2(b)
	}
	return h, 0, ErrNotProxyHeader
}

// hasPrefix reports whether b begins as signature does, as far as either goes.
func hasPrefix(b []byte, signature string) bool {
	n := min(len(b), len(signature))
	return string(b[:n]) == signature[:n]
}

func parseProxyV1(b []byte) (h ProxyHeader, n int, err error) {
	line := b[:min(len(b), proxyV1Max)]
	end := bytes.IndexByte(line, '\n')
	if end < 0 {
		if len(b) >= proxyV1Max {
			return h, 0, errProxyLine
		}
		if len(b) < len(proxyV1Signature) {
			return h, len(b) + 1, ErrMoreNeeded // the next byte may decide that it is none
		}
		return h, max(len(b)+1, len("PROXY UNKNOWN\r\n")), ErrMoreNeeded
	}
	if end == 0 || line[end-1] != '\r' || bytes.IndexByte(line[:end-1], '\r') >= 0 || end < len(proxyV1Signature) {
		return h, 0, errProxyLine
	}
	h.Version = 1
	fields := line[len(proxyV1Signature) : end-1]
	family, fields := nextField(fields)
	switch string(family) {
	case "UNKNOWN": // "the receiver must ignore anything presented before the CRLF"
		return h, end + 1, nil
	case "TCP4", "TCP6":
	default:
		return ProxyHeader{}, 0, errProxyFields
	}
	source, fields := nextField(fields)
	destination, fields := nextField(fields)
	sourcePort, fields := nextField(fields)
	six := string(family) == "TCP6"
	src, ok1 := parseProxyAddr(source, six)
	dst, ok2 := parseProxyAddr(destination, six)
	sport, ok3 := parsePort(sourcePort)
	dport, ok4 := parsePort(fields)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return ProxyHeader{}, 0, errProxyFields
	}
	h.Transport = ProxyStream
	h.Source, h.Destination = netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport)
	return h, end + 1, nil
}

// nextField cuts b at its first space.
func nextField(b []byte) (field, rest []byte) {
	field, rest, _ = bytes.Cut(b, []byte{' '})
	return field, rest
}

func parseProxyAddr(b []byte, six bool) (netip.Addr, bool) {
	if !six {
		return parseIPv4(b)
	}
	// A zone means nothing on another machine, and a dotted address is no IPv6.
	if bytes.IndexByte(b, ':') < 0 || bytes.IndexByte(b, '%') >= 0 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(string(b))
	return a.Unmap(), err == nil
}

// parseIPv4 reads an address of four decimal numbers without leading zeros.
func parseIPv4(b []byte) (netip.Addr, bool) {
	var a [4]byte
	for i := range a {
		digits := b
		if i < 3 {
			var dot bool
			if digits, b, dot = bytes.Cut(b, []byte{'.'}); !dot {
				return netip.Addr{}, false
			}
		}
		n, ok := parseDecimal(digits, 255)
		if !ok {
			return netip.Addr{}, false
		}
		a[i] = byte(n)
	}
	return netip.AddrFrom4(a), true
}

func parsePort(b []byte) (uint16, bool) {
	n, ok := parseDecimal(b, 65535)
	return uint16(n), ok
}

// parseDecimal reads a number up to limit, in the one way to write it.
func parseDecimal(b []byte, limit int) (int, bool) {
	if len(b) == 0 || len(b) > 5 || b[0] == '0' && len(b) > 1 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, n <= limit
}

func parseProxyV2(b []byte) (h ProxyHeader, n int, err error) {
	// The fixed part is judged as far as it is there, so that nonsense is not waited for.
	if len(b) > 12 && b[12]>>4 != 2 || len(b) > 12 && b[12]&15 > 1 {
		return h, 0, errProxyVersion
	}
	switch {
	case len(b) <= len(proxyV2Signature):
		return h, len(b) + 1, ErrMoreNeeded
	case len(b) < proxyV2Header:
		return h, proxyV2Header, ErrMoreNeeded
	}
	n = proxyV2Header + int(binary.BigEndian.Uint16(b[14:]))
	if n > MaxProxyHeader {
		return h, 0, errProxyTooLong
	}
	h.Local = b[12]&15 == 0
	size, ok := addressSize(b[13])
	switch {
	case h.Local: // "the receiver must … discard the protocol block including the family"
		size = 0
	case !ok:
		return ProxyHeader{}, 0, errProxyFamily
	case n < proxyV2Header+size:
		return ProxyHeader{}, 0, errProxyLength
	}
	if len(b) < n {
		return ProxyHeader{}, n, ErrMoreNeeded
	}
	h.Version = 2
	if h.Local {
		return h, n, nil
	}
	h.readAddresses(b[13], b[proxyV2Header:])
	if tlvs := b[proxyV2Header+size : n]; len(tlvs) > 0 {
		h.TLVs = tlvs
		if err := checkTLVs(tlvs, b[:n]); err != nil {
			return ProxyHeader{}, 0, err
		}
	}
	return h, n, nil
}

// addressSize returns the length of the addresses of a family and transport, and whether there
// is such a pair: "other values … must be rejected as invalid by receivers".
func addressSize(pair byte) (int, bool) {
	switch pair {
	case 0x00:
		return 0, true
	case 0x11, 0x12:
		return 12, true
	case 0x21, 0x22:
		return 36, true
	case 0x31, 0x32:
		return 216, true
	}
	return 0, false
}

// readAddresses reads the addresses of IPv4 and IPv6 from b, which is long enough.
func (h *ProxyHeader) readAddresses(pair byte, b []byte) {
	switch pair >> 4 {
	case 1:
		h.Transport = ProxyTransport(pair & 15)
		h.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), binary.BigEndian.Uint16(b[8:]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:])), binary.BigEndian.Uint16(b[10:]))
	case 2:
		h.Transport = ProxyTransport(pair & 15)
		h.Source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b)).Unmap(), binary.BigEndian.Uint16(b[32:]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[16:])).Unmap(), binary.BigEndian.Uint16(b[34:]))
	}
}

// checkTLVs checks the lengths in tlvs, which end header, and its checksum if there is one.
func checkTLVs(tlvs, header []byte) *FormatError {
	checked := false
	for rest := tlvs; len(rest) > 0; {
		typ, value, after, ok := nextTLV(rest)
		switch {
		case !ok:
			return errProxyTLV
		case typ == ProxyUniqueID && len(value) > proxyUniqueIDMax:
			return errProxyTLV
		case typ == ProxySSL:
			if _, ok := ParseProxyTLS(value); !ok {
				return errProxyTLV
			}
		case typ == ProxyCRC32C:
			at := len(header) - len(after) - len(value)
			if checked || len(value) != 4 || proxyCRC(header, at) != binary.BigEndian.Uint32(value) {
				return errProxyCRC
			}
			checked = true
		}
		rest = after
	}
	return nil
}

// proxyCRC returns the checksum of a header whose checksum stands at at and counts as zero.
func proxyCRC(header []byte, at int) uint32 {
	sum := crc32.Update(0, castagnoli, header[:at])
	sum = crc32.Update(sum, castagnoli, noCRC)
	return crc32.Update(sum, castagnoli, header[at+4:])
}

// nextTLV cuts the first TLV from b.
func nextTLV(b []byte) (typ byte, value, rest []byte, ok bool) {
	if len(b) < 3 {
		return 0, nil, nil, false
	}
	end := 3 + int(binary.BigEndian.Uint16(b[1:]))
	if end > len(b) {
		return 0, nil, nil, false
	}
	return b[0], b[3:end:end], b[end:], true
}

// EachTLV goes through TLVs, of a header or of ProxyTLS, in their order. Types may repeat.
func EachTLV(tlvs []byte) iter.Seq2[byte, []byte] {
	return func(yield func(byte, []byte) bool) {
		for {
			typ, value, rest, ok := nextTLV(tlvs)
			if !ok || !yield(typ, value) {
				return
			}
			tlvs = rest
		}
	}
}

// TLV returns the value of the first TLV of a type.
func (h *ProxyHeader) TLV(typ byte) (value []byte, ok bool) {
	for t, value := range EachTLV(h.TLVs) {
		if t == typ {
			return value, true
		}
	}
	return nil, false
}

// ProxyTLS is the value of a ProxySSL TLV: the client spoke TLS to the proxy in front, or not.
type ProxyTLS struct {
	TLS         bool   // the client came over TLS
	CertConn    bool   // it gave a certificate on this connection
	CertSession bool   // it gave one in this TLS session
	Verified    bool   // and the certificate was found good
	TLVs        []byte // ProxySSLVersion and so on
}

// ParseProxyTLS reads the value of a ProxySSL TLV, whose inner lengths must be right.
func ParseProxyTLS(b []byte) (t ProxyTLS, ok bool) {
	if len(b) < 5 {
		return t, false
	}
	t = ProxyTLS{TLS: b[0]&1 != 0, CertConn: b[0]&2 != 0, CertSession: b[0]&4 != 0}
	t.Verified = (t.CertConn || t.CertSession) && binary.BigEndian.Uint32(b[1:]) == 0
	t.TLVs = b[5:]
	for rest := t.TLVs; len(rest) > 0; {
		if _, _, rest, ok = nextTLV(rest); !ok {
			return ProxyTLS{}, false
		}
	}
	return t, true
}
