package listen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// plainAnswer is what a client gets that speaks plain HTTP where TLS is expected, since a TLS alert would mean nothing to its user.
const plainAnswer = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 54\r\nConnection: close\r\n\r\n" +
	"This port speaks HTTPS: ask again with https:// first\n"

// secure is the first goroutine of a TLS connection: it shakes hands. The connection is then served by a goroutine of its own, because the
// handshake grows the stack to many times what an idle connection needs, and the runtime gives that back slowly and not in full: measured with
// 5,000 idle connections, it saves 4 to 5 of 17 to 25 KiB for each. The rest is what crypto/tls keeps.
func (c *Conn) secure() {
	handed := false
	defer func() {
		if p := recover(); p != nil || !handed {
			c.end(p)
		}
	}()
	if !c.handshake() {
		return
	}
	if h := c.options.Protocols.choose(c.secured.Protocol); h != nil {
		go c.serve(h)
		handed = true
	}
}

// handshake runs the TLS handshake under one deadline and reports whether it succeeded.
func (c *Conn) handshake() bool {
	o := c.options
	by := c.by // the PROXY header took some of the time
	if by.IsZero() {
		by = time.Now().Add(o.handshakeTimeout())
	}
	if err := c.raw.SetDeadline(by); err != nil {
		return false
	}
	t := tls.Server(c.raw, o.TLS)
	if err := t.Handshake(); err != nil {
		c.handshakeFailed(err)
		return false
	}
	if err := c.raw.SetDeadline(time.Time{}); err != nil {
		return false
	}
	state := t.ConnectionState()
	c.conn, c.secured, c.shown = t, tlsInfo(&state), state.PeerCertificates
	if state.DidResume {
		o.metrics().Resumed.Inc(c.shard)
	} else {
		o.metrics().Handshakes.Inc(c.shard)
	}
	return true
}

// handshakeFailed counts why there is no TLS connection. Who just leaves is not reported: health checks and scanners do that all day.
func (c *Conn) handshakeFailed(err error) {
	o := c.options
	m := o.metrics()
	var header tls.RecordHeaderError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		m.HandshakeTimeout.Inc(c.shard)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		m.HandshakeClosed.Inc(c.shard)
		return
	case errors.As(err, &header) && header.Conn != nil && looksLikeHTTP(header.RecordHeader):
		m.HandshakeFailed.Inc(c.shard)
		_, _ = io.WriteString(header.Conn, plainAnswer)
		err = errors.New("the client speaks plain HTTP")
	default:
		m.HandshakeFailed.Inc(c.shard)
	}
	if n, ok := o.due(&c.listener.handshakes); ok {
		o.report(fmt.Errorf("%d TLS handshakes failed, the last one of %s: %w", n, c.remote.Addr(), plainly(err)))
	}
}

// plainly leaves the addresses out of a network error and says who gave up.
func plainly(err error) error {
	var network *net.OpError
	switch {
	case !errors.As(err, &network):
		return err
	case network.Op == "remote error": // an alert, as crypto/tls puts it
		return fmt.Errorf("the client refused: %w", network.Err)
	}
	return network.Err
}

// looksLikeHTTP reports whether the first bytes of a connection begin a plain request.
func looksLikeHTTP(head [5]byte) bool {
	switch string(head[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "PATCH", "DELET":
		return true
	}
	return false
}
