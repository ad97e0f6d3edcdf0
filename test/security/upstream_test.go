package security

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/test/rig"
)

// poison is an answer that nobody asked for. A client that receives it has got somebody else's.
var poison = rig.Answer(200, "poison")

func TestCase12BadUpstreamAnswer(t *testing.T) {
	t.Parallel()
	interims := func(n int) string { return strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", n) }
	for _, c := range []struct {
		name   string
		raw    string // what the origin answers, if the connection stays open behind it
		method string
		status int
		reason string
		body   string
		cut    bool // the client must see that the body is not whole
		end    bool // the origin closes behind the answer
		pooled bool // the connection may be used again
	}{
		{name: "both lengths", raw: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + hello, status: 502},
		{name: "two lengths", raw: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", status: 502},
		{name: "two equal lengths", raw: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", status: 502},
		{name: "bad length", raw: "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", status: 502},
		{name: "list of lengths", raw: "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", status: 502},
		{name: "unknown encoding", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" + hello, status: 502},
		{name: "encoding twice", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + hello, status: 502},
		{name: "encoding in HTTP/1.0", raw: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + hello, status: 502},
		{name: "LF for line ends", raw: "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", status: 502},
		{name: "folded", raw: "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 5\r\n\r\nhello", status: 502},
		{name: "space before the colon", raw: "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello", status: 502},
		{name: "NUL in a value", raw: "HTTP/1.1 200 OK\r\nX-A: b\x00\r\nContent-Length: 5\r\n\r\nhello", status: 502},
		{name: "CR in a value", raw: "HTTP/1.1 200 OK\r\nX-A: b\rSet-Cookie: c\r\nContent-Length: 5\r\n\r\nhello", status: 502},
		{name: "not HTTP", raw: "SSH-2.0-OpenSSH_9.0\r\n\r\n", status: 502},
		{name: "HTTP/2", raw: "HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", status: 502},
		{name: "status of two digits", raw: "HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello", status: 502},
		{name: "status 099", raw: "HTTP/1.1 099 OK\r\nContent-Length: 5\r\n\r\nhello", status: 502},
		{name: "status 600", raw: "HTTP/1.1 600 OK\r\nContent-Length: 5\r\n\r\nhello", status: 502},
		{name: "101 that nobody asked for", raw: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", status: 502},
		{name: "1xx with a length", raw: "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello" + rig.Answer(200, "late"), status: 502},
		{name: "1xx flood", raw: interims(1000), status: 502},
		{name: "204 with a length", raw: "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", status: 502},
		{name: "204 with an encoding", raw: "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n" + hello, status: 502},
		{name: "head without end", raw: "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: "+strings.Repeat("b", 1000)+"\r\n", 1000), status: 502, reason: "upstream_response_too_large"},
		{name: "10 000 fields", raw: "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 10_000) + "\r\n", status: 502},
		{name: "closed without an answer", end: true, status: 502, reason: "upstream_reset"},
		{name: "closed inside the head", raw: "HTTP/1.1 200 OK\r\nContent-Le", end: true, status: 502, reason: "upstream_reset"},

		{name: "204 and a body", raw: "HTTP/1.1 204 No Content\r\n\r\n" + poison, status: 204},
		{name: "304 and a body", raw: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello", status: 304},
		{name: "HEAD and a body", raw: rig.Answer(200, "hello"), method: "HEAD", status: 200},
		{name: "length too small", raw: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, world", status: 200, body: "hello"},
		{name: "another answer behind", raw: rig.Answer(200, "hello") + poison, status: 200, body: "hello"},
		{name: "another answer behind chunks", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + hello + poison, status: 200, body: "hello"},
		{name: "a line end behind", raw: rig.Answer(200, "hello") + "\r\n", status: 200, body: "hello"},
		{name: "some 1xx", raw: interims(3) + rig.Answer(200, "hello"), status: 200, body: "hello", pooled: true},

		{name: "length too large", raw: "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", end: true, status: 200, body: "hello", cut: true},
		{name: "chunks without end", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", end: true, status: 200, body: "hello", cut: true},
		{name: "chunk cut short", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello", end: true, status: 200, body: "hello", cut: true},
		{name: "trailers without end", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-A: b\r\n", end: true, status: 200, body: "hello", cut: true},
		{name: "bad chunk size", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0x5\r\n", status: 200, body: "hello", cut: true},
		{name: "bad trailer", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX A: b\r\n\r\n", status: 200, body: "hello", cut: true},
		{name: "up to the end", raw: "HTTP/1.1 200 OK\r\n\r\nhello", end: true, status: 200, body: "hello"},
		{name: "closes", raw: rig.Answer(200, "hello", "Connection: close") + poison, status: 200, body: "hello"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.method == "" {
				c.method = "GET"
			}
			if c.status == 502 && c.reason == "" {
				c.reason = "upstream_response_invalid"
			}
			o := rig.NewOrigin(t, "app", func(oc *rig.OriginConn) {
				for oc.Request() != nil {
					if oc.Number > 1 || oc.Served > 1 {
						oc.Answer(200, "second")
						continue
					}
					oc.Send(c.raw)
					if c.end {
						oc.Close()
					}
				}
			})
			g := rig.Start(t, strings.Replace(site(o, ""), "endpoints", "retries: {attempts: 0}, endpoints", 1))
			cl := g.Dial("web")
			cl.Send(c.method + " / HTTP/1.1\r\nHost: a.test\r\n\r\n")
			r, err := cl.Try(c.method)
			switch {
			case c.cut != (errors.Is(err, io.ErrUnexpectedEOF)), !c.cut && err != nil:
				t.Fatalf("reading the answer: %v, want cut short: %v", err, c.cut)
			case r.Status != c.status || r.Reason() != c.reason:
				t.Errorf("answer %d %q, want %d %q", r.Status, r.Reason(), c.status, c.reason)
			case c.status != 502 && !strings.HasPrefix(c.body, string(r.Body)), !c.cut && c.status == 200 && string(r.Body) != c.body:
				t.Errorf("body %q, want %q", r.Body, c.body)
			}
			g.Log(1) // its line comes when the exchange has ended, and with it the use of the endpoint's connection
			other := g.Dial("web")
			other.Send(get("/second"))
			if r := other.Response("GET"); r.Status != 200 || string(r.Body) != "second" {
				t.Errorf("the next request got %d %q, want second", r.Status, r.Body)
			}
			if used := len(o.Conns()); (used == 1) != c.pooled {
				t.Errorf("%d connections to the endpoint, pooled: want %v", used, c.pooled)
			}
			if all := backendSaw(t, g, o); len(all) != 2 {
				t.Errorf("the backend saw %d requests, want 2", len(all))
			}
			want := c.reason
			if c.cut {
				want = "upstream_body_broken"
			}
			if got, _ := lineOf(t, g.Log(2), "/")["reason"].(string); got != want {
				t.Errorf("reason %q in the log, want %q", got, want)
			}
		})
	}
}

func TestCase13BytesOnIdleConnection(t *testing.T) {
	t.Parallel()
	for name, bytes := range map[string]string{
		"an answer": poison, "half an answer": poison[:20], "one byte": "x", "408 and the end": rig.Answer(408, "", "Connection: close"), "the end": "",
	} {
		t.Run(name, func(t *testing.T) {
			answered, spoiled := make(chan struct{}), make(chan struct{})
			o := rig.NewOrigin(t, "app", func(c *rig.OriginConn) {
				if c.Number == 1 {
					if c.Request() == nil || !c.Answer(200, "first") || !c.Wait(answered) {
						return
					}
					c.Send(bytes) // the answer has reached the client, so the connection is idle
					if bytes == "" || strings.Contains(name, "end") {
						c.CloseWrite()
					}
					close(spoiled)
					return
				}
				for c.Request() != nil {
					c.Answer(200, "second")
				}
			})
			g := rig.Start(t, site(o, ""))
			c := g.Dial("web")
			c.Send(get("/first"))
			if r := c.Response("GET"); string(r.Body) != "first" {
				t.Fatalf("answer %q, want first", r.Body)
			}
			close(answered)
			testnet.Receive(t, "the bytes", spoiled)
			c.Send(get("/second"))
			if r := c.Response("GET"); r.Status != 200 || string(r.Body) != "second" {
				t.Errorf("the next request got %d %q, want second", r.Status, r.Body)
			}
			c.Send("POST /third HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\nx")
			if r := c.Response("POST"); r.Status != 200 || string(r.Body) != "second" {
				t.Errorf("the request behind it got %d %q, want second", r.Status, r.Body)
			}
			conns := o.Conns()
			if len(conns) != 2 {
				t.Fatalf("%d connections to the endpoint, want 2", len(conns))
			}
			if all, err := rig.ParseRequests(conns[0].Bytes()); err != nil || len(all) != 1 {
				t.Errorf("the spoiled connection carried %d requests (%v), want 1", len(all), err)
			}
		})
	}
}
