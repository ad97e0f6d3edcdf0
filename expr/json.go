package expr

import (
	"github.com/sluice-gateway/sluice/document"
	"github.com/sluice-gateway/sluice/message"
)

// outcome is how an evaluation went.
type outcome uint8

const (
	missing outcome = iota // there is no value
	found
	refused // the value is one that must not be replaced by null: parts that contradict each other, or work beyond the bounds
)

// AppendJSON appends the value of the expression as JSON text, with its type. What is part of a document is appended as it lies there: numbers
// keep their digits, objects the order and the bytes of their members. Without a value it appends nothing and ok is false.
func (p *Program) AppendJSON(dst []byte, x *message.Exchange) (out []byte, ok bool) {
	out, how := p.appendJSON(dst, x)
	return out, how == found
}

func (p *Program) appendJSON(dst []byte, x *message.Exchange) ([]byte, outcome) {
	var ok bool
	switch p.op {
	case opCEL:
		return p.cel.appendJSON(dst, x)
	case opJSON, opClaim, opClaims, opStepBody, opItem:
		v := p.document(x)
		dst, ok = append(dst, v.Raw()...), v.Exists()
	case opSize, opClientPort, opStatus, opStepStatus:
		dst, ok = p.Append(dst, x)
	case opAltNames:
		dst, ok = appendAltNames(dst, x)
	case opParameters:
		dst, ok = appendParameters(dst, x.Request.Query, p.text)
	default:
		dst, ok = p.appendQuoted(dst, x)
	}
	if !ok {
		return dst, missing
	}
	return dst, found
}

// appendQuoted appends a text as a JSON string.
func (p *Program) appendQuoted(dst []byte, x *message.Exchange) ([]byte, bool) {
	n := len(dst)
	dst, ok := p.Append(dst, x)
	if !ok {
		return dst[:n], false
	}
	return quoteFrom(dst, n), true
}

// quoteFrom makes a JSON string of dst[n:]. It is written behind it and then moved over it, so that no second buffer is needed.
func quoteFrom(dst []byte, n int) []byte {
	m := len(dst)
	dst = document.AppendString(dst, dst[n:m])
	return dst[:n+copy(dst[n:], dst[m:])]
}

// appendParameters appends the decoded values of all parameters of that name as a list.
func appendParameters(dst, query []byte, name string) ([]byte, bool) {
	n := len(dst)
	dst = append(dst, '[')
	for more := len(query) > 0; more; {
		var p Parameter
		if p, query, more = CutParameter(query); len(p.Raw) == 0 || !EqualDecoded(p.Name, name) {
			continue
		}
		if len(dst) > n+1 {
			dst = append(dst, ',')
		}
		from := len(dst)
		dst = quoteFrom(AppendDecoded(dst, p.Value), from)
	}
	if len(dst) == n+1 {
		return dst[:n], false
	}
	return append(dst, ']'), true
}
