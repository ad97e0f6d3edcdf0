package metric

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// The buckets of a histogram are log-linear, as in HdrHistogram (Tene) and OpenHistogram (Schlossnagle), but on decades: between 1.00
// and 2.50 of a power of ten a bucket is 0.05 wide, to 5.0 it is 0.1, to 10 it is 0.25. No bucket is wider than 5 % of
// its lower edge, so its middle is within 2.5 % of everything in it; and 1, 2.5 and 5 times any power of ten are edges, so that the
// Prometheus bounds are counted exactly, not estimated. A bucket is (lower, upper]: its upper edge belongs to it, as `le` demands.
//
// A decade's buckets are allocated when the first value falls into it: most routes see two or three of the eleven.
const (
	decades    = 11 // decade d holds (10^(d+2), 10^(d+3)] ns: from 100 ns to 10^13 ns, which is 2 h 46 min
	perDecade  = 75 // 30 of 0.05, 25 of 0.1, 20 of 0.25
	numBuckets = decades * perDecade
	minNanos   = 100
	maxNanos   = 10_000_000_000_000
	// From this decade on (1 s), sums are kept in units of 1,024 ns: in nanoseconds, 100,000 long polls held open at the same time would
	// overflow 64 bits within two days.
	coarseDecade = 7
	coarseShift  = 10
)

// chunk is one decade of one shard. The sum stands beside the counts so that an observation usually touches two neighbouring lines.
// The padding makes it 640 bytes, a size class of the allocator that is a multiple of the cache line.
type chunk struct {
	sum    atomic.Uint64
	counts [perDecade]atomic.Uint64
	_      [640 - 8*(perDecade+1)]byte
}

type histShard struct {
	chunks [decades]atomic.Pointer[chunk]
}

// Histogram counts durations in fixed buckets from 100 ns to 10^13 ns. What is shorter or longer is counted in the first or the
// last bucket. It is safe for any number of goroutines; a nil Histogram observes nothing.
//
// Its memory is at most 11 × 640 bytes for each shard, in practice two or three decades of each shard that is in use.
type Histogram struct {
	shards []atomic.Pointer[histShard] // length is a power of two
	series *series
}

// NewHistogram makes a histogram that belongs to no registry, with at least the given number of shards (rounded up to a power of two, 1 to 16).
func NewHistogram(shards int) *Histogram {
	return &Histogram{shards: make([]atomic.Pointer[histShard], roundShards(shards))}
}

// Observe counts one duration. A negative one counts as zero. It allocates only for the first value of a decade in a shard. It costs two
// uncontended atomic additions and 2 ns, together 12 ns where an addition takes 5; giving up the exact sum would halve that.
func (h *Histogram) Observe(s Shard, d time.Duration) {
	if h == nil {
		return
	}
	v := uint64(max(d, 0))
	dec, sub := bucketOf(v)
	var c *chunk
	if hs := h.shards[uint(s)&uint(len(h.shards)-1)].Load(); hs != nil {
		c = hs.chunks[dec].Load()
	}
	if c == nil {
		c = h.grow(s, dec)
	}
	c.counts[sub].Add(1)
	c.sum.Add(v >> sumShift(dec))
}

// grow makes the chunk of a decade. Two goroutines may race; the loser's chunk is garbage and both count in the winner's.
func (h *Histogram) grow(s Shard, dec int) *chunk {
	slot := &h.shards[uint(s)&uint(len(h.shards)-1)]
	hs := slot.Load()
	if hs == nil {
		slot.CompareAndSwap(nil, new(histShard))
		hs = slot.Load()
	}
	hs.chunks[dec].CompareAndSwap(nil, new(chunk))
	return hs.chunks[dec].Load()
}

// Release gives the handle back; see [Registry.Counter].
func (h *Histogram) Release() {
	if h != nil {
		h.series.release()
	}
}

