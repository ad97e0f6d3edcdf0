package stream

import (
	"encoding/binary"
	"net/netip"
)

// AppendTLV appends one TLV to what becomes ProxyHeader.TLVs. A value of more than 65,535 bytes is
// an error, and dst stays as it is.
func AppendTLV(dst []byte, typ byte, value []byte) ([]byte, error) {
	if len(value) > proxyV2Size {
		return dst, errProxySize
	}
	dst = append(dst, typ, byte(len(value)>>8), byte(len(value)))
	return append(dst, value...), nil
}

// AppendProxyHeader appends h as a header of a version, 1 or 2. It writes nothing that
// ParseProxyHeader would not read, but for its length: whole, at most 65,535 bytes of addresses and
// TLVs. With an error dst stays as it is: a header that is too long is not shortened, because half
// of a TLV would be read as the client's bytes.
//
// Without two valid addresses version 1 says UNKNOWN, and version 2 an unspecified family. If one
// address is IPv4 and the other IPv6, both are written as IPv6. Version 1 has no room for TLVs and
// leaves them out; it cannot name datagrams, which is an error. Version 2 leaves out the TLVs of
// a Local header, which a receiver throws away, and computes a ProxyCRC32C among the others anew.
func AppendProxyHeader(dst []byte, version int, h *ProxyHeader) ([]byte, error) {
	switch version {
	case 1:
		if h.Transport == ProxyDatagram {
			return dst, errProxyDatagram
		}
		return appendProxyV1(dst, h), nil
	case 2:
		return appendProxyV2(dst, h)
	}
	return dst, errProxyNoVersion
}

// addresses returns what is to be written: both of one family, without zones.
func (h *ProxyHeader) addresses() (src, dst netip.AddrPort, ok bool) {
	s, d := h.Source.Addr().Unmap().WithZone(""), h.Destination.Addr().Unmap().WithZone("")
	if h.Local || !s.IsValid() || !d.IsValid() {
		return src, dst, false
	}
	if s.Is4() != d.Is4() {
		s, d = netip.AddrFrom16(s.As16()), netip.AddrFrom16(d.As16())
	}
	return netip.AddrPortFrom(s, h.Source.Port()), netip.AddrPortFrom(d, h.Destination.Port()), true
}

func appendProxyV1(b []byte, h *ProxyHeader) []byte {
	src, dst, ok := h.addresses()
	if !ok {
		return append(b, "PROXY UNKNOWN\r\n"...)
	}
	if src.Addr().Is4() {
		b = append(b, "PROXY TCP4 "...)
	} else {
		b = append(b, "PROXY TCP6 "...)
	}
	b = append(src.Addr().AppendTo(b), ' ')
	b = append(dst.Addr().AppendTo(b), ' ')
	b = append(appendDecimal(b, src.Port()), ' ')
	return append(appendDecimal(b, dst.Port()), "\r\n"...)
}

// appendDecimal appends n in the one way to write it.
func appendDecimal(b []byte, n uint16) []byte {
	started := false
	for unit := uint16(10000); unit > 0; unit /= 10 {
		if digit := n / unit % 10; digit > 0 || started || unit == 1 {
			b = append(b, '0'+byte(digit))
			started = true
		}
	}
	return b
}

func appendProxyV2(b []byte, h *ProxyHeader) ([]byte, error) {
	begin := len(b)
	src, dst, ok := h.addresses()
	transport := byte(h.Transport)
	switch {
	case h.Transport > ProxyDatagram:
		return b, errProxyFamily
	case ok && transport == 0:
		transport = byte(ProxyStream) // an address without a transport cannot be said
	}
	pair, size := byte(0), 0
	if ok && src.Addr().Is4() {
		pair, size = 0x10|transport, 12
	} else if ok {
		pair, size = 0x20|transport, 36
	}
	tlvs := h.TLVs
	if h.Local {
		tlvs = nil
	}
	if size+len(tlvs) > proxyV2Size {
		return b, errProxySize
	}
	command := byte(0x21)
	if h.Local {
		command = 0x20
	}
	b = append(b, proxyV2Signature...)
	b = append(b, command, pair)
	b = binary.BigEndian.AppendUint16(b, uint16(size+len(tlvs)))
	switch size {
	case 12:
		s, d := src.Addr().As4(), dst.Addr().As4()
		b = append(append(b, s[:]...), d[:]...)
	case 36:
		s, d := src.Addr().As16(), dst.Addr().As16()
		b = append(append(b, s[:]...), d[:]...)
	}
	if ok {
		b = binary.BigEndian.AppendUint16(b, src.Port())
		b = binary.BigEndian.AppendUint16(b, dst.Port())
	}
	tlvsAt := len(b)
	b = append(b, tlvs...)
	if err := finishTLVs(b[begin:], tlvsAt-begin); err != nil {
		return b[:begin], err
	}
	return b, nil
}

// finishTLVs puts the right checksum into the TLVs of header, which begin at at, and checks them as
// a receiver does.
func finishTLVs(header []byte, at int) error {
	for rest := header[at:]; len(rest) > 0; {
		typ, value, after, ok := nextTLV(rest)
		if !ok {
			return errProxyTLV
		}
		if typ == ProxyCRC32C && len(value) == 4 {
			binary.BigEndian.PutUint32(value, proxyCRC(header, len(header)-len(after)-len(value)))
		}
		rest = after
	}
	if err := checkTLVs(header[at:], header); err != nil {
		return err
	}
	return nil
}
