package metric

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

func TestBucketEdges(t *testing.T) {
	index := func(v uint64) int {
		dec, sub := bucketOf(v)
		return dec*perDecade + sub
	}
	var last uint64 = minNanos
	for b := range numBuckets {
		lo, hi := edges(b)
		if lo != last {
			t.Fatalf("bucket %d begins at %d, the one before ends at %d", b, lo, last)
		}
		last = hi
		if float64(hi-lo) > 0.05*float64(lo) {
			t.Errorf("bucket %d (%d, %d] is wider than 5 %%", b, lo, hi)
		}
		for v, want := range map[uint64]int{lo: max(b-1, 0), lo + 1: b, (lo + hi) / 2: b, hi: b, hi + 1: min(b+1, numBuckets-1)} {
			if got := index(v); got != want {
				t.Errorf("%d ns is in bucket %d, want %d", v, got, want)
			}
		}
	}
	if last != maxNanos {
		t.Errorf("the last bucket ends at %d, want %d", last, uint64(maxNanos))
	}
	for _, v := range []uint64{0, 1, 99, minNanos} {
		if got := index(v); got != 0 {
			t.Errorf("%d ns is in bucket %d, want 0", v, got)
		}
	}
	for _, v := range []uint64{maxNanos, maxNanos + 1, math.MaxInt64, math.MaxUint64} {
		if got := index(v); got != numBuckets-1 {
			t.Errorf("%d ns is in bucket %d, want the last", v, got)
		}
	}
}

// The multiplication by a reciprocal must agree with a search through the edges everywhere.
func FuzzBucketOf(f *testing.F) {
	for d := range decades {
		f.Add(tens[d])
		f.Add(tens[d] * 249 / 100)
	}
	f.Fuzz(func(t *testing.T, v uint64) {
		v = min(max(v, minNanos+1), maxNanos)
		dec, sub := bucketOf(v)
		if lo, hi := edges(dec*perDecade + sub); v <= lo || v > hi {
			t.Fatalf("%d ns was put into (%d, %d]", v, lo, hi)
		}
	})
}

func TestBoundsAreEdges(t *testing.T) {
	if len(bounds) != 18 {
		t.Fatalf("%d bounds, want 18", len(bounds))
	}
	for _, b := range bounds {
		sec, err := strconv.ParseFloat(b.text, 64)
		if err != nil {
			t.Fatal(err)
		}
		if _, hi := edges(b.bucket); hi != uint64(math.Round(sec*1e9)) {
			t.Errorf("le=%s ends at %d ns", b.text, hi)
		}
	}
}

func TestQuantileError(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	uniform := func() float64 { return 1e3 + rnd.Float64()*1e7 }
	logNormal := func() float64 { return 8e5 * math.Exp(rnd.NormFloat64()) }
	logUniform := func() float64 { return math.Pow(10, 2.001+rnd.Float64()*10.99) }
	constant := func() float64 { return 1_049_999 }
	for name, draw := range map[string]func() float64{"uniform": uniform, "log-normal": logNormal, "log-uniform": logUniform, "constant": constant} {
		t.Run(name, func(t *testing.T) {
			h := NewHistogram(4)
			values := make([]int64, 20_000)
			var sum float64
			for i := range values {
				values[i] = max(int64(draw()), minNanos)
				sum += float64(values[i]) / 1e9
				h.Observe(Shard(i), time.Duration(values[i]))
			}
			slices.Sort(values)
			var s Snapshot
			h.Snapshot(&s)
			if s.Count() != uint64(len(values)) {
				t.Fatalf("Count() = %d, want %d", s.Count(), len(values))
			}
			if got := s.Sum(); math.Abs(got-sum) > 1e-6*sum+float64(len(values))*1.024e-6 {
				t.Errorf("Sum() = %g, want %g", got, sum)
			}
			if got, want := s.Mean().Seconds(), sum/float64(len(values)); math.Abs(got-want) > 1e-5*want+1e-8 {
				t.Errorf("Mean() = %g, want %g", got, want)
			}
			for _, q := range []float64{0, 0.001, 0.1, 0.25, 0.5, 0.9, 0.99, 0.999, 1} {
				rank := max(int(math.Ceil(q*float64(len(values)))), 1)
				want := float64(values[rank-1])
				got := float64(s.Quantile(q))
				if math.Abs(got-want) > 0.0251*want+1 {
					t.Errorf("Quantile(%g) = %g, want %g, off by %.2f %%", q, got, want, 100*math.Abs(got-want)/want)
				}
			}
		})
	}
}

