package proxy

import (
	"fmt"
	"math"
	"sync"
	"time"

	"strings"

	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/upstream"
)

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// recording is an origin that gives every request to the test and answers with a text.
func recording(t testing.TB, answer string) (o *testnet.Origin, got chan *testnet.Request) {
	got = make(chan *testnet.Request, 1000)
	return testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		for {
			r, read := c.ReadRequest()
			if !read {
				return
			}
			got <- r
			if !c.Send(answer) {
				return
			}
		}
	}), got
}

// mirrorTo is a mirror to an address, of everything up to 64 KiB. Its copies are ended with the test, before its backend.
func mirrorTo(t testing.TB, address string, edit func(*upstream.Options)) *Mirror {
	b := backend(t, address, func(o *upstream.Options) {
		o.Name = "shadow"
		if edit != nil {
			edit(o)
		}
	}, nil)
	m := &Mirror{
		Backend: b, Share: 1, MaxBody: 64 << 10, Branches: new(Branches),
		Metrics: NewMirrorMetrics(metric.NewRegistry(metric.Options{}).Scope(), "r"),
	}
	t.Cleanup(m.Branches.Close)
	return m
}

// counts are the outcomes of a mirror's requests, in the order of MirrorMetrics.
func (m *MirrorMetrics) counts() [5]uint64 {
	return [5]uint64{m.Answered.Value(), m.Failed.Value(), m.Busy.Value(), m.TooLarge.Value(), m.Broken.Value()}
}

// wantCounts waits until the outcomes of a mirror are these, and no copy is under way.
func wantCounts(t testing.TB, m *Mirror, answered, failed, busy, tooLarge, broken uint64) {
	t.Helper()
	want := [5]uint64{answered, failed, busy, tooLarge, broken}
	testnet.Eventually(t, fmt.Sprintf("outcomes %v of answered, failed, busy, too large, broken; they are %v", want, m.Metrics.counts()), func() bool {
		return m.Metrics.counts() == want && m.underWay.Load() == 0
	})
	if n := m.Backend.Snapshot().InFlight; n != 0 {
		t.Fatalf("%d requests in flight to the mirror", n)
	}
}

// isFraming reports whether a field tells of a body's length, which copies know and say.
func isFraming(name string) bool {
	return strings.EqualFold(name, "Content-Length") || strings.EqualFold(name, "Transfer-Encoding")
}

// told writes what a request says but for its framing.
func told(r *testnet.Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s\n", r.Method, r.Target, r.Proto)
	for _, f := range r.Header {
		if !isFraming(f.Name) {
			fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
		}
	}
	return b.String() + "\n" + string(r.Body)
}

