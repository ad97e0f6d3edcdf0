package listen

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/leak"
	"github.com/sluice-gateway/sluice/metric"
)

func TestMain(m *testing.M) { leak.Main(m) }

// patience bounds waits for what must happen. Nothing depends on how long it really takes.
const patience = 30 * time.Second

// words is a codec that keeps the contract of Conn in the simplest way. A request is a line; the answer is the line with the codec's mark
// before it, and "last" behind it when it says that the connection closes. "panic" panics.
type words struct {
	mark    string
	linger  time.Duration // as http1.ServerOptions.DrainLinger
	waiting chan *Conn    // gets each connection that has become idle and looked for the drain; may be nil
	busy    chan *Conn    // gets each connection whose request has begun; may be nil
	release chan struct{} // a request goes on when it can receive from it; may be nil
}

func (w *words) ServeConn(c *Conn) {
	nc := c.NetConn()
	defer nc.Close()
	for {
		first, ok := w.await(c)
		if !ok {
			return
		}
		c.Idle(false)
		_ = nc.SetReadDeadline(time.Now().Add(patience))
		line, err := bufio.NewReader(io.MultiReader(strings.NewReader(first), nc)).ReadString('\n')
		if err != nil {
			return
		}
		if w.busy != nil {
			w.busy <- c
		}
		if w.release != nil {
			<-w.release
		}
		line = strings.TrimSpace(line)
		if line == "panic" {
			panic("asked to")
		}
		last := c.Draining()
		answer := w.mark + line
		if last {
			answer += " last"
		}
		if _, err := io.WriteString(nc, answer+"\n"); err != nil || last {
			return
		}
	}
}

// await waits for the first byte of a request.
func (w *words) await(c *Conn) (string, bool) {
	nc := c.NetConn()
	until := time.Now().Add(2 * patience)
	lingers := false
	c.Idle(true)
	for {
		_ = nc.SetReadDeadline(until)
		if c.Draining() && !lingers {
			lingers = true
			until = time.Now().Add(w.linger)
			_ = nc.SetReadDeadline(until)
		}
		if w.waiting != nil {
			select {
			case w.waiting <- c:
			default:
			}
		}
		var b [1]byte
		n, err := nc.Read(b[:])
		switch {
		case n == 1:
			return string(b[:]), true
		case !errors.Is(err, os.ErrDeadlineExceeded), !time.Now().Before(until):
			return "", false
		}
	}
}

// counters are metrics that can be read.
func counters() *Metrics {
	n := func() *metric.Counter { return metric.NewCounter(1) }
	return &Metrics{
		Open: new(metric.Gauge), Accepted: n(), TooMany: n(), TooManySource: n(), AcceptFailed: n(), Handshakes: n(), Resumed: n(),
		HandshakeFailed: n(), HandshakeTimeout: n(), HandshakeClosed: n(), Reclaimed: n(), Panicked: n(),
	}
}

// reports collects what a listener reports.
type reports struct {
	mu   sync.Mutex
	list []string
}

func (r *reports) add(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, err.Error())
}

func (r *reports) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.list...)
}

// bind opens a socket on loopback.
func bind(t testing.TB) *Socket {
	t.Helper()
	s, err := Open("test", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start starts a listener on loopback that is closed with the test.
func start(t testing.TB, o *Options) *Listener {
	t.Helper()
	return startOn(t, bind(t), o)
}

func startOn(t testing.TB, s *Socket, o *Options) *Listener {
	t.Helper()
	if o.Name == "" {
		o.Name = "test"
	}
	l := Start(s, o)
	t.Cleanup(func() {
		l.Close()
		await(t, "the end of the listener", l.Ended())
		if n := l.Open(); n != 0 {
			t.Errorf("%d connections are open after the end", n)
		}
	})
	return l
}

// await waits for a channel to be closed or to have something.
func await[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v := <-c:
		return v
	case <-timer.C:
		t.Fatalf("timeout waiting for %s", what)
	}
	panic("unreachable")
}

// eventually polls for what no event tells.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timeout waiting for %s", what)
		}
	}
}

// client is one client connection.
type client struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func connect(t testing.TB, l *Listener) *client {
	t.Helper()
	d := net.Dialer{Timeout: patience}
	nc, err := d.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return clientOf(t, nc)
}

func clientOf(t testing.TB, nc net.Conn) *client {
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return &client{Conn: nc, t: t, r: bufio.NewReader(nc)}
}

func (c *client) send(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, line+"\n"); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// receive returns the next line, or what ended the connection.
func (c *client) receive() string {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return "error: " + err.Error()
	}
	return strings.TrimSpace(line)
}

func (c *client) want(answer string) {
	c.t.Helper()
	if got := c.receive(); got != answer {
		c.t.Fatalf("got %q, want %q", got, answer)
	}
}

// wantEnd wants the connection closed without a further byte.
func (c *client) wantEnd() {
	c.t.Helper()
	if got, err := c.r.ReadString('\n'); got != "" || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("got %q, %v, want the end of the connection", got, err)
	}
}

// wantRefused connects and wants to be reset, which may show before or after the connection stands.
func wantRefused(t testing.TB, l *Listener) {
	t.Helper()
	d := net.Dialer{Timeout: patience}
	nc, err := d.Dial("tcp", l.Addr().String())
	if err == nil {
		clientOf(t, nc).wantEnd()
	} else if !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
}

// drain drains l in the background and returns a channel with the result.
func drain(ctx context.Context, l *Listener, delay time.Duration) <-chan int {
	cut := make(chan int, 1)
	go func() { cut <- l.Drain(ctx, delay) }()
	return cut
}
