package upstream

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/http1"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// reply is what an origin does with a request.
type reply struct {
	after   time.Duration // before the head
	status  int           // 0 for none: the connection is closed
	body    string
	chunked bool // with the trailer X-Sum
	refuse  bool // the connection
}

// pipeOrigin is an endpoint over pipes, so that it lives in a bubble. Its nth request (from 0) is answered by script.
type pipeOrigin struct {
	script   func(n int) reply
	requests atomic.Int64
	present  atomic.Int64 // requests being served
	most     atomic.Int64
	cut      atomic.Int64 // answers that nobody took
	wg       sync.WaitGroup
}

func always(r reply) func(int) reply { return func(int) reply { return r } }

func (o *pipeOrigin) dial(context.Context, string) (net.Conn, error) {
	if o.script(int(o.requests.Load())).refuse {
		o.requests.Add(1)
		return nil, syscall.ECONNREFUSED
	}
	near, far := net.Pipe()
	o.wg.Go(func() {
		defer far.Close()
		r := bufio.NewReader(far)
		for {
			if _, err := readRequest(r); err != nil {
				return
			}
			if !o.serve(far) {
				return
			}
		}
	})
	return near, nil
}

func (o *pipeOrigin) serve(conn net.Conn) bool {
	a := o.script(int(o.requests.Add(1) - 1))
	o.most.Store(max(o.most.Load(), o.present.Add(1)))
	defer o.present.Add(-1)
	if a.after > 0 {
		<-time.NewTimer(a.after).C
	}
	if a.status == 0 {
		return false
	}
	text := fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: %d\r\nX-Status: %d\r\n\r\n%s", a.status, len(a.body), a.status, a.body)
	if a.chunked {
		text = fmt.Sprintf("HTTP/1.1 %d X\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nX-Sum: 9\r\n\r\n", a.status, len(a.body), a.body)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		o.cut.Add(1)
		return false
	}
	return true
}

// overPipes makes a backend with hedging over origins in this process.
func overPipes(t testing.TB, reg *metric.Registry, change func(*Options), scripts ...func(int) reply) (*Backend, []*pipeOrigin) {
	t.Helper()
	o := Default()
	o.Name, o.Algorithm = "shop", "round_robin"
	o.Hedge = &HedgeOptions{After: 20 * time.Millisecond, Budget: 1}
	for i := range scripts {
		o.Endpoints = append(o.Endpoints, EndpointOptions{Address: fmt.Sprintf("127.0.0.1:%d", 9000+i), Weight: 1})
	}
	if change != nil {
		change(&o)
	}
	var endpoints []*Endpoint
	var origins []*pipeOrigin
	for i, script := range scripts {
		at := &pipeOrigin{script: script}
		to := o.Transport(o.Endpoints[i].Address, "")
		pool := http1.NewPool(http1.PoolOptions{
			Address: to.Address, ConnectTimeout: to.Connect, IdleTimeout: to.Idle, ProgressTimeout: to.Progress, MaxIdle: to.MaxIdle,
			MaxHeader: to.MaxHeader, MaxHeaderCount: to.MaxHeaderCount, Dial: at.dial,
		})
		endpoints, origins = append(endpoints, newEndpoint(o.Name, to, pool, reg)), append(origins, at)
	}
	b, err := New(o, newKeeper(endpoints...), reg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Close()
		for _, at := range origins {
			at.wg.Wait()
		}
	})
	return b, origins
}

// result is how an exchange has ended.
type result struct {
	failure  message.Reason
	status   int
	body     string
	trailer  string
	endpoint string
	attempts int
	took     time.Duration // until Do returned
}

// run sends one exchange and reads its answer.
func run(t testing.TB, b *Backend, f *Flight, x *message.Exchange) result {
	t.Helper()
	begin := time.Now()
	failure := b.Do(x, f)
	r := result{took: time.Since(begin), endpoint: x.Outcome.Endpoint, attempts: x.Outcome.Attempts}
	if failure != nil {
		r.failure = failure.Reason
		x.Fail(failure)
	} else {
		r.status = x.Response.Status
		for {
			piece, err := x.Response.Body.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("body: %v", err)
			}
			r.body += string(piece)
		}
		r.trailer = string(x.Response.Trailer.Find(message.NameOf("X-Sum")))
		if got := string(x.Response.Header.Find(message.NameOf("X-Status"))); got != "" && got != fmt.Sprint(r.status) {
			t.Errorf("field X-Status is %q in an answer of status %d", got, r.status)
		}
		if err := x.Response.Body.Close(); err != nil {
			t.Error(err)
		}
	}
	f.Finish(x)
	return r
}

