package balance

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func BenchmarkPick(b *testing.B) {
	for _, name := range Names() {
		for _, n := range []int{3, 8, 100, 1000} {
			weights := make([]uint32, n)
			for i := range weights {
				weights[i] = uint32(1 + i%7)
			}
			members := set(weights...)
			for i := range members {
				busy(members[i], i%5)
			}
			p := mustNew(b, name, members)
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					q := &Query{}
					for pb.Next() {
						q.Random = rand.Uint64()
						p.Pick(q)
					}
				})
			})
			b.Run(fmt.Sprintf("%s/%d/tried", name, n), func(b *testing.B) {
				b.ReportAllocs()
				q := &Query{}
				q.Tried.Add(0)
				for b.Loop() {
					q.Random = rand.Uint64()
					p.Pick(q)
				}
			})
		}
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
					if _, err := New(name, members, 1); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
