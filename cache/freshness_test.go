package cache

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestStorable is RFC 9111 section 3, and SEMANTICS section 0 of caching after identity.
func TestStorable(t *testing.T) {
	plain, behind := Rules{}, Rules{BehindIdentity: true}
	shared, caller := Rules{BehindIdentity: true, Shared: true}, Rules{BehindIdentity: true, PerCaller: true}
	long := Rules{TTL: time.Hour}
	dflt := Rules{DefaultTTL: time.Hour}
	for _, c := range []struct {
		name   string
		rules  Rules
		status int
		fields string
		known  bool // the request had Authorization
		want   bool
	}{
		{"explicit", plain, 200, "Cache-Control: max-age=60", false, true},
		{"nothing is said", plain, 200, "", false, false},
		{"nothing is said, but there is a validator", plain, 200, `ETag: "a"`, false, true},
		{"no freshness and no validator is of no use", plain, 200, "Cache-Control: max-age=0", false, false},
		{"stale but useful when the origin is away", Rules{StaleIfError: time.Minute}, 200, "Cache-Control: max-age=0", false, true},
		{"any status with explicit freshness", plain, 599, "Cache-Control: max-age=60", false, true},
		{"a status that is not kept by itself", plain, 503, `ETag: "a"`, false, false},
		{"a status that is", plain, 404, `ETag: "a"`, false, true},
		{"public makes it one", plain, 599, "Cache-Control: public\nETag: \"a\"", false, true},
		{"part", plain, 206, "Cache-Control: max-age=60", false, false},
		{"not modified", plain, 304, "Cache-Control: max-age=60", false, false},
		{"no-store", plain, 200, "Cache-Control: max-age=60, no-store", false, false},
		{"private", plain, 200, "Cache-Control: max-age=60, private", false, false},
		{"private with fields", plain, 200, `Cache-Control: max-age=60, private="x"`, false, false},
		{"private, one copy for each caller", caller, 200, "Cache-Control: max-age=60, private", true, true},
		{"no-store, one copy for each caller", caller, 200, "Cache-Control: max-age=60, no-store", true, false},
		{"Set-Cookie", plain, 200, "Cache-Control: public, max-age=60\nSet-Cookie: a=b", false, false},
		{"Set-Cookie, one copy for each caller", caller, 200, "Cache-Control: max-age=60\nSet-Cookie: a=b", true, false},
		{"Set-Cookie, shared", shared, 200, "Cache-Control: max-age=60\nSet-Cookie: a=b", true, false},
		{"must-understand, understood", plain, 200, "Cache-Control: max-age=60, must-understand, no-store", false, true},
		{"must-understand, not understood", plain, 499, "Cache-Control: max-age=60, must-understand", false, false},

		{"authorised", plain, 200, "Cache-Control: max-age=60", true, false},
		{"authorised, public", plain, 200, "Cache-Control: max-age=60, public", true, true},
		{"authorised, s-maxage", plain, 200, "Cache-Control: s-maxage=60", true, true},
		{"authorised, must-revalidate", plain, 200, "Cache-Control: max-age=60, must-revalidate", true, true},
		{"behind identity", behind, 200, "Cache-Control: max-age=60", true, false},
		{"behind identity, shared", shared, 200, "Cache-Control: max-age=60", true, true},
		{"behind identity, shared, but private", shared, 200, "Cache-Control: max-age=60, private", true, false},
		{"behind identity, one copy for each caller", caller, 200, "Cache-Control: max-age=60", true, true},

		{"ttl replaces max-age=0", long, 200, "Cache-Control: max-age=0", false, true},
		{"ttl replaces no-cache", long, 200, "Cache-Control: no-cache", false, true},
		{"ttl, but no-store", long, 200, "Cache-Control: no-store", false, false},
		{"ttl, but private", long, 200, "Cache-Control: private", false, false},
		{"ttl, but Set-Cookie", long, 200, "Set-Cookie: a=b", false, false},
		{"ttl does not keep errors", long, 500, "", false, false},
		{"ttl keeps errors that the origin lets be kept", long, 500, "Cache-Control: max-age=1", false, true},
		{"default_ttl", dflt, 200, "", false, true},
		{"default_ttl, but the origin says otherwise", dflt, 200, "Cache-Control: max-age=0", false, false},
		{"default_ttl does not keep errors", dflt, 502, "", false, false},
	} {
		r := NewRules(c.rules, "")
		got := judge(c.status, fieldsOf(c.fields), r, fetched{began: at(0), now: at(0), authorised: c.known})
		if got.kept != c.want {
			t.Errorf("%s: kept = %v, want %v", c.name, got.kept, c.want)
		}
	}
}

