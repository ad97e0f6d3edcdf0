package gateway

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

func TestStateSecret(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "var", "sluice")
	first, err := stateSecret(dir)
	if err != nil || len(first) != secretBytes || bytes.Count(first, first[:1]) == len(first) {
		t.Fatalf("secret %x, %v", first, err)
	}
	name := filepath.Join(dir, secretFile)
	for what, mode := range map[string]os.FileMode{dir: os.ModeDir | 0o700, name: 0o600} {
		if info, err := os.Stat(what); err != nil || info.Mode() != mode {
			t.Errorf("%s has the mode %v, want %v (%v)", what, info.Mode(), mode, err)
		}
	}
	for range 3 {
		if again, err := stateSecret(dir); err != nil || !bytes.Equal(again, first) {
			t.Fatalf("secret %x, %v; want the first, %x", again, err, first)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("%d files are left (%v)", len(files), err)
	}
	if other, err := stateSecret(t.TempDir()); err != nil || bytes.Equal(other, first) {
		t.Errorf("another directory has the secret %x, %v", other, err)
	}
	// One that an operator has put there, which several instances share, is used as it is.
	own := strings.Repeat("own secret ", 5)
	write(t, name, own)
	if got, err := stateSecret(dir); err != nil || string(got) != own {
		t.Errorf("secret %q, %v; want the operator's", got, err)
	}
	// With a secret there, the directory need not be writable; a link is followed.
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if got, err := stateSecret(link); err != nil || string(got) != own {
		t.Errorf("secret %q, %v; want the operator's", got, err)
	}
}

// TestStateSecretRefused: a secret that cannot be one is not replaced behind the operator's back.
func TestStateSecretRefused(t *testing.T) {
	for _, text := range []string{"", "short", strings.Repeat("x", secretBytes-1)} {
		dir := t.TempDir()
		name := filepath.Join(dir, secretFile)
		write(t, name, text)
		_, err := stateSecret(dir)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%s: it has %d bytes, and needs 32; remove it", name, len(text))) {
			t.Errorf("a secret of %d bytes: %v", len(text), err)
		}
		if b, _ := os.ReadFile(name); string(b) != text {
			t.Errorf("the file has changed to %q", b)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "x")
	if _, err := stateSecret(file); err == nil || !strings.HasPrefix(err.Error(), "state: ") {
		t.Errorf("a file in place of the directory: %v", err)
	}
	if _, err := stateSecret(filepath.Join(file, "below")); err == nil || !strings.HasPrefix(err.Error(), "state: ") {
		t.Errorf("a directory below a file: %v", err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, secretFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := stateSecret(dir); err == nil || !strings.HasPrefix(err.Error(), "state: ") {
		t.Errorf("a directory in place of the secret: %v", err)
	}
}

// TestStateSecretRaced: of several that make it at once, all get the same.
func TestStateSecretRaced(t *testing.T) {
	for range 20 {
		dir := filepath.Join(t.TempDir(), "state")
		got := make([][]byte, 16)
		var all sync.WaitGroup
		begin := make(chan struct{})
		for i := range got {
			all.Go(func() {
				<-begin
				var err error
				if got[i], err = stateSecret(dir); err != nil {
					t.Error(err)
				}
			})
		}
		close(begin)
		all.Wait()
		for _, s := range got {
			if len(s) != secretBytes || !bytes.Equal(s, got[0]) {
				t.Fatalf("secrets %x and %x", got[0], s)
			}
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
			t.Errorf("%d files are left (%v)", len(files), err)
		}
	}
}

// sticky is a configuration with sessions. more stands at the top of the file.
func sticky(more, session string, endpoints ...string) string {
	return fmt.Sprintf("version: 1\n%slisteners: {web: {address: \"127.0.0.1:0\", protocol: http}}\nroutes:\n  - {name: all, backend: app}\n"+
		"backends:\n  app: {balance: round_robin, session: %s, endpoints: [%s]}\n", more, session, strings.Join(endpoints, ", "))
}

// visit asks until the wanted endpoint has answered, and returns the client's cookie.
func visit(t testing.TB, c *testnet.Client, endpoint string) string {
	t.Helper()
	for range 100 {
		r := c.Do("GET", get("/"))
		value, attributes, _ := strings.Cut(r.Header.Get("Set-Cookie"), ";")
		if r.Status != 200 || !strings.HasPrefix(value, "s=") || attributes != " Path=/; HttpOnly; SameSite=Lax" {
			t.Fatalf("answer %+v", r)
		}
		if string(r.Body) == endpoint {
			return "Cookie: " + value
		}
	}
	t.Fatalf("%s never answers", endpoint)
	panic("not reached")
}

// TestSessionsOutliveReloads: the order of the file, other endpoints, other settings; without a secret of its own, with one, and with one in state.
func TestSessionsOutliveReloads(t *testing.T) {
	a, b, other := named(t, "a"), named(t, "b"), named(t, "other")
	for name, top := range map[string]struct{ more, session string }{
		"made at start": {"", "s"},
		"of the file":   {"", "{cookie: s, secret: 0123456789abcdef}"},
		"in state":      {fmt.Sprintf("state: %q\n", filepath.Join(t.TempDir(), "state")), "s"},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, sticky(top.more, top.session, a.Addr, b.Addr))
			c := g.dial("web")
			toA, toB := visit(t, c, "a"), visit(t, c, "b")
			if toA == toB || strings.Contains(toA, a.Addr) {
				t.Errorf("cookies %s and %s", toA, toB)
			}
			for _, endpoints := range [][]string{{b.Addr, a.Addr}, {other.Addr, b.Addr, a.Addr}, {a.Addr, fmt.Sprintf("{address: %q, weight: 50}", b.Addr)}} {
				g.take(sticky(top.more, top.session, endpoints...))
				wantShares(t, c, 4, map[string]int{"a": 4}, toA)
				wantShares(t, c, 4, map[string]int{"b": 4}, toB)
			}
			// An endpoint that is gone is replaced, with a cookie of its own.
			g.take(sticky(top.more, top.session, b.Addr))
			r := c.Do("GET", "GET / HTTP/1.1\r\nHost: a\r\n"+toA+"\r\n\r\n")
			if cookie := r.Header.Get("Set-Cookie"); string(r.Body) != "b" || !strings.HasPrefix("Cookie: "+cookie, toB+";") {
				t.Errorf("answer %s with the cookie %s, want %s", r.Body, cookie, toB)
			}
			// When it comes back, so do its clients.
			g.take(sticky(top.more, top.session, a.Addr, b.Addr))
			wantShares(t, c, 4, map[string]int{"a": 4}, toA)
			reports := g.reports.String()
			if warned := strings.Count(reports, "session cookies are signed with a secret that was made at this start"); warned > 1 || (warned == 1) != (name == "made at start") {
				t.Errorf("%d warnings in the reports\n%s", warned, reports)
			}
		})
	}
}

