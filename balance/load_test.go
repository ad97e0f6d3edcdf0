package balance

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	millisecond = int64(time.Millisecond)
	second      = int64(time.Second)
)

func TestTryBegin(t *testing.T) {
	var l Load
	if l.TryBegin(0) || !l.TryBegin(2) || !l.TryBegin(2) || l.TryBegin(2) || l.InFlight() != 2 {
		t.Fatalf("%d in flight: want two of two, and none of none", l.InFlight())
	}
	l.End()
	if !l.TryBegin(2) {
		t.Error("no room after End")
	}
}

// TestTryBeginHoldsUnderRaces: however many try at once, no more than the limit are in.
func TestTryBeginHoldsUnderRaces(t *testing.T) {
	const limit = 3
	var l Load
	var in, got atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5000 {
				if !l.TryBegin(limit) {
					continue
				}
				if n := in.Add(1); n > limit {
					t.Errorf("%d are in at once, and the limit is %d", n, limit)
				}
				got.Add(1)
				in.Add(-1)
				l.End()
			}
		})
	}
	wg.Wait()
	if l.InFlight() != 0 || got.Load() == 0 {
		t.Errorf("%d left in flight after %d that got in", l.InFlight(), got.Load())
	}
}

func TestLatencyRisesAtOnceAndFallsSlowly(t *testing.T) {
	var l Load
	now := 5 * second
	if got := l.Latency(now); got != 0 {
		t.Fatalf("a latency of %d before any answer", got)
	}
	l.Observe(now, 10*millisecond)
	l.Observe(now+second, 80*millisecond)
	if got := l.Latency(now + second); !about(got, 80*millisecond) {
		t.Fatalf("%d ns after a peak of 80 ms", got)
	}
	l.Observe(now+11*second, 10*millisecond) // τ later: 1/e of the difference is left
	if got, want := l.Latency(now+11*second), 10*millisecond+int64(70*float64(millisecond)*math.Exp(-1)); !about(got, want) {
		t.Errorf("%d ns one τ after the peak, want %d", got, want)
	}
	if got := l.Latency(now + 11*second + 3600*second); got != 0 {
		t.Errorf("a latency of %d an hour after the last answer", got)
	}
}

// TestLatencyDoesNotDependOnRate: many answers in a while weigh as much as few.
func TestLatencyDoesNotDependOnRate(t *testing.T) {
	for _, pause := range []int64{second, 50 * millisecond, millisecond, 20_000} {
		var l Load
		l.Observe(0, second)
		for now := pause; now <= 10*second; now += pause {
			l.Observe(now, millisecond)
		}
		if got, want := l.Latency(10*second), millisecond+int64(999*float64(millisecond)*math.Exp(-1)); math.Abs(float64(got-want)) > 0.02*float64(want) {
			t.Errorf("an answer every %d ns: latency %d after one τ, want %d", pause, got, want)
		}
	}
}

// about reports whether two latencies are the same but for the rounding to ticks.
func about(got, want int64) bool { return math.Abs(float64(got-want)) <= 1e-3*float64(want) }

// costOf is what one request more costs at an endpoint, as least_latency sees it.
func costOf(l *Load, now, mean int64) float64 {
	o := lookAt(&Member{Load: l}, tickOf(now))
	return o.cost(float64(mean))
}

// TestFailureOnlyRaisesCost whatever was before and however fast it came.
func TestFailureOnlyRaisesCost(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var l Load
		now := int64(0)
		for range rnd.IntN(20) {
			now += rnd.Int64N(2 * second)
			if latency := rnd.Int64N(second); rnd.IntN(3) > 0 {
				l.Observe(now, latency)
			} else {
				l.Penalize(now, latency)
			}
		}
		before, latency := costOf(&l, now, millisecond), l.Latency(now)
		took := rnd.Int64N(second) >> rnd.UintN(30)
		l.Penalize(now, took)
		if after := costOf(&l, now, millisecond); after <= before && l.Failing(now) < 0.99 {
			t.Fatalf("a failed answer after %d ns made the cost %g from %g", took, after, before)
		}
		if after := l.Latency(now); after < latency || after > max(latency, took)+latency/1000 {
			t.Fatalf("a failed answer after %d ns made the latency %d from %d", took, after, latency)
		}
	}
}

// TestCostOfFailures holds the figures of the comment on Load.
func TestCostOfFailures(t *testing.T) {
	after := func(failures int) float64 {
		var l Load
		l.Observe(second, 10*millisecond)
		for range failures {
			l.Penalize(second, millisecond)
		}
		return costOf(&l, second, millisecond) / float64(10*millisecond)
	}
	for _, test := range []struct {
		failures int
		from, to float64
	}{{0, 1, 1.001}, {1, 1.99, 2.01}, {5, 15, 30}, {16, 500, 2000}, {1000, 65_000, 66_000}} {
		if got := after(test.failures); got < test.from || got > test.to {
			t.Errorf("%d failures make the cost %.2f times as much, want %v to %v", test.failures, got, test.from, test.to)
		}
	}
	// One failure in a hundred answers.
	var l Load
	sum := 0.0
	for i := range 2000 {
		now := int64(i) * millisecond
		if i%100 == 0 {
			l.Penalize(now, millisecond)
		} else {
			l.Observe(now, 10*millisecond)
		}
		sum += costOf(&l, now, millisecond) / float64(10*millisecond)
	}
	if mean := sum / 2000; mean < 1.01 || mean > 1.25 {
		t.Errorf("one failure in a hundred makes the mean cost %.2f times as much, want hardly more", mean)
	}
}

