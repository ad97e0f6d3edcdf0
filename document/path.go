package document

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxSteps bounds a path: no document is deeper than MaxDepth, and nobody writes a path this long.
const maxSteps = 128

// Path is a dotted path to a place in a document: `items.0.id`. A step of digits is an index in an array and a name in an object; `\.` stands
// for a dot and `\\` for a backslash in a name. Members with an empty name cannot be named. The zero Path is the whole document.
type Path struct{ steps []step }

// step is one name of a path.
type step struct {
	name  string
	index int // the name as an index, -1 if it is none
}

// ParsePath reads a path.
func ParsePath(src string) (Path, error) {
	if !utf8.ValidString(src) {
		return Path{}, fmt.Errorf("path %q: it is not UTF-8, which all names in JSON are", src)
	}
	var steps []step
	var name strings.Builder
	for i := 0; i <= len(src); i++ {
		switch {
		case i == len(src) || src[i] == '.':
			if name.Len() == 0 {
				return Path{}, fmt.Errorf("path %q: byte %d: a name is missing; write names with one dot between them, and \\. for a dot in a name", src, i)
			}
			if len(steps) == maxSteps {
				return Path{}, fmt.Errorf("path %.40q…: it has more than %d names", src, maxSteps)
			}
			steps = append(steps, newStep(name.String()))
			name.Reset()
		case src[i] == '\\':
			if i++; i == len(src) || src[i] != '.' && src[i] != '\\' {
				return Path{}, fmt.Errorf("path %q: byte %d: a backslash stands only before a dot or a backslash; write \\\\ for a backslash in a name", src, i-1)
			}
			name.WriteByte(src[i])
		default:
			name.WriteByte(src[i])
		}
	}
	return Path{steps}, nil
}

// newStep returns the step with this name. An index is written without a sign and without zeros before it, so that there is one way to write
// it.
func newStep(name string) step {
	index := -1
	if n, err := strconv.ParseUint(name, 10, 31); err == nil && (n == 0) == (name[0] == '0') && (n > 0 || len(name) == 1) {
		index = int(n)
	}
	return step{name, index}
}

// String returns the path as ParsePath reads it.
func (p Path) String() string {
	var b strings.Builder
	for i, s := range p.steps {
		if i > 0 {
			b.WriteByte('.')
		}
		for _, c := range []byte(s.name) {
			if c == '.' || c == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
		}
	}
	return b.String()
}

// At returns the value at a path below v, and no value where there is none.
func (v Value) At(p Path) Value {
	for i := range p.steps {
		switch s := &p.steps[i]; v.Kind() {
		case Object:
			v = v.Member(s.name)
		case Array:
			v = v.Index(s.index)
		default:
			return Value{}
		}
	}
	return v
}

// parent returns the path without its last step.
func (p Path) parent() Path { return Path{p.steps[:len(p.steps)-1]} }

// within reports whether p is q or lies below it.
func (p Path) within(q Path) bool {
	return len(p.steps) >= len(q.steps) && slices.Equal(p.steps[:len(q.steps)], q.steps)
}

// related reports whether one of the paths lies within the other.
func (p Path) related(q Path) bool { return p.within(q) || q.within(p) }

// last returns the last step of a path that has one.
func (p Path) last() step { return p.steps[len(p.steps)-1] }
