package metric

import (
	"math"
	"time"
)

// Snapshot is the content of a [Histogram] at one moment, or the sum or difference of such contents. It is a plain value of 6.7 KB without
// pointers: reuse one, do not pass it by value on a hot path. It is not safe for concurrent use. The zero value is empty.
type Snapshot struct {
	counts [numBuckets]uint64
	sums   [decades]uint64 // in ns, from coarseDecade on in units of 1,024 ns
}

// Count returns the number of observations.
func (s *Snapshot) Count() uint64 {
	var n uint64
	for _, c := range s.counts {
		n += c
	}
	return n
}

// Sum returns the sum of the observations in seconds, exact to 1,024 ns for each observation of a second or more and to 1 ns for shorter ones.
func (s *Snapshot) Sum() float64 {
	var sum float64
	for d, v := range s.sums {
		sum += float64(v) * float64(uint64(1)<<sumShift(d))
	}
	return sum / 1e9
}

// Mean returns the average observation, 0 if there is none.
func (s *Snapshot) Mean() time.Duration {
	n := s.Count()
	if n == 0 {
		return 0
	}
	return time.Duration(s.Sum() / float64(n) * 1e9)
}

// Merge adds the observations of o.
func (s *Snapshot) Merge(o *Snapshot) {
	for i, c := range o.counts {
		s.counts[i] += c
	}
	for d, v := range o.sums {
		s.sums[d] += v
	}
}

// Sub removes the observations of an earlier snapshot of the same histogram, which leaves those made since. A bucket that
// would fall below zero, because the earlier one is of another histogram, becomes zero.
func (s *Snapshot) Sub(earlier *Snapshot) {
	for i, c := range earlier.counts {
		s.counts[i] -= min(c, s.counts[i])
	}
	for d, v := range earlier.sums {
		s.sums[d] -= min(v, s.sums[d])
	}
}

// Quantile estimates the q-quantile (q from 0 to 1; 0.99 is p99) by nearest rank: the smallest observation that at least q of all
// do not exceed. The result is the middle of that observation's bucket, within 2.5 % of it for durations from 100 ns to 10^13 ns.
// It is 0 if there are no observations.
func (s *Snapshot) Quantile(q float64) time.Duration {
	n := s.Count()
	if n == 0 {
		return 0
	}
	rank := uint64(math.Ceil(min(max(q, 0), 1) * float64(n)))
	rank = min(max(rank, 1), n)
	var seen uint64
	for b, c := range s.counts {
		if seen += c; seen >= rank {
			return middle(b)
		}
	}
	return middle(numBuckets - 1)
}

func middle(bucket int) time.Duration {
	lo, hi := edges(bucket)
	return time.Duration((lo + hi) / 2)
}
