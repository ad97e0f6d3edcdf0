package admin

import (
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// serve starts a server on loopback. It is closed at the end of the test.
func serve(t *testing.T, s Source) (v *Server, address string, reports func() string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var told strings.Builder
	v = Start(ln, s, func(line string) {
		mu.Lock()
		defer mu.Unlock()
		told.WriteString(line + "\n")
	})
	t.Cleanup(func() { v.Close(0) })
	return v, ln.Addr().String(), func() string {
		mu.Lock()
		defer mu.Unlock()
		return told.String()
	}
}

const request = " HTTP/1.1\r\nHost: admin.localhost\r\n\r\n"

func TestServerKeepsConnections(t *testing.T) {
	v, address, reports := serve(t, source(true, false))
	c := testnet.Dial(t, address)
	for _, path := range []string{"/healthz", "/metrics", "/readyz"} {
		if r := c.Do("GET", "GET "+path+request); r.Status != 200 {
			t.Errorf("%s: %d %s", path, r.Status, r.Body)
		}
	}
	v.Close(testnet.Patience)
	c.WantEOF()
	if _, err := net.DialTimeout("tcp", address, testnet.Patience); err == nil {
		t.Error("still listening")
	}
	if got := reports(); got != "" {
		t.Errorf("reports: %s", got)
	}
}

// TestCloseWaits for a handler that runs, as long as it may.
func TestCloseWaits(t *testing.T) {
	inside, open := make(chan struct{}), make(chan struct{})
	s := source(true, false)
	s.Ready = func() bool { close(inside); <-open; return true }
	v, address, _ := serve(t, s)
	c := testnet.Dial(t, address)
	c.Send("GET /readyz" + request)
	testnet.Receive(t, "the handler", inside)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		v.Close(testnet.Patience)
	}()
	testnet.Eventually(t, "the end of the socket", func() bool {
		nc, err := net.DialTimeout("tcp", address, testnet.Patience)
		if err == nil {
			_ = nc.Close()
		}
		return err != nil
	})
	select {
	case <-closed:
		t.Error("Close did not wait for the handler")
	default:
	}
	close(open)
	if r := c.ReadResponse("GET"); r.Status != 200 {
		t.Errorf("answer %+v", r)
	}
	testnet.Receive(t, "the end of Close", closed)
}

// TestCloseCuts what takes longer than the grace, and waits until it has noticed.
func TestCloseCuts(t *testing.T) {
	v, address, _ := serve(t, source(true, false))
	c := testnet.Dial(t, address)
	c.Send("GET /debug/pprof/goroutine?seconds=200" + request)
	idle := testnet.Dial(t, address)
	if r := idle.Do("GET", "GET /healthz"+request); r.Status != 200 {
		t.Fatalf("answer %+v", r)
	}
	began := time.Now()
	v.Close(time.Millisecond)
	if waited := time.Since(began); waited > testnet.Patience {
		t.Errorf("Close took %s", waited)
	}
	if r, err := c.TryResponse("GET"); err == nil && r.Status == 200 {
		t.Errorf("a profile of 200 seconds ended well: %+v", r)
	}
	v.Close(0)
}

// TestAcceptErrorIsReported: a socket that fails does not fail in silence.
func TestAcceptErrorIsReported(t *testing.T) {
	told := make(chan string, 1)
	v := Start(brokenListener{}, source(true, false), func(line string) { told <- line })
	if got := testnet.Receive(t, "the report", told); got != "admin: accept: broken" {
		t.Errorf("report %q", got)
	}
	v.Close(0)
}

type brokenListener struct{}

func (brokenListener) Accept() (net.Conn, error) { return nil, errors.New("accept: broken") }
func (brokenListener) Close() error              { return nil }
func (brokenListener) Addr() net.Addr            { return &net.TCPAddr{} }

func TestHeaderIsBounded(t *testing.T) {
	_, address, _ := serve(t, source(true, false))
	c := testnet.Dial(t, address)
	_ = c.TrySend("GET /healthz HTTP/1.1\r\nHost: a\r\nX-Big: " + strings.Repeat("x", 2*maxHeader) + "\r\n\r\n")
	if r, err := c.TryResponse("GET"); err == nil && r.Status != 431 {
		t.Errorf("answer %+v", r)
	}
}
