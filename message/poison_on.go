//go:build invariants || race

package message

// Invariants reports whether this build checks ownership of borrowed bytes.
const Invariants = true

// poison overwrites bytes whose lender takes them back, so that whoever still holds them
// reads 0xFF and its test fails.
func poison(b []byte) {
	b = b[:cap(b)]
	for i := range b {
		b[i] = 0xFF
	}
}

// Poison overwrites b up to its length; owners of borrowed buffers call it when a borrow ends.
func Poison(b []byte) { poison(b[:len(b):len(b)]) }
