package stream

import (
	"io"
	"runtime"
	"sync"
)

const (
	relayBufferSize = 32 << 10

	// spliceAfter is how many bytes must have come in one direction, in wakes of at least
	// spliceWake each, before they go through a pipe: for fewer, and for small pieces, the further
	// system calls cost more than copying.
	spliceAfter = 64 << 10
	spliceWake  = 4 << 10

	// relayTurn is how much a direction moves before it lets other goroutines run. Its system
	// calls are hidden from the scheduler, and a fast sender with a fast receiver never waits.
	relayTurn = 1 << 20

	// relayYield is how much a direction must have moved since its last wait to look once more before it waits again.
	relayYield = 64 << 10
)

// relayBuffers is a pool (read-only: what it holds has no meaning) of copy buffers.
var relayBuffers = sync.Pool{New: func() any { return new([relayBufferSize]byte) }}

// transfer is what a direction between two descriptors needs. All of it belongs to the goroutine
// of the direction.
//
// The goroutine stays in a callback of toRaw.Write, and in it in one of fromRaw.Read, as long as
// the direction lasts. This holds both descriptors: nobody can close them, and so have their numbers
// given to other files, while the direction uses them. To wait, the inner callback returns false
// (for bytes) or the outer one does (for room); Go's poller is edge-triggered, so each does so only
// after the system has said EAGAIN.
type transfer struct {
	toFD uintptr
	over bool // the direction has ended
	buf  *[relayBufferSize]byte
	rest []byte // bytes that to has not taken yet; in buf, or early ones

	pipe     *pipe // held while bytes go through it
	splicing bool  // bytes go through a pipe
	noSplice bool  // the system cannot splice these
	wake     int   // bytes since the last wait
	streak   int   // bytes in wakes that were not small, one after the other
	turn     int   // bytes since others were let run
	yielded  bool  // others were let run since the last byte

	// The methods that the descriptors call, bound once; err is the result of those of a copy.
	onReadable, onWritable func(fd uintptr) bool
	err                    error
}

// progress is what became of an attempt to hand bytes on.
type progress uint8

const (
	handedOn progress = iota
	noRoom
	broken
)

// runRaw moves all bytes of a direction between two descriptors.
func (d *direction) runRaw() {
	d.rest = d.early
	d.onReadable, d.onWritable = d.readable, d.writable
	if err := d.toRaw.Write(d.onWritable); err != nil {
		d.failed(d.side.other(), err)
	}
	d.release()
}

// writable is called when to may have room. It returns false to be called again when it has.
func (d *direction) writable(to uintptr) bool {
	d.toFD = to
	for {
		switch d.handOn() {
		case noRoom:
			d.stuck()
			return false
		case broken:
			return true
		}
		if d.s.cut.Load() {
			return true
		}
		if err := d.fromRaw.Read(d.onReadable); err != nil {
			d.failed(d.side, err)
			return true
		}
		if d.over {
			return true
		}
	}
}

// readable is called when from may have bytes. It returns false to be called again when it has,
// and true when the direction is over or must wait for room.
func (d *direction) readable(from uintptr) bool {
	for !d.s.cut.Load() && !d.ended.Load() {
		n, again, err := d.take(from)
		switch {
		case again && d.yield():
			continue
		case again:
			d.rested()
			return false
		case err == io.EOF && !d.reset(from):
			d.release()
			if d.over = !d.finished(); d.over {
				return true
			}
			continue
		case err == io.EOF:
			err = errAborted
			fallthrough
		case err != nil:
			d.failed(d.side, err)
			d.over = true
			return true
		}
		if d.handOn() != handedOn {
			return true
		}
		d.moving(n)
	}
	d.over = !d.watch(from)
	return d.over
}

// watch is called when from has ended. It reports whether to go on waiting: as long as from
// wants bytes, a reset of it ends the relay, and no write may ever meet it. The other direction
// wakes this one when it is through.
func (d *direction) watch(from uintptr) bool {
	switch {
	case d.s.cut.Load() || !d.moreToSend():
		return false
	case d.reset(from):
		d.failed(d.side, errAborted)
		return false
	}
	return true
}

// reset reports whether the peer behind from, which has ended, has really reset its connection.
// Only while no FIN has gone to the peer can that be seen; the question is asked again afterwards
// because one may be sent meanwhile.
func (d *direction) reset(from uintptr) bool {
	return d.moreToSend() && aborted(from) && d.moreToSend()
}

// moreToSend reports whether the other direction may still send to from.
func (d *direction) moreToSend() bool { return !d.back.ended.Load() }

// take takes bytes from the socket from, into the pipe or the buffer.
func (d *direction) take(from uintptr) (n int, again bool, err error) {
	if d.splicing && d.pipe == nil {
		d.pipe = d.s.o.Pipes.get()
		d.splicing = d.pipe != nil
	}
	if d.splicing {
		n, again, err = d.pipe.fill(from)
		if err != errCannotSplice {
			return n, again, err
		}
		d.splicing, d.noSplice = false, true
		d.release()
	}
	if d.buf == nil {
		d.buf = relayBuffers.Get().(*[relayBufferSize]byte)
	}
	n, again, err = Receive(from, d.buf[:])
	d.rest = d.buf[:n]
	return n, again, err
}

// handOn gives to what was taken.
func (d *direction) handOn() progress {
	for len(d.rest) > 0 {
		n, err := Send(d.toFD, d.rest)
		d.took(n)
		d.rest = d.rest[n:]
		if p := d.judge(n, err); p != handedOn {
			return p
		}
	}
	for d.pipe != nil && d.pipe.held > 0 {
		n, err := d.pipe.drain(d.toFD)
		d.took(n)
		if p := d.judge(n, err); p != handedOn {
			return p
		}
	}
	return handedOn
}

func (d *direction) judge(n int, err error) progress {
	switch {
	case err != nil:
		d.failed(d.side.other(), err)
		return broken
	case n == 0:
		return noRoom
	}
	return handedOn
}

// moving is called after n bytes were handed on.
func (d *direction) moving(n int) {
	d.wake += n
	d.streak += n
	d.yielded = false
	if d.streak > spliceAfter && !d.splicing && !d.noSplice && d.s.o.Pipes != nil {
		d.splicing = true
		d.release()
	}
	if d.turn += n; d.turn >= relayTurn {
		d.turn = 0
		runtime.Gosched()
	}
}

// yield lets the other goroutines run before a direction that moves much waits, and reports whether it did: more bytes have often come by then. To be woken
// costs more than to look once more, and every wake moves more.
func (d *direction) yield() bool {
	if !d.splicing || d.wake < relayYield || d.yielded {
		return false
	}
	d.yielded = true
	runtime.Gosched()
	return true
}

// rested is called before the direction waits for bytes.
func (d *direction) rested() {
	if d.wake < spliceWake {
		d.streak, d.splicing = 0, false
	}
	d.wake, d.turn, d.yielded = 0, 0, false
	d.release()
}

// release gives buffer and pipe back.
func (d *direction) release() {
	if d.buf != nil {
		relayBuffers.Put(d.buf)
		d.buf, d.rest = nil, nil
	}
	if d.pipe != nil {
		d.s.o.Pipes.put(d.pipe)
		d.pipe = nil
	}
}
