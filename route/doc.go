// Package route finds the route of a request: host, then path, then predicates, in a table that is built once and never changes.
//
// # Which route wins
//
// The most specific route that matches, whatever the order in the file:
//
//  1. Host: exact, then `*.suffix` with the longest suffix, then any. A `*.suffix` stands for one label or more, never for none.
//  2. Path: patterns of literals only, then patterns with captures, then patterns that take the rest of the path. Among patterns with captures the
//     one wins that has a literal where the other has a capture, at the first segment where they differ; among patterns with a rest the same, and
//     a capture before a rest: so the longer literal prefix wins.
//  3. Method: a route that names the request's method before one that names none. A route for GET also takes HEAD, after one that names HEAD.
//  4. More header matches, then more query matches, then the earlier in the file.
//
// A route that does not match in all its parts is passed over as if it were not there: if nothing matches at the most specific host or path, the next
// one down is tried. A request that only lacks a method that some route takes gets 405 with the methods of all routes that match but for it.
//
// # What is matched
//
// The canonical path of the exchange (message.AppendPath), without the parameters of its segments (`;v=1`), and with the escapes of visible ASCII
// decoded, so that `/%40me` cannot evade the route of `/@me`. %2F is no separator; where reading it as one would select another route, the request is
// ambiguous and refused, unless its route trusts its backend; where it would select none, nothing is ambiguous. A capture takes one segment that is not empty, a rest any number: `/old/*` matches
// `/old/`, and neither `/old` nor `/older`.
//
// # What it costs
//
// Exact patterns are one map lookup; the others are trees of segments. Each node of a tree is reached from one parent only, so a walk visits no node twice,
// whatever the request: its cost is bounded by the patterns that overlap, and Build warns when the bound is high. Nothing is allocated.
package route
