//go:build !linux

package main

import (
	"fmt"
	"os"
)

// The benchmark reads processor time and memory of other processes in the ways that only Linux has.
func main() {
	if o, err := parseOptions(os.Args[1:], os.Stderr); err == nil && o.list {
		listRows(os.Stdout)
		return
	}
	fmt.Fprintln(os.Stderr, "bench: the benchmark runs on Linux only")
	os.Exit(1)
}
