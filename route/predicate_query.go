package route

import (
	"bytes"
	"fmt"

	"github.com/sluice-gateway/sluice/message"
)

// ParamMatch is a query parameter that a request must have.
type ParamMatch struct {
	Name  string // decoded
	Value string // decoded; compared byte for byte
	Any   bool   // any value fits, none too; Value is not looked at
}

// paramCondition holds if any parameter of the name has the value. Names and values are compared decoded as forms are (an escape, '+' for a space), so that
// no other spelling leads past a route.
type paramCondition struct {
	name, value string
	any         bool
}

func compileQuery(m *Match) ([]predicate, error) {
	var all []predicate
	for _, p := range m.Query {
		if p.Name == "" {
			return nil, fmt.Errorf("the name of a query parameter is empty")
		}
		c := &paramCondition{p.Name, p.Value, p.Any}
		all = append(all, predicate{condition: c, name: p.Name, value: p.Value, any: p.Any})
	}
	return all, nil
}

func (p *paramCondition) match(x *message.Exchange) bool {
	for left := x.Request.Query; len(left) > 0; {
		param := left
		if i := bytes.IndexByte(left, '&'); i >= 0 {
			param, left = left[:i], left[i+1:]
		} else {
			left = nil
		}
		var value []byte
		name := param
		if i := bytes.IndexByte(param, '='); i >= 0 {
			name, value = param[:i], param[i+1:]
		}
		if equalDecoded(name, p.name) && (p.any || equalDecoded(value, p.value)) {
			return true
		}
	}
	return false
}

// equalDecoded reports whether b, decoded, is s. A '%' that begins no escape stands for itself.
func equalDecoded(b []byte, s string) bool {
	if len(b) > 3*len(s) {
		return false // an escape makes three bytes of one
	}
	n := 0
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch c {
		case '+':
			c = ' '
		case '%':
			if e, ok := message.Unescape(b, i); ok {
				c = e
				i += 2
			}
		}
		if n == len(s) || s[n] != c {
			return false
		}
		n++
	}
	return n == len(s)
}
