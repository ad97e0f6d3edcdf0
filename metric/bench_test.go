package metric

import (
	"io"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func BenchmarkCounter(b *testing.B) {
	b.Run("one", func(b *testing.B) {
		c := NewCounter(defaultShards())
		for b.Loop() {
			c.Inc(3)
		}
	})
	for _, shards := range []int{1, defaultShards()} {
		name := "parallel-own-shard"
		if shards == 1 {
			name = "parallel-same-shard"
		}
		b.Run(name, func(b *testing.B) {
			c := NewCounter(shards)
			var next atomic.Uint32
			b.RunParallel(func(pb *testing.PB) {
				s := Shard(next.Add(1))
				for pb.Next() {
					c.Inc(s)
				}
			})
		})
	}
	b.Run("status", func(b *testing.B) {
		c := NewRegistry(Options{}).Scope().StatusCounters(Requests, "l", "r")
		for b.Loop() {
			c.Inc(3, 200)
		}
	})
}

func BenchmarkObserve(b *testing.B) {
	b.Run("one", func(b *testing.B) {
		h := NewHistogram(defaultShards())
		d := time.Duration(90_000)
		for b.Loop() {
			h.Observe(3, d)
			if d += 7919; d > 5_000_000 {
				d = 90_000
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		h := NewHistogram(defaultShards())
		var next atomic.Uint32
		b.RunParallel(func(pb *testing.PB) {
			s := Shard(next.Add(1))
			d := time.Duration(90_000)
			for pb.Next() {
				h.Observe(s, d)
				if d += 7919; d > 5_000_000 {
					d = 90_000
				}
			}
		})
	})
}

func BenchmarkQuantile(b *testing.B) {
	h := NewHistogram(1)
	for i := range 100_000 {
		h.Observe(0, time.Duration(i)*time.Microsecond)
	}
	var s Snapshot
	for b.Loop() {
		h.Snapshot(&s)
		s.Quantile(0.99)
	}
}

var benchKeys = struct{ time, id, client, method, host, path, agent, status, bytes, total, first, endpoint, attempts, route Key }{
	NewKey("time"), NewKey("request_id"), NewKey("client"), NewKey("method"), NewKey("host"), NewKey("path"), NewKey("user_agent"), NewKey("status"),
	NewKey("bytes_sent"), NewKey("duration_ms"), NewKey("first_byte_ms"), NewKey("endpoint"), NewKey("attempts"), NewKey("route"),
}

var (
	benchPath  = []byte("/accounts/4711/transactions?from=2026-01-01&limit=50&sort=amount")
	benchAgent = []byte("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)")
	benchHost  = []byte("api.bank.example")
)

func encodeBenchLine(l *Line, now int64) []byte {
	k := &benchKeys
	l.Start()
	l.Time(k.time, now)
	l.String(k.id, "01hq3x5t7w9y1z3b5d7f9h")
	l.String(k.client, "203.0.113.77")
	l.String(k.method, "GET")
	l.Bytes(k.host, benchHost)
	l.Bytes(k.path, benchPath)
	l.Bytes(k.agent, benchAgent)
	l.String(k.route, "transactions")
	l.String(k.endpoint, "10.1.2.3:8080")
	l.Int(k.status, 200)
	l.Int(k.bytes, 1377)
	l.Int(k.attempts, 1)
	l.Milliseconds(k.first, 1_204_000)
	l.Milliseconds(k.total, 1_377_000)
	return l.End()
}

func BenchmarkLine(b *testing.B) {
	var l Line
	now := time.Now().UnixNano()
	for b.Loop() {
		b.SetBytes(int64(len(encodeBenchLine(&l, now))))
		now += 15_000
	}
}

func BenchmarkAppendString(b *testing.B) {
	buf := make([]byte, 0, 1024)
	b.Run("bytes", func(b *testing.B) {
		for b.Loop() {
			buf = AppendBytes(buf[:0], benchAgent)
		}
	})
	b.Run("string", func(b *testing.B) {
		s := string(benchAgent)
		for b.Loop() {
			buf = AppendString(buf[:0], s)
		}
	})
	b.Run("short", func(b *testing.B) {
		for b.Loop() {
			buf = AppendString(buf[:0], "GET")
		}
	})
}

// BenchmarkLogAppend compares the buffer with the plain alternative, a mutex around a copy.
func BenchmarkLogAppend(b *testing.B) {
	var l Line
	line := append([]byte(nil), encodeBenchLine(&l, 0)...)
	b.Run("one", func(b *testing.B) {
		w, err := OpenLog(LogOptions{Writer: io.Discard})
		if err != nil {
			b.Fatal(err)
		}
		defer w.Close(time.Second)
		for b.Loop() {
			w.Append(line)
		}
		b.ReportMetric(float64(w.Dropped())/float64(b.N), "dropped/op")
	})
	b.Run("parallel", func(b *testing.B) {
		w, err := OpenLog(LogOptions{Writer: io.Discard})
		if err != nil {
			b.Fatal(err)
		}
		defer w.Close(time.Second)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				w.Append(line)
			}
		})
		b.ReportMetric(float64(w.Dropped())/float64(b.N), "dropped/op")
	})
	b.Run("mutex-one", func(b *testing.B) {
		m := mutexBuffer{buf: make([]byte, 0, 2<<20)}
		for b.Loop() {
			m.append(line)
		}
	})
	b.Run("mutex-parallel", func(b *testing.B) {
		m := mutexBuffer{buf: make([]byte, 0, 2<<20)}
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				m.append(line)
			}
		})
	})
}

type mutexBuffer struct {
	mu  sync.Mutex
	buf []byte
}

func (m *mutexBuffer) append(line []byte) {
	m.mu.Lock()
	if len(m.buf)+len(line) > logBatch {
		m.buf = m.buf[:0]
	}
	m.buf = append(m.buf, line...)
	m.mu.Unlock()
}

func BenchmarkWriteTo(b *testing.B) {
	r := NewRegistry(Options{})
	sc := r.Scope()
	for i := range 1000 {
		name := "route-" + statusNames[i%500] + statusNames[i/500]
		sc.StatusCounters(Requests, "web", name).Inc(0, 200)
		sc.Histogram(RequestDuration, name).Observe(0, time.Millisecond)
	}
	for b.Loop() {
		if _, err := r.WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
	runtime.KeepAlive(sc)
}

// BenchmarkResolve is what a configuration of 10,000 routes costs at a reload: their series exist already.
func BenchmarkResolve(b *testing.B) {
	const routes = 10_000
	names := make([]string, routes)
	for i := range names {
		names[i] = "route-" + strconv.Itoa(i)
	}
	resolve := func(r *Registry) *Scope {
		sc := r.Scope()
		for _, name := range names {
			sc.StatusCounters(Requests, "web", name)
			sc.CounterSet(Failures, statusNames[:40], name)
			sc.Histogram(RequestDuration, name)
		}
		return sc
	}
	r := NewRegistry(Options{})
	old := resolve(r)
	b.ReportAllocs()
	for b.Loop() {
		sc := resolve(r)
		old.Release()
		old = sc
	}
}
