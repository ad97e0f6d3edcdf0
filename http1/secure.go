package http1

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/sluice-gateway/sluice/stream"
)

// sessionsKept is how many TLS sessions a pool keeps for resumption. There is one for each server
// name, so one would do.
const sessionsKept = 4

// clientTLS is the configuration of a pool's connections: the owner's, but for what belongs to HTTP/1.
func clientTLS(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.NextProtos = []string{"http/1.1"}
	if c.ClientSessionCache == nil {
		c.ClientSessionCache = tls.NewLRUClientSessionCache(sessionsKept)
	}
	return c
}

// secureConn is a TLS connection to an endpoint.
type secureConn struct {
	*tls.Conn
	link *link
	one  [1]byte
}

// handshake makes TLS of nc within ctx, and closes nc if it fails.
func handshake(ctx context.Context, nc net.Conn, c *tls.Config) (*secureConn, error) {
	w := newLink(nc)
	s := &secureConn{Conn: tls.Client(w, c), link: w}
	if err := s.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return s, nil
}

// Read reads what comes. The end of the connection without TLS's own end is no orderly end: where
// the end of the connection is the end of a body, somebody on the way could have cut it short (RFC
// 9112 section 9.8).
func (s *secureConn) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if isEOF(err) && s.link.ended {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// quiet reports whether the connection is open and the endpoint has said nothing. The socket alone
// does not tell: tickets for the resumption of sessions come whenever the endpoint likes (RFC 8446
// section 4.6.1), and an end or bytes that came with the last record are in TLS's buffer already.
// So TLS reads what is there, but does not wait. It keeps a part of a record for later and does not
// take it for an error, as that of a timeout is temporary.
func (s *secureConn) quiet() bool {
	s.link.looking = true
	n, err := s.Conn.Read(s.one[:])
	s.link.looking = false
	// A part of a record may be that of the end. It is rare, and a new connection is safe.
	return n == 0 && isTimeout(err) && s.link.records.whole()
}

// link is what lies below TLS: a connection of which TLS can read without waiting.
type link struct {
	net.Conn
	raw     syscall.RawConn // plain sockets only, else nil
	records recordMarks
	ended   bool // the end of the connection was read
	looking bool // reads do not wait; set and unset by the goroutine that reads

	onLook func(uintptr) // look, bound once so that it does not allocate
	in     []byte        // what look reads into; only during peek
	n      int
	again  bool
	err    error
}

func newLink(nc net.Conn) *link {
	l := &link{Conn: nc}
	switch s := nc.(type) {
	case *net.TCPConn:
		l.raw, _ = s.SyscallConn()
	case *net.UnixConn:
		l.raw, _ = s.SyscallConn()
	}
	l.onLook = l.look
	return l
}

// Read implements io.Reader for TLS.
func (l *link) Read(p []byte) (n int, err error) {
	if l.looking {
		n, err = l.peek(p)
	} else {
		n, err = l.Conn.Read(p)
	}
	l.records.pass(p[:n])
	l.ended = l.ended || isEOF(err)
	return n, err
}

// peek reads what is there. The error of a timeout says that this is nothing; it does not depend on
// the deadline.
func (l *link) peek(p []byte) (int, error) {
	if l.raw == nil || len(p) == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	l.in = p
	err := l.raw.Control(l.onLook)
	l.in = nil
	switch {
	case err != nil:
		return 0, err
	case l.again:
		return 0, os.ErrDeadlineExceeded
	}
	return l.n, l.err
}

func (l *link) look(fd uintptr) { l.n, l.again, l.err = stream.Receive(fd, l.in) }

// recordMarks follows the records of TLS in the bytes that come (RFC 8446 section 5.1): five bytes
// of header, the last two of which are the length of the rest.
type recordMarks struct {
	head [5]byte
	have int // bytes of head
	left int // bytes that the record still has
}

func (r *recordMarks) pass(p []byte) {
	for len(p) > 0 {
		if r.left > 0 {
			n := min(r.left, len(p))
			r.left -= n
			p = p[n:]
			continue
		}
		n := copy(r.head[r.have:], p)
		r.have += n
		p = p[n:]
		if r.have == len(r.head) {
			r.have, r.left = 0, int(r.head[3])<<8|int(r.head[4])
		}
	}
}

// whole reports whether the bytes so far end with a record.
func (r *recordMarks) whole() bool { return r.have == 0 && r.left == 0 }

// refusals are the alerts by which an endpoint refuses a handshake. Read-only.
var refusals = []tls.AlertError{40, 42, 43, 44, 45, 46, 47, 48, 49, 51, 112, 113, 115, 116, 120}

// handshakeRefused reports whether err is an alert that belongs to the handshake. With TLS 1.3 that
// is how an endpoint refuses a client's certificate after the client has sent its first request
// (RFC 8446 section 4.4.2.4): it read none of it.
func handshakeRefused(err error) bool {
	var remote *net.OpError
	if !errors.As(err, &remote) || remote.Op != "remote error" || remote.Err == nil {
		return false
	}
	text := remote.Err.Error() // crypto/tls has the number in a type that it does not export
	for _, a := range refusals {
		if text == a.Error() {
			return true
		}
	}
	return false
}
