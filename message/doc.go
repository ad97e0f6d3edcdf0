// Package message is the HTTP value that everybody shares: one Exchange is one request and its
// response, for every protocol, on both sides. Router, policies, cache, log and upstream writer
// read the same bytes; no second view of a request exists.
//
// Ownership: an Exchange owns its headers and scratch memory. Every slice that it gives out is
// valid until Reset; pieces of a Body are valid until the following Next or Close. Builds with
// the tag invariants (and race builds) overwrite bytes when a borrow ends.
package message

//go:generate go run ./gen
