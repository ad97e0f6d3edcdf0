package bank

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/test/rig"
)

// Who asks too often is told when to come again, and nothing of it comes to a backend.
func TestTooOften(t *testing.T) {
	b := start(t, options{replace: []string{"rate: 10/s, burst: 20", "rate: 1/h, burst: 2"}})
	good := bearer(b.customer("7"))
	for i := range 2 {
		r := b.ask(get("/v2/accounts/7", good))
		if want := fmt.Sprintf(`"fair-use";r=%d;t=3600`, 1-i); r.Status != 200 || r.Header.Get("RateLimit-Policy") != `"fair-use";q=2;w=7200` || i == 1 && r.Header.Get("RateLimit") != want {
			t.Errorf("answer %d: %v, want %s", r.Status, r.Header, want)
		}
	}
	limited := []string{`RateLimit-Policy: "fair-use";q=2;w=7200`, `RateLimit: "fair-use";r=0;t=3600`, "Retry-After: 3600"}
	before := len(b.accounts.requests(t))
	b.refused(t, refusal{name: "v2", request: get("/v2/accounts/7", good), status: 429, reason: "rate_limited", fields: limited})
	b.refused(t, refusal{name: "v1", request: get("/v1/accounts/8", good), status: 429, reason: "rate_limited",
		fields: append([]string{`Link: </v2/accounts/8>; rel="successor-version"`}, append(ofV1, limited...)...)})
	b.refused(t, refusal{name: "another route that shares the policy", request: get("/overview", good), status: 429, reason: "rate_limited", fields: limited})
	if n := len(b.accounts.requests(t)); n != before {
		t.Errorf("%d requests reached a backend", n-before)
	}
	if r := b.ask(get("/v2/accounts/7", bearer(b.customer("8")))); r.Status != 200 {
		t.Errorf("another caller gets %d %s", r.Status, r.Reason())
	}

	for _, c := range []struct {
		plan, policy, last, reason string
		passes                     int
	}{
		{"rate: 1/h, burst: 2, quota: 9/day", `"rate";q=2;w=7200, "quota";q=9;w=86400`, `"rate";r=0;t=3600, "quota";r=7;t=`, "rate_limited", 2},
		{"rate: 1/h, burst: 5, quota: 3/day", `"rate";q=5;w=18000, "quota";q=3;w=86400`, `"rate";r=2;t=10800, "quota";r=0;t=`, "quota_exceeded", 3},
	} {
		t.Run(c.reason, func(t *testing.T) {
			b := start(t, options{replace: []string{"rate: 200/s, burst: 400, quota: 5000000/month", c.plan}})
			ask := func(i int) string { return get(fmt.Sprintf("/rates/C%02d", i), "X-API-Key: "+partnerKey) }
			for i := range c.passes {
				if r := b.ask(ask(i)); r.Status != 200 || r.Header.Get("RateLimit-Policy") != c.policy {
					t.Errorf("answer %d: %v", r.Status, r.Header)
				}
			}
			for i := range 2 { // what is refused is not counted
				r := b.ask(ask(50 + i))
				if r.Status != 429 || r.Reason() != c.reason || !strings.HasPrefix(r.Header.Get("RateLimit"), c.last) || r.Header.Get("Retry-After") == "" {
					t.Errorf("answer %d %s: %v", r.Status, r.Reason(), r.Header)
				}
			}
			if n := len(b.rates.requests(t)); n != c.passes {
				t.Errorf("the service got %d requests, want %d", n, c.passes)
			}
		})
	}
}

// refuseAll asks for something while services fail and compares what the client is told.
func refuseAll(t *testing.T, b *bank, all []refusal) {
	t.Helper()
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) { b.refused(t, c) })
	}
}