// Nearest rank, exactly: of three values the second is the smallest that a half of all do not exceed.
func TestQuantileRank(t *testing.T) {
	h := NewHistogram(1)
	values := []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond}
	for _, v := range values {
		h.Observe(0, v)
	}
	var s Snapshot
	h.Snapshot(&s)
	for _, test := range []struct {
		q    float64
		want int
	}{{0, 0}, {0.33, 0}, {0.34, 1}, {0.5, 1}, {0.66, 1}, {0.67, 2}, {1, 2}} {
		if got, want := float64(s.Quantile(test.q)), float64(values[test.want]); math.Abs(got-want) > 0.025*want {
			t.Errorf("Quantile(%g) = %g, want about %g", test.q, got, want)
		}
	}
}

func TestQuantileOfNothing(t *testing.T) {
	var s Snapshot
	if s.Quantile(0.5) != 0 || s.Mean() != 0 || s.Sum() != 0 || s.Count() != 0 {
		t.Error("the zero snapshot is not empty")
	}
}

func TestHistogramExtremes(t *testing.T) {
	h := NewHistogram(1)
	for _, d := range []time.Duration{math.MinInt64, -1, 0, 1, time.Hour, 100 * time.Hour, math.MaxInt64} {
		h.Observe(0, d)
	}
	var s Snapshot
	h.Snapshot(&s)
	if s.Count() != 7 {
		t.Errorf("Count() = %d, want 7", s.Count())
	}
	if got := s.Quantile(-3); got < 100 || got > 105 {
		t.Errorf("Quantile(-3) = %v", got)
	}
	if got := s.Quantile(3); got < 9000*time.Second {
		t.Errorf("Quantile(3) = %v", got)
	}
	want := (1e-9 + 3600 + 360_000 + float64(math.MaxInt64)/1e9)
	if got := s.Sum(); math.Abs(got-want) > 1e-3 {
		t.Errorf("Sum() = %g, want %g", got, want)
	}
}

func TestSnapshotMergeSub(t *testing.T) {
	h, other := NewHistogram(2), NewHistogram(2)
	observe := func(h *Histogram, n int, d time.Duration) {
		for i := range n {
			h.Observe(Shard(i), d)
		}
	}
	var before, after, sum Snapshot
	observe(h, 100, time.Millisecond)
	h.Snapshot(&before)
	observe(h, 10, time.Second)
	observe(h, 10, 3*time.Second)
	h.Snapshot(&after)

	delta := after
	delta.Sub(&before)
	if delta.Count() != 20 || math.Abs(delta.Sum()-40) > 1e-4 {
		t.Errorf("difference has count %d, sum %g, want 20 and 40", delta.Count(), delta.Sum())
	}
	if got := delta.Quantile(0.01); got < 975*time.Millisecond {
		t.Errorf("the difference still has old values: smallest is %v", got)
	}

	observe(other, 5, time.Minute)
	other.Snapshot(&sum)
	sum.Merge(&delta)
	sum.Merge(&before)
	if sum.Count() != 125 || math.Abs(sum.Sum()-(300+40+0.1)) > 1e-3 {
		t.Errorf("sum has count %d, sum %g", sum.Count(), sum.Sum())
	}

	before.Sub(&sum)
	if before.Count() != 0 || before.Sum() != 0 {
		t.Errorf("subtracting too much left %d, %g", before.Count(), before.Sum())
	}
}

func TestHistogramConcurrent(t *testing.T) {
	const workers, each = 8, 5000
	h := NewHistogram(4)
	stop := make(chan struct{})
	var readers, wg sync.WaitGroup
	readers.Go(func() {
		var s Snapshot
		var last uint64
		for {
			h.Snapshot(&s)
			if n := s.Count(); n < last {
				t.Errorf("count fell from %d to %d", last, n)
				return
			} else {
				last = n
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				h.Observe(Shard(w), time.Duration(i+1)*time.Microsecond)
			}
		})
	}
	wg.Wait()
	close(stop)
	readers.Wait()
	var s Snapshot
	h.Snapshot(&s)
	want := float64(workers) * each * (each + 1) / 2 / 1e6
	if s.Count() != workers*each || math.Abs(s.Sum()-want) > 1e-6 {
		t.Errorf("count %d, sum %g, want %d and %g", s.Count(), s.Sum(), workers*each, want)
	}
}