func TestMirrorCopiesWhatIsForwarded(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 4096) // 64 KiB
	post := func(method, target, body string, fields ...string) string {
		return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: Example.test:8080\r\nContent-Length: %d\r\n%s\r\n%s", method, target, len(body), lines(fields), body)
	}
	chunked := func(end string, chunks ...string) string {
		var b strings.Builder
		b.WriteString("POST /c HTTP/1.1\r\nHost: example.test\r\nTransfer-Encoding: chunked\r\n\r\n")
		for _, c := range chunks {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(c), c)
		}
		return b.String() + "0\r\n" + end + "\r\n"
	}
	for _, tc := range []struct {
		name, request string
		policies      string
		length        string   // Content-Length of the copy, "" for none
		has           []string // pieces that both must have
	}{
		{name: "plain", request: get("/a/b?x=y&x=%20", "Accept: */*", "Cookie: a=b", "X-Own: 1", "X-Own: 2"),
			has: []string{"GET /a/b?x=y&x=%20 HTTP/1.1\n", "Host: example.test\n", "X-Own: 1\nX-Own: 2\n", "X-Forwarded-For: 192.0.2.7\n", "X-Forwarded-Proto: http\n", "X-Forwarded-Host: example.test\n", "X-Request-Id: "}},
		{name: "an empty query", request: get("/a?"), has: []string{"GET /a? HTTP/1.1\n"}},
		{name: "head", request: strings.Replace(get("/h"), "GET", "HEAD", 1), has: []string{"HEAD /h "}},
		{name: "a method that nobody knows", request: strings.Replace(get("/h"), "GET", "BREW", 1), has: []string{"BREW /h "}},
		{name: "connection fields", request: get("/", "Connection: keep-alive, X-Hop", "X-Hop: 1", "Keep-Alive: timeout=5", "Proxy-Connection: x", "Upgrade: h2c", "TE: trailers, gzip")},
		{name: "an empty post", request: post("POST", "/p", ""), length: "0"},
		{name: "a body", request: post("POST", "/p", "a=b&c=d", "Content-Type: application/x-www-form-urlencoded"), length: "7",
			has: []string{"Host: example.test:8080\n", "Content-Type: application/x-www-form-urlencoded\n", "\n\na=b&c=d"}},
		{name: "expects a go-ahead", request: post("PUT", "/p", "abc", "Expect: 100-continue"), length: "3", has: []string{"\n\nabc"}},
		{name: "the largest body", request: post("PUT", "/p", big), length: "65536", has: []string{"\n\n0123"}},
		{name: "chunks", request: chunked("", "hello ", "wor", "ld"), length: "11", has: []string{"\n\nhello world"}},
		{name: "no chunks", request: chunked(""), length: "0"},
		{name: "the most in chunks", request: chunked("", big[:30000], big[30000:65535], big[65535:]), length: "65536"},
		{name: "trailers", request: chunked("X-Sum: 7\r\n", "abc"), length: "3", has: []string{"\n\nabc"}},
		{name: "changed by policies", request: post("POST", "/old/x?a=1", "body", "X-Secret: s", "X-Own: 1"), length: "4",
			policies: `[{request: {headers: {set: {X-Own: '${request.method}', Host: inner.test}, remove: [X-Secret]}, query: {set: {b: "2"}}}}]`,
			has:      []string{"/old/x?a=1&b=2 ", "X-Own: POST\n", "Host: inner.test\n", "X-Forwarded-Host: example.test:8080\n"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			real, forwarded := recording(t, okAnswer)
			shadow, copied := recording(t, "HTTP/1.1 404 Other\r\nX-Shadow: 1\r\nSet-Cookie: shadow=1\r\nContent-Length: 5\r\n\r\nother")
			m := mirrorTo(t, shadow.Addr, nil)
			r := &Route{Action: &Forward{backend(t, real.Addr, nil, nil)}, Mirror: m}
			if tc.policies != "" {
				r.Policies = policies(t, tc.policies)
			}
			o := serverOptions()
			c := connect(t, NewHTTP(site(t, nil, at("/*", r))), o, "192.0.2.7:1")
			method, _, _ := strings.Cut(tc.request, " ")
			for n := range uint64(2) { // the second goes over the memory and the connections of the first
				c.Send(tc.request)
				a := c.ReadResponse(method)
				if a.Status == 100 {
					a = c.ReadResponse(method)
				}
				if a.Status != 200 || method != "HEAD" && string(a.Body) != "ok" || a.Header.Get("X-Shadow")+a.Header.Get("Set-Cookie") != "" {
					t.Fatalf("answer %+v", a)
				}
				f, d := testnet.Receive(t, "the request", forwarded), testnet.Receive(t, "the copy", copied)
				if told(f) != told(d) {
					t.Errorf("forwarded\n%.500s\ncopied\n%.500s", told(f), told(d))
				}
				if got := d.Header.All("Content-Length"); strings.Join(got, ",") != tc.length || d.Header.Get("Transfer-Encoding") != "" {
					t.Errorf("the copy has lengths %q and %q, want %q", got, d.Header.Get("Transfer-Encoding"), tc.length)
				}
				for _, piece := range tc.has {
					if !strings.Contains(told(d), piece) {
						t.Errorf("the copy lacks %q:\n%.500s", piece, told(d))
					}
				}
				if method == "HEAD" { // the scripted answers have bodies, which end the connections
					return
				}
				wantCounts(t, m, n+1, 0, 0, 0, 0)
			}
			if real.Conns() != 1 || shadow.Conns() != 1 {
				t.Errorf("%d connections for requests and %d for copies, want 1 each", real.Conns(), shadow.Conns())
			}
		})
	}
}

