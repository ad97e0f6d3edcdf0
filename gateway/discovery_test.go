package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// discovered is a configuration with a backend whose endpoints are found by a resolver, ten times a second. more stands in the backend.
func discovered(resolver, more string) string {
	return fmt.Sprintf("version: 1\nadmin: {address: \"127.0.0.1:0\"}\nlisteners: {web: {address: \"127.0.0.1:0\", protocol: http}}\nroutes:\n  - {name: all, backend: app}\n"+
		"backends:\n  app: {balance: round_robin, %s endpoints: [{srv: _http._tcp.app.test, resolver: %q, min_ttl: 100ms, max_ttl: 100ms}]}\n", more, resolver)
}

// addresses returns the endpoints of the backend app, as HOST=ADDRESS, sorted.
func (g *running) addresses() string {
	var all []string
	for _, e := range g.Backends()[0].Endpoints {
		all = append(all, e.Host+"="+e.Address)
	}
	slices.Sort(all) // the order is that of their coming
	return strings.Join(all, " ")
}

// wantAddresses waits until the backend app has these endpoints.
func (g *running) wantAddresses(want string) {
	g.t.Helper()
	testnet.Eventually(g.t, "the endpoints "+want, func() bool { return g.addresses() == want })
}

// TestDiscovery: the addresses that a resolver tells are the endpoints, under the names that it tells.
func TestDiscovery(t *testing.T) {
	a, b := named(t, "a"), named(t, "b")
	n := newNameserver(t, "127.0.0.1:0")
	n.service("one="+a.Addr, "two="+b.Addr)
	g := start(t, discovered(n.addr, ""))
	g.wait()
	c, op := g.dial("web"), g.operator()
	wantShares(t, c, 10, map[string]int{"a": 5, "b": 5})
	if e := op.endpoint("app", a.Addr); e["host"] != "one.app.test" || e["weight"] != 1.0 || e["usable"] != true {
		t.Errorf("endpoint %v", e)
	}
	// An operator's word counts for what was found as well, and over the next answers.
	op.set("app", b.Addr, `{"state": "drain"}`)
	for asked := n.questions(); n.questions() < asked+12; {
		wantShares(t, c, 2, map[string]int{"a": 2})
	}
	op.set("app", b.Addr, `{"state": null}`)
	// The next level of priority is used when the first has gone.
	n.service("one="+a.Addr+"/3", "two="+b.Addr+"/5")
	testnet.Eventually(t, "the new priorities", func() bool { return op.endpoint("app", b.Addr)["priority"] == 2.0 })
	wantShares(t, c, 4, map[string]int{"a": 4})
	n.service("two=" + b.Addr + "/5")
	g.wantAddresses("two.app.test=" + b.Addr)
	wantShares(t, c, 4, map[string]int{"b": 4})
	if v := g.metric(fmt.Sprintf(`sluice_discovery_endpoints{name="_http._tcp.app.test@%s"}`, n.addr)); v != "1" {
		t.Errorf("the metric says %q endpoints", v)
	}
}

// TestLookupsAreShown: an operator sees how old the answer is that is in use, and what is wrong with the last one.
func TestLookupsAreShown(t *testing.T) {
	a := named(t, "a")
	n := newNameserver(t, "127.0.0.1:0")
	n.service("one=" + a.Addr)
	g := start(t, discovered(n.addr, ""))
	g.wait()
	type lookup struct {
		Name       string     `json:"name"`
		Known      bool       `json:"known"`
		Stale      bool       `json:"stale"`
		Endpoints  int        `json:"endpoints"`
		LastAnswer *time.Time `json:"last_answer"`
		LastError  string     `json:"last_error"`
	}
	shown := func() lookup {
		var b struct {
			Lookups []lookup `json:"lookups"`
		}
		if _, body := fetch(t, "http://"+g.AdminAddr().String()+"/backends/app"); json.Unmarshal([]byte(body), &b) != nil || len(b.Lookups) != 1 {
			t.Fatalf("%s", body)
		}
		return b.Lookups[0]
	}
	if l := shown(); l.Name != "_http._tcp.app.test@"+n.addr || !l.Known || l.Stale || l.Endpoints != 1 || l.LastAnswer == nil || l.LastError != "" {
		t.Errorf("%+v", l)
	}
	n.answers(func(*dns.Msg, *dns.Msg) []byte { return []byte("nonsense") })
	testnet.Eventually(t, "the answer is shown as stale", func() bool { l := shown(); return l.Stale && l.LastError != "" && l.Endpoints == 1 })
}

