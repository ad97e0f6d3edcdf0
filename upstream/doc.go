// Package upstream reaches backends. A Backend is a named group of interchangeable endpoints; its Do sends one exchange to one of them:
// it picks an endpoint, hands the exchange to the endpoint's transport, and where that fails decides whether another try is safe, wanted,
// within the retry budget and before the deadline.
//
// Two things live here with different lives. An Endpoint is one address of one backend with all that was learned about it: its
// connections, its health, its ejections, its counters. It survives reloads; the owner of the runtime keeps it in a pool by backend and
// address. A Backend is one generation of the configuration over such endpoints: algorithm, weights, retry rules, checks. It is started
// when its generation goes live and closed when the next one has.
//
// The hot path takes no lock: the endpoints that may be used stand in an immutable picker behind an atomic pointer, which is built anew
// when an endpoint's health changes (by the goroutine that found out, at most once for each change) and when an ejection is over (by the
// first request after that).
package upstream
