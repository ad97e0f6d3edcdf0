package expr

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// The bounds of an expression of CEL.
const (
	maxExpression = 16 << 10 // bytes
	maxNesting    = 64       // of parentheses, calls and operators
	maxNodes      = 5000
	maxLoops      = 4  // loops within each other
	loopWork      = 40 // of one node in one turn of a loop
)

// inspector goes over a parsed expression: it finds out which variables are read, reports names that do not exist, and collects what the
// decorator needs to know of the expressions around a node.
type inspector struct {
	env       *Env
	info      *ast.SourceInfo
	source    *source
	functions map[string]bool

	scope     []string // variables of the loops around
	loops     int
	turns     int // of the loops around, as far as they are known
	steps     stepSet
	variables []string
	decorator decorator
	err       *Error // the first one
}

func (n *inspector) fail(err *Error) {
	if n.err == nil || err.Offset < n.err.Offset {
		n.err = err
	}
}

// at returns where an expression begins.
func (n *inspector) at(id int64) int {
	l := n.info.GetStartLocation(id)
	return n.source.offset(l.Line(), l.Column())
}

// visit goes over an expression and returns how many nodes it has.
func (n *inspector) visit(e ast.Expr) int {
	switch e.Kind() {
	case ast.IdentKind, ast.SelectKind:
		return n.chain(e)
	case ast.CallKind:
		return n.call(e)
	case ast.ListKind:
		return 1 + n.all(e.AsList().Elements())
	case ast.MapKind:
		return n.mapping(e)
	case ast.StructKind:
		n.fail(&Error{Offset: n.at(e.ID()), Message: "values of named types cannot be made here", Suggestion: `write a map, as in {"id": path.id}`})
	case ast.ComprehensionKind:
		return n.loop(e)
	}
	return 1
}

func (n *inspector) all(list []ast.Expr) (nodes int) {
	for _, e := range list {
		nodes += n.visit(e)
	}
	return nodes
}

func (n *inspector) mapping(e ast.Expr) int {
	nodes := 1
	for _, entry := range e.AsMap().Entries() {
		m := entry.AsMapEntry()
		if m.IsOptional() {
			n.decorator.optional[e.ID()] = true
		}
		n.decorator.forms[m.Key().ID()] = inPlainForm
		nodes += n.visit(m.Key()) + n.visit(m.Value())
	}
	return nodes
}

// loop visits a macro such as map or exists, or a variable that cel.bind names.
func (n *inspector) loop(e ast.Expr) int {
	c := e.AsComprehension()
	nodes := 1 + n.visit(c.IterRange()) + n.visit(c.AccuInit())
	loops, around := n.loops, n.turns
	if !isEmptyList(c.IterRange()) { // cel.bind is a loop without turns
		n.loops++
	}
	if n.loops > maxLoops {
		n.fail(&Error{Offset: n.at(e.ID()), Message: fmt.Sprintf("more than %d loops within each other", maxLoops)})
	}
	n.turns = min(max(n.turns, 1)*constantSize(c.IterRange()), workLimit)
	depth := len(n.scope)
	n.scope = append(n.scope, c.AccuVar(), c.IterVar(), c.IterVar2())
	turn := n.visit(c.LoopCondition()) + n.visit(c.LoopStep())
	n.scope = append(n.scope[:depth], c.AccuVar())
	nodes += turn + n.visit(c.Result())
	n.scope = n.scope[:depth]
	if n.turns*turn*loopWork > workLimit {
		n.fail(&Error{Offset: n.at(e.ID()), Message: "the loop takes more work than an expression may, whatever its variables are"})
	}
	n.loops, n.turns = loops, around
	n.decorator.forms[c.IterRange().ID()] = inCountedForm
	n.decorator.weights[c.IterRange().ID()] = turn * loopWork
	return nodes
}

func isEmptyList(e ast.Expr) bool { return e.Kind() == ast.ListKind && e.AsList().Size() == 0 }

