package http1

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/stream"
)

// exchange serves the request whose head look has read and returns what the connection does
// next: stepWait (there may be another request) or stepClose.
func (c *serverConn) exchange() step {
	s := c.s
	x := &s.x
	c.requests++
	c.startBody()
	x.Client = message.Client{Peer: c.peer.Addr, Local: c.peer.Local, Server: c.peer.Server, Certificates: c.peer.Certificates}
	x.Interim, x.Bindings = c, &c.bindings
	c.h.Serve(x)
	keep := c.respond()
	x.Times.End = message.Now()
	if err := x.Response.Body.Close(); err != nil {
		keep = false
	}
	if x.Response.Tunnel != nil { // it was run, or something else was answered instead
		_ = x.Response.Tunnel.Close()
	}
	x.Outcome.Received += s.body.received // a tunnel has counted its own
	c.ended = x.Times.End
	c.h.Finish(x)
	if !keep || !c.drainBody() {
		return stepClose
	}
	s.body.framing = frameNone
	return stepWait // look or release empties the session
}

// startBody sets the request body up; the head is consumed.
func (c *serverConn) startBody() {
	s := c.s
	r := &s.x.Request
	s.rd.r += s.parser.end
	if r.Length == 0 {
		s.body.framing, s.body.ended, s.body.failure = frameNone, true, nil
		s.body.received, s.body.expect = 0, nil
		r.Body = message.NoBody{}
		return
	}
	s.body = body{
		rd: &s.rd, framing: frameLength, remain: r.Length, max: c.o.MaxBody,
		wait: c.o.BodyTimeout, rate: c.o.MinRate, request: true, tlimit: maxTrailers,
	}
	if r.Length == message.LengthUnknown {
		s.body.framing, s.body.remain = frameChunked, 0
		if len(c.o.Trailers) > 0 {
			s.body.trailer = &r.Trailer
			s.body.keep = c.o.Trailers
		}
	}
	c.began = false
	if s.parser.expect && r.Protocol == message.HTTP11 {
		s.body.expect = c
	}
	if c.o.MaxBody > 0 && r.Length > c.o.MaxBody {
		_ = s.body.fail(message.BodyTooLarge, nil)
		s.x.Fail(s.body.failure)
	}
	r.Body = &s.body
}

// maxTrailers bounds the trailers of one message, in bytes; a line of it fits a buffer.
const maxTrailers = 8 << 10

// refuse answers a request whose head could not be accepted.
func (c *serverConn) refuse() {
	x := &c.s.x
	c.requests++
	if x.Times.Start == 0 {
		x.Times.Start = message.Now()
	}
	x.Fail(&message.Failure{Reason: c.refused, Side: message.SideClient, Stage: message.StageRead})
	x.Request.Body, x.Request.Length, x.Request.Upgrade = message.NoBody{}, 0, nil
	c.s.body.framing = frameNone
	if c.s.parser.end == 0 {
		x.Request.Header.Reset() // fields are entered as they come, their bytes when all have come
	}
	x.Client = message.Client{Peer: c.peer.Addr, Local: c.peer.Local, Server: c.peer.Server, Certificates: c.peer.Certificates}
	c.h.Serve(x)
	x.Response.Close = true
	c.respond()
	x.Times.End = message.Now()
	_ = x.Response.Body.Close()
	c.h.Finish(x)
}

// keepAlive reports whether the connection may go on after this response.
func (c *serverConn) keepAlive() bool {
	s := c.s
	r := &s.x.Request
	switch {
	case s.x.Response.Close, s.parser.connection.close, c.draining():
		return false
	case r.Protocol == message.HTTP10 && !s.parser.connection.keepAlive, r.Protocol == message.ProtocolUnknown:
		return false
	case c.o.MaxRequests > 0 && c.requests >= c.o.MaxRequests:
		return false
	case r.Pumping:
		return false // the response began before the request had been read: it may never end
	case r.Upgrade != nil:
		return false // the client may have sent bytes of the other protocol already
	case s.body.framing == frameNone || s.body.ended:
		return true
	}
	// An unread body is read to its end if it is small; a client that still waits for its
	// "100 Continue" may or may not send it.
	return s.body.failure == nil && s.body.expect == nil && s.body.remain <= c.o.DrainBody
}

// drainBody reads what is left of the request body and reports whether it ended.
func (c *serverConn) drainBody() bool {
	b := &c.s.body
	if b.framing == frameNone || b.ended {
		return true
	}
	b.max = 0
	limit := b.received + c.o.DrainBody
	for b.received <= limit {
		if _, err := b.Next(); err != nil {
			return err == io.EOF
		}
	}
	return false
}

