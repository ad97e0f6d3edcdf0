package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// exchange is one request of a test and what its answer must be.
type exchange struct {
	request string // "" for a GET of path
	path    string
	status  int
	fields  string // "Name: value" of the answer, separated by "|"
	body    string
}

// check sends requests, each on a connection of its own.
func check(t *testing.T, g *running, all []exchange) {
	t.Helper()
	for _, x := range all {
		text := x.request
		if text == "" {
			text = get(x.path)
		}
		method, _, _ := strings.Cut(text, " ")
		r := g.dial("web").Do(method, text)
		if r.Status != x.status || x.body != "" && string(r.Body) != x.body {
			t.Errorf("%q: %d %q, want %d %q", text, r.Status, r.Body, x.status, x.body)
		}
		if x.fields == "" {
			continue
		}
		for f := range strings.SplitSeq(x.fields, "|") {
			name, value, _ := strings.Cut(f, ": ")
			if got := strings.Join(r.Header.All(name), ", "); got != value {
				t.Errorf("%q: %s is %q, want %q", text, name, got, value)
			}
		}
	}
}

func TestWordsOfRoutes(t *testing.T) {
	g := start(t, `version: 1
problems: {type: "https://x.test/{reason}"}
listeners:
  web: {address: "127.0.0.1:0", protocol: http}
  other: {address: "127.0.0.1:0", protocol: http}
routes:
  - {match: {path: /json}, respond: {json: {b: 1.10, a: [x]}, status: 201, headers: {X-A: "1", X-B: "2"}}}
  - {match: {path: /text}, respond: {text: hi}}
  - {match: {path: /body}, respond: {body: "<p>", content_type: text/html}}
  - {match: {path: /empty}, respond: {status: 204}}
  - {match: {path: "/to/{id}"}, redirect: {to: "/x/${path.id}", status: 302}}
  - {match: {path: /m, method: [PUT, DELETE]}, respond: {text: write}}
  - {match: {path: /m, headers: {X-K: v}}, respond: {text: header}}
  - {match: {path: /m, query: {q: "*"}}, respond: {text: query}}
  - {match: {path: /m, host: "*.test"}, respond: {text: host}}
  - {match: {path: /other}, listeners: other, respond: {text: other}}
`)
	check(t, g, []exchange{
		{path: "/json", status: 201, body: `{"b":1.10,"a":["x"]}`, fields: "Content-Type: application/json|X-A: 1|X-B: 2"},
		{path: "/text", status: 200, body: "hi", fields: "Content-Type: text/plain; charset=utf-8"},
		{path: "/body", status: 200, body: "<p>", fields: "Content-Type: text/html"},
		{path: "/empty", status: 204, fields: "Content-Type: "},
		{path: "/to/7", status: 302, fields: "Location: /x/7"},
		{request: "PUT /m HTTP/1.1\r\nHost: a\r\n\r\n", status: 200, body: "write"},
		{request: "GET /m HTTP/1.1\r\nHost: a\r\nX-K: v\r\n\r\n", status: 200, body: "header"},
		{request: "GET /m?q=1 HTTP/1.1\r\nHost: a\r\n\r\n", status: 200, body: "query"},
		{path: "/m", status: 200, body: "host"},
		{request: "GET /m HTTP/1.1\r\nHost: a\r\n\r\n", status: 405, fields: "Allow: DELETE, PUT|Sluice-Reason: method_not_allowed"},
		{path: "/other", status: 404, fields: "Sluice-Reason: no_route"},
	})
	if r := g.dial("web").Do("GET", get("/nowhere")); !strings.Contains(string(r.Body), `"type":"https://x.test/no_route"`) {
		t.Errorf("problem %s", r.Body)
	}
	want(t, g.dial("other"), "/other", 200, "other")
}

