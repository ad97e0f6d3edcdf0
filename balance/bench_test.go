package balance

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func BenchmarkPick(b *testing.B) {
	for _, name := range Names() {
		for _, n := range []int{3, 10, 100, 1000} {
			weights := make([]uint32, n)
			for i := range weights {
				weights[i] = uint32(1 + i%7)
			}
			members := set(weights...)
			for i := range members {
				busy(members[i], i%5)
				members[i].Load.Observe(int64(i)*millisecond, int64(1+i%9)*millisecond)
				if i%10 == 0 {
					members[i].Load.Penalize(int64(i)*millisecond, millisecond)
				}
			}
			p := mustNew(b, name, members)
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					q := &Query{Now: 2 * second}
					for pb.Next() {
						q.Random = rand.Uint64()
						q.Hash, q.Keyed = q.Random*prime1, true
						p.Pick(q)
					}
				})
			})
			b.Run(fmt.Sprintf("%s/%d/tried", name, n), func(b *testing.B) {
				b.ReportAllocs()
				q := &Query{Now: 2 * second}
				q.Tried.Add(0)
				for b.Loop() {
					q.Random = rand.Uint64()
					q.Hash, q.Keyed = q.Random*prime1, true
					p.Pick(q)
				}
			})
		}
	}
}

// BenchmarkPickBounded is a pick with a bound of load, and the beginning and the end of a request, of which four are in flight for each endpoint.
func BenchmarkPickBounded(b *testing.B) {
	for _, name := range keyedNames() {
		for _, n := range []int{10, 100, 1000} {
			members := set(equal(n)...)
			p, err := New(Options{Algorithm: name, BoundedLoad: 1.25}, members)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				q := &Query{Keyed: true}
				open := make([]*Load, 4*n)
				at := 0
				for b.Loop() {
					q.Random = rand.Uint64()
					q.Hash = q.Random * prime1
					l := members[p.Pick(q)/10].Load
					l.Begin()
					if open[at] != nil {
						open[at].End()
					}
					open[at] = l
					if at++; at == len(open) {
						at = 0
					}
				}
				for i, l := range open {
					if l != nil {
						l.End()
					}
					open[i] = nil
				}
			})
		}
	}
}

// BenchmarkLoad is what an answer costs.
func BenchmarkLoad(b *testing.B) {
	var l Load
	now := int64(0)
	for b.Loop() {
		now += millisecond
		l.Observe(now, millisecond)
	}
}

// BenchmarkHash is what a key costs.
func BenchmarkHash(b *testing.B) {
	for _, n := range []int{8, 16, 64} {
		key := make([]byte, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				Hash(key)
			}
		})
	}
}

// BenchmarkNew is what a change of health costs.
func BenchmarkNew(b *testing.B) {
	for _, name := range Names() {
		for _, n := range []int{10, 1000, 100_000} {
			weights := make([]uint32, n)
			for i := range weights {
				weights[i] = uint32(1 + i%7)
			}
			members := set(weights...)
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				for b.Loop() {
					if _, err := New(Options{Algorithm: name, Start: 1}, members); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
