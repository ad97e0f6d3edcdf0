//go:build !portable

package stream

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// sockaddr4 and sockaddr6 write addresses in the form of the kernel, by the offsets of its headers.
func sockaddr4(port uint16, addr string) []byte {
	b := make([]byte, 16)
	binary.NativeEndian.PutUint16(b, 2)
	binary.BigEndian.PutUint16(b[2:], port)
	a := netip.MustParseAddr(addr).As4()
	copy(b[4:], a[:])
	return b
}

func sockaddr6(port uint16, addr string, scope uint32) []byte {
	b := make([]byte, 28)
	binary.NativeEndian.PutUint16(b, 10)
	binary.BigEndian.PutUint16(b[2:], port)
	a := netip.MustParseAddr(addr).As16()
	copy(b[8:], a[:])
	binary.NativeEndian.PutUint32(b[24:], scope)
	return b
}

func TestAddrPort(t *testing.T) {
	for name, test := range map[string]struct {
		raw   []byte
		want  string
		scope uint32
	}{
		"version 4":           {sockaddr4(53, "192.0.2.1"), "192.0.2.1:53", 0},
		"version 6":           {sockaddr6(53, "2001:db8::1", 7), "[2001:db8::1]:53", 0},
		"mapped":              {sockaddr6(5353, "::ffff:192.0.2.1", 0), "192.0.2.1:5353", 0},
		"link-local":          {sockaddr6(53, "fe80::1", 7), "[fe80::1]:53", 7},
		"empty":               {nil, "", 0},
		"one byte":            {[]byte{2}, "", 0},
		"short version 4":     {sockaddr4(53, "192.0.2.1")[:15], "", 0},
		"short version 6":     {sockaddr6(53, "2001:db8::1", 0)[:27], "", 0},
		"another family":      {append([]byte{1, 0}, make([]byte, 26)...), "", 0},
		"longer than need be": {append(sockaddr4(53, "192.0.2.1"), 1, 2, 3), "192.0.2.1:53", 0},
	} {
		ap, scope, ok := addrPort(test.raw)
		if ok != (test.want != "") || ok && ap.String() != test.want || scope != test.scope {
			t.Errorf("%s: %v, %d, %v; want %q, %d", name, ap, scope, ok, test.want, test.scope)
		}
	}
}

func TestPutName(t *testing.T) {
	for _, test := range []struct {
		addr   string
		family int
		want   []byte
	}{
		{"192.0.2.1:53", unix.AF_INET, sockaddr4(53, "192.0.2.1")},
		{"[::ffff:192.0.2.1]:53", unix.AF_INET, sockaddr4(53, "192.0.2.1")},
		{"192.0.2.1:53", unix.AF_INET6, sockaddr6(53, "::ffff:192.0.2.1", 0)},
		{"[2001:db8::1]:53", unix.AF_INET6, sockaddr6(53, "2001:db8::1", 0)},
		{"[fe80::1%9]:53", unix.AF_INET6, sockaddr6(53, "fe80::1", 9)},
		{"[fe80::1%no such interface]:53", unix.AF_INET6, sockaddr6(53, "fe80::1", 0)},
		{"[2001:db8::1]:53", unix.AF_INET, nil},
	} {
		name := [nameSize]byte{0: 0xff, nameSize - 1: 0xff}
		n := putName(&name, netip.MustParseAddrPort(test.addr), test.family)
		if string(name[:n]) != string(test.want) {
			t.Errorf("%s for family %d: % x, want % x", test.addr, test.family, name[:n], test.want)
		}
	}
	if n := putName(new([nameSize]byte), netip.AddrPort{}, unix.AF_INET6); n != 0 {
		t.Errorf("no address: %d bytes", n)
	}
}

// cmsg writes a control message as the library for others does.
func cmsg(level, kind int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(len(data))))
	binary.NativeEndian.PutUint32(b[8:], uint32(level))
	binary.NativeEndian.PutUint32(b[12:], uint32(kind))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

func pktinfo4(local, header string) []byte {
	l, h := netip.MustParseAddr(local).As4(), netip.MustParseAddr(header).As4()
	return append(append([]byte{1, 0, 0, 0}, l[:]...), h[:]...)
}

func pktinfo6(addr string, scope byte) []byte {
	a := netip.MustParseAddr(addr).As16()
	return append(a[:], scope, 0, 0, 0)
}

func TestAsked(t *testing.T) {
	if cmsgAlign != 8 {
		t.Skip("the messages below are those of 64 bits")
	}
	four := cmsg(unix.IPPROTO_IP, unix.IP_PKTINFO, pktinfo4("127.0.0.2", "127.0.0.2"))
	other := cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMP, make([]byte, 13))
	endless := cmsg(unix.SOL_SOCKET, 1, make([]byte, 8))
	binary.NativeEndian.PutUint64(endless, 0)
	huge := cmsg(unix.SOL_SOCKET, 1, make([]byte, 8))
	binary.NativeEndian.PutUint64(huge, 1<<63)
	for name, test := range map[string]struct {
		control []byte
		want    string
		scope   uint32
	}{
		"none":         {nil, "", 0},
		"version 4":    {four, "127.0.0.2", 0},
		"broadcast":    {cmsg(unix.IPPROTO_IP, unix.IP_PKTINFO, pktinfo4("192.0.2.9", "192.0.2.255")), "192.0.2.9", 0},
		"version 6":    {cmsg(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, pktinfo6("2001:db8::5", 3)), "2001:db8::5", 0},
		"mapped":       {cmsg(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, pktinfo6("::ffff:127.0.0.3", 1)), "127.0.0.3", 0},
		"link-local":   {cmsg(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, pktinfo6("fe80::5", 3)), "fe80::5", 3},
		"behind":       {append(append([]byte(nil), other...), four...), "127.0.0.2", 0},
		"short":        {cmsg(unix.IPPROTO_IP, unix.IP_PKTINFO, make([]byte, 11)), "", 0},
		"cut":          {four[:len(four)-5], "", 0},
		"cut head":     {four[:10], "", 0},
		"size 0":       {append(endless, four...), "", 0},
		"size is huge": {append(huge, four...), "", 0},
		"of its own":   {appendSource(nil, netip.MustParseAddr("127.0.0.9"), 0, unix.AF_INET6), "127.0.0.9", 0},
	} {
		addr, scope := asked(test.control)
		if addr.IsValid() != (test.want != "") || addr.IsValid() && addr.String() != test.want || scope != test.scope {
			t.Errorf("%s: %v, %d; want %q, %d", name, addr, scope, test.want, test.scope)
		}
	}
}

