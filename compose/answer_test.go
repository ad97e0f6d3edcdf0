package compose

import (
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/upstream"
)

// TestAnswers: what templates make of parts (SEMANTICS 7.12, 7.14, 7.16).
func TestAnswers(t *testing.T) {
	o := files(t, map[string]string{
		"/a":     ok(`{"x":1.00, "deep":{"p":1, "q":[1]}, "list":[1, 2], "text":"é\u0041"}`, "X-Kind: first"),
		"/b":     ok(`{"y":2e3,"deep":{"q":[2],"r":3},"list":[3],"x":9}`),
		"/c":     ok(`{"z":true}`),
		"/not":   reply(404, "application/json", `{"why":"none"}`),
		"/plain": reply(200, "text/plain", "a\"b"),
	})
	for _, tc := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"whole", "${a.body}", 200, `{"x":1.00, "deep":{"p":1, "q":[1]}, "list":[1, 2], "text":"é\u0041"}`},
		{"order of the template", `{z: "${a.body.x}", a: "${b.body.y}", m: {n: "${a.body.list}", b: 1.10}}`, 200, `{"z":1.00,"a":2e3,"m":{"n":[1, 2],"b":1.10}}`},
		{"absent", `{a: "${a.body.nowhere}", b: "${a.body.x.y}", c: "${a.body.nowhere.deeper}"}`, 200, `{"a":null,"b":null,"c":null}`},
		{"text", `{a: "is ${a.body.text} and ${a.status}"}`, 200, `{"a":"is éA and 200"}`},
		{"of the request", `{id: "${path.id}", method: "${request.method}", q: "${request.query.nowhere}"}`, 200, `{"id":"7","method":"GET","q":null}`},
		{"fixed", `{a: [1, "b", null, {}], b: "$${c}"}`, 200, `{"a":[1,"b",null,{}],"b":"${c}"}`},
		{"deep", `${merge.deep(a.body, b.body)}`, 200, `{"x":9,"deep":{"p":1,"q":[2],"r":3},"list":[3],"text":"é\u0041","y":2e3}`},
		{"first", `${merge.first(b.body, c.body)}`, 200, `{"y":2e3,"deep":{"q":[2],"r":3},"list":[3],"x":9,"z":true}`},
		{"error", `${merge.error(a.body, c.body)}`, 200, `{"x":1.00,"deep":{"p":1, "q":[1]},"list":[1, 2],"text":"é\u0041","z":true}`},
		{"error on both", `{a: "${merge.error(a.body, b.body)}"}`, 502, "transform_failed"},
		{"concat", `{all: "${concat(a.body.list, b.body.list)}"}`, 200, `{"all":[1, 2,3]}`},
		{"header", `{kind: "${a.headers[\"x-kind\"]}"}`, 200, `{"kind":"first"}`},
		{"status of a step", `{s: "${not.status}"}`, 200, `{"s":404}`},
		{"plain", `{p: "${plain.body}"}`, 200, `{"p":"a\"b"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := plan(t, o.Addr, `
steps:
  a: {backend: app, path: /a}
  b: {backend: app, path: /b}
  c: {backend: app, path: /c}
  not: {backend: app, path: /not, success: [2xx, 404]}
  plain: {backend: app, path: /plain}
body: `+tc.body+"\n")
			a := ask(t, p)
			if tc.status == 200 {
				wantBody(t, a, tc.want)
			} else if a.failure == nil || a.failure.Reason.String() != tc.want || a.status != tc.status {
				t.Errorf("answer %d %s, failure %v", a.status, a.body, a.failure)
			}
		})
	}
}

// TestStatus: the status of the whole (SEMANTICS 7.14).
func TestStatus(t *testing.T) {
	o := files(t, map[string]string{"/a": reply(201, "application/json", `{"code":206,"text":"x","huge":99999999999}`)})
	for _, tc := range []struct {
		status string
		want   int
	}{
		{"202", 202}, {"${a.status}", 201}, {"a.status", 201}, {"a.body.code", 206}, {"a.status == 201 ? 409 : 200", 409}, {"204", 204}, {"304", 304},
		{"a.body.text", 502}, {"a.body.nowhere", 502}, {"a.body.huge", 502}, {"a.status - 100", 502},
	} {
		p := plan(t, o.Addr, "status: '"+tc.status+"'"+"\nsteps:\n  a: {backend: app, path: /a}\nbody: {x: 1}\n")
		a := ask(t, p)
		if a.status != tc.want || a.failure != nil && a.failure.Reason != message.TransformFailed {
			t.Errorf("status %s: %d %v, want %d", tc.status, a.status, a.failure, tc.want)
		}
		body := `{"x":1}`
		if tc.want == 204 || tc.want == 304 {
			body = ""
		}
		if a.failure == nil && a.body != body {
			t.Errorf("status %s: body %q", tc.status, a.body)
		}
	}
}

// TestRetries: a step is repeated as its backend repeats requests, and one that changes something is sent once (SEMANTICS 7.15, 13.7).
func TestRetries(t *testing.T) {
	for _, tc := range []struct {
		method   string
		requests int
		status   int
	}{{"GET", 2, 200}, {"POST", 1, 502}, {"PATCH", 1, 502}} {
		o := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
			for i := 0; ; i++ {
				if _, ok := c.ReadRequest(); !ok {
					return
				}
				if c.Number == 0 {
					c.Reset()
					return
				}
				c.Send(ok("1"))
			}
		})
		a := ask(t, plan(t, o.Addr, "steps:\n  a: {backend: app, path: /a, method: "+tc.method+"}\nbody: {}\n"))
		if a.status != tc.status {
			t.Errorf("%s: answer %d %s", tc.method, a.status, a.body)
		}
		if n := strings.Count(o.Received(), tc.method+" /a"); n != tc.requests {
			t.Errorf("%s: %d requests, want %d", tc.method, n, tc.requests)
		}
	}
}

// TestThroughCodec: a composition behind the codec of HTTP/1, several times on one connection; its memory is used again.
func TestThroughCodec(t *testing.T) {
	o := files(t, map[string]string{"/a": ok(`{"id":1}`, "Cache-Control: max-age=5"), "/b/1": ok(`[2]`, "Cache-Control: max-age=6"), "/large": ok(`"` + strings.Repeat("x", 1<<20) + `"`)})
	p := plan(t, o.Addr, `
steps:
  a: {backend: app, path: /a}
  b: {backend: app, path: "/b/${a.body.id}"}
  large: {backend: app, path: /large, when: request.query.large == "1", max: 2MiB}
body: {a: "${a.body}", b: "${b.body}", large: "${large.body}"}
`)
	c := connect(t, front{p})
	for i := range 6 {
		method, query := "GET", ""
		want := `{"a":{"id":1},"b":[2],"large":null}`
		if i%2 == 1 {
			query, want = "?large=1", `{"a":{"id":1},"b":[2],"large":"`+strings.Repeat("x", 1<<20)+`"}`
		}
		if i > 3 {
			method = "HEAD"
		}
		r := c.Do(method, method+" /whole/7"+query+" HTTP/1.1\r\nHost: example.test\r\n\r\n")
		if method == "HEAD" {
			want = ""
		}
		if r.Status != 200 || string(r.Body) != want {
			t.Fatalf("%d: answer %d, %d bytes", i, r.Status, len(r.Body))
		}
	}
}

// TestMemory: answers that would take more memory than there may be make their steps fail, and are counted.
func TestMemory(t *testing.T) {
	o := files(t, map[string]string{"/a": ok(`"` + strings.Repeat("x", 1<<20) + `"`)})
	reg := metric.NewRegistry(metric.Options{})
	scope := reg.Scope()
	defer scope.Release()
	p := planWith(t, "steps:\n  a: {backend: app, path: /a, max: 2MiB, optional: true}\nbody: {a: \"${a.status}\"}\n", scope,
		func(string) *upstream.Backend { return backend(t, o.Addr, nil) })
	wantBody(t, ask(t, p), `{"a":200}`)
	p.held.Add(maxPlanHeld) // as if others had it
	a := ask(t, p)
	wantBody(t, a, `{"a":0}`)
	if got := a.header["Sluice-Partial"]; got != "a;reason=memory" {
		t.Errorf("Sluice-Partial %q", got)
	}
	p.held.Add(-maxPlanHeld)
	if p.metrics.crowded.Value() != 1 || p.steps[0].metrics.outcomes[outcomeOK].Value() != 1 || p.steps[0].metrics.outcomes[outcomeFailed].Value() != 1 {
		t.Errorf("counted %d, %d, %d", p.metrics.crowded.Value(), p.steps[0].metrics.outcomes[outcomeOK].Value(), p.steps[0].metrics.outcomes[outcomeFailed].Value())
	}
}
