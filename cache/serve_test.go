package cache

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

const page = "http://bank.example/rates/EUR"

// turn is one request of a story: what is asked at which second, what the origin would say, and what the client has to see.
type turn struct {
	at      float64
	line    string // "GET" of the page if empty
	request string
	origin  answer
	down    bool

	fetched bool
	asked   string // "Name: value" that the request to the origin has, or "-Name" that it has not
	status  int    // 200 if 0
	body    string // not looked at if empty
	says    string // Cache-Status
	fields  string // "Name: value" that the response has, or "-Name" that it has not, by line
}

// story plays turns.
func story(t *testing.T, name string, rules Rules, turns ...turn) {
	t.Helper()
	s, r := newTestStore(rules)
	for i, c := range turns {
		where := fmt.Sprintf("%s, turn %d", name, i+1)
		if c.line == "" {
			c.line = "GET " + page
		}
		origin := says(c.origin)
		if c.down {
			origin = down
		}
		x := request(c.line, c.request)
		uri := AppendURI(nil, &x.Request)
		got := get(t, s, r, x, at(c.at), origin)
		if got.fetched && !x.Request.Method.Safe() && got.status < 400 {
			s.Invalidate(uri, &got.header)
		}
		status := 200
		if c.status != 0 {
			status = c.status
		}
		if got.failure != nil {
			got.status = got.failure.Reason.Status()
		}
		if got.fetched != c.fetched || got.status != status {
			t.Errorf("%s: fetched %v, status %d; want %v, %d", where, got.fetched, got.status, c.fetched, status)
		}
		if c.body != "" && got.body != c.body {
			t.Errorf("%s: body %q, want %q", where, got.body, c.body)
		}
		if c.says != "" && got.field("Cache-Status") != c.says {
			t.Errorf("%s: Cache-Status %q, want %q", where, got.field("Cache-Status"), c.says)
		}
		expect(t, where+": response", &got.header, c.fields)
		expect(t, where+": request to the origin", &got.asked, c.asked)
	}
}

// expect compares a header with lines.
func expect(t *testing.T, where string, h *message.Header, lines string) {
	t.Helper()
	for line := range strings.SplitSeq(lines, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if absent, ok := strings.CutPrefix(line, "-"); ok {
			if v := h.Find(message.NameOf(absent)); v != nil {
				t.Errorf("%s: has %s: %s", where, absent, v)
			}
			continue
		}
		name, want, _ := strings.Cut(line, ":")
		if got := string(h.Find(message.NameOf(name))); got != strings.TrimSpace(want) {
			t.Errorf("%s: %s is %q, want %q", where, name, got, strings.TrimSpace(want))
		}
	}
}

// fresh60 is an answer that is fresh for a minute from second 0.
func fresh60(body string) answer {
	return answer{fields: "Cache-Control: max-age=60\n" + dated("Date", 0), body: body}
}

