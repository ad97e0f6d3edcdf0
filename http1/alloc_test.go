//go:build !race

package http1

import (
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

// allocates fails the test if f allocates in steady state.
func allocates(t *testing.T, what string, f func()) {
	t.Helper()
	for range 20 { // buffers grow to their size
		f()
	}
	if n := testing.AllocsPerRun(1000, f); n != 0 {
		t.Errorf("%s allocates %v times", what, n)
	}
}

func TestParsingDoesNotAllocate(t *testing.T) {
	o, po := serverOptions(), poolOptions("")
	var x message.Exchange
	allocates(t, "reading a request head", func() {
		x.Reset()
		var p requestParser
		if done, reason := p.parse(browser, &x, o); !done || reason != message.ReasonNone {
			t.Fatal(reason)
		}
		if reason := p.finish(browser, &x, o); reason != message.ReasonNone {
			t.Fatal(reason)
		}
	})
	head := []byte(served)
	allocates(t, "reading a response head", func() {
		x.Response.Header.Reset()
		var p responseParser
		if n, err := p.parse(head, &x, &po); n == 0 || err != nil {
			t.Fatal(err)
		}
		if err := p.finish(&x); err != nil {
			t.Fatal(err)
		}
		x.Response.Status, x.Response.Length = p.head.status, p.head.length
	})
	var buf []byte
	allocates(t, "writing a request head", func() {
		var err error
		if buf, err = appendRequestHead(buf[:0], &x); err != nil {
			t.Fatal(err)
		}
	})
	allocates(t, "writing a response head", func() {
		var err error
		if buf, err = appendResponseHead(buf[:0], &x, frameLength, true, &o.date); err != nil {
			t.Fatal(err)
		}
	})
}

// An attempt that can be canceled and must not be sent twice costs no allocation either.
func TestCancelDoesNotAllocate(t *testing.T) {
	d := newDirect(t, func(c *testnet.OriginConn) { testnet.Respond(c.Conn, []byte(served)) }, nil)
	var c Cancel
	var call Call
	x := exchangeOf("GET", "/", "")
	allocates(t, "an attempt that can be canceled", func() {
		c.Reset()
		call = Call{Once: true, Cancel: &c}
		if f := d.pool.Do(x, &call); f != nil {
			t.Fatal(f)
		}
		if _, err := x.Response.Body.Next(); err != nil {
			t.Fatal(err)
		}
		_ = x.Response.Body.Close()
		x.Response.Header.Reset()
	})
}

// A whole exchange, from the first byte of the request to the last of the answer, in steady state.
func TestExchangesDoNotAllocate(t *testing.T) {
	for _, way := range []struct {
		name string
		tcp  bool
	}{{"in memory", false}, {"over TCP", true}} {
		t.Run(way.name, func(t *testing.T) {
			for name, test := range map[string]struct{ request, answer string }{
				"no body":      {get("/"), "HTTP/1.1 204 No Content\r\n\r\n"},
				"chunks":       {get("/", "TE: trailers"), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3\r\nmor\r\n0\r\nX: 1\r\n\r\n"},
				"small":        {string(browser), served},
				"with body":    {post("/", "hello, a body that is forwarded"), served},
				"keep-alive":   {get("/", "Authorization: Negotiation x"), reply("200 OK", "ok", "Keep-Alive: timeout=5, max=1000000", "WWW-Authenticate: Basic")},
				"large answer": {get("/"), reply("200 OK", strings.Repeat("x", 200<<10))},
			} {
				w := newWire(t, way.tcp, test.answer)
				request := []byte(test.request)
				allocates(t, name, func() {
					if err := w.exchange(request); err != nil {
						t.Fatal(err)
					}
				})
			}
		})
	}
}
