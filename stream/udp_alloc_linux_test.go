//go:build !race && !portable

package stream

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// still is a handler and a session that keep nothing.
type still struct{ to netip.AddrPort }

func (s *still) Open(_, _ netip.AddrPort, _ []byte) (UDPSession, netip.AddrPort, bool) {
	return s, s.to, true
}
func (s *still) Usable() bool  { return true }
func (s *still) End(UDPResult) {}

// echoing answers without allocating until the test ends.
func echoing(t testing.TB) netip.AddrPort {
	t.Helper()
	c := udpSocketOn(t, "udp4", "127.0.0.1:0")
	_ = c.SetDeadline(time.Time{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p := make([]byte, 2048)
		for {
			n, from, err := c.ReadFromUDPAddrPort(p)
			if err != nil {
				return
			}
			_, _ = c.WriteToUDPAddrPort(p[:n], from)
		}
	}()
	t.Cleanup(func() { _ = c.Close(); <-ended })
	return addrOf(c)
}

// asker returns a function that sends count datagrams and reads as many replies, without allocating.
func asker(t testing.TB, r *UDPRelay, count int) func() {
	t.Helper()
	d := net.Dialer{Timeout: testnet.Patience}
	nc, err := d.Dial("udp4", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), r.Addr().Port()).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(testnet.Patience))
	c, p := nc.(*net.UDPConn), make([]byte, 256)
	return func() {
		for range count {
			if _, err := c.Write(p[:64]); err != nil {
				t.Fatal(err)
			}
		}
		for range count {
			if n, err := c.Read(p); err != nil || n != 64 {
				t.Fatal(n, err)
			}
		}
	}
}

// No datagram costs an allocation: not in a session, not in a burst, not on a socket for all addresses, and not even where each has a session of its own.
func TestUDPAllocs(t *testing.T) {
	for name, test := range map[string]struct {
		listen  string
		count   int
		options UDPOptions
	}{
		"a session":             {"127.0.0.1:0", 1, UDPOptions{}},
		"a burst":               {"127.0.0.1:0", 16, UDPOptions{}},
		"a burst, one by one":   {"127.0.0.1:0", 16, UDPOptions{NoSegmentation: true}},
		"for all addresses":     {"0.0.0.0:0", 4, UDPOptions{}},
		"for both versions":     {"[::]:0", 4, UDPOptions{}},
		"a session for each":    {"127.0.0.1:0", 1, UDPOptions{Requests: 1, Responses: 1}},
		"sessions for a burst":  {"127.0.0.1:0", 16, UDPOptions{Requests: 1, Responses: 1}},
		"a session for answers": {"127.0.0.1:0", 4, UDPOptions{Responses: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			h := &still{echoing(t)}
			socket := udpSocketOn(t, "udp", test.listen)
			_ = socket.SetDeadline(time.Time{})
			r, err := StartUDP(socket, h, test.options)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			ask := asker(t, r, test.count)
			// A measurement counts the whole process, and new sockets until enough of them have rested.
			testnet.Eventually(t, fmt.Sprintf("%d datagrams each way without an allocation", test.count), func() bool {
				return testing.AllocsPerRun(300, ask) == 0
			})
		})
	}
}

func BenchmarkUDPRelay(b *testing.B) {
	for name, o := range map[string]UDPOptions{"session": {}, "session for each": {Requests: 1, Responses: 1}} {
		b.Run(name, func(b *testing.B) {
			socket := udpSocketOn(b, "udp4", "127.0.0.1:0")
			_ = socket.SetDeadline(time.Time{})
			r, err := StartUDP(socket, &still{echoing(b)}, o)
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			const burst = 32
			ask := asker(b, r, burst)
			b.ReportAllocs()
			for i := 0; i < b.N; i += burst {
				ask()
			}
		})
	}
}