func TestFreshAndStale(t *testing.T) {
	story(t, "reuse", Rules{},
		turn{origin: fresh60("one"), fetched: true, body: "one", says: "sluice; fwd=uri-miss; stored", fields: "-Age"},
		turn{at: 7.5, origin: fresh60("two"), body: "one", says: "sluice; hit; ttl=52", fields: "Age: 7\n" + dated("Date", 0)},
		turn{at: 59, body: "one", says: "sluice; hit; ttl=1", fields: "Age: 59"},
		turn{at: 61, origin: answer{fields: "Cache-Control: max-age=60", body: "two"}, fetched: true, body: "two", says: "sluice; fwd=stale; stored", fields: "-Age"},
		turn{at: 62, body: "two"})
	story(t, "HEAD is answered from GET", Rules{},
		turn{origin: fresh60("one"), fetched: true},
		turn{at: 1, line: "HEAD " + page, says: "sluice; hit; ttl=59", fields: "Age: 1"})
	story(t, "HEAD does not fill", Rules{},
		turn{line: "HEAD " + page, origin: fresh60(""), fetched: true, says: "sluice; fwd=uri-miss"},
		turn{origin: fresh60("one"), fetched: true, body: "one", says: "sluice; fwd=uri-miss; stored"})
	story(t, "the date is that of the answer", Rules{},
		turn{at: 2, origin: answer{fields: "Cache-Control: max-age=60"}, fetched: true},
		turn{at: 9, says: "sluice; hit; ttl=53", fields: dated("Date", 2)})
	story(t, "age of the origin's cache", Rules{},
		turn{origin: answer{fields: "Cache-Control: max-age=60\nAge: 20"}, fetched: true, fields: "Age: 20"},
		turn{at: 5, fields: "Age: 25", says: "sluice; hit; ttl=35"})
	story(t, "statuses", Rules{},
		turn{origin: answer{status: 404, fields: "Cache-Control: max-age=60", body: "no"}, fetched: true, status: 404},
		turn{at: 1, status: 404, body: "no"})
	story(t, "methods", Rules{},
		turn{origin: fresh60("one"), fetched: true},
		turn{at: 1, line: "OPTIONS " + page, origin: fresh60("two"), fetched: true, body: "two", says: "sluice; fwd=method"},
		turn{at: 2, body: "one"})
	story(t, "query", Rules{},
		turn{line: "GET " + page + "?a=1", origin: fresh60("one"), fetched: true},
		turn{line: "GET " + page + "?a=2", origin: fresh60("two"), fetched: true, body: "two"},
		turn{line: "GET " + page + "?a=1", body: "one"})
}

// TestCacheStatus is row 13.8: a member of our own stands behind those of services, under the configured name, on hits as well.
func TestCacheStatus(t *testing.T) {
	s, r := newTestStore(Rules{})
	r = NewRules(*r, "edge")
	origin := says(answer{fields: "Cache-Control: max-age=60\nCache-Status: cdn; hit", body: "one"})
	for _, want := range []string{"cdn; hit|edge; fwd=uri-miss; stored", "cdn; hit|edge; hit; ttl=60"} {
		got := get(t, s, r, request("GET "+page, ""), at(0), origin)
		var all []string
		for i := range got.header.Len() {
			if f := got.header.At(i); f.ID == message.CacheStatus {
				all = append(all, string(f.Value))
			}
		}
		if said := strings.Join(all, "|"); said != want {
			t.Errorf("%q, want %q", said, want)
		}
	}
}

// TestFieldsKept is RFC 9111 section 3.1.
func TestFieldsKept(t *testing.T) {
	story(t, "fields of the connection", Rules{},
		turn{origin: answer{fields: "Cache-Control: max-age=60\nConnection: X-A, close\nX-A: 1\nX-B: 2\nKeep-Alive: 5\nProxy-Authenticate: x\n" +
			"Proxy-Authentication-Info: x\nTE: x\nUpgrade: h2c\nSet-Cookie2: a=b\nX-Frame-Options: deny"}, fetched: true},
		turn{at: 1, fields: "-Connection\n-X-A\nX-B: 2\n-Keep-Alive\n-Proxy-Authenticate\n-Proxy-Authentication-Info\n-TE\n-Upgrade\nX-Frame-Options: deny"})
	story(t, "fields that no-cache names", Rules{},
		turn{origin: answer{fields: "Cache-Control: max-age=60, no-cache=\"X-A, x-b\"\nX-A: 1\nX-B: 2\nX-C: 3"}, fetched: true, fields: "X-A: 1\nX-B: 2\nX-C: 3"},
		turn{at: 1, fields: "-X-A\n-X-B\nX-C: 3"})
	story(t, "what is left of a limit is the business of whom it was told", Rules{},
		turn{origin: answer{fields: "Cache-Control: max-age=60\nRateLimit: \"a\";r=1;t=1\nRateLimit-Policy: \"a\";q=2;w=1"}, fetched: true, fields: "RateLimit: \"a\";r=1;t=1"},
		turn{at: 1, fields: "-RateLimit\n-RateLimit-Policy"})
	story(t, "a cookie reaches whom it was set for", Rules{},
		turn{origin: answer{fields: "Cache-Control: public, max-age=60\nSet-Cookie: id=7"}, fetched: true, fields: "Set-Cookie: id=7", says: "sluice; fwd=uri-miss"},
		turn{at: 1, origin: fresh60("x"), fetched: true, fields: "-Set-Cookie"})
}

