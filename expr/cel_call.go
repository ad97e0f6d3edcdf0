package expr

import (
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
)

// form says in which form an argument goes into a function.
type form uint8

const (
	inPlainForm   form = iota // plain, with all that is in it
	inOuterForm               // itself plain, what is in it as it is: the function passes elements on
	inRawForm                 // as it is: the function passes it on, or is one of ours
	inDoubleForm              // a number as a double
	inCountedForm             // as it is, and its elements are paid for: what a loop goes over
)

// formOf returns the form of argument i of n.
func formOf(function string, i, n int) form {
	if _, ok := binaries[function]; ok {
		return inRawForm
	}
	if _, ok := functions[function]; ok {
		return inRawForm
	}
	switch function {
	case operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.NotStrictlyFalse, operators.Conditional, operators.Negate,
		"dyn", "string", "optional.of", "optional.ofNonZeroValue", "value", "hasValue", "or", "orValue", "optional.unwrap", "unwrapOpt":
		return inRawForm
	case operators.Index, operators.OptIndex, operators.OptSelect:
		if i == 0 {
			return inRawForm
		}
	case "cel.@mapInsert":
		if i != 1 || n == 2 {
			return inRawForm
		}
	case "size", "slice", "flatten", "first", "last", "reverse":
		return inOuterForm
	case "math.ceil", "math.floor", "math.round", "math.trunc", "math.isNaN", "math.isInf", "math.isFinite":
		return inDoubleForm
	}
	return inPlainForm
}

// binaries are the operators that know raw values. The loops of CEL pass them on, so that 1.50 in a body is still 1.50 in the answer.
var binaries = map[string]func(r *run, a, b ref.Val) ref.Val{
	operators.Equals:        isEqual,
	operators.NotEquals:     isDifferent,
	operators.In:            isIn,
	operators.Less:          ordered(operators.Less),
	operators.LessEquals:    ordered(operators.LessEquals),
	operators.Greater:       ordered(operators.Greater),
	operators.GreaterEquals: ordered(operators.GreaterEquals),
	operators.Add:           arithmetic(operators.Add),
	operators.Subtract:      arithmetic(operators.Subtract),
	operators.Multiply:      arithmetic(operators.Multiply),
	operators.Divide:        arithmetic(operators.Divide),
	operators.Modulo:        arithmetic(operators.Modulo),
}

// decorator replaces the nodes of a program while it is planned: operators and functions by ours, arguments of other functions by ones in the
// form that these take.
type decorator struct {
	forms    map[int64]form // of arguments, by the id of their expression
	weights  map[int64]int  // of what loops go over: the size of the loop
	optional map[int64]bool // maps with optional entries
	patterns map[int64]*pattern
	factory  interpreter.AttributeFactory
}

func (d *decorator) decorate(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	switch n := i.(type) {
	case *converted, *convertedAttribute:
		return i, nil
	case interpreter.InterpretableCall:
		i = d.call(n)
	case interpreter.InterpretableConstructor:
		if n.Type() == types.MapType && !d.optional[n.ID()] {
			i = d.mapping(n)
		}
	}
	c := conversion{weight: d.weights[i.ID()], factory: d.factory}
	f, ok := d.forms[i.ID()]
	if c.form = f; !ok || f == inRawForm {
		return i, nil
	}
	if attribute, ok := i.(interpreter.InterpretableAttribute); ok {
		return &convertedAttribute{InterpretableAttribute: attribute, conversion: c}, nil
	}
	if constant, ok := i.(interpreter.InterpretableConst); ok && f != inCountedForm && f != inDoubleForm {
		return constant, nil // it is plain already, and cannot be long
	}
	return &converted{InterpretableV2: i, conversion: c}, nil
}

// call replaces a call of a function that is ours.
func (d *decorator) call(n interpreter.InterpretableCall) interpreter.InterpretableV2 {
	args := n.Args()
	if impl, ok := binaries[n.Function()]; ok && len(args) == 2 {
		return &binary{id: n.ID(), a: args[0], b: args[1], impl: impl}
	}
	if n.Function() == operators.Negate && len(args) == 1 {
		return &call{id: n.ID(), args: args, impl: negate}
	}
	if p := d.patterns[n.ID()]; p != nil {
		return &call{id: n.ID(), args: args[:1], impl: p.match}
	}
	if impl, ok := functions[n.Function()]; ok {
		return &call{id: n.ID(), args: args, impl: impl}
	}
	return n
}

func negate(r *run, args []ref.Val) ref.Val {
	if n, ok := r.scalar(args[0]).(traits.Negater); ok {
		return n.Negate()
	}
	return types.MaybeNoSuchOverloadErr(args[0])
}

// mapping replaces the building of a map by one that keeps the order.
func (d *decorator) mapping(n interpreter.InterpretableConstructor) interpreter.InterpretableV2 {
	m := &newMapping{id: n.ID(), entries: n.InitVals()}
	for _, e := range m.entries {
		if _, ok := e.(interpreter.InterpretableConst); !ok {
			return m
		}
	}
	return interpreter.NewConstValue(n.ID(), m.build(nil, nil))
}

// binary is an operator with two operands.
type binary struct {
	id   int64
	a, b interpreter.InterpretableV2
	impl func(r *run, a, b ref.Val) ref.Val
}

// ID implements interpreter.Interpretable.
func (n *binary) ID() int64 { return n.id }

// Exec implements interpreter.InterpretableV2.
func (n *binary) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	a := n.a.Exec(frame)
	if types.IsUnknownOrError(a) {
		return a
	}
	b := n.b.Exec(frame)
	if types.IsUnknownOrError(b) {
		return b
	}
	return n.impl(runOf(frame), a, b)
}