// hedges returns the counted outcomes as "won lost denied".
func hedges(reg *metric.Registry) string {
	n := map[string]int64{}
	reg.Each(metric.Hedges, func(values []string, v int64) { n[values[1]] = v })
	return fmt.Sprintf("%d %d %d", n["won"], n["lost"], n["denied"])
}

// TestHedge: the first request goes to the first endpoint, a second attempt after 20 ms to the other.
func TestHedge(t *testing.T) {
	const ms = time.Millisecond
	quick := reply{after: ms, status: 200, body: "quick"}
	slow := reply{after: 500 * ms, status: 200, body: "slow"}
	first, second := "127.0.0.1:9000", "127.0.0.1:9001"
	for _, test := range []struct {
		name   string
		change func(*Options)
		a, b   reply
		want   result
		hedges string // won, lost, denied
		faults string // failures of the endpoints
	}{
		{"the first is quick", nil, quick, quick, result{status: 200, body: "quick", endpoint: first, attempts: 1, took: ms}, "0 0 0", "0 0"},
		{"the second wins", nil, slow, quick, result{status: 200, body: "quick", endpoint: second, attempts: 2, took: 21 * ms}, "1 0 0", "0 0"},
		{"the first wins after all", nil, reply{after: 50 * ms, status: 200, body: "first"}, slow,
			result{status: 200, body: "first", endpoint: first, attempts: 2, took: 50 * ms}, "0 1 0", "0 0"},
		{"chunked with trailers", nil, slow, reply{after: ms, status: 200, body: "chunks", chunked: true},
			result{status: 200, body: "chunks", trailer: "9", endpoint: second, attempts: 2, took: 21 * ms}, "1 0 0", "0 0"},
		{"a bad second answer does not win", nil, reply{after: 90 * ms, status: 200, body: "first"}, reply{after: ms, status: 503},
			result{status: 200, body: "first", endpoint: first, attempts: 2, took: 90 * ms}, "0 1 0", "0 1"},
		{"a bad first answer waits for the second", nil, reply{after: 30 * ms, status: 500}, reply{after: 50 * ms, status: 200, body: "second"},
			result{status: 200, body: "second", endpoint: second, attempts: 2, took: 70 * ms}, "1 0 0", "1 0"},
		{"both answers are bad", nil, reply{after: 30 * ms, status: 500, body: "a"}, reply{after: 50 * ms, status: 502, body: "b"},
			result{status: 500, body: "a", endpoint: first, attempts: 2, took: 70 * ms}, "0 1 0", "1 1"},
		{"a bad answer before the second begins", nil, reply{after: 10 * ms, status: 500}, quick, result{status: 500, endpoint: first, attempts: 1, took: 10 * ms}, "0 0 0", "1 0"},
		{"the first breaks while the second runs", nil, reply{after: 30 * ms}, reply{after: 50 * ms, status: 200, body: "second"},
			result{status: 200, body: "second", endpoint: second, attempts: 2, took: 70 * ms}, "1 0 0", "1 0"},
		{"the first breaks, the second is bad", nil, reply{after: 30 * ms}, reply{after: 50 * ms, status: 502, body: "second"},
			result{status: 502, body: "second", endpoint: second, attempts: 2, took: 70 * ms}, "1 0 0", "1 1"},
		{"the second breaks", nil, reply{after: 90 * ms, status: 200, body: "first"}, reply{after: 10 * ms},
			result{status: 200, body: "first", endpoint: first, attempts: 2, took: 90 * ms}, "0 1 0", "0 1"},
		{"the second is refused", nil, reply{after: 90 * ms, status: 200, body: "first"}, reply{refuse: true},
			result{status: 200, body: "first", endpoint: first, attempts: 2, took: 90 * ms}, "0 1 0", "0 1"},
		{"first byte timeout of the first", func(o *Options) { o.FirstByte = 100 * ms }, slow, reply{after: 90 * ms, status: 200, body: "second"},
			result{status: 200, body: "second", endpoint: second, attempts: 2, took: 110 * ms}, "1 0 0", "1 0"},
		{"no other has a place", func(o *Options) { o.MaxInFlight = 1 }, reply{after: 50 * ms, status: 200}, quick,
			result{status: 200, endpoint: first, attempts: 1, took: 50 * ms}, "0 0 1", "0 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg := metric.NewRegistry(metric.Options{})
				b, origins := overPipes(t, reg, test.change, always(test.a), always(test.b))
				if b.queue != nil {
					b.Endpoint(second).load.Begin()
				}
				var f Flight
				x := newExchange("GET")
				x.Request.Host, x.Request.Path = []byte("shop.example"), []byte("/")
				got := run(t, b, &f, x)
				if got != test.want {
					t.Errorf("got %+v\nwant %+v", got, test.want)
				}
				if n := hedges(reg); n != test.hedges {
					t.Errorf("hedges won, lost and denied: %s, want %s", n, test.hedges)
				}
				faults := fmt.Sprintf("%d %d", b.Endpoint(first).failures.Load(), b.Endpoint(second).failures.Load())
				if faults != test.faults {
					t.Errorf("failures of the endpoints: %s, want %s", faults, test.faults)
				}
				if b.queue != nil {
					b.Endpoint(second).release()
				}
				if n := b.inFlight(); n != 0 || b.hedging.budget.retrying.Load() != 0 {
					t.Errorf("%d in flight, %d hedges at the end", n, b.hedging.budget.retrying.Load())
				}
				pass(time.Second) // for origins that still have an answer
				if test.hedges == "1 0 0" && test.a.status == 200 && origins[0].cut.Load() != 1 {
					t.Error("the first attempt was not cancelled")
				}
			})
		})
	}
}

