package cache

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

func TestURI(t *testing.T) {
	for line, want := range map[string]string{
		"GET http://bank.example/a":          "http://bank.example/a",
		"GET http://bank.example:80/a":       "http://bank.example/a",
		"GET http://bank.example:443/a":      "http://bank.example:443/a",
		"GET https://bank.example:443/a?b=c": "https://bank.example/a?b=c",
		"GET https://bank.example:8443/a?":   "https://bank.example:8443/a?",
	} {
		x := request(line, "")
		if got := string(AppendURI(nil, &x.Request)); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}

// TestKeysDiffer is case 63 of the security list: everything that selects an answer is in its key, and no part can pass for another.
func TestKeysDiffer(t *testing.T) {
	s := NewStore(1 << 20)
	one, two := s.NewNamespace(nil), s.NewNamespace(nil)
	seen := make(map[string]string)
	add := func(what, line string, ns *Namespace, version string, extra []byte) {
		t.Helper()
		x := request(line, "")
		key, uri := appendKey(nil, &x.Request, ns, version, extra)
		if other, ok := seen[string(key)]; ok {
			t.Errorf("%s has the key of %s", what, other)
		}
		seen[string(key)] = what
		if got := versionOf(string(key), uri); got != version {
			t.Errorf("%s: version %q, want %q", what, got, version)
		}
	}
	add("plain", "GET http://a.example/x", one, "", nil)
	add("scheme", "GET https://a.example/x", one, "", nil)
	add("host", "GET http://b.example/x", one, "", nil)
	add("port", "GET http://a.example:81/x", one, "", nil)
	add("path", "GET http://a.example/X", one, "", nil)
	add("query", "GET http://a.example/x?y", one, "", nil)
	add("empty query", "GET http://a.example/x?", one, "", nil)
	add("namespace", "GET http://a.example/x", two, "", nil)
	add("version", "GET http://a.example/x", one, "v1", nil)
	add("long version", "GET http://a.example/x", one, strings.Repeat("v", 300), nil)
	add("extra", "GET http://a.example/x", one, "", []byte("v1"))
	for _, values := range [][]string{{""}, {"", ""}, {"ab", "c"}, {"a", "bc"}, {"abc"}, {"abc", ""}, {"", "abc"}, {"\x01\x00\x00\x00a"}} {
		add(strings.Join(values, ","), "GET http://a.example/x", one, "", extraOf(values...))
	}
}

// TestResolve is RFC 3986 section 5, within one host.
func TestResolve(t *testing.T) {
	const base = "http://bank.example:8080/a/b?q=1"
	for ref, want := range map[string]string{
		"":                                  base,
		"#x":                                base,
		"?z":                                "http://bank.example:8080/a/b?z",
		"c":                                 "http://bank.example:8080/a/c",
		"c?d#e":                             "http://bank.example:8080/a/c?d",
		"./c/../d":                          "http://bank.example:8080/a/d",
		"../c":                              "http://bank.example:8080/c",
		"/c":                                "http://bank.example:8080/c",
		"/%7Ec//d":                          "http://bank.example:8080/~c/d",
		"//bank.example:8080/c":             "http://bank.example:8080/c",
		"//BANK.example:8080":               "http://bank.example:8080/",
		"http://bank.example:8080/c":        "http://bank.example:8080/c",
		"HTTPS://bank.example:8080/c?x":     "http://bank.example:8080/c?x",
		"http://bank.example:8080?x":        "http://bank.example:8080/?x",
		"http://bank.example/c":             "",
		"http://other.example:8080/c":       "",
		"//other.example/c":                 "",
		"http://bank.example:8080@evil/c":   "",
		"ftp://bank.example:8080/c":         "",
		"urn:x":                             "",
		"http:c":                            "",
		"/a b":                              "",
		"/a%zz":                             "",
		"http://bank.example:8080.evil.x/c": "",
	} {
		if got := string(resolve([]byte(base), []byte(ref))); got != want {
			t.Errorf("%q: %q, want %q", ref, got, want)
		}
	}
	if got := string(resolve([]byte("https://h/a"), []byte("http://h:80/b"))); got != "https://h/b" {
		t.Errorf("another scheme, each with its own port: %q", got)
	}
}

func TestParseURL(t *testing.T) {
	for _, c := range []struct {
		text   string
		prefix bool
		want   string
	}{
		{"https://Bank.Example", true, "https://bank.example/"},
		{"https://bank.example:443/a", true, "https://bank.example/a"},
		{"https://bank.example/a?x=", true, "https://bank.example/a?x="},
		{"https://bank.example/a/../b", false, "https://bank.example/b"},
		{"https://bank.example?x", false, "https://bank.example/?x"},
		{"https://bank.example:1/", false, "https://bank.example:1/"},
		{"/a", false, ""},
		{"bank.example/a", false, ""},
		{"ftp://bank.example/a", false, ""},
		{"https://", true, ""},
		{"https://a,b/", false, ""},
	} {
		got, err := parseURL(c.text, c.prefix)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q: %q, %v; want %q", c.text, got, err, c.want)
		}
	}
}

// FuzzResolve: a reference never leads to another host, and what it leads to is a URI in the store's own form.
func FuzzResolve(f *testing.F) {
	for _, seed := range []string{"/a", "//h/b", "http://h:80/c?d", "../..//e", "?", "%2e%2e/x", "h:1", "//h:8/"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, ref []byte) {
		got := resolve([]byte("http://h/a/b?c"), ref)
		if got == nil {
			return
		}
		scheme, authority, path := splitURI(got)
		if scheme != "http" || string(authority) != "h" || len(path) == 0 {
			t.Fatalf("%q leads to %q", ref, got)
		}
		again, _, reason := message.AppendPath(nil, path, message.PathRules{})
		if reason == message.ReasonNone && !bytes.Equal(again, path) {
			t.Fatalf("%q leads to %q, whose path is %q", ref, got, again)
		}
	})
}
