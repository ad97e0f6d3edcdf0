package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/upstream"
)

// TestApplyOnOpenConnections: a connection that is open notices nothing but the new routes.
func TestApplyOnOpenConnections(t *testing.T) {
	g := start(t, fixed("one"))
	c := g.dial("web")
	address := g.address("web")
	want(t, c, "/", 200, "one")
	g.take(fixed("two"))
	want(t, c, "/", 200, "two")
	if g.address("web") != address || g.metric("sluice_config_generation") != "2" || g.Config().Routes[0].Respond.Text == nil {
		t.Errorf("address %s, was %s; generation %s", g.address("web"), address, g.metric("sluice_config_generation"))
	}
	if loaded := g.metric("sluice_config_loaded_timestamp_seconds"); len(loaded) < 10 {
		t.Errorf("loaded at %q", loaded)
	}
}

// TestRefusedConfigurationChangesNothing applies what cannot be built or bound.
func TestRefusedConfigurationChangesNothing(t *testing.T) {
	dir := t.TempDir()
	crt, key := certificate(t, dir, "a.test")
	_, other := certificate(t, dir, "b.test")
	broken := filepath.Join(dir, "broken.crt")
	write(t, broken, "no certificate")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	o := testnet.NewOrigin(t, testnet.Answer(ok("old")))
	g := start(t, forwarding(o.Addr))
	c := g.dial("web")
	want(t, c, "/", 200, "old")
	endpoints, live, series := len(g.endpoints.kept), len(g.live), g.metric(`sluice_endpoint_requests_total{backend="app",endpoint="`+o.Addr+`"}`)
	https := func(crt, key string) string {
		return fmt.Sprintf("version: 1\nlisteners:\n  web: {address: \"127.0.0.1:0\", protocol: http}\n  tls: {address: \"127.0.0.1:0\", protocol: https, tls: "+
			"{certificates: [{cert: %q, key: %q}]}}\nroutes: [{backend: new}]\nbackends: {new: {endpoints: [\"127.0.0.1:9\", %q]}}\n", crt, key, o.Addr)
	}
	methods := make([]string, 70)
	for i := range methods {
		methods[i] = fmt.Sprintf("M%d", i)
	}
	for _, tc := range []struct {
		name, text string
		words      []string // of the error
		place      bool     // the error is about the text
	}{
		{"broken certificate", https(broken, key), []string{"test.yaml:4:", "broken.crt", "tls:"}, true},
		{"key of another certificate", https(crt, other), []string{"test.yaml:4:", "b.test.key"}, true},
		{"redirect", fixed("x") + "  - {match: {path: /a}, redirect: \"/${path.nothing}\"}\n", []string{"test.yaml:5:", "to: "}, true},
		{
			"policy on a route without the capture", fixed("x") + "  - {match: {path: /a}, policies: [{request: {headers: {set: {X-A: \"${path.id}\"}}}}], respond: {}}\n",
			[]string{"test.yaml:5:", "id"}, true,
		},
		{"too many methods", fixed("x") + "  - {match: {method: [" + strings.Join(methods, ", ") + "]}, respond: {}}\n", []string{"test.yaml:2:", "methods"}, true},
		{"busy port", strings.Replace(forwarding(o.Addr), "routes:", "  # two\nroutes:", 1), nil, false},
		{"no folder for the log", fixed("x") + "access_log: " + filepath.Join(dir, "none", "access.log") + "\n", []string{"access log", "none"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g.t = t
			if tc.name == "busy port" {
				tc.text = strings.Replace(tc.text, "protocol: http}", "protocol: http}, more: {address: \""+taken.Addr().String()+"\", protocol: http}", 1)
				tc.words = []string{`"more"`, taken.Addr().String()}
			}
			configuration := parse(t, tc.text)
			err := g.Apply(configuration)
			if err == nil {
				t.Fatal("not refused")
			}
			for _, w := range tc.words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("no %s in\n%v", w, err)
				}
			}
			var errs config.Errors
			if errors.As(err, &errs) != tc.place {
				t.Errorf("about the text: %v, want %v", !tc.place, tc.place)
			}
			if checked := Check(configuration); tc.place && (checked == nil || checked.Error() != err.Error()) {
				t.Errorf("Check says\n%v\nand Apply\n%v", checked, err)
			} else if !tc.place && checked != nil {
				t.Errorf("Check finds what only Apply can know: %v", checked)
			}
			want(t, c, "/", 200, "old")
			if len(g.endpoints.kept) != endpoints || len(g.live) != live || len(g.logs.kept) != 0 || len(g.stores.kept) != 0 || g.metric("sluice_config_generation") != "1" {
				t.Errorf("%d endpoints, %d listeners, %d logs, %d stores, generation %s", len(g.endpoints.kept), len(g.live), len(g.logs.kept),
					len(g.stores.kept), g.metric("sluice_config_generation"))
			}
			if g.metric(`sluice_endpoint_requests_total{backend="new",endpoint="127.0.0.1:9"}`) != "" {
				t.Error("series of the refused configuration are left")
			}
		})
	}
	g.t = t
	if now := g.metric(`sluice_endpoint_requests_total{backend="app",endpoint="` + o.Addr + `"}`); series != "1" || now != "8" || o.Conns() != 1 {
		t.Errorf("%s requests before and %s after, on %d connections", series, now, o.Conns())
	}
}

