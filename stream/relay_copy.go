package stream

import (
	"errors"
	"io"
	"sync"
)

const (
	// A Conn that is not a plain socket wants a buffer to wait with, so it waits with a small one
	// and has a large one only while pieces come that fill it.
	relayWaitSize = 2 << 10

	// relayStep is how much is written at once to a Conn that tells nothing before all is written.
	relayStep = 16 << 10
)

// relayWaitBuffers is a pool (read-only: what it holds has no meaning) of buffers to wait with.
var relayWaitBuffers = sync.Pool{New: func() any { return new([relayWaitSize]byte) }}

// runCopy moves all bytes of a direction where at least one side is not a plain socket.
func (d *direction) runCopy() {
	wait := relayWaitBuffers.Get().(*[relayWaitSize]byte)
	defer relayWaitBuffers.Put(wait)
	defer d.release()
	d.rest = d.early
	d.onReadable, d.onWritable = d.receiveReady, d.sendReady
	large := false
	for {
		if err := d.writeRest(); err != nil {
			d.failed(d.side.other(), err)
			return
		}
		if d.s.cut.Load() {
			return
		}
		var err error
		switch {
		case d.fromRaw != nil:
			err = d.receive()
		case large:
			err = d.read(d.large())
			large = len(d.rest) >= relayWaitSize
		default:
			d.release()
			err = d.read(wait[:])
			large = len(d.rest) == relayWaitSize
		}
		if err != nil {
			if err == io.EOF {
				d.finished()
			} else {
				d.failed(d.side, err)
			}
			return
		}
	}
}

func (d *direction) large() []byte {
	if d.buf == nil {
		d.buf = relayBuffers.Get().(*[relayBufferSize]byte)
	}
	return d.buf[:]
}

// read waits for bytes of from. An error that comes with bytes comes again without.
func (d *direction) read(p []byte) error {
	for {
		n, err := d.from.Read(p)
		if n > 0 {
			d.rest = p[:n]
			return nil
		}
		if err != nil {
			if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return io.EOF
			}
			return err
		}
	}
}

// receive waits for bytes of the plain socket from, without a buffer.
func (d *direction) receive() error {
	d.release()
	d.err = nil
	if err := d.fromRaw.Read(d.onReadable); err != nil {
		return err
	}
	return d.err
}

// receiveReady is called when from may have bytes. It returns false to be called again when it has.
func (d *direction) receiveReady(from uintptr) bool {
	n, again, err := Receive(from, d.large())
	if again {
		d.release()
		return false
	}
	if d.rest = d.buf[:n]; err == io.EOF && d.reset(from) {
		err = errAborted
	}
	d.err = err
	return true
}

// sendReady is called when to may have room. It returns false to be called again when it has.
func (d *direction) sendReady(to uintptr) bool {
	for len(d.rest) > 0 && !d.s.cut.Load() {
		n, err := Send(to, d.rest)
		if err != nil {
			d.err = err
			return true
		}
		d.took(n)
		if d.rest = d.rest[n:]; n == 0 {
			d.stuck()
			return false
		}
	}
	return true
}

// writeRest writes what was read.
func (d *direction) writeRest() error {
	if d.toRaw != nil && len(d.rest) > 0 {
		d.err = nil
		if err := d.toRaw.Write(d.onWritable); err != nil {
			return err
		}
		return d.err
	}
	for len(d.rest) > 0 && !d.s.cut.Load() {
		d.stuck()
		n, err := d.to.Write(d.rest[:min(len(d.rest), relayStep)])
		d.took(n)
		if d.rest = d.rest[n:]; err != nil {
			return err
		}
	}
	return nil
}
