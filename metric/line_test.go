package metric

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestAppendString(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"", `""`},
		{"GET", `"GET"`},
		{"/a?b=c&d=<e>", `"/a?b=c&d=<e>"`},
		{`say "hi" \o/`, `"say \"hi\" \\o/"`},
		{"a\r\nb\tc", `"a\r\nb\tc"`},
		{"\x00\x1b[31m\x7f", `"\u0000\u001b[31m\u007f"`},
		{"é漢🙂", `"é漢🙂"`},
		{"\u0085\u009b31m\u2028\u2029", `"\u0085\u009b31m\u2028\u2029"`},
		{"\u202e\ufeff\u200b", `"\u202e\ufeff\u200b"`},
		{"\U000e0041\U0010ffff", `"\udb40\udc41\udbff\udfff"`},
		{"a\xffb\xc3", "\"a\uFFFDb\uFFFD\""},
		{"\xed\xa0\x80", "\"\uFFFD\uFFFD\uFFFD\""}, // a surrogate is not UTF-8
		{"\xc0\xaf", "\"\uFFFD\uFFFD\""},           // nor is an overlong slash
		{"\uFFFD", "\"\uFFFD\""},
		{"0123456\"", `"0123456\""`},
		{"01234567\"", `"01234567\""`},
		{"0123456789abcde\x80", "\"0123456789abcde\uFFFD\""},
	} {
		if got := string(AppendString([]byte("x"), test.in)); got != "x"+test.want {
			t.Errorf("AppendString(%q) = %s, want %s", test.in, got[1:], test.want)
		}
		if got := string(AppendBytes(nil, []byte(test.in))); got != test.want {
			t.Errorf("AppendBytes(%q) = %s, want %s", test.in, got, test.want)
		}
	}
}

// Every byte at every place within a word, so that the test of eight bytes at a time is proven.
func TestPlainPrefix(t *testing.T) {
	for b := range 256 {
		for length := range 20 {
			for at := range length {
				s := bytes.Repeat([]byte{'a'}, length)
				s[at] = byte(b)
				want := length
				if b < 0x20 || b >= 0x7f || b == '"' || b == '\\' {
					want = at
				}
				if got := plainPrefix(s); got != want {
					t.Fatalf("plainPrefix(%q) = %d, want %d", s, got, want)
				}
			}
		}
	}
}

func TestAppendDurationMs(t *testing.T) {
	for _, test := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0.000"}, {1, "0.000"}, {499, "0.000"}, {500, "0.001"}, {999_499, "0.999"}, {999_500, "1.000"}, {1_234_000, "1.234"},
		{12_345_678, "12.346"}, {time.Hour, "3600000.000"}, {-time.Second, "0.000"}, {math.MinInt64, "0.000"}, {math.MaxInt64, "9223372036854.776"},
	} {
		if got := string(AppendDurationMs(nil, test.d)); got != test.want {
			t.Errorf("AppendDurationMs(%d) = %s, want %s", test.d, got, test.want)
		}
	}
}

func TestLine(t *testing.T) {
	var l Line
	for _, test := range []struct {
		name string
		add  func()
		want string
	}{
		{"empty", func() {}, `{}`},
		{"one", func() { l.Int(NewKey("status"), 200) }, `{"status":200}`},
		{"all", func() {
			l.Time(NewKey("time"), 1772600767_089_999_999)
			l.String(NewKey(`odd "key"`), "a,b")
			l.Bytes(NewKey("path"), []byte("/x,\n"))
			l.Int(NewKey("bytes"), math.MinInt64)
			l.Bool(NewKey("tls"), true)
			l.Milliseconds(NewKey("ms"), 1500*time.Microsecond)
		}, `{"time":"2026-03-04T05:06:07.089Z","odd \"key\"":"a,b","path":"/x,\n","bytes":-9223372036854775808,"tls":true,"ms":1.500}`},
		// The comma within the last text is not the one to remove.
		{"comma", func() { l.String(NewKey("x"), ",") }, `{"x":","}`},
	} {
		l.Start()
		test.add()
		if got := string(l.End()); got != test.want+"\n" {
			t.Errorf("%s: %s want %s", test.name, got, test.want)
		}
	}
}