// TestRequestDirectives is RFC 9111 section 5.2.1 and row 8.11.
func TestRequestDirectives(t *testing.T) {
	for _, c := range []struct{ directive, says string }{
		{"no-cache", "sluice; fwd=request; stored"}, {"max-age=0", "sluice; fwd=request; stored"}, {"max-age=5", "sluice; fwd=request; stored"},
		{"min-fresh=60", "sluice; fwd=request; stored"}, {"no-store", "sluice; fwd=request"},
	} {
		story(t, c.directive, Rules{},
			turn{origin: fresh60("one"), fetched: true},
			turn{at: 6, request: "Cache-Control: " + c.directive, origin: answer{fields: "Cache-Control: max-age=60", body: "two"}, fetched: true, body: "two", says: c.says})
		story(t, c.directive+", ignored", Rules{IgnoreClient: true},
			turn{origin: fresh60("one"), fetched: true},
			turn{at: 6, request: "Cache-Control: " + c.directive, body: "one"})
	}
	story(t, "what no-store asked for is not kept", Rules{},
		turn{request: "Cache-Control: no-store", origin: fresh60("one"), fetched: true},
		turn{at: 1, origin: fresh60("two"), fetched: true, body: "two"})
	story(t, "only-if-cached", Rules{},
		turn{request: "Cache-Control: only-if-cached", status: 504},
		turn{origin: fresh60("one"), fetched: true},
		turn{at: 1, request: "Cache-Control: only-if-cached", body: "one"},
		turn{at: 99, request: "Cache-Control: only-if-cached", status: 504},
		turn{at: 99, request: "Cache-Control: only-if-cached, max-stale", body: "one", says: "sluice; hit; ttl=-39"})
	story(t, "max-stale", Rules{},
		turn{origin: fresh60("one"), fetched: true},
		turn{at: 70.5, request: "Cache-Control: max-stale=20", body: "one", says: "sluice; hit; ttl=-11", fields: "Age: 70"})
	story(t, "conditions that are the origin's to evaluate", Rules{},
		turn{origin: fresh60("one"), fetched: true},
		turn{request: "If-Match: \"a\"", origin: answer{status: 412}, fetched: true, status: 412, says: "sluice; fwd=request", asked: "If-Match: \"a\""},
		turn{request: "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT", origin: answer{status: 412}, fetched: true, status: 412})
}

// TestAuthorization is RFC 9111 section 3.5.
func TestAuthorization(t *testing.T) {
	const known = "Authorization: Bearer abc"
	story(t, "not shared", Rules{},
		turn{request: known, origin: fresh60("one"), fetched: true, says: "sluice; fwd=uri-miss", asked: known},
		turn{request: known, origin: fresh60("two"), fetched: true, body: "two"})
	for _, directive := range []string{"public, max-age=60", "s-maxage=60", "max-age=60, must-revalidate"} {
		story(t, directive, Rules{},
			turn{request: known, origin: answer{fields: "Cache-Control: " + directive, body: "one"}, fetched: true},
			turn{at: 1, request: "Authorization: Bearer xyz", body: "one"},
			turn{at: 1, body: "one"})
	}
}

