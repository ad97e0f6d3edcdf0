package gateway

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/upstream"
)

// repeat answers every byte with itself.
func repeat(c *testnet.OriginConn) { _, _ = io.Copy(c.Conn, c) }

// parrot is a UDP endpoint that sends every datagram back behind its mark.
func parrot(t testing.TB, mark string) (address string) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		p := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(p)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(append([]byte(mark), p[:n]...), from)
		}
	})
	t.Cleanup(func() { _ = pc.Close(); wg.Wait() })
	return pc.LocalAddr().String()
}

// datagram sends text over nc and returns what comes back.
func datagram(t testing.TB, nc net.Conn, text string) string {
	t.Helper()
	_ = nc.SetDeadline(time.Now().Add(testnet.Patience))
	if _, err := nc.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 4096)
	n, err := nc.Read(p)
	if err != nil {
		t.Fatalf("answer to %q: %v", text, err)
	}
	return string(p[:n])
}

func (g *running) packets(listener string) net.Conn {
	g.t.Helper()
	nc, err := net.Dial("udp", g.address(listener))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = nc.Close() })
	return nc
}

// TestStreams: a listener for tcp from the configuration to the log, with its keys.
func TestStreams(t *testing.T) {
	o := testnet.NewOrigin(t, repeat)
	g := start(t, fmt.Sprintf(`version: 1
access_log: stdout
listeners:
  database: {address: "127.0.0.1:0", protocol: tcp, backend: db, idle_timeout: 20s, limits: {connections: 2}}
  brief: {address: "127.0.0.1:0", protocol: tcp, backend: db, idle_timeout: 50ms}
  short: {address: "127.0.0.1:0", protocol: tcp, backend: db, lifetime: 50ms}
backends:
  db: {endpoints: [%q], balance: least_connections}
`, o.Addr))
	c := g.dial("database")
	c.Send("hello")
	c.WantPrefix("hello")
	if got := g.metric(`sluice_connections{listener="database"}`); got != "1" {
		t.Errorf("%s connections are open", got)
	}
	if got := g.metric(`sluice_endpoint_in_flight{backend="db",endpoint="` + o.Addr + `"}`); got != "1" {
		t.Errorf("%s sessions are counted at the endpoint", got)
	}
	second := g.dial("database")
	second.Send("x")
	second.WantPrefix("x")
	third, err := net.DialTimeout("tcp", g.address("database"), testnet.Patience) // one more than the limit
	if err == nil {
		testnet.NewClient(t, third).WantClosed()
	}
	second.Close()
	c.CloseWrite()
	c.WantEOF()
	g.dial("brief").WantEOF()
	g.dial("short").WantReset()
	testnet.Eventually(t, "the lines of the log", func() bool { return strings.Count(g.out.String(), "\n") == 4 })
	for _, want := range []string{
		`"listener":"database","protocol":"tcp","client":"` + c.Conn.LocalAddr().String() + `","server":"` + g.address("database") + `","backend":"db","endpoint":"` + o.Addr +
			`","attempts":1,"bytes_received":5,"bytes_sent":5,"first_end":"client fin"`,
		`"listener":"brief","protocol":"tcp"`, `"reason":"idle_timeout","side":"internal","stage":"wait"`,
		`"listener":"short","protocol":"tcp"`, `"reason":"lifetime_reached"`,
	} {
		if !strings.Contains(g.out.String(), want) {
			t.Errorf("no %s in\n%s", want, g.out.String())
		}
	}
	if got := g.metric(`sluice_connections_refused_total{listener="database",reason="too_many_connections"}`); got != "1" {
		t.Errorf("%s connections were refused", got)
	}
}

