package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/upstream"
)

// fleet is what the handlers show in tests: backends that serve nobody.
type fleet struct {
	mu       sync.Mutex
	backends []upstream.Status
	routes   []Route
}

// source returns what the handlers ask.
func (f *fleet) source() Source {
	s := source(true, false)
	s.Backends = func() []upstream.Status {
		f.mu.Lock()
		defer f.mu.Unlock()
		out := slices.Clone(f.backends)
		for i := range out {
			out[i].Endpoints = slices.Clone(out[i].Endpoints)
		}
		return out
	}
	s.Routes = func() []Route { return f.routes }
	s.Override = func(backend, address string, change func(upstream.Override) *upstream.Override) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		for i := range f.backends {
			for j := range f.backends[i].Endpoints {
				if e := &f.backends[i].Endpoints[j]; f.backends[i].Name == backend && e.Address == address {
					now := upstream.Override{Weight: -1}
					if e.Override != nil {
						now = *e.Override
					}
					e.Override = change(now)
					return nil
				}
			}
		}
		return ErrUnknown
	}
	return s
}

// fleetOf has one backend with endpoints that nothing is known of.
func fleetOf(addresses ...string) *fleet {
	b := upstream.Status{Name: "app", Algorithm: "random"}
	for _, a := range addresses {
		b.Endpoints = append(b.Endpoints, upstream.EndpointStatus{Address: a, Weight: 3, Healthy: true})
	}
	return &fleet{backends: []upstream.Status{b}}
}

// send makes a request as a client writes it: a target that url.Parse takes, and a body.
func send(s Source, method, target, body string, fields ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	NewHandler(s).ServeHTTP(w, r)
	return w
}

// jsonOf decodes an answer that must be JSON, as it stands and no more.
func jsonOf(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var v map[string]any
	d := json.NewDecoder(w.Body)
	if err := d.Decode(&v); err != nil || d.More() || !strings.Contains(w.Header().Get("Content-Type"), "json") {
		t.Fatalf("answer %d %v is not one JSON object: %v", w.Code, w.Header(), err)
	}
	return v
}

// wantRefused checks a problem document.
func wantRefused(t *testing.T, w *httptest.ResponseRecorder, status int, detail string) {
	t.Helper()
	if w.Code != status || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Fatalf("answer %d %v %s, want the problem %d", w.Code, w.Header(), w.Body, status)
	}
	p := jsonOf(t, w)
	if p["type"] != "about:blank" || p["status"] != float64(status) || p["title"] != http.StatusText(status) || !strings.Contains(fmt.Sprint(p["detail"]), detail) {
		t.Errorf("problem %v, want %d with %q", p, status, detail)
	}
}

const asJSON = "Content-Type: application/json"