// constantSize returns how many turns a loop over e has, at least 1: of other lists than constant ones the request decides.
func constantSize(e ast.Expr) int {
	switch e.Kind() {
	case ast.ListKind:
		return max(e.AsList().Size(), 1)
	case ast.CallKind:
		c := e.AsCall()
		name := c.FunctionName()
		if c.IsMemberFunction() {
			if namespace, ok := dotted(c.Target()); ok {
				name = namespace + "." + name
			}
		}
		if name == "lists.range" && len(c.Args()) == 1 && c.Args()[0].Kind() == ast.LiteralKind {
			if size, ok := c.Args()[0].AsLiteral().(types.Int); ok {
				return int(min(max(size, 1), workLimit))
			}
		}
	}
	return 1
}

func (n *inspector) call(e ast.Expr) int {
	c := e.AsCall()
	args := c.Args()
	name := c.FunctionName()
	if c.IsMemberFunction() {
		if namespace, ok := dotted(c.Target()); ok && n.functions[namespace+"."+name] && !n.local(namespace) {
			name = namespace + "." + name
		} else if ok && n.unknownFunction(namespace, name, c.Target()) {
			return 1
		} else {
			args = append([]ast.Expr{c.Target()}, args...)
		}
	}
	for i, arg := range args {
		if f := formOf(name, i, len(args)); f != inRawForm {
			n.decorator.forms[arg.ID()] = f
		}
	}
	if isIndex(e) {
		return n.chain(e)
	}
	if name == "matches" {
		n.pattern(e, args)
	}
	return 1 + n.all(args)
}

// pattern compiles the regular expression of a call of matches.
func (n *inspector) pattern(e ast.Expr, args []ast.Expr) {
	if len(args) != 2 {
		return
	}
	if args[1].Kind() == ast.LiteralKind {
		if text, ok := args[1].AsLiteral().(types.String); ok {
			p, problem := compilePattern(string(text))
			if p == nil {
				n.fail(&Error{Offset: n.at(args[1].ID()), Message: "the regular expression cannot be used: " + problem,
					Suggestion: "write it in the syntax of RE2"})
			}
			n.decorator.patterns[e.ID()] = p
			return
		}
	}
	n.fail(&Error{Offset: n.at(args[1].ID()), Message: "a regular expression is a text in quotes", Suggestion: `write it here, as in path.id.matches("^[0-9]+$")`})
}

// unknownFunction reports a call such as merge.depp(…), which reads like a method of a variable. It says whether it did.
func (n *inspector) unknownFunction(namespace, name string, target ast.Expr) bool {
	root, _, _ := strings.Cut(namespace, ".")
	if n.local(root) || n.env.knows(root) || n.env.step(root) >= 0 || n.env.Item == root && root != "" || !slices.Contains(words, root) {
		return false
	}
	var choices []string
	for f := range n.functions {
		if strings.HasPrefix(f, root+".") {
			choices = append(choices, f)
		}
	}
	slices.Sort(choices)
	n.fail(&Error{Offset: n.at(target.ID()), Message: "there is no function " + quote(namespace+"."+name),
		Suggestion: didYouMean(namespace+"."+name, choices)})
	return true
}

// dotted returns a name with members as it is written.
func dotted(e ast.Expr) (string, bool) {
	switch e.Kind() {
	case ast.IdentKind:
		return e.AsIdent(), true
	case ast.SelectKind:
		s := e.AsSelect()
		name, ok := dotted(s.Operand())
		return name + "." + s.FieldName(), ok && !s.IsTestOnly()
	}
	return "", false
}

func (n *inspector) local(name string) bool { return name != "" && slices.Contains(n.scope, name) }

