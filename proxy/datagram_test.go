package proxy

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/stream"
	"github.com/sluice-gateway/sluice/upstream"
)

// socket opens a UDP socket that ends with the test.
func socket(t testing.TB, address string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
	if err != nil {
		testnet.LacksAddress(t, address, err)
	}
	_ = c.SetDeadline(time.Now().Add(testnet.Patience))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// teller is a UDP endpoint that answers with its name before what it was sent, until it is silent.
type teller struct {
	addr string
	conn *net.UDPConn
	done sync.WaitGroup
}

func newTeller(t testing.TB, name, address string) *teller {
	t.Helper()
	o := &teller{conn: socket(t, address)}
	o.addr = o.conn.LocalAddr().String()
	o.done.Go(func() {
		p := make([]byte, 2048)
		for {
			n, from, err := o.conn.ReadFromUDPAddrPort(p)
			if err != nil {
				return
			}
			if string(p[:n]) != "silence" {
				_, _ = o.conn.WriteToUDPAddrPort([]byte(name+string(p[:n])), from)
			}
		}
	})
	t.Cleanup(o.end)
	return o
}

// end stops it: whoever sends to its address is told that nobody is there.
func (o *teller) end() {
	_ = o.conn.Close()
	o.done.Wait()
}

// gate relays the datagrams of an address as a Datagram says.
type gate struct {
	*Datagram
	relay *stream.UDPRelay
	addr  string
}

func openGate(t testing.TB, s *DatagramSite, o stream.UDPOptions) *gate {
	t.Helper()
	g := &gate{Datagram: NewDatagram(s)}
	var err error
	if g.relay, err = stream.StartUDP(socket(t, "127.0.0.1:0"), g, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.relay.Close() })
	g.addr = g.relay.Addr().String()
	return g
}

// asker is a client of a gate.
type asker struct {
	*net.UDPConn
	t testing.TB
}

