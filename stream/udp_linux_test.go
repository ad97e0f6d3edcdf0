//go:build !portable

package stream

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// setOption sets an option of a socket.
func setOption(t *testing.T, c *net.UDPConn, level, option, value int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err == nil {
		var set error
		if err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), level, option, value) }); err == nil {
			err = set
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// On a socket for all addresses the reply leaves from the one that was asked (case 61 of the security checklist). A client takes none from another.
func TestUDPReplyFromTheAddressAsked(t *testing.T) {
	for _, test := range []struct {
		network, listen string
		ask             []string
	}{
		{"udp4", "0.0.0.0:0", []string{"127.0.0.1", "127.0.0.2", "127.1.2.3"}},
		{"udp", "[::]:0", []string{"127.0.0.1", "127.0.0.2", "::1"}},
		{"udp6", "[::]:0", []string{"::1"}},
	} {
		t.Run(test.network+" "+test.listen, func(t *testing.T) {
			o := newOrigin(t, "127.0.0.1:0", echo)
			p := newPicker(o.addr)
			r := relayFrom(t, udpSocketOn(t, test.network, test.listen), p, UDPOptions{})
			for i, ask := range test.ask {
				to := netip.AddrPortFrom(netip.MustParseAddr(ask), r.Addr().Port())
				c := dialUDP(t, to)
				for range 40 { // by plain calls and by batches
					c.exchange("who are you?", "who are you?")
				}
				for range 10 {
					c.send("again")
				}
				for range 10 {
					c.want("again")
				}
				if s := p.sessions()[i]; s.local != to || s.client != addrOf(c.UDPConn) {
					t.Errorf("the handler saw client %s, local %s; want %s, %s", s.client, s.local, addrOf(c.UDPConn), to)
				}
			}
		})
	}
}

// One client that asks two addresses from one port has two sessions: the endpoint of each may be another one.
func TestUDPSessionsByAddressAsked(t *testing.T) {
	a, b := newOrigin(t, "127.0.0.1:0", named("a")), newOrigin(t, "127.0.0.1:0", named("b"))
	p := newPicker(a.addr, b.addr)
	r := relayFrom(t, udpSocketOn(t, "udp4", "0.0.0.0:0"), p, UDPOptions{})
	c := udpSocketOn(t, "udp4", "127.0.0.1:0")
	one, two := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), r.Addr().Port()), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), r.Addr().Port())
	buf := make([]byte, 100)
	for range 3 {
		for _, ask := range []struct {
			to   netip.AddrPort
			want string
		}{{one, "ax"}, {two, "bx"}} {
			if _, err := c.WriteToUDPAddrPort([]byte("x"), ask.to); err != nil {
				t.Fatal(err)
			}
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil || from != ask.to || string(buf[:n]) != ask.want {
				t.Fatalf("received %q from %s, %v; want %q from %s", buf[:n], from, err, ask.want, ask.to)
			}
		}
	}
	if n := r.Stats().Opened; n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
}

// Where the system refuses to segment, the datagrams go one by one. It does so for sockets without checksums.
func TestUDPSegmentationRefused(t *testing.T) {
	o := newOrigin(t, "127.0.0.1:0", echo)
	socket := udpSocketOn(t, "udp4", "127.0.0.1:0")
	setOption(t, socket, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1)
	c := dialUDP(t, addrOf(socket))
	r := relayFrom(t, socket, newPicker(o.addr), UDPOptions{})
	unsplit := func() (x bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, s := range r.table.sessions {
			x = x || s.socket.unsplit
		}
		return x
	}
	testnet.Eventually(t, "several replies were to leave at once", func() bool {
		for i := range 20 {
			c.send(fmt.Sprintf("%03d", i))
		}
		for i := range 20 {
			c.want(fmt.Sprintf("%03d", i))
		}
		return unsplit()
	})
	if s := r.Stats(); s.Dropped != ([udpDrops]uint64{}) {
		t.Errorf("%+v", s)
	}
}

