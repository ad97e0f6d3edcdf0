package reload

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/test/rig"
)

const (
	streamTime  = 10 * time.Second      // of the slow downloads
	streamPause = 10 * time.Millisecond // between two pieces of one
	streamPiece = 4 << 10
	streamBytes = int(streamTime/streamPause) * streamPiece
	beat        = 20 * time.Millisecond // between two exchanges of a session
)

// content fills p with what a slow download has at an offset: every four bytes tell where they belong.
func content(p []byte, offset int) {
	for i := 0; i < len(p); i += 4 {
		binary.BigEndian.PutUint32(p[i:], uint32(offset+i)*2654435761)
	}
}

// trickle writes a slow download piece by piece, as long as w takes it.
func trickle(w func(p []byte) bool) {
	tick := time.NewTicker(streamPause)
	defer tick.Stop()
	p := make([]byte, streamPiece)
	for at := 0; at < streamBytes; at += len(p) {
		<-tick.C
		if content(p, at); !w(p) {
			return
		}
	}
}

// readContent reads a slow download to its end and reports what is wrong with it.
func readContent(r io.Reader) error {
	got, want, at := make([]byte, streamPiece), make([]byte, streamPiece), 0
	for {
		n, err := io.ReadFull(r, got)
		content(want, at)
		if !bytes.Equal(got[:n], want[:n]) {
			return fmt.Errorf("wrong bytes within %d behind byte %d", n, at)
		}
		at += n
		switch {
		case err == io.EOF && at == streamBytes:
			return nil
		case err != nil:
			return fmt.Errorf("after %d of %d bytes: %w", at, streamBytes, err)
		}
	}
}

// patient moves the deadline of a connection with every read.
type patient struct{ net.Conn }

func (p patient) Read(b []byte) (int, error) {
	_ = p.SetReadDeadline(time.Now().Add(testnet.Patience))
	return p.Conn.Read(b)
}

// parrot is a UDP endpoint that sends every datagram back behind its name.
func parrot(t *testing.T, name string) (address string) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		p := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(p)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(append([]byte(name), p[:n]...), from)
		}
	})
	t.Cleanup(func() { _ = pc.Close(); wg.Wait() })
	return pc.LocalAddr().String()
}

// echoes is an endpoint for TCP that sends everything back.
func echoes(c *testnet.OriginConn) { _, _ = io.Copy(c.Conn, c) }

// beats exchanges numbered messages over a connection, at a constant rate, until stop. It reports the first that is lost or wrong, and how many there were.
// An endpoint for datagrams says its name of two letters before each answer, and must stay the same.
func beats(nc net.Conn, size int, stop <-chan struct{}, datagrams bool) (n int, err error) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	from := "" // the endpoint that answers datagrams
	got := make([]byte, size+16)
	for ; ; n++ {
		select {
		case <-stop:
			return n, nil
		case <-tick.C:
		}
		want := bytes.Repeat([]byte(fmt.Sprintf("%08d", n)), size/8)
		if _, err := nc.Write(want); err != nil {
			return n, err
		}
		_ = nc.SetReadDeadline(time.Now().Add(testnet.Patience))
		if !datagrams {
			if _, err := io.ReadFull(nc, got[:size]); err != nil || !bytes.Equal(got[:size], want) {
				return n, fmt.Errorf("message %d: %w, or wrong: %.20q", n, err, got[:size])
			}
			continue
		}
		m, err := nc.Read(got)
		if err != nil {
			return n, fmt.Errorf("datagram %d: %w", n, err)
		}
		name, rest := string(got[:2]), got[2:m]
		if from == "" {
			from = name
		}
		if name != from || !bytes.Equal(rest, want) {
			return n, fmt.Errorf("datagram %d: %.20q of %q, want %.20q of %q", n, rest, name, want, from)
		}
	}
}

