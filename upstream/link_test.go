package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

// linking makes a backend for connections of layer 4. The endpoints are tried in their order.
func linking(t testing.TB, change func(*Options), addresses ...string) *Backend {
	t.Helper()
	o := Default()
	o.Name, o.Algorithm = "shop", "round_robin"
	for _, a := range addresses {
		o.Endpoints = append(o.Endpoints, EndpointOptions{Address: a, Weight: 1})
	}
	if change != nil {
		change(&o)
	}
	b, err := New(o, newKeeper(), nil)
	if err != nil {
		t.Fatal(err)
	}
	b.Start()
	t.Cleanup(b.Close)
	return b
}

// away returns an address at which connections are refused. A socket has the port until the test ends, so that nobody else gets it.
func away(t testing.TB) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	syscall.CloseOnExec(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
}

// caller is a client behind a proxy.
var caller = Caller{Client: netip.MustParseAddrPort("192.0.2.7:4711"), Server: netip.MustParseAddrPort("198.51.100.1:443")}

// TestConnect: a connection that cannot be made to one endpoint is made to the next, and what was picked is given back.
func TestConnect(t *testing.T) {
	o := testnet.NewOrigin(t, func(c *testnet.OriginConn) { c.Hang() })
	for _, test := range []struct {
		addresses []string
		attempts  int
		reason    message.Reason
	}{
		{[]string{o.Addr}, 1, message.ReasonNone},
		{[]string{away(t), away(t), o.Addr}, 3, message.ReasonNone},
		{[]string{away(t)}, 1, message.UpstreamConnectRefused},
		{[]string{away(t), away(t)}, 2, message.UpstreamConnectRefused},
		{[]string{"nowhere.invalid:1", o.Addr}, 2, message.ReasonNone},
		{[]string{"nowhere.invalid:1"}, 1, message.UpstreamConnectFailed},
	} {
		b := linking(t, func(o *Options) { o.Connect = testnet.Patience }, test.addresses...)
		var l Link
		failure := b.Connect(&l, &caller)
		if (failure != nil) != (test.reason != message.ReasonNone) || l.Attempts != test.attempts {
			t.Errorf("%v: failure %+v after %d attempts, want %v after %d", test.addresses, failure, l.Attempts, test.reason, test.attempts)
		}
		if failure != nil {
			if failure.Reason != test.reason || failure.Side != message.SideUpstream || failure.Stage != message.StageConnect || failure.Err == nil {
				t.Errorf("%v: failure %+v", test.addresses, failure)
			}
		} else {
			if l.Endpoint() != o.Addr || l.Conn.RemoteAddr().String() != o.Addr || l.Connected == 0 || b.inFlight() != 1 {
				t.Errorf("%v: connected to %s (%v), %d in flight", test.addresses, l.Endpoint(), l.Conn.RemoteAddr(), b.inFlight())
			}
			_ = l.Conn.Close()
			l.Done(nil)
		}
		if n := b.inFlight(); n != 0 {
			t.Errorf("%v: %d are in flight after the end", test.addresses, n)
		}
	}
}

// TestConnectTriesEachOnce: a backend of many dead endpoints is not tried for ever, and none is tried twice.
func TestConnectTriesEachOnce(t *testing.T) {
	var all []string
	for range 40 {
		all = append(all, away(t))
	}
	b := linking(t, func(o *Options) { o.Outlier.Consecutive = 0; o.Algorithm = "least_request" }, all...)
	var l Link
	if f := b.Connect(&l, &caller); f == nil || f.Reason != message.UpstreamConnectRefused || l.Attempts < 2 || l.Attempts > len(all) {
		t.Errorf("%+v after %d attempts", f, l.Attempts)
	}
	for _, e := range b.Snapshot().Endpoints {
		if e.Failures > 1 {
			t.Errorf("%s was tried %d times", e.Address, e.Failures)
		}
	}
}

