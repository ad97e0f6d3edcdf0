package expr

import (
	"strings"

	"github.com/sluice-gateway/sluice/message"
)

// Encoding says where the text of a template goes, and so what is done to the values in it. The text around them is the operator's and
// stays as it is written.
type Encoding uint8

// The encodings.
const (
	// None leaves values as they are.
	None Encoding = iota
	// HeaderValue refuses a result that may not stand in a header (RFC 9110 section 5.5) and takes white space off its ends.
	HeaderValue
	// Path percent-encodes each value as one path segment, or part of one; values that are empty or a dot segment are refused. The
	// whole request.path, and a capture of several segments, keep their slashes; the latter may be empty.
	Path
	// Query percent-encodes each value as a name or value of a query. The whole request.query stays as it was sent.
	Query
	// URL is for an address, absolute or a path: values are encoded as its authority, path or query, where they stand.
	URL
)

// maxParts bounds the parts of one template.
const maxParts = 256

// Template is text with `${…}` in it, compiled. It is immutable. `$${` in its source stands for a plain `${`.
type Template struct {
	parts []part
	slash bool // the source begins with "//"
	steps []int
	uses  []string
}

// part is a stretch of text, or a program where its op is not opNone.
type part struct {
	program Program
	text    string
	at      int   // offset in the source
	where   where // the place in a URL
}

// where is a place in a URL.
type where uint8

const (
	inPath where = iota
	inAuthority
	inQuery // or in the fragment, which is encoded alike
)

// CompileTemplate compiles a text with `${…}` in it. Offsets of errors are those in src.
func CompileTemplate(src string, env Env) (*Template, *Error) {
	t, err := compileTemplate(src, &env)
	if err != nil {
		return nil, outside(err)
	}
	return t, nil
}

func compileTemplate(src string, env *Env) (*Template, *Error) {
	if len(src) > MaxSource {
		return nil, &Error{Message: "the text is longer than 64 KiB"}
	}
	t := &Template{slash: strings.HasPrefix(src, "//")}
	var text strings.Builder
	textAt := 0
	flush := func(next int) {
		if text.Len() > 0 {
			t.parts = append(t.parts, part{text: text.String(), at: textAt})
			text.Reset()
		}
		textAt = next
	}
	for i := 0; i < len(src); {
		switch {
		case strings.HasPrefix(src[i:], "$${"):
			text.WriteString("${")
			i += 3
		case strings.HasPrefix(src[i:], "${"):
			end := endOfExpression(src, i+2)
			if end < 0 {
				return nil, &Error{Offset: i, Message: "the ${ is not closed", Suggestion: "add }, or write $${ for a plain ${"}
			}
			program, err := compile(src[i+2:end], env)
			if err != nil {
				err.Offset += i + 2
				return nil, err
			}
			flush(end + 1)
			t.parts = append(t.parts, part{program: program, at: i})
			i = end + 1
		default:
			text.WriteByte(src[i])
			i++
		}
	}
	flush(len(src))
	if len(t.parts) > maxParts {
		return nil, &Error{Offset: t.parts[maxParts].at, Message: "the text has more than 256 parts"}
	}
	t.locate()
	var steps stepSet
	for i := range t.parts {
		steps.add(t.parts[i].program.Steps())
	}
	t.steps, t.uses = steps.list(env)
	return t, nil
}

// Uses returns the names of the steps that the template reads, in the order of Env.Steps. The caller does not change the list.
func (t *Template) Uses() []string { return t.uses }

// Steps returns the places in Exchange.Steps of the steps that the template reads, in rising order. The caller does not change the list.
func (t *Template) Steps() []int { return t.steps }

// ExpressionLength returns the length of the expression at the beginning of src with the brace that ends it; all of src if none does.
func ExpressionLength(src string) int {
	if end := endOfExpression(src, 0); end >= 0 {
		return end + 1
	}
	return len(src)
}

// endOfExpression returns the index of the "}" that ends the expression at from, or -1. Braces within it come in pairs, and those in
// quotes do not count.
func endOfExpression(src string, from int) int {
	depth, quote := 0, byte(0)
	for i := from; i < len(src); i++ {
		c := src[i]
		switch {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '{':
			depth++
		case c == '}':
			if depth == 0 {
				return i
			}
			depth--
		}
	}
	return -1
}

// locate finds out where in a URL each program stands. A program before the first "/" of a text without "://" is a path, too: what it
// brings is encoded so that it cannot become a scheme or a host.
func (t *Template) locate() {
	var before strings.Builder
	for i := range t.parts {
		p := &t.parts[i]
		if p.program.op == opNone {
			before.WriteString(p.text)
			continue
		}
		p.where = placeBehind(before.String())
		if p.program.op == opPath && p.where == inAuthority && !strings.HasSuffix(before.String(), "//") {
			p.where = inPath // it begins with "/", so it ends the authority before it; where there is none it would become one
		}
		before.WriteByte('x') // a value stands here; it holds no "/", "?" or "#" that counts
		if p.where == inPath {
			before.WriteByte('/')
		}
	}
}

func placeBehind(before string) where {
	if strings.ContainsAny(before, "?#") {
		return inQuery
	}
	if _, rest, ok := strings.Cut(before, "//"); ok && !strings.Contains(rest, "/") {
		return inAuthority
	}
	return inPath
}