// TestMirrorLeavesOut: what is not copied, and how it is counted. Each exchange goes over the connection and the memory of one that was copied.
func TestMirrorLeavesOut(t *testing.T) {
	const limit = 1000
	body := strings.Repeat("b", limit)
	head := "POST /m HTTP/1.1\r\nHost: a\r\n"
	for _, tc := range []struct {
		name, request    string
		status           int
		tooLarge, broken uint64
	}{
		{"a body that is one byte too long", fmt.Sprintf("%sContent-Length: %d\r\n\r\n%sb", head, limit+1, body), 200, 1, 0},
		{"chunks that are one byte too many", fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n1\r\nb\r\n0\r\n\r\n", head, limit, body), 200, 1, 0},
		{"a route without", get("/plain"), 200, 0, 0},
		{"a body on a route without", "POST /plain HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 200, 0, 0},
		{"what a policy refuses", get("/refused?v=%0A"), 400, 0, 0},
		{"no route", get("/nowhere"), 404, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			real, forwarded := recording(t, okAnswer)
			shadow, copied := recording(t, okAnswer)
			m := mirrorTo(t, shadow.Addr, nil)
			m.MaxBody = limit
			b := backend(t, real.Addr, nil, nil)
			s := site(t, nil,
				at("/m", &Route{Action: &Forward{b}, Mirror: m}),
				at("/plain", &Route{Action: &Forward{b}}),
				at("/refused", &Route{Action: &Forward{b}, Mirror: m, Policies: policies(t, `[{request: {headers: {set: {X-A: '${request.query["v"]}'}}}}]`)}))
			c := connect(t, NewHTTP(s), serverOptions(), "192.0.2.7:1")
			copy := func(answered uint64) {
				t.Helper()
				if r := c.Do("POST", head+"Content-Length: 4\r\n\r\ncopy"); r.Status != 200 {
					t.Fatalf("answer %+v", r)
				}
				testnet.Receive(t, "the request", forwarded)
				if d := testnet.Receive(t, "the copy", copied); string(d.Body) != "copy" {
					t.Fatalf("copied %s", told(d))
				}
				wantCounts(t, m, answered, 0, 0, tc.tooLarge*(answered-1), tc.broken*(answered-1))
			}
			copy(1)
			method, _, _ := strings.Cut(tc.request, " ")
			if r := c.Do(method, tc.request); r.Status != tc.status {
				t.Fatalf("answer %+v", r)
			}
			if tc.status == 200 {
				if f := testnet.Receive(t, "the request", forwarded); strings.Contains(tc.name, "one byte") && string(f.Body) != body+"b" {
					t.Errorf("a body of %d bytes was forwarded, want %d", len(f.Body), limit+1)
				}
			}
			copy(2) // and not what came before
			if n := len(copied); n != 0 {
				t.Errorf("%d more copies", n)
			}
		})
	}
}

func TestMirrorShare(t *testing.T) {
	for _, share := range []float64{0, 0.01, 0.25, 0.999, 1} {
		m := mirrorTo(t, "127.0.0.1:1", nil)
		m.Share = share
		var taken mirroring
		x := request("192.0.2.7:1", "a", "/")
		const n = 20_000
		got := 0
		for range n {
			if taken.begin(x, m, 0); taken.mirror != nil {
				got++
				taken.mirror = nil
			}
		}
		want := share * n
		if d := math.Abs(float64(got) - want); d > 7*math.Sqrt(want*(1-share)) {
			t.Errorf("share %v: %d of %d are copied", share, got, n)
		}
	}
}

// TestMirrorNeverHoldsUp: the mirror takes requests and answers none, until every client has its answer. So many copies are under way as may be,
// the others are left out; afterwards requests are copied again.
func TestMirrorNeverHoldsUp(t *testing.T) {
	real := testnet.NewOrigin(t, testnet.Answer(okAnswer))
	answered := make(chan struct{})
	shadow := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		for {
			if _, read := c.ReadRequest(); !read || !c.Wait(answered) || !c.Send(okAnswer) {
				return
			}
		}
	})
	m := mirrorTo(t, shadow.Addr, func(o *upstream.Options) { o.MaxIdle = 2 * maxCopies })
	h := NewHTTP(site(t, nil, at("/*", &Route{Action: &Forward{backend(t, real.Addr, nil, nil)}, Mirror: m})))
	var clients sync.WaitGroup
	const each, more = 20, 57
	for i := range 5 {
		c := connect(t, h, serverOptions(), "192.0.2.7:1")
		clients.Go(func() {
			for n := range each + more/5 {
				text := get("/")
				if n%2 == 1 {
					text = fmt.Sprintf("PUT /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", i)
				}
				if c.TrySend(text) != nil {
					t.Error("the client could not send")
					return
				}
				if r, err := c.TryResponse("GET"); err != nil || r.Status != 200 {
					t.Errorf("answer %+v, %v", r, err)
					return
				}
			}
		})
	}
	clients.Wait()
	const busy = 5*(each+more/5) - maxCopies
	if got := m.Metrics.Busy.Value(); got != busy {
		// What a client had with its last answer is counted a moment later.
		testnet.Eventually(t, "the copies that are left out", func() bool { return m.Metrics.Busy.Value() == busy })
	}
	if m.underWay.Load() != maxCopies || m.Metrics.Answered.Value() != 0 {
		t.Errorf("%d copies under way, %d answered", m.underWay.Load(), m.Metrics.Answered.Value())
	}
	testnet.Eventually(t, "all copies at the mirror", func() bool { return shadow.Conns() == maxCopies })
	close(answered)
	wantCounts(t, m, maxCopies, 0, busy, 0, 0)
	c := connect(t, h, serverOptions(), "192.0.2.7:1")
	c.Do("GET", get("/"))
	wantCounts(t, m, maxCopies+1, 0, busy, 0, 0)
	if n := shadow.Conns(); n != maxCopies {
		t.Errorf("%d connections to the mirror, want %d", n, maxCopies)
	}
}

