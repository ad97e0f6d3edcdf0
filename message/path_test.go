package message

import (
	"bytes"
	"strings"
	"testing"
)

func TestAppendPath(t *testing.T) {
	for _, c := range []struct {
		name  string
		raw   string
		rules PathRules
		path  string // "" if nothing can be forwarded
		slash bool
		want  Reason
	}{
		{"root", "/", PathRules{}, "/", false, ReasonNone},
		{"plain", "/a/b.c/~d", PathRules{}, "/a/b.c/~d", false, ReasonNone},
		{"final slash", "/a/", PathRules{}, "/a/", false, ReasonNone},
		{"legal punctuation", "/a:@!$&'()*+,=b", PathRules{}, "/a:@!$&'()*+,=b", false, ReasonNone},
		{"what browsers leave", "/{a}|^`\"<>[]", PathRules{}, "/{a}|^`\"<>[]", false, ReasonNone},
		{"dot in a name", "/.well-known/..a/b../...", PathRules{}, "/.well-known/..a/b../...", false, ReasonNone},

		// 12.1
		{"unreserved decoded", "/%61%2D%5f%7E%41%30", PathRules{}, "/a-_~A0", false, ReasonNone},
		{"escaped dot in a name", "/a%2eb/%2ehidden", PathRules{}, "/a.b/.hidden", false, ReasonNone},
		{"upper case hex", "/%c3%a9%e2%82%ac", PathRules{}, "/%C3%A9%E2%82%AC", false, ReasonNone},
		{"reserved stays", "/%40%20%3f%23%21", PathRules{}, "/%40%20%3F%23%21", false, ReasonNone},
		{"escaped control", "/a%0d%0A", PathRules{}, "/a%0D%0A", false, ReasonNone},
		{"Latin-1", "/caf%e9", PathRules{}, "/caf%E9", false, ReasonNone},
		{"broken escape", "/a%", PathRules{}, "", false, PathInvalid},
		{"broken escape, one digit", "/a%4", PathRules{}, "", false, PathInvalid},
		{"broken escape, letters", "/%zz", PathRules{}, "", false, PathInvalid},
		{"broken escape, %u", "/%u002e%u002e/", PathRules{}, "", false, PathInvalid},
		{"broken escape at a slash", "/%2/e", PathRules{}, "", false, PathInvalid},
		{"NUL", "/a\x00", PathRules{}, "", false, PathInvalid},
		{"escaped NUL", "/a%00b", PathRules{}, "/a%00b", false, PathInvalid},
		{"control", "/a\tb", PathRules{}, "", false, PathInvalid},
		{"delete", "/a\x7f", PathRules{}, "", false, PathInvalid},
		{"line end", "/a\r\nb", PathRules{}, "", false, PathInvalid},
		{"space", "/a b", PathRules{}, "", false, PathInvalid},
		{"raw UTF-8", "/caf\xc3\xa9", PathRules{}, "", false, PathInvalid},
		{"fragment", "/a#b", PathRules{}, "", false, PathInvalid},
		{"question mark", "/a?b", PathRules{}, "", false, PathInvalid},
		{"empty", "", PathRules{}, "", false, PathInvalid},
		{"no slash", "a/b", PathRules{}, "", false, PathInvalid},
		{"asterisk", "*", PathRules{}, "", false, PathInvalid},
		{"overlong dot", "/%c0%ae%c0%ae/", PathRules{}, "/%C0%AE%C0%AE/", false, PathInvalid},
		{"overlong slash", "/a%C0%afb", PathRules{}, "/a%C0%AFb", false, PathInvalid},
		{"overlong without continuation", "/a%c0%2f", PathRules{}, "/a%C0%2F", true, PathInvalid},
		{"overlong backslash", "/%c1%9c", PathRules{}, "/%C1%9C", false, PathInvalid},
		{"overlong, 3 bytes", "/%e0%80%af", PathRules{}, "/%E0%80%AF", false, PathInvalid},
		{"overlong, 4 bytes", "/%f0%80%80%af", PathRules{}, "/%F0%80%80%AF", false, PathInvalid},
		{"overlong, 5 bytes", "/%f8%80%80%80%af", PathRules{}, "/%F8%80%80%80%AF", false, PathInvalid},
		{"overlong, 6 bytes", "/%fc%80%80%80%80%af", PathRules{}, "/%FC%80%80%80%80%AF", false, PathInvalid},

		// 12.2
		{"dot", "/a/./b", PathRules{}, "/a/b", false, ReasonNone},
		{"dot at the end", "/a/.", PathRules{}, "/a/", false, ReasonNone},
		{"dots", "/a/b/../c", PathRules{}, "/a/c", false, ReasonNone},
		{"dots at the end", "/a/b/..", PathRules{}, "/a/", false, ReasonNone},
		{"dots to the root", "/a/..", PathRules{}, "/", false, ReasonNone},
		{"dots above the root", "/../../a/../../b", PathRules{}, "/b", false, ReasonNone},
		{"security case 35", "/a/../b", PathRules{}, "/b", false, ReasonNone},
		{"escaped dot", "/%2e/a", PathRules{}, "/a", false, PathAmbiguous},
		{"escaped dots", "/x/%2e%2e/", PathRules{}, "/", false, PathAmbiguous},
		{"escaped dots, upper case", "/x/%2E%2E/a", PathRules{}, "/a", false, PathAmbiguous},
		{"half escaped dots", "/x/.%2e/a", PathRules{}, "/a", false, PathAmbiguous},
		{"half escaped dots 2", "/x/%2e./a", PathRules{}, "/a", false, PathAmbiguous},
		{"dots and an encoded slash", "/x/..%2fa", PathRules{}, "/x/..%2Fa", true, PathAmbiguous},
		{"dots and a trusted slash", "/x/..%2fa", PathRules{KeepEncodedSlash: true}, "/x/..%2Fa", false, PathAmbiguous},
		{"dots behind an encoded slash", "/x/a%2F..", PathRules{}, "/x/a%2F..", true, PathAmbiguous},
		{"dots among encoded slashes", "/x/a%2F%2e%2e%2Fb", PathRules{}, "/x/a%2F..%2Fb", true, PathAmbiguous},
		{"twice escaped dots", "/x/%252e%252E/a", PathRules{}, "/x/%252e%252E/a", false, PathAmbiguous},
		{"thrice escaped dots", "/x/%25252e./a", PathRules{}, "/x/%25252e./a", false, PathAmbiguous},
		{"escaped digits of an escape", "/x/%25%32%65/a", PathRules{}, "/x/%252e/a", false, PathAmbiguous},
		{"dots and a twice escaped slash", "/x/..%252fa", PathRules{}, "/x/..%252fa", false, PathAmbiguous},
		{"dots and parameters", "/x/..;a=b/c", PathRules{}, "/x/..;a=b/c", false, PathAmbiguous},
		{"dot and parameters", "/a/.;/b", PathRules{}, "/a/.;/b", false, PathAmbiguous},
		{"dots and nothing behind ;", "/..;/", PathRules{}, "/..;/", false, PathAmbiguous},
		{"escaped dots and parameters", "/x/%2e%2e;a", PathRules{}, "/x/..;a", false, PathAmbiguous},
		{"dots and an escaped ;", "/x/..%3ba/", PathRules{}, "/x/..%3Ba/", false, PathAmbiguous},
		{"dots and a backslash", `/x/..\a`, PathRules{}, `/x/..\a`, false, PathAmbiguous},
		{"dots and a kept backslash", `/x/..\a`, PathRules{KeepBackslash: true}, `/x/..\a`, false, PathAmbiguous},
		{"dots and an escaped kept backslash", `/x/..%5ca`, PathRules{KeepBackslash: true}, `/x/..%5Ca`, false, PathAmbiguous},
		{"dots and a twice escaped backslash", "/x/..%255ca", PathRules{}, "/x/..%255ca", false, PathAmbiguous},
		{"escaped percent", "/100%25/%2541", PathRules{}, "/100%25/%2541", false, ReasonNone},
		{"twice escaped slash", "/a%252Fb", PathRules{}, "/a%252Fb", false, ReasonNone},
		{"twice escaped dot in a name", "/a%252eb", PathRules{}, "/a%252eb", false, ReasonNone},

		// 12.3
		{"slashes", "/a//b///c", PathRules{}, "/a/b/c", false, ReasonNone},
		{"slashes first", "//host/a", PathRules{}, "/host/a", false, ReasonNone},
		{"slashes last", "/a//", PathRules{}, "/a/", false, ReasonNone},
		{"only slashes", "////", PathRules{}, "/", false, ReasonNone},
		{"slashes and dots", "/a/..//b", PathRules{}, "/b", false, ReasonNone},
		{"dots behind slashes", "/a//../b", PathRules{}, "/b", false, ReasonNone},
		{"slashes kept", "//a//b//", PathRules{Slashes: SlashesKeep}, "//a//b//", false, ReasonNone},
		{"slashes kept and dots", "/a//../b", PathRules{Slashes: SlashesKeep}, "/a/b", false, ReasonNone},
		{"slashes refused", "/a//b", PathRules{Slashes: SlashesRefuse}, "/a//b", false, PathAmbiguous},
		{"one slash is not refused", "/a/", PathRules{Slashes: SlashesRefuse}, "/a/", false, ReasonNone},

		// 12.4
		{"backslash", `/a\b`, PathRules{}, `/a\b`, false, PathAmbiguous},
		{"escaped backslash", "/a%5cb", PathRules{}, "/a%5Cb", false, PathAmbiguous},
		{"backslash kept", `/a\b%5c`, PathRules{KeepBackslash: true}, `/a\b%5C`, false, ReasonNone},
		{"twice escaped backslash", "/a%255cb", PathRules{}, "/a%255cb", false, ReasonNone},

		// 12.5
		{"encoded slash", "/a%2fb", PathRules{}, "/a%2Fb", true, ReasonNone},
		{"encoded slash trusted", "/a%2fb", PathRules{KeepEncodedSlash: true}, "/a%2Fb", false, ReasonNone},
		{"encoded slash resolved away", "/a%2fb/../c", PathRules{}, "/c", false, ReasonNone},
		{"encoded slash resolved away, one left", "/x%2Fy/a%2fb/../c", PathRules{}, "/x%2Fy/c", true, ReasonNone},

		// 12.6
		{"parameters", "/a;v=1/b;x;y", PathRules{}, "/a;v=1/b;x;y", false, ReasonNone},
		{"empty parameters", "/a;/b", PathRules{}, "/a;/b", false, ReasonNone},
		{"only parameters", "/a/;x/b", PathRules{}, "/a/;x/b", false, PathAmbiguous},
		{"only parameters at the root", "/;x", PathRules{}, "/;x", false, PathAmbiguous},
		{"escaped semicolon", "/%3bx", PathRules{}, "/%3Bx", false, ReasonNone},
		{"dots in a parameter", "/a;..", PathRules{}, "/a;..", false, ReasonNone},
		{"dots behind an encoded slash in a parameter", "/a;%2f../b", PathRules{}, "/a;%2F../b", true, PathAmbiguous},

		{"invalid weighs more", "/..;/%00", PathRules{}, "/..;/%00", false, PathInvalid},
		{"invalid weighs more, other order", "/%00/..;", PathRules{}, "/%00/..;", false, PathInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, slash, reason := AppendPath([]byte("x"), []byte(c.raw), c.rules)
			if reason != c.want {
				t.Fatalf("reason = %q, want %q (path %q)", reason, c.want, path)
			}
			if c.path == "" {
				if path != nil {
					t.Errorf("path = %q, want nil", path)
				}
				return
			}
			if got := string(path); got != "x"+c.path {
				t.Errorf("path = %q, want %q behind x", got, c.path)
			}
			if slash != c.slash {
				t.Errorf("encoded slash = %v, want %v", slash, c.slash)
			}
		})
	}
}

