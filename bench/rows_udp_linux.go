package main

import (
	"context"
	"fmt"

	"github.com/sluice-gateway/sluice/bench/load"
	"github.com/sluice-gateway/sluice/bench/peer"
)

// The udp row.
const (
	packetsUnderway = 8     // of each busy client
	udpIdle         = "10s" // idle_timeout of the listener
	mostLost        = 0.2   // share of the datagrams; a proxy that loses more has no figure. A crowded machine loses some by itself
)

// busyClients is the load of a few clients that keep a fixed number of packets underway each, as fast as it goes.
func (s *suite) busyClients() relayLoad {
	return relayLoad{name: "udp-busy", share: 1, plan: peer.Plan{Protocol: peer.ProtocolUDP, Idle: udpIdle},
		backends: func(e *endpoints) []string { return e.Packets },
		run: func(ctx context.Context, address string, w load.Window) (*load.Result, error) {
			return load.Packets{Address: address, Clients: packetClients, Outstanding: packetsUnderway, Size: messageSize, Window: w}.Run(ctx)
		}}
}

// shortSessions is the load of questions at a constant rate, each from a port of its own, as the clients of a DNS server send them.
func (s *suite) shortSessions() relayLoad {
	return relayLoad{name: "udp-sessions", share: 1, plan: peer.Plan{Protocol: peer.ProtocolUDP, Idle: udpIdle, Single: true},
		backends: func(e *endpoints) []string { return e.Packets },
		run: func(ctx context.Context, address string, w load.Window) (*load.Result, error) {
			return load.Questions{Address: address, Rate: questionRate, Size: messageSize, Window: w}.Run(ctx)
		}}
}

// udp measures packets through a UDP listener under both loads.
func (s *suite) udp(ctx context.Context, kind peer.Kind) (values, error) {
	v, err := s.packets(ctx, kind, s.busyClients())
	if err != nil {
		return nil, fmt.Errorf("busy clients: %w", err)
	}
	short, err := s.packets(ctx, kind, s.shortSessions())
	if err != nil {
		return nil, fmt.Errorf("short sessions: %w", err)
	}
	v[metricPackets], v[metricPacketRate] = 2e6/v[metricCPU], 2*v[metricRate]
	v[metricSessions], v[metricSessionCPU] = 2e6/short[metricCPU], short[metricCPU]
	v[metricSessionP50], v[metricSessionP99] = short[metricP50], short[metricP99]
	v[metricForeign], v[metricLost] = max(v[metricForeign], short[metricForeign]), max(v[metricLost], short[metricLost])
	return v, nil
}

// packets measures one load.
func (s *suite) packets(ctx context.Context, kind peer.Kind, l relayLoad) (values, error) {
	result, g, err := s.underLoad(ctx, kind, l)
	if err != nil {
		return nil, err
	}
	if share := result.LostShare(); share > mostLost {
		return nil, fmt.Errorf("%.1f %% of the datagrams had no answer", 100*share)
	}
	v, err := price(result, g)
	if err == nil {
		v[metricLost] = result.LostShare()
	}
	return v, err
}
