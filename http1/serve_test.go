package http1

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

// echo answers each request with its method, target and body.
func echo(c *testnet.OriginConn) {
	for {
		r, ok := c.ReadRequest()
		if !ok || !c.Send(reply("200 OK", fmt.Sprintf("%s %s %s", r.Method, r.Target, r.Body))) {
			return
		}
	}
}

func TestKeepAlive(t *testing.T) {
	p := newProxy(t, echo, nil)
	c := p.client()
	for i := range 10 {
		want(t, c.Do("GET", get("/"+itoa(i))), 200, "GET /"+itoa(i)+" ")
		want(t, c.Do("POST", post("/p", "body "+itoa(i))), 200, "POST /p body "+itoa(i))
	}
	if n := p.origin.Conns(); n != 1 {
		t.Errorf("the origin saw %d connections, want 1", n)
	}
	c.CloseWrite()
	c.WantEOF()
}

func TestEndOfConnections(t *testing.T) {
	for _, test := range []struct {
		name, request string
		proto         string // what the origin is told
		connection    string // what the client is told
	}{
		{"close", get("/", "Connection: close"), "HTTP/1.1", "close"},
		{"close in a list", get("/", "Connection: x, CLOSE"), "HTTP/1.1", "close"},
		{"1.0", "GET / HTTP/1.0\r\n\r\n", "HTTP/1.1", "close"},
		{"1.0 with close", "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "HTTP/1.1", "close"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProxy(t, echo, nil)
			c := p.client()
			r := c.Do("GET", test.request)
			want(t, r, 200, "GET / ")
			if got := r.Header.Get("Connection"); got != test.connection {
				t.Errorf("Connection: %q, want %q", got, test.connection)
			}
			c.WantEOF()
		})
	}
	t.Run("1.0 keep-alive", func(t *testing.T) {
		p := newProxy(t, echo, nil)
		c := p.client()
		for range 2 {
			r := c.Do("GET", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
			want(t, r, 200, "GET / ")
			if got := r.Header.Get("Connection"); got != "keep-alive" {
				t.Errorf("Connection: %q, want keep-alive", got)
			}
		}
	})
	t.Run("as many requests as are allowed", func(t *testing.T) {
		p := newProxy(t, echo, func(p *proxy) { p.server.MaxRequests = 2 })
		c := p.client()
		c.Send(get("/1") + get("/2") + get("/3"))
		want(t, c.ReadResponse("GET"), 200, "GET /1 ")
		r := c.ReadResponse("GET")
		want(t, r, 200, "GET /2 ")
		if r.Header.Get("Connection") != "close" {
			t.Errorf("the last response does not say so: %v", r.Header)
		}
		c.WantEOF()
	})
	t.Run("the client ends its side behind the request", func(t *testing.T) {
		p := newProxy(t, echo, nil)
		c := p.client()
		c.Send(get("/"))
		c.CloseWrite()
		want(t, c.ReadResponse("GET"), 200, "GET / ")
		c.WantEOF()
	})
}

