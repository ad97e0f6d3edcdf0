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
		var name, value []byte
		name, value, left = nextParam(left)
		if EqualParam(name, p.name) && (p.any || EqualParam(value, p.value)) {
			return true
		}
	}
	return false
}

// nextParam cuts the first parameter off a query. One without "=" has no value.
func nextParam(query []byte) (name, value, left []byte) {
	name = query
	if i := bytes.IndexByte(query, '&'); i >= 0 {
		name, left = query[:i], query[i+1:]
	}
	if i := bytes.IndexByte(name, '='); i >= 0 {
		name, value = name[:i], name[i+1:]
	}
	return name, value, left
}

// EqualParam reports whether b, a name or value in a query, is s when it is decoded as forms are (an escape, + for a space). A '%' that begins no escape stands for itself.
func EqualParam(b []byte, s string) bool {
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
