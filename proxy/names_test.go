package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/upstream"
)

// named makes a backend that is only known by its name.
func named(t testing.TB, name string) *upstream.Backend {
	return backend(t, "127.0.0.1:1", func(o *upstream.Options) { o.Name = name }, nil)
}

func TestNameTable(t *testing.T) {
	shop, mail, any, deep, web, h2 := named(t, "shop"), named(t, "mail"), named(t, "any"), named(t, "deep"), named(t, "web"), named(t, "h2")
	targets := map[string]*NameTarget{
		"shop.example":        {Backend: shop},
		"*.shop.example":      {Backend: any},
		"mail.shop.example":   {Backend: mail},
		"*.deep.shop.example": {Backend: deep},
		"web.example":         {Backend: web, ALPN: []ALPNTarget{{"h2", h2}, {"http/1.1", shop}}},
		"only.example":        {ALPN: []ALPNTarget{{"h2", h2}}},
	}
	closed := NewNameTable(targets)
	targets["*"] = &NameTarget{Backend: web}
	catchAll := NewNameTable(targets)
	for _, test := range []struct {
		name   string
		offers string
		want   *upstream.Backend // with and without "*"; nil: only "*" has it
		reason message.Reason    // for all tables, where the name is known
	}{
		{name: "shop.example", want: shop},
		{name: "mail.shop.example", want: mail},
		{name: "a.shop.example", want: any},
		{name: "b.a.shop.example", want: any},
		{name: "x.mail.shop.example", want: any},
		{name: "deep.shop.example", want: any},
		{name: "a.deep.shop.example", want: deep},
		{name: "a.b.deep.shop.example", want: deep},
		{name: "example"},
		{name: "other.example"},
		{name: "notshop.example"},
		{name: "shop.example.evil"},
		{name: ""},
		{name: "."},
		{name: ".shop.example", want: any}, // no client can ask for it: it is no host name
		{name: "web.example", want: web},
		{name: "web.example", offers: "h2", want: h2},
		{name: "web.example", offers: "http/1.1", want: shop},
		{name: "web.example", offers: "http/1.1 h2", want: h2}, // the configuration's order counts
		{name: "web.example", offers: "spdy/3", want: web},
		{name: "only.example", offers: "http/1.1 h2", want: h2},
		{name: "only.example", offers: "http/1.1", reason: message.ALPNUnknown},
		{name: "only.example", reason: message.ALPNUnknown},
	} {
		offers := func(p string) bool { return strings.Contains(" "+test.offers+" ", " "+p+" ") }
		want, reason := test.want, test.reason
		if got, r := catchAll.Lookup(test.name, offers); reason == message.ReasonNone && want == nil && (got != web || r != message.ReasonNone) ||
			(want != nil || reason != message.ReasonNone) && (got != want || r != reason) {
			t.Errorf("with *: %q offering %q leads to %v, %v", test.name, test.offers, got, r)
		}
		if want == nil && reason == message.ReasonNone {
			reason = message.ServerNameUnknown
		}
		if got, r := closed.Lookup(test.name, offers); got != want || r != reason {
			t.Errorf("%q offering %q leads to %v, %v; want %v, %v", test.name, test.offers, got, r, want, reason)
		}
	}
}

// certificateFor makes a certificate for names, signed by itself.
func certificateFor(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// secretOrigin is an endpoint that ends TLS itself and tells its name, what it was asked for and what was agreed on.
func secretOrigin(t testing.TB, name string, cert tls.Certificate) *testnet.Origin {
	return testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}})
		if s.Handshake() != nil {
			return
		}
		state := s.ConnectionState()
		fmt.Fprintf(s, "%s|%s|%s", name, state.ServerName, state.NegotiatedProtocol)
		_ = s.CloseWrite()
		_, _ = io.Copy(io.Discard, s)
	})
}

// passthrough opens a door that goes by server names.
func passthrough(t testing.TB, edit func(*StreamSite), targets map[string]*NameTarget) *door {
	s := &StreamSite{Listener: "passthrough", Protocol: "tls", Names: NewNameTable(targets), Hello: testnet.Patience}
	if edit != nil {
		edit(s)
	}
	return open(t, s, nil)
}

// piecemeal sends every byte in a segment of its own, as far as the kernel agrees.
type piecemeal struct{ net.Conn }

func (p piecemeal) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := p.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

// asks says hello over c and returns what the endpoint tells.
func asks(t *testing.T, c net.Conn, config *tls.Config) (string, error) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(testnet.Patience))
	s := tls.Client(c, config)
	if err := s.Handshake(); err != nil {
		return "", err
	}
	told, err := io.ReadAll(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(told), nil
}

