package compose

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/upstream"
)

// TestDependencies: what becomes of steps that need one which has no answer (SEMANTICS 7.2, 7.4, 7.5).
func TestDependencies(t *testing.T) {
	const bad = `bad: {backend: app, path: /bad, optional: true}`
	for _, tc := range []struct {
		name, steps, body string
		want              string // answer or parts
		status            int
		partial           string
	}{
		{"path", bad + "\n  next: {backend: app, path: \"/next/${bad.body.id}\", optional: true}", "{a: \"${bad.body}\", b: \"${next.body}\"}",
			`{"a":null,"b":null}`, 200, "bad;reason=status_500, next;reason=dependency"},
		{"query", bad + "\n  next: {backend: app, path: /next, query: {id: \"${bad.body.id}\"}, optional: true, default: {items: []}}", "{b: \"${next.body.items}\"}",
			`{"b":[]}`, 200, "bad;reason=status_500, next;reason=dependency"},
		{"a default does not stand for an answer", `bad: {backend: app, path: /bad, optional: true, default: {id: 1}}` + "\n  next: {backend: app, path: \"/next/${bad.body.id}\", optional: true}",
			"{a: \"${bad.body.id}\", b: \"${next.status}\", c: \"${next.headers.etag}\"}", `{"a":1,"b":0,"c":null}`, 200, "bad;reason=status_500, next;reason=dependency"},
		{"required", bad + "\n  next: {backend: app, path: \"/next/${bad.body.id}\"}", "${next.body}",
			`{"step":"bad","outcome":"failed","status":500,"reason":"status_500"},{"step":"next","outcome":"skipped","reason":"dependency"}`, 502, ""},
		{"header", bad + "\n  next: {backend: app, path: /next, headers: {X-Id: \"${bad.body.id}\"}}", "${next.body}", `"next"`, 200, "bad;reason=status_500"},
		{"body", bad + "\n  next: {backend: app, path: /next, method: POST, body: {id: \"${bad.body.id}\"}}", "${next.body}", `"next"`, 200, "bad;reason=status_500"},
		{"when", bad + "\n  next: {backend: app, path: /next, when: bad.body.id == 1, default: none}", "{b: \"${next.body}\", s: \"${next.status}\"}", `{"b":"none","s":0}`, 200, "bad;reason=status_500"},
		{"when it failed", bad + "\n  next: {backend: app, path: /next, when: bad.status == 0}", "${next.body}", `"next"`, 200, "bad;reason=status_500"},
		{"left out", "cond: {backend: app, path: /next, when: request.path == \"/\"}\n  next: {backend: app, path: \"/next/${cond.body}\", optional: true}", "{a: \"${cond.body}\", b: \"${next.body}\"}",
			`{"a":null,"b":null}`, 200, "next;reason=dependency"},
		{"list", bad + "\n  next: {backend: app, path: /next, for_each: bad.body.ids, optional: true}", "{b: \"${next.body}\"}", `{"b":null}`, 200, "bad;reason=status_500, next;reason=dependency"},
		{"list with a default", `bad: {backend: app, path: /bad, optional: true, default: {ids: [1, 2]}}` + "\n  next: {backend: app, path: /next, for_each: bad.body.ids}", "${next.body}",
			`["next","next"]`, 200, "bad;reason=status_500"},
		{"chain", "a: {backend: app, path: /next}\n  b: {backend: app, path: \"/${a.body}\"}\n  c: {backend: app, path: \"/${b.body}\"}", "[\"${a.body}\", \"${c.status}\"]",
			`["next",200]`, 200, ""},
		{"headers of a step", "a: {backend: app, path: /next}", "{a: \"${a.headers[\\\"x-a\\\"]}\", b: \"${a.headers.nowhere}\"}", `{"a":"1","b":null}`, 200, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := files(t, map[string]string{"/bad": reply(500, "application/json", `{"id":9}`), "/next": ok(`"next"`, "X-A: 1")})
			a := ask(t, plan(t, o.Addr, "steps:\n  "+tc.steps+"\nbody: "+tc.body+"\n"))
			if tc.status != 200 {
				wantParts(t, a, tc.status, tc.want)
				return
			}
			wantBody(t, a, tc.want)
			if a.header["Sluice-Partial"] != tc.partial {
				t.Errorf("Sluice-Partial %q, want %q", a.header["Sluice-Partial"], tc.partial)
			}
		})
	}
}

// TestProblem: a required step that fails ends the others, and the problem tells of all (SEMANTICS 7.2).
func TestProblem(t *testing.T) {
	began := make(chan struct{})
	slow := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		c.ReadHead()
		close(began)
		c.Hang()
	})
	o := serve(t, func(r *testnet.Request, c *testnet.OriginConn) string {
		if r.Target == "/good" {
			return ok("1")
		}
		if !c.Wait(began) {
			return ""
		}
		return reply(503, "text/plain", "no")
	})
	p := planWith(t, `
timeout: 10s
steps:
  good: {backend: app, path: /good}
  slow: {backend: other, path: /slow, optional: true, when: good.status == 200}
  bad: {backend: app, path: "/bad/${good.body}"}
  after: {backend: app, path: "/after/${bad.body}"}
  later: {backend: app, path: "/later/${slow.body}", optional: true}
body: {}
`, nil, func(name string) *upstream.Backend {
		if name == "other" {
			return backend(t, slow.Addr, nil)
		}
		return backend(t, o.Addr, nil)
	})
	a := ask(t, p)
	wantParts(t, a, 502, `{"step":"good","outcome":"ok","status":200},{"step":"slow","outcome":"cancelled"},`+
		`{"step":"bad","outcome":"failed","status":503,"reason":"status_503"},{"step":"after","outcome":"skipped"},{"step":"later","outcome":"skipped"}`)
	if got := a.failure.Err.Error(); got != `step "bad": status_503` {
		t.Errorf("the log is told %q", got)
	}
	testnet.Receive(t, "the end of the slow step's connection", slow.Conn(0).Ended())
}

