package gateway

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// TestCacheReload: answers outlive configurations as long as what they were judged by stays as it is.
func TestCacheReload(t *testing.T) {
	origin, _ := counting(t, func(n int64, r *testnet.Request) string { return page(fmt.Sprint(n), "Cache-Control: max-age=60") })
	base := cached("{}", origin.Addr, "cache: {memory: 2MiB}\n")
	g := start(t, base)
	// A connection may end with the configuration that it began in.
	ask := func(what, body string) {
		t.Helper()
		if r := g.dial("web").Do("GET", ask("GET", "/a", "")); string(r.Body) != body {
			t.Errorf("%s: %q, want %q", what, r.Body, body)
		}
	}
	memory := func(what string, want int64) {
		t.Helper()
		if got := g.cacheState().Memory; got != want {
			t.Errorf("%s: %d bytes of memory, want %d", what, got, want)
		}
	}
	ask("at first", "1")
	g.take(base)
	ask("the same configuration", "1")
	g.take(strings.Replace(base, "all", "renamed", 1))
	ask("another name of the route", "1")
	g.take(strings.Replace(base, "{}", "{name: other, ignore_client_directives: true}", 1))
	ask("options that say nothing of what is stored", "1")
	memory("before", 2<<20)
	g.take(strings.Replace(base, "2MiB", "4MiB", 1))
	ask("more memory", "1")
	memory("more", 4<<20)
	bad := strings.Replace(base, "2MiB", "1MiB", 1) + "access_log: /nowhere/at/all\n"
	if err := g.Apply(parse(t, strings.Replace(bad, "access_log: stdout\n", "", 1))); err == nil {
		t.Error("a configuration that cannot be served was taken")
	}
	memory("after a configuration that was refused", 4<<20)
	g.take(strings.Replace(base, "2MiB", "1MiB", 1))
	ask("less memory", "1")
	memory("less", 1<<20)
	if n := g.metric(`sluice_cache_requests_total{policy="kept",result="hit"}`); n != "5" {
		t.Errorf("%s hits", n)
	}
	g.take(strings.Replace(base, "{}", "{ttl: 1m}", 1))
	ask("another lifetime", "2")
	g.take(strings.Replace(base, "{}", "{ttl: 1m, shared: true}", 1))
	ask("another word on who shares", "3")
	if n := g.metric("sluice_cache_objects"); n != "1" {
		t.Errorf("%s answers are left", n)
	}
	g.take(strings.Replace(base, "policies: [kept]", "policies: []", 1))
	ask("without the cache", "4")
	if n := g.metric("sluice_cache_objects"); n != "" {
		t.Errorf("%s answers are left of no cache", n)
	}
	g.take(base)
	ask("with it again", "5")
}