// TestConnectFullNext: where the next endpoint has no place, the failure is that of the one that was tried.
func TestConnectFullNext(t *testing.T) {
	o := testnet.NewOrigin(t, func(c *testnet.OriginConn) { c.Hang() })
	b := linking(t, func(o *Options) { o.MaxInFlight, o.Queue, o.QueueTimeout = 1, 0, time.Millisecond }, o.Addr, away(t))
	var busy, l Link
	if f := b.Connect(&busy, &caller); f != nil || busy.Endpoint() != o.Addr {
		t.Fatalf("%+v at %s", f, busy.Endpoint())
	}
	if f := b.Connect(&l, &caller); f == nil || f.Reason != message.UpstreamConnectRefused || l.Attempts != 1 {
		t.Errorf("%+v after %d attempts", f, l.Attempts)
	}
	_ = busy.Conn.Close()
	busy.Done(nil)
	if n := b.inFlight(); n != 0 {
		t.Errorf("%d are in flight after the end", n)
	}
}

// TestConnectLatency: what goes by latency goes by that of connecting, and a failure is no fast sample.
func TestConnectLatency(t *testing.T) {
	o := testnet.NewOrigin(t, func(c *testnet.OriginConn) { c.Hang() })
	b := linking(t, func(o *Options) { o.Algorithm, o.Outlier.Consecutive = "least_latency", 0 }, away(t), o.Addr)
	attempts := 0
	for range 20 {
		var l Link
		if f := b.Connect(&l, &caller); f != nil {
			t.Fatalf("%+v", f)
		}
		attempts += l.Attempts
		_ = l.Conn.Close()
		l.Done(nil)
	}
	if attempts > 30 {
		t.Errorf("%d attempts for 20 connections: the endpoint that fails fast attracts", attempts)
	}
}

// TestLinksCount: links are held against their endpoint by what became of them.
func TestLinksCount(t *testing.T) {
	hang := func(c *testnet.OriginConn) { c.Hang() }
	o, other := testnet.NewOrigin(t, hang), testnet.NewOrigin(t, hang)
	b := linking(t, func(o *Options) { o.Outlier.Consecutive, o.Outlier.Eject = 3, time.Hour }, o.Addr, other.Addr)
	ep := b.Endpoint(o.Addr)
	end := func(f *message.Failure) {
		t.Helper()
		ep.forget() // what went before
		for range 3 {
			for turn := range 2 {
				var l Link
				if failure := b.Connect(&l, &caller); failure != nil || l.Endpoint() != []string{o.Addr, other.Addr}[turn] {
					t.Fatalf("%+v, at %s", failure, l.Endpoint())
				}
				_ = l.Conn.Close()
				if turn == 0 {
					l.Done(f)
				} else {
					l.Done(nil)
				}
			}
		}
	}
	end(nil)
	end(&message.Failure{Reason: message.ClientReset, Side: message.SideClient, Stage: message.StageReceive})
	end(&message.Failure{Reason: message.IdleTimeout, Side: message.SideInternal, Stage: message.StageWait})
	if !ep.usable(message.Now()) {
		t.Fatal("the endpoint is ejected for what clients do")
	}
	end(&message.Failure{Reason: message.UpstreamReset, Side: message.SideUpstream, Stage: message.StageWait})
	if ep.usable(message.Now()) {
		t.Error("the endpoint is not ejected although it reset three connections in a row")
	}
}

