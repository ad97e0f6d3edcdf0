package proxy

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/http1"
	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/policy"
	"github.com/sluice-gateway/sluice/route"
	"github.com/sluice-gateway/sluice/upstream"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files instead of comparing with them")

// golden compares a text with a file below testdata, or writes the file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	name = "testdata/" + name
	if *rewrite {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("%s differs from line %d on (see -rewrite)\n got %q\nwant %q", name, i+1, g[min(i, len(g)-1)], w[min(i, len(w)-1)])
		}
	}
}

// text is the answer of the routes in tests that do not care.
var text = &Respond{Status: 200, ContentType: []byte("text/plain"), Body: []byte("hello\n")}

// routeOf is what a table is made of.
type routeOf = route.Route[*Route]

// at is a route of a test.
func at(path string, r *Route) route.Route[*Route] {
	if r.Action == nil {
		r.Action = text
	}
	if r.Name == "" {
		r.Name = path
	}
	return route.Route[*Route]{Name: r.Name, Match: route.Match{Path: path}, Payload: r}
}

// site makes a site of routes. edit may change it before it is sealed.
func site(t testing.TB, edit func(*Site), routes ...route.Route[*Route]) *Site {
	t.Helper()
	var b route.Builder[*Route]
	for _, r := range routes {
		if err := b.AddRoute(r); err != nil {
			t.Fatal(err)
		}
	}
	table, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	s := &Site{Listener: "web", Table: table, ProblemType: "about:blank"}
	if edit != nil {
		edit(s)
	}
	s.Seal(nil)
	return s
}

// policies compiles a list of policies as a configuration writes it.
func policies(t testing.TB, list string) *policy.Chain {
	t.Helper()
	c, err := config.Load("x.yaml", []byte("version: 1\nlisteners: {web: {address: \":0\", protocol: http}}\nroutes:\n  - respond: {}\n    policies: "+list+"\n"),
		config.Options{Kinds: policy.Kinds()})
	if err != nil {
		t.Fatal(err)
	}
	r := c.Reporter()
	chain, _ := policy.Compile(c.Routes[0].Policies, policy.BuildContext{Route: "x", Report: r, Config: c, Consumers: policy.NewConsumers(c)})
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return chain
}

// serverOptions are those of a listener with defaults.
func serverOptions() *http1.ServerOptions {
	return &http1.ServerOptions{
		Scheme: "http", MaxRequestLine: 16 << 10, MaxHeader: 64 << 10, MaxHeaderCount: 100, DrainBody: 256 << 10,
		HeaderTimeout: testnet.Patience, BodyTimeout: testnet.Patience, IdleTimeout: testnet.Patience, WriteTimeout: testnet.Patience,
	}
}

// connect serves one connection with h, in memory. peer is the client's address.
func connect(t testing.TB, h message.Handler, o *http1.ServerOptions, peer string) *testnet.Client {
	t.Helper()
	ours, theirs := testnet.Pipe(64 << 10)
	var wg sync.WaitGroup
	wg.Go(func() { http1.ServeConn(theirs, http1.Peer{Addr: netip.MustParseAddrPort(peer)}, o, h) })
	t.Cleanup(wg.Wait) // runs after the client has closed its end
	return testnet.NewClient(t, ours)
}

// get is a GET request for example.test.
func get(target string, fields ...string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: example.test\r\n" + lines(fields) + "\r\n"
}

func lines(fields []string) string {
	var b strings.Builder
	for _, f := range fields {
		b.WriteString(f + "\r\n")
	}
	return b.String()
}

// ask sends one request on a connection of its own.
func ask(t testing.TB, s *Site, request string) *testnet.Response {
	t.Helper()
	method, _, _ := strings.Cut(request, " ")
	return connect(t, NewHTTP(s), serverOptions(), "192.0.2.7:1234").Do(method, request)
}

// problemOf decodes the problem in an answer.
func problemOf(t testing.TB, r *testnet.Response) map[string]any {
	t.Helper()
	var p map[string]any
	if err := json.Unmarshal(r.Body, &p); err != nil || r.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("answer %d is no problem: %v %q (%v)", r.Status, r.Header, r.Body, err)
	}
	return p
}

// wantProblem checks status and reason everywhere they stand.
func wantProblem(t testing.TB, r *testnet.Response, reason message.Reason) {
	t.Helper()
	if r.Status != reason.Status() || r.Header.Get("Sluice-Reason") != reason.String() {
		t.Fatalf("answer %d %q, want %d %q", r.Status, r.Header.Get("Sluice-Reason"), reason.Status(), reason)
	}
	p := problemOf(t, r)
	if p["reason"] != reason.String() || p["status"] != float64(reason.Status()) || p["request_id"] != r.Header.Get("X-Request-Id") {
		t.Fatalf("problem %v, want reason %q, status %d and the id of the answer", p, reason, reason.Status())
	}
}

// backend makes a backend of one endpoint. edit may change its options.
func backend(t testing.TB, address string, edit func(*upstream.Options), reg *metric.Registry) *upstream.Backend {
	t.Helper()
	o := upstream.Default()
	o.Name = "app"
	o.Endpoints = []upstream.EndpointOptions{{Address: address, Weight: 1}}
	if edit != nil {
		edit(&o)
	}
	b, err := upstream.New(o, keeper{reg}, reg)
	if err != nil {
		t.Fatal(err)
	}
	b.Start()
	t.Cleanup(b.Close)
	return b
}

// keeper keeps endpoints for as long as one backend has them.
type keeper struct{ reg *metric.Registry }

func (k keeper) Acquire(backend string, o upstream.TransportOptions) (*upstream.Endpoint, error) {
	return upstream.NewEndpoint(backend, o, k.reg)
}

func (keeper) Release(ep *upstream.Endpoint) { ep.Close() }

// request makes an exchange as a codec hands it over.
func request(peer, host, path string, fields ...string) *message.Exchange {
	x := new(message.Exchange)
	x.Reset()
	r := &x.Request
	r.Method, r.Protocol, r.Scheme = message.MethodOf([]byte("GET")), message.HTTP11, "http"
	r.Host, r.Path, r.RawPath = []byte(host), []byte(path), []byte(path)
	r.Header.Add(message.Host.Name(), []byte(host))
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Add(message.NameOf(name), []byte(value))
	}
	x.Client.Peer = netip.MustParseAddrPort(peer)
	x.Times.Start = message.Now()
	x.Times.Read = x.Times.Start
	return x
}

// dump writes a header in its order.
func dump(h *message.Header) string {
	var b strings.Builder
	for i := range h.Len() {
		f := h.At(i)
		fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
	}
	return b.String()
}

// buffer is what a log is written to.
type buffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// openLog makes an access log. text waits for the exchanges, ends the log and returns what was written.
func openLog(t testing.TB) (l *Log, text func() string) {
	t.Helper()
	var b buffer
	w, err := metric.OpenLog(metric.LogOptions{Writer: &b})
	if err != nil {
		t.Fatal(err)
	}
	l = NewLog(w)
	end := func() {
		if err := l.Close(testnet.Patience); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(end)
	return l, func() string {
		testnet.Eventually(t, "the lines of exchanges that are under way", l.Settled)
		end()
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.b.String()
	}
}
