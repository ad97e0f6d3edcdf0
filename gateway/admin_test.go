package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// named is an origin that answers with its name, and keeps connections.
func named(t testing.TB, name string) *testnet.Origin {
	return testnet.NewOrigin(t, testnet.Answer(ok(name)))
}

// operator asks the admin listener of a gateway.
type operator struct {
	t      testing.TB
	base   string
	client *http.Client
}

func (g *running) operator() *operator {
	g.t.Helper()
	tr := &http.Transport{}
	g.t.Cleanup(tr.CloseIdleConnections)
	return &operator{g.t, "http://" + g.AdminAddr().String(), &http.Client{Timeout: testnet.Patience, Transport: tr}}
}

// try sends a request and decodes the JSON that comes back. Any goroutine may call it.
func (o *operator) try(method, path, body string) (status int, answer map[string]any, err error) {
	r, err := http.NewRequest(method, o.base+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	a, err := o.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	return a.StatusCode, answer, err
}

// do is try for the goroutine of the test.
func (o *operator) do(method, path, body string) (status int, answer map[string]any) {
	o.t.Helper()
	status, answer, err := o.try(method, path, body)
	if err != nil {
		o.t.Fatalf("%s %s: %d %v", method, path, status, err)
	}
	return status, answer
}

// set changes an endpoint, and returns it as it stands then.
func (o *operator) set(backend, address, change string) map[string]any {
	o.t.Helper()
	status, e := o.do("PATCH", "/backends/"+backend+"/endpoints/"+url.PathEscape(address), change)
	if status != 200 || e["address"] != address {
		o.t.Fatalf("%s of %s: %d %v", change, address, status, e)
	}
	return e
}

// endpoint returns an endpoint as it is shown.
func (o *operator) endpoint(backend, address string) map[string]any {
	o.t.Helper()
	status, b := o.do("GET", "/backends/"+backend, "")
	if status != 200 {
		o.t.Fatalf("backend %s: %d %v", backend, status, b)
	}
	for _, e := range b["endpoints"].([]any) {
		if e := e.(map[string]any); e["address"] == address {
			return e
		}
	}
	return nil
}

// shares asks n times and counts the answers.
func shares(t testing.TB, c *testnet.Client, n int, fields ...string) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		r := c.Do("GET", "GET / HTTP/1.1\r\nHost: example.test\r\n"+strings.Join(append(fields, ""), "\r\n")+"\r\n")
		if r.Status != 200 {
			got[fmt.Sprint(r.Status, " ", r.Header.Get("Sluice-Reason"))]++
			continue
		}
		got[string(r.Body)]++
	}
	return got
}

func wantShares(t testing.TB, c *testnet.Client, n int, want map[string]int, fields ...string) {
	t.Helper()
	if got := shares(t, c, n, fields...); !reflect.DeepEqual(got, want) {
		t.Fatalf("%d requests: answers %v, want %v", n, got, want)
	}
}

// adminText is a configuration with an admin listener and one backend of endpoints.
func adminText(more string, endpoints ...string) string {
	return fmt.Sprintf("version: 1\nadmin: {address: \"127.0.0.1:0\"}\nlisteners: {web: {address: \"127.0.0.1:0\", protocol: http}}\nroutes:\n  - {name: all, backend: app}\n"+
		"backends:\n  app: {balance: round_robin, %s endpoints: [%s]}\n", more, strings.Join(endpoints, ", "))
}