// TestHedgeAndRetry: when both attempts have failed, a retry goes to a third endpoint.
func TestHedgeAndRetry(t *testing.T) {
	const ms = time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		reg := metric.NewRegistry(metric.Options{})
		b, origins := overPipes(t, reg, nil, always(reply{after: 30 * ms}), always(reply{after: 60 * ms}), always(reply{after: ms, status: 200, body: "third"}))
		var f Flight
		x := newExchange("GET")
		x.Request.Host, x.Request.Path = []byte("shop.example"), []byte("/")
		want := result{status: 200, body: "third", endpoint: "127.0.0.1:9002", attempts: 3, took: 81 * ms}
		if got := run(t, b, &f, x); got != want {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
		for i, o := range origins {
			if n := o.requests.Load(); n != 1 {
				t.Errorf("endpoint %d got %d requests", i, n)
			}
		}
		if n := hedges(reg); n != "0 1 0" {
			t.Errorf("hedges %s", n)
		}
	})
}

// TestHedgeable: requests of which a second copy could do harm have none.
func TestHedgeable(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*message.Exchange)
		want   bool
	}{
		{"GET", func(*message.Exchange) {}, true},
		{"HEAD", func(x *message.Exchange) { x.Request.Method = message.MethodOf([]byte("HEAD")) }, true},
		{"OPTIONS", func(x *message.Exchange) { x.Request.Method = message.MethodOf([]byte("OPTIONS")) }, true},
		{"PUT", func(x *message.Exchange) { x.Request.Method = message.MethodOf([]byte("PUT")) }, false},
		{"DELETE", func(x *message.Exchange) { x.Request.Method = message.MethodOf([]byte("DELETE")) }, false},
		{"TRACE", func(x *message.Exchange) { x.Request.Method = message.MethodOf([]byte("TRACE")) }, false},
		{"unknown method", func(x *message.Exchange) { x.Request.Method = message.MethodOf([]byte("REPORT")) }, false},
		{"body", func(x *message.Exchange) { x.Request.Length = 1 }, false},
		{"body of unknown length", func(x *message.Exchange) { x.Request.Length = message.LengthUnknown }, false},
		{"upgrade", func(x *message.Exchange) { x.Request.Upgrade = []byte("websocket") }, false},
		{"basic", func(x *message.Exchange) { x.Request.Header.Add(message.Authorization.Name(), []byte("Basic abc")) }, true},
		{"ntlm", func(x *message.Exchange) { x.Request.Header.Add(message.Authorization.Name(), []byte("NTLM abc")) }, false},
		{"negotiate", func(x *message.Exchange) { x.Request.Header.Add(message.Authorization.Name(), []byte("negotiate")) }, false},
	} {
		x := newExchange("GET")
		test.change(x)
		if got := hedgeable(x, nil); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// boundTo is a transport that keeps a connection for the client of a Bindings.
type boundTo struct {
	fakeTransport
	client *message.Bindings
}

func (t *boundTo) Bound(b *message.Bindings) bool { return b == t.client }
func (*boundTo) Forget(*message.Bindings)         {}

// TestClientsThatAreLoggedInAreNotHedged: elsewhere they are not logged in.
func TestClientsThatAreLoggedInAreNotHedged(t *testing.T) {
	tr := &boundTo{}
	ep := newEndpoint("shop", TransportOptions{Address: "127.0.0.1:9000"}, tr, nil)
	x := newExchange("GET")
	x.Bindings = &message.Bindings{}
	if !hedgeable(x, ep) {
		t.Error("a client of which nothing is kept")
	}
	x.Bindings.Bind(tr)
	if !hedgeable(x, ep) {
		t.Error("a client whose connection is kept elsewhere")
	}
	tr.client = x.Bindings
	if hedgeable(x, ep) {
		t.Error("a client that is logged in here")
	}
}

// TestHedgeKeepsSessions: a client whose session is at an endpoint gets no answer from another.
func TestHedgeKeepsSessions(t *testing.T) {
	const ms = time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		b, _ := overPipes(t, nil, func(o *Options) { o.Session = &SessionOptions{Cookie: "s", Secret: []byte("0123456789abcdef")} },
			always(reply{after: 90 * ms, status: 200, body: "mine"}), always(reply{after: ms, status: 200, body: "other"}))
		var f Flight
		x := newExchange("GET")
		x.Request.Host, x.Request.Path = []byte("shop.example"), []byte("/")
		x.Request.Header.Add(message.Cookie.Name(), []byte("s="+b.session.token("127.0.0.1:9000")))
		if got := run(t, b, &f, x); got.body != "mine" || got.attempts != 1 {
			t.Errorf("%+v", got)
		}
		// A client without a session may be hedged, and its session is where the answer came from.
		x = newExchange("GET")
		x.Request.Host, x.Request.Path = []byte("shop.example"), []byte("/")
		for {
			got := run(t, b, &f, x)
			cookie := string(x.Response.Header.Get(message.SetCookie))
			if want := "s=" + b.session.token("127.0.0.1:9001"); got.body != "other" || !strings.HasPrefix(cookie, want) {
				t.Errorf("%+v with cookie %s", got, cookie)
			}
			if got.attempts == 2 {
				break
			}
			x.Reset() // it began at the quick one
			x.Request.Method = message.MethodOf([]byte("GET"))
			x.Request.Host, x.Request.Path = []byte("shop.example"), []byte("/")
		}
	})
}