func (g *gate) dial(t testing.TB) *asker {
	t.Helper()
	nc, err := net.Dial("udp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(testnet.Patience))
	t.Cleanup(func() { _ = nc.Close() })
	return &asker{nc.(*net.UDPConn), t}
}

func (a *asker) send(text string) {
	a.t.Helper()
	if _, err := a.Write([]byte(text)); err != nil {
		a.t.Fatal(err)
	}
}

// ask sends a datagram and returns the answer. The socket is connected: an answer from another address than the one asked never comes.
func (a *asker) ask(text string) string {
	a.t.Helper()
	a.send(text)
	p := make([]byte, 2048)
	n, err := a.Read(p)
	if err != nil {
		a.t.Fatalf("answer to %q: %v", text, err)
	}
	return string(p[:n])
}

// TestConversations: a client stays with its endpoint, several are spread, and each is told by one line and one count when it is over.
func TestConversations(t *testing.T) {
	a, b := newTeller(t, "a:", "127.0.0.1:0"), newTeller(t, "b:", "127.0.0.1:0")
	reg := metric.NewRegistry(metric.Options{})
	l, text := openLog(t)
	s := &DatagramSite{Listener: "dns", Backend: group(t, []string{a.addr, b.addr}, nil, reg), Log: l}
	s.Seal(reg.Scope())
	g := openGate(t, s, stream.UDPOptions{Idle: 50 * time.Millisecond})
	seen := map[string]int{}
	for i := range 6 {
		c := g.dial(t)
		first := c.ask("x")
		for range 3 {
			if again := c.ask("x"); again != first {
				t.Errorf("client %d was answered by %q, then by %q", i, first, again)
			}
		}
		seen[first]++
	}
	if seen["a:x"] != 3 || seen["b:x"] != 3 {
		t.Errorf("six clients were answered by %v, want 3 each", seen)
	}
	testnet.Eventually(t, "the end of the sessions", func() bool { st := g.relay.Stats(); return st.Sessions == 0 })
	wantSeries(t, reg,
		`sluice_sessions_total{listener="dns",reason="none"} 6`,
		`sluice_bytes_received_total{listener="dns"} 24`,
		`sluice_bytes_sent_total{listener="dns"} 72`,
		`sluice_session_duration_seconds_count{listener="dns"} 6`,
		`sluice_endpoint_requests_total{backend="app",endpoint="`+a.addr+`"} 3`,
		`sluice_endpoint_in_flight{backend="app",endpoint="`+a.addr+`"} 0`,
		`sluice_endpoint_in_flight{backend="app",endpoint="`+b.addr+`"} 0`)
	lines := text()
	if n := strings.Count(lines, `"datagrams_received":4,"datagrams_sent":4,"bytes_received":4,"bytes_sent":12,"duration_ms":`); n != 6 {
		t.Errorf("%d of 6 lines as they should be:\n%s", n, lines)
	}
	golden(t, "conversation.txt", blanked(strings.SplitAfter(lines, "\n")[0], a.addr))
}

// TestConversationEnds: how a conversation ended stands in its line, and what the endpoint did wrong is held against it.
func TestConversationEnds(t *testing.T) {
	quiet := newTeller(t, "", "127.0.0.1:0")
	for _, test := range []struct {
		name     string
		endpoint string
		options  stream.UDPOptions
		run      func(g *gate, c *asker)
		want     string
		charged  bool // the endpoint is
	}{
		{"refused", "127.0.0.1:1", stream.UDPOptions{}, func(_ *gate, c *asker) { c.send("x") },
			`"reason":"upstream_connect_refused","side":"upstream","stage":"wait","error":"connection refused"`, true},
		{"unanswered", quiet.addr, stream.UDPOptions{Idle: 20 * time.Millisecond}, func(_ *gate, c *asker) { c.send("silence") },
			`"reason":"upstream_timeout_first_byte","side":"internal","stage":"wait"`, false},
		{"evicted", quiet.addr, stream.UDPOptions{MaxSessions: 1, EvictAfter: time.Nanosecond}, func(g *gate, c *asker) {
			c.send("silence")
			testnet.Eventually(t, "the session", func() bool { st := g.relay.Stats(); return st.Opened == 1 })
			g.dial(t).send("silence")
		}, `"reason":"too_many_connections","side":"internal"`, false},
		{"cut", quiet.addr, stream.UDPOptions{}, func(g *gate, c *asker) {
			c.ask("x")
			g.relay.Close()
		}, `"reason":"shutting_down","side":"internal","stage":"wait"`, false},
		{"a name", "localhost:9", stream.UDPOptions{}, func(_ *gate, c *asker) { c.send("x") },
			`"reason":"upstream_connect_failed","side":"upstream","stage":"connect","error":"datagrams need the address of an endpoint`, false},
		{"answered", quiet.addr, stream.UDPOptions{Requests: 1, Responses: 1}, func(_ *gate, c *asker) { c.ask("x") }, `"backend":"app"`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			reg := metric.NewRegistry(metric.Options{})
			l, text := openLog(t)
			g := openGate(t, &DatagramSite{Backend: group(t, []string{test.endpoint}, nil, reg), Log: l}, test.options)
			test.run(g, g.dial(t))
			testnet.Eventually(t, "the end of the first session", func() bool { return l.given.Value() > 0 })
			g.relay.Close()
			line, _, _ := strings.Cut(text(), "\n")
			if !strings.Contains(line, test.want) || strings.Contains(test.want, "reason") != strings.Contains(line, "reason") {
				t.Errorf("no %s in %s", test.want, line)
			}
			charged := strings.Contains(page(t, reg), `sluice_endpoint_failures_total{backend="app",endpoint="`+test.endpoint+`"`)
			if charged != test.charged {
				t.Errorf("the endpoint is charged: %v", charged)
			}
		})
	}
}