// TestConnectProxyHeader: an endpoint that wants to know its clients is told before the first byte, in the words of the version.
func TestConnectProxyHeader(t *testing.T) {
	six := Caller{Client: netip.MustParseAddrPort("[2001:db8::7]:4711"), Server: netip.MustParseAddrPort("[2001:db8::1]:443")}
	tlvs := caller
	tlvs.TLVs = []byte("\x02\x00\x0cshop.example" + "\xea\x00\x03abc" + "\x05\x00\x01\x07")
	const signature = "\r\n\r\n\x00\r\nQUIT\n"
	for name, test := range map[string]struct {
		version int
		caller  Caller
		want    string
	}{
		"v1":           {1, caller, "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"},
		"v1, IPv6":     {1, six, "PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n"},
		"v1 with TLVs": {1, tlvs, "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"},
		"v2":           {2, caller, signature + "\x21\x11\x00\x0c" + "\xc0\x00\x02\x07" + "\xc6\x33\x64\x01" + "\x12\x67" + "\x01\xbb"},
		"v2, IPv6": {2, six, signature + "\x21\x21\x00\x24" + "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" +
			"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\x12\x67" + "\x01\xbb"},
		"v2 with TLVs": {2, tlvs, signature + "\x21\x11\x00\x25" + "\xc0\x00\x02\x07" + "\xc6\x33\x64\x01" + "\x12\x67" + "\x01\xbb" + string(tlvs.TLVs)},
		"v2, nobody":   {2, Caller{}, signature + "\x21\x00\x00\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			o := testnet.NewOrigin(t, func(c *testnet.OriginConn) { c.Hang() })
			b := linking(t, func(o *Options) { o.ProxyProtocol = test.version }, o.Addr)
			var l Link
			if f := b.Connect(&l, &test.caller); f != nil {
				t.Fatalf("%+v", f)
			}
			_, _ = io.WriteString(l.Conn, "data")
			_ = l.Conn.Close()
			testnet.Receive(t, "the end at the endpoint", o.Conn(0).Ended())
			if got := o.Received(); got != test.want+"data" {
				t.Errorf("received %q, want %q", got, test.want+"data")
			}
			l.Done(nil)
		})
	}
}

