// Package testnet holds the scripted peers of the tests: a client that sends raw bytes and reads
// answers with a strict parser of its own, an origin that records every byte it receives and
// answers by script, and connections in memory. It knows nothing of the code under test.
//
// Everything ends with the test that made it: connections are closed and goroutines joined in
// its clean-up. No wait lasts longer than Patience, and none is needed for a test to pass.
package testnet
