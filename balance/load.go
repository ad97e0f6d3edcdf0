package balance

import (
	"math"
	"sync/atomic"
	"time"
)

const (
	// decayTime is τ of the latency's moving average: what was measured so long ago counts 1/e (Twitter's Finagle and Linkerd use it as well).
	decayTime = 10 * time.Second
	// tickBits are the bits that a moment loses: latencies age in ticks of 2²⁰ ns, about a millisecond. 32 bits of ticks are 52 days. An endpoint
	// that was silent for a multiple of that looks as if it had been measured just now, and is so for some seconds.
	tickBits = 20
	// agePerTick is the age, as a power of two, that one tick adds: a value falls by 2^-agePerTick in it.
	agePerTick = float64(1<<tickBits) / float64(decayTime) * math.Log2E
	// forgotten is the age beyond which nothing that was measured counts any more: 2⁻²⁰ of it would.
	forgotten = 20
	// answerWeight is the least that one answer counts in the share of failures.
	answerWeight = 1.0 / 16
	// failureDoublings is how often the cost of an endpoint doubles when all its answers fail. One failure among good answers doubles it once.
	failureDoublings = 16
)

// Load is the work of one endpoint as it stands now, and what its answers were like. It belongs to the endpoint, lives as long
// as that, and is safe for any number of goroutines. It has a cache line of its own, because
// every request writes to it. The zero value is an idle endpoint of which nothing is known.
//
// Of latencies it keeps the peak EWMA (Twitter's Finagle, 2015): an answer slower than the average becomes the average at once, a faster one moves
// it by 1 - e^(-Δ/τ), where Δ is the time since the one before and τ is ten seconds. So a sick endpoint is left in one answer, and is trusted
// again over seconds.
//
// A failed answer is never a sample of latency unless it was slower than the average: an endpoint that fails fast must not look fast. It
// counts in the share of failures, which is an average of its own, over the last sixteen answers or ten seconds, whichever is shorter. The
// cost of an endpoint is its latency times 2^(16 · share): a first failure doubles it, five in a row make it twenty times as much, sixteen
// a thousand times, and one failure in a hundred answers hardly changes it. An endpoint of which only failures are known has no latency of its own:
// it is taken for as slow as its peers, or as its slowest failure, whichever is more, times that factor.
//
// In silence, when the endpoint is neither picked nor answers, both averages fall towards nothing with the same τ. So an endpoint that was slow
// or failed gets a request again after some time whatever it did, about τ · ln(how many times slower); picking it ends the silence, so that it
// is one request and not a flood. Its answer then counts nearly alone, because Δ is long.
type Load struct {
	_        [64]byte
	inFlight atomic.Int64
	latency  atomic.Uint64 // an average in nanoseconds, below 0 if only failures were seen, and its tick: pack
	failing  atomic.Uint64 // share of failed answers, and its tick: pack
	picked   atomic.Uint32 // tick of the last pick by latency
	_        [36]byte
}

// Begin counts one more request in flight.
func (l *Load) Begin() { l.inFlight.Add(1) }

