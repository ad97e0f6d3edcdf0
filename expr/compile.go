package expr

import (
	"strings"

	"github.com/sluice-gateway/sluice/document"
	"github.com/sluice-gateway/sluice/message"
)

// MaxSource is the most bytes that the text of an expression or a template may have.
const MaxSource = 64 << 10

// maxName bounds names of headers, parameters and cookies in a selector.
const maxName = 4 << 10

// maxMembers bounds the members of a selector.
const maxMembers = 32

// Compile compiles one expression, as it stands between "${" and "}" or in a key that is always an expression.
func Compile(src string, env Env) (*Program, *Error) { return compileAs(src, env, anyShape) }

// CompileCondition compiles an expression that has to be true or false, such as `when` and `allow`. One whose type is only known when it runs
// is accepted; see Program.True.
func CompileCondition(src string, env Env) (*Program, *Error) { return compileAs(src, env, boolShape) }

// CompileList compiles an expression that has to give a list, such as `for_each`. One whose type is only known when it runs is accepted.
func CompileList(src string, env Env) (*Program, *Error) { return compileAs(src, env, listShape) }

// CompileNumber compiles an expression that has to give an integer, such as `cost`. One whose type is only known when it runs is accepted; see
// Program.Int.
func CompileNumber(src string, env Env) (*Program, *Error) { return compileAs(src, env, intShape) }

func compileAs(src string, env Env, want shape) (*Program, *Error) {
	if len(src) > MaxSource {
		return nil, outside(&Error{Message: "the expression is longer than 64 KiB"})
	}
	p, err := compile(src, &env)
	if err == nil {
		err = p.expect(want, src)
	}
	if err != nil {
		return nil, outside(err)
	}
	return &p, nil
}

// expect reports that the program does not give what its place needs.
func (p *Program) expect(want shape, src string) *Error {
	have := p.shape
	if want == anyShape || have == anyShape || have == want || want == intShape && have == numberShape {
		return nil
	}
	err := &Error{Offset: len(src) - len(strings.TrimLeft(src, " \t\r\n"))}
	switch want {
	case boolShape:
		err.Message, err.Suggestion = "a condition is true or false, and this is "+have.String(), `compare it, as in request.method == "GET"`
	case listShape:
		err.Message, err.Suggestion = "this has to be a list, and it is "+have.String(), "name a list, as in accounts.body.items"
	default:
		err.Message, err.Suggestion = "this has to be an integer, and it is "+have.String(), "convert it, as in int(request.headers[\"x\"])"
	}
	return err
}

// compile compiles one expression of bounded length: a literal or a selector is read directly, everything else is CEL.
func compile(src string, env *Env) (Program, *Error) {
	p, complete, hint := direct(src, env)
	if complete {
		return p, hint.err
	}
	p, failure := compileCEL(src, env)
	switch {
	case failure == nil:
		return p, nil
	case hint.err != nil && (failure.syntax || hint.slip):
		return Program{}, hint.err
	}
	return Program{}, failure.err
}

// hint is what is wrong with a selector: surely if it is complete, else if it is no expression of CEL.
type hint struct {
	err  *Error
	slip bool // it may well be an expression of CEL, but one that means something else
}

// direct compiles a literal or a selector. complete tells that src is one of them, rightly written or not.
func direct(src string, env *Env) (p Program, complete bool, h hint) {
	s := scanner{src: src}
	s.space()
	if s.at == len(src) {
		return Program{}, true, hint{err: &Error{Message: "the expression is empty", Suggestion: "write one such as request.path"}}
	}
	if c := src[s.at]; c == '"' || c == '\'' {
		text, err := s.quoted()
		if s.space(); err == nil && s.at == len(src) {
			return Program{op: opLiteral, text: text, shape: textShape}, true, hint{}
		}
		return Program{}, false, hint{err: err}
	}
	if p, ok := literal(src); ok {
		return p, true, hint{}
	}
	path, err := s.selector()
	switch {
	case err != nil || len(path) == 0:
		return Program{}, false, hint{err: err}
	case s.at == len(src):
		p, err := resolve(path, env)
		return p, true, hint{err: err}
	}
	h, final := s.slip(path)
	return Program{}, final, h
}

