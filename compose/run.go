package compose

import (
	"slices"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// lookEvery is how often a client that waits is looked at, so that it is missed within 100 ms. Looking costs a system call, and most compositions
// have ended before the first.
const lookEvery = 50 * time.Millisecond

// run is one composition under way. It is pooled with the memory of its steps; what it holds has no meaning from one exchange to the next.
//
// A composition is one request whose parts several goroutines make, so something has to be shared between them. mu guards it: the exchange, the run
// and the steps' states. It is taken twice for each call and held for what a step's expressions take, never while anything is waited for.
type run struct {
	plan     *Plan
	x        *message.Exchange
	shard    metric.Shard
	deadline int64

	mu      sync.Mutex
	steps   []progress
	ready   []int // steps that may begin, or have elements that may; in the order in which they became so
	calls   []*call
	spare   []*call // of calls: those that are not in use
	active  int     // calls under way
	runners int     // goroutines besides the exchange's own
	idle    bool    // the exchange's thread waits for a call, or for the last of the goroutines
	handed  *call   // for the exchange's thread when it wakes
	stopped bool    // nothing more begins
	failed  bool    // a required step has failed
	expired bool    // one that failed has run out of time
	gone    bool    // the client has left
	over    bool    // the composition has ended: the client is not looked at any more
	crash   any     // what a goroutine has panicked with
	held    int64   // bytes of answers, beyond those that are kept freely
	fresh   freshness
	vary    uint64 // places in plan.varying that answers depend on

	wake   chan struct{} // a token for the exchange's thread when idle was set
	asleep func()        // waits for it; bound once
	timer  *time.Timer   // looks at the client
	looked chan struct{} // a token when the timer has fired for the last time

	out  []byte // the answer
	body composed
	text []byte // for header values
}

// progress is how far a step has come.
type progress struct {
	waits   int  // steps that are still to end before it
	queued  bool // it is in ready
	begun   bool
	outcome outcome // outcomeNone until it has ended
	status  int     // of the answer, if one came
	reason  reason
	err     error // for the log

	elements
}

func newRun(p *Plan) *run {
	r := &run{plan: p, steps: make([]progress, len(p.steps)), wake: make(chan struct{}, 1), looked: make(chan struct{}, 1)}
	r.asleep = func() { <-r.wake }
	r.timer = time.AfterFunc(time.Hour, r.look)
	r.timer.Stop()
	return r
}

// Serve makes the answer: it calls the steps and fills x.Response, or returns why it could not. It is called by the exchange's own thread, and all
// calls have ended when it returns. A failure belongs to the exchange. The response's body has to be closed before x is reset.
func (p *Plan) Serve(x *message.Exchange, shard metric.Shard) *message.Failure {
	r := p.runs.Get().(*run)
	r.begin(x, shard)
	r.watch()
	for c := (*call)(nil); ; {
		r.drive(c)
		if c = r.next(); c == nil {
			break
		}
	}
	r.unwatch()
	if r.crash != nil {
		p.held.Add(-r.held)
		//house:allow panic it is another goroutine's, or this one's from before the others were joined; the run is given to the collector
		panic(r.crash)
	}
	failure := r.finish()
	if failure != nil {
		r.release()
	}
	return failure
}

// begin sets the run up for an exchange.
func (r *run) begin(x *message.Exchange, shard metric.Shard) {
	p := r.plan
	now := x.Times.Routed
	if now == 0 {
		now = message.Now()
	}
	r.x, r.shard, r.deadline = x, shard, now+int64(p.timeout)
	if x.Deadline != 0 && x.Deadline < r.deadline {
		r.deadline = x.Deadline
	}
	r.over, r.stopped, r.failed, r.expired, r.gone = false, false, false, false, false
	r.fresh, r.vary, r.ready = freshness{}, 0, r.ready[:0]
	n := len(p.steps)
	x.Steps = slices.Grow(x.Steps[:0], n)[:n]
	clear(x.Steps)
	for i := range p.steps {
		s := &r.steps[i]
		s.waits, s.begun, s.outcome, s.status, s.reason, s.err = p.steps[i].waits, false, outcomeNone, 0, reason{}, nil
		if s.waits == 0 {
			r.push(i)
		}
	}
}

// watch begins to look at the client, where its codec can tell whether it has left.
func (r *run) watch() {
	if _, ok := r.x.Interim.(goner); ok {
		r.timer.Reset(lookEvery)
	} else {
		r.over = true // nobody looks, so nobody has to be waited for
	}
}

// goner tells whether a client has left.
type goner interface{ Gone() bool }

// look runs on the goroutine of the timer. The exchange's thread waits for a call meanwhile, or for mu.
func (r *run) look() {
	r.mu.Lock()
	switch {
	case r.over:
	case r.x.Interim.(goner).Gone():
		r.gone = true
		r.stop()
	default:
		r.timer.Reset(lookEvery)
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	r.looked <- struct{}{}
}

// unwatch ends the looking and joins a timer that has fired.
func (r *run) unwatch() {
	r.mu.Lock()
	looking := !r.over
	r.over = true
	r.mu.Unlock()
	if looking && !r.timer.Stop() {
		<-r.looked
	}
}

// drive makes the call c, if there is one, and others that may begin, until there is none left for this goroutine. A panic, which is a bug of this program, ends the composition and is handed on by
// the exchange's thread when all calls have ended.
func (r *run) drive(c *call) {
	locked := false
	defer func() {
		if p := recover(); p != nil {
			if !locked {
				r.mu.Lock()
			}
			r.crash = p
			r.stop()
			r.mu.Unlock()
		}
	}()
	for {
		if c != nil {
			c.do()
		}
		r.mu.Lock()
		locked = true
		if c != nil {
			r.finished(c)
		}
		c = r.dispatch()
		r.mu.Unlock()
		locked = false
		if c == nil {
			return
		}
	}
}

// dispatch prepares all calls that may begin, launches all but one of them, and returns that one for the caller to make: nil if there is none. The caller
// holds mu.
func (r *run) dispatch() *call {
	var own *call
	for !r.stopped && r.active < maxCalls {
		c := r.prepared()
		if c == nil {
			break
		}
		r.active++
		if own != nil {
			r.launch(own)
		}
		own = c
	}
	return own
}

// launch has a call made by another goroutine: the exchange's own if it has nothing to do, else a new one. The caller holds mu.
func (r *run) launch(c *call) {
	if r.idle {
		r.idle, r.handed = false, c
		r.wake <- struct{}{}
		return
	}
	r.runners++
	go c.main() // which ends with leave; next joins it
}

// leave is the end of a goroutine.
func (r *run) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.runners--; r.runners == 0 && r.idle {
		r.idle = false
		r.wake <- struct{}{}
	}
}

// next waits until the exchange's thread has something to do, or all other goroutines have ended: nil then.
func (r *run) next() *call {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.handed == nil && r.runners > 0 {
		r.idle = true
		r.mu.Unlock()
		r.x.Await(r.asleep)
		r.mu.Lock()
	}
	c := r.handed
	r.handed = nil
	return c
}

// prepared returns the next call that may begin, nil if there is none. Steps that end without a call do so here. The caller holds mu.
func (r *run) prepared() *call {
	for len(r.ready) > 0 && !r.stopped {
		i := r.ready[0]
		s := &r.steps[i]
		if !s.begun && !r.start(i) {
			r.pop()
			continue
		}
		element := -1
		if r.plan.steps[i].list != nil {
			if element = s.take(r.plan.steps[i].parallel); element < 0 {
				r.pop()
				continue
			}
		} else {
			r.pop()
		}
		if c := r.prepare(i, element); c != nil {
			return c
		}
	}
	return nil
}

// push puts a step behind those that may begin.
func (r *run) push(i int) {
	r.steps[i].queued = true
	r.ready = append(r.ready, i)
}

// pop takes the first of them off.
func (r *run) pop() {
	r.steps[r.ready[0]].queued = false
	r.ready = append(r.ready[:0], r.ready[1:]...)
}

// start decides whether a step that is ready runs at all, and reports whether it does.
func (r *run) start(i int) bool {
	p, s := &r.plan.steps[i], &r.steps[i]
	s.begun = true
	if p.when != nil && !p.when.True(r.x) {
		r.conclude(i, outcomeSkipped, reason{word: reasonWhen})
		return false
	}
	if r.lacks(p.needs) {
		r.conclude(i, outcomeSkipped, reason{word: reasonDependency})
		return false
	}
	return p.list == nil || r.enlist(i)
}

// lacks reports whether one of the steps has no answer.
func (r *run) lacks(steps []int) bool {
	for _, i := range steps {
		if r.steps[i].outcome != outcomeOK {
			return true
		}
	}
	return false
}

// conclude ends a step. What it has come to is known to expressions from now on, and steps that have waited for it may begin. The caller holds mu.
func (r *run) conclude(i int, o outcome, why reason) {
	p, s := &r.plan.steps[i], &r.steps[i]
	s.outcome, s.reason = o, why
	p.metrics.count(r.shard, o)
	known := &r.x.Steps[i]
	known.Done = true
	if o != outcomeOK {
		*known = message.Step{Done: true, Body: p.fallback}
		r.miss(p, o, why)
	}
	for _, d := range p.dependents {
		if r.steps[d].waits--; r.steps[d].waits == 0 {
			r.push(d)
		}
	}
}

// miss takes note of a step that has no answer.
func (r *run) miss(p *step, o outcome, why reason) {
	if o == outcomeSkipped && why.word == reasonWhen {
		return // as the configuration wants it
	}
	r.fresh.noStore = true
	if p.optional || o == outcomeCancelled {
		return
	}
	r.failed = true
	r.expired = r.expired || o == outcomeTimeout
	r.stop()
}

// stop ends all calls; nothing more begins. The caller holds mu.
func (r *run) stop() {
	r.stopped = true
	for _, c := range r.calls {
		if c.active {
			c.abort()
		}
	}
}

// hold counts n more bytes of answers, or reports that there may not be as many. Any goroutine of the run may call it, but not with mu.
func (r *run) hold(n int64) bool {
	if n == 0 {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.admit(n)
}

// admit is hold for who holds mu.
func (r *run) admit(n int64) bool {
	if n == 0 {
		return true
	}
	if r.held+n <= maxHeld && r.plan.held.Add(n) <= maxPlanHeld {
		r.held += n
		return true
	}
	if r.held+n <= maxHeld {
		r.plan.held.Add(-n)
	}
	r.plan.metrics.crowded.Inc(r.shard)
	return false
}

// release gives everything back that the run holds, and the run itself. The exchange goes on without its steps' answers.
func (r *run) release() {
	x := r.x
	for i := range x.Steps {
		x.Steps[i] = message.Step{Done: true, Body: null}
	}
	for i := range r.steps {
		r.steps[i].err = nil
		r.steps[i].clear()
	}
	for _, c := range r.calls {
		c.free()
	}
	clear(r.calls)
	r.calls, r.spare = r.calls[:0], r.spare[:0]
	if r.held > 0 {
		r.plan.held.Add(-r.held)
		r.held = 0
	}
	if cap(r.out) > freely {
		r.out = nil
	}
	r.x, r.body.run, r.body.piece = nil, nil, nil
	r.plan.runs.Put(r)
}
