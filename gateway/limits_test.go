package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// caller sends requests to gateways.
type caller struct {
	t      testing.TB
	client http.Client
}

func newCaller(t testing.TB) *caller {
	c := &caller{t: t, client: http.Client{Timeout: testnet.Patience, Transport: &http.Transport{MaxIdleConnsPerHost: 200, DisableCompression: true}}}
	t.Cleanup(c.client.CloseIdleConnections)
	return c
}

// reply is an answer with its body.
type reply struct {
	status int
	header http.Header
	body   string
	took   time.Duration
}

// fields returns what an answer says of limits.
func (r *reply) fields() string {
	var out []string
	for _, name := range []string{"Ratelimit-Policy", "Ratelimit", "Retry-After", "Sluice-Reason"} {
		out = append(out, r.header[name]...)
	}
	return strings.Join(out, "|")
}

// send sends a request whose header lines are given as "Name: value".
func (c *caller) send(g *running, method, path, body string, lines ...string) (*reply, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+g.address("web")+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		req.Header.Add(name, value)
	}
	start := time.Now()
	res, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	return &reply{res.StatusCode, res.Header, string(text), time.Since(start)}, err
}

// get sends a GET, which has to be answered.
func (c *caller) get(g *running, path string, lines ...string) *reply {
	c.t.Helper()
	r, err := c.send(g, "GET", path, "", lines...)
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// limited is a configuration with a route for everything.
func limited(policies, rest string) string {
	return fmt.Sprintf("version: 1\nlisteners: {web: {address: \"127.0.0.1:0\", protocol: http}}\n%s\nroutes:\n  - {name: all, policies: %s, respond: {text: ok}}\n", rest, policies)
}

// TestLimitFields: every answer of a limited route tells how much is left: those of the backend, of the gateway and of the cache, and refusals.
func TestLimitFields(t *testing.T) {
	app := testnet.NewOrigin(t, testnet.Answer("HTTP/1.1 200 OK\r\nRateLimit: \"theirs\";r=1\r\nRateLimit-Policy: \"theirs\";q=1\r\nContent-Length: 2\r\nCache-Control: max-age=60\r\n\r\nok"))
	text := fmt.Sprintf(`version: 1
listeners: {web: {address: "127.0.0.1:0", protocol: http}}
policies: {fair: {rate_limit: {rate: 8/h, burst: 6, key: '"one"'}}}
routes:
  - {name: forwarded, match: {path: /app}, policies: [fair, {cache: {ttl: 60s}}], backend: app}
  - {name: down, match: {path: /down}, policies: [fair], backend: down}
  - {name: own, match: {path: /own}, policies: [fair, {fault: {abort: 418}}], respond: {text: ok}}
  - {name: twice, match: {path: /twice}, policies: [fair, {idempotency: {}}, {rate_limit: {rate: 2/h}}], backend: app}
  - {name: before, match: {path: /before}, policies: [{ip_filter: {deny: [127.0.0.1]}}, fair], respond: {text: ok}}
backends: {app: {endpoints: [%q]}, down: {endpoints: ["127.0.0.1:1"], retries: {attempts: 0}}}
`, app.Addr)
	g := start(t, text)
	g.wait()
	c := newCaller(t)
	const policy = `"fair";q=6;w=2700|"fair"`
	for i, want := range []struct {
		path   string
		status int
		fields string
	}{
		{"/app", 200, policy + ";r=5;t=450"},
		{"/app", 200, policy + ";r=4;t=900"}, // from the cache
		{"/down", 502, policy + ";r=3;t=1350|connect_refused"},
		{"/own", 418, policy + ";r=2;t=1800|fault_injected"},
		{"/before", 403, "client_address_denied"}, // it was not asked
		{"/app", 200, policy + ";r=1;t=2250"},
		{"/app", 200, policy + ";r=0;t=450"},
		{"/app", 429, policy + ";r=0;t=450|450|rate_limited"},
		{"/twice", 429, policy + ";r=0;t=450|450|rate_limited"},
		{"/down", 429, policy + ";r=0;t=450|450|rate_limited"},
	} {
		r := c.get(g, want.path)
		if got := r.fields(); r.status != want.status || dropReason(got) != dropReason(want.fields) {
			t.Errorf("%d: %s: %d %s, want %d %s", i, want.path, r.status, got, want.status, want.fields)
		}
	}
	// Limits on both sides of what keeps answers: the first answer tells of both, a later one of what it has passed.
	g.take(strings.Replace(text, "burst: 6", "burst: 7", 1))
	for i, want := range []string{`"rate_limit";q=2;w=3600|"fair";q=7;w=3150|"rate_limit";r=1;t=1800|"fair";r=6;t=450`, `"fair";q=7;w=3150|"fair";r=5;t=900`} {
		if got := c.get(g, "/twice", "Idempotency-Key: k").fields(); got != want {
			t.Errorf("%d: %s, want %s", i, got, want)
		}
	}
	if n := strings.Count(app.Received(), "GET /app"); n != 1 {
		t.Errorf("the backend was asked %d times", n)
	}
	if got := g.metric(`sluice_limit_decisions_total{policy="fair",result="refused"}`); got != "3" {
		t.Errorf("%s refusals were counted", got)
	}
}

// dropReason leaves out the reason of a failure that is not a limit's: its word is another test's.
func dropReason(fields string) string {
	parts := strings.Split(fields, "|")
	if last := parts[len(parts)-1]; last != "rate_limited" && last != "quota_exceeded" && !strings.ContainsAny(last, "=0123456789") {
		parts = parts[:len(parts)-1]
	}
	return strings.Join(parts, "|")
}

// TestPlanLimits: consumers have what their plans say, each for itself, over all keys that it has.
func TestPlanLimits(t *testing.T) {
	hash := func(last byte) string { return "sha256:" + strings.Repeat("ab", 31) + fmt.Sprintf("%02x", last) }
	g := start(t, fmt.Sprintf(`version: 1
state: %q
listeners: {web: {address: "127.0.0.1:0", protocol: http}}
plans: {standard: {rate: 3/h, quota: 2/day}, fast: {rate: 1000/s}}
consumers:
  - {name: app, plan: standard, api_keys: ["sha256:5f7b2ed74a9736a538a6fb5a5a1a76afdcdd0d177d7fc6e79c6b6843527d848d", %q]}
  - {name: other, plan: fast, api_keys: ["sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"]}
  - {name: free, api_keys: ["sha256:fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9"]}
policies: {partner: {api_key: {}}, by-plan: {plan_limit: {}}}
routes:
  - {name: a, match: {path: /a}, policies: [partner, by-plan], respond: {text: ok}}
  - {name: b, match: {path: /b}, policies: [partner, by-plan], respond: {text: ok}}
`, filepath.Join(t.TempDir(), "state"), hash(1)))
	c := newCaller(t)
	const key, foo, bar = "X-API-Key: demo-partner-key", "X-API-Key: foo", "X-API-Key: bar"
	for i, want := range []struct {
		path, key string
		status    int
		fields    string // its beginning
	}{
		{"/a", key, 200, `"rate";q=3;w=3600, "quota";q=2;w=86400|"rate";r=2;t=1200, "quota";r=1;t=`},
		{"/b", key, 200, `"rate";q=3;w=3600, "quota";q=2;w=86400|"rate";r=1;t=2400, "quota";r=0;t=`},
		{"/b", key, 429, `"rate";q=3;w=3600, "quota";q=2;w=86400|"rate";r=1;t=2400, "quota";r=0;t=`}, // takes nothing of the rate
		{"/a", key, 429, `"rate";q=3;w=3600, "quota";q=2;w=86400|"rate";r=1;t=2400, "quota";r=0;t=`},
		{"/a", foo, 200, `"rate";q=1000;w=1|"rate";r=999;t=1`},
		{"/a", bar, 200, ""},
		{"/a", "X-API-Key: nobody", 401, "api_key_unknown"},
	} {
		r := c.get(g, want.path, want.key)
		if got := r.fields(); r.status != want.status || !strings.HasPrefix(got, want.fields) {
			t.Errorf("%d: %d %s, want %d %s", i, r.status, got, want.status, want.fields)
		}
		if r.status == 429 {
			wait, err := strconv.Atoi(r.header.Get("Retry-After"))
			if err != nil || wait < 1 || wait > 86400 || !strings.HasSuffix(r.fields(), "|quota_exceeded") || !strings.Contains(r.body, `"status":429`) {
				t.Errorf("%d: %s %s", i, r.fields(), r.body)
			}
		}
	}
}

// TestQuotaOverRestarts: what was used of a quota is still used behind a restart and behind a reload that changes its limit.
func TestQuotaOverRestarts(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	text := func(quota int) string {
		return limited("[{api_key: {}}, {plan_limit: {}}]", fmt.Sprintf(`state: %q
plans: {standard: {quota: %d/month}}
consumers: [{name: app, plan: standard, api_keys: ["sha256:5f7b2ed74a9736a538a6fb5a5a1a76afdcdd0d177d7fc6e79c6b6843527d848d"]}]
`, state, quota))
	}
	left := func(g *running) string {
		t.Helper()
		r := newCaller(t).get(g, "/", "X-API-Key: demo-partner-key")
		_, rest, _ := strings.Cut(r.header.Get("RateLimit"), "r=")
		n, _, _ := strings.Cut(rest, ";")
		return fmt.Sprint(r.status, " ", n)
	}
	g := start(t, text(3))
	for _, want := range []string{"200 2", "200 1"} {
		if got := left(g); got != want {
			t.Errorf("at first: %s, want %s", got, want)
		}
	}
	for _, quota := range []int{3, 5} { // the second does not change anything else: file and counts stay in use
		g.take(text(quota))
	}
	if got := left(g); got != "200 2" {
		t.Errorf("with a larger limit: %s", got)
	}
	g.Shutdown()
	g = start(t, text(5))
	for _, want := range []string{"200 1", "200 0", "429 0"} {
		if got := left(g); got != want {
			t.Errorf("behind a restart: %s, want %s", got, want)
		}
	}
	other := New(Options{})
	defer other.Close()
	if err := other.Apply(parse(t, text(5))); err == nil || !strings.Contains(err.Error(), "quota.db") {
		t.Errorf("another program with the same state: %v", err)
	}
	g.Close()
}

// TestLimitReload: what was counted stays over a reload as long as rate and burst do, whatever else changes; concurrent requests and reloads mix.
func TestLimitReload(t *testing.T) {
	text := func(rate, answer string) string {
		return strings.Replace(limited("[fair]", "policies: {fair: {rate_limit: {rate: "+rate+"}}}"), "text: ok", "text: "+answer, 1)
	}
	g := start(t, text("60/h", "one"))
	c := newCaller(t)
	var passed atomic.Int32
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for range 30 {
				if r, err := c.send(g, "GET", "/", ""); err != nil {
					t.Error(err)
				} else if r.status == 200 {
					passed.Add(1)
				}
			}
		})
	}
	for i := range 10 {
		g.take(text("60/h", fmt.Sprint("answer", i)))
	}
	callers.Wait()
	if n := passed.Load(); n < 60 || n > 61 { // one comes back each minute
		t.Errorf("%d requests passed", n)
	}
	if g.take(text("60/h, burst: 61", "x")); c.get(g, "/").status != 200 {
		t.Error("another burst does not begin anew")
	}
}

