package expr

import (
	"net/url"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

func TestCutParameter(t *testing.T) {
	for _, c := range []struct{ query, want string }{
		{"", "[:]"},
		{"a=1&b", "[a:1] [b:]"},
		{"a=1&&b=2=3&", "[a:1] [:] [b:2=3] [:]"},
		{"a;b=1", "[a;b:1]"},
		{"=x", "[:x]"},
	} {
		var got []string
		rest, more := []byte(c.query), true
		for more {
			var p Parameter
			p, rest, more = CutParameter(rest)
			got = append(got, "["+string(p.Name)+":"+string(p.Value)+"]")
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%q is cut to %s, want %s", c.query, s, c.want)
		}
	}
}

// Names and values are read as the standard library reads them, where that reads a query at all.
func FuzzFindParameter(f *testing.F) {
	for _, q := range []string{"a=1", "a=%41+b", "%61=x", "a", "&&a=1", "a=1&a=2", "b=%2", "a=%zz", "a;b=1", "=1"} {
		f.Add(q, "a")
	}
	f.Fuzz(func(t *testing.T, query, name string) {
		value, ok := FindParameter([]byte(query), name)
		got := string(AppendDecoded(nil, value))
		if !EqualDecoded(value, got) {
			t.Fatalf("EqualDecoded(%q, %q) is false", value, got)
		}
		if !EqualDecoded(message.AppendQueryValue(nil, []byte(name)), name) || string(AppendDecoded(nil, message.AppendQueryValue(nil, []byte(name)))) != name {
			t.Fatalf("%q does not survive encoding: %q", name, message.AppendQueryValue(nil, []byte(name)))
		}
		want, err := url.ParseQuery(query)
		if err != nil {
			return // the standard library refuses what it cannot decode
		}
		if ok != want.Has(name) || got != want.Get(name) {
			t.Fatalf("parameter %q of %q = %q, %v; net/url says %q, %v", name, query, got, ok, want.Get(name), want.Has(name))
		}
	})
}
