package expr

import (
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sluice-gateway/sluice/document"
	"github.com/sluice-gateway/sluice/message"
)

// condition is a condition of the kind that nearly all are, such as `"customer" in claims.roles && request.method == "GET"`: selectors compared
// with constants. It is worked out without CEL, many times faster and without allocating, with the same result.
type condition struct {
	test     test
	program  Program      // what is compared
	value    ref.Val      // with what
	values   []string     // among which
	operands []*condition // of and, or, not
}

// test is what a condition tests.
type test uint8

const (
	isConstant test = iota
	isSelector      // the selector itself
	equalsText
	equalsNumber
	equalsBool
	differs    // operands[0] is an equals
	isAmong    // a selector in a list of constants
	holds      // a constant in a list of a document
	isThere    // has(…)
	isNegated  // operands[0]
	areAllTrue // all operands
	isAnyTrue
)

// truth is the value of a condition.
type truth uint8

const (
	unknownTruth truth = iota // something has no value
	isFalse
	isTruth
)

func truthOf(b bool) truth {
	if b {
		return isTruth
	}
	return isFalse
}

// conditionOf makes a condition of a checked expression, or returns nil for another kind.
func (n *inspector) conditionOf(e ast.Expr) *condition {
	switch e.Kind() {
	case ast.LiteralKind:
		if _, ok := e.AsLiteral().(types.Bool); ok {
			return &condition{test: isConstant, value: e.AsLiteral()}
		}
	case ast.SelectKind:
		if s := e.AsSelect(); s.IsTestOnly() {
			return n.presence(e)
		}
		if p, ok := n.selector(e); ok && p.shape == anyShape {
			return &condition{test: isSelector, program: p}
		}
	case ast.CallKind:
		return n.conditionOfCall(e.AsCall())
	}
	return nil
}

func (n *inspector) conditionOfCall(c ast.CallExpr) *condition {
	if c.IsMemberFunction() {
		return nil
	}
	args := c.Args()
	switch c.FunctionName() {
	case operators.LogicalAnd:
		return n.combined(areAllTrue, args)
	case operators.LogicalOr:
		return n.combined(isAnyTrue, args)
	case operators.LogicalNot:
		return n.combined(isNegated, args)
	case operators.Equals:
		return n.equality(args)
	case operators.NotEquals:
		if equal := n.equality(args); equal != nil {
			return &condition{test: differs, operands: []*condition{equal}}
		}
	case operators.In:
		return n.membership(args)
	}
	return nil
}

func (n *inspector) combined(t test, args []ast.Expr) *condition {
	c := &condition{test: t}
	for _, arg := range args {
		operand := n.conditionOf(arg)
		if operand == nil {
			return nil
		}
		c.operands = append(c.operands, operand)
	}
	return c
}

// equality compares a selector with a constant, in either order.
func (n *inspector) equality(args []ast.Expr) *condition {
	a, b := args[0], args[1]
	if a.Kind() == ast.LiteralKind {
		a, b = b, a
	}
	p, ok := n.selector(a)
	if !ok || b.Kind() != ast.LiteralKind {
		return nil
	}
	c := &condition{program: p, value: b.AsLiteral()}
	switch c.value.(type) {
	case types.String:
		c.test = equalsText
	case types.Int:
		c.test = equalsNumber
	case types.Bool:
		c.test = equalsBool
	default:
		return nil
	}
	return c
}

// membership is TEXT in LIST: one of them is a selector, and the other constant.
func (n *inspector) membership(args []ast.Expr) *condition {
	if args[0].Kind() == ast.LiteralKind {
		text, ok := args[0].AsLiteral().(types.String)
		if p, also := n.selector(args[1]); ok && also && p.shape == anyShape {
			return &condition{test: holds, program: p, value: text}
		}
		return nil
	}
	p, ok := n.selector(args[0])
	if !ok || args[1].Kind() != ast.ListKind {
		return nil
	}
	c := &condition{test: isAmong, program: p}
	for _, e := range args[1].AsList().Elements() {
		if e.Kind() != ast.LiteralKind {
			return nil
		}
		text, ok := e.AsLiteral().(types.String)
		if !ok {
			return nil
		}
		c.values = append(c.values, string(text))
	}
	return c
}

