package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/listen"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/stream"
)

// streamSite makes what a listener for tcp or tls serves.
func (g *Gateway) streamSite(gen *generation, l *config.Listener, log *proxy.Log) *proxy.StreamSite {
	s := &proxy.StreamSite{
		Listener: l.Name, Protocol: l.Protocol, Backend: gen.byName[l.Backend],
		Hello: l.Timeouts.Header, Idle: l.IdleTimeout, Lifetime: l.Lifetime, Log: log,
	}
	if len(l.SNI) > 0 {
		targets := make(map[string]*proxy.NameTarget, len(l.SNI))
		for _, n := range l.SNI {
			t := &proxy.NameTarget{Backend: gen.byName[n.Backend]}
			for _, a := range n.ALPN {
				t.ALPN = append(t.ALPN, proxy.ALPNTarget{Protocol: a.Protocol, Backend: gen.byName[a.Backend]})
			}
			targets[strings.TrimSuffix(strings.ToLower(n.Name), ".")] = t
		}
		s.Names = proxy.NewNameTable(targets)
	}
	s.Seal(gen.scope)
	return s
}

// refuseUnknown makes handshakes fail for server names that lead nowhere, with the alert unrecognized_name: after the handshake there is no alert that
// would say so. A configuration without certificates is how crypto/tls is made to send it.
func refuseUnknown(c *tls.Config, names *proxy.NameTable) *tls.Config {
	c = c.Clone()
	without := &tls.Config{MinVersion: c.MinVersion}
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if names.Knows(strings.ToLower(hello.ServerName)) {
			return nil, nil
		}
		return without, nil
	}
	return c
}

// datagramSite makes what a listener for udp serves.
func (g *Gateway) datagramSite(gen *generation, l *config.Listener, b *boundListener, log *proxy.Log) *proxy.DatagramSite {
	s := &proxy.DatagramSite{Listener: l.Name, Backend: gen.byName[l.Backend], Log: log}
	s.Seal(gen.scope)
	b.packets.options = stream.UDPOptions{
		Idle: l.IdleTimeout, MaxSessions: l.Limits.Connections,
		Report: func(err error) { g.o.Report(fmt.Sprintf("listener %q: %v", l.Name, err)) },
	}
	if l.UDP != nil {
		b.packets.options.Requests, b.packets.options.Responses = l.UDP.Requests, l.UDP.Responses
	}
	return s
}

// startPackets starts the listeners for udp that are new: beside the sockets, it is the one thing that needs the system to give something.
func (g *Gateway) startPackets(gen *generation) (failed []error) {
	for _, l := range gen.listeners {
		if l.packets.socket == nil {
			continue
		}
		h := proxy.NewDatagram(l.datagram)
		p, err := listen.StartPackets(l.packets.socket, h, l.packets.options)
		l.packets.socket = nil
		if err != nil {
			failed = append(failed, fmt.Errorf("listener %q: %w", l.config.Name, err))
			continue
		}
		l.packets.started = &live{packets: p, datagram: h, name: l.config.Name}
	}
	return failed
}

// live is a listener that is open, with the handlers that survive its configurations. It has either connections or packets.
type live struct {
	name     string
	listener *listen.Listener
	http     *proxy.HTTP   // nil as long as no configuration has spoken http there
	stream   *proxy.Stream // nil as long as no configuration has passed connections on there
	packets  *listen.Packets
	datagram *proxy.Datagram
	serving  serving
}

// serving is what the connections of a listener carry.
type serving uint8

const (
	servesNothing serving = iota
	servesHTTP
	servesStreams
)

// addr returns the address that clients use.
func (l *live) addr() net.Addr {
	if l.packets != nil {
		return l.packets.Addr()
	}
	return l.listener.Addr()
}

// take makes a listener serve what a generation wants. Connections and clients that are there stay with what they have.
func (l *live) take(b *boundListener) {
	l.name = b.config.Name
	if b.datagram != nil {
		l.datagram.Swap(b.datagram)
		l.packets.Swap(l.datagram, b.packets.options)
		return
	}
	if b.stream != nil {
		if l.stream == nil {
			l.stream = proxy.NewStream(b.stream)
		}
		if l.serving == servesHTTP {
			l.listener.Leave() // their requests to come would be answered by a configuration that is gone
		}
		l.serving = servesStreams
		l.stream.Swap(b.stream)
		b.options.Protocols.Stream = &listen.Stream{Handler: l.stream}
	} else {
		if l.http == nil {
			l.http = proxy.NewHTTP(b.site)
		}
		l.http.Swap(b.site)
		l.serving = servesHTTP
		b.options.Protocols.HTTP1 = &listen.HTTP1{Options: b.server, Handler: l.http}
	}
	if l.listener == nil {
		l.listener = listen.Start(b.socket, b.options)
		b.socket = nil
	} else {
		l.listener.Swap(b.options)
	}
}

// drain ends a listener without cutting what it serves, until ctx ends. It returns how many were cut.
func (l *live) drain(ctx context.Context, delay time.Duration) (cut int) {
	if l.packets != nil {
		return l.packets.Drain(ctx, delay)
	}
	if l.stream == nil {
		return l.listener.Drain(ctx, delay)
	}
	// The sessions are cut before their connections: a listener closes those in order, and an end in order would call whole what is not.
	last, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	sessions, over := 0, make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(over)
		sessions = l.stream.Stop()
		cancel()
	})
	cut = l.listener.Drain(last, delay)
	if !stop() {
		<-over
		cut = max(cut, sessions) // the listener has seen those that were still on their way out
	}
	l.stream.Close()
	return cut
}

// countPackets shows what a listener for udp counts by itself.
func countPackets(scope *metric.Scope, listener string, p *listen.Packets) {
	count := func(id metric.ID, word string, of func(*stream.UDPStats) uint64) {
		scope.CounterFunc(id, func() int64 { s := p.Stats(); return int64(of(&s)) }, listener, word)
	}
	count(metric.Datagrams, "received", func(s *stream.UDPStats) uint64 { return s.Requests })
	count(metric.Datagrams, "sent", func(s *stream.UDPStats) uint64 { return s.Replies })
	for d := stream.UDPDrop(0); d.String() != "unknown"; d++ {
		count(metric.DatagramsDropped, d.String(), func(s *stream.UDPStats) uint64 { return s.DroppedFor(d) })
	}
	count(metric.DatagramsDropped, "overflow", func(s *stream.UDPStats) uint64 { return s.Overflow })
	scope.GaugeFunc(metric.Connections, func() int64 { s := p.Stats(); return int64(s.Sessions) }, listener)
	scope.CounterFunc(metric.ConnectionsTotal, func() int64 { s := p.Stats(); return int64(s.Opened) }, listener)
	scope.GaugeFunc(metric.DatagramSockets, func() int64 { s := p.Stats(); return int64(s.Parked) }, listener)
}

// countPipes shows what the transfers of a listener for tcp or tls go through.
func countPipes(scope *metric.Scope, listener string, h *proxy.Stream) {
	scope.GaugeFunc(metric.Pipes, func() int64 { return int64(h.Pipes().Open) }, listener)
	scope.CounterFunc(metric.PipesRefused, func() int64 { return int64(h.Pipes().Refused) }, listener)
}