// TestSessionsOutliveTheProgram where state or a secret says so, and only there; instances that share it know each other's clients.
func TestSessionsOutliveTheProgram(t *testing.T) {
	a, b := named(t, "a"), named(t, "b")
	state := fmt.Sprintf("state: %q\n", t.TempDir())
	for name, tc := range map[string]struct {
		more, session string
		known         bool
	}{
		"made at start": {"", "s", false},
		"of the file":   {"", "{cookie: s, secret: 0123456789abcdef}", true},
		"in state":      {state, "s", true},
	} {
		t.Run(name, func(t *testing.T) {
			g, beside := start(t, sticky(tc.more, tc.session, a.Addr, b.Addr)), start(t, sticky(tc.more, tc.session, a.Addr, b.Addr))
			toA := visit(t, g.dial("web"), "a")
			g.Close()
			next := start(t, sticky(tc.more, tc.session, b.Addr, a.Addr))
			for _, other := range []*running{beside, next} {
				got := shares(t, other.dial("web"), 6, toA)
				if known := got["a"] == 6; known != tc.known {
					t.Errorf("answers %v; the client is known: %v, want %v", got, known, tc.known)
				}
			}
		})
	}
}

// TestSessionsNeedState: a state that cannot be used refuses the configuration, and the one before goes on.
func TestSessionsNeedState(t *testing.T) {
	a := named(t, "a")
	g := start(t, sticky("", "s", a.Addr))
	dir := t.TempDir()
	write(t, filepath.Join(dir, secretFile), "short")
	err := g.Apply(parse(t, sticky(fmt.Sprintf("state: %q\n", dir), "s", a.Addr)))
	if err == nil || !strings.Contains(err.Error(), "remove it to have a new one made") {
		t.Errorf("Apply: %v", err)
	}
	wantShares(t, g.dial("web"), 2, map[string]int{"a": 2})
	// Who has no sessions needs none.
	g.take(strings.Replace(sticky(fmt.Sprintf("state: %q\n", dir), "s", a.Addr), "session: s, ", "", 1))
	wantShares(t, g.dial("web"), 2, map[string]int{"a": 2})
}
