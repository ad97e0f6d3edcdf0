package compose

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/http1"
	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/upstream"
)

// service is an origin that answers requests by a function of them, and keeps them.
type service struct {
	*testnet.Origin
	mu       sync.Mutex
	requests []*testnet.Request
}

// serve starts a service. An empty answer closes the connection.
func serve(t testing.TB, answer func(r *testnet.Request, c *testnet.OriginConn) string) *service {
	s := &service{}
	s.Origin = testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		for {
			r, ok := c.ReadRequest()
			if !ok {
				return
			}
			s.mu.Lock()
			s.requests = append(s.requests, r)
			s.mu.Unlock()
			text := answer(r, c)
			if text == "" || !c.Send(text) {
				return
			}
		}
	})
	return s
}

// files serves texts by the path of the request, without its query; others are not found.
func files(t testing.TB, answers map[string]string) *service {
	return serve(t, func(r *testnet.Request, _ *testnet.OriginConn) string {
		path, _, _ := strings.Cut(r.Target, "?")
		if text, ok := answers[path]; ok {
			return text
		}
		return reply(404, "text/plain", "no such thing")
	})
}

// seen returns what was asked for, in the order in which it came.
func (s *service) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, r := range s.requests {
		all = append(all, r.Method+" "+r.Target)
	}
	return all
}

// request returns the request for a target.
func (s *service) request(t testing.TB, target string) *testnet.Request {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if r.Target == target {
			return r
		}
	}
	t.Fatalf("nobody has asked for %s", target)
	return nil
}

// only returns the one request that there was.
func (s *service) only(t testing.TB) *testnet.Request {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) != 1 {
		t.Fatalf("%d requests, want one", len(s.requests))
	}
	return s.requests[0]
}

