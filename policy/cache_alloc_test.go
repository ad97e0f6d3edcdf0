//go:build !race

package policy

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// serving is a program that keeps what policies keep, for good.
type serving struct {
	things map[any]io.Closer
	reg    *metric.Registry
	scope  *metric.Scope
}

func newServing() *serving {
	reg := metric.NewRegistry(metric.Options{})
	return &serving{things: map[any]io.Closer{}, reg: reg, scope: reg.Scope()}
}

func (s *serving) Keep(_ string, key any, open func() (io.Closer, error)) (io.Closer, error) {
	if s.things[key] == nil {
		thing, err := open()
		if err != nil {
			return nil, err
		}
		s.things[key] = thing
	}
	return s.things[key], nil
}

func (s *serving) Service(string) (Service, error) { return nil, nil }
func (s *serving) Caches(Invalidator)              {}
func (s *serving) Registry() *metric.Registry      { return s.reg }
func (s *serving) Scope() *metric.Scope            { return s.scope }
func (s *serving) State() string                   { return "" }
func (s *serving) Reporter() func(string)          { return func(string) {} }

// oneAnswer is a runner whose routes end in the same answer.
type oneAnswer struct{ body []byte }

func (r *oneAnswer) Detach(x *message.Exchange, _ int, t Task) (cancel func()) {
	y := new(message.Exchange)
	y.Reset()
	message.CopyRequest(y, x)
	t.Prepare(y)
	y.Response.Status, y.Response.Length = 200, int64(len(r.body))
	addLine(&y.Response.Header, "Content-Type: application/json")
	addLine(&y.Response.Header, "Cache-Control: max-age=3600, public")
	addLine(&y.Response.Header, `ETag: "abcdef"`)
	y.Fixed.Reset(r.body)
	y.Response.Body = &y.Fixed
	t.Answer(y)
	return func() {}
}

// cacheFile is a configuration whose route has these policies, and whose one consumer has the key "ann".
func cacheFile(policies string) []byte {
	return fmt.Appendf(nil, `version: 1
listeners: {web: {address: "127.0.0.1:8080", protocol: http}}
consumers: [{name: ann, api_keys: ["sha256:%x"]}]
routes: [{name: items, policies: %s, respond: {}}]
`, sha256.Sum256([]byte("ann")), policies)
}

// hits returns what answers one request from a cache, on a route with these policies.
func hits(tb testing.TB, policies string) func() {
	cfg, err := config.Load("test.yaml", cacheFile(policies), config.Options{Kinds: Kinds()})
	if err != nil {
		tb.Fatal(err)
	}
	c := context(cfg)
	c.Program = newServing()
	chain, _ := Compile(cfg.Routes[0].Policies, c)
	if err := c.Report.Err(); err != nil {
		tb.Fatal(err)
	}
	runner := &oneAnswer{[]byte(strings.Repeat("x", 1024))}
	x := new(message.Exchange)
	x.Reset()
	host, path, get := []byte("shop.example"), []byte("/items/7/a/b"), message.MethodOf([]byte("GET"))
	language, key, de, ann := message.NameOf("Accept-Language"), message.NameOf("X-API-Key"), []byte("de"), []byte("ann")
	want := "miss"
	run := func() {
		x.Request.Method, x.Request.Scheme, x.Request.Host, x.Request.Path = get, "http", host, path
		x.Request.Header.Add(language, de)
		x.Request.Header.Add(key, ann)
		ran, done, f := chain.Request(x, 0, runner)
		if !done || f != nil || x.Outcome.Cache != want {
			tb.Fatal(done, f, x.Outcome.Cache)
		}
		if left, f := chain.Response(x, ran, 0); left != 0 || f != nil {
			tb.Fatal(left, f)
		}
		piece, err := x.Response.Body.Next()
		if err != nil || len(piece) != len(runner.body) {
			tb.Fatal(len(piece), err)
		}
		if err := x.Response.Body.Close(); err != nil {
			tb.Fatal(err)
		}
		x.Reset()
	}
	run()
	want = "hit"
	return run
}

func TestCacheAllocations(t *testing.T) {
	for _, policies := range []string{
		"[{cache: {}}]",
		`[{cache: {vary_on: ['request.headers["accept-language"]', request.path]}}]`,
		"[{api_key: {}}, {cache: {vary_on: [consumer.name]}}]",
	} {
		if n := testing.AllocsPerRun(200, hits(t, policies)); n != 0 {
			t.Errorf("%s: %v allocations for a hit, want 0", policies, n)
		}
	}
}

func BenchmarkCacheHit(b *testing.B) {
	run := hits(b, "[{cache: {}}]")
	b.ReportAllocs()
	for b.Loop() {
		run()
	}
}
