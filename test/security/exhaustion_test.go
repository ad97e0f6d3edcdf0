package security

import (
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/test/rig"
)

// trickle sends a byte every few milliseconds until the other side has had enough, and reports how long it took.
func trickle(t *testing.T, c *rig.Client, b string) time.Duration {
	t.Helper()
	began := time.Now()
	for time.Since(began) < testnet.Patience {
		if c.TrySend(b) != nil {
			return time.Since(began)
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Error("a client that sends byte by byte is never cut")
	return 0
}

// All of these clients send or take something all the time. What ends them is a bound on the whole, or on the rate.
func TestCase48SlowClients(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 32<<20)
	o := rig.NewOrigin(t, "app", func(c *rig.OriginConn) {
		for {
			r := c.Request()
			switch {
			case r == nil:
				return
			case r.Target == "/large":
				c.Answer(200, large)
			default:
				c.Answer(200, "app")
			}
		}
	})
	g := rig.Start(t, site(o, "timeouts: {header: 300ms, body: 300ms, idle: 300ms, write: 300ms}, limits: {min_rate: 10KiB}"))
	t.Run("head byte by byte", func(t *testing.T) {
		t.Parallel()
		c := rig.Dial(t, g.Address("web"))
		c.Send("GET / HTTP/1.1\r\nHost: a.test\r\nX-Slow: ")
		r := make(chan *rig.Response, 1)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if got, err := c.Try("GET"); err == nil {
				r <- got
			}
		}()
		trickle(t, c, "a")
		<-done
		select {
		case got := <-r:
			if got.Status != 408 || got.Reason() != "header_timeout" || !got.Closes() {
				t.Errorf("answer %d %q, want 408 header_timeout and the end", got.Status, got.Reason())
			}
		default:
			t.Error("no answer before the end of the connection")
		}
	})
	t.Run("nothing", func(t *testing.T) {
		t.Parallel()
		rig.Dial(t, g.Address("web")).WantClosed()
	})
	// The wait for the next request begins anew with each answer, but not with each timer that fires early.
	for _, pause := range []time.Duration{0, 50 * time.Millisecond, 150 * time.Millisecond} {
		t.Run(fmt.Sprint("idle after ", pause), func(t *testing.T) {
			t.Parallel()
			c := rig.Dial(t, g.Address("web"))
			for began := time.Now(); time.Since(began) < pause; {
				time.Sleep(time.Millisecond)
			}
			c.Send(get("/"))
			c.Response("GET")
			c.WantClosed()
		})
	}
	t.Run("empty lines", func(t *testing.T) {
		t.Parallel()
		c := rig.Dial(t, g.Address("web"))
		c.Push(strings.Repeat("\r\n", 1000))
		if r := c.Response("GET"); r.Status != 400 || r.Reason() != "request_line_invalid" {
			t.Errorf("answer %d %q, want 400 request_line_invalid", r.Status, r.Reason())
		}
		c.WantClosed()
	})
	for name, framing := range map[string][2]string{"length": {"Content-Length: 1000000\r\n", "x"}, "chunks": {"Transfer-Encoding: chunked\r\n", "1\r\nx\r\n"}} {
		t.Run("body byte by byte, "+name, func(t *testing.T) {
			t.Parallel()
			c := rig.Dial(t, g.Address("web"))
			c.Send(post(framing[0], framing[1]))
			trickle(t, c, framing[1])
		})
		t.Run("body that stops, "+name, func(t *testing.T) {
			t.Parallel()
			c := rig.Dial(t, g.Address("web"))
			c.Send(post(framing[0], framing[1]))
			if r := c.Response("POST"); r.Status != 408 || r.Reason() != "body_timeout" || !r.Closes() {
				t.Errorf("answer %d %q, want 408 body_timeout and the end", r.Status, r.Reason())
			}
			c.WantClosed()
		})
	}
	t.Run("answer that nobody reads", func(t *testing.T) {
		t.Parallel()
		c := rig.Dial(t, g.Address("web"))
		if err := c.Conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		c.Send(get("/large"))
		testnet.Eventually(t, "the log to say that the client does not read", func() bool {
			return strings.Contains(g.Out.String(), `"reason":"client_timeout"`)
		})
		if sent := lineOf(t, g.Log(1), "/large")["bytes_sent"].(float64); sent >= float64(len(large)) {
			t.Errorf("all %.0f bytes were sent to a client that reads none", sent)
		}
		c.Reset()
	})
}

