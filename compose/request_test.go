package compose

import (
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// TestStepRequest: what a step gets of the client's request, and what it says itself (SEMANTICS 1.7, 7.6, 7.7).
func TestStepRequest(t *testing.T) {
	client := []string{
		"Host: example.test", "Authorization: Bearer secret", "Cookie: a=b", "Accept: text/html", "Accept-Encoding: gzip", "Accept-Language: de", "User-Agent: test",
		"Content-Type: text/plain", "X-Custom: one", "X-Custom: two", "Traceparent: 00-1-2-01", "Tracestate: a=b", "X-Request-Id: id-1", "X-Forwarded-For: 192.0.2.7",
		"X-Forwarded-Proto: http", "X-Forwarded-Host: example.test", "X-Consumer: app", "X-Consumer-Plan: standard", "If-None-Match: \"e\"", "Range: bytes=0-1",
		"Connection: keep-alive", "Content-Length: 0", "X-API-Key: key",
	}
	const always = "Accept-Language: de\nTraceparent: 00-1-2-01\nTracestate: a=b\nX-Request-Id: id-1\nX-Forwarded-For: 192.0.2.7\n" +
		"X-Forwarded-Proto: http\nX-Forwarded-Host: example.test\nX-Consumer: app\nX-Consumer-Plan: standard\n"
	for _, tc := range []struct {
		name, step string
		line       string // of the request
		header     string // besides Host
		body       string
	}{
		{"nothing but what always goes", "path: /part", "GET /part", always + "Accept: application/json\n", ""},
		{"by name", "path: /part, headers: [Authorization, X-Custom, Accept, X-Absent]", "GET /part",
			"Authorization: Bearer secret\nAccept: text/html\nAccept-Language: de\nX-Custom: one\nX-Custom: two\n" + strings.TrimPrefix(always, "Accept-Language: de\n"), ""},
		{"values", `path: /part, headers: {X-Path: "${path.id}", X-Who: "${request.headers.authorization}", X-Absent: "${request.headers.nowhere}", Accept: text/csv, Accept-Language: en}`, "GET /part",
			strings.Replace(always, "Language: de", "Language: en", 1) + "Accept: text/csv\nX-Path: 7\nX-Who: Bearer secret\n", ""},
		{"query", `path: /part, query: {a: "${request.headers[\"x-custom\"]}", "b c": "1&2", d: ""}`, "GET /part?a=one%2C%20two&b%20c=1&2&d=",
			always + "Accept: application/json\n", ""},
		{"path", `path: "/part/${request.headers.cookie}/x"`, "GET /part/a%3Db/x", always + "Accept: application/json\n", ""},
		{"body", `path: /part, method: POST, body: {id: "${path.id}", fixed: 1.10, list: [true, null], who: "${request.headers.nowhere}", text: "a-${path.id}"}`, "POST /part",
			always + "Accept: application/json\nContent-Type: application/json\nContent-Length: 66\n", `{"id":"7","fixed":1.10,"list":[true,null],"who":null,"text":"a-7"}`},
		{"other type", `path: /part, method: PUT, headers: {Content-Type: application/merge-patch+json}, body: {a: 1}`, "PUT /part",
			always + "Accept: application/json\nContent-Type: application/merge-patch+json\nContent-Length: 7\n", `{"a":1}`},
		{"no body", `path: /part, method: POST`, "POST /part", always + "Accept: application/json\nContent-Length: 0\n", ""},
		{"delete", `path: /part, method: DELETE`, "DELETE /part", always + "Accept: application/json\n", ""},
		{"own method", `path: /part, method: PURGE`, "PURGE /part", always + "Accept: application/json\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := files(t, map[string]string{"/part": ok(`1`), "/part/a%3Db/x": ok(`1`)})
			p := plan(t, o.Addr, "steps:\n  part: {backend: app, "+tc.step+"}\nbody: ${part.body}\n")
			wantBody(t, ask(t, p, client...), "1")
			r := o.only(t)
			var header strings.Builder
			for _, f := range r.Header {
				if f.Name == "Host" && f.Value == "example.test" {
					continue
				}
				header.WriteString(f.Name + ": " + f.Value + "\n")
			}
			if got := r.Method + " " + r.Target; got != tc.line {
				t.Errorf("request %s, want %s", got, tc.line)
			}
			if header.String() != tc.header {
				t.Errorf("header:\n%s\nwant:\n%s", header.String(), tc.header)
			}
			if string(r.Body) != tc.body {
				t.Errorf("body %s, want %s", r.Body, tc.body)
			}
		})
	}
}

