package stream

import (
	"errors"
	"io"
	"sync"
	"syscall"
)

// ErrPeekFull says that a parser wanted more bytes than are looked at.
var ErrPeekFull = errors.New("more bytes are wanted than are looked at")

const (
	peekSize = MaxProxyHeader + 48 // the size of the buffer that is lent; most hellos fit as well
	peekMax  = maxHelloBytes
)

// Peeker looks at the first bytes of a connection and leaves them in the socket, so that whoever
// takes the connection over (TLS, a relay) finds it untouched. It waits under the connection's read
// deadline, which the caller sets once: a peer that sends byte by byte gets no more time for it.
//
// A Peeker belongs to one goroutine, between GetPeeker and Release. What it looks at is valid until
// the next look or Release.
type Peeker struct {
	base  [peekSize]byte
	buf   []byte // base, or larger
	n     int    // bytes of buf
	need  int    // bytes that the parser wants at least
	count int    // bytes to discard
	err   error
	parse func(b []byte) (need int)

	header   ProxyHeader
	hello    ClientHello
	length   int   // of what was parsed
	parseErr error // of the parser

	// The methods, bound once, so that nothing is allocated for each connection.
	onPeek, onDiscard         func(fd uintptr) bool
	onProxyHeader, onTLSHello func(b []byte) int
}

// peekers is a pool (read-only: what it holds has no meaning).
var peekers = sync.Pool{New: func() any {
	p := new(Peeker)
	p.onPeek, p.onDiscard = p.peek, p.discard
	p.onProxyHeader, p.onTLSHello = p.parseProxyHeader, p.parseClientHello
	return p
}}

// GetPeeker lends a Peeker.
func GetPeeker() *Peeker {
	p := peekers.Get().(*Peeker)
	p.buf = p.base[:]
	return p
}

// Release takes the Peeker back.
func (p *Peeker) Release() {
	p.buf, p.parse, p.err, p.parseErr, p.header = nil, nil, nil, nil, ProxyHeader{}
	peekers.Put(p)
}

// Look waits until parse is satisfied with the bytes at the beginning of what the socket holds.
// parse gets them all, again from the first, and returns 0, or how many it needs at least, which
// is more than it got. It must not keep them beyond the next look.
//
// An error is io.EOF if the peer ended before it sent a byte, io.ErrUnexpectedEOF if it did so
// later, ErrPeekFull if more than 48 KiB are needed, else that of the connection: a deadline
// (os.ErrDeadlineExceeded), a reset.
func (p *Peeker) Look(raw syscall.RawConn, parse func(b []byte) (need int)) error {
	p.n, p.need, p.err, p.parse = 0, 1, nil, parse
	if err := raw.Read(p.onPeek); err != nil {
		return err
	}
	return p.err
}

// peek is called when the socket may hold more. It returns false to be called again when it does.
func (p *Peeker) peek(fd uintptr) bool {
	for last := false; ; {
		if p.need > len(p.buf) && !p.grow() {
			p.err = ErrPeekFull
			return true
		}
		n, enough, err := peekAtLeast(fd, p.buf, p.need)
		switch {
		case err != nil:
			p.err = err
			return true
		case !enough && !last:
			if last = n > 0 && ended(fd); last {
				continue // the rest may have come with the end
			}
			return false
		case !enough:
			p.err = io.ErrUnexpectedEOF
			return true
		}
		p.n = n
		if p.need = p.parse(p.buf[:n]); p.need <= n {
			return true
		}
	}
}

// grow makes buf large enough for need.
func (p *Peeker) grow() bool {
	if p.need > peekMax {
		return false
	}
	p.buf = make([]byte, min(max(2*len(p.buf), p.need), peekMax))
	return true
}

// Discard takes the first n bytes out of the socket, which a look has seen there.
func (p *Peeker) Discard(raw syscall.RawConn, n int) error {
	if n <= 0 {
		return nil
	}
	p.count, p.err = n, nil
	if err := raw.Read(p.onDiscard); err != nil {
		return err
	}
	return p.err
}

func (p *Peeker) discard(fd uintptr) bool {
	for p.count > 0 {
		n, again, err := discardUpTo(fd, p.buf, p.count)
		switch {
		case again:
			return false
		case err == io.EOF:
			err = io.ErrUnexpectedEOF
			fallthrough
		case err != nil:
			p.err = err
			return true
		}
		p.count -= n
	}
	return true
}

// TakeProxyHeader waits for a PROXY protocol header and takes it out of the socket, so that the
// next byte is the connection's own. Its TLVs lie in the Peeker. Errors are those of ParseProxyHeader (nothing was taken then) and of Look.
func (p *Peeker) TakeProxyHeader(raw syscall.RawConn) (ProxyHeader, error) {
	if err := p.Look(raw, p.onProxyHeader); err != nil {
		return ProxyHeader{}, err
	}
	if p.parseErr != nil {
		return ProxyHeader{}, p.parseErr
	}
	return p.header, p.Discard(raw, p.length)
}

func (p *Peeker) parseProxyHeader(b []byte) (need int) {
	p.header, p.length, p.parseErr = ParseProxyHeader(b)
	return p.needed()
}

// PeekClientHello waits for a ClientHello and leaves it in the socket. The result belongs to the
// Peeker and is valid until its Release or next look. Errors are those of ParseClientHello and of Look.
func (p *Peeker) PeekClientHello(raw syscall.RawConn) (*ClientHello, error) {
	if err := p.Look(raw, p.onTLSHello); err != nil {
		return nil, err
	}
	if p.parseErr != nil {
		return nil, p.parseErr
	}
	return &p.hello, nil
}

func (p *Peeker) parseClientHello(b []byte) (need int) {
	p.hello, p.length, p.parseErr = ParseClientHello(b)
	return p.needed()
}

// needed turns the results of a parser into that of a look.
func (p *Peeker) needed() int {
	if p.parseErr == ErrMoreNeeded {
		return p.length
	}
	return 0
}
