// Package datagram receives and sends UDP datagrams in batches, many with one system call, for the load generator and the
// backend of the benchmark: with a call for each datagram the two would be slower than the proxy that they measure.
package datagram
