package upstream

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// httpOrigin is an endpoint over real sockets whose behaviour is a function of the request's number (from 0) on its connection. It notes every
// request whole.
type httpOrigin struct {
	net.Listener
	mu       sync.Mutex
	received []string
	open     map[net.Conn]bool
	wg       sync.WaitGroup
}

// act says what an origin does with a request: the answer to give, and whether to close the connection after it.
type act func(connection, request int) (answer string, closing bool)

func newHTTPOrigin(t testing.TB, do act) *httpOrigin {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &httpOrigin{Listener: l, open: map[net.Conn]bool{}}
	o.wg.Go(func() {
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			o.mu.Lock()
			o.open[conn] = true
			o.mu.Unlock()
			o.wg.Go(func() { o.serve(conn, n, do) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		o.mu.Lock()
		for c := range o.open {
			c.Close()
		}
		o.mu.Unlock()
		o.wg.Wait()
	})
	return o
}

func (o *httpOrigin) serve(conn net.Conn, connection int, do act) {
	defer func() {
		conn.Close()
		o.mu.Lock()
		delete(o.open, conn)
		o.mu.Unlock()
	}()
	r := bufio.NewReader(conn)
	for request := 0; ; request++ {
		text, err := readRequest(r)
		if err != nil {
			return
		}
		o.mu.Lock()
		o.received = append(o.received, text)
		o.mu.Unlock()
		answer, closing := do(connection, request)
		if _, err := io.WriteString(conn, answer); err != nil || closing {
			return
		}
	}
}

func readRequest(r *bufio.Reader) (string, error) {
	var text strings.Builder
	length := 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		text.WriteString(line)
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && strings.EqualFold(name, "content-length") {
			length, _ = strconv.Atoi(strings.TrimSpace(value))
		}
		if line == "\r\n" {
			_, err := io.CopyN(&text, r, int64(length))
			return text.String(), err
		}
	}
}

func (o *httpOrigin) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.received)
}

