package testnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// PipeConn is one end of a connection in memory. It behaves as a TCP connection does where codecs
// notice: writes are buffered up to a bound and then wait, deadlines that have passed fail
// before anything is looked at, an end can be half-closed, and writing to an end that was closed
// fails with EPIPE. No operation allocates, so it can stand under allocation gates. As with any
// connection, one goroutine may read while another writes, and anybody may close.
type PipeConn struct {
	in, out *lane
}

// lane is one direction.
type lane struct {
	mu     sync.Mutex
	moved  sync.Cond // something of the below has changed
	buf    []byte
	r, n   int  // n bytes from r on, around the end of buf
	ended  bool // the writer sends no more
	cut    bool // the reader takes no more
	reader timer
	writer timer
}

// timer is the deadline of one side of a lane. It is guarded by the lane.
type timer struct {
	at     time.Time
	waker  *time.Timer
	closed bool // that side was closed by its own user
}

// Pipe returns the two ends of a connection that holds up to size bytes in each direction.
func Pipe(size int) (*PipeConn, *PipeConn) {
	ab, ba := newLane(size), newLane(size)
	return &PipeConn{in: ba, out: ab}, &PipeConn{in: ab, out: ba}
}

func newLane(size int) *lane {
	l := &lane{buf: make([]byte, size)}
	l.moved.L = &l.mu
	return l
}

// blocked says why the side of tm cannot go on, if it cannot.
func (tm *timer) blocked() error {
	switch {
	case tm.closed:
		return net.ErrClosed
	case !tm.at.IsZero() && !time.Now().Before(tm.at):
		return os.ErrDeadlineExceeded
	}
	return nil
}

// set moves the deadline of tm, which belongs to l.
func (l *lane) set(tm *timer, at time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if tm.closed {
		return net.ErrClosed
	}
	tm.at = at
	if at.IsZero() {
		if tm.waker != nil {
			tm.waker.Stop()
		}
		return nil
	}
	if tm.waker == nil {
		tm.waker = time.AfterFunc(time.Until(at), l.wake)
	} else {
		tm.waker.Reset(time.Until(at))
	}
	return nil
}

func (l *lane) wake() {
	l.mu.Lock()
	l.moved.Broadcast()
	l.mu.Unlock()
}

func (l *lane) read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if err := l.reader.blocked(); err != nil {
			return 0, err
		}
		if len(p) == 0 {
			return 0, nil
		}
		if l.n > 0 {
			break
		}
		if l.ended {
			return 0, io.EOF
		}
		l.moved.Wait()
	}
	done := 0
	for done < len(p) && l.n > 0 {
		k := copy(p[done:], l.buf[l.r:min(l.r+l.n, len(l.buf))])
		l.r = (l.r + k) % len(l.buf)
		l.n -= k
		done += k
	}
	l.moved.Broadcast()
	return done, nil
}

func (l *lane) write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	done := 0
	for {
		if err := l.writer.blocked(); err != nil {
			return done, err
		}
		if l.cut || l.ended {
			return done, syscall.EPIPE
		}
		for done < len(p) && l.n < len(l.buf) {
			w := (l.r + l.n) % len(l.buf)
			k := copy(l.buf[w:min(w+len(l.buf)-l.n, len(l.buf))], p[done:])
			l.n += k
			done += k
		}
		l.moved.Broadcast()
		if done == len(p) {
			return done, nil
		}
		l.moved.Wait()
	}
}

// end ends the lane from one side, or from both.
func (l *lane) end(tm *timer, ended, cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = l.ended || ended
	l.cut = l.cut || cut
	if tm != nil {
		tm.closed = true
		if tm.waker != nil {
			tm.waker.Stop()
		}
	}
	l.moved.Broadcast()
}

// Read implements net.Conn.
func (c *PipeConn) Read(p []byte) (int, error) { return c.in.read(p) }

// Write implements net.Conn.
func (c *PipeConn) Write(p []byte) (int, error) { return c.out.write(p) }

// Close closes both directions. The other end still gets what was written before.
func (c *PipeConn) Close() error {
	c.in.end(&c.in.reader, false, true)
	c.out.end(&c.out.writer, true, false)
	return nil
}

// CloseWrite ends the direction that c writes.
func (c *PipeConn) CloseWrite() error {
	c.out.end(nil, true, false)
	return nil
}

// SetDeadline implements net.Conn.
func (c *PipeConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *PipeConn) SetReadDeadline(t time.Time) error { return c.in.set(&c.in.reader, t) }

// SetWriteDeadline implements net.Conn.
func (c *PipeConn) SetWriteDeadline(t time.Time) error { return c.out.set(&c.out.writer, t) }

// LocalAddr implements net.Conn.
func (c *PipeConn) LocalAddr() net.Addr { return pipeAddr{} }

// RemoteAddr implements net.Conn.
func (c *PipeConn) RemoteAddr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

// Network implements net.Addr.
func (pipeAddr) Network() string { return "pipe" }

// String implements net.Addr.
func (pipeAddr) String() string { return "pipe" }
