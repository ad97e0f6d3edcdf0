package policy

import (
	"io"
	"sync"

	"github.com/sluice-gateway/sluice/message"
)

// spill is the body of an answer that is too large to be kept, on its way from the task that reads it to the first exchange, the only one that gets it. Pieces
// are handed over one by one: the task reads on when the exchange wants the next.
type spill struct {
	first  []byte
	length int64
	pieces chan []byte
	taken  chan struct{} // the exchange is done with a piece
	left   chan struct{} // closed when the exchange wants no more
	once   sync.Once
	held   bool  // the exchange has a piece
	err    error // what the body ended with, written before pieces is closed
}

func newSpill(length, read int64) *spill {
	if length < read {
		length = message.LengthUnknown
	}
	return &spill{length: length, pieces: make(chan []byte), taken: make(chan struct{}), left: make(chan struct{})}
}

// run hands the rest of a body over. It is the task's side.
func (s *spill) run(b message.Body) {
	defer close(s.pieces)
	for {
		piece, err := b.Next()
		if err != nil {
			s.err = err
			return
		}
		select {
		case s.pieces <- piece:
		case <-s.left:
			s.err = io.ErrUnexpectedEOF
			return
		}
		select {
		case <-s.taken:
		case <-s.left:
			s.err = io.ErrUnexpectedEOF
			return
		}
	}
}

// Next implements message.Body.
func (s *spill) Next() ([]byte, error) {
	if len(s.first) > 0 {
		piece := s.first
		s.first = nil
		return piece, nil
	}
	if s.held {
		s.held = false
		s.taken <- struct{}{}
	}
	piece, ok := <-s.pieces
	if !ok {
		return nil, s.err
	}
	s.held = true
	return piece, nil
}

// Close implements message.Body.
func (s *spill) Close() error {
	s.once.Do(func() { close(s.left) })
	return nil
}
