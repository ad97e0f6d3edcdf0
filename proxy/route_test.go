package proxy

import (
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/http1"
	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

// echo is an origin that answers with the target of the request.
func echo(t testing.TB) *testnet.Origin {
	return testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		for {
			r, ok := c.ReadRequest()
			if !ok || !c.Send("HTTP/1.1 200 OK\r\nConnection: close\r\nX-Target: "+r.Target+"\r\nContent-Length: 0\r\n\r\n") {
				return
			}
		}
	})
}

// listening is how a listener reads paths by the rules of its site.
func listening(s *Site) *http1.ServerOptions {
	o := serverOptions()
	o.Paths, o.Warn = s.Paths, s.Warn
	return o
}

func TestRoutePaths(t *testing.T) {
	o := echo(t)
	forward := func() Action { return &Forward{backend(t, o.Addr, nil, nil)} }
	merge, keep, refuse := message.PathRules{}, message.PathRules{Slashes: message.SlashesKeep}, message.PathRules{Slashes: message.SlashesRefuse}
	backslash := message.PathRules{KeepBackslash: true}
	both := message.PathRules{KeepBackslash: true, Slashes: message.SlashesKeep}
	for _, tc := range []struct {
		name            string
		listener, route message.PathRules
		sent            string
		forwarded       string // or, without a slash, the reason
	}{
		{"merge, as the listener", merge, merge, "/a//b", "/a/b"},
		{"keep, as the listener", keep, keep, "/a//b", "/a//b"},
		{"keep on the route", merge, keep, "/a//b", "/a//b"},
		{"merge on the route", keep, merge, "/a//b", "/a/b"},
		{"merge on the route, another route's path", keep, merge, "//other/b", "path_ambiguous"},
		{"keep on the route, another route's path", keep, keep, "//other/b", "//other/b"},
		{"refuse on the route", merge, refuse, "/a//b", "path_ambiguous"},
		{"refuse on the route, nothing to refuse", merge, refuse, "/a/b", "/a/b"},
		{"keep a backslash", backslash, backslash, `/a\b%5c`, `/a\b%5C`},
		{"one route of the listener keeps it, this one does not", backslash, merge, `/a\b`, "path_ambiguous"},
		{"escaped", backslash, merge, `/a%5cb`, "path_ambiguous"},
		{"both", both, both, `/a\//b`, `/a\//b`},
		{"dots stay refused", both, both, `/a/..%2fb`, "path_ambiguous"},
		{"plain dots are resolved", both, merge, `/a//../b`, "/b"},
		{"plain dots are resolved as the listener does", both, both, `/a//../b`, "/a/b"},
		{"broken", both, merge, "/a%zz", "path_invalid"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := site(t, func(s *Site) { s.Paths = tc.listener },
				at("/*", &Route{Paths: tc.route, Action: forward()}), at("/other/*", &Route{Action: text}))
			r := connect(t, NewHTTP(s), listening(s), "192.0.2.7:1").Do("GET", get(tc.sent))
			if got := r.Header.Get("X-Target") + r.Header.Get("Sluice-Reason"); got != tc.forwarded {
				t.Errorf("%s: %q, want %q", tc.sent, got, tc.forwarded)
			}
		})
	}
}

// TestEncodedSlash: the table refuses what another route could mean, unless the listener only warns.
func TestEncodedSlash(t *testing.T) {
	for _, warn := range []bool{false, true} {
		s := site(t, func(s *Site) { s.Warn = warn }, at("/files/{name}", &Route{}), at("/files/secret/*", &Route{}))
		r := connect(t, NewHTTP(s), listening(s), "192.0.2.7:1").Do("GET", get("/files/secret%2Fa"))
		if warn && r.Status != 200 || !warn && r.Header.Get("Sluice-Reason") != "path_ambiguous" {
			t.Errorf("warn %v: %d %s", warn, r.Status, r.Body)
		}
	}
}