// TestLifetime is RFC 9111 section 4.2: for how long an answer that has come at second 0 is fresh, and may be used stale.
func TestLifetime(t *testing.T) {
	for _, c := range []struct {
		name            string
		rules           Rules
		fields          string
		fresh, swr, if_ float64 // from second 0
	}{
		{"max-age", Rules{}, "Cache-Control: max-age=60", 60, 60, 60},
		{"s-maxage first", Rules{}, "Cache-Control: s-maxage=9, max-age=60", 9, 9, 9},
		{"max-age before Expires", Rules{}, "Cache-Control: max-age=60\n" + dated("Expires", -9), 60, 60, 60},
		{"Expires less Date", Rules{}, dated("Date", -10) + dated("Expires", 20), 20, 20, 20},
		{"Expires less a Date that is ahead", Rules{}, dated("Date", 10) + dated("Expires", 30), 20, 20, 20},
		{"Expires without Date", Rules{}, dated("Expires", 30), 30, 30, 30},
		{"Expires with a Date that is none", Rules{}, "Date: foo\n" + dated("Expires", 30), 30, 30, 30},
		{"Expires that is none", Rules{}, "ETag: \"a\"\nExpires: 0", 0, 0, 0},
		{"Age", Rules{}, "Cache-Control: max-age=60\nAge: 20", 40, 40, 40},
		{"Age that is none", Rules{}, "ETag: \"a\"\nCache-Control: max-age=60\nAge: old", 0, 0, 0},
		{"two Ages", Rules{}, "ETag: \"a\"\nCache-Control: max-age=60\nAge: 0\nAge: 0", 0, 0, 0},
		{"apparent age", Rules{}, "Cache-Control: max-age=60\n" + dated("Date", -15), 45, 45, 45},
		{"the greater of both ages", Rules{}, "Cache-Control: max-age=60\nAge: 30\n" + dated("Date", -15), 30, 30, 30},
		{"ttl", Rules{TTL: 5 * time.Second}, "Cache-Control: max-age=60\nAge: 30", 5, 5, 5},
		{"default_ttl", Rules{DefaultTTL: 5 * time.Second}, "", 5, 5, 5},
		{"default_ttl where there is Expires", Rules{DefaultTTL: 5 * time.Second}, dated("Expires", 30), 30, 30, 30},
		{"heuristic", Rules{Heuristic: 0.1}, dated("Date", 0) + dated("Last-Modified", -500), 50, 50, 50},
		{"heuristic has a bound", Rules{Heuristic: 0.1}, dated("Date", 0) + dated("Last-Modified", -5e6), maxHeuristic, maxHeuristic, maxHeuristic},
		{"no heuristic by default", Rules{}, dated("Date", 0) + dated("Last-Modified", -500), 0, 0, 0},

		{"stale by the origin", Rules{}, "Cache-Control: max-age=60, stale-while-revalidate=5, stale-if-error=7", 60, 65, 67},
		{"stale by the rules", Rules{StaleWhileRevalidate: 5 * time.Second, StaleIfError: 7 * time.Second}, "Cache-Control: max-age=60", 60, 65, 67},
		{"the origin goes before the rules", Rules{StaleWhileRevalidate: time.Hour, StaleIfError: time.Hour},
			"Cache-Control: max-age=60, stale-while-revalidate=0, stale-if-error=1", 60, 60, 61},
		{"must-revalidate", Rules{StaleWhileRevalidate: time.Hour, StaleIfError: time.Hour}, "Cache-Control: max-age=60, must-revalidate, stale-if-error=5", 60, 60, 60},
		{"proxy-revalidate", Rules{StaleWhileRevalidate: time.Hour, StaleIfError: time.Hour}, "Cache-Control: max-age=60, proxy-revalidate", 60, 60, 60},
		{"s-maxage", Rules{StaleWhileRevalidate: time.Hour, StaleIfError: time.Hour}, "Cache-Control: s-maxage=60", 60, 60, 60},
		{"s-maxage that says otherwise", Rules{}, "Cache-Control: s-maxage=60, stale-while-revalidate=5", 60, 65, 60},
		{"no-cache", Rules{StaleWhileRevalidate: time.Hour, StaleIfError: time.Hour}, "ETag: \"a\"\nCache-Control: no-cache, max-age=60", 0, 0, 0},
	} {
		got := judge(200, fieldsOf(c.fields), NewRules(c.rules, ""), fetched{began: at(0), now: at(0)})
		near := func(moment int64, seconds float64) bool { // dates have whole seconds
			d := moment - at(seconds)
			return d > -second && d < second
		}
		if !got.kept || !near(got.fresh, c.fresh) || !near(got.swr, c.swr) || !near(got.fallback, c.if_) {
			t.Errorf("%s: kept %v, fresh %d, stale %d, fallback %d; want %v, %v, %v", c.name, got.kept, (got.fresh-at(0))/second, (got.swr-at(0))/second,
				(got.fallback-at(0))/second, c.fresh, c.swr, c.if_)
		}
	}
}

