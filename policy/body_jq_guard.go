package policy

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/itchyny/gojq"
)

// The interpreter is asked between steps whether it may go on, but a single step can be made as large as one likes by what it is given: a text repeated
// a billion times, an array with an element at 500,000,000, the difference of two long lists. A program is the operator's, what it is given a stranger's.
// So such steps are replaced, before the program is compiled, by functions that look at what they get first. What cannot be bounded so is refused.

// The bounds of single steps.
const (
	maxJQWork  = 20_000_000 // comparisons of two values
	maxJQCells = 1_000_000  // elements that a step makes
	maxJQText  = 8 << 20    // bytes that a step makes
	maxJQBits  = 100_000    // of an integer
	maxJQIndex = 100_000    // of an element that is reached, or made, by a number
	maxJQMatch = 16 << 10   // bytes of a text in which all matches are looked for; the interpreter's time grows with the square
)

var errJQStep = errors.New("a step of the program would take too long, or need too much memory")

// jqGuard rewrites programs. A name that begins with # can not be written in a program.
type jqGuard struct {
	functions []jqFunction
	loops     bool     // the program can do a thing as often as it likes
	err       *jqError // the first reason why a program cannot be used
}

// jqFunction is a function that stands for a step.
type jqFunction struct {
	name  string
	arity int
	f     func(in any, args []any) any
}

// refusedJQ are the functions that a program may not use, with the reason. Read-only.
var refusedJQ = map[string]string{
	"env":               "a program reads no environment",
	"$ENV":              "a program reads no environment",
	"input":             "a program reads nothing but the body",
	"inputs":            "a program reads nothing but the body",
	"input_filename":    "a program reads nothing but the body",
	"input_line_number": "a program reads nothing but the body",
	"modulemeta":        "a program reads no files",
	"get_search_list":   "a program reads no files",
	"debug":             "a program writes nothing but the body",
	"stderr":            "a program writes nothing but the body",
	"halt":              "a program ends with its first output",
	"halt_error":        "a program ends with its first output; use error",
	"fromstream":        "it is not bounded",
}

// checkedJQ are the functions whose step is looked at before it is made; those with the function of the guard that stands for them. Read-only.
var checkedJQ = map[string]string{
	"transpose/0": "#transpose", "contains/1": "#contains", "inside/1": "#inside",
	"indices/1": "#indices", "index/1": "#index_of", "rindex/1": "#rindex",
}

// prefixedJQ are those whose input is looked at first. Read-only.
var prefixedJQ = map[string]string{
	"fromjson/0": "#json", "tonumber/0": "#digits", "scan/1": "#short", "scan/2": "#short", "splits/1": "#short", "splits/2": "#short", "split/2": "#short",
	"gsub/2": "#short", "gsub/3": "#short", "match/2": "#short", "capture/2": "#short", "sub/3": "#short",
}

// regularJQ are those with a regular expression, and the place of their flags; the interpreter keeps every regular expression that it has met. Read-only.
var regularJQ = map[string]int{
	"test/1": 1, "test/2": 1, "match/1": 1, "match/2": 1, "capture/1": 1, "capture/2": 1, "scan/1": 1, "scan/2": 1, "split/2": 1, "splits/1": 1, "splits/2": 1,
	"sub/2": 2, "sub/3": 2, "gsub/2": 2, "gsub/3": 2,
}