// TestStreamsOutliveReloads keeps connections, datagrams and slow downloads going while everything around them changes: not a byte may be lost or wrong.
func TestStreamsOutliveReloads(t *testing.T) {
	t.Parallel()
	const reloads, sessions = 20, 8
	var names []string
	for range 3 {
		names = append(names, testnet.NewOrigin(t, echoes).Addr)
	}
	slow := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		trickle(func(p []byte) bool {
			_, err := c.Conn.Write(p)
			return err == nil
		})
	}).Addr
	web := rig.NewOrigin(t, "web", func(c *rig.OriginConn) {
		for r := c.Request(); r != nil; r = c.Request() {
			if r.Target != "/stream" {
				c.Answer(200, "web")
				continue
			}
			c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			trickle(func(p []byte) bool { return c.Send(fmt.Sprintf("%x\r\n%s\r\n", len(p), p)) })
			c.Send("0\r\n\r\n")
		}
	}).Addr()
	parrots := []string{parrot(t, "a:"), parrot(t, "b:"), parrot(t, "c:")}
	text := func(i int) string {
		var b strings.Builder
		fmt.Fprintf(&b, `version: 1
listeners:
  database: {address: "127.0.0.1:0", protocol: tcp, backend: db, idle_timeout: %ds}
  slow: {address: "127.0.0.1:0", protocol: tcp, backend: slow}
  dns: {address: "127.0.0.1:0", protocol: udp, backend: resolvers, idle_timeout: %ds}
  web: {address: "127.0.0.1:0", protocol: http}
`, 60+i, 60+i)
		// Others come and go, also at addresses that were used before.
		if i%2 == 1 {
			fmt.Fprintf(&b, "  more-tcp: {address: \"127.0.0.1:0\", protocol: tcp, backend: db%d}\n  more-dns: {address: \"127.0.0.1:0\", protocol: udp, backend: resolvers}\n", i)
		}
		fmt.Fprintf(&b, "routes: [{name: r%d, match: {path: /%d/*}, respond: {text: x}}, {name: rest%d, backend: web}]\nbackends:\n", i, i, i%3)
		fmt.Fprintf(&b, "  web: {endpoints: [%q], timeouts: {connect: %dms}}\n  slow: {endpoints: [%q, {address: \"127.0.0.1:1\", weight: %d}]}\n", web, 1000+i, slow, i%2)
		if i%2 == 1 {
			fmt.Fprintf(&b, "  db%d: {endpoints: [%q]}\n", i, names[0])
		}
		// The backends themselves change as well: another algorithm, other limits, endpoints that go and come again.
		fmt.Fprintf(&b, "  db: {endpoints: [%q, %q], balance: %s, connections: {max: %d}}\n", names[i%3], names[(i+1)%3], []string{"round_robin", "least_connections", "random"}[i%3], 100+i)
		fmt.Fprintf(&b, "  resolvers: {endpoints: [%q, %q], balance: %s}\n", parrots[i%3], parrots[(i+1)%3], []string{"round_robin", "{algorithm: ring_hash, key: client.ip}"}[i%2])
		return b.String()
	}
	g := rig.Start(t, text(0))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var exchanged, datagrams atomic.Int64
	fail := func(what string, err error) {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	open := func(network, listener string) net.Conn {
		nc, err := net.DialTimeout(network, g.Address(listener), testnet.Patience)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		return nc
	}
	for i := range sessions {
		stream, packets := open("tcp", "database"), open("udp", "dns")
		wg.Go(func() {
			n, err := beats(stream, 8<<(i%8), stop, false)
			exchanged.Add(int64(n))
			fail(fmt.Sprint("TCP session ", i), err)
			if err == nil { // it goes on to an end in order
				_ = stream.(*net.TCPConn).CloseWrite()
				if n, err := stream.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("TCP session %d ends by %d bytes and %v", i, n, err)
				}
			}
		})
		wg.Go(func() {
			n, err := beats(packets, 8<<(i%7), stop, true)
			datagrams.Add(int64(n))
			fail(fmt.Sprint("UDP session ", i), err)
		})
	}
	down := make(chan struct{})
	var downloads sync.WaitGroup
	stream, page := open("tcp", "slow"), open("tcp", "web")
	downloads.Go(func() { fail("slow download over TCP", readContent(patient{stream})) })
	downloads.Go(func() {
		fail("slow download over HTTP", func() error {
			if _, err := io.WriteString(page, "GET /stream HTTP/1.1\r\nHost: a.test\r\n\r\n"); err != nil {
				return err
			}
			r, err := http.ReadResponse(bufio.NewReader(patient{page}), nil)
			if err != nil {
				return err
			}
			defer r.Body.Close()
			return readContent(r.Body)
		}())
	})
	go func() {
		defer close(down)
		downloads.Wait()
	}()
	begun := time.Now()
	tick := time.NewTicker(streamTime / (reloads + 2))
	defer tick.Stop()
	for i := range reloads {
		<-tick.C
		if err := g.Reload(text(i + 1)); err != nil {
			t.Errorf("reload %d: %v", i+1, err)
		}
		// New ones are served by what is new.
		c := g.Dial("database")
		c.Send("new")
		c.WantPrefix("new")
		c.Close()
	}
	select {
	case <-down:
		t.Errorf("the downloads ended after %s, before the reloads did", time.Since(begun))
	default:
	}
	testnet.Receive(t, "the end of the downloads", down)
	close(stop)
	wg.Wait()
	for _, series := range []string{`sluice_sessions_total{listener="database",reason="client_reset"}`, `sluice_sessions_total{listener="database",reason="upstream_reset"}`} {
		if got := g.Metric(series); got != "0" && got != "" {
			t.Errorf("%s is %s", series, got)
		}
	}
	if got := g.Metric(`sluice_connections_total{listener="dns"}`); got != fmt.Sprint(sessions) {
		t.Errorf("%s UDP sessions were opened for %d clients", got, sessions)
	}
	// At the constant rate each session would have had streamTime/beat exchanges; a machine that is busy has fewer.
	t.Logf("%d exchanges over %d TCP sessions, %d over as many UDP sessions, two downloads of %d bytes; %d reloads", exchanged.Load(), sessions, datagrams.Load(), streamBytes, reloads)
	if exchanged.Load() < sessions*50 || datagrams.Load() < sessions*50 {
		t.Errorf("the load was not what it should be")
	}
}