// TryBegin counts one more request in flight if fewer than limit are, and reports whether it did. However many call it at once, those that
// got true and have not called End are never more than limit, unless others call Begin.
func (l *Load) TryBegin(limit int64) bool {
	for {
		n := l.inFlight.Load()
		if n >= limit {
			return false
		}
		if l.inFlight.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// End takes one request in flight back.
func (l *Load) End() { l.inFlight.Add(-1) }

// InFlight returns the number of requests in flight.
func (l *Load) InFlight() int64 { return l.inFlight.Load() }

// Observe tells of a good answer that took latency nanoseconds until its first byte, and came at the moment now, in nanoseconds of a
// monotonic clock. A latency below 0 is taken for 0.
func (l *Load) Observe(now, latency int64) {
	tick := tickOf(now)
	for {
		old := l.latency.Load()
		average, at := unpack(old)
		next := observe(math.Abs(float64(average)), ageOf(tick, at), sampleOf(latency))
		if l.latency.CompareAndSwap(old, pack(float32(next), later(tick, at, old))) {
			break
		}
	}
	l.count(tick, 0)
}

// observe returns the peak EWMA after a sample, when the one before is age old.
func observe(average, age, sample float64) float64 {
	if sample >= average || age >= forgotten {
		return sample
	}
	return sample + (average-sample)*exp2(-age)
}

// Penalize tells of an answer that failed, or that did not come, after latency nanoseconds at the moment now. It raises what the endpoint costs,
// and never lowers it.
func (l *Load) Penalize(now, latency int64) {
	tick := tickOf(now)
	for {
		old := l.latency.Load()
		average, at := unpack(old)
		slowest := float32(sampleOf(latency))
		if old != 0 && slowest <= max(average, -average) {
			break
		}
		if average <= 0 {
			slowest = -slowest
		}
		if l.latency.CompareAndSwap(old, pack(slowest, later(tick, at, old))) {
			break
		}
	}
	l.count(tick, 1)
}

// sampleOf returns a latency as a sample: no less than 1 ns, because 0 means that nothing is known, and no more than a hundred days.
func sampleOf(latency int64) float64 { return float64(min(max(latency, 1), 1<<53)) }

// count takes one answer into the share of failures, 1 for a failed one and 0 for a good one.
func (l *Load) count(tick uint32, failed float64) {
	for {
		old := l.failing.Load()
		if old == 0 && failed == 0 {
			return // nearly always: nothing failed for a while
		}
		share, at := unpack(old)
		weight := answerWeight
		if old != 0 {
			weight = max(weight, 1-exp2(-ageOf(tick, at)))
		}
		next := float64(share) + (failed-float64(share))*weight
		value := pack(float32(next), later(tick, at, old))
		if next < 1.0/1024 {
			value = 0
		}
		if l.failing.CompareAndSwap(old, value) {
			return
		}
	}
}

// Latency returns the peak EWMA of the endpoint's good answers in nanoseconds at the moment now, without what failures add; 0 if there were
// none, or none for so long (about two minutes) that it means nothing any more.
func (l *Load) Latency(now int64) int64 {
	average, at := unpack(l.latency.Load())
	if average <= 0 || ageOf(tickOf(now), at) >= forgotten {
		return 0
	}
	return int64(average)
}

// Failing returns the share of failed answers among the latest, from 0 to 1, as it counts at the moment now.
func (l *Load) Failing(now int64) float64 {
	value := l.failing.Load()
	if value == 0 {
		return 0
	}
	share, at := unpack(value)
	return float64(share) * exp2(-ageOf(tickOf(now), at))
}

// estimate returns the latency to expect of the endpoint at the tick now, or 0 if nothing is known of it, and the factor by which failures make
// that worse. Of an endpoint of which only failures are known the latency is below 0: it is at least so much.
func (l *Load) estimate(now uint32) (latency, factor float64) {
	value := l.latency.Load()
	if value == 0 {
		return 0, 1
	}
	average, at := unpack(value)
	age := min(ageOf(now, at), ageOf(now, l.picked.Load()))
	share := float32(0)
	if value = l.failing.Load(); value != 0 {
		share, at = unpack(value)
		age = min(age, ageOf(now, at))
	}
	latency, factor = float64(average), 1
	if age > 0 {
		fade := exp2(-age)
		latency *= fade
		share *= float32(fade)
	}
	if share > 0 {
		factor = exp2(failureDoublings * float64(share))
	}
	return latency, factor
}

// pick ends the silence of the endpoint at the tick now.
func (l *Load) pick(now uint32) {
	if l.picked.Load() != now { // most picks share a tick with one before, and reading is cheaper than writing
		l.picked.Store(now)
	}
}

// tickOf returns the tick of a moment.
func tickOf(now int64) uint32 { return uint32(now >> tickBits) }

// ahead reports whether the tick at is later than now, by up to 18 minutes: of two goroutines, the one that read the clock first may come second.
func ahead(at, now uint32) bool { return now-at > math.MaxUint32-1<<20 }

// ageOf returns how old a value of the tick at is at the tick now, as the power of two by which it has faded.
func ageOf(now, at uint32) float64 {
	if ahead(at, now) {
		return 0
	}
	return min(float64(now-at)*agePerTick, forgotten)
}

// later returns the later of tick and at, where old is the value that at belongs to, or 0 if there was none.
func later(tick, at uint32, old uint64) uint32 {
	if old != 0 && ahead(at, tick) {
		return at
	}
	return tick
}

// pack puts a number and the tick that it was made at into one word, so that both change together.
func pack(x float32, tick uint32) uint64 { return uint64(math.Float32bits(x))<<32 | uint64(tick) }

func unpack(value uint64) (x float32, tick uint32) {
	return math.Float32frombits(uint32(value >> 32)), uint32(value)
}

// exp2 returns 2^x for -1000 < x < 1000, to about 2 parts in ten million: a fifth of the time of math.Exp2.
func exp2(x float64) float64 {
	whole := math.Floor(x)
	f := x - whole
	p := 1 + f*(0.69315308+f*(0.24015361+f*(0.05582631+f*(0.00898934+f*0.00187757))))
	return p * math.Float64frombits(uint64(1023+int64(whole))<<52)
}
