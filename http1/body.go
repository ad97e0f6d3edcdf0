package http1

import (
	"io"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// framing says where a body ends (RFC 9112 section 6).
type framing uint8

const (
	frameNone    framing = iota // no body
	frameLength                 // after a known number of bytes
	frameChunked                // after the last chunk and the trailers
	frameClose                  // when the connection ends; responses only
)

// body reads one message's body from a connection. Its pieces are slices of the connection's
// read buffer, valid until the following Next or Close.
type body struct {
	rd       *reader
	framing  framing
	ended    bool  // the framing says that everything was read
	remain   int64 // bytes of the body (frameLength) or chunk still to come
	received int64 // bytes of payload so far
	waited   bool  // Next had to wait for bytes
	max      int64 // bound on received, 0 for none
	failure  *message.Failure

	// wait is how long the next bytes may take. For requests rate bounds the whole: with it, a
	// body of n bytes has wait + n/rate, so that a byte now and then is not progress for ever.
	wait    time.Duration
	until   int64 // moment at which the whole exchange must have ended, 0 for none
	rate    int64
	began   int64
	expect  *serverConn // sends "100 Continue" before the first wait; nil otherwise
	request bool        // faults are the client's, not the endpoint's

	chunk    chunkState
	overhead int64           // bytes of chunk headers so far
	trailer  *message.Header // where trailers go; nil drops them
	keep     []message.Name  // the only trailers to keep; nil keeps all that are allowed
	tlimit   int             // bytes that trailers may have in all
	tsize    int
	limited  io.LimitedReader // for splicing, so that it does not allocate
}

// Next returns the next piece of the body, or io.EOF.
func (b *body) Next() ([]byte, error) {
	for {
		switch {
		case b.failure != nil:
			return nil, b.failure
		case b.ended:
			return nil, io.EOF
		}
		piece, reason := b.take()
		if reason != message.ReasonNone {
			return nil, b.fail(reason, nil)
		}
		if len(piece) > 0 {
			b.received += int64(len(piece))
			if b.max > 0 && b.received > b.max {
				return nil, b.fail(message.BodyTooLarge, nil)
			}
			return piece, nil
		}
		if b.ended {
			return nil, io.EOF
		}
		if err := b.more(); err != nil {
			return nil, err
		}
	}
}

// Close does nothing: the connection decides what becomes of content that was not read.
func (b *body) Close() error { return nil }

// Ready reports whether Next would return without waiting.
func (b *body) Ready() bool {
	if b.ended || b.failure != nil {
		return true
	}
	if b.framing == frameChunked && b.received > 0 {
		return false // Next decodes all chunks that are there; what is left is a part of one
	}
	return b.rd.buffered() > 0
}

// take returns what is buffered of the body, as one piece.
func (b *body) take() ([]byte, message.Reason) {
	rd := b.rd
	switch b.framing {
	case frameLength:
		n := int(min(int64(rd.buffered()), b.remain))
		piece := rd.buf[rd.r : rd.r+n]
		rd.r += n
		b.remain -= int64(n)
		b.ended = b.remain == 0
		return piece, message.ReasonNone
	case frameClose:
		piece := rd.buf[rd.r:rd.w]
		rd.r = rd.w
		return piece, message.ReasonNone
	case frameChunked:
		return b.decode()
	}
	b.ended = true
	return nil, message.ReasonNone
}

// more waits for bytes.
func (b *body) more() error {
	if b.expect != nil {
		c := b.expect
		b.expect = nil
		if err := c.sendContinue(); err != nil {
			return b.fail(message.ClientClosed, err)
		}
	}
	b.waited = true
	by := b.deadline(message.Now())
	err := b.rd.fill(by)
	if err == nil {
		return nil
	}
	if isEOF(err) && b.framing == frameClose {
		b.ended = true
		return io.EOF
	}
	return b.cut(err)
}

// cut is the failure of a body whose connection gave err instead of bytes.
func (b *body) cut(err error) error {
	switch {
	case b.request && isTimeout(err):
		return b.fail(message.BodyTimeout, err)
	case b.request:
		return b.fail(message.ClientClosed, err)
	case isTimeout(err) && b.until != 0 && message.Now() >= b.until:
		return b.fail(message.RouteTimeout, err)
	case isTimeout(err):
		return b.fail(message.UpstreamTimeoutIdle, err)
	}
	return b.fail(message.UpstreamBodyBroken, err)
}

// deadline is the moment by which the next bytes must come.
func (b *body) deadline(now int64) int64 {
	by := b.until
	if b.wait > 0 && (by == 0 || by > now+int64(b.wait)) {
		by = now + int64(b.wait)
	}
	if b.rate > 0 {
		if b.began == 0 {
			b.began = now
		}
		by = min(by, b.began+int64(b.wait)+int64(float64(b.received)/float64(b.rate)*1e9))
	}
	return by
}

func (b *body) fail(r message.Reason, err error) error {
	f := &message.Failure{Reason: r, Side: message.SideUpstream, Stage: message.StageReceive, Err: err}
	if b.request {
		f.Side, f.Stage = message.SideClient, message.StageRead
	} else if r != message.UpstreamTimeoutIdle && r != message.RouteTimeout {
		f.Reason = message.UpstreamBodyBroken
	}
	b.failure = f
	return f
}

// chunkState is where the decoder stands in a chunked body (RFC 9112 section 7.1).
type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkData
	chunkDataEnd
	chunkTrailer
)

