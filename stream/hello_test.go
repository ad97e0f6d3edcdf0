package stream

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// scripted is a connection that reads from memory and keeps what is written.
type scripted struct {
	net.Conn
	in  io.Reader
	out bytes.Buffer
}

func (s *scripted) Read(p []byte) (int, error)       { return s.in.Read(p) }
func (s *scripted) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *scripted) Close() error                     { return nil }
func (s *scripted) SetDeadline(time.Time) error      { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }
func (s *scripted) RemoteAddr() net.Addr             { return nil }
func (s *scripted) LocalAddr() net.Addr              { return nil }
func clientHello(t testing.TB, c *tls.Config) []byte {
	t.Helper()
	s := &scripted{in: strings.NewReader("")}
	c.InsecureSkipVerify = true
	_ = tls.Client(s, c).Handshake()
	if s.out.Len() == 0 {
		t.Fatal("no hello")
	}
	return s.out.Bytes()
}

// asServer returns what crypto/tls understands of b as a server, and whether it takes it for a hello.
func asServer(b []byte) (info *tls.ClientHelloInfo) {
	s := &scripted{in: bytes.NewReader(b)}
	_ = tls.Server(s, &tls.Config{GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
		info = i
		return nil, errors.New("enough")
	}}).HandshakeContext(context.Background())
	return info
}

