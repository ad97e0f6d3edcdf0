package http1

import (
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// pump sends what is missing of a request's body while the exchange's own goroutine waits for
// the response. It exists only for bodies that did not fit the first write. The exchange owns
// it and joins it before the body or the connection is touched by anyone else.
type pump struct {
	body    message.Body
	done    chan struct{}
	failure *message.Failure // valid after done
}

func (p *pump) finished() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (cc *clientConn) startPump(x *message.Exchange) {
	p := &pump{body: x.Request.Body, done: make(chan struct{})}
	cc.pump = p
	x.Request.Pumping = true
	go func() {
		p.failure = cc.sendBody(x)
		close(p.done)
		// The exchange may be waiting for the answer: it looks at the pump, then waits on.
		_ = cc.nc.SetReadDeadline(past)
	}()
}

// waitPumping waits for the first bytes of the answer while the pump runs. The endpoint may
// answer at any time; until the request is complete it is the progress of the body that is
// bounded, from then on the first byte.
func (cc *clientConn) waitPumping(c *Call) error {
	for {
		// The timer is moved first and the pump looked at afterwards; the pump ends first and
		// fires the timer afterwards. One of the two sees the other.
		cc.readBy = 0
		_ = cc.nc.SetReadDeadline(time.Time{})
		if c.Deadline != 0 {
			cc.armRead(c.Deadline)
		}
		if cc.pump.finished() {
			break
		}
		n, err := cc.nc.Read(cc.rd.buf[cc.rd.w:])
		if cc.rd.w += n; n > 0 {
			return nil
		}
		if !isTimeout(err) || c.Deadline != 0 && message.Now() >= c.Deadline {
			return err
		}
	}
	if cc.pump.failure != nil {
		return cc.pump.failure
	}
	return cc.rd.fill(firstByteBy(c))
}

// firstByteBy is the moment by which the first byte of an answer must come if the request is
// complete now.
func firstByteBy(c *Call) int64 {
	if c.FirstByte <= 0 {
		return c.Deadline
	}
	by := message.Now() + int64(c.FirstByte)
	if c.Deadline != 0 {
		by = min(by, c.Deadline)
	}
	return by
}

// sendBody writes the rest of the request's body.
func (cc *clientConn) sendBody(x *message.Exchange) *message.Failure {
	r := &x.Request
	within := cc.pool.o.ProgressTimeout
	var buf []byte
	for {
		if b := plainBody(r.Body); b != nil && cc.tcp != nil && b.canSplice() {
			if _, err := b.spliceTo(&cc.conn, b.remain, within); err != nil {
				return bodyFailure(err)
			}
		}
		piece, err := r.Body.Next()
		if isEOF(err) {
			break
		}
		if err != nil {
			return bodyFailure(err)
		}
		if r.Length < 0 {
			buf = appendChunk(buf[:0], piece)
			piece = buf
		}
		if failure := cc.sendPiece(piece, within); failure != nil {
			return failure
		}
	}
	if r.Length < 0 {
		return cc.sendPiece(appendRequestEnd(buf[:0], r), within)
	}
	return nil
}

// plainBody returns the body that comes straight from a client's connection, under a wrapper
// that has no more use for its pieces, or nil.
func plainBody(b message.Body) *body {
	if w, ok := b.(interface{ Source() message.Body }); ok {
		b = w.Source()
	}
	plain, _ := b.(*body)
	return plain
}

func (cc *clientConn) sendPiece(piece []byte, within time.Duration) *message.Failure {
	if _, err := cc.write(piece, within); err != nil {
		return &message.Failure{Reason: message.UpstreamReset, Side: message.SideUpstream, Stage: message.StageSend, Retry: message.RetryUnknown, Err: err}
	}
	return nil
}

// stopPump ends and joins the pump, and returns the failure if the client's side caused one.
// A pump that waits for the client is interrupted; one that waits for the endpoint ends when
// the connection is closed, which the caller has done if the pump was not finished.
func (cc *clientConn) stopPump(x *message.Exchange) *message.Failure {
	p := cc.pump
	if p == nil {
		return nil
	}
	cc.pump = nil
	if !p.finished() {
		_ = cc.nc.Close()
		if i, ok := p.body.(interrupter); ok {
			i.Interrupt()
		}
	}
	<-p.done
	if x != nil {
		x.Request.Pumping = false
	}
	if p.failure != nil && p.failure.Side == message.SideClient {
		return p.failure
	}
	return nil
}

// interrupter is a body whose Next can be ended from outside. Wrappers of a request body pass
// it on.
type interrupter interface{ Interrupt() }

// Interrupt ends a Next that another goroutine is in; the body is not usable afterwards.
func (b *body) Interrupt() { b.rd.c.interrupt() }