// maxChunkLine bounds a chunk's size line with its extensions.
const maxChunkLine = 256

// decode consumes every complete element that is buffered and returns the payload of all of
// them as one piece: payloads are moved together over the chunk headers between them. A body
// of a million one-byte chunks so becomes as few pieces as a body of one large chunk.
func (b *body) decode() ([]byte, message.Reason) {
	rd := b.rd
	start, n := rd.r, 0
	for rd.r < rd.w {
		switch b.chunk {
		case chunkData:
			take := int(min(b.remain, int64(rd.w-rd.r)))
			if n == 0 {
				start = rd.r
			} else {
				copy(rd.buf[start+n:], rd.buf[rd.r:rd.r+take])
			}
			n += take
			rd.r += take
			if b.remain -= int64(take); b.remain == 0 {
				b.chunk = chunkDataEnd
			}
		case chunkDataEnd:
			if rd.w-rd.r < 2 {
				if rd.buf[rd.r] != '\r' {
					return nil, message.ChunkInvalid
				}
				return rd.buf[start : start+n], message.ReasonNone
			}
			if rd.buf[rd.r] != '\r' || rd.buf[rd.r+1] != '\n' {
				return nil, message.ChunkInvalid
			}
			rd.r += 2
			b.chunk = chunkSize
		default:
			more, reason := b.controlLine(n)
			if reason != message.ReasonNone {
				return nil, reason
			}
			if more || b.ended {
				return rd.buf[start : start+n], message.ReasonNone
			}
		}
	}
	return rd.buf[start : start+n], message.ReasonNone
}

// controlLine consumes one size line or trailer line; n is the payload decoded in this call,
// which is not in received yet. more is true if the line is not complete.
func (b *body) controlLine(n int) (more bool, reason message.Reason) {
	rd := b.rd
	end, reason := nextLine(rd.buf[:rd.w], rd.r)
	if reason != message.ReasonNone {
		return false, message.ChunkInvalid
	}
	limit := maxChunkLine
	if b.chunk == chunkTrailer {
		limit = b.tlimit
	}
	if end < 0 {
		if rd.w-rd.r > limit+1 { // its CR may be there already
			return false, message.ChunkInvalid
		}
		return true, message.ReasonNone
	}
	l := rd.buf[rd.r : end-1]
	if len(l) > limit {
		return false, message.ChunkInvalid
	}
	at := rd.r
	rd.r = end + 1
	if b.chunk == chunkTrailer {
		return false, b.trailerLine(at, end-1)
	}
	size, ok := parseChunkSize(l)
	if !ok {
		return false, message.ChunkInvalid
	}
	// A size line costs at least five bytes for each chunk; a sender that wraps single bytes in
	// long lines makes work without content.
	if b.overhead += int64(len(l)) + 4; b.overhead > 16<<10+16*(b.received+int64(n)) {
		return false, message.ChunkInvalid
	}
	b.remain, b.chunk = size, chunkData
	if size == 0 {
		b.chunk = chunkTrailer
	}
	return false, message.ReasonNone
}

