package expr

import (
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/containers"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"
	"cel.dev/cel-go/interpreter"
)

// failure says why an expression is not compiled.
type failure struct {
	err    *Error
	syntax bool // it cannot be read
}

// language is CEL with our functions and no variables.
type language struct {
	env       *cel.Env
	functions map[string]bool
	names     []string // of functions, as they are suggested
	factory   interpreter.AttributeFactory
}

// languageOf makes the language when it is first needed, which takes some milliseconds, and gives the same to everybody afterwards. It is read-only.
var languageOf = sync.OnceValues(newLanguage)

func newLanguage() (*language, error) {
	options := []cel.EnvOption{
		cel.OptionalTypes(),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ParserRecursionLimit(maxNesting),
		cel.ParserErrorRecoveryLimit(1),
		cel.ExpressionNodeLimit(maxNodes),
		ext.Strings(), ext.Encoders(), ext.Math(), ext.Sets(), ext.Bindings(), ext.TwoVarComprehensions(),
		ext.Lists(ext.ListsMaxRangeSize(10_000)),
	}
	env, err := cel.NewEnv(append(options, declarations()...)...)
	if err != nil {
		return nil, err
	}
	// The types are added last: the extensions register theirs with CEL's own provider.
	if env, err = env.Extend(cel.CustomTypeProvider(provider{env.CELTypeProvider()})); err != nil {
		return nil, err
	}
	l := &language{env: env, functions: map[string]bool{}}
	for name := range env.Functions() {
		if !strings.ContainsAny(name, "@_!-") {
			l.functions[name] = true
			l.names = append(l.names, name)
		}
	}
	slices.Sort(l.names)
	l.factory = interpreter.NewAttributeFactory(containers.DefaultContainer, env.CELTypeAdapter(), env.CELTypeProvider())
	return l, nil
}

// source is the text of an expression, with what is needed to find places in it.
type source struct{ text string }

// offset returns the index of the byte at a line, from 1, and a column of characters, from 0.
func (s *source) offset(line, column int) int {
	at := 0
	for ; line > 1; line-- {
		i := strings.IndexByte(s.text[at:], '\n')
		if i < 0 {
			return len(s.text)
		}
		at += i + 1
	}
	for ; column > 0 && at < len(s.text); column-- {
		_, size := utf8.DecodeRuneInString(s.text[at:])
		at += size
	}
	return at
}

// compileCEL compiles an expression that is no selector.
func compileCEL(src string, env *Env) (Program, *failure) {
	if len(src) > maxExpression {
		return Program{}, &failure{err: &Error{Message: "the expression is longer than 16 KiB"}}
	}
	if !utf8.ValidString(src) {
		return Program{}, &failure{err: &Error{Offset: invalidUTF8(src), Message: "the expression is not UTF-8 text"}}
	}
	l, err := languageOf()
	if err != nil {
		return Program{}, &failure{err: &Error{Message: "expressions cannot be compiled: " + err.Error()}}
	}
	c := celCompiler{language: l, source: source{src}, env: env}
	return c.compile()
}

func invalidUTF8(s string) int {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return i
			}
		}
	}
	return 0
}

// celCompiler compiles one expression.
type celCompiler struct {
	language *language
	source   source
	env      *Env
}

func (c *celCompiler) compile() (Program, *failure) {
	env, err := c.language.env.Extend(c.env.celVariables()...)
	if err != nil {
		return Program{}, &failure{err: &Error{Message: "the variables cannot be declared: " + err.Error()}}
	}
	parsed, issues := env.Parse(c.source.text)
	if issues.Err() != nil {
		return Program{}, &failure{err: c.first(issues), syntax: true}
	}
	n := inspector{env: c.env, info: parsed.NativeRep().SourceInfo(), source: &c.source, functions: c.language.functions}
	n.decorator = decorator{forms: map[int64]form{}, weights: map[int64]int{}, optional: map[int64]bool{}, patterns: map[int64]*pattern{}}
	n.decorator.factory = c.language.factory
	n.visit(parsed.NativeRep().Expr())
	if n.err != nil {
		return Program{}, &failure{err: n.err}
	}
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		return Program{}, &failure{err: c.first(issues)}
	}
	program, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CustomDecoratorV2(n.decorator.decorate))
	if err != nil {
		return Program{}, &failure{err: &Error{Message: "the expression has no value: " + err.Error()}}
	}
	e := &evaluator{program: program, variables: n.variables, names: c.env.Steps, item: c.env.Item}
	e.steps, e.uses = n.steps.list(c.env)
	if shapeOfType(checked.OutputType()) == boolShape {
		e.simple = n.conditionOf(parsed.NativeRep().Expr())
	}
	return Program{op: opCEL, shape: shapeOfType(checked.OutputType()), cel: e}, nil
}

