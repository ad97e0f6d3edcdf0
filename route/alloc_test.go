//go:build !race

package route

import (
	"fmt"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// TestLookupAllocations is the gate of the hot path: no lookup allocates, whatever it finds.
func TestLookupAllocations(t *testing.T) {
	table, _ := build(t,
		"GET * /a", "GET,PURGE * /a/{x}", "* * /files/{y}", "* *.shop.example /a/b/c/*", "* shop.example /q X-A: 1 ?p=1", "PUT * /m X-A: 1", "* * /files/a/{z}",
		"GET * /api/{x}/* @bank:v1", "GET * /api/{x}/* @bank:v2 keep", "PUT * /api/b @bank:v1", "* * /{x}/mail @mail", "* * /shop @shop")
	for _, target := range []string{
		"GET http://h/a", "HEAD http://h/a", "GET http://h/a/1", "GET http://h/a/%20%25;v=1", "GET http://x.shop.example/a/b/c/d/e",
		"GET http://shop.example/q?x&%70=%31\nX-A: 2\nX-A: 3, 1", "POST http://h/a", "PURGE http://h/a/b", "OTHER http://h/a/b", "GET http://h/none",
		"GET http://h/m\nX-A: 1", "GET http://h/files/a%2Fb", "GET http://h/files/b%2Fb",
		"GET http://h/v1/api/a/b", "GET http://h/api/a%20/%2F\nAccept-Version: v1", "GET http://h/api/a/b%2F\nAccept: text/html, application/vnd.bank.v2+json;q=0.5",
		"GET http://h/v9/api/a/b", "GET http://h/api/a/b\nAccept-Version: v3", "GET http://h/api/a/b\nAccept-Version: v1\nAccept-Version: v1",
		"GET http://h/v1/api/b", "GET http://h/a/mail?v=v%32", "GET http://h/a/mail?v=v2&v=v3", "GET http://h/shop", "GET http://h/v1/shop\nX-Shop: 2024-06",
	} {
		x := new(message.Exchange)
		request(t, x, target)
		r := x.Request // what Reset forgets; the header keeps its fields
		var res Result[string]
		lookup := func() {
			header := x.Request.Header
			x.Request.Header = message.Header{}
			x.Reset()
			x.Request = r
			x.Request.Header = header
			table.Lookup(x, &res)
		}
		if n := testing.AllocsPerRun(100, lookup); n != 0 {
			t.Errorf("%q: %v allocations, want 0 (%s)", target, n, outcome(&res))
		}
	}
}

// TestLargeTableAllocations: the same for every shape of a table of 10,000 routes, each of which is found.
func TestLargeTableAllocations(t *testing.T) {
	const n = 10_000
	for _, s := range shapes {
		routes := make([]string, n)
		for i := range routes {
			routes[i] = s.route(i)
		}
		table, warnings := build(t, routes...)
		if len(warnings) > 0 {
			t.Errorf("%s: %v", s.name, warnings[0])
		}
		x := new(message.Exchange)
		for i := range n {
			request(t, x, s.target(i))
			var res Result[string]
			table.Lookup(x, &res)
			if got := outcome(&res); got != routes[i] {
				t.Fatalf("%s leads to %s, want %s", s.target(i), got, routes[i])
			}
		}
		var res Result[string]
		if a := testing.AllocsPerRun(100, func() { table.Lookup(x, &res) }); a != 0 {
			t.Errorf("%s: %v allocations, want 0", s.name, a)
		}
		request(t, x, fmt.Sprintf("GET http://%d.example/none", n))
		table.Lookup(x, &res)
		if res.Reason != message.NoRoute {
			t.Errorf("%s: a request for none of them leads to %s", s.name, outcome(&res))
		}
	}
}
