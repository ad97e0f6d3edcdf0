package load

import (
	"errors"
	"math/bits"
	"time"
)

// Schedule is the fixed timetable of a constant-rate client: request i is due at i/rate after the start, whatever
// happened to the requests before it. Latency counted from the due time therefore includes the wait of requests that a
// slow proxy kept from being sent ("coordinated omission" is the name of the error that this avoids).
type Schedule struct {
	rate uint64 // requests per second
}

// NewSchedule makes a timetable of rate requests per second, 1 … 1,000,000,000.
func NewSchedule(rate int) (Schedule, error) {
	if rate < 1 || rate > int(time.Second) {
		return Schedule{}, errors.New("load: the rate must be between 1 and 1000000000 requests per second")
	}
	return Schedule{rate: uint64(rate)}, nil
}

// At is the due time of request i since the start, rounded down to nanoseconds. No rounding error adds up.
func (s Schedule) At(i uint64) time.Duration {
	hi, lo := bits.Mul64(i, uint64(time.Second))
	if hi >= s.rate {
		return 1<<63 - 1
	}
	q, _ := bits.Div64(hi, lo, s.rate)
	return time.Duration(min(q, 1<<63-1))
}

// Due is the number of requests whose due time is not after elapsed.
func (s Schedule) Due(elapsed time.Duration) uint64 {
	if elapsed < 0 {
		return 0
	}
	// At(i) ≤ elapsed ⇔ i·10⁹ < (elapsed+1)·rate, because At rounds down.
	hi, lo := bits.Mul64(uint64(elapsed)+1, s.rate)
	q, r := bits.Div64(hi, lo, uint64(time.Second))
	if r > 0 {
		q++
	}
	return q
}