// TestBackendsShape: every member, in its unit, and nothing else.
func TestBackendsShape(t *testing.T) {
	at := time.Date(2026, 3, 1, 13, 0, 0, 5e8, time.FixedZone("", 3600))
	full := upstream.Status{
		Name: "shop", Algorithm: "least_request", Usable: 1, Panic: true, Shares: []float64{0.75, 0.25}, InFlight: 7, Waiting: 2,
		Retries: 11, RetriesSaved: 10, RetriesDenied: 3, Replays: 4, BodyBytes: 8192, BodiesDropped: 5,
		Endpoints: []upstream.EndpointStatus{{
			Address: "127.0.0.1:9001", Weight: 2, Priority: 1, Override: &upstream.Override{State: upstream.StateDrain, Weight: 0},
			Healthy: true, EjectedFor: 1500 * time.Millisecond, Ejections: 2, InFlight: 6, Requests: 100, Failures: 9,
			Latency: 1234567 * time.Nanosecond, KeepAlive: 5 * time.Second, Checked: true, CheckedAt: at, CheckFault: "status 500",
		}, {
			Address: "[fd00::1]:80", Host: "shop.example", Weight: 1, Checked: true, CheckedAt: at,
		}, {
			Address: "10.0.0.1:80", Weight: 1, Healthy: true, Override: &upstream.Override{State: upstream.StateReady, Weight: 9},
		}},
	}
	const first = `{"name": "shop", "algorithm": "least_request", "usable": 1, "panic": true, "level_shares": [0.75, 0.25], "in_flight": 7, "waiting": 2,
		"retries": 11, "retries_saved": 10, "retries_denied": 3, "replays": 4, "body_bytes": 8192, "bodies_dropped": 5, "endpoints": [
		{"address": "127.0.0.1:9001", "state": "drain", "weight": 0, "priority": 1, "override": {"state": "drain", "weight": 0}, "usable": false,
		 "healthy": true, "ejected_for_ms": 1500, "ejections": 2, "in_flight": 6, "requests": 100, "failures": 9, "latency_ms": 1.235,
		 "keep_alive_ms": 5000, "check": {"at": "2026-03-01T12:00:00.5Z", "passed": false, "fault": "status 500"}},
		{"address": "[fd00::1]:80", "host": "shop.example", "state": "ready", "weight": 1, "priority": 0, "override": null, "usable": false,
		 "healthy": false, "ejected_for_ms": 0, "ejections": 0, "in_flight": 0, "requests": 0, "failures": 0,
		 "check": {"at": "2026-03-01T12:00:00.5Z", "passed": true}},
		{"address": "10.0.0.1:80", "state": "ready", "weight": 9, "priority": 0, "override": {"state": "ready", "weight": 9}, "usable": true,
		 "healthy": true, "ejected_for_ms": 0, "ejections": 0, "in_flight": 0, "requests": 0, "failures": 0, "check": null}]}`
	const second = `{"name": "a b/c", "algorithm": "", "usable": 0, "panic": false, "level_shares": [], "in_flight": 0, "waiting": 0, "retries": 0,
		"retries_saved": 0, "retries_denied": 0, "replays": 0, "body_bytes": 0, "bodies_dropped": 0, "endpoints": []}`
	f := &fleet{backends: []upstream.Status{full, {Name: "a b/c"}}}
	for _, tc := range []struct {
		name, path, want string
		fleet            *fleet
	}{
		{"all", "/backends", `{"backends": [` + first + `,` + second + `]}`, f},
		{"none", "/backends", `{"backends": []}`, &fleet{}},
		{"one", "/backends/shop", first, f},
		{"one with a query", "/backends/shop?pretty", first, f},
		{"a name with signs", "/backends/a%20b%2Fc", second, f},
		{"no routes", "/routes", `{"routes": []}`, f},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := send(tc.fleet.source(), "GET", tc.path, "")
			if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
				t.Fatalf("answer %d %v", w.Code, w.Header())
			}
			var want map[string]any
			if err := json.Unmarshal([]byte(tc.want), &want); err != nil {
				t.Fatal(err)
			}
			if got := jsonOf(t, w); !reflect.DeepEqual(got, want) {
				t.Errorf("got\n%v\nwant\n%v", got, want)
			}
		})
	}
}