// TestDiscoveryByName: addresses of a name, with the port of the file, beside an endpoint of the file.
func TestDiscoveryByName(t *testing.T) {
	a, b := named(t, "a"), named(t, "b")
	n := newNameserver(t, "127.0.0.1:0")
	n.host("127.0.0.1")
	_, port, err := net.SplitHostPort(a.Addr)
	if err != nil {
		t.Fatal(err)
	}
	found := fmt.Sprintf("{dns: app.test, port: %s, resolver: %q, min_ttl: 100ms, max_ttl: 100ms, weight: 3}", port, n.addr)
	g := start(t, adminText("", found, b.Addr))
	g.wait()
	wantShares(t, g.dial("web"), 12, map[string]int{"a": 9, "b": 3})
	n.host("127.0.0.1", "fd00::7")
	g.wantAddresses("=" + b.Addr + " app.test=" + a.Addr + " app.test=[fd00::7]:" + port)
	if e := g.operator().set("app", "[fd00::7]:"+port, `{"state": "maint"}`); e["host"] != "app.test" || e["weight"] != 3.0 {
		t.Errorf("endpoint %v", e)
	}
	wantShares(t, g.dial("web"), 12, map[string]int{"a": 9, "b": 3})
}

// TestReadyWaitsForTheLookup: it serves what needs no endpoint meanwhile, and is ready when there is an answer, or none.
func TestReadyWaitsForTheLookup(t *testing.T) {
	a := named(t, "a")
	n := newNameserver(t, "127.0.0.1:0")
	n.service("one=" + a.Addr)
	asked, open := make(chan struct{}, 100), make(chan struct{})
	n.answers(func(_, answer *dns.Msg) []byte {
		asked <- struct{}{}
		<-open
		packed, _ := answer.Pack()
		return packed
	})
	opened := sync.OnceFunc(func() { close(open) })
	defer opened()
	g := start(t, discovered(n.addr, "health: {active: {tcp: true, interval: 10s}},"))
	testnet.Receive(t, "the question", asked)
	if status, body := fetch(t, "http://"+g.AdminAddr().String()+"/readyz"); status != 503 || !strings.Contains(body, "starting") || g.Ready() {
		t.Errorf("/readyz: %d %s", status, body)
	}
	wantShares(t, g.dial("web"), 2, map[string]int{"503 no_healthy_endpoint": 2})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.WaitReady(ctx); err == nil {
		t.Error("ready before the first answer")
	}
	opened()
	g.wait()
	if e := g.Backends()[0].Endpoints; len(e) != 1 || !e[0].Checked {
		t.Errorf("ready with %+v, before the first check of what was found", e)
	}
	wantShares(t, g.dial("web"), 2, map[string]int{"a": 2})
}

// TestResolverAway at the start, and then not: the gateway starts, says so, and recovers alone.
func TestResolverAway(t *testing.T) {
	a := named(t, "a")
	address := ""
	t.Run("an address that is free again", func(t *testing.T) { address = newNameserver(t, "127.0.0.1:0").addr })
	g := start(t, discovered(address, ""))
	g.wait() // the lookup has failed, and that is an answer
	c := g.dial("web")
	wantShares(t, c, 3, map[string]int{"503 no_healthy_endpoint": 3})
	if got := g.reports.String(); !strings.Contains(got, "no endpoints are known yet") {
		t.Errorf("reports\n%s", got)
	}
	n := newNameserver(t, address)
	n.service("one=" + a.Addr)
	g.wantAddresses("one.app.test=" + a.Addr)
	wantShares(t, c, 3, map[string]int{"a": 3})
	testnet.Eventually(t, "the report that it works again", func() bool { return strings.Contains(g.reports.String(), "works again (endpoints: 1)") })
	if n := strings.Count(g.reports.String(), "discovery of "); n != 2 {
		t.Errorf("%d lines of reports\n%s", n, g.reports.String())
	}
}