// Const returns the text of a template without expressions; ok is false if there are any. The caller does not change the bytes.
func (t *Template) Const() (text []byte, ok bool) {
	for i := range t.parts {
		if t.parts[i].program.op != opNone {
			return nil, false
		}
		text = append(text, t.parts[i].text...)
	}
	return text, true
}

// Check reports text that the encoding would refuse whatever the values are: an error of the configuration. Append does not look at it
// again where it need not.
func (t *Template) Check(enc Encoding) *Error {
	if enc != HeaderValue {
		return nil
	}
	for i := range t.parts {
		p := &t.parts[i]
		at := message.IndexInvalidValue([]byte(p.text + p.program.text))
		if at < 0 || p.program.op != opNone && p.program.op != opLiteral {
			continue
		}
		if p.program.op == opLiteral {
			at = 0
		}
		return &Error{Offset: p.at + at, Message: "a header cannot hold a line break or another control character"}
	}
	return nil
}

// MayRefuse reports whether Append as a HeaderValue can find a value that no header may hold: whether a value was decoded, or is the text
// of an expression. Values of header fields were checked when they were read.
func (t *Template) MayRefuse() bool {
	for i := range t.parts {
		if t.parts[i].program.mayRefuse() {
			return true
		}
	}
	return false
}

// Refuses reports whether Append as a HeaderValue would be refused because of what the request brings. It tells before there is a
// response, whose values are never refused.
func (t *Template) Refuses(x *message.Exchange) bool {
	for i := range t.parts {
		if t.parts[i].program.refuses(x) {
			return true
		}
	}
	return false
}

// Append appends the text with the values of x. If ok is false nothing is appended: reason says what to answer, or is ReasonNone where
// a value is missing and the encoding leaves it to the caller what that means (None, HeaderValue). A value that is missing from a path,
// query or URL is refused, because the address would be another one.
func (t *Template) Append(dst []byte, x *message.Exchange, enc Encoding) (out []byte, ok bool, reason message.Reason) {
	n := len(dst)
	for i := range t.parts {
		p := &t.parts[i]
		if p.program.op == opNone {
			dst = append(dst, p.text...)
			continue
		}
		if dst, ok, reason = p.append(dst, x, enc); !ok {
			return dst[:n], false, reason
		}
	}
	switch {
	case enc == HeaderValue:
		return finishValue(dst, n)
	case enc == URL && !t.slash && namesHost(dst[n:]):
		return dst[:n], false, message.PathValueInvalid
	}
	return dst, true, message.ReasonNone
}

// appendText appends the text for a document: without encoding, and telling a value that is missing from one that is refused.
func (t *Template) appendText(dst []byte, x *message.Exchange) ([]byte, outcome) {
	n := len(dst)
	for i := range t.parts {
		p := &t.parts[i]
		how := found
		switch ok := true; p.program.op {
		case opNone:
			dst = append(dst, p.text...)
		case opCEL:
			dst, how = p.program.cel.appendText(dst, x)
		default:
			if dst, ok = p.program.Append(dst, x); !ok {
				how = missing
			}
		}
		if how != found {
			return dst[:n], how
		}
	}
	return dst, found
}

// finishValue checks the header value dst[n:].
func finishValue(dst []byte, n int) ([]byte, bool, message.Reason) {
	if message.IndexInvalidValue(dst[n:]) >= 0 {
		return dst[:n], false, message.HeaderValueInvalid
	}
	value := message.TrimSpace(dst[n:])
	return dst[:n+copy(dst[n:], value)], true, message.ReasonNone
}

// namesHost reports whether clients take an address that begins so for one of another host. Where the template does not say so itself a
// request would choose the host: "${request.path}" with the path "//evil.example".
func namesHost(address []byte) bool {
	return len(address) > 1 && address[0] == '/' && (address[1] == '/' || address[1] == '\\')
}

// append appends the value of a program.
func (p *part) append(dst []byte, x *message.Exchange, enc Encoding) ([]byte, bool, message.Reason) {
	n := len(dst)
	dst, ok := p.program.Append(dst, x)
	if enc == None || enc == HeaderValue {
		return dst, ok, message.ReasonNone
	}
	if !ok {
		return dst, false, message.PathValueInvalid
	}
	place := p.where
	switch enc {
	case Path:
		place = inPath
	case Query:
		place = inQuery
	}
	// The encoded form is written behind the plain one and then moved over it, so that no second buffer is needed.
	m := len(dst)
	plain := dst[n:m]
	reason := message.ReasonNone
	switch op := p.program.op; {
	case place == inQuery && op == opQuery, place == inAuthority && (op == opHost || op == opHostField),
		place == inPath && op == opPath && plain[0] == '/':
		return dst, true, message.ReasonNone // it is what it was read as, encoded where it has to be
	case place == inQuery:
		dst = message.AppendQueryValue(dst, plain)
	case place == inPath && op == opRest:
		if raw := x.RawCapture(p.program.text); raw != nil {
			return append(dst[:n], raw...), true, message.ReasonNone // part of a canonical path is one
		}
		dst, reason = message.AppendPathRest(dst, plain)
	default:
		// A value that passes holds something besides one or two dots, so that text around it cannot make it a dot segment.
		dst, reason = message.AppendPathValue(dst, plain)
	}
	if reason != message.ReasonNone {
		return dst, false, reason
	}
	return dst[:n+copy(dst[n:], dst[m:])], true, message.ReasonNone
}
