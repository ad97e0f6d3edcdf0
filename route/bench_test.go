package route

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// sizes are table sizes that must cost the same.
var sizes = []int{10, 10_000}

// shapes are the ways in which a table of n routes is made, with a target that the i-th route takes.
var shapes = []struct {
	name   string
	route  func(i int) string
	target func(i int) string
}{
	{"exact", func(i int) string { return fmt.Sprintf("GET * /api/service-%d/status", i) },
		func(i int) string { return fmt.Sprintf("GET http://shop.example/api/service-%d/status", i) }},
	{"captures", func(i int) string { return fmt.Sprintf("GET * /api/service-%d/items/{id}", i) },
		func(i int) string { return fmt.Sprintf("GET http://shop.example/api/service-%d/items/%d", i, i*7) }},
	{"prefix", func(i int) string { return fmt.Sprintf("* * /service-%d/*", i) },
		func(i int) string { return fmt.Sprintf("GET http://shop.example/service-%d/a/b/c", i) }},
	{"hosts", func(i int) string { return fmt.Sprintf("* host-%d.example /api/*", i) },
		func(i int) string { return fmt.Sprintf("GET http://host-%d.example/api/a", i) }},
	{"suffixes", func(i int) string { return fmt.Sprintf("* *.host-%d.example /api/*", i) },
		func(i int) string { return fmt.Sprintf("GET http://www.host-%d.example/api/a", i) }},
}

// traffic is exchanges that hit routes of a table at random.
func traffic(t testing.TB, n int, target func(i int) string) []*message.Exchange {
	rng := rand.New(rand.NewPCG(1, 2))
	all := make([]*message.Exchange, 512)
	for i := range all {
		all[i] = new(message.Exchange)
		request(t, all[i], target(rng.IntN(n)))
	}
	return all
}

func BenchmarkLookup(b *testing.B) {
	for _, s := range shapes {
		for _, n := range sizes {
			b.Run(fmt.Sprintf("%s/%d", s.name, n), func(b *testing.B) {
				routes := make([]string, n)
				for i := range routes {
					routes[i] = s.route(i)
				}
				table, _ := build(b, routes...)
				requests := traffic(b, n, s.target)
				var res Result[string]
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					table.Lookup(requests[i&511], &res)
					i++
				}
				if res.Reason != message.ReasonNone {
					b.Fatal(res.Reason)
				}
			})
		}
	}
}

// BenchmarkLookupCatchAll is the smallest table there is: one route for everything.
func BenchmarkLookupCatchAll(b *testing.B) {
	table, _ := build(b, "* * /*")
	x := new(message.Exchange)
	request(b, x, "GET http://shop.example/a/b/c")
	var res Result[string]
	b.ReportAllocs()
	for b.Loop() {
		table.Lookup(x, &res)
	}
}

// BenchmarkLookupVersion is a table with two routes of an API for one pattern, asked in the ways to name a version.
func BenchmarkLookupVersion(b *testing.B) {
	table, _ := build(b, "GET * /accounts/{id} @bank:v1", "GET * /accounts/{id} @bank:v2", "POST * /transfers @bank", "GET * /rates/{currency}")
	for _, c := range []struct{ name, request string }{
		{"path", "GET http://h/v1/accounts/7"},
		{"header", "GET http://h/accounts/7\nUser-Agent: a\nAccept-Version: v1"},
		{"type", "GET http://h/accounts/7\nUser-Agent: a\nAccept: text/html, application/vnd.bank.v1+json"},
		{"default", "GET http://h/accounts/7\nUser-Agent: a\nAccept: */*"},
		{"none", "GET http://h/rates/EUR"},
		{"unknown", "GET http://h/v9/accounts/7"},
	} {
		b.Run(c.name, func(b *testing.B) {
			x := new(message.Exchange)
			request(b, x, c.request)
			var res Result[string]
			b.ReportAllocs()
			for b.Loop() {
				table.Lookup(x, &res)
			}
			if (res.Reason == message.ReasonNone) != (c.name != "unknown") {
				b.Fatal(res.Reason)
			}
		})
	}
}

func BenchmarkLookupEscaped(b *testing.B) {
	table, _ := build(b, "* * /files/{name}/x")
	x := new(message.Exchange)
	request(b, x, "GET http://shop.example/files/a%20b%2Fc;v=1/x")
	query, host := x.Request.Path, x.Request.Host
	var res Result[string]
	b.ReportAllocs()
	for b.Loop() {
		x.Reset()
		x.Request.Path, x.Request.Host, x.Request.HasSlash = query, host, true
		table.Lookup(x, &res)
	}
}

// BenchmarkExactTree is why exact paths are keys of a map: the same paths in a tree of segments.
func BenchmarkExactTree(b *testing.B) {
	const n = 10_000
	root := &node{}
	keys := make(map[string]*leaf, n)
	paths := make([][]byte, n)
	for i := range n {
		p, err := parsePattern(fmt.Sprintf("/api/service-%d/status", i))
		if err != nil {
			b.Fatal(err)
		}
		l := root.insert(p.segments)
		l.entries = []entry{{index: i}}
		keys[p.key()] = l
		paths[i] = []byte(p.key())
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(n, func(i, k int) { paths[i], paths[k] = paths[k], paths[i] })
	b.Run("tree", func(b *testing.B) {
		q := query{x: new(message.Exchange)}
		i := 0
		for b.Loop() {
			q.read(paths[i&511])
			if q.walk(root) == nil {
				b.Fatal("not found")
			}
			i++
		}
	})
	b.Run("map", func(b *testing.B) {
		q := query{x: new(message.Exchange)}
		i := 0
		for b.Loop() {
			l := keys[string(paths[i&511])]
			if l == nil || q.choose(l) == nil {
				b.Fatal("not found")
			}
			i++
		}
	})
}

func BenchmarkBuild(b *testing.B) {
	var all []Route[string]
	for i := range 10_000 {
		all = append(all, parseRoute(b, shapes[i%len(shapes)].route(i)))
	}
	b.ReportAllocs()
	for b.Loop() {
		var builder Builder[string]
		for _, r := range all {
			if err := builder.AddRoute(r); err != nil {
				b.Fatal(err)
			}
		}
		if _, _, err := builder.Review(); err != nil {
			b.Fatal(err)
		}
	}
}
