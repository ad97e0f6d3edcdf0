package bank

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/test/rig"
)

// allocated returns the bytes that this process has allocated so far, and those that it has from the system.
func allocated() (total, system uint64) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc, m.Sys
}

// within fails a test that has allocated more than so many bytes in all since it began. What the test itself makes counts, too.
func within(t *testing.T, bytes uint64) func() {
	t.Helper()
	before, _ := allocated()
	return func() {
		t.Helper()
		if after, _ := allocated(); after-before > bytes {
			t.Errorf("%d MiB were allocated, at most %d should be", (after-before)>>20, bytes>>20)
		}
	}
}

// A document that is built to cost more than it weighs is refused, within bounds, whatever it may weigh.
func TestBombs(t *testing.T) {
	b := start(t, options{replace: []string{"max_body: 64KiB", "max_body: 64MiB"}})
	keys := func(n int, name func(i int) string) string {
		var s strings.Builder
		s.WriteByte('{')
		for i := range n {
			if i > 0 {
				s.WriteByte(',')
			}
			fmt.Fprintf(&s, `%q:1`, name(i))
		}
		return s.String() + "}"
	}
	const n = 1_000_000
	pair := `{"to":"a","amount":"1.00","currency":"EUR","x":%s}`
	for _, c := range []struct {
		name, body string
		status     int
		reason     string
	}{
		{"deep lists", strings.Repeat("[", n) + strings.Repeat("]", n), 422, "json_too_deep"},
		{"deep objects", strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n), 422, "json_too_deep"},
		{"deep and never closed", strings.Repeat("[", n), 422, "json_too_deep"},
		{"deep in a member", fmt.Sprintf(pair, strings.Repeat("[", n)+strings.Repeat("]", n)), 422, "json_too_deep"},
		{"many keys", keys(n, func(i int) string { return fmt.Sprint("k", i) }), 422, "json_too_large"},
		{"one key many times", keys(n, func(int) string { return "k" }), 422, "json_duplicate_key"},
		{"one key in a member", fmt.Sprintf(pair, keys(n, func(int) string { return "k" })), 422, "json_duplicate_key"},
		{"many digits", fmt.Sprintf(pair, strings.Repeat("9", n)), 422, "json_too_large"},
		{"many digits behind the point", fmt.Sprintf(pair, "0."+strings.Repeat("9", n)), 422, "json_too_large"},
		{"an exponent of many digits", fmt.Sprintf(pair, "1e"+strings.Repeat("9", n)), 422, "json_too_large"},
		{"many small lists", "[" + strings.Repeat("[],", n) + "[]]", 422, ""},
		{"a long text", fmt.Sprintf(pair, `"`+strings.Repeat(`\u0000`, n)+`"`), 422, "schema_violated"},
		{"much space", strings.Repeat(" ", 8*n) + "{", 400, "json_invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			token := bearer(b.customer("7"))
			plain, parts := post("/transfers", c.body, token), chunked(post("/transfers", c.body, token), 64<<10)
			check := within(t, 256<<20)
			for _, request := range []string{plain, parts} {
				r := b.ask(request)
				if r.Status != c.status || c.reason != "" && r.Reason() != c.reason {
					t.Errorf("answer %d %s, want %d %s", r.Status, r.Reason(), c.status, c.reason)
				}
				if len(r.Body) > 8<<10 {
					t.Errorf("the problem has %d bytes", len(r.Body))
				}
			}
			check()
		})
	}
	if n := len(b.transactions.requests(t)); n != 0 {
		t.Errorf("the service got %d requests", n)
	}
	wants(t, b.ask(post("/transfers", `{"to":"DE1","amount":"10.50","currency":"EUR"}`, bearer(b.customer("7")))), 201, `{"id":"t-1", "amount":"10.50"}`)
}

