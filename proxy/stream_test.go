package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/upstream"
)

// door gives the connections of an address to a Stream, as a listener does.
type door struct {
	*Stream
	addr string
}

// open starts a door that ends with the test. edit may change what a listener would have found out about a connection; nil for nothing.
func open(t testing.TB, s *StreamSite, edit func(*Inbound) bool) *door {
	t.Helper()
	if s.Listener == "" {
		s.Listener, s.Protocol = "database", "tcp"
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{Stream: NewStream(s), addr: ln.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				in := &Inbound{Conn: nc, Upstream: upstream.Caller{Client: nc.RemoteAddr().(*net.TCPAddr).AddrPort(), Server: nc.LocalAddr().(*net.TCPAddr).AddrPort()}}
				if edit == nil || edit(in) {
					d.Serve(in)
				} else {
					_ = nc.Close()
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		d.Stop()
		wg.Wait()
		d.Close()
	})
	return d
}

func (d *door) dial(t testing.TB) *testnet.Client {
	t.Helper()
	return testnet.Dial(t, d.addr)
}

// wantRefused connects and wants to be reset, which may show before or after the connection stands.
func (d *door) wantRefused(t testing.TB) {
	t.Helper()
	nc, err := net.DialTimeout("tcp", d.addr, testnet.Patience)
	if err == nil {
		testnet.NewClient(t, nc).WantReset()
	} else if !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
}

// group makes a backend of several endpoints, which are tried in their order. edit may change its options.
func group(t testing.TB, addresses []string, edit func(*upstream.Options), reg *metric.Registry) *upstream.Backend {
	t.Helper()
	return backend(t, addresses[0], func(o *upstream.Options) {
		o.Algorithm = "round_robin"
		for _, a := range addresses[1:] {
			o.Endpoints = append(o.Endpoints, upstream.EndpointOptions{Address: a, Weight: 1})
		}
		if edit != nil {
			edit(o)
		}
	}, reg)
}

// bound binds a TCP socket until the test ends, so that nobody else gets its port, and returns it with its address. Connections to it are refused.
func bound(t testing.TB) (fd int, address string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	syscall.CloseOnExec(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
}

// nobody returns an address at which connections are refused.
func nobody(t testing.TB) string {
	t.Helper()
	_, address := bound(t)
	return address
}

// blackhole returns an address that never answers who wants to connect: the queue of its socket is full, and nobody accepts.
func blackhole(t testing.TB) string {
	t.Helper()
	fd, address := bound(t)
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	full := 0
	for range 16 {
		nc, err := net.DialTimeout("tcp", address, 100*time.Millisecond)
		if err == nil {
			t.Cleanup(func() { _ = nc.Close() })
			continue
		}
		if full++; full == 2 { // once could be a machine that is busy
			return address
		}
	}
	testnet.Lacks(t, "this system has no queue that is full")
	return ""
}

// said reads n bytes of a client.
func said(c *testnet.OriginConn, n int) string {
	b := make([]byte, n)
	m, _ := io.ReadFull(c, b)
	return string(b[:m])
}

// untilEnd reads to the end of a client's bytes, and returns what ended them besides.
func untilEnd(c *testnet.OriginConn) (string, error) {
	b, err := io.ReadAll(c)
	return string(b), err
}

// blanked takes out of log lines what is not the same every time.
func blanked(lines string, addresses ...string) string {
	for i, a := range addresses {
		lines = strings.ReplaceAll(lines, a, fmt.Sprintf("ENDPOINT%d", i))
	}
	for _, r := range []struct{ what, with string }{
		{`"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`, `"time":"…"`},
		{`_ms":[0-9.]+`, `_ms":…`},
		{`127\.0\.0\.1:\d+`, `127.0.0.1:…`},
	} {
		lines = regexp.MustCompile(r.what).ReplaceAllString(lines, r.with)
	}
	return lines
}

// TestSessions takes sessions through all their ends, looks at what both sides see of them, and writes a line of the log for each.
func TestSessions(t *testing.T) {
	var lines strings.Builder
	for _, test := range []struct {
		name   string
		away   int // endpoints before the good one that refuse
		site   func(*StreamSite)
		client func(t *testing.T, d *door, c *testnet.Client)
		serve  func(c *testnet.OriginConn) error
		want   error // what the endpoint's script returns; nil for an orderly end
	}{
		{name: "client ends first", client: func(_ *testing.T, _ *door, c *testnet.Client) {
			c.Send("hello")
			c.CloseWrite()
			c.WantPrefix("late")
			c.WantEOF()
		}, serve: func(c *testnet.OriginConn) error {
			got, err := untilEnd(c)
			if got != "hello" || !c.Send("late") {
				return fmt.Errorf("received %q", got)
			}
			return err
		}},
		{name: "endpoint ends first", client: func(_ *testing.T, _ *door, c *testnet.Client) {
			c.WantPrefix("hello")
			c.WantEOF()
			c.Send("late")
			c.Close()
		}, serve: func(c *testnet.OriginConn) error {
			c.Send("hello")
			if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
				return err
			}
			got, err := untilEnd(c)
			if got != "late" {
				return fmt.Errorf("received %q", got)
			}
			return err
		}},
		{name: "client resets", client: func(_ *testing.T, _ *door, c *testnet.Client) {
			c.Send("hello")
			c.WantPrefix("hi")
			c.Reset()
		}, serve: func(c *testnet.OriginConn) error {
			said(c, 5)
			c.Send("hi")
			_, err := untilEnd(c)
			return err
		}, want: syscall.ECONNRESET},
		{name: "endpoint resets", client: func(_ *testing.T, _ *door, c *testnet.Client) {
			c.Send("hello")
			c.WantPrefix("hi")
			c.Send(".")
			c.WantReset()
		}, serve: func(c *testnet.OriginConn) error {
			said(c, 5)
			c.Send("hi")
			said(c, 1)
			c.Reset()
			return nil
		}},
		{name: "endpoint resets before it has answered", client: func(_ *testing.T, _ *door, c *testnet.Client) {
			c.Send("hello")
			c.WantReset()
		}, serve: func(c *testnet.OriginConn) error {
			said(c, 5)
			c.Reset()
			return nil
		}},
		{name: "one endpoint is away", away: 1, client: func(_ *testing.T, _ *door, c *testnet.Client) {
			c.Send("hello")
			c.CloseWrite()
			c.WantEOF()
		}, serve: func(c *testnet.OriginConn) error { _, err := untilEnd(c); return err }},
		{name: "nothing moves", site: func(s *StreamSite) { s.Idle = 50 * time.Millisecond }, client: func(_ *testing.T, _ *door, c *testnet.Client) {
			c.Send("hello")
			c.WantEOF()
		}, serve: func(c *testnet.OriginConn) error { _, err := untilEnd(c); return err }},
		{name: "lifetime", site: func(s *StreamSite) { s.Idle, s.Lifetime = time.Minute, 100*time.Millisecond }, client: func(t *testing.T, _ *door, c *testnet.Client) {
			for n := 0; ; n++ {
				if err := c.TrySend("x"); err != nil {
					return
				}
				if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
					if !errors.Is(err, syscall.ECONNRESET) || n == 0 {
						t.Errorf("after %d exchanges the end is %v, want a reset", n, err)
					}
					return
				}
			}
		}, serve: func(c *testnet.OriginConn) error {
			_, err := io.Copy(c.Conn, c)
			return err
		}, want: syscall.ECONNRESET},
		{name: "the listener ends", client: func(_ *testing.T, d *door, c *testnet.Client) {
			c.Send("hello")
			c.WantPrefix("hi")
			d.Stop()
			c.WantReset()
		}, serve: func(c *testnet.OriginConn) error {
			said(c, 5)
			c.Send("hi")
			_, err := untilEnd(c)
			return err
		}, want: syscall.ECONNRESET},
	} {
		t.Run(test.name, func(t *testing.T) {
			served := make(chan error, 1)
			o := testnet.NewOrigin(t, func(c *testnet.OriginConn) { served <- test.serve(c) })
			all := []string{}
			for range test.away {
				all = append(all, nobody(t))
			}
			all = append(all, o.Addr)
			l, text := openLog(t)
			reg := metric.NewRegistry(metric.Options{})
			s := &StreamSite{Backend: group(t, all, nil, reg), Log: l}
			if test.site != nil {
				test.site(s)
			}
			d := open(t, s, nil)
			c := d.dial(t)
			test.client(t, d, c)
			if err := testnet.Receive(t, "the end at the endpoint", served); err != test.want && !errors.Is(err, test.want) {
				t.Errorf("the endpoint saw %v, want %v", err, test.want)
			}
			line := text()
			if test.name == "lifetime" { // how much was exchanged is not the same every time
				line = regexp.MustCompile(`"(bytes_)?(received|sent)":\d+`).ReplaceAllString(line, `"${1}$2":…`)
			}
			lines.WriteString(blanked(line, all...))
		})
	}
	golden(t, "sessions.txt", lines.String())
}