// respond writes x.Response and reports whether the connection may go on.
func (c *serverConn) respond() (keep bool) {
	x := &c.s.x
	r := &x.Response
	if r.Status == 101 && r.Tunnel != nil {
		c.tunnel()
		return false
	}
	if c.s.parser.expect {
		c.expecting.Lock()
		c.began = true
		c.expecting.Unlock()
	}
	keep = c.keepAlive()
	f := responseFraming(x)
	if f == frameClose {
		keep = false
	}
	buf, err := appendResponseHead(c.s.wbuf[:0], x, f, keep, &c.o.date)
	if r.Status < 200 {
		err = errNoStatus
	}
	if err != nil {
		// A field that must not be written: nothing of the response has left yet.
		x.Fail(&message.Failure{Reason: message.Internal, Side: message.SideInternal, Stage: message.StageWrite, Err: err})
		buf, keep, f = append(c.s.wbuf[:0], internalError...), false, frameNone
	}
	if f == frameNone {
		return c.flush(buf) && keep
	}
	return c.writeBody(buf, f) && keep
}

var errNoStatus = errors.New("the handler gave no final status")

const internalError = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

// responseFraming decides how the end of the response is marked (RFC 9112 section 6.3).
func responseFraming(x *message.Exchange) framing {
	r := &x.Response
	switch {
	case x.Request.Method.Known == message.HEAD, r.Status == 204, r.Status == 304, r.Status < 200:
		return frameNone
	case r.Length == 0:
		return frameNone
	case r.Length > 0:
		return frameLength
	case x.Request.Protocol == message.HTTP11:
		return frameChunked
	}
	return frameClose
}

// writeBody writes head, which holds the head, and the body behind it. Pieces that are there
// are gathered into one write; the head does not wait for a piece that is not.
func (c *serverConn) writeBody(head []byte, f framing) bool {
	x := &c.s.x
	r := &x.Response
	buf := head
	defer func() { c.s.wbuf = buf[:0] }()
	ready := readiness(r.Body)
	left, slow := r.Length, false
	for {
		if len(buf) > 0 && (ready == nil || !ready.Ready() || len(buf) > bufferSize) {
			if !c.send(buf) {
				return false
			}
			buf = buf[:0]
		}
		if f == frameLength && len(buf) == 0 && !slow {
			n, err := c.splice(left)
			if left -= n; err != nil {
				return c.brokenBody(nil, f, err)
			}
			slow = n > 0 && left > 0
		}
		piece, err := r.Body.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return c.brokenBody(buf, f, err)
		}
		x.Outcome.Sent += int64(len(piece))
		if f == frameLength {
			if left -= int64(len(piece)); left < 0 {
				return c.brokenBody(nil, f, errBodyLong)
			}
		}
		var sent bool
		if buf, sent = c.addPiece(buf, piece, f); !sent {
			return false
		}
	}
	if f == frameLength && left > 0 {
		return c.brokenBody(buf, f, errBodyShort)
	}
	if f == frameChunked {
		var trailer *message.Header
		if x.Request.WantsTrailers {
			trailer = &r.Trailer
		}
		buf = appendLastChunk(buf, trailer, nil)
	}
	return c.send(buf)
}

// splice moves the body inside the kernel where that is worth it, and returns how many of the left
// bytes it moved: fewer if a peer is slow, none if it cannot be done.
func (c *serverConn) splice(left int64) (int64, error) {
	b, ok := c.s.x.Response.Body.(*responseBody)
	if !ok || left < spliceFrom || c.tcp == nil || !b.canSplice() {
		return 0, nil
	}
	n, err := b.spliceTo(&c.conn, left, c.o.WriteTimeout)
	c.s.x.Outcome.Sent += n
	return n, err
}

// addPiece adds a piece of the body to what is to be written, and writes at once what is too large
// to be worth a copy.
func (c *serverConn) addPiece(buf, piece []byte, f framing) (out []byte, ok bool) {
	switch large := len(piece) > bufferSize; {
	case !large && f == frameChunked:
		return appendChunk(buf, piece), true
	case !large:
		return append(buf, piece...), true
	case f == frameChunked:
		buf = append(appendHex(buf, uint64(len(piece))), '\r', '\n')
	}
	ok = c.send(buf) && c.send(piece)
	if buf = buf[:0]; f == frameChunked {
		buf = append(buf, '\r', '\n')
	}
	return buf, ok
}

// readyBody is a body that can tell whether its next piece is there.
type readyBody interface{ Ready() bool }

