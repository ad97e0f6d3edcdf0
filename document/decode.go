package document

import (
	"bytes"
	"encoding/json"
)

// AppendCompact appends the text of v without white space between its parts, and with nothing else changed.
func AppendCompact(dst []byte, v Value) []byte {
	text := v.text
	from := 0
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '"':
			i, _ = skipString(text, i)
		case isSpace(c):
			dst = append(dst, text[from:i]...)
			i = skipSpace(text, i)
			from = i
		default:
			i++
		}
	}
	return append(dst, text[from:]...)
}

// Decode returns the value as Go has it, for libraries that need it so: map[string]any, []any, string, json.Number, bool, or nil. Of members of
// one name the last one counts. An absent value is nil, and so is what lies deeper than MaxDepth.
func (v Value) Decode() any { return v.decode(MaxDepth) }

func (v Value) decode(depth int) any {
	switch v.Kind() {
	case Bool:
		return v.text[0] == 't'
	case Number:
		return json.Number(v.text)
	case String:
		return v.textOf()
	case Array:
		items := []any{}
		if depth > 0 {
			for item := range v.Items {
				items = append(items, item.decode(depth-1))
			}
			return items
		}
	case Object:
		if depth > 0 {
			members := map[string]any{}
			for name, value := range v.Members {
				members[name.textOf()] = value.decode(depth - 1)
			}
			return members
		}
	}
	return nil
}

// textOf returns the decoded text of a string.
func (v Value) textOf() string {
	raw := inner(v.text)
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw)
	}
	return string(appendDecoded(make([]byte, 0, len(raw)), raw))
}