// TestOverrideSteersTraffic: what an operator sets is what requests do next.
func TestOverrideSteersTraffic(t *testing.T) {
	a, b := named(t, "a"), named(t, "b")
	g := start(t, adminText("session: {cookie: s, secret: 0123456789abcdef},", a.Addr, b.Addr))
	g.wait()
	op, c := g.operator(), g.dial("web")
	wantShares(t, c, 10, map[string]int{"a": 5, "b": 5})
	// A client that has a session with a.
	cookie := ""
	for cookie == "" {
		if r := c.Do("GET", get("/")); string(r.Body) == "a" {
			value, _, _ := strings.Cut(r.Header.Get("Set-Cookie"), ";")
			cookie = "Cookie: " + value
		}
	}
	wantShares(t, c, 5, map[string]int{"a": 5}, cookie)

	if e := op.set("app", a.Addr, `{"state": "drain"}`); e["state"] != "drain" || e["usable"] != false || e["weight"] != 1.0 {
		t.Errorf("endpoint %v", e)
	}
	wantShares(t, c, 10, map[string]int{"b": 10})
	wantShares(t, c, 5, map[string]int{"a": 5}, cookie) // it keeps its clients

	op.set("app", a.Addr, `{"state": "maint"}`)
	wantShares(t, c, 10, map[string]int{"b": 10})
	wantShares(t, c, 5, map[string]int{"b": 5}, cookie)

	op.set("app", b.Addr, `{"state": "drain"}`)
	wantShares(t, c, 3, map[string]int{"503 no_healthy_endpoint": 3})

	op.set("app", a.Addr, `{"state": "ready", "weight": 3}`)
	op.set("app", b.Addr, `{"state": null}`)
	wantShares(t, c, 40, map[string]int{"a": 30, "b": 10})
	wantShares(t, c, 5, map[string]int{"a": 5}, cookie)

	op.set("app", a.Addr, `{"weight": 0}`)
	wantShares(t, c, 10, map[string]int{"b": 10})

	if e := op.set("app", a.Addr, `{"weight": null}`); e["override"] != nil || e["weight"] != 1.0 || e["usable"] != true {
		t.Errorf("endpoint %v", e)
	}
	wantShares(t, c, 10, map[string]int{"a": 5, "b": 5})
	if got := g.reports.String(); !strings.Contains(got, fmt.Sprintf("admin: backend \"app\", endpoint %s: state ready, weight 3\n", a.Addr)) ||
		!strings.Contains(got, fmt.Sprintf("admin: backend \"app\", endpoint %s: nothing is set against the configuration any more\n", a.Addr)) {
		t.Errorf("reports\n%s", got)
	}
}

// TestDrainCutsNothing: what is under way ends as it would have.
func TestDrainCutsNothing(t *testing.T) {
	for _, state := range []string{"drain", "maint"} {
		o, open := held(t, "late")
		g := start(t, adminText("", o.Addr))
		g.wait()
		c, op := g.dial("web"), g.operator()
		c.Send(get("/"))
		testnet.Eventually(t, "the request at the endpoint", func() bool { return op.endpoint("app", o.Addr)["in_flight"] == 1.0 && o.Received() != "" })
		if e := op.set("app", o.Addr, fmt.Sprintf(`{"state": %q}`, state)); e["in_flight"] != 1.0 {
			t.Errorf("%s: endpoint %v", state, e)
		}
		wantShares(t, g.dial("web"), 1, map[string]int{"503 no_healthy_endpoint": 1})
		close(open)
		if r := c.ReadResponse("GET"); r.Status != 200 || string(r.Body) != "late" {
			t.Errorf("%s: answer %+v", state, r)
		}
		testnet.Eventually(t, "the end of the request", func() bool { return op.endpoint("app", o.Addr)["in_flight"] == 0.0 })
	}
}

// TestOverrideOutlivesReloads, whatever the file says of the endpoint then, and ends when the file does not name it any more.
func TestOverrideOutlivesReloads(t *testing.T) {
	a, b := named(t, "a"), named(t, "b")
	g := start(t, adminText("", a.Addr, b.Addr))
	g.wait()
	op := g.operator()
	op.set("app", a.Addr, `{"state": "drain", "weight": 9}`)
	op.set("app", b.Addr, `{"weight": 2}`)
	drained, weighed := map[string]any{"state": "drain", "weight": 9.0}, map[string]any{"state": "ready", "weight": 2.0}
	weighted := fmt.Sprintf("{address: %q, weight: 5}", b.Addr)
	for i, text := range []string{
		adminText("", a.Addr, b.Addr),
		adminText("", b.Addr, a.Addr),
		adminText("", a.Addr, weighted),
		adminText("timeouts: {first_byte: 3s},", a.Addr, weighted),
		adminText("health: {active: {tcp: true}},", a.Addr, weighted),
	} {
		g.take(text)
		if e := op.endpoint("app", a.Addr); !reflect.DeepEqual(e["override"], drained) || e["state"] != "drain" || e["weight"] != 9.0 {
			t.Errorf("reload %d: %v", i, e)
		}
		if e := op.endpoint("app", b.Addr); !reflect.DeepEqual(e["override"], weighed) || e["weight"] != 2.0 {
			t.Errorf("reload %d: %v", i, e)
		}
		wantShares(t, g.dial("web"), 6, map[string]int{"b": 6})
	}
	// A file that is refused changes nothing.
	if err := g.Apply(parse(t, strings.Replace(adminText("", a.Addr), "\"127.0.0.1:0\", protocol", "\"192.0.2.1:1\", protocol", 1))); err == nil {
		t.Fatal("an address of somebody else was bound")
	}
	if e := op.endpoint("app", a.Addr); !reflect.DeepEqual(e["override"], drained) {
		t.Errorf("after a refused reload: %v", e)
	}
	if e := op.set("app", b.Addr, `{"weight": null}`); e["override"] != nil || e["weight"] != 5.0 {
		t.Errorf("%v, want the weight of the file", e)
	}
	g.take(adminText("", b.Addr))
	if e := op.endpoint("app", a.Addr); e != nil {
		t.Errorf("an endpoint that is gone is shown: %v", e)
	}
	if status, _ := op.do("PATCH", "/backends/app/endpoints/"+a.Addr, `{"state": "ready"}`); status != 404 {
		t.Errorf("a change of an endpoint that is gone: %d", status)
	}
	// What was set outlives an absence, by the file or by DNS: who has put a machine into maintenance has not taken that back.
	g.take(adminText("", a.Addr, b.Addr))
	if e := op.endpoint("app", a.Addr); !reflect.DeepEqual(e["override"], drained) || e["state"] != "drain" {
		t.Errorf("an endpoint that has come back: %v", e)
	}
}

