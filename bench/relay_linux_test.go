package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/bench/load"
	"github.com/sluice-gateway/sluice/bench/origin"
	"github.com/sluice-gateway/sluice/bench/peer"
)

// testSuite runs unpinned, with this test program for the endpoints; see TestMain.
func testSuite(t *testing.T) *suite {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &suite{options: options{seconds: 0.3, warmup: 50 * time.Millisecond, connections: 4, idle: 100, keys: 2000}, runner: peer.NewRunner(self),
		programs: peer.Programs{Self: self, NGINX: peer.FindProgram("nginx"), HAProxy: peer.FindProgram("haproxy")}, dir: t.TempDir(),
		proxyCPU: -1, loadCPU: -1, originCPU: -1, origins: map[int]*backends{}}
	s.programs.NGINXStreamFile, s.programs.NGINXStream = peer.StreamModule(t.Context(), s.programs.NGINX)
	t.Cleanup(s.runner.Close)
	return s
}

// TestRawEndpointsAnswerTheirClients goes without a proxy: what the clients send, the endpoints understand.
func TestRawEndpointsAnswerTheirClients(t *testing.T) {
	s := testSuite(t)
	e, err := s.startEndpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.startEndpoints(t.Context()); again != e || err != nil {
		t.Errorf("started twice: %v", err)
	}
	window := load.Window{Measure: 300 * time.Millisecond}
	content := origin.NewContent()
	clients := map[string]func(context.Context) (*load.Result, error){
		"echo":      load.Plain{Address: e.Echo[0], Connections: 4, Requests: messages(), Echo: true, Window: window}.Run,
		"once":      load.Plain{Address: e.Once[1], Connections: 4, Requests: messages(), Echo: true, Fresh: true, Window: window}.Run,
		"source":    load.Bulk{Address: e.Source[0], Connections: 1, Transfer: transferSize, Content: content.From, Window: window}.Run,
		"sink":      load.Bulk{Address: e.Sink[1], Connections: 1, Transfer: transferSize, Upload: true, Content: content.From, Verdict: []byte(origin.Complete), Window: window}.Run,
		"packets":   load.Packets{Address: e.Packets[0], Clients: 2, Outstanding: 2, Size: messageSize, Window: window}.Run,
		"questions": load.Questions{Address: e.Packets[1], Rate: 1000, Size: messageSize, Window: window}.Run,
	}
	for name, run := range clients {
		if result, err := run(t.Context()); err != nil || result.Err() != nil {
			t.Errorf("%s: %v", name, errors.Join(err, result.Err()))
		}
	}
	if err := probe(t.Context(), "tcp4", e.Echo[1], nil); err != nil {
		t.Error(err)
	}
	if err := probe(t.Context(), "tcp4", e.Echo[1], []byte("another answer")); err == nil {
		t.Error("the probe is content with a wrong answer")
	}
}

// TestRelayRows measures each layer 4 row once with every peer that this machine has, but for Sluice, which would have to be built.
func TestRelayRows(t *testing.T) {
	s := testSuite(t)
	for _, r := range s.rows() {
		for _, kind := range []peer.Kind{peer.NGINX, peer.HAProxy} {
			if !slices.Contains(relayRows(), r.name) || !r.can(kind) || s.programs.Of(kind) == "" {
				continue
			}
			t.Run(r.name+"/"+string(kind), func(t *testing.T) {
				v, err := r.measure(t.Context(), kind)
				for try := 0; err != nil && r.name == rowUDP && try < 5; try++ {
					v, err = r.measure(t.Context(), kind) // a crowded machine may lose too many datagrams
				}
				if err != nil {
					t.Fatal(err)
				}
				for _, line := range relayLines() {
					if line.Row == r.name && !(v[line.Metric] > 0) {
						t.Errorf("%s is %v", line.Metric, v[line.Metric])
					}
				}
			})
		}
	}
}

func TestAProxyThatDoesNotComeUpIsAnError(t *testing.T) {
	s := testSuite(t)
	program := filepath.Join(s.dir, "broken")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho no such protocol >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.programs.Sluice = program
	if v, err := s.tcpBulk(t.Context(), peer.Sluice); err == nil {
		t.Errorf("measured %v", v)
	}
}
