package compose

import (
	"compress/gzip"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/upstream"
)

// TestOverview is the composition of the bank: one required step, two optional ones that need it, of which one fails.
func TestOverview(t *testing.T) {
	o := files(t, map[string]string{
		"/accounts/7":   ok(`{"id":"a 1/2","currency":"EUR","balance":12345678901234567890.10}`, "Cache-Control: max-age=60"),
		"/transactions": ok(`{"items":[{"id":1,"amount":1.50}, {"id":2}]}`, "Cache-Control: max-age=30", "Age: 10"),
		"/rates/EUR":    reply(503, "text/plain", "later"),
	})
	p := plan(t, o.Addr, `
timeout: 5s
steps:
  account: {backend: app, path: "/accounts/${path.id}"}
  transactions: {backend: app, path: /transactions, query: {account: "${account.body.id}", limit: "5"}, optional: true}
  rates: {backend: other, path: "/rates/${account.body.currency}", optional: true, timeout: 2s}
body:
  account: ${account.body}
  recent: ${transactions.body.items}
  rates: ${rates.body}
`)
	a := ask(t, p)
	wantBody(t, a, `{"account":{"id":"a 1/2","currency":"EUR","balance":12345678901234567890.10},"recent":[{"id":1,"amount":1.50}, {"id":2}],"rates":null}`)
	want := map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "Sluice-Partial": "rates;reason=status_503"}
	if fmt.Sprint(a.header) != fmt.Sprint(want) {
		t.Errorf("header %v, want %v", a.header, want)
	}
	seen := o.seen()
	slices.Sort(seen[1:])
	if got := strings.Join(seen, "\n"); got != "GET /accounts/7\nGET /rates/EUR\nGET /transactions?account=a%201%2F2&limit=5" {
		t.Errorf("requests:\n%s", got)
	}
}

