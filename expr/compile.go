package expr

import (
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/message"
)

// MaxSource is the most bytes that the text of an expression or a template may have.
const MaxSource = 64 << 10

// maxName bounds names of headers, parameters and cookies in a selector.
const maxName = 4 << 10

// Compile compiles one expression, as it stands between "${" and "}" or in a key that is always an expression.
func Compile(src string, env Env) (*Program, *Error) {
	if len(src) > MaxSource {
		return nil, &Error{Message: "the expression is longer than 64 KiB"}
	}
	p, err := compile(src, env)
	if err != nil {
		return nil, err
	}
	return &p, nil
}

// compile compiles one expression of bounded length.
func compile(src string, env Env) (Program, *Error) {
	s := scanner{src: src}
	s.space()
	if s.at == len(src) {
		return Program{}, &Error{Message: "the expression is empty", Suggestion: "write one such as request.path"}
	}
	if c := src[s.at]; c == '"' || c == '\'' {
		text, err := s.quoted()
		if err == nil {
			err = s.end(nil)
		}
		return Program{op: opLiteral, text: text}, err
	}
	path, err := s.selector()
	if err != nil {
		return Program{}, err
	}
	return resolve(path, env)
}

// member is one name of a selector.
type member struct {
	name   string
	at     int  // where it stands in the source
	quoted bool // written as ["name"]
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

// selector reads a name with its members, to the end of the source. There is at least one member.
func (s *scanner) selector() ([]member, *Error) {
	var path []member
	name := s.identifier()
	if name == "" {
		return nil, &Error{Offset: s.at, Message: "an expression begins with a name or a text in quotes", Suggestion: "write one such as request.path"}
	}
	path = append(path, member{name: name, at: s.at - len(name)})
	for len(path) <= 3 { // none is longer; the rest is reported as what follows it
		s.space()
		switch {
		case s.next('.'):
			s.space()
			name := s.identifier()
			if name == "" {
				return nil, &Error{Offset: s.at, Message: `a name is missing behind the "."`}
			}
			path = append(path, member{name: name, at: s.at - len(name)})
			continue
		case s.next('['):
			m, err := s.index()
			if err != nil {
				return nil, err
			}
			path = append(path, m)
			continue
		}
		break
	}
	return path, s.end(path)
}

// index reads `"name"]`.
func (s *scanner) index() (member, *Error) {
	s.space()
	at := s.at
	if at == len(s.src) || s.src[at] != '"' && s.src[at] != '\'' {
		return member{}, &Error{Offset: at, Message: "expected a name in quotes behind the [", Suggestion: `write ["name"]`}
	}
	name, err := s.quoted()
	if err != nil {
		return member{}, err
	}
	s.space()
	if !s.next(']') {
		return member{}, &Error{Offset: s.at, Message: "the [ is not closed", Suggestion: "add ]"}
	}
	return member{name: name, at: at, quoted: true}, nil
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

// end reports what stands behind the expression.
func (s *scanner) end(path []member) *Error {
	s.space()
	if s.at == len(s.src) {
		return nil
	}
	rest := s.src[s.at:]
	if n := len(path); n > 0 && path[0].name == "env" || n > 0 && path[0].name == "file" {
		if rest[0] == ':' {
			return &Error{Offset: path[0].at, Message: "${" + path[0].name + ":…} is read when the configuration is loaded, and not in this place"}
		}
	} else if n > 1 && !path[n-1].quoted && rest[0] == '-' {
		// request.headers.x-name: the most frequent slip, because header names look like this.
		i := 0
		for i < len(rest) && message.IsTokenByte(rest[i]) {
			i++
		}
		before := s.src[path[0].at : path[n-1].at-1]
		return &Error{Offset: s.at, Message: `a name with "-" is written in brackets`,
			Suggestion: "write " + before + `["` + path[n-1].name + rest[:i] + `"]`}
	}
	return &Error{Offset: s.at, Message: "expected the end of the expression: only selectors and texts in quotes can be written here",
		Suggestion: "write one such as request.headers[\"accept\"]"}
}

// resolve makes a selector a program.
func resolve(path []member, env Env) (Program, *Error) {
	root := path[0]
	roots := env.roots()
	switch {
	case slices.Contains(roots, root.name):
	case root.name == "response":
		return Program{}, &Error{Offset: root.at, Message: "there is no response yet where this is read", Suggestion: "use it in a policy for responses"}
	case root.name == "path":
		return Program{}, &Error{Offset: root.at, Message: "the path pattern of the route captures nothing",
			Suggestion: "write {name} in match.path, or use request.path for the whole path"}
	default:
		return Program{}, &Error{Offset: root.at, Message: quote(root.name) + " is not known here", Suggestion: didYouMean(root.name, roots)}
	}
	if len(path) == 1 {
		return Program{}, &Error{Offset: root.at, Message: root.name + " has members and no value of its own",
			Suggestion: "known: " + strings.Join(members(root.name, env), ", ")}
	}
	if root.name == "path" {
		return capture(path, env)
	}
	m := path[1]
	op := operation(root.name, m.name)
	if op == opNone {
		return Program{}, &Error{Offset: m.at, Message: quote(m.name) + " is not a member of " + root.name, Suggestion: didYouMean(m.name, members(root.name, env))}
	}
	if entry, has := entryOf[op]; has && len(path) > 2 {
		return entryProgram(entry, path)
	} else if has && op != opQuery {
		return Program{}, &Error{Offset: m.at, Message: root.name + "." + m.name + " needs a name",
			Suggestion: "write " + root.name + "." + m.name + `["name"]`}
	}
	if len(path) > 2 {
		return Program{}, noMembers(path, 2)
	}
	return Program{op: op}, nil
}

// capture resolves path.NAME.
func capture(path []member, env Env) (Program, *Error) {
	if len(path) > 2 {
		return Program{}, noMembers(path, 2)
	}
	m := path[1]
	if !env.AnyCapture && !slices.Contains(env.Captures, m.name) {
		return Program{}, &Error{Offset: m.at, Message: "the path pattern of the route does not capture " + quote(m.name), Suggestion: didYouMean(m.name, env.Captures)}
	}
	if m.name == env.Rest {
		return Program{op: opRest, text: m.name}, nil
	}
	return Program{op: opCapture, text: m.name}, nil
}

// entryProgram resolves an entry of a map, path[2].
func entryProgram(op op, path []member) (Program, *Error) {
	if len(path) > 3 {
		return Program{}, noMembers(path, 3)
	}
	m := path[2]
	if m.name == "" || len(m.name) > maxName {
		return Program{}, &Error{Offset: m.at, Message: "the name is empty or longer than 4 KiB"}
	}
	p := Program{op: op, text: m.name}
	if op == opRequestHeader || op == opResponseHeader {
		if !message.ValidToken([]byte(m.name)) {
			return Program{}, &Error{Offset: m.at, Message: quote(m.name) + " cannot be the name of a header"}
		}
		p.name = message.NameOf(m.name)
	}
	if op == opRequestHeader && p.name.ID() == message.Host {
		p.op = opHostField
	}
	return p, nil
}

func noMembers(path []member, n int) *Error {
	return &Error{Offset: path[n].at, Message: quote(path[n-1].name) + " has no members"}
}

// operation returns what reads a member of a variable, opNone if it has no such member.
func operation(root, member string) op {
	switch root + "." + member {
	case "request.method":
		return opMethod
	case "request.scheme":
		return opScheme
	case "request.host":
		return opHost
	case "request.path":
		return opPath
	case "request.query":
		return opQuery
	case "request.headers":
		return opRequestHeaders
	case "request.cookies":
		return opCookies
	case "request.size":
		return opSize
	case "request.id":
		return opID
	case "client.ip":
		return opClientIP
	case "client.port":
		return opClientPort
	case "response.status":
		return opStatus
	case "response.headers":
		return opResponseHeaders
	}
	return opNone
}

// entryOf gives for a map what reads one entry of it.
var entryOf = map[op]op{
	opQuery:           opParameter,
	opRequestHeaders:  opRequestHeader,
	opCookies:         opCookie,
	opResponseHeaders: opResponseHeader,
}

func members(root string, env Env) []string {
	switch root {
	case "request":
		return requestMembers
	case "client":
		return clientMembers
	case "response":
		return responseMembers
	}
	return env.Captures
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
