package proxy

import (
	"fmt"

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
		Backend: b, Share: 1, MaxBody: 64 << 10, Copies: new(Copies),
		Metrics: NewMirrorMetrics(metric.NewRegistry(metric.Options{}).Scope(), "r"),
	}
	t.Cleanup(m.Copies.Close)
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
}

// framing are the fields that tell of a body's length, which copies know and say.
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
			for range 2 { // the second goes over the memory and the connections of the first
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
			}
			wantCounts(t, m, 2, 0, 0, 0, 0)
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
