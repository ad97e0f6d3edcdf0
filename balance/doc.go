// Package balance picks the endpoint for a request. It is pure: it sees slots, weights and what
// the endpoints' loads are like, and knows nothing of addresses, health or connections.
//
// A Picker is built over the endpoints that may be used and never changes: whoever owns the
// endpoints builds a new one when their set, their weights or their health changes, which is
// rare, and swaps it in by an atomic pointer. Picking, which every request does, takes no lock,
// does not allocate and never waits. What is learned of an endpoint is in its Load, which outlives the pickers.
//
// To add an algorithm, write a file with its constructor and give it a line in table.go. What it
// needs to know of a request belongs into Query, what it needs to know of an endpoint into Load.
package balance
