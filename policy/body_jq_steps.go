package policy

import (
	"encoding/json"
	"math"
	"math/big"
	"strings"

	"github.com/itchyny/gojq"

	"github.com/sluice-gateway/sluice/document"
)

// binaryJQ returns a step of jq as a function of two values. src is ours and compiles; a step that could not be compiled would refuse everything.
func binaryJQ(src string) func(l, r any) any {
	query, err := gojq.Parse(src)
	if err != nil {
		return func(any, any) any { return err }
	}
	code, err := gojq.Compile(query, gojq.WithVariables([]string{"$l", "$r"}))
	if err != nil {
		return func(any, any) any { return err }
	}
	return func(l, r any) any {
		out, ok := code.Run(nil, l, r).Next()
		if !ok {
			return errNoOutput
		}
		return out
	}
}

// intOfJQ returns a number that is an integer of at most 32 bits, so that products and differences fit.
func intOfJQ(v any) (int, bool) {
	n := 0
	switch v := v.(type) {
	case int:
		n = v
	case json.Number:
		i, ok := document.Of([]byte(v)).Int()
		if !ok || strings.ContainsAny(string(v), ".eE") {
			return 0, false
		}
		n = int(i)
	default:
		return 0, false
	}
	return n, n >= math.MinInt32 && n <= math.MaxInt32
}

// multiplyJQ is the operator *. A text is repeated within bounds.
func multiplyJQ(l, r any, step func(l, r any) any) any {
	if x, ok := intOfJQ(l); ok {
		if y, ok := intOfJQ(r); ok {
			return x * y
		}
	}
	if bitsJQ(l)+bitsJQ(r) > maxJQBits {
		return errJQStep
	}
	text, ok := l.(string)
	times := r
	if !ok {
		text, ok = r.(string)
		times = l
	}
	if n, number := gojq.ToFloat64(times); ok && number && float64(len(text))*n > maxJQText {
		return errJQStep
	}
	return step(l, r)
}

// bitsJQ returns the size of an integer of any size.
func bitsJQ(v any) int {
	if n, ok := v.(*big.Int); ok {
		return n.BitLen()
	}
	return 0
}

// subtractJQ is the operator -. The difference of two arrays is that of every element with every other.
func subtractJQ(l, r any, step func(l, r any) any) any {
	if x, ok := intOfJQ(l); ok {
		if y, ok := intOfJQ(r); ok {
			return x - y
		}
	}
	if a, ok := l.([]any); ok {
		if b, ok := r.([]any); ok && len(a)*len(b) > maxJQWork {
			return errJQStep
		}
	}
	return step(l, r)
}

// valuesJQ counts the values in v, a long text as several, up to a number that is too large for everything. A value that stands in several places counts
// at each of them, which a small program can make more than can be counted.
func valuesJQ(v any) int { return maxJQWork - leftJQ(v, maxJQWork) }

// leftJQ returns what is left of n when the values in v are taken from it, 0 or less if there are more.
func leftJQ(v any, n int) int {
	n--
	switch v := v.(type) {
	case string:
		n -= len(v) >> 8
	case []any:
		for _, item := range v {
			if n <= 0 {
				return n
			}
			n = leftJQ(item, n)
		}
	case map[string]any:
		for _, item := range v {
			if n <= 0 {
				return n
			}
			n = leftJQ(item, n)
		}
	}
	return n
}

// boundedValues passes what has no more values than a step may make.
func boundedValues(v any) any {
	if leftJQ(v, maxJQCells) <= 0 {
		return errJQStep
	}
	return v
}

// boundedLength passes texts and arrays that are not longer than what a step may make.
func boundedLength(v any) any {
	switch v := v.(type) {
	case string:
		if len(v) > maxJQText {
			return errJQStep
		}
	case []any:
		if len(v) > maxJQCells {
			return errJQStep
		}
	}
	return v
}

// lengthJQ returns the length of an array or a text.
func lengthJQ(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case []any:
		return len(v)
	}
	return 1
}

// cellsJQ returns how many elements the transposed array has.
func cellsJQ(v any) int {
	rows, ok := v.([]any)
	if !ok {
		return 0
	}
	most := 0
	for _, row := range rows {
		most = max(most, lengthJQ(row))
	}
	return len(rows) * most
}

// boundedIndex passes what may be an index.
func boundedIndex(v any) any {
	if n, ok := gojq.ToFloat64(v); ok && n > maxJQIndex {
		return errJQStep
	}
	return v
}

// boundedPath passes what may be a path.
func boundedPath(v any) any {
	if path, ok := v.([]any); ok {
		for _, step := range path {
			if err, ok := boundedIndex(step).(error); ok {
				return err
			}
		}
	}
	return v
}

// boundedText passes texts of at most n bytes, and all that is no text.
func boundedText(v any, n int) any {
	if text, ok := v.(string); ok && len(text) > n {
		return errJQStep
	}
	return v
}

// boundedJSON passes texts that are JSON within the bounds of a body.
func boundedJSON(v any) any {
	if text, ok := v.(string); ok {
		if _, err := document.Parse([]byte(text), editLimits); err != nil {
			return err
		}
	}
	return v
}
