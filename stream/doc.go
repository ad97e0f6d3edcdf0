// Package stream moves bytes that nobody reads: non-blocking socket operations under the waits of the Go runtime, relays between two connections
// (spliced where the kernel can), and datagrams between clients and endpoints. It looks at the first bytes of a connection without taking them: PROXY
// protocol headers and the ClientHello of TLS. It knows nothing else of this project.
package stream
