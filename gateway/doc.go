// Package gateway turns a configuration into a running program and keeps it running: it
// compiles, binds, swaps, reloads and ends.
//
// A configuration compiles into one generation, which is immutable. What must survive a change
// of the configuration (sockets, endpoints with their health and connections, certificates, the
// access log) lies in keep-pools, keyed by what it is and counted by the generations that use
// it. Everything that can fail happens before anything changes: a configuration that cannot be
// built or bound leaves the running one as it is.
package gateway
