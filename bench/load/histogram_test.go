package load

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBucketsAreContiguous(t *testing.T) {
	for b := 1; b < histogramBuckets; b++ {
		low, high := upperBound(b-1)+1, upperBound(b)
		if bucketOf(low) != b || bucketOf(high) != b {
			t.Fatalf("bucket %d holds %d…%d, but those values map to %d and %d", b, low, high, bucketOf(low), bucketOf(high))
		}
	}
	if got := bucketOf(1 << 62); got != histogramBuckets-1 {
		t.Fatalf("an overlong value falls into bucket %d, want the last", got)
	}
}

func TestQuantileAgainstSortedValues(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	values := make([]time.Duration, 0, 5000)
	for range 5000 {
		v := time.Duration(rng.ExpFloat64() * float64(300*time.Microsecond))
		values = append(values, v)
		h.Record(v)
	}
	slices.Sort(values)
	for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		rank := max(int(q*float64(len(values))+0.999999), 1)
		want := values[rank-1]
		got := h.Quantile(q)
		if got < want || float64(got) > float64(want)*1.01+1 {
			t.Errorf("quantile %v is %v, want %v up to 1 %% more", q, got, want)
		}
	}
	if h.Max() != values[len(values)-1] {
		t.Errorf("max is %v, want %v", h.Max(), values[len(values)-1])
	}
}

func TestHistogramEdges(t *testing.T) {
	var empty, a, b Histogram
	if empty.Quantile(0.5) != 0 {
		t.Error("an empty histogram must answer 0")
	}
	a.Record(-time.Second)
	if a.Quantile(1) != 0 || a.Count() != 1 {
		t.Error("a negative duration must count as zero")
	}
	b.Record(time.Second)
	a.Merge(&b)
	if a.Count() != 2 || a.Max() != time.Second || a.Quantile(1) != time.Second || a.Quantile(0.5) != 0 {
		t.Errorf("merged: count %d max %v p50 %v p100 %v", a.Count(), a.Max(), a.Quantile(0.5), a.Quantile(1))
	}
}
