package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// startOrigin starts an origin in this process, with what it reports.
func startOrigin(t *testing.T) (*origin, *reports) {
	t.Helper()
	r := &reports{}
	o := newOrigin("c", r.add)
	if err := o.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o, r
}

type reports struct {
	mu    sync.Mutex
	lines []string
}

func (r *reports) add(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
}

func (r *reports) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "|")
}

func setMode(t *testing.T, o *origin, m mode) {
	t.Helper()
	if err := o.SetMode(m); err != nil {
		t.Fatal(err)
	}
}

func TestOriginAnswers(t *testing.T) {
	o, r := startOrigin(t)
	c := testnet.Dial(t, o.Address())
	for id := range 4 {
		method := map[bool]string{false: "GET", true: "POST"}[isPost(id)]
		answer := c.Do(method, string(requestText(id, isPost(id))))
		framing := map[bool]testnet.Framing{false: testnet.FramedLength, true: testnet.FramedChunked}[isChunked(id)]
		if v, detail := judge(id, answer, nil); v != right || answer.Framing != framing {
			t.Errorf("request %d: %v %q, framed by %s", id, v, detail, answer.Framing)
		}
	}
	if want := "got 0 GET|got 1 GET|got 2 POST|got 3 POST"; r.String() != want {
		t.Errorf("reported %q, want %q", r, want)
	}
	if answer := c.Do("GET", "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"); answer.Status != 200 || strings.Contains(r.String(), "healthz") {
		t.Errorf("check: %d; reported %q", answer.Status, r)
	}
	setMode(t, o, modeError)
	if a, b := c.Do("GET", string(requestText(5, false))), c.Do("GET", "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"); a.Status != 500 || b.Status != 200 {
		t.Errorf("an endpoint with errors answers %d, and its check %d", a.Status, b.Status)
	}
}

func TestOriginTellsOfDamage(t *testing.T) {
	o, r := startOrigin(t)
	for _, text := range []string{
		string(bytes.Replace(requestText(2, true), []byte("request 2;"), []byte("request 3;"), 1)),
		"GET /item/x HTTP/1.1\r\nHost: a\r\n\r\n", "GET /item/1\r\n\r\n",
	} {
		c := testnet.Dial(t, o.Address())
		c.Send(text)
		c.WantClosed()
	}
	if n := strings.Count(r.String(), sayBad); n != 3 || strings.Contains(r.String(), sayGot) {
		t.Errorf("reported %q", r)
	}
	// A client that goes away in the middle of its request has asked for nothing.
	c := testnet.Dial(t, o.Address())
	c.Send("POST /item/2 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab")
	c.CloseWrite()
	c.WantClosed()
	if n := strings.Count(r.String(), "|"); n != 2 {
		t.Errorf("reported %q", r)
	}
}

func TestOriginHangs(t *testing.T) {
	o, r := startOrigin(t)
	setMode(t, o, modeHang)
	c, check := testnet.Dial(t, o.Address()), testnet.Dial(t, o.Address())
	c.Send(string(requestText(7, false)))
	check.Send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
	testnet.Eventually(t, "the request is received", func() bool { return r.String() == "got 7 GET" })
	_ = c.Conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, err := c.Conn.Read(make([]byte, 1)); n > 0 || !errors.Is(err, errTimeout(err)) {
		t.Fatalf("read %d bytes, %v", n, err)
	}
	setMode(t, o, modeWell)
	c.WantReset()
	check.WantClosed()
	if answer := testnet.Dial(t, o.Address()).Do("GET", string(requestText(8, false))); answer.Status != 200 {
		t.Errorf("afterwards %d", answer.Status)
	}
}

// errTimeout returns err if it is a timeout, and otherwise an error that nothing is.
func errTimeout(err error) error {
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		return err
	}
	return errors.New("no timeout")
}

func TestOriginCuts(t *testing.T) {
	o, r := startOrigin(t)
	setMode(t, o, modeCut)
	for _, id := range []int{0, 1, 4, 5} {
		c := testnet.Dial(t, o.Address())
		c.Send(string(requestText(id, false)))
		answer, err := c.TryResponse("GET")
		if answer == nil || err == nil || len(answer.Body) == 0 || len(answer.Body) >= answerBytes {
			t.Fatalf("request %d: answer %+v, error %v", id, answer, err)
		}
		if isReset(id) != errors.Is(err, syscall.ECONNRESET) || !isReset(id) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("request %d: %v", id, err)
		}
		if v, _ := judge(id, answer, err); v != failed {
			t.Errorf("request %d is judged %v", id, v)
		}
	}
	if n := strings.Count(r.String(), sayCut); n != 4 {
		t.Errorf("reported %q", r)
	}
}

func TestOriginClosesIdleConnections(t *testing.T) {
	for _, c := range []struct {
		mode  mode
		field string
		after time.Duration
	}{{modeClose, "", closeAfter}, {modeAnnounce, "timeout=1", announceAfter}} {
		o, _ := startOrigin(t)
		setMode(t, o, c.mode)
		client := testnet.Dial(t, o.Address())
		answer := client.Do("GET", string(requestText(0, false)))
		idle := time.Now()
		if field := answer.Header.Get("Keep-Alive"); field != c.field {
			t.Errorf("%s: Keep-Alive %q, want %q", c.mode, field, c.field)
		}
		client.WantEOF()
		if took := time.Since(idle); took < c.after/2 {
			t.Errorf("%s: closed after %v", c.mode, took)
		}
	}
}

// An endpoint that withdraws answers what it has got, also over connections that it has not accepted yet, and closes the others.
func TestOriginWithdraws(t *testing.T) {
	o, r := startOrigin(t)
	setMode(t, o, modeSlow) // so that a request is under way for a while
	idle, busy := testnet.Dial(t, o.Address()), testnet.Dial(t, o.Address())
	if answer := idle.Do("GET", string(requestText(0, false))); answer.Header.Get("Connection") != "" {
		t.Fatalf("Connection: %s", answer.Header.Get("Connection"))
	}
	busy.Send(string(requestText(2, true)))
	testnet.Eventually(t, "the POST is received", func() bool { return strings.HasSuffix(r.String(), "got 2 POST") })
	fresh := testnet.Dial(t, o.Address())
	fresh.Send(string(requestText(3, true)))
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { setMode(t, o, modeRefuse) })
	for id, c := range map[int]*testnet.Client{2: busy, 3: fresh} {
		answer := c.ReadResponse("POST")
		if v, detail := judge(id, answer, nil); v != right || answer.Header.Get("Connection") != "close" {
			t.Errorf("request %d: %v %s, Connection %q", id, v, detail, answer.Header.Get("Connection"))
		}
		c.WantEOF()
	}
	idle.WantEOF()
	wg.Wait()
	if _, err := net.DialTimeout("tcp", o.Address(), testnet.Patience); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %v", err)
	}
	address := o.Address()
	setMode(t, o, modeWell)
	if o.Address() != address {
		t.Errorf("listens at %s, before at %s", o.Address(), address)
	}
	if answer := testnet.Dial(t, address).Do("GET", string(requestText(4, false))); answer.Status != 200 {
		t.Errorf("afterwards %d", answer.Status)
	}
}
