package http1

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

const expectHead = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"

// "100 Continue" is sent when somebody wants the body, once, and the endpoint never sees the field.
func TestExpectContinue(t *testing.T) {
	t.Run("the body is wanted", func(t *testing.T) {
		p := newProxy(t, echo, nil)
		c := p.client()
		for range 2 {
			c.Send(expectHead)
			c.WantPrefix("HTTP/1.1 100 Continue\r\n\r\n")
			c.Send("hello")
			want(t, c.ReadResponse("POST"), 200, "POST / hello")
		}
		if got := p.origin.Received(); strings.Contains(got, "Expect") {
			t.Errorf("the origin received %q", got)
		}
	})
	t.Run("the body comes unasked", func(t *testing.T) {
		p := newProxy(t, echo, nil)
		c := p.client()
		c.Send(expectHead + "hello")
		want(t, c.ReadResponse("POST"), 200, "POST / hello")
	})
	t.Run("answered without the body", func(t *testing.T) {
		p := newProxy(t, echo, func(p *proxy) {
			p.serve = func(x *message.Exchange) { x.Response.Status = 401 }
		})
		c := p.client()
		r := c.Do("POST", expectHead)
		if want(t, r, 401, ""); r.Header.Get("Connection") != "close" {
			t.Errorf("whether the body comes is not known, and the connection goes on: %v", r.Header)
		}
		c.WantEOF()
	})
	t.Run("too large", func(t *testing.T) {
		p := newProxy(t, echo, func(p *proxy) { p.server.MaxBody = 4 })
		c := p.client()
		want(t, c.Do("POST", expectHead), 413, "body_too_large")
		c.WantEOF()
	})
	t.Run("1.0", func(t *testing.T) {
		p := newProxy(t, echo, nil)
		c := p.client()
		c.Send(strings.Replace(expectHead, "HTTP/1.1", "HTTP/1.0", 1) + "hello")
		want(t, c.ReadResponse("POST"), 200, "POST / hello")
	})
}

// The endpoint's answer and the "100 Continue" come from two goroutines. Whatever their order, the
// client reads whole messages, and nothing follows the final one.
func TestExpectContinueRacesWithAnswer(t *testing.T) {
	p := newProxy(t, func(c *testnet.OriginConn) {
		if _, ok := c.ReadHead(); ok {
			c.Send("HTTP/1.1 103 Early Hints\r\n\r\n" + reply("403 Forbidden", "no"))
			c.Hang()
		}
	}, nil)
	for range 200 {
		c := p.client()
		c.Send(expectHead)
		r, err := final(c, "POST")
		if err != nil {
			t.Fatal(err)
		}
		want(t, r, 403, "no")
		c.WantEOF()
		c.Close()
	}
}

// Security case 10: an answer that did not wait for the body. What is left of the body is no
// request: it is read to its end if it is small, or the connection ends.
func TestAnsweredBeforeTheBody(t *testing.T) {
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	deny := func(p *proxy) {
		p.serve = func(x *message.Exchange) {
			if string(x.Request.Path) == "/deny" {
				x.Response.Status = 401
				return
			}
			p.forward(x)
		}
	}
	head := func(n int) string { return "POST /deny HTTP/1.1\r\nHost: a\r\nContent-Length: " + itoa(n) + "\r\n\r\n" }
	t.Run("small", func(t *testing.T) {
		p := newProxy(t, echo, deny)
		c := p.client()
		c.Send(head(len(smuggled)))
		want(t, c.ReadResponse("POST"), 401, "")
		c.Send(smuggled + get("/next"))
		want(t, c.ReadResponse("GET"), 200, "GET /next ")
	})
	t.Run("small and chunked", func(t *testing.T) {
		p := newProxy(t, echo, deny)
		c := p.client()
		c.Send("POST /deny HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
		want(t, c.ReadResponse("POST"), 401, "")
		c.Send("22\r\n" + smuggled[:34] + "\r\n0\r\nA: b\r\n\r\n" + get("/next"))
		want(t, c.ReadResponse("GET"), 200, "GET /next ")
	})
	for name, request := range map[string]string{
		"large":             head(70_000) + smuggled,
		"large and chunked": "POST /deny HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n" + smuggled + strings.Repeat("x", 70_000-len(smuggled)) + "\r\n" + smuggled,
		"broken":            "POST /deny HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n" + smuggled,
	} {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t, echo, deny)
			c := p.client()
			_ = c.TrySend(request)
			want(t, c.ReadResponse("POST"), 401, "")
			c.WantClosed()
			if got := p.origin.Received(); got != "" {
				t.Errorf("the origin received %q", got)
			}
		})
	}
	// A body that comes with its head is served inside the wait of the socket.
	t.Run("whole", func(t *testing.T) {
		p := newProxy(t, echo, deny)
		c := p.client()
		c.Send(head(len(smuggled)) + smuggled + get("/next"))
		want(t, c.ReadResponse("POST"), 401, "")
		want(t, c.ReadResponse("GET"), 200, "GET /next ")
	})
}

