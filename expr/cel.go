package expr

import (
	"errors"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"github.com/sluice-gateway/sluice/message"
)

// evaluator is an expression compiled by CEL. It is immutable but for its pool, and may be used by any number of goroutines at once.
type evaluator struct {
	program   cel.Program
	steps     []int      // that it reads, in rising order
	uses      []string   // their names
	variables []string   // that it reads, in the order in which they first occur
	simple    *condition // what is worked out instead of program, or nil
	names     []string   // of all steps that it may read, by their place
	item      string
	runs      sync.Pool // of *run
}

// workLimit bounds one evaluation. A unit is about a nanosecond: a byte of a document that is looked at. So it is a tenth of a second
// at the most.
const workLimit = 64 << 20

// maxOutput bounds in bytes what an expression may give, and every text on the way to it.
const maxOutput = 16 << 20

// errWork ends an evaluation that goes beyond its bounds. It is thrown, because CEL has no other way out of its loops, and caught in run.eval or
// in end.
var errWork = interpreter.EvalCancelledError{Message: "the expression goes beyond its bounds", Cause: interpreter.CostLimitExceeded} // read-only

// errRefused marks errors of values that must not be taken for missing ones.
var errRefused = errors.New("the parts contradict each other")

// errMissing says that a variable has no value.
var errMissing = errors.New("no value")

// run is one evaluation: the exchange that is read, and the work that is left. It is an activation of CEL. Its values belong to one goroutine, and
// are dead when it ends.
type run struct {
	e    *evaluator
	x    *message.Exchange
	work int
	buf  []byte

	request, client, certificate, consumer, response root
}

func (e *evaluator) begin(x *message.Exchange) *run {
	r, _ := e.runs.Get().(*run)
	if r == nil {
		r = &run{e: e}
		r.request = root{r: r, of: &requestStructure}
		r.client = root{r: r, of: &clientStructure}
		r.certificate = root{r: r, of: &certificateStructure}
		r.consumer = root{r: r, of: &consumerStructure}
		r.response = root{r: r, of: &responseStructure}
	}
	r.x, r.work = x, workLimit
	return r
}

// end is deferred: it gives r back, and turns a panic of the library or of spend into an outcome without a value.
func (r *run) end(how *outcome) {
	if recover() != nil {
		*how = refused
	}
	if cap(r.buf) > 16<<10 {
		r.buf = nil
	}
	r.x = nil
	r.e.runs.Put(r)
}

// spend takes n units of work, and ends the evaluation when nothing is left. r is nil where constants are worked out at load.
func (r *run) spend(n int) {
	if r == nil {
		return
	}
	if r.work -= n; r.work < 0 {
		//house:allow panic CEL has no other way to end an evaluation; run.eval and run.end catch it
		panic(errWork)
	}
}

// eval works the expression out. The value is read before the run ends.
func (r *run) eval() (ref.Val, outcome) {
	v, _, err := r.e.program.Eval(r)
	switch {
	case err == nil:
		return v, found
	case errors.Is(err, errRefused), errors.As(err, new(interpreter.EvalCancelledError)):
		return nil, refused
	}
	return nil, missing
}

// appendText appends the value as text. Where it is missing or refused, dst is as it was.
func (e *evaluator) appendText(dst []byte, x *message.Exchange) (out []byte, how outcome) {
	if e.simple != nil {
		return appendTruth(dst, e.simple.evaluate(x))
	}
	out = dst
	r := e.begin(x)
	defer r.end(&how)
	v, how := r.eval()
	if how != found {
		return dst, how
	}
	text, ok := r.appendText(dst, v)
	if !ok {
		return dst, missing
	}
	return text, found
}

// appendJSON appends the value as JSON text. Where it is missing or refused, dst is as it was.
func (e *evaluator) appendJSON(dst []byte, x *message.Exchange) (out []byte, how outcome) {
	if e.simple != nil {
		return appendTruth(dst, e.simple.evaluate(x))
	}
	out = dst
	r := e.begin(x)
	defer r.end(&how)
	v, how := r.eval()
	if how != found {
		return dst, how
	}
	w := writer{r: r, dst: dst, from: len(dst)}
	if !w.value(v, 0) {
		return dst, missing
	}
	return w.dst, found
}

// appendTruth appends the value of a condition.
func appendTruth(dst []byte, t truth) ([]byte, outcome) {
	switch t {
	case isTruth:
		return append(dst, "true"...), found
	case isFalse:
		return append(dst, "false"...), found
	}
	return dst, missing
}

func (e *evaluator) isTrue(x *message.Exchange) (yes bool) {
	if e.simple != nil {
		return e.simple.evaluate(x) == isTruth
	}
	var how outcome
	r := e.begin(x)
	defer r.end(&how)
	v, how := r.eval()
	return how == found && isTrue(v)
}

func (e *evaluator) integer(x *message.Exchange) (n int64, ok bool) {
	if e.simple != nil {
		return 0, false
	}
	var how outcome
	r := e.begin(x)
	defer r.end(&how)
	v, how := r.eval()
	if how != found {
		return 0, false
	}
	return integerOf(v)
}

// runName is a variable that no expression can name: it leads from a node of a program to its run.
const runName = "@run"

// runOf returns the run that a frame belongs to, or nil where a constant is worked out at load.
func runOf(frame *interpreter.ExecutionFrame) *run {
	v, _ := frame.ResolveName(runName)
	r, _ := v.(*run)
	return r
}

// ResolveName implements interpreter.Activation. A variable that is known but has no value is an error of CEL.
func (r *run) ResolveName(name string) (any, bool) {
	switch name {
	case runName:
		return r, true
	case varRequest:
		return &r.request, true
	case varClient:
		return &r.client, true
	case varPath:
		return &entries{r: r, op: opCapture}, true
	case varClaims:
		return &object{r: r, v: allClaims(r.x), claims: true}, true
	case varConsumer:
		return &r.consumer, true
	case varVersion:
		return r.text(opVersion), true
	case varResponse:
		return &r.response, true
	}
	for i, step := range r.e.names {
		if step == name {
			return &root{r: r, of: &stepStructure, step: i}, true
		}
	}
	if name == r.e.item && name != "" {
		return r.item(), true
	}
	return nil, false
}

// Parent implements interpreter.Activation.
func (r *run) Parent() interpreter.Activation { return nil }
