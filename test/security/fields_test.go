package security

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/test/rig"
)

// with is a GET with these field lines.
func with(fields string) string { return "GET /x HTTP/1.1\r\nHost: a.test\r\n" + fields + "\r\n" }

// seen is an attempt whose request reaches the backend with exactly these values of these fields: "Name: value" lines, in the order of the wire; a line
// "Name" stands for a field that must not be there.
func seen(name, raw, listener string, want ...string) attempt {
	a := passes(name, raw, `GET /x ""`)
	a.listener = listener
	a.check = func(t *testing.T, r *result) {
		t.Helper()
		values := make(map[string][]string)
		for _, w := range want {
			field, value, there := strings.Cut(w, ": ")
			if there {
				values[field] = append(values[field], value)
			} else {
				values[field] = nil
			}
		}
		for field, v := range values {
			if got := r.requests[0].Header.All(field); fmt.Sprint(got) != fmt.Sprint(v) {
				t.Errorf("%s: the backend got %q, want %q", field, got, v)
			}
		}
	}
	return a
}

const (
	trusted    = "trusted_proxies: [127.0.0.0/8]"
	authPolicy = `version: 1
access_log: stdout
listeners: {web: {address: "127.0.0.1:0", protocol: http}}
routes:
  - match: {path: "/*"}
    policies: [{request: {headers: {set: {X-Auth-User: "${request.headers['x-token']}", X-Real-User: known}}}}]
    backend: app
backends: {app: {endpoints: [%q]}}
`
)

