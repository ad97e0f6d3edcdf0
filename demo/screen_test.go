package demo

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// env returns a lookup of variables.
func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestScreenIsPlainWhereItCannotBeRedrawn(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	if s := newScreen(new(bytes.Buffer), env("TERM", "xterm")); s.file != nil {
		t.Error("a buffer is taken for a terminal")
	}
	if s := newScreen(null, env("TERM", "xterm")); s.file != nil {
		t.Errorf("%s is taken for a terminal", os.DevNull)
	}
}

func TestPlainScreen(t *testing.T) {
	var b bytes.Buffer
	s := newScreen(&b, env())
	f := sample()
	for _, err := range []error{s.begin(f), s.show(f), s.show(f), s.end(f)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if want := greeting(f) + plainLine(f) + plainLine(f) + "\n" + summary(f); b.String() != want {
		t.Errorf("wrote\n%s\nwant\n%s", b.String(), want)
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Error("an escape sequence in plain lines")
	}
}

func TestPicture(t *testing.T) {
	for _, colour := range []bool{false, true} {
		p := picture(sample(), 80, 24, colour)
		if !strings.HasPrefix(p, home+clearLine) || !strings.HasSuffix(p, clearBelow) {
			t.Errorf("the picture begins with %q and ends with %q", p[:10], p[len(p)-10:])
		}
		if n := strings.Count(p, "\r\n"); n > 23 {
			t.Errorf("%d line ends scroll a screen of 24 rows", n)
		}
		if strings.Contains(p, escapes[bad]) != colour {
			t.Errorf("colours: %t, want %t", !colour, colour)
		}
		if strings.Count(p, resetStyle) != strings.Count(p, "m")-strings.Count(stripped(p), "m")-strings.Count(p, resetStyle) {
			t.Error("a style is not ended")
		}
	}
}

// stripped returns a text without the sequences of the styles.
func stripped(text string) string {
	for _, e := range append(escapes[1:], resetStyle) {
		text = strings.ReplaceAll(text, e, "")
	}
	return text
}