// repeat answers every byte with itself.
func repeat(c *testnet.OriginConn) { _, _ = io.Copy(c.Conn, c) }

// page returns the metrics as a scraper gets them.
func page(t testing.TB, reg *metric.Registry) string {
	t.Helper()
	var b strings.Builder
	if _, err := reg.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func wantSeries(t *testing.T, reg *metric.Registry, all ...string) {
	t.Helper()
	got := page(t, reg)
	for _, want := range all {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("not %s but %q", want, valueOf(got, want[:strings.LastIndexByte(want, ' ')+1]))
		}
	}
}

// TestNoEndpoint: who cannot be passed on is reset at once (SEMANTICS 11.15), and the log says why.
func TestNoEndpoint(t *testing.T) {
	away, hole := nobody(t), blackhole(t)
	for _, test := range []struct {
		name      string
		addresses []string
		edit      func(*upstream.Options)
		want      []string
	}{
		{"all refuse", []string{away, nobody(t)}, nil,
			[]string{`"reason":"upstream_connect_refused","side":"upstream","stage":"connect","error":"dial tcp `, `"attempts":2,"bytes_received":0,"bytes_sent":0`}},
		{"one never answers", []string{hole}, func(o *upstream.Options) { o.Connect = 50 * time.Millisecond },
			[]string{`"reason":"upstream_connect_timeout","side":"upstream","stage":"connect"`, `"attempts":1`}},
		{"one refuses, one never answers", []string{away, hole}, func(o *upstream.Options) { o.Connect = 50 * time.Millisecond },
			[]string{`"reason":"upstream_connect_timeout"`, `"endpoint":"` + hole + `","attempts":2`}},
		{"none has weight", []string{away}, func(o *upstream.Options) { o.Endpoints[0].Weight = 0 },
			[]string{`"reason":"no_healthy_endpoint","side":"upstream","stage":"connect"`, `"backend":"app","attempts":0`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, text := openLog(t)
			d := open(t, &StreamSite{Backend: group(t, test.addresses, test.edit, nil), Log: l}, nil)
			d.wantRefused(t)
			line := text()
			for _, want := range test.want {
				if !strings.Contains(line, want) {
					t.Errorf("no %s in %s", want, line)
				}
			}
		})
	}
}