// Security case 11: an endpoint that answers before it has read the request. The answer reaches the
// client, and neither connection is used again.
func TestUpstreamAnswersEarly(t *testing.T) {
	for name, then := range map[string]func(*testnet.OriginConn){
		"and keeps the connection": func(c *testnet.OriginConn) { <-c.TestEnds() },
		"and reads on":             hang,
		"and closes":               func(*testnet.OriginConn) {},
		"and resets":               func(c *testnet.OriginConn) { <-c.TestEnds(); c.Reset() },
	} {
		for _, framing := range []string{"Content-Length: 50000000", "Transfer-Encoding: chunked"} {
			t.Run(name+", "+framing, func(t *testing.T) {
				p := newProxy(t, func(c *testnet.OriginConn) {
					if _, ok := c.ReadHead(); ok && c.Send(reply("413 Content Too Large", "no")) {
						then(c)
					}
				}, nil)
				c := p.client()
				c.Send("POST / HTTP/1.1\r\nHost: a\r\n" + framing + "\r\n\r\n")
				r := c.ReadResponse("POST")
				if want(t, r, 413, "no"); r.Header.Get("Connection") != "close" {
					t.Errorf("the response does not say that the connection ends: %v", r.Header)
				}
				c.WantEOF()
				if e := p.last(); e.Reason != message.ReasonNone {
					t.Errorf("the exchange ended with %q (%v)", e.Reason, e.Err)
				}
				if n := p.pool.Idle(); n != 0 {
					t.Error("the connection to the origin was kept")
				}
			})
		}
	}
}

// An endpoint that refuses a body while the client is sending it: its answer comes through, as the
// client reads it, whether it resets the connection or not.
func TestUpstreamRefusesWhileClientSends(t *testing.T) {
	p := newProxy(t, func(c *testnet.OriginConn) {
		if _, ok := c.ReadHead(); ok {
			_, _ = io.ReadFull(c, make([]byte, 100_000))
			c.Send(reply("413 Content Too Large", "no"))
		}
	}, nil)
	for range 20 {
		c := p.client()
		c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
		for range 20 {
			_ = c.TrySend(strings.Repeat("x", 50_000))
		}
		r, err := c.TryResponse("POST")
		if err != nil || r.Status != 413 && r.Status != 502 { // the kernel may drop the answer behind a reset
			t.Fatalf("%+v, %v", r, err)
		}
		c.Close()
	}
}

// An answer in pieces while the request goes on: both directions move, as with a body that is
// transformed on its way.
func TestBothBodiesAtOnce(t *testing.T) {
	p := newProxy(t, func(c *testnet.OriginConn) {
		if _, ok := c.ReadHead(); !ok || !c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") {
			return
		}
		b := make([]byte, len("4\r\nping\r\n"))
		for range 5 {
			if _, err := io.ReadFull(c, b); err != nil || !c.Send("4\r\npong\r\n") {
				return
			}
		}
		c.Send("0\r\n\r\n")
		c.Hang()
	}, nil)
	c := p.client()
	c.Send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	for i := range 5 {
		if c.Send("4\r\nping\r\n"); i > 0 {
			c.WantPrefix("4\r\npong\r\n")
			continue
		}
		head := make([]byte, 1)
		for text := ""; !strings.HasSuffix(text, "\r\n\r\n4\r\npong\r\n"); text += string(head) {
			if _, err := io.ReadFull(c, head); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.WantPrefix("0\r\n\r\n")
	c.WantEOF()
}

// A client that leaves, stalls or sends nonsense in the middle of its body: the endpoint sees a
// request cut short, never a whole one, and the fault is the client's.
func TestClientBreaksTheBody(t *testing.T) {
	const chunkedHead = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	const lengthHead = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhel"
	for _, test := range []struct {
		name, request string
		then          func(c *testnet.Client)
		reason        message.Reason
	}{
		{"length, closed", lengthHead, (*testnet.Client).Close, message.ClientClosed},
		{"length, half-closed", lengthHead, (*testnet.Client).CloseWrite, message.ClientClosed},
		{"length, reset", lengthHead, (*testnet.Client).Reset, message.ClientClosed},
		{"length, stalled", lengthHead, func(*testnet.Client) {}, message.BodyTimeout},
		{"chunked, half-closed", chunkedHead + "3\r\nhel\r\n", (*testnet.Client).CloseWrite, message.ClientClosed},
		{"chunked, stalled", chunkedHead + "3\r\nhel", func(*testnet.Client) {}, message.BodyTimeout},
		{"chunked, nonsense", chunkedHead + "3\r\nhel\r\n", func(c *testnet.Client) { c.Send("nonsense\r\n") }, message.ChunkInvalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			heads := make(chan struct{}, 1)
			p := newProxy(t, func(c *testnet.OriginConn) {
				if _, ok := c.ReadHead(); ok {
					heads <- struct{}{}
					c.Hang()
				}
			}, func(p *proxy) {
				if test.reason == message.BodyTimeout {
					p.server.BodyTimeout = 50 * time.Millisecond
				}
			})
			c := p.client()
			c.Send(test.request)
			testnet.Receive(t, "the head of the request", heads)
			test.then(c)
			e := p.last().want(t, message.SideClient, test.reason)
			if e.Failure == nil || e.Failure.Retry != message.RetryNever {
				t.Errorf("failure %+v", e.Failure)
			}
			testnet.Receive(t, "the end of the request", p.origin.Conn(0).Ended())
			if got := p.origin.Received(); strings.Contains(got, "0\r\n\r\n") && strings.Contains(got, "chunked") {
				t.Errorf("the origin received a whole request: %q", got)
			}
			if n := p.pool.Idle(); n != 0 {
				t.Error("the connection to the origin was kept")
			}
		})
	}
}