// TestHedgeBudget: of many slow requests only a share is sent twice.
func TestHedgeBudget(t *testing.T) {
	const ms = time.Millisecond
	for share, want := range map[float64]int64{0.05: 1, 0.2: 4, 1: 20} {
		synctest.Test(t, func(t *testing.T) {
			reg := metric.NewRegistry(metric.Options{})
			stuck := reply{after: 500 * ms, status: 200}
			b, origins := overPipes(t, reg, func(o *Options) { o.Hedge.Budget = share }, always(stuck), always(stuck))
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					var f Flight
					x := newExchange("GET")
					x.Request.Host, x.Request.Path = []byte("shop.example"), []byte("/")
					run(t, b, &f, x)
				})
			}
			wg.Wait()
			if got := origins[0].requests.Load() + origins[1].requests.Load() - 20; got != want && share < 1 {
				t.Errorf("share %v: %d second attempts, want %d", share, got, want)
			} else if share == 1 && got < want {
				t.Errorf("share %v: %d second attempts, want all", share, got)
			}
			if share < 1 && hedges(reg) != fmt.Sprintf("0 %d %d", want, 20-want) {
				t.Errorf("share %v: hedges won, lost and denied: %s", share, hedges(reg))
			}
		})
	}
}

// TestHedgeAfterPercentile: the delay is learned, and that slow attempts are cancelled makes it neither shorter nor longer.
func TestHedgeAfterPercentile(t *testing.T) {
	const ms = time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		reg := metric.NewRegistry(metric.Options{})
		slowAt := func(place int) func(int) reply {
			return func(n int) reply {
				if n >= 25 && n%30 == place { // 3 %, and not both at the same time
					return reply{after: 300 * ms, status: 200, body: "slow"}
				}
				return reply{after: 8 * ms, status: 200}
			}
		}
		b, origins := overPipes(t, reg, func(o *Options) { o.Hedge = &HedgeOptions{Percentile: 95, Budget: 1} }, slowAt(0), slowAt(15))
		for i := range 600 {
			var f Flight
			x := newExchange("GET")
			x.Request.Host, x.Request.Path = []byte("shop.example"), []byte("/")
			got := run(t, b, &f, x)
			if got.attempts != 1 && (got.took < 16*ms || got.took > 18*ms) || got.attempts == 1 && got.took != 8*ms {
				t.Errorf("request %d: %+v", i, got)
			}
			if delay := b.hedging.delay(); delay != 0 && (delay < 8*ms || delay > 9*ms) || delay == 0 && i >= 40 {
				t.Fatalf("request %d: delay %v", i, delay)
			}
		}
		if n := origins[0].requests.Load() + origins[1].requests.Load() - 600; n < 15 || n > 25 || hedges(reg) != fmt.Sprintf("%d 0 0", n) {
			t.Errorf("%d requests were sent twice; hedges won, lost, denied: %s", n, hedges(reg))
		}
	})
}

