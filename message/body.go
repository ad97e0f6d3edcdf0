package message

import "io"

// Body is the content of a message, pulled piece by piece.
//
// Next returns the next piece, valid until the following Next or Close, and io.EOF (with no
// piece) after the last. Any other error says that the content is broken off. A piece is never
// empty without an error. Not calling Next is how a slow reader holds its writer back.
//
// Close gives back what the body borrowed; content not read yet is dropped or makes the
// connection unusable, as its owner decides. Close may be called more than once. Next and Close
// belong to one goroutine at a time.
type Body interface {
	Next() ([]byte, error)
	Close() error
}

// NoBody is the body of a message without content.
type NoBody struct{}

// Next returns io.EOF.
func (NoBody) Next() ([]byte, error) { return nil, io.EOF }

// Close does nothing.
func (NoBody) Close() error { return nil }

// Bytes is a body of fixed bytes in one piece. The bytes are not changed and may be shared by
// any number of bodies.
type Bytes struct {
	piece []byte
}

// Reset makes b a body of piece.
func (b *Bytes) Reset(piece []byte) { b.piece = piece }

// Next returns the piece, then io.EOF.
func (b *Bytes) Next() ([]byte, error) {
	if len(b.piece) == 0 {
		return nil, io.EOF
	}
	p := b.piece
	b.piece = nil
	return p, nil
}

// Close drops what was not read.
func (b *Bytes) Close() error { b.piece = nil; return nil }
