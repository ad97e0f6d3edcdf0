// Package upstream reaches backends. A Backend is a named group of interchangeable endpoints; its Do sends one exchange to one of them:
// it picks an endpoint, hands the exchange to the endpoint's transport, and where that fails decides whether another try is safe, wanted,
// within the retry budget and before the deadline.
//
// Two things live here with different lives. An Endpoint is one address of one backend with all that was learned about it: its
// connections, its health, its ejections, its counters. It survives reloads; the owner of the runtime keeps it in a pool by backend and
// address. A Backend is one generation of the configuration over such endpoints: algorithm, weights, retry rules, checks. It is started
// when its generation goes live and closed when the next one has.
//
// The hot path takes no lock, but for backends with a queue that is in use, and for hedging: the endpoints that may be used stand in an immutable
// picker behind an atomic pointer. It is built anew when an endpoint comes, goes, or changes (by the goroutine that found out; for a request that has
// ejected one by a timer, where building takes long), and by that timer when an ejection is over and while a slow start grows.
package upstream
