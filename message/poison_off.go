//go:build !invariants && !race

package message

// Invariants reports whether this build checks ownership of borrowed bytes.
const Invariants = false

// poison does nothing in ordinary builds.
func poison([]byte) {}

// Poison does nothing in ordinary builds; see the invariants build.
func Poison([]byte) {}