func TestLineDoesNotKeepHugeBuffers(t *testing.T) {
	var l Line
	l.Start()
	for range 10 {
		l.String(NewKey("k"), strings.Repeat("\x01", maxString))
	}
	if n := len(l.End()); n < 10*6*maxString {
		t.Fatalf("line of %d bytes", n)
	}
	l.Start()
	if cap(l.buf) > maxLineKept {
		t.Errorf("keeps %d bytes", cap(l.buf))
	}
}

func TestLineTime(t *testing.T) {
	var l Line
	key := NewKey("t")
	check := func(ns int64) {
		t.Helper()
		l.Start()
		l.Time(key, ns)
		want := time.Unix(0, ns).UTC().Format(`{"t":"2006-01-02T15:04:05.000Z"}` + "\n")
		if got := string(l.End()); got != want {
			t.Errorf("Time(%d): %s want %s", ns, got, want)
		}
	}
	for _, ns := range []int64{0, 1, -1, 999_999_999, 1e9, -1e9, -1e9 - 1, math.MaxInt64, math.MinInt64} {
		check(ns)
	}
	for ns := int64(1772600767_000_000_000); ns < 1772600771_000_000_000; ns += 123_456_789 {
		check(ns)
		check(ns - 3e9) // and back, as several exchanges that share a line may see it
	}
}

func TestLineCutsLongText(t *testing.T) {
	var l Line
	key := NewKey("k")
	for _, tail := range []string{"x", "é", "漢", "🙂", "\xff"} {
		for pad := maxString - 5; pad <= maxString+1; pad++ {
			v := strings.Repeat("a", pad) + strings.Repeat(tail, 8)
			l.Start()
			l.String(key, v)
			fromString := string(l.End())
			l.Start()
			l.Bytes(key, []byte(v))
			if got := string(l.End()); got != fromString {
				t.Fatalf("Bytes and String differ")
			}
			var got map[string]string
			if err := json.Unmarshal([]byte(fromString), &got); err != nil {
				t.Fatal(err)
			}
			text, cut := strings.CutSuffix(got["k"], "…")
			if !cut {
				t.Fatalf("no mark of the cut at the end of %q", got["k"][pad-10:])
			}
			if tail == "\xff" {
				text = strings.ReplaceAll(text, "\uFFFD", "\xff")
			}
			if !strings.HasPrefix(v, text) || len(text) > maxString || len(text) <= maxString-utf8.UTFMax {
				t.Errorf("%q after %d: cut to %d bytes", tail, pad, len(text))
			}
		}
	}
	l.Start()
	l.String(key, strings.Repeat("a", maxString))
	if strings.Contains(string(l.End()), "…") {
		t.Error("a text of just the bound was cut")
	}
}

func FuzzLine(f *testing.F) {
	for _, s := range []string{"", "plain", "a\nb", "\"}\n{\"injected\":\"", "\x00\x1b\x7f\x80\xff", "\u0085\u2028\u2029", "\U0010ffff", "\xed\xa0\x80"} {
		f.Add(s, s, int64(len(s)), true)
	}
	f.Fuzz(func(t *testing.T, name, value string, n int64, b bool) {
		var l Line
		l.Start()
		key := NewKey(name)
		l.String(key, value)
		l.Bytes(key, []byte(value))
		l.Int(key, n)
		l.Bool(key, b)
		l.Milliseconds(key, time.Duration(n))
		l.Time(key, n)
		line := l.End()
		body, ok := bytes.CutSuffix(line, newline)
		if !ok || bytes.IndexByte(body, '\n') >= 0 {
			t.Fatalf("not one line: %q", line)
		}
		for _, r := range string(body) {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q holds the unprintable %q", line, r)
			}
		}
		if !utf8.Valid(body) || !json.Valid(body) {
			t.Fatalf("no JSON: %q", line)
		}
		if len(value) > maxString {
			return
		}
		var got string
		if err := json.Unmarshal(AppendString(nil, value), &got); err != nil || got != string([]rune(value)) {
			t.Fatalf("%q came back as %q, %v", value, got, err)
		}
		if a, b := AppendString(nil, value), AppendBytes(nil, []byte(value)); !bytes.Equal(a, b) {
			t.Fatalf("AppendString %s, AppendBytes %s", a, b)
		}
	})
}