// TestDatagrams: a listener for udp from the configuration to the log, with its counters.
func TestDatagrams(t *testing.T) {
	a, b := parrot(t, "a:"), parrot(t, "b:")
	g := start(t, fmt.Sprintf(`version: 1
access_log: stdout
listeners:
  dns: {address: "127.0.0.1:0", protocol: udp, backend: resolvers, idle_timeout: 20s, limits: {connections: 3}}
  each: {address: "127.0.0.1:0", protocol: udp, backend: turns, udp: {requests: 1, responses: 1}}
  nowhere: {address: "127.0.0.1:0", protocol: udp, backend: none}
backends:
  resolvers: {endpoints: [%[1]q, %[2]q], balance: {algorithm: ring_hash, key: client.ip}}
  turns: {endpoints: [%[1]q, %[2]q], balance: round_robin}
  none: {endpoints: ["127.0.0.1:9"]}
`, a, b))
	first := ""
	for i := range 3 {
		nc := g.packets("dns")
		got := datagram(t, nc, "x")
		if first == "" {
			first = got
		}
		if again := datagram(t, nc, "x"); got != first || again != first {
			t.Errorf("client %d of one address was answered %q and %q, the first one %q", i, got, again, first)
		}
	}
	_, _ = g.packets("dns").Write([]byte("x")) // one more than the listener may remember, and none is old enough
	testnet.Eventually(t, "a datagram to be dropped", func() bool {
		return g.metric(`sluice_datagrams_dropped_total{listener="dns",reason="table_full"}`) == "1"
	})
	g.current.byName["none"].Endpoint("127.0.0.1:9").SetOverride(&upstream.Override{State: upstream.StateMaint, Weight: -1})
	_, _ = g.packets("nowhere").Write([]byte("x"))
	testnet.Eventually(t, "a datagram without an endpoint", func() bool {
		return g.metric(`sluice_datagrams_dropped_total{listener="nowhere",reason="no_endpoint"}`) == "1"
	})
	nc := g.packets("each")
	for _, want := range []string{"a:1", "b:1", "a:1", "b:1"} {
		if got := datagram(t, nc, "1"); got != want {
			t.Errorf("answer %q, want %q", got, want)
		}
	}
	for series, want := range map[string]string{
		`sluice_datagrams_total{listener="dns",direction="received"}`: "7", `sluice_datagrams_total{listener="dns",direction="sent"}`: "6",
		`sluice_connections{listener="dns"}`: "3", `sluice_connections_total{listener="dns"}`: "3", `sluice_connections_total{listener="each"}`: "4",
		`sluice_sessions_total{listener="nowhere",reason="no_healthy_endpoint"}`: "1",
		`sluice_datagram_sockets_parked{listener="dns"}`:                         "0", // all its sessions are there
	} {
		if got := g.metric(series); got != want {
			t.Errorf("%s is %q, want %s", series, got, want)
		}
	}
	if parked := g.metric(`sluice_datagram_sockets_parked{listener="each"}`); runtime.GOOS == "linux" && parked == "0" {
		t.Error("no socket of an ended session is kept")
	}
	testnet.Eventually(t, "the lines of the log", func() bool { return strings.Count(g.out.String(), `"listener":"each","protocol":"udp"`) == 4 })
	if line := `"attempts"`; strings.Contains(g.out.String(), line) {
		t.Errorf("%s in\n%s", line, g.out.String())
	}
	if !strings.Contains(g.out.String(), `"datagrams_received":1,"datagrams_sent":1,"bytes_received":1,"bytes_sent":3`) || !strings.Contains(g.out.String(), `"reason":"no_healthy_endpoint"`) {
		t.Errorf("log:\n%s", g.out.String())
	}
}

