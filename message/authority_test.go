package message

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
)

func TestParseAuthority(t *testing.T) {
	for _, c := range []struct {
		raw, host, port string
		want            Reason
	}{
		{"shop.example", "shop.example", "", ReasonNone},
		{"SHOP.Example", "shop.example", "", ReasonNone},
		{"shop.example.", "shop.example", "", ReasonNone},
		{"Shop.Example.:8443", "shop.example", "8443", ReasonNone},
		{"shop.example:", "shop.example", "", ReasonNone},
		{"a_b-c", "a_b-c", "", ReasonNone},
		{"127.0.0.1:1", "127.0.0.1", "1", ReasonNone},
		{"x:65535", "x", "65535", ReasonNone},
		{"xn--mnchen-3ya.example", "xn--mnchen-3ya.example", "", ReasonNone},
		{"[::1]", "[::1]", "", ReasonNone},
		{"[::1]:80", "[::1]", "80", ReasonNone},
		{"[::1]:", "[::1]", "", ReasonNone},
		{"[0:0:0:0:0:0:0:1]", "[::1]", "", ReasonNone},
		{"[2001:DB8::0A]:443", "[2001:db8::a]", "443", ReasonNone},
		{"[::ffff:192.0.2.1]", "[::ffff:192.0.2.1]", "", ReasonNone},
		{"[1:2:3:4:5:6:1.2.3.4]", "[1:2:3:4:5:6:102:304]", "", ReasonNone},
		{"[1::6:7:8]", "[1::6:7:8]", "", ReasonNone},
		{strings.Repeat("a", MaxHost), strings.Repeat("a", MaxHost), "", ReasonNone},

		// Refused, and well-formed enough to be forwarded by a listener that only warns.
		{"a,b", "a,b", "", HostInvalid},
		{"a%20b", "a%20b", "", HostInvalid},
		{"A..b:1", "a..b", "1", HostInvalid},
		{".a", ".a", "", HostInvalid},
		{"a..", "a.", "", HostInvalid},
		{".", ".", "", HostInvalid},
		{"*.shop.example", "*.shop.example", "", HostInvalid},
		{"a:0", "a", "0", HostInvalid},
		{"a:65536", "a", "65536", HostInvalid},
		{"a:080", "a", "080", HostInvalid},
		{"a:99999999999999999999999999", "a", "99999999999999999999999999", HostInvalid},

		// Refused.
		{"", "", "", HostInvalid},
		{":80", "", "", HostInvalid},
		{"user@shop.example", "", "", HostInvalid},
		{"user:pw@shop.example", "", "", HostInvalid},
		{"shop.example@evil", "", "", HostInvalid},
		{"a b", "", "", HostInvalid},
		{" a", "", "", HostInvalid},
		{"a%2", "", "", HostInvalid},
		{"a%zz", "", "", HostInvalid},
		{"a/b", "", "", HostInvalid},
		{"a?b", "", "", HostInvalid},
		{"a#b", "", "", HostInvalid},
		{`a\b`, "", "", HostInvalid},
		{"a\x00b", "", "", HostInvalid},
		{"a\r\nb", "", "", HostInvalid},
		{"m\xc3\xbcnchen", "", "", HostInvalid},
		{"\u212Aelvin.example", "", "", HostInvalid}, // KELVIN SIGN, whose lower case is an ASCII k (security case 38)
		{"a:b", "", "", HostInvalid},
		{"a:+80", "", "", HostInvalid},
		{"a:80:80", "", "", HostInvalid},
		{"::1", "", "", HostInvalid},
		{"[::1", "", "", HostInvalid},
		{"[]", "", "", HostInvalid},
		{"[::1]80", "", "", HostInvalid},
		{"[::1]]", "", "", HostInvalid},
		{"[::1%25eth0]", "", "", HostInvalid},
		{"[fe80::1%eth0]", "", "", HostInvalid},
		{"[v1.x]", "", "", HostInvalid},
		{"[1.2.3.4]", "", "", HostInvalid},
		{"[::1]:x", "", "", HostInvalid},
		{"[1:2:3:4:5:6:7:8:9]", "", "", HostInvalid},
		{"[1:2:3:4:5:6:7:8::]", "", "", HostInvalid},
		{"[1:2:3:4:5:6:7::8]", "", "", HostInvalid},
		{"[::1:2:3:4:5:6:7:8]", "", "", HostInvalid},
		{"[1::2::3]", "", "", HostInvalid},
		{"[1:2:3:4:5:6:7]", "", "", HostInvalid},
		{"[1:2:3:4:5:6:7:]", "", "", HostInvalid},
		{"[:1:2:3:4:5:6:7:8]", "", "", HostInvalid},
		{"[12345::]", "", "", HostInvalid},
		{"[1:2:3:4:5:6:7:1.2.3.4]", "", "", HostInvalid},
		{"[::1.2.3.4:1]", "", "", HostInvalid},
		{"[::1.2.3]", "", "", HostInvalid},
		{"[::1.2.3.256]", "", "", HostInvalid},
		{"[::1.2.3.04]", "", "", HostInvalid},
		{strings.Repeat("a", MaxHost+1), "", "", HostInvalid},
	} {
		host, port, reason := ParseAuthority([]byte("~"), []byte(c.raw))
		if reason != c.want || string(port) != c.port {
			t.Errorf("%.40q: port %q, %s; want %q, %s", c.raw, port, reason, c.port, c.want)
		}
		switch {
		case c.host == "" && host != nil:
			t.Errorf("%.40q: host %q, want nil", c.raw, host)
		case c.host != "" && string(host) != "~"+c.host:
			t.Errorf("%.40q: host %q, want %q behind ~", c.raw, host, c.host)
		}
	}
}