// TestValidation is RFC 9111 section 4.3.
func TestValidation(t *testing.T) {
	const tag = "ETag: \"a\"\n"
	modified := dated("Last-Modified", -500)
	story(t, "by tag and date", Rules{},
		turn{origin: answer{fields: "Cache-Control: max-age=10\nX-A: 1\nX-B: 1\n" + tag + modified, body: "one"}, fetched: true},
		turn{at: 11, origin: answer{status: 304, fields: "Cache-Control: max-age=20\nX-A: 2\n" + tag + dated("Date", 11)}, fetched: true, body: "one",
			asked: "If-None-Match: \"a\"\nIf-Modified-Since: " + strings.TrimPrefix(modified, "Last-Modified: "), says: "sluice; fwd=stale; fwd-status=304",
			fields: "X-A: 2\nX-B: 1\nCache-Control: max-age=20\nAge: 0\n" + dated("Date", 11)},
		turn{at: 30, body: "one", fields: "X-A: 2\nX-B: 1\nAge: 19", says: "sluice; hit; ttl=1"})
	story(t, "what describes the body stays", Rules{},
		turn{origin: answer{fields: "Cache-Control: max-age=10\nContent-Encoding: gzip\nContent-MD5: x\nContent-Type: a/b\n" + tag, body: "one"}, fetched: true},
		turn{at: 11, origin: answer{status: 304, fields: "Cache-Control: max-age=20\nContent-Encoding: br\nContent-MD5: y\nContent-Type: a/c\nETag: \"b\"\n"}, fetched: true,
			body: "one", fields: "Content-Encoding: gzip\nContent-MD5: x\nContent-Type: a/c\n" + tag},
		turn{at: 12, body: "one", fields: "Content-Encoding: gzip\nContent-Type: a/c\n" + tag})
	story(t, "another answer", Rules{},
		turn{origin: answer{fields: "Cache-Control: max-age=10\n" + tag, body: "one"}, fetched: true},
		turn{at: 11, origin: answer{fields: "Cache-Control: max-age=10\nETag: \"b\"", body: "two"}, fetched: true, body: "two", says: "sluice; fwd=stale; stored"},
		turn{at: 12, body: "two"})
	story(t, "no-cache is validated each time", Rules{},
		turn{origin: answer{fields: "Cache-Control: no-cache\n" + tag, body: "one"}, fetched: true, says: "sluice; fwd=uri-miss; stored"},
		turn{at: 0, origin: answer{status: 304, fields: "Cache-Control: no-cache\n"}, fetched: true, asked: "If-None-Match: \"a\"", body: "one"},
		turn{at: 0, origin: answer{status: 304}, fetched: true, asked: "If-None-Match: \"a\"", body: "one"})
	story(t, "a client that has the stale answer", Rules{},
		turn{origin: answer{fields: "Cache-Control: max-age=10\n" + tag, body: "one"}, fetched: true},
		turn{at: 11, request: "If-None-Match: \"a\", \"z\"", origin: answer{status: 304, fields: "Cache-Control: max-age=10"}, fetched: true,
			asked: "If-None-Match: \"a\"", status: 304},
		turn{at: 12, body: "one"})
	story(t, "a client that has another", Rules{},
		turn{origin: answer{fields: "Cache-Control: max-age=10\n" + tag, body: "one"}, fetched: true},
		turn{at: 11, request: "If-None-Match: \"z\"", origin: answer{status: 304, fields: "Cache-Control: max-age=10"}, fetched: true, asked: "If-None-Match: \"a\"", body: "one"})
	story(t, "a client's condition on a miss is ours to evaluate", Rules{},
		turn{request: "If-None-Match: \"a\"", origin: answer{fields: "Cache-Control: max-age=10\n" + tag, body: "one"}, fetched: true, asked: "-If-None-Match", status: 304},
		turn{at: 1, body: "one", says: "sluice; hit; ttl=9"})
	story(t, "a 304 that says no-store ends what is stored", Rules{},
		turn{origin: answer{fields: "Cache-Control: max-age=10\n" + tag, body: "one"}, fetched: true},
		turn{at: 11, origin: answer{status: 304, fields: "Cache-Control: no-store"}, fetched: true, body: "one"},
		turn{at: 11, origin: answer{fields: tag, body: "two"}, fetched: true, asked: "-If-None-Match", body: "two"})
	story(t, "an answer that must not be kept ends what is stored", Rules{},
		turn{origin: answer{fields: "Cache-Control: max-age=10\n" + tag, body: "one"}, fetched: true},
		turn{at: 11, origin: answer{fields: "Cache-Control: no-store", body: "two"}, fetched: true, body: "two"},
		turn{at: 11, request: "Cache-Control: max-stale", origin: answer{body: "three"}, fetched: true, body: "three"})
	story(t, "a cookie in a 304 is for one", Rules{},
		turn{origin: answer{fields: "Cache-Control: max-age=10\n" + tag, body: "one"}, fetched: true},
		turn{at: 11, origin: answer{status: 304, fields: "Cache-Control: max-age=10\nSet-Cookie: a=b"}, fetched: true, fields: "Set-Cookie: a=b", body: "one"},
		turn{at: 12, fields: "-Set-Cookie", body: "one"})
	story(t, "a 304 that nobody asked for", Rules{},
		turn{origin: answer{status: 304, fields: "Cache-Control: max-age=10\n" + tag}, fetched: true, status: 304},
		turn{at: 1, origin: fresh60("one"), fetched: true, body: "one"})
}

