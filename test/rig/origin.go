package rig

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// Origin is a backend's endpoint that records every byte which reaches it. It has an address of its own on loopback.
type Origin struct {
	Name string

	t      testing.TB
	script func(c *OriginConn)
	addr   string
	done   chan struct{} // closed at the end of the test
	wg     sync.WaitGroup

	mu      sync.Mutex
	ln      net.Listener
	conns   []*OriginConn
	changed chan struct{} // closed and replaced whenever something was recorded or a connection came or ended
}

// OriginConn is a connection to an origin. Its script uses it; what it has received may be looked at by anybody.
type OriginConn struct {
	Origin *Origin
	Number int // 1 for the first connection of the origin
	Served int // requests that the script has read whole; for the script and for Wait

	nc       net.Conn
	off      int    // how much of received the script has consumed
	received []byte // guarded by Origin.mu
	ended    bool   // guarded by Origin.mu
}

// NewOrigin starts an origin. script serves one connection; nil answers every request with 200 and the origin's name. When a script returns without having
// closed the connection, what still arrives is recorded up to its end.
func NewOrigin(t testing.TB, name string, script func(c *OriginConn)) *Origin {
	t.Helper()
	if script == nil {
		script = func(c *OriginConn) {
			for c.Request() != nil {
				c.Answer(200, name)
			}
		}
	}
	o := &Origin{Name: name, t: t, script: script, addr: "127.0.0.1:0", done: make(chan struct{}), changed: make(chan struct{})}
	o.Listen()
	t.Cleanup(func() {
		close(o.done)
		o.Unlisten()
		for _, c := range o.Conns() {
			_ = c.nc.Close()
		}
		o.wg.Wait()
	})
	return o
}

// Addr returns the address of the origin.
func (o *Origin) Addr() string { return o.addr }

// Listen begins to accept, again after Unlisten.
func (o *Origin) Listen() {
	o.t.Helper()
	var ln net.Listener
	testnet.Eventually(o.t, "listen on "+o.addr, func() (ok bool) {
		var err error
		ln, err = net.Listen("tcp", o.addr)
		return err == nil
	})
	o.addr = ln.Addr().String()
	o.mu.Lock()
	o.ln = ln
	o.mu.Unlock()
	o.wg.Go(func() { o.accept(ln) })
}

// Unlisten stops accepting: whoever dials is refused. Open connections go on.
func (o *Origin) Unlisten() {
	o.mu.Lock()
	ln := o.ln
	o.ln = nil
	o.mu.Unlock()
	if ln != nil {
		_ = ln.Close()
	}
}

func (o *Origin) accept(ln net.Listener) {
	for {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		o.mu.Lock()
		c := &OriginConn{Origin: o, Number: len(o.conns) + 1, nc: nc}
		o.conns = append(o.conns, c)
		o.touch()
		o.mu.Unlock()
		o.wg.Go(func() {
			defer c.finish()
			o.script(c)
			for c.read() {
			}
		})
	}
}

// touch tells Wait that something has changed; the caller holds mu.
func (o *Origin) touch() {
	close(o.changed)
	o.changed = make(chan struct{})
}

// Wait waits until cond, which is called with nothing changing meanwhile, holds.
func (o *Origin) Wait(what string, cond func(conns []*OriginConn) bool) {
	o.t.Helper()
	timer := time.NewTimer(testnet.Patience)
	defer timer.Stop()
	for {
		o.mu.Lock()
		ok, changed := cond(o.conns), o.changed
		o.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			o.t.Fatalf("origin %s: %s: not within %s", o.Name, what, testnet.Patience)
		}
	}
}

// WaitBytes waits until at least n bytes have been received in all.
func (o *Origin) WaitBytes(n int) {
	o.t.Helper()
	o.Wait(fmt.Sprintf("%d bytes", n), func(conns []*OriginConn) bool {
		sum := 0
		for _, c := range conns {
			sum += len(c.received)
		}
		return sum >= n
	})
}

// WaitEnd waits until every connection that was made has been accepted and has ended.
func (o *Origin) WaitEnd() {
	o.t.Helper()
	// The queue of the socket is served in order: when the marker has come, all others have.
	marker, err := (&net.Dialer{Timeout: testnet.Patience}).Dial("tcp", o.addr)
	if err == nil {
		at := marker.LocalAddr().String()
		_ = marker.Close()
		o.Wait("the marker", func(conns []*OriginConn) bool {
			for _, c := range conns {
				if c.nc.RemoteAddr().String() == at {
					return true
				}
			}
			return false
		})
	}
	o.Wait("the end of all connections", func(conns []*OriginConn) bool {
		for _, c := range conns {
			if !c.ended {
				return false
			}
		}
		return true
	})
}