// TestNextEndpoint: an endpoint that never answers costs a client no more than the time to connect.
func TestNextEndpoint(t *testing.T) {
	o := testnet.NewOrigin(t, repeat)
	l, text := openLog(t)
	d := open(t, &StreamSite{Backend: group(t, []string{blackhole(t), nobody(t), o.Addr}, func(o *upstream.Options) { o.Connect = 100 * time.Millisecond }, nil), Log: l}, nil)
	c := d.dial(t)
	c.Send("hello")
	c.WantPrefix("hello")
	c.CloseWrite()
	c.WantEOF()
	if line := text(); !strings.Contains(line, `"endpoint":"`+o.Addr+`","attempts":3,"bytes_received":5,"bytes_sent":5`) || strings.Contains(line, "reason") {
		t.Error(line)
	}
}

func TestSessionMetrics(t *testing.T) {
	o := testnet.NewOrigin(t, repeat)
	reg := metric.NewRegistry(metric.Options{})
	scope := reg.Scope()
	away := nobody(t)
	s := &StreamSite{Listener: "database", Protocol: "tcp", Backend: group(t, []string{away, o.Addr}, nil, reg)}
	s.Seal(scope)
	d := open(t, s, nil)
	for range 3 {
		c := d.dial(t)
		c.Send("hello")
		c.WantPrefix("hello")
		c.CloseWrite()
		c.WantEOF()
	}
	c := d.dial(t)
	c.Send("hello")
	c.WantPrefix("hello")
	c.Reset()
	testnet.Eventually(t, "the end of the sessions", func() bool {
		return valueOf(page(t, reg), `sluice_session_duration_seconds_count{listener="database"} `) == "4" // counted last
	})
	wantSeries(t, reg,
		`sluice_sessions_total{listener="database",reason="client_reset"} 1`,
		`sluice_sessions_total{listener="database",reason="none"} 3`,
		`sluice_bytes_received_total{listener="database"} 20`,
		`sluice_bytes_sent_total{listener="database"} 20`,
		`sluice_endpoint_requests_total{backend="app",endpoint="`+o.Addr+`"} 4`,
		`sluice_endpoint_in_flight{backend="app",endpoint="`+o.Addr+`"} 0`,
		`sluice_endpoint_in_flight{backend="app",endpoint="`+away+`"} 0`,
		`sluice_endpoint_failures_total{backend="app",endpoint="`+away+`",reason="upstream_connect_refused"} 4`,
		`sluice_upstream_connections_total{backend="app",endpoint="`+o.Addr+`",state="new"} 4`,
		`sluice_upstream_duration_seconds_count{backend="app"} 4`)
}

