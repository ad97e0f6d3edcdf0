package expr

import (
	"errors"
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/sluice-gateway/sluice/document"
)

// Values of documents are handed to CEL as they lie in their text: nothing is decoded before somebody looks at it, and what is only passed on
// is written out again byte for byte. The functions of CEL know their own types only. So the values come in two forms: raw ones, which keep the
// text and are what selecting, indexing, conditions and the building of lists and maps pass on; and plain ones, which arguments of functions
// are turned into (see decorator).

// unsupported answers what CEL asks of values for protobuf and Go, which expressions never need.
type unsupported struct{}

var errConversion = errors.New("a value cannot be converted to this type")

// ConvertToNative implements ref.Val.
func (unsupported) ConvertToNative(reflect.Type) (any, error) { return nil, errConversion }

// ConvertToType implements ref.Val.
func (unsupported) ConvertToType(ref.Type) ref.Val { return types.WrapErr(errConversion) }

// value returns the raw value of CEL for a value of a document.
func (r *run) value(v document.Value) ref.Val {
	switch v.Kind() {
	case document.Null:
		return null{}
	case document.Bool:
		b, _ := v.Bool()
		return types.Bool(b)
	case document.Number, document.String:
		return &leaf{r: r, v: v}
	case document.Array:
		return &list{r: r, v: v}
	case document.Object:
		return &object{r: r, v: v}
	}
	return types.WrapErr(errMissing)
}

// item returns the element of for_each.
func (r *run) item() ref.Val { return r.value(document.Of(r.x.Item)) }

// null is null in a document. What is below it is null again, see walk.
type null struct{ types.Null }

// Get implements traits.Indexer.
func (n null) Get(ref.Val) ref.Val { return n }

// IsSet implements traits.FieldTester.
func (null) IsSet(ref.Val) ref.Val { return types.False }

// Equal implements ref.Val.
func (null) Equal(other ref.Val) ref.Val { return types.Bool(isNull(other)) }

// IsZeroValue implements traits.Zeroer.
func (null) IsZeroValue() bool { return true }

func isNull(v ref.Val) bool {
	switch v.(type) {
	case null, types.Null:
		return true
	}
	return false
}

// leaf is a number or a string of a document.
type leaf struct {
	r   *run
	v   document.Value
	std ref.Val // the plain value, once it was needed
}

func (l *leaf) isNumber() bool { return l.v.Kind() == document.Number }

// plain returns the value as CEL has it: a string, an int where the number is an integer of 64 bits, else a double.
func (l *leaf) plain() ref.Val {
	if l.std != nil {
		return l.std
	}
	l.r.spend(len(l.v.Raw()) + stepWork)
	if !l.isNumber() {
		text, _ := l.v.AppendText(l.r.buf[:0])
		l.r.buf = text[:0]
		l.std = types.String(text)
		return l.std
	}
	if n, ok := l.v.Int(); ok {
		l.std = types.Int(n)
	} else if f, ok := l.v.Float(); ok {
		l.std = types.Double(f)
	} else {
		return types.WrapErr(errRange)
	}
	return l.std
}

var errRange = errors.New("a number is beyond the range of 64-bit floats")

// Type implements ref.Val.
func (l *leaf) Type() ref.Type { return l.plain().Type() }

// Value implements ref.Val.
func (l *leaf) Value() any { return l.plain().Value() }

// ConvertToNative implements ref.Val.
func (l *leaf) ConvertToNative(t reflect.Type) (any, error) { return l.plain().ConvertToNative(t) }

// ConvertToType implements ref.Val. As a text a number keeps its digits.
func (l *leaf) ConvertToType(t ref.Type) ref.Val {
	if l.isNumber() && t == types.StringType {
		return types.String(l.v.Raw())
	}
	return l.plain().ConvertToType(t)
}

// Equal implements ref.Val.
func (l *leaf) Equal(other ref.Val) ref.Val { return types.Bool(l.r.equal(l, other)) }

// Compare implements traits.Comparer.
func (l *leaf) Compare(other ref.Val) ref.Val { return l.r.compare(l, other) }

