package metric

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for something that must happen.
const patience = 20 * time.Second

// puppet is a destination whose every write waits for the test's decision.
type puppet struct {
	asked  chan string // what Write was given
	answer chan result
}

type result struct {
	n   int // -1 is everything
	err error
}

func newPuppet() *puppet { return &puppet{asked: make(chan string), answer: make(chan result)} }

func (p *puppet) Write(b []byte) (int, error) {
	p.asked <- string(b)
	r := <-p.answer
	if r.n < 0 {
		r.n = len(b)
	}
	return r.n, r.err
}

// next waits for a write and returns what it was given.
func (p *puppet) next(t *testing.T) string {
	t.Helper()
	select {
	case s := <-p.asked:
		return s
	case <-time.After(patience):
		t.Fatal("nothing is written")
		return ""
	}
}

func openTestLog(t *testing.T, o LogOptions) *LogWriter {
	t.Helper()
	w, err := OpenLog(o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func counts(t *testing.T, w *LogWriter, lines, dropped uint64) {
	t.Helper()
	if w.Lines() != lines || w.Dropped() != dropped {
		t.Errorf("%d lines written, %d dropped, want %d and %d", w.Lines(), w.Dropped(), lines, dropped)
	}
}

func TestLogFlushesAfterAWhile(t *testing.T) {
	p := newPuppet()
	w := openTestLog(t, LogOptions{Writer: p, Flush: time.Millisecond})
	for i := range 3 { // more than once, so that the first line of a second batch is seen too
		line := fmt.Sprintf("line %d\n", i)
		if !w.Append([]byte(line)) {
			t.Fatal("dropped")
		}
		if got := p.next(t); got != line {
			t.Errorf("wrote %q, want %q", got, line)
		}
		p.answer <- result{n: -1}
	}
	if err := w.Close(patience); err != nil {
		t.Error(err)
	}
	counts(t, w, 3, 0)
}

func TestLogFlushesABatchAtOnce(t *testing.T) {
	p := newPuppet()
	w := openTestLog(t, LogOptions{Writer: p, Flush: time.Hour, Buffer: 8 << 10})
	line := []byte(strings.Repeat("x", 99) + "\n")
	const n = 21 // crosses 2 KiB, half of a half
	for range n {
		w.Append(line)
	}
	got := p.next(t)
	if got != strings.Repeat(string(line), n) {
		t.Errorf("wrote %d bytes, want %d", len(got), n*len(line))
	}
	p.answer <- result{n: -1}
	if err := w.Close(patience); err != nil {
		t.Error(err)
	}
	counts(t, w, n, 0)
}

func TestLogCloseFlushes(t *testing.T) {
	var b bytes.Buffer
	w := openTestLog(t, LogOptions{Writer: &b, Flush: time.Hour})
	w.Append([]byte("a\n"))
	w.Append([]byte("b\n"))
	if err := w.Close(patience); err != nil {
		t.Error(err)
	}
	if b.String() != "a\nb\n" {
		t.Errorf("wrote %q", b.String())
	}
	if w.Append([]byte("c\n")) {
		t.Error("a line was kept after Close")
	}
	if err := w.Close(patience); err != nil {
		t.Error(err)
	}
	counts(t, w, 2, 1)
}

func TestLogRefusesBrokenLines(t *testing.T) {
	var b bytes.Buffer
	w := openTestLog(t, LogOptions{Writer: &b, Buffer: 8 << 10})
	for _, line := range []string{"", "no newline", strings.Repeat("x", 2<<10) + "\n"} {
		if w.Append([]byte(line)) {
			t.Errorf("kept a line of %d bytes", len(line))
		}
	}
	if !w.Append([]byte(strings.Repeat("x", 2<<10-1) + "\n")) {
		t.Error("dropped a line of just the bound")
	}
	if err := w.Close(patience); err != nil {
		t.Error(err)
	}
	counts(t, w, 1, 3)
	var none *LogWriter
	if none.Append([]byte("x\n")) || none.Reopen() != nil || none.Close(0) != nil {
		t.Error("a nil LogWriter does something")
	}
	if _, err := OpenLog(LogOptions{}); err == nil {
		t.Error("a log without a destination was opened")
	}
}

// A destination that is stuck costs lines, never time, and when it moves again nothing that was kept is lost.
func TestLogStuckWriter(t *testing.T) {
	p := newPuppet()
	var lines, lost Counter
	lines.cells, lost.cells = make([]cell, 1), make([]cell, 1)
	w := openTestLog(t, LogOptions{Writer: p, Flush: time.Millisecond, Buffer: 4 << 10, Lines: &lines, Dropped: &lost})
	w.Append([]byte("first\n"))
	written := p.next(t) // and the writer is stuck now

	var kept strings.Builder
	dropped := uint64(0)
	for i := range 1000 {
		line := fmt.Sprintf("line %04d\n", i)
		if w.Append([]byte(line)) {
			kept.WriteString(line)
		} else {
			dropped++
		}
	}
	if kept.Len() > 2<<10 || kept.Len() < 2<<10-10 {
		t.Errorf("%d bytes wait, want at most 2 KiB and nearly so", kept.Len())
	}
	if lost.Value() != dropped || dropped == 0 {
		t.Errorf("%d drops counted, want %d", lost.Value(), dropped)
	}

	p.answer <- result{n: -1}
	got := p.next(t)
	if written != "first\n" || got != kept.String() {
		t.Errorf("wrote %q, then %d bytes, want the %d that were kept", written, len(got), kept.Len())
	}
	p.answer <- result{n: -1}
	eventually(t, "room", func() bool { return w.Append([]byte("again\n")) })
	if got := p.next(t); got != "again\n" {
		t.Errorf("wrote %q after recovery", got)
	}
	p.answer <- result{n: -1}
	if err := w.Close(patience); err != nil {
		t.Error(err)
	}
	if want := uint64(strings.Count(kept.String(), "\n") + 2); lines.Value() != want {
		t.Errorf("%d lines counted, want %d", lines.Value(), want)
	}
}

// A write that fails in the middle of a line goes on at that byte when the disk has room again.
func TestLogFailingWriterRecovers(t *testing.T) {
	p := newPuppet()
	told := make(chan error, 10)
	w := openTestLog(t, LogOptions{Writer: p, Flush: time.Millisecond, Notify: func(err error) { told <- err }})
	w.Append([]byte("one\n"))
	var got strings.Builder
	full := errors.New("no space left on device")
	// Failures, short writes, a count that is impossible, no count at all, and an end with an error although everything was written.
	for _, r := range []result{{1, full}, {0, full}, {2, nil}, {99, nil}, {0, nil}, {1, full}} {
		asked := p.next(t)
		p.answer <- r
		if r.n <= len(asked) {
			got.WriteString(asked[:r.n])
		}
	}
	if got.String() != "one\n" {
		t.Errorf("wrote %q", got.String())
	}
	if err := <-told; !errors.Is(err, full) {
		t.Errorf("told %v, want %v", err, full)
	}
	if err := <-told; err != nil {
		t.Errorf("told %v, want nil on recovery", err)
	}
	if len(told) > 0 {
		t.Errorf("told again: %v", <-told)
	}
	if err := w.Close(patience); err != nil {
		t.Error(err)
	}
	counts(t, w, 1, 0)
}

func TestLogCloseGivesUpOnFailure(t *testing.T) {
	p := newPuppet()
	w := openTestLog(t, LogOptions{Writer: p, Flush: time.Millisecond})
	w.Append([]byte("one\n"))
	p.next(t)
	for i := range 3 {
		w.Append(fmt.Appendf(nil, "more %d\n", i))
	}
	closed := make(chan error)
	go func() { closed <- w.Close(patience) }()
	eventually(t, "Close to begin", func() bool {
		select {
		case <-w.closing:
			return true
		default:
			return false
		}
	})
	p.answer <- result{0, syscall.EPIPE} // the write under way
	if got := p.next(t); got != "more 0\nmore 1\nmore 2\n" {
		t.Errorf("last attempt with %q", got)
	}
	p.answer <- result{7, syscall.EPIPE}
	if got := p.next(t); got != "more 1\nmore 2\n" {
		t.Errorf("after progress goes on with %q", got)
	}
	p.answer <- result{0, syscall.EPIPE}
	err := <-closed
	if !errors.Is(err, ErrLogStalled) || !strings.Contains(err.Error(), "3 lines") {
		t.Errorf("Close() = %v", err)
	}
	counts(t, w, 1, 3) // "more 0" was written, "one" was not
}

// Close is bounded even if the destination never returns. Afterwards the test lets it go, so that no goroutine is left.
func TestLogCloseIsBounded(t *testing.T) {
	p := newPuppet()
	w := openTestLog(t, LogOptions{Writer: p, Flush: time.Millisecond})
	w.Append([]byte("one\n"))
	p.next(t)
	if err := w.Close(time.Millisecond); !errors.Is(err, ErrLogStalled) {
		t.Errorf("Close() = %v, want %v", err, ErrLogStalled)
	}
	p.answer <- result{n: -1}
	if err := w.Close(patience); err != nil {
		t.Errorf("second Close() = %v", err)
	}
}

// The other end of a pipe does not read: the write hangs in the system and must be interrupted.
func TestLogCloseInterruptsPipe(t *testing.T) {
	r, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer pw.Close()
	r.SetReadDeadline(time.Now().Add(patience))
	w := openTestLog(t, LogOptions{Writer: pw, Flush: time.Hour})
	line := []byte(strings.Repeat("x", 999) + "\n")
	const n = 1000 // far more than a pipe holds
	for range n {
		if !w.Append(line) {
			t.Fatal("dropped")
		}
	}
	if _, err := r.Read(make([]byte, 1)); err != nil { // so the write is under way
		t.Fatal(err)
	}
	if err := w.Close(time.Millisecond); !errors.Is(err, ErrLogStalled) {
		t.Errorf("Close() = %v, want %v", err, ErrLogStalled)
	}
	select {
	case <-w.done:
	default:
		t.Error("the goroutine was not joined")
	}
	if w.Lines()+w.Dropped() != n || w.Dropped() == 0 {
		t.Errorf("%d lines written and %d dropped, want %d together", w.Lines(), w.Dropped(), n)
	}
	// The pipe can be used by others afterwards.
	go io.Copy(io.Discard, r)
	if _, err := pw.WriteString("more\n"); err != nil {
		t.Error(err)
	}
}

// A pipe whose reader goes away fails with EPIPE; requests go on.
func TestLogDeadPipe(t *testing.T) {
	r, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pw.Close()
	told := make(chan error, 10)
	w := openTestLog(t, LogOptions{Writer: pw, Flush: time.Millisecond, Buffer: 4 << 10, Notify: func(err error) { told <- err }})
	r.Close()
	w.Append([]byte("one\n"))
	if err := <-told; !errors.Is(err, syscall.EPIPE) {
		t.Errorf("told %v, want %v", err, syscall.EPIPE)
	}
	eventually(t, "drops", func() bool { return !w.Append([]byte("more\n")) })
	if err := w.Close(patience); !errors.Is(err, ErrLogStalled) {
		t.Errorf("Close() = %v, want %v", err, ErrLogStalled)
	}
	if w.Lines() != 0 || w.Dropped() < 2 {
		t.Errorf("%d lines written, %d dropped", w.Lines(), w.Dropped())
	}
}

func readLog(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b)
}

func TestLogReopen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "access.log")
	if err := os.WriteFile(path, []byte("older\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := openTestLog(t, LogOptions{Path: path, Flush: time.Millisecond})
	w.Append([]byte("one\n"))
	eventually(t, "the first line", func() bool { return readLog(t, path) == "older\none\n" })

	rotated := path + ".1"
	if err := os.Rename(path, rotated); err != nil {
		t.Fatal(err)
	}
	w.Append([]byte("two\n"))
	eventually(t, "a line in the renamed file", func() bool { return readLog(t, rotated) == "older\none\ntwo\n" })
	for range 3 {
		if err := w.Reopen(); err != nil {
			t.Fatal(err)
		}
	}
	w.Append([]byte("three\n"))
	eventually(t, "a line in the new file", func() bool { return readLog(t, path) == "three\n" })

	// A path that cannot be opened changes nothing.
	w.path = filepath.Join(dir, "missing", "access.log")
	if err := w.Reopen(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Reopen() = %v", err)
	}
	w.path = path
	w.Append([]byte("four\n"))
	file := w.current()
	if err := w.Close(patience); err != nil {
		t.Error(err)
	}
	if got := readLog(t, path); got != "three\nfour\n" {
		t.Errorf("the new file holds %q", got)
	}
	if err := file.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the file was left open: %v", err)
	}
	counts(t, w, 4, 0)
	if err := w.Reopen(); err != nil || w.next != nil {
		t.Errorf("Reopen after Close: %v, file left open: %v", err, w.next != nil)
	}
}

