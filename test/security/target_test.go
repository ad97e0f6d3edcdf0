package security

import (
	"strings"
	"testing"
)

// get is a GET of a target with a Host.
func get(target string) string { return "GET " + target + " HTTP/1.1\r\nHost: a.test\r\n\r\n" }

// hosted is a GET with these lines where Host belongs.
func hosted(lines string) string { return "GET / HTTP/1.1\r\n" + lines + "\r\n" }

func TestCase08TargetAndHost(t *testing.T) {
	t.Parallel()
	all := []attempt{
		refused("space in the target", get("/a b"), 400, "request_line_invalid"),
		refused("two spaces before the target", "GET  / HTTP/1.1\r\nHost: a.test\r\n\r\n", 400, "request_line_invalid"),
		refused("two spaces before the version", "GET /  HTTP/1.1\r\nHost: a.test\r\n\r\n", 400, "request_line_invalid"),
		refused("space behind the version", "GET / HTTP/1.1 \r\nHost: a.test\r\n\r\n", 400, "request_line_invalid"),
		refused("a smuggled line in the target", get("/ HTTP/1.1 HTTP/1.1"), 400, "request_line_invalid"),
		refused("tab for a space", "GET\t/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 400, "request_line_invalid"),
		refused("tab in the target", get("/a\tb"), 400, "path_invalid"),
		refused("NUL in the target", get("/a\x00b"), 400, "path_invalid"),
		refused("CR in the target", get("/a\rb"), 400, "path_invalid"),
		refused("DEL in the target", get("/a\x7fb"), 400, "path_invalid"),
		refused("control byte in the query", get("/a?b\x01c"), 400, "path_invalid"),
		refused("raw UTF-8 in the target", get("/ü"), 400, "path_invalid"),
		refused("raw UTF-8 in the query", get("/?ü"), 400, "path_invalid"),
		refused("no target", "GET HTTP/1.1\r\nHost: a.test\r\n\r\n", 400, "request_line_invalid"),
		refused("relative target", get("a"), 400, "request_line_invalid"),
		refused("backslash for a slash", get("\\a"), 400, "request_line_invalid"),
		refused("asterisk with GET", get("*"), 400, "path_invalid"),
		refused("asterisk and more", "OPTIONS *a HTTP/1.1\r\nHost: a.test\r\n\r\n", 400, "request_line_invalid"),
		refused("no Host", hosted(""), 400, "host_invalid"),
		refused("two Hosts", hosted("Host: a.test\r\nHost: b.test\r\n"), 400, "host_invalid"),
		refused("two equal Hosts", hosted("Host: a.test\r\nhost: a.test\r\n"), 400, "host_invalid"),
		refused("two Hosts with an absolute target", "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n", 400, "host_invalid"),
		refused("no Host with an absolute target of a bad host", "GET http://a,b/ HTTP/1.1\r\n\r\n", 400, "host_invalid"),
		refused("absolute target without a host", "GET http:///x HTTP/1.1\r\nHost: a.test\r\n\r\n", 400, "host_invalid"),
		refused("absolute target with userinfo", "GET http://u@a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 400, "host_invalid"),
		refused("absolute target of another scheme", "GET ftp://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 400, "request_line_invalid"),
		refused("absolute target with a fragment", "GET http://a.test/#x HTTP/1.1\r\nHost: a.test\r\n\r\n", 400, "path_invalid"),
		refused("two methods", "GET POST / HTTP/1.1\r\nHost: a.test\r\n\r\n", 400, "request_line_invalid"),
		refused("method that is no token", "G(ET / HTTP/1.1\r\nHost: a.test\r\n\r\n", 400, "method_invalid"),
		refused("another protocol", "GET / ICY/1.1\r\nHost: a.test\r\n\r\n", 400, "request_line_invalid"),
		refused("HTTP/0.9", "GET /\r\n\r\n", 400, "request_line_invalid"),
		refused("HTTP/2.0", "GET / HTTP/2.0\r\nHost: a.test\r\n\r\n", 505, "version_unsupported"),
		refused("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version_unsupported"),
		refused("HTTP/1.10", "GET / HTTP/1.10\r\nHost: a.test\r\n\r\n", 400, "request_line_invalid"),
		refused("lower-case version", "GET / http/1.1\r\nHost: a.test\r\n\r\n", 400, "request_line_invalid"),
	}
	for _, host := range []string{
		"", "a b", "a,b", "a.test, b.test", "u@a.test", "u:p@a.test", "a.test/x", "a.test?x", "a.test#x", "a\\b", "a.test:", "a.test:x", "a.test:0", "a.test:65536",
		"a.test:80:80", "a.test:+80", "a.test:080", "[::1", "::1", "[::1]x", "[::1%25eth0]", ".a.test", "a..test", "a.test..", "*.a.test", "a%2etest", "a%00", "ü.test",
		"http://a.test", "a.test;b", strings.Repeat("a", 256),
	} {
		a := refused("Host "+host, hosted("Host: "+host+"\r\n"), 400, "host_invalid")
		if host == "a.test:" { // RFC 3986 section 3.2.3 lets a port be empty
			a = attempt{name: "Host " + host, raw: hosted("Host: a.test:\r\n"), open: true, want: []answer{{status: 200}}, backend: []string{`GET / ""`}, check: host1("a.test")}
		}
		all = append(all, a)
	}
	rewritten := func(name, raw, target, host string) attempt {
		a := passes(name, raw, "GET "+target+` ""`)
		a.check = host1(host)
		return a
	}
	all = append(all,
		rewritten("absolute target and Host disagree", "GET http://b.test/x?y HTTP/1.1\r\nHost: a.test\r\n\r\n", "/x?y", "b.test"),
		rewritten("absolute target and Host agree", "GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n", "/x", "a.test"),
		rewritten("absolute target and an odd Host", "GET http://b.test:81/x HTTP/1.1\r\nHost: a.test:80\r\n\r\n", "/x", "b.test:81"),
		rewritten("absolute target without a path", "GET http://b.test?y HTTP/1.1\r\nHost: a.test\r\n\r\n", "/?y", "b.test"),
		rewritten("absolute target of https on a plain port", "GET https://b.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n", "/x", "b.test"),
		rewritten("other case", hosted("HOST: A.Test\r\n"), "/", "a.test"),
		attempt{name: "HTTP/1.0 without Host", raw: "GET /x HTTP/1.0\r\n\r\n", want: []answer{{status: 404, reason: "no_route"}},
			config: strings.ReplaceAll(hostSite, "HOST", "a.test")},
	)
	runAll(t, all)
}

// hostSite is a configuration whose only route is for a host.
const hostSite = `version: 1
access_log: stdout
listeners: {web: {address: "127.0.0.1:0", protocol: http}}
routes: [{name: all, match: {host: "HOST"}, backend: app}]
backends: {app: {endpoints: [%q]}}
`

// host1 checks that the backend got one Host of this value, and that the log has the same host.
func host1(want string) func(*testing.T, *result) {
	return func(t *testing.T, r *result) {
		t.Helper()
		if len(r.requests) == 0 {
			return // reported already
		}
		if got := r.requests[0].Header.All("Host"); len(got) != 1 || got[0] != want {
			t.Errorf("Host fields %q, want %q", got, want)
		}
		name, _, _ := strings.Cut(want, ":")
		path, _, _ := strings.Cut(r.requests[0].Target, "?")
		if got := lineOf(t, r.log, path)["host"]; got != name {
			t.Errorf("host %q in the log, want %q", got, name)
		}
	}
}