// IsZeroValue implements traits.Zeroer.
func (l *leaf) IsZeroValue() bool {
	z, ok := l.plain().(traits.Zeroer)
	return ok && z.IsZeroValue()
}

// list is an array of a document.
type list struct {
	r     *run
	v     document.Value
	plain bool             // its elements are given as plain values
	items []document.Value // once they were counted or asked for twice
	asked bool
}

// placeWork is the work of remembering where an element is.
const placeWork = 24

// all returns the elements.
func (l *list) all() []document.Value {
	if l.items == nil {
		l.r.spend(len(l.v.Raw()) + stepWork)
		l.items = []document.Value{}
		for item := range l.v.Items {
			l.items = append(l.items, item)
		}
		l.r.spend(placeWork * len(l.items))
	}
	return l.items
}

func (l *list) element(v document.Value) ref.Val {
	if l.plain {
		return l.r.plain(l.r.value(v))
	}
	return l.r.value(v)
}

// Type implements ref.Val.
func (*list) Type() ref.Type { return types.ListType }

// Value implements ref.Val.
func (l *list) Value() any { return l }

// ConvertToNative implements ref.Val.
func (*list) ConvertToNative(reflect.Type) (any, error) { return nil, errConversion }

// ConvertToType implements ref.Val.
func (l *list) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.ListType:
		return l
	case types.TypeType:
		return types.ListType
	}
	return types.WrapErr(errConversion)
}

// Equal implements ref.Val.
func (l *list) Equal(other ref.Val) ref.Val { return types.Bool(l.r.equal(l, other)) }

// Add implements traits.Adder: it returns the elements of both lists.
func (l *list) Add(other ref.Val) ref.Val {
	o, ok := other.(traits.Lister)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	n := int(o.Size().(types.Int))
	l.r.spend(stepWork * n)
	both := make([]ref.Val, 0, len(l.all())+n)
	for _, item := range l.all() {
		both = append(both, l.element(item))
	}
	for it := o.Iterator(); it.HasNext() == types.True; {
		both = append(both, it.Next())
	}
	return types.NewRefValList(types.DefaultTypeAdapter, both)
}

// Contains implements traits.Container.
func (l *list) Contains(v ref.Val) ref.Val { return types.Bool(l.r.contains(l, v)) }

// Get implements traits.Indexer.
func (l *list) Get(index ref.Val) ref.Val {
	i, err := types.IndexOrError(index)
	if err != nil {
		return types.WrapErr(err)
	}
	if l.items == nil && !l.asked {
		// Most lists are asked for one element, which needs no table of all.
		l.asked = true
		l.r.spend(len(l.v.Raw()) + stepWork)
		if v := l.v.Index(i); v.Exists() {
			return l.element(v)
		}
		return types.WrapErr(errMissing)
	}
	if items := l.all(); i >= 0 && i < len(items) {
		return l.element(items[i])
	}
	return types.WrapErr(errMissing)
}

// Size implements traits.Sizer.
func (l *list) Size() ref.Val {
	if l.items == nil && !l.asked {
		l.r.spend(len(l.v.Raw()) + stepWork)
		return types.Int(l.v.Len())
	}
	return types.Int(len(l.all()))
}

// IsZeroValue implements traits.Zeroer.
func (l *list) IsZeroValue() bool { return l.Size() == types.IntZero }

// Iterator implements traits.Iterable.
func (l *list) Iterator() traits.Iterator {
	return &iterator{n: len(l.all()), at: func(i int) ref.Val { return l.element(l.items[i]) }}
}

// Fold implements traits.Foldable.
func (l *list) Fold(f traits.Folder) {
	for i, item := range l.all() {
		if !f.FoldEntry(types.Int(i), l.element(item)) {
			return
		}
	}
}

// object is an object of a document.
type object struct {
	r      *run
	v      document.Value
	plain  bool // its values are given as plain values
	claims bool // it is all claims, whose places are known
}