// TestSameAddressTwice finds spellings that the check of the text does not.
func TestSameAddressTwice(t *testing.T) {
	text := "version: 1\nlisteners:\n  a: {address: \"LOCALHOST:8080\", protocol: http}\n  b: {address: \"localhost:8080\", protocol: http}\nroutes: [{respond: {}}]\n"
	c, err := Parse("test.yaml", []byte(text))
	if err == nil {
		err = Check(c)
	}
	if err == nil || !strings.Contains(err.Error(), "test.yaml:4:") || !strings.Contains(err.Error(), "same address") {
		t.Errorf("error %v", err)
	}
}

// TestPortsOfTheSystem: several listeners may leave the port to the system, and keep it by name.
func TestPortsOfTheSystem(t *testing.T) {
	listeners := func(names ...string) string {
		var b strings.Builder
		b.WriteString("version: 1\nadmin: {address: \"127.0.0.1:0\"}\nroutes: [{respond: {}}]\nlisteners:\n")
		for _, n := range names {
			b.WriteString("  " + n + ": {address: \"127.0.0.1:0\", protocol: http}\n")
		}
		return b.String()
	}
	g := start(t, listeners("a", "b"))
	a, b, admin := g.address("a"), g.address("b"), g.AdminAddr().String()
	if a == b || strings.HasSuffix(a, ":0") {
		t.Fatalf("addresses %s and %s", a, b)
	}
	g.take(listeners("b", "c", "a"))
	if g.address("a") != a || g.address("b") != b || g.AdminAddr().String() != admin {
		t.Errorf("addresses have changed: %s %s %s", g.address("a"), g.address("b"), g.AdminAddr())
	}
	g.take(listeners("c"))
	testnet.Eventually(t, "the end of a and b", func() bool { return refused(a) && refused(b) })
	if g.Addr("a") != nil {
		t.Error("a is still there")
	}
	want(t, g.dial("c"), "/", 200, "")
}

// TestIdentity: what two configurations have in common survives: the endpoint with its connections,
// counters and health, and the certificates.
func TestIdentity(t *testing.T) {
	o := testnet.NewOrigin(t, testnet.Answer(ok("x")))
	p := testnet.NewOrigin(t, testnet.Answer(ok("y")))
	g := start(t, forwarding(o.Addr))
	c := g.dial("web")
	want(t, c, "/", 200, "x")
	kept := func(backend, address string) *upstream.Endpoint {
		if k := g.endpoints.kept[endpointKey{backend, address}]; k != nil {
			return k.value
		}
		return nil
	}
	before := kept("app", o.Addr)
	g.take(strings.Replace(forwarding(o.Addr, p.Addr), "[", "[{address: \"127.0.0.1:1\", weight: 0}, ", 1))
	if kept("app", o.Addr) != before || kept("app", p.Addr) == nil || len(g.endpoints.kept) != 3 {
		t.Fatalf("%d endpoints, the first kept: %v", len(g.endpoints.kept), kept("app", o.Addr) == before)
	}
	g.take(forwarding(o.Addr))
	want(t, c, "/", 200, "x")
	series := `sluice_endpoint_requests_total{backend="app",endpoint="` + o.Addr + `"}`
	if n := g.metric(series); n != "2" || o.Conns() != 1 || len(g.endpoints.kept) != 1 {
		t.Errorf("%s requests on %d connections, %d endpoints", n, o.Conns(), len(g.endpoints.kept))
	}
	testnet.Eventually(t, "two requests are counted on the route", func() bool {
		return g.metric(`sluice_requests_total{listener="web",route="all",code="200"}`) == "2"
	})
	if n := g.metric(`sluice_endpoint_requests_total{backend="app",endpoint="` + p.Addr + `"}`); n != "" {
		t.Errorf("the series of an endpoint that is gone says %s", n)
	}
	// Under another name it is another backend.
	g.take(strings.ReplaceAll(forwarding(o.Addr), "app", "shop"))
	if kept("app", o.Addr) != nil || kept("shop", o.Addr) == nil || g.metric(series) != "" {
		t.Error("the endpoint of a backend that is gone is still there")
	}
	want(t, c, "/", 200, "x")
	testnet.Receive(t, "the end of its pooled connection", o.Conn(0).Ended())
}