func TestRecentTimes(t *testing.T) {
	const ms = int64(time.Millisecond)
	for _, test := range []struct {
		percentile int
		want       int64 // at most 12.5 % more are right
	}{{50, 50 * ms}, {75, 75 * ms}, {90, 90 * ms}, {99, 99 * ms}} {
		r := newRecent(test.percentile)
		for i := range int64(19) {
			r.observe(i*ms, -1000*ms+i)
		}
		r.look(0)
		if r.value() != 0 {
			t.Errorf("a percentile of 19 samples: %v", r.value())
		}
		r = newRecent(test.percentile)
		for i := range int64(1000) {
			r.observe(i%100*ms+ms, i*ms)
		}
		if got := int64(r.value()); got < test.want || got > test.want*9/8 {
			t.Errorf("p%d of 1 to 100 ms: %v", test.percentile, r.value())
		}
		// What was long ago counts no more.
		for i := range int64(3000) {
			r.observe(2*ms, (1000+50*i)*ms)
		}
		if got := int64(r.value()); got < 2*ms || got > 2*ms*9/8 {
			t.Errorf("p%d after 150 s of 2 ms: %v", test.percentile, r.value())
		}
	}
	// Without much to do, what is known is kept.
	r := newRecent(95)
	for i := range int64(30) {
		r.observe(10*ms, i*100*ms)
	}
	r.observe(10*ms, 3_600_000*ms)
	r.observe(10*ms, 7_200_000*ms)
	if got := int64(r.value()); got < 10*ms || got > 12*ms {
		t.Errorf("after two hours with three requests: %v", r.value())
	}
}

// TestTimeBuckets: a time lies below the upper edge of its bucket, and above that of the bucket before.
func TestTimeBuckets(t *testing.T) {
	for _, took := range []int64{-5, 0, 1, 1 << 16, 1<<16 + 1, 100_000, 5_000_000, 5_242_880, 1_000_000_007, 60_000_000_000, 1 << 36, 1 << 60} {
		bucket := timeBucket(took)
		if bucket < 0 || bucket >= numTimes {
			t.Errorf("%d ns: bucket %d", took, bucket)
			continue
		}
		if took >= 1<<firstTime && took < 1<<lastTime && (took >= timeEdge(bucket) || bucket > 0 && took < timeEdge(bucket-1)) {
			t.Errorf("%d ns: bucket %d ends at %d", took, bucket, timeEdge(bucket))
		}
	}
}