// Conns returns the connections so far, in the order in which they were accepted.
func (o *Origin) Conns() []*OriginConn {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]*OriginConn(nil), o.conns...)
}

// Received returns every byte that was received, connection after connection.
func (o *Origin) Received() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all strings.Builder
	for _, c := range o.conns {
		all.Write(c.received)
	}
	return all.String()
}

// Requests reads everything that was received as requests, connection after connection. The error tells what of it is no well-formed, complete request.
func (o *Origin) Requests() ([]*Request, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []*Request
	var errs []error
	for _, c := range o.conns {
		some, err := ParseRequests(string(c.received))
		all = append(all, some...)
		if err != nil {
			errs = append(errs, fmt.Errorf("connection %d: %w", c.Number, err))
		}
	}
	return all, errors.Join(errs...)
}

// Asked returns the requests with the id among all that were received, as Requests reads them.
func (o *Origin) Asked(id string) ([]*Request, error) {
	all, err := o.Requests()
	return slices.DeleteFunc(all, func(r *Request) bool { return r.Header.Get("X-Request-Id") != id }), err
}

// Bytes returns what the connection has received so far.
func (c *OriginConn) Bytes() string {
	c.Origin.mu.Lock()
	defer c.Origin.mu.Unlock()
	return string(c.received)
}

// Head reads the next request's head; nil at the end of the connection, or when what came is not well-formed.
func (c *OriginConn) Head() *Request {
	r, _ := c.parse(false)
	return r
}

// Request reads the next request whole, also after its Head was read; nil at the end of the connection, or when what came is not well-formed.
func (c *OriginConn) Request() *Request {
	r, n := c.parse(true)
	if r != nil {
		c.off += n
		c.Origin.mu.Lock()
		c.Served++
		c.Origin.touch()
		c.Origin.mu.Unlock()
	}
	return r
}

// parse reads until the head, or the whole, of the next request is there.
func (c *OriginConn) parse(whole bool) (*Request, int) {
	for {
		c.Origin.mu.Lock()
		b := c.received[c.off:]
		c.Origin.mu.Unlock()
		r, n, err := parseRequest(b)
		switch {
		case err == nil, err == errPart && r != nil && !whole:
			return r, n
		case err != errPart || !c.read():
			return nil, 0
		}
	}
}

// Wait waits for an event of the test, and reports false if the test ends first.
func (c *OriginConn) Wait(event <-chan struct{}) bool {
	select {
	case <-event:
		return true
	case <-c.Origin.done:
		return false
	}
}

// More waits for bytes and records them, for scripts that look at Bytes. It reports whether the connection goes on.
func (c *OriginConn) More() bool { return c.read() }

// read records what arrives next and reports whether the connection goes on.
func (c *OriginConn) read() bool {
	var p [32 << 10]byte
	n, err := c.nc.Read(p[:])
	o := c.Origin
	o.mu.Lock()
	defer o.mu.Unlock()
	if n > 0 {
		c.received = append(c.received, p[:n]...)
		o.touch()
	}
	return err == nil
}

func (c *OriginConn) finish() {
	_ = c.nc.Close()
	c.Origin.mu.Lock()
	c.ended = true
	c.Origin.touch()
	c.Origin.mu.Unlock()
}

// Send writes raw bytes and reports whether the connection took them.
func (c *OriginConn) Send(raw string) bool {
	_, err := c.nc.Write([]byte(raw))
	return err == nil
}

// Answer sends a response with a Content-Length.
func (c *OriginConn) Answer(status int, body string, fields ...string) bool {
	return c.Send(Answer(status, body, fields...))
}

// Answer returns the bytes of a response with a Content-Length and further field lines.
func Answer(status int, body string, fields ...string) string {
	text := fmt.Sprintf("HTTP/1.1 %d Status\r\nContent-Length: %d\r\n", status, len(body))
	for _, f := range fields {
		text += f + "\r\n"
	}
	return text + "\r\n" + body
}

// Close ends the connection in order.
func (c *OriginConn) Close() { _ = c.nc.Close() }

// CloseWrite ends the sending side.
func (c *OriginConn) CloseWrite() {
	if t, ok := c.nc.(*net.TCPConn); ok {
		_ = t.CloseWrite()
	}
}

// Reset ends the connection by a reset.
func (c *OriginConn) Reset() {
	if t, ok := c.nc.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.nc.Close()
}

// Ended reports whether the connection has ended and everything of it is recorded.
func (c *OriginConn) Ended() bool {
	c.Origin.mu.Lock()
	defer c.Origin.mu.Unlock()
	return c.ended
}