// TestLimitsOverGateways: several gateways with one store keep one limit between them, exactly.
func TestLimitsOverGateways(t *testing.T) {
	server := testnet.StartRedis(t)
	text := limited(`[{api_key: {}}, fair, by-plan]`, fmt.Sprintf(`store: {redis: %q, timeout: 1s}
plans: {standard: {quota: 40/month}}
consumers: [{name: app, plan: standard, api_keys: ["sha256:5f7b2ed74a9736a538a6fb5a5a1a76afdcdd0d177d7fc6e79c6b6843527d848d"]}]
policies:
  fair: {rate_limit: {rate: 60/h, key: 'request.headers["x-tenant"]', on_store_failure: closed}}
  by-plan: {plan_limit: {on_store_failure: closed}}
`, server.Address()))
	var all []*running
	for range 3 {
		all = append(all, start(t, text))
	}
	for _, g := range all {
		testnet.Eventually(t, "the store", func() bool { return len(g.Degraded()) == 0 })
	}
	c := newCaller(t)
	var mu sync.Mutex
	statuses := map[string]map[string]int{"a": {}, "b": {}}
	var callers sync.WaitGroup
	for i := range 12 {
		callers.Go(func() {
			for n := range 30 {
				tenant := []string{"a", "b"}[(i/3)%2]
				r, err := c.send(all[i%3], "GET", "/", "", "X-Tenant: "+tenant, "X-API-Key: demo-partner-key")
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				statuses[tenant][fmt.Sprint(r.status, " ", r.header.Get("Sluice-Reason"))]++
				mu.Unlock()
				_ = n
			}
		})
	}
	callers.Wait()
	if n := statuses["a"]["200 "] + statuses["b"]["200 "]; n != 40 {
		t.Errorf("%d requests passed a quota of 40: %v", n, statuses)
	}
	// What the quota refuses has been counted by the rate in front of it: 60 of each, and one more for each minute.
	for tenant, n := range statuses {
		if over := n["200 "] + n["429 quota_exceeded"]; over < 60 || over > 61 || n["429 rate_limited"] != 180-over {
			t.Errorf("tenant %s: %v", tenant, n)
		}
	}
}

