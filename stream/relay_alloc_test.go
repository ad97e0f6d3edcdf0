//go:build !race

package stream

import (
	"io"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// A relay that runs allocates nothing: neither for a small exchange, nor for a long transfer by
// either way, nor where TLS or memory makes it copy.
func TestRelayDoesNotAllocate(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		e := relayed(t, w, RelayOptions{Idle: testnet.Patience, Stuck: testnet.Patience})
		small, buf := make([]byte, 128), make([]byte, 128)
		exchange := func() {
			for _, c := range [][2]io.ReadWriter{{e.a, e.b}, {e.b, e.a}} {
				if _, err := c[0].Write(small); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(c[1], buf); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n := testing.AllocsPerRun(200, exchange); n != 0 {
			t.Errorf("an exchange: %v allocations", n)
		}
		large, got := make([]byte, 300_000), make([]byte, 300_000)
		send, sent := make(chan struct{}), make(chan error)
		defer close(send)
		go func() {
			for range send {
				_, err := e.a.Write(large)
				sent <- err
			}
		}()
		if n := testing.AllocsPerRun(20, func() {
			send <- struct{}{}
			if _, err := io.ReadFull(e.b, got); err != nil {
				t.Fatal(err)
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
		}); n > 1 { // the collector may empty a pool of buffers meanwhile
			t.Errorf("a transfer: %v allocations", n)
		}
	})
}
