package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/sluice-gateway/sluice/internal/leak"
)

// TestMain lets the test program be what the benchmark's program is to itself: the one that runs its endpoints.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == rawCommand {
		if err := run(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	leak.Main(m)
}
