package route

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/sluice-gateway/sluice/message"
)

// FieldMatch is a header field that a request must have.
type FieldMatch struct {
	Name  string
	Value string // compared byte for byte
	Any   bool   // any value fits; Value is not looked at
}

// fieldCondition holds if any line of the field, or any element of it where the field is a list, has the value: a second line, or a value joined to another
// by a comma, means the same to a backend, and must not lead past a route.
type fieldCondition struct {
	name  message.Name
	value []byte
	any   bool
	list  bool // elements are looked at
}

func compileHeaders(m *Match) ([]predicate, error) {
	var all []predicate
	for _, f := range m.Headers {
		if !message.ValidToken([]byte(f.Name)) {
			return nil, fmt.Errorf("%q is no name of a header field", f.Name)
		}
		if !f.Any && !message.ValidValue([]byte(f.Value)) {
			return nil, fmt.Errorf("header %s: no request can have the value %q", f.Name, f.Value)
		}
		name := message.NameOf(f.Name)
		c := &fieldCondition{
			name:  name,
			value: []byte(f.Value),
			any:   f.Any,
			// An unknown field may be a list (RFC 9110 section 5.3); of the known ones the table says so.
			list: name.ID() == 0 || name.ID().Flags()&message.FlagList != 0,
		}
		all = append(all, predicate{condition: c, name: strings.ToLower(f.Name), value: f.Value, any: f.Any})
	}
	return all, nil
}

func (p *fieldCondition) match(x *message.Exchange) bool {
	h := &x.Request.Header
	for i := h.Index(p.name, 0); i >= 0; i = h.Index(p.name, i+1) {
		if p.any {
			return true
		}
		value := h.At(i).Value
		if bytes.Equal(value, p.value) || p.list && p.element(value) {
			return true
		}
	}
	return false
}

// element reports whether the value is one of the list.
func (p *fieldCondition) element(list []byte) bool {
	if bytes.IndexByte(list, ',') < 0 {
		return false
	}
	for {
		e, others, ok := message.NextElement(list)
		if !ok {
			return false
		}
		if bytes.Equal(e, p.value) {
			return true
		}
		list = others
	}
}
