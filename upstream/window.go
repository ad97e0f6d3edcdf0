package upstream

import "sync/atomic"

// windowSlots is in how many steps the window of an error rate moves on.
const windowSlots = 10

// window counts the requests of an endpoint, and those of them that failed, over the time that an error rate looks back. Where two requests come at the
// moment at which a slot begins anew, one may be lost: a share does not change by that.
type window struct {
	slots [windowSlots]windowSlot
}

type windowSlot struct {
	step   atomic.Int64  // number of the step that is counted here, from 1
	counts atomic.Uint64 // requests, and above them those that failed
}

const (
	oneRequest = 1
	oneFailure = 1 << 32
	countMask  = oneFailure - 1
)

// step returns the number of the step that a moment is in.
func step(now int64, o *OutlierOptions) int64 { return now/max(1, int64(o.Window)/windowSlots) + 1 }

// slot returns where a moment is counted.
func (w *window) slot(at int64) *windowSlot {
	s := &w.slots[uint64(at)%windowSlots] // moments of a test's clock may be negative
	if old := s.step.Load(); old != at && s.step.CompareAndSwap(old, at) {
		s.counts.Store(0)
	}
	return s
}

// succeeded counts a request that went well.
func (w *window) succeeded(now int64, o *OutlierOptions) {
	w.slot(step(now, o)).counts.Add(oneRequest)
}

// failed counts a request that failed, and reports whether there are too many of them.
func (w *window) failed(now int64, o *OutlierOptions) bool {
	at := step(now, o)
	w.slot(at).counts.Add(oneRequest + oneFailure)
	requests, failures := w.sum(at)
	return requests >= uint64(o.MinRequests) && float64(failures) >= o.ErrorRate*float64(requests)
}

func (w *window) sum(at int64) (requests, failures uint64) {
	for i := range w.slots {
		s := &w.slots[i]
		if n := s.step.Load(); n > at-windowSlots && n <= at {
			c := s.counts.Load()
			requests += c & countMask
			failures += c >> 32
		}
	}
	return requests, failures
}

// clear forgets everything.
func (w *window) clear() {
	for i := range w.slots {
		w.slots[i].step.Store(0)
		w.slots[i].counts.Store(0)
	}
}