// Eval implements interpreter.Interpretable.
func (n *binary) Eval(vars interpreter.Activation) ref.Val { return n.Exec(interpreter.AsFrame(vars)) }

// call is a function of ours.
type call struct {
	id   int64
	args []interpreter.InterpretableV2
	impl func(r *run, args []ref.Val) ref.Val
}

// ID implements interpreter.Interpretable.
func (n *call) ID() int64 { return n.id }

// Exec implements interpreter.InterpretableV2.
func (n *call) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	args := make([]ref.Val, len(n.args))
	for i, arg := range n.args {
		if args[i] = arg.Exec(frame); types.IsUnknownOrError(args[i]) {
			return args[i]
		}
	}
	return n.impl(runOf(frame), args)
}

// Eval implements interpreter.Interpretable.
func (n *call) Eval(vars interpreter.Activation) ref.Val { return n.Exec(interpreter.AsFrame(vars)) }

// newMapping builds a map.
type newMapping struct {
	id      int64
	entries []interpreter.InterpretableV2 // keys and values in turn
}

// ID implements interpreter.Interpretable.
func (n *newMapping) ID() int64 { return n.id }

// Exec implements interpreter.InterpretableV2.
func (n *newMapping) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	return n.build(runOf(frame), frame)
}

// Eval implements interpreter.Interpretable.
func (n *newMapping) Eval(vars interpreter.Activation) ref.Val {
	return n.Exec(interpreter.AsFrame(vars))
}

// build builds the map. frame is nil where all entries are constants.
func (n *newMapping) build(r *run, frame *interpreter.ExecutionFrame) ref.Val {
	size := len(n.entries) / 2
	r.spend(stepWork * (1 + size))
	m := &mapping{r: r, keys: make([]ref.Val, 0, size), values: make([]ref.Val, 0, size)}
	for i := 0; i+1 < len(n.entries); i += 2 {
		key := n.entries[i].Exec(frame)
		if types.IsUnknownOrError(key) {
			return key
		}
		switch key.(type) {
		case types.String, types.Int, types.Uint, types.Bool:
		default:
			return types.MaybeNoSuchOverloadErr(key)
		}
		value := n.entries[i+1].Exec(frame)
		if types.IsUnknownOrError(value) {
			return value
		}
		m.set(key, value)
	}
	return m
}

// conversion brings a value into the form of an argument.
type conversion struct {
	form    form
	weight  int
	factory interpreter.AttributeFactory
}

func (c *conversion) apply(r *run, v ref.Val) ref.Val {
	switch c.form {
	case inPlainForm:
		return r.plain(v)
	case inOuterForm:
		v = r.scalar(v)
		r.spendText(v)
	case inDoubleForm:
		if v = r.scalar(v); isNumeric(v) {
			return v.ConvertToType(types.DoubleType)
		}
	case inCountedForm:
		r.spend(turns(v) * c.weight)
	}
	return v
}

// turns returns how many turns a loop over v has, or a bound of it where counting would cost more.
func turns(v ref.Val) int {
	switch v := v.(type) {
	case *list:
		return len(v.all()) // which the loop needs as well
	case *object:
		return len(v.v.Raw()) / len(`"":0,`)
	case traits.Sizer:
		n, _ := v.Size().(types.Int)
		return int(n)
	}
	return 0
}

// converted is an argument.
type converted struct {
	interpreter.InterpretableV2
	conversion conversion
}

// Exec implements interpreter.InterpretableV2.
func (n *converted) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	v := n.InterpretableV2.Exec(frame)
	if types.IsUnknownOrError(v) {
		return v
	}
	return n.conversion.apply(runOf(frame), v)
}

// Eval implements interpreter.Interpretable.
func (n *converted) Eval(vars interpreter.Activation) ref.Val {
	return n.Exec(interpreter.AsFrame(vars))
}

// convertedAttribute is an argument that is a variable with what is below it, or a condition. As an index it is asked to qualify a value.
type convertedAttribute struct {
	interpreter.InterpretableAttribute
	conversion conversion
}

// Exec implements interpreter.InterpretableV2.
func (n *convertedAttribute) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	v := n.InterpretableAttribute.Exec(frame)
	if types.IsUnknownOrError(v) {
		return v
	}
	return n.conversion.apply(runOf(frame), v)
}

// Eval implements interpreter.Interpretable.
func (n *convertedAttribute) Eval(vars interpreter.Activation) ref.Val {
	return n.Exec(interpreter.AsFrame(vars))
}

// Resolve implements interpreter.Attribute.
func (n *convertedAttribute) Resolve(vars interpreter.Activation) (any, error) {
	v := n.Eval(vars)
	if err, ok := v.(*types.Err); ok {
		return nil, err
	}
	return v, nil
}

// Qualify implements interpreter.Qualifier.
func (n *convertedAttribute) Qualify(vars interpreter.Activation, obj any) (any, error) {
	q, err := n.qualifier(vars)
	if err != nil {
		return nil, err
	}
	return q.Qualify(vars, obj)
}

// QualifyIfPresent implements interpreter.Qualifier.
func (n *convertedAttribute) QualifyIfPresent(vars interpreter.Activation, obj any, presenceOnly bool) (any, bool, error) {
	q, err := n.qualifier(vars)
	if err != nil {
		return nil, false, err
	}
	return q.QualifyIfPresent(vars, obj, presenceOnly)
}

func (n *convertedAttribute) qualifier(vars interpreter.Activation) (interpreter.Qualifier, error) {
	v, err := n.Resolve(vars)
	if err != nil {
		return nil, err
	}
	return n.conversion.factory.NewQualifier(nil, n.ID(), v, n.IsOptional())
}