// A backend that is away, breaks or hangs is the gateway's failure; one that answers badly is the backend's own word.
func TestBackendFails(t *testing.T) {
	b := start(t, options{replace: []string{`rates: {endpoints: ["`, `rates: {timeouts: {first_byte: 100ms}, endpoints: ["`}})
	key := "X-API-Key: " + partnerKey
	ask := func(what string) string { return get("/rates/"+what, key) }
	for _, c := range []struct {
		name, answer string
		refusal
	}{
		{"closes", "", refusal{status: 502, reason: "upstream_reset"}},
		{"speaks something else", "SSH-2.0-OpenSSH_9.2 ledger at 10.0.0.7\r\n", refusal{status: 502, reason: "upstream_response_invalid"}},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", refusal{status: 502, reason: "upstream_response_invalid"}},
		{"a large header", "HTTP/1.1 200 OK\r\nX-Large: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", refusal{status: 502, reason: "upstream_response_too_large"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.rates.always(c.answer)
			c.request = ask(strings.ReplaceAll(c.name, " ", "-"))
			b.refused(t, c.refusal)
		})
	}
	t.Run("is slow", func(t *testing.T) {
		open := make(chan struct{})
		b.rates.holds(open)
		b.refused(t, refusal{request: ask("slow"), status: 504, reason: "upstream_timeout_first_byte"})
		close(open)
		b.rates.holds(open)
	})
	for _, status := range []int{400, 404, 409, 418, 429, 500, 503} {
		t.Run(fmt.Sprint("answers ", status), func(t *testing.T) {
			const body = `{"error":"backend's own"}`
			b.rates.always(jsonOf(status, body, "Sluice-Reason: forged", "Sluice-Partial: forged"))
			r := b.ask(ask(fmt.Sprint("own", status)))
			if r.Status != status || string(r.Body) != body || r.Reason() != "" || r.Header.Get("Sluice-Partial") != "" {
				t.Errorf("answer %d %q %v", r.Status, r.Body, r.Header)
			}
		})
	}
	t.Run("is down", func(t *testing.T) {
		b.rates.down()
		testnet.Eventually(t, "the idle connection to end", func() bool {
			return b.ask(ask("down")).Reason() == "upstream_connect_refused"
		})
		b.refused(t, refusal{request: ask("down2"), status: 502, reason: "upstream_connect_refused"})
		b.refused(t, refusal{request: with("HEAD", "/rates/down3", nil, []string{key}), status: 502, reason: "upstream_connect_refused"})
	})
	t.Run("has no endpoint", func(t *testing.T) {
		b := start(t, options{})
		text := b.text(options{})
		if err := b.Reload(strings.Replace(text, `["`+b.rates.origins[0].Addr()+`"]`, "[]", 1)); err != nil {
			t.Fatal(err)
		}
		b.refused(t, refusal{request: ask("none"), status: 503, reason: "no_healthy_endpoint", fields: []string{"Retry-After: 1"}})
	})
}

// A transfer fails in one piece: no half of an answer, and nothing that would be replayed.
func TestTransferFails(t *testing.T) {
	b := start(t, options{})
	n := 0
	ask := func(key string) string {
		n++
		return post("/transfers", `{"to":"DE1","amount":"10.50","currency":"EUR"}`, bearer(b.customer(fmt.Sprint(n))), "Idempotency-Key: "+key)
	}
	b.transactions.always(jsonOf(200, `{"id":"t-1","internal":`))
	refuseAll(t, b, []refusal{{name: "the answer is broken", request: ask("a"), status: 502, reason: "response_not_json"}})
	b.transactions.always(jsonOf(200, `[1,2]`))
	refuseAll(t, b, []refusal{{name: "the answer has another shape", request: ask("b"), status: 502, reason: "transform_failed"}})
	b.transactions.always(jsonOf(200, `{"x":"`+strings.Repeat("x", 1<<20)+`"}`))
	refuseAll(t, b, []refusal{{name: "the answer is too large", request: ask("c"), status: 502, reason: "response_too_large"}})
	b.transactions.always(jsonOf(200, `{}`, "Content-Encoding: br"))
	refuseAll(t, b, []refusal{{name: "the answer is encoded", request: ask("d"), status: 502, reason: "response_encoding_unsupported"}})
	b.transactions.answers(func(*rig.Request) string { return "" })
	refuseAll(t, b, []refusal{{name: "no answer", request: ask("e"), status: 502, reason: "upstream_reset"}})
	before := len(b.transactions.requests(t))
	if before != n {
		t.Errorf("the service got %d transfers, want %d: none may be sent twice", before, n)
	}
	// A failure of the gateway is not kept for the key: the next try is a new one.
	b.transactions.answers(transactions)
	n = 0
	if r := b.ask(ask("a")); r.Status != 201 || r.Header.Get("Idempotent-Replayed") != "" {
		t.Errorf("the second try gets %d %s", r.Status, r.Reason())
	}
	// A key stands for one request.
	n = 0
	changed := strings.Replace(ask("a"), "10.50", "99.50", 1)
	refuseAll(t, b, []refusal{{name: "the key is used for another transfer", request: changed, status: 422, reason: "idempotency_key_reused"}})
	if got := len(b.transactions.requests(t)); got != before+1 {
		t.Errorf("the service got %d transfers more, want 1", got-before)
	}
}