func shapeOfType(t *types.Type) shape {
	switch t.Kind() {
	case types.StringKind:
		return textShape
	case types.IntKind, types.UintKind:
		return numberShape
	case types.DoubleKind:
		return doubleShape
	case types.BoolKind:
		return boolShape
	case types.ListKind:
		return listShape
	case types.MapKind:
		return mapShape
	case types.NullTypeKind:
		return nullShape
	case types.DynKind, types.AnyKind, types.TypeParamKind:
		return anyShape
	case types.OpaqueKind:
		if t.TypeName() == types.OptionalType.TypeName() {
			return anyShape
		}
	}
	return otherShape
}

// first returns the first thing that is wrong.
func (c *celCompiler) first(issues *cel.Issues) *Error {
	list := slices.Clone(issues.Errors())
	slices.SortStableFunc(list, func(a, b *common.Error) int {
		if d := a.Location.Line() - b.Location.Line(); d != 0 {
			return d
		}
		return a.Location.Column() - b.Location.Column()
	})
	return c.explain(list[0])
}

// explain turns an error of CEL into one of ours.
func (c *celCompiler) explain(e *common.Error) *Error {
	err := &Error{Offset: c.source.offset(e.Location.Line(), max(e.Location.Column(), 0))}
	text := e.Message
	switch {
	case strings.HasPrefix(text, "undeclared reference to "):
		c.undeclared(err, between(text, "undeclared reference to '", "'"))
	case strings.HasPrefix(text, "found no matching overload for "):
		overload(err, between(text, "overload for '", "'"), between(text, "applied to '", "'"))
	case strings.HasPrefix(text, "undefined field "):
		err.Message = quote(between(text, "'", "'")) + " is not a member of the value before it"
	case strings.HasPrefix(text, "Syntax error: "):
		c.unreadable(err, strings.TrimPrefix(text, "Syntax error: "))
	default:
		err.Message = lowerFirst(text)
	}
	const most = 300
	if len(err.Message) > most {
		err.Message = strings.ToValidUTF8(err.Message[:most], "") + "…"
	}
	return err
}

// undeclared explains a name that CEL does not know: of a function, because variables were looked at before.
func (c *celCompiler) undeclared(err *Error, name string) {
	if i := strings.LastIndex(c.source.text[:min(err.Offset+len(name), len(c.source.text))], name); i >= 0 {
		err.Offset = i
	}
	err.Message = "there is no function " + quote(name)
	if best := nearest(name, c.language.names); best != "" {
		err.Suggestion = `did you mean "` + best + `"?`
	}
}

// unreadable explains a text that is no expression.
func (c *celCompiler) unreadable(err *Error, text string) {
	text, _, _ = strings.Cut(text, " expecting ")
	err.Message = "the expression cannot be read: " + lowerFirst(text)
	rest := c.source.text[err.Offset:]
	switch {
	case strings.TrimSpace(rest) == "":
		err.Message = "the expression ends too early"
	case strings.HasPrefix(rest, "="):
		err.Message, err.Suggestion = `"=" means nothing in expressions`, "write == to compare"
	case strings.HasPrefix(rest, "and "):
		err.Suggestion = "write && for and"
	case strings.HasPrefix(rest, "or "):
		err.Suggestion = "write || for or"
	case strings.HasPrefix(c.source.text, "not "):
		err.Suggestion = "write ! for not"
	}
}

// overload explains an operator or a function that does not take what it is given.
func overload(err *Error, name, args string) {
	operator, ok := operators.FindReverse(name)
	switch {
	case name == operators.Index:
		name = "an index"
	case ok && operator != "":
		name = quote(operator)
	default:
		name = quote(name)
	}
	err.Message = name + " cannot be used with " + args
	number := strings.Contains(args, "int") || strings.Contains(args, "double")
	switch {
	case operator == "in" && strings.HasSuffix(args, ", string)"):
		err.Suggestion = "write TEXT.contains(PART)"
	case strings.Contains(args, "map(string, string)"):
		err.Suggestion = `name one entry, as in request.query["name"]`
	case number && (strings.Contains(args, "string") || strings.Contains(args, "int") && strings.Contains(args, "double")):
		err.Suggestion = "convert one of them with int(…), double(…) or string(…)"
	}
}

// between returns what stands between two texts, "" if they are not there.
func between(text, before, behind string) string {
	_, rest, _ := strings.Cut(text, before)
	inside, _, _ := strings.Cut(rest, behind)
	return inside
}

func lowerFirst(s string) string {
	if s == "" || s[0] >= utf8.RuneSelf {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
