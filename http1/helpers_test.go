package http1

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

// serverOptions are those of the tests: limits as a listener has them by default, and timers that
// end a broken test and no other.
func serverOptions() *ServerOptions {
	return &ServerOptions{
		Scheme: "http", MaxRequestLine: 8 << 10, MaxHeader: 32 << 10, MaxHeaderCount: 100, DrainBody: 64 << 10,
		HeaderTimeout: testnet.Patience, BodyTimeout: testnet.Patience, IdleTimeout: testnet.Patience, WriteTimeout: testnet.Patience,
		DrainLinger: testnet.Patience, Upgrade: []string{"websocket"},
	}
}

func poolOptions(address string) PoolOptions {
	return PoolOptions{
		Address: address, ConnectTimeout: testnet.Patience, IdleTimeout: testnet.Patience, ProgressTimeout: testnet.Patience,
		MaxIdle: 100, MaxHeader: 32 << 10, MaxHeaderCount: 100,
	}
}

// ended is what is left of an exchange that has finished.
type ended struct {
	message.Outcome
	Status  int
	Failure *message.Failure // of Pool.Do
	Times   message.Times
}

// proxy is the smallest proxy: Serve is Pool.Do. It is the handler of a server on loopback in
// front of an origin.
type proxy struct {
	t      *testing.T
	addr   string
	origin *testnet.Origin
	server *ServerOptions
	pool   *Pool
	call   Call // what each attempt may take
	life   *life
	serve  func(x *message.Exchange) // nil forwards

	ended chan ended
	conns atomic.Int32 // connections that are being served
	wg    sync.WaitGroup
	mu    sync.Mutex
	open  []net.Conn
}

// newProxy starts a proxy in front of an origin with the given script. set changes options before
// the first connection; it may be nil.
func newProxy(t *testing.T, script func(*testnet.OriginConn), set func(p *proxy)) *proxy {
	t.Helper()
	p := &proxy{t: t, server: serverOptions(), ended: make(chan ended, 1000), life: &life{}}
	t.Cleanup(p.wg.Wait)
	p.origin = testnet.NewOrigin(t, script)
	p.call.FirstByte = testnet.Patience
	p.pool = NewPool(poolOptions(p.origin.Addr))
	if set != nil {
		set(p)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr = ln.Addr().String()
	p.wg.Add(1)
	go p.accept(ln)
	t.Cleanup(func() {
		_ = ln.Close()
		p.pool.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, nc := range p.open {
			// Closing waits for an exchange that is served inside a wait of the connection.
			p.wg.Add(1)
			go func() {
				defer p.wg.Done()
				_ = nc.Close()
			}()
		}
	})
	return p
}

func (p *proxy) accept(ln net.Listener) {
	defer p.wg.Done()
	for {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.open = append(p.open, nc)
		p.mu.Unlock()
		p.wg.Add(1)
		p.conns.Add(1)
		go func() {
			defer p.wg.Done()
			defer p.conns.Add(-1)
			peer := nc.RemoteAddr().(*net.TCPAddr).AddrPort()
			ServeConn(nc, Peer{Addr: peer, Life: p.life}, p.server, p)
		}()
	}
}

// client connects to the proxy.
func (p *proxy) client() *testnet.Client {
	p.t.Helper()
	return testnet.Dial(p.t, p.addr)
}

// last returns how the next exchange ended that has not been asked for.
func (p *proxy) last() ended {
	p.t.Helper()
	return testnet.Receive(p.t, "the end of an exchange", p.ended)
}

// Serve implements message.Handler.
func (p *proxy) Serve(x *message.Exchange) {
	x.State = nil
	if x.Outcome.Reason != message.ReasonNone {
		answerReason(x)
		return
	}
	if p.serve != nil {
		p.serve(x)
		return
	}
	p.forward(x)
}

func (p *proxy) forward(x *message.Exchange) {
	call := p.call
	p.try(x, &call)
}

func (p *proxy) try(x *message.Exchange, call *Call) {
	if f := p.pool.Do(x, call); f != nil {
		x.State = f
		x.Fail(f)
		answerReason(x)
	}
	x.Outcome.Reused = call.Reused
}

// Finish implements message.Handler.
func (p *proxy) Finish(x *message.Exchange) {
	e := ended{Outcome: x.Outcome, Status: x.Response.Status, Times: x.Times}
	e.Failure, _ = x.State.(*message.Failure)
	select {
	case p.ended <- e:
	default: // a test with thousands of exchanges does not ask for each
	}
}

// nameReason is read-only.
var nameReason = message.SluiceReason.Name()

// answerReason answers a failed exchange with its reason as a field and as the body.
func answerReason(x *message.Exchange) {
	word := x.Outcome.Reason.String()
	x.Response.Status = x.Outcome.Reason.Status()
	x.Response.Header.Set(nameReason, []byte(word))
	x.Fixed.Reset([]byte(word))
	x.Response.Body, x.Response.Length = &x.Fixed, int64(len(word))
}

// life is a listener's state that a test sets.
type life struct {
	drain atomic.Bool
	idle  atomic.Bool
}

// Draining implements Life.
func (l *life) Draining() bool { return l.drain.Load() }

// Idle implements Life.
func (l *life) Idle(idle bool) { l.idle.Store(idle) }

// drainNow makes the listener drain and wakes idle connections, as a listener does.
func (p *proxy) drainNow() {
	p.life.drain.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, nc := range p.open {
		_ = nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// reply makes the text of a response with a body.
func reply(status, body string, fields ...string) string {
	var b strings.Builder
	b.WriteString("HTTP/1.1 " + status + "\r\n")
	for _, f := range fields {
		b.WriteString(f + "\r\n")
	}
	b.WriteString("Content-Length: " + itoa(len(body)) + "\r\n\r\n" + body)
	return b.String()
}

// get is the text of a simple request.
func get(path string, fields ...string) string {
	return "GET " + path + " HTTP/1.1\r\n" + strings.Join(append(fields, "Host: a.example"), "\r\n") + "\r\n\r\n"
}

// post is the text of a request with a body of known length.
func post(path, body string, fields ...string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: a.example\r\n" + strings.Join(append(fields, "Content-Length: "+itoa(len(body))), "\r\n") + "\r\n\r\n" + body
}

func itoa(n int) string { return strconv.Itoa(n) }

// want compares the status and body of a response.
func want(t *testing.T, r *testnet.Response, status int, body string) {
	t.Helper()
	if r.Status != status || string(r.Body) != body {
		t.Fatalf("got %d %.200q, want %d %.200q", r.Status, r.Body, status, body)
	}
}

// wantReason checks how an exchange ended.
func (e ended) want(t *testing.T, side message.Side, reason message.Reason) ended {
	t.Helper()
	if e.Side != side || e.Reason != reason {
		t.Fatalf("the exchange ended with side %q, reason %q (%v), want %q, %q", e.Side, e.Reason, e.Err, side, reason)
	}
	return e
}

// peerOf is the address of tests without a socket. Read-only.
var peerOf = netip.MustParseAddrPort("192.0.2.1:1000")
