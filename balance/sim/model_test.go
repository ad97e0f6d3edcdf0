package main

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// small is a model that takes milliseconds to run and has everything in it.
func small() *model {
	machines := equalMachines(5)
	machines[0].speed = func(now int64) float64 {
		if now > 20*second {
			return 0.05
		}
		return 1
	}
	machines[1].fails = func(now int64) bool { return now > 10*second && now < 25*second }
	machines[2].weight = 3
	return &model{
		policy: named("least_latency"), endpoints: machines, work: work, rate: steady(0.6, 5), proxies: 2, deadline: second / 2,
		keys: newZipf(100, 1), from: 5 * second, until: 40 * second, slices: 7, seed: 1,
	}
}

func TestSameSeedSameResult(t *testing.T) {
	a, b := simulate(small()), simulate(small())
	a.m, b.m = nil, nil
	if !reflect.DeepEqual(a, b) {
		t.Error("two runs of the same model differ")
	}
	m := small()
	m.seed++
	if c := simulate(m); c.sum == a.sum {
		t.Error("another seed gave the same latencies")
	}
}

// TestNothingIsLostOrCountedTwice: all that came is answered, failed, expired, or still there at the end.
func TestNothingIsLostOrCountedTwice(t *testing.T) {
	for _, deadline := range []int64{0, 50 * millisecond, second / 2} {
		m := small()
		m.deadline, m.from = deadline, 0
		out := simulate(m)
		over := out.good + out.errors + out.expiries
		places, inSeries := 0, 0
		for _, n := range out.perPlace {
			places += n
		}
		for _, counts := range out.series {
			for _, n := range counts {
				inSeries += n
			}
		}
		if out.came != places || out.came != inSeries || over > out.came {
			t.Errorf("deadline %d: %d came, %d at endpoints, %d in series, %d were over", deadline, out.came, places, inSeries, over)
		}
		if left := out.came - over; deadline > 0 && left > 60 {
			t.Errorf("deadline %d: %d requests were never over", deadline, left)
		}
		if len(out.latency) != out.good+out.expiries || (out.expiries > 0) != (deadline > 0) || out.errors == 0 {
			t.Errorf("deadline %d: %d latencies of %d good and %d expired, %d errors", deadline, len(out.latency), out.good, out.expiries, out.errors)
		}
		if most := slices.Max(out.latency); deadline > 0 && most > float32(deadline) {
			t.Errorf("deadline %d: a latency of %g", deadline, most)
		}
	}
}

// TestLoadIsWhatWasAskedFor: the work that comes is the rate times the mean, also when requests are of two kinds.
func TestLoadIsWhatWasAskedFor(t *testing.T) {
	for _, mixed := range []bool{false, true} {
		out := simulate(&model{policy: named("random"), endpoints: equalMachines(8), work: work, mixed: mixed, rate: steady(0.7, 8), from: 0, until: 600 * second, seed: 3})
		load := out.work * float64(work) / float64(600*second) / 8
		if math.Abs(load-0.7) > 0.03 {
			t.Errorf("mixed %v: the load came to %.3f, want 0.7", mixed, load)
		}
	}
}

// TestFailingEndpointFails only while it should, in a tenth of the time.
func TestFailingEndpointFails(t *testing.T) {
	machines := equalMachines(4)
	machines[3].fails = func(int64) bool { return true }
	out := simulate(&model{policy: named("round_robin"), endpoints: machines, work: work, rate: steady(0.3, 4), from: second, until: 100 * second, seed: 4})
	if share := out.lost(); math.Abs(share-0.25) > 0.005 {
		t.Errorf("%.3f of the requests failed, want a quarter", share)
	}
}

// TestSpeed: an endpoint of half the speed takes twice as long.
func TestSpeed(t *testing.T) {
	mean := func(speed float64) float64 {
		machines := equalMachines(1)
		machines[0].speed = func(int64) float64 { return speed }
		return simulate(&model{policy: named("random"), endpoints: machines, work: work, rate: steady(0.001, 1), from: 0, until: 20_000 * second, seed: 5}).mean()
	}
	if ratio := mean(0.5) / mean(1); math.Abs(ratio-2) > 0.01 {
		t.Errorf("half the speed takes %.3f times as long", ratio)
	}
}

func TestHeap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var h heap
	var want []int64
	for range 500 {
		at := rnd.Int64N(100)
		h.push(event{at, 0})
		want = append(want, at)
		if rnd.IntN(3) == 0 {
			slices.Sort(want)
			if got := h.pop().at; got != want[0] {
				t.Fatalf("popped %d, want %d", got, want[0])
			}
			want = want[1:]
		}
	}
	slices.Sort(want)
	for _, at := range want {
		if got := h.pop().at; got != at {
			t.Fatalf("popped %d, want %d", got, at)
		}
	}
}

func TestPercentile(t *testing.T) {
	all := []float32{5, 1, 4, 2, 3}
	for p, want := range map[float64]float64{0: 1, 0.2: 1, 0.5: 3, 0.99: 5, 1: 5} {
		if got := percentile(all, max(p, 0.01)); got != want {
			t.Errorf("percentile %v of 1 to 5 is %v, want %v", p, got, want)
		}
	}
	if got := percentile(nil, 0.5); got != 0 {
		t.Errorf("percentile of nothing is %v", got)
	}
}

func TestZipf(t *testing.T) {
	z := newZipf(1000, 1)
	rnd := rand.New(rand.NewPCG(1, 2))
	counts := map[uint64]int{}
	for range 100_000 {
		counts[z.draw(rnd)]++
	}
	first, second, last := counts[keyHash(0)], counts[keyHash(1)], counts[keyHash(999)]
	if math.Abs(float64(first)/13_359-1) > 0.05 || math.Abs(float64(first)/float64(second)-2) > 0.15 || last == 0 || last > 40 {
		t.Errorf("keys were drawn %d, %d and %d times, want 13,359, half of that, and about 13", first, second, last)
	}
}

func TestTheory(t *testing.T) {
	for _, test := range []struct {
		name      string
		got, want float64
	}{
		{"random", meanRandom(0.9), 10},
		{"turns", meanTurns(0.7), 1.88},
		{"turns", meanTurns(0.9), 5.18},
		{"two", meanShortestOf(0.7, 2), 1.614},
		{"two", meanShortestOf(0.95, 2), 3.383},
		{"three", meanShortestOf(0.9, 3), 2.028},
	} {
		if math.Abs(test.got/test.want-1) > 0.003 {
			t.Errorf("%s: %.4f, want %.4f", test.name, test.got, test.want)
		}
	}
}