// The memory of waiting clients is theirs to choose only up to a bound for each.
func TestCase48MemoryStaysFlat(t *testing.T) { // not in parallel: it looks at the memory of the process
	const clients = 300
	o := rig.NewOrigin(t, "app", nil)
	g := rig.Start(t, site(o, "timeouts: {header: 60s}"))
	c := g.Dial("web")
	c.Send(get("/"))
	c.Response("GET")
	before := heap()
	for range clients {
		slow := g.Dial("web")
		slow.Send("GET / HTTP/1.1\r\nHost: a.test\r\nX-Slow: ")
		slow.Send("a")
	}
	testnet.Eventually(t, "the connections", func() bool { return g.Metric(`sluice_connections{listener="web"}`) == fmt.Sprint(clients+1) })
	// A pooled buffer of 16 KiB and the exchange that it fills, for each; and the test's own side.
	if per := (heap() - before) / clients; per > 64<<10 {
		t.Errorf("%d bytes of memory for each client that sends its head slowly", per)
	}
}

func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func TestCase51LargeHeads(t *testing.T) {
	t.Parallel()
	mega := strings.Repeat("x", 1<<20)
	runAll(t, []attempt{
		refused("10 000 fields", with(strings.Repeat("A: b\r\n", 10_000)), 431, "header_too_many"),
		refused("101 fields", "GET / HTTP/1.1\r\nHost: a.test\r\n"+strings.Repeat("A: b\r\n", 100)+"\r\n", 431, "header_too_many"),
		passes("100 fields", "GET /x HTTP/1.1\r\nHost: a.test\r\n"+strings.Repeat("A: b\r\n", 99)+"\r\n", `GET /x ""`),
		refused("field of 1 MB", with("A: "+mega+"\r\n"), 431, "header_too_large"),
		refused("field of 1 MB without an end", "GET /x HTTP/1.1\r\nA: "+mega, 431, "header_too_large"),
		refused("fields of 1 MB in all", with(strings.Repeat("A: "+mega[:16<<10]+"\r\n", 64)), 431, "header_too_large"),
		refused("name of 1 MB", with(mega+": b\r\n"), 431, "header_too_large"),
		refused("name of 2 KB", with(mega[:2<<10]+": b\r\n"), 400, "header_name_invalid"),
		refused("target of 1 MB", get("/"+mega), 414, "request_line_too_long"),
		refused("query of 1 MB", get("/?"+mega), 414, "request_line_too_long"),
		refused("request line without an end", "GET /"+mega, 414, "request_line_too_long"),
		refused("method of 1 MB", mega+" / HTTP/1.1\r\nHost: a.test\r\n\r\n", 414, "request_line_too_long"),
		refused("method of 33 bytes", mega[:33]+" / HTTP/1.1\r\nHost: a.test\r\n\r\n", 400, "method_invalid"),
		{name: "lower bounds", raw: get("/" + mega[:100]), listener: "limits: {request_line: 64, headers: 1KiB}", want: []answer{{status: 414, reason: "request_line_too_long"}}},
		{name: "higher bounds", raw: with("A: " + mega[:200<<10] + "\r\n"), listener: "limits: {headers: 256KiB}", open: true, want: []answer{{status: 200}}, backend: []string{`GET /x ""`}},
		{name: "trailers of 1 MB", raw: post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n"+strings.Repeat("A: "+mega[:1000]+"\r\n", 1000)+"\r\n"),
			want: []answer{{method: "POST", status: 431, reason: "header_too_large"}}},
	})
}

func TestCase54TinyChunks(t *testing.T) {
	t.Parallel()
	const n = 300_000
	t.Run("one byte each", func(t *testing.T) {
		o := rig.NewOrigin(t, "app", nil)
		g := rig.Start(t, site(o, ""))
		c := g.Dial("web")
		c.Send(post("Transfer-Encoding: chunked\r\n", strings.Repeat("1\r\nx\r\n", n)+"0\r\n\r\n"))
		if r := c.Response("POST"); r.Status != 200 {
			t.Fatalf("answer %d %q, want 200", r.Status, r.Reason())
		}
		c.Close()
		all := backendSaw(t, g, o)
		if len(all) != 1 || len(all[0].Body) != n {
			t.Fatalf("the backend saw %d requests", len(all))
		}
		// Six bytes for each on the way in become pieces as large as the buffers: nobody behind the gateway pays for what its client does.
		if wire := len(o.Received()); wire > n+n/10 {
			t.Errorf("a body of %d bytes is forwarded in %d bytes and %d chunks", n, wire, all[0].Chunks)
		}
	})
	for name, chunk := range map[string]string{
		"with long extensions": "1;" + strings.Repeat("e", 200) + "\r\nx\r\n",
		"with leading zeros":   "000000000000001\r\nx\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			o := rig.NewOrigin(t, "app", nil)
			g := rig.Start(t, site(o, ""))
			c := g.Dial("web")
			c.Push(post("Transfer-Encoding: chunked\r\n", strings.Repeat(chunk, n/10)+"0\r\n\r\n"))
			if r := c.Response("POST"); r.Status != 400 || r.Reason() != "chunk_invalid" || !r.Closes() {
				t.Errorf("answer %d %q, want 400 chunk_invalid and the end", r.Status, r.Reason())
			}
			g.Close()
			o.WaitEnd()
			if all, err := o.Requests(); err == nil && len(all) > 0 {
				t.Errorf("the backend saw %d whole requests", len(all))
			}
		})
	}
}

