package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"time"

	"github.com/itchyny/gojq"

	"github.com/sluice-gateway/sluice/document"
	"github.com/sluice-gateway/sluice/message"
)

// The bounds of one run of a program. The clock is read between steps, and single steps are bounded by what they are given: see body_jq_guard.go.
const (
	maxJQSource = 64 << 10
	maxJQSteps  = 1_000_000
	maxJQTime   = 100 * time.Millisecond
)

var (
	errNoOutput = errors.New("the program has no output")
	errJQBudget = errors.New("the program needs more than 100 ms or 1,000,000 steps")
	errJQLarge  = errors.New("the output of the program is too large")
)

// jqProgram is a compiled program. It is immutable, and may run many times at once.
type jqProgram struct {
	code    *gojq.Code
	removal *document.Edit // does the same for objects; nil for most programs
	closed  chan struct{}  // says that a budget is spent
	budgets sync.Pool      // of *jqBudget
}

// jqError says what is wrong with a program.
type jqError struct{ message, suggestion string }

// compileJQ compiles a program; nil for an empty one.
func compileJQ(src string) (*jqProgram, *jqError) {
	if src == "" {
		return nil, nil
	}
	if len(src) > maxJQSource {
		return nil, &jqError{"the program is longer than 64 KiB", ""}
	}
	query, err := gojq.Parse(src)
	if err != nil {
		return nil, parseJQError(src, err)
	}
	removal := jqRemoval(query)
	guard := newJQGuard()
	if err := guard.rewrite(query); err != nil {
		return nil, err
	}
	code, err := gojq.Compile(query, guard.options()...)
	if err != nil {
		return nil, &jqError{err.Error(), ""}
	}
	p := &jqProgram{code: code, removal: removal, closed: make(chan struct{})}
	close(p.closed)
	return p, nil
}

// jqRemoval returns an edit that does what a program does that is nothing but del(.a, .b, …), the most usual of all; nil for others. It needs neither a
// decoded document nor an interpreter, and takes a tenth of the time.
func jqRemoval(q *gojq.Query) *document.Edit {
	if len(q.FuncDefs)+len(q.Imports) > 0 || q.Term == nil || q.Term.Func == nil || len(q.Term.SuffixList) > 0 {
		return nil
	}
	f := q.Term.Func
	if q.Term.Type != gojq.TermTypeFunc || f.Name != "del" || len(f.Args) != 1 {
		return nil
	}
	paths, ok := jqNames(nil, f.Args[0])
	if !ok {
		return nil
	}
	e, err := document.NewEdit(nil, paths, nil)
	if err != nil {
		return nil // too many: the interpreter has no bound
	}
	return e
}

// jqNames appends the paths of `.a, .b, …`.
func jqNames(paths []document.Path, q *gojq.Query) ([]document.Path, bool) {
	if len(q.FuncDefs) > 0 {
		return nil, false
	}
	if q.Op == gojq.OpComma {
		paths, ok := jqNames(paths, q.Left)
		if !ok {
			return nil, false
		}
		return jqNames(paths, q.Right)
	}
	t := q.Term
	if t == nil || t.Type != gojq.TermTypeIndex || len(t.SuffixList) > 0 || t.Index.Name == "" {
		return nil, false
	}
	path, err := document.ParsePath(t.Index.Name)
	return append(paths, path), err == nil
}

// parseJQError tells where a program cannot be read.
func parseJQError(src string, err error) *jqError {
	var at *gojq.ParseError
	if !errors.As(err, &at) {
		return &jqError{err.Error(), ""}
	}
	offset := min(max(0, at.Offset-len(at.Token)), len(src))
	line, column := 1, 1
	for _, c := range src[:offset] {
		column++
		if c == '\n' {
			line, column = line+1, 1
		}
	}
	what := "the end of the program"
	if at.Token != "" {
		what = strconv.Quote(at.Token)
	}
	return &jqError{fmt.Sprintf("line %d, column %d of the program: %s is not expected there", line, column, what), ""}
}

// jqBudget is what one run may still use. It is the context of the run, which asks it before every step.
type jqBudget struct {
	steps  int
	until  int64
	closed chan struct{}
	spent  bool
}

// jqClockEvery is how many steps pass between two looks at the clock; a power of two.
const jqClockEvery = 16