// overHTTP1 makes a backend over real pools.
func overHTTP1(t testing.TB, change func(*Options), addresses ...string) *Backend {
	t.Helper()
	o := Default()
	o.Name, o.Algorithm = "shop", "round_robin"
	for _, a := range addresses {
		o.Endpoints = append(o.Endpoints, EndpointOptions{Address: a, Weight: 1})
	}
	if change != nil {
		change(&o)
	}
	b, err := New(o, newKeeper(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	b.Start()
	return b
}

// exchange sends one request through b, reads the answer whole, and returns its body.
func exchange(b *Backend, method, body string) (string, *message.Failure, *message.Exchange) {
	var f Flight
	x := newExchange(method)
	x.Request.Protocol, x.Request.Scheme = message.HTTP11, "http"
	x.Request.Host, x.Request.Path = []byte("shop.example"), []byte("/cart")
	var bytes message.Bytes
	if body != "" {
		bytes.Reset([]byte(body))
		x.Request.Body, x.Request.Length = &bytes, int64(len(body))
	}
	failure := b.Do(x, &f)
	var got strings.Builder
	if failure != nil {
		copied := *failure
		failure = &copied
		x.Fail(failure)
	} else {
		for {
			piece, err := x.Response.Body.Next()
			if err != nil {
				break
			}
			got.Write(piece)
		}
		_ = x.Response.Body.Close()
	}
	f.Finish(x)
	return got.String(), failure, x
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// TestIdleConnectionClosed: the second request of each connection is read and then answered by nothing, as if the endpoint had closed the idle
// connection meanwhile. What may be repeated is, on a new connection; what may not has reached the endpoint once (case 64).
func TestIdleConnectionClosed(t *testing.T) {
	for _, test := range []struct {
		method, body string
		requests     int
		ok           bool
	}{{"GET", "", 3, true}, {"PUT", "new price", 3, true}, {"DELETE", "", 3, true}, {"POST", "order", 2, false}, {"PATCH", "order", 2, false}} {
		t.Run(test.method, func(t *testing.T) {
			o := newHTTPOrigin(t, func(_, request int) (string, bool) {
				if request == 1 {
					return "", true
				}
				return okAnswer, false
			})
			b := overHTTP1(t, func(o *Options) { o.Retry.Attempts = 0 }, o.Addr().String())
			if got, failure, _ := exchange(b, "GET", ""); failure != nil || got != "ok" {
				t.Fatalf("the first request: %q, %v", got, failure)
			}
			got, failure, x := exchange(b, test.method, test.body)
			if test.ok && (failure != nil || got != "ok" || x.Outcome.Reused) {
				t.Errorf("answer %q, failure %v, reused %v", got, failure, x.Outcome.Reused)
			}
			if !test.ok && (failure == nil || failure.Reason != message.UpstreamReset) {
				t.Errorf("failure %v, want upstream_reset", failure)
			}
			if o.count() != test.requests {
				t.Errorf("the endpoint received %d requests, want %d: %q", o.count(), test.requests, o.received)
			}
			if last := o.received[len(o.received)-1]; !strings.HasPrefix(last, test.method+" /cart") || !strings.HasSuffix(last, "\r\n\r\n"+test.body) {
				t.Errorf("the last request was %q", last)
			}
			if s := b.Snapshot(); s.Endpoints[0].Failures != 0 {
				t.Errorf("the endpoint was blamed %d times", s.Endpoints[0].Failures)
			}
		})
	}
}

// TestEndpointGone: a stopped endpoint costs a retry, no request, whatever the method.
func TestEndpointGone(t *testing.T) {
	o := newHTTPOrigin(t, func(_, _ int) (string, bool) { return okAnswer, false })
	b := overHTTP1(t, nil, closedAddress(t), o.Addr().String())
	for i := range 30 {
		method, body := "GET", ""
		if i%2 == 1 {
			method, body = "POST", fmt.Sprint("order ", i)
		}
		if got, failure, _ := exchange(b, method, body); failure != nil || got != "ok" {
			t.Fatalf("request %d: %q, %v", i, got, failure)
		}
	}
	s := b.Snapshot()
	if o.count() != 30 || s.Endpoints[0].Failures != 5 || s.Endpoints[0].EjectedFor == 0 || s.RetriesSaved != 5 {
		t.Errorf("%d requests received; status %+v", o.count(), s)
	}
}

// TestResetAfterTheRequest: an endpoint that reads a request on a new connection and closes without an answer may have carried it out.
func TestResetAfterTheRequest(t *testing.T) {
	for _, test := range []struct {
		method string
		ok     bool
	}{{"GET", true}, {"PUT", true}, {"POST", false}} {
		bad := newHTTPOrigin(t, func(_, _ int) (string, bool) { return "", true })
		good := newHTTPOrigin(t, func(_, _ int) (string, bool) { return okAnswer, false })
		b := overHTTP1(t, nil, bad.Addr().String(), good.Addr().String())
		_, failure, x := exchange(b, test.method, "body")
		if (failure == nil) != test.ok {
			t.Errorf("%s: failure %v", test.method, failure)
		}
		if want := map[bool]int{true: 2, false: 1}[test.ok]; bad.count() != 1 || bad.count()+good.count() != want || x.Outcome.Attempts != want {
			t.Errorf("%s: %d requests at the first and %d at the second endpoint, %d attempts", test.method, bad.count(), good.count(), x.Outcome.Attempts)
		}
	}
}

// TestNoRetryAfterTheFirstByte: once an answer has begun it is the client's, however it ends (case 64).
func TestNoRetryAfterTheFirstByte(t *testing.T) {
	for _, answer := range []string{"HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "HTTP/1.1 nonsense\r\n\r\n"} {
		bad := newHTTPOrigin(t, func(_, _ int) (string, bool) { return answer, true })
		good := newHTTPOrigin(t, func(_, _ int) (string, bool) { return okAnswer, false })
		b := overHTTP1(t, func(o *Options) { o.Retry.Attempts = 5 }, bad.Addr().String(), good.Addr().String())
		if _, _, x := exchange(b, "GET", ""); x.Outcome.Attempts != 1 || good.count() != 0 {
			t.Errorf("%q: %d attempts, %d requests at the second endpoint", answer, x.Outcome.Attempts, good.count())
		}
	}
}

// TestStatusRetryOverSockets: the dropped answer's connection is not confused with the next one's.
func TestStatusRetryOverSockets(t *testing.T) {
	bad := newHTTPOrigin(t, func(_, _ int) (string, bool) {
		return "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nX-Bad: 1\r\n\r\nbusy", false
	})
	good := newHTTPOrigin(t, func(_, _ int) (string, bool) { return okAnswer, false })
	b := overHTTP1(t, func(o *Options) { o.Retry.Statuses = []StatusRange{{503, 503}}; o.Outlier.Consecutive = 0 }, bad.Addr().String(), good.Addr().String())
	for range 10 {
		got, failure, x := exchange(b, "PUT", "a body")
		if failure != nil || got != "ok" || x.Response.Header.Find(message.NameOf("X-Bad")) != nil {
			t.Fatalf("answer %q, failure %v, header of the dropped answer: %v", got, failure, x.Response.Header.Len())
		}
	}
	if s := b.Snapshot(); s.RetriesSaved == 0 || s.InFlight != 0 {
		t.Errorf("status %+v", s)
	}
}

// TestFirstByteAndPerTry: a silent endpoint is given up in time, with the reason of the bound that was met first.
func TestFirstByteAndPerTry(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // connections stay in its backlog
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, test := range []struct {
		firstByte, perTry, whole time.Duration
		want                     message.Reason
	}{
		{20 * time.Millisecond, 0, 0, message.UpstreamTimeoutFirstByte},
		{time.Minute, 20 * time.Millisecond, 0, message.UpstreamTimeoutPerTry},
		{time.Minute, time.Minute, 20 * time.Millisecond, message.RouteTimeout},
	} {
		b := overHTTP1(t, func(o *Options) { o.FirstByte, o.Retry.PerTry = test.firstByte, test.perTry }, silent.Addr().String())
		var f Flight
		x := newExchange("GET")
		x.Request.Protocol, x.Request.Scheme = message.HTTP11, "http"
		x.Request.Host, x.Request.Path = []byte("shop.example"), []byte("/")
		if test.whole > 0 {
			x.Deadline = message.Now() + int64(test.whole)
		}
		if failure := b.Do(x, &f); failure == nil || failure.Reason != test.want {
			t.Errorf("%+v: failure %v", test, failure)
		}
		f.Finish(x)
	}
}