// TestPassthrough: real handshakes go through untouched, each to the endpoint that its server name and its protocols lead to.
func TestPassthrough(t *testing.T) {
	cert := certificateFor(t, "shop.example", "*.shop.example", "other.example")
	roots := x509.NewCertPool()
	roots.AddCert(cert.Leaf)
	to := func(name string) *upstream.Backend {
		return backend(t, secretOrigin(t, name, cert).Addr, func(o *upstream.Options) { o.Name = name }, nil)
	}
	other := to("other")
	d := passthrough(t, nil, map[string]*NameTarget{
		"shop.example":   {Backend: to("shop"), ALPN: []ALPNTarget{{"h2", to("shop-h2")}}},
		"*.shop.example": {Backend: to("images")},
		"*":              {Backend: other},
	})
	for _, test := range []struct {
		name   string
		server string
		alpn   []string
		want   string
		pieces bool
	}{
		{name: "exact", server: "shop.example", want: "shop|shop.example|"},
		{name: "upper case", server: "SHOP.Example", want: "shop|SHOP.Example|"},
		{name: "suffix", server: "a.shop.example", want: "images|a.shop.example|"},
		{name: "another", server: "other.example", want: "other|other.example|"},
		{name: "none", server: "", want: "other||"},
		{name: "protocol", server: "shop.example", alpn: []string{"http/1.1", "h2"}, want: "shop-h2|shop.example|h2"},
		{name: "another protocol", server: "shop.example", alpn: []string{"http/1.1"}, want: "shop|shop.example|http/1.1"},
		{name: "byte by byte", server: "a.shop.example", alpn: []string{"h2"}, want: "images|a.shop.example|h2", pieces: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var c net.Conn = d.dial(t).Conn
			if test.pieces {
				c = piecemeal{c}
			}
			config := &tls.Config{ServerName: test.server, RootCAs: roots, NextProtos: test.alpn}
			if test.server == "" {
				config.InsecureSkipVerify = true
			}
			if got, err := asks(t, c, config); err != nil || got != test.want {
				t.Errorf("%q, %v; want %q", got, err, test.want)
			}
		})
	}
}

// TestPassthroughRefuses: who asks for a name that nobody serves is told by an alert that a TLS client understands, and the connection ends in order.
func TestPassthroughRefuses(t *testing.T) {
	l, text := openLog(t)
	d := passthrough(t, func(s *StreamSite) { s.Log = l }, map[string]*NameTarget{
		"shop.example": {Backend: named(t, "shop")},
		"only.example": {ALPN: []ALPNTarget{{"h2", named(t, "h2")}}},
	})
	for _, test := range []struct{ server, alert string }{
		{"other.example", "remote error: tls: unrecognized name"},
		{"sub.shop.example", "remote error: tls: unrecognized name"},
		{"", "remote error: tls: unrecognized name"},
		{"only.example", "remote error: tls: no application protocol"},
	} {
		c := d.dial(t)
		config := &tls.Config{ServerName: test.server, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}
		if _, err := asks(t, c.Conn, config); err == nil || err.Error() != test.alert {
			t.Errorf("%q: %v, want %q", test.server, err, test.alert)
		}
		c.WantEOF()
		c.Close()
	}
	lines := text()
	for want, n := range map[string]int{
		`"server_name":"other.example","alpn":"http/1.1","reason":"server_name_unknown","side":"client","stage":"route"`: 1,
		`"reason":"server_name_unknown"`: 3, `"server_name":"only.example","alpn":"http/1.1","reason":"alpn_unknown"`: 1,
	} {
		if strings.Count(lines, want) != n {
			t.Errorf("not %d times %s in\n%s", n, want, lines)
		}
	}
}

// helloOf returns the ClientHello for a name.
func helloOf(t *testing.T, name string) string {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tls.Client(theirs, &tls.Config{ServerName: name}).Handshake()
		_ = theirs.Close()
	}()
	b := make([]byte, 16<<10)
	n, err := ours.Read(b) // a record is written at once
	_ = ours.Close()
	<-done
	if err != nil || !strings.Contains(string(b[:n]), name) {
		t.Fatalf("no hello: %v", err)
	}
	return string(b[:n])
}

