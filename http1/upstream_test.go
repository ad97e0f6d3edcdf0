package http1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

// once is a script that reads one request, sends text and then does what then says.
func once(text string, then func(*testnet.OriginConn)) func(*testnet.OriginConn) {
	return func(c *testnet.OriginConn) {
		if _, ok := c.ReadRequest(); ok && c.Send(text) && then != nil {
			then(c)
		}
	}
}

// final reads the response behind interim ones.
func final(c *testnet.Client, method string) (*testnet.Response, error) {
	for {
		r, err := c.TryResponse(method)
		if err != nil || r.Status >= 200 {
			return r, err
		}
	}
}

func hang(c *testnet.OriginConn)  { c.Hang() }
func reset(c *testnet.OriginConn) { c.Reset() }

// Security case 12: an answer that is wrong becomes 502, or visibly cut short where it has begun,
// and its connection is not used again.
func TestUpstreamFaults(t *testing.T) {
	const chunkedHead = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, test := range []struct {
		name   string
		script func(*testnet.OriginConn)
		status int // 0: the response is cut short
		reason message.Reason
		retry  message.Retry
	}{
		{"closed without an answer", once("", nil), 502, message.UpstreamReset, message.RetryUnknown},
		{"reset without an answer", once("", reset), 502, message.UpstreamReset, message.RetryUnknown},
		{"closed in the head", once("HTTP/1.1 200 OK\r\nContent-", nil), 502, message.UpstreamReset, message.RetryNever},
		{"reset in the head", once("HTTP/1.1 200", reset), 502, message.UpstreamReset, message.RetryNever},
		{"closed behind an interim answer", once("HTTP/1.1 103 Early Hints\r\n\r\n", nil), 502, message.UpstreamReset, message.RetryNever},
		{"no HTTP", once("SSH-2.0-OpenSSH\r\n", hang), 502, message.UpstreamResponseInvalid, message.RetryNever},
		{"length and chunked", once("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", hang), 502, message.UpstreamResponseInvalid, message.RetryNever},
		{"two lengths", once("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", hang), 502, message.UpstreamResponseInvalid, message.RetryNever},
		{"204 with a length", once("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", hang), 502, message.UpstreamResponseInvalid, message.RetryNever},
		{"head too large", once("HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 40<<10)+"\r\n\r\n", hang), 502, message.UpstreamResponseTooLarge, message.RetryNever},
		{"head without end", once("HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 40<<10), hang), 502, message.UpstreamResponseTooLarge, message.RetryNever},
		{"too many interim answers", once(strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 17), hang), 502, message.UpstreamResponseInvalid, message.RetryNever},
		{"101 that nobody asked for", once("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", hang), 502, message.UpstreamResponseInvalid, message.RetryNever},
		{"too short", once("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", nil), 0, message.UpstreamBodyBroken, 0},
		{"too short, reset", once("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", reset), 0, message.UpstreamBodyBroken, 0},
		{"chunks without end", once(chunkedHead+"3\r\nhel\r\n", nil), 0, message.UpstreamBodyBroken, 0},
		{"closed in a chunk", once(chunkedHead+"5\r\nhel", nil), 0, message.UpstreamBodyBroken, 0},
		{"bad chunk", once(chunkedHead+"3\r\nhel\r\nx\r\n", hang), 0, message.UpstreamBodyBroken, 0},
		{"bad trailer", once(chunkedHead+"3\r\nhel\r\n0\r\nA: \x00\r\n\r\n", hang), 0, message.UpstreamBodyBroken, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProxy(t, test.script, nil)
			c := p.client()
			c.Send(get("/"))
			r, err := final(c, "GET")
			e := p.last().want(t, message.SideUpstream, test.reason)
			if test.status == 0 {
				if err == nil || e.Failure != nil {
					t.Errorf("response %+v, %v, failure %v; want one that is cut short", r, err, e.Failure)
				}
				c.WantClosed()
			} else if err != nil || r.Status != test.status || e.Failure.Retry != test.retry {
				t.Errorf("response %+v, %v, retry %d; want status %d, retry %d", r, err, e.Failure.Retry, test.status, test.retry)
			}
			testnet.Receive(t, "the end of the connection to the origin", p.origin.Conn(0).Ended())
			if n := p.pool.Idle(); n != 0 {
				t.Errorf("%d connections were kept", n)
			}
		})
	}
}

// An answer that is complete, on a connection that cannot be used again.
func TestUpstreamConnectionsNotKept(t *testing.T) {
	for _, test := range []struct{ name, method, answer, body string }{
		{"bytes behind", "GET", reply("200 OK", "ok") + "more", "ok"},
		{"a second answer", "GET", reply("200 OK", "ok") + reply("200 OK", "evil"), "ok"},
		{"close", "GET", reply("200 OK", "ok", "Connection: close"), "ok"},
		{"1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"},
		{"HEAD with a body", "HEAD", reply("200 OK", "ok"), ""},
		{"304 with a body", "GET", reply("304 Not Modified", "ok"), ""},
		{"204 with a body", "GET", "HTTP/1.1 204 No Content\r\n\r\nok", ""},
		{"bytes behind the last chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n0\r\n\r\n", "ok"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProxy(t, once(test.answer, hang), nil)
			c := p.client()
			for range 2 {
				if r := c.Do(test.method, strings.Replace(get("/"), "GET", test.method, 1)); string(r.Body) != test.body {
					t.Fatalf("%d %q", r.Status, r.Body)
				}
			}
			if n := p.origin.Conns(); n != 2 {
				t.Errorf("two requests took %d connections", n)
			}
		})
	}
}

// Security case 13: what an endpoint says on an idle connection is never taken for an answer.
func TestUnaskedAnswers(t *testing.T) {
	speak, spoken := make(chan struct{}), make(chan struct{})
	p := newProxy(t, func(c *testnet.OriginConn) {
		if _, ok := c.ReadRequest(); !ok {
			return
		}
		c.Send(reply("200 OK", itoa(c.Number)))
		if c.Number == 0 && c.Wait(speak) {
			c.Send(reply("200 OK", "evil"))
			close(spoken)
		}
		c.Hang()
	}, nil)
	c := p.client()
	want(t, c.Do("GET", get("/")), 200, "0")
	close(speak)
	testnet.Receive(t, "the unasked answer", spoken)
	want(t, c.Do("GET", get("/")), 200, "1")
}

func TestSweep(t *testing.T) {
	p := newProxy(t, echo, nil)
	c := p.client()
	want(t, c.Do("GET", get("/")), 200, "GET / ")
	p.last()
	if p.pool.Sweep(); p.pool.Idle() != 1 {
		t.Fatalf("%d connections after a sweep, want 1", p.pool.Idle())
	}
	_ = p.origin.Conn(0).Close()
	testnet.Eventually(t, "the sweep finds a closed connection", func() bool {
		p.pool.Sweep()
		return p.pool.Idle() == 0
	})
	want(t, c.Do("GET", get("/")), 200, "GET / ")
	p.last()
	p.pool.o.IdleTimeout = 0
	if p.pool.Sweep(); p.pool.Idle() != 0 {
		t.Error("a connection was kept beyond its time")
	}
	want(t, c.Do("GET", get("/")), 200, "GET / ")
	p.last()
	if p.pool.Close(); p.pool.Idle() != 0 {
		t.Error("a connection outlived its pool")
	}
	want(t, c.Do("GET", get("/")), 200, "GET / ")
	p.last()
	if p.pool.Idle() != 0 {
		t.Error("a connection came back to a pool that is closed")
	}
}

func TestMaxIdle(t *testing.T) {
	both := make(chan struct{})
	p := newProxy(t, func(c *testnet.OriginConn) {
		for {
			if _, ok := c.ReadRequest(); !ok || !c.Wait(both) || !c.Send(reply("200 OK", "")) {
				return
			}
		}
	}, func(p *proxy) { p.pool.o.MaxIdle = 1 })
	a, b := p.client(), p.client()
	a.Send(get("/"))
	b.Send(get("/"))
	p.origin.Conn(1)
	close(both)
	a.ReadResponse("GET")
	b.ReadResponse("GET")
	p.last()
	p.last()
	if n := p.pool.Idle(); n != 1 {
		t.Errorf("%d connections are kept, want 1", n)
	}
}

// The classes by which a backend decides on a retry.
func TestRetryClasses(t *testing.T) {
	// dropAt is an origin whose connections end when their n-th request has come.
	dropAt := func(n int) func(*testnet.OriginConn) {
		return func(c *testnet.OriginConn) {
			for i := 1; ; i++ {
				if _, ok := c.ReadRequest(); !ok || i == n || !c.Send(reply("200 OK", "")) {
					return
				}
			}
		}
	}
	t.Run("new connection", func(t *testing.T) {
		p := newProxy(t, dropAt(1), nil)
		want(t, p.client().Do("GET", get("/")), 502, "upstream_reset")
		if e := p.last(); e.Failure.Retry != message.RetryUnknown || e.Reused {
			t.Errorf("retry class %d, reused %v", e.Failure.Retry, e.Reused)
		}
	})
	t.Run("reused connection", func(t *testing.T) {
		p := newProxy(t, dropAt(2), nil)
		c := p.client()
		want(t, c.Do("GET", get("/")), 200, "")
		p.last()
		want(t, c.Do("GET", get("/")), 502, "upstream_reset")
		if e := p.last(); e.Failure.Retry != message.RetryReused || !e.Reused {
			t.Errorf("retry class %d, reused %v", e.Failure.Retry, e.Reused)
		}
	})
	t.Run("connection that had ended", func(t *testing.T) {
		p := newProxy(t, echo, nil)
		c := p.client()
		for i := range 3 {
			want(t, c.Do("POST", post("/", "hello")), 200, "POST / hello") // taken up by a new connection
			if e := p.last(); e.Reused {
				t.Errorf("request %d went over a connection that had ended", i)
			}
			_ = p.origin.Conn(i).Close()
			testnet.Receive(t, "the end of the connection", p.origin.Conn(i).Ended())
		}
	})
	t.Run("no connection wanted from the pool", func(t *testing.T) {
		p := newProxy(t, echo, func(p *proxy) { p.call.Fresh = true })
		c := p.client()
		want(t, c.Do("GET", get("/")), 200, "GET / ")
		want(t, c.Do("GET", get("/")), 200, "GET / ")
		if n := p.origin.Conns(); n != 2 {
			t.Errorf("two requests took %d connections", n)
		}
	})
}

func TestConnectFailures(t *testing.T) {
	for _, test := range []struct {
		name   string
		err    error
		reason message.Reason
	}{
		{"refused", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, message.UpstreamConnectRefused},
		{"timeout", context.DeadlineExceeded, message.UpstreamConnectTimeout},
		{"timeout of the dialer", &net.OpError{Op: "dial", Err: syscall.ETIMEDOUT}, message.UpstreamConnectTimeout},
		{"name not found", &net.DNSError{Err: "no such host"}, message.UpstreamConnectFailed},
		{"other", errors.New("no route"), message.UpstreamConnectFailed},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProxy(t, echo, func(p *proxy) {
				p.pool.o.Dial = func(context.Context, string) (net.Conn, error) { return nil, test.err }
			})
			c := p.client()
			for range 2 { // the client's connection lives on
				want(t, c.Do("POST", post("/", "hello")), test.reason.Status(), test.reason.String())
				if f := p.last().Failure; f.Retry != message.RetryUnsent || f.Stage != message.StageConnect {
					t.Errorf("failure %+v", f)
				}
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = ln.Close()
		p := newProxy(t, echo, func(p *proxy) { p.pool.o.Address = ln.Addr().String() })
		want(t, p.client().Do("GET", get("/")), 502, "upstream_connect_refused")
	})
	t.Run("no time", func(t *testing.T) {
		p := newProxy(t, echo, func(p *proxy) { p.call.Deadline = 1 })
		want(t, p.client().Do("GET", get("/")), 504, "upstream_connect_timeout")
	})
}

// The waits for an answer: for its first byte, for the rest of its head, for its body.
func TestUpstreamTimeouts(t *testing.T) {
	const short = 30 * time.Millisecond
	for _, test := range []struct {
		name   string
		script func(*testnet.OriginConn)
		set    func(p *proxy)
		status int // 0: cut short
		reason message.Reason
	}{
		{"first byte", once("", hang), func(p *proxy) { p.call.FirstByte = short }, 504, message.UpstreamTimeoutFirstByte},
		{"head", once("HTTP/1.1 200 OK\r\n", hang), func(p *proxy) { p.call.FirstByte = short }, 504, message.UpstreamTimeoutFirstByte},
		{"behind an interim answer", once("HTTP/1.1 102 Processing\r\n\r\n", hang), func(p *proxy) { p.call.FirstByte = short }, 504, message.UpstreamTimeoutFirstByte},
		{"deadline", once("", hang), func(p *proxy) { p.call.Deadline = message.Now() + int64(short) }, 504, 0},
		{"body", once("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", hang), func(p *proxy) { p.pool.o.ProgressTimeout = short }, 0, message.UpstreamTimeoutIdle},
		{"chunked body", once("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", hang), func(p *proxy) { p.pool.o.ProgressTimeout = short }, 0, message.UpstreamTimeoutIdle},
		{"large body", once("HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n"+strings.Repeat("x", 300_000), hang),
			func(p *proxy) { p.pool.o.ProgressTimeout = short }, 0, message.UpstreamTimeoutIdle},
		{"the whole exchange", once("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", hang), func(p *proxy) {
			p.serve = func(x *message.Exchange) {
				x.Deadline = message.Now() + int64(short)
				p.forward(x)
			}
		}, 0, message.RouteTimeout},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProxy(t, test.script, test.set)
			c := p.client()
			c.Send(get("/"))
			r, err := final(c, "GET")
			if test.status == 0 && err == nil || test.status != 0 && (err != nil || r.Status != test.status) {
				t.Errorf("response %+v, %v", r, err)
			}
			if e := p.last(); e.Side != message.SideUpstream || test.reason != 0 && e.Reason != test.reason {
				t.Errorf("side %q, reason %q; want %q", e.Side, e.Reason, test.reason)
			}
		})
	}
}