// TestPathsAreExact: nothing answers but what is written, by the methods that are written.
func TestPathsAreExact(t *testing.T) {
	f := fleetOf("10.0.0.1:80")
	const endpoint = "/backends/app/endpoints/10.0.0.1:80"
	for _, tc := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/backends", 200, ""},
		{"HEAD", "/backends", 200, ""},
		{"GET", "/routes", 200, ""},
		{"HEAD", "/routes", 200, ""},
		{"HEAD", "/backends/app", 200, ""},
		{"GET", "/backends/", 404, ""},
		{"GET", "/backend", 404, ""},
		{"GET", "/backendsx", 404, ""},
		{"GET", "/Backends", 404, ""},
		{"GET", "/backends/ap", 404, ""},
		{"GET", "/backends/App", 404, ""},
		{"GET", "/backends/app/", 404, ""},
		{"GET", "/backends/app/endpoints", 404, ""},
		{"GET", "/backends/app/endpoints/", 404, ""},
		{"GET", "/backends/app%2Fendpoints", 404, ""},
		{"GET", "/routes/", 404, ""},
		{"GET", "/routes/x", 404, ""},
		{"GET", "/x/backends", 404, ""},
		{"PATCH", endpoint + "/", 404, ""},
		{"PATCH", endpoint + "/x", 404, ""},
		{"PATCH", "/backends/app/endpoint/10.0.0.1:80", 404, ""},
		{"PATCH", "/backends/app/endpoints", 404, ""},
		{"PATCH", "/backends/app/endpoints/10.0.0.1:8", 404, ""},
		{"PATCH", "/backends/app/endpoints/10.0.0.1", 404, ""},
		{"PATCH", "/backends/other/endpoints/10.0.0.1:80", 404, ""},
		{"PATCH", "/backends/app/endpoints/10.0.0.1:80%00", 404, ""},
		{"POST", "/backends", 405, "GET, HEAD"},
		{"PATCH", "/backends", 405, "GET, HEAD"},
		{"DELETE", "/backends/app", 405, "GET, HEAD"},
		{"PATCH", "/backends/app", 405, "GET, HEAD"},
		{"OPTIONS", "/backends", 405, "GET, HEAD"},
		{"TRACE", "/routes", 405, "GET, HEAD"},
		{"GET", endpoint, 405, "PATCH"},
		{"PUT", endpoint, 405, "PATCH"},
		{"POST", endpoint, 405, "PATCH"},
		{"DELETE", endpoint, 405, "PATCH"},
		{"OPTIONS", endpoint, 405, "PATCH"},
	} {
		w := send(f.source(), tc.method, tc.path, `{"state": "maint"}`, asJSON)
		if w.Code != tc.status || w.Header().Get("Allow") != tc.allow {
			t.Errorf("%s %s: %d, Allow %q; want %d, %q", tc.method, tc.path, w.Code, w.Header().Get("Allow"), tc.status, tc.allow)
		}
		if f.backends[0].Endpoints[0].Override != nil {
			t.Fatalf("%s %s changes the endpoint", tc.method, tc.path)
		}
	}
	// A path that is another only in how it is written is told the right one, and changes nothing by itself.
	for _, path := range []string{"//backends/app/endpoints/10.0.0.1:80", "/backends/./app/endpoints/10.0.0.1:80", "/x/../backends/app/endpoints/10.0.0.1:80"} {
		if w := send(f.source(), "PATCH", path, `{"state": "maint"}`, asJSON); w.Code/100 != 3 && w.Code != 404 || f.backends[0].Endpoints[0].Override != nil {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	for _, path := range []string{"/backends/nobody", "/backends/app%00", "/backends/%2E%2E"} {
		wantRefused(t, send(f.source(), "GET", path, ""), 404, "GET /backends lists them")
	}
}

// TestPatchRefuses: a change that is not meant so changes nothing.
func TestPatchRefuses(t *testing.T) {
	long := `{"state": "drain", "weight": 1` + strings.Repeat(" ", maxChange) + `}`
	for _, tc := range []struct {
		name, body string
		fields     []string
		status     int
		detail     string
	}{
		{"empty", "", nil, 400, "send"},
		{"white space", " \n", nil, 400, "send"},
		{"no member", "{}", nil, 400, "send"},
		{"null", "null", nil, 400, "send"},
		{"a list", `[{"state": "drain"}]`, nil, 400, "send"},
		{"a word", `"drain"`, nil, 400, "send"},
		{"a number", `0`, nil, 400, "send"},
		{"a form", `state=drain`, nil, 400, "send"},
		{"not closed", `{"state": "drain"`, nil, 400, "send"},
		{"closed wrongly", `{"state": "drain"]`, nil, 400, "send"},
		{"a comma too many", `{"state": "drain",}`, nil, 400, "send"},
		{"two values", `{"state": "drain"} {"weight": 1}`, nil, 400, "send"},
		{"something behind it", `{"state": "drain"}]`, nil, 400, "send"},
		{"unknown member", `{"state": "drain", "priority": 1}`, nil, 400, "send"},
		{"unknown member first", `{"priority": 1, "state": "drain"}`, nil, 400, "send"},
		{"another case", `{"State": "drain"}`, nil, 400, "send"},
		{"another case of weight", `{"WEIGHT": 1}`, nil, 400, "send"},
		{"twice", `{"state": "drain", "state": "ready"}`, nil, 400, "send"},
		{"twice with null", `{"weight": null, "weight": 1}`, nil, 400, "send"},
		{"unknown state", `{"state": "off"}`, nil, 400, "state: expected"},
		{"state in another case", `{"state": "Drain"}`, nil, 400, "state: expected"},
		{"empty state", `{"state": ""}`, nil, 400, "state: expected"},
		{"state with a space", `{"state": "drain "}`, nil, 400, "state: expected"},
		{"state as a number", `{"state": 1}`, nil, 400, "state: expected"},
		{"state as a list", `{"state": ["drain"]}`, nil, 400, "state: expected"},
		{"weight as a word", `{"weight": "5"}`, nil, 400, "weight: expected"},
		{"weight as yes", `{"weight": true}`, nil, 400, "weight: expected"},
		{"weight below 0", `{"weight": -1}`, nil, 400, "weight: expected"},
		{"weight above the most", `{"weight": 65536}`, nil, 400, "weight: expected"},
		{"weight with a point", `{"weight": 1.5}`, nil, 400, "weight: expected"},
		{"weight far too large", `{"weight": 99999999999999999999999}`, nil, 400, "weight: expected"},
		{"good state, bad weight", `{"state": "drain", "weight": -1}`, nil, 400, "weight: expected"},
		{"too large", long, nil, 413, "4 KiB"},
		{"too large, and nothing else", strings.Repeat("x", maxChange+1), nil, 413, "4 KiB"},
		{"no type", `{"state": "drain"}`, []string{"Content-Type: "}, 415, "application/json"},
		{"type of a form", `{"state": "drain"}`, []string{"Content-Type: application/x-www-form-urlencoded"}, 415, "application/json"},
		{"plain text", `{"state": "drain"}`, []string{"Content-Type: text/plain"}, 415, "application/json"},
		{"a type that only begins so", `{"state": "drain"}`, []string{"Content-Type: application/json2"}, 415, "application/json"},
		{"two types", `{"state": "drain"}`, []string{"Content-Type: application/json, text/plain"}, 415, "application/json"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := fleetOf("10.0.0.1:80")
			w := send(f.source(), "PATCH", "/backends/app/endpoints/10.0.0.1:80", tc.body, append([]string{asJSON}, tc.fields...)...)
			if tc.status == 415 && w.Header().Get("Accept-Patch") != acceptPatch {
				t.Errorf("Accept-Patch %q", w.Header().Get("Accept-Patch"))
			}
			wantRefused(t, w, tc.status, tc.detail)
			if o := f.backends[0].Endpoints[0].Override; o != nil {
				t.Errorf("set %+v", o)
			}
		})
	}
	// Web pages send an Origin with every PATCH.
	f := fleetOf("10.0.0.1:80")
	for _, origin := range []string{"https://evil.example", "http://127.0.0.1:9900", "null"} {
		w := send(f.source(), "PATCH", "/backends/app/endpoints/10.0.0.1:80", `{"state": "drain"}`, asJSON, "Origin: "+origin)
		if w.Code != 403 || f.backends[0].Endpoints[0].Override != nil {
			t.Errorf("Origin %s: %d", origin, w.Code)
		}
	}
}