// TestNonsenseKeepsTheLastGoodSet: whatever a resolver says that is no set of endpoints.
func TestNonsenseKeepsTheLastGoodSet(t *testing.T) {
	a, b := named(t, "a"), named(t, "b")
	n := newNameserver(t, "127.0.0.1:0")
	n.service("one="+a.Addr, "two="+b.Addr)
	g := start(t, discovered(n.addr, ""))
	g.wait()
	c := g.dial("web")
	set := g.addresses()
	pack := func(change func(answer *dns.Msg)) func(_, answer *dns.Msg) []byte {
		return func(_, answer *dns.Msg) []byte {
			change(answer)
			packed, _ := answer.Pack()
			return packed
		}
	}
	series := func(result string) string {
		return g.metric(fmt.Sprintf(`sluice_discovery_lookups_total{name="_http._tcp.app.test@%s",result=%q}`, n.addr, result))
	}
	for _, tc := range []struct {
		name   string
		twist  func(query, answer *dns.Msg) []byte
		result string
	}{
		{"no such name", pack(func(m *dns.Msg) { m.Rcode, m.Answer = dns.RcodeNameError, nil }), "empty"},
		{"an empty answer", pack(func(m *dns.Msg) { m.Answer = nil }), "empty"},
		{"a failure", failing, "failed"},
		{"a refusal", pack(func(m *dns.Msg) { m.Rcode, m.Answer = dns.RcodeRefused, nil }), "failed"},
		{"addresses that nobody has", pack(func(m *dns.Msg) {
			for _, rr := range m.Answer {
				if r, ok := rr.(*dns.A); ok {
					r.A = net.IPv4zero
				}
			}
		}), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := series(tc.result)
			n.answers(tc.twist)
			defer n.answers(nil)
			asked := n.questions()
			testnet.Eventually(t, "a lookup that is "+tc.result, func() bool { return tc.result == "" || series(tc.result) != before })
			testnet.Eventually(t, "more questions", func() bool { return n.questions() >= asked+4 })
			if got := g.addresses(); got != set {
				t.Errorf("the endpoints are %s, want %s", got, set)
			}
			wantShares(t, c, 4, map[string]int{"a": 2, "b": 2})
		})
	}
	if n := strings.Count(g.reports.String(), "stays in use"); n != 1 {
		t.Errorf("%d reports of failing lookups within a minute, want 1\n%s", n, g.reports.String())
	}
	n.service("two=" + b.Addr)
	g.wantAddresses("two.app.test=" + b.Addr)
}

// TestDiscoveryUnderLoad: the set changes all the time, endpoints go while they have requests, and no request fails.
func TestDiscoveryUnderLoad(t *testing.T) {
	origins := map[string]*testnet.Origin{}
	for _, name := range []string{"a", "b", "c"} {
		origins[name] = named(t, name)
	}
	n := newNameserver(t, "127.0.0.1:0")
	set := func(names string) (want string) {
		var endpoints, list []string
		for _, name := range strings.Fields(names) {
			endpoints = append(endpoints, name+"="+origins[name].Addr)
			list = append(list, name+".app.test="+origins[name].Addr)
		}
		n.service(endpoints...)
		return strings.Join(list, " ")
	}
	set("a b")
	g := start(t, discovered(n.addr, ""))
	g.wait()
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var answers atomic.Int64
	for i := range 4 {
		c := g.dial("web")
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				text := get("/")
				if i%2 == 1 {
					text = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
				}
				if err := c.TrySend(text); err != nil {
					t.Errorf("the client could not send: %v", err)
					return
				}
				if r, err := c.TryResponse("GET"); err != nil || r.Status != 200 {
					t.Errorf("answer %+v, %v", r, err)
					return
				}
				answers.Add(1)
			}
		})
	}
	for i, names := range []string{"a", "b", "c", "a b c", "b", "c a", "a", "c b"} {
		want := set(names)
		testnet.Eventually(t, "the endpoints "+names, func() bool { return sameSet(g.addresses(), want) })
		if i%3 == 2 { // and a reload in between
			g.take(discovered(n.addr, fmt.Sprintf("timeouts: {first_byte: %ds},", 10+i)))
		}
		at := answers.Load()
		testnet.Eventually(t, "answers from it", func() bool { return answers.Load() > at+20 || t.Failed() })
	}
	close(stop)
	clients.Wait()
}

func sameSet(a, b string) bool {
	have := map[string]int{}
	for _, s := range strings.Fields(a) {
		have[s]++
	}
	for _, s := range strings.Fields(b) {
		have[s]--
	}
	for _, n := range have {
		if n != 0 {
			return false
		}
	}
	return true
}

// TestVanishedEndpointEndsItsWork: a request that is under way at an endpoint that the resolver takes away is answered; the connection is not kept.
func TestVanishedEndpointEndsItsWork(t *testing.T) {
	slow, open := held(t, "late")
	b := named(t, "b")
	n := newNameserver(t, "127.0.0.1:0")
	n.service("slow=" + slow.Addr)
	g := start(t, discovered(n.addr, ""))
	g.wait()
	c := g.dial("web")
	c.Send(get("/"))
	testnet.Eventually(t, "the request at the endpoint", func() bool { return slow.Received() != "" })
	n.service("b=" + b.Addr)
	g.wantAddresses("b.app.test=" + b.Addr)
	wantShares(t, g.dial("web"), 3, map[string]int{"b": 3})
	close(open)
	if r := c.ReadResponse("GET"); r.Status != 200 || string(r.Body) != "late" {
		t.Errorf("answer %+v", r)
	}
	wantShares(t, c, 3, map[string]int{"b": 3})
	testnet.Receive(t, "the end of the connection to the endpoint that has gone", slow.Conn(0).Ended())
	if v := g.metric(fmt.Sprintf(`sluice_endpoint_in_flight{backend="app",endpoint=%q}`, slow.Addr)); v != "" {
		t.Errorf("the endpoint that has gone still has a series: %s", v)
	}
}