// Snapshot copies the buckets into s, replacing what it held. Observations that happen meanwhile may be in it in part: a count without
// its sum or the other way round, never more than one for each goroutine that observes.
func (h *Histogram) Snapshot(s *Snapshot) {
	*s = Snapshot{}
	h.addTo(s)
}

func (h *Histogram) addTo(s *Snapshot) {
	if h == nil {
		return
	}
	for i := range h.shards {
		hs := h.shards[i].Load()
		if hs == nil {
			continue
		}
		for d := range hs.chunks {
			c := hs.chunks[d].Load()
			if c == nil {
				continue
			}
			s.sums[d] += c.sum.Load()
			for b := range c.counts {
				s.counts[d*perDecade+b] += c.counts[b].Load()
			}
		}
	}
}

// empty reports whether nothing was ever observed.
func (h *Histogram) empty() bool {
	for i := range h.shards {
		if h.shards[i].Load() != nil {
			return false
		}
	}
	return true
}

// bucketOf returns the decade of v nanoseconds and the bucket within it.
func bucketOf(v uint64) (dec, sub int) {
	// A bucket includes its upper edge, so look for v-1 in buckets that include their lower one.
	u := min(max(v, minNanos+1), maxNanos) - 1
	dec = int(decadeOfLen[bits.Len64(u)&63])
	if u >= tens[dec+1] {
		dec++
	}
	// 20 q-steps of 5·10^d make a power of ten, so q is 20 to 199. 5·10^d is 5^(d+1)·2^d: the shift divides by the power of two,
	// the multiplication by the reciprocal of the power of five. It is exact because (u>>d)·5^(d+1) < 200·5^22 < 2^64.
	q, _ := bits.Mul64(u>>uint(dec), reciprocals[dec])
	return dec, int(subOfStep[q&255])
}

func sumShift(dec int) uint {
	if dec >= coarseDecade {
		return coarseShift
	}
	return 0
}

// The tables of bucketOf. They are computed once and never written afterwards.
var (
	// tens[d] is where decade d begins, in ns; tens[decades] is where the last one ends.
	tens = func() (t [decades + 2]uint64) {
		v := uint64(minNanos)
		for d := range decades + 1 {
			t[d] = v
			v *= 10
		}
		t[decades+1] = 1<<64 - 1
		return t
	}()
	// decadeOfLen[l] is the decade of 2^(l-1), the smallest number of l bits.
	decadeOfLen = func() (t [64]uint8) {
		for l := 1; l < 64; l++ {
			for d := range decades {
				if uint64(1)<<(l-1) >= tens[d] {
					t[l] = uint8(d)
				}
			}
		}
		return t
	}()
	// reciprocals[d] is 2^64 / 5^(d+1), rounded up.
	reciprocals = func() (t [decades]uint64) {
		p := uint64(1)
		for d := range decades {
			p *= 5
			t[d] = (1<<64-1)/p + 1
		}
		return t
	}()
	// subOfStep[q] is the bucket that holds step q of a decade.
	subOfStep = func() (t [256]uint8) {
		for b := range perDecade {
			lo, hi := stepsOf(b)
			for q := lo; q < hi; q++ {
				t[q] = uint8(b)
			}
		}
		return t
	}()
)

// stepsOf returns the edges of bucket b of a decade in steps; 20 steps are the decade's lower edge.
func stepsOf(b int) (lo, hi uint64) {
	switch {
	case b < 30:
		lo = uint64(20 + b)
		return lo, lo + 1
	case b < 55:
		lo = uint64(50 + 2*(b-30))
		return lo, lo + 2
	default:
		lo = uint64(100 + 5*(b-55))
		return lo, lo + 5
	}
}

// edges returns the lower (exclusive) and upper (inclusive) edge of a bucket in nanoseconds.
func edges(bucket int) (lo, hi uint64) {
	lo, hi = stepsOf(bucket % perDecade)
	step := tens[bucket/perDecade] / 20
	return lo * step, hi * step
}