// TestSecureStreams: TLS on both sides, and passed through, as a configuration has it.
func TestSecureStreams(t *testing.T) {
	dir := t.TempDir()
	shop, shopKey := certificate(t, dir, "shop.test")
	inner, innerKey := certificate(t, dir, "inner.test")
	pair, err := tls.LoadX509KeyPair(inner, innerKey)
	if err != nil {
		t.Fatal(err)
	}
	secret := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert})
		if s.Handshake() == nil {
			_, _ = fmt.Fprintf(s, "%s by %s\n", s.ConnectionState().ServerName, s.ConnectionState().PeerCertificates[0].DNSNames)
			_, _ = io.Copy(s, s)
		}
	})
	plain := testnet.NewOrigin(t, repeat)
	g := start(t, fmt.Sprintf(`version: 1
listeners:
  ends: {address: "127.0.0.1:0", protocol: tls, backend: plain, tls: {certificates: [{cert: %[1]q, key: %[2]q}]}}
  named: {address: "127.0.0.1:0", protocol: tls, tls: {certificates: [{cert: %[1]q, key: %[2]q}]}, sni: {"*.shop.test": plain}}
  passes: {address: "127.0.0.1:0", protocol: tls, sni: {"INNER.test": secret, "*": plain}}
  begins: {address: "127.0.0.1:0", protocol: tcp, backend: secured}
  doubts: {address: "127.0.0.1:0", protocol: tcp, backend: doubted}
backends:
  plain: {endpoints: [%[3]q]}
  secret: {endpoints: [%[4]q]}
  secured: {endpoints: [%[4]q], tls: {ca: %[5]q, server_name: inner.test, cert: %[1]q, key: %[2]q}}
  doubted: {endpoints: [%[4]q], tls: {ca: %[5]q, server_name: other.test, cert: %[1]q, key: %[2]q}}
`, shop, shopKey, plain.Addr, secret.Addr, inner))
	hello := func(listener string, config *tls.Config) (*tls.Conn, error) {
		config.InsecureSkipVerify = true
		s := tls.Client(g.dial(listener).Conn, config)
		_ = s.SetDeadline(time.Now().Add(testnet.Patience))
		return s, s.Handshake()
	}
	echoes := func(what string, c io.ReadWriter) {
		t.Helper()
		got := make([]byte, 5)
		if _, err := io.WriteString(c, "hello"); err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	c, err := hello("ends", &tls.Config{ServerName: "shop.test"})
	if err != nil {
		t.Fatal(err)
	}
	if name := c.ConnectionState().PeerCertificates[0].DNSNames[0]; name != "shop.test" {
		t.Errorf("the certificate of %s", name)
	}
	echoes("TLS that ends here", c)
	if c, err = hello("named", &tls.Config{ServerName: "a.shop.test"}); err != nil {
		t.Fatal(err)
	}
	echoes("TLS that ends here, by name", c)
	if c, err = hello("named", &tls.Config{ServerName: "shop.test"}); err == nil {
		if n, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("a name without a backend: %d bytes", n)
		}
	}
	if c, err = hello("passes", &tls.Config{ServerName: "inner.test", Certificates: []tls.Certificate{pair}}); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); line != "inner.test by [inner.test]\n" {
		t.Errorf("passed through: %q, %v", line, err)
	}
	echoes("passed through", struct {
		io.Reader
		io.Writer
	}{r, c})
	begins := g.dial("begins")
	begins.WantPrefix("inner.test by [shop.test]\n")
	begins.Send("hello")
	begins.WantPrefix("hello")
	// The reset may be there before the system has told that there is a connection.
	if nc, err := net.DialTimeout("tcp", g.address("doubts"), testnet.Patience); err == nil {
		_ = nc.SetReadDeadline(time.Now().Add(testnet.Patience))
		if n, err := nc.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a backend whose certificate is not believed: %d bytes, %v", n, err)
		}
		_ = nc.Close()
	} else if !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
	if got := g.metric(`sluice_endpoint_failures_total{backend="doubted",endpoint="` + secret.Addr + `",reason="upstream_tls_failed"}`); got != "1" {
		t.Errorf("%q failures of TLS are counted", got)
	}
}

