package http1

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/stream"
)

// secureOrigin is an origin with TLS whose connections a script serves.
type secureOrigin struct {
	addr  string
	cert  tls.Certificate
	serve func(c *secureSession)
	done  chan struct{} // closed when the test ends
	wg    sync.WaitGroup

	mu       sync.Mutex
	sessions []*secureSession
}

// secureSession is one connection of it, after the handshake.
type secureSession struct {
	*tls.Conn
	raw    *net.TCPConn
	out    *gather
	br     *bufio.Reader
	number int
	ended  chan struct{}
	done   chan struct{}
}

// newSecureOrigin starts an origin; config may be nil, or say more than the certificate.
func newSecureOrigin(t testing.TB, config *tls.Config, serve func(c *secureSession)) *secureOrigin {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &secureOrigin{addr: ln.Addr().String(), cert: certificate(t), serve: serve, done: make(chan struct{})}
	if config == nil {
		config = &tls.Config{}
	}
	config.Certificates = []tls.Certificate{o.cert}
	o.wg.Go(func() { o.accept(ln, config) })
	t.Cleanup(func() {
		_ = ln.Close()
		close(o.done)
		o.mu.Lock()
		for _, s := range o.sessions {
			_ = s.raw.Close()
		}
		o.mu.Unlock()
		o.wg.Wait()
	})
	return o
}

func (o *secureOrigin) accept(ln net.Listener, config *tls.Config) {
	for {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		s := &secureSession{raw: nc.(*net.TCPConn), out: &gather{Conn: nc}, ended: make(chan struct{}), done: o.done}
		s.Conn = tls.Server(s.out, config)
		s.br = bufio.NewReader(s.Conn)
		o.mu.Lock()
		s.number = len(o.sessions)
		o.sessions = append(o.sessions, s)
		o.mu.Unlock()
		o.wg.Go(func() {
			defer close(s.ended)
			defer nc.Close()
			_ = nc.SetDeadline(time.Now().Add(testnet.Patience))
			if s.Handshake() == nil {
				o.serve(s)
			}
		})
	}
}

// gather holds writes back, so that they go out as one.
type gather struct {
	net.Conn
	hold bool
	kept []byte
}

func (g *gather) Write(p []byte) (int, error) {
	if !g.hold {
		return g.Conn.Write(p)
	}
	g.kept = append(g.kept, p...)
	return len(p), nil
}

func (g *gather) release() {
	_, _ = g.Conn.Write(g.kept)
	g.hold, g.kept = false, nil
}

// session returns a connection, which has been accepted.
func (o *secureOrigin) session(i int) *secureSession {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sessions[i]
}

func (o *secureOrigin) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.sessions)
}

// request reads a request; ok is false at the end of the connection.
func (s *secureSession) request() (r *testnet.Request, ok bool) {
	r, err := testnet.ReadRequest(s.br)
	return r, err == nil
}

func (s *secureSession) send(text string) bool {
	_, err := io.WriteString(s.Conn, text)
	return err == nil
}

// mirrored answers with the request, like echo.
func mirrored(s *secureSession) {
	for {
		r, ok := s.request()
		if !ok || !s.send(reply("200 OK", fmt.Sprintf("%s %s %s", r.Method, r.Target, r.Body))) {
			return
		}
	}
}

// counted answers with the number of the connection, like numbered.
func counted(s *secureSession) {
	for {
		if _, ok := s.request(); !ok || !s.send(reply("200 OK", itoa(s.number))) {
			return
		}
	}
}

// clientConfig is that of a pool in front of o, which it trusts; nil trusts nobody.
func clientConfig(t testing.TB, o *secureOrigin) *tls.Config {
	t.Helper()
	c := &tls.Config{ServerName: "a.example", RootCAs: x509.NewCertPool()}
	if o != nil {
		leaf, err := x509.ParseCertificate(o.cert.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		c.RootCAs.AddCert(leaf)
	}
	return c
}

// newSecure makes a pool in front of o.
func newSecure(t testing.TB, o *secureOrigin, set func(o *PoolOptions)) *Pool {
	t.Helper()
	po := poolOptions(o.addr)
	po.TLS = clientConfig(t, o)
	if set != nil {
		set(&po)
	}
	p := NewPool(po)
	t.Cleanup(p.Close)
	return p
}

// over makes an exchange and returns the body of its answer.
func over(t *testing.T, p *Pool, method, body string, c Call) string {
	t.Helper()
	x := exchangeOf(method, "/", body)
	if f := p.Do(x, &c); f != nil {
		t.Fatalf("%s: %+v", method, f)
	}
	return bodyOf(t, x)
}

func TestSecureExchanges(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			o := newSecureOrigin(t, &tls.Config{MaxVersion: version, NextProtos: []string{"h2", "http/1.1"}}, mirrored)
			p := newSecure(t, o, nil)
			for _, size := range []int{0, 1, 100_000, 3 << 20} {
				body := noise(size)
				if got := over(t, p, "POST", body, Call{Once: true}); got != "POST / "+body {
					t.Fatalf("%d bytes came as %d", size, len(got))
				}
				p.Sweep()
			}
			if n := o.count(); n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
			if s := o.session(0).ConnectionState(); s.NegotiatedProtocol != "http/1.1" || s.ServerName != "a.example" {
				t.Errorf("%q of %q", s.NegotiatedProtocol, s.ServerName)
			}
			// A second connection resumes the session.
			if over(t, p, "GET", "", Call{Fresh: true}); !o.session(1).ConnectionState().DidResume {
				t.Error("the session was not resumed")
			}
		})
	}
}

