package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/policy"
)

// repeating is an origin that answers with the method, the target and the host that it has got.
func repeating(t testing.TB) *testnet.Origin {
	return scripted(t, func(r *testnet.Request) string {
		body := fmt.Sprintf("%s %s %s %s", r.Method, r.Target, r.Header.Get("Host"), r.Body)
		head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body))
		if r.Method == "HEAD" {
			return head
		}
		return head + body
	})
}

// rewriting is a configuration of routes that change what their backend gets.
func rewriting(address, more string) string {
	return fmt.Sprintf(`version: 1
access_log: stdout
listeners: {web: {address: "127.0.0.1:0", protocol: http}}
routes:
  - {name: one, match: {path: "/accounts/{id}"}, rewrite: "/a/${path.id}", backend: app}
  - {name: two, match: {path: "/{from}/pairs/{to}"}, rewrite: {path: "/rates/${path.from}-${path.to}.json"}, backend: app}
  - {name: rest, match: {path: "/files/*"}, rewrite: {path: "/store/${path.rest}"}, backend: app}
  - {name: query, match: {path: /search}, rewrite: {path: "/find/${request.query.q}"}, backend: app}
  - {name: host, match: {path: "/hosts/{name}"}, rewrite: {host: "${path.name}.internal:81"}, backend: app}
  - {name: whole, match: {path: "/whole/*"}, rewrite: {path: "/v9${request.path}"}, split: [{backend: app, weight: 1}]}
  - {name: report, match: {path: /report, method: [GET, POST]}, rewrite: {method: POST}, backend: app}
  - {name: probe, match: {path: /probe, method: GET}, rewrite: {method: HEAD}, backend: app}
  - {name: put, match: {path: /put, method: POST}, rewrite: {method: PUT, path: /things}, backend: app}
%s
backends:
  app: {endpoints: [%q]}
`, more, address)
}

// What a route makes of path, host and method for its backend: values of the request stand in a path encoded once, and none of them makes it another path.
func TestRewrite(t *testing.T) {
	g := start(t, rewriting(repeating(t).Addr, ""))
	for _, tc := range []struct {
		request string // method, target, and fields
		status  int
		body    string // or the reason
	}{
		{"GET /accounts/7", 200, "GET /a/7 example.test "},
		{"GET /accounts/a%2Fb", 200, "GET /a/a%2Fb example.test "},
		{"GET /accounts/a%252Fb", 200, "GET /a/a%252Fb example.test "},
		{"GET /accounts/a%20b%3F%23", 200, "GET /a/a%20b%3F%23 example.test "},
		{"GET /accounts/%C3%A9?x=%2F", 200, "GET /a/%C3%A9?x=%2F example.test "},
		{"GET /accounts/a;b=c", 200, "GET /a/a example.test "},
		{"GET /accounts/%2E%2E", 400, "path_ambiguous"},
		{"GET /accounts/..%2F7", 400, "path_ambiguous"},
		{"GET /eur/pairs/usd", 200, "GET /rates/eur-usd.json example.test "},
		{"GET /files/a/b%2Fc", 200, "GET /store/a/b%2Fc example.test "},
		{"GET /files/", 200, "GET /store/ example.test "},
		{"GET /search?q=a/b", 200, "GET /find/a%2Fb?q=a/b example.test "},
		{"GET /search?q=%2E%2E", 400, "path_value_invalid"},
		{"GET /search?q=..", 400, "path_value_invalid"},
		{"GET /search?q=.", 400, "path_value_invalid"},
		{"GET /search?q=", 400, "path_value_invalid"},
		{"GET /search", 400, "path_value_invalid"},
		{"GET /search?q=%0D%0AX:%20y", 200, "GET /find/%0D%0AX%3A%20y?q=%0D%0AX:%20y example.test "},
		{"GET /hosts/one", 200, "GET /hosts/one one.internal:81 "},
		{"GET /hosts/ONE", 200, "GET /hosts/ONE one.internal:81 "},
		{"GET /hosts/a%40b", 400, "host_invalid"},
		{"GET /hosts/a%2Fb", 400, "host_invalid"},
		{"GET /whole/x/y", 200, "GET /v9/whole/x/y example.test "},
		{"GET /report", 200, "POST /report example.test "},
		{"POST /put\r\nContent-Length: 2\r\n\r\nhi", 200, "PUT /things example.test hi"},
	} {
		head, _, _ := strings.Cut(tc.request, "\r\n\r\n")
		line, fields, _ := strings.Cut(head, "\r\n")
		if fields != "" {
			fields += "\r\n"
		}
		method, _, _ := strings.Cut(line, " ")
		_, content, _ := strings.Cut(tc.request, "\r\n\r\n")
		r := g.dial("web").Do(method, line+" HTTP/1.1\r\nHost: example.test\r\n"+fields+"\r\n"+content)
		got := string(r.Body)
		if r.Status != 200 {
			got = r.Header.Get("Sluice-Reason")
		}
		if r.Status != tc.status || got != tc.body {
			t.Errorf("%q: answer %d %q, want %d %q", tc.request, r.Status, got, tc.status, tc.body)
		}
	}
}