// current returns the file in use.
func (w *LogWriter) current() *os.File {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cur.(*os.File)
}

// A reopen while a pipe is stuck in the middle of a line: the new file begins with a whole line.
func TestLogReopenFromStuckPipe(t *testing.T) {
	r, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.SetReadDeadline(time.Now().Add(patience))
	path := filepath.Join(t.TempDir(), "access.log")
	w := openTestLog(t, LogOptions{Writer: pw, Flush: time.Hour})
	w.path = path // as if the pipe had been a FIFO at this path
	const n = 1000
	for i := range n {
		w.Append(fmt.Appendf(nil, "%0998d\n", i))
	}
	begun := make([]byte, 10)
	if _, err := io.ReadFull(r, begun); err != nil { // so the write is under way
		t.Fatal(err)
	}
	if err := w.Reopen(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(patience); err != nil {
		t.Error(err)
	}
	piped, err := io.ReadAll(r) // ends because the writer closed its end
	if err != nil {
		t.Fatal(err)
	}
	piped = append(begun, piped...)
	var got []string
	for _, part := range []string{string(piped[:bytes.LastIndexByte(piped, '\n')+1]), readLog(t, path)} {
		got = append(got, strings.Split(strings.TrimSuffix(part, "\n"), "\n")...)
	}
	want := 0
	missing := 0
	for _, line := range got {
		i, err := strconv.Atoi(line)
		if err != nil || len(line) != 998 {
			t.Fatalf("torn line %q", line)
		}
		missing += i - want
		want = i + 1
	}
	if want != n || uint64(missing) != w.Dropped() || missing > 1 {
		t.Errorf("last line %d, %d missing, %d counted as dropped", want-1, missing, w.Dropped())
	}
	if w.Lines() != n-w.Dropped() {
		t.Errorf("%d lines counted", w.Lines())
	}
}

// A write that Reopen interrupts is no failure: nobody is told, and the lines go to the new file at once and whole.
func TestLogReopenIsNoFailure(t *testing.T) {
	p := newPuppet()
	path := filepath.Join(t.TempDir(), "access.log")
	w := openTestLog(t, LogOptions{Writer: p, Flush: time.Millisecond, Notify: func(err error) { t.Errorf("told %v", err) }})
	w.path = path
	w.Append([]byte("one\n"))
	p.next(t)
	if err := w.Reopen(); err != nil {
		t.Fatal(err)
	}
	p.answer <- result{0, os.ErrDeadlineExceeded}
	if err := w.Close(patience); err != nil {
		t.Error(err)
	}
	if got := readLog(t, path); got != "one\n" {
		t.Errorf("the new file holds %q", got)
	}
	counts(t, w, 1, 0)
}

func TestLogFifoWithoutReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLog(LogOptions{Path: path}); !errors.Is(err, syscall.ENXIO) || !strings.Contains(err.Error(), "start its reader") {
		t.Errorf("OpenLog() = %v", err)
	}
}