// parseChunkSize reads hex digits, then nothing or an extension. White space, signs and 0x are
// refused: others read them differently.
func parseChunkSize(l []byte) (int64, bool) {
	n, i := int64(0), 0
	for ; i < len(l) && i < 16; i++ {
		c := l[i]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return n, i > 0 && c == ';' && message.LegalValue(l[i:])
		}
		if n >= 1<<58 {
			return 0, false
		}
		n = n<<4 | int64(c)
	}
	return n, i > 0 && (i == len(l) || l[i] == ';' && message.LegalValue(l[i:]))
}

// trailerLine enters one trailer field, or ends the body at the empty line.
func (b *body) trailerLine(at, cr int) message.Reason {
	if at == cr {
		b.ended = true
		return message.ReasonNone
	}
	if b.tsize += cr - at; b.tsize > b.tlimit {
		return message.HeaderTooLarge
	}
	buf := b.rd.buf
	f, reason := parseField(buf, at, cr)
	if reason != message.ReasonNone {
		return reason
	}
	name := buf[at : at+f.nameLen]
	if b.trailer == nil || !trailerAllowed(f.id, name) || !wanted(b.keep, f.id, name) {
		return message.ReasonNone
	}
	h := b.trailer
	n := h.Append(name)
	v := h.Append(buf[f.value : f.value+f.valueLen])
	h.AddAt(f.id, n, f.nameLen, v, f.valueLen)
	return message.ReasonNone
}

// wanted reports whether a field is one of names; nil stands for all.
func wanted(names []message.Name, id message.ID, name []byte) bool {
	for _, n := range names {
		if n.ID() == id && (id != 0 || message.EqualFold(name, n.String())) {
			return true
		}
	}
	return names == nil
}

// trailerAllowed refuses in trailers what frames a message, belongs to a connection or is the
// proxy's to set (RFC 9110 section 6.5.1).
func trailerAllowed(id message.ID, name []byte) bool {
	const never = message.FlagFraming | message.FlagHop | message.FlagManaged | message.FlagIdentity | message.FlagSensitive
	if id != 0 && id.Flags()&never != 0 {
		return false
	}
	return !message.ClientMayNotSend(id, name)
}

// appendChunk appends piece as one chunk.
func appendChunk(dst, piece []byte) []byte {
	dst = appendHex(dst, uint64(len(piece)))
	dst = append(dst, '\r', '\n')
	dst = append(dst, piece...)
	return append(dst, '\r', '\n')
}

func appendHex(dst []byte, n uint64) []byte {
	const digits = "0123456789abcdef"
	var b [16]byte
	i := len(b)
	for {
		i--
		b[i] = digits[n&15]
		if n >>= 4; n == 0 {
			return append(dst, b[i:]...)
		}
	}
}

// appendRequestEnd ends a chunked request body with the trailers that its route forwards.
func appendRequestEnd(dst []byte, r *message.Request) []byte {
	if len(r.Trailers) == 0 {
		return appendLastChunk(dst, nil, nil)
	}
	return appendLastChunk(dst, &r.Trailer, r.Trailers)
}

// appendLastChunk ends a chunked body with those of its trailers that are in only (nil: all),
// each checked again.
func appendLastChunk(dst []byte, trailer *message.Header, only []message.Name) []byte {
	dst = append(dst, '0', '\r', '\n')
	if trailer != nil {
		for i := range trailer.Len() {
			f := trailer.At(i)
			if trailerAllowed(f.ID, f.Name) && wanted(only, f.ID, f.Name) && message.ValidToken(f.Name) && message.LegalValue(f.Value) {
				dst = appendField(dst, f.Name, f.Value)
			}
		}
	}
	return append(dst, '\r', '\n')
}

func appendField(dst, name, value []byte) []byte {
	dst = append(dst, name...)
	dst = append(dst, ':', ' ')
	dst = append(dst, value...)
	return append(dst, '\r', '\n')
}