// TestOnlyFailures: an endpoint that never gave a good answer is as slow as its peers at best.
func TestOnlyFailures(t *testing.T) {
	var fast, slow Load
	fast.Penalize(second, 1000)
	slow.Penalize(second, 3*second)
	if fast.Latency(second) != 0 || slow.Latency(second) != 0 {
		t.Errorf("latencies %d and %d without a good answer", fast.Latency(second), slow.Latency(second))
	}
	const mean = 20 * millisecond
	if got := costOf(&fast, second, mean); got < 2*float64(mean) {
		t.Errorf("failing fast costs %g, want at least twice the peers' %d", got, mean)
	}
	if got := costOf(&slow, second, mean); got < 2*3*float64(second) {
		t.Errorf("failing slowly costs %g, want at least twice its 3 s", got)
	}
	fast.Observe(2*second, 5*millisecond)
	if got := fast.Latency(2 * second); !about(got, 5*millisecond) {
		t.Errorf("latency %d after the first good answer of 5 ms", got)
	}
}

// TestFailingFades: good answers and silence both bring the share of failures down.
func TestFailingFades(t *testing.T) {
	var answered, silent Load
	for range 100 {
		answered.Penalize(0, millisecond)
		silent.Penalize(0, millisecond)
	}
	if got := silent.Failing(0); got < 0.99 {
		t.Fatalf("a share of %.2f after a hundred failures", got)
	}
	for i := range int64(100) {
		answered.Observe(i, millisecond)
	}
	if got := answered.Failing(100); got > 0.01 {
		t.Errorf("a share of %.3f after a hundred good answers", got)
	}
	if got := silent.Failing(10 * second); math.Abs(got-1/math.E) > 0.01 {
		t.Errorf("a share of %.3f after one τ of silence, want 1/e", got)
	}
}

// TestClocksOutOfOrder: of two goroutines the later may have read the clock earlier.
func TestClocksOutOfOrder(t *testing.T) {
	var l Load
	l.Observe(10*second, 10*millisecond)
	l.Observe(9*second, millisecond)
	if got := l.Latency(10 * second); !about(got, 10*millisecond) {
		t.Errorf("an answer from before changed the latency to %d", got)
	}
	if got := l.Latency(9 * second); !about(got, 10*millisecond) {
		t.Errorf("read at a moment before, the latency is %d", got)
	}
}

// FuzzLoad: whatever comes, what is estimated stays a number that can be compared.
func FuzzLoad(f *testing.F) {
	f.Add(int64(0), int64(0), int64(0), int64(0), false)
	f.Add(int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MinInt64), int64(math.MinInt64), true)
	f.Add(int64(1)<<52, int64(5), int64(1)<<51, int64(7), true)
	f.Fuzz(func(t *testing.T, at, latency, then, other int64, failed bool) {
		var l Load
		l.Observe(at, latency)
		if failed {
			l.Penalize(then, other)
		} else {
			l.Observe(then, other)
		}
		for _, now := range []int64{at, then, at + second, 0, -1} {
			if cost := costOf(&l, now, millisecond); !(cost >= 0) || math.IsInf(cost, 0) {
				t.Errorf("at %d the cost is %g", now, cost)
			}
			if share := l.Failing(now); !(share >= 0 && share <= 1) {
				t.Errorf("at %d the share of failures is %g", now, share)
			}
			if l.Latency(now) < 0 {
				t.Errorf("at %d the latency is %d", now, l.Latency(now))
			}
		}
	})
}

func TestLoadIsSafeTogether(t *testing.T) {
	var l Load
	var wg sync.WaitGroup
	for i := range int64(4) {
		wg.Go(func() {
			for j := range int64(2000) {
				now := j * millisecond
				switch (i + j) % 4 {
				case 0:
					l.Penalize(now, j)
				case 1:
					l.Latency(now)
				default:
					l.Observe(now, millisecond)
				}
				costOf(&l, now, millisecond)
			}
		})
	}
	wg.Wait()
	if got := l.Latency(2 * second); got < millisecond || got > 2*millisecond {
		t.Errorf("latency %d after answers of a millisecond", got)
	}
}

func TestExp2(t *testing.T) {
	for x := -100.0; x < 100; x += 0.0137 {
		if got, want := exp2(x), math.Exp2(x); math.Abs(got-want) > 1e-6*want {
			t.Fatalf("exp2(%g) = %g, want %g", x, got, want)
		}
	}
	if exp2(0) != 1 {
		t.Errorf("exp2(0) = %g", exp2(0))
	}
}
