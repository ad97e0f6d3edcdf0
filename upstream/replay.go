package upstream

import (
	"io"
	"sync"
	"sync/atomic"

	"github.com/sluice-gateway/sluice/message"
)

// blockSize is the unit in which request bodies are kept.
const blockSize = 8 << 10

type block [blockSize]byte

// bodyStore is the memory of one backend for request bodies that may have to be sent again.
type bodyStore struct {
	limit   int64        // bytes that all requests together may keep
	held    atomic.Int64 // bytes that they keep now
	dropped atomic.Uint64
	blocks  sync.Pool // of *block
}

// take returns a block, or nil if the limit is reached.
func (s *bodyStore) take() *block {
	if s.held.Add(blockSize) > s.limit {
		s.held.Add(-blockSize)
		s.dropped.Add(1)
		return nil
	}
	if b, ok := s.blocks.Get().(*block); ok {
		return b
	}
	return new(block)
}

func (s *bodyStore) give(b *block) {
	s.held.Add(-blockSize)
	message.Poison(b[:])
	s.blocks.Put(b)
}

// replayBody is the request's body as transports see it: it passes the client's pieces on and keeps them, so that a second try can begin with
// the first byte again and then goes on where the client is.
//
// The piece that the client's body lent last is not copied: it stays valid until the next one is pulled. So a body that comes in one
// piece, as most do, costs nothing. Earlier pieces are copied into blocks, up to max bytes; a body that grows beyond that is forgotten
// and the request can no longer be sent again.
//
// It belongs to the exchange's thread, or to the transport that pulls it meanwhile: only commit may be called while a transport pulls.
type replayBody struct {
	source message.Body // the client's; nil when the request has no body
	store  *bodyStore
	max    int64

	blocks []*block
	kept   int64  // bytes in blocks
	last   []byte // lent by source, not in blocks
	left   int64  // bytes that source still has; below 0: unknown
	end    error  // what source ended with; nil before that
	lost   bool   // pieces that were pulled are gone

	at        int64 // bytes of kept that this try has had
	lastGiven bool  // this try has had last
	committed atomic.Bool
	pulled    atomic.Bool // source has nothing left, and nothing but at, lastGiven and committed changes any more
}

// open begins to stand for a body of the given length.
func (r *replayBody) open(source message.Body, length int64, store *bodyStore, maxBytes int64) {
	r.source, r.store, r.max, r.left = source, store, maxBytes, length
}

// replayable reports whether everything that was pulled is still there. pulling says that a transport may still be pulling; then it is only known
// once the whole body was pulled, after which the transport changes nothing here any more.
func (r *replayBody) replayable(pulling bool) bool {
	return r.source == nil || (!pulling || r.pulled.Load()) && !r.lost
}

// rewind makes the next try begin with the first byte. It must be replayable, and no transport may be pulling.
func (r *replayBody) rewind() { r.at, r.lastGiven = 0, false }

// commit ends the keeping: an answer has begun, so the request is never sent again. pulling says that a transport still pulls; what is
// kept then stays until close.
func (r *replayBody) commit(pulling bool) {
	if r.source == nil {
		return
	}
	r.committed.Store(true)
	if !pulling {
		r.lose()
	}
}

// close gives the memory back and forgets the body. No transport may be pulling.
func (r *replayBody) close() {
	r.forget()
	blocks := r.blocks
	if cap(blocks) > 64 {
		blocks = nil
	}
	r.source, r.store, r.blocks, r.last, r.end = nil, nil, blocks[:0], nil, nil
	r.left, r.lost, r.at, r.lastGiven = 0, false, 0, false
	r.committed.Store(false)
	r.pulled.Store(false)
}

// forget gives the blocks back.
func (r *replayBody) forget() {
	for i, b := range r.blocks {
		r.store.give(b)
		r.blocks[i] = nil
	}
	r.blocks, r.kept = r.blocks[:0], 0
}

// Next implements message.Body.
func (r *replayBody) Next() ([]byte, error) {
	if r.at < r.kept {
		b := r.blocks[r.at/blockSize]
		from := r.at % blockSize
		to := min(int64(blockSize), from+r.kept-r.at)
		r.at += to - from
		return b[from:to:to], nil
	}
	if len(r.last) > 0 && !r.lastGiven {
		r.lastGiven = true
		return r.last, nil
	}
	if r.end != nil {
		return nil, r.end
	}
	return r.pull()
}

// pull takes the next piece from the client.
func (r *replayBody) pull() ([]byte, error) {
	if r.left == 0 {
		// The length says that this was all. Not asking the client's body for its end keeps the last piece valid for another try.
		return nil, io.EOF
	}
	r.keepLast()
	piece, err := r.source.Next()
	if err != nil {
		r.end = err
		r.pulled.Store(true)
		return nil, err
	}
	r.last, r.lastGiven = piece, true
	if r.left > 0 {
		if r.left = max(0, r.left-int64(len(piece))); r.left == 0 {
			r.pulled.Store(true)
		}
	}
	return piece, nil
}

// keepLast copies the piece that the next pull makes invalid.
func (r *replayBody) keepLast() {
	piece := r.last
	r.last = nil
	if len(piece) == 0 || r.lost {
		return
	}
	// A body that is known to become too large is not even begun.
	if r.committed.Load() || r.kept+int64(len(piece))+max(0, r.left) > r.max {
		r.lose()
		return
	}
	for len(piece) > 0 {
		used := int(r.kept % blockSize)
		if used == 0 {
			b := r.store.take()
			if b == nil {
				r.lose()
				return
			}
			r.blocks = append(r.blocks, b)
		}
		n := copy(r.blocks[len(r.blocks)-1][used:], piece)
		r.kept += int64(n)
		piece = piece[n:]
	}
	r.at = r.kept
}

// lose gives up keeping. The try under way has had all of what is dropped.
func (r *replayBody) lose() {
	r.lost = true
	r.forget()
	r.at = 0
}

// Ready reports whether Next returns without waiting; codecs ask before they put a piece into the same write as the head.
func (r *replayBody) Ready() bool {
	if r.at < r.kept || len(r.last) > 0 && !r.lastGiven || r.end != nil || r.left == 0 {
		return true
	}
	s, ok := r.source.(interface{ Ready() bool })
	return ok && s.Ready()
}

// Interrupt makes a Next that waits for the client return, if the client's body can do that.
func (r *replayBody) Interrupt() {
	if s, ok := r.source.(interface{ Interrupt() }); ok {
		s.Interrupt()
	}
}

// Source returns the client's body for a transport that moves large bodies by other means than Next, or nil while pieces are kept for
// another try or are still to be had here. Afterwards the request can no longer be sent again.
func (r *replayBody) Source() message.Body {
	if r.at < r.kept || len(r.last) > 0 && !r.lastGiven || r.end != nil || r.left <= r.max {
		return nil
	}
	r.last = nil
	r.lose()
	r.left = message.LengthUnknown // it is counted elsewhere now
	return r.source
}

// Close implements message.Body. It does nothing: the client's body belongs to the codec that reads the client, and a try that has
// failed must not close it for the next.
func (r *replayBody) Close() error { return nil }
