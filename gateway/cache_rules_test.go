package gateway

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/admin"
	"github.com/sluice-gateway/sluice/internal/testnet"
)

// callers are two consumers, whose keys are their names.
const callers = `consumers: [{name: ann, api_keys: ["sha256:%x"]}, {name: bob, api_keys: ["sha256:%x"]}]
`

// known is cached behind a policy that finds out who calls.
func known(options, endpoint string) string {
	return strings.Replace(cached(options, endpoint, fmt.Sprintf(callers, sha256.Sum256([]byte("ann")), sha256.Sum256([]byte("bob")))), "policies: [kept]", "policies: [{api_key: {}}, kept]", 1)
}

// TestCacheCallers is section 0 of the contract and case 63 of the security list: what one caller was answered goes to another only where that was meant.
func TestCacheCallers(t *testing.T) {
	const one, other = "GET /a X-API-Key: ann", "GET /a X-API-Key: bob"
	for _, c := range []struct {
		name, options, fields string
		same, others          bool // whether the same caller gets the stored answer, and others
	}{
		{"nothing said", "{}", "Cache-Control: max-age=60", false, false},
		{"public", "{}", "Cache-Control: max-age=60, public", true, true},
		{"s-maxage", "{}", "Cache-Control: s-maxage=60", true, true},
		{"must-revalidate", "{}", "Cache-Control: max-age=60, must-revalidate", true, true},
		{"ttl is no permission", "{ttl: 1m}", "", false, false},
		{"public and ttl", "{ttl: 1m}", "Cache-Control: public", true, true},
		{"shared", "{shared: true, default_ttl: 1m}", "", true, true},
		{"shared, private", "{shared: true, ttl: 1m}", "Cache-Control: private", false, false},
		{"shared, no-store", "{shared: true, ttl: 1m}", "Cache-Control: no-store", false, false},
		{"shared, Set-Cookie", "{shared: true, ttl: 1m}", "Cache-Control: public, max-age=60|Set-Cookie: id=1", false, false},
		{"each caller's own", "{vary_on: [consumer.name], ttl: 1m}", "", true, false},
		{"each caller's own, private", "{vary_on: consumer.name}", "Cache-Control: private, max-age=60", true, false},
		{"each caller's own, public", "{vary_on: consumer.name}", "Cache-Control: public, max-age=60", true, false},
		{"each caller's own, Set-Cookie", "{vary_on: consumer.name, ttl: 1m}", "Set-Cookie: id=1", false, false},
		{"each caller's own, no-store", "{vary_on: consumer.name, ttl: 1m}", "Cache-Control: no-store", false, false},
		{"something else in the key", `{vary_on: ['request.headers["accept"]'], ttl: 1m}`, "Cache-Control: private", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			origin, _ := counting(t, func(n int64, r *testnet.Request) string { return page(fmt.Sprint(n), c.fields) })
			g := start(t, known(c.options, origin.Addr))
			stored := func(yes bool, again string) string {
				if yes {
					return again
				}
				return ""
			}
			accept := ""
			if strings.Contains(c.options, "accept") {
				accept = "|Accept: x"
			}
			play(t, g.dial("web"), turn{request: one + accept, body: "1"}, turn{request: one + accept, body: stored(c.same, "1")}, turn{request: other + accept, body: stored(c.others, "1")})
			r := g.dial("web").Do("GET", ask("GET", "/a", "X-API-Key: ann"+accept))
			if got := string(r.Body) == "1"; got != c.same {
				t.Errorf("the same caller gets %q", r.Body)
			}
			r = g.dial("web").Do("GET", ask("GET", "/a", "X-API-Key: bob"+accept))
			if got := string(r.Body) == "1"; got != c.others {
				t.Errorf("another caller gets %q", r.Body)
			}
			if r := g.dial("web").Do("GET", ask("GET", "/a", "")); r.Status != 401 {
				t.Errorf("a caller without a key: %d", r.Status)
			}
		})
	}
	origin, _ := counting(t, func(n int64, r *testnet.Request) string { return page(fmt.Sprint(n), "Cache-Control: max-age=60") })
	g := start(t, cached("{}", origin.Addr, ""))
	play(t, g.dial("web"), turn{request: "GET /a Authorization: Basic YTpi", body: "1"}, turn{request: "GET /a Authorization: Basic YTpi", body: "2"}, turn{request: "GET /a", body: "3"},
		turn{request: "GET /a", body: "3"}, turn{request: "GET /a Authorization: Basic YTpi", body: "3"})
}

