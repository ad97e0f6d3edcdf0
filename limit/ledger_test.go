package limit

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// clock is a time of day that a test sets.
type clock struct{ unix atomic.Int64 }

func (c *clock) now() time.Time { return time.Unix(c.unix.Load(), 0) }
func (c *clock) wall() int64    { return c.unix.Load() * s1 }

func openLedger(t testing.TB, dir string, c *clock) *Ledger {
	t.Helper()
	l, err := OpenLedger(LedgerOptions{Dir: dir, Clock: c.now, Report: func(line string) { t.Errorf("reported: %s", line) }})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func ledgerQuota(t testing.TB, l *Ledger, o QuotaOptions) *Quota {
	t.Helper()
	q, err := l.Quota(o)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// left returns what remains of a quota for a key.
func left(q *Quota, key string, c *clock) int64 {
	var u Usage
	q.Peek([]byte(key), c.wall(), &u)
	return u.Remaining
}

// TestLedger: counts outlive the process, by name and period, also under another limit; those of periods that are over go.
func TestLedger(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var c clock
	c.unix.Store(unix(t, "2026-03-10T12:00:00Z"))
	take := func(q *Quota, key string, cost int64) {
		t.Helper()
		var u Usage
		if q.Take([]byte(key), cost, c.wall(), &u); !u.Allowed {
			t.Fatalf("%s: %+v", key, u)
		}
	}
	options := QuotaOptions{Name: "standard", Limit: 1000, Period: Month}
	daily := QuotaOptions{Name: "standard", Limit: 100, Period: Day}

	l := openLedger(t, dir, &c)
	q, d := ledgerQuota(t, l, options), ledgerQuota(t, l, daily)
	if _, err := l.Quota(options); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("the same quota twice: %v", err)
	}
	take(q, "budget-app", 10)
	take(q, "other", 1)
	take(d, "budget-app", 3)
	for i := range 3000 {
		take(q, fmt.Sprint("key", i), int64(1+i%7))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if _, err := l.Quota(options); err == nil {
		t.Error("a closed ledger gives quotas")
	}

	// Another process, with another limit.
	l = openLedger(t, dir, &c)
	options.Limit = 2000
	q, d = ledgerQuota(t, l, options), ledgerQuota(t, l, daily)
	for key, want := range map[string]int64{"budget-app": 1990, "other": 1999, "never": 2000, "key0": 1999, "key2999": 2000 - 1 - 2999%7} {
		if got := left(q, key, &c); got != want {
			t.Errorf("%s has %d left instead of %d", key, got, want)
		}
	}
	if got := left(d, "budget-app", &c); got != 97 {
		t.Errorf("of the day %d are left", got)
	}
	// A quota that is closed and opened again within the process, as a reload does.
	take(q, "other", 9)
	q.Return([]byte("budget-app"), 10, c.wall())
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Errorf("a second time: %v", err)
	}
	q = ledgerQuota(t, l, options)
	if a, b := left(q, "other", &c), left(q, "budget-app", &c); a != 1990 || b != 2000 {
		t.Errorf("%d and %d are left", a, b)
	}

	// The next day: the day begins anew, the month goes on, and the day that is over leaves the file.
	c.unix.Store(unix(t, "2026-03-11T02:00:00Z"))
	take(d, "budget-app", 1)
	if got := left(d, "budget-app", &c); got != 99 {
		t.Errorf("of the next day %d are left", got)
	}
	if got := left(q, "other", &c); got != 1990 {
		t.Errorf("of the month %d are left", got)
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := termsOf(t, l); got != "standard day 2, standard month 1, " {
		t.Errorf("before the cleaning: %s", got)
	}
	for range ledgerCleaning {
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if got := termsOf(t, l); got != "standard day 1, standard month 1, " {
		t.Errorf("after the cleaning: %s", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	// Much later nothing of it matters, and nothing is left of it, though nobody asks for these quotas.
	c.unix.Store(unix(t, "2026-06-01T02:00:00Z"))
	l = openLedger(t, dir, &c)
	if got := termsOf(t, l); got != "" {
		t.Errorf("in June: %s", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// termsOf lists how many terms each scope of a ledger has.
func termsOf(t *testing.T, l *Ledger) string {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	tx, err := l.file.db.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	var b strings.Builder
	quotas := tx.Bucket([]byte(ledgerQuotas))
	err = quotas.ForEachBucket(func(scope []byte) error {
		parts := strings.Split(string(scope), "\x00")
		n := 0
		_ = quotas.Bucket(scope).ForEachBucket(func([]byte) error { n++; return nil })
		fmt.Fprintf(&b, "%s %s %d, ", parts[0], parts[1], n)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestLedgerForgets: a key that had to go from memory goes from the file as well, so that the file is bounded too.
func TestLedgerForgets(t *testing.T) {
	var c clock
	c.unix.Store(unix(t, "2026-03-10T12:00:00Z"))
	dir := t.TempDir()
	l := openLedger(t, dir, &c)
	o := QuotaOptions{Name: "n", Limit: 1000, Period: Day, Keys: 100}
	q := ledgerQuota(t, l, o)
	var u Usage
	for i := range 2000 {
		q.Take(fmt.Append(nil, i), 1, c.wall(), &u)
		if i%50 == 0 {
			if err := l.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLedger(t, dir, &c)
	o.Keys = 10_000
	q = ledgerQuota(t, l, o)
	if got := q.Stats().Keys; got != 100 {
		t.Errorf("%d keys are in the file", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLedgerThatCannotBeWritten: one line when it begins and one when it ends, decisions go on, and nothing is lost.
func TestLedgerThatCannotBeWritten(t *testing.T) {
	var c clock
	c.unix.Store(unix(t, "2026-03-10T12:00:00Z"))
	dir := t.TempDir()
	lines := make(chan string, 100)
	l, err := OpenLedger(LedgerOptions{Dir: dir, Clock: c.now, Report: func(line string) { lines <- line }})
	if err != nil {
		t.Fatal(err)
	}
	q := ledgerQuota(t, l, QuotaOptions{Name: "n", Limit: 1000, Period: Day})
	broken, err := openLedgerFile(filepath.Join(t.TempDir(), "other.db"), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := broken.close(); err != nil {
		t.Fatal(err)
	}
	var u Usage
	q.Take([]byte("a"), 5, c.wall(), &u)
	l.mu.Lock()
	good := l.file
	l.file = broken
	l.mu.Unlock()
	for range 3 {
		q.Take([]byte("a"), 1, c.wall(), &u)
		q.Take([]byte("b"), 1, c.wall(), &u)
		if err := l.Flush(); err == nil || !u.Allowed {
			t.Errorf("%v, %+v", err, u)
		}
	}
	if line := testnet.Receive(t, "a report", lines); !strings.Contains(line, "counted in memory") {
		t.Error(line)
	}
	if st := l.Stats(); st.Failures < 3 || st.Broken == "" {
		t.Errorf("%+v", st)
	}
	l.mu.Lock()
	l.file = good
	l.mu.Unlock()
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	if line := testnet.Receive(t, "a report", lines); !strings.Contains(line, "written again") {
		t.Error(line)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLedger(t, dir, &c)
	q = ledgerQuota(t, l, QuotaOptions{Name: "n", Limit: 1000, Period: Day})
	if a, b := left(q, "a", &c), left(q, "b", &c); a != 992 || b != 997 {
		t.Errorf("%d and %d are left", a, b)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLedgerInUse: two processes do not share a file, and the second is told what to do.
func TestLedgerInUse(t *testing.T) {
	dir := t.TempDir()
	var c clock
	l := openLedger(t, dir, &c)
	_, err := openLedgerFile(filepath.Join(dir, LedgerFile), 10*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "another process") || !strings.Contains(err.Error(), "directory of its own") {
		t.Errorf("%v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLedgerDamaged: whatever is in the file, opening it returns a ledger or an error that says what to do. Nothing panics or is read beyond its end.
func TestLedgerDamaged(t *testing.T) {
	var c clock
	c.unix.Store(unix(t, "2026-03-10T12:00:00Z"))
	dir := t.TempDir()
	l := openLedger(t, dir, &c)
	q := ledgerQuota(t, l, QuotaOptions{Name: "n", Limit: 1000, Period: Month})
	var u Usage
	for i := range 5000 {
		q.Take(fmt.Append(nil, i), 1, c.wall(), &u)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, LedgerFile))
	if err != nil {
		t.Fatal(err)
	}
	try := func(name string, content []byte, mustFail bool) {
		t.Helper()
		dir := t.TempDir()
		path := filepath.Join(dir, LedgerFile)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := OpenLedger(LedgerOptions{Dir: dir, Clock: c.now})
		switch {
		case err == nil && mustFail:
			t.Errorf("%s: it opens", name)
		case err != nil && (!strings.Contains(err.Error(), "move it away") || !strings.Contains(err.Error(), path)):
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			if q, err := l.Quota(QuotaOptions{Name: "n", Limit: 1000, Period: Month}); err == nil {
				q.Take([]byte("k"), 1, c.wall(), &u)
			}
			_ = l.Close()
		}
	}
	try("empty", nil, false) // is what a new file is
	try("text", []byte("this is no ledger of anything, and long enough to be read as one\n"), true)
	try("zeros", make([]byte, len(whole)), true)
	for _, part := range []int{2, 3, 5, 10, 50} {
		try(fmt.Sprint("one part of ", part), whole[:len(whole)/part], true)
	}
	page := os.Getpagesize()
	for at := 2 * page; at < len(whole); at += page {
		for _, fill := range []byte{0x00, 0xff, 0x41} {
			b := append([]byte(nil), whole...)
			for i := at; i < min(at+page, len(b)); i++ {
				b[i] = fill
			}
			try(fmt.Sprintf("page %d is %x", at/page, fill), b, false)
		}
	}
}

// TestLedgerSurvivesKill: a process that is killed has lost no more than what it counted since the last write, which is each second.
func TestLedgerSurvivesKill(t *testing.T) {
	if dir := os.Getenv("LIMIT_LEDGER_DIR"); dir != "" {
		countUntilKilled(t, dir)
		return
	}
	t.Parallel()
	dir := t.TempDir()
	promised := int64(0)
	for round := range 2 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestLedgerSurvivesKill$", "-test.count=1")
		cmd.Env = append(os.Environ(), "LIMIT_LEDGER_DIR="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		// The process says how much it had counted when a write had ended; it goes on counting.
		for n := 0; n < 1+round && lines.Scan(); {
			if v, err := strconv.ParseInt(strings.TrimPrefix(lines.Text(), "written "), 10, 64); err == nil {
				promised = v
				n++
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()

		var c clock
		c.unix.Store(unix(t, "2026-03-10T12:00:00Z"))
		l := openLedger(t, dir, &c)
		q := ledgerQuota(t, l, QuotaOptions{Name: "n", Limit: 1 << 50, Period: Month})
		if got := 1<<50 - left(q, "k", &c); got < promised || promised == 0 {
			t.Errorf("round %d: %d are in the file, and %d had been written", round, got, promised)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// countUntilKilled is the process that TestLedgerSurvivesKill kills.
func countUntilKilled(t *testing.T, dir string) {
	var c clock
	c.unix.Store(unix(t, "2026-03-10T12:00:00Z"))
	l := openLedger(t, dir, &c)
	q := ledgerQuota(t, l, QuotaOptions{Name: "n", Limit: 1 << 50, Period: Month})
	var u Usage
	var writes uint64
	var known int64 // counted when the last write was seen
	for {
		q.Take([]byte("k"), 1, c.wall(), &u)
		if n := l.writes.Load(); n != writes {
			// This write began after the one before was seen, so what was counted by then is in it.
			if writes > 0 {
				fmt.Printf("written %d\n", known)
			}
			writes, known = n, u.Limit-u.Remaining
		}
	}
}
