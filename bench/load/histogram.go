package load

import (
	"math/bits"
	"time"
)

// subBits gives 128 buckets for each power of two: a quantile is at most 1/128 above the true value.
const subBits = 7

// histogramBuckets covers 0 ns … 2^40 ns (18 minutes); longer values fall into the last bucket.
const histogramBuckets = (40 - subBits + 1) << subBits

// Histogram counts durations in log-linear buckets, as HdrHistogram does: exact below 128 ns, within 1 % above.
// The zero value is ready. It is not safe for concurrent use: one client owns it and merges it when it ends.
type Histogram struct {
	counts [histogramBuckets]uint64
	total  uint64
	max    time.Duration
}

// bucketOf maps nanoseconds to a bucket: the highest subBits+1 bits are the place within its power of two.
func bucketOf(ns uint64) int {
	if ns < 1<<subBits {
		return int(ns)
	}
	shift := bits.Len64(ns) - 1 - subBits
	b := (shift+1)<<subBits + int(ns>>uint(shift)) - 1<<subBits
	return min(b, histogramBuckets-1)
}

// upperBound is the largest value, in nanoseconds, that bucket b holds.
func upperBound(b int) uint64 {
	if b < 1<<subBits {
		return uint64(b)
	}
	shift := uint(b>>subBits) - 1
	return (uint64(b&(1<<subBits-1))+1<<subBits+1)<<shift - 1
}

// Record counts one duration; a negative one counts as zero.
func (h *Histogram) Record(d time.Duration) {
	d = max(d, 0)
	h.counts[bucketOf(uint64(d))]++
	h.total++
	h.max = max(h.max, d)
}

// Count is the number of recorded durations.
func (h *Histogram) Count() uint64 { return h.total }

// Max is the longest recorded duration, exactly.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile returns the smallest recorded duration that at least the share q (0…1) of all does not exceed, rounded up
// to its bucket (less than 1 %). It returns 0 when nothing was recorded.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	q = min(max(q, 0), 1)
	rank := uint64(q * float64(h.total))
	if float64(rank) < q*float64(h.total) || rank == 0 {
		rank++
	}
	var seen uint64
	for b, n := range h.counts {
		seen += n
		if seen >= rank {
			return min(time.Duration(upperBound(b)), h.max)
		}
	}
	return h.max
}

// Merge adds the durations of other to h.
func (h *Histogram) Merge(other *Histogram) {
	for b, n := range other.counts {
		h.counts[b] += n
	}
	h.total += other.total
	h.max = max(h.max, other.max)
}
