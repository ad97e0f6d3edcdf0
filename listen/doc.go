// Package listen owns the sockets that clients connect to: it binds, accepts, shakes hands (TLS), chooses the codec by ALPN, bounds
// the number of connections, and ends them without cutting a request.
//
// Life of a listener over reloads: its identity is the [Key] of its address. [Open] binds a [Socket] without accepting, so that a configuration
// is complete before anything changes; [Start] begins to accept; [Listener.Swap] replaces everything else (protocol, certificates, limits, handler) for
// connections accepted from then on, without touching the socket or those that are open; [Listener.Drain] ends it.
//
// Each connection has one goroutine, which the [Listener] that accepted it counts and joins. An idle connection costs its Conn, its socket and a small
// stack, and no buffer; only before its first byte, where a PROXY header may come, it has one to look for it ([stream.Peeker]).
package listen
