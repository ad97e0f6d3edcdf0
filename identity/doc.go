// Package identity finds out who is calling: by a signed token ([Verifier] with [Keys]), an API key ([KeySet]), a name and a password ([Passwords]) or
// a client certificate ([Authorities]). What it finds is an immutable [message.Identity] that all requests of the caller share.
//
// It knows nothing of requests and configuration: policies take the credentials out of a request and ask here. Everything fails closed, by a
// [Refusal] that names its [message.Reason]; nothing is repaired, and what could be read in two ways is refused.
//
// What costs more than a microsecond is remembered for a short time in a table that is bounded in bytes, and finding it there neither locks nor
// allocates. Only success is remembered: who sends something wrong chooses what it is, and would choose something else each time.
//
// Files are read again when they change. One that is broken then changes nothing, and is reported.
package identity
