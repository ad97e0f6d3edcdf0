package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

// set returns one idle member for each weight; slots are ten times the place, so that a picker
// which confuses the two is found.
func set(weights ...uint32) []Member {
	members := make([]Member, len(weights))
	for i, w := range weights {
		members[i] = Member{Slot: 10 * i, Weight: w, Load: new(Load), ID: fmt.Sprintf("10.0.%d.%d:8080", i>>8, i&255)}
	}
	return members
}

func equal(n int) []uint32 { return slices.Repeat([]uint32{1}, n) }

func mustNew(t testing.TB, algorithm string, members []Member) Picker {
	t.Helper()
	p, err := New(Options{Algorithm: algorithm}, members)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// shares picks n times and returns how often each place was picked.
func shares(t testing.TB, p Picker, members, n int, q *Query) []int {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	counts := make([]int, members)
	for range n {
		q.Random = rnd.Uint64()
		slot := p.Pick(q)
		if slot < 0 || slot%10 != 0 || slot/10 >= members {
			t.Fatalf("picked slot %d of %d members", slot, members)
		}
		counts[slot/10]++
	}
	return counts
}

// near reports whether got is within five standard deviations of a binomial count: wrong once in
// a million runs, and the seeds are fixed anyway.
func near(got, n int, p float64) bool {
	return math.Abs(float64(got)-float64(n)*p) <= 5*math.Sqrt(float64(n)*p*(1-p))+1
}

func TestNamesAreSortedAndKnown(t *testing.T) {
	names := Names()
	if !slices.IsSorted(names) || !slices.Contains(names, Default) {
		t.Errorf("names %q: want them sorted, with %q", names, Default)
	}
	for _, name := range names {
		if p := mustNew(t, name, set(1)); p.Pick(&Query{}) != 0 {
			t.Errorf("%s does not pick the only member", name)
		}
	}
}

func TestUnknownAlgorithm(t *testing.T) {
	_, err := New(Options{Algorithm: "least"}, set(1))
	if err == nil || !strings.Contains(err.Error(), "round_robin") {
		t.Errorf("got %v: want an error that lists the algorithms", err)
	}
}

func TestNothingToPick(t *testing.T) {
	for _, name := range Names() {
		for _, members := range [][]Member{nil, set(0, 0)} {
			if got := mustNew(t, name, members).Pick(&Query{}); got != -1 {
				t.Errorf("%s over %d members of no weight picked %d", name, len(members), got)
			}
		}
	}
}

func TestSmoothOrderIsNGINXs(t *testing.T) {
	for _, test := range []struct {
		weights []uint32
		want    string
	}{
		{[]uint32{5, 1, 1}, "aabacaa"},
		{[]uint32{50, 10, 10}, "aabacaa"}, // reduced by the common divisor
		{[]uint32{4, 2, 1}, "abacaba"},
		{[]uint32{1, 1, 1}, "abc"},
		{[]uint32{3}, "a"},
		{[]uint32{1, 2}, "bab"},
		{[]uint32{0, 2, 0, 1}, "bdb"},
	} {
		t.Run(fmt.Sprint(test.weights), func(t *testing.T) {
			p := mustNew(t, "round_robin", set(test.weights...))
			for range 3 { // the order repeats
				var got strings.Builder
				for range len(test.want) {
					got.WriteByte(byte('a' + p.Pick(&Query{})/10))
				}
				if got.String() != test.want {
					t.Fatalf("order %s, want %s", got.String(), test.want)
				}
			}
		})
	}
}

func TestRoundRobinStart(t *testing.T) {
	p, err := New(Options{Algorithm: "round_robin", Start: 7}, set(1, 1, 1))
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Pick(&Query{}); got != 10 {
		t.Errorf("start 7 of 3 began with slot %d, want 10", got)
	}
}

// TestOrderShares holds for every order: over one round each member has exactly its weight, and
// at no moment is it more than two turns ahead of its share of the turns so far.
func TestOrderShares(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 60 {
		weights := make([]uint32, 1+rnd.IntN(40))
		var total uint64
		for i := range weights {
			weights[i] = 1 + rnd.Uint32N(100)
			total += uint64(weights[i])
		}
		for name, order := range map[string][]uint32{"smooth": smoothOrder(weights, total), "deadline": deadlineOrder(weights, total)} {
			counts := make([]uint32, len(weights))
			for turn, i := range order {
				counts[i]++
				// Only the one just taken can be ahead most.
				ahead := float64(counts[i]) - float64(turn+1)*float64(weights[i])/float64(total)
				if ahead > 2 {
					t.Fatalf("%s of %v: member %d is %.2f turns ahead at turn %d", name, weights, i, ahead, turn)
				}
			}
			if !slices.Equal(counts, weights) {
				t.Fatalf("%s of %v gave the turns %v", name, weights, counts)
			}
		}
	}
}

func TestRoundRobinOfHugeWeights(t *testing.T) {
	weights := make([]uint32, 300)
	for i := range weights {
		weights[i] = uint32(1 + i*217) // up to 64,884; sum far over maxTurns
	}
	order := newOrder(set(weights...))
	if len(order) > maxTurns+len(weights) {
		t.Fatalf("an order of %d turns, want at most %d", len(order), maxTurns+len(weights))
	}
	counts := make([]int, len(weights))
	for _, i := range order {
		counts[i]++
	}
	total := 0.0
	for _, w := range weights {
		total += float64(w)
	}
	for i, w := range weights {
		if want := float64(w) / total * float64(len(order)); counts[i] < 1 || math.Abs(float64(counts[i])-want) > 2 {
			t.Errorf("weight %d got %d turns of %d, want %.1f", w, counts[i], len(order), want)
		}
	}
}

func TestSharesFollowWeightsWhenIdle(t *testing.T) {
	const n = 200_000
	for _, name := range Names() {
		for _, weights := range [][]uint32{{1, 1}, {2, 1}, {5, 1, 1}, {1, 1, 1, 1, 1, 1, 1, 1}, {10, 1}, {65535, 1}, append([]uint32{20}, equal(30)...), {3, 0, 1}} {
			t.Run(fmt.Sprint(name, weights), func(t *testing.T) {
				counts := shares(t, mustNew(t, name, set(weights...)), len(weights), n, &Query{})
				var total uint32
				for _, w := range weights {
					total += w
				}
				for i, w := range weights {
					if p := float64(w) / float64(total); !near(counts[i], n, p) {
						t.Errorf("member %d of %v got %d of %d, want %.0f", i, weights, counts[i], n, p*n)
					}
				}
			})
		}
	}
}

func TestTriedIsLeftOut(t *testing.T) {
	for _, name := range Names() {
		for _, n := range []int{2, 3, 8, 9, 33, 200} {
			weights := equal(n)
			weights[0] = 60_000 // nearly every draw falls on what was tried
			p := mustNew(t, name, set(weights...))
			q := Query{}
			q.Tried.Add(0)
			counts := shares(t, p, n, 4000, &q)
			if counts[0] != 0 {
				t.Errorf("%s of %d: the tried member was picked %d times", name, n, counts[0])
			}
			if slices.Min(counts[1:]) == 0 && n <= 33 {
				t.Errorf("%s of %d: some of the others were never picked: %v", name, n, counts)
			}
		}
	}
}

func TestAllTried(t *testing.T) {
	for _, name := range Names() {
		for _, n := range []int{1, 2, 8, 9, MaxTried} {
			q := Query{Random: 77}
			for i := range n {
				q.Tried.Add(10 * i)
			}
			if got := mustNew(t, name, set(equal(n)...)).Pick(&q); got != -1 {
				t.Errorf("%s of %d, all tried, picked %d", name, n, got)
			}
		}
	}
}

func TestTried(t *testing.T) {
	var tried Tried
	if !tried.Empty() || tried.Has(0) {
		t.Error("a new set is not empty")
	}
	for i := range MaxTried + 2 {
		tried.Add(i)
	}
	if tried.Empty() || tried.Has(0) || tried.Has(1) || !tried.Has(2) || !tried.Has(MaxTried+1) {
		t.Error("a full set must forget the oldest and keep the rest")
	}
	tried.Reset()
	if !tried.Empty() || tried.Has(2) {
		t.Error("reset left something")
	}
}

func busy(m Member, n int) {
	for range n {
		m.Load.Begin()
	}
}

func TestLeastRequestIsExactOfFew(t *testing.T) {
	for _, test := range []struct {
		weights, inFlight []uint32
		want              []int // the only places that may be picked
	}{
		{[]uint32{1, 1, 1}, []uint32{3, 1, 2}, []int{1}},
		{[]uint32{1, 1, 1}, []uint32{1, 1, 2}, []int{0, 1}},
		{[]uint32{4, 1}, []uint32{2, 0}, []int{0}},    // 3/4 < 1/1
		{[]uint32{4, 1}, []uint32{4, 0}, []int{1}},    // 5/4 > 1/1
		{[]uint32{4, 1}, []uint32{3, 0}, []int{0, 1}}, // equal
		{[]uint32{1, 1, 1, 1, 1, 1, 1, 1}, []uint32{1, 1, 1, 1, 1, 1, 1, 0}, []int{7}},
	} {
		members := set(test.weights...)
		for i, n := range test.inFlight {
			busy(members[i], int(n))
		}
		counts := shares(t, mustNew(t, "least_request", members), len(members), 1000, &Query{})
		for i, c := range counts {
			if (c > 0) != slices.Contains(test.want, i) {
				t.Errorf("weights %v with %v in flight: picks %v, want only %v", test.weights, test.inFlight, counts, test.want)
				break
			}
		}
	}
}

// TestLeastRequestTies: equal ones are drawn by weight, not by place.
func TestLeastRequestTies(t *testing.T) {
	const n = 60_000
	members := set(1, 2, 1, 1)
	busy(members[0], 9)
	busy(members[1], 1) // (1+1)/2 = 1
	counts := shares(t, mustNew(t, "least_request", members), 4, n, &Query{})
	for i, p := range []float64{0, 0.5, 0.25, 0.25} {
		if !near(counts[i], n, p) {
			t.Errorf("place %d got %d of %d, want %.0f", i, counts[i], n, p*n)
		}
	}
}

// TestLeastRequestOfTwo: with one busy endpoint among ten, it is picked only if drawn twice,
// which cannot be; the busier of two is never taken.
func TestLeastRequestOfTwo(t *testing.T) {
	members := set(equal(10)...)
	busy(members[4], 1)
	counts := shares(t, mustNew(t, "least_request", members), 10, 20_000, &Query{})
	if counts[4] != 0 || slices.Min(append(counts[:4:4], counts[5:]...)) == 0 {
		t.Errorf("picks %v: want none of place 4 and some of every other", counts)
	}
}

// TestLeastRequestMaximum throws n requests at n endpoints that finish none: with two choices the
// fullest has about ln ln n / ln 2, with one choice about ln n / ln ln n (performance.md 1.1).
func TestLeastRequestMaximum(t *testing.T) {
	const n = 1000
	fullest := func(name string) int64 {
		members := set(equal(n)...)
		p := mustNew(t, name, members)
		rnd := rand.New(rand.NewPCG(5, 6))
		var most int64
		for range n {
			l := members[p.Pick(&Query{Random: rnd.Uint64()})/10].Load
			l.Begin()
			most = max(most, l.InFlight())
		}
		return most
	}
	if two, one := fullest("least_request"), fullest("random"); two > 4 || one < two {
		t.Errorf("the fullest of %d endpoints has %d with two choices and %d with one", n, two, one)
	}
}

// TestShareUnderWork: requests that stay in flight for a while end up by weight.
func TestShareUnderWork(t *testing.T) {
	const n = 50_000
	for _, weights := range [][]uint32{{3, 1}, {1, 2, 3, 4}, slices.Concat(slices.Repeat([]uint32{3}, 10), equal(10))} {
		members := set(weights...)
		p := mustNew(t, "least_request", members)
		rnd := rand.New(rand.NewPCG(7, 8))
		var total float64
		for _, w := range weights {
			total += float64(w)
		}
		inFlight := make([]int, 0, 401)
		counts := make([]int, len(weights))
		for range n {
			slot := p.Pick(&Query{Random: rnd.Uint64()})
			counts[slot/10]++
			members[slot/10].Load.Begin()
			if inFlight = append(inFlight, slot/10); len(inFlight) > 400 {
				i := rnd.IntN(len(inFlight))
				members[inFlight[i]].Load.End()
				inFlight[i] = inFlight[len(inFlight)-1]
				inFlight = inFlight[:len(inFlight)-1]
			}
		}
		for i, w := range weights {
			if got, want := float64(counts[i])/n, float64(w)/total; math.Abs(got-want) > 0.1*want {
				t.Errorf("weights %v: member %d has %.3f of the requests, want %.3f", weights, i, got, want)
			}
		}
	}
}

func TestPickersAreSafeTogether(t *testing.T) {
	for _, name := range Names() {
		members := set(append([]uint32{7}, equal(20)...)...)
		p := mustNew(t, name, members)
		var wg sync.WaitGroup
		for seed := range uint64(4) {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(seed, 9))
				for range 2000 {
					l := members[p.Pick(&Query{Random: rnd.Uint64()})/10].Load
					l.Begin()
					l.End()
				}
			})
		}
		wg.Wait()
		for i, m := range members {
			if n := m.Load.InFlight(); n != 0 {
				t.Errorf("%s: member %d has %d in flight at the end", name, i, n)
			}
		}
	}
}

// TestAliasTableIsExact: the parts of the table that mean a member sum up to its weight.
func TestAliasTableIsExact(t *testing.T) {
	rnd := rand.New(rand.NewPCG(10, 11))
	for range 100 {
		weights := make([]uint32, 1+rnd.IntN(50))
		for i := range weights {
			weights[i] = 1 + rnd.Uint32N(1<<rnd.UintN(20))
		}
		w := newWeighted(set(weights...))
		got := make([]float64, len(weights))
		for i, row := range w.rows {
			part := float64(row.threshold) / math.MaxUint64
			got[i] += part
			got[row.other] += 1 - part
		}
		for i, weight := range weights {
			want := float64(weight) / float64(w.total)
			if share := got[i] / float64(len(weights)); math.Abs(share-want) > 1e-9 {
				t.Fatalf("weights %v: member %d has share %g, want %g", weights, i, share, want)
			}
		}
	}
}