// configs make hellos of all kinds.
func configs() map[string]*tls.Config {
	many := make([]string, 200)
	for i := range many {
		many[i] = "protocol-" + strings.Repeat("x", i%20)
	}
	return map[string]*tls.Config{
		"plain":           {ServerName: "shop.example"},
		"upper case":      {ServerName: "Mail.SHOP.Example"},
		"no name":         {},
		"address":         {ServerName: "192.0.2.1"}, // crypto/tls leaves it out
		"ALPN":            {ServerName: "shop.example", NextProtos: []string{"h2", "http/1.1"}},
		"many ALPN":       {ServerName: "shop.example", NextProtos: many},
		"one long ALPN":   {ServerName: "shop.example", NextProtos: []string{strings.Repeat("x", 255), "h2"}},
		"longest ALPN":    {ServerName: "shop.example", NextProtos: []string{strings.Repeat("x", 251), "h2"}},
		"TLS 1.2":         {ServerName: "shop.example", MaxVersion: tls.VersionTLS12, NextProtos: []string{"h2"}},
		"TLS 1.0 to 1.1":  {ServerName: "shop.example", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"TLS 1.3 only":    {ServerName: "shop.example", MinVersion: tls.VersionTLS13},
		"no post-quantum": {ServerName: "shop.example", CurvePreferences: []tls.CurveID{tls.X25519}},
		"post-quantum":    {ServerName: "shop.example", CurvePreferences: []tls.CurveID{tls.X25519MLKEM768}},
		"underscore":      {ServerName: "a_b.shop.example"},
		"long name":       {ServerName: strings.Repeat("abcdefghi.", 25) + "com"},
	}
}

func protocols(h *ClientHello) (list []string) {
	for p := range h.Protocols() {
		list = append(list, string(p))
	}
	return list
}

// agree compares what was read with what crypto/tls reads of the same bytes.
func agree(t *testing.T, h *ClientHello, info *tls.ClientHelloInfo) {
	t.Helper()
	name, want := string(h.ServerName()), strings.ToLower(info.ServerName)
	switch {
	case h.Name == NameAbsent && want != "", h.Name == NameValid && (name != want || want == ""), h.Name != NameValid && name != "":
		t.Errorf("name %q (%d), crypto/tls has %q", name, h.Name, info.ServerName)
	}
	list := protocols(h)
	if h.ALPNCut && len(list) < len(info.SupportedProtos) {
		info.SupportedProtos = info.SupportedProtos[:len(list)]
	}
	if !slices.Equal(list, info.SupportedProtos) {
		t.Errorf("protocols %q, crypto/tls has %q", list, info.SupportedProtos)
	}
	for v := uint16(VersionTLS10 - 1); v <= VersionTLS13+1; v++ {
		want := v >= VersionTLS10 && v <= VersionTLS13 && slices.Contains(info.SupportedVersions, v)
		if v == VersionTLS13 && !slices.Contains(info.Extensions, extensionSupportedVersions) {
			want = false // RFC 8446 section 4.2.1: "MUST negotiate TLS 1.2 or prior", whatever the old field says
		}
		if h.OffersVersion(v) != want {
			t.Errorf("offers %x: %v, crypto/tls has %x", v, !want, info.SupportedVersions)
		}
	}
}

// split cuts the one record of a hello into records, the first of n bytes, the next of m and so on.
func split(hello []byte, n, m int) []byte {
	var out []byte
	for body := hello[recordHeader:]; len(body) > 0; n = m {
		n = min(n, len(body))
		out = append(out, recordHandshake, 3, 1, byte(n>>8), byte(n))
		out = append(out, body[:n]...)
		body = body[n:]
	}
	return out
}

// Hellos of crypto/tls are read as crypto/tls reads them, whole, in records cut anywhere, and with
// something behind.
func TestParseClientHello(t *testing.T) {
	for name, config := range configs() {
		t.Run(name, func(t *testing.T) {
			hello := clientHello(t, config)
			info := asServer(hello)
			h, n, err := ParseClientHello(hello)
			if err != nil || n != len(hello) || info == nil {
				t.Fatalf("%d of %d bytes, %v", n, len(hello), err)
			}
			agree(t, &h, info)
			if h.Name == NameValid != (config.ServerName != "" && name != "address") {
				t.Errorf("name %q (%d)", h.ServerName(), h.Name)
			}
			for i := range len(hello) {
				if _, n, err := ParseClientHello(hello[:i]); err != ErrMoreNeeded || n <= i || n > len(hello) {
					t.Fatalf("the first %d bytes: %d of %d, %v", i, n, len(hello), err)
				}
			}
			for i := 1; i < len(hello)-recordHeader; i += 1 + i/300 {
				cut := split(hello, i, recordMax)
				got, n, err := ParseClientHello(append(cut, "behind"...))
				if err != nil || n != len(cut) || got != h {
					t.Fatalf("cut at %d: %d of %d bytes, %v", i, n, len(cut), err)
				}
			}
			for _, size := range []int{1, 2, 3, 7, 100} {
				cut := split(hello, size, size)
				got, n, err := ParseClientHello(cut)
				if err != nil || n != len(cut) || got != h {
					t.Fatalf("records of %d: %d of %d bytes, %v", size, n, len(cut), err)
				}
				for i := 0; i < len(cut); i += 1 + i/300 {
					if _, n, err := ParseClientHello(cut[:i]); err != ErrMoreNeeded || n <= i || n > len(cut) {
						t.Fatalf("records of %d, the first %d bytes: %d of %d, %v", size, i, n, len(cut), err)
					}
				}
			}
		})
	}
}

func TestClientHelloOffers(t *testing.T) {
	h, _, err := ParseClientHello(clientHello(t, &tls.Config{NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}))
	if err != nil || !h.OffersProtocol("h2") || !h.OffersProtocol("http/1.1") || h.OffersProtocol("h") || h.OffersProtocol("") ||
		!h.OffersVersion(VersionTLS13) || !h.OffersVersion(VersionTLS12) || h.OffersVersion(VersionTLS11) || h.OffersVersion(0x0a0a) {
		t.Errorf("%q, %b, %v", protocols(&h), h.versions, err)
	}
}

// wrap puts extensions into a hello, and it into a record.
func wrap(extensions ...string) []byte {
	all := strings.Join(extensions, "")
	body := "\x03\x03" + strings.Repeat("r", 32) + "\x00" + "\x00\x02\x13\x01" + "\x01\x00"
	if len(extensions) > 0 {
		body += string(binary.BigEndian.AppendUint16(nil, uint16(len(all)))) + all
	}
	return record("\x01\x00" + string(binary.BigEndian.AppendUint16(nil, uint16(len(body)))) + body)
}

func record(body string) []byte {
	return append([]byte{22, 3, 1, byte(len(body) >> 8), byte(len(body))}, body...)
}

// extension puts a value under a type; each list length before it is added by vec.
func extension(typ uint16, value string) string {
	b := binary.BigEndian.AppendUint16(nil, typ)
	return string(binary.BigEndian.AppendUint16(b, uint16(len(value)))) + value
}

func vec(value string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(len(value)))) + value
}

func sni(names ...string) string {
	list := ""
	for _, n := range names {
		list += "\x00" + vec(n)
	}
	return extension(0, vec(list))
}

