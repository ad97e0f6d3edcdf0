package listen

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/metric"
)

// told is a codec that answers each line with what is known of its client.
type told struct{ words }

func (w *told) ServeConn(c *Conn) {
	inner := w.words
	inner.mark = fmt.Sprintf("%s>%s %q ", c.Remote(), c.Local(), c.proxyTLVs())
	inner.ServeConn(c)
}

var (
	loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	nowhere  = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
)

func proxyCounters() *Metrics {
	m := counters()
	for _, c := range []**metric.Counter{&m.ProxyAccepted, &m.ProxyUntrusted, &m.ProxyMissing, &m.ProxyInvalid, &m.ProxyTimeout} {
		*c = metric.NewCounter(1)
	}
	return m
}

// counted tells which of the counters of PROXY headers have moved.
func counted(m *Metrics) string {
	var all []string
	for _, c := range []struct {
		name string
		c    *metric.Counter
	}{{"accepted", m.ProxyAccepted}, {"untrusted", m.ProxyUntrusted}, {"missing", m.ProxyMissing}, {"invalid", m.ProxyInvalid}, {"timeout", m.ProxyTimeout}} {
		if n := c.c.Value(); n > 0 {
			all = append(all, fmt.Sprintf("%s %d", c.name, n))
		}
	}
	return strings.Join(all, ", ")
}

// v2 is a header of version 2.
func v2(command, family byte, body string) string {
	return "\r\n\r\n\x00\r\nQUIT\n" + string([]byte{command, family}) + string(binary.BigEndian.AppendUint16(nil, uint16(len(body)))) + body
}

const (
	v2Addresses = "\xc0\x00\x02\x07\xc6\x33\x64\x01\x12\x67\x01\xbb" // 192.0.2.7:4711 > 198.51.100.1:443
	v1Header    = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"
	authority   = "\x02\x00\x0cshop.example"
)

