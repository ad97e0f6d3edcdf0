package expr

import (
	"math"
	"strconv"

	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// decimal is a number of JSON taken apart: 0.d1d2d3… times ten to the power of point, where d1 is not zero.
type decimal struct {
	negative bool
	digits   []byte // with the point of the text among them, which is passed over
	point    int64
}

// maxPoint bounds the exponents that are told apart. Documents are refused long before.
const maxPoint = 1 << 40

// takeApart returns the parts of a number; of zero there are no digits.
func takeApart(text []byte) (d decimal) {
	if len(text) > 0 && text[0] == '-' {
		d.negative, text = true, text[1:]
	}
	mantissa, exponent := text, int64(0)
	for i, c := range text {
		if c|0x20 == 'e' {
			mantissa, exponent = text[:i], exponentOf(text[i+1:])
			break
		}
	}
	// The point stands behind the whole digits, fewer the zeros that lead.
	whole, behind := int64(0), false
	for i, c := range mantissa {
		switch {
		case c == '.':
			behind = true
		case d.digits != nil && !behind:
			whole++
		case d.digits != nil:
		case c != '0':
			d.digits = mantissa[i:]
			if !behind {
				whole++
			}
		case behind:
			whole--
		}
	}
	if d.digits == nil {
		return decimal{}
	}
	d.point = whole + exponent
	return d
}

func exponentOf(text []byte) (n int64) {
	negative := false
	for _, c := range text {
		switch {
		case c == '-':
			negative = true
		case c == '+':
		case n < maxPoint:
			n = n*10 + int64(c-'0')
		}
	}
	if negative {
		return -n
	}
	return n
}

// next returns the next digit, and what follows it; zeros follow the last.
func nextDigit(digits []byte) (byte, []byte) {
	if len(digits) > 0 && digits[0] == '.' {
		digits = digits[1:]
	}
	if len(digits) == 0 {
		return '0', nil
	}
	return digits[0], digits[1:]
}

// compareNumbers compares two numbers of JSON exactly, however many digits they have: -1, 0 or 1.
func compareNumbers(a, b []byte) int {
	x, y := takeApart(a), takeApart(b)
	switch {
	case x.digits == nil && y.digits == nil:
		return 0
	case x.digits == nil:
		return -sign(y.negative)
	case y.digits == nil || x.negative != y.negative:
		return sign(x.negative)
	case x.point != y.point:
		if x.point < y.point {
			return -sign(x.negative)
		}
		return sign(x.negative)
	}
	p, q := x.digits, y.digits
	for len(p) > 0 || len(q) > 0 {
		var c, d byte
		c, p = nextDigit(p)
		d, q = nextDigit(q)
		if c != d {
			if c < d {
				return -sign(x.negative)
			}
			return sign(x.negative)
		}
	}
	return 0
}

func sign(negative bool) int {
	if negative {
		return -1
	}
	return 1
}

// exact returns the digits of a number that has them: of a document, or an integer of CEL. It uses buf.
func exact(v ref.Val, buf []byte) ([]byte, bool) {
	switch v := v.(type) {
	case *leaf:
		return v.v.Raw(), v.isNumber()
	case types.Int:
		return strconv.AppendInt(buf, int64(v), 10), true
	case types.Uint:
		return strconv.AppendUint(buf, uint64(v), 10), true
	}
	return nil, false
}

func isLeafNumber(v ref.Val) bool {
	l, ok := v.(*leaf)
	return ok && l.isNumber()
}

// compareExact compares two numbers of which at least one is a document's; ok is false for others.
func compareExact(a, b ref.Val) (order int, ok bool) {
	if !isLeafNumber(a) && !isLeafNumber(b) {
		return 0, false
	}
	var first, second [20]byte
	p, ok := exact(a, first[:0])
	if !ok {
		return 0, false
	}
	q, ok := exact(b, second[:0])
	if !ok {
		return 0, false
	}
	return compareNumbers(p, q), true
}

// compare orders two values as traits.Comparer does.
func (r *run) compare(a, b ref.Val) ref.Val {
	if order, ok := compareExact(a, b); ok {
		r.spend(stepWork)
		return types.Int(order)
	}
	a, b = r.scalar(a), r.scalar(b)
	c, ok := a.(traits.Comparer)
	if !ok {
		return types.MaybeNoSuchOverloadErr(a)
	}
	r.spendText(a)
	return c.Compare(b)
}

// ordered makes < and its kin of compare.
func ordered(function string) func(r *run, a, b ref.Val) ref.Val {
	return func(r *run, a, b ref.Val) ref.Val {
		v := r.compare(a, b)
		order, ok := v.(types.Int)
		switch {
		case !ok:
			return v
		case function == operators.Less:
			return types.Bool(order < 0)
		case function == operators.LessEquals:
			return types.Bool(order <= 0)
		case function == operators.Greater:
			return types.Bool(order > 0)
		}
		return types.Bool(order >= 0)
	}
}

// arithmetic makes an operator. Numbers of documents are numbers of JSON, which knows no difference between 2 and 2.0: with a double they become
// one, and a division of them that leaves a rest gives a double.
func arithmetic(function string) func(r *run, a, b ref.Val) ref.Val {
	return func(r *run, a, b ref.Val) ref.Val {
		r.spend(stepWork)
		json := isLeafNumber(a) || isLeafNumber(b)
		a, b = r.scalar(a), r.scalar(b)
		if function == operators.Add {
			if sum, ok := r.join(a, b); ok {
				return sum
			}
		}
		if isNumeric(a) && isNumeric(b) && (a.Type() != b.Type() || json && function == operators.Divide && leavesRest(a, b)) {
			a, b = a.ConvertToType(types.DoubleType), b.ConvertToType(types.DoubleType)
		}
		return operate(function, a, b)
	}
}

func operate(function string, a, b ref.Val) ref.Val {
	switch function {
	case operators.Add:
		if v, ok := a.(traits.Adder); ok {
			return v.Add(b)
		}
	case operators.Subtract:
		if v, ok := a.(traits.Subtractor); ok {
			return v.Subtract(b)
		}
	case operators.Multiply:
		if v, ok := a.(traits.Multiplier); ok {
			return v.Multiply(b)
		}
	case operators.Divide:
		if v, ok := a.(traits.Divider); ok {
			return v.Divide(b)
		}
	case operators.Modulo:
		if v, ok := a.(traits.Modder); ok {
			return v.Modulo(b)
		}
	}
	return types.MaybeNoSuchOverloadErr(a)
}

// join adds what gets longer by it, within the bounds. ok is false for other values.
func (r *run) join(a, b ref.Val) (ref.Val, bool) {
	switch a := a.(type) {
	case types.String:
		if b, ok := b.(types.String); ok {
			r.spend((len(a) + len(b)) / 4)
			return r.bounded(len(a)+len(b), func() ref.Val { return a + b }), true
		}
	case types.Bytes:
		if b, ok := b.(types.Bytes); ok {
			r.spend((len(a) + len(b)) / 4)
			return r.bounded(len(a)+len(b), func() ref.Val { return a.Add(b) }), true
		}
	case traits.Lister:
		if b, ok := b.(traits.Lister); ok {
			n, _ := b.Size().(types.Int)
			r.spend(stepWork * (1 + int(n)))
			return a.Add(b), true
		}
	}
	return nil, false
}

// bounded makes a value of n bytes, or ends the evaluation where it would be too long.
func (r *run) bounded(n int, build func() ref.Val) ref.Val {
	if n > maxOutput {
		r.spend(workLimit + 1)
		return types.WrapErr(errRefused) // without a run, at load
	}
	return build()
}

func isNumeric(v ref.Val) bool {
	switch v.(type) {
	case types.Int, types.Uint, types.Double:
		return true
	}
	return false
}

func leavesRest(a, b ref.Val) bool {
	x, ok := a.(types.Int)
	y, also := b.(types.Int)
	return ok && also && y != 0 && x%y != 0
}

// integerOf returns the value of an integer, or of a double that is one.
func integerOf(v ref.Val) (int64, bool) {
	switch v := v.(type) {
	case *leaf:
		return v.v.Int()
	case types.Int:
		return int64(v), true
	case types.Uint:
		if v <= math.MaxInt64 {
			return int64(v), true
		}
	case types.Double:
		if n, ok := v.ConvertToType(types.IntType).(types.Int); ok && types.Double(n) == v {
			return int64(n), true
		}
	case *types.Optional:
		if v.HasValue() {
			return integerOf(v.GetValue())
		}
	}
	return 0, false
}

func isTrue(v ref.Val) bool {
	if o, ok := v.(*types.Optional); ok {
		return o.HasValue() && isTrue(o.GetValue())
	}
	return v == types.True
}