// TestConnectionsOfAnotherSite: a connection keeps the codec's settings that it was accepted with.
// After a change it must not get a path past the routes that they were not made for.
func TestConnectionsOfAnotherSite(t *testing.T) {
	o := echo(t)
	make := func(rules message.PathRules, warn bool) *Site {
		return site(t, func(s *Site) { s.Paths, s.Warn = rules, warn },
			at("/admin/*", &Route{Paths: rules, Action: &Respond{Status: 403}}),
			at("/files/{name}", &Route{Paths: rules, Action: &Forward{backend(t, o.Addr, nil, nil)}}),
			at("/*", &Route{Paths: rules, Action: &Forward{backend(t, o.Addr, nil, nil)}}))
	}
	mild := message.PathRules{Slashes: message.SlashesKeep, KeepBackslash: true}
	before := make(mild, false)
	h := NewHTTP(before)
	c := connect(t, h, listening(before), "192.0.2.7:1")
	ask := func(target, want string) {
		t.Helper()
		r := c.Do("GET", get(target))
		if got := r.Header.Get("X-Target") + r.Header.Get("Sluice-Reason"); r.Status == 403 && want != "403" || r.Status != 403 && got != want {
			t.Errorf("%s: %d %q, want %q", target, r.Status, got, want)
		}
	}
	ask("//admin/x", "//admin/x")
	ask(`/a\b`, `/a\b`)
	h.Swap(make(message.PathRules{}, false))
	ask("//admin/x", "403")
	ask("/admin/x", "403")
	ask(`/a\b`, "path_ambiguous")
	ask("/a/./b%20c", "/a/b%20c")
	h.Swap(make(message.PathRules{}, true))
	ask("//admin/x", "403")
	ask(`/a\b`, `/a\b`)
	h.Swap(make(mild, false))
	ask("//admin/x", "//admin/x")
	ask("*", "path_invalid")
}

func TestUpgradeOfRoutes(t *testing.T) {
	const handshake = "Connection: Upgrade"
	o := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		head, ok := c.ReadHead()
		switch {
		case !ok:
		case strings.Contains(head, "Upgrade: "):
			_, protocol, _ := strings.Cut(head, "Upgrade: ")
			protocol, _, _ = strings.Cut(protocol, "\r\n")
			if c.Send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + protocol + "\r\n\r\nhi") {
				c.Hang()
			}
		default:
			c.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		}
	})
	s := site(t, nil,
		at("/open/*", &Route{Upgrade: []string{"echo"}, Action: &Forward{backend(t, o.Addr, nil, nil)}}),
		at("/closed/*", &Route{Action: &Forward{backend(t, o.Addr, nil, nil)}}))
	options := serverOptions()
	options.Upgrade = []string{"echo"}
	c := connect(t, NewHTTP(s), options, "192.0.2.7:1")
	if r := c.Do("GET", get("/open/x", handshake, "Upgrade: Echo")); r.Status != 101 || !strings.EqualFold(r.Header.Get("Upgrade"), "echo") || r.Header.Get("X-Request-Id") == "" {
		t.Fatalf("answer %+v", r)
	}
	c.WantPrefix("hi")
	_ = c.Conn.Close()
	c = connect(t, NewHTTP(s), options, "192.0.2.7:1")
	if r := c.Do("GET", get("/closed/x", handshake, "Upgrade: echo")); r.Status != 200 {
		t.Errorf("a route that permits no upgrade: %+v", r)
	}
	if got := o.Conn(1).Received(); strings.Contains(got, "pgrade") {
		t.Errorf("the backend of a route without upgrades got\n%s", got)
	}
}

// TestUpgradeRefusedByPolicy: when a response policy refuses the 101, the tunnel is given back.
func TestUpgradeRefusedByPolicy(t *testing.T) {
	o := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		if _, ok := c.ReadHead(); ok && c.Send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n") {
			c.Hang()
		}
	})
	s := site(t, nil, at("/*", &Route{
		Upgrade: []string{"echo"}, Action: &Forward{backend(t, o.Addr, nil, nil)},
		Policies: policies(t, "[{response: {headers: {rename: {X-Two: ETag}}}}]"),
	}))
	options := serverOptions()
	options.Upgrade = []string{"echo"}
	c := connect(t, NewHTTP(s), options, "192.0.2.7:1")
	wantProblem(t, c.Do("GET", get("/", "Connection: upgrade", "Upgrade: echo")), message.UpstreamResponseInvalid)
	testnet.Receive(t, "the end of the connection to the endpoint", o.Conn(0).Ended())
}

