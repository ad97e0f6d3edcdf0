package http1

import (
	"errors"
	"io"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/stream"
)

// Call is what one attempt may take, and what is told of it.
type Call struct {
	Deadline  int64         // moment of message.Now by which the response head must be there; 0 for none
	FirstByte time.Duration // wait for the first byte after the request was sent; 0 for no bound
	Begun     int64         // moment at which the attempt begins; 0: the clock is read
	Fresh     bool          // make a new connection, use none of the pool
	Once      bool          // the request must not be sent twice: use no connection that the endpoint may be about to close
	Cancel    *Cancel       // ends the attempt from another goroutine; nil for none

	// Prelude goes first on a new connection, before TLS: a PROXY header. It makes the connection
	// that of one client (x.Bindings), and the client's next request uses it again if it has the
	// same prelude. It must stay unchanged until Do has returned.
	Prelude []byte

	Reused bool // out: the attempt went over a connection of the pool
}

// clientConn is a connection to an endpoint. Between get and put one exchange owns it; a pump
// may write to it meanwhile, the exchange's own goroutine reads.
type clientConn struct {
	conn
	pool      *Pool
	secure    *secureConn // TLS, else nil
	idleSince int64
	seenOpen  int64 // when a sweep last saw it open
	unused    int64 // how long it was unused before this exchange
	answered  int64 // when the head of the last answer came
	used      bool  // it has served an exchange before

	keepFor     int64 // how long the endpoint says that it keeps the connection unused, 0: it says nothing
	served      int   // answers that it has brought
	servesUntil int   // answers that the endpoint lets it bring in all, 0 for no bound

	login   bool              // it holds a login, see loginHere
	prelude []byte            // what went first, see Call.Prelude
	owner   *message.Bindings // the client that it belongs to, if it belongs to one

	rd      reader
	body    responseBody
	by      int64 // moment by which the head of the answer must be there, 0 for none
	phase   phase
	seen    bool // an answer has come, if only an interim one
	sent    int  // bytes of the request that the kernel took
	sendBuf []byte
	err     error
	onReply func(uintptr) bool // reply, bound once
	pump    *pump
}

// phase is where the exchange of head and first answer stands.
type phase uint8

const (
	phaseProbe phase = iota // look whether the connection is still good
	phaseSend               // hand the request to the kernel
	phaseWait               // wait for the first bytes of the answer
)

// errStale says that a pooled connection had ended, or had said something, before it was used.
var errStale = errors.New("pooled connection was closed by the endpoint")

// Do sends x.Request and reads the head of the response into x.Response, whose Body then
// borrows the connection until Close. A failure says whether a retry is safe; x.Response is
// empty then.
func (p *Pool) Do(x *message.Exchange, c *Call) *message.Failure {
	l := leases.Get().(*lease)
	failure := p.do(x, c, l)
	if failure != nil {
		l.put()
	}
	return failure
}

// do is Do; l goes with the response, or stays the caller's after a failure.
func (p *Pool) do(x *message.Exchange, c *Call, l *lease) *message.Failure {
	if !legalTarget(x.Request.Path) || !legalTarget(x.Request.Query) || !legalTarget(x.Request.Host) {
		return internalFailure(errFieldInvalid)
	}
	var err error
	if l.out, err = appendRequestHead(l.out[:0], x); err != nil {
		return internalFailure(err)
	}
	left, err := appendFirstPieces(l, x)
	if err != nil {
		return bodyFailure(err)
	}
	for {
		cc, failure := p.connection(x, c)
		if failure != nil {
			return failure
		}
		if c.Cancel == nil {
			failure = cc.exchange(x, c, l, left)
		} else {
			failure = cc.cancelable(x, c, l, left)
		}
		if failure == nil {
			return nil
		}
		cc.abandon(x)
		if c.Reused && (failure.Err == errStale || failure.Retry == message.RetryReused) {
			p.lost(cc, failure.Err != errStale)
		}
		if failure.Err == errStale {
			continue // nothing was sent: take the next
		}
		return failure
	}
}

// connection takes a connection from the pool, or makes one.
func (p *Pool) connection(x *message.Exchange, c *Call) (*clientConn, *message.Failure) {
	c.Reused = false
	if c.Begun == 0 {
		c.Begun = message.Now()
	}
	if !c.Fresh {
		if cc := p.get(x, c); cc != nil {
			c.Reused = true
			cc.unused = c.Begun - cc.idleSince
			return cc, nil
		}
	}
	cc, failure := p.dial(c)
	if failure != nil {
		if c.Cancel != nil {
			failure = c.Cancel.settle(failure)
		}
		return nil, failure
	}
	if cc.prelude != nil {
		cc.owner = x.Bindings
	}
	x.Times.Connected = message.Now()
	c.Begun = x.Times.Connected
	return cc, nil
}

// cancelable is exchange for a call that can be canceled.
func (cc *clientConn) cancelable(x *message.Exchange, c *Call, l *lease, left int64) *message.Failure {
	if !c.Cancel.wait(nil, cc) {
		return canceled(message.StageConnect)
	}
	return c.Cancel.settle(cc.exchange(x, c, l, left))
}