func newJQGuard() *jqGuard {
	multiply, subtract := binaryJQ("$l * $r"), binaryJQ("$l - $r")
	contains, indices := binaryJQ("$l | contains($r)"), binaryJQ("$l | indices($r)")
	index, rindex := binaryJQ("$l | index($r)"), binaryJQ("$l | rindex($r)")
	transpose := binaryJQ("$l | transpose")
	pairs := func(size func(any) int, f func(l, r any) any) func(any, []any) any {
		return func(in any, args []any) any {
			if a, b := size(in), size(args[0]); a > maxJQWork/max(1, b) {
				return errJQStep
			}
			return f(in, args[0])
		}
	}
	return &jqGuard{functions: []jqFunction{
		{"#multiply", 2, func(_ any, args []any) any { return multiplyJQ(args[0], args[1], multiply) }},
		{"#subtract", 2, func(_ any, args []any) any { return subtractJQ(args[0], args[1], subtract) }},
		{"#contains", 1, pairs(valuesJQ, contains)},
		{"#inside", 1, pairs(valuesJQ, func(l, r any) any { return contains(r, l) })},
		{"#indices", 1, pairs(lengthJQ, indices)},
		{"#index_of", 1, pairs(lengthJQ, index)},
		{"#rindex", 1, pairs(lengthJQ, rindex)},
		{"#transpose", 0, func(in any, _ []any) any {
			if cellsJQ(in) > maxJQCells {
				return errJQStep
			}
			return transpose(in, nil)
		}},
		{"#grown", 0, func(in any, _ []any) any { return boundedLength(in) }},
		{"#made", 0, func(in any, _ []any) any { return boundedValues(in) }},
		{"#element", 0, func(in any, _ []any) any { return boundedIndex(in) }},
		{"#path", 0, func(in any, _ []any) any { return boundedPath(in) }},
		{"#short", 0, func(in any, _ []any) any { return boundedText(in, maxJQMatch) }},
		{"#digits", 0, func(in any, _ []any) any { return boundedText(in, editLimits.Digits) }},
		{"#json", 0, func(in any, _ []any) any { return boundedJSON(in) }},
	}}
}

// options returns the functions of the guard for the compiler.
func (g *jqGuard) options() []gojq.CompilerOption {
	var out []gojq.CompilerOption
	for _, f := range g.functions {
		out = append(out, gojq.WithFunction(f.name, f.arity, f.arity, f.f))
	}
	return out
}

// rewrite replaces what has to be looked at in a program.
func (g *jqGuard) rewrite(q *gojq.Query) *jqError {
	g.loops = loopsJQ(reflect.ValueOf(q))
	g.walk(reflect.ValueOf(q))
	return g.err
}

// loopsJQ reports whether a program can do a thing as often as it likes with what it has made: only then can a few steps make a value of any size.
func loopsJQ(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return false
		}
		switch node := v.Interface().(type) {
		case *gojq.FuncDef, *gojq.Reduce, *gojq.Foreach:
			return true
		case *gojq.Func:
			switch node.Name {
			case "until", "while", "repeat", "recurse":
				return true
			}
		}
		return loopsJQ(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if loopsJQ(v.Field(i)) {
				return true
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if loopsJQ(v.Index(i)) {
				return true
			}
		}
	}
	return false
}

// refuse notes the first reason why a program cannot be used.
func (g *jqGuard) refuse(suggestion, format string, args ...any) {
	if g.err == nil {
		g.err = &jqError{fmt.Sprintf(format, args...), suggestion}
	}
}

// walk visits every node of a program, those below first, so that what a visit puts there is not visited itself. The nodes are structs with pointers and
// lists, without circles.
func (g *jqGuard) walk(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		if q, ok := v.Interface().(*gojq.Query); ok {
			g.expand(q)
		}
		g.walk(v.Elem())
		g.visit(v.Interface())
	case reflect.Struct:
		for i := range v.NumField() {
			g.walk(v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			g.walk(v.Index(i))
		}
	}
}

func (g *jqGuard) visit(node any) {
	switch node := node.(type) {
	case *gojq.Query:
		g.query(node)
	case *gojq.FuncDef:
		g.definition(node)
	case *gojq.Term:
		g.term(node)
	case *gojq.Index:
		if node.Start != nil && !node.IsSlice && !constantJQ(node.Start) {
			node.Start = pipeJQ(node.Start, callJQ("#element"))
		}
	}
}

// expand writes `l -= r` as `r as $v | l |= . - $v`, and `*=` and `+=` alike, while their parts are as they were written.
func (g *jqGuard) expand(q *gojq.Query) {
	var op string
	switch q.Op {
	case gojq.OpUpdateMul:
		op = "*"
	case gojq.OpUpdateSub:
		op = "-"
	case gojq.OpUpdateAdd:
		op = "+"
	}
	if op == "" || op == "+" && !g.loops {
		return
	}
	plain, err := gojq.Parse(fmt.Sprintf("(%s) as $sluice | (%s) |= . %s $sluice", q.Right, q.Left, op))
	if err != nil {
		g.refuse("write it with |=", "%s cannot be used here", q.Op)
		return
	}
	plain.FuncDefs = q.FuncDefs
	*q = *plain
}

