package upstream

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// recent is the recent times to first byte of a backend, and one percentile of them. It is a histogram of buckets an eighth of a power of two wide, so that the
// percentile is at most 12.5 % too high and never too low. Every ten seconds all counts are halved, as long as enough are left: what is
// older counts less, and a backend with little to do goes by what it knows.
//
// To observe costs an addition to one counter. The percentile is worked out at most ten times a second, by whoever observes next, in less
// than a microsecond. Nothing is allocated. It is safe for any number of goroutines.
type recent struct {
	percentile int
	known      atomic.Int64 // the percentile in nanoseconds, 0 while there are too few samples
	due        atomic.Int64 // moment from which it is to be worked out again
	halved     atomic.Int64 // moment at which the counts were last halved
	counts     [numTimes]atomic.Uint32
}

// newRecent returns a record of which nothing is known.
func newRecent(percentile int) *recent {
	r := &recent{percentile: percentile}
	r.due.Store(math.MinInt64)
	r.halved.Store(math.MinInt64)
	return r
}

const (
	// enoughTimes is how many samples a percentile needs.
	enoughTimes = 20
	timesPause  = int64(100 * time.Millisecond) // between two looks at the counts
	timesHalf   = int64(10 * time.Second)       // between two halvings

	// firstTime is the power of two, in nanoseconds, below which all times fall into the first bucket: 65 µs.
	firstTime = 16
	// lastTime is the power of two from which on all fall into the last one: 69 s.
	lastTime = 36
	timeBits = 3 // of a time, behind the first, that choose the bucket
	numTimes = (lastTime - firstTime) << timeBits
)

// timeBucket returns the bucket of a time in nanoseconds.
func timeBucket(took int64) int {
	v := uint64(max(took, 1<<firstTime))
	power := bits.Len64(v) - 1
	if power >= lastTime {
		return numTimes - 1
	}
	return (power-firstTime)<<timeBits | int(v>>(power-timeBits)&(1<<timeBits-1))
}

// timeEdge returns the upper end of a bucket in nanoseconds.
func timeEdge(bucket int) int64 {
	power, step := firstTime+bucket>>timeBits, int64(bucket&(1<<timeBits-1))
	return (1<<timeBits + step + 1) << (power - timeBits)
}

// observe counts one time, at the moment now.
func (r *recent) observe(took, now int64) {
	r.counts[timeBucket(took)].Add(1)
	if due := r.due.Load(); now >= due && r.due.CompareAndSwap(due, now+timesPause) {
		r.look(now)
	}
}

// value returns the percentile, 0 if it is not known.
func (r *recent) value() time.Duration { return time.Duration(r.known.Load()) }

// look works the percentile out. Of those who come at the same time one does it.
func (r *recent) look(now int64) {
	var total, below uint64
	for i := range r.counts {
		total += uint64(r.counts[i].Load())
	}
	if total < enoughTimes {
		return
	}
	rank := uint64(math.Ceil(float64(total) * float64(r.percentile) / 100))
	for i := range r.counts {
		if below += uint64(r.counts[i].Load()); below >= rank {
			r.known.Store(timeEdge(i))
			break
		}
	}
	if last := r.halved.Load(); last == math.MinInt64 {
		r.halved.Store(now)
	} else if now-last >= timesHalf && total >= 2*enoughTimes {
		r.halved.Store(now)
		for i := range r.counts {
			if n := r.counts[i].Load(); n > 0 {
				r.counts[i].Add(-((n + 1) / 2))
			}
		}
	}
}