// TestPlainPath: what it calls plain is its own canonical reading under the strictest rules, and the usual paths are plain.
func TestPlainPath(t *testing.T) {
	for path, want := range map[string]bool{
		"/": true, "/a/b": true, "/a/": true, "/a.b/c": true, "/a:b@c": true,
		"": false, "a": false, "*": false, "//": false, "/a//b": false, "/.": false, "/a/..": false, "/.a": false, "/%41": false, "/a;b": false,
		`/\`: false, "/a b": false, "/a?": false, "/a#": false, "/\x80": false, "/\x00": false,
	} {
		if got := PlainPath([]byte(path)); got != want {
			t.Errorf("PlainPath(%q) = %v, want %v", path, got, want)
		}
	}
}

// readings decodes a segment in all the ways that other servers do, one layer after the other, and calls visit with each piece of a path that comes out.
func readings(segment string, visit func(piece string)) {
	for range len(segment) + 1 {
		for _, piece := range strings.FieldsFunc(segment, func(r rune) bool { return r == '/' || r == '\\' }) {
			piece, _, _ = strings.Cut(piece, ";")
			visit(piece)
		}
		next := string(AppendDecoded(nil, []byte(segment)))
		if next == segment {
			return
		}
		segment = next
	}
}

func FuzzAppendPath(f *testing.F) {
	for _, s := range []string{
		"/", "/a/b", "/a/../b", "/%2e%2e/", "/a//b", "/a/.;/b", "/..;/", "/a%2fb", "/a%5cb", `/a\b`, "/%00", "/a#b", "/a;p=1/b", "/%3fa", "/%c0%ae%c0%ae/",
		"/..%2fx", "/%252e%252e/", "/%25%32%65/", "/a%252Fb", "/%2541", "//x//..//y", "/%e0%80%af", "/./.", "/a/./", "/;", "/%2525252e",
	} {
		f.Add([]byte(s), uint8(0))
		f.Add([]byte(s), uint8(1|4))
		f.Add([]byte(s), uint8(2|8))
	}
	f.Fuzz(func(t *testing.T, raw []byte, bits uint8) {
		if len(raw) > 1<<12 {
			return // readings is quadratic
		}
		rules := PathRules{Slashes: SlashRule(bits & 3 % 3), KeepBackslash: bits&4 != 0, KeepEncodedSlash: bits&8 != 0}
		path, slash, reason := AppendPath(nil, raw, rules)
		if PlainPath(raw) && (reason != ReasonNone || !bytes.Equal(path, raw)) {
			t.Fatalf("plain path %q became %q (%s)", raw, path, reason)
		}
		if reason == PathInvalid && path == nil {
			return
		}
		if len(path) == 0 || path[0] != '/' {
			t.Fatalf("%q became %q", raw, path)
		}
		for _, c := range path {
			if c <= ' ' || c >= 0x7F || c == '#' || c == '?' {
				t.Fatalf("%q became %q, which holds %q", raw, path, c)
			}
		}
		if reason != ReasonNone {
			return
		}
		again, slashAgain, reason := AppendPath(nil, path, rules)
		if reason != ReasonNone || !bytes.Equal(again, path) || slashAgain != slash {
			t.Fatalf("%q became %q, and that became %q (%s, %v, %v)", raw, path, again, reason, slash, slashAgain)
		}
		if rules.Slashes != SlashesKeep && bytes.Contains(path, []byte("//")) {
			t.Fatalf("%q became %q", raw, path)
		}
		if !rules.KeepBackslash && (bytes.IndexByte(path, '\\') >= 0 || bytes.Contains(path, []byte("%5C"))) {
			t.Fatalf("%q became %q", raw, path)
		}
		if has := bytes.Contains(path, []byte("%2F")); slash != (has && !rules.KeepEncodedSlash) {
			t.Fatalf("%q became %q, encoded slash %v", raw, path, slash)
		}
		for _, segment := range strings.Split(string(path[1:]), "/") {
			if strings.HasPrefix(segment, ";") {
				t.Fatalf("%q became %q with a segment of parameters only", raw, path)
			}
			readings(segment, func(piece string) {
				if piece == "." || piece == ".." {
					t.Fatalf("%q became %q, which hides a dot segment", raw, path)
				}
			})
		}
		match := AppendMatchPath(nil, path, false)
		if bytes.IndexByte(match, ';') >= 0 {
			t.Fatalf("match form %q of %q holds parameters", match, path)
		}
		if second := AppendMatchPath(nil, match, false); !bytes.Equal(second, match) {
			t.Fatalf("match form %q of %q became %q", match, path, second)
		}
		if n, m := bytes.Count(path, []byte("/")), bytes.Count(match, []byte("/")); n != m {
			t.Fatalf("match form %q of %q has %d slashes, not %d", match, path, m, n)
		}
	})
}

func TestCheckQuery(t *testing.T) {
	for query, want := range map[string]Reason{
		"": ReasonNone, "a=b&c=d?e/f": ReasonNone, "a=%zz%": ReasonNone, `a=\;"{}|`: ReasonNone, "a=%00": ReasonNone,
		"a b": PathInvalid, "a#b": PathInvalid, "a\x00": PathInvalid, "a\nb": PathInvalid, "\xc3\xa9": PathInvalid, "\x7f": PathInvalid,
	} {
		if got := CheckQuery([]byte(query)); got != want {
			t.Errorf("CheckQuery(%q) = %q, want %q", query, got, want)
		}
	}
}

