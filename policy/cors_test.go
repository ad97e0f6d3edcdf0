package policy

import (
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

func TestCORSPreflight(t *testing.T) {
	const bank = `{origins: ["https://app.bank.example", "https://*.pages.example"]`
	for _, c := range []struct{ policy, origin, method, headers, want string }{
		{bank + `}`, "https://app.bank.example", "PUT", "", "https://app.bank.example PUT  600"},
		{bank + `}`, "https://app.bank.example", "PUT", "x-a, content-type", "https://app.bank.example PUT x-a, content-type 600"},
		{bank + `}`, "https://evil.example", "GET", "", "none"},
		{bank + `}`, "https://app.bank.example.evil.example", "GET", "", "none"},
		{bank + `}`, "http://app.bank.example", "GET", "", "none"},
		{bank + `}`, "https://a.b.pages.example", "GET", "", "https://a.b.pages.example GET  600"},
		{bank + `}`, "https://pages.example", "GET", "", "none"},
		{bank + `}`, "https://.pages.example", "GET", "", "none"},
		{bank + `}`, "https://evilpages.example", "GET", "", "none"},
		{bank + `}`, "null", "GET", "", "none"},
		{bank + `, methods: [GET, PUT]}`, "https://app.bank.example", "PUT", "", "https://app.bank.example GET, PUT  600"},
		{bank + `, methods: [GET, PUT]}`, "https://app.bank.example", "DELETE", "", "none"},
		{bank + `, headers: [X-A, X-B], max_age: 1m}`, "https://app.bank.example", "GET", "x-b,x-a", "https://app.bank.example GET X-A, X-B 60"},
		{bank + `, headers: [X-A]}`, "https://app.bank.example", "GET", "x-a, x-c", "none"},
		{`{origins: "*"}`, "https://any.example", "GET", "", "* GET  600"},
		{bank + `, credentials: true}`, "https://app.bank.example", "GET", "", "https://app.bank.example GET  600 true"},
	} {
		x := exchange("-", "Origin: "+c.origin, "Access-Control-Request-Method: "+c.method)
		if c.headers != "" {
			addLine(&x.Request.Header, "Access-Control-Request-Headers: "+c.headers)
		}
		chain(t, "[{cors: "+c.policy+"}]").Preflight().Preflight(x)
		h := &x.Response.Header
		got := "none"
		if h.Has(message.AccessControlAllowOrigin) {
			got = strings.TrimSpace(strings.Join([]string{string(h.Get(message.AccessControlAllowOrigin)), string(h.Get(message.AccessControlAllowMethods)),
				string(h.Get(message.AccessControlAllowHeaders)), string(h.Get(message.AccessControlMaxAge)), string(h.Get(message.AccessControlAllowCredentials))}, " "))
		}
		if x.Response.Status != 204 || got != c.want || !h.Has(message.Vary) {
			t.Errorf("%s, %s %s %q: %d %q, want %q", c.policy, c.origin, c.method, c.headers, x.Response.Status, got, c.want)
		}
	}
}

func TestCORSResponse(t *testing.T) {
	for _, c := range []struct{ policy, origin, backend, want string }{
		{`{origins: "https://a.example"}`, "https://a.example", "", "Vary: Origin\nAccess-Control-Allow-Origin: https://a.example"},
		{`{origins: "https://a.example"}`, "https://b.example", "", "Vary: Origin"},
		{`{origins: "https://a.example"}`, "", "", "Vary: Origin"},
		{`{origins: "https://a.example"}`, "https://b.example", "Access-Control-Allow-Origin: *", "Vary: Origin"}, // one opinion
		{`{origins: "https://a.example"}`, "https://b.example", "Vary: Accept, origin", "Vary: Accept, origin"},
		{`{origins: "https://a.example"}`, "https://b.example", "Vary: *", "Vary: *"},
		{`{origins: "*"}`, "https://a.example", "", "Access-Control-Allow-Origin: *"},
		{`{origins: "https://a.example", credentials: true, expose: [X-A, X-B]}`, "https://a.example", "",
			"Vary: Origin\nAccess-Control-Allow-Origin: https://a.example\nAccess-Control-Allow-Credentials: true\nAccess-Control-Expose-Headers: X-A, X-B"},
	} {
		x := exchange("-")
		if c.origin != "" {
			addLine(&x.Request.Header, "Origin: "+c.origin)
		}
		if c.backend != "" {
			addLine(&x.Response.Header, c.backend)
		}
		if _, f := chain(t, "[{cors: "+c.policy+"}]").Response(x, 1, 0); f != nil {
			t.Fatal(f)
		}
		if got := dump(&x.Response.Header); got != c.want {
			t.Errorf("%s, %s, %s:\n%s\nwant\n%s", c.policy, c.origin, c.backend, got, c.want)
		}
	}
}

// Wherever it is written it stands first: what is refused before it was reached is marked, too.
func TestCORSIsFirst(t *testing.T) {
	chain := chain(t, `[{ip_filter: {deny: 192.0.2.7}}, {cors: {origins: "https://a.example"}}]`)
	x := exchange("-", "Origin: https://a.example")
	ran, _, f := chain.Request(x, 0, nil)
	if f == nil || x.Outcome.Policy != "ip_filter" {
		t.Fatalf("%v by %q", f, x.Outcome.Policy)
	}
	if _, f = chain.Response(x, ran, 0); f != nil || !x.Response.Header.Has(message.AccessControlAllowOrigin) {
		t.Errorf("the refusal: %v, %s", f, dump(&x.Response.Header))
	}
}

func TestCORSOptions(t *testing.T) {
	for _, c := range []struct{ policy, want string }{
		{`{}`, "origins"},
		{`{origins: "*", credentials: true}`, "every origin and credentials"},
		{`{origins: "null"}`, "sandboxed"},
		{`{origins: "app.example"}`, "is no origin"},
		{`{origins: "https://app.example/"}`, "has more than"},
		{`{origins: "https://a*.example"}`, "is no origin"},
	} {
		if _, _, err := load("[{cors: " + c.policy + "}]"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.policy, err, c.want)
		}
	}
	cfg, list, err := load(`[{cors: {origins: "https://a.example"}}, {cors: {origins: "https://b.example"}}]`)
	if err != nil {
		t.Fatal(err)
	}
	c := context(cfg)
	if Compile(list, c); c.Report.Err() == nil {
		t.Error("two policies that answer preflights")
	}
}
