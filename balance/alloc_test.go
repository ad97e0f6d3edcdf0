//go:build !race

package balance

import "testing"

// TestPickDoesNotAllocate holds it for every algorithm, few endpoints and many, with and without what they need of a request, over one level and two.
func TestPickDoesNotAllocate(t *testing.T) {
	for _, name := range Names() {
		for _, n := range []int{3, 10, 100, 1000} {
			members := set(equal(n)...)
			options := []Options{{Algorithm: name}}
			if Keyed(name) {
				options = append(options, Options{Algorithm: name, BoundedLoad: 1.25})
			}
			for _, o := range options {
				one, err := New(o, members)
				if err != nil {
					t.Fatal(err)
				}
				two, _, err := NewLevels(o, []Level{{All: members, Usable: members[:n/2]}, {All: members[:1], Usable: members[:1]}}, 0)
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range []Picker{one, two} {
					q := &Query{}
					q.Tried.Add(0)
					if got := testing.AllocsPerRun(300, func() {
						q.Random = next(q.Random)
						q.Hash, q.Keyed = next(q.Random), q.Random%2 == 0
						q.Now += 1 << 21
						p.Pick(q)
					}); got != 0 {
						t.Errorf("%+v of %d, %T, allocates %v times for a pick", o, n, p, got)
					}
				}
			}
		}
	}
}

// TestLoadDoesNotAllocate: every request does these.
func TestLoadDoesNotAllocate(t *testing.T) {
	var l Load
	now := int64(0)
	if got := testing.AllocsPerRun(300, func() {
		now += millisecond
		l.Begin()
		l.Observe(now, millisecond)
		l.Penalize(now, 2*millisecond)
		l.Latency(now)
		l.End()
		l.TryBegin(1)
		l.End()
	}); got != 0 {
		t.Errorf("the bookkeeping of a request allocates %v times", got)
	}
}

func TestHashDoesNotAllocate(t *testing.T) {
	key := []byte("a key of more than thirty-two bytes, as tokens are")
	if got := testing.AllocsPerRun(300, func() { Hash(key) }); got != 0 {
		t.Errorf("hashing a key allocates %v times", got)
	}
}
