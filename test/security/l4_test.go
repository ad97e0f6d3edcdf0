package security

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/test/rig"
)

// certificate writes a certificate for a.test and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a.test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "a.pem"), filepath.Join(dir, "a.key")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// doors is a configuration with a listener of every kind that reads something before a connection is served, each also behind a PROXY header.
func doors(t *testing.T, raw, web string, listener string) string {
	t.Helper()
	cert, key := certificate(t)
	const behind = `trusted_proxies: 127.0.0.0/8, proxy_protocol: required, `
	secret := fmt.Sprintf("tls: {certificates: [{cert: %q, key: %q}]}", cert, key)
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\naccess_log: stdout\nlisteners:\n")
	for _, l := range []struct{ name, keys string }{
		{"http", `protocol: http`}, {"https", `protocol: https, ` + secret}, {"tcp", `protocol: tcp, backend: raw`},
		{"pass", `protocol: tls, sni: {"*": raw}`}, {"ends", `protocol: tls, backend: raw, ` + secret},
	} {
		fmt.Fprintf(&b, "  %s: {address: \"127.0.0.1:0\", %s%s}\n", l.name, l.keys, listener)
		fmt.Fprintf(&b, "  %s-behind: {address: \"127.0.0.1:0\", %s%s%s}\n", l.name, behind, l.keys, listener)
	}
	fmt.Fprintf(&b, "routes: [{backend: web}]\nbackends: {raw: {endpoints: [%q]}, web: {endpoints: [%q]}}\n", raw, web)
	return b.String()
}

const v1Header = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"

// v2 is a PROXY header of version 2.
func v2(command, family byte, body string) string {
	return "\r\n\r\n\x00\r\nQUIT\n" + string([]byte{command, family}) + string(binary.BigEndian.AppendUint16(nil, uint16(len(body)))) + body
}

const v2Addresses = "\xc0\x00\x02\x07\xc6\x33\x64\x01\x12\x67\x01\xbb" // 192.0.2.7:4711 > 198.51.100.1:443

// Whatever is read before a connection is served has one deadline, however steadily its bytes come.
func TestCase46Stalls(t *testing.T) {
	t.Parallel()
	const bound = 300 * time.Millisecond
	o := testnet.NewOrigin(t, func(c *testnet.OriginConn) { c.Hang() })
	g := rig.Start(t, doors(t, o.Addr, o.Addr, `, timeouts: {header: 300ms}`))
	// A ClientHello of 16,000 bytes, of which the first come at once.
	const hello = "\x16\x03\x01\x3e\x80\x01\x00\x3e\x7c\x03\x03"
	for _, c := range []struct{ name, listener, first, drip string }{
		{"ClientHello that is passed on", "pass", hello, "x"},
		{"ClientHello that is passed on, first byte only", "pass", "\x16", ""},
		{"ClientHello of a handshake", "ends", hello, "x"},
		{"ClientHello for HTTP", "https", hello, "x"},
		{"PROXY header v1", "tcp-behind", "PROXY TCP4 ", "1"},
		{"PROXY header v2", "tcp-behind", v2(0x21, 0x11, strings.Repeat("x", 4000))[:16], "x"},
		{"PROXY header before HTTP", "http-behind", "PROXY TCP4 ", "1"},
		{"PROXY header before TLS", "https-behind", "PROXY TCP4 ", "1"},
		{"nothing, where a PROXY header must be", "tcp-behind", "", ""},
		{"ClientHello behind a PROXY header", "pass-behind", v1Header + hello, "x"},
		{"handshake behind a PROXY header", "ends-behind", v1Header + hello, "x"},
		{"half a request behind a PROXY header", "http-behind", v1Header + "GET / HT", "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			client := rig.Dial(t, g.Address(c.listener))
			client.Send(c.first)
			switch {
			case c.drip == "":
			case strings.HasPrefix(c.first, "PROXY TCP4 ") && len(c.first) < 20:
				// At 107 bytes version 1 would be a fault and no stall.
				for i := 0; i < 70 && client.TrySend(c.drip) == nil; i++ {
					time.Sleep(5 * time.Millisecond)
				}
			default:
				trickle(t, client, c.drip)
			}
			_ = client.Rest() // an answer to half a request; then the end
			if took := time.Since(began); took < bound {
				t.Errorf("ended after %s, before its time was up", took)
			}
		})
	}
	t.Cleanup(func() {
		if n := o.Conns(); n != 0 {
			t.Errorf("%d connections were made to the endpoint", n)
		}
	})
}