// TestFreshnessModel compares with the formulas of RFC 9111 sections 4.2.1 to 4.2.3, written down as they stand there.
func TestFreshnessModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9111, 42))
	pick := func(n int) int { return rnd.IntN(n) }
	for range 20000 {
		var fields strings.Builder
		delay := float64(pick(4))
		responseTime := 100.0
		lifetime, explicit := 0.0, false
		date := responseTime
		if pick(3) > 0 {
			date = responseTime + float64(pick(60)-40)
			fields.WriteString(dated("Date", date))
		}
		if pick(2) == 0 {
			n := pick(90)
			fields.WriteString(dated("Expires", date+float64(n-20)))
			lifetime, explicit = max(0, float64(n-20)), true
		}
		var directives []string
		if pick(2) == 0 {
			n := pick(90)
			directives = append(directives, fmt.Sprintf("max-age=%d", n))
			lifetime, explicit = float64(n), true
		}
		if pick(3) == 0 {
			n := pick(90)
			directives = append(directives, fmt.Sprintf("s-maxage=%d", n))
			lifetime, explicit = float64(n), true
		}
		rnd.Shuffle(len(directives), func(i, j int) { directives[i], directives[j] = directives[j], directives[i] })
		if len(directives) > 0 {
			fmt.Fprintf(&fields, "Cache-Control: %s\n", strings.Join(directives, ", "))
		}
		ageValue := 0.0
		if pick(3) == 0 {
			ageValue = float64(pick(50))
			fmt.Fprintf(&fields, "Age: %d\n", int(ageValue))
		}
		fields.WriteString("ETag: \"a\"\n")

		apparent := max(0, responseTime-date)
		corrected := ageValue + delay
		initial := max(apparent, corrected)

		got := judge(200, fieldsOf(fields.String()), NewRules(Rules{}, ""), fetched{began: at(responseTime - delay), now: at(responseTime)})
		if !got.kept {
			t.Fatalf("not kept:\n%s", fields.String())
		}
		for range 5 {
			resident := float64(pick(100)) + 0.5
			// Dates are cut to whole seconds, and the clock of the test does not stand on one: near the border both answers are right.
			current := initial + resident
			if slack := lifetime - current; slack > -1.5 && slack < 1.5 {
				continue
			}
			want := explicit && lifetime > current
			if is := got.isFresh(at(responseTime + resident)); is != want {
				t.Fatalf("fresh = %v after %v s, want %v (lifetime %v, initial age %v)\n%s", is, resident, want, lifetime, initial, fields.String())
			}
			if age := float64(got.age(at(responseTime+resident))) / float64(second); age < current-1.5 || age > current+1.5 {
				t.Fatalf("age %v, want %v\n%s", age, current, fields.String())
			}
		}
	}
}

// TestUsable is RFC 9111 sections 4.2.4 and 5.2.1: the answer is 10 s old and was fresh for 60 s.
func TestUsable(t *testing.T) {
	for _, c := range []struct {
		answer, request string
		age             float64
		want            use
		why             why
	}{
		{"max-age=60", "", 10, useFresh, 0},
		{"max-age=60", "no-cache", 10, useValidate, whyRequest},
		{"max-age=60", "max-age=0", 10, useValidate, whyRequest},
		{"max-age=60", "max-age=9", 10, useValidate, whyRequest},
		{"max-age=60", "max-age=11", 10, useFresh, 0},
		{"max-age=60", "min-fresh=49", 10, useFresh, 0},
		{"max-age=60", "min-fresh=51", 10, useValidate, whyRequest},
		{"max-age=60", "", 61, useValidate, whyStale},
		{"max-age=60", "max-stale", 1e6, useStale, 0},
		{"max-age=60", "max-stale=2", 61, useStale, 0},
		{"max-age=60", "max-stale=2", 63, useValidate, whyStale},
		{"max-age=60", "max-stale=100, max-age=5", 61, useStale, 0},
		{"max-age=60", "max-stale=100, max-age=5", 10, useValidate, whyRequest},
		{"max-age=60, must-revalidate", "max-stale", 61, useValidate, whyStale},
		{"max-age=60, proxy-revalidate", "max-stale", 61, useValidate, whyStale},
		{"s-maxage=60", "max-stale", 61, useValidate, whyStale},
		{"no-cache, max-age=60", "max-stale", 10, useValidate, whyStale},
		{"max-age=60, stale-while-revalidate=9", "", 61, useRefresh, 0},
		{"max-age=60, stale-while-revalidate=9", "no-cache", 61, useValidate, whyRequest},
		{"max-age=60, stale-while-revalidate=9", "min-fresh=1", 61, useValidate, whyStale},
		{"max-age=60, stale-while-revalidate=9", "", 70, useValidate, whyStale},
	} {
		r := NewRules(Rules{}, "")
		e := &Entry{terms: judge(200, fieldsOf("ETag: \"a\"\nCache-Control: "+c.answer), r, fetched{began: at(0), now: at(0)})}
		u := Use{rules: r, asks: requestControl(fieldsOf("Cache-Control: " + c.request))}
		got := u.usable(e, at(c.age))
		if got != c.want || got == useValidate && u.why != c.why {
			t.Errorf("%q asked with %q after %v s: %d because %s, want %d because %s", c.answer, c.request, c.age, got, whyNames[u.why], c.want, whyNames[c.why])
		}
	}
}