func TestProxyHeaders(t *testing.T) {
	const from = `192.0.2.7:4711>198.51.100.1:443 `
	six := strings.Repeat("\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", 2) + "\x12\x67\x01\xbb"
	crc := v2(0x21, 0x11, v2Addresses+"\x03\x00\x04\x01\x02\x03\x04")
	for _, test := range []struct {
		name    string
		mode    ProxyMode
		trusted []netip.Prefix
		send    string // before the line "x"
		end     bool   // the client says nothing more
		want    string // before the line in the answer; "own" for the connection's own addresses, "" for the end of the connection
		counted string
	}{
		{"v1", ProxyRequired, loopback, v1Header, false, from + `"" `, "accepted 1"},
		{"v1, IPv6", ProxyRequired, loopback, "PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n", false, `[2001:db8::1]:4711>[2001:db8::2]:443 "" `, "accepted 1"},
		{"v1, unknown", ProxyRequired, loopback, "PROXY UNKNOWN\r\n", false, "own", "accepted 1"},
		{"v1, optional", ProxyOptional, loopback, v1Header, false, from + `"" `, "accepted 1"},
		{"v2", ProxyRequired, loopback, v2(0x21, 0x11, v2Addresses), false, from + `"" `, "accepted 1"},
		{"v2, IPv6", ProxyOptional, loopback, v2(0x21, 0x21, six), false, `[2001:db8::1]:4711>[2001:db8::1]:443 "" `, "accepted 1"},
		{"v2 with TLVs", ProxyRequired, loopback, v2(0x21, 0x11, v2Addresses+authority), false, from + fmt.Sprintf("%q ", authority), "accepted 1"},
		{"v2, local", ProxyRequired, loopback, v2(0x20, 0x00, ""), false, "own", "accepted 1"},
		{"v2, local with addresses", ProxyRequired, loopback, v2(0x20, 0x11, v2Addresses), false, "own", "accepted 1"},
		{"v2, Unix", ProxyRequired, loopback, v2(0x21, 0x31, strings.Repeat("\x00", 216)), false, "own", "accepted 1"},
		{"none, optional", ProxyOptional, loopback, "", false, "own", ""},
		{"none, untrusted, optional", ProxyOptional, nowhere, "", false, "own", ""},
		{"begins like one, optional", ProxyOptional, loopback, "PROXX", false, "own", ""},
		{"begins like one, untrusted", ProxyOptional, nowhere, "PROXX", false, "own", ""},
		{"off", ProxyOff, loopback, "", false, "own", ""},

		{"untrusted v1", ProxyOptional, nowhere, v1Header, false, "", "untrusted 1"},
		{"untrusted v2", ProxyOptional, nowhere, v2(0x21, 0x11, v2Addresses), false, "", "untrusted 1"},
		{"untrusted, broken", ProxyOptional, nowhere, "PROXY nonsense\r\n", false, "", "untrusted 1"},
		{"untrusted, required", ProxyRequired, nowhere, v1Header, false, "", "untrusted 1"},
		{"untrusted says nothing, required", ProxyRequired, nowhere, "", false, "", "untrusted 1"},
		{"missing", ProxyRequired, loopback, "GET / HTTP/1.1\r\n", false, "", "missing 1"},
		{"TLS in place of it", ProxyRequired, loopback, "\x16\x03\x01\x02\x00", false, "", "missing 1"},
		{"two of them", ProxyRequired, loopback, v1Header + v1Header, false, from + `"" PROXY TCP4 192.0.2.7 198.51.100.1 4711 443`, "accepted 1"},
		{"garbage v1", ProxyOptional, loopback, "PROXY TCP4 192.0.2.7\r\n", false, "", "invalid 1"},
		{"v1 with odd addresses", ProxyRequired, loopback, "PROXY TCP4 192.0.2.07 198.51.100.1 4711 443\r\n", false, "", "invalid 1"},
		{"v1 without an end", ProxyRequired, loopback, "PROXY TCP4 " + strings.Repeat("1", 200), false, "", "invalid 1"},
		{"v2, version 3", ProxyRequired, loopback, v2(0x31, 0x11, v2Addresses), false, "", "invalid 1"},
		{"v2, too short", ProxyRequired, loopback, v2(0x21, 0x11, v2Addresses[:11]), false, "", "invalid 1"},
		{"v2, bad TLV", ProxyRequired, loopback, v2(0x21, 0x11, v2Addresses+"\x02\x00\xff"), false, "", "invalid 1"},
		{"v2, bad checksum", ProxyRequired, loopback, crc, false, "", "invalid 1"},
		{"v2, 60 KB of TLVs", ProxyRequired, loopback, v2(0x21, 0x11, v2Addresses+"\x04\xea\x60"+strings.Repeat("x", 60_000)), false, "", "invalid 1"},
		{"cut v1", ProxyRequired, loopback, v1Header[:20], true, "", ""},
		{"cut v2", ProxyRequired, loopback, v2(0x21, 0x11, v2Addresses)[:20], true, "", ""},
		{"nothing", ProxyRequired, loopback, "", true, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, told := proxyCounters(), &told{}
			l := start(t, &Options{Protocols: Protocols{HTTP1: told}, Proxy: ProxyOptions{Mode: test.mode, Trusted: test.trusted}, Metrics: m, HandshakeTimeout: patience})
			line := "x"
			nc, err := (&net.Dialer{Timeout: patience}).Dial("tcp", l.Addr().String())
			if err != nil {
				// Who need not say anything to be refused may be before the connection stands.
				if test.counted != "untrusted 1" || test.mode != ProxyRequired || !errors.Is(err, syscall.ECONNRESET) {
					t.Fatal(err)
				}
				nc, _ = net.Pipe()
				_ = nc.Close()
			}
			c := clientOf(t, nc)
			if test.end {
				_, _ = io.WriteString(c.Conn, test.send)
				_ = c.Conn.(*net.TCPConn).CloseWrite()
			} else {
				_, _ = io.WriteString(c.Conn, test.send+"x\n") // header and data in one segment; it may be reset already
				if strings.HasPrefix(test.send, "PROXX") {
					line = "PROXXx"
				}
			}
			if test.want == "" {
				c.wantEnd()
				eventually(t, "the end of the connection", func() bool { return l.Open() == 0 })
			} else {
				want := test.want
				if want == "own" {
					want = fmt.Sprintf("%s>%s %q ", c.LocalAddr(), l.Addr(), "")
				}
				if strings.HasSuffix(want, " ") {
					want += line
				}
				c.want(want)
			}
			if got := counted(m); got != test.counted {
				t.Errorf("counted %q, want %q", got, test.counted)
			}
		})
	}
}

