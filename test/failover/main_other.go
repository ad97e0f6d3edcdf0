//go:build !linux

package main

import (
	"fmt"
	"os"
)

// The processes of the harness are started and answered for by bench/peer, which runs on Linux only.
func main() {
	if o, err := parseOptions(os.Args[1:], os.Stderr); err == nil && o.list {
		listScenarios(os.Stdout)
		return
	}
	fmt.Fprintln(os.Stderr, "failover: the scenarios run on Linux only")
	os.Exit(1)
}
