package identity

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds how deeply values are nested.
const maxDepth = 64

// linearNames is how many names of an object are compared one by one; with more of them a map takes over.
const linearNames = 16

var (
	errSyntax    = errors.New("it is not well-formed JSON")
	errText      = errors.New("a string is not well-formed Unicode")
	errDuplicate = errors.New("an object has a member twice")
	errDepth     = errors.New("it is nested too deeply")
	errNoObject  = errors.New("it is no JSON object")
	errNoArray   = errors.New("it is no JSON array")
	errNoText    = errors.New("it is no string")
	errNoTexts   = errors.New("it is neither a string nor a list of strings")
)

// member is one member of an object.
type member struct {
	name string
	text []byte // the value of a string, without quotes and escapes, never nil then; nil for other values
	raw  []byte // the JSON text of the value, within the document
}

// parseObject reads a whole document that is an object, by RFC 8259 and the stricter rules of I-JSON (RFC 7493): names are compared exactly, a name
// that occurs twice in any object is an error, and so is a string with half a surrogate pair. encoding/json would take the last of two members and
// names in any case, which others may read otherwise.
func parseObject(document []byte) ([]member, error) {
	s := scanner{data: document}
	var members []member
	if s.space(); s.peek() != '{' {
		return nil, errNoObject
	}
	if err := s.object(0, func(m member) { members = append(members, m) }); err != nil {
		return nil, err
	}
	return members, s.end()
}

// parseArray reads a whole document that is an array, and returns the texts of its elements.
func parseArray(document []byte) ([][]byte, error) {
	s := scanner{data: document}
	var elements [][]byte
	if s.space(); s.peek() != '[' {
		return nil, errNoArray
	}
	if err := s.array(0, func(raw []byte) { elements = append(elements, raw) }); err != nil {
		return nil, err
	}
	return elements, s.end()
}

// parseText returns the value of a document that is a string, and whether it is one.
func parseText(document []byte) ([]byte, bool) {
	s := scanner{data: document}
	if s.peek() != '"' {
		return nil, false
	}
	text, err := s.text()
	return text, err == nil && s.end() == nil
}

// find returns the member of that name, or nil.
func find(members []member, name string) *member {
	for i := range members {
		if members[i].name == name {
			return &members[i]
		}
	}
	return nil
}

// scanner reads JSON from the front. Nothing that it returns is a copy, but for strings with escapes.
type scanner struct {
	data []byte
	at   int
}

// peek returns the next byte, or 0 at the end: a NUL stands nowhere in JSON.
func (s *scanner) peek() byte {
	if s.at < len(s.data) {
		return s.data[s.at]
	}
	return 0
}

func (s *scanner) space() {
	for s.at < len(s.data) && (s.data[s.at] == ' ' || s.data[s.at] == '\t' || s.data[s.at] == '\n' || s.data[s.at] == '\r') {
		s.at++
	}
}

// end returns an error unless nothing but space follows.
func (s *scanner) end() error {
	if s.space(); s.at != len(s.data) {
		return errSyntax
	}
	return nil
}

// value reads one value and forgets it.
func (s *scanner) value(depth int) error {
	switch c := s.peek(); {
	case c == '{':
		return s.object(depth, nil)
	case c == '[':
		return s.array(depth, nil)
	case c == '"':
		_, _, err := s.quoted()
		return err
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if len(s.data)-s.at >= len(word) && string(s.data[s.at:s.at+len(word)]) == word {
			s.at += len(word)
			return nil
		}
	}
	return errSyntax
}

// object reads an object and gives its members to visit, unless that is nil.
func (s *scanner) object(depth int, visit func(member)) error {
	if depth >= maxDepth {
		return errDepth
	}
	var names names
	return s.list('}', func() error {
		name, err := s.text()
		if err != nil {
			return err
		}
		if !names.add(name) {
			return errDuplicate
		}
		if s.space(); s.peek() != ':' {
			return errSyntax
		}
		s.at++
		s.space()
		from := s.at
		if err := s.value(depth + 1); err != nil || visit == nil {
			return err
		}
		m := member{name: string(name), raw: s.data[from:s.at:s.at]}
		if m.raw[0] == '"' {
			m.text, _ = parseText(m.raw)
		}
		visit(m)
		return nil
	})
}

// array reads an array and gives the texts of its elements to visit, unless that is nil.
func (s *scanner) array(depth int, visit func(raw []byte)) error {
	if depth >= maxDepth {
		return errDepth
	}
	return s.list(']', func() error {
		from := s.at
		err := s.value(depth + 1)
		if err == nil && visit != nil {
			visit(s.data[from:s.at:s.at])
		}
		return err
	})
}

// list reads what stands between two brackets, separated by commas.
func (s *scanner) list(closing byte, element func() error) error {
	s.at++
	if s.space(); s.peek() == closing {
		s.at++
		return nil
	}
	for {
		if s.space(); s.at == len(s.data) {
			return errSyntax
		}
		if err := element(); err != nil {
			return err
		}
		s.space()
		switch s.peek() {
		case ',':
			s.at++
		case closing:
			s.at++
			return nil
		default:
			return errSyntax
		}
	}
}