func internalFailure(err error) *message.Failure {
	return &message.Failure{Reason: message.Internal, Side: message.SideInternal, Stage: message.StageSend, Err: err}
}

// bodyFailure is the failure of reading the request's body.
func bodyFailure(err error) *message.Failure {
	var f *message.Failure
	if errors.As(err, &f) {
		return f
	}
	return &message.Failure{Reason: message.ClientClosed, Side: message.SideClient, Stage: message.StageRead, Err: err}
}

// appendFirstPieces appends to the head what is there of the body, so that both go out in one
// write. left is what is missing of the body: bytes, or LengthUnknown.
func appendFirstPieces(l *lease, x *message.Exchange) (left int64, err error) {
	r := &x.Request
	if r.Length == 0 {
		return 0, nil
	}
	ready := readiness(r.Body)
	for left = r.Length; left != 0 && ready != nil && ready.Ready() && len(l.out) < bufferSize; {
		piece, err := r.Body.Next()
		if isEOF(err) && left < 0 {
			l.out = appendRequestEnd(l.out, r)
			return 0, nil
		}
		if err != nil {
			return left, bodyEnd(err)
		}
		if left < 0 {
			l.out = appendChunk(l.out, piece)
			continue
		}
		if left -= int64(len(piece)); left < 0 {
			return left, internalFailure(errBodyLong)
		}
		l.out = append(l.out, piece...)
	}
	return left, nil
}

// exchange sends the request in l.out and reads the response head. left is what it lacks of the body.
func (cc *clientConn) exchange(x *message.Exchange, c *Call, l *lease, left int64) *message.Failure {
	cc.rd.c = &cc.conn
	cc.rd.borrow(l)
	cc.pump, cc.seen = nil, false
	cc.by = c.answerBy(c.Begun)
	if err := cc.sendAndWait(x, c, l.out, left); err != nil {
		return cc.failed(x, err)
	}
	for interims := 0; ; interims++ {
		head, failure := cc.readHead(x, c)
		if failure != nil {
			return failure
		}
		cc.seen = true
		if head.status >= 200 || head.status == 101 {
			x.Times.FirstByte = message.Now()
			cc.answered = x.Times.FirstByte
			return cc.accept(x, &head)
		}
		if interims == maxInterims {
			return cc.invalid(errInterims)
		}
		if head.status != 100 && x.Interim != nil {
			if head.fields && !removeConnectionFields(&x.Response.Header) {
				return cc.invalid(errHead)
			}
			if err := x.Interim.WriteInterim(head.status, &x.Response.Header); err != nil {
				return bodyFailure(err)
			}
		}
		x.Response.Header.Reset()
	}
}

// maxInterims bounds the 1xx responses before a final one.
const maxInterims = 16

var errInterims = errors.New("more than 16 interim responses")

// sendAndWait hands the request to the kernel and returns when the first bytes of the answer
// are buffered. On a plain socket one wait of the runtime covers probing, sending and waiting.
func (cc *clientConn) sendAndWait(x *message.Exchange, c *Call, request []byte, left int64) error {
	cc.sent, cc.err, cc.sendBuf = 0, nil, request
	cc.phase = phaseSend
	if cc.used {
		cc.phase = phaseProbe
	}
	defer func() { cc.sendBuf = nil }()
	if cc.raw == nil || left != 0 {
		return cc.sendStream(x, c, left)
	}
	cc.armRead(cc.by)
	for {
		err := cc.raw.Read(cc.onReply)
		switch {
		case err == nil && cc.err != nil:
			return cc.err
		case err == nil && cc.phase == phaseWait && cc.rd.w > 0:
			return nil
		case err == nil: // the kernel did not take all: go on by waiting writes
			return cc.sendStream(x, c, left)
		case !isTimeout(err) || cc.readFired(cc.by):
			return err
		}
		cc.armRead(cc.by)
	}
}

// reply runs when the socket may be ready; see serverConn.readable for the idea. The probe
// stands before the send, so that bytes which come after the send always wake the wait.
func (cc *clientConn) reply(fd uintptr) bool {
	switch cc.phase {
	case phaseProbe:
		if !stream.Quiet(fd) {
			cc.err = errStale
			return true
		}
		fallthrough
	case phaseSend:
		n, err := stream.Send(fd, cc.sendBuf)
		cc.sent = n
		if err != nil {
			cc.err = err
			return true
		}
		if n < len(cc.sendBuf) {
			cc.phase = phaseSend
			return true
		}
		cc.phase = phaseWait
		return false
	}
	n, again, err := stream.Receive(fd, cc.rd.buf[cc.rd.w:])
	if again {
		return false
	}
	cc.rd.w += n
	cc.err = err
	return true
}