// TestMirrorAnswers: an answer is read and dropped so that its connection serves the next copy; one that is too long for that is cut.
func TestMirrorAnswers(t *testing.T) {
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 16<<10, strings.Repeat("c", 16<<10))
	long := strings.Repeat("l", copyAnswer+(128<<10))
	for _, tc := range []struct {
		name, answer string
		conns        int // for three copies
	}{
		{"no body", "HTTP/1.1 204 No Content\r\n\r\n", 1},
		{"a body", okAnswer, 1},
		{"chunks with trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + chunk + "0\r\nX-Sum: 1\r\n\r\n", 1},
		{"interim answers", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + okAnswer, 1},
		{"200 KiB", fmt.Sprintf("HTTP/1.1 500 Bad\r\nContent-Length: %d\r\n\r\n%s", 200<<10, long[:200<<10]), 1},
		{"more than is worth it", fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(long), long), 3},
		{"an end that the endpoint wants", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			real := testnet.NewOrigin(t, testnet.Answer(okAnswer))
			shadow := testnet.NewOrigin(t, testnet.Answer(tc.answer))
			m := mirrorTo(t, shadow.Addr, nil)
			c := connect(t, NewHTTP(site(t, nil, at("/*", &Route{Action: &Forward{backend(t, real.Addr, nil, nil)}, Mirror: m}))), serverOptions(), "192.0.2.7:1")
			for n := range uint64(3) {
				if r := c.Do("GET", get("/")); r.Status != 200 || string(r.Body) != "ok" || len(r.Header.All("Link")) != 0 {
					t.Fatalf("answer %+v", r)
				}
				wantCounts(t, m, n+1, 0, 0, 0, 0)
			}
			if n := shadow.Conns(); n != tc.conns {
				t.Errorf("%d connections for three copies, want %d", n, tc.conns)
			}
		})
	}
}

// TestMirrorFails: whatever is wrong with the mirror, the client and the log do not notice.
func TestMirrorFails(t *testing.T) {
	answers := func(text string) func(testing.TB) string {
		return func(t testing.TB) string { return testnet.NewOrigin(t, testnet.Answer(text)).Addr }
	}
	for _, tc := range []struct {
		name    string
		address func(t testing.TB) string
	}{
		{"refuses", func(testing.TB) string { return "127.0.0.1:1" }},
		{"has no endpoint", func(testing.TB) string { return "" }},
		{"resets", func(t testing.TB) string {
			return testnet.NewOrigin(t, func(c *testnet.OriginConn) { c.ReadRequest(); c.Reset() }).Addr
		}},
		{"closes", func(t testing.TB) string {
			return testnet.NewOrigin(t, func(c *testnet.OriginConn) { c.ReadRequest() }).Addr
		}},
		{"talks nonsense", answers("SSH-2.0-x\r\nConnection: close\r\n\r\n")},
		{"breaks off", answers("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nhalf")},
		{"changes the protocol", answers("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade, close\r\nUpgrade: x\r\n\r\n")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			real := testnet.NewOrigin(t, testnet.Answer(okAnswer))
			m := mirrorTo(t, "127.0.0.1:1", func(o *upstream.Options) {
				o.Retry.Attempts = 0
				if o.Endpoints[0].Address = tc.address(t); o.Endpoints[0].Address == "" {
					o.Endpoints = nil
				}
			})
			l, text := openLog(t)
			c := connect(t, NewHTTP(site(t, func(s *Site) { s.Log = l }, at("/*", &Route{Action: &Forward{backend(t, real.Addr, nil, nil)}, Mirror: m}))), serverOptions(), "192.0.2.7:1")
			for n := range uint64(3) {
				for _, request := range []string{get("/"), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"} {
					if r := c.Do("GET", request); r.Status != 200 || string(r.Body) != "ok" || r.Header.Get("Sluice-Reason") != "" {
						t.Fatalf("answer %+v", r)
					}
				}
				wantCounts(t, m, 0, 2*n+2, 0, 0, 0)
			}
			if e := m.Backend.Snapshot().Endpoints; len(e) > 0 && e[0].Failures != 6 {
				t.Errorf("%d failures are held against the mirror's endpoint, want 6", e[0].Failures)
			}
			lines := text()
			if n := strings.Count(lines, `"backend":"app"`); n != 6 || strings.Contains(lines, "reason") || strings.Contains(lines, "shadow") {
				t.Errorf("log\n%s", lines)
			}
		})
	}
}

