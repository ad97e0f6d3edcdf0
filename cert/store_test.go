package cert

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/metric"
)

// heard collects the notices of a store.
type heard struct {
	mu   sync.Mutex
	list []Notice
	news chan struct{} // holds a token when list has grown
}

func newHeard() *heard { return &heard{news: make(chan struct{}, 1)} }

func (h *heard) notify(n Notice) {
	h.mu.Lock()
	h.list = append(h.list, n)
	h.mu.Unlock()
	select {
	case h.news <- struct{}{}:
	default:
	}
}

// take returns what was heard since the last call.
func (h *heard) take() []Notice {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := h.list
	h.list = nil
	return list
}

func kinds(list []Notice) string {
	var b strings.Builder
	for _, n := range list {
		b.WriteString(map[NoticeKind]string{Replaced: "replaced ", Refused: "refused ", Warned: "warned "}[n.Kind])
	}
	return strings.TrimSpace(b.String())
}

// replace exchanges a file as renewal programs do: by a rename, so that the inode changes even where the clock is coarse.
func replace(t *testing.T, path string, data []byte) {
	t.Helper()
	next := put(t, filepath.Dir(path), filepath.Base(path)+".new", data)
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

func TestChangedFilesArePickedUp(t *testing.T) {
	dir := t.TempDir()
	before, after, other := issue(t, "a.example"), issue(t, "a.example", "b.example"), issue(t, "other.example")
	f := save(t, dir, "a", before)
	h := newHeard()
	replaced, failed := metric.NewCounter(1), metric.NewCounter(1)
	s := open(t, Options{Notify: h.notify, Replaced: replaced, Failed: failed}, f, save(t, dir, "other", other))

	if n := s.Check(); n != 0 || len(h.take()) != 0 {
		t.Fatal("Check replaced files that had not changed")
	}
	replace(t, f.Cert, after.cert)
	replace(t, f.Key, after.key)
	if n := s.Check(); n != 1 {
		t.Fatalf("Check replaced %d, want 1", n)
	}
	if got := kinds(h.take()); got != "replaced" {
		t.Errorf("told: %s", got)
	}
	if got := ask(t, s, "a.example"); got.Cmp(after.leaf.SerialNumber) != 0 {
		t.Error("the old certificate is still shown")
	}
	if got := ask(t, s, "b.example"); got.Cmp(after.leaf.SerialNumber) != 0 {
		t.Error("the new name is not known")
	}
	if got := ask(t, s, "other.example"); got.Cmp(other.leaf.SerialNumber) != 0 {
		t.Error("a certificate whose files did not change was lost")
	}
	if infos := s.Certificates(); len(infos) != 2 || strings.Join(infos[0].Names, " ") != "a.example b.example" || !infos[0].NotAfter.Equal(after.leaf.NotAfter) {
		t.Errorf("Certificates: %+v", infos)
	}
	if replaced.Value() != 1 || failed.Value() != 0 {
		t.Errorf("counted %d replaced, %d failed", replaced.Value(), failed.Value())
	}

	// Written again with the same content: no event.
	replace(t, f.Cert, after.cert)
	if n := s.Check(); n != 0 || len(h.take()) != 0 {
		t.Error("a file with the same content counts as a change")
	}
}

// A renewal caught between its two files is no event: the old pair stays, nothing is told, and the next look takes the new pair.
func TestHalfRenewal(t *testing.T) {
	dir := t.TempDir()
	before, after := issue(t, "a.example"), issue(t, "a.example")
	f := save(t, dir, "a", before)
	h := newHeard()
	s := open(t, Options{Notify: h.notify}, f)
	replace(t, f.Cert, after.cert)
	if n := s.Check(); n != 0 {
		t.Fatal("half of a pair was taken")
	}
	if got := ask(t, s, "a.example"); got.Cmp(before.leaf.SerialNumber) != 0 {
		t.Error("the old certificate is not shown any more")
	}
	replace(t, f.Key, after.key)
	if n := s.Check(); n != 1 {
		t.Fatal("the whole pair was not taken")
	}
	if got := kinds(h.take()); got != "replaced" {
		t.Errorf("told: %s", got)
	}
	if got := ask(t, s, "a.example"); got.Cmp(after.leaf.SerialNumber) != 0 {
		t.Error("the new certificate is not shown")
	}
}

func TestBadPairKeepsTheOld(t *testing.T) {
	m := issue(t, "a.example")
	tests := []struct {
		name  string
		spoil func(t *testing.T, f Files)
		want  string
	}{
		{"other key", func(t *testing.T, f Files) { replace(t, f.Key, issue(t, "a.example").key) }, "does not match"},
		{"half a file", func(t *testing.T, f Files) { replace(t, f.Cert, m.cert[:len(m.cert)/2]) }, "no PEM block"},
		{"emptied in place", func(t *testing.T, f Files) {
			if err := os.Truncate(f.Cert, 0); err != nil {
				t.Fatal(err)
			}
		}, "is empty"},
		{"removed", func(t *testing.T, f Files) {
			if err := os.Remove(f.Key); err != nil {
				t.Fatal(err)
			}
		}, "no such file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := save(t, t.TempDir(), "a", m)
			h := newHeard()
			failed := metric.NewCounter(1)
			s := open(t, Options{Notify: h.notify, Failed: failed}, f)
			tt.spoil(t, f)
			for range 5 {
				s.Check()
			}
			told := h.take()
			if kinds(told) != "refused" || !strings.Contains(told[0].Err.Error(), tt.want) || told[0].Files != f {
				t.Fatalf("told %v, want once refused with %q", told, tt.want)
			}
			if failed.Value() != 1 {
				t.Errorf("counted %d failures, want 1", failed.Value())
			}
			if got := ask(t, s, "a.example"); got.Cmp(m.leaf.SerialNumber) != 0 {
				t.Error("the old certificate is not shown any more")
			}
			// Repaired with what is in use already: quiet. Then wrong again: told again.
			replace(t, f.Cert, m.cert)
			replace(t, f.Key, m.key)
			s.Check()
			if n := len(h.take()); n != 0 {
				t.Errorf("told %d times about a repair that changes nothing", n)
			}
			tt.spoil(t, f)
			s.Check()
			s.Check()
			if got := kinds(h.take()); got != "refused" {
				t.Errorf("the second time told: %q", got)
			}
			// Another pair heals it.
			next := issue(t, "a.example")
			replace(t, f.Cert, next.cert)
			replace(t, f.Key, next.key)
			if s.Check() != 1 {
				t.Error("the repaired pair was not taken")
			}
		})
	}
}

