package gateway

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// forgetful is an origin that keeps nothing of what it has seen.
func forgetful(t *testing.T) (address string) { return forgetfulOf(t, ok("x")) }

// forgetfulOf is forgetful with an answer of one's own.
func forgetfulOf(t *testing.T, answer string) (address string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { testnet.Respond(nc, []byte(answer)) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait() // whoever is connected has closed before: the gateway was made later
	})
	return ln.Addr().String()
}

// resolver is a DNS server that knows one address for every name.
func resolver(t *testing.T, address string) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(address)
	number, _ := strconv.Atoi(port)
	server := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		head := dns.RR_Header{Name: q.Question[0].Name, Rrtype: q.Question[0].Qtype, Class: dns.ClassINET, Ttl: 1}
		switch q.Question[0].Qtype {
		case dns.TypeA:
			m.Answer = append(m.Answer, &dns.A{Hdr: head, A: net.ParseIP(host)})
		case dns.TypeSRV:
			m.Answer = append(m.Answer, &dns.SRV{Hdr: head, Priority: 1, Weight: 1, Port: uint16(number), Target: "host.test."})
		}
		_ = w.WriteMsg(m)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ActivateAndServe()
	}()
	t.Cleanup(func() {
		_ = pc.Close()
		<-done
	})
	return pc.LocalAddr().String()
}

// racing reports whether the race detector is on, with which everything takes ten times as long.
func racing() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// changing is configuration number i of those that change everything. What changes does so in cycles of 2, 3 and 5.
type changing struct{ dir, crt, key, one, two, echo, parrot, resolver string }

func (c *changing) text(i int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\nadmin: {address: \"%s:0\"}\naccess_log: {path: %q}\n", []string{"127.0.0.1", "localhost"}[i/3%2], fmt.Sprintf("%s/%d.log", c.dir, i%2))
	fmt.Fprintf(&b, "listeners:\n  web: {address: \"127.0.0.1:0\", protocol: http, trusted_proxies: 127.0.0.0/8}\n  l%d: {address: \"127.0.0.1:0\", protocol: http}\n", i%5)
	fmt.Fprintf(&b, "  tls: {address: \"127.0.0.1:0\", protocol: https, tls: {min_version: %q, certificates: [{cert: %q, key: %q}]}}\n", []string{"1.2", "1.3"}[i%2], c.crt, c.key)
	fmt.Fprintf(&b, "  database: {address: \"127.0.0.1:0\", protocol: tcp, backend: db, idle_timeout: %ds}\n", 60+i%3)
	fmt.Fprintf(&b, "  dns: {address: \"127.0.0.1:0\", protocol: udp, backend: resolvers, idle_timeout: %ds}\n", 60+i%3)
	fmt.Fprintf(&b, "  tcp%d: {address: \"127.0.0.1:0\", protocol: tcp, backend: db, trusted_proxies: 127.0.0.0/8, proxy_protocol: required}\n", i%5)
	fmt.Fprintf(&b, "  udp%d: {address: \"127.0.0.1:0\", protocol: udp, backend: resolvers}\n", i%3)
	fmt.Fprintf(&b, "  pass: {address: \"127.0.0.1:0\", protocol: tls, sni: {\"a%d.test\": db, \"*.test\": {backend: db, alpn: {h2: db%d}}}}\n", i%5, i%5)
	fmt.Fprintf(&b, "  ends%d: {address: \"127.0.0.1:0\", protocol: tls, backend: db, tls: {certificates: [{cert: %q, key: %q}]}}\n", i%2, c.crt, c.key)
	b.WriteString("routes:\n")
	for r := range 20 {
		to := fmt.Sprintf("backend: b%d", i%5)
		switch r {
		case 3:
			to = fmt.Sprintf("split: [{backend: b%d, weight: 9}, {backend: found, weight: 1}]", i%5)
		case 4:
			to += ", mirror: {backend: found, share: 50%}"
		case 5:
			to = "backend: found"
		}
		fmt.Fprintf(&b, "  - {name: r%d-%d, match: {path: /%d/*}, %s, policies: [{request: {headers: {set: {X-A: \"${request.path}\"}}}}]}\n", i%30, r, r, to)
	}
	fmt.Fprintf(&b, "backends:\n  b%d: {endpoints: [%q, %q], health: {active: {tcp: true}}, session: {cookie: s%d}, hedge: {after: 1s}, connections: {max: %d, queue: 3}, balance: %s}\n",
		i%5, c.one, []string{c.two, "127.0.0.1:1"}[i%2], i%2, 10+i%3, []string{"round_robin", "{algorithm: maglev, key: request.path}", "least_latency"}[i%3])
	fmt.Fprintf(&b, "  found: {endpoints: [{dns: host%d.test, port: %s, resolver: %q}, {srv: _http._tcp.host%d.test, resolver: %q}]}\n", i%3, c.one[strings.LastIndexByte(c.one, ':')+1:], c.resolver, i%2, c.resolver)
	fmt.Fprintf(&b, "  db: {endpoints: [%q], balance: least_connections, proxy_protocol: %s}\n", c.echo, []string{"off", "v1", "v2"}[i%3])
	fmt.Fprintf(&b, "  db%d: {endpoints: [%q], tls: {ca: %q, server_name: a.test}}\n", i%5, c.echo, c.crt)
	fmt.Fprintf(&b, "  resolvers: {endpoints: [%q], balance: %s}\n", c.parrot, []string{"{algorithm: ring_hash, key: client.ip}", "round_robin"}[i%2])
	return b.String()
}

