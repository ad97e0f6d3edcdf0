//go:build !race

package balance

import "testing"

func TestPickDoesNotAllocate(t *testing.T) {
	for _, name := range Names() {
		for _, n := range []int{3, 1000} {
			p := mustNew(t, name, set(equal(n)...))
			q := &Query{}
			q.Tried.Add(0)
			if got := testing.AllocsPerRun(1000, func() {
				q.Random = next(q.Random)
				p.Pick(q)
			}); got != 0 {
				t.Errorf("%s of %d allocates %v times for a pick", name, n, got)
			}
		}
	}
}
