package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestBoundedLoadOptions(t *testing.T) {
	for _, test := range []struct {
		o  Options
		ok bool
	}{
		{Options{Algorithm: "maglev", BoundedLoad: 1}, true},
		{Options{Algorithm: "ring_hash", BoundedLoad: 1.25}, true},
		{Options{Algorithm: "rendezvous", BoundedLoad: 0.9}, false},
		{Options{Algorithm: "rendezvous", BoundedLoad: -1}, false},
		{Options{Algorithm: "maglev", BoundedLoad: math.NaN()}, false},
		{Options{Algorithm: "maglev", BoundedLoad: math.Inf(1)}, false},
		{Options{Algorithm: "random", BoundedLoad: 1.25}, false},
	} {
		for _, members := range [][]Member{nil, set(1, 1)} {
			if _, err := New(test.o, members); (err == nil) != test.ok {
				t.Errorf("%+v over %d members: error %v", test.o, len(members), err)
			}
		}
	}
}

// TestBoundedLoadHolds: while requests come and stay, no endpoint has more than ⌈c · w · (m+1) / Σw⌉ of them, also when all ask for one key.
func TestBoundedLoadHolds(t *testing.T) {
	for _, name := range keyedNames() {
		for _, weights := range [][]uint32{{1, 1}, {3, 1, 2}, equal(10), append(equal(30), 5, 5)} {
			for _, c := range []float64{1.05, 1.25, 2} {
				for _, keys := range []uint64{1, 1000} {
					t.Run(fmt.Sprint(name, " ", len(weights), " ", c, " ", keys), func(t *testing.T) {
						holdsBound(t, name, weights, c, keys)
					})
				}
			}
		}
	}
}

func holdsBound(t *testing.T, name string, weights []uint32, c float64, keys uint64) {
	t.Helper()
	members := set(weights...)
	p, err := New(Options{Algorithm: name, BoundedLoad: c}, members)
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for _, w := range weights {
		total += float64(w)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for m := range 20 * len(weights) {
		i := p.Pick(&Query{Random: rnd.Uint64(), Hash: next(rnd.Uint64N(keys)), Keyed: true}) / 10
		members[i].Load.Begin()
		limit := math.Ceil(c*float64(weights[i])*float64(m+1)/total - 1e-9)
		if got := float64(members[i].Load.InFlight()); got > limit {
			t.Fatalf("request %d: endpoint %d of weight %d has %v in flight, and may have %v", m, i, weights[i], got, limit)
		}
	}
}

// TestBoundedLoadKeepsAffinity: while there is room, a key stays where it is without a bound.
func TestBoundedLoadKeepsAffinity(t *testing.T) {
	for _, name := range keyedNames() {
		members := set(equal(10)...)
		free := mustNew(t, name, members)
		for _, m := range members {
			busy(m, 10)
		}
		p, err := New(Options{Algorithm: name, BoundedLoad: 1.25}, members)
		if err != nil {
			t.Fatal(err)
		}
		rnd := rand.New(rand.NewPCG(1, 2))
		for range 10 { // to see all of the work that was there before
			p.Pick(&Query{Random: rnd.Uint64(), Hash: rnd.Uint64(), Keyed: true})
		}
		for range 500 {
			q := Query{Random: rnd.Uint64(), Hash: rnd.Uint64(), Keyed: true}
			want, got := free.Pick(&q), p.Pick(&q)
			if got != want {
				t.Fatalf("%s: a key of %d went to %d although there was room", name, want, got)
			}
		}
		busy(members[3], 20)
		moved := 0
		for range 500 {
			q := Query{Random: rnd.Uint64(), Hash: rnd.Uint64(), Keyed: true}
			want, got := free.Pick(&q), p.Pick(&q)
			switch {
			case got == 30:
				t.Fatalf("%s: an endpoint with thrice its part got a request", name)
			case want == 30:
				moved++
			case want != got:
				t.Fatalf("%s: a key of %d went to %d because another is full", name, want, got)
			}
		}
		if moved == 0 {
			t.Errorf("%s: no key belonged to the full endpoint", name)
		}
	}
}

// TestBoundedLoadNoticesEnds: the sum of the work follows what ends elsewhere, within as many picks as there are members.
func TestBoundedLoadNoticesEnds(t *testing.T) {
	const n = 100
	members := set(equal(n)...)
	for _, m := range members {
		busy(m, 50)
	}
	p, err := New(Options{Algorithm: "maglev", BoundedLoad: 1.25}, members)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	sum := func() int64 {
		for range 3 * n {
			p.Pick(&Query{Random: rnd.Uint64(), Hash: rnd.Uint64(), Keyed: true})
		}
		return p.(*maglev).bound.sum.Load()
	}
	if got := sum(); got < 50*n || got > 50*n+n {
		t.Errorf("sum %d, want %d and some that were picked just now", got, 50*n)
	}
	for _, m := range members {
		for range 50 {
			m.Load.End()
		}
	}
	if got := sum(); got < 0 || got > 2*n {
		t.Errorf("sum %d after all ended, want next to nothing", got)
	}
}

// TestBoundedLoadAllFull: with all that were not tried above their part, the request goes to one of them all the same.
func TestBoundedLoadAllFull(t *testing.T) {
	for _, name := range keyedNames() {
		members := set(equal(4)...)
		busy(members[1], 100)
		busy(members[2], 90)
		p, err := New(Options{Algorithm: name, BoundedLoad: 1}, members)
		if err != nil {
			t.Fatal(err)
		}
		q := Query{Hash: 1 << 60, Keyed: true}
		q.Tried.Add(0)
		q.Tried.Add(30)
		got := []int{p.Pick(&q)}
		q.Tried.Add(20)
		got = append(got, p.Pick(&q))
		q.Tried.Add(10)
		got = append(got, p.Pick(&q))
		if want := []int{20, 10, -1}; !slices.Equal(got, want) {
			t.Errorf("%s: picks %v, want %v", name, got, want)
		}
	}
}