func TestAppendSource(t *testing.T) {
	if cmsgAlign != 8 {
		t.Skip("the messages below are those of 64 bits")
	}
	for name, test := range map[string]struct {
		addr   netip.Addr
		scope  uint32
		family int
		want   []byte
	}{
		"version 4":         {netip.MustParseAddr("127.0.0.2"), 0, unix.AF_INET, cmsg(unix.IPPROTO_IP, unix.IP_PKTINFO, append(make([]byte, 4), append([]byte{127, 0, 0, 2}, 0, 0, 0, 0)...))},
		"4 from a 6 socket": {netip.MustParseAddr("127.0.0.2"), 0, unix.AF_INET6, cmsg(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, pktinfo6("::ffff:127.0.0.2", 0))},
		"link-local":        {netip.MustParseAddr("fe80::5"), 3, unix.AF_INET6, cmsg(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, pktinfo6("fe80::5", 3))},
		"not known":         {netip.Addr{}, 0, unix.AF_INET6, nil},
		"any":               {netip.IPv6Unspecified(), 0, unix.AF_INET6, nil},
		"a group":           {netip.MustParseAddr("ff02::1"), 3, unix.AF_INET6, nil},
	} {
		if got := appendSource(nil, test.addr, test.scope, test.family); string(got) != string(test.want) {
			t.Errorf("%s: % x, want % x", name, got, test.want)
		}
	}
	both := appendSegment(appendSource(nil, netip.MustParseAddr("::1"), 0, unix.AF_INET6), 1200)
	messages, err := unix.ParseSocketControlMessage(both)
	if err != nil || len(messages) != 2 || len(both) > controlSize {
		t.Fatalf("%d bytes: %v, %v", len(both), messages, err)
	}
	if m := messages[1]; m.Header.Level != unix.IPPROTO_UDP || m.Header.Type != unix.UDP_SEGMENT || binary.NativeEndian.Uint16(m.Data) != 1200 {
		t.Errorf("%+v", m)
	}
}

// Which datagrams may be cut out of a long one: those of one size, the last may be shorter, none is empty, and all together fit.
func TestSegments(t *testing.T) {
	many := make([]int, batchSize)
	for i := range many {
		many[i] = 9
	}
	for _, test := range []struct {
		sizes []int
		want  int
	}{
		{[]int{5}, 1}, {[]int{5, 5}, 2}, {[]int{5, 5, 3}, 3}, {[]int{5, 5, 3, 5}, 3}, {[]int{5, 6}, 1}, {[]int{0, 0}, 1}, {[]int{5, 0, 5}, 1},
		{[]int{0}, 1}, {[]int{40_000, 25_507}, 2}, {[]int{40_000, 25_508}, 1}, {[]int{65_507, 1}, 1}, {many, batchSize},
	} {
		b := newBatch(longestDatagram, false)
		for i, size := range test.sizes {
			b.piece(i, i, size)
		}
		if got := segments(b.pieces[:len(test.sizes)]); got != test.want {
			t.Errorf("%v: %d, want %d", test.sizes, got, test.want)
		}
	}
}

// Whatever the kernel, or a mistake of ours, puts there, reading it ends and stays within it; and what is written is read back.
func FuzzAddrPort(f *testing.F) {
	f.Add(sockaddr4(53, "192.0.2.1"))
	f.Add(sockaddr6(53, "2001:db8::1", 0))
	f.Add(sockaddr6(53, "fe80::1", 7))
	f.Add(sockaddr6(53, "::ffff:127.0.0.1", 7))
	f.Add([]byte{10, 0})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		ap, _, ok := addrPort(raw)
		if !ok {
			return
		}
		var name [nameSize]byte
		n := putName(&name, ap, unix.AF_INET6)
		if again, _, ok := addrPort(name[:n]); !ok || again != ap {
			t.Errorf("%v became %v, %v", ap, again, ok)
		}
	})
}

func FuzzAsked(f *testing.F) {
	f.Add(cmsg(unix.IPPROTO_IP, unix.IP_PKTINFO, pktinfo4("127.0.0.2", "127.0.0.2")))
	f.Add(cmsg(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, pktinfo6("fe80::5", 3)))
	f.Add(append(cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMP, make([]byte, 13)), cmsg(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, pktinfo6("::ffff:127.0.0.3", 1))...))
	f.Add(make([]byte, 40))
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 127, 0, 0, 0, 0, 8, 0, 0, 0})
	f.Fuzz(func(t *testing.T, control []byte) {
		addr, scope := asked(control)
		if !addr.IsValid() || addr.IsMulticast() || addr.IsUnspecified() {
			return
		}
		if again, s := asked(appendSource(nil, addr, scope, unix.AF_INET6)); again != addr || s != scope {
			t.Errorf("%v, %d became %v, %d", addr, scope, again, s)
		}
	})
}