// A timer that fired while a connection was unused does not fail the next exchange on it, whether
// that has a bound or not.
func TestStaleTimers(t *testing.T) {
	p := newProxy(t, echo, func(p *proxy) {
		p.serve = func(x *message.Exchange) {
			call := p.call
			if string(x.Request.Path) == "/for/ever" {
				call.FirstByte = 0
			}
			p.try(x, &call)
		}
	})
	c := p.client()
	for i, path := range []string{"/", "/", "/for/ever", "/for/ever", "/"} {
		want(t, c.Do("GET", get(path)), 200, "GET "+path+" ")
		want(t, c.Do("POST", post(path, "body")), 200, "POST "+path+" body")
		p.last()
		p.last()
		cc := p.pool.get(&message.Exchange{}, &Call{})
		if cc == nil {
			t.Fatal("the connection was not kept")
		}
		_ = cc.nc.SetDeadline(past)
		if i%2 == 0 {
			cc.readBy, cc.writeBy = 1, 1 // it was set, and has fired
		}
		p.pool.put(cc)
	}
	if n := p.origin.Conns(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// Interim answers reach the client at once, but for 100, which is the proxy's own business; those
// of HTTP/1.0 get none.
func TestInterimAnswers(t *testing.T) {
	const hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-mine\r\nX-Mine: 1\r\n\r\n"
	final := make(chan struct{})
	p := newProxy(t, func(c *testnet.OriginConn) {
		for {
			if _, ok := c.ReadRequest(); !ok || !c.Send("HTTP/1.1 100 Continue\r\n\r\n"+hints) || !c.Wait(final) || !c.Send(reply("200 OK", "ok")) {
				return
			}
		}
	}, nil)
	c := p.client()
	c.Send(get("/"))
	r := c.ReadResponse("GET")
	if r.Status != 103 || fmt.Sprint(r.Header) != "[{Link </a>}]" {
		t.Errorf("the interim answer is %d %v", r.Status, r.Header)
	}
	close(final)
	r = c.ReadResponse("GET")
	if want(t, r, 200, "ok"); r.Header.Get("Link") != "" {
		t.Errorf("the final answer has fields of the interim one: %v", r.Header)
	}
	want(t, c.Do("GET", "GET / HTTP/1.0\r\n\r\n"), 200, "ok")
}

// What a policy made of a request that cannot be written is the proxy's fault, and nothing is sent.
func TestUnwritableRequests(t *testing.T) {
	for name, spoil := range map[string]func(r *message.Request){
		"path":  func(r *message.Request) { r.Path = []byte("/a b") },
		"query": func(r *message.Request) { r.Query = []byte("a\r\nb") },
		"host":  func(r *message.Request) { r.Host = []byte("a\nb") },
		"field": func(r *message.Request) { r.Header.Add(message.NameOf("X"), []byte("a\r\nb: c")) },
		"short": func(r *message.Request) { r.Length = 6 },
	} {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t, echo, func(p *proxy) {
				p.serve = func(x *message.Exchange) {
					spoil(&x.Request)
					p.forward(x)
				}
			})
			c := p.client()
			want(t, c.Do("POST", post("/", "hello")), 500, "internal")
			p.last().want(t, message.SideInternal, message.Internal)
			if got := p.origin.Received(); got != "" {
				t.Errorf("the origin received %q", got)
			}
		})
	}
}

// A body that ends with its connection, of which the end was not in order, ends so for the client
// of HTTP/1.0 as well: it could not tell otherwise that something is missing.
func TestCutShortForOldClients(t *testing.T) {
	p := newProxy(t, once("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", nil), nil)
	c := p.client()
	c.Send("GET / HTTP/1.0\r\n\r\n")
	if r, err := c.TryResponse("GET"); err == nil {
		t.Errorf("a response that was cut short ended in order: %+v", r)
	} else if errors.Is(err, io.EOF) {
		t.Errorf("ended with %v", err)
	}
}