// Many requests in one stream give the same answers however the stream is cut.
func TestPipelining(t *testing.T) {
	p := newProxy(t, echo, nil)
	var stream strings.Builder
	var answers []string
	for i := range 7 {
		n := itoa(i)
		stream.WriteString(get("/" + n))
		stream.WriteString(post("/p"+n, "body"+n))
		stream.WriteString("PUT /c" + n + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nT: 1\r\n\r\n")
		answers = append(answers, "GET /"+n+" ", "POST /p"+n+" body"+n, "PUT /c"+n+" abcd")
	}
	text := stream.String()
	check := func(t *testing.T, send func(c *testnet.Client)) {
		t.Helper()
		c := p.client()
		send(c)
		for _, answer := range answers {
			want(t, c.ReadResponse("GET"), 200, answer)
		}
		c.CloseWrite()
		c.WantEOF()
	}
	t.Run("whole", func(t *testing.T) { check(t, func(c *testnet.Client) { c.Send(text) }) })
	t.Run("byte by byte", func(t *testing.T) { check(t, func(c *testnet.Client) { c.SendSlowly(text) }) })
	t.Run("in two", func(t *testing.T) {
		for cut := 0; cut < len(text); cut += 13 {
			check(t, func(c *testnet.Client) {
				c.Send(text[:cut])
				c.Send(text[cut:])
			})
		}
	})
}

// The same over a connection that is no socket, as those with TLS are.
func TestPipeliningWithoutSocket(t *testing.T) {
	p := newProxy(t, echo, nil)
	text := get("/1") + post("/2", "two") + get("/3")
	for cut := range len(text) {
		a, b := testnet.Pipe(4 << 10)
		c := testnet.NewClient(t, a)
		p.wg.Add(1)
		go func() {
			defer p.wg.Done()
			ServeConn(b, Peer{Addr: peerOf}, p.server, p)
		}()
		c.Send(text[:cut])
		c.Send(text[cut:])
		want(t, c.ReadResponse("GET"), 200, "GET /1 ")
		want(t, c.ReadResponse("POST"), 200, "POST /2 two")
		want(t, c.ReadResponse("GET"), 200, "GET /3 ")
		c.CloseWrite()
		c.WantEOF()
	}
}

// Security case 9: a GET with a body and the request behind it are two requests, cut where the
// length says.
func TestGetWithBody(t *testing.T) {
	p := newProxy(t, echo, nil)
	c := p.client()
	const inner = "GET /inner HTTP/1.1\r\nHost: a\r\n\r\n"
	c.Send("GET /outer HTTP/1.1\r\nHost: a\r\nContent-Length: " + itoa(len(inner)) + "\r\n\r\n" + inner + get("/second"))
	want(t, c.ReadResponse("GET"), 200, "GET /outer "+inner)
	want(t, c.ReadResponse("GET"), 200, "GET /second ")
	c.CloseWrite()
	c.WantEOF()
	if n := strings.Count(p.origin.Received(), "HTTP/1.1\r\nHost: a"); n != 3 { // the inner one is a body
		t.Errorf("the origin saw %d request lines, want 3: %q", n, p.origin.Received())
	}
}

// What a client sends that a backend must not see, or sees once and in one form.
func TestForwardedRequests(t *testing.T) {
	for _, test := range []struct{ name, request, origin string }{
		{"hop by hop", get("/", "Connection: x-mine, close", "X-Mine: 1", "Keep-Alive: 5", "Proxy-Connection: x", "Proxy-Authorization: x", "TE: gzip", "Trailer: x",
			"Proxy: http://evil", "Expect: 100-continue", "Upgrade: h2c", "HTTP2-Settings: x", "Ok: 1"), "GET / HTTP/1.1\r\nHost: a.example\r\nOk: 1\r\n\r\n"},
		{"absolute form", "GET http://B.example:81/x?y HTTP/1.1\r\nA: 1\r\nHost: a\r\n\r\n", "GET /x?y HTTP/1.1\r\nHost: b.example:81\r\nA: 1\r\n\r\n"},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"1.0", "GET /x HTTP/1.0\r\nA: 1\r\nHost: a\r\n\r\n", "GET /x HTTP/1.1\r\nHost: a\r\nA: 1\r\n\r\n"},
		{"trailers wanted", get("/", "TE: trailers"), "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: TE\r\nTE: trailers\r\n\r\n"},
		{"white space", "GET / HTTP/1.1\r\nhost: a\r\nA:1 \t\r\nB: \t 2\r\nC:\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: \r\n\r\n"},
		{"dot segments and slashes", "GET /a/./b//c/../d?../e HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a/b/d?../e HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"POST without a body", "POST / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"},
		{"body", post("/", "hello"), "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello"},
		{"chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nT: 1\r\n\r\n",
			"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		{"imitations", get("/", "X_Forwarded_For: 1", "Sluice-Reason: x", "X-Consumer: me", "A_B: 2"), "GET / HTTP/1.1\r\nHost: a.example\r\nA_B: 2\r\n\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProxy(t, testnet.Answer(reply("200 OK", "")), nil)
			c := p.client()
			want(t, c.Do("GET", test.request), 200, "")
			if got := p.origin.Received(); got != test.origin {
				t.Errorf("the origin received\n%q, want\n%q", got, test.origin)
			}
		})
	}
}

