package expr

import (
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/sluice-gateway/sluice/document"
)

// maxDepth bounds how deep lists and maps that an expression builds are within each other.
const maxDepth = 64

// appendText appends a value as text; ok is false for one that has none.
func (r *run) appendText(dst []byte, v ref.Val) (out []byte, ok bool) {
	switch v := v.(type) {
	case *leaf:
		return appendScalar(dst, v.v)
	case types.String:
		return append(dst, v...), true
	case types.Bool:
		return strconv.AppendBool(dst, bool(v)), true
	case types.Int:
		return strconv.AppendInt(dst, int64(v), 10), true
	case types.Uint:
		return strconv.AppendUint(dst, uint64(v), 10), true
	case types.Double:
		return appendDouble(dst, float64(v))
	case types.Timestamp, types.Duration:
		if s, ok := v.ConvertToType(types.StringType).(types.String); ok {
			return append(dst, s...), true
		}
	case *types.Optional:
		if v.HasValue() {
			return r.appendText(dst, v.GetValue())
		}
	}
	return dst, false
}

// appendDouble appends the shortest digits that are this number (RFC 8785 section 3.2.2.3 in effect); ok is false for those that JSON does not
// have.
func appendDouble(dst []byte, f float64) ([]byte, bool) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return dst, false
	}
	if size := math.Abs(f); size == 0 || size >= 1e-6 && size < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64), true
	}
	return strconv.AppendFloat(dst, f, 'e', -1, 64), true
}

// writer writes values as JSON.
type writer struct {
	r    *run
	dst  []byte
	from int // where the value begins in dst
}

// value appends a value; false for one that JSON does not have, when what was appended is to be dropped.
func (w *writer) value(v ref.Val, depth int) bool {
	if w.r.spend(stepWork); len(w.dst)-w.from > maxOutput {
		w.r.spend(workLimit + 1)
	}
	switch v := v.(type) {
	case *leaf:
		return w.splice(v.v)
	case *list:
		return w.splice(v.v)
	case *object:
		return w.splice(v.v)
	case null, types.Null:
		w.dst = append(w.dst, "null"...)
	case types.String:
		w.string(string(v))
	case types.Bytes:
		n := len(w.dst)
		w.dst = quoteFrom(base64.StdEncoding.AppendEncode(w.dst, v), n)
	case types.Bool, types.Int, types.Uint, types.Double:
		var ok bool
		w.dst, ok = w.r.appendText(w.dst, v)
		return ok
	case types.Timestamp, types.Duration:
		n := len(w.dst)
		text, ok := w.r.appendText(w.dst, v)
		if !ok {
			return false
		}
		w.dst = quoteFrom(text, n)
	case *types.Optional:
		return v.HasValue() && w.value(v.GetValue(), depth)
	case traits.Lister:
		return depth < maxDepth && w.list(v, depth+1)
	case traits.Mapper:
		return depth < maxDepth && w.mapping(v, depth+1)
	default:
		return false
	}
	return true
}

// splice appends a part of a document as it lies there.
func (w *writer) splice(v document.Value) bool {
	w.r.spend(len(v.Raw()) / 8)
	w.dst = append(w.dst, v.Raw()...)
	return true
}

func (w *writer) string(s string) {
	w.r.spend(len(s) / 4)
	n := len(w.dst)
	w.dst = quoteFrom(append(w.dst, s...), n)
}

func (w *writer) list(l traits.Lister, depth int) bool {
	w.dst = append(w.dst, '[')
	first := true
	for it := l.Iterator(); it.HasNext() == types.True; {
		w.comma(&first)
		if !w.value(it.Next(), depth) {
			return false
		}
	}
	w.dst = append(w.dst, ']')
	return true
}

func (w *writer) comma(first *bool) {
	if !*first {
		w.dst = append(w.dst, ',')
	}
	*first = false
}

// mapping appends a map in its order, or in the order of its names where it has none.
func (w *writer) mapping(m traits.Mapper, depth int) bool {
	var keys []ref.Val
	for it := m.Iterator(); it.HasNext() == types.True; {
		keys = append(keys, it.Next())
	}
	names := make([]string, len(keys))
	for i, key := range keys {
		text, ok := w.r.appendText(nil, key)
		if !ok {
			return false
		}
		names[i] = string(text)
	}
	order := make([]int, len(keys))
	for i := range order {
		order[i] = i
	}
	switch m.(type) {
	case *mapping, *entries:
	default:
		slices.SortFunc(order, func(i, j int) int { return strings.Compare(names[i], names[j]) })
	}
	w.dst = append(w.dst, '{')
	first := true
	for _, i := range order {
		w.comma(&first)
		w.string(names[i])
		w.dst = append(w.dst, ':')
		if !w.value(m.Get(keys[i]), depth) {
			return false
		}
	}
	w.dst = append(w.dst, '}')
	return true
}