// TestValuesThatDoNotFit: a step whose request cannot be made fails, and nothing is sent (SEMANTICS 0, 1.12, 1.13).
func TestValuesThatDoNotFit(t *testing.T) {
	for _, tc := range []struct{ name, step, reason string }{
		{"missing in path", `path: "/part/${first.body.word}/${request.headers.nowhere}"`, "path_value_invalid"},
		{"null in path", `path: "/part/${first.body.nothing}"`, "path_value_invalid"},
		{"absent in path", `path: "/part/${first.body.absent}"`, "path_value_invalid"},
		{"empty in path", `path: "/part/${first.body.empty}"`, "path_value_invalid"},
		{"dots in path", `path: "/part/${first.body.dots}"`, "path_value_invalid"},
		{"missing in query", `path: /part, query: {a: "${first.body.absent}"}`, "path_value_invalid"},
		{"line break in header", `path: /part, headers: {X-A: "${first.body.lines}"}`, "header_value_invalid"},
		{"no slash", `path: "${first.body.word}"`, "path_value_invalid"},
		{"no list", `path: /part, for_each: first.body.word`, "list_invalid"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := files(t, map[string]string{"/first": ok(`{"nothing":null,"empty":"","dots":"..","lines":"a\r\nX-B: c","word":"word"}`)})
			p := plan(t, o.Addr, "steps:\n  first: {backend: app, path: /first}\n  part: {backend: app, "+tc.step+"}\nbody: ${part.body}\n")
			wantParts(t, ask(t, p), 502, `{"step":"first","outcome":"ok","status":200},{"step":"part","outcome":"failed","reason":"`+tc.reason+`"}`)
			if n := len(o.seen()); n != 1 {
				t.Errorf("requests %v, want the first alone", o.seen())
			}
		})
	}
}

// TestEncoding: what a client or a service says stays one segment or one value (SEMANTICS 0).
func TestEncoding(t *testing.T) {
	o := files(t, map[string]string{"/first": ok(`{"v":"a/b?c#d%2e é&=+"}`)})
	p := plan(t, o.Addr, `
steps:
  first: {backend: app, path: /first}
  part: {backend: app, path: "/x/${first.body.v}", query: {q: "${first.body.v}"}, optional: true}
body: {part: "${part.body}"}
`)
	wantBody(t, ask(t, p), `{"part":null}`)
	const encoded = "a%2Fb%3Fc%23d%252e%20%C3%A9%26%3D%2B"
	o.request(t, "/x/"+encoded+"?q="+encoded)
}

// TestClientOfStep: what is known of the caller goes with every call, for backends that hash by it or tell it in a PROXY header.
func TestClientOfStep(t *testing.T) {
	o := files(t, map[string]string{"/part": ok(`1`)})
	p := plan(t, o.Addr, "steps:\n  part: {backend: app, path: /part}\nbody: ${part.body}\n")
	x := exchange()
	x.Request.Host, x.Request.Port = []byte("api.test"), []byte("8443")
	wantBody(t, askWith(t, p, x), "1")
	if got := o.only(t).Header.Get("Host"); got != "api.test:8443" {
		t.Errorf("Host %q", got)
	}
	if x.Outcome.Attempts != 1 || x.Outcome.Backend != "" || x.Outcome.Reason != message.ReasonNone {
		t.Errorf("outcome %+v", x.Outcome)
	}
}
