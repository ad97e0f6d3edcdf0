package expr

import (
	"bytes"
	"strconv"

	"github.com/sluice-gateway/sluice/document"
	"github.com/sluice-gateway/sluice/message"
)

// op is what a program reads.
type op uint8

const (
	opNone    op = iota
	opCEL        // evaluated by CEL
	opLiteral    // text in quotes
	opJSON       // a number, true, false or null
	opMethod
	opScheme
	opHost      // without port
	opHostField // as the field Host: with the port if the client gave one
	opPath
	opQuery          // the whole query
	opParameter      // one parameter of it, decoded
	opQueryMap       // the map of lists; never in a program
	opParameters     // all parameters of one name
	opRequestHeaders // the map; never in a program
	opRequestHeader
	opCookies // the map; never in a program
	opCookie
	opSize
	opID
	opCapture
	opRest // a capture of several segments
	opClientIP
	opClientPort
	opCertificate // has members only; never in a program
	opSubject
	opIssuer
	opSerial
	opFingerprint
	opAltNames
	opClaim  // one claim
	opClaims // what is below a claim, or all claims
	opConsumer
	opPlan
	opVersion
	opStatus
	opResponseHeaders // the map; never in a program
	opResponseHeader
	opStepStatus
	opStepHeader
	opStepBody
	opItem
)

// shape is what a program gives.
type shape uint8

const (
	anyShape    shape = iota // known when it runs
	textShape                // a text
	numberShape              // an integer
	doubleShape              // another number
	boolShape
	listShape
	mapShape
	nullShape
	otherShape // a value of CEL that no place takes as it is
)

// shapeTexts are read-only, in the order of the shapes.
var shapeTexts = [...]string{"a value", "a text", "an integer", "a number", "true or false", "a list", "a map", "null", "a value of another type"}

func (s shape) String() string { return shapeTexts[s] }

// intShape is what CompileNumber wants.
const intShape = numberShape

func shapeOf(op op) shape {
	switch op {
	case opSize, opClientPort, opStatus, opStepStatus:
		return numberShape
	case opParameters, opAltNames:
		return listShape
	case opQueryMap, opRequestHeaders, opCookies, opResponseHeaders:
		return mapShape
	case opClaim, opClaims, opStepBody, opItem:
		return anyShape
	}
	return textShape
}

// Program is one compiled expression. It is immutable, and may be used by any number of goroutines at once.
type Program struct {
	op    op
	shape shape
	uses  bool         // it reads step
	step  int          // its place in Exchange.Steps
	name  message.Name // of a header
	text  string       // a literal, or the name of a parameter, cookie, capture or claim
	raw   []byte       // the text of opJSON
	path  []segment    // to the value in a document
	root  string       // the variable, "" for a literal
	cel   *evaluator   // of opCEL
}

// Literal returns the value of a program that is a text in quotes.
func (p *Program) Literal() (string, bool) { return p.text, p.op == opLiteral }

// Uses returns the names of the steps that the program reads, in the order of Env.Steps. The caller does not change the list.
func (p *Program) Uses() []string {
	switch {
	case p.op == opCEL:
		return p.cel.uses
	case p.uses:
		return []string{p.root}
	}
	return nil
}

// Steps returns the places in Exchange.Steps of the steps that the program reads, in rising order. The caller does not change the list.
func (p *Program) Steps() []int {
	switch {
	case p.op == opCEL:
		return p.cel.steps
	case p.uses:
		return []int{p.step}
	}
	return nil
}

// Variables returns the names of the variables that the program reads, steps and the element among them: "claims", "request". The caller does
// not change the list.
func (p *Program) Variables() []string {
	switch {
	case p.op == opCEL:
		return p.cel.variables
	case p.root != "":
		return []string{p.root}
	}
	return nil
}

// Append appends the value of the expression as text: texts as they are, numbers with their digits, true and false. Without a value, and for
// one that has no text (null, a list, a map), it appends nothing and ok is false.
func (p *Program) Append(dst []byte, x *message.Exchange) (out []byte, ok bool) {
	if p.op == opCEL {
		out, how := p.cel.appendText(dst, x)
		return out, how == found
	}
	return p.appendSelected(dst, x)
}

