package proxy

import (
	"sync"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/policy"
)

// maxTasks bounds the tasks of a site: each has a connection to an endpoint, or waits for one.
const maxTasks = 100_000

// task is the rest of a route that runs on an exchange of its own. It is pooled; handle is how others reach it.
type task struct {
	branch
	x     message.Exchange
	state state
	body  message.Bytes
	given policy.Task
	from  int
	own   *handle
}

// handle is what the one who began a task ends it by. The task may be another's a moment later, so it is cut off when it has ended.
type handle struct {
	mu   sync.Mutex
	task *task // nil when it has ended; guarded by mu
	all  *Branches
}

// cancel ends the task, unless it has ended.
func (h *handle) cancel() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.task != nil {
		h.all.end(&h.task.branch)
	}
}

// tasks is a pool (read-only: what it holds has no meaning).
var tasks = sync.Pool{New: func() any {
	t := new(task)
	t.x.Reset()
	return t
}}

// Detach implements policy.Runner.
func (s *state) Detach(x *message.Exchange, from int, given policy.Task) (cancel func()) {
	t := tasks.Get().(*task)
	message.CopyRequest(&t.x, x)
	for _, c := range x.Captures {
		own := message.Capture{Name: c.Name, Value: t.x.Keep(c.Value)}
		if c.Raw != nil { // there are several segments
			own.Raw = t.x.Keep(c.Raw)
		}
		t.x.Captures = append(t.x.Captures, own)
	}
	t.x.Times.Read = message.Now()
	t.x.Request.Upgrade = nil
	t.given, t.from = given, from
	if given.Body != nil {
		t.body.Reset(given.Body)
		t.x.Request.Body, t.x.Request.Length = &t.body, int64(len(given.Body))
	}
	if given.Prepare != nil {
		given.Prepare(&t.x)
	}
	t.x.State = &t.state
	t.x.Interim = t
	t.state.shard, t.state.flight.Shard = s.shard, s.shard
	t.state.site, t.state.route = s.site, s.route
	t.cancel.Reset()
	t.ended = false
	t.state.flight.Cancel = &t.cancel
	h := &handle{task: t, all: s.site.Branches}
	t.own = h
	if s.site.tasks.Add(1) > maxTasks || !s.site.Branches.enter(&t.branch) {
		s.site.tasks.Add(-1)
		t.refuse()
		return func() {}
	}
	go t.run(s.site)
	return h.cancel
}

// Gone reports whether nobody wants the task's answer any more: what waits on its behalf asks.
func (t *task) Gone() bool {
	all := t.own.all
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.closed || t.ended
}

// WriteInterim implements message.Interim: there is no client to tell.
func (t *task) WriteInterim(int, *message.Header) error { return nil }

// refuse answers a task that cannot begin: the program ends, or there are too many.
func (t *task) refuse() {
	t.x.Fail(&message.Failure{Reason: message.ShuttingDown, Side: message.SideInternal, Stage: message.StageRoute})
	t.state.site.problem(&t.x)
	t.given.Answer(&t.x)
	t.recycle()
}

// run is the goroutine of a task; Branches joins it.
func (t *task) run(site *Site) {
	defer func() {
		if p := recover(); p != nil {
			// A mistake of this program: the task is lost, and what it has is left to the collector.
			site.Branches.report("a request of a policy", p)
			t.lost(site)
		}
	}()
	x := &t.x
	t.state.run(x, t.from)
	if !site.Branches.reading(&t.branch, x.Response.Body) {
		drop(&x.Response)
		x.Fail(&message.Failure{Reason: message.ClientClosed, Side: message.SideClient, Stage: message.StageReceive})
		site.problem(x)
	}
	t.given.Answer(x)
	site.Branches.settle(&t.branch)
	t.cut()
	drop(&x.Response)
	t.state.end(x)
	site.tasks.Add(-1)
	site.Branches.leave()
	t.recycle()
}

// lost ends a task that ended by a panic: who waits for its answer gets one.
func (t *task) lost(site *Site) {
	defer func() {
		if p := recover(); p != nil { // the same mistake again
			site.Branches.leave()
		}
	}()
	site.Branches.settle(&t.branch)
	t.cut()
	site.tasks.Add(-1)
	x := new(message.Exchange)
	x.Reset()
	x.Fail(&message.Failure{Reason: message.Internal, Side: message.SideInternal, Stage: message.StageRoute})
	site.problem(x)
	t.given.Answer(x)
	site.Branches.leave()
}

// cut takes the task out of reach of its handle.
func (t *task) cut() {
	t.own.mu.Lock()
	t.own.task = nil
	t.own.mu.Unlock()
}

// recycle gives the task back to the pool.
func (t *task) recycle() {
	t.x.Reset()
	t.given, t.own = policy.Task{}, nil
	t.state.site, t.state.route = nil, nil
	tasks.Put(t)
}
