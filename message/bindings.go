package message

import "slices"

// Bindings are what transports keep for the connection that a request came over, and for no other: connections to endpoints that carry
// something which holds for a connection and not for a request, such as an NTLM login (RFC 4559 section 6) or a PROXY header with the client's
// address. The codec that reads the client owns them and closes them with the client's connection. A pointer to them is the identity of
// that connection.
//
// They belong to the thread of control that serves the connection's exchanges. The zero value is ready.
type Bindings struct {
	keepers []Keeper // the one that was bound first stands first
	closed  bool
}

// Keeper keeps something for the connections of clients.
type Keeper interface {
	// Forget ends what is kept for b, if anything is.
	Forget(b *Bindings)
}

// maxKeepers bounds what one connection of a client may occupy at endpoints.
const maxKeepers = 16

// Bind notes that k keeps something for b, which ends at Close. Beyond 16 keepers the one that was bound first has to forget. It reports
// false if b is closed: then nothing must be kept.
func (b *Bindings) Bind(k Keeper) bool {
	if b.closed {
		return false
	}
	if slices.Contains(b.keepers, k) {
		return true
	}
	if len(b.keepers) == maxKeepers {
		b.keepers[0].Forget(b)
		b.keepers = slices.Delete(b.keepers, 0, 1)
	}
	b.keepers = append(b.keepers, k)
	return true
}

// Any reports whether something was bound: transports ask it before they look.
func (b *Bindings) Any() bool { return b != nil && len(b.keepers) > 0 }

// Close makes every keeper forget. Nothing can be bound afterwards.
func (b *Bindings) Close() {
	for _, k := range b.keepers {
		k.Forget(b)
	}
	b.keepers, b.closed = nil, true
}