// appendSelected is Append for all but CEL. It keeps dst on the stack of who has it there.
func (p *Program) appendSelected(dst []byte, x *message.Exchange) (out []byte, ok bool) {
	switch p.op {
	case opLiteral:
		return append(dst, p.text...), true
	case opMethod:
		return x.Request.Method.AppendTo(dst), true
	case opScheme:
		return append(dst, x.Request.Scheme...), x.Request.Scheme != ""
	case opHost:
		return append(dst, x.Request.Host...), len(x.Request.Host) > 0
	case opHostField:
		return appendHost(dst, x), len(x.Request.Host) > 0
	case opPath:
		return append(dst, x.Request.Path...), len(x.Request.Path) > 0
	case opQuery:
		return append(dst, x.Request.Query...), true
	case opParameter:
		value, ok := FindParameter(x.Request.Query, p.text)
		return AppendDecoded(dst, value), ok
	case opRequestHeader:
		return appendField(dst, &x.Request.Header, p.name)
	case opCookie:
		return appendCookie(dst, &x.Request.Header, p.text)
	case opID:
		return append(dst, x.ID...), len(x.ID) > 0
	case opCapture, opRest:
		return appendCapture(dst, x, p.text)
	case opClientIP:
		if !x.Client.Addr.IsValid() {
			return dst, false
		}
		return x.Client.Addr.Unmap().AppendTo(dst), true
	case opSubject, opIssuer, opSerial, opFingerprint:
		return appendCertificate(dst, x, p.op)
	case opResponseHeader:
		return appendField(dst, &x.Response.Header, p.name)
	}
	return p.appendOfGateway(dst, x)
}

// appendOfGateway is Append for what the gateway has found out, and for numbers.
func (p *Program) appendOfGateway(dst []byte, x *message.Exchange) (out []byte, ok bool) {
	switch p.op {
	case opClaim:
		if c := x.Identity.Claim(p.text); c != nil && c.Text != nil {
			return append(dst, c.Text...), true
		}
	case opConsumer:
		if x.Identity == nil {
			return dst, false
		}
		return append(dst, x.Identity.Consumer...), x.Identity.Consumer != ""
	case opPlan:
		if x.Identity == nil {
			return dst, false
		}
		return append(dst, x.Identity.Plan...), x.Identity.Plan != ""
	case opVersion:
		return append(dst, x.Version...), x.Version != ""
	case opStepHeader:
		if s := stepOf(x, p.step); s != nil && s.Header != nil {
			return appendField(dst, s.Header, p.name)
		}
		return dst, false
	}
	if n, ok := p.number(x); ok {
		return strconv.AppendInt(dst, n, 10), true
	}
	return appendScalar(dst, p.document(x))
}

// number returns the value of a selector that is an integer of the gateway.
func (p *Program) number(x *message.Exchange) (n int64, ok bool) {
	switch p.op {
	case opSize:
		return x.Request.Length, x.Request.Length >= 0
	case opClientPort:
		return clientPort(x)
	case opStatus:
		return int64(x.Response.Status), x.Response.Status != 0
	case opStepStatus:
		if s := stepOf(x, p.step); s != nil {
			return int64(s.Status), true
		}
	}
	return 0, false
}

// True reports whether the expression is true. One without a value, or with another one than true and false, is not.
func (p *Program) True(x *message.Exchange) bool {
	if p.op == opCEL {
		return p.cel.isTrue(x)
	}
	b, ok := p.document(x).Bool()
	return b && ok
}

// Int returns the value of an expression that is an integer; 3.0 is one, and the text "3" is none. Otherwise ok is false.
func (p *Program) Int(x *message.Exchange) (n int64, ok bool) {
	if p.op == opCEL {
		return p.cel.integer(x)
	}
	if n, ok := p.number(x); ok {
		return n, true
	}
	return p.document(x).Int()
}

// refuses reports whether the value holds a byte that no header may hold.
func (p *Program) refuses(x *message.Exchange) bool {
	switch p.op {
	case opLiteral:
		return message.IndexInvalidValue([]byte(p.text)) >= 0
	case opParameter:
		for value, _ := FindParameter(x.Request.Query, p.text); len(value) > 0; {
			var c [1]byte
			if c[0], value = nextDecoded(value); message.IndexInvalidValue(c[:]) >= 0 {
				return true
			}
		}
	case opCapture, opRest:
		return message.IndexInvalidValue(x.Capture(p.text)) >= 0
	case opCEL:
		value, how := p.cel.appendText(nil, x)
		return how == found && message.IndexInvalidValue(value) >= 0
	default:
		var buf [256]byte
		value, ok := p.appendSelected(buf[:0], x)
		return ok && message.IndexInvalidValue(value) >= 0
	}
	return false
}

// mayRefuse reports whether the value may hold a byte that no header may hold: whether it was decoded, or is worked out.
func (p *Program) mayRefuse() bool {
	switch p.op {
	case opCEL:
		return p.shape != boolShape && p.shape != numberShape && p.shape != doubleShape
	case opLiteral, opParameter, opCapture, opRest, opClaim, opClaims, opStepBody, opItem, opSubject, opIssuer, opConsumer, opPlan:
		return true
	}
	return false
}

// appendHost appends the authority as the field Host holds it. It is read from the request's one authority, so that it is the host that
// was matched even when an absolute target overruled the field.
func appendHost(dst []byte, x *message.Exchange) []byte {
	dst = append(dst, x.Request.Host...)
	if len(x.Request.Port) > 0 {
		dst = append(append(dst, ':'), x.Request.Port...)
	}
	return dst
}