func TestWordsOfListeners(t *testing.T) {
	o := testnet.NewOrigin(t, testnet.Answer(strings.Replace(ok("x"), "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1)))
	g := start(t, fmt.Sprintf(`version: 1
access_log: stderr
listeners:
  web:
    address: "127.0.0.1:0"
    protocol: http
    trusted_proxies: 127.0.0.0/8
    forwarded: rfc7239
    limits: {body: 10, headers: 2KiB, request_line: 1KiB, header_count: 5}
    trailers: [X-Sum, X-Other]
    upgrade: []
routes:
  - {match: {path: /*}, backend: app}
  - {match: {path: /sum}, trailers: [X-Sum], backend: app}
  - {match: {path: /none}, trailers: [], backend: app}
backends: {app: {endpoints: [%q]}}
`, o.Addr))
	trailers := " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\nX-Other: 2\r\nX-Third: 3\r\n\r\n"
	check(t, g, []exchange{
		{request: "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.1\r\nX-Request-Id: kept\r\n\r\n", status: 200, fields: "X-Request-Id: kept"},
		{request: "POST /all" + trailers, status: 200},
		{request: "POST /sum" + trailers, status: 200},
		{request: "POST /none" + trailers, status: 200},
		{request: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", status: 413},
		{path: "/" + strings.Repeat("x", 1024), status: 414},
		{request: "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 2048) + "\r\n\r\n", status: 431, fields: "Sluice-Reason: header_too_large"},
		{request: "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: 1\r\n", 5) + "\r\n", status: 431, fields: "Sluice-Reason: header_too_many"},
	})
	for i, want := range []string{
		"X-Forwarded-For: 203.0.113.1, 127.0.0.1\r\n", "X-Sum: 1\r\nX-Other: 2\r\n\r\n", "X-Sum: 1\r\n\r\n", "0\r\n\r\n",
	} {
		got := o.Conn(i).Received()
		if !strings.Contains(got, want) || strings.Contains(got, "X-Third") || !strings.Contains(got, "\r\nForwarded: for=127.0.0.1;proto=http;host=\"a\"\r\n") {
			t.Errorf("request %d of the backend:\n%s\nwant in it\n%s", i, got, want)
		}
	}
}

func TestWordsOfPaths(t *testing.T) {
	text := func(listener string) string {
		return "version: 1\nlisteners: {web: {address: \"127.0.0.1:0\", protocol: http, paths: " + listener + "}}\nroutes:\n" +
			"  - {match: {path: /keep/*}, paths: {slashes: keep, backslash: keep, encoded_slash: keep}, respond: {text: keep}}\n" +
			"  - {match: {path: /merge/*}, paths: {slashes: merge, backslash: refuse}, respond: {text: merge}}\n" +
			"  - {match: {path: /refuse/*}, paths: {slashes: refuse}, respond: {text: refuse}}\n" +
			"  - {match: {path: /keep/a/b}, respond: {text: deep}}\n" +
			"  - {match: {path: /*}, respond: {text: plain}}\n"
	}
	g := start(t, text("{}"))
	check(t, g, []exchange{
		{path: "/keep//x", status: 200, body: "keep"},
		{path: `/keep/\`, status: 200, body: "keep"},
		{path: "/keep/a%2Fb", status: 200, body: "keep"},
		{path: "/merge//x", status: 200, body: "merge"},
		{path: `/merge/\`, status: 400, fields: "Sluice-Reason: path_ambiguous"},
		{path: "/refuse//x", status: 400, fields: "Sluice-Reason: path_ambiguous"},
		{path: "/refuse/x", status: 200, body: "refuse"},
		{path: "/x//y", status: 200, body: "plain"},
		{path: `/x\y`, status: 400, fields: "Sluice-Reason: path_ambiguous"},
		{path: "/keep%2Fa/b", status: 400, fields: "Sluice-Reason: path_ambiguous"},
	})
	g.take(text("{slashes: refuse, backslash: keep}"))
	check(t, g, []exchange{
		{path: "/keep//x", status: 200, body: "keep"},
		{path: "/merge//x", status: 200, body: "merge"},
		{path: `/merge/\`, status: 400, fields: "Sluice-Reason: path_ambiguous"},
		{path: "/refuse//x", status: 400, fields: "Sluice-Reason: path_ambiguous"},
		{path: "/x//y", status: 400, fields: "Sluice-Reason: path_ambiguous"},
		{path: `/x\y`, status: 200, body: "plain"},
	})
	// What strictness would refuse is counted and let through.
	g.take(strings.Replace(text("{}"), "protocol: http", "protocol: http, strict: warn", 1))
	check(t, g, []exchange{
		{path: `/x\y`, status: 200, body: "plain"},
		{path: "/refuse//x", status: 200, body: "refuse"},
		{path: "/keep%2Fa/b", status: 200, body: "plain"},
		{path: "/x%zz", status: 400, fields: "Sluice-Reason: path_invalid"},
	})
	if n := g.metric(`sluice_strictness_total{listener="web",rule="path_ambiguous"}`); n != "3" {
		t.Errorf("%q warnings counted, want 3", n)
	}
}

func TestOldestVersionOfTLS(t *testing.T) {
	crt, key := certificate(t, t.TempDir(), "a.test")
	for version, max := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS12} {
		g := start(t, strings.Replace(fixed("x"), "protocol: http",
			fmt.Sprintf("protocol: https, tls: {min_version: %q, certificates: [{cert: %q, key: %q}]}", version, crt, key), 1))
		nc, err := tls.Dial("tcp", g.address("web"), &tls.Config{InsecureSkipVerify: true, MaxVersion: max})
		if err == nil {
			_ = nc.Close()
		}
		if (err == nil) != (version == "1.2") {
			t.Errorf("oldest version %s: a client of TLS 1.2 got %v", version, err)
		}
		g.Close()
	}
}

// TestLogTroubleIsTold once when it begins and once when it ends, and requests go on.
func TestLogTroubleIsTold(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	var told buffer
	g := &running{t: t}
	g.Gateway = New(Options{
		Stderr: writerFunc(func(p []byte) (int, error) {
			if broken.Load() {
				return 0, errors.New("no space left on device")
			}
			return len(p), nil
		}),
		Report: func(line string) { _, _ = told.Write([]byte(line + "\n")) },
	})
	t.Cleanup(g.Close)
	g.take(fixed("x") + "access_log: stderr\n")
	c := g.dial("web")
	want(t, c, "/", 200, "x")
	testnet.Eventually(t, "the report", func() bool { return strings.Contains(told.String(), "access log stderr: no space left on device") })
	want(t, c, "/", 200, "x")
	broken.Store(false)
	testnet.Eventually(t, "the all-clear", func() bool { return strings.Contains(told.String(), "access log stderr: works again") })
	testnet.Eventually(t, "both lines", func() bool { return g.metric("sluice_access_log_lines_total") == "2" })
	broken.Store(true)
	want(t, c, "/", 200, "x")
	g.Close()
	if got := told.String(); !strings.Contains(got, "1 lines lost at the end") || strings.Count(got, "access log: ") != 1 {
		t.Errorf("reports:\n%s", got)
	}
}