// dialFrom connects from another address of the machine.
func dialFrom(t *testing.T, ip, address string) (net.Conn, error) {
	t.Helper()
	d := net.Dialer{Timeout: testnet.Patience, LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(ip + ":0"))}
	nc, err := d.Dial("tcp", address)
	if err == nil {
		t.Cleanup(func() { _ = nc.Close() })
	}
	return nc, err
}

// isOpen reports whether the other side has not ended a connection on which nothing is said.
func isOpen(nc net.Conn) bool {
	_ = nc.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := nc.Read(make([]byte, 1))
	return timeout(err)
}

func timeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

// The case speaks of 100,000 idle connections. Here the bounds stand at 40 for a client and 120 in all, which no test machine lacks the descriptors for: the
// listener does the same at any bound.
func TestCase53IdleConnections(t *testing.T) {
	t.Parallel()
	if nc, err := dialFrom(t, "127.9.0.1", rig.NewOrigin(t, "probe", nil).Addr()); err != nil {
		testnet.LacksAddress(t, "127.9.0.1:0", err)
	} else {
		_ = nc.Close()
	}
	const perSource, all = 40, 120
	o := rig.NewOrigin(t, "app", nil)
	raw := testnet.NewOrigin(t, func(c *testnet.OriginConn) { _, _ = io.Copy(c.Conn, c) })
	g := rig.Start(t, fmt.Sprintf(`version: 1
listeners:
  web: {address: "127.0.0.1:0", protocol: http, limits: {connections: %[1]d, connections_per_source: %[2]d}}
  raw: {address: "127.0.0.1:0", protocol: tcp, backend: raw, limits: {connections: %[1]d, connections_per_source: %[2]d}}
routes: [{backend: app}]
backends: {app: {endpoints: [%[3]q]}, raw: {endpoints: [%[4]q]}}
`, all, perSource, o.Addr(), raw.Addr))
	value := func(format string, args ...any) string { return g.Metric(fmt.Sprintf(format, args...)) }
	for _, listener := range []string{"web", "raw"} {
		// One client opens ten times as many as it may.
		var kept []net.Conn
		refused := 0
		for range 10 * perSource {
			nc, err := dialFrom(t, "127.9.0.1", g.Address(listener))
			if err != nil {
				refused++ // reset before the connection stood
				continue
			}
			kept = append(kept, nc)
		}
		testnet.Eventually(t, "the refusals", func() bool {
			return value(`sluice_connections_refused_total{listener=%q,reason="too_many_from_source"}`, listener) == fmt.Sprint(9*perSource)
		})
		if got := value(`sluice_connections{listener=%q}`, listener); got != fmt.Sprint(perSource) {
			t.Errorf("%s: %s connections of one client stand, want %d", listener, got, perSource)
		}
		// Others fill the listener up.
		for source := 2; source <= all/perSource; source++ {
			for range perSource {
				nc, err := dialFrom(t, fmt.Sprintf("127.9.0.%d", source), g.Address(listener))
				if err != nil {
					t.Fatal(err)
				}
				kept = append(kept, nc)
			}
		}
		testnet.Eventually(t, "a full listener", func() bool { return value(`sluice_connections{listener=%q}`, listener) == fmt.Sprint(all) })
		if listener == "raw" {
			continue // whether a session of layer 4 is idle is not the listener's to know: its own idle_timeout ends it
		}
		// Whoever comes now and has something to say is served all the same: idle connections make room, the oldest first.
		for i := range 10 {
			c := rig.Dial(t, g.Address(listener))
			c.Send(get("/"))
			if r := c.Response("GET"); r.Status != 200 {
				t.Fatalf("client %d of a listener that is full of idle connections: %d", i, r.Status)
			}
		}
		open := 0
		for _, nc := range kept {
			if isOpen(nc) {
				open++
			}
		}
		if open > all-10+all/8 || open < all-10-all/8 {
			t.Errorf("%d idle connections are left of %d after 10 others came", open, all)
		}
		if got := value(`sluice_connections_refused_total{listener=%q,reason="too_many_connections"}`, listener); got != "0" {
			t.Errorf("%s clients were refused for whom there was room", got)
		}
	}
}