// literal reads a number, true, false or null, which keep their text.
func literal(src string) (Program, bool) {
	text := strings.Trim(src, " \t\r\n")
	if len(text) > 100 { // none that is meant is longer
		return Program{}, false
	}
	v, err := document.Parse([]byte(text), document.Limits{})
	if err != nil {
		return Program{}, false
	}
	p := Program{op: opJSON, raw: []byte(text)}
	switch v.Kind() {
	case document.Number:
		if p.shape = numberShape; !isInteger(v) {
			p.shape = doubleShape
		}
	case document.Bool:
		p.shape = boolShape
	case document.Null:
		p.shape = nullShape
	default:
		return Program{}, false
	}
	return p, true
}

func isInteger(v document.Value) bool {
	_, ok := v.Int()
	return ok
}

// member is one name of a selector.
type member struct {
	name   string
	at     int  // where it stands in the source
	quoted bool // written as ["name"]
	index  int  // the number that it is, as in .0 or [0]; -1 if it is a name
}

// scanner reads the text of one expression.
type scanner struct {
	src string
	at  int
}

func (s *scanner) space() {
	for s.at < len(s.src) && (s.src[s.at] == ' ' || s.src[s.at] == '\t' || s.src[s.at] == '\n' || s.src[s.at] == '\r') {
		s.at++
	}
}

// next reports whether the next byte is c, and passes over it if so.
func (s *scanner) next(c byte) bool {
	if s.at < len(s.src) && s.src[s.at] == c {
		s.at++
		return true
	}
	return false
}

// selector reads a name with its members, and white space behind them. Without a name at the beginning there are none, and no error.
func (s *scanner) selector() ([]member, *Error) {
	var path []member
	name := s.identifier()
	if name == "" {
		return nil, nil
	}
	path = append(path, member{name: name, at: s.at - len(name), index: -1})
	for len(path) < maxMembers { // the rest is reported as what follows it
		s.space()
		switch {
		case s.next('.'):
			s.space()
			m, ok := s.memberName()
			if !ok {
				if s.at < len(s.src) && (s.src[s.at] == '?' || s.src[s.at] == '`') {
					return nil, nil // an optional member, or a name in backticks: that is CEL's
				}
				return nil, &Error{Offset: s.at, Message: `a name is missing behind the "."`}
			}
			path = append(path, m)
			continue
		case s.next('['):
			m, ok, err := s.index()
			if err != nil || !ok {
				return nil, err
			}
			path = append(path, m)
			continue
		}
		break
	}
	return path, nil
}

// memberName reads what stands behind a point: a name, or a number for an element of a list.
func (s *scanner) memberName() (member, bool) {
	at := s.at
	if name := s.identifier(); name != "" {
		return member{name: name, at: at, index: -1}, true
	}
	if digits, n := s.number(); digits != "" {
		return member{name: digits, at: at, index: n}, true
	}
	return member{}, false
}

// index reads `"name"]` or `0]`. Other indices are CEL's: ok is false then.
func (s *scanner) index() (m member, ok bool, err *Error) {
	s.space()
	at := s.at
	if at == len(s.src) {
		return member{}, false, &Error{Offset: at, Message: "expected a name in quotes behind the [", Suggestion: `write ["name"]`}
	}
	m = member{at: at, quoted: true, index: -1}
	if c := s.src[at]; c == '"' || c == '\'' {
		if m.name, err = s.quoted(); err != nil {
			return member{}, false, err
		}
	} else if m.name, m.index = s.number(); m.name == "" {
		return member{}, false, nil
	}
	if s.space(); s.at == len(s.src) {
		return member{}, false, &Error{Offset: s.at, Message: "the [ is not closed", Suggestion: "add ]"}
	}
	return m, s.next(']'), nil
}

