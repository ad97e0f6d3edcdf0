package http1

import (
	"sync"

	"github.com/sluice-gateway/sluice/message"
)

const bufferSize = 16 << 10

// buffers holds read buffers. A connection has one only while a message is being read or a
// piece of it is lent out.
//
// It is read-only state of the package in the sense that matters: what is in a pool carries no
// meaning from one user to the next.
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// reader is the read buffer of a connection: buf[r:w] has arrived and is not consumed.
type reader struct {
	c    *conn
	buf  []byte
	full *[bufferSize]byte // what goes back to the pool
	r, w int
}

func (rd *reader) take() {
	if rd.buf == nil {
		rd.full = buffers.Get().(*[bufferSize]byte)
		rd.buf = rd.full[:]
		rd.r, rd.w = 0, 0
	}
}

// release gives the buffer back. Every slice of it is dead afterwards.
func (rd *reader) release() {
	if rd.full != nil {
		message.Poison(rd.full[:rd.w])
		buffers.Put(rd.full)
	}
	rd.buf, rd.full, rd.r, rd.w = nil, nil, 0, 0
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
	if rd.full != nil {
		message.Poison(rd.full[:rd.w])
		buffers.Put(rd.full)
		rd.full = nil
	}
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
