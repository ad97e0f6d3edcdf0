// Package demo shows the gateway at work: examples/bank/bank.yaml as it stands, a mobile bank of three services in the same process behind it,
// a steady load through it, and a table of what happens. One endpoint of the bank is slow and one fails now and then, so that balancing, health
// checks, ejection and retries have something to do; and one service is too slow now and then for the answer that it is a part of.
//
// The bank and the load speak net/http, on purpose: they are what Sluice meets outside, and share no code with it.
package demo
