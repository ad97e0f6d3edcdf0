// Package demo shows the proxy at work: a mobile bank of three services in the same process, the gateway before it, a steady load through
// it, and a table of what happens. One endpoint of the bank is slow and one fails now and then, so that balancing, health checks, ejection
// and retries have something to do.
//
// The bank and the load speak net/http, on purpose: they are what Sluice meets outside, and share no code with it.
package demo
