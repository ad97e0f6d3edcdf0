package main

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/sluice-gateway/sluice/bench/peer"
	"github.com/sluice-gateway/sluice/internal/testnet"
)

// An endpoint is a process: it obeys, reports, ends in order, and another one serves at the same address.
func TestEndpointProcess(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &suite{runner: peer.NewRunner(self), self: self}
	defer s.runner.Close()
	addresses, err := peer.FreeAddresses(1)
	if err != nil {
		t.Fatal(err)
	}
	e := &endpoint{name: "c", address: addresses[0], suite: s, dir: t.TempDir(), ledger: newLedger()}
	defer e.stop()
	if err := e.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if answer := testnet.Dial(t, e.address).Do("GET", string(requestText(1, false))); answer.Status != 200 {
		t.Errorf("status %d", answer.Status)
	}
	if err := e.order(t.Context(), modeError); err != nil {
		t.Fatal(err)
	}
	idle := testnet.Dial(t, e.address)
	if answer := idle.Do("POST", string(requestText(2, true))); answer.Status != 500 {
		t.Errorf("status %d", answer.Status)
	}
	pid := e.process.PID()
	if err := e.end(t.Context()); err != nil {
		t.Fatal(err)
	}
	idle.WantEOF()
	if got := e.ledger.got; len(got) != 2 || len(got[1]) != 1 || got[1][0].post || len(got[2]) != 1 || !got[2][0].post {
		t.Errorf("reported %v", got)
	}
	if _, err := net.DialTimeout("tcp", e.address, testnet.Patience); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %v", err)
	}
	if err := e.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e.process.PID() == pid {
		t.Error("it is the same process")
	}
	if answer := testnet.Dial(t, e.address).Do("GET", string(requestText(3, false))); answer.Status != 200 {
		t.Errorf("after the restart: status %d", answer.Status)
	}
	r := &run{suite: s, endpoints: []*endpoint{e}}
	e.process.Stop()
	if err := r.settle(); err == nil {
		t.Error("an endpoint that has ended by itself was not noticed")
	}
}

func TestRunOriginRefuses(t *testing.T) {
	for _, args := range [][]string{nil, {"c", "127.0.0.1:0", "127.0.0.1:1"}} {
		if err := runOrigin(t.Context(), args); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}