// TestCacheVaryOn: a request without a value of vary_on is refused (row 1.12), and values are kept apart however they are put together.
func TestCacheVaryOn(t *testing.T) {
	origin, asked := counting(t, func(n int64, r *testnet.Request) string { return page(fmt.Sprint(n), "Cache-Control: max-age=60") })
	g := start(t, cached("{vary_on: ['request.headers[\"x-a\"]', 'request.headers[\"x-b\"]']}", origin.Addr, ""))
	play(t, g.dial("web"),
		turn{request: "GET /a X-A: 1", status: 403, field: "Sluice-Reason: expression_failed"},
		turn{request: "GET /a X-A: ab|X-B: c", body: "1"}, turn{request: "GET /a X-A: a|X-B: bc", body: "2"}, turn{request: "GET /a X-A: abc|X-B: ", body: "3"},
		turn{request: "GET /a X-A: ab|X-B: c", body: "1"}, turn{request: "GET /a X-A: a|X-B: bc", body: "2"}, turn{request: "GET /a X-A: abc|X-B: ", body: "3"},
	)
	if asked.Load() != 3 {
		t.Errorf("%d requests", asked.Load())
	}
}

// shop is a configuration with versions, whose route for changes has no cache.
const shop = `version: 1
admin: {address: "127.0.0.1:0"}
listeners: {web: {address: "127.0.0.1:0", protocol: http}}
policies: {kept: {cache: {}}, others: {cache: {}}}
versions: {shop: {by: [path, header: Accept-Version], default: v1, v1: {}, v2: {}}}
routes:
  - {name: items, api: shop, match: {path: "/items/*", method: GET}, policies: [kept], rewrite: {path: "/old/${path.rest}"}, backend: app}
  - {name: one, match: {path: "/one", method: GET, headers: {X-Other: "*"}}, policies: [kept], backend: app}
  - {name: two, match: {path: "/one", method: GET}, policies: [kept], backend: app}
  - {name: second, match: {path: "/second/*", method: GET}, policies: [others], backend: app}
  - {name: changes, match: {path: "/second/*", method: [POST, PUT, DELETE]}, policies: [{request: {headers: {set: {Host: internal.test}}, query: {set: {by: gateway}}}}], backend: app}
  - {name: change, api: shop, match: {path: "/items/*", method: [POST, PUT, DELETE]}, rewrite: {path: "/new/${path.rest}", method: PUT}, backend: app}
backends: {app: {endpoints: [%q]}}
`

// TestCacheKey is row 8.4: what is in a key keeps answers apart, and so do header fields that choose the route.
func TestCacheKey(t *testing.T) {
	origin, _ := counting(t, func(n int64, r *testnet.Request) string { return page(fmt.Sprint(n), "Cache-Control: max-age=60") })
	g := start(t, fmt.Sprintf(shop, origin.Addr))
	c := g.dial("web")
	play(t, c,
		turn{request: "GET /items/a", body: "1"}, turn{request: "GET /v1/items/a", body: "1"}, turn{request: "GET /v2/items/a", body: "2"},
		turn{request: "GET /items/a Accept-Version: v2", body: "2"}, turn{request: "GET /items/a?x", body: "3"}, turn{request: "GET /items/A", body: "4"},
		turn{request: "GET /one X-Other: 1", body: "5"}, turn{request: "GET /one", body: "6"}, turn{request: "GET /one X-Other: 1", body: "5"}, turn{request: "GET /one", body: "6"},
	)
	for host, want := range map[string]string{"bank.test": "1", "BANK.test.": "1", "bank.test:80": "1"} {
		if r := c.Do("GET", "GET /items/a HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); string(r.Body) != want {
			t.Errorf("host %s: %q", host, r.Body)
		}
	}
	for i, host := range []string{"other.test", "bank.test:8080"} {
		if r := c.Do("GET", "GET /items/a HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); string(r.Body) != fmt.Sprint(7+i) {
			t.Errorf("host %s: %q", host, r.Body)
		}
	}
}

