package gateway

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// shadowed is a configuration whose requests go to one of two backends, and in copies to a third.
func shadowed(more, app, next, shadow string) string {
	return fmt.Sprintf(`version: 1
admin: {address: "127.0.0.1:0"}
access_log: stdout
listeners: {web: {address: "127.0.0.1:0", protocol: http}}
routes:
  - name: canary
    match: {path: /canary}
    split: {to: [{backend: app, weight: 3}, {backend: next, weight: 1}], key: 'request.headers["x-user"]'}
  - {name: all, backend: app, mirror: {backend: shadow, max_body: 1KiB}}
backends:
  app: {endpoints: [%q] %s}
  next: {endpoints: [%q]}
  shadow: {endpoints: [%q], retries: {attempts: 0}}
`, app, more, next, shadow)
}

// TestSplitFromTheFile: users stay where they are over reloads and restarts of the program; without a user it is drawn.
func TestSplitFromTheFile(t *testing.T) {
	app, next := named(t, "app"), named(t, "next")
	text := shadowed("", app.Addr, next.Addr, app.Addr)
	ask := func(c *testnet.Client, user string) string {
		t.Helper()
		r := c.Do("GET", "GET /canary HTTP/1.1\r\nHost: a\r\n"+user+"\r\n")
		if r.Status != 200 {
			t.Fatalf("answer %+v", r)
		}
		return string(r.Body)
	}
	g, other := start(t, text), start(t, text)
	c, d := g.dial("web"), other.dial("web")
	where, counts := map[string]string{}, map[string]int{}
	for i := range 200 {
		user := fmt.Sprintf("X-User: user-%d\r\n", i)
		where[user] = ask(c, user)
		counts[where[user]]++
	}
	if counts["app"] < 110 || counts["next"] < 20 { // 150 and 50, with 6 standard deviations
		t.Errorf("shares %v of 3 and 1", counts)
	}
	g.take(shadowed(", timeouts: {first_byte: 5s}", app.Addr, next.Addr, app.Addr))
	for user, was := range where {
		if is, there := ask(c, user), ask(d, user); is != was || there != was {
			t.Fatalf("%s goes to %s after a reload and to %s elsewhere, and went to %s", user, is, there, was)
		}
	}
	seen := map[string]bool{}
	for range 200 {
		seen[ask(c, "")] = true
	}
	if !seen["app"] || !seen["next"] {
		t.Errorf("requests without a user went to %v", seen)
	}
}

// TestMirrorFromTheFile: copies, what is left out, and where it is counted.
func TestMirrorFromTheFile(t *testing.T) {
	app, shadow := named(t, "app"), named(t, "shadow")
	g := start(t, shadowed("", app.Addr, app.Addr, shadow.Addr))
	c := g.dial("web")
	post := func(n int) {
		t.Helper()
		if r := c.Do("POST", fmt.Sprintf("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", n, strings.Repeat("b", n))); string(r.Body) != "app" {
			t.Fatalf("answer %+v", r)
		}
	}
	count := func(outcome, want string) {
		t.Helper()
		testnet.Eventually(t, want+" copies "+outcome, func() bool {
			return g.metric(fmt.Sprintf(`sluice_mirrored_total{route="all",outcome=%q}`, outcome)) == want
		})
	}
	want(t, c, "/g", 200, "app")
	post(1024)
	post(1025)
	count("answered", "2")
	count("too_large", "1")
	if got := shadow.Received(); strings.Count(got, "GET /g ") != 1 || strings.Count(got, "POST /p ") != 1 {
		t.Errorf("the mirror got\n%.600s", got)
	}
	for _, b := range g.Backends() {
		if b.Name == "shadow" && (b.Endpoints[0].Requests != 2 || b.InFlight != 0) {
			t.Errorf("backend %+v", b)
		}
	}
	// The log has a line for each request, and none for copies.
	g.Close()
	if got := g.out.String(); strings.Count(got, "\n") != 3 || strings.Contains(got, shadow.Addr) {
		t.Errorf("log\n%s", got)
	}
}

// TestCloseEndsCopies that nobody answers, at once.
func TestCloseEndsCopies(t *testing.T) {
	app := named(t, "app")
	shadow := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		if _, read := c.ReadRequest(); read && c.Number%2 == 1 {
			c.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
		}
		c.Hang()
	})
	for _, end := range []func(g *running){func(g *running) { g.Close() }, func(g *running) { g.Shutdown() }} {
		g := start(t, shadowed("", app.Addr, app.Addr, shadow.Addr))
		c := g.dial("web")
		conns := shadow.Conns()
		for range 6 {
			want(t, c, "/", 200, "app")
		}
		testnet.Eventually(t, "the copies", func() bool { return shadow.Conns() == conns+6 })
		c.Close()
		began := time.Now()
		testnet.Receive(t, "the end", during(func() { end(g) }))
		if took := time.Since(began); took > 5*time.Second { // a copy has 10
			t.Errorf("the end took %v", took)
		}
	}
}

// TestMirrorUnderReload: copies that are under way when their configuration goes, with the mirror's endpoint or without, harm nobody.
func TestMirrorUnderReload(t *testing.T) {
	app, one, two := named(t, "app"), named(t, "one"), named(t, "two")
	g := start(t, shadowed("", app.Addr, app.Addr, one.Addr))
	stop := make(chan struct{})
	var clients sync.WaitGroup
	defer clients.Wait()
	end := sync.OnceFunc(func() { close(stop) })
	defer end()
	for i := range 3 {
		c := g.dial("web")
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				text := get("/")
				if i == 1 {
					text = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
				}
				if err := c.TrySend(text); err != nil {
					t.Errorf("the client could not send: %v", err)
					return
				}
				if r, err := c.TryResponse("GET"); err != nil || r.Status != 200 || string(r.Body) != "app" {
					t.Errorf("answer %+v, %v", r, err)
					return
				}
			}
		})
	}
	for i := range 40 {
		text := shadowed("", app.Addr, app.Addr, []string{two.Addr, one.Addr}[i%2])
		if i%3 == 2 {
			text = strings.Replace(text, ", mirror: {backend: shadow, max_body: 1KiB}", "", 1)
		}
		g.take(text)
	}
	at := strings.Count(two.Received(), "\r\n\r\n")
	g.take(shadowed("", app.Addr, app.Addr, two.Addr))
	testnet.Eventually(t, "copies at the last mirror", func() bool { return strings.Count(two.Received(), "\r\n\r\n") > at+10 || t.Failed() })
	end()
	clients.Wait()
}
