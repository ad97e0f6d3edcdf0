package compose

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// TestForEach: one call for each element, answers in the order of the elements (SEMANTICS 7.13).
func TestForEach(t *testing.T) {
	list := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`{"id":%d.0,"name":"n/%d"}`, i, i))
		}
		return ok(`{"items":[` + strings.Join(all, ", ") + `],"none":[],"null":null}`)
	}
	for _, tc := range []struct {
		name, step string
		n          int
		want       string // body of the step, or its part of the problem
		seen       string // the last of the requests
	}{
		{"objects", `path: "/e/${item.id}", for_each: all.body.items`, 3, `["/e/0.0","/e/1.0","/e/2.0"]`, "GET /e/2.0"},
		{"braces", `path: "/e/${item.id}", for_each: "${all.body.items}"`, 1, `["/e/0.0"]`, "GET /e/0.0"},
		{"own name", `path: /e, query: {id: "${one.name}"}, for_each: all.body.items, as: one`, 2, `["/e?id=n%2F0","/e?id=n%2F1"]`, "GET /e?id=n%2F1"},
		{"body", `path: /e, method: POST, body: {of: "${item}"}, for_each: all.body.items`, 1, `["/e{\"of\":{\"id\":0.0,\"name\":\"n/0\"}}"]`, "POST /e"},
		{"header", `path: /e, headers: {X-Name: "${item.name}"}, for_each: all.body.items`, 1, `["/en/0"]`, "GET /e"},
		{"one by one", `path: "/e/${item.id}", for_each: all.body.items, parallel: 1`, 5, `["/e/0.0","/e/1.0","/e/2.0","/e/3.0","/e/4.0"]`, "GET /e/4.0"},
		{"no elements", `path: "/e/${item.id}", for_each: all.body.none`, 1, `[]`, "GET /all"},
		{"null", `path: "/e/${item.id}", for_each: 'all.body["null"]'`, 1, `[]`, "GET /all"},
		{"when", `path: "/e/${item.id}", for_each: all.body.items, when: all.status == 404, default: []`, 3, `[]`, "GET /all"},
		{"as many as may be", `path: "/e/${item.id}", for_each: all.body.items, max: 3`, 3, `["/e/0.0","/e/1.0","/e/2.0"]`, "GET /e/2.0"},
		{"too many", `path: "/e/${item.id}", for_each: all.body.items, max: 2`, 3, `"outcome":"failed","reason":"too_many_items"`, "GET /all"},
		{"too many by default", `path: "/e/${item.id}", for_each: all.body.items`, 101, `"outcome":"failed","reason":"too_many_items"`, "GET /all"},
		{"absent", `path: "/e/${item.id}", for_each: all.body.nowhere`, 1, `"outcome":"failed","reason":"list_invalid"`, "GET /all"},
		{"object", `path: "/e/${item.id}", for_each: all.body`, 1, `"outcome":"failed","reason":"list_invalid"`, "GET /all"},
		{"value of one", `path: "/e/${item.nowhere}", for_each: all.body.items`, 2, `"outcome":"failed","reason":"path_value_invalid"`, "GET /all"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := serve(t, func(r *testnet.Request, _ *testnet.OriginConn) string {
				if r.Target == "/all" {
					return list(tc.n)
				}
				return reply(200, "text/plain", r.Target+string(r.Body)+r.Header.Get("X-Name"))
			})
			p := plan(t, o.Addr, "steps:\n  all: {backend: app, path: /all}\n  part: {backend: app, "+tc.step+"}\nbody: ${part.body}\n")
			a := ask(t, p)
			if strings.HasPrefix(tc.want, "[") {
				wantBody(t, a, tc.want)
			} else {
				wantParts(t, a, 502, `{"step":"all","outcome":"ok","status":200},{"step":"part",`+tc.want+`}`)
			}
			seen := o.seen()
			slices.Sort(seen[1:])
			if last := seen[len(seen)-1]; last != tc.seen {
				t.Errorf("last request %s, want %s", last, tc.seen)
			}
		})
	}
}

// TestParallel: as many elements at once as the step says, and all of them.
func TestParallel(t *testing.T) {
	const n, parallel = 20, 4
	var at, most atomic.Int64
	full := make(chan struct{})
	o := serve(t, func(r *testnet.Request, c *testnet.OriginConn) string {
		now := at.Add(1)
		defer at.Add(-1)
		for {
			seen := most.Load()
			if now <= seen || most.CompareAndSwap(seen, now) {
				break
			}
		}
		if now == parallel {
			select {
			case <-full:
			default:
				close(full)
			}
		}
		if !c.Wait(full) { // the first of them wait for each other
			return ""
		}
		return ok(r.Target[3:])
	})
	var list []string
	for i := range n {
		list = append(list, fmt.Sprint(i))
	}
	all := "[" + strings.Join(list, ",") + "]"
	p := plan(t, o.Addr, "steps:\n  part: {backend: app, path: \"/e/${item}\", for_each: \""+all+"\", parallel: 4}\nbody: ${part.body}\n")
	wantBody(t, ask(t, p), all)
	if most.Load() != parallel {
		t.Errorf("%d calls at once, want %d", most.Load(), parallel)
	}
}

// TestElementFails: a step is whole or it has failed. The calls for the other elements are ended.
func TestElementFails(t *testing.T) {
	for _, optional := range []bool{false, true} {
		waiting := make(chan struct{})
		o := serve(t, func(r *testnet.Request, c *testnet.OriginConn) string {
			switch r.Target {
			case "/e/0":
				close(waiting)
				c.Hang()
				return ""
			case "/e/1":
				if !c.Wait(waiting) {
					return ""
				}
				return reply(404, "", "")
			}
			return ok("1")
		})
		p := plan(t, o.Addr, fmt.Sprintf("steps:\n  part: {backend: app, path: \"/e/${item}\", for_each: \"[0, 1, 2, 3]\", parallel: 2, optional: %v, default: [d]}\nbody: ${part.body}\n", optional))
		a := ask(t, p)
		if optional {
			wantBody(t, a, `["d"]`)
			if got := a.header["Sluice-Partial"]; got != "part;reason=status_404" {
				t.Errorf("Sluice-Partial %q", got)
			}
		} else {
			wantParts(t, a, 502, `{"step":"part","outcome":"failed","status":404,"reason":"status_404"}`)
		}
		if n := len(o.seen()); n != 2 {
			t.Errorf("requests %v: elements were begun after the step had failed", o.seen())
		}
	}
}