// TestConnectSecured: TLS towards an endpoint is made with the name and the certificate that the configuration gives, or not at all.
func TestConnectSecured(t *testing.T) {
	a := newAuthority(t)
	cert, err := tls.LoadX509KeyPair(a.pair("shop.internal"))
	if err != nil {
		t.Fatal(err)
	}
	clientCert, clientKey := a.pair("client")
	ca := a.file("ca.pem", a.block())
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	var mu sync.Mutex
	var heard []string // what the endpoint found out of its clients
	serve := func(config *tls.Config) string {
		return testnet.NewOrigin(t, func(c *testnet.OriginConn) {
			s := tls.Server(c, config)
			if s.Handshake() != nil {
				return
			}
			state := s.ConnectionState()
			from := "nobody"
			if len(state.PeerCertificates) > 0 {
				from = state.PeerCertificates[0].Subject.CommonName
			}
			mu.Lock()
			heard = append(heard, fmt.Sprintf("%s from %s", state.ServerName, from))
			mu.Unlock()
			_, _ = io.Copy(s, s)
		}).Addr
	}
	plain := serve(&tls.Config{Certificates: []tls.Certificate{cert}})
	strict := serve(&tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MaxVersion: tls.VersionTLS12})
	mute := testnet.NewOrigin(t, func(c *testnet.OriginConn) { c.Hang() }).Addr
	notTLS := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		c.Send("220 mail.example ESMTP ready, and a line that is no TLS record\r\n")
		c.Hang()
	}).Addr
	for _, test := range []struct {
		name    string
		address string
		tls     TLSOptions
		heard   string
		reason  message.Reason
		says    string
	}{
		{"verified", plain, TLSOptions{CA: ca, ServerName: "shop.internal"}, "shop.internal from nobody", message.ReasonNone, ""},
		{"another name", plain, TLSOptions{CA: ca, ServerName: "mail.internal"}, "", message.UpstreamTLSFailed, "shop.internal, not mail.internal"},
		{"address in place of a name", plain, TLSOptions{CA: ca}, "", message.UpstreamTLSFailed, "127.0.0.1"},
		{"unknown authority", plain, TLSOptions{ServerName: "shop.internal"}, "", message.UpstreamTLSFailed, "unknown authority"},
		{"not verified", plain, TLSOptions{ServerName: "mail.internal", Insecure: true}, "mail.internal from nobody", message.ReasonNone, ""},
		{"client certificate", strict, TLSOptions{CA: ca, ServerName: "shop.internal", Cert: clientCert, Key: clientKey}, "shop.internal from client", message.ReasonNone, ""},
		{"no client certificate", strict, TLSOptions{CA: ca, ServerName: "shop.internal"}, "", message.UpstreamTLSFailed, "remote error: tls: "},
		{"too old", strict, TLSOptions{CA: ca, ServerName: "shop.internal", TLS13: true}, "", message.UpstreamTLSFailed, "protocol version"},
		{"says nothing", mute, TLSOptions{CA: ca, ServerName: "shop.internal"}, "", message.UpstreamConnectTimeout, "deadline"},
		{"no TLS", notTLS, TLSOptions{CA: ca, ServerName: "shop.internal"}, "", message.UpstreamTLSFailed, "does not look like a TLS handshake"},
	} {
		t.Run(test.name, func(t *testing.T) {
			heard = nil
			b := linking(t, func(o *Options) {
				o.TLS = &test.tls
				if o.Connect = testnet.Patience; test.reason == message.UpstreamConnectTimeout {
					o.Connect = 100 * time.Millisecond
				}
			}, test.address)
			var l Link
			failure := b.Connect(&l, &caller)
			if test.reason != message.ReasonNone {
				if failure == nil || failure.Reason != test.reason || failure.Retry != message.RetryUnsent || !strings.Contains(failure.Err.Error(), test.says) {
					t.Fatalf("failure %+v, want %v that says %q", failure, test.reason, test.says)
				}
				return
			}
			if failure != nil {
				t.Fatalf("%+v", failure)
			}
			defer l.Done(nil)
			defer l.Conn.Close()
			_ = l.Conn.SetDeadline(time.Now().Add(testnet.Patience))
			got := make([]byte, 5)
			if _, err := io.WriteString(l.Conn, "hello"); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(l.Conn, got); err != nil || string(got) != "hello" {
				t.Fatalf("%q, %v", got, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if strings.Join(heard, ", ") != test.heard {
				t.Errorf("the endpoint heard %q, want %q", heard, test.heard)
			}
		})
	}
}

// TestConnectHeaderBeforeTLS: the PROXY header goes first, and the handshake behind it.
func TestConnectHeaderBeforeTLS(t *testing.T) {
	o := testnet.NewOrigin(t, func(c *testnet.OriginConn) { c.Hang() })
	b := linking(t, func(o *Options) {
		o.ProxyProtocol, o.TLS, o.Connect = 1, &TLSOptions{ServerName: "shop.internal"}, 50*time.Millisecond
	}, o.Addr)
	var l Link
	if f := b.Connect(&l, &caller); f == nil || f.Reason != message.UpstreamConnectTimeout {
		t.Fatalf("%+v", f)
	}
	testnet.Receive(t, "the end at the endpoint", o.Conn(0).Ended())
	if got := o.Received(); !strings.HasPrefix(got, "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n\x16\x03\x01") {
		t.Errorf("received %.80q", got)
	}
}

// TestAssign: datagrams get an endpoint without a wait, and it is given back.
func TestAssign(t *testing.T) {
	b := linking(t, func(o *Options) { o.MaxInFlight, o.Queue, o.QueueTimeout = 1, 10, time.Hour }, "127.0.0.1:5353", "127.0.0.1:5354")
	var one, two, three Link
	first, f := b.Assign(&one, &caller)
	second, g := b.Assign(&two, &caller)
	if f != nil || g != nil || first.Port() != 5353 || second.Port() != 5354 || !one.Usable() {
		t.Fatalf("%v, %v; %v, %v", first, f, second, g)
	}
	if _, f := b.Assign(&three, &caller); f == nil || f.Reason != message.QueueFull && f.Reason != message.QueueTimeout {
		t.Errorf("a third client gets %+v where two endpoints take one each", f)
	}
	b.Endpoint("127.0.0.1:5353").SetOverride(&Override{State: StateMaint, Weight: -1})
	if one.Usable() || !two.Usable() {
		t.Error("what an operator has put out of service is used, or the other is not")
	}
	one.Done(nil)
	two.Done(nil)
	if n := b.inFlight(); n != 0 {
		t.Errorf("%d are in flight after the end", n)
	}
	named := linking(t, nil, "localhost:5353")
	if _, f := named.Assign(new(Link), &caller); f == nil || f.Reason != message.UpstreamConnectFailed || named.inFlight() != 0 {
		t.Errorf("a name: %+v, %d in flight", f, named.inFlight())
	}
}