// sendStream is sendAndWait where the request is not whole, or the connection no plain socket.
func (cc *clientConn) sendStream(x *message.Exchange, c *Call, left int64) error {
	if cc.phase == phaseProbe && !cc.quiet() {
		return errStale
	}
	n, err := cc.write(cc.sendBuf[cc.sent:], cc.pool.o.ProgressTimeout)
	cc.sent += int(n)
	if err != nil {
		return err
	}
	cc.phase = phaseWait
	if left != 0 {
		// The answer is awaited from when the request is complete, which the pump notes.
		cc.startPump(x, left)
	}
	return cc.await(c)
}

// failed turns a transport error into a failure.
func (cc *clientConn) failed(x *message.Exchange, err error) *message.Failure {
	pumped := cc.stopPump(x)
	if pumped != nil && pumped.Side != message.SideUpstream {
		return pumped
	}
	f := &message.Failure{Reason: message.UpstreamReset, Side: message.SideUpstream, Stage: message.StageWait, Retry: message.RetryUnknown, Err: err}
	if isTimeout(err) {
		f.Reason = message.UpstreamTimeoutFirstByte
	}
	if cc.phase != phaseWait || pumped != nil {
		f.Stage = message.StageSend
	}
	switch {
	case cc.seen || cc.rd.w > 0:
		f.Retry = message.RetryNever
	case err == errStale, cc.phase != phaseWait && cc.sent == 0:
		f.Retry = message.RetryUnsent
	case cc.used && isCut(err):
		f.Retry = message.RetryReused
	case cc.secure != nil && !cc.used && handshakeRefused(err):
		f.Reason, f.Stage, f.Retry = message.UpstreamTLSFailed, message.StageConnect, message.RetryUnsent
	}
	return f
}

// isCut reports whether err says that the endpoint had closed the connection.
func isCut(err error) bool {
	return isEOF(err) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func (cc *clientConn) invalid(err error) *message.Failure {
	f := &message.Failure{Reason: message.UpstreamResponseInvalid, Side: message.SideUpstream, Stage: message.StageReceive, Retry: message.RetryNever, Err: err}
	if err == errHeadLarge {
		f.Reason = message.UpstreamResponseTooLarge
	}
	return f
}

// accept makes the response of a complete head.
func (cc *clientConn) accept(x *message.Exchange, h *responseHead) *message.Failure {
	r := &x.Response
	cc.served++
	if r.Header.Has(message.KeepAlive) || cc.servesUntil != 0 {
		h.keep = cc.learnKeepAlive(&r.Header) && h.keep
	}
	if !cc.login && loginHere(x) {
		cc.login, cc.owner = true, x.Bindings
	}
	if h.fields && !removeConnectionFields(&r.Header) {
		return cc.invalid(errHead)
	}
	r.Status = h.status
	if h.status == 101 {
		return cc.acceptUpgrade(x)
	}
	b := &cc.body
	b.cc = cc
	b.body = body{
		rd: &cc.rd, wait: cc.pool.o.ProgressTimeout, until: x.Deadline,
		trailer: &r.Trailer, tlimit: maxTrailers, framing: h.framing, remain: h.length,
	}
	// After a handshake that failed, one side may still believe in the other protocol.
	b.keepConn = h.keep && x.Request.Upgrade == nil
	r.Length = h.length
	if h.framing == frameNone || h.framing == frameLength && h.length == 0 {
		b.ended = true
	}
	r.Body = b
	if cc.pump != nil && cc.settlePump() {
		failure := cc.stopPump(x)
		if failure != nil && failure.Side == message.SideClient {
			return failure
		}
		b.keepConn = b.keepConn && failure == nil // else the endpoint waits for the rest of the request
	}
	return nil
}

func (cc *clientConn) acceptUpgrade(x *message.Exchange) *message.Failure {
	r := &x.Response
	if x.Request.Upgrade == nil || !message.EqualFold(r.Header.Get(message.Upgrade), x.Request.Upgrade) {
		return cc.invalid(errUpgrade)
	}
	r.Length = 0
	r.Tunnel = &tunnel{cc: cc}
	return nil
}

var errUpgrade = errors.New("101 without an upgrade that was asked for")

// abandon closes a connection after a failure.
func (cc *clientConn) abandon(x *message.Exchange) {
	cc.stopPump(x)
	cc.close()
	cc.rd.detach()
	cc.body.cc = nil
	r := &x.Response
	r.Header.Reset()
	r.Trailer.Reset()
	r.Status, r.Length, r.Body, r.Tunnel = 0, 0, message.NoBody{}, nil
}

// close closes the connection at once. TLS is not ended in order: that is a write, which could wait.
func (cc *clientConn) close() {
	if cc.secure != nil {
		_ = cc.secure.link.Close()
		return
	}
	_ = cc.nc.Close()
}

// end closes the connection while it is unused, in order.
func (cc *clientConn) end() { _ = cc.nc.Close() }

// quiet reports whether the unused connection is open and the endpoint has said nothing on it.
func (cc *clientConn) quiet() bool {
	if cc.secure != nil {
		return cc.secure.quiet()
	}
	return cc.quietNow()
}
