package policy

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/itchyny/gojq"

	"github.com/sluice-gateway/sluice/document"
)

// jqWriter writes what a program put out. The interpreter's objects have no order, so it is taken from the input: what was passed on whole is copied as it
// lies there; an object that takes the place of another has its order; for others the first place counts at which the input has a member of the name.
// Names that the input does not have come last, in alphabetical order.
type jqWriter struct {
	dst     []byte
	origins map[uintptr]jqOrigin
	root    document.Value
	ranks   map[string]int // first places of names in root; nil until they are needed
	limit   int
	depth   int
}

// value writes v. place is what stands there in the input, if anything does.
func (w *jqWriter) value(v any, place document.Value) error {
	switch v := v.(type) {
	case nil:
		w.dst = append(w.dst, "null"...)
	case bool:
		w.dst = strconv.AppendBool(w.dst, v)
	case int:
		w.dst = strconv.AppendInt(w.dst, int64(v), 10)
	case float64:
		w.dst = appendFloat(w.dst, v)
	case *big.Int:
		w.dst = v.Append(w.dst, 10)
	case json.Number:
		w.dst = append(w.dst, v...)
	case string:
		w.dst = document.AppendString(w.dst, []byte(v))
	case []any, map[string]any:
		if w.depth++; w.depth > document.MaxDepth {
			return errJQLarge
		}
		defer func() { w.depth-- }()
		if list, ok := v.([]any); ok {
			return w.array(list, place)
		}
		return w.object(v.(map[string]any), place)
	default:
		return fmt.Errorf("the program has put out a %T", v)
	}
	return w.room()
}

// room reports whether what was written is within the bound.
func (w *jqWriter) room() error {
	if len(w.dst) > w.limit {
		return errJQLarge
	}
	return nil
}

// appendFloat writes a number as jq does: what JSON has no word for becomes null, or the largest number.
func appendFloat(dst []byte, f float64) []byte {
	if math.IsNaN(f) {
		return append(dst, "null"...)
	}
	f = min(max(f, -math.MaxFloat64), math.MaxFloat64)
	text, err := gojq.Marshal(f)
	if err != nil {
		return strconv.AppendFloat(dst, f, 'g', -1, 64)
	}
	return append(dst, text...)
}

// spliced copies an array or object that was passed on whole.
func (w *jqWriter) spliced(at uintptr, length int) bool {
	o, ok := w.origins[at]
	if !ok || o.length != length {
		return false
	}
	w.dst = append(w.dst, o.value.Raw()...)
	return true
}

func (w *jqWriter) array(list []any, place document.Value) error {
	if len(list) > 0 && w.spliced(reflect.ValueOf(list).Pointer(), len(list)) {
		return w.room()
	}
	w.dst = append(w.dst, '[')
	next := elements(place)
	for i, item := range list {
		if i > 0 {
			w.dst = append(w.dst, ',')
		}
		if err := w.value(item, next()); err != nil {
			return err
		}
	}
	w.dst = append(w.dst, ']')
	return w.room()
}

// elements returns the elements of the array at a place, one at a call, and no value when there are no more.
func elements(place document.Value) (next func() document.Value) {
	var items []document.Value
	if place.Kind() == document.Array {
		items = make([]document.Value, 0, place.Len())
		for item := range place.Items {
			items = append(items, item)
		}
	}
	return func() (v document.Value) {
		if len(items) > 0 {
			v, items = items[0], items[1:]
		}
		return v
	}
}

func (w *jqWriter) object(object map[string]any, place document.Value) error {
	if w.spliced(reflect.ValueOf(object).Pointer(), len(object)) {
		return w.room()
	}
	here := make(map[string]jqMember)
	if place.Kind() == document.Object {
		for name, v := range place.Members {
			text := textOf(name)
			m, ok := here[text]
			if !ok {
				m.rank = len(here)
			}
			m.value = v
			here[text] = m
		}
	}
	w.dst = append(w.dst, '{')
	for i, name := range w.order(object, here) {
		if i > 0 {
			w.dst = append(w.dst, ',')
		}
		w.dst = append(document.AppendString(w.dst, []byte(name)), ':')
		if err := w.value(object[name], here[name].value); err != nil {
			return err
		}
	}
	w.dst = append(w.dst, '}')
	return w.room()
}

// jqMember is a member of the input that stands where one is written.
type jqMember struct {
	rank  int
	value document.Value
}

// order returns the names of an object in the order in which they are written.
func (w *jqWriter) order(object map[string]any, here map[string]jqMember) []string {
	names := make([]string, 0, len(object))
	for name := range object {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		x, inX := here[a]
		y, inY := here[b]
		switch {
		case inX && inY:
			return x.rank - y.rank
		case inX:
			return -1
		case inY:
			return 1
		}
		return w.compare(a, b)
	})
	return names
}

// compare orders names that do not stand at the place where they are written.
func (w *jqWriter) compare(a, b string) int {
	if w.ranks == nil {
		w.ranks = make(map[string]int)
		w.rank(w.root)
	}
	x, inX := w.ranks[a]
	y, inY := w.ranks[b]
	switch {
	case inX && inY:
		return x - y
	case inX:
		return -1
	case inY:
		return 1
	}
	return strings.Compare(a, b)
}

// rank notes the first places of the names in v.
func (w *jqWriter) rank(v document.Value) {
	switch v.Kind() {
	case document.Object:
		for name, member := range v.Members {
			if text := textOf(name); w.ranks[text] == 0 {
				w.ranks[text] = len(w.ranks) + 1
			}
			w.rank(member)
		}
	case document.Array:
		for item := range v.Items {
			w.rank(item)
		}
	}
}
