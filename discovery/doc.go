// Package discovery finds the endpoints of a backend by DNS and keeps them up to date: the addresses (A and AAAA) of a name, or the hosts of a
// service (SRV, RFC 2782) with their addresses.
//
// A [Watcher] looks one [Target] up, again whenever the time to live of an answer is over, and tells its subscribers of every change. Watchers are
// kept by target over reloads of the configuration: a Target is comparable for that.
//
// A set that was found once is never emptied. A resolver that is away, fails or answers nonsense says nothing about the endpoints, so the last
// good set stays in use. The same holds for an answer that there is no such name, or nothing under it (NXDOMAIN, no data, the SRV target "."):
// such answers come from a zone that was loaded half, a record that is being replaced, a registry that has just started, far more often than
// from a service that is meant to be gone; and if it is gone, its endpoints refuse connections and health checks see that. All of this is
// counted, shown by [Watcher.Status] and reported once a minute.
//
// What an answer may do to us is bounded: it must fit the question, its addresses must be ones that can be connected to, and a set has at most
// [MaxTargets] hosts and [MaxAddresses] addresses.
package discovery