// Names that are none are told from names that are absent.
func TestClientHelloNames(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, test := range []struct {
		extension string
		state     ServerNameState
		name      string
	}{
		{sni("a"), NameValid, "a"},
		{sni("Shop.EXAMPLE"), NameValid, "shop.example"},
		{sni("xn--bcher-kva.example"), NameValid, "xn--bcher-kva.example"},
		{sni("_sip._tcp.1.example"), NameValid, "_sip._tcp.1.example"},
		{sni("1e100.net1"), NameValid, "1e100.net1"},
		{sni(long + "." + long + "." + long + "." + long[:61]), NameValid, long + "." + long + "." + long + "." + long[:61]},
		{sni(long + "." + long + "." + long + "." + long[:62]), NameInvalid, ""},
		{sni(long + "a"), NameInvalid, ""},
		{sni("shop.example."), NameInvalid, ""},
		{sni(".shop.example"), NameInvalid, ""},
		{sni("shop..example"), NameInvalid, ""},
		{sni("."), NameInvalid, ""},
		{sni("192.0.2.1"), NameInvalid, ""},
		{sni("1.2.3"), NameInvalid, ""},
		{sni("4294967295"), NameInvalid, ""},
		{sni("shop.example.0"), NameInvalid, ""},
		{sni("2001:db8::1"), NameInvalid, ""},
		{sni("[::1]"), NameInvalid, ""},
		{sni("shop.example:443"), NameInvalid, ""},
		{sni("shop.example\x00.evil"), NameInvalid, ""},
		{sni("shop example"), NameInvalid, ""},
		{sni("*.example"), NameInvalid, ""},
		{sni("bücher.example"), NameInvalid, ""},
		{sni("shop.example", "other.example"), NameInvalid, ""},
		{sni("shop.example", "shop.example"), NameInvalid, ""},
		{extension(0, vec("\x01"+vec("whatever"))), NameAbsent, ""},
		{extension(0, vec("\x01"+vec("whatever")+"\x00"+vec("shop.example"))), NameValid, "shop.example"},
		{extension(99, "ignored"), NameAbsent, ""},
	} {
		h, _, err := ParseClientHello(wrap(extension(99, "x"), test.extension))
		if err != nil || h.Name != test.state || string(h.ServerName()) != test.name {
			t.Errorf("%q: %q (%d), %v; want %q (%d)", test.extension, h.ServerName(), h.Name, err, test.name, test.state)
		}
	}
}

// badHellos are refused, and with what.
var badHellos = []struct {
	name  string
	hello []byte
	err   error
}{
	{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), ErrNotTLS},
	{"SSL 2", []byte("\x80\x2e\x01\x03\x01"), ErrNotTLS},
	{"version 2", []byte("\x16\x02\x00"), ErrNotTLS},
	{"alert", []byte("\x15\x03\x01\x00\x02\x02\x28"), ErrNotTLS},
	{"empty record", []byte("\x16\x03\x01\x00\x00"), errHelloRecord},
	{"record too long", []byte("\x16\x03\x01\x40\x01"), errHelloRecord},
	{"server hello", []byte("\x16\x03\x01\x00\x10\x02"), errHelloMessage},
	{"message too long", []byte("\x16\x03\x01\x40\x00\x01\x00\x80\x01"), errHelloTooLong},
	{"records too many", bytes.Repeat([]byte("\x16\x03\x01\x00\x01\x01"), 10_000), errHelloTooLong},
	{"another record within", append(record("\x01\x00\x01\x00"), 23), errHelloSplit},
	{"another version within", append(record("\x01\x00\x01\x00"), 22, 4), errHelloSplit},
	{"empty record within", append(record("\x01\x00\x01\x00"), 22, 3, 1, 0, 0), errHelloRecord},
	{"empty message", record("\x01\x00\x00\x00"), errHelloLength},
	{"session id beyond the end", record("\x01\x00\x00\x4b\x03\x03" + strings.Repeat("r", 32) + "\x29" + strings.Repeat("r", 40)), errHelloLength},
	{"odd suites", record("\x01\x00\x00\x28\x03\x03" + strings.Repeat("r", 32) + "\x00\x00\x01\x13\x01\x00"), errHelloLength},
	{"byte behind", wrapBehind(), errHelloLength},
	{"extension too long", wrap("\x00\x63\x00\x02x"), errHelloLength},
	{"half an extension", wrap("\x00\x63\x00"), errHelloLength},
	{"two names extensions", wrap(sni("a.example"), sni("b.example")), errHelloDuplicate},
	{"two ALPN extensions", wrap(extension(16, vec("\x02h2")), extension(16, vec("\x02h2"))), errHelloDuplicate},
	{"name list too long", wrap(extension(0, "\x00\x06\x00\x00\x01a")), errHelloLength},
	{"name list too short", wrap(extension(0, "\x00\x03\x00\x00\x01a")), errHelloLength},
	{"no names", wrap(extension(0, vec(""))), errHelloLength},
	{"empty name", wrap(sni("")), errHelloLength},
	{"name longer than the list, bytes behind", wrap(extension(0, "\x00\x04\x00\x00\x02a"), extension(99, "xxxx")), errHelloLength},
	{"empty protocol", wrap(extension(16, vec("\x00\x02h2"))), errHelloLength},
	{"protocol beyond the list", wrap(extension(16, vec("\x03h2")), extension(99, "xxxx")), errHelloLength},
	{"no protocols", wrap(extension(16, vec(""))), errHelloLength},
	{"odd versions", wrap(extension(43, "\x03\x03\x04\x03")), errHelloLength},
	{"no versions", wrap(extension(43, "\x00")), errHelloLength},
	{"byte behind the versions", wrap(extension(43, "\x02\x03\x04\x00")), errHelloLength},
}

