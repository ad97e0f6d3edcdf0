package bank

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/andybalholm/brotli"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/test/rig"
)

// wants compares an answer.
func wants(t *testing.T, r *rig.Response, status int, body string, fields ...string) {
	t.Helper()
	if r.Status != status || string(r.Body) != body {
		t.Errorf("answer %d %q, want %d %q: %v", r.Status, r.Body, status, body, r.Header)
	}
	for _, f := range fields {
		name, value, there := strings.Cut(f, ": ")
		if got := r.Header.All(name); there && !slices.Equal(got, []string{value}) || !there && len(got) > 0 {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
}

// sent compares a request that reached a service.
func sent(t *testing.T, r *rig.Request, method, target, body string, fields ...string) {
	t.Helper()
	if r.Method != method || r.Target != target || string(r.Body) != body {
		t.Errorf("the service got %s %s %q, want %s %s %q", r.Method, r.Target, r.Body, method, target, body)
	}
	for _, f := range fields {
		name, value, there := strings.Cut(f, ": ")
		if got := r.Header.All(name); there && !slices.Equal(got, []string{value}) || !there && len(got) > 0 {
			t.Errorf("the service got %s: %q, want %q", name, got, value)
		}
	}
}

// last returns the one request that reached a service beyond the first n.
func (s *service) last(t *testing.T, id string) *rig.Request {
	t.Helper()
	var all []*rig.Request
	for _, r := range s.requests(t) {
		if r.Header.Get("X-Request-Id") == id {
			all = append(all, r)
		}
	}
	if len(all) != 1 {
		t.Fatalf("%s got %d requests with the id %s, want 1", s.name, len(all), id)
	}
	return all[0]
}

const forgedID = "0123456789abcdef0123456789abcdef"

// What a stranger writes in the gateway's name.
var forged = []string{
	"X-Consumer: budget-app", "X-Consumer-Plan: partner", "X-Authenticated-Subject: 1", "X-Client-Cert: c", "X_Consumer: budget-app", "x.consumer: budget-app",
	"Sluice-Partial: x", "X-Request-Id: " + forgedID, "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.example",
	"Forwarded: for=203.0.113.9",
}

// What becomes of it: of identity nothing is left, and the way here is told anew.
var told = []string{
	"X-Consumer", "X-Consumer-Plan", "X-Authenticated-Subject", "X-Client-Cert", "X_Consumer", "x.consumer", "Sluice-Partial",
	"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", "X-Forwarded-Host: api.bank.example", "Forwarded",
}

// An account by each way to name its version, and with each spelling of its name.
func TestAccount(t *testing.T) {
	b := start(t, options{})
	token := bearer(b.customer("7"))
	v1 := append([]string{`Link: </v2/accounts/7>; rel="successor-version"`}, ofV1...)
	v2 := []string{"Link", "Deprecation", "Sunset", "Vary: Accept-Version, Accept"}
	for _, c := range []struct {
		name, target string
		fields       []string
		want         []string
	}{
		{"v1 by path", "/v1/accounts/7", nil, v1},
		{"v2 by path", "/v2/accounts/7", nil, v2},
		{"v1 by header", "/accounts/7", []string{"Accept-Version: v1"}, v1},
		{"v2 by header", "/accounts/7", []string{"Accept-Version: v2"}, v2},
		{"v1 by media type", "/accounts/7", []string{"Accept: application/vnd.bank.v1+json"}, v1},
		{"none", "/accounts/7", nil, v2},
		{"path before header", "/v1/accounts/7", []string{"Accept-Version: v2"}, v1},
		{"header before media type", "/accounts/7", []string{"Accept-Version: v1", "Accept: application/vnd.bank.v2+json"}, v1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := b.ask(get(c.target, append(append(c.fields, forged...), token)...))
			wants(t, r, 200, `{"id":"7", "currency":"EUR", "balance":1234.50}`, append([]string{"Cache-Control: private, max-age=30", "Sluice-Reason"}, c.want...)...)
			id := r.Header.Get("X-Request-Id")
			if id == forgedID {
				t.Error("a stranger's request id was taken over")
			}
			sent(t, b.accounts.last(t, id), "GET", "/accounts/7", "", append([]string{token, "Host: api.bank.example"}, told...)...)
		})
	}
	for segment, want := range map[string]string{
		"a%20b": "a%20b", "a%2fb": "a%2Fb", "a%252fb": "a%252fb", "%41%7e": "A~", "a%0d%0ab": "a%0D%0Ab", "a+b": "a%2Bb", "%24%7benv:HOME%7d": "%24%7Benv%3AHOME%7D",
		"%c3%a4": "%C3%A4", "%3fa=b": "%3Fa%3Db", "a%23b": "a%23b",
	} {
		t.Run(segment, func(t *testing.T) {
			r := b.ask(get("/v2/accounts/"+segment, bearer(b.customer(segment))))
			if r.Status != 200 {
				t.Fatalf("answer %d %s", r.Status, r.Reason())
			}
			sent(t, b.accounts.last(t, r.Header.Get("X-Request-Id")), "GET", "/accounts/"+want, "")
		})
	}
	r := b.ask(with("HEAD", "/v2/accounts/7", nil, []string{bearer(b.customer("9"))}))
	wants(t, r, 200, "", "Content-Length: 47")
	wants(t, b.ask(get("/v2/../v2/./accounts//7", bearer(b.customer("9")))), 200, `{"id":"7", "currency":"EUR", "balance":1234.50}`)
	if series := b.Metrics(); !strings.Contains(series, `version="v1"`) {
		t.Error("no metric tells who uses v1")
	}
}

// A transfer is done once, in the name of the caller, and tells nothing of the inside.
func TestTransfer(t *testing.T) {
	b := start(t, options{})
	const body = ` {"to":"DE1","amount":"10.50", "currency":"EUR"} `
	const answer = `{"id":"t-1", "amount":"10.50"}`
	token := bearer(b.customer("c-7"))
	shaped := []string{"Authorization", "X-Customer: c-7", "Accept-Encoding: identity", "Content-Type: application/json"}
	r := b.ask(post("/transfers", body, append(forged, token, "X-Customer: 1", "X-Customer: 2")...))
	wants(t, r, 201, answer, "Server", "Location: /transfers/t-1", "Idempotent-Replayed", "Content-Type: application/json", "RateLimit")
	sent(t, b.transactions.last(t, r.Header.Get("X-Request-Id")), "POST", "/transfers", `{"to":"DE1","amount":"10.50", "currency":"EUR","from":"c-7"}`, append(shaped, told...)...)

	r = b.ask(chunked(post("/v2/transfers", `{"from":"somebody-else","to":"DE1","amount":"10.50","currency":"EUR"}`, token), 3))
	wants(t, r, 201, answer)
	sent(t, b.transactions.last(t, r.Header.Get("X-Request-Id")), "POST", "/transfers", `{"from":"c-7","to":"DE1","amount":"10.50","currency":"EUR"}`, shaped...)

	// Who calls is data. Where nobody is named the client's own word is no substitute.
	for sub, want := range map[any]string{"${env:HOME}": `"${env:HOME}"`, "${claims.roles}": `"${claims.roles}"`, "\"": `"\""`, "ä": `"ä"`, nil: "null"} {
		r = b.ask(post("/transfers", strings.TrimSpace(body), bearer(b.sign(claims{"sub": sub})), "X-Customer: forged"))
		wants(t, r, 201, answer)
		field := "X-Customer"
		if sub != nil {
			field += fmt.Sprint(": ", sub)
		}
		sent(t, b.transactions.last(t, r.Header.Get("X-Request-Id")), "POST", "/transfers", `{"to":"DE1","amount":"10.50", "currency":"EUR","from":`+want+`}`, field)
	}

	largest := `{"to":"DE1","amount":"10.50","currency":"EUR"` + strings.Repeat(" ", 64<<10-len(`{"to":"DE1","amount":"10.50","currency":"EUR"}`)) + `}`
	wants(t, b.ask(post("/transfers", largest, token)), 201, answer)
	typed := strings.Replace(post("/transfers", body, token), "application/json", "Application/JSON; charset=utf-8", 1)
	wants(t, b.ask(typed), 201, answer)
}

// The same key means the same transfer, for the same caller.
func TestTransferOnce(t *testing.T) {
	b := start(t, options{})
	var mu sync.Mutex
	n := 0
	b.transactions.answers(func(*rig.Request) string {
		mu.Lock()
		defer mu.Unlock()
		n++
		return jsonOf(201, fmt.Sprintf(`{"id":"t-%d","internal":1}`, n), "Server: x", fmt.Sprintf("Location: /transfers/t-%d", n))
	})
	ask := func(sub, key string) string {
		return post("/transfers", `{"to":"DE1","amount":"10.50","currency":"EUR"}`, bearer(b.customer(sub)), "Idempotency-Key: "+key)
	}
	first := b.ask(ask("7", "k"))
	wants(t, first, 201, `{"id":"t-1"}`, "Idempotent-Replayed", "Location: /transfers/t-1", "Server")
	again := b.ask(ask("7", "k")) // by another token of the same subject
	wants(t, again, 201, `{"id":"t-1"}`, "Idempotent-Replayed: true", "Location: /transfers/t-1", "Server", "Content-Type: application/json")
	if again.Header.Get("X-Request-Id") == first.Header.Get("X-Request-Id") {
		t.Error("two requests have one id")
	}
	wants(t, b.ask(ask("8", "k")), 201, `{"id":"t-2"}`, "Idempotent-Replayed")
	wants(t, b.ask(ask("7", "l")), 201, `{"id":"t-3"}`, "Idempotent-Replayed")

	open := make(chan struct{})
	b.transactions.holds(open)
	clients := make([]*rig.Client, 8)
	for i := range clients {
		clients[i] = b.Dial("public")
		clients[i].Send(ask("9", "m"))
	}
	testnet.Eventually(t, "the first transfer to arrive", func() bool { return len(b.transactions.requests(t)) == 4 })
	close(open)
	replayed := 0
	for _, c := range clients {
		r := c.Response("POST")
		wants(t, r, 201, `{"id":"t-4"}`)
		if r.Header.Get("Idempotent-Replayed") == "true" {
			replayed++
		}
	}
	if got := len(b.transactions.requests(t)); got != 4 || replayed != 7 {
		t.Errorf("the service got %d transfers, want 4; %d answers are replays, want 7", got, replayed)
	}

	// A client that leaves does not end what it has begun.
	open = make(chan struct{})
	b.transactions.holds(open)
	c := b.Dial("public")
	c.Send(ask("9", "n"))
	testnet.Eventually(t, "the transfer to arrive", func() bool { return len(b.transactions.requests(t)) == 5 })
	c.Close()
	close(open)
	wants(t, b.ask(ask("9", "n")), 201, `{"id":"t-5"}`, "Idempotent-Replayed: true")
}

// One answer of three, its parts byte for byte.
func TestOverview(t *testing.T) {
	b := start(t, options{})
	rate := string(b.ratesBody())
	whole := func(id string) string {
		return `{"account":{"id":"` + id + `", "currency":"EUR", "balance":1234.50},"recent":[{"amount":1.10},{"amount":2e2}],"rates":` + rate + `}`
	}
	freshness := "Cache-Control: private, max-age=10"
	r := b.ask(get("/overview", append(forged, bearer(b.customer("7")), "Accept-Language: de", "Cookie: a=b", "X-Other: 1")...))
	wants(t, r, 200, whole("7"), freshness, "Content-Type: application/json", "Sluice-Partial", "Server", "ETag")
	id := r.Header.Get("X-Request-Id")
	own := append([]string{"Authorization", "Cookie", "X-Other", "Accept-Language: de", "Accept: application/json"}, told...)
	sent(t, b.accounts.last(t, id), "GET", "/accounts/7", "", own...)
	sent(t, b.transactions.last(t, id), "GET", "/transactions?account=7&limit=5", "", own...)
	sent(t, b.rates.last(t, id), "GET", "/rates/EUR", "", own...)

	// Who calls is data: it changes no path.
	r = b.ask(get("/v2/overview", bearer(b.customer("a/b?c#d e%2e"))))
	if r.Status != 200 {
		t.Fatalf("answer %d %s %s", r.Status, r.Reason(), r.Body)
	}
	sent(t, b.accounts.last(t, r.Header.Get("X-Request-Id")), "GET", "/accounts/a%2Fb%3Fc%23d%20e%252e", "")
	r = b.ask(get("/overview", bearer(b.customer("7"))))
	wants(t, r, 200, whole("7"))
	if n := len(b.accounts.requests(t)); n != 2 || !strings.HasPrefix(r.Header.Get("Cache-Status"), "sluice; hit") {
		t.Errorf("%d requests for accounts, Cache-Status %q", n, r.Header.All("Cache-Status"))
	}
	wants(t, b.ask(get("/overview", bearer(b.customer("8")))), 200, whole("8")) // each caller has a copy of its own
	wants(t, b.ask(get("/overview", bearer(b.customer("7")))), 200, whole("7"))
}

func (b *bank) ratesBody() []byte {
	_, body, _ := strings.Cut(rates(nil), "\r\n\r\n")
	return []byte(body)
}

// What is optional may be missing, and the answer says so.
func TestOverviewPartial(t *testing.T) {
	b := start(t, options{})
	n := 0
	ask := func() *rig.Response {
		n++
		return b.ask(get("/overview", bearer(b.customer("7")), "Cache-Control: no-cache"))
	}
	const acc = `{"account":{"id":"7", "currency":"EUR", "balance":1234.50},`
	const recent = `"recent":[{"amount":1.10},{"amount":2e2}],`
	b.transactions.always(jsonOf(503, `{"error":"db at 10.0.0.7"}`))
	wants(t, ask(), 200, acc+`"recent":null,"rates":`+string(b.ratesBody())+`}`, "Sluice-Partial: transactions;reason=status_503", "Cache-Control: no-store")
	b.transactions.always(jsonOf(200, `{"items":`))
	wants(t, ask(), 200, acc+`"recent":null,"rates":`+string(b.ratesBody())+`}`, "Sluice-Partial: transactions;reason=body_invalid", "Cache-Control: no-store")
	b.transactions.always(jsonOf(200, `[]`))
	wants(t, ask(), 200, acc+`"recent":null,"rates":`+string(b.ratesBody())+`}`, "Sluice-Partial")
	b.transactions.answers(transactions)
	open := make(chan struct{})
	b.rates.holds(open)
	wants(t, ask(), 200, acc+recent+`"rates":null}`, "Sluice-Partial: rates;reason=timeout", "Cache-Control: no-store")
	close(open)
	b.rates.down()
	testnet.Eventually(t, "the rates to be away", func() bool { return ask().Header.Get("Sluice-Partial") == "rates;reason=upstream_connect_refused" })
	b.accounts.always(jsonOf(200, `{"id":".."}`))
	wants(t, ask(), 200, `{"account":{"id":".."},`+recent+`"rates":null}`, "Sluice-Partial: rates;reason=path_value_invalid", "Cache-Control: no-store")
}

// Rates for partners: with a key, by plan, kept, for pages of one origin, compressed.
func TestRates(t *testing.T) {
	b := start(t, options{})
	key := "X-API-Key: " + partnerKey
	plain := string(b.ratesBody())
	limits := []string{`RateLimit-Policy: "rate";q=400;w=2, "quota";q=5000000;w=2592000`}
	r := b.ask(get("/rates/EUR", append(forged, key)...))
	wants(t, r, 200, plain, "Content-Type: application/json", "Access-Control-Allow-Origin", "Content-Encoding")
	if got := r.Header.Get("RateLimit-Policy"); !strings.HasPrefix(got, `"rate";q=400;w=2, "quota";q=5000000;w=2`) {
		t.Errorf("RateLimit-Policy: %s, want about %s", got, limits)
	}
	known := slices.Concat(told[2:], []string{"X-Consumer: budget-app", "X-Consumer-Plan: partner", "X-API-Key"})
	sent(t, b.rates.last(t, r.Header.Get("X-Request-Id")), "GET", "/rates/EUR", "", known...)
	spellings := []struct{ accept, encoding string }{
		{"", ""}, {"identity", ""}, {"gzip", "gzip"}, {"br", "br"}, {"gzip, deflate, br", "br"}, {"gzip;q=1, br;q=0.5", "gzip"}, {"br;q=0, gzip", "gzip"},
		{"*", "br"}, {"deflate", ""}, {"gzip;q=0", ""},
	}
	for _, c := range append(spellings, spellings...) {
		t.Run("Accept-Encoding "+c.accept, func(t *testing.T) {
			r := b.ask(get("/rates/EUR", key, "Accept-Encoding: "+c.accept))
			if got := r.Header.Get("Content-Encoding"); got != c.encoding || string(decoded(t, r)) != plain || !strings.Contains(strings.Join(r.Header.All("Vary"), ","), "Accept-Encoding") {
				t.Errorf("answer %d: %v", r.Status, r.Header)
			}
			if tag := r.Header.Get("ETag"); c.encoding != "" && tag == `"r1"` {
				t.Errorf("ETag: %s of other bytes", tag)
			}
		})
	}
	if n := len(b.rates.requests(t)); n > 1+len(spellings) {
		t.Errorf("the service got %d requests: what is kept for an encoding was not used", n)
	}
	r = b.ask(get("/rates/EUR", key))
	wants(t, r, 200, plain)
	if status := r.Header.Get("Cache-Status"); !strings.HasPrefix(status, "sluice; hit; ttl=") || r.Header.Get("Age") == "" {
		t.Errorf("Cache-Status: %q, Age: %q", status, r.Header.Get("Age"))
	}
	b.refused(t, refusal{request: get("/rates/none", key, "Cache-Control: only-if-cached"), status: 504, reason: "not_cached"})
	// Who is refused gets nothing of what is kept.
	b.refused(t, refusal{request: get("/rates/EUR"), status: 401, reason: "api_key_missing", fields: []string{keys, "Cache-Status", "Age"}})
}

// decoded is the body of an answer without its encoding.
func decoded(t *testing.T, r *rig.Response) []byte {
	t.Helper()
	var from io.Reader = bytes.NewReader(r.Body)
	var err error
	switch r.Header.Get("Content-Encoding") {
	case "gzip":
		from, err = gzip.NewReader(from)
	case "br":
		from = brotli.NewReader(from)
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Pages of one origin may ask, and read also why they may not.
func TestPages(t *testing.T) {
	b := start(t, options{})
	const page = "https://app.bank.example"
	preflight := func(target, origin, method string) string {
		return with("OPTIONS", target, nil, []string{"Origin: " + origin, "Access-Control-Request-Method: " + method, "Access-Control-Request-Headers: x-api-key"})
	}
	r := b.ask(preflight("/rates/EUR", page, "GET"))
	wants(t, r, 204, "", "Access-Control-Allow-Origin: "+page, "Access-Control-Allow-Headers: x-api-key", "WWW-Authenticate", "Access-Control-Allow-Credentials")
	if got := r.Header.Get("Access-Control-Allow-Methods"); !strings.Contains(got, "GET") || strings.Contains(got, "DELETE") {
		t.Errorf("Access-Control-Allow-Methods: %s", got)
	}
	r = b.ask(preflight("/rates/EUR", "https://evil.example", "GET"))
	if r.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another origin is let in: %d %v", r.Status, r.Header)
	}
	b.refused(t, refusal{request: preflight("/v2/accounts/7", page, "GET"), status: 405, reason: "method_not_allowed", fields: []string{"Allow: GET, HEAD", "Access-Control-Allow-Origin"}})
	b.refused(t, refusal{request: get("/rates/EUR", "Origin: "+page), status: 401, reason: "api_key_missing", fields: []string{keys, "Access-Control-Allow-Origin: " + page, "Vary: Origin"}})
	r = b.ask(get("/rates/EUR", "Origin: "+page, "X-API-Key: "+partnerKey))
	wants(t, r, 200, string(b.ratesBody()), "Access-Control-Allow-Origin: "+page)
	r = b.ask(get("/rates/EUR", "Origin: https://evil.example", "X-API-Key: "+partnerKey))
	wants(t, r, 200, string(b.ratesBody()), "Access-Control-Allow-Origin")
	if n := len(b.rates.requests(t)); n != 1 {
		t.Errorf("the service got %d requests", n)
	}
}

// What needs no service.
func TestWithoutService(t *testing.T) {
	b := start(t, options{})
	for _, method := range []string{"GET", "POST", "DELETE", "M-SEARCH"} {
		wants(t, b.ask(with(method, "/status", nil, nil)), 200, `{"status":"ok"}`, "Content-Type: application/json", "Sluice-Reason")
	}
	wants(t, b.ask(with("HEAD", "/status", nil, nil)), 200, "", "Content-Length: 15")
	for from, to := range map[string]string{
		"/old/a": "/a", "/old/a/b/": "/a/b/", "/old/a%20b": "/a%20b", "/old/a%0d%0aSet-Cookie:%20x=y": "/a%0D%0ASet-Cookie:%20x=y", "/old//evil.example/a": "/evil.example/a",
		"/old/@evil.example": "/@evil.example", "/old/a/../b": "/b",
		"/old/a%2fb": "/a%2Fb", "/old/": "/",
	} {
		wants(t, b.ask(get(from)), 308, "", "Location: https://bank.example"+to)
	}
}
