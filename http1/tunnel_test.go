package http1

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: X-Hop, Upgrade\r\nUpgrade: WebSocket\r\nX-Hop: 1\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

// switchTo answers an upgrade and then runs then.
func switchTo(then func(*testnet.OriginConn)) func(*testnet.OriginConn) {
	return func(c *testnet.OriginConn) {
		if _, ok := c.ReadHead(); ok && c.Send(switching) {
			then(c)
		}
	}
}

// echoBytes sends back what comes, until the end, which it answers with its own.
func echoBytes(c *testnet.OriginConn) { _, _ = io.Copy(c.Conn, c) }

func TestTunnel(t *testing.T) {
	p := newProxy(t, switchTo(echoBytes), nil)
	c := p.client()
	r := c.Do("GET", webSocket)
	if r.Status != 101 || fmt.Sprint(r.Header) != "[{Sec-WebSocket-Accept s3pPLMBiTxaQ9kYGzzhZRbK+xOo=} {Connection upgrade} {Upgrade websocket}]" {
		t.Fatalf("%d %v", r.Status, r.Header)
	}
	for _, text := range []string{"\x81\x05hello", "GET / HTTP/1.1\r\n\r\n", strings.Repeat("large", 50_000)} {
		sent := make(chan error, 1)
		go func() { sent <- c.TrySend(text) }()
		c.WantPrefix(text)
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
	c.CloseWrite()
	c.WantEOF()
	want := "GET /chat HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
	if got := p.origin.Received(); !strings.HasPrefix(got, want+"\x81") {
		t.Errorf("the origin received %.300q", got)
	}
	const moved = 7 + 18 + 250_000
	testnet.Receive(t, "the end of the connection to the origin", p.origin.Conn(0).Ended())
	if e := p.last(); e.Reason != message.ReasonNone || e.Received != moved || e.Sent != moved || e.Status != 101 {
		t.Errorf("%+v, want %d bytes both ways", e, moved)
	}
	if n := p.pool.Idle(); n != 0 {
		t.Error("the connection to the origin was kept")
	}
}

// Security case 15: bytes behind the request wait for the 101; those behind the 101 reach the client.
func TestTunnelEarlyBytes(t *testing.T) {
	agree := make(chan struct{})
	p := newProxy(t, func(c *testnet.OriginConn) {
		if _, ok := c.ReadHead(); ok && c.Wait(agree) && c.Send(switching+"first") {
			echoBytes(c)
		}
	}, nil)
	c := p.client()
	c.Send(webSocket + "early")
	testnet.Eventually(t, "the origin has the request", func() bool { return strings.HasSuffix(p.origin.Received(), "\r\n\r\n") })
	close(agree)
	if r := c.ReadResponse("GET"); r.Status != 101 {
		t.Fatalf("%d %v", r.Status, r.Header)
	}
	got := make([]byte, len("firstearly"))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "firstearly" {
		t.Errorf("received %q, %v", got, err)
	}
	if got := p.origin.Conn(0).Received(); !strings.HasSuffix(got, "\r\n\r\nearly") {
		t.Errorf("the origin received %q", got)
	}
}

// Each direction of a tunnel ends by itself.
func TestTunnelHalfClose(t *testing.T) {
	t.Run("the client ends first", func(t *testing.T) {
		p := newProxy(t, switchTo(func(c *testnet.OriginConn) {
			all, _ := io.ReadAll(c)
			c.Send(fmt.Sprintf("%d bytes", len(all)))
		}), nil)
		c := p.client()
		c.Send(webSocket)
		c.ReadResponse("GET")
		c.Send("hello")
		c.CloseWrite()
		c.WantPrefix("5 bytes")
		c.WantEOF()
	})
	t.Run("the endpoint ends first", func(t *testing.T) {
		p := newProxy(t, switchTo(func(c *testnet.OriginConn) {
			c.Send("bye")
			_ = c.Conn.(interface{ CloseWrite() error }).CloseWrite()
			c.Hang()
		}), nil)
		c := p.client()
		c.Send(webSocket)
		c.ReadResponse("GET")
		c.WantPrefix("bye")
		c.WantEOF()
		c.Send("still here")
		c.CloseWrite()
		p.last().want(t, message.SideNone, message.ReasonNone)
		testnet.Receive(t, "the end of the connection to the origin", p.origin.Conn(0).Ended())
		if got := p.origin.Received(); !strings.HasSuffix(got, "still here") {
			t.Errorf("the origin received %q", got)
		}
	})
	t.Run("the endpoint resets", func(t *testing.T) {
		p := newProxy(t, switchTo(reset), nil)
		c := p.client()
		c.Send(webSocket)
		c.ReadResponse("GET")
		c.WantClosed()
	})
	t.Run("the client resets", func(t *testing.T) {
		p := newProxy(t, switchTo(hang), nil)
		c := p.client()
		c.Send(webSocket)
		c.ReadResponse("GET")
		c.Reset()
		testnet.Receive(t, "the end of the tunnel", p.origin.Conn(0).Ended())
	})
}

func TestTunnelIdle(t *testing.T) {
	p := newProxy(t, switchTo(hang), func(p *proxy) { p.pool.o.ProgressTimeout = 30 * time.Millisecond })
	c := p.client()
	c.Send(webSocket)
	c.ReadResponse("GET")
	c.WantClosed()
	p.last().want(t, message.SideUpstream, message.UpstreamTimeoutIdle)
}

// A side that takes nothing ends the tunnel, and is the one that is named.
func TestTunnelStuck(t *testing.T) {
	short := func(p *proxy) { p.pool.o.ProgressTimeout = 200 * time.Millisecond }
	t.Run("the client", func(t *testing.T) {
		p := newProxy(t, func(c *testnet.OriginConn) {
			if _, ok := c.ReadHead(); ok && c.Send(switching+strings.Repeat("x", 8<<10)) {
				c.Hang()
			}
		}, short)
		a, b := testnet.Pipe(1 << 10)
		c := testnet.NewClient(t, a)
		p.wg.Add(1)
		go func() {
			defer p.wg.Done()
			ServeConn(b, Peer{Addr: peerOf}, p.server, p)
		}()
		c.Send(webSocket)
		p.last().want(t, message.SideClient, message.ClientTimeout)
	})
	t.Run("the endpoint", func(t *testing.T) {
		p := newProxy(t, switchTo(func(c *testnet.OriginConn) { <-c.TestEnds() }), short)
		c := p.client()
		c.Send(webSocket)
		c.ReadResponse("GET")
		over := make(chan error, 1)
		go func() {
			for {
				if err := c.TrySend(strings.Repeat("x", 1<<20)); err != nil {
					over <- err
					return
				}
			}
		}()
		e := p.last().want(t, message.SideUpstream, message.UpstreamTimeoutIdle)
		if !errors.Is(e.Err, errStuck) {
			t.Errorf("the cause is %v", e.Err)
		}
		testnet.Receive(t, "the end of the client", over)
	})
}

// Security cases 14 and 19: an endpoint that does not switch answers as usual. Its connection and
// the client's are not used again: one side may believe in the other protocol.
func TestUpgradeRefused(t *testing.T) {
	p := newProxy(t, testnet.Answer(reply("200 OK", "no tunnel")), nil)
	c := p.client()
	r := c.Do("GET", webSocket+"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
	if want(t, r, 200, "no tunnel"); r.Header.Get("Connection") != "close" || r.Header.Get("Upgrade") != "" {
		t.Errorf("%v", r.Header)
	}
	c.WantEOF()
	p.last().want(t, message.SideNone, message.ReasonNone)
	if n := p.pool.Idle(); n != 0 {
		t.Error("the connection to the origin was kept")
	}
	if got := p.origin.Received(); strings.Contains(got, "smuggled") {
		t.Errorf("the origin received %q", got)
	}
}

// A 101 that the client's request does not ask for, or for another protocol, is no tunnel.
func TestUpgradeNotAskedFor(t *testing.T) {
	other := strings.Replace(switching, "Upgrade: WebSocket", "Upgrade: h2c", 1)
	for name, test := range map[string]struct{ request, answer string }{
		"no upgrade":            {get("/"), switching},
		"upgrade not permitted": {get("/", "Connection: upgrade", "Upgrade: h2c"), other},
		"another protocol":      {webSocket, other},
		"no protocol":           {webSocket, strings.Replace(switching, "Upgrade: WebSocket\r\n", "", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t, once(test.answer, hang), nil)
			c := p.client()
			want(t, c.Do("GET", test.request), 502, "upstream_response_invalid")
			testnet.Receive(t, "the end of the connection to the origin", p.origin.Conn(0).Ended())
		})
	}
}

// A policy may answer in place of a tunnel: the endpoint's connection then ends.
func TestTunnelReplaced(t *testing.T) {
	p := newProxy(t, switchTo(hang), func(p *proxy) {
		p.serve = func(x *message.Exchange) {
			p.forward(x)
			x.Response.Status = 403
		}
	})
	c := p.client()
	if r := c.Do("GET", webSocket); r.Status != 403 {
		t.Errorf("%d %v", r.Status, r.Header)
	}
	testnet.Receive(t, "the end of the connection to the origin", p.origin.Conn(0).Ended())
}

// A tunnel over connections that are no sockets.
func TestTunnelWithoutSocket(t *testing.T) {
	p := newProxy(t, switchTo(echoBytes), nil)
	a, b := testnet.Pipe(1 << 10)
	c := testnet.NewClient(t, a)
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		ServeConn(b, Peer{Addr: peerOf}, p.server, p)
	}()
	c.Send(webSocket + "early")
	if r := c.ReadResponse("GET"); r.Status != 101 {
		t.Fatalf("%d %v", r.Status, r.Header)
	}
	c.WantPrefix("early")
	c.CloseWrite()
	c.WantEOF()
}
