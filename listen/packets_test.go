package listen

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/stream"
)

// mirrors is a handler of datagrams that leads every client to one endpoint.
type mirrors struct {
	endpoint netip.AddrPort

	mu   sync.Mutex
	ends []stream.UDPEnd
	from []netip.AddrPort // the addresses that were asked
}

func (m *mirrors) Open(_, local netip.AddrPort, _ []byte) (stream.UDPSession, netip.AddrPort, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.from = append(m.from, local)
	return m, m.endpoint, true
}

func (*mirrors) Usable() bool { return true }

func (m *mirrors) End(r stream.UDPResult) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ends = append(m.ends, r.End)
}

func (m *mirrors) ended() []stream.UDPEnd {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.ends)
}

// mirror starts an endpoint that sends every datagram back with its mark.
func mirror(t testing.TB, mark string) *mirrors {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		p := make([]byte, 2048)
		for {
			n, from, err := c.ReadFromUDPAddrPort(p)
			if err != nil {
				return
			}
			_, _ = c.WriteToUDPAddrPort(append([]byte(mark), p[:n]...), from)
		}
	})
	t.Cleanup(func() { _ = c.Close(); done.Wait() })
	return &mirrors{endpoint: c.LocalAddr().(*net.UDPAddr).AddrPort()}
}

func startPackets(t testing.TB, address string, h stream.UDPHandler, o stream.UDPOptions) *Packets {
	t.Helper()
	s, err := OpenPackets("dns", address)
	if err != nil {
		t.Fatal(err)
	}
	p, err := StartPackets(s, h, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		p.Drain(ctx, 0)
	})
	return p
}

// asks sends a datagram to an address and returns the answer. The socket is connected: only what comes from that address counts.
func asks(t testing.TB, address, text string) string {
	t.Helper()
	nc, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	return says(t, nc, text)
}

func says(t testing.TB, nc net.Conn, text string) string {
	t.Helper()
	_ = nc.SetDeadline(time.Now().Add(patience))
	p := make([]byte, 2048)
	if _, err := nc.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	n, err := nc.Read(p)
	if err != nil {
		t.Fatalf("answer of %s: %v", nc.RemoteAddr(), err)
	}
	return string(p[:n])
}

func TestPackets(t *testing.T) {
	a, b := mirror(t, "a:"), mirror(t, "b:")
	p := startPackets(t, "127.0.0.1:0", a, stream.UDPOptions{})
	if p.Key() != (Key{"udp", "127.0.0.1:0"}) || p.Addr().Network() != "udp" {
		t.Errorf("key %v, address %v", p.Key(), p.Addr())
	}
	nc, err := net.Dial("udp", p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got := says(t, nc, "x"); got != "a:x" {
		t.Errorf("answer %q", got)
	}
	p.Swap(b, stream.UDPOptions{})
	if got := says(t, nc, "y"); got != "a:y" {
		t.Errorf("a client that was there was answered %q", got)
	}
	if got := asks(t, p.Addr().String(), "z"); got != "b:z" {
		t.Errorf("a new client was answered %q", got)
	}
	if s := p.Stats(); s.Sessions != 2 || s.Opened != 2 || s.Requests != 3 || s.Replies != 3 {
		t.Errorf("%+v", s)
	}
}

// A reply leaves from the address that was asked, also where the socket takes datagrams for all addresses of the machine (security checklist, case 61).
func TestPacketsAnswerFromWhereTheyWereAsked(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only on Linux is all of 127.0.0.0/8 the machine's own")
	}
	m := mirror(t, "")
	p := startPackets(t, "0.0.0.0:0", m, stream.UDPOptions{})
	_, port, _ := net.SplitHostPort(p.Addr().String())
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "127.3.2.1"} {
		if got := asks(t, net.JoinHostPort(host, port), host); got != host {
			t.Errorf("answer %q of %s", got, host)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, from := range m.from {
		if want := []string{"127.0.0.1", "127.0.0.2", "127.3.2.1"}[i]; from.String() != net.JoinHostPort(want, port) {
			t.Errorf("client %d has asked %s, want %s", i, from, want)
		}
	}
}

// A listener that ends lets its clients go on until they are idle, takes no new ones, and cuts the rest when the time is up.
func TestDrainPackets(t *testing.T) {
	m := mirror(t, "")
	p := startPackets(t, "127.0.0.1:0", m, stream.UDPOptions{Idle: patience})
	nc, err := net.Dial("udp", p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	says(t, nc, "x")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cut := make(chan int, 1)
	go func() { cut <- p.Drain(ctx, 0) }()
	eventually(t, "a datagram of a new client to be dropped", func() bool {
		stranger, err := net.Dial("udp", p.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = stranger.Write([]byte("x"))
		_ = stranger.Close()
		s := p.Stats()
		return s.DroppedFor(stream.UDPDraining) > 0
	})
	if got := says(t, nc, "y"); got != "y" {
		t.Errorf("a client that was there was answered %q", got)
	}
	cancel()
	if n := await(t, "the end", cut); n == 0 {
		t.Error("no session was cut")
	}
	if ends := m.ended(); len(ends) == 0 || ends[0] != stream.UDPClosed {
		t.Errorf("the sessions ended by %v", ends)
	}
	// The address is free again.
	s, err := OpenPackets("dns", p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
}

// Who is idle ends the drain before its time.
func TestDrainPacketsByIdle(t *testing.T) {
	m := mirror(t, "")
	p := startPackets(t, "127.0.0.1:0", m, stream.UDPOptions{Idle: 20 * time.Millisecond})
	asks(t, p.Addr().String(), "x")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if n := p.Drain(ctx, 0); n != 0 || ctx.Err() != nil {
		t.Errorf("%d sessions were cut", n)
	}
	if ends := m.ended(); len(ends) != 1 || ends[0] != stream.UDPIdle {
		t.Errorf("the sessions ended by %v", ends)
	}
}

func TestOpenPackets(t *testing.T) {
	s, err := OpenPackets("dns", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	address := s.conn.LocalAddr().String()
	for _, test := range []struct{ address, want string }{
		{"nonsense", "host:port"}, {":99999", "no valid port"}, {address, "in use"},
	} {
		if s, err := OpenPackets("dns", test.address); err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), `listener "dns"`) {
			t.Errorf("%s: %v, want an error about %q", test.address, err, test.want)
			if err == nil {
				_ = s.Close()
			}
		}
	}
	// TCP and UDP of one port are two things; somebody else may have the port for TCP.
	for range 50 {
		s, err := OpenPackets("dns", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := Open("dns", s.conn.LocalAddr().String())
		_ = s.Close()
		if err == nil {
			_ = tcp.Close()
			return
		}
	}
	t.Error("no port can be had for TCP that is used for UDP")
}