// TestCacheMemory: what is kept stays within the bound, and what is asked for often stays.
func TestCacheMemory(t *testing.T) {
	body := strings.Repeat("x", 10_000)
	origin, _ := counting(t, func(n int64, r *testnet.Request) string { return page(body, "Cache-Control: max-age=60") })
	g := start(t, cached("{max_object: 12KiB}", origin.Addr, "cache: {memory: 1MiB}\n"))
	c := g.dial("web")
	for i := range 400 {
		play(t, c, turn{request: "GET /" + strconv.Itoa(i)}, turn{request: "GET /popular"})
		if n, err := strconv.Atoi(g.metric("sluice_cache_bytes")); err != nil || n > 1<<20 {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
	play(t, c, turn{request: "GET /popular", says: "sluice; hit; ttl=N"})
	if n, _ := strconv.Atoi(g.metric("sluice_cache_objects")); n < 50 {
		t.Errorf("%d answers", n)
	}
	if n, _ := strconv.Atoi(g.metric(`sluice_cache_events_total{policy="kept",event="evicted"}`)); n < 200 {
		t.Errorf("%d were evicted", n)
	}
	body = strings.Repeat("x", 20_000)
	play(t, c, turn{request: "GET /large", body: body, says: "sluice; fwd=uri-miss"}, turn{request: "GET /large", body: body, says: "sluice; fwd=uri-miss"})
}

// TestCacheStaleWhileRevalidate: a stale answer is given at once, and a new one is fetched beside it, by one request of many.
func TestCacheStaleWhileRevalidate(t *testing.T) {
	release, asked := make(chan struct{}), new(atomic.Int64)
	origin := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		for {
			r, read := c.ReadRequest()
			if !read {
				return
			}
			n := asked.Add(1)
			if n > 1 && !c.Wait(release) {
				return
			}
			answer := page("one", `ETag: "1"|Cache-Control: max-age=0`)
			if n > 1 {
				answer = page("two "+r.Header.Get("If-None-Match"), "Cache-Control: max-age=60")
			}
			if !c.Send(answer) {
				return
			}
		}
	})
	g := start(t, cached("{stale_while_revalidate: 1h}", origin.Addr, ""))
	c := g.dial("web")
	play(t, c, turn{request: "GET /a", body: "one", says: "sluice; fwd=uri-miss; stored"})
	for range 5 {
		play(t, c, turn{request: "GET /a", body: "one", says: "sluice; hit; ttl=-N"})
	}
	close(release)
	testnet.Eventually(t, "the new answer", func() bool { return g.metric(`sluice_cache_events_total{policy="kept",event="stored"}`) == "2" })
	play(t, c, turn{request: "GET /a", body: `two "1"`, says: "sluice; hit; ttl=N"})
	if n := asked.Load(); n != 2 {
		t.Errorf("%d requests", n)
	}
	if n := g.metric(`sluice_cache_requests_total{policy="kept",result="stale"}`); n != "5" {
		t.Errorf("%s stale answers", n)
	}
}

// TestCacheValidates: an answer that is not fresh any more is asked about, and a 304 makes it fresh.
func TestCacheValidates(t *testing.T) {
	origin, _ := counting(t, func(n int64, r *testnet.Request) string {
		if r.Header.Get("If-None-Match") == `"1"` {
			return "HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\nX-New: yes\r\n\r\n"
		}
		return page("one", `ETag: "1"|Cache-Control: max-age=0`)
	})
	g := start(t, cached("{}", origin.Addr, ""))
	play(t, g.dial("web"), turn{request: "GET /a", body: "one", says: "sluice; fwd=uri-miss; stored"},
		turn{request: "GET /a", body: "one", says: "sluice; fwd=stale; fwd-status=304", field: "X-New: yes"}, turn{request: "GET /a", body: "one", says: "sluice; hit; ttl=N", field: "X-New: yes"})
	testnet.Eventually(t, "the log", func() bool { return strings.Contains(g.out.String(), `"cache":"validated","backend":"app"`) })
}