// Many producers, a slow writer, small buffers: every line is either written whole, once, in its producer's order, or counted as dropped.
func TestLogConcurrent(t *testing.T) {
	const producers, each = 8, 3000
	var out bytes.Buffer
	slow := writerFunc(func(b []byte) (int, error) {
		n := len(b)/2 + 1 // halves of lines, short writes
		out.Write(b[:n])
		if n < len(b) && out.Len()%3 == 0 {
			return n, io.ErrShortWrite
		}
		out.Write(b[n:])
		return len(b), nil
	})
	w := openTestLog(t, LogOptions{Writer: slow, Flush: time.Microsecond, Buffer: 16 << 10})
	var kept [producers]int
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for i := range each {
				line := fmt.Appendf(nil, "%d %d %s\n", p, i, strings.Repeat("x", (i*37+p)%200))
				if w.Append(line) {
					kept[p]++
				}
			}
		})
	}
	wg.Wait()
	if err := w.Close(patience); err != nil {
		t.Error(err)
	}
	var written [producers]int
	last := [producers]int{-1, -1, -1, -1, -1, -1, -1, -1}
	for line := range strings.Lines(out.String()) {
		var p, i int
		if n, err := fmt.Sscanf(line, "%d %d", &p, &i); n != 2 || p >= producers || i <= last[p] ||
			line != fmt.Sprintf("%d %d %s\n", p, i, strings.Repeat("x", (i*37+p)%200)) {
			t.Fatalf("bad line %q after %d: %v", line, last[p], err)
		}
		last[p] = i
		written[p]++
	}
	if written != kept {
		t.Errorf("written %v, kept %v", written, kept)
	}
	total := 0
	for _, n := range kept {
		total += n
	}
	counts(t, w, uint64(total), uint64(producers*each-total))
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
