// Package http1 is the HTTP/1.0 and HTTP/1.1 codec: the side that serves clients, the side that
// talks to endpoints with its pool of connections, and the tunnel after an upgrade.
//
// Framing follows RFC 9112. Ambiguity is refused, never repaired: a message that could be read
// in two ways ends its connection. What is written is validated as what is read, and framing
// fields are derived from the body, never copied.
//
// Connections to an endpoint are used by one exchange after the other, with or without TLS. What is
// known of how long the endpoint keeps them unused decides which of them may carry a request that
// must not be sent twice (lifetime); a connection that holds a login, or that names a client in
// front, is that client's alone (message.Bindings); an attempt can be ended by another goroutine
// (Cancel).
//
// Ownership: while a request is served, its session owns the read buffer, the write buffer and
// the Exchange; an idle connection owns none of them.
package http1