// wrapBehind has a byte behind its extensions.
func wrapBehind() []byte {
	b := append(wrap(extension(99, "")), 0)
	b[4]++
	b[8]++
	return b
}

func TestParseClientHelloRefuses(t *testing.T) {
	for _, test := range badHellos {
		h, n, err := ParseClientHello(test.hello)
		if err != test.err || n != 0 || h != (ClientHello{}) {
			t.Errorf("%s: %d, %v; want %v", test.name, n, err, test.err)
		}
	}
	// A hello of TLS 1.0 that has no extensions is one.
	if h, _, err := ParseClientHello(wrap()); err != nil || h.Name != NameAbsent || !h.OffersVersion(VersionTLS12) || h.OffersVersion(VersionTLS13) {
		t.Errorf("without extensions: %v, %b", err, h.versions)
	}
}

// Clients understand the alert.
func TestAppendAlert(t *testing.T) {
	for description, want := range map[byte]string{112: "unrecognized name", 80: "internal error", 120: "no application protocol"} {
		s := &scripted{in: bytes.NewReader(AppendAlert(nil, 2, description))}
		err := tls.Client(s, &tls.Config{ServerName: "a.example"}).HandshakeContext(t.Context())
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("alert %d: %v", description, err)
		}
	}
}

// FuzzClientHello: what crypto/tls takes for a hello is read as crypto/tls reads it.
func FuzzClientHello(f *testing.F) {
	for _, config := range configs() {
		hello := clientHello(f, config)
		f.Add(hello)
		f.Add(split(hello, 3, 50))
	}
	for _, test := range badHellos {
		f.Add(test.hello)
	}
	f.Add([]byte(strings.Replace(string(wrap(sni("a.example"))), "\x03\x03r", "eer", 1)))
	f.Add(wrap(sni("a.example"), extension(16, vec("\x02h2")), extension(43, "\x04\x03\x04\x1a\x1a")))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := ParseClientHello(b)
		if err == ErrMoreNeeded {
			if n <= len(b) || n > maxHelloBytes {
				t.Fatalf("%d bytes are not enough, %d are wanted", len(b), n)
			}
			return
		}
		var fault *FormatError
		switch info := asServer(b); {
		case err != nil:
			if n != 0 || err != ErrNotTLS && !errors.As(err, &fault) {
				t.Fatalf("%d, %v", n, err)
			}
			// Where crypto/tls is more patient: longer hellos, and any record version.
			if info != nil && err != errHelloTooLong && err != errHelloSplit && err != ErrNotTLS {
				t.Fatalf("crypto/tls takes it: %+v; here %v", info, err)
			}
		case n > len(b):
			t.Fatalf("%d of %d bytes", n, len(b))
		case info != nil:
			agree(t, &h, info)
		}
	})
}