// TestStepAnswers: what an answer makes of its step (SEMANTICS 7.2, 7.3, 7.8).
func TestStepAnswers(t *testing.T) {
	text := strings.Repeat("x", 100)
	for _, tc := range []struct {
		name, options, answer string
		body                  string // of the step, if it has one
		part                  string // of the problem, if it has not
	}{
		{"object", "", ok(`{"a":1}`), `{"a":1}`, ""},
		{"white space", "", ok(" \n{\"a\" : 1}\r\n"), `{"a" : 1}`, ""},
		{"number", "", ok(`-0.10e+007`), `-0.10e+007`, ""},
		{"created", "", reply(201, "application/json", `[1]`), `[1]`, ""},
		{"suffix", "", reply(200, `application/vnd.bank.v2+json; charset="utf-8"`, `[1]`), `[1]`, ""},
		{"other case", "", reply(200, `Application/JSON`, `[1]`), `[1]`, ""},
		{"no content", "", "HTTP/1.1 204 X\r\n\r\n", `null`, ""},
		{"chunked", "", "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n3\r\n,2]\r\n0\r\n\r\n", `[1,2]`, ""},
		{"text", "", reply(200, "text/plain", "a \"b\"\n\x01é"), `"a \"b\"\n\u0001é"`, ""},
		{"no type", "", reply(200, "", `{"a":1}`), `"{\"a\":1}"`, ""},
		{"empty text", "", reply(200, "text/plain", ""), `""`, ""},
		{"no UTF-8", "", reply(200, "text/plain", "\xff"), "", `"outcome":"failed","status":200,"reason":"body_invalid"`},
		{"broken", "", ok(`{"a":}`), "", `"outcome":"failed","status":200,"reason":"body_invalid"`},
		{"two values", "", ok(`1 2`), "", `"outcome":"failed","status":200,"reason":"body_invalid"`},
		{"empty JSON", "", ok(``), "", `"outcome":"failed","status":200,"reason":"body_invalid"`},
		{"JSON no UTF-8", "", ok("\"\xff\""), "", `"outcome":"failed","status":200,"reason":"body_invalid"`},
		{"deep", "", ok(strings.Repeat("[", 65) + strings.Repeat("]", 65)), "", `"outcome":"failed","status":200,"reason":"body_invalid"`},
		{"deep enough", "", ok(strings.Repeat("[", 64) + strings.Repeat("]", 64)), strings.Repeat("[", 64) + strings.Repeat("]", 64), ""},
		{"as large as may be", "max: 102B", ok(`"` + text + `"`), `"` + text + `"`, ""},
		{"too large", "max: 101B", ok(`"` + text + `"`), "", `"outcome":"failed","status":200,"reason":"response_too_large"`},
		{"too large in chunks", "max: 4B", "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[1,2]\r\n0\r\n\r\n", "",
			`"outcome":"failed","status":200,"reason":"response_too_large"`},
		{"not found", "", reply(404, "application/json", `{"a":1}`), "", `"outcome":"failed","status":404,"reason":"status_404"`},
		{"not found is fine", "success: [2xx, 404]", reply(404, "application/json", `{"a":1}`), `{"a":1}`, ""},
		{"only what is listed", "success: 404", ok(`1`), "", `"outcome":"failed","status":200,"reason":"status_200"`},
		{"redirect", "", reply(302, "", "", "Location: /b"), "", `"outcome":"failed","status":302,"reason":"status_302"`},
		{"redirect is fine", "success: [2xx, 3xx]", reply(302, "text/plain", "x", "Location: /b"), `"x"`, ""},
		{"broken off", "", "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 5\r\nConnection: close\r\n\r\n[1", "",
			`"outcome":"failed","status":200,"reason":"upstream_body_broken"`},
		{"gzip all the same", "", zipped(`{"a":1}`, "gzip"), `{"a":1}`, ""},
		{"gzip bomb", "max: 64KiB", zipped(`"`+strings.Repeat("x", 1<<20)+`"`, "gzip"), "", `"outcome":"failed","status":200,"reason":"response_too_large"`},
		{"no gzip", "", ok(`{"a":1}`, "Content-Encoding: gzip"), "", `"outcome":"failed","status":200,"reason":"body_invalid"`},
		{"unknown coding", "", ok(`{"a":1}`, "Content-Encoding: br"), "", `"outcome":"failed","status":200,"reason":"response_encoding_unsupported"`},
		{"two codings", "", ok(`{"a":1}`, "Content-Encoding: gzip", "Content-Encoding: gzip"), "", `"outcome":"failed","status":200,"reason":"response_encoding_unsupported"`},
		{"identity", "", ok(`{"a":1}`, "Content-Encoding: identity"), `{"a":1}`, ""},
		{"no answer", "", "HTTP/1.1 2\r\nConnection: close\r\n\r\n", "", `"outcome":"failed","reason":"upstream_response_invalid"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := testnet.NewOrigin(t, testnet.Answer(tc.answer))
			steps := "steps:\n  part: {backend: app, path: /part, OPTIONS}\nbody: ${part.body}\n"
			options := tc.options
			if options == "" {
				options = "method: GET"
			}
			a := ask(t, plan(t, o.Addr, strings.Replace(steps, "OPTIONS", options, 1)))
			if tc.part == "" {
				wantBody(t, a, tc.body)
				return
			}
			wantParts(t, a, 502, `{"step":"part",`+tc.part+`}`)
			a = ask(t, plan(t, o.Addr, strings.Replace(steps, "OPTIONS", options+", optional: true, default: [d]", 1)))
			wantBody(t, a, `["d"]`)
			_, reason, _ := strings.Cut(strings.TrimSuffix(tc.part, `"`), `"reason":"`)
			if got := a.header["Sluice-Partial"]; got != "part;reason="+reason {
				t.Errorf("Sluice-Partial %q, want the reason %s", got, reason)
			}
			if a.header["Cache-Control"] != "no-store" {
				t.Errorf("Cache-Control %q", a.header["Cache-Control"])
			}
		})
	}
}

func zipped(body, coding string) string {
	var b strings.Builder
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(body))
	_ = w.Close()
	return ok(b.String(), "Content-Encoding: "+coding)
}

// TestStepWithoutAnswer: what becomes of a step whose service does not answer.
func TestStepWithoutAnswer(t *testing.T) {
	refused := testnet.NewOrigin(t, func(*testnet.OriginConn) {})
	for _, tc := range []struct {
		name, timeouts, step string
		status               int
		part                 string
	}{
		{"composition", "timeout: 50ms", "", 504, `"outcome":"timeout","reason":"timeout"`},
		{"step", "timeout: 10s", "timeout: 50ms", 504, `"outcome":"timeout","reason":"timeout"`},
		{"reset", "timeout: 10s", "backend: other", 502, `"outcome":"failed","reason":"upstream_reset"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := testnet.NewOrigin(t, func(c *testnet.OriginConn) { c.Hang() })
			step := "backend: app"
			if tc.step != "" {
				step = tc.step
				if !strings.Contains(step, "backend") {
					step += ", backend: app"
				}
			}
			compose := tc.timeouts + "\nsteps:\n  part: {path: /part, " + step + "}\nbody: ${part.body}\n"
			p := planWith(t, compose, nil, func(name string) *upstream.Backend {
				if name == "other" {
					return backend(t, refused.Addr, nil)
				}
				return backend(t, o.Addr, nil)
			})
			wantParts(t, ask(t, p), tc.status, `{"step":"part",`+tc.part+`}`)
		})
	}
}
