package listen

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/sluice-gateway/sluice/stream"
)

// PacketSocket is a bound UDP socket that nobody reads from yet. Datagrams that come meanwhile wait in the system's buffer.
type PacketSocket struct {
	key  Key
	conn *net.UDPConn
}

// OpenPackets is [Open] for datagrams. Whoever opens a PacketSocket either gives it to [StartPackets] or closes it.
func OpenPackets(name, address string) (*PacketSocket, error) {
	key, err := KeyOf("udp", address)
	if err != nil {
		return nil, fmt.Errorf("listener %q: %w", name, err)
	}
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(context.Background(), key.family(), key.Address)
	if err != nil {
		return nil, fmt.Errorf("listener %q: cannot listen on %s: %w", name, address, explain(err, key))
	}
	conn, ok := pc.(*net.UDPConn)
	if !ok {
		_ = pc.Close()
		return nil, fmt.Errorf("listener %q: cannot listen on %s: the system gave no UDP socket", name, address)
	}
	return &PacketSocket{key: key, conn: conn}, nil
}

// Key returns the identity of the socket.
func (s *PacketSocket) Key() Key { return s.key }

// Close gives the address back.
func (s *PacketSocket) Close() error { return s.conn.Close() }

// Packets is a listener for datagrams. All methods may be called by any goroutine.
type Packets struct {
	key   Key
	addr  net.Addr
	relay *stream.UDPRelay
}

// StartPackets begins to pass the datagrams of a socket on, which belongs to the Packets from then on, also when StartPackets fails. It is ended by
// Drain.
func StartPackets(s *PacketSocket, h stream.UDPHandler, o stream.UDPOptions) (*Packets, error) {
	addr := s.conn.LocalAddr()
	relay, err := stream.StartUDP(s.conn, h, o)
	if err != nil {
		return nil, err
	}
	return &Packets{key: s.key, addr: addr, relay: relay}, nil
}

// Swap replaces handler and options for clients that come from now on.
func (p *Packets) Swap(h stream.UDPHandler, o stream.UDPOptions) { p.relay.Swap(h, o) }

// Key returns the identity of the listener's socket.
func (p *Packets) Key() Key { return p.key }

// Addr returns the address that clients send to.
func (p *Packets) Addr() net.Addr { return p.addr }

// Stats returns what was passed on and what was not.
func (p *Packets) Stats() stream.UDPStats { return p.relay.Stats() }

// Drain ends the listener after delay without cutting clients off that have an endpoint: they go on until they are idle, or ctx ends. It returns how
// many were cut off then.
func (p *Packets) Drain(ctx context.Context, delay time.Duration) (cut int) {
	pause(ctx.Done(), delay)
	return p.relay.Drain(ctx)
}