// TestPatch: what is left out stays, null takes back, and the answer is the endpoint as it stands then.
func TestPatch(t *testing.T) {
	f := fleetOf("10.0.0.1:80", "10.0.0.2:80")
	for _, tc := range []struct {
		body, state string
		weight      int
		override    string // as JSON
	}{
		{`{"weight": 7}`, "ready", 7, `{"state": "ready", "weight": 7}`},
		{`{"state": "drain"}`, "drain", 7, `{"state": "drain", "weight": 7}`},
		{`{"state": "maint", "weight": 0}`, "maint", 0, `{"state": "maint", "weight": 0}`},
		{`{"weight": null}`, "maint", 3, `{"state": "maint"}`},
		{`{"state": null}`, "ready", 3, `null`},
		{`{"state": "drain", "weight": 65535}`, "drain", 65535, `{"state": "drain", "weight": 65535}`},
		{`{"state": "ready"}`, "ready", 65535, `{"state": "ready", "weight": 65535}`},
		{`{"state": null, "weight": null}`, "ready", 3, `null`},
		{`{"state": "ready"}`, "ready", 3, `null`},
		{" {\n\t\"weight\" : 3\n}\n", "ready", 3, `{"state": "ready", "weight": 3}`},
		{`{"st\u0061te": "m\u0061int"}`, "maint", 3, `{"state": "maint", "weight": 3}`},
	} {
		kind := asJSON
		if strings.Contains(tc.body, "null") {
			kind = "Content-Type: Application/Merge-Patch+JSON; charset=utf-8"
		}
		w := send(f.source(), "PATCH", "/backends/app/endpoints/10.0.0.1:80", tc.body, kind)
		if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
			t.Fatalf("%s: %d %s", tc.body, w.Code, w.Body)
		}
		got := jsonOf(t, w)
		var want any
		if err := json.Unmarshal([]byte(tc.override), &want); err != nil {
			t.Fatal(err)
		}
		if got["address"] != "10.0.0.1:80" || got["state"] != tc.state || got["weight"] != float64(tc.weight) || !reflect.DeepEqual(got["override"], want) {
			t.Errorf("%s: %v, want %s, %d, %s", tc.body, got, tc.state, tc.weight, tc.override)
		}
		if usable := got["usable"].(bool); usable != (tc.state == "ready") {
			t.Errorf("%s: usable %v", tc.body, usable)
		}
	}
	if f.backends[0].Endpoints[1].Override != nil {
		t.Error("the other endpoint was changed as well")
	}
}