// A body without end is read no further than it may be long.
func TestEndless(t *testing.T) {
	b := start(t, options{})
	piece := "10000\r\n" + strings.Repeat("[", 1<<16) + "\r\n"
	for _, target := range []string{"/transfers", "/v2/transfers"} {
		check := within(t, 64<<20)
		c := b.Dial("public")
		c.Send("POST " + target + " HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n" + bearer(b.customer("7")) + "\r\nTransfer-Encoding: chunked\r\n\r\n")
		sent := 0
		for sent < 100<<20 && c.TrySend(piece) == nil {
			sent += 1 << 16
		}
		r := c.Response("POST")
		b.search("POST "+target+" HTTP/1.1\r\n", r)
		if r.Status != 413 || r.Reason() != "body_too_large" {
			t.Errorf("answer %d %s", r.Status, r.Reason())
		}
		c.Close()
		check()
		if sent >= 100<<20 {
			t.Error("all of the body was read")
		}
	}
	if n := len(b.transactions.requests(t)); n != 0 {
		t.Errorf("the service got %d requests", n)
	}
}

// What a service sends is bounded as well: it may be anybody's.
func TestBombsOfServices(t *testing.T) {
	b := start(t, options{replace: []string{"timeout: 500ms", "timeout: 10s"}})
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	for range 64 {
		_, _ = io.WriteString(w, strings.Repeat("[", 1<<20))
	}
	_ = w.Close()
	const deep = 400_000
	n := 0
	for _, c := range []struct{ name, answer, step, transfer string }{
		{"deep", jsonOf(200, strings.Repeat("[", deep)+strings.Repeat("]", deep)), "body_invalid", "transform_failed"},
		{"many members", jsonOf(200, "{"+strings.Repeat(`"k":1,`, 150_000)+`"z":1}`), "", "transform_failed"}, // a composition copies it, and looks at none of its members,
		{"many digits", jsonOf(200, `{"x":`+strings.Repeat("9", 1_000_000)+`}`), "body_invalid", "transform_failed"},
		{"packed", jsonOf(200, packed.String(), "Content-Encoding: gzip"), "response_too_large", "response_too_large"},
		{"large", jsonOf(200, strings.Repeat(" ", 16<<20)+"{}"), "response_too_large", "response_too_large"},
		{"large, in chunks", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10000\r\n"+strings.Repeat(" ", 1<<16)+"\r\n", 256) + "0\r\n\r\n",
			"response_too_large", "response_too_large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n++
			b.accounts.always(c.answer)
			b.transactions.always(c.answer)
			check := within(t, 256<<20)
			r := b.ask(get("/overview", bearer(b.customer(fmt.Sprint(n)))))
			if c.step == "" && r.Status != 200 || c.step != "" && (r.Status != 502 || r.Reason() != "step_failed" || !strings.Contains(string(r.Body), `"reason":"`+c.step+`"`)) {
				t.Errorf("the overview gets %d %.1000s", r.Status, r.Body)
			}
			r = b.ask(post("/transfers", `{"to":"DE1","amount":"10.50","currency":"EUR"}`, bearer(b.customer("7"))))
			if r.Status != 502 || r.Reason() != c.transfer {
				t.Errorf("the transfer gets %d %s", r.Status, r.Reason())
			}
			check()
		})
	}
	b.accounts.answers(account)
	b.transactions.answers(transactions)
	if r := b.ask(get("/overview", bearer(b.customer("7")))); r.Status != 200 {
		t.Errorf("afterwards: %d %s", r.Status, r.Reason())
	}
}

// A token is bounded before it is looked into.
func TestBombsInTokens(t *testing.T) {
	b := start(t, options{})
	check := within(t, 64<<20)
	for name, token := range map[string]string{
		"deep":        b.seal(`{"alg":"ES256","kid":"k1"}`, strings.Repeat("[", 5000)+strings.Repeat("]", 5000)),
		"deep header": b.seal(strings.Repeat("[", 5000)+strings.Repeat("]", 5000), `{}`),
		"many claims": b.seal(`{"alg":"ES256","kid":"k1"}`, `{"sub":"7"`+strings.Repeat(`,"a":1`, 1500)+`}`),
		"dots":        strings.Repeat(".", 16000),
		"no base64":   strings.Repeat("!", 16000),
	} {
		t.Run(name, func(t *testing.T) {
			b.refused(t, refusal{request: get("/v2/accounts/7", bearer(token)), status: 401, reason: "token_invalid", fields: []string{invalid}})
		})
	}
	check()
	var r *rig.Response
	if r = b.ask(get("/v2/accounts/7", bearer(strings.Repeat("a", 70<<10)))); r.Status != 431 {
		t.Errorf("answer %d %s", r.Status, r.Reason())
	}
}
