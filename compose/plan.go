package compose

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/upstream"
)

// Bounds of a composition, beside those of its configuration.
const (
	// maxCalls is how many calls of one composition may be under way at once. More wait for one of them to end.
	maxCalls = 128
	// maxHeld bounds the bytes of answers that one composition keeps, all steps together.
	maxHeld = 64 << 20
	// maxPlanHeld bounds what all compositions of a plan keep at once, beyond freely bytes for each answer.
	maxPlanHeld = 256 << 20
	// freely is how many bytes of an answer are kept without being counted: buffers of that size stay with the pooled calls anyway.
	freely = 64 << 10
)

// Plan is a compiled composition. It is safe for any number of exchanges once Connect has been called.
type Plan struct {
	timeout time.Duration
	steps   []step
	status  *expr.Program  // nil: fixed
	fixed   int            // status of the answer where it is no expression
	body    *expr.Document // the answer
	varying []message.Name // fields of the client that reach a step, see vary.go
	hidden  []message.Name // fields of steps that the client's request does not have
	metrics planMetrics

	runs sync.Pool    // of *run for this plan
	held atomic.Int64 // bytes of answers that are kept now and counted
}

// step is one step of a plan. It is immutable.
type step struct {
	name     string
	calls    string            // name of the backend
	backend  *upstream.Backend // set by Connect
	method   message.Method
	safe     bool // the method changes nothing
	path     *expr.Template
	query    []parameter
	headers  []field
	pass     []message.Name // fields of the client's request that are passed on besides those that always are
	accept   bool           // the call gets the usual Accept unless the client's is passed on
	typed    bool           // headers name the Content-Type
	body     *expr.Document // nil for none
	when     *expr.Program  // nil: always
	list     *expr.Program  // for_each; nil for a single call
	most     int            // elements of the list
	parallel int            // of them at once
	optional bool
	fallback []byte        // JSON text: the body of the step when it has no answer
	timeout  time.Duration // 0: the composition's
	success  []config.StatusRange
	maxBody  int

	waits      int   // how many steps it waits for
	dependents []int // steps that wait for it
	needs      []int // steps that its path and query are made of: without their answers it is left out
	asks       []int // steps that its list is made of

	metrics stepMetrics
}

// parameter is one of a call's query. name is encoded.
type parameter struct {
	name  string
	value *expr.Template
}

// field is a header field of a call.
type field struct {
	name   message.Name
	value  *expr.Template
	copied bool // the value is that of the same field of the client's request
}

// Connect gives the steps their backends and the plan its counters. backend knows the backends of the configuration that the plan was compiled
// from; scope may be nil. It is called once, before the first exchange.
func (p *Plan) Connect(backend func(name string) *upstream.Backend, scope *metric.Scope, route string) {
	for i := range p.steps {
		s := &p.steps[i]
		s.backend = backend(s.calls)
		s.metrics = newStepMetrics(scope, route, s.name)
	}
	p.metrics = newPlanMetrics(scope, route, p.Held)
}

// Held returns how many bytes of answers all compositions of the plan keep now, as far as they are counted: beyond 64 KiB for each answer.
func (p *Plan) Held() int64 { return p.held.Load() }

// succeeds reports whether a status is an answer of the step.
func (s *step) succeeds(status int) bool {
	for _, r := range s.success {
		if r.Contains(status) {
			return true
		}
	}
	return false
}