// query replaces operators whose cost depends on what they are given.
func (g *jqGuard) query(q *gojq.Query) {
	if len(q.Imports) > 0 {
		g.refuse("", "a program reads no files, so it cannot import or include any")
	}
	var name string
	switch q.Op {
	case gojq.OpMul:
		name = "#multiply"
	case gojq.OpSub:
		name = "#subtract"
	case gojq.OpAdd:
		if g.loops {
			sum := *q
			sum.FuncDefs = nil
			q.Left, q.Right, q.Op = &sum, callJQ("#grown"), gojq.OpPipe
		}
		return
	default:
		return
	}
	q.Term = callJQ(name, q.Left, q.Right).Term
	q.Left, q.Right, q.Op = nil, nil, 0
}

// definition refuses names that stand for something else here.
func (g *jqGuard) definition(d *gojq.FuncDef) {
	check := func(name string, arity int) {
		key := fmt.Sprintf("%s/%d", name, arity)
		_, regular := regularJQ[key]
		if checkedJQ[key] != "" || prefixedJQ[key] != "" || refusedJQ[name] != "" || regular || key == "setpath/2" || key == "getpath/1" {
			g.refuse("choose another name", "%s is a function of jq already", name)
		}
	}
	check(d.Name, len(d.Args))
	for _, name := range d.Args {
		check(name, 0)
	}
}

// term refuses functions, and replaces those that have to look first.
func (g *jqGuard) term(t *gojq.Term) {
	if g.loops && (t.Type == gojq.TermTypeArray || t.Type == gojq.TermTypeObject) {
		made := *t
		made.SuffixList = nil
		t.Array, t.Object = nil, nil
		t.Type, t.Query = gojq.TermTypeQuery, pipeJQ(&gojq.Query{Term: &made}, callJQ("#made"))
		return
	}
	if t.Type != gojq.TermTypeFunc || t.Func == nil {
		return
	}
	f := t.Func
	if why := refusedJQ[f.Name]; why != "" {
		g.refuse("", "%s cannot be used: %s", f.Name, why)
		return
	}
	if strings.HasPrefix(f.Name, "_") {
		g.refuse("", "%s cannot be used: names that begin with _ are jq's own", f.Name)
		return
	}
	key := fmt.Sprintf("%s/%d", f.Name, len(f.Args))
	if flags, ok := regularJQ[key]; ok {
		g.regular(f, flags)
	}
	if key == "getpath/1" || key == "setpath/2" {
		f.Args[0] = pipeJQ(f.Args[0], callJQ("#path"))
	}
	if name := checkedJQ[key]; name != "" {
		f.Name = name
	}
	if name := prefixedJQ[key]; name != "" {
		call := &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeFunc, Func: f}}
		t.Type, t.Func, t.Query = gojq.TermTypeQuery, nil, pipeJQ(callJQ(name), call)
	}
}

// regular looks at the regular expression of a call. The interpreter keeps every one that it has met, so they cannot come from a request.
func (g *jqGuard) regular(f *gojq.Func, flags int) {
	for i, arg := range f.Args {
		if i != 0 && i != flags {
			continue
		}
		text, ok := textOfJQ(arg)
		if !ok {
			g.refuse("write it as a plain text", "%s: the regular expression and its flags cannot be worked out", f.Name)
			return
		}
		if _, err := regexp.Compile(text); i == 0 && err != nil {
			g.refuse("", "%s: %v", f.Name, err)
		}
	}
}

// textOfJQ returns a text, or null, that stands in a program as it is.
func textOfJQ(q *gojq.Query) (string, bool) {
	t := q.Term
	if t == nil || len(t.SuffixList) > 0 || len(q.FuncDefs) > 0 {
		return "", false
	}
	if t.Type == gojq.TermTypeString && t.Str != nil && len(t.Str.Queries) == 0 {
		return t.Str.Str, true
	}
	return "", t.Type == gojq.TermTypeNull
}

// constantJQ reports whether an index stands in a program as it is.
func constantJQ(q *gojq.Query) bool {
	_, text := textOfJQ(q)
	return text || q.Term != nil && q.Term.Type == gojq.TermTypeNumber && len(q.Term.SuffixList) == 0
}

// callJQ returns the call of a function.
func callJQ(name string, args ...*gojq.Query) *gojq.Query {
	return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: name, Args: args}}}
}

// pipeJQ returns `a | b`.
func pipeJQ(a, b *gojq.Query) *gojq.Query {
	return &gojq.Query{Left: a, Op: gojq.OpPipe, Right: b}
}