// parts compares what a problem tells of the steps, each as "account failed 503 status_503".
func parts(want ...string) func(*problem) bool {
	return func(p *problem) bool {
		got := make([]string, len(p.Parts))
		for i, part := range p.Parts {
			got[i] = strings.TrimSpace(fmt.Sprintf("%s %s %d %s", part.Step, part.Outcome, part.Status, part.Reason))
		}
		if strings.Join(got, ", ") != strings.Join(want, ", ") {
			return false
		}
		return p.Errors == nil && p.Versions == nil && p.Policy == ""
	}
}

// The overview cannot be without the account.
func TestOverviewFails(t *testing.T) {
	b := start(t, options{replace: []string{"timeout: 500ms", "timeout: 2s"}})
	n := 0
	ask := func() string { n++; return get("/overview", bearer(b.customer(fmt.Sprint("s", n)))) }
	rest := []string{"transactions skipped 0", "rates skipped 0"}
	failed := func(name, reason string, status int) refusal {
		return refusal{name: name, request: ask(), status: 502, reason: "step_failed", problem: parts(append([]string{fmt.Sprintf("account failed %d %s", status, reason)}, rest...)...),
			fields: []string{"Cache-Control: no-store", "Sluice-Partial"}}
	}
	for _, c := range []struct {
		name, answer, reason string
		status               int
	}{
		{"it answers 503", jsonOf(503, `{}`), "status_503", 503},
		{"it answers 404", jsonOf(404, `{}`), "status_404", 404},
		{"it leads elsewhere", rig.Answer(302, "", "Location: /accounts/1"), "status_302", 302},
		{"it is no JSON", jsonOf(200, `{"id":`), "body_invalid", 200},
		{"it is too large", jsonOf(200, `{"id":"`+strings.Repeat("x", 1<<20)+`"}`), "response_too_large", 200},
		{"it closes", "", "upstream_reset", 0},
	} {
		b.accounts.always(c.answer)
		refuseAll(t, b, []refusal{failed(c.name, c.reason, c.status)})
	}
	b.accounts.answers(account)
	t.Run("a subject that would lead elsewhere", func(t *testing.T) {
		for _, sub := range []string{"..", ".", ""} {
			before := len(b.accounts.requests(t))
			b.refused(t, refusal{request: get("/overview", bearer(b.customer(sub))), status: 502, reason: "step_failed",
				problem: parts(append([]string{"account failed 0 path_value_invalid"}, rest...)...)})
			if len(b.accounts.requests(t)) != before {
				t.Errorf("something was sent for the subject %q", sub)
			}
		}
	})
	open := make(chan struct{})
	b.accounts.holds(open)
	refuseAll(t, b, []refusal{{name: "it is slow", request: ask(), status: 504, reason: "step_failed", problem: parts(append([]string{"account timeout 0 timeout"}, rest...)...)}})
	close(open)
	b.accounts.down()
	refuseAll(t, b, []refusal{failed("it is down", "upstream_connect_refused", 0)})
}
