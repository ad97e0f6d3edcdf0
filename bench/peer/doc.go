// Package peer knows the proxies that the benchmark compares: their configurations (the templates beside this file),
// how to start and stop them as child processes, and what they cost in processor time and memory.
package peer
