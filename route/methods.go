package route

import (
	"fmt"
	"slices"

	"github.com/sluice-gateway/sluice/message"
)

// MaxMethods is the most different methods that the routes of a table may name, HEAD for GET included: a route's methods are the bits of a number.
const MaxMethods = 64

// methods gives every method that a route of the table names a bit, in alphabetical order.
type methods struct {
	names []string
	known [message.CONNECT + 1]uint64 // by MethodID
	other []string                    // names that have no MethodID
}

// makeMethods makes the bits for the names. GET brings HEAD with it.
func makeMethods(names []string) (methods, error) {
	names = slices.Clone(names)
	if slices.Contains(names, "GET") {
		names = append(names, "HEAD")
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) > MaxMethods {
		return methods{}, fmt.Errorf("the routes name %d different methods, and %d is the most: leave out method for those of them that take any", len(names), MaxMethods)
	}
	m := methods{names: names}
	for i, name := range names {
		if known := message.MethodOf([]byte(name)).Known; known != message.MethodOther {
			m.known[known] = 1 << i
		} else {
			m.other = append(m.other, name)
		}
	}
	return m, nil
}

// mask returns the bits of names, all of which the table has.
func (m *methods) mask(names []string) uint64 {
	var mask uint64
	for _, name := range names {
		i, _ := slices.BinarySearch(m.names, name)
		mask |= 1 << i
	}
	return mask
}

// of returns the bit of a request's method, 0 if no route names it, and for HEAD that of GET.
func (m *methods) of(method message.Method) (bit, viaGet uint64) {
	switch method.Known {
	case message.MethodOther:
		for _, name := range m.other {
			if method.Is(name) {
				i, _ := slices.BinarySearch(m.names, name)
				return 1 << i, 0
			}
		}
		return 0, 0
	case message.HEAD:
		viaGet = m.known[message.GET]
	}
	return m.known[method.Known], viaGet
}

// appendAllow appends the names of the methods in mask as the value of an Allow field (RFC 9110 section 10.2.1).
func (m *methods) appendAllow(b []byte, mask uint64) []byte {
	if mask&m.known[message.GET] != 0 {
		mask |= m.known[message.HEAD]
	}
	first := true
	for i, name := range m.names {
		if mask&(1<<i) == 0 {
			continue
		}
		if !first {
			b = append(b, ", "...)
		}
		b = append(b, name...)
		first = false
	}
	return b
}