func TestCase56ManyHosts(t *testing.T) { // not in parallel: it looks at the memory of the process
	o := rig.NewOrigin(t, "app", nil)
	g := rig.Start(t, site(o, ""))
	c := g.Dial("web")
	ask := func(i int) {
		c.Send(fmt.Sprintf("M%d /p%d?q%d HTTP/1.1\r\nHost: h%d.test\r\nUser-Agent: a%d\r\n\r\n", i%100, i, i, i, i))
		if r := c.Response("GET"); r.Status != 200 {
			t.Fatalf("answer %d %q", r.Status, r.Reason())
		}
	}
	ask(0)
	ask(0) // the one before is counted by now: it was the same connection's
	before, grown := strings.Count(g.Metrics(), "\n"), heap()
	for i := range 2000 {
		ask(i)
	}
	if after := strings.Count(g.Metrics(), "\n"); after != before {
		t.Errorf("%d lines of metrics after 2000 hosts, %d before", after, before)
	}
	if n := len(o.Conns()); n != 1 {
		t.Errorf("%d connections to the endpoint for one client, want 1", n)
	}
	// The log and the record of the origin grow, in the test's memory.
	own := 2*len(g.Out.String()) + 4*len(o.Received())
	if more := heap() - grown - own; more > 4<<20 {
		t.Errorf("the memory grew by %d bytes", more)
	}
}

func TestCase57RetryBuffers(t *testing.T) {
	t.Parallel()
	// The first connection takes the whole request and says nothing.
	script := func(c *rig.OriginConn) {
		for c.Request() != nil {
			if c.Number == 1 {
				c.Close()
				return
			}
			c.Answer(200, "second")
		}
	}
	config := func(o *rig.Origin, retries string) string {
		return strings.Replace(site(o, ""), "endpoints", "retries: {"+retries+"}, endpoints", 1)
	}
	for _, c := range []struct {
		name    string
		retries string
		size    int
		again   bool
	}{
		{"within the bound", "max_body: 64KiB", 60 << 10, true},
		{"beyond the bound", "max_body: 64KiB", 200 << 10, false},
		{"no buffer at all", "max_body: 0", 100 << 10, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := rig.NewOrigin(t, "app", script)
			g := rig.Start(t, config(o, c.retries))
			cl := g.Dial("web")
			body := strings.Repeat("x", c.size)
			cl.Send(fmt.Sprintf("PUT /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n%s", c.size, body))
			r := cl.Response("PUT")
			switch {
			case c.again && (r.Status != 200 || string(r.Body) != "second"):
				t.Errorf("answer %d %q, want that of a second try", r.Status, r.Reason())
			case !c.again && (r.Status != 502 || r.Reason() != "upstream_reset"):
				t.Errorf("answer %d %q, want 502 upstream_reset", r.Status, r.Reason())
			}
			for _, q := range backendSaw(t, g, o) {
				if string(q.Body) != body {
					t.Errorf("the backend saw a body of %d bytes, want %d", len(q.Body), c.size)
				}
			}
		})
	}
	t.Run("given back", func(t *testing.T) {
		const clients = 20
		release := make(chan struct{})
		o := rig.NewOrigin(t, "app", func(c *rig.OriginConn) {
			for c.Request() != nil {
				c.Wait(release)
				c.Answer(200, "app")
			}
		})
		g := rig.Start(t, config(o, "max_body: 64KiB"))
		var all []*rig.Client
		for range clients {
			c := g.Dial("web")
			c.Send("PUT /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nc350\r\n" + strings.Repeat("x", 50000) + "\r\n0\r\n\r\n")
			all = append(all, c)
		}
		o.Wait("all requests", func(conns []*rig.OriginConn) bool {
			n := 0
			for _, c := range conns {
				n += c.Served
			}
			return n == clients
		})
		if kept := g.Backends()[0].BodyBytes; kept > clients*64<<10 {
			t.Errorf("%d bytes of bodies are kept for %d requests of at most 64 KiB", kept, clients)
		}
		close(release)
		for _, c := range all {
			if r := c.Response("PUT"); r.Status != 200 {
				t.Errorf("answer %d %q", r.Status, r.Reason())
			}
		}
		testnet.Eventually(t, "the bodies to be given back", func() bool { return g.Backends()[0].BodyBytes == 0 })
	})
}
