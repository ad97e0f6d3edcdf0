// Package stream moves bytes: non-blocking socket operations under the waits of the Go runtime,
// and relays between two connections. It knows no protocol and nothing else of this project.
package stream