// readiness returns what tells whether the next piece of b is there, or nil if nothing does.
func readiness(b message.Body) readyBody {
	switch b := b.(type) {
	case *message.Bytes:
		return alwaysReady{}
	case readyBody:
		return b
	}
	return nil
}

// alwaysReady stands for a body whose bytes are all there.
type alwaysReady struct{}

// Ready returns true.
func (alwaysReady) Ready() bool { return true }

var (
	errBodyLong  = errors.New("body is longer than its Content-Length")
	errBodyShort = errors.New("body is shorter than its Content-Length")
)

// spliceFrom is the size from which a body is moved inside the kernel. Below it, the two
// system calls for each piece cost more than the copy.
const spliceFrom = 64 << 10

// brokenBody ends a response that cannot be completed: what was received is passed on, the
// end is not, so that the client sees a message cut short and never a clean end.
func (c *serverConn) brokenBody(buf []byte, framed framing, err error) bool {
	var f *message.Failure
	if !errors.As(err, &f) {
		f = &message.Failure{Reason: message.UpstreamBodyBroken, Side: message.SideUpstream, Stage: message.StageReceive, Err: err}
	}
	c.s.x.Fail(f)
	c.broken = framed == frameClose
	if len(buf) > 0 {
		c.send(buf)
	}
	return false
}

// abort ends the connection with a reset: where the end of the connection is the end of the
// body, an orderly end would make a body that was cut short look whole.
func (c *serverConn) abort() {
	nc := c.nc
	if below, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = below.NetConn() // TLS has an orderly end of its own
	}
	if s, ok := nc.(interface{ SetLinger(sec int) error }); ok {
		_ = s.SetLinger(0)
	}
	_ = nc.Close()
}

// flush writes buf and keeps it as the session's write buffer.
func (c *serverConn) flush(buf []byte) bool {
	ok := c.send(buf)
	c.s.wbuf = buf[:0]
	return ok
}

func (c *serverConn) send(buf []byte) bool {
	if len(buf) == 0 {
		return true
	}
	if _, err := c.write(buf, c.o.WriteTimeout); err != nil {
		f := &message.Failure{Reason: message.ClientClosed, Side: message.SideClient, Stage: message.StageWrite, Err: err}
		if isTimeout(err) {
			f.Reason = message.ClientTimeout
		}
		c.s.x.Fail(f)
		return false
	}
	return true
}

var errAnswered = errors.New("the request was answered without its body")

// sendContinue asks for the body. A pump may call it while the answer comes from another side,
// and behind the head of the answer it must not stand.
func (c *serverConn) sendContinue() error {
	c.expecting.Lock()
	defer c.expecting.Unlock()
	if c.began {
		return errAnswered
	}
	_, err := c.write([]byte("HTTP/1.1 100 Continue\r\n\r\n"), c.o.WriteTimeout)
	return err
}

// Gone reports whether the client has reset its connection or ended its side of it, as far as what it sent was read. Whoever has kept a request waiting asks:
// a client that ends its side while it waits has mostly given up, and work for it would be taken from others. It costs a system call; of a connection
// that is no plain socket nothing is known. Only the thread of control of the exchange calls it.
func (c *serverConn) Gone() bool {
	switch {
	case c.raw == nil:
		return false
	case c.held != 0:
		return !stream.Open(c.held)
	}
	return !c.open()
}

// WriteInterim writes a 1xx response (RFC 9110 section 15.2) at once. A client of HTTP/1.0 gets none.
func (c *serverConn) WriteInterim(status int, h *message.Header) error {
	if c.s.x.Request.Protocol != message.HTTP11 || status < 102 || status > 199 {
		return nil
	}
	buf := appendStatusLine(nil, status)
	buf, err := appendFields(buf, h, 0)
	if err != nil {
		return err
	}
	if c.s.parser.expect {
		c.expecting.Lock()
		defer c.expecting.Unlock()
	}
	_, err = c.write(append(buf, '\r', '\n'), c.o.WriteTimeout)
	return err
}

// lingerClose ends the sending side and reads what the client still sends, for a bounded time
// and amount, so that the response reaches it before the connection is gone.
func (c *serverConn) lingerClose() {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.resume() // a pump that was interrupted has been joined
	var sink [2 << 10]byte
	by := message.Now() + int64(lingerTime)
	for read := 0; read < lingerBytes; {
		n, err := c.read(sink[:], by)
		if err != nil {
			return
		}
		read += n
	}
}

const (
	lingerTime  = time.Second
	lingerBytes = 1 << 20
)