// TestCacheInvalidation is row 8.6: what may have been changed is dropped from all caches, whichever route the change went through.
func TestCacheInvalidation(t *testing.T) {
	fields, status := "", "204 No Content"
	origin, _ := counting(t, func(n int64, r *testnet.Request) string {
		if r.Method == "GET" {
			return page(fmt.Sprint(n), "Cache-Control: max-age=60")
		}
		if status[0] == '2' || status[0] == '3' {
			return "HTTP/1.1 " + status + "\r\n" + fields + "\r\n"
		}
		return "HTTP/1.1 " + status + "\r\n" + fields + "Content-Length: 0\r\n\r\n"
	})
	g := start(t, fmt.Sprintf(shop, origin.Addr))
	c := g.dial("web")
	all := []string{"/items/a", "/v2/items/a", "/items/b", "/v2/items/b", "/second/a", "/second/b?x=1"}
	for _, tc := range []struct {
		name, change, status, fields string
		gone                         string // of all
	}{
		{name: "all versions of the path", change: "POST /items/a", gone: "/items/a /v2/items/a"},
		{name: "all versions of the path, by one of them", change: "DELETE /v2/items/a", gone: "/items/a /v2/items/a"},
		{name: "another policy", change: "PUT /second/a", gone: "/second/a"},
		{name: "another query", change: "PUT /second/b"},
		{name: "the query as the client sent it", change: "PUT /second/b?x=1", gone: "/second/b?x=1"},
		{name: "an error", change: "PUT /second/a", status: "404 Not Found"},
		{name: "an error of the origin", change: "PUT /second/a", status: "500 Internal Server Error"},
		{name: "Location", change: "POST /second/x", status: "201 Created", fields: "Location: /second/a\r\nContent-Length: 0\r\n", gone: "/second/a"},
		{name: "Content-Location", change: "POST /second/x", fields: "Content-Location: http://bank.test/second/b?x=1\r\n", gone: "/second/b?x=1"},
		{name: "Location with a version", change: "POST /second/x", status: "201 Created", fields: "Location: /v2/items/b\r\nContent-Length: 0\r\n", gone: "/v2/items/b"},
		{name: "Location elsewhere", change: "POST /second/x", status: "201 Created", fields: "Location: http://evil.test/second/a\r\nContent-Length: 0\r\n"},
		{name: "what is no change", change: "GET /second/a"},
	} {
		for _, path := range all {
			play(t, c, turn{request: "GET " + path})
		}
		if status = tc.status; status == "" {
			status = "204 No Content"
		}
		fields = tc.fields
		method, path, _ := strings.Cut(tc.change, " ")
		c.Do(method, ask(method, path, ""))
		gone := ""
		for _, path := range all {
			if r := c.Do("GET", ask("GET", path, "")); !strings.Contains(r.Header.Get("Cache-Status"), "hit") {
				gone += " " + path
			}
		}
		if gone = strings.TrimSpace(gone); gone != tc.gone {
			t.Errorf("%s: gone is %s, want %s", tc.name, gone, tc.gone)
		}
	}
}

// TestCachePurge is row 8.10.
func TestCachePurge(t *testing.T) {
	origin, _ := counting(t, func(n int64, r *testnet.Request) string {
		return page(fmt.Sprint(n), "Cache-Control: max-age=60|Cache-Tag: all, "+strings.Trim(strings.ReplaceAll(r.Target, "/", "-"), "-"))
	})
	g := start(t, fmt.Sprintf(shop, origin.Addr))
	handler := admin.NewHandler(admin.Source{Metrics: g.Registry(), Cache: g.cacheState, Purge: g.purge})
	c := g.dial("web")
	for _, tc := range []struct {
		purge  string
		status int
		want   string
	}{
		{`{"key": "http://bank.test/second/a"}`, 200, `{"purged":1}`},
		{`{"key": "http://bank.test/second/none"}`, 200, `{"purged":0}`},
		{`{"key": "https://bank.test/second/a"}`, 200, `{"purged":0}`},
		{`{"key": "http://bank.test/items/a"}`, 200, `{"purged":2}`},
		{`{"key": "http://bank.test/v2/items/a"}`, 200, `{"purged":1}`},
		{`{"prefix": "http://bank.test/second/"}`, 200, `{"purged":2}`},
		{`{"prefix": "http://bank.test"}`, 200, `{"purged":4}`},
		{`{"tag": "all"}`, 200, `{"purged":4}`},
		{`{"tag": "second-b"}`, 200, `{"purged":1}`},
		{`{"tag": "none"}`, 200, `{"purged":0}`},
		{`{"key": "/second/a"}`, 400, `has to begin with`},
		{`{"prefix": "bank.test"}`, 400, `has to begin with`},
	} {
		play(t, c, turn{request: "GET /items/a"}, turn{request: "GET /v2/items/a"}, turn{request: "GET /second/a"}, turn{request: "GET /second/b"})
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/cache/purge", strings.NewReader(tc.purge)))
		if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.want) {
			t.Errorf("%s: %d %s, want %d %s", tc.purge, w.Code, w.Body, tc.status, tc.want)
		}
	}
	g = start(t, fixed("nothing is cached"))
	if n, err := g.purge(admin.Purge{Tag: "x"}); n != 0 || err != nil || g.cacheState() != (admin.CacheState{}) {
		t.Errorf("without a cache: %d, %v, %+v", n, err, g.cacheState())
	}
}