// In memory there is no socket to look at; the rest works all the same.
func TestSecureInMemory(t *testing.T) {
	o := newSecureOrigin(t, nil, mirrored) // for its certificate
	var wg sync.WaitGroup
	p := newSecure(t, o, func(po *PoolOptions) {
		po.Dial = func(context.Context, string) (net.Conn, error) {
			a, b := testnet.Pipe(64 << 10)
			wg.Go(func() {
				s := &secureSession{Conn: tls.Server(b, &tls.Config{Certificates: []tls.Certificate{o.cert}})}
				s.br = bufio.NewReader(s.Conn)
				mirrored(s)
				_ = s.Close()
			})
			return a, nil
		}
	})
	for range 3 {
		if got := over(t, p, "POST", "hello", Call{Once: true}); got != "POST / hello" {
			t.Errorf("%q", got)
		}
	}
	if s := p.Stats(); s.Idle != 1 || s.Stale != 0 {
		t.Errorf("%+v", s)
	}
	p.Close()
	wg.Wait()
}

func TestClientCertificate(t *testing.T) {
	own := certificate(t)
	leaf, err := x509.ParseCertificate(own.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			known := x509.NewCertPool()
			known.AddCert(leaf)
			o := newSecureOrigin(t, &tls.Config{MaxVersion: version, ClientAuth: tls.RequireAnyClientCert, VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
				if string(raw[0]) != string(own.Certificate[0]) {
					return fmt.Errorf("unknown certificate")
				}
				return nil
			}}, mirrored)
			p := newSecure(t, o, func(po *PoolOptions) { po.TLS.Certificates = []tls.Certificate{own} })
			if got := over(t, p, "GET", "", Call{}); got != "GET / " {
				t.Errorf("%q", got)
			}
			for name, certificates := range map[string][]tls.Certificate{"none": nil, "another": {certificate(t)}} {
				p := newSecure(t, o, func(po *PoolOptions) { po.TLS.Certificates = certificates })
				f := p.Do(exchangeOf("POST", "/", "hello"), &Call{Once: true})
				// With TLS 1.3 the refusal comes when the request is under way, and may be lost
				// with the reset behind it.
				reset := version == tls.VersionTLS13 && f != nil && f.Reason == message.UpstreamReset
				if !reset && (f == nil || f.Reason != message.UpstreamTLSFailed || f.Stage != message.StageConnect || f.Retry != message.RetryUnsent) {
					t.Errorf("%s: %+v", name, f)
				}
			}
		})
	}
}