// The client's own method decides what its answer looks like, whatever the backend was asked: a HEAD gets no body, and the next answer on its connection is
// the next answer.
func TestRewriteMethodKeepsFraming(t *testing.T) {
	g := start(t, rewriting(repeating(t).Addr, ""))
	c := g.dial("web")
	for range 2 {
		if r := c.Do("HEAD", "HEAD /report HTTP/1.1\r\nHost: example.test\r\n\r\n"); r.Status != 200 || len(r.Body) != 0 || r.Header.Get("Content-Length") != "26" {
			t.Errorf("HEAD that became a POST: %d %q %v", r.Status, r.Body, r.Header)
		}
		want(t, c, "/report", 200, "POST /report example.test ")
		if r := c.Do("GET", get("/probe")); r.Status != 200 || len(r.Body) != 0 || r.Header.Get("Content-Length") != "0" {
			t.Errorf("GET that became a HEAD: %d %q %v", r.Status, r.Body, r.Header)
		}
		want(t, c, "/accounts/7", 200, "GET /a/7 example.test ")
	}
	c.Close()
	g.Close()
	for _, line := range strings.Split(strings.TrimSpace(g.out.String()), "\n") {
		if strings.Contains(line, `"route":"report"`) && strings.Contains(line, `"method":"POST"`) {
			t.Errorf("the log tells another method than the client's: %s", line)
		}
	}
}

// A rewriting that could not be sent is an error of the file and not of its requests.
func TestRewriteChecked(t *testing.T) {
	for _, path := range []string{"/a b", "/ä", `/a\\b`, "/a?b", "/a#b", "a"} {
		text := rewriting("127.0.0.1:1", fmt.Sprintf("  - {match: {path: /bad}, rewrite: {path: %q}, backend: app}\n", path))
		if _, err := config.Load("x.yaml", []byte(text), config.Options{Kinds: policy.Kinds()}); err == nil {
			t.Errorf("rewrite to %q is taken", path)
		}
	}
}

// A copy for a mirror is what the backend got, also where the body comes to its end long after the backend has answered.
func TestRewriteMirrored(t *testing.T) {
	early := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		if _, read := c.ReadHead(); !read || !c.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no") {
			return
		}
		for rest := make([]byte, 64); !strings.HasSuffix(c.Received(), "whole"); {
			if _, err := c.Read(rest); err != nil {
				return
			}
		}
		c.Send("k")
	})
	copies := make(chan string, 4)
	shadow := scripted(t, func(r *testnet.Request) string {
		copies <- fmt.Sprintf("%s %s %s", r.Method, r.Target, r.Body)
		return ok("x")
	})
	g := start(t, fmt.Sprintf(`version: 1
listeners: {web: {address: "127.0.0.1:0", protocol: http}}
routes:
  - {name: early, match: {path: /early, method: POST}, rewrite: {method: PUT, path: /things}, backend: early, mirror: shadow}
  - {name: plain, match: {path: /plain, method: POST}, rewrite: {method: PUT, path: /things}, backend: app, mirror: shadow}
backends:
  app: {endpoints: [%q]}
  early: {endpoints: [%q]}
  shadow: {endpoints: [%q]}
`, repeating(t).Addr, early.Addr, shadow.Addr))
	c := g.dial("web")
	if r := c.Do("POST", "POST /plain HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"); r.Status != 200 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	if got := testnet.Receive(t, "the copy", copies); got != "PUT /things hi" {
		t.Errorf("mirrored: %s", got)
	}
	c.Send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf ")
	c.WantPrefix("HTTP/1.1 200 OK\r\n") // the answer has begun
	c.Send("whole")
	if got := testnet.Receive(t, "the copy", copies); got != "PUT /things half whole" {
		t.Errorf("mirrored: %s", got)
	}
}