func (o *object) member(v document.Value) ref.Val {
	if o.plain {
		return o.r.plain(o.r.value(v))
	}
	return o.r.value(v)
}

// Type implements ref.Val.
func (*object) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (o *object) Value() any { return o }

// ConvertToNative implements ref.Val.
func (*object) ConvertToNative(reflect.Type) (any, error) { return nil, errConversion }

// ConvertToType implements ref.Val.
func (o *object) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.MapType:
		return o
	case types.TypeType:
		return types.MapType
	}
	return types.WrapErr(errConversion)
}

// Equal implements ref.Val.
func (o *object) Equal(other ref.Val) ref.Val { return types.Bool(o.r.equal(o, other)) }

// Contains implements traits.Container.
func (o *object) Contains(key ref.Val) ref.Val {
	_, ok := o.Find(key)
	return types.Bool(ok)
}

// Find implements traits.Mapper.
func (o *object) Find(key ref.Val) (ref.Val, bool) {
	name, ok := keyText(key)
	if !ok {
		return nil, false
	}
	v := o.lookUp(name)
	if !v.Exists() {
		return nil, false
	}
	return o.member(v), true
}

func (o *object) lookUp(name string) document.Value {
	if o.claims {
		o.r.spend(stepWork)
		if c := o.r.x.Identity.Claim(name); c != nil {
			return document.Of(c.Raw)
		}
		return document.Value{}
	}
	o.r.spend(len(o.v.Raw()) + stepWork)
	return o.v.Member(name)
}

// Get implements traits.Indexer.
func (o *object) Get(key ref.Val) ref.Val {
	if v, ok := o.Find(key); ok {
		return v
	}
	return types.WrapErr(errMissing)
}

// Size implements traits.Sizer. A name that is there twice counts once.
func (o *object) Size() ref.Val { return types.Int(len(o.members())) }

// IsZeroValue implements traits.Zeroer.
func (o *object) IsZeroValue() bool { return o.Size() == types.IntZero }

// namedValue is a member of an object.
type namedValue struct {
	name  string
	value document.Value
}

// members returns the members in the order of their names, each name once with its last value.
func (o *object) members() []namedValue {
	o.r.spend(4*len(o.v.Raw()) + stepWork)
	var members []namedValue
	place := make(map[string]int)
	for name, value := range o.v.Members {
		text, _ := name.AppendText(nil)
		s := string(text)
		if i, ok := place[s]; ok {
			members[i].value = value
			continue
		}
		place[s] = len(members)
		members = append(members, namedValue{s, value})
	}
	return members
}

// Iterator implements traits.Iterable: it gives the names.
func (o *object) Iterator() traits.Iterator {
	members := o.members()
	return &iterator{n: len(members), at: func(i int) ref.Val { return types.String(members[i].name) }}
}

// Fold implements traits.Foldable.
func (o *object) Fold(f traits.Folder) {
	for _, m := range o.members() {
		if !f.FoldEntry(types.String(m.name), o.member(m.value)) {
			return
		}
	}
}

// keyText returns the text of a key of a map.
func keyText(key ref.Val) (string, bool) {
	if l, ok := key.(*leaf); ok {
		key = l.plain()
	}
	s, ok := key.(types.String)
	return string(s), ok
}

// iterator goes over n values.
type iterator struct {
	unsupported
	i, n int
	at   func(i int) ref.Val
}

func namesIterator(names []string) *iterator {
	return &iterator{n: len(names), at: func(i int) ref.Val { return types.String(names[i]) }}
}

// HasNext implements traits.Iterator.
func (it *iterator) HasNext() ref.Val { return types.Bool(it.i < it.n) }

// Next implements traits.Iterator.
func (it *iterator) Next() ref.Val {
	if it.i >= it.n {
		return nil
	}
	it.i++
	return it.at(it.i - 1)
}

// Type implements ref.Val.
func (*iterator) Type() ref.Type { return types.IteratorType }

// Value implements ref.Val.
func (*iterator) Value() any { return nil }

// Equal implements ref.Val.
func (*iterator) Equal(ref.Val) ref.Val { return types.False }