// TestLimitOutage: a Redis that is killed under load. No request waits for it, each limit does what it says meanwhile, and it counts again when it is back.
func TestLimitOutage(t *testing.T) {
	server := testnet.StartRedis(t)
	// The timeout is one that a busy machine keeps to; the wait is bounded by it, and not by the outage.
	const timeout = 100 * time.Millisecond
	g := start(t, fmt.Sprintf(`version: 1
listeners: {web: {address: "127.0.0.1:0", protocol: http}}
store: {redis: %q, timeout: %v}
routes:
  - {name: open, match: {path: /open}, policies: [{rate_limit: {rate: 20/h, on_store_failure: open}}], respond: {text: ok}}
  - {name: closed, match: {path: /closed}, policies: [{rate_limit: {rate: 20/h, on_store_failure: closed}}], respond: {text: ok}}
  - {name: share, match: {path: /share}, policies: [{rate_limit: {rate: 20/h}}], respond: {text: ok}}
`, server.Address(), timeout))
	testnet.Eventually(t, "the store", func() bool { return len(g.Degraded()) == 0 })
	c := newCaller(t)
	type tally struct{ n [600]atomic.Int64 }
	paths := []string{"/open", "/closed", "/share"}
	var now atomic.Pointer[map[string]*tally]
	phase := func() map[string]*tally {
		m := map[string]*tally{}
		for _, p := range paths {
			m[p] = &tally{}
		}
		now.Store(&m)
		return m
	}
	first := phase()
	var slow atomic.Int64
	stop := make(chan struct{})
	var load sync.WaitGroup
	for i := range 6 {
		path := paths[i%3]
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				m := *now.Load()
				r, err := c.send(g, "GET", path, "")
				if err != nil {
					t.Error(err)
					return
				}
				m[path].n[r.status].Add(1)
				slow.Store(max(slow.Load(), int64(r.took)))
			}
		})
	}
	enough := func(m map[string]*tally, path string, status int) {
		t.Helper()
		testnet.Eventually(t, fmt.Sprintf("answers %d of %s", status, path), func() bool { return m[path].n[status].Load() >= 20 })
	}
	for _, p := range paths {
		enough(first, p, 200)
		enough(first, p, 429)
		if n := first[p].n[200].Load(); n > 21 {
			t.Errorf("%s: %d requests passed a limit of 20", p, n)
		}
	}
	server.Kill()
	testnet.Eventually(t, "that the store is seen to be away", func() bool { d := g.Degraded(); return len(d) > 0 && d[0].Reason == "store_unavailable" })
	away := phase()
	enough(away, "/open", 200)
	enough(away, "/closed", 503)
	enough(away, "/share", 429) // behind a burst of its own
	if r := c.get(g, "/closed"); r.status != 503 || r.fields() != `"rate_limit";q=20;w=3600|1|limit_store_unavailable` {
		t.Errorf("closed: %d %s", r.status, r.fields())
	}
	if r := c.get(g, "/share"); r.status != 429 || !strings.HasSuffix(r.fields(), "|rate_limited") {
		t.Errorf("share: %d %s", r.status, r.fields())
	}
	server.Start()
	testnet.Eventually(t, "the store again", func() bool { return len(g.Degraded()) == 0 })
	back := phase()
	for _, p := range paths {
		enough(back, p, 429) // it begins anew: the server has forgotten everything
	}
	close(stop)
	load.Wait()
	for _, p := range paths {
		for _, m := range []map[string]*tally{first, away, back} {
			for status := range m[p].n {
				if n := m[p].n[status].Load(); n > 0 && status != 200 && status != 429 && status != 503 {
					t.Errorf("%s: %d answers %d", p, n, status)
				}
			}
		}
	}
	if n := away["/share"].n[200].Load(); n > 2*20+1 {
		t.Errorf("share: %d requests passed", n)
	}
	if n := away["/open"].n[429].Load(); n > 10 { // those that were under way
		t.Errorf("open: %d requests were refused while the store was away", n)
	}
	if d := time.Duration(slow.Load()); d > 20*timeout {
		t.Errorf("a request took %v", d)
	}
	text := g.reports.String()
	if strings.Count(text, "is away") != 1 || strings.Count(text, "is back") != 1 {
		t.Errorf("reported:\n%s", text)
	}
}