// TestEjectedForSessions: what happens to connections counts for the ejection of an endpoint as what happens to requests does.
func TestEjectedForSessions(t *testing.T) {
	o := testnet.NewOrigin(t, repeat)
	reg := metric.NewRegistry(metric.Options{})
	for name, address := range map[string]string{
		"refuses": nobody(t),
		"resets":  testnet.NewOrigin(t, func(c *testnet.OriginConn) { said(c, 1); c.Reset() }).Addr,
	} {
		t.Run(name, func(t *testing.T) {
			edit := func(o *upstream.Options) { o.Name, o.Outlier.Consecutive, o.Outlier.Eject = name, 3, time.Hour }
			d := open(t, &StreamSite{Backend: group(t, []string{address, o.Addr}, edit, reg)}, nil)
			for range 10 {
				nc, err := net.DialTimeout("tcp", d.addr, testnet.Patience)
				if err != nil {
					t.Fatal(err)
				}
				c := testnet.NewClient(t, nc)
				c.Send("x")
				_, _ = io.ReadFull(c, make([]byte, 1)) // the echo, or the reset
				c.Close()
			}
			testnet.Eventually(t, "the ejection", func() bool {
				return strings.Contains(page(t, reg), `sluice_endpoint_ejections_total{backend="`+name+`",endpoint="`+address+`"} 1`+"\n")
			})
			before := page(t, reg)
			for range 4 {
				c := d.dial(t)
				c.Send("x")
				c.WantPrefix("x")
			}
			const series = `sluice_endpoint_requests_total{backend="%s",endpoint="%s"} `
			if at := fmt.Sprintf(series, name, address); valueOf(before, at) == "" || valueOf(before, at) != valueOf(page(t, reg), at) {
				t.Errorf("the ejected endpoint is still tried: %s, then %s", valueOf(before, at), valueOf(page(t, reg), at))
			}
		})
	}
}

