//go:build !race

package policy

import (
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// everything is a chain that makes every kind of change.
const everything = `[
      {request: {headers: {
          rename: {X-Old: X-New, X-A-Name-Of-More-Than-Thirty-Two-Bytes-Old: X-A-Name-Of-More-Than-Thirty-Two-Bytes-New},
          remove: [Authorization, X-Gone],
          set: {X-Id: "${path.id}", X-Ip: "${client.ip}", X-None: "${request.query.none}", X-Const: one, Host: "${path.id}.example:81",
                X-A-Further-Name-Of-More-Than-Thirty-Two-Bytes: "${request.headers[\"user-agent\"]}"},
          add: {X-Add: "${request.method} ${request.path}"}},
        query: {rename: {old: new}, remove: [gone], set: {id: "${path.id}", c: one}, add: {rest: "${path.rest}"}}}},
      {response: {headers: {remove: [Server], set: {X-Status: "${response.status}", X-Id: "${path.id}"}, add: {Vary: Origin}}}}]`

func TestAllocations(t *testing.T) {
	p := chain(t, everything)
	x := new(message.Exchange)
	x.Reset()
	host, path, query := []byte("shop.example"), []byte("/items/7/a/b"), []byte("old=1&gone=2&id=3&id=4&x=%41")
	captures := []message.Capture{{Name: "id", Value: []byte("7")}, {Name: "rest", Value: []byte("a/b")}}
	names := []message.Name{message.NameOf("X-Old"), message.NameOf("Authorization"), message.NameOf("User-Agent"), message.NameOf("X-Unknown"),
		message.NameOf("X-A-Name-Of-More-Than-Thirty-Two-Bytes-Old")}
	server, text := message.NameOf("Server"), []byte("a value of some length, as they are")
	n := testing.AllocsPerRun(100, func() {
		x.Request.Host, x.Request.Path, x.Request.Query = host, path, query
		x.Captures = append(x.Captures, captures...)
		for _, n := range names {
			x.Request.Header.Add(n, text)
		}
		ran, done, f := p.Request(x, 0, nil)
		if ran != 2 || done || f != nil {
			t.Fatal(ran, done, f)
		}
		x.Response.Status = 200
		x.Response.Header.Add(server, text)
		if left, f := p.Response(x, ran, 0); left != 0 || f != nil {
			t.Fatal(left, f)
		}
		if string(x.Request.Query) != "new=1&id=7&x=%41&c=one&rest=a%2Fb" {
			t.Fatalf("query %s", x.Request.Query)
		}
		x.Reset()
	})
	if n != 0 {
		t.Errorf("%v allocations for a request and its response, want 0", n)
	}
}

// Changes that find nothing to change do not even use memory of the exchange.
func TestAllocationsOfNothing(t *testing.T) {
	p := chain(t, `[{request: {headers: {remove: [X-Gone], rename: {X-Gone: X-New}}, query: {remove: [gone], rename: {gone: new}}}}]`)
	x := exchange("a=1&b=2&c=3", "A: 1")
	n := testing.AllocsPerRun(100, func() {
		if _, _, f := p.Request(x, 0, nil); f != nil {
			t.Fatal(f)
		}
	})
	if n != 0 || string(x.Request.Query) != "a=1&b=2&c=3" {
		t.Errorf("%v allocations, want 0; query %s", n, x.Request.Query)
	}
}

func BenchmarkRequest(b *testing.B) {
	for _, c := range []struct{ name, policies, query string }{
		{"set one header", `[{request: {headers: {set: {X-Id: "${path.id}"}}}}]`, "a=1"},
		{"set one parameter", `[{request: {query: {set: {b: "${path.id}"}}}}]`, "a=1&b=2&c=3"},
		{"remove absent", `[{request: {headers: {remove: [X-Gone]}, query: {remove: [gone]}}}]`, "a=1&b=2&c=3"},
	} {
		b.Run(strings.ReplaceAll(c.name, " ", "_"), func(b *testing.B) {
			p := chain(b, c.policies)
			x := exchange(c.query)
			query := x.Request.Query
			b.ReportAllocs()
			for b.Loop() {
				x.Reset()
				x.Request.Query = query
				x.Captures = append(x.Captures, message.Capture{Name: "id", Value: query[:1]})
				if _, _, f := p.Request(x, 0, nil); f != nil {
					b.Fatal(f)
				}
			}
		})
	}
}