// TestOrder: whatever the order in which answers come, the whole is the same (SEMANTICS 7.12).
func TestOrder(t *testing.T) {
	const n = 6
	gates := make([]chan struct{}, n)
	var mu sync.Mutex
	gate := func(i int) chan struct{} {
		mu.Lock()
		defer mu.Unlock()
		return gates[i]
	}
	o := serve(t, func(r *testnet.Request, c *testnet.OriginConn) string {
		i := int(r.Target[len(r.Target)-1] - '0')
		if !c.Wait(gate(i)) {
			return ""
		}
		return ok(fmt.Sprintf(`{"same":%d,"own%d":{"n":%d.0}}`, i, i, i), fmt.Sprintf("Cache-Control: max-age=%d", 100-i))
	})
	var compose strings.Builder
	compose.WriteString("steps:\n")
	for i := range n {
		fmt.Fprintf(&compose, "  s%d: {backend: app, path: /s%d}\n", i, i)
	}
	compose.WriteString("  all: {backend: app, path: \"/e${item}\", for_each: \"[0, 1, 2, 3, 4, 5]\", parallel: 6}\n")
	compose.WriteString("body: {first: \"${merge.first(s0.body, s1.body)}\", last: \"${merge.last(s0.body, s1.body)}\", list: \"${all.body}\", z: \"${s5.body}\", a: \"${s3.body}\"}\n")
	p := plan(t, o.Addr, compose.String())
	random := rand.New(rand.NewPCG(1, 2))
	want := ""
	for range 20 {
		mu.Lock()
		for i := range gates {
			gates[i] = make(chan struct{})
		}
		mu.Unlock()
		done := make(chan answer)
		go func() { done <- ask(t, p) }()
		for _, i := range random.Perm(n) {
			close(gate(i))
		}
		a := testnet.Receive(t, "the answer", done)
		if a.failure != nil {
			t.Fatal(a.failure)
		}
		if got := a.body + a.header["Cache-Control"]; want == "" {
			want = got
		} else if got != want {
			t.Fatalf("answer %s\nbefore %s", got, want)
		}
	}
	const list = `"list":[{"same":0,"own0":{"n":0.0}},{"same":1,"own1":{"n":1.0}}`
	if !strings.HasPrefix(want, `{"first":{"same":0,"own0":{"n":0.0},"own1":{"n":1.0}},"last":{"same":1,"own0":{"n":0.0},"own1":{"n":1.0}},`+list) {
		t.Errorf("answer %s", want)
	}
}

// TestSideBySide: steps that need nothing of each other are under way at the same time, and one that needs both begins when both have ended.
func TestSideBySide(t *testing.T) {
	both := make(chan struct{}, 2)
	var met, ended sync.WaitGroup
	met.Add(2)
	ended.Add(2)
	o := serve(t, func(r *testnet.Request, c *testnet.OriginConn) string {
		switch r.Target {
		case "/b/a", "/c/a":
			met.Done()
			met.Wait() // for the other one
			defer ended.Done()
			both <- struct{}{}
			return ok(`"` + r.Target[1:2] + `"`)
		case "/d/b/c":
			if len(both) != 2 {
				t.Error("a step has begun before those that it needs have ended")
			}
			return ok(`"d"`)
		}
		return ok(`"a"`)
	})
	p := plan(t, o.Addr, `
timeout: 20s
steps:
  d: {backend: app, path: "/d/${b.body}/${c.body}"}
  c: {backend: app, path: "/c/${a.body}"}
  b: {backend: app, path: "/b/${a.body}"}
  a: {backend: app, path: /a}
body: ["${d.body}", "${b.body}"]
`)
	wantBody(t, ask(t, p), `["d","b"]`)
	ended.Wait()
}

// TestHedge: a step keeps the second attempt that its backend makes beside a slow one, and both end with their client.
func TestHedge(t *testing.T) {
	slow := testnet.NewOrigin(t, func(c *testnet.OriginConn) { c.Hang() })
	good := files(t, map[string]string{"/a": ok("1")})
	for _, tc := range []struct {
		name   string
		second string
	}{{"answered", good.Addr}, {"left", testnet.NewOrigin(t, func(c *testnet.OriginConn) { c.Hang() }).Addr}} {
		t.Run(tc.name, func(t *testing.T) {
			b := backend(t, slow.Addr, func(o *upstream.Options) {
				o.Endpoints = append(o.Endpoints, upstream.EndpointOptions{Address: tc.second, Weight: 1})
				o.Algorithm = "round_robin"
				o.Hedge = &upstream.HedgeOptions{After: 5 * time.Millisecond, Budget: 1}
			})
			p := planWith(t, "timeout: 1m\nsteps:\n  a: {backend: app, path: /a}\nbody: ${a.body}\n", nil, func(string) *upstream.Backend { return b })
			if tc.second == good.Addr {
				for range 2 { // each endpoint is the first once
					wantBody(t, ask(t, p), "1")
				}
				return
			}
			client := &silent{}
			x := exchange()
			x.Interim = client
			client.left.Store(true)
			if a := askWith(t, p, x); a.failure == nil || a.failure.Reason != message.ClientClosed {
				t.Errorf("answer %d, failure %v", a.status, a.failure)
			}
		})
	}
}