// valueOf returns what follows the name of a series on a page of metrics.
func valueOf(page, series string) string {
	for line := range strings.Lines(page) {
		if v, ok := strings.CutPrefix(line, series); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// TestLeastConnections: sessions are counted for as long as they last.
func TestLeastConnections(t *testing.T) {
	a, b := testnet.NewOrigin(t, repeat), testnet.NewOrigin(t, repeat)
	reg := metric.NewRegistry(metric.Options{})
	d := open(t, &StreamSite{Backend: group(t, []string{a.Addr, b.Addr}, func(o *upstream.Options) { o.Algorithm = "least_connections" }, reg)}, nil)
	begin := func() *testnet.Client {
		c := d.dial(t)
		c.Send("x")
		c.WantPrefix("x")
		return c
	}
	all := make([]*testnet.Client, 6)
	for i := range all {
		all[i] = begin()
	}
	if a.Conns() != 3 || b.Conns() != 3 {
		t.Fatalf("%d and %d sessions, want 3 each", a.Conns(), b.Conns())
	}
	// All sessions of the first endpoint end: the next three go there.
	for i := range 3 {
		a.Conn(i).Reset()
	}
	testnet.Eventually(t, "the end of the sessions", func() bool {
		return valueOf(page(t, reg), `sluice_endpoint_in_flight{backend="app",endpoint="`+a.Addr+`"} `) == "0"
	})
	for range 3 {
		begin()
	}
	if a.Conns() != 6 || b.Conns() != 3 {
		t.Errorf("%d and %d sessions after all of the first endpoint had ended, want 6 and 3", a.Conns(), b.Conns())
	}
}

// TestConnectionLimit: connections above the limit of an endpoint wait for a place, and are refused when that lasts too long or too many do.
func TestConnectionLimit(t *testing.T) {
	o := testnet.NewOrigin(t, repeat)
	reg := metric.NewRegistry(metric.Options{})
	l, text := openLog(t)
	limit := func(wait time.Duration) func(*upstream.Options) {
		return func(o *upstream.Options) { o.MaxInFlight, o.Queue, o.QueueTimeout = 1, 1, wait }
	}
	d := open(t, &StreamSite{Backend: group(t, []string{o.Addr}, limit(testnet.Patience), reg), Log: l}, nil)
	first := d.dial(t)
	first.Send("x")
	first.WantPrefix("x")
	second := d.dial(t)
	second.Send("y")
	testnet.Eventually(t, "a connection in the queue", func() bool { return valueOf(page(t, reg), `sluice_backend_queue{backend="app"} `) == "1" })
	d.wantRefused(t) // the queue is full
	if o.Conns() != 1 {
		t.Errorf("%d connections to an endpoint that takes 1", o.Conns())
	}
	first.Close()
	second.WantPrefix("y")
	impatient := open(t, &StreamSite{Backend: group(t, []string{o.Addr}, func(o *upstream.Options) { limit(20 * time.Millisecond)(o); o.Name = "impatient" }, reg), Log: l}, nil)
	busy := impatient.dial(t)
	busy.Send("z")
	busy.WantPrefix("z")
	impatient.wantRefused(t)
	busy.Close()
	second.Close()
	wantSeries(t, reg, `sluice_queue_refused_total{backend="app",reason="queue_full"} 1`, `sluice_queue_refused_total{backend="impatient",reason="queue_timeout"} 1`)
	lines := text()
	for _, want := range []string{`"reason":"queue_full"`, `"reason":"queue_timeout"`} {
		if strings.Count(lines, want) != 1 {
			t.Errorf("not one %s in\n%s", want, lines)
		}
	}
}

// TestStop: who comes while the listener ends is not passed on any more.
func TestStop(t *testing.T) {
	o := testnet.NewOrigin(t, repeat)
	d := open(t, &StreamSite{Backend: backend(t, o.Addr, nil, nil)}, nil)
	c := d.dial(t)
	c.Send("x")
	c.WantPrefix("x")
	if n := d.Stop(); n != 1 {
		t.Errorf("%d sessions were cut, want 1", n)
	}
	c.WantReset()
	d.wantRefused(t)
	if n := d.Stop(); n != 0 {
		t.Errorf("%d sessions were cut, want none", n)
	}
}

// TestStuckPeers: a side that takes nothing of what waits for it is to blame for the end, and the other one learns that not all has arrived.
func TestStuckPeers(t *testing.T) {
	pour := func(w io.Writer) error {
		piece := make([]byte, 64<<10)
		for {
			if _, err := w.Write(piece); err != nil {
				return err
			}
		}
	}
	for _, client := range []bool{true, false} {
		ended := make(chan error, 1)
		o := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
			if client {
				ended <- pour(c.Conn)
			} else {
				<-c.TestEnds()
			}
		})
		l, text := openLog(t)
		d := open(t, &StreamSite{Backend: backend(t, o.Addr, nil, nil), Idle: 100 * time.Millisecond, Log: l}, nil)
		c := d.dial(t)
		want := `"reason":"client_timeout","side":"client","stage":"receive"`
		if !client {
			want = `"reason":"upstream_timeout_idle","side":"upstream","stage":"wait"`
			go func() { ended <- pour(c.Conn) }()
		}
		if err := testnet.Receive(t, "the end of who sends", ended); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("who sends to a peer that takes nothing is told %v", err)
		}
		if line := text(); !strings.Contains(line, want) {
			t.Errorf("no %s in %s", want, line)
		}
	}
}

// TestSwap: a session goes on as it began; the next one begins as the new configuration has it.
func TestSwap(t *testing.T) {
	a, b := testnet.NewOrigin(t, repeat), testnet.NewOrigin(t, repeat)
	d := open(t, &StreamSite{Backend: backend(t, a.Addr, nil, nil)}, nil)
	old := d.dial(t)
	old.Send("x")
	old.WantPrefix("x")
	d.Swap(&StreamSite{Backend: backend(t, b.Addr, nil, nil)})
	late := d.dial(t)
	for _, c := range []*testnet.Client{old, late} {
		c.Send("y")
		c.WantPrefix("y")
	}
	if a.Received() != "xy" || b.Received() != "y" {
		t.Errorf("the endpoints received %q and %q", a.Received(), b.Received())
	}
}
