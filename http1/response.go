package http1

import (
	"errors"
	"os"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// responseHead is what a complete response head says.
type responseHead struct {
	status  int
	framing framing
	length  int64
	keep    bool // the endpoint lets the connection go on
	fields  bool // Connection lists fields
}

var errHead = errors.New("malformed response head")

// responseParser reads one response head as it arrives.
type responseParser struct {
	at, lines  int
	proto      message.Protocol
	head       responseHead
	lengths    int
	encodings  int
	connection connectionOptions
}

// errHeadLarge says that a head has more bytes than the pool accepts.
var errHeadLarge = errors.New("response head is too large")

// readHead reads one response head, interim or final, into x.Response.Header.
func (cc *clientConn) readHead(x *message.Exchange, c *Call) (responseHead, *message.Failure) {
	var p responseParser
	rd := &cc.rd
	for {
		n, err := p.parse(rd.buf[rd.r:rd.w], x, &cc.pool.o)
		if err != nil {
			return p.head, cc.invalid(err)
		}
		if n > 0 {
			rd.r += n
			if err := p.finish(x); err != nil {
				return p.head, cc.invalid(err)
			}
			return p.head, nil
		}
		if rd.w == len(rd.buf) {
			if rd.compact(); rd.w == len(rd.buf) && !rd.grow(cc.pool.o.MaxHeader) {
				return p.head, cc.invalid(errHeadLarge)
			}
		}
		if err := cc.await(c); err != nil {
			return p.head, cc.failed(x, err)
		}
	}
}

// parse returns the length of the head, 0 while it is incomplete.
func (p *responseParser) parse(b []byte, x *message.Exchange, o *PoolOptions) (int, error) {
	for {
		end, reason := nextLine(b, p.at)
		if end < 0 && len(b) >= o.MaxHeader || end >= o.MaxHeader {
			return 0, errHeadLarge
		}
		if end < 0 {
			return 0, nil
		}
		if reason != message.ReasonNone {
			return 0, errHead
		}
		at, cr := p.at, end-1
		p.at = end + 1
		if p.lines == 0 {
			if !p.statusLine(b[at:cr]) {
				return 0, errHead
			}
		} else if at == cr {
			x.Response.Header.Append(b[:p.at])
			return p.at, nil
		} else if err := p.field(b, at, cr, x, o); err != nil {
			return 0, err
		}
		p.lines++
	}
}

// statusLine reads "HTTP/1.1 200 OK"; the phrase may be missing, with or without its space.
func (p *responseParser) statusLine(l []byte) bool {
	if len(l) < 12 || l[8] != ' ' || len(l) > 12 && l[12] != ' ' {
		return false
	}
	var ok bool
	if p.proto, ok = parseVersion(l[:8]); !ok || p.proto == message.ProtocolUnknown {
		return false
	}
	s, ok := parseLength(l[9:12])
	p.head.status = int(s)
	return ok && s >= 100 && s <= 599 && message.LegalValue(l[12:])
}

func (p *responseParser) field(b []byte, at, cr int, x *message.Exchange, o *PoolOptions) error {
	if p.lines > o.MaxHeaderCount {
		return errHead
	}
	f, reason := parseField(b, at, cr)
	if reason != message.ReasonNone {
		return errHead
	}
	v := b[f.value : f.value+f.valueLen]
	switch f.id {
	case 0:
		if message.ProxyOwn(b[at : at+f.nameLen]) {
			return nil // what the proxy says of itself is not the service's to say
		}
	case message.SluiceReason, message.SluicePartial:
		return nil
	case message.ContentLength:
		n, ok := parseLength(v)
		if p.lengths++; !ok || p.lengths > 1 {
			return errHead
		}
		p.head.length = n
	case message.TransferEncoding:
		if p.encodings++; p.encodings > 1 || !message.EqualFold(v, "chunked") {
			return errHead
		}
	case message.Connection:
		p.connection.read(v)
	}
	f.enter(&x.Response.Header, b, at, cr)
	return nil
}

// finish applies RFC 9112 section 6.3 to a response.
func (p *responseParser) finish(x *message.Exchange) error {
	h := &p.head
	h.fields = p.connection.fields
	h.keep = !p.connection.close && (p.proto == message.HTTP11 || p.connection.keepAlive)
	switch {
	case p.encodings > 0 && (p.lengths > 0 || p.proto == message.HTTP10):
		return errHead
	case h.status < 200 || h.status == 204:
		if p.encodings > 0 || h.length > 0 {
			return errHead // RFC 9112 section 6.1 and 6.2: never in these
		}
		h.framing, h.length = frameNone, 0
	case x.Request.Method.Known == message.HEAD || h.status == 304:
		h.framing = frameNone
		if p.lengths == 0 {
			h.length = message.LengthUnknown
		}
	case p.encodings > 0:
		h.framing, h.length = frameChunked, message.LengthUnknown
	case p.lengths > 0:
		h.framing = frameLength
	default:
		h.framing, h.length, h.keep = frameClose, message.LengthUnknown, false
	}
	return nil
}

// responseBody is the body of a response; it borrows the connection until Close.
type responseBody struct {
	body
	cc       *clientConn
	keepConn bool // the endpoint lets the connection go on
}

// Next returns the next piece.
func (b *responseBody) Next() ([]byte, error) {
	piece, err := b.body.Next()
	if err != nil && b.cc != nil && b.cc.pump != nil && !isEOF(err) && b.cc.pump.finished() {
		if f := b.cc.pump.failure; f != nil && f.Side == message.SideClient {
			return nil, f // the endpoint stopped because the client did
		}
	}
	return piece, err
}

// Close gives the connection back to its pool if both messages ended where their framing says
// and nothing came behind; else it closes it.
func (b *responseBody) Close() error {
	cc := b.cc
	if cc == nil {
		return nil
	}
	b.cc = nil
	clean := b.ended && b.failure == nil && b.keepConn && cc.rd.buffered() == 0
	if cc.pump != nil {
		// The endpoint may have answered without hearing the request out.
		clean = cc.settlePump() && clean
		clean = cc.stopPump(nil) == nil && clean
	}
	cc.rd.release()
	if !clean {
		cc.close()
		return nil
	}
	cc.used = true
	cc.pool.put(cc)
	return nil
}

// canSplice reports whether the rest of the body can be moved inside the kernel.
func (b *body) canSplice() bool {
	return b.framing == frameLength && b.rd.c.tcp != nil && b.rd.buffered() == 0 && b.remain >= spliceFrom &&
		b.expect == nil && (b.max == 0 || b.received+b.remain <= b.max)
}

// spliceStep is how much is moved under one deadline: a peer must take it within the time for
// progress, because what sits in the kernel's pipe cannot be taken back. A peer that is slower than
// a step in two seconds is served by copying, in smaller pieces.
const (
	spliceStep = 64 << 10
	spliceSlow = 2 * time.Second
)

// spliceTo moves n bytes, or less where a peer is slow, to dst; it returns what it moved. What
// is missing of n without an error is for the caller to move by Next.
func (b *body) spliceTo(dst *conn, n int64, within time.Duration) (int64, error) {
	src := b.rd.c
	moved := int64(0)
	for moved < n && b.remain > 0 {
		began := message.Now()
		by := b.deadline(began)
		if by != 0 {
			src.readBy = 0 // the timer must not fire early here
		}
		src.armRead(by)
		if src.interrupted.Load() {
			return moved, b.fail(message.BodyTimeout, os.ErrDeadlineExceeded)
		}
		dst.armWrite(within)
		b.limited.R, b.limited.N = src.tcp, min(n-moved, b.remain, spliceStep)
		step := b.limited.N
		k, err := dst.tcp.ReadFrom(&b.limited)
		moved += k
		b.remain -= k
		b.received += k
		if isTimeout(err) && !dst.writeFired(within) {
			if k == 0 && src.readFired(by) {
				return moved, b.cut(err)
			}
			break // the source is slow, but it goes on
		}
		if b.remain == 0 {
			b.ended = true
		}
		if err != nil || k < step {
			return moved, b.spliceFailed(err)
		}
		if message.Now()-began > int64(spliceSlow) {
			break
		}
	}
	return moved, nil
}

// spliceFailed tells whose fault a broken splice is: the kernel reports one error for both. A
// timeout is the receiver's here. What the receiver had not taken yet is lost, so the body is
// broken in any case.
func (b *body) spliceFailed(err error) error {
	timeout := isTimeout(err)
	if err == nil || !timeout && !b.rd.c.open() {
		return b.cut(err)
	}
	f := &message.Failure{Reason: message.ClientClosed, Side: message.SideClient, Stage: message.StageWrite, Err: err}
	switch {
	case b.request && timeout:
		f.Reason, f.Side, f.Stage = message.UpstreamTimeoutFirstByte, message.SideUpstream, message.StageSend
	case b.request:
		f.Reason, f.Side, f.Stage = message.UpstreamReset, message.SideUpstream, message.StageSend
	case timeout:
		f.Reason = message.ClientTimeout
	}
	b.failure = f
	return f
}
