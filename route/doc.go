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
//  3. Version: a route for listed versions of an API before one for all of them, and that before one of no API.
//  4. Method: a route that names the request's method before one that names none. A route for GET also takes HEAD, after one that names HEAD.
//  5. More header matches, then more query matches, then the earlier in the file.
//
// A route that does not match in all its parts is passed over as if it were not there: if nothing matches at the most specific host or path, the next
// one down is tried. A request that only lacks a method that some route takes gets 405 with the methods of all routes that match but for it.
//
// # Versions
//
// A route of an API takes the requests that mean a version which it offers. Which version a request means is found out from the request alone: the first
// of the API's selectors that names one decides, and its default if none does. A request that only lacks a version is passed over as any other,
// and refused if nothing else takes it. A version that the API does not have is not passed over: the most specific route that would take the request but
// for its version refuses it, so that a misspelt version does not lead past a route to a less specific one.
//
// Where versions stand in the path, a route of the pattern `/accounts/{id}` is for `/v1/accounts/{id}`, `/v2/accounts/{id}`, … too, and has the
// place in the order of precedence that those have; what it takes from the path is taken from what follows the version. A first segment of a v and digits
// that is no version of the API is refused where the rest is for the API, unless the route that wins names the segment literally. Patterns with a
// capture or a rest in its place do not mean it.
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