// appendField appends all values of a field, joined as the field is joined (RFC 9110 section 5.3; Cookie: RFC 9113 section 8.2.3).
func appendField(dst []byte, h *message.Header, n message.Name) ([]byte, bool) {
	i := h.Index(n, 0)
	if i < 0 {
		return dst, false
	}
	dst = append(dst, h.At(i).Value...)
	for i = h.Index(n, i+1); i >= 0; i = h.Index(n, i+1) {
		if n.ID() == message.Cookie {
			dst = append(dst, "; "...)
		} else {
			dst = append(dst, ", "...)
		}
		dst = append(dst, h.At(i).Value...)
	}
	return dst, true
}

// appendCookie appends the value of the first cookie of that name, whose case matters, as it was sent (RFC 6265 section 4.2).
func appendCookie(dst []byte, h *message.Header, name string) ([]byte, bool) {
	if !h.Has(message.Cookie) {
		return dst, false
	}
	for i := range h.Len() {
		f := h.At(i)
		if f.ID != message.Cookie {
			continue
		}
		for rest := f.Value; len(rest) > 0; {
			var pair []byte
			pair, rest = cutCookie(rest)
			if n := len(name); len(pair) > n && pair[n] == '=' && string(pair[:n]) == name {
				return append(dst, message.TrimSpace(pair[n+1:])...), true
			}
		}
	}
	return dst, false
}

// cutCookie cuts the first cookie off a value of the field Cookie, without white space before it.
func cutCookie(value []byte) (pair, rest []byte) {
	pair = value
	if i := bytes.IndexByte(value, ';'); i >= 0 {
		pair, rest = value[:i], value[i+1:]
	}
	for len(pair) > 0 && (pair[0] == ' ' || pair[0] == '\t') {
		pair = pair[1:]
	}
	return pair, rest
}

// appendCapture appends a capture. Unlike Exchange.Capture it tells an empty value from none.
func appendCapture(dst []byte, x *message.Exchange, name string) ([]byte, bool) {
	for i := range x.Captures {
		if x.Captures[i].Name == name {
			return append(dst, x.Captures[i].Value...), true
		}
	}
	return dst, false
}

// clientPort returns the port of the client, which is known only where the client itself is the peer: behind a trusted proxy the peer's port
// is the proxy's.
func clientPort(x *message.Exchange) (int64, bool) {
	if !x.Client.Peer.IsValid() || x.Client.Peer.Addr().Unmap() != x.Client.Addr.Unmap() {
		return 0, false
	}
	return int64(x.Client.Peer.Port()), true
}

// stepOf returns a step that has ended, or nil.
func stepOf(x *message.Exchange, i int) *message.Step {
	if i >= len(x.Steps) || !x.Steps[i].Done {
		return nil
	}
	return &x.Steps[i]
}

// segment is one step on the way to a value in a document.
type segment struct {
	name   string
	index  int  // in an array; -1 if the name is no number
	quoted bool // written in brackets: a number is an index there, and no name
}

// walk returns the value below v. What is below null is null: a part of a composition that failed has null where its members would be.
func walk(v document.Value, path []segment) document.Value {
	for i := range path {
		s := &path[i]
		switch v.Kind() {
		case document.Object:
			if s.quoted && s.index >= 0 {
				return document.Value{}
			}
			v = v.Member(s.name)
		case document.Array:
			v = v.Index(s.index)
		case document.Null:
			return v
		default:
			return document.Value{}
		}
	}
	return v
}

// document returns the value of a selector in a document, or no value.
func (p *Program) document(x *message.Exchange) document.Value {
	switch p.op {
	case opJSON:
		return document.Of(p.raw)
	case opClaim:
		if c := x.Identity.Claim(p.text); c != nil {
			return document.Of(c.Raw)
		}
	case opClaims:
		return p.claims(x)
	case opStepBody:
		if s := stepOf(x, p.step); s != nil {
			return walk(document.Of(s.Body), p.path)
		}
	case opItem:
		return walk(document.Of(x.Item), p.path)
	}
	return document.Value{}
}

func (p *Program) claims(x *message.Exchange) document.Value {
	if len(p.path) == 0 {
		return allClaims(x)
	}
	if c := x.Identity.Claim(p.path[0].name); c != nil && !(p.path[0].quoted && p.path[0].index >= 0) {
		return walk(document.Of(c.Raw), p.path[1:])
	}
	return document.Value{}
}

// allClaims returns the claims of the caller as one object, which is empty where there is no token.
func allClaims(x *message.Exchange) document.Value {
	if x.Identity == nil || len(x.Identity.Raw) == 0 {
		return document.Of(emptyObject)
	}
	return document.Of(x.Identity.Raw)
}

var emptyObject = []byte("{}")

// appendScalar appends a value of a document as text.
func appendScalar(dst []byte, v document.Value) ([]byte, bool) {
	switch v.Kind() {
	case document.String:
		return v.AppendText(dst)
	case document.Number, document.Bool:
		return append(dst, v.Raw()...), true
	}
	return dst, false
}