// TestOverrideIsOfOneBackend: the same address in another backend is another endpoint.
func TestOverrideIsOfOneBackend(t *testing.T) {
	a := named(t, "a")
	g := start(t, strings.Replace(adminText("", a.Addr), "backends:\n", fmt.Sprintf("  - {match: {path: /other}, backend: other}\nbackends:\n  other: {endpoints: [%q, \"[::1]:9\"]}\n", a.Addr), 1))
	g.wait()
	op, c := g.operator(), g.dial("web")
	op.set("app", a.Addr, `{"state": "maint"}`)
	if e := op.endpoint("other", a.Addr); e["override"] != nil {
		t.Errorf("endpoint %v", e)
	}
	wantShares(t, c, 1, map[string]int{"503 no_healthy_endpoint": 1})
	// The address of IPv6, in the path as it is and as clients that are careful write it.
	for _, path := range []string{"[::1]:9", "%5B%3A%3A1%5D%3A9"} {
		if status, e := op.do("PATCH", "/backends/other/endpoints/"+path, `{"state": "drain"}`); status != 200 || e["address"] != "[::1]:9" {
			t.Errorf("%s: %d %v", path, status, e)
		}
		op.set("other", "[::1]:9", `{"state": "ready"}`)
	}
	for _, path := range []string{"/backends/app/endpoints/[::1]:9", "/backends/app/endpoints/127.0.0.1", "/backends/none/endpoints/" + a.Addr} {
		if status, p := op.do("PATCH", path, `{"state": "drain"}`); status != 404 || p["status"] != 404.0 {
			t.Errorf("%s: %d %v", path, status, p)
		}
	}
	// Backends stand in the order of the file.
	_, all := op.do("GET", "/backends", "")
	var names []string
	for _, b := range all["backends"].([]any) {
		names = append(names, b.(map[string]any)["name"].(string))
	}
	if strings.Join(names, " ") != "other app" {
		t.Errorf("backends %v", names)
	}
}

// TestBackendsTell: what is shown is what was.
func TestBackendsTell(t *testing.T) {
	good := named(t, "good")
	bad := testnet.NewOrigin(t, testnet.Answer("HTTP/1.1 500 Bad\r\nContent-Length: 0\r\n\r\n"))
	g := start(t, adminText("panic: 0%, health: {active: {http: /up, interval: 10s, rise: 1, fall: 1}},", good.Addr, bad.Addr))
	g.wait()
	c, op := g.dial("web"), g.operator()
	wantShares(t, c, 7, map[string]int{"good": 7})
	_, b := op.do("GET", "/backends/app", "")
	if b["algorithm"] != "round_robin" || b["usable"] != 1.0 || b["panic"] != false || b["in_flight"] != 0.0 || !reflect.DeepEqual(b["level_shares"], []any{1.0}) {
		t.Errorf("backend %v", b)
	}
	e, f := op.endpoint("app", good.Addr), op.endpoint("app", bad.Addr)
	if e["healthy"] != true || e["usable"] != true || e["requests"] != 7.0 || e["failures"] != 0.0 || e["check"].(map[string]any)["passed"] != true {
		t.Errorf("endpoint %v", e)
	}
	check := f["check"].(map[string]any)
	if f["healthy"] != false || f["usable"] != false || f["requests"] != 0.0 || check["passed"] != false || !strings.Contains(fmt.Sprint(check["fault"]), "500") {
		t.Errorf("endpoint %v", f)
	}
}