func TestTrailersOfRoutes(t *testing.T) {
	o := testnet.NewOrigin(t, testnet.Answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
	names := []message.Name{message.NameOf("X-Sum")}
	s := site(t, nil,
		at("/sum", &Route{Trailers: names, Action: &Forward{backend(t, o.Addr, nil, nil)}}),
		at("/none", &Route{Action: &Forward{backend(t, o.Addr, nil, nil)}}))
	options := serverOptions()
	options.Trailers = []message.Name{names[0], message.NameOf("X-Other")}
	for i, path := range []string{"/sum", "/none"} {
		c := connect(t, NewHTTP(s), options, "192.0.2.7:1")
		r := c.Do("POST", "POST "+path+" HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 9\r\nX-Other: 8\r\nX-Third: 7\r\n\r\n")
		got := o.Conn(i).Received()
		if r.Status != 200 || strings.Contains(got, "X-Sum: 9") != (path == "/sum") || strings.Contains(got, "X-Other") || strings.Contains(got, "X-Third") {
			t.Errorf("%s: %d, the backend got\n%s", path, r.Status, got)
		}
	}
}

func TestPolicies(t *testing.T) {
	o := testnet.NewOrigin(t, testnet.Answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Two: 1\r\nX-Two: 2\r\nConnection: close\r\n\r\n"))
	s := site(t, nil,
		at("/changed", &Route{
			Action:   &Forward{backend(t, o.Addr, nil, nil)},
			Policies: policies(t, `[{request: {headers: {set: {Host: inner.test, X-In: a}, remove: [Accept]}}}, {response: {headers: {set: {X-Out: b, Server: mine}}}}]`),
		}),
		at("/refused", &Route{
			Action: &Forward{backend(t, o.Addr, nil, nil)},
			Policies: policies(t, `[{response: {headers: {add: {X-Outer: "1"}}}}, {request: {headers: {set: {X-In: '${request.query["x"]}'}}}}, `+
				`{response: {headers: {add: {X-Inner: "1"}}}}]`),
		}),
		at("/broken", &Route{
			Action:   &Forward{backend(t, o.Addr, nil, nil)},
			Policies: policies(t, `[{response: {headers: {add: {X-Outer: "1"}}}}, {response: {headers: {rename: {X-Two: ETag}, set: {X-Inner: "1"}}}}]`),
		}),
		at("/known", &Route{Action: text, Policies: policies(t, `[{response: {headers: {add: {X-Outer: "1"}}}}]`)}))
	r := ask(t, s, get("/changed", "Accept: text/html"))
	got := o.Conn(0).Received()
	if r.Status != 200 || r.Header.Get("X-Out") != "b" || r.Header.Get("Server") != "mine" || r.Header.Get("X-Request-Id") == "" {
		t.Errorf("answer %+v", r)
	}
	if !strings.Contains(got, "Host: inner.test\r\n") || !strings.Contains(got, "X-In: a\r\n") || strings.Contains(got, "Accept") ||
		!strings.Contains(got, "X-Forwarded-Host: example.test\r\n") {
		t.Errorf("the backend got\n%s", got)
	}

	// A refusal by a request policy passes the response policies that were reached, those before it.
	r = ask(t, s, get("/refused?x=%0d%0aX-Evil:1"))
	wantProblem(t, r, message.HeaderValueInvalid)
	if r.Header.Get("X-Outer") != "1" || r.Header.Get("X-Inner") != "" || o.Conns() != 1 {
		t.Errorf("answer %v, %d connections to the endpoint", r.Header, o.Conns())
	}

	// So does one by a response policy; what the backend said is gone.
	r = ask(t, s, get("/broken"))
	wantProblem(t, r, message.UpstreamResponseInvalid)
	if r.Header.Get("X-Outer") != "1" || r.Header.Get("X-Inner") != "" || r.Header.Get("X-Two") != "" {
		t.Errorf("answer %v", r.Header)
	}

	// Policies run before every action, and not where there is no route.
	if r = ask(t, s, get("/known")); r.Header.Get("X-Outer") != "1" {
		t.Errorf("answer %v", r.Header)
	}
	if r = ask(t, s, get("/unknown")); r.Header.Get("X-Outer") != "" || r.Status != 404 {
		t.Errorf("answer %v", r.Header)
	}
}
