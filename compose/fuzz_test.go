package compose

import (
	"encoding/json"
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// FuzzMerge: whatever two services answer with, the whole is valid JSON, or a problem whose members are.
func FuzzMerge(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":{"c":[1]}}`), []byte(`{"b":{"c":[2],"d":"\ud83d\ude00"},"a":2}`), "application/json", 200)
	f.Add([]byte(`[1,2]`), []byte(`[{"a":1}]`), "application/problem+json", 201)
	f.Add([]byte(`{"items":[1,"x",{"id":".."}]}`), []byte(``), "text/plain", 204)
	f.Add([]byte("\xff"), []byte(`{"a":1,"a":2}`), "", 404)
	f.Add([]byte(`"\u0000"`), []byte(`-0.0e-0`), "application/json;x", 599)
	var first, second atomic.Pointer[string]
	o := testnet.NewOrigin(f, func(c *testnet.OriginConn) {
		for {
			r, ok := c.ReadRequest()
			if !ok {
				return
			}
			text := first.Load()
			if r.Target == "/b" {
				text = second.Load()
			}
			if _, err := io.WriteString(c.Conn, *text); err != nil {
				return
			}
		}
	})
	p := plan(f, o.Addr, `
timeout: 20s
status: "has(b.body.a) ? 201 : 200"
steps:
  a: {backend: app, path: /a, optional: true, default: {"a": 1}, max: 64KiB, success: [2xx, 404]}
  b: {backend: app, path: /b, optional: true, max: 64KiB}
  c: {backend: app, path: "/a", query: {q: "${a.body.b}"}, optional: true}
  d: {backend: app, path: "/e/${item.id}", for_each: a.body.items, max: 3, optional: true}
  e: {backend: app, path: /a, method: POST, body: {x: "${a.body}", y: ["${b.body.a}", "t ${b.body}"]}, headers: {X-A: "${a.body.a}"}, optional: true}
body:
  whole: ${a.body}
  part: ${b.body.a}
  deep: ${merge.deep(a.body, b.body)}
  first: ${merge.first(a.body, b.body)}
  last: ${merge.last(a.body, b.body)}
  list: ${concat(a.body.items, b.body)}
  text: "a ${a.body} b ${b.body.a}"
  all: ["${c.body}", "${d.body}", "${e.status}"]
`)
	f.Fuzz(func(t *testing.T, a, b []byte, contentType string, status int) {
		if status < 200 || status > 599 || len(a)+len(b) > 16<<10 {
			return
		}
		for _, c := range contentType {
			if c < ' ' || c > '~' {
				return
			}
		}
		one, two := reply(status, contentType, string(a)), reply(200, "application/json", string(b))
		if status == 204 || status == 304 {
			one = fmt.Sprintf("HTTP/1.1 %d X\r\n\r\n", status)
		}
		first.Store(&one)
		second.Store(&two)
		got := ask(t, p)
		if got.failure != nil && !json.Valid([]byte("{\"a\":1"+got.body+"}")) {
			t.Fatalf("members %q of a problem (%v)", got.body, got.failure)
		}
	})
}