// Odd PROXY headers neither end the gateway nor leave bytes of theirs in the connection.
func TestCase59OddProxyHeaders(t *testing.T) {
	t.Parallel()
	raw := testnet.NewOrigin(t, func(c *testnet.OriginConn) { _, _ = io.Copy(c.Conn, c) })
	web := rig.NewOrigin(t, "web", nil)
	text := doors(t, raw.Addr, web.Addr(), "")
	text = strings.Replace(text, "listeners:\n", "listeners:\n  out: {address: \"127.0.0.1:0\", trusted_proxies: 127.0.0.0/8, proxy_protocol: required, protocol: tcp, backend: out}\n", 1)
	text = strings.Replace(text, "backends: {", fmt.Sprintf("backends: {out: {endpoints: [%q], proxy_protocol: v2}, ", raw.Addr), 1)
	g := rig.Start(t, text)
	large := "\x04" + string(binary.BigEndian.AppendUint16(nil, 4000)) + strings.Repeat("n", 4000)
	for _, c := range []struct { // the protocol has the block of a local header skipped, whatever is in it
		name   string
		header string
		good   bool
		out    string // what an endpoint gets that wants a header; "" for the same
	}{
		{"local without addresses", v2(0x20, 0x00, ""), true, "?"},
		{"local with nonsense in place of addresses", v2(0x20, 0x00, "nonsense"), true, "?"},
		{"addresses", v2(0x21, 0x11, v2Addresses), true, ""},
		{"TLVs of 4 KB", v2(0x21, 0x11, v2Addresses+large), true, ""},
		{"TLV that is longer than the header", v2(0x21, 0x11, v2Addresses+"\x04\xff\xffx"), false, ""},
		{"half a TLV", v2(0x21, 0x11, v2Addresses+"\x04\x00"), false, ""},
		{"header of 64 KB", v2(0x21, 0x11, v2Addresses+"\x04\xfd\xe8"+strings.Repeat("n", 65000)), false, ""},
		{"half an address", v2(0x21, 0x11, v2Addresses[:7]), false, ""},
		{"unknown family", v2(0x21, 0x44, v2Addresses), false, ""},
		{"unknown command", v2(0x2f, 0x11, v2Addresses), false, ""},
		{"v1 of 108 bytes", "PROXY TCP4 " + strings.Repeat("1", 95) + "\r\n", false, ""},
		{"v1 with a line feed only", "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\n", false, ""},
		{"v1 with a port too high", "PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n", false, ""},
		{"v1 with control bytes", "PROXY TCP4 192.0.2.7\x00 198.51.100.1 1 443\r\n", false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Header and data go out in one segment: neither swallows a byte of the other.
			client := g.Dial("tcp-behind")
			client.Push(c.header + "data")
			page := g.Dial("http-behind")
			page.Push(c.header + get("/a") + get("/b"))
			if !c.good {
				client.WantClosed()
				page.WantClosed()
				return
			}
			client.WantPrefix("data")
			client.CloseWrite()
			client.WantEOF()
			for range 2 {
				if r := page.Response("GET"); r.Status != 200 {
					t.Errorf("answer %d", r.Status)
				}
			}
			out := g.Dial("out")
			out.Send(c.header + "data")
			if c.out == "" {
				out.WantPrefix(c.header + "data")
			} else { // the addresses of the connection itself take the place of those that are missing
				got := make([]byte, 28+4)
				if _, err := io.ReadFull(out, got); err != nil || !strings.HasPrefix(string(got), "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01") || !strings.HasSuffix(string(got), "data") {
					t.Errorf("the endpoint got %q, %v", got, err)
				}
			}
		})
	}
	if saw := raw.Received(); strings.Contains(saw, "PROXY") || strings.Contains(saw, "nonsense") {
		t.Errorf("the endpoint received of a header: %.200q", saw)
	}
	if got := g.Dial("tcp"); got.TrySend("ping") != nil {
		t.Error("the gateway is gone")
	} else {
		got.WantPrefix("ping")
	}
}