// number reads a number (RFC 8259 section 6).
func (s *scanner) number() error {
	if s.peek() == '-' {
		s.at++
	}
	if s.peek() == '0' {
		s.at++
	} else if !s.digits() {
		return errSyntax
	}
	if s.peek() == '.' {
		if s.at++; !s.digits() {
			return errSyntax
		}
	}
	if s.peek()|0x20 == 'e' {
		if s.at++; s.peek() == '+' || s.peek() == '-' {
			s.at++
		}
		if !s.digits() {
			return errSyntax
		}
	}
	return nil
}

// digits reads digits and reports whether there is one.
func (s *scanner) digits() bool {
	from := s.at
	for '0' <= s.peek() && s.peek() <= '9' {
		s.at++
	}
	return s.at > from
}

// text reads a string and returns its value, never nil without an error.
func (s *scanner) text() ([]byte, error) {
	inner, escaped, err := s.quoted()
	if err != nil || !escaped {
		return inner, err
	}
	return unescape(inner), nil
}

// quoted reads a string and returns what stands between its quotes.
func (s *scanner) quoted() (inner []byte, escaped bool, err error) {
	if s.peek() != '"' {
		return nil, false, errSyntax
	}
	s.at++
	from := s.at
	for s.at < len(s.data) {
		switch c := s.data[s.at]; {
		case c == '"':
			inner = s.data[from:s.at:s.at]
			s.at++
			if !utf8.Valid(inner) {
				return nil, false, errText
			}
			return inner, escaped, nil
		case c == '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return nil, false, err
			}
		case c < ' ':
			return nil, false, errSyntax
		default:
			s.at++
		}
	}
	return nil, false, errSyntax
}

// escape reads one escape; the two halves of a surrogate pair are one.
func (s *scanner) escape() error {
	s.at++
	c := s.peek()
	s.at++
	if c != 'u' {
		if bytes.IndexByte([]byte(`"\/bfnrt`), c) < 0 {
			return errSyntax
		}
		return nil
	}
	first, err := s.unit()
	if err != nil || !utf16.IsSurrogate(first) {
		return err
	}
	if s.peek() != '\\' {
		return errText
	}
	s.at++
	if s.peek() != 'u' {
		return errText
	}
	s.at++
	second, err := s.unit()
	if err == nil && utf16.DecodeRune(first, second) == utf8.RuneError {
		err = errText
	}
	return err
}

// unit reads the four digits of an escape.
func (s *scanner) unit() (rune, error) {
	if len(s.data)-s.at < 4 {
		return 0, errSyntax
	}
	u, ok := hex4(s.data[s.at:])
	if !ok {
		return 0, errSyntax
	}
	s.at += 4
	return u, nil
}

func hex4(b []byte) (rune, bool) {
	var u rune
	for _, c := range b[:4] {
		d, ok := hexDigit(c)
		if !ok {
			return 0, false
		}
		u = u<<4 | rune(d)
	}
	return u, true
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}

// unescape returns the value of a string that was read by quoted.
func unescape(inner []byte) []byte {
	value := make([]byte, 0, len(inner))
	for i := 0; i < len(inner); {
		if inner[i] != '\\' {
			value = append(value, inner[i])
			i++
			continue
		}
		switch c := inner[i+1]; c {
		case 'b':
			value = append(value, '\b')
		case 'f':
			value = append(value, '\f')
		case 'n':
			value = append(value, '\n')
		case 'r':
			value = append(value, '\r')
		case 't':
			value = append(value, '\t')
		case 'u':
			u, _ := hex4(inner[i+2:])
			i += 4
			if utf16.IsSurrogate(u) {
				low, _ := hex4(inner[i+4:])
				u = utf16.DecodeRune(u, low)
				i += 6
			}
			value = utf8.AppendRune(value, u)
		default:
			value = append(value, c)
		}
		i += 2
	}
	return value
}

// names are the names of an object that were seen.
type names struct {
	list  [][]byte
	index map[string]struct{} // nil while the list is short
}

// add reports whether the name is new.
func (n *names) add(name []byte) bool {
	if n.index != nil {
		if _, seen := n.index[string(name)]; seen {
			return false
		}
		n.index[string(name)] = struct{}{}
		return true
	}
	for _, other := range n.list {
		if bytes.Equal(other, name) {
			return false
		}
	}
	if n.list = append(n.list, name); len(n.list) > linearNames {
		n.index = make(map[string]struct{}, 4*linearNames)
		for _, other := range n.list {
			n.index[string(other)] = struct{}{}
		}
	}
	return true
}

// appendText appends s as a JSON string. What is not well-formed Unicode is replaced.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ' || r == 0x7f || r == 0x2028 || r == 0x2029:
			var unit [2]byte
			binary.BigEndian.PutUint16(unit[:], uint16(r))
			b = append(b, `\u`...)
			for _, c := range unit {
				if c < 16 {
					b = append(b, '0')
				}
				b = strconv.AppendUint(b, uint64(c), 16)
			}
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
