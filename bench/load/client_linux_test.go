package load

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// script decides what the test server does with request number n (from 0, over all connections) on a connection that
// has had k before: the bytes to send, and whether to close.
type script func(n int64, k int) (answer string, closing bool)

// serve runs a server with a script until the test ends. wrap may put TLS around its connections.
func serve(t *testing.T, s script, wrap func(net.Conn) net.Conn) (address string, requests *atomic.Int64) {
	t.Helper()
	socket, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	requests = &atomic.Int64{}
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	all.Go(func() {
		for {
			c, err := socket.Accept()
			if err != nil {
				return
			}
			if wrap != nil {
				c = wrap(c)
			}
			all.Go(func() {
				defer context.AfterFunc(ctx, func() { _ = c.Close() })()
				defer c.Close()
				in := bufio.NewReader(c)
				for k := 0; ; k++ {
					r, err := http.ReadRequest(in)
					if err != nil || r.Method != http.MethodGet {
						return
					}
					answer, closing := s(requests.Add(1)-1, k)
					if _, err := io.WriteString(c, answer); err != nil || closing {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = socket.Close()
		all.Wait()
	})
	return socket.Addr().String(), requests
}

const body = "hello"

func good(extra string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s", len(body), extra, body)
}

func plainClient(address string) Plain {
	return Plain{Address: address, Connections: 4, Requests: [][]byte{Request("x", "/a", false), Request("x", "/b", false)},
		Body: []byte(body), Window: Window{Warmup: 20 * time.Millisecond, Measure: 200 * time.Millisecond}}
}

func TestClosedLoop(t *testing.T) {
	address, served := serve(t, func(int64, int) (string, bool) { return good(""), false }, nil)
	c := plainClient(address)
	var atBegin, atEnd int64
	c.Begin = func() { atBegin = served.Load() }
	c.End = func() { atEnd = served.Load() }
	r, err := c.Run(t.Context())
	if err != nil || r.Err() != nil {
		t.Fatal(err, r.Err())
	}
	// Between the hooks the server has answered what the client counts, but for those underway at the borders.
	if diff := int64(r.Requests) - (atEnd - atBegin); diff < -8 || diff > 8 {
		t.Errorf("the client counts %d, the server %d", r.Requests, atEnd-atBegin)
	}
	if r.Latency.Count() != r.Requests || r.Elapsed < c.Measure || r.Rate() <= 0 || r.Latency.Quantile(0.99) < r.Latency.Quantile(0.5) {
		t.Errorf("latencies %d, elapsed %v, rate %v", r.Latency.Count(), r.Elapsed, r.Rate())
	}
}

func TestClosedLoopCountsFailures(t *testing.T) {
	cases := []struct {
		name string
		bad  string
		shut bool
		want Failure
	}{
		{"status", "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", false, Status},
		{"framing", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhell", false, Framing},
		{"content", strings.Replace(good(""), body, "hallo", 1), false, Content},
		{"too much", good("") + "x", false, Content},
		{"closed in the middle", "HTTP/1.1 200 OK\r\n", true, ClosedEarly},
		{"closed before the answer", "", true, ClosedUnused},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			// One failure inside the window, on a connection that has answered before.
			var inside, done atomic.Bool
			address, _ := serve(t, func(_ int64, k int) (string, bool) {
				if k > 0 && inside.Load() && done.CompareAndSwap(false, true) {
					return tc.bad, tc.shut
				}
				return good(""), false
			}, nil)
			c := plainClient(address)
			c.Begin = func() { inside.Store(true) }
			r, err := c.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if r.Failed() != 1 || r.Failures[tc.want] != 1 || r.Err() == nil || r.Requests == 0 {
				t.Errorf("failures: %s; %d right answers", r.FailureText(), r.Requests)
			}
		})
	}
}

func TestClosingAnswersAreNoFailures(t *testing.T) {
	address, _ := serve(t, func(_ int64, k int) (string, bool) {
		if k == 2 {
			return good("Connection: close\r\n"), true
		}
		return good(""), false
	}, nil)
	for _, rate := range []int{0, 500} {
		c := plainClient(address)
		c.Rate = rate
		r, err := c.Run(t.Context())
		if err != nil || r.Err() != nil {
			t.Fatal(rate, err, r.Err())
		}
		if r.Reconnects == 0 {
			t.Errorf("rate %d: no connection was opened anew", rate)
		}
	}
}

func TestConstantRateSendsWhatIsDue(t *testing.T) {
	address, served := serve(t, func(int64, int) (string, bool) { return good(""), false }, nil)
	c := plainClient(address)
	c.Rate = 1000
	c.Warmup = 0
	r, err := c.Run(t.Context())
	if err != nil || r.Err() != nil {
		t.Fatal(err, r.Err())
	}
	// Every request of the timetable is sent, however late the client was: the server has seen each of them.
	schedule, _ := NewSchedule(c.Rate)
	low := schedule.Due(c.Measure - 1)
	if got := uint64(served.Load()); got < low || r.Latency.Count() == 0 {
		t.Errorf("%d requests were served, %d were due; %d latencies", got, low, r.Latency.Count())
	}
}

func TestConstantRateCountsFromTheTimetable(t *testing.T) {
	// One connection and a server that holds its first answer back until the client is surely behind: the requests that were
	// due meanwhile must carry the wait, although each of them was answered at once when it was sent.
	const hold = 100 * time.Millisecond
	address, _ := serve(t, func(n int64, _ int) (string, bool) {
		if n == 0 {
			<-time.After(hold)
		}
		return good(""), false
	}, nil)
	c := plainClient(address)
	c.Connections, c.Rate, c.Warmup = 1, 1000, 0
	r, err := c.Run(t.Context())
	if err != nil || r.Err() != nil {
		t.Fatal(err, r.Err())
	}
	// About 100 requests were due during the hold; half of them waited at least half of it.
	share := 1 - 40/float64(r.Latency.Count())
	if got := r.Latency.Quantile(share); got < hold/2 {
		t.Errorf("the 40th slowest of %d requests took %v: the wait for the connection is not counted", r.Latency.Count(), got)
	}
}

func TestStopEndsTheWindowEarly(t *testing.T) {
	stop := make(chan struct{})
	address, _ := serve(t, func(n int64, _ int) (string, bool) {
		if n == 50 {
			close(stop)
		}
		return good(""), false
	}, nil)
	c := plainClient(address)
	c.Rate, c.Stop, c.Warmup, c.Measure = 1000, stop, 0, time.Minute
	r, err := c.Run(t.Context())
	if err != nil || r.Err() != nil || r.Elapsed >= time.Minute || r.Requests < 50 {
		t.Errorf("%v %v: %d requests in %v", err, r.Err(), r.Requests, r.Elapsed)
	}
}

func TestRunObeysItsContext(t *testing.T) {
	address, served := serve(t, func(int64, int) (string, bool) { return good(""), false }, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := plainClient(address)
	c.Measure = time.Minute
	c.Begin = cancel
	if _, err := c.Run(ctx); err == nil || served.Load() == 0 {
		t.Errorf("a cancelled run ended with %v", err)
	}
}

func TestNobodyListens(t *testing.T) {
	socket, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = socket.Close()
	c := plainClient(socket.Addr().String())
	r, err := c.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Failures[ConnectFailed] == 0 || r.Err() == nil {
		t.Errorf("failures: %s", r.FailureText())
	}
}

func TestArgumentsAreChecked(t *testing.T) {
	for _, c := range []Plain{
		{}, {Address: "localhost:1", Connections: 1}, {Address: "127.0.0.1:1", Connections: 1},
		{Address: "127.0.0.1:1", Connections: 1, Requests: [][]byte{{}}, Rate: -1, Window: Window{Measure: 1}},
	} {
		if _, err := c.Run(t.Context()); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}

func TestHoldIdle(t *testing.T) {
	var leave atomic.Bool
	address, served := serve(t, func(_ int64, k int) (string, bool) { return good(""), leave.Load() }, nil)
	h, err := HoldIdle(t.Context(), address, 150, Request("x", "/", false), []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if served.Load() != 150 || h.Broken() != 0 {
		t.Errorf("%d requests, %d broken", served.Load(), h.Broken())
	}
	if _, err := HoldIdle(t.Context(), address, 2, Request("x", "/", false), []byte("other")); err == nil {
		t.Error("a wrong answer was accepted")
	}
}

func TestSettle(t *testing.T) {
	series := []float64{100, 200, 300, 300, 300, 300, 300}
	i := -1
	read := func() (float64, error) { i++; return series[min(i, len(series)-1)], nil }
	got, err := Settle(t.Context(), read, time.Millisecond, time.Minute, 0.01, 3)
	if err != nil || got != 300 || i < 5 {
		t.Errorf("settled at %v after %d readings (%v)", got, i, err)
	}
	n := 0.0
	got, err = Settle(t.Context(), func() (float64, error) { n++; return n * n, nil }, time.Millisecond, 20*time.Millisecond, 0, 3)
	if err != nil || got == 0 {
		t.Errorf("what never rests must end with its last value: %v %v", got, err)
	}
	if _, err := Settle(t.Context(), func() (float64, error) { return 0, io.EOF }, 1, time.Minute, 0, 1); err != io.EOF {
		t.Errorf("the reader's error is lost: %v", err)
	}
}

func TestMarker(t *testing.T) {
	// old, then new once from a first worker, old again, a failure, then new for good.
	address, _ := serve(t, func(n int64, _ int) (string, bool) {
		text := "new"
		switch {
		case n < 3 || n == 4:
			text = "old"
		case n == 6:
			return "HTTP/1.1 500 No\r\n\r\n", true
		}
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n%s", text), true
	}, nil)
	m := Marker{Address: address, Path: "/marker", Want: "new", Old: "old", Every: time.Millisecond, Streak: 3}
	from := time.Now()
	s, err := m.Watch(t.Context())
	if err != nil || s.Failed != 1 || s.First == nil || s.Live.Before(from) {
		t.Errorf("%+v %v", s, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	m.Want = "never"
	m.Old = "new"
	if _, err := m.Watch(ctx); err == nil {
		t.Error("a marker that never comes was seen")
	}
}

func tlsServer(t *testing.T, change func(*tls.Config)) func(net.Conn) net.Conn {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	if change != nil {
		change(config)
	}
	return func(c net.Conn) net.Conn { return tls.Server(c, config) }
}

func TestTLSClient(t *testing.T) {
	var connections atomic.Int64
	address, _ := serve(t, func(_ int64, k int) (string, bool) {
		if k == 0 {
			connections.Add(1)
		}
		return good(""), false
	}, tlsServer(t, nil))
	for _, fresh := range []bool{false, true} {
		connections.Store(0)
		c := TLS{Address: address, Connections: 2, Request: Request("x", "/", fresh), Body: []byte(body), NewConnections: fresh,
			Window: Window{Warmup: 10 * time.Millisecond, Measure: 200 * time.Millisecond}}
		r, err := c.Run(t.Context())
		if err != nil || r.Err() != nil {
			t.Fatal(fresh, err)
		}
		if many := connections.Load() > 2; many != fresh {
			t.Errorf("fresh %v: %d connections for %d requests", fresh, connections.Load(), r.Requests)
		}
	}
}

func TestTLSClientRefusesOtherHandshakes(t *testing.T) {
	for name, change := range map[string]func(*tls.Config){
		"version": func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 },
		"curve":   func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP256} },
	} {
		address, _ := serve(t, func(int64, int) (string, bool) { return good(""), false }, tlsServer(t, change))
		c := TLS{Address: address, Connections: 1, Request: Request("x", "/", true), Body: []byte(body), NewConnections: true,
			Window: Window{Measure: 50 * time.Millisecond}}
		if _, err := c.Run(t.Context()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, state := range map[string]tls.ConnectionState{
		"resumed": {Version: tls.VersionTLS13, DidResume: true, CurveID: tls.X25519, CipherSuite: tls.TLS_AES_128_GCM_SHA256},
		"cipher":  {Version: tls.VersionTLS13, CurveID: tls.X25519, CipherSuite: tls.TLS_AES_256_GCM_SHA384},
	} {
		if checkHandshake(state) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
