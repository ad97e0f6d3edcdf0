package message

// Method is a request method. Known methods are compared as numbers; others keep their text.
type Method struct {
	Known MethodID
	text  []byte // of an unknown method; belongs to the exchange
}

// MethodID is the number of a known method, 0 for others.
type MethodID uint8

// The known methods.
const (
	MethodOther MethodID = iota
	GET
	HEAD
	POST
	PUT
	DELETE
	PATCH
	OPTIONS
	TRACE
	CONNECT
)

// methodTable is read-only.
var methodTable = [...]string{"", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"}

// String returns the method's text, "" for MethodOther.
func (m MethodID) String() string { return methodTable[m] }

// MethodOf returns the method of text, which is case sensitive (RFC 9110 section 9.1). The
// result borrows text only if the method is not a known one.
func MethodOf(text []byte) Method {
	if len(text) >= 3 {
		for id := GET; id <= CONNECT; id++ {
			if string(text) == methodTable[id] {
				return Method{Known: id}
			}
		}
	}
	return Method{text: text}
}

// Text returns the method as it is written.
func (m Method) Text() string {
	if m.Known != MethodOther {
		return methodTable[m.Known]
	}
	return string(m.text)
}

// AppendTo appends the method's text to b.
func (m Method) AppendTo(b []byte) []byte {
	if m.Known != MethodOther {
		return append(b, methodTable[m.Known]...)
	}
	return append(b, m.text...)
}

// Is reports whether m is the method of text.
func (m Method) Is(text string) bool {
	if m.Known != MethodOther {
		return methodTable[m.Known] == text
	}
	return string(m.text) == text
}

// Safe reports whether m is defined to change nothing (RFC 9110 section 9.2.1).
func (m Method) Safe() bool {
	return m.Known == GET || m.Known == HEAD || m.Known == OPTIONS || m.Known == TRACE
}

// Idempotent reports whether sending m twice is defined to be the same as once (RFC 9110 section 9.2.2).
func (m Method) Idempotent() bool { return m.Safe() || m.Known == PUT || m.Known == DELETE }
