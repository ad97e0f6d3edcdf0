package expr

import (
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// stepWork is the work of one small step: comparing two numbers, making a value of an element.
const stepWork = 64

// scalar returns the plain value of a raw number, string or null; others stay as they are.
func (r *run) scalar(v ref.Val) ref.Val {
	switch v := v.(type) {
	case *leaf:
		return v.plain()
	case null:
		return types.NullValue
	}
	return v
}

// plain returns a value as functions of CEL take it: neither it nor anything in it is raw.
func (r *run) plain(v ref.Val) ref.Val {
	switch v := v.(type) {
	case *leaf, null:
		return r.scalar(v)
	case *list:
		if v.plain {
			return v
		}
		return &list{r: v.r, v: v.v, items: v.items, asked: v.asked, plain: true}
	case *object:
		if v.plain {
			return v
		}
		return &object{r: v.r, v: v.v, plain: true, claims: v.claims}
	case *entries:
		return v
	case types.String:
		r.spendText(v)
		return v
	case *types.Optional:
		if v.HasValue() {
			return types.OptionalOf(r.plain(v.GetValue()))
		}
		return v
	case traits.Lister:
		return r.plainList(v)
	case traits.Mapper:
		return r.plainMap(v)
	}
	return v
}

// plainList makes the elements of a list plain that an expression has built.
func (r *run) plainList(l traits.Lister) ref.Val {
	n, _ := l.Size().(types.Int)
	r.spend(stepWork * (1 + int(n)))
	items := make([]ref.Val, 0, n)
	changed := false
	for it := l.Iterator(); it.HasNext() == types.True; {
		v := it.Next()
		p := r.plain(v)
		changed = changed || isRaw(v)
		items = append(items, p)
	}
	if !changed {
		return l
	}
	return types.NewRefValList(types.DefaultTypeAdapter, items)
}

// plainMap makes the values of a map plain that an expression has built.
func (r *run) plainMap(m traits.Mapper) ref.Val {
	n, _ := m.Size().(types.Int)
	r.spend(stepWork * (1 + int(n)))
	plain := &mapping{r: r, keys: make([]ref.Val, 0, n), values: make([]ref.Val, 0, n)}
	changed := false
	for it := m.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		v := m.Get(key)
		p := r.plain(v)
		changed = changed || isRaw(v)
		plain.keys, plain.values = append(plain.keys, key), append(plain.values, p)
	}
	if !changed {
		return m
	}
	return plain
}

// isRaw reports whether v may differ from its plain form.
func isRaw(v ref.Val) bool {
	switch v := v.(type) {
	case *leaf, null, *types.Optional:
		return true
	case *list:
		return !v.plain
	case *object:
		return !v.plain
	case traits.Lister, traits.Mapper:
		return true
	}
	return false
}

// spendText takes the work of looking at a text.
func (r *run) spendText(v ref.Val) {
	if s, ok := v.(types.String); ok {
		r.spend(len(s)/4 + stepWork)
		return
	}
	r.spend(stepWork)
}

// equal compares two values of any form. Numbers of documents are compared exactly, however many digits they have.
func (r *run) equal(a, b ref.Val) bool {
	if order, ok := compareExact(a, b); ok {
		r.spend(stepWork)
		return order == 0
	}
	a, b = r.scalar(a), r.scalar(b)
	r.spendText(a)
	switch x := a.(type) {
	case traits.Lister:
		y, ok := b.(traits.Lister)
		return ok && r.equalLists(x, y)
	case traits.Mapper:
		y, ok := b.(traits.Mapper)
		return ok && r.equalMaps(x, y)
	case *types.Optional:
		y, ok := b.(*types.Optional)
		if !ok || x.HasValue() != y.HasValue() {
			return false
		}
		return !x.HasValue() || r.equal(x.GetValue(), y.GetValue())
	}
	switch b.(type) {
	case traits.Lister, traits.Mapper, *types.Optional:
		return false
	}
	return types.Equal(a, b) == types.True
}

func (r *run) equalLists(a, b traits.Lister) bool {
	if a.Size() != b.Size() {
		return false
	}
	i, j := a.Iterator(), b.Iterator()
	for i.HasNext() == types.True && j.HasNext() == types.True {
		if !r.equal(i.Next(), j.Next()) {
			return false
		}
	}
	return true
}

func (r *run) equalMaps(a, b traits.Mapper) bool {
	if a.Size() != b.Size() {
		return false
	}
	for it := a.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		v, ok := b.Find(key)
		if !ok || !r.equal(a.Get(key), v) {
			return false
		}
	}
	return true
}

// contains reports whether a list has an element that equals v.
func (r *run) contains(l traits.Lister, v ref.Val) bool {
	if d, ok := l.(*list); ok {
		r.spend(len(d.v.Raw()) + stepWork)
		if text, ok := r.scalar(v).(types.String); ok {
			// The most frequent question, `"admin" in claims.roles`, is answered where the text lies.
			for item := range d.v.Items {
				if item.Equals(string(text)) {
					return true
				}
			}
			return false
		}
		for item := range d.v.Items {
			if r.equal(v, r.value(item)) {
				return true
			}
		}
		return false
	}
	for it := l.Iterator(); it.HasNext() == types.True; {
		if r.equal(v, it.Next()) {
			return true
		}
	}
	return false
}

// isEqual, isDifferent and isIn are the operators ==, != and in.
func isEqual(r *run, a, b ref.Val) ref.Val     { return types.Bool(r.equal(a, b)) }
func isDifferent(r *run, a, b ref.Val) ref.Val { return types.Bool(!r.equal(a, b)) }

func isIn(r *run, v, container ref.Val) ref.Val {
	switch c := container.(type) {
	case traits.Lister:
		return types.Bool(r.contains(c, v))
	case traits.Mapper:
		_, ok := c.Find(r.scalar(v))
		return types.Bool(ok)
	}
	return types.MaybeNoSuchOverloadErr(container)
}