func TestCase26ConnectionLists(t *testing.T) {
	t.Parallel()
	all := []attempt{
		seen("forwarding fields", with("Connection: X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Request-Id\r\nX-Forwarded-For: 6.6.6.6\r\n"), "",
			"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", "X-Forwarded-Host: a.test", "Connection"),
		seen("forwarding fields of a trusted proxy", with("Connection: X-Forwarded-For, X-Forwarded-Proto\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n"), trusted,
			"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http"),
		seen("Forwarded", with("Connection: Forwarded\r\nForwarded: for=6.6.6.6\r\n"), "forwarded: rfc7239", `Forwarded: for=127.0.0.1;proto=http;host="a.test"`),
		seen("the client's own", with("Connection: X-A, close-x\r\nX-A: 1\r\nX-a: 2\r\nX-B: 3\r\nClose-X: 4\r\n"), "", "X-A", "X-B: 3", "Close-X"),
		seen("two lines", with("X-A: 1\r\nConnection: x-a\r\nX-B: 2\r\nConnection: X-B\r\nX-C: 3\r\n"), "", "X-A", "X-B", "X-C: 3", "Connection"),
		seen("Host", with("Connection: Host\r\n"), "", "Host: a.test"),
		seen("hop fields", with("Connection: keep-alive, TE\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nTrailer: X\r\n"),
			"", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Trailer"),
		seen("hop fields that Connection does not list", with("Keep-Alive: timeout=5\r\nProxy-Connection: close\r\nProxy-Authenticate: Basic\r\nTE: gzip\r\nUpgrade: x\r\n"),
			"", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "TE", "Upgrade", "Connection"),
	}
	length := seen("Content-Length", "POST /x HTTP/1.1\r\nHost: a.test\r\nConnection: Content-Length\r\nContent-Length: 5\r\n\r\nhello", "", "Content-Length: 5")
	length.backend, length.want[0].method = []string{`POST /x "hello"`}, "POST"
	encoding := seen("Transfer-Encoding", "POST /x HTTP/1.1\r\nHost: a.test\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n"+hello, "", "Transfer-Encoding: chunked")
	encoding.backend, encoding.want[0].method = length.backend, "POST"
	policy := seen("a field of a policy", with("Connection: X-Auth-User, X-Real-User\r\nX-Auth-User: root\r\nX-Real-User: root\r\nX-Token: jane\r\n"), "",
		"X-Auth-User: jane", "X-Real-User: known")
	policy.config = authPolicy
	// A policy whose value is missing takes the client's copy away as well.
	missing := seen("a field of a policy without a value", with("X-Auth-User: root\r\nX-auth-user: root2\r\n"), "", "X-Auth-User")
	missing.config = authPolicy
	token := seen("what a policy reads", with("Connection: X-Token\r\nX-Token: jane\r\nX-Auth-User: root\r\n"), "", "X-Auth-User", "X-Token")
	token.config = authPolicy
	all = append(all, length, encoding, policy, missing, token,
		refused("a list without end", with("Connection: "+strings.Repeat("a,", 1000)+"b\r\n"), 431, "header_too_many"))
	runAll(t, all)
}

// spellings are ways of writing a field name that some servers read as the same.
func spellings(name string) []string {
	return []string{
		name, strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(name, "-", "."),
		strings.Replace(name, "-", "_", 1), strings.ToLower(strings.ReplaceAll(name, "-", "_")),
	}
}

func TestCase27Imitations(t *testing.T) {
	t.Parallel()
	var all []attempt
	for _, field := range []string{
		"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Server", "X-Real-IP", "X-Request-Id",
		"X-Consumer", "X-Consumer-Plan", "X-Authenticated-Subject", "X-Client-Cert", "Sluice-Reason", "Sluice-Anything",
	} {
		var lines strings.Builder
		for _, s := range spellings(field) {
			lines.WriteString(s + ": forged\r\n")
		}
		a := passes(field, with(lines.String()), `GET /x ""`)
		a.check = func(t *testing.T, r *result) {
			for _, f := range r.requests[0].Header {
				if f.Value == "forged" {
					t.Errorf("the backend got %s: %s", f.Name, f.Value)
				}
			}
		}
		all = append(all, a)
	}
	framing := passes("framing fields", "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nContent_Length: 0\r\ncontent.length: 0\r\nTransfer_Encoding: chunked\r\n\r\nhello", `POST /x "hello"`)
	framing.want[0].method = "POST"
	framing.check = func(t *testing.T, r *result) {
		if got := fieldsSeen(r, "Content_Length", "content.length", "Transfer_Encoding"); got != "" {
			t.Errorf("the backend got %s", got)
		}
	}
	all = append(all, framing, seen("other names pass", with("X_Trace: 1\r\nMy.Field: 2\r\nX_Forwarded_Forx: 3\r\n"), "", "X_Trace: 1", "My.Field: 2", "X_Forwarded_Forx: 3"))
	runAll(t, all)
}

func TestCase27ImitationsAreCounted(t *testing.T) {
	t.Parallel()
	o := rig.NewOrigin(t, "app", nil)
	g := rig.Start(t, site(o, ""))
	c := g.Dial("web")
	c.Send(with("X_Forwarded_For: 6.6.6.6\r\nX.Real.IP: 6.6.6.6\r\nX-Consumer: root\r\n"))
	c.Response("GET")
	if got := g.Metric(`sluice_fields_removed_total{listener="web"}`); got != "3" {
		t.Errorf("sluice_fields_removed_total is %q, want 3", got)
	}
}

func TestCase28Trailers(t *testing.T) {
	t.Parallel()
	const forged = "X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Consumer: root\r\nx_consumer: root\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: b.test\r\n" +
		"Connection: close\r\nAuthorization: x\r\nSluice-Reason: x\r\nX-Sum: 1\r\nX-Other: 2\r\n"
	request := "POST /x HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nTrailer: X-Forwarded-For, X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n" + forged + "\r\n"
	trailers := func(name, listener, want string) attempt {
		return attempt{name: name, raw: request, listener: listener, open: true, want: []answer{{method: "POST", status: 200}}, backend: []string{`POST /x "hello"`},
			check: func(t *testing.T, r *result) {
				q := r.requests[0]
				if got := fmt.Sprint(q.Trailer); got != want {
					t.Errorf("the backend got the trailers %s, want %s", got, want)
				}
				if got := fieldsSeen(r, "X-Forwarded-For", "X-Consumer", "X-Sum", "X-Other", "Authorization"); got != "X-Forwarded-For: 127.0.0.1" {
					t.Errorf("the backend got %s in the header", got)
				}
			}}
	}
	runAll(t, []attempt{
		trailers("none wanted", "", "[]"),
		trailers("one wanted", "trailers: [X-Sum]", "[{X-Sum 1}]"),
		trailers("two wanted", "trailers: [x-other, X-SUM]", "[{X-Sum 1} {X-Other 2}]"),
	})
	t.Run("managed ones cannot be wanted", func(t *testing.T) {
		o := rig.NewOrigin(t, "app", nil)
		g := rig.Start(t, site(o, ""))
		for _, name := range []string{"X-Forwarded-For", "X-Consumer", "Content-Length", "Host", "Sluice-Reason"} {
			if err := g.Reload(site(o, "trailers: ["+name+"]")); err == nil {
				t.Errorf("trailers: [%s] is accepted", name)
			}
		}
	})
}

// A backend's trailers reach a client that asked for them, but for those by which it could say what only the gateway may.
func TestCase28ResponseTrailers(t *testing.T) {
	t.Parallel()
	o := rig.NewOrigin(t, "app", func(c *rig.OriginConn) {
		for c.Request() != nil {
			c.Send("HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\nSluice-Reason: x\r\nX-Request-Id: x\r\nConnection: x\r\n\r\n")
		}
	})
	g := rig.Start(t, site(o, ""))
	c := g.Dial("web")
	for fields, want := range map[string]string{"": "[]", "Connection: TE\r\nTE: trailers\r\n": "[{X-Sum 1}]"} {
		c.Send(with(fields))
		if r := c.Response("GET"); fmt.Sprint(r.Trailer) != want {
			t.Errorf("with %q the client got the trailers %v, want %s", fields, r.Trailer, want)
		}
	}
}

func TestCase29UntrustedForwarding(t *testing.T) {
	t.Parallel()
	const forged = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n" +
		"X-Forwarded-Prefix: /evil\r\nX-Forwarded-Server: evil\r\nForwarded: for=6.6.6.6;proto=https;host=evil.test\r\nX-Real-IP: 6.6.6.6\r\nX-Request-Id: forged\r\n" +
		"X-Client-Cert: forged\r\n"
	clean := []string{"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: a.test", "X-Forwarded-Proto: http", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Server",
		"X-Real-IP", "X-Client-Cert"}
	var all []attempt
	for _, a := range []attempt{
		seen("no proxy trusted", with(forged), "", append(clean, "Forwarded")...),
		seen("another proxy trusted", with(forged), "trusted_proxies: [10.0.0.0/8, 127.0.0.2/32]", append(clean, "Forwarded")...),
		seen("with Forwarded", with(forged), "forwarded: rfc7239", append(clean, `Forwarded: for=127.0.0.1;proto=http;host="a.test"`)...),
	} {
		check := a.check
		a.check = func(t *testing.T, r *result) {
			check(t, r)
			id := r.requests[0].Header.Get("X-Request-Id")
			if len(id) != 32 || r.answers[0].Header.Get("X-Request-Id") != id || lineOf(t, r.log, "/x")["request_id"] != id {
				t.Errorf("request id %q at the backend, %q in the answer, %v in the log; want one new id", id, r.answers[0].Header.Get("X-Request-Id"), r.log[0]["request_id"])
			}
			if lineOf(t, r.log, "/x")["client"] != "127.0.0.1" {
				t.Errorf("client %v in the log, want the peer", r.log[0]["client"])
			}
		}
		all = append(all, a)
	}
	runAll(t, all)
}

func TestCase30ClientBehindProxies(t *testing.T) {
	t.Parallel()
	const proxies = "trusted_proxies: [127.0.0.0/8, 10.0.0.0/8, \"2001:db8::/32\"]"
	var all []attempt
	for _, c := range []struct{ name, fields, listener, client, forwarded string }{
		{"none", "", proxies, "127.0.0.1", "127.0.0.1"},
		{"one hop", "X-Forwarded-For: 6.6.6.6\r\n", proxies, "6.6.6.6", "6.6.6.6, 127.0.0.1"},
		{"forged before it", "X-Forwarded-For: 1.1.1.1, 6.6.6.6\r\n", proxies, "6.6.6.6", "1.1.1.1, 6.6.6.6, 127.0.0.1"},
		{"two trusted hops", "X-Forwarded-For: 1.1.1.1, 6.6.6.6, 10.1.1.1\r\n", proxies, "6.6.6.6", "1.1.1.1, 6.6.6.6, 10.1.1.1, 127.0.0.1"},
		{"two lines", "X-Forwarded-For: 1.1.1.1, 6.6.6.6\r\nX-Forwarded-For: 10.1.1.1, 10.1.1.2\r\n", proxies, "6.6.6.6", "1.1.1.1, 6.6.6.6, 10.1.1.1, 10.1.1.2, 127.0.0.1"},
		{"all trusted", "X-Forwarded-For: 10.1.1.1, 10.1.1.2\r\n", proxies, "10.1.1.1", "10.1.1.1, 10.1.1.2, 127.0.0.1"},
		{"trusted before an untrusted", "X-Forwarded-For: 10.1.1.1, 6.6.6.6\r\n", proxies, "6.6.6.6", "10.1.1.1, 6.6.6.6, 127.0.0.1"},
		{"no address", "X-Forwarded-For: 6.6.6.6, unknown\r\n", proxies, "127.0.0.1", "6.6.6.6, unknown, 127.0.0.1"},
		{"no address behind trusted", "X-Forwarded-For: 6.6.6.6, _hidden, 10.1.1.1\r\n", proxies, "10.1.1.1", "6.6.6.6, _hidden, 10.1.1.1, 127.0.0.1"},
		{"port", "X-Forwarded-For: 6.6.6.6:1234\r\n", proxies, "6.6.6.6", "6.6.6.6:1234, 127.0.0.1"},
		{"IPv6", "X-Forwarded-For: 2001:dba::1, 2001:db8::1\r\n", proxies, "2001:dba::1", "2001:dba::1, 2001:db8::1, 127.0.0.1"},
		{"IPv6 in brackets", "X-Forwarded-For: [2001:dba::1]:80\r\n", proxies, "2001:dba::1", "[2001:dba::1]:80, 127.0.0.1"},
		{"IPv4 in IPv6", "X-Forwarded-For: 6.6.6.6, ::ffff:10.1.1.1\r\n", proxies, "6.6.6.6", "6.6.6.6, ::ffff:10.1.1.1, 127.0.0.1"},
		{"empty elements", "X-Forwarded-For: 6.6.6.6,, ,10.1.1.1,\r\n", proxies, "6.6.6.6", "6.6.6.6,, ,10.1.1.1,, 127.0.0.1"},
		{"peer not trusted", "X-Forwarded-For: 6.6.6.6\r\n", "trusted_proxies: [10.0.0.0/8]", "127.0.0.1", "127.0.0.1"},
	} {
		a := seen(c.name, with(c.fields), c.listener, "X-Forwarded-For: "+c.forwarded)
		check := a.check
		a.check = func(t *testing.T, r *result) {
			check(t, r)
			if got := lineOf(t, r.log, "/x")["client"]; got != c.client {
				t.Errorf("client %v, want %s", got, c.client)
			}
		}
		all = append(all, a)
	}
	all = append(all, seen("id of a trusted proxy", with("X-Request-Id: abc-1\r\n"), trusted, "X-Request-Id: abc-1"),
		seen("proto and host of a trusted proxy", with("X-Forwarded-Proto: https\r\nX-Forwarded-Host: public.test\r\n"), trusted,
			"X-Forwarded-Proto: https", "X-Forwarded-Host: public.test"))
	runAll(t, all)
}

func TestCase31Identity(t *testing.T) {
	t.Parallel()
	var all []attempt
	for _, listener := range []string{"", trusted} { // not even a trusted proxy may say who somebody is
		for _, field := range []string{"X-Consumer", "X-Consumer-Plan", "X-Authenticated-Subject", "X-Client-Cert"} {
			all = append(all, seen(field+" "+listener, with(field+": root\r\n"+strings.ToLower(field)+": root\r\n"+strings.ReplaceAll(field, "-", "_")+": root\r\n"),
				listener, field, strings.ReplaceAll(field, "-", "_")))
		}
	}
	// Nor does a route that selects by such a field.
	route := attempt{name: "a route cannot be reached by it", raw: with("X-Consumer: root\r\n"), want: []answer{{status: 404, reason: "no_route"}},
		config: strings.Replace(hostSite, `host: "HOST"`, `headers: {X-Consumer: root}`, 1)}
	route.open = false
	o := rig.NewOrigin(t, "app", nil)
	g := rig.Start(t, fmt.Sprintf(route.config, o.Addr()))
	c := g.Dial("web")
	c.Send(route.raw)
	if r := c.Response("GET"); r.Status != 404 || r.Reason() != "no_route" {
		t.Errorf("%s: answer %d %q, want 404 no_route", route.name, r.Status, r.Reason())
	}
	runAll(t, all)
}

func TestCase32ProxyField(t *testing.T) {
	t.Parallel()
	runAll(t, []attempt{
		seen("Proxy", with("Proxy: http://evil.test:8080\r\n"), "", "Proxy"),
		seen("other case, twice", with("PROXY: http://evil.test\r\nproxy: b\r\n"), "", "Proxy"),
		seen("of a trusted proxy", with("Proxy: http://evil.test:8080\r\n"), trusted, "Proxy"),
	})
}

func TestCase33LogInjection(t *testing.T) {
	t.Parallel()
	forgedLine := `x","status":200,"forged":"`
	raw := "GET /a%0A%0D%1B%22?q=%0A\"\\x7b HTTP/1.1\r\nHost: a.test\r\nUser-Agent: " + forgedLine + "\t\\ \xff\xfe\u2028 end\r\n\r\n"
	a := passes("bytes", raw, `GET /a%0A%0D%1B%22?q=%0A"\x7b ""`)
	a.check = func(t *testing.T, r *result) {
		l := lineOf(t, r.log, "/a%0A%0D%1B%22")
		if _, forged := l["forged"]; forged {
			t.Errorf("a client wrote a member of the line: %v", l)
		}
		if l["query"] != `q=%0A"\x7b` || !strings.HasPrefix(l["user_agent"].(string), forgedLine+"\t\\ ") {
			t.Errorf("query %q, user agent %q in the log", l["query"], l["user_agent"])
		}
	}
	runAll(t, []attempt{a})

	t.Run("one line each", func(t *testing.T) {
		o := rig.NewOrigin(t, "app", nil)
		g := rig.Start(t, site(o, ""))
		for _, raw := range []string{
			raw, "GET /a\nb HTTP/1.1\r\nHost: a.test\r\n\r\n", "G\x1bT / HTTP/1.1\r\nHost: a.test\r\n\r\n", with("X: \x1b[31m\r\n"), hosted("Host: \x00\x1b\r\n"),
			"GET /\x1b[31m HTTP/1.1\r\nHost: a.test\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
		} {
			c := g.Dial("web")
			c.Push(raw)
			c.Response("GET")
			c.Close()
		}
		g.Close()
		text := g.Out.String()
		if n := strings.Count(text, "\n"); n != 7 {
			t.Errorf("7 requests made %d lines", n)
		}
		for line := range strings.Lines(text) {
			if !json.Valid([]byte(line)) || strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(c rune) bool { return c < ' ' || c >= 0x7F && c < 0xA0 }) {
				t.Errorf("line %q", line)
			}
		}
	})
	t.Run("problems", func(t *testing.T) {
		o := rig.NewOrigin(t, "app", nil)
		g := rig.Start(t, strings.Replace(fmt.Sprintf(hostSite, o.Addr()), "HOST", "other.test", 1))
		c := g.Dial("web")
		c.Send("GET /%22%3Cscript%3E HTTP/1.1\r\nHost: a.test\r\nX-Request-Id: \"<script>\r\n\r\n")
		r := c.Response("GET")
		var problem map[string]any
		if err := json.Unmarshal(r.Body, &problem); err != nil || r.Header.Get("Content-Type") != "application/problem+json" || strings.Contains(string(r.Body), "script") {
			t.Errorf("problem %q of type %q (%v)", r.Body, r.Header.Get("Content-Type"), err)
		}
	})
}

