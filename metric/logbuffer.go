package metric

import (
	"runtime"
	"sync/atomic"
)

// logBuffer is the double buffer between requests and the goroutine that writes the access log. Any number of producers append whole lines to
// the active half without a lock: one atomic addition reserves the place, a copy fills it, another addition says that it is filled. The one consumer swaps the
// halves, waits until the reserved places of the old half are filled, and then owns its bytes until it calls swap again.
//
// A mutex around the copy costs the same (measured for a line of 450 bytes: 17 ns, this 19 ns), but whoever is descheduled while he holds it
// stops all other requests; here only the consumer ever waits for a producer.
//
// Invariants: offsets of a half only grow between two swaps, so once a line has reserved beyond the end, no other can reserve within, and the lines that
// did fit are a prefix of the half. The half that is not active belongs to the consumer; no producer touches it, because a producer
// learns its half from the same addition that reserves its place.
type logBuffer struct {
	// state is the active half in the highest bit and the bytes reserved in it below. Lines that did not fit also reserve; 2^63 bytes
	// are never reached between two swaps.
	state  atomic.Uint64
	_      [cacheLine - 8]byte
	mark   uint64
	halves [2]struct {
		done atomic.Uint64 // reserved bytes that are filled, or given up because they did not fit
		end  atomic.Uint64 // where the first line that did not fit would have begun, else the size
		_    [cacheLine - 16]byte
		buf  []byte
	}
}

const halfBit = 1 << 63

// verdict is what became of a line.
type verdict uint8

const (
	dropped verdict = iota
	kept
	keptFirst  // the consumer should come in a while
	keptEnough // the consumer should come now
)

// newLogBuffer makes a buffer of two halves; from mark bytes on the consumer is called at once.
func newLogBuffer(half, mark int) *logBuffer {
	b := &logBuffer{mark: uint64(mark)}
	for i := range b.halves {
		b.halves[i].buf = make([]byte, half)
		b.halves[i].end.Store(uint64(half))
	}
	return b
}

// append copies line, which must end with a newline, into the active half.
func (b *logBuffer) append(line []byte) verdict {
	// When the destination is stuck, lines are turned away by a read, which does not fight over the cache line.
	if b.state.Load()&^halfBit+uint64(len(line)) > uint64(len(b.halves[0].buf)) {
		return dropped
	}
	return b.put(line)
}

// put is append for a line that may have become too long meanwhile.
func (b *logBuffer) put(line []byte) verdict {
	n := uint64(len(line))
	s := b.state.Add(n)
	h := &b.halves[s>>63]
	end := s &^ halfBit
	start := end - n
	size := uint64(len(h.buf))
	if end > size {
		if start <= size {
			h.end.Store(start) // only one line crosses the end
		}
		h.done.Add(n)
		return dropped
	}
	copy(h.buf[start:end], line)
	h.done.Add(n)
	switch {
	case start == 0:
		return keptFirst
	case start < b.mark && end >= b.mark:
		return keptEnough
	}
	return kept
}

// swap makes the other half active and returns the lines of the one that was. Only the consumer may call it, and it must be done with
// the bytes of the last call.
func (b *logBuffer) swap() []byte { return b.take(0) }

// seal is the last swap: from then on every line is dropped.
func (b *logBuffer) seal() []byte { return b.take(uint64(len(b.halves[0].buf)) + 1) }

// take swaps the halves and lets the new one begin with so many bytes reserved.
func (b *logBuffer) take(reserve uint64) []byte {
	old := b.state.Load() >> 63
	reserved := b.state.Swap((old^1)<<63|reserve) &^ halfBit
	h := &b.halves[old]
	for h.done.Load() != reserved {
		runtime.Gosched() // a producer is between its two additions, with nothing but a copy to do
	}
	lines := h.buf[:min(reserved, h.end.Load())]
	h.done.Store(0)
	h.end.Store(uint64(len(h.buf)))
	return lines
}
