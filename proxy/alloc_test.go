//go:build !race

package proxy

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/upstream"
)

// quietLog makes an access log that is encoded and written, to nowhere.
func quietLog(t *testing.T) *Log {
	t.Helper()
	w, err := metric.OpenLog(metric.LogOptions{Writer: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	l := NewLog(w)
	t.Cleanup(func() {
		if err := l.Close(testnet.Patience); err != nil {
			t.Error(err)
		}
	})
	return l
}

// TestWholeExchangeAllocations: a request through codec, proxy, table, policies, backend, metrics
// and access log costs no allocation once everything has its size. The client's connection is in
// memory, the endpoint's on loopback.
func TestWholeExchangeAllocations(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 128\r\n\r\n"
	body := strings.Repeat("x", 128)
	o := testnet.NewOrigin(t, func(c *testnet.OriginConn) { testnet.Respond(c.Conn, []byte(answer+body)) })
	reg := metric.NewRegistry(metric.Options{})
	scope := reg.Scope()
	app := backend(t, o.Addr, nil, reg)
	two := backend(t, o.Addr, func(b *upstream.Options) { b.Algorithm = "round_robin" }, reg)
	changes := `[{request: {headers: {set: {X-A: '${request.path}', X-B: b}}, query: {set: {c: d}}}}, {response: {headers: {set: {X-C: c}, remove: [Content-Type]}}}]`
	s := site(t, func(s *Site) {
		s.Log = quietLog(t)
		s.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		s.RFC7239 = true
	},
		at("/app/{id}", &Route{Action: &Forward{app}, Metrics: NewRouteMetrics(scope, "web", "app")}),
		at("/changed/*", &Route{Action: &Forward{two}, Policies: policies(t, changes), Metrics: NewRouteMetrics(scope, "web", "changed")}),
		at("/fixed", &Route{Action: text, Metrics: NewRouteMetrics(scope, "web", "fixed")}))
	s.Seal(scope)
	h := NewHTTP(s)
	for _, tc := range []struct {
		name, peer, request string
		status              int
	}{
		{"forwarded", "192.0.2.7:1", get("/app/7?a=b", "User-Agent: test", "Accept: */*", "Accept-Encoding: gzip"), 200},
		{"trusted proxy", "10.0.0.1:1", get("/app/7", "X-Forwarded-For: 203.0.113.7, 10.0.0.9:80", "X-Forwarded-Proto: https", "X-Request-Id: abc", "Forwarded: for=203.0.113.7"), 200},
		{"policies", "192.0.2.7:1", get("/changed/a/b?x=y"), 200},
		{"fixed", "192.0.2.7:1", get("/fixed"), 200},
		{"no route", "192.0.2.7:1", get("/nowhere"), 404},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := connect(t, h, serverOptions(), tc.peer)
			first := c.Do("GET", tc.request)
			if first.Status != tc.status {
				t.Fatalf("answer %d %s", first.Status, first.Body)
			}
			sent := []byte(tc.request)
			got := make([]byte, len(answerText(first)))
			if n := testing.AllocsPerRun(300, func() {
				if _, err := c.Conn.Write(sent); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(c.Conn, got); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%v allocations for each request, want 0", n)
			}
			if want := fmt.Sprintf("HTTP/1.1 %d ", tc.status); !strings.HasPrefix(string(got), want) {
				t.Errorf("the last answer is\n%s", got)
			}
		})
	}
}

// answerText has the length of an answer, whose fields have the same lengths every time.
func answerText(r *testnet.Response) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d %s\r\n", r.Proto, r.Status, r.Phrase)
	for _, f := range r.Header {
		fmt.Fprintf(&b, "%s: %s\r\n", f.Name, f.Value)
	}
	return b.String() + "\r\n" + string(r.Body)
}

// TestServeAllocations: whatever the lengths of names and addresses, memory that an exchange has got
// once is enough for the next one like it.
func TestServeAllocations(t *testing.T) {
	s := site(t, func(s *Site) {
		s.Log = quietLog(t)
		s.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		s.RFC7239 = true
		s.ProblemType = "https://api.example/problems/{reason}"
	},
		at("/old/*", &Route{Action: redirect(t, "/old/*", "https://${request.host}/new${request.path}", 308)}),
		at("/fixed", &Route{Action: &Respond{Status: 200, ContentType: []byte(strings.Repeat("t", 60)), Headers: []Field{{message.NameOf("X-A"), []byte(strings.Repeat("v", 200))}}}}))
	h := NewHTTP(s)
	x := new(message.Exchange)
	for n := 1; n < 120; n++ {
		for _, path := range []string{"/fixed", "/old/a%20b", "/nowhere"} {
			like := request("10.0.0.1:1", strings.Repeat("h", n), path)
			list := []byte("203.0.113.7, 10.1.2.3, 10.255.255.254")
			if got := testing.AllocsPerRun(5, func() {
				x.Reset()
				r := &x.Request
				r.Method, r.Protocol, r.Scheme, r.Host, r.Port = like.Request.Method, message.HTTP11, "https", like.Request.Host, list[:3]
				r.Path, r.RawPath = like.Request.Path, like.Request.RawPath
				r.Header.Add(message.Host.Name(), r.Host)
				r.Header.Add(message.XForwardedFor.Name(), list)
				r.Header.Add(message.XForwardedFor.Name(), list)
				r.Header.Add(message.Forwarded.Name(), list)
				x.Client.Peer = like.Client.Peer
				x.Times.Start, x.Times.Read = 1, 1
				h.Serve(x)
				x.Times.End = 2
				h.Finish(x)
			}); got != 0 {
				t.Fatalf("host of %d bytes, %s: %v allocations, want 0", n, path, got)
			}
		}
	}
}
