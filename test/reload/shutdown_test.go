package reload

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/test/rig"
)

// simple is a configuration with one endpoint.
func simple(address, endpoint, more string) string {
	return fmt.Sprintf("version: 1\n%s\nlisteners: {web: {address: %q, protocol: http}}\nroutes: [{backend: app}]\nbackends: {app: {endpoints: [%q]}}\n", more, address, endpoint)
}

// refusedAt waits until nobody listens at an address any more.
func refusedAt(t *testing.T, address string) {
	t.Helper()
	testnet.Eventually(t, "the end of the listener", func() bool {
		nc, err := (&net.Dialer{Timeout: testnet.Patience}).Dial("tcp", address)
		if err == nil {
			_ = nc.Close()
		}
		return err != nil
	})
}

// A gateway that ends while requests come at a constant rate cuts none: what is in flight ends, and every client is told that its connection does.
func TestShutdownUnderLoad(t *testing.T) {
	e := newEndpoint(t, "app")
	address := freeAddress(t)
	g := rig.Start(t, simple(address, e.Addr(), "shutdown: {timeout: 20s}"))
	var mu sync.Mutex
	ended := make(map[string]bool) // workers' connections that were told to close
	answered, refused := 0, 0
	l := &load{t: t, web: address, make: func(i int) job {
		return job{id: i, method: []string{"GET", "POST"}[i%2], path: []string{"/one", "/slow"}[i/2%2]}
	}}
	l.check = func(r *reply) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.err == nil && r.response.Status == 200:
			answered++
			if r.response.Header.Get("Connection") == "close" {
				ended[r.response.Header.Get("X-Request-Id")] = true
			}
		case r.response == nil && l.ending.Load() && r.fresh:
			refused++ // a new connection that the listener did not take any more: nothing of it was begun
		default:
			t.Errorf("%s %s: %v, %+v", r.method, r.path, r.err, r.response)
		}
	}
	l.start(150)
	l.pass(100)
	l.ending.Store(true)
	g.Shutdown()
	l.finish()
	if answered < 100 || len(ended) == 0 || refused == 0 {
		t.Errorf("%d answered, %d told to close, %d refused; want some of each", answered, len(ended), refused)
	}
	t.Logf("%d answered, %d told to close, %d refused after the end", answered, len(ended), refused)
	if text := g.Reports.String(); strings.Contains(text, "cut off") {
		t.Errorf("reported: %s", text)
	}
}

