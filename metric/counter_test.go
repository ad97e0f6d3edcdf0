package metric

import (
	"sync"
	"testing"
	"time"
	"unsafe"
)

func TestCounterConcurrent(t *testing.T) {
	const workers, each = 8, 10_000
	for _, shards := range []int{0, 1, 3, 16, 100} {
		c := NewCounter(shards)
		if n := len(c.cells); n&(n-1) != 0 || n < 1 || n > maxShards {
			t.Fatalf("NewCounter(%d) has %d cells", shards, n)
		}
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for range each {
					c.Inc(Shard(w))
					c.Add(Shard(w)*0x9e3779b9, 2)
				}
			})
		}
		wg.Wait()
		if got := c.Value(); got != 3*workers*each {
			t.Errorf("%d shards: Value() = %d, want %d", shards, got, 3*workers*each)
		}
	}
}

func TestCellsDoNotShareCacheLines(t *testing.T) {
	if n := unsafe.Sizeof(cell{}); n != cacheLine {
		t.Errorf("cell is %d bytes, want %d", n, cacheLine)
	}
	if n := unsafe.Sizeof(chunk{}); n%cacheLine != 0 || n != 640 {
		t.Errorf("chunk is %d bytes, want 640", n)
	}
	for range 100 {
		c := NewCounter(4)
		if a := uintptr(unsafe.Pointer(&c.cells[0])); a%cacheLine != 0 {
			t.Fatalf("cells begin at %#x, not at a cache line", a)
		}
	}
}

func TestGauge(t *testing.T) {
	var g Gauge
	g.Inc()
	g.Inc()
	g.Dec()
	if got := g.Add(41); got != 42 || g.Value() != 42 {
		t.Errorf("Add returned %d, Value %d, want 42", got, g.Value())
	}
	g.Set(-7)
	if g.Value() != -7 {
		t.Errorf("Value() = %d, want -7", g.Value())
	}
}

// Packages hold nil handles when metrics are off, and in their own tests.
func TestNilHandles(t *testing.T) {
	var r *Registry
	if s := r.NextShard(); s != 0 {
		t.Errorf("NextShard() = %d", s)
	}
	sc := r.Scope()
	for _, c := range []*Counter{nil, r.Counter(Requests), sc.Counter(Requests), sc.CounterSet(Failures, nil).Counter(0)} {
		c.Inc(0)
		c.Add(1, 2)
		c.Release()
		if c.Value() != 0 {
			t.Error("a nil counter counted")
		}
	}
	for _, g := range []*Gauge{nil, r.Gauge(Connections), sc.Gauge(Connections)} {
		g.Inc()
		g.Dec()
		g.Set(1)
		g.Release()
		if g.Add(1) != 0 || g.Value() != 0 {
			t.Error("a nil gauge counted")
		}
	}
	for _, h := range []*Histogram{nil, r.Histogram(RequestDuration), sc.Histogram(RequestDuration)} {
		h.Observe(0, time.Second)
		h.Release()
		var s Snapshot
		h.Snapshot(&s)
		if s.Count() != 0 {
			t.Error("a nil histogram counted")
		}
	}
	sc.GaugeFunc(Connections, func() int64 { return 1 })
	r.GaugeFunc(Connections, func() int64 { return 1 }).Release()
	sc.CounterSet(Failures, nil).Inc(0, 3)
	sc.StatusCounters(Requests).Inc(0, 200)
	sc.Release()
	r.Each(Requests, nil)
	r.EachHistogram(RequestDuration, nil)
}