// TestReloadKeepsWhatWasFound: with the resolver silent from before the reload on, the endpoints are there at once, the same as before, with their
// connections, counts and overrides.
func TestReloadKeepsWhatWasFound(t *testing.T) {
	a, b := named(t, "a"), named(t, "b")
	n := newNameserver(t, "127.0.0.1:0")
	n.service("one="+a.Addr, "two="+b.Addr)
	g := start(t, discovered(n.addr, ""))
	g.wait()
	c, op := g.dial("web"), g.operator()
	wantShares(t, c, 4, map[string]int{"a": 2, "b": 2})
	op.set("app", b.Addr, `{"weight": 0}`)
	n.answers(nothing)
	set := g.addresses()
	for i := range 5 {
		g.take(discovered(n.addr, fmt.Sprintf("timeouts: {first_byte: %ds},", 10+i)))
		wantShares(t, c, 3, map[string]int{"a": 3})
		if got := g.addresses(); got != set {
			t.Fatalf("reload %d: the endpoints are %s, want %s", i, got, set)
		}
		g.wait() // there was an answer before
	}
	if e := op.endpoint("app", a.Addr); e["requests"] != 17.0 || a.Conns() != 1 {
		t.Errorf("endpoint %v, %d connections; want 17 requests over one", e, a.Conns())
	}
	// When nobody wants to know any more, nobody asks.
	n.answers(nil)
	asked := n.questions()
	testnet.Eventually(t, "the questions that go on", func() bool { return n.questions() > asked })
	op.set("app", b.Addr, `{"weight": null}`)
	g.take(adminText("", b.Addr))
	if len(g.watchers.kept) != 0 {
		t.Errorf("%d watchers are kept", len(g.watchers.kept))
	}
	if got := g.addresses(); got != "="+b.Addr {
		t.Errorf("endpoints %s", got)
	}
	if v := g.metric(fmt.Sprintf(`sluice_discovery_endpoints{name="_http._tcp.app.test@%s"}`, n.addr)); v != "" {
		t.Errorf("the series of a name that nobody wants to know: %s", v)
	}
	wantShares(t, c, 2, map[string]int{"b": 2})
}

// TestDiscoveryEndsWithTheGateway, while a lookup is under way that nobody answers.
func TestDiscoveryEndsWithTheGateway(t *testing.T) {
	n := newNameserver(t, "127.0.0.1:0")
	n.answers(nothing)
	g := start(t, discovered(n.addr, ""))
	testnet.Eventually(t, "the question", func() bool { return n.questions() > 0 })
	began := time.Now()
	g.Close()
	if took := time.Since(began); took > testnet.Patience/2 {
		t.Errorf("Close took %v", took)
	}
	if len(g.watchers.kept) != 0 {
		t.Errorf("%d watchers are kept", len(g.watchers.kept))
	}
}

// TestReloadLooksUpFirst: a reload that asks another resolver, or at other times, leaves no gap, and the endpoints are the same as before. One
// that asks a resolver that is away takes over all the same.
func TestReloadLooksUpFirst(t *testing.T) {
	a := named(t, "a")
	n, m := newNameserver(t, "127.0.0.1:0"), newNameserver(t, "127.0.0.1:0")
	n.service("one=" + a.Addr)
	m.service("one=" + a.Addr)
	g := start(t, discovered(n.addr, ""))
	g.wait()
	c, op := g.dial("web"), g.operator()
	op.set("app", a.Addr, `{"weight": 7}`)
	for i := range 10 {
		text := discovered([]string{m.addr, n.addr}[i%2], "")
		if i >= 5 {
			text = strings.Replace(text, "max_ttl: 100ms", fmt.Sprintf("max_ttl: %dms", 100+i), 1)
		}
		g.take(text)
		wantShares(t, c, 3, map[string]int{"a": 3})
	}
	if e := op.endpoint("app", a.Addr); e["requests"] != 30.0 || e["weight"] != 7.0 || a.Conns() != 1 {
		t.Errorf("endpoint %v, %d connections; want 30 requests over one, and the weight that was set", e, a.Conns())
	}
	silent := newNameserver(t, "127.0.0.1:0")
	silent.answers(nothing)
	g.take(discovered(silent.addr, ""))
	wantShares(t, c, 1, map[string]int{"503 no_healthy_endpoint": 1})
	silent.answers(nil)
	silent.service("one=" + a.Addr)
	g.wantAddresses("one.app.test=" + a.Addr)
	wantShares(t, c, 1, map[string]int{"a": 1})
}
