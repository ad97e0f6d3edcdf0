// Package cache keeps answers: the semantics of a shared cache (RFC 9111, with RFC 5861 for stale answers, RFC 9211 for Cache-Status and RFC 9213
// for targeted fields) and the store beneath it.
//
// It sends nothing. Whoever uses it asks [Store.Lookup] what to do with a request:
//
//	Hit      the response is filled from the store
//	Refresh  the same, with a stale answer; start [Use.Flight] in the background
//	Lead     nothing usable is there: start [Use.Flight], then [Use.Wait]
//	Follow   somebody else's flight brings what is wanted: [Use.Wait]
//	Pass     go on without the store, and give the response to [Use.Passed]
//	Refuse   the client wants nothing but a stored answer, and there is none
//
// A [Flight] is one fetch of an answer that any number of requests wait for and read while it grows. The caller runs it in a goroutine of its own,
// with an exchange of its own whose request is a copy: [Flight.Start], [Flight.Prepare], the fetch, then [Flight.Fill] or [Flight.Fail]. It is
// cancelled when nobody wants it any more.
//
// Locks: a shard's lock may be held when a flight's is taken, never the other way round; the locks of the eviction queue and of the tags are taken
// alone. Nothing that waits is called under any of them.
package cache