// TestClientConditions is RFC 9111 section 4.3.2 from a fresh copy.
func TestClientConditions(t *testing.T) {
	stored := turn{origin: answer{fields: "Cache-Control: max-age=60\nContent-Type: a/b\nContent-Language: de\nVary: X\nETag: \"a\"\n" + dated("Date", 0), body: "one"}, fetched: true}
	story(t, "not modified", Rules{}, stored,
		turn{at: 1, request: "If-None-Match: \"a\"", status: 304, says: "sluice; hit; ttl=59",
			fields: "ETag: \"a\"\nVary: X\nCache-Control: max-age=60\nAge: 1\n-Content-Type\n-Content-Language\n" + dated("Date", 0)},
		turn{at: 1, line: "HEAD " + page, request: "If-None-Match: \"a\"", status: 304},
		turn{at: 1, request: "If-None-Match: \"b\"", body: "one"})
	story(t, "an error is no representation", Rules{},
		turn{origin: answer{status: 404, fields: "Cache-Control: max-age=60\nETag: \"a\""}, fetched: true, status: 404},
		turn{request: "If-None-Match: *", status: 404})
}

// TestVary is RFC 9111 section 4.1.
func TestVary(t *testing.T) {
	vary := func(names, body string) answer {
		return answer{fields: "Cache-Control: max-age=60\nVary: " + names, body: body}
	}
	story(t, "variants beside each other", Rules{},
		turn{request: "Foo: 1", origin: vary("Foo", "one"), fetched: true},
		turn{request: "Foo: 2", origin: vary("Foo", "two"), fetched: true, body: "two", says: "sluice; fwd=vary-miss; stored"},
		turn{request: "Foo: 1", body: "one"},
		turn{request: "Foo: 2", body: "two"},
		turn{origin: vary("Foo", "none"), fetched: true, body: "none"},
		turn{body: "none"})
	story(t, "star", Rules{},
		turn{origin: vary("*", "one"), fetched: true, says: "sluice; fwd=uri-miss"},
		turn{origin: vary("*", "two"), fetched: true, body: "two"})
	story(t, "an answer that names other fields", Rules{},
		turn{request: "Foo: 1\nBar: 1", origin: vary("Foo", "one"), fetched: true},
		turn{request: "Foo: 2\nBar: 1", origin: vary("Foo, Bar", "two"), fetched: true},
		turn{request: "Foo: 1\nBar: 9", body: "one"},
		turn{request: "Foo: 2\nBar: 9", origin: vary("Foo, Bar", "three"), fetched: true, body: "three"},
		turn{request: "Foo: 2\nBar: 1", body: "two"})
	story(t, "by the favourite language", Rules{},
		turn{request: "Accept-Language: en, de", origin: answer{fields: "Cache-Control: max-age=60\nVary: Accept-Language\nContent-Language: de", body: "Kurs"}, fetched: true},
		turn{request: "Accept-Language: fr;q=0.5, de;q=1.0", body: "Kurs"},
		turn{request: "Accept-Language: fr", origin: answer{fields: "Cache-Control: max-age=60\nVary: Accept-Language\nContent-Language: fr", body: "taux"}, fetched: true, body: "taux"},
		turn{request: "Accept-Language: fr-CH;q=0.1, fr", body: "taux"},
		turn{request: "Accept-Language: en", origin: vary("Accept-Language", "rate"), fetched: true, body: "rate"})
	s, r := newTestStore(Rules{})
	for i := range 3 * maxVariants {
		get(t, s, r, request("GET "+page, fmt.Sprintf("Foo: %d", i)), at(0), says(vary("Foo", "x")))
	}
	if n := s.Objects(); n != maxVariants {
		t.Errorf("%d variants are kept, want %d", n, maxVariants)
	}
	if got := get(t, s, r, request("GET "+page, fmt.Sprintf("Foo: %d", 3*maxVariants-1)), at(0), down); got.status != 200 {
		t.Error("the newest variant is not there")
	}
}

