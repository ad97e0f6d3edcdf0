package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/sluice-gateway/sluice/internal/leak"
)

// TestMain is also the program of the endpoints that the tests start, as the command is for those of a run.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == originCommand {
		ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		err := runOrigin(ctx, os.Args[2:])
		cancel()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	leak.Main(m)
}
