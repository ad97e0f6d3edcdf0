package http1

import (
	"sync"

	"github.com/sluice-gateway/sluice/message"
)

const bufferSize = 16 << 10

// lease is the memory of one exchange with an endpoint: out holds the request while it is put
// together and sent, in what is read of the response.
type lease struct {
	in  [bufferSize]byte
	out []byte
}

// leases is read-only in the sense that matters: what is in a pool carries no meaning from one
// user to the next.
var leases = sync.Pool{New: func() any { return &lease{out: make([]byte, 0, 4<<10)} }}

func (l *lease) put() {
	if cap(l.out) > 64<<10 {
		l.out = make([]byte, 0, 4<<10)
	}
	leases.Put(l)
}

// reader is the read buffer of a connection: buf[r:w] has arrived and is not consumed. A
// connection has a buffer only while a message is being read or a piece of it is lent out.
type reader struct {
	c     *conn
	buf   []byte
	lease *lease // whose memory buf is, on the side of endpoints
	r, w  int
}

// take gives the reader a buffer, if it has none.
func (rd *reader) take(b *[bufferSize]byte) {
	if rd.buf == nil {
		rd.buf = b[:]
		rd.r, rd.w = 0, 0
	}
}

// borrow gives the reader the buffer of a lease, which release gives back.
func (rd *reader) borrow(l *lease) {
	rd.take(&l.in)
	rd.lease = l
}

// release gives the buffer back. Every slice of it is dead afterwards.
func (rd *reader) release() {
	l := rd.lease
	rd.detach()
	if l != nil {
		l.put()
	}
}

// detach is release, but for the lease, which stays with whoever borrowed it.
func (rd *reader) detach() {
	message.Poison(rd.buf[:rd.w])
	rd.buf, rd.lease, rd.r, rd.w = nil, nil, 0, 0
}

func (rd *reader) buffered() int { return rd.w - rd.r }

// compact moves what is buffered to the front, so that a read has room. Pieces that were lent
// out are dead afterwards.
func (rd *reader) compact() {
	if rd.r == 0 {
		return
	}
	n := copy(rd.buf, rd.buf[rd.r:rd.w])
	message.Poison(rd.buf[n:rd.w])
	rd.r, rd.w = 0, n
}

// grow makes room for a head that does not fit the pooled buffer, up to max bytes in all.
func (rd *reader) grow(max int) bool {
	if len(rd.buf) >= max {
		return false
	}
	b := make([]byte, min(2*len(rd.buf), max))
	copy(b, rd.buf[:rd.w])
	message.Poison(rd.buf[:rd.w])
	rd.buf = b
	return true
}

// fill reads once from the connection, waiting until the moment by.
func (rd *reader) fill(by int64) error {
	if rd.r == rd.w {
		rd.r, rd.w = 0, 0
	}
	if rd.w == len(rd.buf) {
		rd.compact()
	}
	n, err := rd.c.read(rd.buf[rd.w:], by)
	rd.w += n
	return err
}
