package http1

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/stream"
)

// conn is a connection whose deadlines move lazily: moving a runtime timer costs more than
// reading a clock, and nearly every deadline is replaced by a later one before it fires. So the
// timer stays where it is while it is early enough, and a wake-up that comes before the
// deadline really meant only moves it on.
//
// Reads belong to one goroutine at a time, writes to one (perhaps another).
type conn struct {
	nc      net.Conn
	raw     syscall.RawConn // plain sockets only, else nil
	tcp     *net.TCPConn    // plain TCP only, else nil
	readBy  int64           // moment at which the runtime's read timer fires, 0 if not set
	writeBy int64           // the same for writes

	// interrupted ends reads at once, until resume: whoever reads for somebody else (a pump) is
	// called back by it.
	interrupted atomic.Bool

	// held is the descriptor while a callback of raw.Read keeps it open: its goroutine may then
	// write by it directly. 0 at other times.
	held uintptr

	onSend func(uintptr) bool // sendReady, bound once so that a write does not allocate
	out    []byte             // what sendReady sends; only during trySend
	outN   int
	outErr error
}

func (c *conn) init(nc net.Conn) {
	c.nc = nc
	switch s := nc.(type) {
	case *net.TCPConn:
		c.tcp = s
		c.raw, _ = s.SyscallConn()
	case *net.UnixConn:
		c.raw, _ = s.SyscallConn()
	}
}

// armRead makes sure that a read does not wait beyond the moment by (of message.Now; 0: no
// bound). The timer may fire earlier; readers check the clock then.
func (c *conn) armRead(by int64) {
	switch {
	case by == 0:
		if c.readBy != 0 {
			c.readBy = 0
			_ = c.nc.SetReadDeadline(time.Time{})
		}
	case c.readBy == 0 || c.readBy > by:
		c.readBy = by
		_ = c.nc.SetReadDeadline(message.WallTime(by))
	}
}

// armWrite makes sure that a write fails after between within/2 and within of waiting. Unlike a
// read, a write that was cut by a timer cannot go on, so the timer is never left to fire early.
func (c *conn) armWrite(within time.Duration) {
	if within <= 0 {
		return
	}
	now := message.Now()
	if c.writeBy-now < int64(within)/2 {
		c.writeBy = now + int64(within)
		_ = c.nc.SetWriteDeadline(message.WallTime(c.writeBy))
	}
}

// writeFired is called when a write under armWrite, or something that also reads, ended with
// os.ErrDeadlineExceeded. It reports whether it was the write's timer.
func (c *conn) writeFired(within time.Duration) bool {
	return within > 0 && message.Now() >= c.writeBy
}

// readFired is called when a read ended with os.ErrDeadlineExceeded. It reports whether the
// deadline that the caller meant has really passed. If not, armRead moves the timer on.
func (c *conn) readFired(by int64) bool {
	c.readBy = 0
	passed := by != 0 && message.Now() >= by
	if passed || by == 0 {
		// The runtime keeps failing reads until the timer is moved, and armRead moves none to "never".
		_ = c.nc.SetReadDeadline(time.Time{})
	}
	return passed
}

// read reads at least one byte, or fails by the moment by.
func (c *conn) read(p []byte, by int64) (int, error) {
	for {
		c.armRead(by)
		if c.interrupted.Load() {
			return 0, os.ErrDeadlineExceeded
		}
		n, err := c.nc.Read(p)
		if n > 0 {
			return n, nil
		}
		if err == nil {
			continue // a reader may return nothing; io.Reader discourages it
		}
		if !isTimeout(err) || c.readFired(by) {
			return 0, err
		}
	}
}

// quietNow reports whether the socket is open and holds nothing to read.
func (c *conn) quietNow() bool {
	if c.raw == nil {
		return true // a stream connection shows it at the first read
	}
	quiet := false
	err := c.raw.Control(func(fd uintptr) { quiet = stream.Quiet(fd) })
	return err == nil && quiet
}

// open reports whether the peer of a plain socket has neither ended nor reset the connection, as
// far as what it sent was read.
func (c *conn) open() bool {
	open := false
	err := c.raw.Control(func(fd uintptr) { open = stream.Open(fd) })
	return err == nil && open
}

// interrupt ends a read that another goroutine is in, and all later ones until resume. The
// reader sets its timer first and looks at the mark afterwards, so one of the two sees the other.
func (c *conn) interrupt() {
	c.interrupted.Store(true)
	_ = c.nc.SetReadDeadline(past)
}

// resume makes reads possible again after the interrupted goroutine was joined. The timer that
// interrupt has set fires once more, and readFired sees that it was early.
func (c *conn) resume() { c.interrupted.Store(false) }

// past is read-only: a deadline that has passed.
var past = time.Unix(1, 0)

// write writes all of p. The kernel's buffer takes most writes at once; only what remains
// waits. within bounds each wait: a peer that takes the bytes slowly, but takes them, may go on.
func (c *conn) write(p []byte, within time.Duration) (int64, error) {
	var done int64
	if c.raw != nil && len(p) > 0 {
		n, err := c.trySend(p)
		done = int64(n)
		// A timer that fired since the last write that had to wait fails this one, which has not
		// waited yet; armWrite moves it.
		if p = p[n:]; err != nil && !isTimeout(err) || len(p) == 0 {
			return done, err
		}
	}
	for len(p) > 0 {
		c.armWrite(within)
		n, err := c.nc.Write(p[:min(len(p), 64<<10)])
		done += int64(n)
		p = p[n:]
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// trySend writes once without waiting.
func (c *conn) trySend(p []byte) (int, error) {
	if c.held != 0 {
		return stream.Send(c.held, p)
	}
	if c.onSend == nil {
		c.onSend = c.sendReady
	}
	c.out, c.outN, c.outErr = p, 0, nil
	err := c.raw.Write(c.onSend)
	c.out = nil
	if c.outErr != nil {
		err = c.outErr
	}
	return c.outN, err
}

func (c *conn) sendReady(fd uintptr) bool {
	c.outN, c.outErr = stream.Send(fd, c.out)
	return true
}

// isTimeout reports whether err is a deadline that has passed.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// isEOF reports whether err is the orderly end of a connection or a body. The comparison is exact: the failure of a request body that
// breaks off wraps the end of the client's connection, and must never be taken for the end of the body.
func isEOF(err error) bool { return err == io.EOF }
