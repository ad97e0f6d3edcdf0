package bank

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/test/rig"
)

// refusal is a request that must not come to a backend, and what its client is told.
type refusal struct {
	name, request string
	status        int
	reason        string
	fields        []string            // each "Name: value" as it has to be, or "Name" for one that must not be there
	problem       func(*problem) bool // what else the document says; nil for nothing of a version, an error, a policy or a part
}

// Fields that answers of version v1 have, whatever they say.
var ofV1 = []string{"Deprecation: @1767225600", "Sunset: Tue, 01 Jan 2999 00:00:00 GMT", "Vary: Accept-Version, Accept"}

const (
	challenge = "WWW-Authenticate: Bearer"
	invalid   = `WWW-Authenticate: Bearer error="invalid_token"`
	keys      = "WWW-Authenticate: ApiKey"
)

// refuse sends all requests to one gateway. Nothing of them may reach a service.
func refuse(t *testing.T, b *bank, all []refusal) {
	t.Helper()
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			b.refused(t, c)
		})
	}
	for _, s := range []*service{b.accounts, b.transactions, b.rates} {
		for _, r := range s.requests(t) {
			t.Errorf("%s got %s %s", s.name, r.Method, r.Target)
		}
	}
}

func (b *bank) refused(t *testing.T, c refusal) {
	t.Helper()
	all := *b
	all.t = t
	r := all.ask(c.request)
	if r.Status != c.status || r.Reason() != c.reason {
		t.Fatalf("%.100q: answer %d %q, want %d %q: %v\n%.1000s", c.request, r.Status, r.Reason(), c.status, c.reason, r.Header, r.Body)
	}
	if r.Status != 405 {
		c.fields = append(c.fields, "Allow")
	}
	if r.Status != 401 {
		c.fields = append(c.fields, "WWW-Authenticate")
	}
	for _, f := range c.fields {
		name, value, there := strings.Cut(f, ": ")
		got := r.Header.All(name)
		if there && !slices.Equal(got, []string{value}) || !there && len(got) > 0 {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
	if strings.HasPrefix(c.request, "HEAD") {
		return
	}
	p := all.problemOf(r)
	if c.problem == nil {
		c.problem = func(p *problem) bool { return p.Errors == nil && p.Versions == nil && p.Policy == "" && p.Parts == nil }
	}
	if !c.problem(p) {
		t.Errorf("the problem says %+v", p)
	}
}

// pointers are the places that a problem names.
func pointers(want ...string) func(*problem) bool {
	return func(p *problem) bool {
		var got []string
		for _, e := range p.Errors {
			if e.Detail == "" {
				return false
			}
			got = append(got, e.Pointer)
		}
		return slices.Equal(got, want)
	}
}

// Whoever cannot prove who calls gets 401, with a challenge, whatever is wrong with what was brought.
func TestUnauthorized(t *testing.T) {
	b := start(t, options{})
	other, stranger := newIssuer(t, "k1"), newIssuer(t, "k2")
	good := b.customer("7")
	parts := strings.Split(good, ".")
	at := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	account := func(name, token, reason string) refusal {
		return refusal{name: name, request: get("/v2/accounts/7", bearer(token)), status: 401, reason: reason, fields: []string{invalid, "Deprecation", "Sunset", "Link"}}
	}
	none := encode([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."
	mac := encode([]byte(`{"alg":"HS256","kid":"k1"}`)) + "." + parts[1]
	hash := hmac.New(sha256.New, []byte(b.keySet()))
	hash.Write([]byte(mac))
	payload := fmt.Sprintf(`{"iss":"https://id.bank.example","aud":"bank-api","sub":"7","roles":["customer"],"exp":%d`, at(time.Hour))
	refuse(t, b, []refusal{
		{name: "no token", request: get("/v2/accounts/7"), status: 401, reason: "token_missing", fields: []string{challenge, "Deprecation"}},
		{name: "no token, v1", request: get("/v1/accounts/7"), status: 401, reason: "token_missing",
			fields: append([]string{challenge, `Link: </v2/accounts/7>; rel="successor-version"`}, ofV1...)},
		{name: "no token, HEAD", request: with("HEAD", "/v2/accounts/7", nil, nil), status: 401, reason: "token_missing", fields: []string{challenge}},
		{name: "no token, transfer", request: post("/transfers", `{}`), status: 401, reason: "token_missing", fields: []string{challenge}},
		{name: "no token, overview", request: get("/overview"), status: 401, reason: "token_missing", fields: []string{challenge}},
		{name: "another scheme", request: get("/overview", "Authorization: Basic Zm9vOmJhcg=="), status: 401, reason: "token_missing", fields: []string{challenge}},
		{name: "the scheme alone", request: get("/overview", "Authorization: Bearer"), status: 401, reason: "token_missing", fields: []string{challenge}},
		{name: "in a cookie", request: get("/overview", "Cookie: Authorization="+good), status: 401, reason: "token_missing", fields: []string{challenge}},
		{name: "twice", request: get("/overview", bearer(good), bearer(good)), status: 401, reason: "header_repeated", fields: []string{invalid}},
		{name: "twice, different", request: get("/overview", "Authorization: Basic eA==", bearer(good)), status: 401, reason: "header_repeated", fields: []string{invalid}},
		account("no token at all", "garbage", "token_invalid"),
		account("two parts", parts[0]+"."+parts[1], "token_invalid"),
		account("four parts", good+".x", "token_invalid"),
		account("no signature", parts[0]+"."+parts[1]+".", "token_invalid"),
		account("two tokens", good+" "+good, "token_invalid"),
		account("another payload", parts[0]+"."+encode([]byte(payload+"}"))+"."+parts[2], "token_invalid"),
		account("alg none", none, "token_invalid"),
		account("HMAC with the public keys", mac+"."+encode(hash.Sum(nil)), "token_invalid"),
		account("signed by another key", other.customer("7"), "token_invalid"),
		account("unknown kid", stranger.customer("7"), "key_unknown"),
		account("expired", b.sign(claims{"exp": at(-time.Minute)}), "token_expired"),
		account("not yet", b.sign(claims{"nbf": at(time.Hour)}), "token_not_yet_valid"),
		account("no exp", b.sign(claims{"exp": nil}), "token_invalid"),
		account("exp is a text", b.sign(claims{"exp": fmt.Sprint(at(time.Hour))}), "token_invalid"),
		account("the subject is a number", b.sign(claims{"sub": 7}), "token_invalid"),
		account("another issuer", b.sign(claims{"iss": "https://id.bank.example.evil"}), "issuer_wrong"),
		account("no issuer", b.sign(claims{"iss": nil}), "issuer_wrong"),
		account("another audience", b.sign(claims{"aud": "bank-api-2"}), "audience_wrong"),
		account("no audience", b.sign(claims{"aud": nil}), "audience_wrong"),
		account("a member twice", b.seal(`{"alg":"ES256","kid":"k1"}`, payload+`,"sub":"8"}`), "token_invalid"),
		account("a member of the header twice", b.seal(`{"alg":"ES256","kid":"k1","kid":"k1"}`, payload+`}`), "token_invalid"),
		account("crit", b.seal(`{"alg":"ES256","kid":"k1","crit":["x"],"x":1}`, payload+`}`), "token_invalid"),
		account("b64", b.seal(`{"alg":"ES256","kid":"k1","crit":["b64"],"b64":false}`, payload+`}`), "token_invalid"),
		account("too long", b.sign(claims{"note": strings.Repeat("x", 17<<10)}), "token_invalid"),
		{name: "no key", request: get("/rates/EUR"), status: 401, reason: "api_key_missing", fields: []string{keys, "RateLimit"}},
		{name: "an empty key", request: get("/rates/EUR", "X-API-Key: "), status: 401, reason: "api_key_missing", fields: []string{keys}},
		{name: "a token for a key", request: get("/rates/EUR", bearer(good)), status: 401, reason: "api_key_missing", fields: []string{keys}},
		{name: "unknown key", request: get("/rates/EUR", "X-API-Key: guess"), status: 401, reason: "api_key_unknown", fields: []string{keys, "RateLimit"}},
		{name: "key in capitals", request: get("/rates/EUR", "X-API-Key: Demo-Partner-Key"), status: 401, reason: "api_key_unknown", fields: []string{keys}},
		{name: "the hash of the key", request: get("/rates/EUR", "X-API-Key: 5f7b2ed74a9736a538a6fb5a5a1a76afdcdd0d177d7fc6e79c6b6843527d848d"), status: 401,
			reason: "api_key_unknown", fields: []string{keys}},
		{name: "key twice", request: get("/rates/EUR", "X-API-Key: "+partnerKey, "X-API-Key: "+partnerKey), status: 401, reason: "header_repeated", fields: []string{keys}},
		{name: "key with a comma", request: get("/rates/EUR", "X-API-Key: "+partnerKey+", "+partnerKey), status: 401, reason: "api_key_unknown", fields: []string{keys}},
	})
}

// Credentials count where the configuration says, and nowhere else.
func TestCredentialsElsewhere(t *testing.T) {
	b := start(t, options{careless: true})
	good := b.customer("7")
	refuse(t, b, []refusal{
		{name: "in the query", request: get("/overview?access_token=" + good), status: 401, reason: "token_missing", fields: []string{challenge}},
		{name: "in the body", request: with("POST", "/transfers", &good, nil), status: 401, reason: "token_missing", fields: []string{challenge}},
		{name: "key in the query", request: get("/rates/EUR?X-API-Key=" + partnerKey), status: 401, reason: "api_key_missing", fields: []string{keys}},
		{name: "key as a token", request: get("/rates/EUR", bearer(partnerKey)), status: 401, reason: "api_key_missing", fields: []string{keys}},
	})
}

// Who calls is known and may not.
func TestForbidden(t *testing.T) {
	b := start(t, options{})
	rule := func(p *problem) bool { return p.Policy == "customers-only" }
	refuse(t, b, []refusal{
		{name: "another role", request: get("/v2/accounts/7", bearer(b.sign(claims{"roles": []string{"clerk"}}))), status: 403, reason: "not_allowed", problem: rule},
		{name: "no roles", request: get("/v2/accounts/7", bearer(b.sign(claims{"roles": nil}))), status: 403, reason: "not_allowed", problem: rule},
		{name: "roles of another type", request: get("/v2/accounts/7", bearer(b.sign(claims{"roles": 7}))), status: 403, reason: "not_allowed", problem: rule},
		{name: "a text that holds the role", request: get("/v2/accounts/7", bearer(b.sign(claims{"roles": "customer"}))), status: 403, reason: "not_allowed", problem: rule},
		{name: "v1", request: get("/v1/accounts/7", bearer(b.sign(claims{"roles": []string{}}))), status: 403, reason: "not_allowed", problem: rule, fields: ofV1},
		{name: "no subject to count by", request: get("/overview", bearer(b.sign(claims{"sub": nil}))), status: 403, reason: "expression_failed"},
	})
	// Somebody who is known by a token and is no consumer has no plan to be limited by.
	b = start(t, options{replace: []string{"[partner-key, by-plan,", "[sign-in, by-plan,"}})
	refuse(t, b, []refusal{{name: "no consumer", request: get("/rates/EUR", bearer(b.customer("7"))), status: 403, reason: "consumer_unknown", fields: []string{"RateLimit"}}})
}

// What is asked for is not there, not like this, not any more.
func TestNotThere(t *testing.T) {
	b := start(t, options{})
	good := bearer(b.customer("7"))
	versions := func(p *problem) bool { return slices.Equal(p.Versions, []string{"v1", "v2"}) }
	refuse(t, b, []refusal{
		{name: "nowhere", request: get("/nowhere", good), status: 404, reason: "no_route", fields: []string{"RateLimit"}},
		{name: "the root", request: get("/"), status: 404, reason: "no_route"},
		{name: "HEAD", request: with("HEAD", "/nowhere", nil, nil), status: 404, reason: "no_route"},
		{name: "no capture", request: get("/v2/accounts/", good), status: 404, reason: "no_route"},
		{name: "one segment more", request: get("/v2/accounts/7/cards", good), status: 404, reason: "no_route"},
		{name: "in capitals", request: get("/Status"), status: 404, reason: "no_route"},
		{name: "version alone", request: get("/v2", good), status: 404, reason: "no_route"},
		{name: "a version of what has none", request: get("/v1/status"), status: 404, reason: "no_route"},
		{name: "unknown version in the path", request: get("/v9/accounts/7", good), status: 404, reason: "version_unknown", problem: versions},
		{name: "unknown version in the path, no token", request: get("/v3/accounts/7"), status: 404, reason: "version_unknown", problem: versions},
		{name: "unknown version in the header", request: get("/accounts/7", good, "Accept-Version: v9"), status: 400, reason: "version_unknown", problem: versions},
		{name: "unknown version in the media type", request: get("/accounts/7", good, "Accept: application/vnd.bank.v9+json"), status: 406, reason: "version_unknown", problem: versions},
		{name: "version header twice", request: get("/accounts/7", good, "Accept-Version: v1", "Accept-Version: v2"), status: 400, reason: "header_repeated"},
		{name: "version without the resource", request: post("/v1/transfers", `{}`, good), status: 404, reason: "version_not_offered"},
		{name: "the same by header", request: get("/overview", good, "Accept-Version: v1"), status: 404, reason: "version_not_offered"},
		{name: "POST of an account", request: post("/v2/accounts/7", `{}`, good), status: 405, reason: "method_not_allowed", fields: []string{"Allow: GET, HEAD"}},
		{name: "DELETE of an account, v1", request: with("DELETE", "/v1/accounts/7", nil, []string{good}), status: 405, reason: "method_not_allowed", fields: []string{"Allow: GET, HEAD"}},
		{name: "GET of transfers", request: get("/transfers", good), status: 405, reason: "method_not_allowed", fields: []string{"Allow: POST"}},
		{name: "PUT of transfers, without a token", request: with("PUT", "/v2/transfers", nil, nil), status: 405, reason: "method_not_allowed", fields: []string{"Allow: POST"}},
		{name: "method in small letters", request: with("get", "/overview", nil, []string{good}), status: 405, reason: "method_not_allowed", fields: []string{"Allow: GET, HEAD"}},
	})
	b = start(t, options{sunset: "2026-02-01"})
	gone := []string{"Sunset: Sun, 01 Feb 2026 00:00:00 GMT", "Deprecation: @1767225600", `Link: </v2/accounts/7?a=b>; rel="successor-version"`}
	refuse(t, b, []refusal{
		{name: "ended", request: get("/v1/accounts/7?a=b", bearer(b.customer("7"))), status: 410, reason: "version_sunset", fields: gone},
		{name: "ended, by header", request: get("/accounts/7?a=b", bearer(b.customer("7")), "Accept-Version: v1"), status: 410, reason: "version_sunset", fields: gone},
		{name: "ended, without a token", request: get("/v1/accounts/7?a=b"), status: 410, reason: "version_sunset", fields: gone},
	})
	if r := b.ask(get("/v2/accounts/7", bearer(b.customer("7")))); r.Status != 200 {
		t.Errorf("the successor answers %d %s", r.Status, r.Reason())
	}
}

// A transfer that is not what it should be is refused before a byte of it goes on.
func TestContent(t *testing.T) {
	b := start(t, options{})
	good := bearer(b.customer("7"))
	transfer := func(body string, fields ...string) string { return post("/transfers", body, append(fields, good)...) }
	typed := func(line string) string {
		return strings.Replace(transfer(`{"to":"a","amount":"1.00","currency":"EUR"}`), "Content-Type: application/json\r\n", line, 1)
	}
	large := `{"to":"` + strings.Repeat("x", 64<<10) + `"}`
	refuse(t, b, []refusal{
		{name: "too large", request: transfer(large), status: 413, reason: "body_too_large"},
		{name: "too large, in chunks", request: chunked(transfer(large), 1000), status: 413, reason: "body_too_large"},
		{name: "one byte too large", request: transfer(large[:7] + large[7+9-1:]), status: 413, reason: "body_too_large"},
		{name: "announced only", request: "POST /transfers HTTP/1.1\r\nHost: a\r\n" + good + "\r\nContent-Type: application/json\r\nContent-Length: 65537\r\n\r\n", status: 413, reason: "body_too_large"},
		{name: "announced more than there is memory", request: "POST /transfers HTTP/1.1\r\nHost: a\r\n" + good + "\r\nContent-Type: application/json\r\nContent-Length: 900000000000000\r\n\r\n",
			status: 413, reason: "body_too_large"},
		{name: "no type", request: typed(""), status: 415, reason: "content_type_unsupported", fields: []string{"Accept: application/json"}},
		{name: "another type", request: typed("Content-Type: text/plain\r\n"), status: 415, reason: "content_type_unsupported", fields: []string{"Accept: application/json"}},
		{name: "a type that begins alike", request: typed("Content-Type: application/json5\r\n"), status: 415, reason: "content_type_unsupported", fields: []string{"Accept: application/json"}},
		{name: "a form", request: typed("Content-Type: application/x-www-form-urlencoded\r\n"), status: 415, reason: "content_type_unsupported", fields: []string{"Accept: application/json"}},
		{name: "two types", request: transfer(`{}`, "Content-Type: text/plain"), status: 415, reason: "content_type_unsupported", fields: []string{"Accept: application/json"}},
		{name: "compressed", request: transfer(`{}`, "Content-Encoding: gzip"), status: 415, reason: "content_type_unsupported"},
		{name: "broken", request: transfer(`{"to":`), status: 400, reason: "json_invalid", problem: pointers("#")},
		{name: "broken, in chunks", request: chunked(transfer(`{"to":"a",}`), 1), status: 400, reason: "json_invalid", problem: pointers("#")},
		{name: "two documents", request: transfer(`{} {}`), status: 400, reason: "json_invalid", problem: pointers("#")},
		{name: "not UTF-8", request: transfer("{\"to\":\"\xff\"}"), status: 400, reason: "json_invalid", problem: pointers("#")},
		{name: "byte order mark", request: transfer("\ufeff{}"), status: 400, reason: "json_invalid", problem: pointers("#")},
		{name: "NaN", request: transfer(`{"amount":NaN}`), status: 400, reason: "json_invalid", problem: pointers("#")},
		{name: "a comment", request: transfer(`{/* */}`), status: 400, reason: "json_invalid", problem: pointers("#")},
		{name: "nothing", request: transfer(``), status: 422, reason: "schema_violated", problem: pointers("#")},
		{name: "no body at all", request: with("POST", "/transfers", nil, []string{good}), status: 422, reason: "schema_violated", problem: pointers("#")},
		{name: "a list", request: transfer(`[]`), status: 422, reason: "schema_violated", problem: pointers("#")},
		{name: "members are missing", request: transfer(`{}`), status: 422, reason: "schema_violated", problem: pointers("#/amount", "#/currency", "#/to")},
		{name: "wrong members", request: transfer(`{"to":"","amount":-5,"currency":"eur"}`), status: 422, reason: "schema_violated", problem: pointers("#/amount", "#/currency", "#/to")},
		{name: "a member too much", request: transfer(`{"to":"a","amount":"1.00","currency":"EUR","isAdmin~/":true}`), status: 422, reason: "schema_violated", problem: pointers("#/isAdmin~0~1")},
		{name: "a member twice", request: transfer(`{"to":"a","amount":"1.00","currency":"EUR","amount":"2.00"}`), status: 422, reason: "json_duplicate_key", problem: pointers("#")},
		{name: "a member twice, escaped", request: transfer(`{"to":"a","amount":"1.00","currency":"EUR","\u0061mount":"2.00"}`), status: 422, reason: "json_duplicate_key", problem: pointers("#")},
		{name: "too deep", request: transfer(strings.Repeat("[", 65) + strings.Repeat("]", 65)), status: 422, reason: "json_too_deep", problem: pointers("#")},
		{name: "too long a number", request: transfer(`{"amount":1` + strings.Repeat("0", 1000) + `}`), status: 422, reason: "json_too_large", problem: pointers("#")},
		{name: "too long an exponent", request: transfer(`{"amount":1e1000000000}`), status: 422, reason: "json_too_large", problem: pointers("#")},
		{name: "a subject with a line end", request: post("/transfers", `{"to":"a","amount":"1.00","currency":"EUR"}`, bearer(b.customer("a\r\nX-Evil: 1"))), status: 400, reason: "header_value_invalid"},
		{name: "a subject with a zero byte", request: post("/transfers", `{"to":"a","amount":"1.00","currency":"EUR"}`, bearer(b.customer("a\x00"))), status: 400, reason: "header_value_invalid"},
		{name: "key twice", request: transfer(`{"to":"a","amount":"1.00","currency":"EUR"}`, "Idempotency-Key: a", "Idempotency-Key: b"), status: 400, reason: "header_repeated"},
		{name: "too long a key", request: transfer(`{"to":"a","amount":"1.00","currency":"EUR"}`, "Idempotency-Key: "+strings.Repeat("k", 256)), status: 400, reason: "idempotency_key_invalid"},
		{name: "a key with a space", request: transfer(`{"to":"a","amount":"1.00","currency":"EUR"}`, "Idempotency-Key: a b"), status: 400, reason: "idempotency_key_invalid"},
		{name: "an empty key", request: transfer(`{"to":"a","amount":"1.00","currency":"EUR"}`, "Idempotency-Key: "), status: 400, reason: "idempotency_key_invalid"},
	})
}

// A request that cannot be read, or not in one way, comes to no route.
func TestUnreadable(t *testing.T) {
	b := start(t, options{})
	good := bearer(b.customer("7"))
	many := make([]string, 300)
	for i := range many {
		many[i] = fmt.Sprintf("X-%d: y", i)
	}
	account := func(segment string) string { return get("/v2/accounts/"+segment, good) }
	var all []refusal
	for _, segment := range []string{"%2e%2e", ".%2e", "%2e", "..%2f", "..%5c", "%252e%252e", "..;", "..;x=1", ".;", `..\`, "a%2f..%2fb"} {
		all = append(all, refusal{name: "captured " + segment, request: account(segment), status: 400, reason: "path_ambiguous"})
	}
	all = append(all,
		refusal{name: "dot segments lead elsewhere", request: account("../../nowhere"), status: 404, reason: "no_route"},
		refusal{name: "zero byte", request: account("a%00b"), status: 400, reason: "path_invalid"},
		refusal{name: "broken escape", request: account("a%zz"), status: 400, reason: "path_invalid"},
		refusal{name: "large header", request: get("/status", "X-Large: "+strings.Repeat("x", 70<<10)), status: 431, reason: "header_too_large"},
		refusal{name: "many headers", request: get("/status", many...), status: 431, reason: "header_too_many"},
		refusal{name: "long target", request: get("/" + strings.Repeat("a", 70<<10)), status: 414, reason: "request_line_too_long"},
		refusal{name: "no host", request: "GET /status HTTP/1.1\r\n\r\n", status: 400, reason: "host_invalid"},
		refusal{name: "two lengths", request: "POST /transfers HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status: 400, reason: "length_conflict"},
	)
	refuse(t, b, all)
}

// The issuer's keys cannot be had: who needs them is refused, the others are served.
func TestIssuerAway(t *testing.T) {
	away := rig.NewOrigin(t, "issuer", nil)
	away.Unlisten()
	at := "http://" + away.Addr() + "/jwks.json"
	b := start(t, options{})
	if err := b.Reload(change(t, b.text(options{}), "jwks: {file: "+filepath.Join(b.dir, "jwks.json")+"}", "jwks: {url: "+at+"}")); err != nil {
		t.Fatal(err)
	}
	b.secrets = append(b.secrets, away.Addr(), at)
	for _, target := range []string{"/v2/accounts/7", "/overview"} {
		b.refused(t, refusal{request: get(target, bearer(b.customer("7"))), status: 503, reason: "jwks_unavailable", fields: []string{"Retry-After: 1"}})
		b.refused(t, refusal{request: get(target), status: 401, reason: "token_missing", fields: []string{challenge}})
	}
	if r := b.ask(get("/rates/EUR", "X-API-Key: "+partnerKey)); r.Status != 200 {
		t.Errorf("rates: %d %s", r.Status, r.Reason())
	}
}

// A request that is refused before its body was read leaves the connection for the next one, which starts where it should.
func TestConnectionGoesOn(t *testing.T) {
	b := start(t, options{})
	c := b.Dial("public")
	good := bearer(b.customer("7"))
	smuggled := "GET /status HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, q := range []struct {
		request string
		status  int
	}{
		{post("/transfers", smuggled), 401},
		{chunked(post("/transfers", smuggled), 7), 401},
		{post("/nowhere", smuggled), 404},
		{post("/overview", smuggled, good), 405},
		{strings.Replace(post("/transfers", smuggled, good), "application/json", "text/plain", 1), 415},
		{post("/transfers", smuggled, good), 400},
		{chunked(post("/transfers", `{"amount":1}`, good), 5), 422},
		{get("/rates/EUR", "Content-Length: 5") + "abcde", 401},
		{get("/v2/accounts/7", good), 200},
	} {
		if r := b.on(c, q.request); r.Status != q.status || r.Closes() {
			t.Fatalf("%.40q: answer %d %s, want %d: %v", q.request, r.Status, r.Reason(), q.status, r.Header)
		}
	}
}