// TestCacheOptions: each option does what it says.
func TestCacheOptions(t *testing.T) {
	const hit, miss = "sluice; hit; ttl=N", "sluice; fwd=uri-miss; stored"
	for _, tc := range []struct{ options, fields, request, first, second string }{
		{"{}", "", "", "sluice; fwd=uri-miss", "sluice; fwd=uri-miss"},
		{"{}", "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT", "", miss, "sluice; fwd=stale; stored"},
		{"{heuristic: 10%}", "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT", "", miss, hit},
		{"{default_ttl: 1m}", "", "", miss, hit},
		{"{default_ttl: 1m}", "Cache-Control: max-age=0", "", "sluice; fwd=uri-miss", "sluice; fwd=uri-miss"},
		{"{ttl: 1m}", "Cache-Control: max-age=0", "", miss, hit},
		{"{ttl: 1m}", "Cache-Control: no-cache", "", miss, hit},
		{"{ttl: 1m}", "Cache-Control: no-store", "", "sluice; fwd=uri-miss", "sluice; fwd=uri-miss"},
		{"{ttl: 1m}", "Cache-Control: private", "", "sluice; fwd=uri-miss", "sluice; fwd=uri-miss"},
		{"{ttl: 1m}", "Set-Cookie: a=b", "", "sluice; fwd=uri-miss", "sluice; fwd=uri-miss"},
		{"{ttl: 1m}", "Vary: *", "", "sluice; fwd=uri-miss", "sluice; fwd=uri-miss"},
		{"{ttl: 1m, max_object: 4B}", "", "", miss, hit},
		{"{ttl: 1m, max_object: 3B}", "", "", "sluice; fwd=uri-miss", "sluice; fwd=uri-miss"},
		{"{}", "CDN-Cache-Control: max-age=60", "", "sluice; fwd=uri-miss", "sluice; fwd=uri-miss"},
		{"{targeted: CDN-Cache-Control}", "Cache-Control: no-store|CDN-Cache-Control: max-age=60", "", miss, hit},
		{"{targeted: [Sluice-X, CDN-Cache-Control]}", "Cache-Control: max-age=60|CDN-Cache-Control: no-store", "", "sluice; fwd=uri-miss", "sluice; fwd=uri-miss"},
		{"{name: edge}", "Cache-Control: max-age=60", "", "edge; fwd=uri-miss; stored", "edge; hit; ttl=N"},
		{"{ttl: 1m}", "", "Cache-Control: no-cache", "sluice; fwd=uri-miss; stored", "sluice; fwd=request; stored"},
		{"{ttl: 1m, ignore_client_directives: true}", "", "Cache-Control: no-cache", miss, hit},
	} {
		origin, _ := counting(t, func(int64, *testnet.Request) string { return page("good", tc.fields) })
		g := start(t, cached(tc.options, origin.Addr, ""))
		t.Log(tc.options, tc.fields)
		play(t, g.dial("web"), turn{request: "GET /a " + tc.request, body: "good", says: tc.first}, turn{request: "GET /a " + tc.request, body: "good", says: tc.second})
		g.Close()
	}
}

// TestCacheRanges is case 58 of the security list: many ranges, and ranges that overlap, never make more bytes than the whole has, but for the lines
// between a few parts.
func TestCacheRanges(t *testing.T) {
	body := strings.Repeat("0123456789", 1000)
	origin, asked := counting(t, func(int64, *testnet.Request) string { return page(body, "Cache-Control: max-age=60") })
	g := start(t, cached("{}", origin.Addr, ""))
	c := g.dial("web")
	play(t, c, turn{request: "GET /a"}, turn{request: "GET /a Range: bytes=10-19", status: 206, body: "0123456789"})
	many := make([]string, 1000)
	for i := range many {
		many[i] = fmt.Sprintf("%d-%d", 9*i, 9*i+1)
	}
	for name, ranges := range map[string]string{
		"1000 parts": strings.Join(many, ","), "1000 times all": strings.Repeat("0-,", 999) + "0-", "16 times all": strings.Repeat("0-9999,", 15) + "0-",
		"4 parts far apart": "0-1,2500-2501,5000-5001,9000-9001", "parts of parts": "0-5000,1-4999,2-4998,9000-",
	} {
		r := c.Do("GET", ask("GET", "/a", "Range: bytes="+ranges))
		if r.Status != 200 && r.Status != 206 || len(r.Body) > len(body)+16*200 {
			t.Errorf("%s: %d with %d bytes", name, r.Status, len(r.Body))
		}
	}
	if asked.Load() != 1 {
		t.Errorf("%d requests", asked.Load())
	}
}
