package identity

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// A key set in a file is taken over within a second of its change, and at once when a token needs it; one that is broken changes nothing.
func TestKeyFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, f := newES256("e"), newES256("f")
		path := tempFile(t, setFrom(e))
		var out lines
		k, err := OpenKeys(KeysOptions{File: path, Report: out.add})
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		v := newVerifier(t, bankOptions(k))
		ofE, ofF := e.token(claimsText(nil)), f.token(claimsText(nil))
		expect(t, v, ofE, at, message.ReasonNone)
		expect(t, v, ofF, at, message.KeyUnknown)
		if last := k.Status().Last; last.IsZero() || k.Status().Failures != 0 {
			t.Errorf("%+v", k.Status())
		}

		pass(fileMinInterval)
		writeFile(t, path, setFrom(e, f))
		expect(t, v, ofF, at, message.ReasonNone) // looked at once, for the token
		writeFile(t, path, setFrom(f))
		pass(time.Second)
		expect(t, v, ofE, at, message.KeyUnknown)

		for _, broken := range []string{"{", `{"keys":[{"kty":"RSA"}]}`, ""} {
			writeFile(t, path, broken)
			pass(time.Second)
			expect(t, v, ofF, at, message.ReasonNone)
			if k.Degraded() != KeysStale {
				t.Errorf("%q: degraded %q", broken, k.Degraded())
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		pass(10 * time.Second)
		expect(t, v, ofF, at, message.ReasonNone)
		if s := k.Status(); !strings.Contains(s.LastError, "no such file") || k.Degraded() != KeysStale || s.Keys != 1 {
			t.Errorf("%+v", s)
		}
		writeFile(t, path, setFrom(e))
		pass(time.Second)
		expect(t, v, ofE, at, message.ReasonNone)
		if k.Degraded() != "" {
			t.Errorf("degraded %q", k.Degraded())
		}
		all := out.all()
		if len(all) != 2 || !strings.Contains(all[0], "stay in use") || !strings.Contains(all[1], "got again") {
			t.Errorf("reports %q", all)
		}
	})
}

// A file that was broken and becomes what it was is right again.
func TestKeyFileRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		document := setFrom(newES256("e"))
		path := tempFile(t, document)
		k, err := OpenKeys(KeysOptions{File: path})
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		for _, content := range []string{"x", document} {
			writeFile(t, path, content)
			pass(3 * time.Second)
			if got := k.Degraded() == ""; got != (content == document) {
				t.Errorf("%.10s: degraded %q", content, k.Degraded())
			}
		}
	})
}

// A change is seen even where neither size nor time of the file tell of it, as long as the file is young.
func TestFileWithinOneTick(t *testing.T) {
	path := tempFile(t, "one")
	f := &file{path: path, most: 10}
	load := func() (string, bool) {
		t.Helper()
		content, changed, err := f.load(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return string(content), changed
	}
	if content, changed := load(); content != "one" || !changed {
		t.Errorf("%q %v", content, changed)
	}
	if _, changed := load(); changed {
		t.Error("changed without a change")
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if content, changed := load(); content != "two" || !changed {
		t.Errorf("%q %v", content, changed)
	}
	if err := os.WriteFile(path, []byte("much too long"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.load(context.Background()); err == nil || !strings.Contains(err.Error(), "larger than 10 bytes") {
		t.Error(err)
	}
}

// What is wrong is told at the second look that finds it, once, and so is that it is right again.
func TestWatchReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lines
		var applied []string
		apply := func(content []byte) error {
			if strings.HasPrefix(string(content), "bad") {
				return errors.New("it is " + string(content))
			}
			applied = append(applied, string(content))
			return nil
		}
		path := tempFile(t, "one")
		w, err := openWatch(path, 100, 0, out.add, apply)
		if err != nil {
			t.Fatal(err)
		}
		defer w.close()
		writeFile(t, path, "bad 1")
		pass(time.Second)
		if len(out.all()) != 0 || !w.degraded() {
			t.Errorf("reports %q, degraded %v", out.all(), w.degraded())
		}
		pass(10 * time.Second)
		writeFile(t, path, "bad 2")
		pass(10 * time.Second)
		writeFile(t, path, "two")
		pass(10 * time.Second)
		writeFile(t, path, "bad 3") // for one look only
		pass(time.Second)
		writeFile(t, path, "three")
		pass(10 * time.Second)
		all := out.all()
		if len(all) != 3 || !strings.Contains(all[0], "it is bad 1; what was read before stays in use") || !strings.Contains(all[1], "bad 2") ||
			!strings.Contains(all[2], "right again") || w.degraded() {
			t.Errorf("reports %q", all)
		}
		if got := strings.Join(applied, " "); got != "one two three" {
			t.Errorf("applied %q", got)
		}
	})
}