// TestCacheStaleIfError is row 8.7: a stale answer stands in for connect errors, timeouts, and 500, 502, 503 and 504, and for nothing else.
func TestCacheStaleIfError(t *testing.T) {
	answers := map[string]string{}
	for _, status := range []string{"500", "502", "503", "504", "404", "501"} {
		answers[status] = "HTTP/1.1 " + status + " Status\r\nContent-Length: 0\r\n\r\n"
	}
	for _, tc := range []struct {
		name, options string
		status        int
		says          string
	}{
		{"500", "{ttl: 1ms, stale_if_error: 1h}", 200, "sluice; fwd=stale; fwd-status=500; ttl=-N"},
		{"502", "{ttl: 1ms, stale_if_error: 1h}", 200, "sluice; fwd=stale; fwd-status=502; ttl=-N"},
		{"503", "{ttl: 1ms, stale_if_error: 1h}", 200, "sluice; fwd=stale; fwd-status=503; ttl=-N"},
		{"504", "{ttl: 1ms, stale_if_error: 1h}", 200, "sluice; fwd=stale; fwd-status=504; ttl=-N"},
		{"404", "{ttl: 1ms, stale_if_error: 1h}", 404, "sluice; fwd=stale; stored"},
		{"501", "{ttl: 1ms, stale_if_error: 1h}", 501, "sluice; fwd=stale; stored"},
		{"close", "{ttl: 1ms, stale_if_error: 1h}", 200, "sluice; fwd=stale; ttl=-N"},
		{"hang", "{ttl: 1ms, stale_if_error: 1h}", 200, "sluice; fwd=stale; ttl=-N"},
		{"away", "{ttl: 1ms, stale_if_error: 1h}", 200, "sluice; fwd=stale; ttl=-N"},
		{"503", "{ttl: 1ms}", 503, "sluice; fwd=stale"},
		{"close", "{ttl: 1ms}", 502, "-"},
		{"away", "{ttl: 1ms}", 502, "-"},
	} {
		t.Run(tc.name+tc.options, func(t *testing.T) {
			t.Parallel()
			asked := new(atomic.Int64)
			origin := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
				for {
					if _, read := c.ReadRequest(); !read {
						return
					}
					answer := page("good", "X-A: 1")
					if n := asked.Add(1); n > 1 {
						answer = answers[tc.name]
					}
					if answer == "" && tc.name == "hang" {
						c.Hang()
					}
					if answer == "" || !c.Send(answer) {
						return
					}
				}
			})
			file := strings.Replace(cached(tc.options, origin.Addr, ""), "retries: {attempts: 0}", "retries: {attempts: 0}, timeouts: {first_byte: 200ms}", 1)
			g := start(t, file)
			c := g.dial("web")
			play(t, c, turn{request: "GET /a", body: "good", says: "sluice; fwd=uri-miss; stored"})
			if tc.name == "away" {
				g.take(strings.Replace(file, origin.Addr, "127.0.0.1:1", 1))
				c = g.dial("web")
			}
			body := ""
			if tc.status == 200 {
				body = "good"
			}
			// The answer is stale after a millisecond.
			testnet.Eventually(t, "the answer to become stale", func() bool { return !strings.Contains(g.dialled("/a"), "; hit") })
			play(t, c, turn{request: "GET /a", status: tc.status, body: body, says: tc.says})
		})
	}
}

// dialled returns the Cache-Status of an answer from the cache, or nothing.
func (g *running) dialled(path string) string {
	r := g.dial("web").Do("GET", ask("GET", path, "Cache-Control: only-if-cached"))
	return r.Header.Get("Cache-Status")
}

// TestCacheComposition: a composition is kept as one answer, and not if a part has failed (section 0 and row 7.10).
func TestCacheComposition(t *testing.T) {
	var fails atomic.Bool
	origin, asked := counting(t, func(n int64, r *testnet.Request) string {
		if fails.Load() && r.Target == "/b" {
			return "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
		}
		return page(`{"n":1}`, "Content-Type: application/json")
	})
	text := known("{ttl: 1m, vary_on: [consumer.name]}", origin.Addr)
	g := start(t, strings.Replace(text, "backend: app}]", `compose: {steps: {a: {backend: app, path: /a}, b: {backend: app, path: /b, optional: true}}, body: {a: "${a.body}", b: "${b.body}"}}}]`, 1))
	c := g.dial("web")
	const good, part = `{"a":{"n":1},"b":{"n":1}}`, `{"a":{"n":1},"b":null}`
	fails.Store(true)
	play(t, c, turn{request: "GET /x X-API-Key: ann", body: part, says: "sluice; fwd=uri-miss", field: "Cache-Control: no-store"},
		turn{request: "GET /x X-API-Key: ann", body: part, says: "sluice; fwd=uri-miss"})
	fails.Store(false)
	before := asked.Load()
	play(t, c, turn{request: "GET /x X-API-Key: ann", body: good, says: "sluice; fwd=uri-miss; stored"}, turn{request: "GET /x X-API-Key: ann", body: good, says: "sluice; hit; ttl=N"},
		turn{request: "GET /x X-API-Key: bob", body: good, says: "sluice; fwd=uri-miss; stored"}, turn{request: "GET /x X-API-Key: bob", body: good, says: "sluice; hit; ttl=N"})
	if n := asked.Load() - before; n != 4 {
		t.Errorf("%d calls", n)
	}
}