// What cannot become a connection with the right endpoint fails before anything of the request was
// sent.
func TestSecureConnectFailures(t *testing.T) {
	o := newSecureOrigin(t, &tls.Config{NextProtos: []string{"http/1.1"}}, mirrored)
	other := newSecureOrigin(t, &tls.Config{NextProtos: []string{"imap"}}, mirrored)
	plain := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		c.Send("HTTP/1.1 400 Bad Request\r\n\r\n")
		c.Hang()
	})
	closing := testnet.NewOrigin(t, func(c *testnet.OriginConn) { _, _ = c.Read(make([]byte, 1)) })
	silent := testnet.NewOrigin(t, func(c *testnet.OriginConn) { c.Hang() })
	for _, test := range []struct {
		name   string
		set    func(po *PoolOptions)
		reason message.Reason
	}{
		{"wrong name", func(po *PoolOptions) { po.TLS.ServerName = "b.example" }, message.UpstreamTLSFailed},
		{"nobody trusted", func(po *PoolOptions) { po.TLS = clientConfig(t, nil) }, message.UpstreamTLSFailed},
		{"no name", func(po *PoolOptions) { po.TLS.ServerName = "" }, message.UpstreamTLSFailed},
		{"another protocol", func(po *PoolOptions) { po.Address, po.TLS = other.addr, clientConfig(t, other) }, message.UpstreamTLSFailed},
		{"no TLS", func(po *PoolOptions) { po.Address = plain.Addr }, message.UpstreamTLSFailed},
		{"closed", func(po *PoolOptions) { po.Address = closing.Addr }, message.UpstreamTLSFailed},
		{"silent", func(po *PoolOptions) { po.Address, po.ConnectTimeout = silent.Addr, 50*time.Millisecond }, message.UpstreamConnectTimeout},
		{"refused", func(po *PoolOptions) { po.Address = "127.0.0.1:1" }, message.UpstreamConnectRefused},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newSecure(t, o, test.set)
			f := p.Do(exchangeOf("POST", "/", "hello"), &Call{Once: true})
			if f == nil || f.Reason != test.reason || f.Side != message.SideUpstream || f.Stage != message.StageConnect || f.Retry != message.RetryUnsent {
				t.Fatalf("%+v", f)
			}
		})
	}
	t.Run("silent, with a deadline", func(t *testing.T) {
		p := newSecure(t, o, func(po *PoolOptions) { po.Address = silent.Addr })
		f := p.Do(exchangeOf("GET", "/", ""), &Call{Deadline: message.Now() + int64(50*time.Millisecond)})
		if f == nil || f.Reason != message.UpstreamConnectTimeout {
			t.Errorf("%+v", f)
		}
	})
}