// TestConcurrencyOfRoutes: what is being served counts, until its body or its tunnel has ended, or its client has left.
func TestConcurrencyOfRoutes(t *testing.T) {
	app, open := held(t, "ok")
	upgraded := make(chan struct{})
	chat := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		if _, read := c.ReadHead(); read && c.Send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n") {
			c.Wait(upgraded)
		}
	})
	g := start(t, fmt.Sprintf(`version: 1
listeners: {web: {address: "127.0.0.1:0", protocol: http}}
policies: {few: {concurrency: {max: 2}}, one: {concurrency: {max: 1}}}
routes:
  - {name: app, match: {path: /app}, policies: [few], backend: app}
  - {name: once, match: {path: /once, method: POST}, policies: [{idempotency: {}}, few], backend: app}
  - {name: chat, match: {path: /chat}, policies: [one], backend: chat}
backends: {app: {endpoints: [%q]}, chat: {endpoints: [%q]}}
`, app.Addr, chat.Addr))
	g.wait()
	waiting := g.dial("web")
	waiting.Send(get("/app"))
	once := g.dial("web") // the place is that of the work beside it
	once.Send("POST /once HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nContent-Length: 2\r\n\r\nhi")
	c := g.dial("web")
	full := func() bool { return c.Do("GET", get("/app")).Status == 503 }
	testnet.Eventually(t, "two at the backend", func() bool { return app.Conns() == 2 })
	if !full() {
		t.Error("a third one passed")
	}
	if r := c.Do("GET", get("/app")); r.Status != 503 || r.Header.Get("Sluice-Reason") != "concurrency_exceeded" || r.Header.Get("Retry-After") != "1" {
		t.Errorf("answer %d %v", r.Status, r.Header)
	}
	close(open)
	if r := waiting.ReadResponse("GET"); r.Status != 200 {
		t.Errorf("answer %d", r.Status)
	}
	if r := once.ReadResponse("POST"); r.Status != 200 {
		t.Errorf("answer %d", r.Status)
	}
	testnet.Eventually(t, "a free place", func() bool { return !full() })

	tunnel := g.dial("web")
	const upgrade = "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	tunnel.Send(upgrade)
	tunnel.WantPrefix("HTTP/1.1 101 ")
	if r := c.Do("GET", get("/chat")); r.Status != 503 {
		t.Errorf("beside a tunnel: answer %d", r.Status)
	}
	tunnel.Close()
	close(upgraded)
	testnet.Eventually(t, "the place of the tunnel", func() bool {
		other := g.dial("web")
		defer other.Close()
		other.Send(upgrade)
		r, err := other.TryResponse("GET")
		return err == nil && r.Status == 101
	})
}

