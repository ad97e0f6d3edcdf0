//go:build !race

package metric

import (
	"io"
	"testing"
	"time"
)

func TestHotPathDoesNotAllocate(t *testing.T) {
	r := NewRegistry(Options{})
	sc := r.Scope()
	defer sc.Release()
	c := sc.Counter(BytesSent, "web")
	g := sc.Gauge(Connections, "web")
	h := sc.Histogram(RequestDuration, "home")
	codes := sc.StatusCounters(Requests, "web", "home")
	reasons := sc.CounterSet(Failures, []string{"a", "b"}, "home")
	w, err := OpenLog(LogOptions{Writer: io.Discard, Buffer: 64 << 10, Flush: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close(10 * time.Second)
	var line Line
	encodeBenchLine(&line, 0)
	var snap Snapshot
	now := int64(0)
	d := 3 * time.Millisecond

	for name, f := range map[string]func(){
		"counter":   func() { c.Inc(r.NextShard()); c.Add(3, 100) },
		"gauge":     func() { g.Inc(); g.Set(3); g.Dec() },
		"histogram": func() { h.Observe(1, d); d += time.Nanosecond },
		"snapshot":  func() { h.Snapshot(&snap); _ = snap.Quantile(0.99) },
		"codes":     func() { codes.Inc(1, 200); codes.Inc(1, 99999) },
		"reasons":   func() { reasons.Inc(1, 1) },
		"line":      func() { now += 7e8; encodeBenchLine(&line, now) },
		// More than the buffer holds, so lines are kept, dropped and written.
		"log": func() { w.Append(line.buf) },
	} {
		if n := testing.AllocsPerRun(2000, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