// Done implements context.Context. It counts a step.
func (b *jqBudget) Done() <-chan struct{} {
	b.steps++
	if b.steps > maxJQSteps || b.steps&(jqClockEvery-1) == 0 && message.Now() > b.until {
		b.spent = true
	}
	if b.spent {
		return b.closed
	}
	return nil
}

// Err implements context.Context.
func (b *jqBudget) Err() error {
	if b.spent {
		return errJQBudget
	}
	return nil
}

// Deadline implements context.Context.
func (b *jqBudget) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context.
func (b *jqBudget) Value(any) any { return nil }

// run runs the program on a document and returns its first output, which lies in k. The output is at most limit bytes.
func (p *jqProgram) run(m *bodyMemory, v document.Value, limit int) (k *block, out []byte, err error) {
	if p.removal != nil && v.Kind() == document.Object {
		if k = m.take(len(v.Raw()) + 1); k == nil {
			return nil, nil, errBodyMemory
		}
		if out, err = p.removal.Append(k.b[:0], v, nil); err == nil {
			return k, out, nil
		}
		m.give(k)
	}
	size := decodedSize(v.Raw())
	if !m.reserve(size) {
		return nil, nil, errBodyMemory
	}
	defer m.free(size)
	b, ok := p.budgets.Get().(*jqBudget)
	if !ok {
		b = new(jqBudget)
	}
	*b = jqBudget{until: message.Now() + int64(maxJQTime), closed: p.closed}
	d := jqDecoder{origins: make(map[uintptr]jqOrigin)}
	result, err := p.first(b, d.value(v))
	if err != nil {
		return nil, nil, err
	}
	p.budgets.Put(b) // of a run that has failed something may be left
	if k = m.take(len(v.Raw())); k == nil {
		return nil, nil, errBodyMemory
	}
	w := jqWriter{dst: k.b[:0], origins: d.origins, root: v, limit: limit}
	if err := w.value(result, v); err != nil {
		m.give(k)
		return nil, nil, err
	}
	if k = m.adopt(k, w.dst); k == nil {
		return nil, nil, errBodyMemory
	}
	return k, w.dst, nil
}

// first returns the first output of a run.
func (p *jqProgram) first(b *jqBudget, in any) (out any, err error) {
	defer func() {
		// The interpreter is not ours, and panics over values that it does not expect. That must not end the process.
		if r := recover(); r != nil {
			out, err = nil, fmt.Errorf("the program has ended by a fault: %v", r)
		}
	}()
	out, ok := p.code.RunWithContext(b, in).Next()
	if !ok {
		return nil, errNoOutput
	}
	if err, failed := out.(error); failed {
		return nil, err
	}
	return out, nil
}

// decodedSize returns about how many bytes a document has when it is decoded. Each value costs an interface of two words and, in an object, a place in a
// map; what stands in strings makes it no smaller.
func decodedSize(text []byte) int {
	const perValue = 48
	n := 0
	for _, c := range text {
		if c == ',' || c == '[' || c == '{' || c == ':' {
			n++
		}
	}
	return len(text) + perValue*n
}

// jqOrigin is where an array or object of the input stands.
type jqOrigin struct {
	value  document.Value
	length int
}

// jqDecoder turns a document into what the interpreter works on, and remembers what comes from where. The interpreter never changes its input, so what
// it passes on whole is known by its address.
type jqDecoder struct{ origins map[uintptr]jqOrigin }

func (d *jqDecoder) value(v document.Value) any {
	switch v.Kind() {
	case document.Bool:
		b, _ := v.Bool()
		return b
	case document.Number:
		return json.Number(v.Raw())
	case document.String:
		return textOf(v)
	case document.Array:
		list := make([]any, 0, v.Len())
		for item := range v.Items {
			list = append(list, d.value(item))
		}
		if len(list) > 0 {
			d.origins[reflect.ValueOf(list).Pointer()] = jqOrigin{v, len(list)}
		}
		return list
	case document.Object:
		object := make(map[string]any, v.Len())
		for name, member := range v.Members {
			object[textOf(name)] = d.value(member)
		}
		d.origins[reflect.ValueOf(object).Pointer()] = jqOrigin{v, len(object)}
		return object
	}
	return nil
}

func textOf(v document.Value) string {
	b, _ := v.AppendText(nil)
	return string(b)
}