// A PROXY header is an identity: nobody who is not trusted has one, and nobody gets around it where it must be.
func TestCase60ForgedProxyHeaders(t *testing.T) {
	t.Parallel()
	o := testnet.NewOrigin(t, func(c *testnet.OriginConn) { _, _ = io.Copy(c.Conn, c) })
	web := rig.NewOrigin(t, "web", nil)
	text := doors(t, o.Addr, web.Addr(), "")
	for _, mode := range []string{"required", "optional"} {
		// Nobody here is trusted.
		forged := rig.Start(t, strings.ReplaceAll(text, "trusted_proxies: 127.0.0.0/8, proxy_protocol: required", "trusted_proxies: 192.0.2.0/24, proxy_protocol: "+mode))
		n := 0
		for _, listener := range []string{"http-behind", "https-behind", "tcp-behind", "pass-behind", "ends-behind"} {
			for _, header := range []string{v1Header, v2(0x21, 0x11, v2Addresses), v2(0x20, 0, ""), "PROXY UNKNOWN\r\n"} {
				nc, err := net.DialTimeout("tcp", forged.Address(listener), testnet.Patience)
				if n++; err != nil {
					continue // reset before the connection stood
				}
				c := testnet.NewClient(t, nc)
				_ = c.TrySend(header + get("/"))
				c.WantClosed()
			}
			testnet.Eventually(t, "the refusals to be counted", func() bool {
				return forged.Metric(fmt.Sprintf(`sluice_connections_refused_total{listener=%q,reason="proxy_header_untrusted"}`, listener)) == "4"
			})
		}
		if !strings.Contains(forged.Reports.String(), "not one of trusted_proxies") {
			t.Errorf("nobody was told of %d forged headers: %s", n, forged.Reports.String())
		}
	}
	// Who is trusted must have one where it is required.
	g := rig.Start(t, text)
	for listener, said := range map[string]string{"http-behind": get("/"), "https-behind": "\x16\x03\x01\x00\x05hello", "tcp-behind": "hello", "pass-behind": "\x16\x03\x01\x00\x05hello", "ends-behind": "hello"} {
		c := g.Dial(listener)
		c.Push(said)
		c.WantClosed()
		if got := g.Metric(fmt.Sprintf(`sluice_connections_refused_total{listener=%q,reason="proxy_header_missing"}`, listener)); got != "1" {
			t.Errorf("%s: %q refusals are counted", listener, got)
		}
	}
	if o.Conns() != 0 || web.Received() != "" {
		t.Errorf("%d connections and %q reached the endpoints", o.Conns(), web.Received())
	}
	// Where a listener does not know of PROXY headers, one is nothing but bytes: nobody is who it says.
	c := g.Dial("http")
	c.Send(v1Header + get("/"))
	if r := c.Response("GET"); r.Status != 400 {
		t.Errorf("a header where none is read: %d", r.Status)
	}
}