// A datagram that came to an address which cannot answer, such as that of all hosts, is answered from another one.
func TestUDPAddressThatCannotAnswer(t *testing.T) {
	o := newOrigin(t, "127.0.0.1:0", echo)
	r := relayFrom(t, udpSocketOn(t, "udp4", "0.0.0.0:0"), newPicker(o.addr), UDPOptions{})
	c := dialUDP(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), r.Addr().Port()))
	c.exchange("1", "1")
	r.mu.Lock()
	for _, s := range r.table.sessions {
		s.socket.noteLen = uint8(len(appendSource(s.socket.note[:0], netip.MustParseAddr("192.0.2.1"), 0, unix.AF_INET)))
	}
	r.mu.Unlock()
	c.exchange("2", "2")
}

// The socket that was handed over is closed, and so is everything that the relay opened.
func TestUDPDescriptors(t *testing.T) {
	open := func() int {
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	o := newOrigin(t, "127.0.0.1:0", echo)
	var clients []udpClient
	run := func() {
		p := newPicker(o.addr)
		r := relayOn(t, "127.0.0.1:0", p, UDPOptions{})
		for range 20 {
			c := dialUDP(t, r.Addr())
			c.exchange("x", "x")
			clients = append(clients, c)
		}
		r.Close()
		for _, c := range clients {
			_ = c.Close()
		}
		clients = nil
	}
	run()
	before := open()
	run()
	if after := open(); after != before {
		t.Errorf("%d descriptors are open, before there were %d", after, before)
	}
}

// What the socket had no room for is counted.
func TestUDPOverflow(t *testing.T) {
	socket := udpSocketOn(t, "udp4", "127.0.0.1:0")
	_ = socket.SetReadBuffer(4096)
	c := dialUDP(t, addrOf(socket))
	for range 1000 {
		c.send("flood")
	}
	r := relayFrom(t, socket, newPicker(), UDPOptions{Buffer: -1})
	testnet.Eventually(t, "all datagrams are accounted for", func() bool {
		s := r.Stats()
		return s.Overflow > 0 && s.Overflow+s.Dropped[UDPNoEndpoint] == 1000
	})
	before := r.Stats().Overflow
	r.Close()
	if s := r.Stats(); s.Overflow != before {
		t.Errorf("%d when the relay has ended, %d before", s.Overflow, before)
	}
}

// A session whose replies come in floods gets a larger buffer, and then it holds more of them.
func TestUDPFlood(t *testing.T) {
	flood := make([]string, 200)
	for i := range flood {
		flood[i] = fmt.Sprintf("%04d", i)
	}
	o := newOrigin(t, "127.0.0.1:0", func([]byte) []string { return flood })
	r := relayOn(t, "127.0.0.1:0", newPicker(o.addr), UDPOptions{})
	c := dialUDP(t, r.Addr())
	grown := func() (x bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, s := range r.table.sessions {
			x = x || s.socket.grown
		}
		return x
	}
	testnet.Eventually(t, "a whole batch of replies stood in the socket", func() bool {
		c.send("go")
		for _, text := range flood {
			c.want(text)
		}
		return grown()
	})
}

// Time-outs hold while there is traffic as well as when there is none, and the loop sleeps in between.
func TestUDPTimersUnderTraffic(t *testing.T) {
	o := newOrigin(t, "127.0.0.1:0", echo)
	p := newPicker(o.addr)
	r := relayOn(t, "127.0.0.1:0", p, UDPOptions{Idle: 50 * time.Millisecond})
	quiet, busy := dialUDP(t, r.Addr()), dialUDP(t, r.Addr())
	quiet.try("x")
	testnet.Eventually(t, "the quiet session ends", func() bool {
		busy.try("y")
		select {
		case e := <-p.ends:
			return e.Client == addrOf(quiet.UDPConn)
		default:
			return false
		}
	})
}

// A datagram is tried at two endpoints, and no more.
func TestUDPRefusedByAllInBatch(t *testing.T) {
	p := newPicker(deadAddr(t))
	r, _ := refusedInBatch(t, p, 20)
	testnet.Eventually(t, "all sessions were refused", func() bool { return r.Stats().Sessions == 0 })
	if s := r.Stats(); s.Opened > 2 || s.Opened == 2 && s.Dropped[UDPNoSocket] > 18 {
		t.Errorf("%+v", s)
	}
}