// TestRoutesTell of every kind of action, and of what stands before it.
func TestRoutesTell(t *testing.T) {
	g := start(t, `version: 1
admin: {address: "127.0.0.1:0"}
listeners:
  web: {address: "127.0.0.1:0", protocol: http}
  inner: {address: "127.0.0.1:0", protocol: http}
  raw: {address: "127.0.0.1:0", protocol: tcp, backend: db}
policies:
  tidy: {request: {headers: {remove: [X-A]}}}
routes:
  - {name: plain, backend: app}
  - name: narrow
    listeners: [inner]
    match: {host: [a.test, "*.b.test"], path: "/v1/{id}", method: [PUT, GET], headers: {X-A: "1", X-B: "*"}, query: {q: x}}
    policies: [tidy, {response: {headers: {set: {X-C: c}}}}]
    backend: app
    mirror: {backend: next, share: 50%}
  - {name: canary, match: {path: /beta}, split: [{backend: app, weight: 95}, {backend: next, weight: 5}]}
  - {name: moved, match: {path: /old}, redirect: /new}
  - {match: {path: /fixed}, respond: {text: hello}}
backends:
  app: {endpoints: ["127.0.0.1:9"]}
  next: {endpoints: ["127.0.0.1:9"]}
  db: {endpoints: ["127.0.0.1:9"]}
`)
	status, got := g.operator().do("GET", "/routes", "")
	const want = `{"routes": [
		{"name": "plain", "listeners": ["web", "inner"], "path": "/*", "policies": [], "action": "backend", "backends": ["app"]},
		{"name": "narrow", "listeners": ["inner"], "hosts": ["a.test", "*.b.test"], "path": "/v1/{id}", "methods": ["PUT", "GET"], "headers": ["X-A: 1", "X-B: *"], "query": ["q=x"],
		 "policies": ["tidy", "response"], "action": "backend", "backends": ["app"], "mirror": "next"},
		{"name": "canary", "listeners": ["web", "inner"], "path": "/beta", "policies": [], "action": "split", "backends": ["app", "next"]},
		{"name": "moved", "listeners": ["web", "inner"], "path": "/old", "policies": [], "action": "redirect"},
		{"name": "route-5", "listeners": ["web", "inner"], "path": "/fixed", "policies": [], "action": "respond"}]}`
	var wanted map[string]any
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		t.Fatal(err)
	}
	if status != 200 || !reflect.DeepEqual(got, wanted) {
		t.Errorf("%d\n%v\nwant\n%v", status, got, wanted)
	}
}

// TestOverrideUnderReload: operators and reloads at the same time; requests go on, and the last word counts.
func TestOverrideUnderReload(t *testing.T) {
	a, b := named(t, "a"), named(t, "b")
	g := start(t, adminText("", a.Addr, b.Addr))
	g.wait()
	stop := make(chan struct{})
	var busy sync.WaitGroup
	for range 2 {
		op := g.operator()
		busy.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				change := []string{`{"state": "drain"}`, `{"state": "ready", "weight": 3}`, `{"weight": null}`}[i%3]
				if status, e, err := op.try("PATCH", "/backends/app/endpoints/"+a.Addr, change); status != 200 || err != nil {
					t.Errorf("%s: %d %v %v", change, status, e, err)
				}
				if status, _, err := op.try("GET", "/backends", ""); status != 200 || err != nil {
					t.Errorf("/backends: %d %v", status, err)
				}
			}
		})
	}
	defer busy.Wait()
	end := sync.OnceFunc(func() { close(stop) })
	defer end()
	c := g.dial("web")
	for i := range 30 {
		g.take(adminText([]string{"", "timeouts: {first_byte: 5s},"}[i%2], a.Addr, b.Addr))
		for range 10 {
			if r := c.Do("GET", get("/")); r.Status != 200 {
				t.Fatalf("answer %d %s", r.Status, r.Body)
			}
		}
	}
	end()
	busy.Wait()
	g.operator().set("app", a.Addr, `{"state": "maint", "weight": null}`)
	wantShares(t, c, 6, map[string]int{"b": 6})
}