// Datagrams go back to whom they are for, from where they were asked, one for each that the endpoint has sent; nobody else's do.
func TestCase61DatagramsAreNotReflected(t *testing.T) {
	t.Parallel()
	listen := func(address string) *net.UDPConn {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
		if err != nil {
			testnet.LacksAddress(t, "127.9.0.1:0", err)
		}
		_ = c.SetDeadline(time.Now().Add(testnet.Patience))
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	endpoint, stranger := listen("127.0.0.1:0"), listen("127.0.0.1:0")
	g := rig.Start(t, fmt.Sprintf(`version: 1
listeners:
  dns: {address: "0.0.0.0:0", protocol: udp, backend: resolvers}
  closed: {address: "127.0.0.1:0", protocol: udp, backend: nobody}
backends: {resolvers: {endpoints: [%q]}, nobody: {endpoints: ["127.0.0.1:1"]}}
`, endpoint.LocalAddr()))
	_, port, _ := net.SplitHostPort(g.Address("dns"))
	buf := make([]byte, 2048)
	read := func(c *net.UDPConn) (string, netip.AddrPort) {
		t.Helper()
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n]), from
	}
	for _, asked := range []string{"127.0.0.1", "127.9.0.1"} {
		client := listen("127.0.0.1:0")
		at := netip.MustParseAddrPort(asked + ":" + port)
		if _, err := client.WriteToUDPAddrPort([]byte("question"), at); err != nil {
			t.Fatal(err)
		}
		question, session := read(endpoint)
		if question != "question" || session == client.LocalAddr().(*net.UDPAddr).AddrPort() {
			t.Fatalf("the endpoint was asked %q by %s", question, session)
		}
		// Somebody who knows the port of the session sends forged answers there. None may get through, in whatever order they come.
		for range 20 {
			_, _ = stranger.WriteToUDPAddrPort([]byte("forged"), session)
		}
		for _, answer := range []string{"answer", "more"} {
			if _, err := endpoint.WriteToUDPAddrPort([]byte(answer), session); err != nil {
				t.Fatal(err)
			}
			if got, from := read(client); got != answer || from != at {
				t.Errorf("the client has %q of %s, want %q of %s", got, from, answer, at)
			}
		}
		_ = client.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if n, _, err := client.ReadFromUDPAddrPort(buf); err == nil {
			t.Errorf("and %q", buf[:n])
		}
	}
	// Where nobody answers, nothing is said: a datagram with a forged source draws no byte to its victim.
	victim := listen("127.0.0.1:0")
	for range 5 {
		_, _ = victim.WriteToUDPAddrPort([]byte("question"), netip.MustParseAddrPort(g.Address("closed")))
	}
	testnet.Eventually(t, "the datagrams to be counted", func() bool {
		return g.Metric(`sluice_datagrams_total{listener="closed",direction="received"}`) == "5"
	})
	_ = victim.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, from, err := victim.ReadFromUDPAddrPort(buf); err == nil {
		t.Errorf("%q of %s to somebody who is not answered", buf[:n], from)
	}
	if got := g.Metric(`sluice_datagrams_total{listener="closed",direction="sent"}`); got != "0" {
		t.Errorf("%s datagrams were sent", got)
	}
}