func TestAppendMatchPath(t *testing.T) {
	for _, c := range []struct{ path, plain, slash string }{
		{"/a/b", "/a/b", "/a/b"},
		{"/a;v=1/b;x", "/a/b", "/a/b"},
		{"/%40me/%7Bid%7D", "/@me/{id}", "/@me/{id}"},
		{"/a%20%C3%A9%0A", "/a%20%C3%A9%0A", "/a%20%C3%A9%0A"},
		{"/a%2Fb", "/a%2Fb", "/a/b"},
		{"/a/%2Fb", "/a/%2Fb", "/a/b"},
		{"/a%2F/b%2F", "/a%2F/b%2F", "/a/b/"},
		{"/a%252Fb", "/a%252Fb", "/a%252Fb"},
		{"/a%3Bb%25", "/a%3Bb%25", "/a%3Bb%25"},
		{"/a;x%2Fb", "/a", "/a/b"},
		{`/a\b%5C`, `/a\b\`, `/a\b\`},
		{"//a", "//a", "/a"},
	} {
		if got := string(AppendMatchPath(nil, []byte(c.path), false)); got != c.plain {
			t.Errorf("match form of %q = %q, want %q", c.path, got, c.plain)
		}
		if got := string(AppendMatchPath([]byte("/"), []byte(c.path), true)); got != "/"+c.slash {
			t.Errorf("match form of %q with slashes = %q, want %q behind a slash", c.path, got, c.slash)
		}
	}
}

func TestAppendPathValue(t *testing.T) {
	for _, c := range []struct {
		value, segment string // "" if refused
		rest           string // "-" if refused
	}{
		{"7", "7", "7"},
		{"a-Z_0.9~", "a-Z_0.9~", "a-Z_0.9~"},
		{"a/b", "a%2Fb", "a/b"},
		{"a%2Fb", "a%252Fb", "a%252Fb"},
		{"a b?c#d&e=f+g;h:i@j", "a%20b%3Fc%23d%26e%3Df%2Bg%3Bh%3Ai%40j", "a%20b%3Fc%23d%26e%3Df%2Bg%3Bh%3Ai%40j"},
		{"é", "%C3%A9", "%C3%A9"},
		{"\r\n", "%0D%0A", "%0D%0A"},
		{`DOMAIN\user`, "DOMAIN%5Cuser", "DOMAIN%5Cuser"},
		{"...", "...", "..."},
		{"a..", "a..", "a.."},
		{"%", "%25", "%25"},
		{"", "", ""},
		{".", "", "-"},
		{"..", "", "-"},
		{"%2e", "", "-"},
		{".%2E", "", "-"},
		{"%252e%252e", "", "-"},
		{"../admin", "", "-"},
		{"a/../b", "", "-"},
		{"a/./b", "", "-"},
		{`..\admin`, "", "-"},
		{"..%2fadmin", "", "-"},
		{"..;x", "", "-"},
		{"a\x00", "", "-"},
		{"\xc0\xae", "", "-"},
		{"\xe0\x80\xaf", "", "-"},
	} {
		got, reason := AppendPathValue([]byte("/x"), []byte(c.value))
		if want := "/x" + c.segment; string(got) != want || (reason == PathValueInvalid) != (c.segment == "") {
			t.Errorf("value %q = %q (%s), want %q", c.value, got, reason, want)
		}
		got, reason = AppendPathRest([]byte("/x/"), []byte(c.value))
		if want := "/x/" + strings.TrimPrefix(c.rest, "-"); string(got) != want || (reason == PathValueInvalid) != (c.rest == "-") {
			t.Errorf("rest %q = %q (%s), want %q", c.value, got, reason, want)
		}
	}
	if got := string(AppendQueryValue([]byte("?a="), []byte("b&c=d e%+/."))); got != "?a=b%26c%3Dd%20e%25%2B%2F." {
		t.Errorf("query value = %q", got)
	}
}

func FuzzAppendPathValue(f *testing.F) {
	for _, s := range []string{"7", "a/b", "a%2Fb", "..", "%2e%2e", "..;x", "é", "", "\x00", "\xc0\xae", "a/../b", "%%32e", ";x", `\`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		loose := PathRules{KeepBackslash: true, Slashes: SlashesKeep}
		if segment, reason := AppendPathValue([]byte("/"), value); reason == ReasonNone {
			if got := AppendDecoded(nil, segment[1:]); !bytes.Equal(got, value) {
				t.Fatalf("%q was encoded as %q, and decoded as %q", value, segment, got)
			}
			if bytes.IndexByte(segment[1:], '/') >= 0 {
				t.Fatalf("%q was encoded as %q", value, segment)
			}
			if path, _, reason := AppendPath(nil, segment, loose); reason != ReasonNone || !bytes.Equal(path, segment) {
				t.Fatalf("%q was encoded as %q, which is read as %q (%s)", value, segment, path, reason)
			}
		}
		if rest, reason := AppendPathRest([]byte("/x/"), value); reason == ReasonNone {
			if got := AppendDecoded(nil, rest[3:]); !bytes.Equal(got, value) {
				t.Fatalf("%q was encoded as %q, and decoded as %q", value, rest, got)
			}
			if path, _, reason := AppendPath(nil, rest, loose); reason != ReasonNone || !bytes.Equal(path, rest) {
				t.Fatalf("rest %q was encoded as %q, which is read as %q (%s)", value, rest, path, reason)
			}
		}
		if got := AppendDecoded(nil, AppendQueryValue(nil, value)); !bytes.Equal(got, value) {
			t.Fatalf("%q became %q through a query", value, got)
		}
	})
}

// TestHidesDotsIsLinear: a path that can be decoded 200,000 times over is read in one pass. One pass per layer would take minutes.
func TestHidesDotsIsLinear(t *testing.T) {
	raw := []byte("/%25" + strings.Repeat("25", 200_000) + "2e")
	path, _, reason := AppendPath(nil, raw, PathRules{})
	if reason != PathAmbiguous || !bytes.Equal(path, raw) {
		t.Errorf("reason = %q, %d bytes", reason, len(path))
	}
}

func BenchmarkAppendPath(b *testing.B) {
	for _, c := range []struct{ name, raw string }{
		{"short", "/accounts/7"},
		{"plain100", "/" + strings.Repeat("accounts/", 11)},
		{"plain1000", "/" + strings.Repeat("accounts/", 111)},
		{"escapes100", "/" + strings.Repeat("acc%20unts/", 9)},
		{"dots100", "/" + strings.Repeat("a/../.b.c/", 10)},
	} {
		b.Run(c.name, func(b *testing.B) {
			raw, dst := []byte(c.raw), make([]byte, 0, 2048)
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				path, _, _ := AppendPath(dst, raw, PathRules{})
				dst = path[:0]
			}
		})
	}
}
