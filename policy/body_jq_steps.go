package policy

import (
	"encoding/json"
	"math"
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

// valuesJQ counts the values in v, a long text as several.
func valuesJQ(v any) int {
	n := 1
	switch v := v.(type) {
	case string:
		n += len(v) >> 8
	case []any:
		for _, item := range v {
			n += valuesJQ(item)
		}
	case map[string]any:
		for _, item := range v {
			n += valuesJQ(item)
		}
	}
	return min(n, math.MaxInt32)
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
