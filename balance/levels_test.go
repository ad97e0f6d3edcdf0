package balance

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// levelsOf returns levels of total members of weight 1, of which the first usable are usable; the slots go on from level to level in tens.
func levelsOf(counts ...[2]int) []Level {
	var levels []Level
	total := 0
	for _, c := range counts {
		total += c[1]
	}
	members := set(equal(total)...)
	for _, c := range counts {
		levels = append(levels, Level{All: members[:c[1]], Usable: members[:c[0]]})
		members = members[c[1]:]
	}
	return levels
}

// TestPlan: who gets which share, and which endpoints are used; letters of those used are in order of slots.
func TestPlan(t *testing.T) {
	for _, test := range []struct {
		name   string
		levels []Level
		panic  float64
		shares []float64
		panics bool
		used   []int // how many slots of each level get requests
	}{
		{"one level, all well", levelsOf([2]int{3, 3}), 0.5, []float64{1}, false, []int{3}},
		{"one level, half is no panic", levelsOf([2]int{2, 4}), 0.5, []float64{1}, false, []int{2}},
		{"one level, more than half is", levelsOf([2]int{1, 4}), 0.5, []float64{1}, true, []int{4}},
		{"one level, a lower share", levelsOf([2]int{8, 10}), 0.1, []float64{1}, true, []int{10}},
		{"one level, never", levelsOf([2]int{1, 4}), 0, []float64{1}, false, []int{1}},
		{"one level, all down", levelsOf([2]int{0, 4}), 1, []float64{1}, true, []int{4}},
		{"one level, all down, never", levelsOf([2]int{0, 4}), 0, []float64{0}, false, []int{0}},
		{"two levels, all well", levelsOf([2]int{3, 3}, [2]int{3, 3}), 0.5, []float64{1, 0}, false, []int{3, 0}},
		{"exactly seven tenths", levelsOf([2]int{7, 10}, [2]int{3, 3}), 0.5, []float64{1, 0}, false, []int{7, 0}},
		{"overflow", levelsOf([2]int{5, 10}, [2]int{4, 4}), 0.5, []float64{5.0 / 7, 2.0 / 7}, false, []int{5, 4}},
		{"overflow does not panic", levelsOf([2]int{2, 10}, [2]int{4, 4}), 0.5, []float64{2.0 / 7, 5.0 / 7}, false, []int{2, 4}},
		{"first level down", levelsOf([2]int{0, 3}, [2]int{2, 2}), 0.5, []float64{0, 1}, false, []int{0, 2}},
		{"three levels", levelsOf([2]int{3, 10}, [2]int{3, 10}, [2]int{10, 10}), 0.5, []float64{3.0 / 7, 3.0 / 7, 1.0 / 7}, false, []int{3, 3, 10}},
		{"too few together", levelsOf([2]int{3, 10}, [2]int{1, 10}), 0.5, []float64{0.75, 0.25}, true, []int{10, 10}},
		{"too few together, never panic", levelsOf([2]int{3, 10}, [2]int{1, 10}), 0, []float64{0.75, 0.25}, false, []int{3, 1}},
		{"too few, one panics", levelsOf([2]int{1, 10}, [2]int{5, 10}), 0.5, []float64{1.0 / 6, 5.0 / 6}, true, []int{10, 5}},
		{"the panic of a level without a share", levelsOf([2]int{0, 10}, [2]int{6, 10}), 0.5, []float64{0, 1}, false, []int{0, 6}},
		{"all down", levelsOf([2]int{0, 3}, [2]int{0, 1}), 0.5, []float64{0.75, 0.25}, true, []int{3, 1}},
		{"all down, never", levelsOf([2]int{0, 3}, [2]int{0, 1}), 0, []float64{0, 0}, false, []int{0, 0}},
		{"no levels", nil, 0.5, []float64{}, false, nil},
		{"an empty level", levelsOf([2]int{0, 0}, [2]int{1, 4}), 0.5, []float64{0, 1}, true, []int{0, 4}},
		{"only empty levels", levelsOf([2]int{0, 0}), 0.5, []float64{0}, false, []int{0}},
	} {
		for _, algorithm := range Names() {
			p, plan, err := NewLevels(Options{Algorithm: algorithm}, test.levels, test.panic)
			if err != nil {
				t.Fatal(err)
			}
			if plan.Panics != test.panics || !slices.EqualFunc(plan.Shares, test.shares, func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }) {
				t.Errorf("%s: plan %+v, want shares %v, panic %v", test.name, plan, test.shares, test.panics)
			}
			checkSpread(t, test.name+", "+algorithm, p, test.levels, test.shares, test.used)
		}
	}
}

