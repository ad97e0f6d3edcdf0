package http1

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

// sizes are those at which large bodies take another way: around the length from which they are
// spliced, the steps of that, and much more.
var sizes = []int{spliceFrom - 1, spliceFrom, spliceFrom + 1, spliceFrom + bufferSize, spliceStep - 1, spliceStep, spliceStep + 1, spliceFrom + spliceStep, 5 << 20}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// noise returns n bytes that differ at every place.
func noise(n int) string {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return string(b)
}

// mirror answers with the body that it received, framed the same way, and its digest.
func mirror(c *testnet.OriginConn) {
	for {
		r, ok := c.ReadRequest()
		if !ok {
			return
		}
		head := "HTTP/1.1 200 OK\r\nX-Digest: " + digest(r.Body) + "\r\n"
		if r.Framing == testnet.FramedChunked {
			ok = c.Send(head+"Transfer-Encoding: chunked\r\n\r\n") && c.Send(encodeChunks(string(r.Body), 100_000))
		} else {
			ok = c.Send(head + "Content-Length: " + itoa(len(r.Body)) + "\r\n\r\n" + string(r.Body))
		}
		if !ok {
			return
		}
	}
}

func encodeChunks(body string, size int) string {
	var b strings.Builder
	for len(body) > 0 {
		n := min(size, len(body))
		b.WriteString(strconv.FormatInt(int64(n), 16) + "\r\n" + body[:n] + "\r\n")
		body = body[n:]
	}
	return b.String() + "0\r\n\r\n"
}

// Large bodies are the same behind the proxy, in both directions, and their connections go on.
func TestLargeBodies(t *testing.T) {
	p := newProxy(t, mirror, nil)
	c := p.client()
	for _, size := range sizes {
		body := noise(size)
		requests := map[string]string{
			"length":  post("/", body),
			"chunked": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + encodeChunks(body, 70_000),
		}
		for framing, request := range requests {
			sent := make(chan error, 1)
			go func() { sent <- c.TrySend(request) }()
			r := c.ReadResponse("POST")
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			if string(r.Framing) != framing || r.Header.Get("X-Digest") != digest([]byte(body)) || string(r.Body) != body {
				t.Fatalf("%d bytes, %s: came as %d bytes, %s, digest at the origin %s of %s", size, framing, len(r.Body), r.Framing, r.Header.Get("X-Digest"), digest([]byte(body)))
			}
			if e := p.last(); e.Received != int64(size) || e.Sent != int64(size) {
				t.Errorf("%d bytes: %d and %d counted", size, e.Received, e.Sent)
			}
			if r.Header.Get("Connection") == "close" {
				c = p.client() // the answer came before the pump had noticed its end
			}
		}
	}
	if n := p.origin.Conns(); n > 3 {
		t.Errorf("%d exchanges took %d connections to the origin", 2*len(sizes), n)
	}
}

// lending is a wrapper that steps aside once, as one does that keeps pieces for another try.
type lending struct {
	*body
	lent int
}

// Source implements lender.
func (l *lending) Source() message.Body {
	l.lent++
	return l.body
}

// A wrapper that steps aside lets a large body be spliced; the bytes are the same, and both
// connections go on.
func TestLargeBodiesOfLenders(t *testing.T) {
	lent := make(chan int, 1)
	p := newProxy(t, mirror, func(p *proxy) {
		p.serve = func(x *message.Exchange) {
			l := &lending{body: x.Request.Body.(*body)}
			x.Request.Body = l
			p.forward(x)
			lent <- l.lent
		}
	})
	c := p.client()
	for _, size := range []int{spliceFrom / 2, spliceFrom + 3*bufferSize, 3 << 20} {
		body := noise(size)
		sent := make(chan error, 1)
		go func() { sent <- c.TrySend(post("/", body)) }()
		r := c.ReadResponse("POST")
		if err := <-sent; err != nil || string(r.Body) != body {
			t.Fatalf("%d bytes came as %d, %v", size, len(r.Body), err)
		}
		want := 0
		if size > spliceFrom {
			want = 1
		}
		if n := testnet.Receive(t, "how often the body was lent", lent); n != want {
			t.Errorf("%d bytes: lent %d times, want %d", size, n, want)
		}
	}
	if n := p.origin.Conns(); n != 1 {
		t.Errorf("%d connections to the origin, want 1", n)
	}
}

