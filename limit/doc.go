// Package limit counts: how often a key may come ([Rate]), how much it may use in a calendar period ([Quota]), and how many requests of it may be under
// way at once ([Concurrency]). A key is any bytes: an address, a subject, the name of a consumer. What the key is, and what a refused client is told,
// is for the policies.
//
// # Where it is counted
//
// [Local] counts in this process. [Shared] counts in a [Store], a Redis or Valkey server, in one script call for rate and quota together, so that several
// gateways keep exactly one limit between them; both are a [Limiter]. A quota in memory can be kept in a [Ledger], a file that is written each second.
//
// A request waits for the store for no longer than a few milliseconds. After failures the store is away: requests do not ask any more and go by the
// [FailureMode], until the store's own goroutine has found that it works again. With [Share] each instance counts on its own against its part of the limit: the
// rate and the burst, and what was left of the quota, divided by the number of instances that the store had seen last. When an outage begins, all
// together may have one burst more than the limit says, because what was owed to the store is not known here; a process that has never reached the store
// knows of no other instance. What was counted of a quota meanwhile is added to the store when it is back.
//
// [Records] are in a store, too: values that one instance works out while the others wait for it, as the answers to idempotent requests are.
//
// # Exactness
//
// A rate is a GCRA in whole nanoseconds and exact fractions of them. A burst is how many requests pass at once from rest, not one more. A request that is
// refused takes nothing of any window, nor of the quota. The promised wait is neither a nanosecond too short nor too long.
//
// Time comes in as an argument. With a store it is the server's, also for the beginning of a period, so that the gateways' clocks do not matter.
//
// # Memory
//
// Tables are bounded, at 1,000,000 keys by default, and grow with what is used. A key costs 34 bytes with a window whose rate is a whole number of
// nanoseconds (10/s, 600/m), 45 with two, 56 with three; where one of them is not (3/s), 11 more for each window; and 56 in a quota: measured at a million
// keys. The texts of keys are not kept. What that comes to is in [TableStats].
//
// Keys are told apart by a keyed hash of 128 bits (SipHash-2-4, with a seed that nobody knows), so different keys do not share a counter, by accident or
// by somebody's design. When a table is full, keys go that need not be remembered, and else those whose loss matters least: of a few at
// random the one that is nearest to being full again, or has used least. A client that has used up its limit cannot have itself forgotten by inventing
// keys: each of those has used less than its own, and goes first. Evictions that mattered are counted; they begin a little before the table is full
// (with 1,000,000 keys in a table for as many, 7 in 1,000 have gone), because its parts fill unevenly.
//
// There is no goroutine and no timer for a key. A store has one goroutine, a ledger has one, and both end with Close.
package limit