// checkSpread picks many times and compares the shares of the levels and the number of slots used in each.
func checkSpread(t *testing.T, name string, p Picker, levels []Level, shares []float64, used []int) {
	t.Helper()
	const n = 4000
	rnd := rand.New(rand.NewPCG(1, 2))
	slots := map[int]int{}
	for range n {
		slots[p.Pick(&Query{Random: rnd.Uint64(), Hash: rnd.Uint64(), Keyed: true})]++
	}
	for i, l := range levels {
		got, seen := 0, 0
		for _, m := range l.All {
			got += slots[m.Slot]
			if slots[m.Slot] > 0 {
				seen++
			}
		}
		// Over all endpoints of all levels, rings are uneven.
		if want := shares[i]; math.Abs(float64(got)/n-want) > 0.06 || seen != used[i] {
			t.Errorf("%s: level %d got %d of %d requests on %d slots, want %.2f of them on %d", name, i, got, n, seen, want, used[i])
		}
	}
	if slices.Max(append(shares, 0)) == 0 && slots[-1] != n {
		t.Errorf("%s: picks %v, want none", name, slots)
	}
}

// TestOtherLevelsWhenTried: when a level has nothing left for a request, the others are asked in order, also those without a share.
func TestOtherLevelsWhenTried(t *testing.T) {
	for _, name := range Names() {
		p, _, err := NewLevels(Options{Algorithm: name}, levelsOf([2]int{2, 2}, [2]int{1, 1}, [2]int{2, 3}), 0.5)
		if err != nil {
			t.Fatal(err)
		}
		q := Query{Hash: 77, Keyed: true}
		var got []int
		for range 6 {
			q.Random = next(q.Random)
			slot := p.Pick(&q)
			got = append(got, slot)
			q.Tried.Add(max(slot, 0))
		}
		slices.Sort(got[:2])
		slices.Sort(got[3:5])
		if want := []int{0, 10, 20, 30, 40, -1}; !slices.Equal(got, want) {
			t.Errorf("%s: tries %v, want %v", name, got, want)
		}
	}
}

// TestKeysKeepTheirLevel: with a key, the level does not depend on chance.
func TestKeysKeepTheirLevel(t *testing.T) {
	p, _, err := NewLevels(Options{Algorithm: "maglev"}, levelsOf([2]int{5, 10}, [2]int{5, 5}), 0.5)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		q := Query{Hash: rnd.Uint64(), Keyed: true}
		want := p.Pick(&q)
		for range 5 {
			q.Random = rnd.Uint64()
			if got := p.Pick(&q); got != want {
				t.Fatalf("the same key was placed on %d and on %d", want, got)
			}
		}
	}
}

// TestOneLevelCostsNothing: the picker is the algorithm's own.
func TestOneLevelCostsNothing(t *testing.T) {
	for _, levels := range [][]Level{levelsOf([2]int{2, 3}), levelsOf([2]int{2, 3}, [2]int{0, 0})} {
		p, _, err := NewLevels(Options{Algorithm: "random"}, levels, 0.5)
		if _, plain := p.(*random); err != nil || !plain {
			t.Errorf("a picker %T over one level, error %v", p, err)
		}
	}
}

func TestLevelsWithoutWeight(t *testing.T) {
	members := set(0, 0, 5)
	levels := []Level{{All: members[:2], Usable: members[:2]}, {All: members, Usable: members}}
	p, plan, err := NewLevels(Options{Algorithm: "least_request"}, levels, 0.5)
	if err != nil || !slices.Equal(plan.Shares, []float64{0, 1}) || p.Pick(&Query{}) != 20 {
		t.Errorf("plan %+v, error %v: want the one member that has a weight", plan, err)
	}
}

func TestLevelsErrors(t *testing.T) {
	for _, levels := range [][]Level{nil, levelsOf([2]int{1, 1}), levelsOf([2]int{1, 1}, [2]int{1, 1})} {
		if _, _, err := NewLevels(Options{Algorithm: "least"}, levels, 0.5); err == nil {
			t.Errorf("an unknown algorithm over %d levels is no error", len(levels))
		}
	}
}
