package identity

import (
	"bytes"
	"errors"

	"github.com/sluice-gateway/sluice/document"
)

// jsonLimits bound the documents that are read here: tokens of a few KiB and key sets of up to 1 MiB. A name that occurs twice in any object is an error
// (RFC 7493, I-JSON): others may take the first of two members, or the last.
var jsonLimits = document.Limits{Depth: 64, Keys: 100_000, Duplicates: true} // read-only

var (
	errSyntax    = errors.New("it is not well-formed JSON")
	errDuplicate = errors.New("an object has a member twice")
	errDepth     = errors.New("it is nested too deeply")
	errBounds    = errors.New("it has too many members, or too long a number")
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

// parse reads a whole document.
func parse(text []byte) (document.Value, error) {
	v, err := document.Parse(text, jsonLimits)
	var e *document.Error
	if !errors.As(err, &e) {
		return v, err
	}
	switch e.Kind {
	case document.DuplicateKey:
		return v, errDuplicate
	case document.TooDeep:
		return v, errDepth
	case document.TooManyKeys, document.NumberTooLong:
		return v, errBounds
	}
	return v, errSyntax
}

// parseObject reads a whole document that is an object. Names are compared exactly.
func parseObject(text []byte) ([]member, error) {
	v, err := parse(text)
	if err != nil {
		return nil, err
	}
	if v.Kind() != document.Object {
		return nil, errNoObject
	}
	members := make([]member, 0, v.Len())
	for name, value := range v.Members {
		members = append(members, member{name: string(textOf(name)), text: textOf(value), raw: value.Raw()})
	}
	return members, nil
}

// textOf returns the value of a string, within the document where it has no escapes; nil for other values.
func textOf(v document.Value) []byte {
	if v.Kind() != document.String {
		return nil
	}
	if raw := v.Raw(); bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1 : len(raw)-1]
	}
	text, _ := v.AppendText([]byte{})
	return text
}

// parseArray reads a whole document that is an array, and returns the texts of its elements.
func parseArray(text []byte) ([][]byte, error) {
	v, err := parse(text)
	if err != nil {
		return nil, err
	}
	if v.Kind() != document.Array {
		return nil, errNoArray
	}
	elements := make([][]byte, 0, v.Len())
	for element := range v.Items {
		elements = append(elements, element.Raw())
	}
	return elements, nil
}

// parseText returns the value of a document that is a string, and whether it is one.
func parseText(whole []byte) ([]byte, bool) {
	v, err := parse(whole)
	if err != nil {
		return nil, false
	}
	text := textOf(v)
	return text, text != nil
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
