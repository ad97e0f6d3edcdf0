package http1

import (
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// pump sends what is missing of a request's body while the exchange's own goroutine waits for
// the response. It exists only for bodies that did not fit the first write. The exchange owns
// it and joins it before the body or the connection is touched by anyone else.
type pump struct {
	body    message.Body
	left    int64            // bytes of the body that are missing, or LengthUnknown
	last    atomic.Bool      // the body was read to its end; its last bytes may still be under way
	ended   atomic.Bool      // failure is valid; nothing more is sent
	done    chan struct{}    // closed when the goroutine touches nothing any more
	joined  bool             // the exchange has waited for done
	failure *message.Failure // valid after ended
}

func (p *pump) finished() bool { return p.ended.Load() }

func (cc *clientConn) startPump(x *message.Exchange, left int64) {
	p := &pump{body: x.Request.Body, left: left, done: make(chan struct{})}
	cc.pump = p
	x.Request.Pumping = true
	go func() {
		p.failure = cc.sendBody(x, p)
		p.ended.Store(true)
		// The exchange may be waiting for the answer: it looks at the pump, then waits on.
		_ = cc.nc.SetReadDeadline(past)
		close(p.done)
	}()
}

// join waits for a pump that has finished, and takes back the timer by which it called.
func (cc *clientConn) join(p *pump) {
	<-p.done
	if !p.joined {
		p.joined = true
		cc.readBy = 0
		_ = cc.nc.SetReadDeadline(time.Time{})
	}
}

// lateAnswer is how long an endpoint that stopped reading the request may take for the answer
// that says why: it is there already, or nearly.
const lateAnswer = 100 * time.Millisecond

// await waits for bytes of the answer. The endpoint may answer at any time; until the request
// is complete it is the progress of the body that is bounded, from then on the answer.
func (cc *clientConn) await(c *Call) error {
	p := cc.pump
	if p == nil || p.joined {
		return cc.rd.fill(cc.by)
	}
	for {
		// The timer is moved first and the pump looked at afterwards; the pump ends first and
		// fires the timer afterwards. One of the two sees the other.
		cc.readBy = 0
		_ = cc.nc.SetReadDeadline(time.Time{})
		cc.armRead(c.Deadline)
		if p.finished() {
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
	cc.join(p)
	cc.by = c.answerBy(message.Now())
	f := p.failure
	if f == nil {
		return cc.rd.fill(cc.by)
	}
	if f.Side != message.SideUpstream {
		return f
	}
	// An endpoint that refuses a body may answer and close without reading it; the answer says
	// more than the broken connection.
	cc.by = message.Now() + int64(lateAnswer)
	if cc.rd.fill(cc.by) != nil {
		return f
	}
	return nil
}

// answerBy is the moment by which the head of an answer must come if the request is complete at
// the moment now.
func (c *Call) answerBy(now int64) int64 {
	if c.FirstByte <= 0 {
		return c.Deadline
	}
	by := now + int64(c.FirstByte)
	if c.Deadline != 0 {
		by = min(by, c.Deadline)
	}
	return by
}

// lender is a wrapper that can step aside: the body behind it may then be moved by other means
// than Next. It returns nil while that would lose something.
type lender interface{ Source() message.Body }

// sendBody writes the rest of the request's body, exactly as long as the head has said.
func (cc *clientConn) sendBody(x *message.Exchange, p *pump) *message.Failure {
	within := cc.pool.o.ProgressTimeout
	source, left := p.body, p.left
	if l, ok := source.(lender); ok && cc.tcp != nil && left >= spliceFrom {
		if s := l.Source(); s != nil {
			source = s
		}
	}
	var buf []byte
	for slow := false; left != 0; {
		if b, ok := source.(*body); ok && !slow && cc.tcp != nil && b.canSplice() && left == b.remain {
			// The last bytes are left to Next, so that p.last is set before the endpoint has them.
			n, err := b.spliceTo(&cc.conn, left-bufferSize, within)
			if left -= n; err != nil {
				return bodyFailure(err)
			}
			slow = true
			continue
		}
		piece, err := source.Next()
		if isEOF(err) && left < 0 {
			p.last.Store(true)
			return cc.sendPiece(appendRequestEnd(buf[:0], &x.Request), within)
		}
		if err != nil {
			return bodyFailure(bodyEnd(err))
		}
		if left < 0 {
			buf = appendChunk(buf[:0], piece)
			piece = buf
		} else if left -= int64(len(piece)); left < 0 {
			return internalFailure(errBodyLong)
		}
		if left == 0 {
			p.last.Store(true)
		}
		if failure := cc.sendPiece(piece, within); failure != nil {
			return failure
		}
	}
	return nil
}

// bodyEnd is the error of a request body of known length that gave err instead of a piece.
func bodyEnd(err error) error {
	if isEOF(err) {
		return internalFailure(errBodyShort)
	}
	return err
}

func (cc *clientConn) sendPiece(piece []byte, within time.Duration) *message.Failure {
	if _, err := cc.write(piece, within); err != nil {
		f := &message.Failure{Reason: message.UpstreamReset, Side: message.SideUpstream, Stage: message.StageSend, Retry: message.RetryUnknown, Err: err}
		if isTimeout(err) {
			f.Reason = message.UpstreamTimeoutFirstByte
		}
		return f
	}
	return nil
}

// settlePump joins a pump that has finished, or needs only to write its last bytes, and reports
// whether it did. The answer often comes before the pump has noticed that it was done.
func (cc *clientConn) settlePump() bool {
	p := cc.pump
	if !p.finished() {
		if !p.last.Load() {
			return false
		}
		_ = cc.nc.SetWriteDeadline(message.WallTime(message.Now() + int64(lateAnswer)))
	}
	cc.join(p)
	cc.writeBy = 0
	return true
}

// stopPump ends and joins the pump. It returns what the pump failed for, if it did by itself. A
// pump that waits for the client is interrupted; one that waits for the endpoint ends when the
// connection is closed. An interrupted body cannot be pulled again, so x.Request.Pumping then stays
// true.
func (cc *clientConn) stopPump(x *message.Exchange) *message.Failure {
	p := cc.pump
	if p == nil {
		return nil
	}
	cc.pump = nil
	whole := p.finished()
	if !whole {
		if i, ok := p.body.(interrupter); ok {
			i.Interrupt()
		}
		cc.close()
	}
	cc.join(p)
	if !whole {
		return nil
	}
	if x != nil {
		x.Request.Pumping = false
	}
	return p.failure
}

// interrupter is a body whose Next can be ended from outside. Wrappers of a request body pass
// it on.
type interrupter interface{ Interrupt() }

// Interrupt ends a Next that another goroutine is in; the body is not usable afterwards.
func (b *body) Interrupt() { b.rd.c.interrupt() }
