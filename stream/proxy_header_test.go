package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// v2 builds a header of version 2 by hand: command and family, length field, what follows.
func v2(command, pair byte, length int, rest string) string {
	return proxyV2Signature + string([]byte{command, pair, byte(length >> 8), byte(length)}) + rest
}

const (
	addrs4 = "\x01\x02\x03\x04\x05\x06\x07\x08\x30\x39\x01\xbb"
	addrs6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x30\x39\x01\xbb"
	mapped6 = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x01\x02\x03\x04" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x30\x39\x01\xbb"
)

func addr(text string) netip.AddrPort { return netip.MustParseAddrPort(text) }

var (
	tcp4 = ProxyHeader{Version: 1, Source: addr("1.2.3.4:12345"), Destination: addr("5.6.7.8:443"), Transport: ProxyStream}
	tcp6 = ProxyHeader{Version: 1, Source: addr("[2001:db8::1]:12345"), Destination: addr("[2001:db8::2]:443"), Transport: ProxyStream}
)

func (h ProxyHeader) with(version int, tlvs string) ProxyHeader {
	h.Version = version
	if tlvs != "" {
		h.TLVs = []byte(tlvs)
	}
	return h
}

func (h ProxyHeader) by(t ProxyTransport) ProxyHeader {
	h.Transport = t
	return h
}