// A connection that the endpoint has ended, however it did, or on which it has said something, is
// not used; a request that may be sent only once then takes another.
func TestSecureStale(t *testing.T) {
	for name, spoil := range map[string]func(s *secureSession){
		"ended in order": func(s *secureSession) { _ = s.Close() },
		"TLS ended only": func(s *secureSession) { _ = s.CloseWrite() },
		"TCP ended":      func(s *secureSession) { _ = s.raw.CloseWrite() },
		"reset": func(s *secureSession) {
			_ = s.raw.SetLinger(0)
			_ = s.raw.Close()
		},
		"an answer unasked":  func(s *secureSession) { s.send(reply("200 OK", "evil")) },
		"a part of a record": func(s *secureSession) { _, _ = s.raw.Write([]byte{21, 3, 3}) },
		"no TLS":             func(s *secureSession) { _, _ = s.raw.Write([]byte("HTTP/1.1 408 Request Timeout\r\n\r\n")) },
	} {
		t.Run(name, func(t *testing.T) {
			now, spoilt := make(chan struct{}), make(chan struct{})
			o := newSecureOrigin(t, nil, func(s *secureSession) {
				if s.number > 0 {
					counted(s)
					return
				}
				if _, ok := s.request(); !ok || !s.send(reply("200 OK", "0")) {
					return
				}
				<-now
				spoil(s)
				close(spoilt)
				<-s.done
			})
			p := newSecure(t, o, nil)
			if got := over(t, p, "POST", "hello", Call{Once: true}); got != "0" {
				t.Fatal(got)
			}
			close(now)
			testnet.Receive(t, "the spoiling", spoilt)
			for range 2 {
				if got := over(t, p, "POST", "hello", Call{Once: true}); got != "1" {
					t.Errorf("connection %s", got)
				}
			}
			if s := p.Stats(); s.Stale != 1 || s.Idle != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
	// What comes in one piece with the answer lies in the buffer of TLS, where the socket does not
	// show it.
	t.Run("a second answer behind the first", func(t *testing.T) {
		o := newSecureOrigin(t, nil, func(s *secureSession) {
			if _, ok := s.request(); !ok {
				return
			}
			if s.number > 0 {
				s.send(reply("200 OK", "1"))
				<-s.done
				return
			}
			s.out.hold = true
			s.send(reply("200 OK", "0"))
			s.send(reply("200 OK", "evil"))
			s.out.release()
			<-s.done
		})
		p := newSecure(t, o, nil)
		if got := over(t, p, "GET", "", Call{}); got != "0" {
			t.Fatal(got)
		}
		testnet.Eventually(t, "the connection is dropped", func() bool {
			p.Sweep()
			return p.Idle() == 0
		})
		if got := over(t, p, "POST", "hello", Call{Once: true}); got != "1" {
			t.Error(got)
		}
	})
}

// Tickets for the resumption of sessions are no answer, and no end.
func TestSecureTickets(t *testing.T) {
	handshaken := make(chan struct{})
	o := newSecureOrigin(t, nil, func(s *secureSession) {
		close(handshaken) // TLS 1.3: the tickets have been written
		mirrored(s)
	})
	p := newSecure(t, o, nil)
	cc, failure := p.dial(&Call{})
	if failure != nil {
		t.Fatal(failure)
	}
	defer cc.end()
	testnet.Receive(t, "the handshake", handshaken)
	raw, err := cc.secure.link.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	quiet := true
	testnet.Eventually(t, "the tickets have come", func() bool {
		err = raw.Control(func(fd uintptr) { quiet = stream.Quiet(fd) })
		return !quiet || err != nil
	})
	for range 2 {
		if !cc.quiet() {
			t.Error("a connection with tickets was taken for one that has ended")
		}
	}
	_ = raw.Control(func(fd uintptr) { quiet = stream.Quiet(fd) })
	if !quiet {
		t.Error("the tickets were left")
	}
	cc.used = true
	p.put(cc)
	if got := over(t, p, "POST", "hello", Call{Once: true}); got != "POST / hello" || o.count() != 1 {
		t.Errorf("%q over %d connections", got, o.count())
	}
}

// A body that ends with the connection is whole only if TLS has ended in order.
func TestSecureBodyUntilTheEnd(t *testing.T) {
	for name, whole := range map[string]bool{"in order": true, "cut": false} {
		t.Run(name, func(t *testing.T) {
			o := newSecureOrigin(t, nil, func(s *secureSession) {
				if _, ok := s.request(); !ok {
					return
				}
				s.send("HTTP/1.1 200 OK\r\n\r\nhello")
				if whole {
					_ = s.Close()
				} else {
					_ = s.raw.CloseWrite()
					<-s.done
				}
			})
			p := newSecure(t, o, nil)
			x := exchangeOf("GET", "/", "")
			if f := p.Do(x, &Call{}); f != nil {
				t.Fatal(f)
			}
			var got []byte
			for {
				piece, err := x.Response.Body.Next()
				if got = append(got, piece...); err == nil {
					continue
				}
				if isEOF(err) != whole || string(got) != "hello" {
					t.Errorf("%q, %v", got, err)
				}
				break
			}
			_ = x.Response.Body.Close()
		})
	}
}

// The marks of records are where they are, however the bytes come.
func TestRecordMarks(t *testing.T) {
	var text []byte
	ends := map[int]bool{0: true}
	for _, size := range []int{0, 1, 5, 300, 70} {
		text = append(text, 23, 3, 3, byte(size>>8), byte(size))
		text = append(text, make([]byte, size)...)
		ends[len(text)] = true
	}
	for step := 1; step <= len(text); step++ {
		var r recordMarks
		for at := 0; at < len(text); at += step {
			end := min(at+step, len(text))
			if r.pass(text[at:end]); r.whole() != ends[end] {
				t.Fatalf("in steps of %d: %v at %d", step, r.whole(), end)
			}
		}
	}
}

// A proxy between a plain client and an endpoint with TLS: bodies of any size, and a tunnel.
func TestSecureThroughTheProxy(t *testing.T) {
	o := newSecureOrigin(t, nil, func(s *secureSession) {
		for {
			r, ok := s.request()
			switch {
			case !ok:
				return
			case r.Header.Get("Upgrade") != "":
				s.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
				_, _ = io.Copy(s.Conn, s.br)
				return
			case !s.send(reply("200 OK", string(r.Body))):
				return
			}
		}
	})
	p := newProxy(t, echo, func(p *proxy) {
		p.pool = newSecure(t, o, nil)
	})
	c := p.client()
	for _, size := range []int{0, 10, 100_000, 1 << 20} {
		body := noise(size)
		sent := make(chan error, 1)
		go func() { sent <- c.TrySend(post("/", body)) }()
		r := c.ReadResponse("POST")
		if err := <-sent; err != nil || string(r.Body) != body {
			t.Fatalf("%d bytes came as %d, %v", size, len(r.Body), err)
		}
	}
	c.Send(post("/", "")[:20])
	c.Send(post("/", "")[20:])
	want(t, c.ReadResponse("POST"), 200, "")
	c.Send(webSocket + "early")
	if r := c.ReadResponse("GET"); r.Status != 101 {
		t.Fatalf("%d %v", r.Status, r.Header)
	}
	c.WantPrefix("early")
	c.Send("late")
	c.WantPrefix("late")
	c.CloseWrite()
	c.WantClosed()
	if n := o.count(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}