// TestStale is RFC 5861, and rows 8.3 and 8.7.
func TestStale(t *testing.T) {
	short := func(more, body string) answer {
		return answer{fields: "Cache-Control: max-age=10" + more + "\nETag: \"a\"", body: body}
	}
	story(t, "while a new one is fetched", Rules{},
		turn{origin: short(", stale-while-revalidate=30", "one"), fetched: true},
		turn{at: 11, origin: short("", "two"), fetched: true, asked: "If-None-Match: \"a\"", body: "one", says: "sluice; hit; ttl=-1"},
		turn{at: 12, body: "two", says: "sluice; hit; ttl=9"})
	story(t, "and too late for it", Rules{},
		turn{origin: short(", stale-while-revalidate=30", "one"), fetched: true},
		turn{at: 41, origin: short("", "two"), fetched: true, body: "two", says: "sluice; fwd=stale; stored"})
	rules := Rules{StaleIfError: time.Minute}
	for _, status := range []int{500, 502, 503, 504} {
		story(t, fmt.Sprint(status), rules,
			turn{origin: short("", "one"), fetched: true},
			turn{at: 11, origin: answer{status: status, body: "sorry"}, fetched: true, body: "one", says: fmt.Sprintf("sluice; fwd=stale; fwd-status=%d; ttl=-1", status),
				fields: "Age: 11"},
			turn{at: 71, origin: answer{status: status, body: "sorry"}, fetched: true, status: status, body: "sorry"})
	}
	story(t, "statuses that are answers", rules,
		turn{origin: short("", "one"), fetched: true},
		turn{at: 11, origin: answer{status: 501, body: "no"}, fetched: true, status: 501, body: "no"})
	story(t, "the origin cannot be reached", rules,
		turn{origin: short("", "one"), fetched: true},
		turn{at: 11, down: true, fetched: true, body: "one", says: "sluice; fwd=stale; ttl=-1"},
		turn{at: 12, origin: answer{status: 304, fields: "Cache-Control: max-age=10"}, fetched: true, body: "one"},
		turn{at: 13, body: "one", says: "sluice; hit; ttl=9"},
		turn{at: 99, down: true, fetched: true, status: 502})
	for _, forbidden := range []string{", must-revalidate", ", proxy-revalidate", ", no-cache", ", s-maxage=10"} {
		story(t, forbidden, rules,
			turn{origin: short(forbidden, "one"), fetched: true},
			turn{at: 11, down: true, fetched: true, status: 502})
	}
	story(t, "nothing is stored", rules, turn{down: true, fetched: true, status: 502})
}

// TestInvalidation is RFC 9111 section 4.4 and row 8.6.
func TestInvalidation(t *testing.T) {
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "M-SEARCH"} {
		story(t, method, Rules{},
			turn{origin: fresh60("one"), fetched: true},
			turn{line: method + " " + page, origin: answer{status: 204}, fetched: true, status: 204},
			turn{origin: fresh60("two"), fetched: true, body: "two", says: "sluice; fwd=uri-miss; stored"})
		story(t, method+" that failed", Rules{},
			turn{origin: fresh60("one"), fetched: true},
			turn{line: method + " " + page, origin: answer{status: 500}, fetched: true, status: 500},
			turn{body: "one"})
	}
	for _, field := range []string{"Location: EUR", "Location: " + page, "Content-Location: /rates/EUR", "Location: //bank.example/rates/%45UR"} {
		story(t, field, Rules{},
			turn{origin: fresh60("one"), fetched: true},
			turn{line: "POST http://bank.example/rates/", origin: answer{status: 201, fields: field}, fetched: true, status: 201},
			turn{origin: fresh60("two"), fetched: true, body: "two"})
	}
	story(t, "another host's are not ours to drop", Rules{},
		turn{origin: fresh60("one"), fetched: true},
		turn{line: "POST http://evil.example/x", origin: answer{status: 201, fields: "Location: " + page}, fetched: true, status: 201},
		turn{body: "one"})
}