// A header may come in pieces; what follows it does too.
func TestProxyHeaderInPieces(t *testing.T) {
	l := start(t, &Options{Protocols: Protocols{HTTP1: &told{}}, Proxy: ProxyOptions{Mode: ProxyOptional, Trusted: loopback}, HandshakeTimeout: patience})
	for _, header := range []string{v1Header, v2(0x21, 0x11, v2Addresses+authority)} {
		c := connect(t, l)
		for i := range header {
			_, _ = io.WriteString(c.Conn, header[i:i+1])
		}
		c.send("x")
		if got := c.receive(); !strings.HasPrefix(got, "192.0.2.7:4711>198.51.100.1:443 ") || !strings.HasSuffix(got, " x") {
			t.Errorf("%q", got)
		}
		c.send("y")
		if got := c.receive(); !strings.HasSuffix(got, " y") {
			t.Errorf("%q", got)
		}
	}
}

// Who is not trusted is refused after twelve bytes that begin as a header does, and served at the byte that makes it none.
func TestUntrustedInPieces(t *testing.T) {
	m := proxyCounters()
	l := start(t, &Options{Protocols: Protocols{HTTP1: &told{}}, Proxy: ProxyOptions{Mode: ProxyOptional, Trusted: nowhere}, Metrics: m, HandshakeTimeout: patience})
	for _, header := range []string{v1Header[:12], "\r\n\r\n\x00\r\nQUIT\n"} {
		c := connect(t, l)
		for i := range header {
			_, _ = io.WriteString(c.Conn, header[i:i+1])
		}
		c.wantEnd()
	}
	c := connect(t, l)
	for _, b := range "PROXx" {
		_, _ = io.WriteString(c.Conn, string(b))
	}
	c.send("y")
	if got := c.receive(); !strings.HasSuffix(got, " PROXxy") || counted(m) != "untrusted 2" {
		t.Errorf("%q; counted %q", got, counted(m))
	}
}

// Stalls end: of who says nothing after the wait for a first byte, of who has begun after the time of a handshake, whatever the byte rate.
func TestProxyHeaderStalls(t *testing.T) {
	const short = 150 * time.Millisecond
	for _, test := range []struct {
		name      string
		mode      ProxyMode
		wait      time.Duration
		handshake time.Duration
		first     string // sent at once
		drip      string // sent again and again
	}{
		{"required, nothing", ProxyRequired, patience, short, "", ""},
		{"optional, nothing", ProxyOptional, short, short, "", ""},
		{"required, v1 byte by byte", ProxyRequired, patience, short, "PROXY UNKNOWN ", "x"},
		{"optional, v1 byte by byte", ProxyOptional, patience, short, "PROXY UNKNOWN ", "x"},
		{"optional, v2 byte by byte", ProxyOptional, patience, short, v2(0x21, 0x11, strings.Repeat("x", 4000))[:16], "x"},
		{"optional, half a signature", ProxyOptional, patience, short, "PRO", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := proxyCounters()
			l := start(t, &Options{
				Protocols: Protocols{HTTP1: &told{}}, Proxy: ProxyOptions{Mode: test.mode, Trusted: loopback, Wait: test.wait}, Metrics: m, HandshakeTimeout: test.handshake,
			})
			began := time.Now()
			c := connect(t, l)
			_, _ = io.WriteString(c.Conn, test.first)
			// More than the 107 bytes of version 1 are a fault and no stall.
			for n := 0; test.drip != "" && l.Open() > 0 && n < 80; n++ {
				_, _ = io.WriteString(c.Conn, test.drip)
				time.Sleep(5 * time.Millisecond)
			}
			c.wantEnd()
			if took := time.Since(began); took < short || counted(m) != "timeout 1" {
				t.Errorf("ended after %s, counted %q; want a timeout after %s", took, counted(m), short)
			}
		})
	}
}

