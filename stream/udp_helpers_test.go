package stream

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// udpSocketOn listens on loopback until the test ends.
func udpSocketOn(t testing.TB, network, address string) *net.UDPConn {
	t.Helper()
	a, err := net.ResolveUDPAddr(network, address)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenUDP(network, a)
	if err != nil {
		testnet.LacksAddress(t, address, err)
	}
	_ = c.SetDeadline(time.Now().Add(testnet.Patience))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func addrOf(c *net.UDPConn) netip.AddrPort {
	ap := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// origin is an endpoint that answers each datagram by what answer makes of it, and keeps what it saw.
type origin struct {
	conn *net.UDPConn
	addr netip.AddrPort
	seen chan string
}

func newOrigin(t testing.TB, address string, answer func(p []byte) []string) *origin {
	t.Helper()
	o := &origin{conn: udpSocketOn(t, "udp", address), seen: make(chan string, 10_000)}
	o.addr = addrOf(o.conn)
	var done sync.WaitGroup
	done.Go(func() {
		p := make([]byte, 1<<16)
		for {
			n, from, err := o.conn.ReadFromUDPAddrPort(p)
			if err != nil {
				return
			}
			o.seen <- string(p[:n])
			for _, a := range answer(p[:n]) {
				_, _ = o.conn.WriteToUDPAddrPort([]byte(a), from)
			}
		}
	})
	t.Cleanup(func() { _ = o.conn.Close(); done.Wait() })
	return o
}

// named answers with its name before what was sent; echo with what was sent; silent not at all.
func named(name string) func(p []byte) []string {
	return func(p []byte) []string { return []string{name + string(p)} }
}
func echo(p []byte) []string { return []string{string(p)} }
func silent([]byte) []string { return nil }

// deadAddr returns an address of loopback where nobody listens.
func deadAddr(t testing.TB) netip.AddrPort {
	t.Helper()
	c := udpSocketOn(t, "udp4", "127.0.0.1:0")
	defer func() { _ = c.Close() }()
	return addrOf(c)
}

// picker is a handler that hands out endpoints in turn.
type picker struct {
	mu        sync.Mutex
	endpoints []netip.AddrPort
	turn      int
	opened    []*pick
	ends      chan UDPResult
	twice     atomic.Int32 // calls of End beyond the first of a session
	panics    atomic.Bool
}

// pick is one session of a picker.
type pick struct {
	p             *picker
	client, local netip.AddrPort
	first         string
	down          atomic.Bool
	ended         atomic.Bool
}

func newPicker(endpoints ...netip.AddrPort) *picker {
	return &picker{endpoints: endpoints, ends: make(chan UDPResult, 10_000)}
}

func (p *picker) Open(client, local netip.AddrPort, first []byte) (UDPSession, netip.AddrPort, bool) {
	if p.panics.Load() {
		panic("no endpoint today")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.endpoints) == 0 {
		return nil, netip.AddrPort{}, false
	}
	s := &pick{p: p, client: client, local: local, first: string(first)}
	p.opened = append(p.opened, s)
	endpoint := p.endpoints[p.turn%len(p.endpoints)]
	p.turn++
	return s, endpoint, true
}

func (p *picker) sessions() []*pick {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.opened)
}

func (s *pick) Usable() bool { return !s.down.Load() }

func (s *pick) End(r UDPResult) {
	if s.ended.Swap(true) {
		s.p.twice.Add(1)
	}
	s.p.ends <- r
}

// relayOn starts a relay on address. When the test ends it is closed, and every session must have ended once.
func relayOn(t testing.TB, address string, p *picker, o UDPOptions) *UDPRelay {
	t.Helper()
	return relayFrom(t, udpSocketOn(t, "udp", address), p, o)
}

func relayFrom(t testing.TB, c *net.UDPConn, p *picker, o UDPOptions) *UDPRelay {
	t.Helper()
	_ = c.SetDeadline(time.Time{})
	r, err := StartUDP(c, p, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		for _, s := range p.sessions() {
			if !s.ended.Load() {
				t.Errorf("the session of %s has not ended", s.client)
			}
		}
		if n := p.twice.Load(); n != 0 {
			t.Errorf("End was called %d times too often", n)
		}
	})
	return r
}

// udpClient is a client that takes datagrams only from where it sends to.
type udpClient struct {
	*net.UDPConn
	t testing.TB
}

func dialUDP(t testing.TB, to netip.AddrPort) udpClient {
	t.Helper()
	d := net.Dialer{Timeout: testnet.Patience}
	c, err := d.Dial("udp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(testnet.Patience))
	t.Cleanup(func() { _ = c.Close() })
	return udpClient{c.(*net.UDPConn), t}
}

func (c udpClient) send(text string) {
	c.t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

func (c udpClient) receive() string {
	c.t.Helper()
	p := make([]byte, 1<<16)
	n, err := c.Read(p)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(p[:n])
}

func (c udpClient) want(text string) {
	c.t.Helper()
	if got := c.receive(); got != text {
		c.t.Fatalf("received %d bytes %.60q, want %d bytes %.60q", len(got), got, len(text), text)
	}
}

// try is an exchange whose datagrams may be lost, as they are when a session expires under them.
func (c udpClient) try(text string) {
	c.t.Helper()
	c.send(text)
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	_, _ = c.Read(make([]byte, 100))
	_ = c.SetReadDeadline(time.Now().Add(testnet.Patience))
}

func (c udpClient) exchange(text, want string) {
	c.t.Helper()
	c.send(text)
	c.want(want)
}

// wantEnd waits for the end of a session.
func wantEnd(t testing.TB, p *picker, want UDPEnd) UDPResult {
	t.Helper()
	r := testnet.Receive(t, "the end of a session", p.ends)
	if r.End != want {
		t.Fatalf("a session ended as %s (%v), want %s", r.End, r.Err, want)
	}
	return r
}

// wantDrop waits until n datagrams were dropped for a reason.
func wantDrop(t testing.TB, r *UDPRelay, why UDPDrop, n uint64) {
	t.Helper()
	testnet.Eventually(t, fmt.Sprintf("%d dropped as %s", n, why), func() bool {
		s := r.Stats()
		return s.DroppedFor(why) == n
	})
}