// TestCacheCompositionLeft: the steps of a composition end when the client of a cache before it leaves (row 7.11).
func TestCacheCompositionLeft(t *testing.T) {
	arrived := make(chan struct{}, 1)
	origin := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		if _, read := c.ReadRequest(); read {
			arrived <- struct{}{}
			c.Hang()
		}
	})
	g := start(t, strings.Replace(cached("{ttl: 1m}", origin.Addr, ""), "backend: app}]", `compose: {steps: {a: {backend: app, path: /a}}, body: "${a.body}"}}]`, 1))
	c := g.dial("web")
	c.Send(get("/x"))
	testnet.Receive(t, "the call", arrived)
	c.Close()
	testnet.Receive(t, "the end of the call", origin.Conn(0).Ended())
}

// TestCacheCompressed: policies behind the cache work once for each of its answers.
func TestCacheCompressed(t *testing.T) {
	origin, asked := counting(t, func(n int64, r *testnet.Request) string {
		return page(strings.Repeat("compressible ", 100), "Content-Type: text/plain|Cache-Control: max-age=60")
	})
	g := start(t, strings.Replace(cached("{}", origin.Addr, ""), "policies: [kept]", "policies: [kept, {compress: {}}]", 1))
	play(t, g.dial("web"),
		turn{request: "GET /a Accept-Encoding: gzip", says: "sluice; fwd=uri-miss; stored", field: "Content-Encoding: gzip"}, turn{request: "GET /a Accept-Encoding: gzip", says: "sluice; hit; ttl=N", field: "Content-Encoding: gzip"},
		turn{request: "GET /a", body: strings.Repeat("compressible ", 100), says: "sluice; fwd=vary-miss; stored"}, turn{request: "GET /a", says: "sluice; hit; ttl=N", field: "Content-Encoding: "},
		turn{request: "GET /a Accept-Encoding: gzip", says: "sluice; hit; ttl=N", field: "Content-Encoding: gzip"})
	if asked.Load() != 2 {
		t.Errorf("%d requests", asked.Load())
	}
}

// TestCacheWarnings: an order of policies that is almost surely wrong.
func TestCacheWarnings(t *testing.T) {
	for policies, want := range map[string]string{
		"[kept, {api_key: {}}]":                                         `stands before api_key, which is not asked`,
		"[kept, {ip_filter: {allow: 127.0.0.0/8}}]":                     `stands before ip_filter`,
		"[{api_key: {}}, kept, {authorize: {allow: a}}]":                `stands before authorize`,
		"[{cache: {}}, {api_key: {}}, {ip_filter: {deny: 10.0.0.0/8}}]": `stands before api_key, ip_filter`,
		"[{api_key: {}}, kept]":                                         "",
		"[kept, {rate_limit: {rate: 1/s}}, {cors: {}}]":                 "",
		"[{cache: {max_object: 1GiB}}]":                                 "max_object: 1GiB is more than all caches have together",
		"[{cache: {ttl: 1m, default_ttl: 1m}}]":                         "default_ttl: ttl holds in its place",
		"[{cache: {default_ttl: 1m, heuristic: 10%}}]":                  "heuristic: default_ttl holds in its place",
		"[{cache: {name: 1st}}]":                                        "does not begin with a letter",
		"[{cache: {targeted: [Cache-Control]}}]":                        "Cache-Control is what the others hold in place of",
		"[{cache: {targeted: [X-A, x-a]}}]":                             "twice",
		"[{cache: {vary_on: ['claims.']}}]":                             "vary_on",
		"[{cache: {vary_on: [claims.sub]}}]":                            "claims",
		"[{jwt: {}}, {cache: {vary_on: [nothing.here]}}]":               "nothing",
	} {
		text := strings.Replace(strings.Replace(cached("{}", "127.0.0.1:1", ""), "policies: [kept]", "policies: "+policies, 1), "{allow: a}", `{allow: "true"}`, 1)
		var said string
		c, err := Parse("test.yaml", []byte(text))
		if err != nil {
			said = err.Error()
		} else {
			warnings, err := Review(c)
			said = c.Warnings.Error() + warnings.Error()
			if err != nil {
				said += err.Error()
			}
		}
		if want == "" && (strings.Contains(said, "cache") || strings.Contains(said, "stands before")) || !strings.Contains(said, want) {
			t.Errorf("%s: %s\nwant %q", policies, said, want)
		}
	}
}
