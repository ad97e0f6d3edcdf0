package limit

import (
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"
)

// fill makes n keys known to a limiter.
func fill(r *Rate, n int, now int64) {
	var key [8]byte
	var d Decision
	for i := range n {
		binary.LittleEndian.PutUint64(key[:], uint64(i))
		r.Take(key[:], 1, now, &d)
	}
}

func BenchmarkRate(b *testing.B) {
	windows := map[string][]Window{
		"one-window":    {{Count: 10, Per: time.Second, Burst: 20}},
		"fractions":     {{Count: 3, Per: time.Second, Burst: 20}},
		"three-windows": {{Count: 10, Per: time.Second}, {Count: 600, Per: time.Hour}, {Count: 5000, Per: 24 * time.Hour}},
	}
	for _, name := range []string{"one-window", "fractions", "three-windows"} {
		for _, keys := range []int{1, 1_000_000} {
			title := name + "/one-key"
			if keys > 1 {
				title = name + "/million-keys"
			}
			b.Run(title, func(b *testing.B) {
				r := newRate(b, windows[name]...)
				fill(r, keys, 1)
				random := rand.New(rand.NewPCG(1, 2))
				var key [8]byte
				var d Decision
				now := int64(1)
				b.ReportAllocs()
				for b.Loop() {
					now += 1000
					binary.LittleEndian.PutUint64(key[:], random.Uint64N(uint64(keys)))
					r.Take(key[:], 1, now, &d)
				}
			})
		}
	}
}

// BenchmarkRateParallel is one hot key, and a million, on all cores.
func BenchmarkRateParallel(b *testing.B) {
	for _, keys := range []int{1, 1_000_000} {
		title := "one-key"
		if keys > 1 {
			title = "million-keys"
		}
		b.Run(title, func(b *testing.B) {
			r := newRate(b, Window{Count: 10, Per: time.Second, Burst: 20})
			fill(r, keys, 1)
			var seeds atomic.Uint64
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				random := rand.New(rand.NewPCG(1, seeds.Add(1)))
				var key [8]byte
				var d Decision
				now := int64(1)
				for pb.Next() {
					now += 1000
					binary.LittleEndian.PutUint64(key[:], random.Uint64N(uint64(keys)))
					r.Take(key[:], 1, now, &d)
				}
			})
		})
	}
}

// BenchmarkRateFlood is a full table to which only new keys come: each has to find a victim.
func BenchmarkRateFlood(b *testing.B) {
	r := newRate(b, Window{Count: 1, Per: time.Hour, Burst: 20})
	fill(r, 1_100_000, 1)
	var key [8]byte
	var d Decision
	i := uint64(1 << 40)
	b.ReportAllocs()
	for b.Loop() {
		i++
		binary.LittleEndian.PutUint64(key[:], i)
		r.Take(key[:], 1, 1, &d)
	}
}

func BenchmarkQuota(b *testing.B) {
	for _, keys := range []uint64{1, 1_000_000} {
		title := "one-key"
		if keys > 1 {
			title = "million-keys"
		}
		b.Run(title, func(b *testing.B) {
			q, err := NewQuota(QuotaOptions{Limit: 1 << 40, Period: Month})
			if err != nil {
				b.Fatal(err)
			}
			random := rand.New(rand.NewPCG(1, 2))
			var key [8]byte
			var u Usage
			for i := range keys {
				binary.LittleEndian.PutUint64(key[:], i)
				q.Take(key[:], 1, 1, &u)
			}
			b.ReportAllocs()
			for b.Loop() {
				binary.LittleEndian.PutUint64(key[:], random.Uint64N(keys))
				q.Take(key[:], 1, 1, &u)
			}
		})
	}
}

func BenchmarkConcurrency(b *testing.B) {
	c, err := NewConcurrency(ConcurrencyOptions{Max: 10})
	if err != nil {
		b.Fatal(err)
	}
	var t Ticket
	b.ReportAllocs()
	for b.Loop() {
		if c.Acquire(&t, []byte("203.0.113.7"), 0) == Admitted {
			t.Release()
		}
	}
}

func BenchmarkDigest(b *testing.B) {
	s := newSeed()
	for _, n := range []int{8, 16, 36, 200} {
		key := make([]byte, n)
		b.Run(string(rune('0'+n/100))+string(rune('0'+n/10%10))+string(rune('0'+n%10)), func(b *testing.B) {
			for b.Loop() {
				s.of(key)
			}
		})
	}
}