// The same where the front connection is no socket, so that nothing is spliced.
func TestLargeBodiesWithoutSocket(t *testing.T) {
	p := newProxy(t, mirror, nil)
	a, b := testnet.Pipe(10_000)
	c := testnet.NewClient(t, a)
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		ServeConn(b, Peer{Addr: peerOf}, p.server, p)
	}()
	for _, size := range sizes[:5] {
		body := noise(size)
		sent := make(chan error, 1)
		go func() { sent <- c.TrySend(post("/", body)) }()
		r := c.ReadResponse("POST")
		if err := <-sent; err != nil || string(r.Body) != body {
			t.Fatalf("%d bytes came as %d, %v", size, len(r.Body), err)
		}
	}
}

// A body that its sender interrupts in the middle takes the way by which bytes are copied, and
// nothing is lost or doubled where the ways meet.
func TestLargeBodiesInBursts(t *testing.T) {
	body := noise(1 << 20)
	cuts := []int{0, 1, 70_000, 300_000, 300_001, 700_000, len(body)}
	burst := make(chan struct{})
	p := newProxy(t, func(c *testnet.OriginConn) {
		if _, ok := c.ReadHead(); !ok || !c.Send("HTTP/1.1 200 OK\r\nContent-Length: "+itoa(len(body))+"\r\n\r\n") {
			return
		}
		for i := range len(cuts) - 1 {
			if !c.Wait(burst) || !c.Send(body[cuts[i]:cuts[i+1]]) {
				return
			}
		}
		c.Hang()
	}, nil)
	c := p.client()
	c.Send(get("/"))
	for head := ""; !strings.HasSuffix(head, "\r\n\r\n"); {
		b := make([]byte, 1)
		if _, err := c.Read(b); err != nil {
			t.Fatal(err)
		}
		head += string(b)
	}
	for i := range len(cuts) - 1 {
		burst <- struct{}{}
		c.WantPrefix(body[cuts[i]:cuts[i+1]])
	}
}

// A source that is slow, but never too slow, is served to the end: its timer ends a splice in the
// middle, and the rest goes another way.
func TestSlowSource(t *testing.T) {
	body := noise(6 * 40_000)
	p := newProxy(t, func(c *testnet.OriginConn) {
		if _, ok := c.ReadHead(); !ok || !c.Send("HTTP/1.1 200 OK\r\nContent-Length: "+itoa(len(body))+"\r\n\r\n") {
			return
		}
		for at := 0; at < len(body) && c.Send(body[at:at+40_000]); at += 40_000 {
			time.Sleep(300 * time.Millisecond)
		}
		c.Hang()
	}, func(p *proxy) { p.pool.o.ProgressTimeout = time.Second })
	c := p.client()
	want(t, c.Do("GET", get("/")), 200, body)
	if e := p.last(); e.Sent != int64(len(body)) {
		t.Errorf("%d bytes counted, want %d", e.Sent, len(body))
	}
}

// A splice that ends before its time because the source is slow leaves the rest to copying.
func TestSpliceHandsOver(t *testing.T) {
	client, front := testnet.TCPPair(t)
	back, endpoint := testnet.TCPPair(t)
	var src, dst conn
	src.init(back)
	dst.init(front)
	rd := &reader{c: &src}
	rd.take(new([bufferSize]byte))
	text := noise(3 * spliceStep)
	const short = 50 * time.Millisecond
	b := &body{rd: rd, framing: frameLength, remain: int64(len(text)), wait: short}
	if _, err := io.WriteString(endpoint, text[:100_000]); err != nil {
		t.Fatal(err)
	}
	n, err := b.spliceTo(&dst, b.remain, testnet.Patience)
	if n != 100_000 || err != nil {
		t.Fatalf("moved %d bytes, %v; want 100000 and no error", n, err)
	}
	if _, err := io.WriteString(endpoint, text[100_000:]); err != nil {
		t.Fatal(err)
	}
	b.wait = testnet.Patience
	done := make(chan error, 1)
	go func() {
		for {
			piece, err := b.Next()
			if err != nil {
				_ = front.CloseWrite()
				done <- err
				return
			}
			_, _ = dst.write(piece, testnet.Patience)
		}
	}()
	got, err := io.ReadAll(client)
	if err != nil || string(got) != text {
		t.Errorf("%d bytes of %d came, %v", len(got), len(text), err)
	}
	if err := <-done; err != io.EOF {
		t.Errorf("the body ended with %v", err)
	}
	if n, err := (&body{rd: rd, framing: frameLength, remain: 1 << 20, wait: short}).spliceTo(&dst, 1<<20, testnet.Patience); n != 0 || err == nil {
		t.Errorf("a source that says nothing moved %d bytes, %v", n, err)
	}
}