// Security case 48: a body that comes byte by byte has a bound as a whole.
func TestMinRate(t *testing.T) {
	p := newProxy(t, func(c *testnet.OriginConn) { c.Hang() }, func(p *proxy) {
		p.server.BodyTimeout = 100 * time.Millisecond
		p.server.MinRate = 1 << 20
	})
	c := p.client()
	c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for c.TrySend("x") == nil { // each byte comes well within the timeout
			time.Sleep(time.Millisecond)
		}
	}()
	p.last().want(t, message.SideClient, message.BodyTimeout)
	if r := c.ReadResponse("POST"); r.Status != 408 {
		t.Errorf("%d %v", r.Status, r.Header)
	}
	c.Close()
	<-ended
}

// The endpoint's time to answer begins when it has the whole request.
func TestFirstByteCountsFromTheEndOfTheRequest(t *testing.T) {
	const firstByte = 300 * time.Millisecond
	p := newProxy(t, echo, func(p *proxy) { p.call.FirstByte = firstByte })
	c := p.client()
	c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
	p.origin.Conn(0)
	began := time.Now()
	testnet.Eventually(t, "the client has taken longer than the endpoint may", func() bool { return time.Since(began) > firstByte+firstByte/2 })
	c.Send("hello")
	want(t, c.ReadResponse("POST"), 200, "POST / hello")
}

// A deadline of the attempt ends it while the client still sends.
func TestDeadlineWhileSending(t *testing.T) {
	p := newProxy(t, func(c *testnet.OriginConn) { c.Hang() }, func(p *proxy) {
		p.serve = func(x *message.Exchange) {
			p.call.Deadline = message.Now() + int64(50*time.Millisecond)
			p.forward(x)
		}
	})
	c := p.client()
	c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhello")
	r := c.ReadResponse("POST")
	if want(t, r, 504, "upstream_timeout_first_byte"); r.Header.Get("Connection") != "close" {
		t.Errorf("half of a request is left and the connection goes on: %v", r.Header)
	}
	c.WantEOF()
	if e := p.last(); e.Failure.Retry != message.RetryUnknown {
		t.Errorf("failure %+v", e.Failure)
	}
}

// slowBody is a wrapper as a policy makes one: it knows nothing of readiness. Its length is what
// it says, not what the head said.
type slowBody struct {
	pieces []string
	err    error
}

func (b *slowBody) Next() ([]byte, error) {
	if len(b.pieces) == 0 {
		if b.err != nil {
			return nil, b.err
		}
		return nil, io.EOF
	}
	p := b.pieces[0]
	b.pieces = b.pieces[1:]
	return []byte(p), nil
}

func (b *slowBody) Close() error { return nil }

// A body from elsewhere than the client is sent as long as the head says, or the request fails.
func TestOtherBodies(t *testing.T) {
	broken := errors.New("broken")
	for _, test := range []struct {
		name   string
		body   *slowBody
		length int64
		status int
		answer string
	}{
		{"right", &slowBody{[]string{"he", "llo"}, nil}, 5, 200, "PUT / hello"},
		{"chunked", &slowBody{[]string{"he", "llo"}, nil}, message.LengthUnknown, 200, "PUT / hello"},
		{"too short", &slowBody{[]string{"he", "ll"}, nil}, 5, 500, "internal"},
		{"too long", &slowBody{[]string{"he", "llo!"}, nil}, 5, 500, "internal"},
		{"broken", &slowBody{[]string{"he"}, broken}, 5, 499, "client_closed"},
		{"broken and chunked", &slowBody{[]string{"he"}, broken}, message.LengthUnknown, 499, "client_closed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProxy(t, echo, func(p *proxy) {
				p.serve = func(x *message.Exchange) {
					x.Request.Body, x.Request.Length = test.body, test.length
					p.forward(x)
				}
			})
			want(t, p.client().Do("PUT", "PUT / HTTP/1.1\r\nHost: a\r\n\r\n"), test.status, test.answer)
			if got := p.origin.Received(); test.status != 200 && (strings.HasSuffix(got, "hello") || strings.Contains(got, "0\r\n\r\n") || strings.Contains(got, "!")) {
				t.Errorf("the origin received a whole request: %q", got)
			}
		})
	}
}