func TestShutdownLetsExchangesEnd(t *testing.T) {
	release := make(chan struct{})
	o := rig.NewOrigin(t, "app", func(c *rig.OriginConn) {
		for {
			r := c.Head()
			if r == nil {
				return
			}
			if r.Target == "/answer" {
				c.Request()
				c.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
				c.Wait(release)
				c.Send("world")
				continue
			}
			if c.Request() == nil {
				return
			}
			if r.Target == "/wait" {
				c.Wait(release)
			}
			c.Answer(200, "app")
		}
	})
	address := freeAddress(t)
	g := rig.Start(t, simple(address, o.Addr(), "admin: \"127.0.0.1:0\"\nshutdown: {timeout: 20s, delay: 300ms}"))
	admin := g.AdminAddr().String()
	idle, wait, answer, upload := g.Dial("web"), g.Dial("web"), g.Dial("web"), g.Dial("web")
	idle.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	idle.Response("GET")
	wait.Send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
	answer.Send("GET /answer HTTP/1.1\r\nHost: a\r\n\r\n")
	upload.Send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
	testnet.Eventually(t, "the requests at the origin", func() bool {
		got := o.Received()
		return strings.Contains(got, "/wait") && strings.Contains(got, "/answer") && strings.Contains(got, "hello")
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.Shutdown()
	}()
	// First it is not ready any more, and still accepts whoever has not heard of it.
	testnet.Eventually(t, "readyz to say no", func() bool {
		c := rig.Dial(t, admin)
		c.Send("GET /readyz HTTP/1.1\r\nHost: " + admin + "\r\nConnection: close\r\n\r\n")
		r := c.Response("GET")
		return r.Status == 503 && strings.Contains(string(r.Body), "draining")
	})
	late := rig.Dial(t, address)
	late.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if r := late.Response("GET"); r.Status != 200 {
		t.Errorf("a request while others are given time to notice: answer %d", r.Status)
	}
	refusedAt(t, address)
	idle.WantClosed()
	select {
	case <-done:
		t.Fatal("the gateway ended with requests in flight")
	default:
	}
	upload.Send("world")
	close(release)
	if r := wait.Response("GET"); r.Status != 200 || !r.Closes() {
		t.Errorf("the request that waited for its answer: %d, closes %v", r.Status, r.Closes())
	}
	wait.WantClosed()
	if r := answer.Response("GET"); r.Status != 200 || string(r.Body) != "helloworld" { // its head had left before the end began
		t.Errorf("the answer that was under way: %d %q", r.Status, r.Body)
	}
	answer.WantClosed()
	if r := upload.Response("POST"); r.Status != 200 || !r.Closes() {
		t.Errorf("the body that was under way: %d, closes %v", r.Status, r.Closes())
	}
	upload.WantClosed()
	testnet.Receive(t, "the end of the gateway", done)
	if text := g.Reports.String(); strings.Contains(text, "cut off") {
		t.Errorf("reported: %s", text)
	}
}

// What does not end by itself is cut when the time is up, and said.
func TestShutdownDeadline(t *testing.T) {
	hold := make(chan struct{})
	o := rig.NewOrigin(t, "app", func(c *rig.OriginConn) {
		if c.Request() != nil {
			c.Wait(hold)
		}
	})
	t.Cleanup(func() { close(hold) })
	address := freeAddress(t)
	g := rig.Start(t, simple(address, o.Addr(), "shutdown: {timeout: 200ms}"))
	c := g.Dial("web")
	c.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	o.WaitBytes(1)
	began := time.Now()
	g.Shutdown()
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("ended after %s, before its time was up", took)
	}
	if text := g.Reports.String(); !strings.Contains(text, "1 requests were cut off") {
		t.Errorf("reported %q, want that a request was cut off", text)
	}
	if r, err := c.Try("GET"); err == nil {
		t.Errorf("the client that was cut got an answer: %+v", r)
	}
	refusedAt(t, address)
}

// A second configuration with a listener less drains it as Shutdown does, and the rest goes on.
func TestListenerLeaves(t *testing.T) {
	release := make(chan struct{})
	o := rig.NewOrigin(t, "app", func(c *rig.OriginConn) {
		for {
			r := c.Request()
			if r == nil {
				return
			}
			if r.Target == "/wait" {
				c.Wait(release)
			}
			c.Answer(200, "app")
		}
	})
	web, extra := freeAddress(t), freeAddress(t)
	one := simple(web, o.Addr(), "")
	two := strings.Replace(one, "listeners: {", fmt.Sprintf("listeners: {extra: {address: %q, protocol: http}, ", extra), 1)
	g := rig.Start(t, two)
	stays, leaves, idle := g.Dial("web"), g.Dial("extra"), g.Dial("extra")
	for _, c := range []*rig.Client{stays, idle} {
		c.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if r := c.Response("GET"); r.Closes() {
			t.Error("a client was told to close before anything happened")
		}
	}
	leaves.Send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
	testnet.Eventually(t, "the request at the origin", func() bool { return strings.Contains(o.Received(), "/wait") })
	if err := g.Reload(one); err != nil {
		t.Fatal(err)
	}
	refusedAt(t, extra)
	idle.WantClosed()
	stays.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if r := stays.Response("GET"); r.Status != 200 || r.Closes() {
		t.Errorf("a client of the other listener: %d, closes %v", r.Status, r.Closes())
	}
	close(release)
	if r := leaves.Response("GET"); r.Status != 200 || !r.Closes() {
		t.Errorf("the request in flight: %d, closes %v; want 200 and the end", r.Status, r.Closes())
	}
	leaves.WantClosed()
	// It may come back at once.
	if err := g.Reload(two); err != nil {
		t.Fatal(err)
	}
	again := g.Dial("extra")
	again.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if r := again.Response("GET"); r.Status != 200 {
		t.Errorf("the listener that is back: %d", r.Status)
	}
}