// TestNextEndpointForDatagrams: what is sent to an endpoint that is away is lost, as UDP has it; the next datagrams go elsewhere once the endpoint is ejected.
func TestNextEndpointForDatagrams(t *testing.T) {
	leaving, stays := newTeller(t, "leaving:", "127.0.0.1:0"), newTeller(t, "stays:", "127.0.0.1:0")
	reg := metric.NewRegistry(metric.Options{})
	b := group(t, []string{leaving.addr, stays.addr}, func(o *upstream.Options) { o.Outlier.Consecutive, o.Outlier.Eject = 2, time.Hour }, reg)
	g := openGate(t, &DatagramSite{Backend: b}, stream.UDPOptions{})
	c, d := g.dial(t), g.dial(t)
	if got := c.ask("x") + d.ask("x"); got != "leaving:xstays:x" {
		t.Fatalf("answers %q", got)
	}
	leaving.end()
	p := make([]byte, 2048)
	for sent := 0; ; sent++ {
		c.send("y")
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if n, err := c.Read(p); err == nil {
			if string(p[:n]) != "stays:y" {
				t.Fatalf("answer %q", p[:n])
			}
			break
		}
		if sent > 500 {
			t.Fatal("the client is never sent to the endpoint that answers")
		}
	}
	_ = c.SetReadDeadline(time.Now().Add(testnet.Patience))
	if got := d.ask("z"); got != "stays:z" {
		t.Errorf("answer %q", got)
	}
	for range 4 {
		if got := g.dial(t).ask("z"); got != "stays:z" {
			t.Errorf("a new client was answered %q", got)
		}
	}
	wantSeries(t, reg, `sluice_endpoint_healthy{backend="app",endpoint="`+leaving.addr+`"} 0`, `sluice_endpoint_ejections_total{backend="app",endpoint="`+leaving.addr+`"} 1`)
}

// TestEndpointTakenOut: clients of an endpoint that an operator takes out of service go on elsewhere; those of one that is to be left in peace stay.
func TestEndpointTakenOut(t *testing.T) {
	a, b := newTeller(t, "a:", "127.0.0.1:0"), newTeller(t, "b:", "127.0.0.1:0")
	backend := group(t, []string{a.addr, b.addr}, nil, nil)
	l, text := openLog(t)
	g := openGate(t, &DatagramSite{Backend: backend, Log: l}, stream.UDPOptions{})
	c := g.dial(t)
	if got := c.ask("x"); got != "a:x" {
		t.Fatalf("answer %q", got)
	}
	backend.Endpoint(a.addr).SetOverride(&upstream.Override{State: upstream.StateDrain, Weight: -1})
	if got := c.ask("x"); got != "a:x" {
		t.Errorf("a client of an endpoint that drains was answered %q", got)
	}
	if got := g.dial(t).ask("x"); got != "b:x" {
		t.Errorf("a new client was answered %q although its endpoint drains", got)
	}
	backend.Endpoint(a.addr).SetOverride(&upstream.Override{State: upstream.StateMaint, Weight: -1})
	if got := c.ask("x"); got != "b:x" {
		t.Errorf("a client of an endpoint that is out of service was answered %q", got)
	}
	g.relay.Close()
	if lines := text(); strings.Count(lines, `"reason":"no_healthy_endpoint","side":"internal"`) != 1 {
		t.Errorf("log:\n%s", lines)
	}
}

// TestHashByClient: what hashes goes by the address of the client, whatever its port.
func TestHashByClient(t *testing.T) {
	var all []string
	for _, name := range []string{"a", "b", "c"} {
		all = append(all, newTeller(t, name, "127.0.0.1:0").addr)
	}
	for _, algorithm := range []string{"ring_hash", "maglev", "rendezvous"} {
		g := openGate(t, &DatagramSite{Backend: group(t, all, func(o *upstream.Options) { o.Algorithm = algorithm }, nil)}, stream.UDPOptions{})
		from := func(ip string) string {
			nc, err := (&net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.MustParseAddrPort(ip + ":0"))}).Dial("udp", g.addr)
			if err != nil {
				testnet.LacksAddress(t, ip+":0", err)
			}
			defer nc.Close()
			_ = nc.SetDeadline(time.Now().Add(testnet.Patience))
			return (&asker{nc.(*net.UDPConn), t}).ask("")
		}
		seen := map[string]bool{}
		for i := range 16 {
			ip := netip.AddrFrom4([4]byte{127, 1, 0, byte(i + 1)}).String()
			first := from(ip)
			seen[first] = true
			for range 3 {
				if again := from(ip); again != first {
					t.Errorf("%s: %s was sent to %q and %q", algorithm, ip, first, again)
				}
			}
		}
		if len(seen) != 3 {
			t.Errorf("%s: sixteen addresses went to %v only", algorithm, seen)
		}
	}
}