// Whose fault a splice is that breaks off.
func TestBrokenSplices(t *testing.T) {
	large := "HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n"
	endless := func(c *testnet.OriginConn) {
		for c.Send(strings.Repeat("x", 100_000)) {
		}
	}
	t.Run("the client leaves", func(t *testing.T) {
		for name, leave := range map[string]func(c *testnet.Client){"closed": (*testnet.Client).Close, "reset": (*testnet.Client).Reset} {
			p := newProxy(t, once(large, endless), nil)
			c := p.client()
			c.Send(get("/"))
			if _, err := io.ReadFull(c, make([]byte, 1_000_000)); err != nil {
				t.Fatal(err)
			}
			leave(c)
			e := p.last()
			if e.Side != message.SideClient || e.Reason != message.ClientClosed {
				t.Errorf("%s: side %q, reason %q (%v)", name, e.Side, e.Reason, e.Err)
			}
		}
	})
	t.Run("the client stops reading", func(t *testing.T) {
		p := newProxy(t, once(large, endless), func(p *proxy) { p.server.WriteTimeout = 100 * time.Millisecond })
		c := p.client()
		c.Send(get("/"))
		p.last().want(t, message.SideClient, message.ClientTimeout)
	})
	t.Run("the endpoint stops sending", func(t *testing.T) {
		p := newProxy(t, once(large+strings.Repeat("x", 1_000_000), hang), func(p *proxy) { p.pool.o.ProgressTimeout = 100 * time.Millisecond })
		c := p.client()
		c.Send(get("/"))
		if r, err := c.TryResponse("GET"); err == nil || len(r.Body) != 1_000_000 {
			t.Errorf("%d bytes, %v", len(r.Body), err)
		}
		p.last().want(t, message.SideUpstream, message.UpstreamTimeoutIdle)
	})
	for name, then := range map[string]func(*testnet.OriginConn){"the endpoint closes": nil, "the endpoint resets": reset} {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t, once(large+strings.Repeat("x", 1_000_000), then), nil)
			c := p.client()
			c.Send(get("/"))
			if r, err := c.TryResponse("GET"); err == nil {
				t.Errorf("%d bytes, whole", len(r.Body))
			}
			p.last().want(t, message.SideUpstream, message.UpstreamBodyBroken)
		})
	}
	upload := "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n"
	t.Run("the endpoint leaves while it receives", func(t *testing.T) {
		p := newProxy(t, func(c *testnet.OriginConn) {
			if _, ok := c.ReadHead(); ok {
				_, _ = io.ReadFull(c, make([]byte, 1_000_000))
				c.Reset()
			}
		}, nil)
		c := p.client()
		for text := upload; c.TrySend(text) == nil; text = strings.Repeat("x", 100_000) {
		}
		p.last().want(t, message.SideUpstream, message.UpstreamReset)
	})
	t.Run("the client leaves while it sends", func(t *testing.T) {
		p := newProxy(t, func(c *testnet.OriginConn) { c.Hang() }, nil)
		c := p.client()
		c.Send(upload + strings.Repeat("x", 1_000_000))
		c.Close()
		p.last().want(t, message.SideClient, message.ClientClosed)
	})
	t.Run("the client stalls while it sends", func(t *testing.T) {
		p := newProxy(t, func(c *testnet.OriginConn) { c.Hang() }, func(p *proxy) { p.server.BodyTimeout = 100 * time.Millisecond })
		c := p.client()
		c.Send(upload + strings.Repeat("x", 1_000_000))
		p.last().want(t, message.SideClient, message.BodyTimeout)
		want(t, c.ReadResponse("POST"), 408, "body_timeout")
	})
	t.Run("the endpoint answers while the client stalls", func(t *testing.T) {
		p := newProxy(t, func(c *testnet.OriginConn) {
			if _, ok := c.ReadHead(); ok {
				_, _ = io.ReadFull(c, make([]byte, 900_000))
				c.Send(reply("413 Content Too Large", "no"))
				c.Hang()
			}
		}, nil)
		c := p.client()
		c.Send(upload + strings.Repeat("x", 1_000_000))
		want(t, c.ReadResponse("POST"), 413, "no")
		c.WantEOF()
	})
	t.Run("the endpoint stops receiving", func(t *testing.T) {
		p := newProxy(t, func(c *testnet.OriginConn) { <-c.TestEnds() }, func(p *proxy) { p.pool.o.ProgressTimeout = 100 * time.Millisecond })
		c := p.client()
		stop := make(chan struct{})
		go func() {
			defer close(stop)
			for text := upload; c.TrySend(text) == nil; text = strings.Repeat("x", 100_000) {
			}
		}()
		p.last().want(t, message.SideUpstream, message.UpstreamTimeoutFirstByte)
		c.Close()
		<-stop
	})
}