// TestProxyProtocol: what a PROXY header says is believed, passed on with all that it has, logged, and stands in the forwarding fields of HTTP.
func TestProxyProtocol(t *testing.T) {
	raw := testnet.NewOrigin(t, repeat)
	web := testnet.NewOrigin(t, testnet.Answer(ok("web")))
	g := start(t, fmt.Sprintf(`version: 1
access_log: stdout
listeners:
  in: {address: "127.0.0.1:0", protocol: tcp, backend: out, trusted_proxies: 127.0.0.0/8, proxy_protocol: required}
  one: {address: "127.0.0.1:0", protocol: tcp, backend: out1, trusted_proxies: 127.0.0.0/8, proxy_protocol: required}
  web: {address: "127.0.0.1:0", protocol: http, trusted_proxies: 127.0.0.0/8}
  strict: {address: "127.0.0.1:0", protocol: http, trusted_proxies: 192.0.2.0/24, proxy_protocol: optional}
routes: [{backend: web}]
backends:
  out: {endpoints: [%[1]q], proxy_protocol: v2}
  out1: {endpoints: [%[1]q], proxy_protocol: v1}
  web: {endpoints: [%[2]q]}
`, raw.Addr, web.Addr))
	const addresses, authority = "\xc0\x00\x02\x07\xc6\x33\x64\x01\x12\x67\x01\xbb", "\x02\x00\x0cshop.example"
	const two = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x1b" + addresses + authority
	for _, listener := range []string{"in", "one"} {
		c := g.dial(listener)
		c.Send(two + "hello")
		want := two + "hello"
		if listener == "one" {
			want = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\nhello"
		}
		c.WantPrefix(want)
		c.CloseWrite()
		c.WantEOF()
		g.dial(listener).Close()
	}
	c := g.dial("web")
	c.Send("PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n" + get("/x"))
	if r := c.ReadResponse("GET"); r.Status != 200 {
		t.Errorf("answer %d", r.Status)
	}
	want(t, g.dial("web"), "/plain", 200, "web")
	seen := web.Received()
	if !strings.Contains(seen, "X-Forwarded-For: 192.0.2.7\r\n") || !strings.Contains(seen, "X-Forwarded-For: 127.0.0.1\r\n") {
		t.Errorf("the endpoint saw\n%s", seen)
	}
	forged := g.dial("strict")
	_ = forged.TrySend("PROXY TCP4 10.0.0.1 198.51.100.1 4711 443\r\n" + get("/x"))
	forged.WantClosed()
	want(t, g.dial("strict"), "/plain", 200, "web")
	missing := g.dial("in")
	_ = missing.TrySend("hello")
	missing.WantClosed()
	for series, want := range map[string]string{
		`sluice_proxy_headers_total{listener="in"}`:                                           "1",
		`sluice_proxy_headers_total{listener="web"}`:                                          "1",
		`sluice_connections_refused_total{listener="strict",reason="proxy_header_untrusted"}`: "1",
		`sluice_connections_refused_total{listener="in",reason="proxy_header_missing"}`:       "1",
	} {
		if got := g.metric(series); got != want {
			t.Errorf("%s is %q, want %s", series, got, want)
		}
	}
	testnet.Eventually(t, "the lines of the log", func() bool { return strings.Count(g.out.String(), "\n") == 5 })
	for _, want := range []string{`"listener":"in","protocol":"tcp","client":"192.0.2.7:4711","server":"198.51.100.1:443"`, `"client":"192.0.2.7"`} {
		if !strings.Contains(g.out.String(), want) {
			t.Errorf("no %s in\n%s", want, g.out.String())
		}
	}
	if !strings.Contains(g.reports.String(), "not one of trusted_proxies") {
		t.Errorf("reported:\n%s", g.reports.String())
	}
}

// TestListenerChangesProtocol: an address that is served in another way from a reload on keeps the connections that it has.
func TestListenerChangesProtocol(t *testing.T) {
	o := testnet.NewOrigin(t, repeat)
	http := "version: 1\nlisteners: {door: {address: \"127.0.0.1:0\", protocol: http}}\nroutes: [{respond: {text: http}}]\n"
	tcp := fmt.Sprintf("version: 1\nlisteners: {door: {address: \"127.0.0.1:0\", protocol: tcp, backend: db}}\nbackends: {db: {endpoints: [%q]}}\n", o.Addr)
	g := start(t, http)
	address, web := g.address("door"), g.dial("door")
	want(t, web, "/", 200, "http")
	g.take(tcp)
	stream := g.dial("door")
	stream.Send("hello")
	stream.WantPrefix("hello")
	g.take(http)
	want(t, g.dial("door"), "/", 200, "http")
	want(t, web, "/", 200, "http")
	stream.Send("again")
	stream.WantPrefix("again")
	stream.CloseWrite()
	stream.WantEOF()
	if now := g.address("door"); now != address {
		t.Errorf("the listener has moved from %s to %s", address, now)
	}
}

