package main

import (
	"context"
	"runtime"

	"github.com/sluice-gateway/sluice/bench/load"
	"github.com/sluice-gateway/sluice/bench/peer"
)

// handshakeClients is how many handshakes are underway at once. It need not saturate the proxy: the figure is CPU.
const handshakeClients = 16

// handshakes measures a full TLS 1.3 handshake (X25519, ECDSA P-256, no resumption) with one request and the close.
func (s *suite) handshakes(ctx context.Context, kind peer.Kind) (values, error) {
	return s.overTLS(ctx, kind, load.TLS{
		Connections:    handshakeClients,
		Request:        load.Request("bench.example", path, true),
		NewConnections: true,
	})
}

// keptAliveTLS measures what a request costs on a TLS connection that is there already.
func (s *suite) keptAliveTLS(ctx context.Context, kind peer.Kind) (values, error) {
	return s.overTLS(ctx, kind, load.TLS{
		Connections: s.connections,
		Request:     load.Request("bench.example", path, false),
	})
}

func (s *suite) overTLS(ctx context.Context, kind peer.Kind, client load.TLS) (values, error) {
	u, err := s.start(ctx, kind, 128, path, s.secure)
	if err != nil {
		return nil, err
	}
	defer u.process.Stop()
	g, err := s.newGauge(u)
	if err != nil {
		return nil, err
	}
	client.Address, client.Body, client.Window = u.plan.Address, u.body, s.window(g)
	// All goroutines of this client run on one pinned core; more than one P would only make them look for each other.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	result, err := client.Run(ctx)
	if err != nil {
		return nil, err
	}
	return price(result, g)
}