func FuzzParseAuthority(f *testing.F) {
	for _, s := range []string{
		"shop.example", "SHOP.example.:443", "[::1]:80", "[2001:db8::1.2.3.4]", "[1:2:3:4:5:6:7:8]", "[1:2:3:4:5:6:7::]", "[::]", "[:::]", "[1::2::3]",
		"a,b", "u@h", "a%41", "a:0", "", ".", "..", "[::ffff:1.2.3.4]", "[1:2:3:4:5:6:1.2.3.4]", "[::01.2.3.4]", "[12345::]",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		host, port, reason := ParseAuthority(nil, raw)
		if in, ok := bytes.CutPrefix(raw, []byte("[")); ok {
			in, _, _ = bytes.Cut(in, []byte("]"))
			addr, err := netip.ParseAddr(string(in))
			if legal := err == nil && addr.Is6() && addr.Zone() == ""; host != nil && !legal {
				t.Fatalf("%q is no address, and became %q", in, host)
			} else if legal && len(in)+2 == len(raw) && string(host) != "["+addr.String()+"]" {
				t.Fatalf("%q became %q, want %q", raw, host, addr)
			}
		}
		if host == nil {
			if reason != HostInvalid || port != nil {
				t.Fatalf("%q: port %q, %s", raw, port, reason)
			}
			return
		}
		if len(host) > MaxHost || !bytes.Equal(host, bytes.ToLower(host)) || bytes.ContainsAny(host, " \t\r\n\x00/?#@\\") {
			t.Fatalf("%q became %q", raw, host)
		}
		text := append([]byte(nil), host...)
		if port != nil {
			text = append(append(text, ':'), port...)
		}
		again, portAgain, reasonAgain := ParseAuthority(nil, text)
		if reason == ReasonNone && (reasonAgain != ReasonNone || !bytes.Equal(again, host) || !bytes.Equal(portAgain, port)) {
			t.Fatalf("%q became %q, and that %q : %q (%s)", raw, text, again, portAgain, reasonAgain)
		}
		if again == nil {
			t.Fatalf("%q became %q, which is not well-formed", raw, text)
		}
	})
}

func BenchmarkParseAuthority(b *testing.B) {
	for _, raw := range []string{"shop.example:8080", "[2001:db8::1]:443"} {
		b.Run(raw, func(b *testing.B) {
			in, dst := []byte(raw), make([]byte, 0, 64)
			b.ReportAllocs()
			for b.Loop() {
				host, _, _ := ParseAuthority(dst, in)
				dst = host[:0]
			}
		})
	}
}