// TestMirrorOfFailure: a request that its own backend fails is copied all the same, once, however often it was tried; its body whole.
func TestMirrorOfFailure(t *testing.T) {
	for _, tc := range []struct {
		name   string
		real   func(c *testnet.OriginConn)
		tries  int
		status int
	}{
		{"fails", func(c *testnet.OriginConn) { c.ReadRequest(); c.Reset() }, 2, 502},
		{"fails once", func(c *testnet.OriginConn) {
			if _, read := c.ReadRequest(); read && c.Number > 0 {
				c.Send(okAnswer)
			}
		}, 2, 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			real := testnet.NewOrigin(t, tc.real)
			shadow, copied := recording(t, okAnswer)
			m := mirrorTo(t, shadow.Addr, nil)
			b := backend(t, real.Addr, func(o *upstream.Options) { o.Retry.Reset = true }, nil)
			body := strings.Repeat("0123456789", 3000)
			c := connect(t, NewHTTP(site(t, nil, at("/*", &Route{Action: &Forward{b}, Mirror: m}))), serverOptions(), "192.0.2.7:1")
			if r := c.Do("PUT", fmt.Sprintf("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body)); r.Status != tc.status {
				t.Fatalf("answer %+v", r)
			}
			if d := testnet.Receive(t, "the copy", copied); string(d.Body) != body {
				t.Errorf("a copy with %d bytes, want %d", len(d.Body), len(body))
			}
			wantCounts(t, m, 1, 0, 0, 0, 0)
			if n := real.Conns(); n != tc.tries {
				t.Errorf("%d tries, want %d", n, tc.tries)
			}
		})
	}
}

// TestMirrorOfBrokenBody: a client that leaves before its body has ended is not copied.
func TestMirrorOfBrokenBody(t *testing.T) {
	for _, body := range []string{"Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "Transfer-Encoding: chunked\r\n\r\nnonsense\r\n"} {
		t.Run(body[:8], func(t *testing.T) {
			begun := make(chan struct{}, 10)
			real := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
				if _, read := c.ReadHead(); read {
					begun <- struct{}{}
					c.Hang()
				}
			})
			shadow, copied := recording(t, okAnswer)
			m := mirrorTo(t, shadow.Addr, nil)
			h := NewHTTP(site(t, nil, at("/*", &Route{Action: &Forward{backend(t, real.Addr, nil, nil)}, Mirror: m})))
			c := connect(t, h, serverOptions(), "192.0.2.7:1")
			c.Send("POST / HTTP/1.1\r\nHost: a\r\n" + body)
			if !strings.Contains(body, "nonsense") {
				testnet.Receive(t, "the request at its backend", begun)
				c.Close()
			}
			wantCounts(t, m, 0, 0, 0, 0, 1)
			if len(copied) != 0 || shadow.Conns() != 0 {
				t.Errorf("copied %s", told(<-copied))
			}
		})
	}
}

// TestMirrorAndEarlyAnswer: an endpoint that answers before it has the body, while the client waits for the answer, is heard at once although the body
// is being kept for a copy. There is none then, because the body has no end.
func TestMirrorAndEarlyAnswer(t *testing.T) {
	real := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		if _, read := c.ReadHead(); read {
			c.Send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
		}
	})
	shadow := testnet.NewOrigin(t, testnet.Answer(okAnswer))
	m := mirrorTo(t, shadow.Addr, nil)
	o := serverOptions()
	o.BodyTimeout = time.Hour // what does not come at once does not come
	for _, framing := range []string{"Content-Length: 1000\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"} {
		c := connect(t, NewHTTP(site(t, nil, at("/*", &Route{Action: &Forward{backend(t, real.Addr, nil, nil)}, Mirror: m}))), o, "192.0.2.7:1")
		if r := c.Do("POST", "POST / HTTP/1.1\r\nHost: a\r\n"+framing); r.Status != 413 || string(r.Body) != "big" {
			t.Errorf("answer %+v", r)
		}
		c.WantClosed() // which nobody waits for the client with
	}
	wantCounts(t, m, 0, 0, 0, 0, 2)
}

