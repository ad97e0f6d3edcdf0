package testnet

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Origin is a server on loopback that records every byte it receives and answers by script.
type Origin struct {
	Addr string // host:port

	t     testing.TB
	ln    net.Listener
	serve func(*OriginConn)
	done  chan struct{} // closed when the test ends
	wg    sync.WaitGroup

	mu    sync.Mutex
	conns []*OriginConn
}

// OriginConn is a connection that an origin has accepted. Its script runs in a goroutine of its
// own and owns it, but for Received, Number and Ended. When the script returns, the connection is
// closed.
type OriginConn struct {
	net.Conn
	Number int // 0 for the first connection of the origin

	origin *Origin
	br     *bufio.Reader
	ended  chan struct{} // closed when the script has returned and the connection is closed

	mu       sync.Mutex
	received []byte
}

// NewOrigin starts an origin whose connections are served by serve. It ends with the test.
func NewOrigin(t testing.TB, serve func(*OriginConn)) *Origin {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &Origin{Addr: ln.Addr().String(), t: t, ln: ln, serve: serve, done: make(chan struct{})}
	o.wg.Add(1)
	go o.accept()
	t.Cleanup(o.close)
	return o
}

func (o *Origin) accept() {
	defer o.wg.Done()
	for {
		nc, err := o.ln.Accept()
		if err != nil {
			return
		}
		o.mu.Lock()
		c := &OriginConn{Conn: nc, Number: len(o.conns), origin: o, ended: make(chan struct{})}
		c.br = bufio.NewReader(recorder{c})
		o.conns = append(o.conns, c)
		o.mu.Unlock()
		o.wg.Add(1)
		go func() {
			defer o.wg.Done()
			defer close(c.ended)
			defer nc.Close()
			o.serve(c)
		}()
	}
}

func (o *Origin) close() {
	_ = o.ln.Close()
	close(o.done)
	o.mu.Lock()
	for _, c := range o.conns {
		_ = c.Close()
	}
	o.mu.Unlock()
	o.wg.Wait()
}

// Conns returns how many connections were accepted.
func (o *Origin) Conns() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.conns)
}

// Conn waits for connection i (0 is the first) and returns it.
func (o *Origin) Conn(i int) *OriginConn {
	o.t.Helper()
	Eventually(o.t, "a connection to the origin", func() bool { return o.Conns() > i })
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.conns[i]
}

// Received returns all bytes that came so far, of all connections in the order of their beginning.
func (o *Origin) Received() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all strings.Builder
	for _, c := range o.conns {
		all.WriteString(c.Received())
	}
	return all.String()
}

// recorder is the reading side of an OriginConn.
type recorder struct{ c *OriginConn }

// Read implements io.Reader.
func (r recorder) Read(p []byte) (int, error) {
	n, err := r.c.Conn.Read(p)
	r.c.mu.Lock()
	r.c.received = append(r.c.received, p[:n]...)
	r.c.mu.Unlock()
	return n, err
}

// Received returns what came over the connection so far.
func (c *OriginConn) Received() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.received)
}

// Ended is closed when the connection's script has returned and the connection is closed.
func (c *OriginConn) Ended() <-chan struct{} { return c.ended }

// ReadRequest reads a request. ok is false when the connection has ended instead, if only in the
// middle of one; a request that no proxy should write fails the test.
func (c *OriginConn) ReadRequest() (r *Request, ok bool) {
	_ = c.SetReadDeadline(time.Now().Add(Patience))
	r, err := ReadRequest(c.br)
	if err == nil {
		return r, true
	}
	if _, network := err.(net.Error); !network && err != io.EOF && err != io.ErrUnexpectedEOF {
		c.origin.t.Errorf("the origin received a bad request: %v\n%.400q", err, c.Received())
	}
	return r, false
}

// ReadHead reads up to the end of a request's head and returns it. Its body, if any, is not read.
func (c *OriginConn) ReadHead() (head string, ok bool) {
	_ = c.SetReadDeadline(time.Now().Add(Patience))
	var b []byte
	for !bytes.HasSuffix(b, []byte("\r\n\r\n")) {
		x, err := c.br.ReadByte()
		if err != nil {
			return string(b), false
		}
		b = append(b, x)
	}
	return string(b), true
}

// Read reads what comes, and records it.
func (c *OriginConn) Read(p []byte) (int, error) {
	_ = c.SetReadDeadline(time.Now().Add(Patience))
	return c.br.Read(p)
}

// Send writes text as it is and reports whether the connection took it.
func (c *OriginConn) Send(text string) bool {
	_ = c.SetWriteDeadline(time.Now().Add(Patience))
	_, err := io.WriteString(c.Conn, text)
	return err == nil
}

// Wait waits for an event of the test, and reports false if the test ends first.
func (c *OriginConn) Wait(event <-chan struct{}) bool {
	select {
	case <-event:
		return true
	case <-c.origin.done:
		return false
	}
}

// TestEnds is closed when the test ends. A script that waits for it neither reads nor writes.
func (c *OriginConn) TestEnds() <-chan struct{} { return c.origin.done }

// Hang says nothing until the other side ends the connection or the test ends, and records what
// comes meanwhile.
func (c *OriginConn) Hang() {
	_ = c.SetReadDeadline(time.Time{})
	_, _ = io.Copy(io.Discard, c.br)
}

// Reset ends the connection with a reset.
func (c *OriginConn) Reset() {
	if s, ok := c.Conn.(interface{ SetLinger(sec int) error }); ok {
		_ = s.SetLinger(0)
	}
	_ = c.Close()
}

// Answer is the script that answers the n-th request of each connection with the n-th text, and
// those behind the last with the last. When a text asks for it by "Connection: close", the
// connection is closed behind it.
func Answer(texts ...string) func(*OriginConn) {
	return func(c *OriginConn) {
		for i := 0; ; i++ {
			if _, ok := c.ReadRequest(); !ok {
				return
			}
			text := texts[min(i, len(texts)-1)]
			if !c.Send(text) || strings.Contains(text, "Connection: close\r\n") {
				return
			}
		}
	}
}

// Respond answers requests without a body with answer until the connection ends, and closes it.
// It looks for the ends of heads only, and it allocates nothing while it runs: it is the origin of
// allocation gates and benchmarks.
func Respond(nc net.Conn, answer []byte) {
	defer nc.Close()
	const end = "\r\n\r\n"
	buf := make([]byte, 16<<10)
	seen := 0 // bytes of end that were seen last
	for {
		n, err := nc.Read(buf)
		if err != nil {
			return
		}
		for _, c := range buf[:n] {
			switch {
			case c == end[seen]:
				seen++
			case c == '\r':
				seen = 1
			default:
				seen = 0
			}
			if seen == len(end) {
				seen = 0
				if _, err := nc.Write(answer); err != nil {
					return
				}
			}
		}
	}
}
