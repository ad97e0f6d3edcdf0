package document

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
)

// Strategy says what becomes of a member that several objects have.
type Strategy uint8

// The strategies.
const (
	First  Strategy = iota // the first one stays
	Last                   // the last one stays
	Deep                   // objects are merged in their turn; of other kinds the last one stays
	Strict                 // it is a *ConflictError
)

// ConflictError says that two values have a member of the same name, or, where Name is empty, that of several values one is no object.
type ConflictError struct{ Name string }

func (e *ConflictError) Error() string {
	if e.Name == "" {
		return "the values cannot be merged without loss: one of them is no object; choose another merge function"
	}
	return fmt.Sprintf("two of the values have the member %.100q; choose another merge function, or remove it from one of them", e.Name)
}

// KindError says that a value to concatenate is no array.
type KindError struct {
	Index int // of the value, from 0
	Kind  Kind
}

func (e *KindError) Error() string {
	return "value " + strconv.Itoa(e.Index+1) + " to concatenate is no array; its kind is " + e.Kind.String()
}

// AppendMerged appends one value made of several. Objects become one, with the members in the order in which their names are seen first, and
// each member has the bytes that it had. A value that is absent or null adds nothing: it is a part that is missing. Where others are no
// objects, First takes the first value, and if that is an object, the objects behind it too; Last and Deep take the last value, and if that
// is an object, the objects directly before it too; Strict refuses. Of nothing the result is null.
//
// Of members of one name in one object the last one counts. Time and memory are bounded by the lengths of the values; it allocates nothing
// but room in dst. The error is a *ConflictError, or an *Error for objects deeper than MaxDepth; dst then comes back as it was.
func AppendMerged(dst []byte, s Strategy, values ...Value) ([]byte, error) {
	m := mergers.Get().(*merger)
	m.names, m.strategy = borrowNames(), s
	defer m.release()
	for _, v := range values {
		if !m.take(v) {
			return dst, &ConflictError{}
		}
	}
	switch len(m.values) {
	case 0:
		return append(dst, "null"...), nil
	case 1:
		return append(dst, m.values[0].text...), nil
	}
	base := len(dst)
	dst, err := m.appendObject(dst, m.values)
	if err != nil {
		return dst[:base], err
	}
	return dst, nil
}

// merger is the state of one AppendMerged. Names and members are stacks, those of the innermost object last; links and values only grow.
type merger struct {
	strategy Strategy
	names    *names
	members  []merged // beside names.list
	links    []link
	values   []Value // those to merge, and those of members that are objects again
	depth    int
}

// merged is a member of the object that is being made, beside its name in the list of names. All numbers but from are places in links.
type merged struct {
	from   int // number of the object that was last to add to it
	value  int // the last of its links
	before int // what value was before that object; none if the member was not there
}

// link is one of the values of which a member is made, and the place of the one before it.
type link struct {
	value  Value
	before int
}

// none is the place of no link.
const none = -1

// The bounds of what is kept for the next merge.
const (
	keptLinks  = 1 << 13
	keptValues = 1 << 10
)

// mergers is read-only: the pool of mergers, which refer to no text.
var mergers = sync.Pool{New: func() any { return new(merger) }}

// release forgets the texts and returns m to the others, unless it has become large.
func (m *merger) release() {
	m.names.release()
	m.names = nil
	if cap(m.links) > keptLinks || cap(m.values) > keptValues {
		return
	}
	clear(m.links)
	clear(m.values)
	m.members, m.links, m.values, m.depth = m.members[:0], m.links[:0], m.values[:0], 0
	mergers.Put(m)
}

// take adds v to the values to merge, which are several objects or one value of another kind; false if that loses one that must not be lost.
func (m *merger) take(v Value) bool {
	kind := v.Kind()
	switch {
	case kind == Absent || kind == Null:
	case len(m.values) == 0, kind == Object && m.values[0].Kind() == Object:
		m.values = append(m.values, v)
	case m.strategy == Strict:
		return false
	case m.strategy != First:
		m.values = append(m.values[:0], v)
	}
	return true
}

// appendObject appends the object made of several. It recurses as deep as they are objects in the same places.
func (m *merger) appendObject(dst []byte, objects []Value) ([]byte, error) {
	if m.depth == MaxDepth {
		return dst, &Error{Kind: TooDeep}
	}
	m.depth++
	m.names.enter()
	first := len(m.members)
	for from, o := range objects {
		if err := m.read(from, o); err != nil {
			return dst, err
		}
	}
	dst = append(dst, '{')
	for at, end := first, len(m.members); at < end; at++ {
		if at > first {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = append(dst, m.names.list[at].raw...)
		dst = append(dst, '"', ':')
		var err error
		if dst, err = m.appendMember(dst, m.members[at].value); err != nil {
			return dst, err
		}
	}
	m.members = m.members[:first]
	m.names.leave()
	m.depth--
	return append(dst, '}'), nil
}

// read adds the members of an object, the one with the number from.
func (m *merger) read(from int, o Value) error {
	c := enter(o.text, 0)
	for {
		it, ok := c.member()
		if !ok {
			return nil
		}
		at, added := m.names.add(c.nameOf(it), it.escaped)
		if added {
			m.members = append(m.members, merged{from, none, none})
		}
		e := &m.members[at]
		if e.from != from {
			e.from, e.before = from, e.value
		}
		value := Value{o.text[it.start:it.end:it.end]}
		switch {
		case e.before == none || m.strategy == Last:
			e.value = m.link(value, none)
		case m.strategy == First:
		case m.strategy == Deep && value.Kind() == Object && m.links[e.before].value.Kind() == Object:
			e.value = m.link(value, e.before)
		case m.strategy == Deep:
			e.value = m.link(value, none)
		default:
			return &ConflictError{string(appendDecoded(nil, c.nameOf(it)))}
		}
	}
}

// link adds a link and returns its place.
func (m *merger) link(v Value, before int) int {
	m.links = append(m.links, link{v, before})
	return len(m.links) - 1
}

// appendMember appends the value made of the link at a place and those before it.
func (m *merger) appendMember(dst []byte, at int) ([]byte, error) {
	if m.links[at].before == none {
		return append(dst, m.links[at].value.text...), nil
	}
	first := len(m.values)
	for ; at != none; at = m.links[at].before {
		m.values = append(m.values, m.links[at].value)
	}
	objects := m.values[first:]
	slices.Reverse(objects)
	return m.appendObject(dst, objects)
}

// AppendConcat appends one array with the elements of several, each with its bytes. A value that is absent or null adds nothing; of nothing
// the result is an empty array. It allocates nothing but room in dst. The error is a *KindError; dst then comes back as it was.
func AppendConcat(dst []byte, values ...Value) ([]byte, error) {
	base := len(dst)
	dst = append(dst, '[')
	for i, v := range values {
		switch v.Kind() {
		case Absent, Null:
			continue
		case Array:
		default:
			return dst[:base], &KindError{i, v.Kind()}
		}
		elements := Of(inner(v.text)).text
		if len(elements) == 0 {
			continue
		}
		if len(dst) > base+1 {
			dst = append(dst, ',')
		}
		dst = append(dst, elements...)
	}
	return append(dst, ']'), nil
}
