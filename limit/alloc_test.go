//go:build !race

package limit

import (
	"encoding/binary"
	"runtime"
	"testing"
	"time"
)

// TestDecisionsDoNotAllocate: the path of a request, for keys that are known, that are new, and that have to push others out.
func TestDecisionsDoNotAllocate(t *testing.T) {
	key := []byte("203.0.113.7")
	var d Decision
	var u Usage
	var ticket Ticket
	var res Result
	r := newRate(t, Window{Count: 3, Per: time.Second}, Window{Count: 600, Per: time.Hour})
	q, err := NewQuota(QuotaOptions{Limit: 1 << 40, Period: Day})
	if err != nil {
		t.Fatal(err)
	}
	small, err := NewRate(RateOptions{Windows: []Window{{Count: 1, Per: time.Hour, Burst: 9}}, Keys: 1000})
	if err != nil {
		t.Fatal(err)
	}
	fill(small, 2000, 1)
	c, err := NewConcurrency(ConcurrencyOptions{Max: 2, Queue: 1, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	local := &Local{Rate: r, Quota: q}
	store, _ := openStore(t, StoreOptions{URL: "redis://127.0.0.1:1"})
	<-store.First()
	away := newShared(t, SharedOptions{Store: store, Name: "n", Windows: []Window{{Count: 3, Per: time.Second}}, Quota: QuotaOptions{Limit: 1 << 40, Period: Day}})
	now, fresh := int64(1), uint64(1<<40)
	var field [64]byte
	for name, f := range map[string]func(){
		"rate":  func() { now += 1e7; r.Take(key, 1, now, &d) },
		"quota": func() { q.Take(key, 1, now, &u) },
		"both":  func() { now += 1e7; local.Take(key, 1, now, now, &res) },
		"away":  func() { now += 1e7; away.Take(key, 1, now, now, &res) },
		"flood": func() {
			fresh++
			var key [8]byte
			binary.LittleEndian.PutUint64(key[:], fresh)
			small.Take(key[:], 1, now, &d)
		},
		"concurrency": func() {
			if c.Acquire(&ticket, key, 0) == Admitted {
				ticket.Release()
			}
		},
		"fields": func() { AppendPolicy(AppendState(field[:0], "fair-use", 3, 1), "fair-use", 20, 2) },
	} {
		f()
		if n := testing.AllocsPerRun(2000, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if small.Stats().Evicted == 0 {
		t.Error("the flood has pushed nobody out")
	}
}

// TestQueueDoesNotAllocate: a ticket that has waited once waits without an allocation.
func TestQueueDoesNotAllocate(t *testing.T) {
	c, err := NewConcurrency(ConcurrencyOptions{Max: 1, Queue: 1, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	var a, b Ticket
	key := []byte("k")
	turn := func() {
		if c.Acquire(&a, key, 0) != Admitted || c.Acquire(&b, key, 0) != Queued {
			t.Fatal("the first is not admitted, or the second not queued")
		}
		a.Release()
		b.Wait()
		if got := b.Settle(); got != Admitted {
			t.Fatal(got)
		}
		b.Release()
	}
	turn()
	if n := testing.AllocsPerRun(500, turn); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// heap returns the bytes of live memory.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestMillionKeys: the memory for a million keys is what the package says, and more keys do not need more.
func TestMillionKeys(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes int64 // for each key
		make  func() (take func(key []byte), stats func() TableStats)
	}{
		{"one window", 34, func() (func([]byte), func() TableStats) {
			r := newRate(t, Window{Count: 10, Per: time.Second, Burst: 20})
			var d Decision
			return func(key []byte) { r.Take(key, 1, 1, &d) }, r.Stats
		}},
		{"two windows", 45, func() (func([]byte), func() TableStats) {
			r := newRate(t, Window{Count: 10, Per: time.Second}, Window{Count: 600, Per: time.Hour})
			var d Decision
			return func(key []byte) { r.Take(key, 1, 1, &d) }, r.Stats
		}},
		{"quota", 56, func() (func([]byte), func() TableStats) {
			q, err := NewQuota(QuotaOptions{Limit: 100, Period: Month})
			if err != nil {
				t.Fatal(err)
			}
			var u Usage
			return func(key []byte) { q.Take(key, 1, 1, &u) }, q.Stats
		}},
	} {
		before := heap()
		take, stats := c.make()
		var key [8]byte
		for i := range 1_000_000 {
			binary.LittleEndian.PutUint64(key[:], uint64(i))
			take(key[:])
		}
		used, st := heap()-before, stats()
		t.Logf("%s: %d keys, %.1f bytes for each, %.2f %% forgotten", c.name, st.Keys, float64(used)/1e6, float64(st.Evicted)/1e4)
		if used > 1_000_000*c.bytes {
			t.Errorf("%s: %d bytes for a million keys", c.name, used)
		}
		if st.Keys > 1_000_000 || st.Keys < 980_000 || st.Bytes > used+used/20 || st.Bytes < used-used/20 {
			t.Errorf("%s: %+v, and the heap has grown by %d", c.name, st, used)
		}
		for i := range 200_000 {
			binary.LittleEndian.PutUint64(key[:], uint64(1_000_000+i))
			take(key[:])
		}
		if more := heap() - before; more > used+used/100 {
			t.Errorf("%s: %d bytes after more keys, %d before", c.name, more, used)
		}
	}
}