// presence is has(SELECTOR).
func (n *inspector) presence(e ast.Expr) *condition {
	p, ok := n.selector(e)
	if !ok {
		return nil
	}
	switch p.op {
	case opClaim, opConsumer, opPlan, opRequestHeader, opHostField, opParameter, opCookie, opCapture, opRest, opResponseHeader:
		return &condition{test: isThere, program: p}
	}
	return nil
}

// selector makes a program of an expression that is one selector and means in CEL what it means alone.
func (n *inspector) selector(e ast.Expr) (Program, bool) {
	switch e.Kind() {
	case ast.IdentKind, ast.SelectKind, ast.CallKind:
	default:
		return Program{}, false
	}
	path, cut, _ := n.members(e)
	if cut || len(path) == 0 {
		return Program{}, false
	}
	p, err := resolve(path, n.env)
	if err != nil || p.op == opQuery {
		return Program{}, false
	}
	return p, true
}

// evaluate works the condition out.
func (c *condition) evaluate(x *message.Exchange) truth {
	switch c.test {
	case isConstant:
		return truthOf(c.value == types.True)
	case isSelector:
		if b, ok := c.program.document(x).Bool(); ok {
			return truthOf(b)
		}
		return unknownTruth
	case equalsText:
		return c.equalsAny(x, string(c.value.(types.String)))
	case equalsNumber:
		return c.equalsNumber(x, int64(c.value.(types.Int)))
	case equalsBool:
		v := c.program.document(x)
		if !v.Exists() {
			return unknownTruth
		}
		b, ok := v.Bool()
		return truthOf(ok && b == bool(c.value.(types.Bool)))
	case isAmong:
		return c.equalsAny(x, c.values...)
	case holds:
		return holdsText(c.program.document(x), string(c.value.(types.String)))
	case isThere:
		return c.isThere(x)
	}
	return c.combine(x)
}

// combine works out what is made of other conditions, as CEL does: one operand that decides is enough, whatever is unknown of the others.
func (c *condition) combine(x *message.Exchange) truth {
	switch c.test {
	case differs, isNegated:
		switch c.operands[0].evaluate(x) {
		case isTruth:
			return isFalse
		case isFalse:
			return isTruth
		}
		return unknownTruth
	}
	decides := isFalse
	result := isTruth
	if c.test == isAnyTrue {
		decides, result = isTruth, isFalse
	}
	for _, operand := range c.operands {
		switch operand.evaluate(x) {
		case decides:
			return decides
		case unknownTruth:
			result = unknownTruth
		}
	}
	return result
}

// equalsAny reports whether the selector has one of these texts.
func (c *condition) equalsAny(x *message.Exchange, texts ...string) truth {
	var buf [256]byte
	var value []byte
	switch p := &c.program; p.op {
	case opClaim, opClaims, opStepBody, opItem:
		v := p.document(x)
		if v.Exists() && v.Kind() != document.String {
			return isFalse
		}
		text, ok := v.AppendText(buf[:0])
		if !ok {
			return unknownTruth
		}
		value = text
	default:
		text, ok := p.appendSelected(buf[:0], x)
		if !ok {
			return unknownTruth
		}
		value = text
	}
	for _, text := range texts {
		if string(value) == text {
			return isTruth
		}
	}
	return isFalse
}

func (c *condition) equalsNumber(x *message.Exchange, want int64) truth {
	if n, ok := c.program.number(x); ok {
		return truthOf(n == want)
	}
	v := c.program.document(x)
	switch v.Kind() {
	case document.Absent:
		return unknownTruth
	case document.Number:
		n, ok := v.Int()
		return truthOf(ok && n == want)
	}
	return isFalse
}

// holdsText is `TEXT in VALUE`: an element of a list, or a member of an object.
func holdsText(v document.Value, text string) truth {
	switch v.Kind() {
	case document.Array:
		for item := range v.Items {
			if item.Equals(text) {
				return isTruth
			}
		}
		return isFalse
	case document.Object:
		return truthOf(v.Member(text).Exists())
	}
	return unknownTruth
}

func (c *condition) isThere(x *message.Exchange) truth {
	if c.program.op == opClaim {
		return truthOf(x.Identity.Claim(c.program.text) != nil)
	}
	var buf [256]byte
	_, ok := c.program.appendSelected(buf[:0], x)
	return truthOf(ok)
}
