package main

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/sluice-gateway/sluice/internal/leak"
)

// TestMain lets the test program be what the benchmark's program is to itself: the one that runs its endpoints and backends.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{rawCommand, originCommand, sitesCommand}, os.Args[1]) {
		if err := run(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	leak.Main(m)
}