// TestConcurrencyOfClientsThatLeave: a place is free again when its client has left in the midst of an answer.
func TestConcurrencyOfClientsThatLeave(t *testing.T) {
	app := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		for {
			r, read := c.ReadRequest()
			if !read {
				return
			}
			if strings.Contains(r.Target, "short") {
				c.Send(ok("ok"))
				continue
			}
			for c.Send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"); c.Send(strings.Repeat("x", 1<<16)); {
			}
			return
		}
	})
	g := start(t, fmt.Sprintf(`version: 1
listeners: {web: {address: "127.0.0.1:0", protocol: http}}
routes: [{name: app, policies: [{concurrency: {max: 1}}], backend: app}]
backends: {app: {endpoints: [%q]}}
`, app.Addr))
	g.wait()
	for range 3 {
		leaves := g.dial("web")
		leaves.Send(get("/long"))
		leaves.WantPrefix("HTTP/1.1 200 OK")
		c := g.dial("web")
		if r := c.Do("GET", get("/short")); r.Status != 503 {
			t.Errorf("answer %d", r.Status)
		}
		leaves.Reset()
		testnet.Eventually(t, "its place", func() bool { return c.Do("GET", get("/short")).Status == 200 })
	}
}

// errLeft ends a request in the tests of clients that leave.
var errLeft = errors.New("left")

