package cache

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

func TestResponseControl(t *testing.T) {
	none := noControl()
	with := func(f func(c *control)) control {
		c := none
		f(&c)
		return c
	}
	for _, c := range []struct {
		name, fields string
		want         control
	}{
		{"nothing", "", none},
		{"max-age", "Cache-Control: max-age=60", with(func(c *control) { c.maxAge = 60 })},
		{"any case", "Cache-Control: MaX-aGe=60, No-StOrE", with(func(c *control) { c.maxAge, c.noStore = 60, true })},
		{"quoted", `Cache-Control: max-age="60"`, with(func(c *control) { c.maxAge = 60 })},
		{"single quotes are none", `Cache-Control: max-age='60'`, with(func(c *control) { c.maxAge = 0 })},
		{"leading zeros", "Cache-Control: max-age=0060", with(func(c *control) { c.maxAge = 60 })},
		{"the first of two", "Cache-Control: max-age=60, max-age=5", with(func(c *control) { c.maxAge = 60 })},
		{"the first of two lines", "Cache-Control: s-maxage=1\nCache-Control: s-maxage=9", with(func(c *control) { c.sMaxAge = 1 })},
		{"beyond 2^31", "Cache-Control: max-age=99999999999999999999999", with(func(c *control) { c.maxAge = maxDelta })},
		{"negative", "Cache-Control: max-age=-60", with(func(c *control) { c.maxAge = 0 })},
		{"fraction", "Cache-Control: max-age=60.5", with(func(c *control) { c.maxAge = 0 })},
		{"no argument", "Cache-Control: max-age", with(func(c *control) { c.maxAge = 0 })},
		{"space before =", "Cache-Control: max-age =60", with(func(c *control) { c.maxAge = 0 })},
		{"space after =", "Cache-Control: max-age= 60", with(func(c *control) { c.maxAge = 0 })},
		{"in a quoted string", `Cache-Control: x="max-age=9, no-store", max-age=1`, with(func(c *control) { c.maxAge = 1 })},
		{"quote with an escape", `Cache-Control: x="a\", no-store", public`, with(func(c *control) { c.public = true })},
		{"quote that never ends", `Cache-Control: max-age=60, x="no-store`, with(func(c *control) { c.maxAge = 60 })},
		{"empty elements", "Cache-Control: ,, ,max-age=60,", with(func(c *control) { c.maxAge = 60 })},
		{"what restricts holds though broken", "Cache-Control: no-store ;x, private y, must-revalidate z", with(func(c *control) {
			c.noStore, c.private, c.mustRevalidate = true, true, true
		})},
		{"what permits does not", "Cache-Control: public ;x, stale-if-error=5 s", with(func(*control) {})},
		{"private with fields", `Cache-Control: private="x-a"`, with(func(c *control) { c.private = true })},
		{"no-cache with fields", `Cache-Control: no-cache="x-a, x-b", max-age=5`, with(func(c *control) { c.fields, c.maxAge = []byte("x-a, x-b"), 5 })},
		{"no-cache without", "Cache-Control: no-cache", with(func(c *control) { c.noCache = true })},
		{"no-cache of nothing", `Cache-Control: no-cache=""`, with(func(c *control) { c.noCache = true })},
		{"stale", "Cache-Control: stale-while-revalidate=30, stale-if-error=600", with(func(c *control) { c.whileRevalidate, c.ifError = 30, 600 })},
		{"the rest", "Cache-Control: proxy-revalidate, must-understand, immutable", with(func(c *control) { c.proxyRevalidate, c.mustUnderstand = true, true })},
	} {
		got, _ := responseControl(fieldsOf(c.fields), nil)
		if !bytes.Equal(got.fields, c.want.fields) {
			t.Errorf("%s: fields %q, want %q", c.name, got.fields, c.want.fields)
		}
		got.fields, c.want.fields = nil, nil
		if !equalControl(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// equalControl compares all but the fields.
func equalControl(a, b control) bool {
	return a.noStore == b.noStore && a.noCache == b.noCache && a.private == b.private && a.public == b.public && a.mustRevalidate == b.mustRevalidate &&
		a.proxyRevalidate == b.proxyRevalidate && a.mustUnderstand == b.mustUnderstand && a.maxAge == b.maxAge && a.sMaxAge == b.sMaxAge &&
		a.whileRevalidate == b.whileRevalidate && a.ifError == b.ifError
}

// TestTargeted is RFC 9213 section 2.2.
func TestTargeted(t *testing.T) {
	names := []message.Name{message.NameOf("CDN-Cache-Control"), message.NameOf("Surrogate-Control")}
	for _, c := range []struct {
		fields string
		maxAge int64
		by     bool
	}{
		{"CDN-Cache-Control: max-age=9\nCache-Control: max-age=1", 9, true},
		{"Surrogate-Control: max-age=8\nCDN-Cache-Control: max-age=9", 9, true},
		{"Surrogate-Control: max-age=8\nCache-Control: no-store", 8, true},
		{"CDN-Cache-Control: max-age=9;x\nCache-Control: max-age=1", 1, false}, // nobody has said what the parameter means
		{"CDN-Cache-Control: max-age=\nSurrogate-Control: max-age=8", 8, true},
		{"CDN-Cache-Control:\nCache-Control: max-age=1", 1, false},
		{"Cache-Control: max-age=1", 1, false},
	} {
		got, by := responseControl(fieldsOf(c.fields), names)
		if got.maxAge != c.maxAge || by != c.by {
			t.Errorf("%q: max-age %d, targeted %v; want %d, %v", c.fields, got.maxAge, by, c.maxAge, c.by)
		}
	}
}

func TestRequestControl(t *testing.T) {
	for _, c := range []struct {
		fields string
		want   requested
	}{
		{"", noRequest()},
		{"Pragma: no-cache", noRequest()},
		{"Cache-Control: no-cache", requested{noCache: true, maxAge: -1, maxStale: -1, minFresh: -1}},
		{"Cache-Control: no-store, only-if-cached", requested{noStore: true, onlyIfCached: true, maxAge: -1, maxStale: -1, minFresh: -1}},
		{"Cache-Control: max-age=0, min-fresh=5", requested{maxAge: 0, maxStale: -1, minFresh: 5}},
		{"Cache-Control: max-stale", requested{maxAge: -1, maxStale: maxDelta, minFresh: -1}},
		{"Cache-Control: max-stale=9", requested{maxAge: -1, maxStale: 9, minFresh: -1}},
		{"Cache-Control: max-stale=x, max-age=y", requested{maxAge: 0, maxStale: -1, minFresh: -1}},
	} {
		if got := requestControl(fieldsOf(c.fields)); got != c.want {
			t.Errorf("%q: %+v, want %+v", c.fields, got, c.want)
		}
	}
}

// FuzzCacheControl: every directive that stands plainly in a list is found wherever it stands, and nothing that is read is longer than what was written.
func FuzzCacheControl(f *testing.F) {
	for _, seed := range []string{"max-age=1", `a="b, c", no-store`, ` , x=, ="`, `max-age="1`, `a"b"c`, "no-cache=\"x\\\"", "private ; a=1"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		d := directives{value}
		total := 0
		for v, ok := d.next(); ok; v, ok = d.next() {
			if !message.ValidToken(v.name) {
				t.Fatalf("name %q", v.name)
			}
			total += len(v.name) + len(v.argument)
		}
		if total > len(value) {
			t.Fatalf("%d bytes of directives in %d", total, len(value))
		}
		if strings.Count(string(value), `"`) > 0 {
			return
		}
		d = directives{append(slices.Clone(value), ",no-store"...)}
		found := false
		for v, ok := d.next(); ok; v, ok = d.next() {
			found = found || string(v.name) == "no-store"
		}
		if !found {
			t.Fatalf("no-store behind %q is lost", value)
		}
	})
}