// reply is an answer with a body.
func reply(status int, contentType, body string, fields ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d X\r\n", status)
	if contentType != "" {
		fmt.Fprintf(&b, "Content-Type: %s\r\n", contentType)
	}
	for _, f := range fields {
		b.WriteString(f + "\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return b.String()
}

// ok is a JSON answer.
func ok(body string, fields ...string) string {
	return reply(200, "application/json", body, fields...)
}

// load compiles the composition of a route. Backends are those that its steps name.
func load(t testing.TB, compose string) (*config.Compose, *config.Reporter) {
	t.Helper()
	c, err := config.Load("x.yaml", []byte(configuration("127.0.0.1:1", compose)), config.Options{})
	if err != nil {
		t.Fatalf("%v\n%s", err, compose)
	}
	return c.Routes[0].Compose, c.Reporter()
}

// configuration is one with one composition.
func configuration(address, compose string) string {
	var b strings.Builder
	b.WriteString("version: 1\nlisteners: {web: {address: \":0\", protocol: http}}\nbackends:\n")
	for _, name := range []string{"app", "other"} {
		fmt.Fprintf(&b, "  %s: {endpoints: [%q]}\n", name, address)
	}
	b.WriteString("routes:\n  - name: whole\n    match: {path: \"/whole/{id}\"}\n    compose:\n")
	for line := range strings.Lines(compose) {
		b.WriteString("      " + line)
	}
	return b.String() + "\n"
}

// environment is what expressions of the tests know.
var environment = expr.Env{Captures: []string{"id"}, Claims: true, Consumer: true, Version: true}

// plan compiles a composition and connects it with an origin.
func plan(t testing.TB, address, compose string) *Plan {
	t.Helper()
	return planWith(t, compose, nil, func(string) *upstream.Backend { return backend(t, address, nil) })
}

// planWith is plan with backends and a scope of its own.
func planWith(t testing.TB, compose string, scope *metric.Scope, backends func(name string) *upstream.Backend) *Plan {
	t.Helper()
	c, r := load(t, compose)
	p := Compile(c, environment, r)
	if err := r.Err(); err != nil || p == nil {
		t.Fatalf("%v\n%s", err, compose)
	}
	known := map[string]*upstream.Backend{}
	p.Connect(func(name string) *upstream.Backend {
		if known[name] == nil {
			known[name] = backends(name)
		}
		return known[name]
	}, scope, "whole")
	t.Cleanup(func() {
		if n := p.Held(); n != 0 {
			t.Errorf("%d bytes of answers are kept when nobody needs them", n)
		}
	})
	return p
}

// backend makes a backend of one endpoint. edit may change its options.
func backend(t testing.TB, address string, edit func(*upstream.Options)) *upstream.Backend {
	t.Helper()
	o := upstream.Default()
	o.Name = "app"
	o.Outlier.Consecutive = 0
	o.Endpoints = []upstream.EndpointOptions{{Address: address, Weight: 1}}
	if edit != nil {
		edit(&o)
	}
	b, err := upstream.New(o, keeper{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.Start()
	t.Cleanup(b.Close)
	return b
}

// keeper keeps endpoints for as long as one backend has them.
type keeper struct{}

func (keeper) Acquire(backend string, o upstream.TransportOptions) (*upstream.Endpoint, error) {
	return upstream.NewEndpoint(backend, o, nil)
}

func (keeper) Release(ep *upstream.Endpoint) { ep.Close() }

// exchange makes a request for the route of the tests, as the gateway hands it over.
func exchange(fields ...string) *message.Exchange {
	x := new(message.Exchange)
	x.Reset()
	fill(x, fields...)
	return x
}

func fill(x *message.Exchange, fields ...string) {
	r := &x.Request
	r.Method, r.Protocol, r.Scheme = message.MethodOf([]byte("GET")), message.HTTP11, "http"
	r.Host, r.Path, r.RawPath = []byte("example.test"), []byte("/whole/7"), []byte("/whole/7")
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Add(message.NameOf(name), []byte(value))
	}
	x.Captures = append(x.Captures, message.Capture{Name: "id", Value: []byte("7")})
	x.Client.Peer = peerAddr
	x.Client.Addr = x.Client.Peer.Addr()
	x.Times.Start = message.Now()
	x.Times.Read, x.Times.Routed = x.Times.Start, x.Times.Start
}

// answer is what came of an exchange.
type answer struct {
	status  int
	body    string
	header  map[string]string
	failure *message.Failure
}

// ask runs a plan for a request with some fields.
func ask(t testing.TB, p *Plan, fields ...string) answer {
	t.Helper()
	x := exchange(fields...)
	return askWith(t, p, x)
}

func askWith(t testing.TB, p *Plan, x *message.Exchange) answer {
	t.Helper()
	a := answer{header: map[string]string{}}
	if a.failure = p.Serve(x, 0); a.failure != nil {
		a.status = a.failure.Status
		if a.status == 0 {
			a.status = a.failure.Reason.Status()
		}
		a.body = string(a.failure.Members)
		return a
	}
	a.status = x.Response.Status
	for piece, err := x.Response.Body.Next(); err == nil; piece, err = x.Response.Body.Next() {
		a.body += string(piece)
	}
	if int64(len(a.body)) != x.Response.Length {
		t.Errorf("length %d of %d bytes", x.Response.Length, len(a.body))
	}
	for i := range x.Response.Header.Len() {
		f := x.Response.Header.At(i)
		a.header[string(f.Name)] = string(f.Value)
	}
	if err := x.Response.Body.Close(); err != nil {
		t.Error(err)
	}
	if len(a.body) > 0 && !json.Valid([]byte(a.body)) {
		t.Errorf("the answer is no JSON: %q", a.body)
	}
	return a
}

// wantBody checks an answer of status 200.
func wantBody(t testing.TB, a answer, body string) {
	t.Helper()
	if a.failure != nil || a.status != 200 || a.body != body {
		t.Errorf("answer %d %s\n(failure %v)\nwant %s", a.status, a.body, a.failure, body)
	}
}

// wantParts checks a problem.
func wantParts(t testing.TB, a answer, status int, parts string) {
	t.Helper()
	if a.failure == nil || a.failure.Reason != message.StepFailed || a.status != status || a.body != `,"parts":[`+parts+`]` {
		t.Errorf("answer %d %s\n(failure %v)\nwant %d %s", a.status, a.body, a.failure, status, parts)
	}
}

// front is a handler that has only a plan.
type front struct{ plan *Plan }

func (f front) Serve(x *message.Exchange) {
	x.Times.Routed = x.Times.Read
	x.Captures = append(x.Captures, message.Capture{Name: "id", Value: []byte("7")})
	failure := f.plan.Serve(x, 0)
	if failure == nil {
		return
	}
	x.Fail(failure)
	x.Response.Header.Reset()
	x.Response.Status = failure.Reason.Status()
	if failure.Status != 0 {
		x.Response.Status = failure.Status
	}
	x.Fixed.Reset(failure.Members)
	x.Response.Body, x.Response.Length = &x.Fixed, int64(len(failure.Members))
}

func (front) Finish(*message.Exchange) {}

// connect serves one connection with a handler, over TCP: clients that leave are seen there only.
func connect(t testing.TB, h message.Handler) *testnet.Client {
	t.Helper()
	return testnet.Dial(t, testnet.NewOrigin(t, func(c *testnet.OriginConn) { http1.ServeConn(c.Conn, http1.Peer{Addr: peerAddr}, serverOptions(), h) }).Addr)
}

var peerAddr = netip.MustParseAddrPort("192.0.2.7:1234")

// serverOptions are those of a listener with defaults.
func serverOptions() *http1.ServerOptions {
	return &http1.ServerOptions{
		Scheme: "http", MaxRequestLine: 16 << 10, MaxHeader: 64 << 10, MaxHeaderCount: 100, DrainBody: 256 << 10,
		HeaderTimeout: testnet.Patience, BodyTimeout: testnet.Patience, IdleTimeout: testnet.Patience, WriteTimeout: testnet.Patience,
	}
}