// TestMirrorHasItsOwnTime: how long the request itself took is nothing to the copy.
func TestMirrorHasItsOwnTime(t *testing.T) {
	const within = 50 * time.Millisecond
	real := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		for {
			if _, read := c.ReadRequest(); !read {
				return
			}
			<-time.NewTimer(4 * within).C
			c.Send(okAnswer)
		}
	})
	shadow := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		for range 2 { // the second comes over a connection that is there
			if _, read := c.ReadRequest(); !read || !c.Send(okAnswer) {
				return
			}
		}
	})
	m := mirrorTo(t, shadow.Addr, func(o *upstream.Options) {
		o.Retry.Attempts, o.FirstByte, o.Retry.PerTry = 0, within, within
	})
	c := connect(t, NewHTTP(site(t, nil, at("/*", &Route{Timeout: testnet.Patience, Action: &Forward{backend(t, real.Addr, nil, nil)}, Mirror: m}))), serverOptions(), "192.0.2.7:1")
	for n := range uint64(2) {
		if r := c.Do("GET", get("/")); r.Status != 200 {
			t.Fatalf("answer %+v", r)
		}
		wantCounts(t, m, n+1, 0, 0, 0, 0)
	}
}

// TestMirrorDoesNotWaitForTheAnswer: the copy of a request that is whole goes out when its answer begins, however long that takes to end.
func TestMirrorDoesNotWaitForTheAnswer(t *testing.T) {
	ended := make(chan struct{})
	real := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		for {
			if _, read := c.ReadRequest(); !read || !c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n") || !c.Wait(ended) || !c.Send("0\r\n\r\n") {
				return
			}
		}
	})
	shadow, copied := recording(t, okAnswer)
	m := mirrorTo(t, shadow.Addr, nil)
	h := NewHTTP(site(t, nil, at("/*", &Route{Action: &Forward{backend(t, real.Addr, nil, nil)}, Mirror: m})))
	var clients []*testnet.Client
	for _, framing := range []string{"\r\n", "Content-Length: 3\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"} {
		c := connect(t, h, serverOptions(), "192.0.2.7:1")
		c.Send("PUT / HTTP/1.1\r\nHost: a\r\n" + framing)
		clients = append(clients, c)
		testnet.Receive(t, "the copy", copied)
	}
	wantCounts(t, m, 3, 0, 0, 0, 0)
	close(ended)
	for _, c := range clients {
		if r := c.ReadResponse("PUT"); string(r.Body) != "ok" {
			t.Errorf("answer %+v", r)
		}
	}
	wantCounts(t, m, 3, 0, 0, 0, 0)
}

// TestMirrorUpgrade: a connection that changes its protocol is not copied, nor is what the client asks for without a permit told to the mirror.
func TestMirrorUpgrade(t *testing.T) {
	real := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		r, read := c.ReadRequest()
		switch {
		case !read:
		case r.Header.Get("Upgrade") == "":
			c.Send(okAnswer)
		default:
			c.Send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello")
			c.Hang()
		}
	})
	shadow := testnet.NewOrigin(t, testnet.Answer(okAnswer))
	m := mirrorTo(t, shadow.Addr, nil)
	o := serverOptions()
	o.Upgrade = []string{"websocket"}
	h := NewHTTP(site(t, nil, at("/*", &Route{Action: &Forward{backend(t, real.Addr, nil, nil)}, Mirror: m, Upgrade: []string{"websocket"}})))
	c := connect(t, h, o, "192.0.2.7:1")
	c.Send(get("/", "Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
	if r := c.ReadResponse("GET"); r.Status != 101 {
		t.Fatalf("answer %+v", r)
	}
	c.WantPrefix("hello")
	c.Close()
	c = connect(t, h, o, "192.0.2.7:1")
	c.Send(get("/"))
	wantCounts(t, m, 1, 0, 0, 0, 0)
	if got := shadow.Received(); strings.Count(got, "GET / ") != 1 || strings.Contains(got, "websocket") {
		t.Errorf("the mirror got\n%s", got)
	}
}