// TestReloadsLeaveNothingBehind takes over 2,000 configurations that change everything (with the race detector 240), with a connection, a session of
// layer 4 and one of datagrams going on all the time, and compares what is left with what was there after the first few.
func TestReloadsLeaveNothingBehind(t *testing.T) {
	reloads := 2040
	if racing() {
		reloads = 240
	}
	dir := t.TempDir()
	crt, key := certificate(t, dir, "a.test")
	c := &changing{dir: dir, crt: crt, key: key, one: forgetful(t), two: forgetful(t), parrot: parrot(t, "p:")}
	c.echo, c.resolver = forgetfulEcho(t), resolver(t, c.one)
	g := start(t, "")
	type counts struct{ goroutines, heap, series, endpoints, watchers, stores, logs int }
	measure := func() counts {
		g.leaving.Wait() // listeners that are gone
		for range 2 {
			g.sweep() // logs that are not owed anything any more
		}
		n := counts{endpoints: len(g.endpoints.kept), watchers: len(g.watchers.kept), stores: len(g.stores.kept), logs: len(g.logs.kept) + len(g.owing)}
		var page strings.Builder
		if _, err := g.Registry().WriteTo(&page); err != nil {
			t.Fatal(err)
		}
		n.series = strings.Count(page.String(), "\n")
		n.goroutines = runtime.NumGoroutine()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		n.heap = int(m.HeapObjects)
		return n
	}
	var seen []counts
	var web, stream *testnet.Client
	var packets net.Conn
	for i := range reloads {
		g.take(c.text(i))
		if web == nil {
			web, stream, packets = g.dial("web"), g.dial("database"), g.packets("dns")
		}
		if r := i % 20; r == 3 || r == 5 { // a name that is new must be looked up first
			testnet.Eventually(t, "endpoints that were looked up", func() bool { return web.Do("GET", get(fmt.Sprintf("/%d/x", r))).Status == 200 })
		} else {
			want(t, web, fmt.Sprintf("/%d/x", r), 200, "x")
		}
		stream.Send("still")
		stream.WantPrefix("still")
		if got := datagram(t, packets, "still"); got != "p:still" {
			t.Fatalf("reload %d: %q", i, got)
		}
		if rest, err := once(g.address("database")); !strings.HasSuffix(rest, "new") || err != nil { // behind the PROXY header, perhaps
			t.Fatalf("reload %d: %q, %v", i, rest, err)
		}
		if i%30 == 29 { // the same place in the cycles of everything that changes
			seen = append(seen, measure())
		}
	}
	first, last := seen[1], seen[len(seen)-1] // pools have their size by then
	t.Logf("after 60 reloads %+v, after %d %+v", first, reloads, last)
	if last.series > first.series+10 || last.endpoints != first.endpoints || last.watchers != first.watchers || last.stores != first.stores || last.logs != first.logs {
		t.Errorf("after 60 reloads %+v, after %d %+v", first, reloads, last)
	}
	// Every configuration is some thousands of objects: keeping even a part of each would show.
	var heaps, goroutines []int
	for _, n := range seen[1:] {
		heaps, goroutines = append(heaps, n.heap), append(goroutines, n.goroutines)
	}
	half := len(heaps) / 2
	if slices.Min(heaps[half:]) > slices.Min(heaps[:half])+500 {
		t.Errorf("objects on the heap: %v", heaps)
	}
	if slices.Min(goroutines[half:]) > slices.Min(goroutines[:half])+3 {
		t.Errorf("goroutines: %v", goroutines)
	}
}

// once says a word over a connection of its own and returns what comes back until the end.
func once(address string) (string, error) {
	nc, err := net.DialTimeout("tcp", address, testnet.Patience)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(testnet.Patience))
	if _, err := io.WriteString(nc, "new"); err != nil {
		return "", err
	}
	if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	rest, err := io.ReadAll(nc)
	return string(rest), err
}

// forgetfulEcho is an endpoint for TCP that sends everything back and keeps nothing.
func forgetfulEcho(t *testing.T) (address string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_, _ = io.Copy(nc, nc)
				_ = nc.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}