// A reader that does not read holds its writer back: what the proxy has taken stays within what
// two sockets and a buffer hold.
func TestBackPressure(t *testing.T) {
	const bound = 200 << 20 // buffers of the kernel grow; the bodies below are a gigabyte
	for _, framing := range []string{"Content-Length: 1000000000", "Transfer-Encoding: chunked"} {
		chunk := strings.Repeat("x", 1<<16)
		if strings.HasPrefix(framing, "T") {
			chunk = "10000\r\n" + chunk + "\r\n"
		}
		t.Run("response, "+framing, func(t *testing.T) {
			var sent, still atomic.Int64
			p := newProxy(t, func(c *testnet.OriginConn) {
				if _, ok := c.ReadHead(); !ok || !c.Send("HTTP/1.1 200 OK\r\n"+framing+"\r\n\r\n") {
					return
				}
				for c.Send(chunk) {
					sent.Add(int64(len(chunk)))
				}
			}, nil)
			c := p.client()
			c.Send(get("/"))
			settled(t, &sent, &still, bound)
			c.Close()
			p.last()
		})
		t.Run("request, "+framing, func(t *testing.T) {
			var sent, still atomic.Int64
			p := newProxy(t, func(c *testnet.OriginConn) { <-c.TestEnds() }, nil)
			c := p.client()
			c.Send("POST / HTTP/1.1\r\nHost: a\r\n" + framing + "\r\n\r\n")
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for c.TrySend(chunk) == nil {
					sent.Add(int64(len(chunk)))
				}
			}()
			settled(t, &sent, &still, bound)
			c.Close()
			_ = p.origin.Conn(0).Close()
			<-ended
			p.last()
		})
	}
}

// settled waits until sent has stopped growing, and fails if it grows beyond bound.
func settled(t *testing.T, sent, last *atomic.Int64, bound int64) {
	t.Helper()
	same := 0
	testnet.Eventually(t, "the sender is held back", func() bool {
		n := sent.Load()
		if n > bound {
			t.Fatalf("%d bytes were taken though nobody reads them", n)
		}
		if n == 0 || last.Swap(n) != n {
			same = 0
		}
		same++
		return same > 20
	})
}

// Security case 48: a reader that takes a little now and then is served to the end.
func TestSlowReader(t *testing.T) {
	body := noise(3 << 20)
	p := newProxy(t, testnet.Answer(reply("200 OK", body)), nil)
	c := p.client()
	c.Send(get("/"))
	c.WantPrefix("HTTP/1.1 200 OK\r\n")
	var got []byte
	buf := make([]byte, 8<<10)
	for len(got) < len(body) || !strings.HasSuffix(string(got[len(got)-min(len(got), 100):]), body[len(body)-100:]) {
		n, err := c.Read(buf)
		if got = append(got, buf[:n]...); err != nil {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		time.Sleep(100 * time.Microsecond)
	}
	if !strings.HasSuffix(string(got), "\r\n\r\n"+body) {
		t.Error("the body is not the same")
	}
}