func TestForwardedResponses(t *testing.T) {
	for _, test := range []struct {
		name, method, origin string
		status               int
		framing              testnet.Framing
		body                 string
		length               string // Content-Length that the client sees
	}{
		{"length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, testnet.FramedLength, "ok", "2"},
		{"empty", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, testnet.FramedLength, "", "0"},
		{"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, testnet.FramedChunked, "ok", ""},
		{"until the end", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok", 200, testnet.FramedChunked, "ok", ""},
		{"1.0", "GET", "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nok", 200, testnet.FramedChunked, "ok", ""},
		{"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", 200, testnet.FramedNone, "", "2"},
		{"HEAD of a chunked one", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, testnet.FramedNone, "", ""},
		{"HEAD without length", "HEAD", "HTTP/1.1 200 OK\r\n\r\n", 200, testnet.FramedNone, "", ""},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, testnet.FramedNone, "", ""},
		{"304", "GET", "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", 304, testnet.FramedNone, "", ""},
		{"304 with length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", 304, testnet.FramedNone, "", "2"},
		{"unknown status", "GET", "HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nok", 299, testnet.FramedLength, "ok", "2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProxy(t, testnet.Answer(test.origin), nil)
			c := p.client()
			for range 2 { // the second shows that the first ended where it should
				r := c.Do(test.method, strings.Replace(get("/"), "GET", test.method, 1))
				want(t, r, test.status, test.body)
				if r.Framing != test.framing || r.Header.Get("Content-Length") != test.length || r.Header.Get("Date") == "" || r.Header.Get("Connection") != "" {
					t.Fatalf("framing %q, header %v; want %q, length %q, a date and no Connection", r.Framing, r.Header, test.framing, test.length)
				}
			}
		})
	}
}

// A client of HTTP/1.0 gets no chunks: the end of the connection ends the body.
func TestChunkedForOldClients(t *testing.T) {
	p := newProxy(t, testnet.Answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n2\r\nok\r\n0\r\nT: 1\r\n\r\n"), nil)
	c := p.client()
	r := c.Do("GET", "GET / HTTP/1.0\r\nConnection: keep-alive\r\nTE: trailers\r\n\r\n")
	want(t, r, 200, "ok")
	if r.Framing != testnet.FramedClose || r.Header.Get("Connection") != "close" {
		t.Errorf("framing %q, header %v", r.Framing, r.Header)
	}
}

func TestTrailers(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n2\r\nok\r\n0\r\nA: 1\r\nContent-Length: 9\r\nX-Forwarded-For: 1\r\nB: 2\r\n\r\n"
	p := newProxy(t, testnet.Answer(answer), func(p *proxy) {
		p.server.Trailers = []message.Name{message.NameOf("X-Sum"), message.NameOf("ETag")}
		p.serve = func(x *message.Exchange) {
			x.Request.Trailers = p.server.Trailers
			p.forward(x)
		}
	})
	c := p.client()
	r := c.Do("POST", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 5\r\nOther: 1\r\nETag: e\r\nHost: b\r\n\r\n")
	want(t, r, 200, "ok")
	if got := fmt.Sprint(r.Trailer); got != "[{A 1} {B 2}]" {
		t.Errorf("the client got trailers %v", got)
	}
	if got := p.origin.Received(); !strings.HasSuffix(got, "\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 5\r\nETag: e\r\n\r\n") {
		t.Errorf("the origin got %q", got)
	}
	if r := c.Do("GET", get("/")); len(r.Trailer) != 0 {
		t.Errorf("a client that did not ask for trailers got %v", r.Trailer)
	}
}

// A handler's answer needs no origin: one write for a small one, and large ones are not copied.
func TestFixedAnswers(t *testing.T) {
	large := strings.Repeat("large ", 100_000)
	for _, test := range []struct {
		name, body string
		length     int64
		framing    testnet.Framing
	}{
		{"small", "small", 5, testnet.FramedLength},
		{"large", large, int64(len(large)), testnet.FramedLength},
		{"chunked", "small", message.LengthUnknown, testnet.FramedChunked},
		{"large and chunked", large, message.LengthUnknown, testnet.FramedChunked},
	} {
		p := newProxy(t, testnet.Answer(""), func(p *proxy) {
			p.serve = func(x *message.Exchange) {
				x.Fixed.Reset([]byte(test.body))
				x.Response.Status, x.Response.Body, x.Response.Length = 200, &x.Fixed, test.length
			}
		})
		c := p.client()
		for range 2 {
			r := c.Do("GET", get("/"))
			if want(t, r, 200, test.body); r.Framing != test.framing {
				t.Errorf("%s: framing %q, want %q", test.name, r.Framing, test.framing)
			}
		}
		if e := p.last(); e.Sent != int64(len(test.body)) {
			t.Errorf("%s: %d bytes counted, want %d", test.name, e.Sent, len(test.body))
		}
	}
}

// brokenHandlers are handlers with a fault: the client must never take their answer for whole.
func TestBrokenHandlers(t *testing.T) {
	for _, test := range []struct {
		name   string
		serve  func(x *message.Exchange)
		status int // 0: the connection ends without a whole response
	}{
		{"nothing", func(*message.Exchange) {}, 500},
		{"an interim status", func(x *message.Exchange) { x.Response.Status = 102 }, 500},
		{"101 without a tunnel", func(x *message.Exchange) { x.Response.Status = 101 }, 500},
		{"a value with a line end", func(x *message.Exchange) {
			x.Response.Status = 200
			x.Response.Header.Add(message.NameOf("X"), []byte("a\r\nb: c"))
		}, 500},
		{"a body that is too short", func(x *message.Exchange) {
			x.Fixed.Reset([]byte("abc"))
			x.Response.Status, x.Response.Body, x.Response.Length = 200, &x.Fixed, 4
		}, 0},
		{"a body that is too long", func(x *message.Exchange) {
			x.Fixed.Reset([]byte("abc"))
			x.Response.Status, x.Response.Body, x.Response.Length = 200, &x.Fixed, 2
		}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProxy(t, testnet.Answer(""), func(p *proxy) { p.serve = test.serve })
			c := p.client()
			c.Send(get("/"))
			r, err := c.TryResponse("GET")
			if test.status == 0 && err == nil || test.status != 0 && (err != nil || r.Status != test.status) {
				t.Errorf("response %+v, %v; want status %d", r, err, test.status)
			}
			c.WantClosed()
			if e := p.last(); e.Reason == message.ReasonNone {
				t.Error("the exchange ended without a reason")
			}
		})
	}
}

// A refused head is answered with its reason, the connection ends, and nothing reaches the origin.
func TestRefusedHeads(t *testing.T) {
	p := newProxy(t, echo, nil)
	for _, test := range requestHeads() {
		if test.reason == message.ReasonNone {
			continue
		}
		c := p.client()
		r := c.Do("GET", test.head+"body or next request")
		if r.Status != test.reason.Status() || r.Header.Get("Sluice-Reason") != test.reason.String() || r.Header.Get("Connection") != "close" {
			t.Errorf("%s: %d %v, want %d %q and close", test.name, r.Status, r.Header, test.reason.Status(), test.reason)
		}
		c.WantEOF()
		p.last().want(t, message.SideClient, test.reason)
	}
	if got := p.origin.Received(); got != "" {
		t.Errorf("the origin received %q", got)
	}
}

// Security cases 6 and 54: a body that is refused ends the connection, and what follows it is no
// request.
func TestRefusedBodies(t *testing.T) {
	for _, test := range chunkTests {
		if test.want.end == "" || test.want.end == "cut" {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			p := newProxy(t, func(c *testnet.OriginConn) { c.Hang() }, nil)
			c := p.client()
			r := c.Do("POST", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+test.text)
			if r.Header.Get("Sluice-Reason") != test.want.end || r.Header.Get("Connection") != "close" {
				t.Errorf("%d %v, want reason %q", r.Status, r.Header, test.want.end)
			}
			c.CloseWrite()
			c.WantEOF()
		})
	}
}

// Security case 51: what is too large is refused while it arrives, and so is what never ends.
func TestLimits(t *testing.T) {
	for _, test := range []struct {
		name, request string
		reason        message.Reason
	}{
		{"target of a megabyte", "GET /" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: a\r\n\r\n", message.RequestLineTooLong},
		{"header of a megabyte", get("/", "X: "+strings.Repeat("a", 1<<20)), message.HeaderTooLarge},
		{"many small fields", get("/", strings.Split(strings.Repeat("X: 1,", 10_000)+"X: 1", ",")...), message.HeaderTooMany},
		{"body by length", post("/", strings.Repeat("x", 1001)), message.BodyTooLarge},
		{"body in chunks", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n" + strings.Repeat("x", 100_000) + "\r\n0\r\n\r\n", message.BodyTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProxy(t, echo, func(p *proxy) { p.server.MaxBody = 1000 })
			c := p.client()
			_ = c.TrySend(test.request) // the proxy may stop reading it
			r := c.ReadResponse("GET")
			if r.Status != test.reason.Status() || r.Header.Get("Sluice-Reason") != test.reason.String() {
				t.Errorf("%d %v, want %d %q", r.Status, r.Header, test.reason.Status(), test.reason)
			}
			c.WantClosed()
		})
	}
	t.Run("too large, but whole", func(t *testing.T) {
		p := newProxy(t, echo, func(p *proxy) { p.server.MaxBody = 1000 })
		c := p.client()
		r := c.Do("POST", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n"+strings.Repeat("x", 1001)+"\r\n0\r\n\r\n")
		want(t, r, 413, "body_too_large")
		want(t, c.Do("GET", get("/next")), 200, "GET /next ")
	})
	t.Run("as large as allowed", func(t *testing.T) {
		p := newProxy(t, echo, func(p *proxy) { p.server.MaxBody = 1000 })
		c := p.client()
		large := strings.Repeat("h", 30<<10) // larger than a pooled buffer
		for range 2 {
			want(t, c.Do("POST", post("/", strings.Repeat("x", 1000), "X: "+large)), 200, "POST / "+strings.Repeat("x", 1000))
		}
	})
}

// A connection without a request ends without an answer; one in the middle of a head gets 408.
func TestHeaderTimeout(t *testing.T) {
	short := func(p *proxy) { p.server.HeaderTimeout = 30 * time.Millisecond }
	t.Run("nothing sent", func(t *testing.T) {
		c := newProxy(t, echo, short).client()
		c.WantEOF()
	})
	t.Run("half a head", func(t *testing.T) {
		p := newProxy(t, echo, short)
		c := p.client()
		c.Send("GET / HTTP/1.1\r\nHost: a\r\n")
		if r := c.ReadResponse("GET"); r.Status != 408 || r.Header.Get("Sluice-Reason") != "header_timeout" {
			t.Errorf("%d %v", r.Status, r.Header)
		}
		c.WantEOF()
	})
	t.Run("byte by byte for ever", func(t *testing.T) {
		p := newProxy(t, echo, short)
		c := p.client()
		c.Send("GET / HTTP/1.1\r\nX: ")
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for c.TrySend("a") == nil {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
			}
		}()
		r := c.ReadResponse("GET")
		close(stop)
		<-stopped
		if r.Status != 408 {
			t.Errorf("%d %v", r.Status, r.Header)
		}
	})
	t.Run("behind an exchange", func(t *testing.T) {
		p := newProxy(t, echo, short)
		c := p.client()
		c.Send(get("/") + "GET /2 HTTP/1.1\r\n")
		want(t, c.ReadResponse("GET"), 200, "GET / ")
		if r := c.ReadResponse("GET"); r.Status != 408 {
			t.Errorf("%d %v", r.Status, r.Header)
		}
	})
	t.Run("without socket", func(t *testing.T) {
		p := newProxy(t, echo, short)
		a, b := testnet.Pipe(4 << 10)
		c := testnet.NewClient(t, a)
		c.Send("GET / HTTP/1.1\r\n")
		ServeConn(b, Peer{Addr: peerOf}, p.server, p)
		if r := c.ReadResponse("GET"); r.Status != 408 {
			t.Errorf("%d %v", r.Status, r.Header)
		}
	})
}

func TestIdleTimeout(t *testing.T) {
	p := newProxy(t, echo, func(p *proxy) { p.server.IdleTimeout = 30 * time.Millisecond })
	c := p.client()
	for range 3 {
		want(t, c.Do("GET", get("/")), 200, "GET / ")
	}
	c.WantEOF()
}

// While its listener drains a connection says that it closes, and an idle one closes by itself.
func TestDraining(t *testing.T) {
	t.Run("idle", func(t *testing.T) {
		p := newProxy(t, echo, func(p *proxy) { p.server.DrainLinger = time.Millisecond })
		c := p.client()
		want(t, c.Do("GET", get("/")), 200, "GET / ")
		testnet.Eventually(t, "the connection is idle", p.life.idle.Load)
		p.drainNow()
		c.WantEOF()
	})
	t.Run("a request that is under way already", func(t *testing.T) {
		p := newProxy(t, echo, nil) // lingers long
		c := p.client()
		want(t, c.Do("GET", get("/")), 200, "GET / ")
		testnet.Eventually(t, "the connection is idle", p.life.idle.Load)
		p.drainNow()
		r := c.Do("GET", get("/last"))
		want(t, r, 200, "GET /last ")
		if r.Header.Get("Connection") != "close" {
			t.Errorf("the last response does not say so: %v", r.Header)
		}
		c.WantEOF()
	})
	t.Run("a request that is being served", func(t *testing.T) {
		release := make(chan struct{})
		p := newProxy(t, func(c *testnet.OriginConn) {
			for {
				if _, ok := c.ReadRequest(); !ok || !c.Wait(release) || !c.Send(reply("200 OK", "done")) {
					return
				}
			}
		}, nil)
		c := p.client()
		c.Send(get("/"))
		testnet.Eventually(t, "the origin has the request", func() bool { return p.origin.Received() != "" })
		p.life.drain.Store(true)
		close(release)
		r := c.ReadResponse("GET")
		want(t, r, 200, "done")
		if r.Header.Get("Connection") != "close" {
			t.Errorf("the last response does not say so: %v", r.Header)
		}
		c.WantEOF()
	})
}

// The answer to a request whose rest is still being sent reaches the client, though the proxy
// closes: it takes what comes for a while instead of resetting the connection.
func TestLinger(t *testing.T) {
	p := newProxy(t, testnet.Answer(""), func(p *proxy) { p.server.MaxBody = 10 })
	for range 20 {
		c := p.client()
		c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 600000\r\n\r\n")
		for range 10 {
			_ = c.TrySend(strings.Repeat("x", 50_000))
		}
		if r := c.ReadResponse("POST"); r.Status != 413 {
			t.Fatalf("%d %v", r.Status, r.Header)
		}
		c.WantEOF()
		c.Close()
	}
}

// A slow reader of a fixed answer is given up after the write timeout, and holds no more than the
// kernel does.
func TestWriteTimeout(t *testing.T) {
	large := make([]byte, 64<<20)
	p := newProxy(t, testnet.Answer(""), func(p *proxy) {
		p.server.WriteTimeout = 50 * time.Millisecond
		p.serve = func(x *message.Exchange) {
			x.Fixed.Reset(large)
			x.Response.Status, x.Response.Body, x.Response.Length = 200, &x.Fixed, int64(len(large))
		}
	})
	c := p.client()
	c.Send(get("/"))
	p.last().want(t, message.SideClient, message.ClientTimeout)
	if _, err := io.Copy(io.Discard, c); err == nil {
		t.Log("the connection ended in order, cut short") // a reset is as good
	}
}

// The timer of a write that had to wait does not fail a later write that does not.
func TestWriteAfterStaleTimer(t *testing.T) {
	client, server := testnet.TCPPair(t)
	var c conn
	c.init(server)
	const within = 40 * time.Millisecond
	c.armWrite(within)
	testnet.Eventually(t, "the timer of the write fires", func() bool {
		_, err := server.Write([]byte("x"))
		return isTimeout(err)
	})
	if n, err := c.write([]byte("later"), testnet.Patience); n != 5 || err != nil {
		t.Fatalf("wrote %d bytes, %v", n, err)
	}
	_ = c.nc.Close()
	if got, err := io.ReadAll(client); err != nil || !strings.HasSuffix(string(got), "later") {
		t.Errorf("received %q, %v", got, err)
	}
}
