package expr

import (
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/sluice-gateway/sluice/message"
)

// entries is a map of texts that is read from the exchange: parameters, header fields, cookies, captures.
type entries struct {
	unsupported
	r      *run
	op     op              // what reads one entry
	header *message.Header // of opRequestHeader, opResponseHeader and opStepHeader
}

// Type implements ref.Val.
func (*entries) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (e *entries) Value() any { return e }

// ConvertToType implements ref.Val.
func (e *entries) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.MapType:
		return e
	case types.TypeType:
		return types.MapType
	}
	return types.WrapErr(errConversion)
}

// Equal implements ref.Val.
func (e *entries) Equal(other ref.Val) ref.Val { return types.Bool(e.r.equal(e, other)) }

// Contains implements traits.Container.
func (e *entries) Contains(key ref.Val) ref.Val {
	_, ok := e.Find(key)
	return types.Bool(ok)
}

// Get implements traits.Indexer.
func (e *entries) Get(key ref.Val) ref.Val {
	if v, ok := e.Find(key); ok {
		return v
	}
	return types.WrapErr(errMissing)
}

// Size implements traits.Sizer.
func (e *entries) Size() ref.Val { return types.Int(len(e.names())) }

// IsZeroValue implements traits.Zeroer.
func (e *entries) IsZeroValue() bool { return e.Size() == types.IntZero }

// Iterator implements traits.Iterable: it gives the names.
func (e *entries) Iterator() traits.Iterator { return namesIterator(e.names()) }

// Find implements traits.Mapper.
func (e *entries) Find(key ref.Val) (ref.Val, bool) {
	name, ok := keyText(key)
	if !ok {
		return nil, false
	}
	x, text := e.r.x, e.r.buf[:0]
	switch e.op {
	case opParameter:
		e.r.spend(len(x.Request.Query) + stepWork)
		var value []byte
		value, ok = FindParameter(x.Request.Query, name)
		text = AppendDecoded(text, value)
	case opParameters:
		return e.list(name)
	case opCookie:
		e.r.spend(x.Request.Header.Size() + stepWork)
		text, ok = appendCookie(text, &x.Request.Header, name)
	case opCapture:
		e.r.spend(stepWork)
		text, ok = appendCapture(text, x, name)
	default:
		text, ok = e.field(text, name)
	}
	e.r.buf = text[:0]
	if !ok {
		return nil, false
	}
	return types.String(text), true
}

// field appends the value of a header field.
func (e *entries) field(dst []byte, name string) ([]byte, bool) {
	if !message.ValidToken([]byte(name)) {
		return dst, false
	}
	n := message.NameOf(name)
	if e.op == opRequestHeader && n.ID() == message.Host {
		return appendHost(dst, e.r.x), len(e.r.x.Request.Host) > 0
	}
	e.r.spend(e.header.Len()*4 + stepWork)
	return appendField(dst, e.header, n)
}

// list returns all parameters of a name.
func (e *entries) list(name string) (ref.Val, bool) {
	query := e.r.x.Request.Query
	e.r.spend(2*len(query) + stepWork)
	var values []string
	for more := len(query) > 0; more; {
		var p Parameter
		if p, query, more = CutParameter(query); len(p.Raw) > 0 && EqualDecoded(p.Name, name) {
			values = append(values, string(AppendDecoded(nil, p.Value)))
		}
	}
	return types.NewStringList(types.DefaultTypeAdapter, values), len(values) > 0
}

// names returns the names of all entries in their order, each once; those of header fields in lower case.
func (e *entries) names() []string {
	names := nameSet{seen: map[string]bool{}}
	x := e.r.x
	switch e.op {
	case opParameter, opParameters:
		query := x.Request.Query
		e.r.spend(4*len(query) + stepWork)
		for more := len(query) > 0; more; {
			var p Parameter
			if p, query, more = CutParameter(query); len(p.Raw) > 0 {
				names.add(string(AppendDecoded(nil, p.Name)))
			}
		}
	case opCookie:
		e.r.spend(4*x.Request.Header.Size() + stepWork)
		names.cookies(&x.Request.Header)
	case opCapture:
		for i := range x.Captures {
			names.add(x.Captures[i].Name)
		}
	default:
		e.r.spend(4*e.header.Size() + stepWork)
		for i := range e.header.Len() {
			names.add(strings.ToLower(string(e.header.At(i).Name)))
		}
	}
	return names.list
}

// nameSet collects names, each once.
type nameSet struct {
	list []string
	seen map[string]bool
}

func (s *nameSet) add(name string) {
	if !s.seen[name] {
		s.seen[name] = true
		s.list = append(s.list, name)
	}
}

// cookies adds the names of cookies that have a value.
func (s *nameSet) cookies(h *message.Header) {
	for i := range h.Len() {
		f := h.At(i)
		if f.ID != message.Cookie {
			continue
		}
		for rest := f.Value; len(rest) > 0; {
			var pair []byte
			pair, rest = cutCookie(rest)
			if name, _, ok := strings.Cut(string(pair), "="); ok && name != "" {
				s.add(name)
			}
		}
	}
}

// mapping is a map that an expression builds. It keeps the order in which its entries are written.
type mapping struct {
	unsupported
	r      *run // nil for a constant
	keys   []ref.Val
	values []ref.Val
}

// set gives a key its value; the last one counts.
func (m *mapping) set(key, value ref.Val) {
	for i, k := range m.keys {
		if k == key {
			m.values[i] = value
			return
		}
	}
	m.keys, m.values = append(m.keys, key), append(m.values, value)
}

// Type implements ref.Val.
func (*mapping) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (m *mapping) Value() any { return m }

// ConvertToType implements ref.Val.
func (m *mapping) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.MapType:
		return m
	case types.TypeType:
		return types.MapType
	}
	return types.WrapErr(errConversion)
}

// Equal implements ref.Val.
func (m *mapping) Equal(other ref.Val) ref.Val { return types.Bool(m.r.equal(m, other)) }

// Contains implements traits.Container.
func (m *mapping) Contains(key ref.Val) ref.Val {
	_, ok := m.Find(key)
	return types.Bool(ok)
}

// Find implements traits.Mapper.
func (m *mapping) Find(key ref.Val) (ref.Val, bool) {
	if l, ok := key.(*leaf); ok {
		key = l.plain()
	}
	for i, k := range m.keys {
		if types.Equal(k, key) == types.True {
			return m.values[i], true
		}
	}
	return nil, false
}

// Get implements traits.Indexer.
func (m *mapping) Get(key ref.Val) ref.Val {
	if v, ok := m.Find(key); ok {
		return v
	}
	return types.WrapErr(errMissing)
}

// Size implements traits.Sizer.
func (m *mapping) Size() ref.Val { return types.Int(len(m.keys)) }

// IsZeroValue implements traits.Zeroer.
func (m *mapping) IsZeroValue() bool { return len(m.keys) == 0 }

// Iterator implements traits.Iterable: it gives the keys.
func (m *mapping) Iterator() traits.Iterator {
	return &iterator{n: len(m.keys), at: func(i int) ref.Val { return m.keys[i] }}
}