// TestHead is RFC 9111 section 4.3.5.
func TestHead(t *testing.T) {
	stored := turn{origin: answer{fields: "Cache-Control: max-age=10\nX-A: 1\nETag: \"a\"", body: "one"}, fetched: true}
	story(t, "brings up to date", Rules{}, stored,
		turn{at: 11, line: "HEAD " + page, origin: answer{fields: "Cache-Control: max-age=60\nX-A: 2\nETag: \"a\""}, fetched: true},
		turn{at: 12, body: "one", fields: "X-A: 2", says: "sluice; hit; ttl=59"})
	story(t, "shows that there is another", Rules{}, stored,
		turn{at: 11, line: "HEAD " + page, origin: answer{fields: "Cache-Control: max-age=60\nETag: \"b\""}, fetched: true},
		turn{at: 12, origin: fresh60("two"), fetched: true, body: "two", asked: "-If-None-Match"})
	story(t, "an error shows nothing", Rules{}, stored,
		turn{at: 11, line: "HEAD " + page, origin: answer{status: 503}, fetched: true, status: 503},
		turn{at: 12, origin: answer{status: 304, fields: "Cache-Control: max-age=10"}, fetched: true, asked: "If-None-Match: \"a\"", body: "one"})
}

// TestRangeOnMiss is row 8.9.
func TestRangeOnMiss(t *testing.T) {
	story(t, "forwarded and not kept", Rules{},
		turn{request: "Range: bytes=0-1", origin: answer{status: 206, fields: "Cache-Control: max-age=60\nContent-Range: bytes 0-1/3", body: "on"}, fetched: true, status: 206,
			asked: "Range: bytes=0-1", says: "sluice; fwd=uri-miss"},
		turn{origin: fresh60("one"), fetched: true, body: "one"},
		turn{request: "Range: bytes=0-1", status: 206, body: "on", fields: "Content-Range: bytes 0-1/3"})
	story(t, "a stale copy is validated as a whole", Rules{},
		turn{origin: answer{fields: "Cache-Control: max-age=10\nETag: \"a\"", body: "one"}, fetched: true},
		turn{at: 11, request: "Range: bytes=1-", origin: answer{status: 304, fields: "Cache-Control: max-age=10"}, fetched: true, asked: "-Range", status: 206, body: "ne"})
}

// TestBroken: what did not come whole is not kept.
func TestBroken(t *testing.T) {
	s, r := newTestStore(Rules{})
	x := request("GET "+page, "")
	var u Use
	if act := s.Lookup(&u, x, r, nil, at(0)); act != Lead {
		t.Fatalf("action %d", act)
	}
	f := u.Flight()
	f.Start(func() { t.Error("cancelled") })
	y := new(message.Exchange)
	y.Reset()
	answer{fields: "Cache-Control: max-age=60", body: "0123456789", err: errDeadline}.put(y)
	y.Response.Length = 20
	f.Fill(y, at(0))
	if v, failure := u.Wait(x); v != Served {
		t.Fatal(v, failure)
	}
	if body, err := drain(x.Response.Body); body != "0123456789" || err == nil {
		t.Errorf("%q, %v", body, err)
	}
	if n := s.Objects(); n != 0 {
		t.Errorf("%d objects are stored", n)
	}
	if total, coming := s.Bytes(); total != 0 || coming != 0 {
		t.Errorf("%d bytes, %d of them coming", total, coming)
	}
	if r.Namespace.Count(Broken) != 1 {
		t.Error("not counted")
	}
	story(t, "shorter than announced", Rules{},
		turn{origin: fresh60(""), fetched: true})
}
