package compose

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

// TestCacheControl: the whole may be kept no longer than any of its parts (SEMANTICS 7.10).
func TestCacheControl(t *testing.T) {
	const date = "Date: Tue, 15 Nov 1994 08:12:00 GMT"
	for _, tc := range []struct {
		name  string
		parts []string // fields of the parts
		want  string
	}{
		{"one", []string{"Cache-Control: max-age=60"}, "max-age=60"},
		{"least", []string{"Cache-Control: max-age=60", "Cache-Control: public, max-age=20", "Cache-Control: max-age=30"}, "max-age=20"},
		{"age", []string{"Cache-Control: max-age=60", "Cache-Control: max-age=70\nAge: 20"}, "max-age=50"},
		{"older than it may be", []string{"Cache-Control: max-age=60\nAge: 61"}, "max-age=0"},
		{"age that is none", []string{"Cache-Control: max-age=60\nAge: old"}, "max-age=60"},
		{"s-maxage", []string{"Cache-Control: s-maxage=40"}, "max-age=40"},
		{"both", []string{"Cache-Control: max-age=10, s-maxage=40"}, "max-age=10"},
		{"both the other way", []string{"Cache-Control: max-age=90, s-maxage=40"}, "max-age=40"},
		{"private", []string{"Cache-Control: max-age=60", "Cache-Control: private, max-age=30"}, "private, max-age=30"},
		{"private fields", []string{"Cache-Control: private=\"set-cookie, x\", max-age=30"}, "private, max-age=30"},
		{"no-store", []string{"Cache-Control: max-age=60", "Cache-Control: no-store", "Cache-Control: private"}, "no-store"},
		{"other case", []string{"Cache-Control: MAX-AGE=60, No-Store"}, "no-store"},
		{"no-cache", []string{"Cache-Control: max-age=60", "Cache-Control: no-cache, max-age=30"}, "no-cache"},
		{"private and nothing", []string{"Cache-Control: private"}, "private, no-cache"},
		{"nothing", []string{"X-A: b"}, "no-cache"},
		{"one without", []string{"Cache-Control: max-age=60", "X-A: b"}, "no-cache"},
		{"broken", []string{"Cache-Control: max-age=soon"}, "max-age=0"},
		{"quoted", []string{"Cache-Control: max-age=\"60\""}, "max-age=60"},
		{"huge", []string{"Cache-Control: max-age=99999999999999999999"}, "max-age=2147483648"},
		{"several fields", []string{"Cache-Control: max-age=60\nCache-Control: private"}, "private, max-age=60"},
		{"expires", []string{date + "\nExpires: Tue, 15 Nov 1994 08:12:31 GMT"}, "max-age=31"},
		{"expired", []string{date + "\nExpires: Tue, 15 Nov 1994 08:11:31 GMT"}, "max-age=0"},
		{"expires that is none", []string{date + "\nExpires: 0"}, "max-age=0"},
		{"max-age over expires", []string{"Cache-Control: max-age=60\n" + date + "\nExpires: Tue, 15 Nov 1994 08:12:31 GMT"}, "max-age=60"},
		{"varies by everything", []string{"Cache-Control: max-age=60\nVary: *"}, "no-store"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			answers := map[string]string{}
			compose := "steps:\n"
			for i, fields := range tc.parts {
				answers[fmt.Sprintf("/%d", i)] = ok("1", strings.Split(fields, "\n")...)
				compose += fmt.Sprintf("  s%d: {backend: app, path: /%d}\n", i, i)
			}
			compose += "  out: {backend: app, path: /none, when: request.path == \"/\"}\n" // one that was left out does not count
			o := files(t, answers)
			a := ask(t, plan(t, o.Addr, compose+"body: {}\n"))
			if got := a.header["Cache-Control"]; got != tc.want {
				t.Errorf("Cache-Control %q, want %q", got, tc.want)
			}
		})
	}
	for _, tc := range []struct{ name, step, want string }{
		{"POST", "method: POST", "no-store"},
		{"DELETE", "method: DELETE", "no-store"},
		{"HEAD", "method: HEAD", "max-age=60"},
		{"elements", "for_each: \"[1, 2]\"", "max-age=60"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := serve(t, func(r *testnet.Request, _ *testnet.OriginConn) string {
				if r.Method == "HEAD" {
					return "HTTP/1.1 200 X\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\n"
				}
				return ok("1", "Cache-Control: max-age=60")
			})
			a := ask(t, plan(t, o.Addr, "steps:\n  part: {backend: app, path: /, "+tc.step+"}\nbody: {}\n"))
			wantBody(t, a, "{}")
			if got := a.header["Cache-Control"]; got != tc.want {
				t.Errorf("Cache-Control %q, want %q", got, tc.want)
			}
		})
	}
}

// TestVary: the whole varies by the fields of the client's request that reach a part which varies by them. Where they are not in the client's request nobody
// could tell the answers apart, so it is not kept.
func TestVary(t *testing.T) {
	const steps = `
steps:
  a: {backend: app, path: /a, headers: [X-One, X-Three]}
  b: {backend: app, path: /b, headers: {Two: "${request.headers.two}", X-Four: "${request.headers['x-four']}", X-Fixed: fixed, X-Made: "${request.headers.a}"}}
body: {}
`
	for _, tc := range []struct{ a, b, vary, control string }{
		{"Accept-Encoding, accept-language, X-One", "two, X-Fixed, Origin, X-FOUR", "Accept-Language, X-One, Two, X-Four", "max-age=60"},
		{"x-forwarded-host, traceparent", "Origin", "Traceparent, X-Forwarded-Host", "max-age=60"},
		{"Origin", "X-Made", "", "no-store"},
		{"X-Consumer", "Origin", "", "no-store"},
		{"Origin", "X-One, x-authenticated-subject", "", "no-store"},
	} {
		o := files(t, map[string]string{
			"/a": ok("1", "Cache-Control: max-age=60", "Vary: "+tc.a),
			"/b": ok("1", "Cache-Control: max-age=60", "Vary: "+tc.b),
		})
		got := ask(t, plan(t, o.Addr, steps)).header
		control := got["Cache-Control"]
		if got["Vary"] != tc.vary && control != "no-store" || control != tc.control {
			t.Errorf("parts vary by %q and %q: Vary %q, Cache-Control %q", tc.a, tc.b, got["Vary"], control)
		}
	}
}

// FuzzFreshness: whatever services say, what the whole says is well-formed, and never more than a part allows.
func FuzzFreshness(f *testing.F) {
	f.Add("max-age=60, private=\"a, b\", no-cache", "12")
	f.Add("max-age=, s-maxage=-1,,=,\"", "")
	f.Add("no-store", "x")
	f.Fuzz(func(t *testing.T, control, age string) {
		var h message.Header
		h.Add(cacheControl, []byte(control))
		h.Add(message.Age.Name(), []byte(age))
		fresh := freshnessOf(&h, true)
		whole := fresh
		whole.merge(freshness{known: true, seconds: 10})
		got := string(whole.appendTo(nil))
		rest := strings.TrimPrefix(got, "private, ")
		n := int64(-1)
		if digits, found := strings.CutPrefix(rest, "max-age="); found {
			if _, err := fmt.Sscan(digits, &n); err != nil || n < 0 || n > 10 {
				t.Fatalf("%q with age %q: %s", control, age, got)
			}
		} else if rest != "no-store" && rest != "no-cache" {
			t.Fatalf("%q with age %q: %s", control, age, got)
		}
	})
}