// Orchestrators turn one link to change both files at once.
func TestTurnedLink(t *testing.T) {
	dir := t.TempDir()
	first, second := issue(t, "a.example"), issue(t, "a.example")
	for name, m := range map[string]made{"one": first, "two": second} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		save(t, filepath.Join(dir, name), "tls", m)
	}
	link := filepath.Join(dir, "now")
	if err := os.Symlink("one", link); err != nil {
		t.Fatal(err)
	}
	s := open(t, Options{}, Files{Cert: filepath.Join(link, "tls.pem"), Key: filepath.Join(link, "tls.key")})
	next := filepath.Join(dir, "next")
	if err := os.Symlink("two", next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, link); err != nil {
		t.Fatal(err)
	}
	if s.Check() != 1 || ask(t, s, "a.example").Cmp(second.leaf.SerialNumber) != 0 {
		t.Error("the turned link was not noticed")
	}
}

func TestAgeIsToldOnce(t *testing.T) {
	m := issue(t, "a.example")
	f := save(t, t.TempDir(), "a", m)
	h := newHeard()
	now := time.Now()
	s := open(t, Options{Notify: h.notify, Now: func() time.Time { return now }}, f)
	if got := kinds(h.take()); got != "" {
		t.Fatalf("told %q of a fresh certificate", got)
	}
	for _, tt := range []struct {
		at   time.Time
		want string
	}{
		{m.leaf.NotAfter.Add(-24 * time.Hour), "expires on"},
		{m.leaf.NotAfter.Add(time.Second), "expired on"},
	} {
		now = tt.at
		for range 3 {
			s.Check()
		}
		if told := h.take(); kinds(told) != "warned" || !strings.Contains(told[0].Err.Error(), tt.want) {
			t.Errorf("at %v told %v, want once %q", tt.at, told, tt.want)
		}
	}
}

// The goroutine of the store looks by itself, and Close ends it.
func TestPolling(t *testing.T) {
	dir := t.TempDir()
	f := save(t, dir, "a", issue(t, "a.example"))
	h := newHeard()
	s, err := Open([]Files{f}, Options{Interval: time.Millisecond, Notify: h.notify})
	if err != nil {
		t.Fatal(err)
	}
	next := issue(t, "a.example")
	replace(t, f.Cert, next.cert)
	replace(t, f.Key, next.key)
	for got := ""; !strings.Contains(got, "replaced"); got += kinds(h.take()) {
		select {
		case <-h.news:
		case <-time.After(30 * time.Second):
			t.Fatal("the change was not picked up")
		}
	}
	s.Close()
	s.Close()
	if got := ask(t, s, "a.example"); got.Cmp(next.leaf.SerialNumber) != 0 {
		t.Error("a closed store serves another certificate")
	}
}

// Handshakes go on while certificates change under them; each sees one pair or the other.
func TestHandshakesDuringChanges(t *testing.T) {
	dir := t.TempDir()
	pairs := []made{issue(t, "a.example"), issue(t, "a.example")}
	f := save(t, dir, "a", pairs[0])
	s := open(t, Options{}, f)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			m := pairs[i%2]
			if os.WriteFile(f.Cert, m.cert, 0o600) != nil || os.WriteFile(f.Key, m.key, 0o600) != nil {
				t.Error("cannot write")
				return
			}
			s.Check()
		}
	})
	for range 30 {
		got := ask(t, s, "a.example")
		if got.Cmp(pairs[0].leaf.SerialNumber) != 0 && got.Cmp(pairs[1].leaf.SerialNumber) != 0 {
			t.Error("a handshake saw neither certificate")
		}
	}
	close(stop)
	wg.Wait()
}