// TestIdempotentRoute: a client that leaves and comes again gets the first answer; the backend has done the work once. Other gateways with the same store know it.
func TestIdempotentRoute(t *testing.T) {
	server := testnet.StartRedis(t)
	var calls atomic.Int32
	came, open := make(chan struct{}, 10), make(chan struct{})
	app := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		for {
			r, read := c.ReadRequest()
			if !read {
				return
			}
			n := calls.Add(1)
			came <- struct{}{}
			if !c.Wait(open) || !c.Send(fmt.Sprintf("HTTP/1.1 201 Created\r\nX-Call: %d\r\nContent-Length: %d\r\n\r\n%s", n, len(r.Body), r.Body)) {
				return
			}
		}
	})
	text := fmt.Sprintf(`version: 1
listeners: {web: {address: "127.0.0.1:0", protocol: http}}
store: {redis: %q, timeout: 50ms}
routes:
  - name: transfer
    match: {path: /transfers, method: POST}
    policies: [{rate_limit: {rate: 1000/s}}, {idempotency: {}}, {request: {body: {set: {from: me}}}}]
    backend: app
backends: {app: {endpoints: [%q]}}
`, server.Address(), app.Addr)
	g, h := start(t, text), start(t, text)
	for _, x := range []*running{g, h} {
		x.wait()
		testnet.Eventually(t, "the store", func() bool { return len(x.Degraded()) == 0 })
	}
	const body = `{"to":"you"}`
	leaves := g.dial("web")
	leaves.Send(fmt.Sprintf("POST /transfers HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nIdempotency-Key: k\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	testnet.Receive(t, "the request at the backend", came)
	leaves.Reset()
	c := newCaller(t)
	got := make(chan string, 20)
	for i := range cap(got) {
		go func() {
			r, err := c.send([]*running{g, h}[i%2], "POST", "/transfers", body, "Content-Type: application/json", "Idempotency-Key: k")
			if err != nil {
				got <- errors.Join(errLeft, err).Error()
				return
			}
			got <- fmt.Sprint(r.status, " ", r.header.Get("X-Call"), " ", r.header.Get("Idempotent-Replayed"), " ", len(r.header.Values("RateLimit")), " ", r.body)
		}()
	}
	close(open)
	for range cap(got) {
		if s := testnet.Receive(t, "an answer", got); s != `201 1 true 1 {"to":"you","from":"me"}` {
			t.Errorf("answer %s", s)
		}
	}
	if r, err := c.send(h, "POST", "/transfers", `{"to":"others"}`, "Content-Type: application/json", "Idempotency-Key: k"); err != nil || r.status != 422 {
		t.Errorf("another body: %v, %v", r, err)
	}
	g.take(text) // what is kept outlives a reload, the gateway that has done the work, and what that has in memory
	g.Close()
	server.Run("PING")
	if r, err := c.send(h, "POST", "/transfers", body, "Content-Type: application/json", "Idempotency-Key: k"); err != nil || r.status != 201 || r.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("later: %v, %v", r, err)
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("the backend was called %d times", n)
	}
}