// TestPatchAddresses: however a client writes the address into the path.
func TestPatchAddresses(t *testing.T) {
	for _, tc := range []struct{ address, target string }{
		{"[::1]:80", "/backends/app/endpoints/[::1]:80"},
		{"[::1]:80", "/backends/app/endpoints/%5B::1%5D:80"},
		{"[::1]:80", "/backends/app/endpoints/%5b%3a%3a1%5d%3A80"},
		{"[fe80::1%eth0]:80", "/backends/app/endpoints/[fe80::1%25eth0]:80"},
		{"10.0.0.1:80", "/backends/app/endpoints/10.0.0.1%3A80"},
		{"10.0.0.1:80", "/backends/%61pp/endpoints/10%2E0.0.1:80"},
		{"shop.example:443", "/backends/app/endpoints/shop.example:443"},
	} {
		f := fleetOf(tc.address, "10.9.9.9:9")
		w := send(f.source(), "PATCH", tc.target, `{"state": "drain"}`, asJSON)
		if w.Code != 200 || jsonOf(t, w)["address"] != tc.address || f.backends[0].Endpoints[0].Override == nil {
			t.Errorf("%s: %d %s, want a change of %s", tc.target, w.Code, w.Body, tc.address)
		}
	}
	// Once decoded it is an address, whatever it looks like; it is not decoded again.
	f := fleetOf("10.0.0.1:80")
	wantRefused(t, send(f.source(), "PATCH", "/backends/app/endpoints/10.0.0.1%253A80", `{"state": "drain"}`, asJSON), 404, "no such endpoint")
}

// TestPatchOfWhatGoes: an endpoint that vanishes between the change and the answer.
func TestPatchOfWhatGoes(t *testing.T) {
	s := fleetOf().source()
	s.Override = func(string, string, func(upstream.Override) *upstream.Override) error { return nil }
	wantRefused(t, send(s, "PATCH", "/backends/app/endpoints/10.0.0.1:80", `{"weight": 1}`, asJSON), 404, "gone meanwhile")
}

func TestRoutesShape(t *testing.T) {
	f := &fleet{routes: []Route{
		{Name: "a", Listeners: []string{"web"}, Path: "/*", Policies: []string{}, Action: "respond"},
		{Name: "b", Listeners: []string{"web", "tls"}, Hosts: []string{"a.test"}, Path: "/b", Methods: []string{"GET"}, Headers: []string{"X-A: *"}, Query: []string{"v=1"},
			Policies: []string{"auth", "request"}, Action: "split", Backends: []string{"x", "y"}, Mirror: "z"},
	}}
	const want = `{"routes":[{"name":"a","listeners":["web"],"path":"/*","policies":[],"action":"respond"},` +
		`{"name":"b","listeners":["web","tls"],"hosts":["a.test"],"path":"/b","methods":["GET"],"headers":["X-A: *"],"query":["v=1"],` +
		`"policies":["auth","request"],"action":"split","backends":["x","y"],"mirror":"z"}]}`
	if w := send(f.source(), "GET", "/routes", ""); w.Code != 200 || strings.TrimSpace(w.Body.String()) != want {
		t.Errorf("%d %s\nwant %s", w.Code, w.Body, want)
	}
}