// chain visits a variable with what is below it, and checks its names.
func (n *inspector) chain(e ast.Expr) int {
	path, _, nodes := n.members(e)
	if path == nil || n.local(path[0].name) || strings.ContainsAny(path[0].name[:1], "@#") {
		return nodes
	}
	root := path[0]
	root.name = strings.TrimPrefix(root.name, ".")
	if isType(root.name) {
		return nodes
	}
	if i := n.env.step(root.name); i >= 0 {
		n.steps.add([]int{i})
	} else if !n.env.knows(root.name) && (n.env.Item == "" || root.name != n.env.Item) {
		n.fail(n.unknown(root))
		return nodes
	}
	if !slices.Contains(n.variables, root.name) {
		n.variables = append(n.variables, root.name)
	}
	path[0] = root
	if _, err := resolve(path, n.env); err != nil && !err.partial && len(path) > 1 {
		n.fail(err)
	}
	return nodes
}

// unknown reports a variable that is not known. In brackets it was meant to be a name.
func (n *inspector) unknown(root member) *Error {
	err := unknown(root, n.env)
	src := n.source.text
	if before := strings.TrimRight(src[:root.at], " "); strings.HasSuffix(before, "[") &&
		strings.HasPrefix(strings.TrimLeft(src[min(root.at+len(root.name), len(src)):], " "), "]") {
		err.Suggestion = `write ["` + root.name + `"]`
	}
	return err
}

// members takes a chain of members apart. It ends before a member that is only known when it runs: then it is cut, and nothing may be added. Of
// another expression than a variable there is no path. Everything is visited, and nodes are counted.
func (n *inspector) members(e ast.Expr) (path []member, cut bool, nodes int) {
	switch e.Kind() {
	case ast.IdentKind:
		return []member{{name: e.AsIdent(), at: n.at(e.ID()), index: -1}}, false, 1
	case ast.SelectKind:
		s := e.AsSelect()
		path, cut, nodes = n.members(s.Operand())
		if path != nil && !cut && len(path) < maxMembers {
			path = append(path, member{name: s.FieldName(), at: n.nameAt(e.ID(), s.FieldName()), index: -1})
		}
		return path, cut, nodes + 1
	case ast.CallKind:
		if !isIndex(e) {
			break
		}
		args := e.AsCall().Args()
		path, cut, nodes = n.members(args[0])
		nodes += 1 + n.visit(args[1])
		m, ok := n.key(args[1])
		if path == nil || cut || !ok || len(path) == maxMembers {
			return path, true, nodes
		}
		return append(path, m), false, nodes
	}
	return nil, true, n.visit(e)
}

// key makes a member of a constant in brackets.
func (n *inspector) key(e ast.Expr) (member, bool) {
	if e.Kind() != ast.LiteralKind {
		return member{}, false
	}
	m := member{at: n.at(e.ID()), quoted: true, index: -1}
	switch v := e.AsLiteral().(type) {
	case types.String:
		m.name = string(v)
		return m, true
	case types.Int:
		m.name, m.index = strconv.FormatInt(int64(v), 10), int(v)
		return m, 0 <= v && v < 1e9
	}
	return member{}, false
}

// isIndex reports whether e is VALUE[KEY] or VALUE.?KEY.
func isIndex(e ast.Expr) bool {
	if e.Kind() != ast.CallKind || e.AsCall().IsMemberFunction() || len(e.AsCall().Args()) != 2 {
		return false
	}
	switch e.AsCall().FunctionName() {
	case operators.Index, operators.OptIndex, operators.OptSelect:
		return true
	}
	return false
}

// nameAt returns where the name of a member stands: behind the point, whose place CEL keeps.
func (n *inspector) nameAt(id int64, name string) int {
	at := n.at(id)
	if i := strings.Index(n.source.text[at:], name); i >= 0 {
		return at + i
	}
	return at
}

// isType reports whether a name is a type of CEL, as in type(x) == string.
func isType(name string) bool {
	switch name {
	case "bool", "bytes", "double", "int", "list", "map", "null_type", "optional_type", "string", "type", "uint":
		return true
	}
	return false
}
