package gateway

import (
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// cached is a configuration with a route for everything behind a cache. more are further lines of it.
func cached(options, endpoint, more string) string {
	return fmt.Sprintf(`version: 1
access_log: stdout
admin: {address: "127.0.0.1:0"}
listeners: {web: {address: "127.0.0.1:0", protocol: http}}
policies: {kept: {cache: %s}}
routes: [{name: all, policies: [kept], backend: app}]
backends: {app: {endpoints: [%q], retries: {attempts: 0}}}
%s`, options, endpoint, more)
}

// counting is an origin that answers each request with what answer makes of it and of its number, and counts them.
func counting(t testing.TB, answer func(n int64, r *testnet.Request) string) (*testnet.Origin, *atomic.Int64) {
	n := new(atomic.Int64)
	return testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		for {
			r, ok := c.ReadRequest()
			if !ok || !c.Send(answer(n.Add(1), r)) {
				return
			}
		}
	}), n
}

// page is an answer with fields, separated by "|", and a body.
func page(body, fields string) string {
	var b strings.Builder
	b.WriteString("HTTP/1.1 200 OK\r\n")
	for f := range strings.SplitSeq(fields, "|") {
		if f != "" {
			b.WriteString(f + "\r\n")
		}
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return b.String()
}

// ask is a request with fields, separated by "|".
func ask(method, path, fields string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: bank.test\r\n", method, path)
	for f := range strings.SplitSeq(fields, "|") {
		if f != "" {
			b.WriteString(f + "\r\n")
		}
	}
	if method == "POST" || method == "PUT" || method == "PATCH" {
		b.WriteString("Content-Length: 0\r\n")
	}
	return b.String() + "\r\n"
}

// turn is a request and what is to come of it.
type turn struct {
	request string // method, path, and after a space fields, separated by "|"
	status  int    // 200 if 0
	body    string // "" for any
	says    string // Cache-Status, with N for the seconds that are left, "-" for none; "" for any
	field   string // that the answer has
}

// seconds is what a test does not compare.
var seconds = regexp.MustCompile(`ttl=(-?)\d+`)

// play makes requests one after the other, on one connection.
func play(t *testing.T, c *testnet.Client, turns ...turn) {
	t.Helper()
	for i, want := range turns {
		parts := strings.SplitN(want.request, " ", 3)
		r := c.Do(parts[0], ask(parts[0], parts[1], strings.Join(parts[2:], "")))
		if want.status == 0 {
			want.status = 200
		}
		if r.Status != want.status || want.body != "" && string(r.Body) != want.body {
			t.Errorf("turn %d, %s: %d %q, want %d %q", i+1, want.request, r.Status, r.Body, want.status, want.body)
		}
		if says := seconds.ReplaceAllString(strings.Join(r.Header.All("Cache-Status"), ", "), "ttl=${1}N"); want.says != "" && says != strings.TrimPrefix(want.says, "-") {
			t.Errorf("turn %d, %s: Cache-Status %q, want %q", i+1, want.request, says, want.says)
		}
		if name, value, _ := strings.Cut(want.field, ": "); name != "" && r.Header.Get(name) != value {
			t.Errorf("turn %d, %s: %s %q, want %q", i+1, want.request, name, r.Header.Get(name), value)
		}
	}
}

// TestCache is section 8 of the contract, from the client's side.
func TestCache(t *testing.T) {
	origin, _ := counting(t, func(n int64, r *testnet.Request) string {
		body := fmt.Sprintf("%d %s %s", n, r.Method, r.Target)
		switch {
		case r.Header.Get("Range") != "":
			return "HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=60\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nab"
		case r.Method == "HEAD":
			return "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 9\r\n\r\n"
		case strings.HasPrefix(r.Target, "/vary"):
			return page(body, "Cache-Control: max-age=60|Vary: X-Colour")
		case strings.HasPrefix(r.Target, "/never"):
			return page(body, "Cache-Control: no-store|Cache-Status: cdn; hit|Sluice-Reason: forged")
		}
		return page(body, `Cache-Control: max-age=60|ETag: "one"|Set-Cookie2: x`)
	})
	g := start(t, cached("{}", origin.Addr, ""))
	play(t, g.dial("web"),
		turn{request: "GET /a", body: "1 GET /a", says: "sluice; fwd=uri-miss; stored"},
		turn{request: "GET /a", body: "1 GET /a", says: "sluice; hit; ttl=N", field: "Age: 0"},
		turn{request: "HEAD /a", says: "sluice; hit; ttl=N", field: "Content-Length: 8"},
		turn{request: `GET /a If-None-Match: "one"`, status: 304, says: "sluice; hit; ttl=N", field: `ETag: "one"`},
		turn{request: "GET /a Range: bytes=2-4", status: 206, body: "GET", says: "sluice; hit; ttl=N", field: "Content-Range: bytes 2-4/8"},
		turn{request: "GET /a Range: bytes=8-", status: 416, says: "sluice; hit; ttl=N", field: "Content-Range: bytes */8"},
		turn{request: "GET /a Cache-Control: no-cache", body: "2 GET /a", says: "sluice; fwd=request; stored"},
		turn{request: "GET /a Cache-Control: no-store", body: "3 GET /a", says: "sluice; fwd=request"},
		turn{request: "GET /a", body: "2 GET /a", says: "sluice; hit; ttl=N"},
		turn{request: "GET /a Upgrade: x|Connection: keep-alive", body: "2 GET /a"},
		turn{request: "POST /b", body: "4 POST /b", says: "sluice; fwd=method"},
		turn{request: "GET /b Cache-Control: only-if-cached", status: 504, field: "Sluice-Reason: not_cached"},
		turn{request: "GET /a Cache-Control: only-if-cached", body: "2 GET /a", says: "sluice; hit; ttl=N"},
		turn{request: "GET /part Range: bytes=0-1", status: 206, body: "ab", says: "sluice; fwd=uri-miss"},
		turn{request: "GET /part Range: bytes=0-1", status: 206, body: "ab", says: "sluice; fwd=uri-miss"},
		turn{request: "HEAD /head", says: "sluice; fwd=uri-miss"},
		turn{request: "GET /head", body: "8 GET /head", says: "sluice; fwd=uri-miss; stored"},
		turn{request: "GET /vary X-Colour: red", body: "9 GET /vary", says: "sluice; fwd=uri-miss; stored"},
		turn{request: "GET /vary X-Colour: blue", body: "10 GET /vary", says: "sluice; fwd=vary-miss; stored"},
		turn{request: "GET /vary X-Colour: red", body: "9 GET /vary", says: "sluice; hit; ttl=N"},
		turn{request: "GET /vary?", body: "11 GET /vary?", says: "sluice; fwd=uri-miss; stored"},
		turn{request: "GET /%61", body: "2 GET /a", says: "sluice; hit; ttl=N"},
		turn{request: "GET /never", body: "12 GET /never", says: "cdn; hit, sluice; fwd=uri-miss", field: "Sluice-Reason: "},
		turn{request: "GET /never", body: "13 GET /never", says: "cdn; hit, sluice; fwd=uri-miss"},
	)
	for series, want := range map[string]string{
		`sluice_cache_requests_total{policy="kept",result="hit"}`: "10", `sluice_cache_requests_total{policy="kept",result="miss"}`: "8",
		`sluice_cache_requests_total{policy="kept",result="refused"}`: "1", `sluice_cache_requests_total{policy="kept",result="pass"}`: "5",
		`sluice_cache_events_total{policy="kept",event="stored"}`: "6", `sluice_cache_events_total{policy="kept",event="unkept"}`: "2", `sluice_cache_objects`: "5",
	} {
		if got := g.metric(series); got != want {
			t.Errorf("%s is %s, want %s", series, got, want)
		}
	}
	testnet.Eventually(t, "24 lines of the log", func() bool { return strings.Count(g.out.String(), "\n") == 24 })
	lines := strings.Split(g.out.String(), "\n")
	for i, want := range map[int]string{
		0: `"cache":"miss","backend":"app","endpoint":"` + origin.Addr + `","attempts":1`, 1: `"policy":"kept","cache":"hit","bytes_received"`, 7: `"cache":"pass","backend"`,
		11: `"reason":"not_cached","side":"client","stage":"route","policy":"kept","cache":"refused"`,
	} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line %d of the log is %s, want %s in it", i+1, lines[i], want)
		}
	}
}