// TestRebinding: a page whose name was made to lead to a loopback address is not served; who uses the machine's own names is, and so is everybody
// who comes to another address.
func TestRebinding(t *testing.T) {
	loopback, other := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9900}, &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 9900}
	for _, tc := range []struct {
		local  net.Addr
		host   string
		status int
	}{
		{loopback, "127.0.0.1:9900", 200},
		{loopback, "127.0.0.1", 200},
		{loopback, "[::1]:9900", 200},
		{loopback, "[::1]", 200},
		{loopback, "localhost:9900", 200},
		{loopback, "LocalHost.", 200},
		{loopback, "admin.localhost:9900", 200},
		{loopback, "thismachine:9900", 200},
		{loopback, "", 200},
		{loopback, "evil.example:9900", 403},
		{loopback, "evil.example", 403},
		{loopback, "EVIL.example.:9900", 403},
		{loopback, "localhost.evil.example:9900", 403},
		{loopback, "127.0.0.1.evil.example", 403},
		{loopback, "127.0.0.1.nip.io:9900", 403},
		{&net.TCPAddr{IP: net.IPv6loopback}, "evil.example", 403},
		{&net.TCPAddr{IP: net.ParseIP("::ffff:127.0.0.1")}, "evil.example", 403},
		{other, "evil.example:9900", 200}, // any name may be meant
		{other, "gateway-1.internal:9900", 200},
	} {
		f := fleetOf("10.0.0.1:80")
		for _, path := range []string{"/backends", "/metrics", "/healthz", "/debug/pprof/"} {
			r := httptest.NewRequest("GET", path, nil)
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, tc.local))
			r.Host = tc.host
			w := httptest.NewRecorder()
			NewHandler(f.source()).ServeHTTP(w, r)
			if w.Code != tc.status || tc.status == 403 && strings.Contains(w.Body.String(), "10.0.0.1") {
				t.Errorf("%s with Host %q at %s: %d %s, want %d", path, tc.host, tc.local, w.Code, w.Body, tc.status)
			}
		}
	}
}

// TestPatchSideBySide: changes that meet leave what one of them wanted, whole.
func TestPatchSideBySide(t *testing.T) {
	f := fleetOf("10.0.0.1:80")
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			body := fmt.Sprintf(`{"state": "drain", "weight": %d}`, i)
			if i%2 == 0 {
				body = `{"state": null, "weight": null}`
			}
			for range 20 {
				w := send(f.source(), "PATCH", "/backends/app/endpoints/10.0.0.1:80", body, asJSON)
				if w.Code != 200 {
					t.Errorf("answer %d", w.Code)
				}
				send(f.source(), "GET", "/backends", "")
			}
		})
	}
	all.Wait()
	if o := f.backends[0].Endpoints[0].Override; o != nil && (o.State != upstream.StateDrain || o.Weight%2 != 1) {
		t.Errorf("override %+v", o)
	}
}

// FuzzChange: whatever is read as a change says so when it is read by the rules of JSON, and leaves only what may be set.
func FuzzChange(f *testing.F) {
	for _, seed := range []string{`{"state":"drain"}`, `{"weight":5,"state":null}`, `{"weight":65536}`, `{"a":{"state":1}}`, `{"state":"ready"}{}`, `[[[[`, "{\"state\"\x00", `{"weight":1e2}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, fault := parseChange(text)
		if fault != "" {
			return
		}
		var plain map[string]any
		if err := json.Unmarshal(text, &plain); err != nil || len(plain) == 0 || len(plain) > 2 {
			t.Fatalf("%q is taken for a change (%v)", text, err)
		}
		if o := c.apply(upstream.Override{Weight: -1}); o != nil {
			if o.Weight < -1 || o.Weight > upstream.MaxWeight || o.State.String() == "unknown" {
				t.Errorf("%q sets %+v", text, o)
			}
			if word, ok := plain["state"].(string); ok && word != o.State.String() {
				t.Errorf("%q sets the state %s", text, o.State)
			}
		}
	})
}
