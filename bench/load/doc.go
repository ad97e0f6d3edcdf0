// Package load drives an HTTP proxy from the client's side for the side-by-side benchmark: closed-loop and constant-rate
// clients on raw sockets, TLS clients, and holders of idle connections. Every answer is checked (status, framing, each
// body byte), so a fast wrong answer counts as a failure and not as a request.
//
// The clients avoid net/http because they share their core with the origin: whatever they waste lowers the rate at
// which the proxy under test can be saturated. The plain clients need Linux; what they count with is portable.
package load