// TestHealthSurvives: an endpoint that is ejected stays ejected over a reload.
func TestHealthSurvives(t *testing.T) {
	bad := testnet.NewOrigin(t, testnet.Answer("HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n"))
	good := testnet.NewOrigin(t, testnet.Answer(ok("good")))
	text := func(eject string) string {
		return strings.Replace(forwarding(bad.Addr, good.Addr), "]}", "], balance: round_robin, health: {outlier: {consecutive: 1, eject: "+eject+"}}}", 1)
	}
	g := start(t, text("1h"))
	c := g.dial("web")
	c.Do("GET", get("/"))
	c.Do("GET", get("/"))
	ejected := func() bool {
		for _, e := range g.Backends()[0].Endpoints {
			if e.Address == bad.Addr {
				return e.EjectedFor > 0
			}
		}
		return false
	}
	if !ejected() {
		t.Fatal("the endpoint was not ejected")
	}
	g.take(text("2h"))
	if !ejected() {
		t.Error("a reload has forgotten the ejection")
	}
	for range 4 {
		want(t, c, "/", 200, "good")
	}
}

// TestListenersComeAndGo over reloads; a request that is under way on one that goes is answered.
func TestListenersComeAndGo(t *testing.T) {
	o, open := held(t, "late")
	two := strings.Replace(forwarding(o.Addr), "protocol: http}", "protocol: http}, more: {address: \"127.0.0.1:0\", protocol: http}", 1)
	g := start(t, two)
	stays, goes := g.dial("web"), g.dial("more")
	idle := g.dial("more")
	address := g.address("more")
	stays.Send(get("/"))
	goes.Send(get("/"))
	testnet.Eventually(t, "both requests at the endpoint", func() bool { return strings.Count(o.Received(), "\r\n\r\n") == 2 })
	g.take(forwarding(o.Addr))
	testnet.Eventually(t, "the end of the socket", func() bool { return refused(address) })
	idle.WantEOF()
	close(open)
	if r := goes.ReadResponse("GET"); string(r.Body) != "late" || r.Header.Get("Connection") != "close" {
		t.Errorf("on the listener that is gone: %+v", r)
	}
	goes.WantEOF()
	if r := stays.ReadResponse("GET"); string(r.Body) != "late" || r.Header.Get("Connection") != "" {
		t.Errorf("on the listener that stays: %+v", r)
	}
	want(t, stays, "/", 200, "late")
	g.take(two)
	want(t, g.dial("more"), "/", 200, "late")
}

// TestListenerBecomesHTTPS and back on one address.
func TestListenerBecomesHTTPS(t *testing.T) {
	crt, key := certificate(t, t.TempDir(), "a.test")
	secure := strings.Replace(fixed("secure"), "protocol: http", fmt.Sprintf("protocol: https, tls: {certificates: [{cert: %q, key: %q}]}", crt, key), 1)
	g := start(t, fixed("plain"))
	old := g.dial("web")
	want(t, old, "/", 200, "plain")
	g.take(secure)
	want(t, old, "/", 200, "secure") // a connection that is open goes on as it is
	dial := func() *testnet.Client {
		nc, err := tls.Dial("tcp", g.address("web"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		return testnet.NewClient(t, nc)
	}
	c := dial()
	want(t, c, "/", 200, "secure")
	store := g.stores
	first := len(store.kept)
	g.take(strings.Replace(secure, "text: \"secure\"", "text: \"again\"", 1))
	want(t, c, "/", 200, "again")
	if len(store.kept) != first || first != 1 {
		t.Errorf("%d stores, then %d", first, len(store.kept))
	}
	g.take(fixed("plain"))
	want(t, g.dial("web"), "/", 200, "plain")
	if len(store.kept) != 0 {
		t.Error("the certificates of a listener without TLS are kept")
	}
}

// TestStrictPathsReachOpenConnections: a connection that was accepted under milder rules cannot pass
// what the configuration of now refuses.
func TestStrictPathsReachOpenConnections(t *testing.T) {
	text := func(paths string) string {
		return strings.Replace(fixed("open"), "protocol: http", "protocol: http, paths: "+paths, 1) + "  - {match: {path: /admin/*}, respond: {status: 403}}\n"
	}
	g := start(t, text("{slashes: keep, backslash: keep}"))
	c := g.dial("web")
	want(t, c, "//admin/x", 200, "open")
	want(t, c, `/a\b`, 200, "open")
	g.take(text("{}"))
	want(t, c, "//admin/x", 403, "")
	want(t, c, `/a\b`, 400, "")
}