// TestPassthroughOfOthers: what is no TLS is not passed on, and answered with nothing.
func TestPassthroughOfOthers(t *testing.T) {
	l, text := openLog(t)
	o := testnet.NewOrigin(t, repeat)
	d := passthrough(t, func(s *StreamSite) { s.Log = l }, map[string]*NameTarget{"*": {Backend: backend(t, o.Addr, nil, nil)}})
	hello := strings.Replace(helloOf(t, "shop.example"), "shop.example", "shop example", 1) // no host name
	for _, said := range []string{hello, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\x16\x03\x01\x00\x00", "\x15\x03\x01\x00\x02\x02\x28", "SSH-2.0-x\r\n"} {
		c := d.dial(t)
		c.Send(said)
		c.WantReset()
	}
	gone := d.dial(t)
	gone.Send("\x16\x03\x01\x01\x00\x01")
	gone.CloseWrite()
	gone.WantReset()
	lines := text()
	if o.Conns() != 0 || strings.Count(lines, `"reason":"hello_invalid","side":"client","stage":"read"`) != 5 || strings.Count(lines, `"reason":"client_closed"`) != 1 {
		t.Errorf("%d connections to the endpoint; log:\n%s", o.Conns(), lines)
	}
}

// TestPassthroughStall: a ClientHello has one deadline, however steadily its bytes come (security checklist, case 46).
func TestPassthroughStall(t *testing.T) {
	const bound = 200 * time.Millisecond
	l, text := openLog(t)
	o := testnet.NewOrigin(t, repeat)
	d := passthrough(t, func(s *StreamSite) { s.Hello, s.Log = bound, l }, map[string]*NameTarget{"*": {Backend: backend(t, o.Addr, nil, nil)}})
	silent, slow := d.dial(t), d.dial(t)
	began := time.Now()
	slow.Send("\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03")
	for time.Since(began) < testnet.Patience && slow.TrySend("x") == nil {
		time.Sleep(2 * time.Millisecond)
	}
	if took := time.Since(began); took < bound || took > testnet.Patience {
		t.Errorf("a client that sends byte by byte was cut after %s, want about %s", took, bound)
	}
	silent.WantReset()
	if lines := text(); o.Conns() != 0 || strings.Count(lines, `"reason":"hello_timeout","side":"client","stage":"read"`) != 2 {
		t.Errorf("%d connections to the endpoint; log:\n%s", o.Conns(), lines)
	}
}

// TestTermination: what a TLS client sends reaches a plain endpoint, with both ends of both directions; the names that the handshake told lead there.
func TestTermination(t *testing.T) {
	cert := certificateFor(t, "shop.example", "mail.example")
	shop, mail := testnet.NewOrigin(t, repeat), testnet.NewOrigin(t, repeat)
	l, text := openLog(t)
	s := &StreamSite{
		Listener: "secure", Protocol: "tls", Log: l,
		Names: NewNameTable(map[string]*NameTarget{
			"shop.example": {Backend: backend(t, shop.Addr, nil, nil), ALPN: []ALPNTarget{{"smtp", backend(t, mail.Addr, nil, nil)}}},
		}),
	}
	d := open(t, s, func(in *Inbound) bool {
		server := tls.Server(in.Conn, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"smtp", "imap"}})
		if server.Handshake() != nil {
			return false
		}
		in.Conn, in.ServerName, in.ALPN = server, server.ConnectionState().ServerName, server.ConnectionState().NegotiatedProtocol
		return true
	})
	begin := func(name string, alpn ...string) *testnet.Client {
		nc := tls.Client(d.dial(t).Conn, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: alpn})
		if err := nc.Handshake(); err != nil {
			t.Fatal(err)
		}
		return testnet.NewClient(t, nc)
	}
	large := strings.Repeat("0123456789abcdef", 100_000)
	for _, alpn := range [][]string{nil, {"smtp"}, {"imap"}} {
		c := begin("shop.example", alpn...)
		sent := make(chan error, 1)
		go func() {
			_, err := io.WriteString(c.Conn, large)
			sent <- err
		}()
		c.WantPrefix(large)
		if err := testnet.Receive(t, "the end of sending", sent); err != nil {
			t.Fatal(err)
		}
		c.CloseWrite()
		c.WantEOF()
	}
	if shop.Conns() != 2 || mail.Conns() != 1 {
		t.Errorf("%d and %d sessions, want 2 and 1", shop.Conns(), mail.Conns())
	}
	begin("mail.example").WantClosed()
	lines := text()
	for _, want := range []string{
		`"server_name":"shop.example","alpn":"smtp","backend":"app"`, `"bytes_received":1600000,"bytes_sent":1600000,"first_end":"client fin"`,
		`"server_name":"mail.example","reason":"server_name_unknown"`,
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("no %s in\n%s", want, lines)
		}
	}
}
