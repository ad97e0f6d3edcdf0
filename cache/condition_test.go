package cache

import (
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// TestConditions is RFC 9110 section 13.2.2 as far as a cache evaluates it.
func TestConditions(t *testing.T) {
	const tag, weak = `ETag: "abc"` + "\n", `ETag: W/"abc"` + "\n"
	old := dated("Last-Modified", -3000)
	for _, c := range []struct {
		stored, request string
		want            bool
	}{
		{tag, `If-None-Match: "abc"`, true},
		{tag, `If-None-Match: W/"abc"`, true},
		{weak, `If-None-Match: "abc"`, true},
		{weak, `If-None-Match: W/"abc"`, true},
		{tag, `If-None-Match: "x", "abc", "y"`, true},
		{tag, `If-None-Match: "x,", "abc"`, true},
		{tag, "If-None-Match: \"x\"\nIf-None-Match: \"abc\"", true},
		{tag, `If-None-Match: *`, true},
		{"", `If-None-Match: *`, true},
		{tag, `If-None-Match: "ab"`, false},
		{tag, `If-None-Match: "abc`, false},
		{tag, `If-None-Match: abc`, false},
		{"ETag: abc\n", `If-None-Match: abc`, true},
		{"", `If-None-Match: ""`, false},
		{tag, `If-None-Match:`, false},
		{old, dated("If-Modified-Since", -3000), true},
		{old, dated("If-Modified-Since", -2000), true},
		{old, dated("If-Modified-Since", -4000), false},
		{old, "If-Modified-Since: yesterday", false},
		{dated("Date", 0), dated("If-Modified-Since", 1), true},
		{dated("Date", 0), dated("If-Modified-Since", -1), false},
		{"", dated("If-Modified-Since", 0), false},
		{tag + old, `If-None-Match: "x"` + "\n" + dated("If-Modified-Since", 0), false},
		{tag + old, `If-None-Match: "abc"` + "\n" + dated("If-Modified-Since", -9000), true},
	} {
		q := fieldsOf(c.request)
		if got := conditional(q) && unmodified(q, fieldsOf(c.stored), message.WallTime(at(0)).Unix()); got != c.want {
			t.Errorf("stored %q, asked %q: %v, want %v", c.stored, c.request, got, c.want)
		}
	}
}

func TestAddConditions(t *testing.T) {
	for _, c := range []struct {
		stored   string
		tag      string
		modified string
		ok       bool
	}{
		{"", "", "", false},
		{`ETag: W/"a"`, `W/"a"`, "", true},
		{"ETag: \"a\"\nETag: \"b\"", "", "", false},
		{"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", "", "Sun, 06 Nov 1994 08:49:37 GMT", true},
	} {
		h := fieldsOf("If-None-Match: \"client\"\nIf-Modified-Since: x\nRange: bytes=0-1\nIf-Range: \"client\"\nAccept: a/b")
		dropConditions(h)
		ok := addConditions(h, fieldsOf(c.stored))
		if ok != c.ok || string(h.Get(message.IfNoneMatch)) != c.tag || string(h.Get(message.IfModifiedSince)) != c.modified {
			t.Errorf("%q: %q, %q, %v", c.stored, h.Get(message.IfNoneMatch), h.Get(message.IfModifiedSince), ok)
		}
		if h.Has(message.Range) || h.Has(message.IfRange) || !h.Has(message.Accept) {
			t.Errorf("%q: the client's own conditions are still there, or what is none is gone", c.stored)
		}
	}
}

// FuzzIfNoneMatch: a tag that is put into a list of others is found there, and each tag that is found stands in the list.
func FuzzIfNoneMatch(f *testing.F) {
	f.Add([]byte(`"a", W/"b"`))
	f.Add([]byte(`"a,`))
	f.Add([]byte(`,,W/, "`))
	f.Fuzz(func(t *testing.T, list []byte) {
		rest := list
		total := 0
		for tag, r, ok := nextTag(rest); ok; tag, r, ok = nextTag(r) {
			total += len(tag)
			if len(r) >= len(rest) {
				t.Fatalf("%q does not get shorter", rest)
			}
			rest = r
		}
		if total > len(list) {
			t.Fatalf("%d bytes of tags in %d", total, len(list))
		}
		if !message.ValidValue(list) {
			return
		}
		h := new(message.Header)
		h.Add(message.IfNoneMatch.Name(), append([]byte(`"mine", `), list...))
		if !matchesAny(h, []byte(`W/"mine"`)) {
			t.Fatalf("the first of %q is lost", list)
		}
	})
}
