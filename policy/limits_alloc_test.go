//go:build !race

package policy

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// everyLimit is a configuration whose routes have all limits, and a backend's own fields are there to be replaced.
var everyLimit = limits(`[fair, {rate_limit: {windows: [1000000000/s, 3000000000/m], key: request.path, cost: "2"}}]`,
	"policies: {fair: {rate_limit: {rate: 1000000000/s}}}")

var everyPlan = limits("[{api_key: {}}, by-plan]", `
plans: {p: {rate: 1000000000/s, quota: 100000000000/month, timezone: Europe/Berlin}}
consumers: [{name: app, plan: p, api_keys: "sha256:5f7b2ed74a9736a538a6fb5a5a1a76afdcdd0d177d7fc6e79c6b6843527d848d"}]
policies: {by-plan: {plan_limit: {}}}
`)

func TestLimitAllocations(t *testing.T) {
	p := newCounting(t)
	rates, plan := p.generation(everyLimit).chains["a"], p.generation(everyPlan).chains["a"]
	own, text := message.RateLimit.Name(), []byte(`"theirs";r=1`)
	key, value := message.NameOf("X-API-Key"), []byte("demo-partner-key")
	path, address := []byte("/a"), netip.AddrFrom4([4]byte{192, 0, 2, 1})
	x := new(message.Exchange)
	x.Reset()
	for name, c := range map[string]*Chain{"rates": rates, "plan": plan} {
		n := testing.AllocsPerRun(200, func() {
			x.Request.Path, x.Client.Addr = path, address
			x.Request.Header.Add(key, value)
			ran, done, f := c.Request(x, 0, nil)
			if done || f != nil {
				t.Fatal(done, f)
			}
			x.Response.Header.Add(own, text)
			if left, f := c.Response(x, ran, 0); left != 0 || f != nil || x.Response.Header.Count(message.RateLimit) == 0 {
				t.Fatal(left, f)
			}
			x.Reset()
		})
		if n > 0 {
			t.Errorf("%s: %v allocations for a request and its response, want 0", name, n)
		}
	}
}

// BenchmarkLimits measures what limits add to a request, with many keys.
func BenchmarkLimits(b *testing.B) {
	for _, c := range []struct{ name, list string }{
		{"none", "[]"},
		{"rate", "[{rate_limit: {rate: 1000000000/s}}]"},
		{"three_windows", "[{rate_limit: {windows: [1000000000/s, 3000000000/m, 70000000000/h]}}]"},
		{"header_key", `[{rate_limit: {rate: 1000000000/s, key: 'request.headers["x-tenant"]'}}]`},
		{"key_alone", "[{api_key: {}}]"},
		{"key_and_plan", "[{api_key: {}}, by-plan]"},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := newCounting(b)
			chain := p.generation(limits(c.list, `
plans: {p: {rate: 1000000000/s, quota: 100000000000/month}}
consumers: [{name: app, plan: p, api_keys: "sha256:5f7b2ed74a9736a538a6fb5a5a1a76afdcdd0d177d7fc6e79c6b6843527d848d"}]
policies: {by-plan: {plan_limit: {}}}
`)).chains["a"]
			x := new(message.Exchange)
			x.Client.Addr = netip.AddrFrom4([4]byte{192, 0, 2, 1})
			tenants := make([][]byte, 1024)
			for i := range tenants {
				tenants[i] = fmt.Append(nil, "tenant-", i)
			}
			name, key, value := message.NameOf("X-Tenant"), message.NameOf("X-API-Key"), []byte("demo-partner-key")
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n++
				x.Reset()
				x.Request.Header.Add(name, tenants[n%len(tenants)])
				x.Request.Header.Add(key, value)
				ran, _, f := chain.Request(x, 0, nil)
				if f != nil {
					b.Fatal(f)
				}
				chain.Response(x, ran, 0)
			}
		})
	}
}
