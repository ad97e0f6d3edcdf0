// Package cert holds the certificates of a TLS listener: it loads them from PEM files, chooses one by the name that a client asks for
// (SNI, RFC 6066 section 3), and picks up changed files without a restart.
//
// A [Store] answers handshakes from an immutable set behind one atomic pointer. Its only goroutine looks at the files once a second; it
// reads a changed certificate and key together and puts them into a new set only if they fit, so that no handshake ever sees half of a
// renewal. Whatever is wrong with a file, the certificate that worked before stays in use.
package cert