// identifier reads a name, "" if there is none.
func (s *scanner) identifier() string {
	from := s.at
	for s.at < len(s.src) {
		c := s.src[s.at]
		if 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || s.at > from && '0' <= c && c <= '9' {
			s.at++
			continue
		}
		break
	}
	return s.src[from:s.at]
}

// number reads the place of an element of a list, "" if there is none.
func (s *scanner) number() (digits string, n int) {
	from := s.at
	for s.at < len(s.src) && '0' <= s.src[s.at] && s.src[s.at] <= '9' && s.at-from < 9 {
		n = n*10 + int(s.src[s.at]-'0')
		s.at++
	}
	digits = s.src[from:s.at]
	if len(digits) > 1 && digits[0] == '0' {
		s.at = from
		return "", 0
	}
	return digits, n
}

// quoted reads a text in quotes of either kind. The escapes are those of CEL that make sense in a name or a value.
func (s *scanner) quoted() (string, *Error) {
	from := s.at
	quote := s.src[s.at]
	s.at++
	var text strings.Builder
	for s.at < len(s.src) {
		c := s.src[s.at]
		s.at++
		switch c {
		case quote:
			return text.String(), nil
		case '\\':
			plain, ok := byte(0), false
			if s.at < len(s.src) {
				plain, ok = unescape(s.src[s.at])
			}
			if !ok {
				return "", &Error{Offset: s.at - 1, Message: "unknown escape in a text", Suggestion: `known: \\ \" \' \n \r \t`}
			}
			s.at++
			text.WriteByte(plain)
		default:
			text.WriteByte(c)
		}
	}
	return "", &Error{Offset: from, Message: "the quotes are not closed"}
}

func unescape(c byte) (byte, bool) {
	switch c {
	case '\\', '"', '\'':
		return c, true
	case 'n':
		return '\n', true
	case 'r':
		return '\r', true
	case 't':
		return '\t', true
	}
	return 0, false
}

// slip returns what is most likely wrong where something stands behind a selector. final tells that it cannot be meant in another way.
func (s *scanner) slip(path []member) (h hint, final bool) {
	rest, n := s.src[s.at:], len(path)
	switch {
	case n == 1 && (path[0].name == "env" || path[0].name == "file") && rest[0] == ':':
		return hint{err: &Error{Offset: path[0].at,
			Message: "${" + path[0].name + ":…} is read when the configuration is loaded, and not in this place"}}, true
	case (n > 2 || n > 1 && path[0].name == varClaims) && strings.HasSuffix(s.src[:s.at], path[n-1].name) && startsDashed(rest):
		// request.headers.x-name: the most frequent slip, because header names look like this.
		i := 0
		for i < len(rest) && message.IsTokenByte(rest[i]) {
			i++
		}
		before := s.src[path[0].at : path[n-1].at-1]
		return hint{slip: true, err: &Error{Offset: s.at, Message: `a name with "-" is written in brackets`,
			Suggestion: "write " + before + `["` + path[n-1].name + rest[:i] + `"]`}}, false
	}
	return hint{}, false
}

// startsDashed reports whether rest continues a name with a "-" without white space, as "x-name" does behind the x.
func startsDashed(rest string) bool {
	return len(rest) > 1 && rest[0] == '-' && 'a' <= rest[1]|0x20 && rest[1]|0x20 <= 'z'
}

// quote writes a word of the source for a message: in quotes, without control bytes, cut to a readable length.
func quote(word string) string {
	const most = 40
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F || r == '\uFFFD' {
			return '?'
		}
		return r
	}, word)
	if r := []rune(clean); len(r) > most {
		clean = string(r[:most]) + "…"
	}
	return `"` + clean + `"`
}