// A header before TLS: the handshake comes behind it, and both share one deadline.
func TestProxyHeaderBeforeTLS(t *testing.T) {
	m, secret := proxyCounters(), store(t).Config(tls.VersionTLS12)
	l := start(t, &Options{
		Protocols: Protocols{HTTP1: &told{}}, Proxy: ProxyOptions{Mode: ProxyRequired, Trusted: loopback}, Metrics: m, HandshakeTimeout: 250 * time.Millisecond, TLS: secret,
	})
	c := connect(t, l)
	if _, err := io.WriteString(c.Conn, v1Header); err != nil {
		t.Fatal(err)
	}
	secured := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
	if err := secured.Handshake(); err != nil {
		t.Fatal(err)
	}
	s := clientOf(t, secured)
	s.send("x")
	s.want(`192.0.2.7:4711>198.51.100.1:443 "" x`)
	began := time.Now()
	stalled := connect(t, l)
	for i := 0; i < len(v1Header)-2; i++ {
		_, _ = io.WriteString(stalled.Conn, v1Header[i:i+1])
		time.Sleep(3 * time.Millisecond)
	}
	_, _ = io.WriteString(stalled.Conn, "\r\n\x16\x03\x01")
	stalled.wantEnd()
	if took := time.Since(began); took < 250*time.Millisecond || took > patience {
		t.Errorf("a handshake that stalls behind its header ended after %s", took)
	}
	if m.HandshakeTimeout.Value()+m.ProxyTimeout.Value() != 1 {
		t.Errorf("%d and %d timeouts are counted, want one", m.HandshakeTimeout.Value(), m.ProxyTimeout.Value())
	}
}

// Who waits for the first byte of a client is idle: a drain, and the need for room, end it. That is no time-out of the client's.
func TestProxyWaitIsIdle(t *testing.T) {
	m := proxyCounters()
	l := start(t, &Options{
		Protocols: Protocols{HTTP1: &told{}}, Proxy: ProxyOptions{Mode: ProxyOptional, Trusted: loopback, Wait: patience, Linger: time.Millisecond}, HandshakeTimeout: patience, MaxConnections: 1,
		Metrics: m,
	})
	waiting := func() *client {
		c := connect(t, l)
		eventually(t, "the connection to be idle", func() bool {
			all := l.conns.all()
			return len(all) == 1 && all[0].isIdle() && all[0].remote.String() == c.LocalAddr().String()
		})
		return c
	}
	first := waiting()
	second := connect(t, l)
	first.wantEnd()
	second.send("x")
	if got := second.receive(); !strings.HasSuffix(got, " x") {
		t.Errorf("%q", got)
	}
	second.Close()
	eventually(t, "the end of the connection", func() bool { return l.Open() == 0 })
	third := waiting()
	cut := drain(t.Context(), l, 0)
	third.wantEnd()
	if n := await(t, "the drain", cut); n != 0 {
		t.Errorf("%d connections were cut", n)
	}
	if got := counted(m); got != "" {
		t.Errorf("counted %q, want nothing", got)
	}
}

// A proxy in front has many connections for many clients: bounds by source are not for it, and hold for everyone else.
func TestPerSourceBehindProxy(t *testing.T) {
	o := &Options{Protocols: Protocols{HTTP1: &told{}}, Proxy: ProxyOptions{Mode: ProxyOptional, Trusted: loopback}, MaxPerSource: 1, HandshakeTimeout: patience}
	l := start(t, o)
	for range 3 {
		c := connect(t, l)
		_, _ = io.WriteString(c.Conn, v1Header)
		c.send("x")
		c.want(`192.0.2.7:4711>198.51.100.1:443 "" x`)
	}
	strict := *o
	strict.Proxy.Trusted = nowhere
	l = start(t, &strict)
	c := connect(t, l)
	c.send("x")
	c.receive()
	wantRefused(t, l)
}