// headers are accepted. What stands behind them is the connection's.
var headers = []struct {
	name, text string
	want       ProxyHeader
}{
	{"v1 IPv4", "PROXY TCP4 1.2.3.4 5.6.7.8 12345 443\r\n", tcp4},
	{"v1 IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 12345 443\r\n", tcp6},
	{"v1 longest", "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
		ProxyHeader{Version: 1, Transport: ProxyStream, Source: addr("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
			Destination: addr("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")}},
	{"v1 mapped", "PROXY TCP6 ::ffff:1.2.3.4 ::ffff:0506:0708 12345 443\r\n", tcp4},
	{"v1 port 0", "PROXY TCP4 1.2.3.4 5.6.7.8 0 443\r\n", ProxyHeader{Version: 1, Transport: ProxyStream, Source: addr("1.2.3.4:0"), Destination: tcp4.Destination}},
	{"v1 unknown", "PROXY UNKNOWN\r\n", ProxyHeader{Version: 1}},
	{"v1 unknown with anything", "PROXY UNKNOWN ffff::1 what ever 99999999\r\n", ProxyHeader{Version: 1}},
	{"v2 local without addresses", v2(0x20, 0, 0, ""), ProxyHeader{Version: 2, Local: true}},
	{"v2 local with a family and no room for it", v2(0x20, 0x11, 0, ""), ProxyHeader{Version: 2, Local: true}},
	{"v2 local with an unknown family", v2(0x20, 0xff, 3, "abc"), ProxyHeader{Version: 2, Local: true}},
	{"v2 local with addresses", v2(0x20, 0x11, 12, addrs4), ProxyHeader{Version: 2, Local: true}},
	{"v2 IPv4", v2(0x21, 0x11, 12, addrs4), tcp4.with(2, "")},
	{"v2 IPv4 datagram", v2(0x21, 0x12, 12, addrs4), tcp4.with(2, "").by(ProxyDatagram)},
	{"v2 IPv6", v2(0x21, 0x21, 36, addrs6), tcp6.with(2, "")},
	{"v2 IPv6 datagram", v2(0x21, 0x22, 36, addrs6), tcp6.with(2, "").by(ProxyDatagram)},
	{"v2 mixed", v2(0x21, 0x21, 36, mapped6), ProxyHeader{Version: 2, Source: tcp4.Source, Destination: tcp6.Destination, Transport: ProxyStream}},
	{"v2 unspecified", v2(0x21, 0, 0, ""), ProxyHeader{Version: 2}},
	{"v2 unspecified with a TLV", v2(0x21, 0, 4, "\x04\x00\x01x"), ProxyHeader{Version: 2, TLVs: []byte("\x04\x00\x01x")}},
	{"v2 unix", v2(0x21, 0x31, 216, strings.Repeat("/", 216)), ProxyHeader{Version: 2}},
	{"v2 unix with a TLV", v2(0x21, 0x32, 220, strings.Repeat("/", 216)+"\x04\x00\x01x"), ProxyHeader{Version: 2, TLVs: []byte("\x04\x00\x01x")}},
	{"v2 TLVs", v2(0x21, 0x11, 26, addrs4+"\x01\x00\x02h2\xea\x00\x00\x04\x00\x03abc"), tcp4.with(2, "\x01\x00\x02h2\xea\x00\x00\x04\x00\x03abc")},
	{"v2 TLS", v2(0x21, 0x11, 27, addrs4+"\x20\x00\x0c\x01\x00\x00\x00\x00\x21\x00\x04TLS1"), tcp4.with(2, "\x20\x00\x0c\x01\x00\x00\x00\x00\x21\x00\x04TLS1")},
	{"v2 checksum", v2(0x21, 0x11, 19, addrs4+"\x03\x00\x04"+checksum), tcp4.with(2, "\x03\x00\x04"+checksum)},
	{"v2 as long as can be", v2(0x21, 0x11, 4096, addrs4+long(4096-12)), tcp4.with(2, long(4096-12))},
}

// checksum is what RFC 3720's CRC-32C gives for the header that it stands in, computed bit by bit.
var checksum = func() string {
	sum := ^uint32(0)
	for _, c := range []byte(v2(0x21, 0x11, 19, addrs4+"\x03\x00\x04\x00\x00\x00\x00")) {
		sum ^= uint32(c)
		for range 8 {
			sum = sum>>1 ^ 0x82f63b78&-(sum&1)
		}
	}
	return string(binary.BigEndian.AppendUint32(nil, ^sum))
}()

// long returns one TLV of n bytes in all.
func long(n int) string {
	return string([]byte{4, byte((n - 3) >> 8), byte(n - 3)}) + strings.Repeat("x", n-3)
}

// notHeaders are refused.
var notHeaders = []struct {
	name, text string
	err        error
}{
	{"TLS", "\x16\x03\x01", ErrNotProxyHeader},
	{"HTTP", "GET / HTTP/1.1\r\n", ErrNotProxyHeader},
	{"PROPFIND", "PROPFIND / HTTP/1.1\r\n", ErrNotProxyHeader},
	{"v1 in lower case", "proxy TCP4", ErrNotProxyHeader},
	{"v2 signature that ends otherwise", "\r\n\r\n\x00\r\nQUIT\r", ErrNotProxyHeader},
	{"line feed alone", "PROXY TCP4 1.2.3.4 5.6.7.8 12345 443\n", errProxyLine},
	{"carriage return within", "PROXY TCP4 1.2.3.4\r 5.6.7.8 12345 443\r\n", errProxyLine},
	{"too long", "PROXY UNKNOWN " + strings.Repeat("x", 93), errProxyLine},
	{"one byte too long", "PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n", errProxyLine},
	{"no family", "PROXY \r\n", errProxyFields},
	{"unknown family", "PROXY TCP5 1.2.3.4 5.6.7.8 12345 443\r\n", errProxyFields},
	{"UDP", "PROXY UDP4 1.2.3.4 5.6.7.8 12345 443\r\n", errProxyFields},
	{"two spaces", "PROXY TCP4  1.2.3.4 5.6.7.8 12345 443\r\n", errProxyFields},
	{"space at the end", "PROXY TCP4 1.2.3.4 5.6.7.8 12345 443 \r\n", errProxyFields},
	{"field too many", "PROXY TCP4 1.2.3.4 5.6.7.8 12345 443 1\r\n", errProxyFields},
	{"field missing", "PROXY TCP4 1.2.3.4 5.6.7.8 12345\r\n", errProxyFields},
	{"port too large", "PROXY TCP4 1.2.3.4 5.6.7.8 65536 443\r\n", errProxyFields},
	{"port with zeros", "PROXY TCP4 1.2.3.4 5.6.7.8 012 443\r\n", errProxyFields},
	{"port with a sign", "PROXY TCP4 1.2.3.4 5.6.7.8 +12 443\r\n", errProxyFields},
	{"address with zeros", "PROXY TCP4 01.2.3.4 5.6.7.8 12345 443\r\n", errProxyFields},
	{"address too short", "PROXY TCP4 1.2.3 5.6.7.8 12345 443\r\n", errProxyFields},
	{"address too long", "PROXY TCP4 1.2.3.4.5 5.6.7.8 12345 443\r\n", errProxyFields},
	{"number too large", "PROXY TCP4 1.2.3.256 5.6.7.8 12345 443\r\n", errProxyFields},
	{"IPv6 as IPv4", "PROXY TCP4 2001:db8::1 2001:db8::2 12345 443\r\n", errProxyFields},
	{"IPv4 as IPv6", "PROXY TCP6 1.2.3.4 5.6.7.8 12345 443\r\n", errProxyFields},
	{"zone", "PROXY TCP6 fe80::1%eth0 2001:db8::2 12345 443\r\n", errProxyFields},
	{"v2 version 3", proxyV2Signature + "\x31", errProxyVersion},
	{"v2 command 2", proxyV2Signature + "\x22", errProxyVersion},
	{"v2 family unknown", v2(0x21, 0x41, 12, addrs4), errProxyFamily},
	{"v2 family without a transport", v2(0x21, 0x10, 12, addrs4), errProxyFamily},
	{"v2 transport without a family", v2(0x21, 0x01, 12, addrs4), errProxyFamily},
	{"v2 transport unknown", v2(0x21, 0x13, 12, addrs4), errProxyFamily},
	{"v2 too short for IPv4", v2(0x21, 0x11, 11, addrs4), errProxyLength},
	{"v2 too short for IPv6", v2(0x21, 0x21, 12, addrs4), errProxyLength},
	{"v2 too short for Unix", v2(0x21, 0x31, 215, ""), errProxyLength},
	{"v2 too long", v2(0x21, 0x11, 4097, ""), errProxyTooLong},
	{"v2 far too long", v2(0x20, 0, 65535, ""), errProxyTooLong},
	{"v2 TLV beyond the end", v2(0x21, 0x11, 16, addrs4+"\x04\x00\x02x"), errProxyTLV},
	{"v2 TLV far beyond the end, bytes there", v2(0x21, 0x11, 15, addrs4+"\x04\xff\xff") + strings.Repeat("x", 70000), errProxyTLV},
	{"v2 half a TLV", v2(0x21, 0x11, 14, addrs4+"\x04\x00"), errProxyTLV},
	{"v2 TLV of nothing but a type", v2(0x21, 0x11, 13, addrs4+"\x04"), errProxyTLV},
	{"v2 unique id too long", v2(0x21, 0x11, 12+3+129, addrs4+"\x05\x00\x81"+strings.Repeat("x", 129)), errProxyTLV},
	{"v2 TLS too short", v2(0x21, 0x11, 19, addrs4+"\x20\x00\x04\x01\x00\x00\x00"), errProxyTLV},
	{"v2 TLS with a TLV beyond the end", v2(0x21, 0x11, 24, addrs4+"\x20\x00\x09\x01\x00\x00\x00\x00\x21\x00\x02T"), errProxyTLV},
	{"v2 checksum wrong", v2(0x21, 0x11, 19, addrs4+"\x03\x00\x04\x00\x00\x00\x00"), errProxyCRC},
	{"v2 checksum too short", v2(0x21, 0x11, 18, addrs4+"\x03\x00\x03\x00\x00\x00"), errProxyCRC},
	{"v2 two checksums", v2(0x21, 0x11, 26, addrs4+"\x03\x00\x04\x00\x00\x00\x00\x03\x00\x04\x00\x00\x00\x00"), errProxyCRC},
}

// Each header is read, whatever stands behind it; each part of it asks for more, and never for more
// than there will be.
func TestParseProxyHeader(t *testing.T) {
	for _, test := range headers {
		for _, behind := range []string{"", "\x16\x03\x01data", "PROXY TCP4 9.9.9.9 9.9.9.9 9 9\r\n"} {
			h, n, err := ParseProxyHeader([]byte(test.text + behind))
			if err != nil || n != len(test.text) || !reflect.DeepEqual(h, test.want) {
				t.Errorf("%s: %+v, %d of %d bytes, %v; want %+v", test.name, h, n, len(test.text), err, test.want)
			}
		}
		for i := range test.text {
			h, n, err := ParseProxyHeader([]byte(test.text[:i]))
			if err != ErrMoreNeeded || n <= i || n > len(test.text) || !reflect.DeepEqual(h, ProxyHeader{}) {
				t.Fatalf("%s: the first %d bytes: %+v, %d of %d, %v", test.name, i, h, n, len(test.text), err)
			}
		}
	}
}

func TestParseProxyHeaderRefuses(t *testing.T) {
	for _, test := range notHeaders {
		h, n, err := ParseProxyHeader([]byte(test.text))
		if err != test.err || n != 0 || !reflect.DeepEqual(h, ProxyHeader{}) {
			t.Errorf("%s: %+v, %d, %v; want %v", test.name, h, n, err, test.err)
		}
	}
}

func TestProxyTLVs(t *testing.T) {
	h, _, err := ParseProxyHeader([]byte(v2(0x21, 0x11, 12+5+3+20, addrs4+"\x02\x00\x02ab\xe0\x00\x00"+
		"\x20\x00\x11\x07\x00\x00\x00\x00\x21\x00\x03TLS\x22\x00\x03abc"))) // the value has 17 bytes
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := h.TLV(ProxyAuthority); string(v) != "ab" || !ok {
		t.Errorf("authority: %q, %v", v, ok)
	}
	if v, ok := h.TLV(0xe0); len(v) != 0 || !ok {
		t.Errorf("an empty value: %q, %v", v, ok)
	}
	if v, ok := h.TLV(ProxyALPN); v != nil || ok {
		t.Errorf("what is not there: %q, %v", v, ok)
	}
	v, _ := h.TLV(ProxySSL)
	s, ok := ParseProxyTLS(v)
	names := ""
	for typ, v := range EachTLV(s.TLVs) {
		names += string('0'+rune(typ-0x20)) + string(v) + " "
	}
	if !ok || !s.TLS || !s.CertConn || !s.CertSession || !s.Verified || names != "1TLS 2abc " {
		t.Errorf("%+v, %v, %q", s, ok, names)
	}
	for client, verified := range map[string]bool{"\x01\x00\x00\x00\x00": false, "\x03\x00\x00\x00\x01": false, "\x05\x00\x00\x00\x00": true} {
		if s, ok := ParseProxyTLS([]byte(client)); !ok || s.Verified != verified {
			t.Errorf("%q: %+v", client, s)
		}
	}
}

func TestAppendProxyHeader(t *testing.T) {
	for _, test := range []struct {
		name    string
		version int
		h       ProxyHeader
		want    string
	}{
		{"v1 IPv4", 1, tcp4, "PROXY TCP4 1.2.3.4 5.6.7.8 12345 443\r\n"},
		{"v1 IPv6", 1, tcp6, "PROXY TCP6 2001:db8::1 2001:db8::2 12345 443\r\n"},
		{"v1 mixed", 1, ProxyHeader{Source: tcp4.Source, Destination: tcp6.Destination}, "PROXY TCP6 ::ffff:1.2.3.4 2001:db8::2 12345 443\r\n"},
		{"v1 mapped", 1, ProxyHeader{Source: addr("[::ffff:1.2.3.4]:1"), Destination: tcp4.Destination}, "PROXY TCP4 1.2.3.4 5.6.7.8 1 443\r\n"},
		{"v1 port 0", 1, ProxyHeader{Source: addr("1.2.3.4:0"), Destination: addr("1.2.3.4:65535")}, "PROXY TCP4 1.2.3.4 1.2.3.4 0 65535\r\n"},
		{"v1 zone", 1, ProxyHeader{Source: addr("[fe80::1%eth0]:1"), Destination: tcp6.Destination}, "PROXY TCP6 fe80::1 2001:db8::2 1 443\r\n"},
		{"v1 none", 1, ProxyHeader{}, "PROXY UNKNOWN\r\n"},
		{"v1 local", 1, ProxyHeader{Local: true, Source: tcp4.Source, Destination: tcp4.Destination}, "PROXY UNKNOWN\r\n"},
		{"v1 leaves TLVs out", 1, tcp4.with(2, "\x04\x00\x00"), "PROXY TCP4 1.2.3.4 5.6.7.8 12345 443\r\n"},
		{"v2 IPv4", 2, tcp4, v2(0x21, 0x11, 12, addrs4)},
		{"v2 IPv4 without a transport", 2, tcp4.by(ProxyUnspecified), v2(0x21, 0x11, 12, addrs4)},
		{"v2 IPv6 datagram", 2, tcp6.by(ProxyDatagram), v2(0x21, 0x22, 36, addrs6)},
		{"v2 mixed", 2, ProxyHeader{Source: tcp4.Source, Destination: tcp6.Destination}, v2(0x21, 0x21, 36, mapped6)},
		{"v2 none", 2, ProxyHeader{TLVs: []byte("\x04\x00\x00")}, v2(0x21, 0, 3, "\x04\x00\x00")},
		{"v2 local", 2, ProxyHeader{Local: true, Source: tcp4.Source, Destination: tcp4.Destination, TLVs: []byte("\x04\x00\x00")}, v2(0x20, 0, 0, "")},
		{"v2 checksum", 2, tcp4.with(2, "\x03\x00\x04wrng"), v2(0x21, 0x11, 19, addrs4+"\x03\x00\x04"+checksum)},
	} {
		got, err := AppendProxyHeader([]byte("before"), test.version, &test.h)
		if err != nil || string(got) != "before"+test.want {
			t.Errorf("%s: %q, %v; want %q", test.name, got, err, test.want)
		}
	}
}

// What cannot be written whole is not written at all.
func TestAppendProxyHeaderRefuses(t *testing.T) {
	tlvs := []byte(long(40000) + long(25535-12))
	whole, err := AppendProxyHeader(nil, 2, &ProxyHeader{Source: tcp4.Source, Destination: tcp4.Destination, TLVs: tlvs})
	if err != nil || len(whole) != 16+65535 || binary.BigEndian.Uint16(whole[14:]) != 65535 {
		t.Errorf("65,535 bytes: %d, %v", len(whole), err)
	}
	for _, test := range []struct {
		name    string
		version int
		h       ProxyHeader
		err     error
	}{
		{"one byte too many", 2, tcp4.with(2, string(tlvs)+"x"), errProxySize},
		{"as many, but for IPv6", 2, tcp6.with(2, string(tlvs)), errProxySize},
		{"broken TLVs", 2, tcp4.with(2, "\x04\x00\x02x"), errProxyTLV},
		{"two checksums", 2, tcp4.with(2, "\x03\x00\x041234\x03\x00\x041234"), errProxyCRC},
		{"short checksum", 2, tcp4.with(2, "\x03\x00\x03123"), errProxyCRC},
		{"transport", 2, tcp4.by(3), errProxyFamily},
		{"v1 datagram", 1, tcp4.by(ProxyDatagram), errProxyDatagram},
		{"version 3", 3, tcp4, errProxyNoVersion},
	} {
		if got, err := AppendProxyHeader([]byte("before"), test.version, &test.h); !errors.Is(err, test.err) || string(got) != "before" {
			t.Errorf("%s: %d bytes, %v; want %v", test.name, len(got), err, test.err)
		}
	}
	if got, err := AppendTLV([]byte("before"), 4, make([]byte, 65536)); err == nil || string(got) != "before" {
		t.Errorf("a value of 64 KiB: %d bytes, %v", len(got), err)
	}
	if got, err := AppendTLV([]byte("before"), 4, []byte("ab")); err != nil || string(got) != "before\x04\x00\x02ab" {
		t.Errorf("%q, %v", got, err)
	}
}

// FuzzProxyHeader: what is read lies within the bytes, and what is written is read as it was meant.
func FuzzProxyHeader(f *testing.F) {
	for _, test := range headers {
		f.Add([]byte(test.text))
		f.Add([]byte(test.text + "\x16\x03\x01data"))
	}
	for _, test := range notHeaders {
		f.Add([]byte(test.text))
	}
	f.Add([]byte(v2(0x21, 0x11, 65535, addrs4+long(65523))))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := ParseProxyHeader(b)
		switch {
		case err == ErrMoreNeeded:
			if n <= len(b) || n > MaxProxyHeader {
				t.Fatalf("%d bytes are not enough, %d are wanted", len(b), n)
			}
			return
		case err != nil:
			var fault *FormatError
			if n != 0 || err != ErrNotProxyHeader && !errors.As(err, &fault) {
				t.Fatalf("%d, %v", n, err)
			}
			return
		case n > len(b) || n > MaxProxyHeader || h.Version != 1 && h.Version != 2:
			t.Fatalf("%d of %d bytes, %+v", n, len(b), h)
		}
		out, err := AppendProxyHeader(nil, h.Version, &h)
		if err != nil {
			t.Fatalf("%+v cannot be written: %v", h, err)
		}
		again, m, err := ParseProxyHeader(append(bytes.Clone(out), "behind"...))
		if err != nil || m != len(out) || len(out) > n && h.Version == 2 {
			t.Fatalf("%q: %d of %d bytes, %v", out, m, len(out), err)
		}
		// The checksum is that of other bytes where the addresses were written in another way.
		if again, h := withoutCRC(again), withoutCRC(h); !reflect.DeepEqual(again, h) {
			t.Fatalf("%+v was read from what was written for %+v", again, h)
		}
	})
}

func withoutCRC(h ProxyHeader) ProxyHeader {
	h.TLVs = bytes.Clone(h.TLVs)
	for typ, value := range EachTLV(h.TLVs) {
		if typ == ProxyCRC32C {
			clear(value)
		}
	}
	return h
}
