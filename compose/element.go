package compose

import (
	"github.com/sluice-gateway/sluice/document"
	"github.com/sluice-gateway/sluice/message"
)

// elements is how far a step has come that runs once for each element of a list. Its memory stays with the run.
type elements struct {
	list   []byte   // the list as its expression gave it
	items  [][]byte // the elements within it
	next   int      // the first that was not begun
	flying int      // calls under way
	left   int      // calls that have not ended
	spans  []span   // by element: its answer in arena
	arena  []byte   // answers in the order in which they came
	joined []byte   // answers in the order of the list, as a list
}

// keptElements is for how many elements memory stays with a run.
const keptElements = 1024

// span is a stretch of an arena.
type span struct{ from, to int }

// take returns the next element that may begin, or -1.
func (e *elements) take(parallel int) int {
	if e.next == len(e.items) || e.flying == parallel {
		return -1
	}
	e.next++
	e.flying++
	return e.next - 1
}

// clear forgets the list. Of the memory it keeps what is not counted.
func (e *elements) clear() {
	clear(e.items)
	for _, b := range []*[]byte{&e.list, &e.arena, &e.joined} {
		if cap(*b) > freely {
			*b = nil
		}
	}
	if cap(e.items) > keptElements {
		e.items, e.spans = nil, nil
	}
	e.items, e.spans, e.arena = e.items[:0], e.spans[:0], e.arena[:0]
	e.next, e.flying, e.left = 0, 0, 0
}

// enlist finds the elements of a step, and reports whether there is anything to call. The caller holds mu.
func (r *run) enlist(i int) bool {
	p, s := &r.plan.steps[i], &r.steps[i]
	had := counted(cap(s.list))
	list, ok := p.list.AppendJSON(s.list[:0], r.x)
	if s.list = list; !r.admit(counted(cap(list)) - had) {
		r.lose(i, reason{word: reasonMemory}, errCrowded)
		return false
	}
	v := document.Of(list)
	kind := v.Kind()
	switch {
	case ok && (kind == document.Array || kind == document.Null && !r.lacks(p.asks)):
		// Many services write a list without elements as null.
	case r.lacks(p.asks):
		r.conclude(i, outcomeSkipped, reason{word: reasonDependency})
		return false
	default:
		r.lose(i, reason{word: reasonNoList}, nil)
		return false
	}
	for item := range v.Items {
		if len(s.items) == p.most {
			r.lose(i, reason{word: reasonTooMany}, nil)
			return false
		}
		s.items = append(s.items, item.Raw())
		s.spans = append(s.spans, span{})
	}
	s.left = len(s.items)
	if s.left > 0 {
		return true
	}
	s.joined = append(s.joined[:0], "[]"...)
	r.x.Steps[i] = message.Step{Done: true, Status: 200, Body: s.joined}
	r.conclude(i, outcomeOK, reason{})
	return false
}

// lose ends a step without an answer, and all calls of it. The caller holds mu.
func (r *run) lose(i int, why reason, err error) {
	r.end(i, outcomeFailed, why, err)
}

// end is lose for any outcome.
func (r *run) end(i int, o outcome, why reason, err error) {
	s := &r.steps[i]
	s.err = err
	s.next = len(s.items)
	if r.plan.steps[i].list != nil {
		for _, c := range r.calls {
			if c.active && c.step == i {
				c.abort()
			}
		}
	}
	r.conclude(i, o, why)
}

// finished takes what has come of a call. The caller holds mu.
func (r *run) finished(c *call) {
	c.active = false
	r.active--
	r.x.Outcome.Attempts += c.x.Outcome.Attempts
	i := c.step
	s := &r.steps[i]
	if c.element >= 0 {
		s.flying--
	}
	if s.outcome != outcomeNone { // another element has ended the step
		r.put(c)
		return
	}
	if c.outcome != outcomeOK {
		s.status = c.status
		r.end(i, c.outcome, c.reason, c.err)
		r.put(c)
		return
	}
	r.fresh.merge(c.fresh)
	r.vary |= c.vary
	if c.element < 0 {
		s.status = c.status
		r.x.Steps[i] = message.Step{Done: true, Status: c.status, Header: &c.x.Response.Header, Body: c.value}
		r.conclude(i, outcomeOK, reason{})
		return // the call keeps what it has read until the exchange has ended
	}
	r.gather(c)
	r.put(c)
	if s.outcome == outcomeNone && s.next < len(s.items) && !s.queued {
		r.push(i)
	}
}

// gather keeps the answer for an element, and ends the step with the last. The caller holds mu.
func (r *run) gather(c *call) {
	i := c.step
	s := &r.steps[i]
	from := len(s.arena)
	if !r.room(&s.arena, len(c.value)) {
		r.lose(i, reason{word: reasonMemory}, errCrowded)
		return
	}
	s.arena = append(s.arena, c.value...)
	s.spans[c.element] = span{from, len(s.arena)}
	if s.left--; s.left > 0 {
		return
	}
	s.joined = s.joined[:0]
	if !r.room(&s.joined, len(s.arena)+len(s.spans)+1) {
		r.lose(i, reason{word: reasonMemory}, errCrowded)
		return
	}
	s.joined = append(s.joined, '[')
	for n, at := range s.spans {
		if n > 0 {
			s.joined = append(s.joined, ',')
		}
		s.joined = append(s.joined, s.arena[at.from:at.to]...)
	}
	s.joined = append(s.joined, ']')
	s.status = 200
	r.x.Steps[i] = message.Step{Done: true, Status: 200, Body: s.joined}
	r.conclude(i, outcomeOK, reason{})
}

// room makes room for n more bytes in a buffer of the run, or reports that they may not be kept. The caller holds mu.
func (r *run) room(b *[]byte, n int) bool {
	need := len(*b) + n
	if need <= cap(*b) {
		return true
	}
	size := max(need, 2*cap(*b))
	if !r.admit(counted(size) - counted(cap(*b))) {
		return false
	}
	*b = append(make([]byte, 0, size), *b...)
	return true
}