// What is told of refusals goes to the operator with the address and the cause.
func TestProxyRefusalsAreReported(t *testing.T) {
	var told reports
	l := start(t, &Options{Protocols: Protocols{HTTP1: &words{}}, Proxy: ProxyOptions{Mode: ProxyRequired, Trusted: loopback}, Report: told.add, HandshakeTimeout: patience})
	c := connect(t, l)
	c.send("GET / HTTP/1.1")
	c.wantEnd()
	eventually(t, "the report", func() bool { return len(told.all()) == 1 })
	if got := told.all()[0]; !strings.Contains(got, "127.0.0.1") || !strings.Contains(got, "proxy_protocol: required") {
		t.Errorf("reported %q", got)
	}
}

// A client that has begun, or is about to, when the listener ends is served, as one without a header is: see TestRequestRacesDrain.
func TestProxyWaitRacesDrain(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 20
	}
	for round := range rounds {
		l := Start(bind(t), &Options{
			Name: "test", Protocols: Protocols{HTTP1: &words{linger: 2 * patience}}, HandshakeTimeout: patience,
			Proxy: ProxyOptions{Mode: ProxyOptional, Trusted: loopback, Wait: patience, Linger: 2 * patience},
		})
		var clients [4]*client
		for i := range clients {
			clients[i] = connect(t, l)
		}
		var wg sync.WaitGroup
		begin := make(chan struct{})
		for i, c := range clients {
			spin := rand.IntN(200)
			wg.Go(func() {
				<-begin
				for range spin * 20 {
					_ = l.draining.Load()
				}
				said := "x\n"
				if i%2 == 0 {
					said = v1Header + said
				}
				_, _ = io.WriteString(c, said[:1]) // in two pieces, so that a wake-up can come in the middle of the header
				_, _ = io.WriteString(c, said[1:])
				got := c.receive()
				if got == "x" { // before the drain
					_, _ = io.WriteString(c, "y\n")
					got = c.receive()
				}
				if got == "y" {
					for !l.draining.Load() {
						time.Sleep(10 * time.Microsecond)
					}
					_, _ = io.WriteString(c, "z\n")
					got = c.receive()
				}
				if !strings.HasSuffix(got, " last") {
					t.Errorf("round %d, client %d: got %q, want an answer that is the last", round, i, got)
				}
			})
		}
		close(begin)
		cut := l.Drain(t.Context(), 0)
		wg.Wait()
		if cut != 0 || t.Failed() {
			t.Fatalf("round %d: %d connections cut, want 0", round, cut)
		}
		await(t, "the end", l.Ended())
	}
}

// Who stands in the queue with all that he has to say when the listener ends is served.
func TestProxyDrainServesTheQueue(t *testing.T) {
	for _, mode := range []ProxyMode{ProxyOptional, ProxyRequired} {
		s := bind(t)
		g := &gate{Listener: s.ln, open: make(chan struct{})}
		s.ln = g
		l := startOn(t, s, &Options{
			Protocols: Protocols{HTTP1: &words{linger: 2 * patience}}, Proxy: ProxyOptions{Mode: mode, Trusted: loopback, Linger: 2 * patience}, HandshakeTimeout: patience,
		})
		var clients []*client
		for i := range 20 {
			c := connect(t, l)
			c.send(v1Header + fmt.Sprint(i))
			clients = append(clients, c)
		}
		done := drain(t.Context(), l, 0)
		eventually(t, "the drain", func() bool {
			select {
			case <-l.stop:
				return true
			default:
				return false
			}
		})
		close(g.open)
		for i, c := range clients {
			c.want(fmt.Sprint(i, " last"))
			c.wantEnd()
		}
		if cut := await(t, "the drain", done); cut != 0 {
			t.Errorf("mode %d: %d cut, want 0", mode, cut)
		}
	}
}
