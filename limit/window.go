package limit

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"time"
)

// MaxWindows is how many windows one limiter may have.
const MaxWindows = 8

const (
	maxCount = 1_000_000_000_000
	maxSpan  = int64(math.MaxInt64 / 4) // 73 years: the longest time that a burst may take to come back, so that no sum overflows
)

// Window is one bound on how often a key may come, as a GCRA counts it: evened out, Count requests in Per, and Burst at once after a rest.
type Window struct {
	// Count is how many there may be in Per, 1 to 10^12.
	Count int64
	// Per is the time in which there may be Count; at least 1 ns.
	Per time.Duration
	// Burst is how many pass at once from rest, not one more. 0 means Count.
	Burst int64
}

// Check returns why the window cannot be counted, or nil.
func (w Window) Check() error {
	switch {
	case w.Count < 1 || w.Count > maxCount:
		return fmt.Errorf("a rate of %d: the number has to be from 1 to %d", w.Count, int64(maxCount))
	case w.Per < 1:
		return fmt.Errorf("a rate of %d in %v: the time has to be longer than nothing", w.Count, w.Per)
	case w.Burst < 0:
		return fmt.Errorf("a burst of %d: it has to be at least 1, or 0 for the number of the rate", w.Burst)
	}
	if q, _ := w.gauge().times(w.size()); q > maxSpan {
		return fmt.Errorf("a burst of %d at %d in %v comes back only after lifetimes: make the burst smaller", w.Burst, w.Count, w.Per)
	}
	return nil
}

// size returns the burst.
func (w Window) size() int64 {
	if w.Burst == 0 {
		return w.Count
	}
	return w.Burst
}

// Quota returns the burst, which the field RateLimit-Policy calls quota (q).
func (w Window) Quota() int64 { return w.size() }

// Seconds returns how long it takes from empty to full, in whole seconds, rounded up: the parameter w of the field RateLimit-Policy.
func (w Window) Seconds() int64 {
	q, r := w.gauge().times(w.size())
	if r > 0 {
		q++
	}
	return ceilSeconds(q)
}

// ceilSeconds rounds nanoseconds up to whole seconds.
func ceilSeconds(ns int64) int64 {
	if ns <= 0 {
		return 0
	}
	return (ns-1)/int64(time.Second) + 1
}

// span is a time of q + r/c nanoseconds, where c is that of a gauge and r < c. Times are counted in fractions so that no rate is rounded: 3 in a
// second are 3 and not 2.99999 or 3.00001, and 7 in a nanosecond are 7.
type span struct {
	q int64
	r uint64
}

// gauge turns numbers of requests into time: one request is p/c ns.
type gauge struct{ p, c uint64 }

func (w Window) gauge() gauge {
	p, c := uint64(w.Per), uint64(w.Count)
	a, b := p, c
	for b != 0 {
		a, b = b, a%b
	}
	return gauge{p / a, c / a}
}

// times returns the time of n requests as whole nanoseconds and a rest in units of 1/c. More than maxSpan is returned as some time above it.
func (g gauge) times(n int64) (int64, uint64) {
	hi, lo := bits.Mul64(uint64(n), g.p)
	if hi >= g.c {
		return maxSpan + 1, 0
	}
	q, r := bits.Div64(hi, lo, g.c)
	if q > uint64(maxSpan) {
		return maxSpan + 1, 0
	}
	return int64(q), r
}

// fit returns how many requests of scale units each fit into a time, which is at most that of a burst.
func (g gauge) fit(s span, scale int64) int64 {
	if s.q < 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(s.q), g.c)
	lo, carry := bits.Add64(lo, s.r, 0)
	hi += carry
	if hi >= g.p {
		return math.MaxInt64 // cannot be: the time of a burst fits the burst
	}
	n, _ := bits.Div64(hi, lo, g.p)
	return int64(min(n, math.MaxInt64)) / scale
}

// add returns s + o, minus returns s - o, which may be negative: q is rounded down then and r is positive.
func (g gauge) add(s, o span) span {
	s.q += o.q
	if s.r += o.r; s.r >= g.c {
		s.r -= g.c
		s.q++
	}
	return s
}

func (g gauge) minus(s, o span) span {
	s.q -= o.q
	if s.r < o.r {
		s.r += g.c
		s.q--
	}
	s.r -= o.r
	return s
}

// more reports whether s is longer than o.
func (s span) more(o span) bool { return s.q > o.q || s.q == o.q && s.r > o.r }

// up rounds to whole nanoseconds from above; nothing for less than nothing.
func (s span) up() int64 {
	if s.q < 0 {
		return 0
	}
	if s.r > 0 {
		return s.q + 1
	}
	return s.q
}

// meter is a Window ready for counting.
type meter struct {
	gauge
	one   span // the time of one request
	size  span // the time of a burst
	burst int64
}

// compile checks windows and makes them ready.
func compile(windows []Window) ([]meter, error) {
	if len(windows) == 0 {
		return nil, errors.New("a rate limit needs at least one window")
	}
	if len(windows) > MaxWindows {
		return nil, fmt.Errorf("%d windows: at most %d can be counted at once", len(windows), MaxWindows)
	}
	meters := make([]meter, len(windows))
	for i, w := range windows {
		if err := w.Check(); err != nil {
			return nil, fmt.Errorf("window %d: %w", i+1, err)
		}
		g := w.gauge()
		m := meter{gauge: g, burst: w.size()}
		m.one.q, m.one.r = g.times(1)
		m.size.q, m.size.r = g.times(m.burst)
		meters[i] = m
	}
	return meters, nil
}

// cost returns the time of n requests.
func (m *meter) cost(n int64) span {
	if n == 1 {
		return m.one
	}
	q, r := m.times(n)
	return span{q, r}
}

// try works out a request of units when owed is what the key still has to wait until it is full again. It returns what it would owe then, and
// whether that is within the burst. When instances share a limit, a unit is scale units of the whole limit: then what is more than the share's
// burst passes from rest, so that a burst smaller than the number of instances does not shut everybody out.
func (m *meter) try(owed span, units, scale int64) (after span, ok bool) {
	after = m.add(owed, m.cost(scaled(units, scale)))
	if !after.more(m.size) {
		return after, true
	}
	return after, scale > 1 && owed == span{} && units <= m.burst && after.q <= maxSpan
}

// scaled multiplies without overflow.
func scaled(n, scale int64) int64 {
	hi, lo := bits.Mul64(uint64(n), uint64(scale))
	if hi != 0 || lo > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(lo)
}

// state describes a key that owes a time.
func (m *meter) state(owed span, scale int64) State {
	next := m.one
	if scale > 1 {
		next = m.cost(scale)
	}
	st := State{Remaining: m.fit(m.minus(m.size, owed), scale), Full: owed.up()}
	if st.Remaining == 0 && owed == (span{}) {
		st.Remaining = 1 // of a share that is smaller than one request, see try
	}
	if st.Remaining == 0 {
		st.Next = m.wait(owed, next)
	}
	return st
}

// wait returns how long a request has to wait. One that is larger than the burst waits until the key is full, and is refused even then unless it is
// a share's.
func (m *meter) wait(owed, cost span) int64 {
	if cost.more(m.size) {
		return owed.up()
	}
	return m.minus(m.add(owed, cost), m.size).up()
}