// TestStreamListenerLeaves: the sessions of a listener that goes have the time of a shutdown to end, and are cut then, so that nobody takes it for an end
// in order; those of others notice nothing.
func TestStreamListenerLeaves(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	o := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		_, err := io.Copy(c.Conn, c)
		if c.Number == 1 {
			ended <- err
		}
	})
	p := parrot(t, "a:")
	stays, leaves, dns := freeAddress(t), freeAddress(t), freeAddress(t)
	text := func(more string) string {
		return fmt.Sprintf("version: 1\nshutdown: {timeout: 1s}\nlisteners:\n  stays: {address: %q, protocol: tcp, backend: db}\n%s\nbackends: {db: {endpoints: [%q]}, resolvers: {endpoints: [%q]}}\n",
			stays, more, o.Addr, p)
	}
	both := text(fmt.Sprintf("  leaves: {address: %q, protocol: tcp, backend: db}\n  dns: {address: %q, protocol: udp, backend: resolvers}", leaves, dns))
	g := rig.Start(t, both)
	begin := func(listener string) *rig.Client {
		c := g.Dial(listener)
		c.Send("x")
		c.WantPrefix("x")
		return c
	}
	ends, cut, other := begin("leaves"), begin("leaves"), begin("stays") // cut is connection 1 of the endpoint
	nc, err := net.Dial("udp", dns)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ask := func() (string, error) {
		_ = nc.SetDeadline(time.Now().Add(testnet.Patience))
		if _, err := nc.Write([]byte("x")); err != nil {
			return "", err
		}
		got := make([]byte, 16)
		n, err := nc.Read(got)
		return string(got[:n]), err
	}
	if got, err := ask(); got != "a:x" {
		t.Fatalf("%q, %v", got, err)
	}
	began := time.Now()
	if err := g.Reload(text("")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*rig.Client{ends, cut, other} {
		c.Send("still")
		c.WantPrefix("still")
	}
	if got, err := ask(); got != "a:x" {
		t.Errorf("a UDP client of a listener that goes was answered %q, %v", got, err)
	}
	ends.CloseWrite()
	ends.WantEOF()
	cut.WantReset()
	if took := time.Since(began); took < time.Second {
		t.Errorf("a session was cut after %s, before its time was up", took)
	}
	if err := testnet.Receive(t, "the end at the endpoint", ended); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the endpoint saw %v of a session that was cut, want a reset", err)
	}
	testnet.Eventually(t, "what is said of it", func() bool {
		told := g.Reports.String()
		return strings.Contains(told, `listener "leaves": 1 sessions were cut off`) && strings.Contains(told, `listener "dns": 1 sessions were cut off`)
	})
	refusedAt(t, leaves)
	other.Send("still")
	other.WantPrefix("still")
	// Both may come back.
	if err := g.Reload(both); err != nil {
		t.Fatal(err)
	}
	begin("leaves")
	if got, err := ask(); got != "a:x" {
		t.Errorf("the UDP listener that is back: %q, %v", got, err)
	}
}