// TestHedgeOverSockets: with plain sockets a cancelled attempt is interrupted where it waits in the kernel.
func TestHedgeOverSockets(t *testing.T) {
	release := make(chan struct{})
	slow := newHTTPOrigin(t, func(_, _ int) (string, bool) {
		<-release
		return okAnswer, false
	})
	quick := newHTTPOrigin(t, func(_, _ int) (string, bool) { return strings.Replace(okAnswer, "ok", "it", 1), false })
	defer close(release) // before the origins end
	b := overHTTP1(t, func(o *Options) { o.Hedge = &HedgeOptions{After: 5 * time.Millisecond, Budget: 1} }, slow.Addr().String(), quick.Addr().String())
	var wg sync.WaitGroup
	var hedged atomic.Int64
	for range 8 {
		wg.Go(func() {
			for range 10 {
				body, failure, x := exchange(b, "GET", "")
				if failure != nil || body != "it" {
					t.Errorf("%q, %v", body, failure)
				}
				hedged.Add(int64(x.Outcome.Attempts - 1))
			}
		})
	}
	wg.Wait()
	if n := hedged.Load(); n < 30 || b.inFlight() != 0 {
		t.Errorf("%d of 80 were sent twice; %d in flight at the end", n, b.inFlight())
	}
	if n := b.Endpoint(slow.Addr().String()).failures.Load(); n != 0 {
		t.Errorf("the slow endpoint has %d failures", n)
	}
}

// TestHedgeUnderStress lets attempts of all kinds race, with retries, statuses and bounds, and looks whether every answer is whole and all is given
// back.
func TestHedgeUnderStress(t *testing.T) {
	reg := metric.NewRegistry(metric.Options{})
	script := func(int) reply {
		body := strings.Repeat("x", rand.IntN(3000))
		switch n := rand.IntN(20); {
		case n == 0:
			return reply{after: time.Duration(rand.IntN(4)) * time.Millisecond}
		case n == 1:
			return reply{refuse: true}
		case n == 2:
			return reply{after: time.Duration(rand.IntN(4)) * time.Millisecond, status: 503, body: body}
		case n < 8:
			return reply{after: time.Duration(rand.IntN(4)) * time.Millisecond, status: 200, body: body, chunked: true}
		}
		return reply{after: time.Duration(rand.IntN(4)) * time.Millisecond, status: 200, body: body}
	}
	b, origins := overPipes(t, reg, func(o *Options) {
		o.Hedge = &HedgeOptions{After: time.Millisecond, Budget: 1}
		o.Retry.Attempts, o.Retry.Statuses, o.Retry.Budget, o.Retry.Backoff = 2, []StatusRange{{503, 503}}, 1, time.Millisecond
		o.MaxInFlight, o.Queue, o.QueueTimeout = 6, 100, 10*time.Second
		o.Outlier.Consecutive = 0
	}, script, script, script)
	var wg sync.WaitGroup
	var good, bad atomic.Int64
	for range 16 {
		wg.Go(func() {
			var f Flight
			x := newExchange("GET")
			for range 100 {
				x.Reset()
				x.Request.Method = message.MethodOf([]byte("GET"))
				x.Request.Host, x.Request.Path = x.Keep([]byte("shop.example")), x.Keep([]byte("/"))
				if r := run(t, b, &f, x); r.failure != message.ReasonNone || strings.Trim(r.body, "x") != "" {
					bad.Add(1)
				} else {
					good.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if good.Load() < 1500 {
		t.Errorf("%d good, %d bad", good.Load(), bad.Load())
	}
	if n := b.inFlight(); n != 0 || b.hedging.budget.retrying.Load() != 0 || b.budget.retrying.Load() != 0 {
		t.Errorf("%d in flight, %d hedges, %d retries at the end", n, b.hedging.budget.retrying.Load(), b.budget.retrying.Load())
	}
	won, lost := int64(0), int64(0)
	reg.Each(metric.Hedges, func(values []string, n int64) {
		switch values[1] {
		case "won":
			won = n
		case "lost":
			lost = n
		}
	})
	if won < 20 || lost < 20 {
		t.Errorf("%d hedges won, %d lost: the test shows little", won, lost)
	}
	for i, o := range origins {
		// One that was cancelled is no longer counted, and the origin notices late; but never so many.
		if n := o.most.Load(); n > 18 {
			t.Errorf("endpoint %d had %d requests at once", i, n)
		}
	}
}
