package limit

import "math"

// DefaultKeys is how many keys a limiter remembers if its options do not say.
const DefaultKeys = 1_000_000

// Decision is what a rate limiter says to one request. It belongs to the caller, who may use it again.
type Decision struct {
	// Allowed says that the request may pass, and was counted. What is refused was not counted in any window.
	Allowed bool
	// Window is the number of the window that matters most: of those that refuse the one that does so for the longest time, else the one with
	// the fewest remaining requests.
	Window int
	// Wait is how long, in nanoseconds, a request of the same cost has to wait; 0 if this one is allowed. A request that costs more than
	// the burst is never allowed; then it is the time until the key is full.
	Wait int64
	// States are those of the windows after the decision; N of them count.
	States [MaxWindows]State
	N      int
}

// State is where a key stands in one window.
type State struct {
	// Remaining is how many requests would pass now.
	Remaining int64
	// Next is how many nanoseconds there are until another request passes; 0 when one would pass now.
	Next int64
	// Full is how many nanoseconds there are until as many pass as after a rest.
	Full int64
}

// Seconds returns the parameter t of the field RateLimit: the whole seconds, rounded up, until a request passes if none does now, else
// until the burst is whole.
func (s State) Seconds() int64 {
	if s.Remaining == 0 {
		return ceilSeconds(s.Next)
	}
	return ceilSeconds(s.Full)
}

// State returns the state of the window that matters most.
func (d *Decision) State() State { return d.States[d.Window] }

// RetryAfter returns the value of Retry-After: whole seconds, rounded up, and at least 1.
func (d *Decision) RetryAfter() int64 { return max(1, ceilSeconds(d.Wait)) }

// pick fills in Window from the states. waits are those of the windows that refuse.
func (d *Decision) pick(waits *[MaxWindows]int64) {
	d.Window, d.Wait = 0, 0
	for i := 1; i < d.N; i++ {
		a, b := &d.States[i], &d.States[d.Window]
		switch {
		case !d.Allowed && waits[i] != waits[d.Window]:
			if waits[i] > waits[d.Window] {
				d.Window = i
			}
		case a.Remaining < b.Remaining || a.Remaining == b.Remaining && a.Full > b.Full:
			d.Window = i
		}
	}
	if !d.Allowed {
		d.Wait = max(1, waits[d.Window])
	}
}

// RateOptions are those of a Rate.
type RateOptions struct {
	// Windows must all allow a request; 1 to MaxWindows.
	Windows []Window
	// Keys is how many keys are remembered at most; 0 means DefaultKeys.
	Keys int
}

// Rate limits how often each key may come. It is the generic cell rate algorithm (GCRA, ITU-T I.371): of a key it remembers only the moment at
// which it will be full again, for each window. The time is the caller's, so that nothing but the arguments decides.
//
// A decision allocates nothing once the key is known. All methods may be called by any goroutine.
type Rate struct {
	meters []meter
	whole  bool // no window needs fractions of a nanosecond: a word for each is enough
	t      *table
}

// NewRate returns a limiter whose keys are all at rest. An error says which window cannot be counted.
func NewRate(o RateOptions) (*Rate, error) {
	meters, err := compile(o.Windows)
	if err != nil {
		return nil, err
	}
	if o.Keys <= 0 {
		o.Keys = DefaultKeys
	}
	r := &Rate{meters: meters, whole: true}
	for i := range meters {
		r.whole = r.whole && meters[i].c == 1
	}
	words := len(meters)
	if !r.whole {
		words *= 2
	}
	r.t = newTable(o.Keys, words, newSeed(), r.worth)
	return r, nil
}

// worth is the time until all windows of a key are full again: then it need not be remembered.
func (r *Rate) worth(payload []uint64, now int64) int64 {
	last := int64(math.MinInt64)
	for _, full := range payload[:len(r.meters)] {
		last = max(last, int64(full)-now)
	}
	return last
}

// Take counts a request of a key that costs cost, at least 1, if all windows allow it. now are nanoseconds of a clock that does not go back; d
// gets the decision. The key is not kept.
func (r *Rate) Take(key []byte, cost, now int64, d *Decision) { r.ask(key, cost, 1, now, true, d) }

// Peek is Take for a request that costs 1, without counting it.
func (r *Rate) Peek(key []byte, now int64, d *Decision) { r.ask(key, 1, 1, now, false, d) }

// ask decides for one of scale instances, each of which has an equal share, and counts if take says so.
func (r *Rate) ask(key []byte, cost, scale, now int64, take bool, d *Decision) {
	cost, scale = max(1, cost), max(1, scale)
	dg := r.t.seed.of(key)
	s, _ := r.t.shard(dg)
	s.mu.Lock()
	r.decide(s, dg, cost, scale, now, take, d)
	s.mu.Unlock()
}

// decide is ask under the lock of the shard. It does not defer: nothing in it fails, and a deferred call costs more than the arithmetic.
func (r *Rate) decide(s *shard, dg digest, cost, scale, now int64, take bool, d *Decision) {
	var owed, after [MaxWindows]span
	var waits [MaxWindows]int64
	payload := r.t.find(s, dg)
	d.N, d.Allowed = len(r.meters), true
	for i := range r.meters {
		m := &r.meters[i]
		if payload != nil {
			owed[i] = r.owed(payload, i, now)
		}
		var ok bool
		if after[i], ok = m.try(owed[i], cost, scale); !ok {
			d.Allowed = false
			waits[i] = m.wait(owed[i], m.cost(scaled(cost, scale)))
		}
	}
	if d.Allowed && take {
		if payload == nil {
			payload, _ = r.t.insert(s, dg, now)
		}
		for i := range r.meters {
			r.owe(payload, i, now, after[i])
		}
		owed = after
	}
	for i := range r.meters {
		d.States[i] = r.meters[i].state(owed[i], scale)
	}
	d.pick(&waits)
}

// owed returns how long a window of a key is from full.
func (r *Rate) owed(payload []uint64, i int, now int64) span {
	left := span{q: int64(payload[i]) - now}
	if left.q < 0 {
		return span{}
	}
	if !r.whole {
		left.r = payload[len(r.meters)+i]
	}
	return left
}

// owe sets how long a window of a key is from full.
func (r *Rate) owe(payload []uint64, i int, now int64, s span) {
	payload[i] = uint64(now + s.q)
	if !r.whole {
		payload[len(r.meters)+i] = s.r
	}
}

// Return takes back what Take has counted for an allowed request that then did not happen.
func (r *Rate) Return(key []byte, cost, now int64) { r.give(key, cost, 1, now) }

func (r *Rate) give(key []byte, cost, scale, now int64) {
	cost = scaled(max(1, cost), max(1, scale))
	dg := r.t.seed.of(key)
	s, _ := r.t.shard(dg)
	s.mu.Lock()
	defer s.mu.Unlock()
	payload := r.t.find(s, dg)
	if payload == nil {
		return // was full again long ago, or had to go
	}
	for i := range r.meters {
		m := &r.meters[i]
		left := m.minus(r.owed(payload, i, now), m.cost(cost))
		if left.q < 0 {
			left = span{}
		}
		r.owe(payload, i, now, left)
	}
}

// Stats returns how many keys there are.
func (r *Rate) Stats() TableStats { return r.t.stats() }