func TestCase34SeveralValues(t *testing.T) {
	t.Parallel()
	o := rig.NewOrigin(t, "app", nil)
	g := rig.Start(t, fmt.Sprintf(`version: 1
listeners: {web: {address: "127.0.0.1:0", protocol: http}}
routes:
  - {name: internal, match: {path: "/*", headers: {X-Internal: "1"}}, respond: {status: 403, text: internal}}
  - {name: any, match: {path: "/*", headers: {X-Debug: "*"}}, respond: {status: 403, text: debug}}
  - {name: blocked, match: {path: "/*", query: {admin: "1"}}, respond: {status: 403, text: admin}}
  - {name: all, match: {path: "/*"}, backend: app}
backends: {app: {endpoints: [%q]}}
`, o.Addr()))
	c := g.Dial("web")
	for _, q := range []struct{ raw, want string }{
		{with("X-Internal: 1\r\n"), "internal"},
		{with("X-Internal: 0\r\nX-Internal: 1\r\n"), "internal"},
		{with("X-Internal: 1\r\nX-Internal: 0\r\n"), "internal"},
		{with("X-Internal: 0\r\nX-A: b\r\nx-INTERNAL: 1\r\n"), "internal"},
		{with("X-Internal: 0, 1\r\n"), "internal"},
		{with("X-Internal: 1 ,0\r\n"), "internal"},
		{with("X-Internal:,,1\r\n"), "internal"},
		{with("X-Internal:\t1\r\n"), "internal"},
		{with("X-Internal: 10\r\n"), "app"},
		{with("X-Internal: 0\r\n"), "app"},
		{with("X-Debug:\r\n"), "debug"},
		{with("X-Debug: a\r\nX-Debug: b\r\n"), "debug"},
		{get("/x?admin=1"), "admin"},
		{get("/x?admin=0&admin=1"), "admin"},
		{get("/x?admin=1&admin=0"), "admin"},
		{get("/x?a&&admin=%31"), "admin"},
		{get("/x?%61dmin=1"), "admin"},
		{get("/x?admin=10"), "app"},
		{get("/x?xadmin=1"), "app"},
	} {
		c.Send(q.raw)
		if r := c.Response("GET"); string(r.Body) != q.want {
			t.Errorf("%q is answered by %q, want %q", q.raw, r.Body, q.want)
		}
	}
}