// TestPacketsCannotBeBound: a configuration whose datagram listener has no address changes nothing, and is served once there is one.
func TestPacketsCannotBeBound(t *testing.T) {
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	g := start(t, fixed("old"))
	text := fmt.Sprintf("version: 1\nlisteners:\n  other: {address: \"127.0.0.1:0\", protocol: udp, backend: db}\n  dns: {address: %q, protocol: udp, backend: db}\nbackends: {db: {endpoints: [%q]}}\n",
		taken.LocalAddr(), parrot(t, "p:"))
	for range 3 {
		if err := g.Apply(parse(t, text)); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Fatalf("%v", err)
		}
	}
	want(t, g.dial("web"), "/", 200, "old")
	_ = taken.Close()
	testnet.Eventually(t, "the address to be free", func() bool { return g.Apply(parse(t, text)) == nil })
	for _, l := range []string{"dns", "other"} {
		if got := datagram(t, g.packets(l), "x"); got != "p:x" {
			t.Errorf("%s: %q", l, got)
		}
	}
	if g.Addr("web") != nil {
		t.Error("a listener is there that no configuration has any more")
	}
}

// TestStreamsAtTheEnd: sessions have the time of a shutdown to end, and are cut then; what is cut is told.
func TestStreamsAtTheEnd(t *testing.T) {
	t.Parallel()
	o := testnet.NewOrigin(t, repeat)
	p := parrot(t, "")
	g := start(t, fmt.Sprintf(`version: 1
access_log: stdout
shutdown: {timeout: 2500ms}
listeners:
  database: {address: "127.0.0.1:0", protocol: tcp, backend: db}
  dns: {address: "127.0.0.1:0", protocol: udp, backend: resolvers}
backends: {db: {endpoints: [%q]}, resolvers: {endpoints: [%q]}}
`, o.Addr, p))
	ends, stays, nc := g.dial("database"), g.dial("database"), g.packets("dns")
	for _, c := range []*testnet.Client{ends, stays} {
		c.Send("x")
		c.WantPrefix("x")
	}
	datagram(t, nc, "x")
	done := during(g.Shutdown)
	testnet.Eventually(t, "the begin of the end", g.draining.Load)
	ends.Send("still")
	ends.WantPrefix("still")
	ends.CloseWrite()
	ends.WantEOF()
	stays.WantReset()
	testnet.Receive(t, "the end", done)
	told := g.reports.String()
	for _, want := range []string{`listener "database": 1 sessions were cut off`, `listener "dns": 1 sessions were cut off`} {
		if !strings.Contains(told, want) {
			t.Errorf("no %q in %q", want, told)
		}
	}
	if log := g.out.String(); strings.Count(log, "\n") != 3 || strings.Count(log, `"reason":"shutting_down"`) != 2 {
		t.Errorf("log:\n%s", log)
	}
}

// TestStreamConfigurationErrors: what cannot work is refused with its line.
func TestStreamConfigurationErrors(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"listeners: {l: {address: \":0\", protocol: tcp, backend: none}}", "none"},
		{"listeners: {l: {address: \":0\", protocol: udp, backend: b}, m: {address: \":0\", protocol: udp}}", "nowhere to pass connections on"},
		{"listeners: {l: {address: \":0\", protocol: tls, backend: b, tls: {certificates: [{cert: /nowhere, key: /nowhere}]}}}", "/nowhere"},
		{"listeners: {l: {address: \"127.0.0.1:7\", protocol: udp, backend: b}, m: {address: \"127.0.0.1:7\", protocol: udp, backend: b}}", "127.0.0.1:7"},
	} {
		file := t.TempDir() + "/x.yaml"
		if err := os.WriteFile(file, []byte("version: 1\n"+test.text+"\nbackends: {b: {endpoints: [\"127.0.0.1:1\"]}}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(file)
		if err == nil {
			_, err = Review(c)
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "x.yaml:2:") {
			t.Errorf("%s: %v; want an error in line 2 about %q", test.text, err, test.want)
		}
	}
	// One port may be listened on for TCP and for UDP.
	if _, err := Review(parse(t, "version: 1\nlisteners: {l: {address: \"127.0.0.1:7\", protocol: udp, backend: b}, m: {address: \"127.0.0.1:7\", protocol: tcp, backend: b}}\nbackends: {b: {endpoints: [\"127.0.0.1:1\"]}}\n")); err != nil {
		t.Error(err)
	}
}