// With everything on that sends requests again (retries, per-try timeouts, hedges, queues), one that is not idempotent reaches an endpoint at most once, and
// nothing is sent again once a byte of an answer has come. GETs show that all of it is at work.
func TestCase64NothingIsDoneTwice(t *testing.T) {
	t.Parallel()
	quick := func(name string) *rig.Origin { return rig.NewOrigin(t, name, nil) }
	for _, c := range []struct {
		name   string
		script func(c *rig.OriginConn) // of the endpoint that is asked first
		keys   string                  // of the backend
		again  bool                    // a GET is sent to the other endpoint as well
	}{
		{"reset behind the request", func(c *rig.OriginConn) { c.Request(); c.Reset() }, `retries: {attempts: 3, on: [connect, reset, timeout, 503]}`, true},
		{"closed behind the request", func(c *rig.OriginConn) { c.Request(); c.Close() }, `retries: {attempts: 3, on: [connect, reset, timeout, 503]}`, true},
		{"hangs", func(c *rig.OriginConn) { c.Request(); c.More() }, `retries: {attempts: 3, on: [timeout], per_try_timeout: 60ms}, timeouts: {first_byte: 200ms}`, true},
		{"busy", func(c *rig.OriginConn) { c.Request(); c.Answer(503, "") }, `retries: {attempts: 3, on: [503]}`, true},
		{"slow", func(c *rig.OriginConn) {
			c.Request()
			timer := time.NewTimer(150 * time.Millisecond)
			defer timer.Stop()
			<-timer.C
			c.Answer(200, "slow")
		}, `hedge: {after: 10ms, budget: 100%}`, true},
		{"reset within the answer's head", func(c *rig.OriginConn) { c.Request(); c.Send("HTTP/1.1 200 OK\r\nX-"); c.Reset() }, `retries: {attempts: 3, on: [connect, reset, timeout, 503]}`, false},
		{"reset within the answer's body", func(c *rig.OriginConn) {
			c.Request()
			c.Send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
			c.Reset()
		}, `retries: {attempts: 3, on: [connect, reset, timeout, 503]}, hedge: {after: 5s, budget: 100%}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, method := range []string{"GET", "POST", "PATCH"} {
				first, second := rig.NewOrigin(t, "first", c.script), quick("second")
				g := rig.Start(t, fmt.Sprintf("version: 1\nlisteners: {web: {address: \"127.0.0.1:0\", protocol: http}}\nroutes: [{backend: app}]\n"+
					"backends: {app: {endpoints: [%q, %q], balance: round_robin, %s}}\n", first.Addr(), second.Addr(), c.keys))
				client := g.Dial("web")
				client.Send(method + " /x HTTP/1.1\r\nHost: a.test\r\nX-Id: 1\r\nContent-Length: 0\r\n\r\n")
				r, err := client.Try(method)
				n := 0
				for _, o := range []*rig.Origin{first, second} {
					n += strings.Count(o.Received(), "X-Id: 1\r\n")
				}
				want := 1
				if method == "GET" && c.again {
					if want = 2; err != nil || r.Status != 200 {
						t.Errorf("GET: %+v, %v", r, err)
					}
				}
				if n != want {
					t.Errorf("%s reached an endpoint %d times, want %d", method, n, want)
				}
			}
		})
	}
}

// A request that waited in a queue in vain is answered, and forgotten: no endpoint gets it later.
func TestCase64QueuedRequestsAreForgotten(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	o := rig.NewOrigin(t, "app", func(c *rig.OriginConn) {
		for r := c.Request(); r != nil; r = c.Request() {
			if r.Target == "/hold" {
				c.Wait(release)
			}
			c.Answer(200, "app")
		}
	})
	g := rig.Start(t, fmt.Sprintf("version: 1\nlisteners: {web: {address: \"127.0.0.1:0\", protocol: http}}\nroutes: [{backend: app}]\n"+
		"backends: {app: {endpoints: [%q], connections: {max: 1, queue: 4, queue_timeout: 50ms}, retries: {attempts: 3}}}\n", o.Addr()))
	holder := g.Dial("web")
	holder.Send(get("/hold"))
	o.WaitBytes(1)
	for i := range 3 {
		c := g.Dial("web")
		c.Send("POST /late HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody")
		if r := c.Response("POST"); r.Status != 503 || r.Reason() != "queue_timeout" || r.Header.Get("Retry-After") != "1" {
			t.Errorf("request %d that waits in vain: %d %q, Retry-After %q", i, r.Status, r.Reason(), r.Header.Get("Retry-After"))
		}
	}
	close(release)
	if r := holder.Response("GET"); r.Status != 200 {
		t.Errorf("the request that was served: %d", r.Status)
	}
	holder.Send(get("/after"))
	if r := holder.Response("GET"); r.Status != 200 {
		t.Errorf("the request behind it: %d", r.Status)
	}
	if saw := o.Received(); strings.Contains(saw, "/late") || !strings.Contains(saw, "/after") {
		t.Errorf("the endpoint saw\n%s", saw)
	}
}

// What is logged in with NTLM is a connection: nobody else's request may travel over it, whatever else the backend does with its connections.
func TestCase65ConnectionBoundLogin(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"NTLM", "Negotiate"} {
		for _, keys := range []string{"", ", hedge: {after: 5ms, budget: 100%}, retries: {attempts: 3, on: [connect, reset, timeout, 503]}", ", endpoints: 2"} {
			t.Run(scheme+keys, func(t *testing.T) {
				t.Parallel()
				// With several endpoints a request may come to one where its client is not logged in: then it is refused, and never somebody else's.
				keys, several := strings.CutSuffix(keys, ", endpoints: 2")
				// An endpoint that knows a client by its connection, as IIS does.
				script := func(c *rig.OriginConn) {
					user := ""
					for r := c.Request(); r != nil; r = c.Request() {
						if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), scheme+" "); ok && strings.HasPrefix(token, "third-") {
							user = strings.TrimPrefix(token, "third-")
						} else if ok {
							c.Answer(401, "", "WWW-Authenticate: "+scheme+" challenge")
							continue
						}
						if user == "" {
							c.Answer(401, "", "WWW-Authenticate: "+scheme)
							continue
						}
						c.Answer(200, user)
					}
				}
				endpoints := fmt.Sprintf("%q", rig.NewOrigin(t, "one", script).Addr())
				if several {
					endpoints += fmt.Sprintf(", %q", rig.NewOrigin(t, "two", script).Addr())
				}
				g := rig.Start(t, fmt.Sprintf("version: 1\nlisteners: {web: {address: \"127.0.0.1:0\", protocol: http}}\nroutes: [{backend: app}]\nbackends: {app: {endpoints: [%s]%s}}\n", endpoints, keys))
				is := func(name string, status int, body string) bool {
					return status == 200 && body == name || several && status == 401
				}
				ask := func(c *rig.Client, authorization string) (int, string) {
					t.Helper()
					field := ""
					if authorization != "" {
						field = "Authorization: " + scheme + " " + authorization + "\r\n"
					}
					c.Send("GET / HTTP/1.1\r\nHost: a.test\r\n" + field + "\r\n")
					r := c.Response("GET")
					return r.Status, string(r.Body)
				}
				names := []string{"alice", "bob", "carol"}
				clients := map[string]*rig.Client{}
				for _, name := range names { // the three messages of a login, while others are in the middle of theirs
					clients[name] = g.Dial("web")
					if status, _ := ask(clients[name], ""); status != 401 {
						t.Fatalf("%s is let in at once: %d", name, status)
					}
					if status, _ := ask(clients[name], "first"); status != 401 {
						t.Fatalf("%s: %d", name, status)
					}
				}
				for _, name := range names {
					if status, body := ask(clients[name], "third-"+name); !is(name, status, body) {
						t.Fatalf("%s is logged in as %q (%d)", name, body, status)
					}
				}
				for range 20 {
					for _, name := range names {
						if status, body := ask(clients[name], ""); !is(name, status, body) {
							t.Fatalf("%s is served as %q (%d)", name, body, status)
						}
					}
					if status, body := ask(g.Dial("web"), ""); status != 401 {
						t.Fatalf("somebody who has not logged in is served as %q", body)
					}
				}
				// Who leaves takes the login along.
				clients["alice"].Close()
				for range 20 {
					if status, body := ask(g.Dial("web"), ""); status != 401 {
						t.Fatalf("somebody who has not logged in is served as %q", body)
					}
				}
				if status, body := ask(clients["bob"], ""); !is("bob", status, body) {
					t.Errorf("bob is served as %q (%d)", body, status)
				}
			})
		}
	}
}
