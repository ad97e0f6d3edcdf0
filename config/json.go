package config

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// JSON is any value, as compact JSON text in the order of the file. It is nil where the key is absent. Numbers keep the digits of the file where JSON
// allows them.
type JSON []byte

var jsonType = reflect.TypeFor[JSON]()

// maxJSON bounds the text of one value.
const maxJSON = 4 << 20

func (j *JSON) decodeNode(d *decoder, n *yaml.Node) {
	var b bytes.Buffer
	d.json(&b, n)
	*j = b.Bytes()
}

func (*JSON) nodeSchema(*schemaBuilder) object { return object{} }

func (*JSON) nodeType() string { return "any value" }

// json appends a node as JSON. What is wrong is reported and written as null.
func (d *decoder) json(b *bytes.Buffer, n *yaml.Node) {
	n, ok := d.enter(n)
	if !ok {
		b.WriteString("null")
		return
	}
	defer d.leave()
	if b.Len() > maxJSON {
		if !d.exhausted {
			d.exhausted = true
			d.fail(posOf(n), "", "the value has more than %d MiB", maxJSON>>20)
		}
		return
	}
	switch n.Kind {
	case yaml.MappingNode:
		b.WriteByte('{')
		for i, e := range d.entries(n) {
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(jsonText(e.key))
			b.WriteByte(':')
			d.json(b, e.value)
		}
		b.WriteByte('}')
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			d.json(b, item)
		}
		b.WriteByte(']')
	default:
		d.jsonScalar(b, n)
	}
}

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

func (d *decoder) jsonScalar(b *bytes.Buffer, n *yaml.Node) {
	switch n.Tag {
	case "!!null":
		b.WriteString("null")
	case "!!bool":
		b.WriteString(n.Value)
	case "!!int", "!!float":
		b.WriteString(d.jsonNumber(n))
	case "!!str", "!!timestamp":
		if n.Style == 0 && jsonNumber.MatchString(n.Value) {
			b.WriteString(n.Value) // beyond what the YAML library takes for a number
			return
		}
		text, _, _ := d.expand(n, &field{name: "json"})
		b.Write(jsonText(text))
		if d.texts != nil {
			*d.texts = append(*d.texts, posOf(n))
		}
	default:
		d.fail(posOf(n), "", "json: YAML tags such as %s are not used here", quote(n.Tag))
		b.WriteString("null")
	}
}

// jsonNumber keeps the text of a number that JSON would write alike, and converts those that only YAML knows.
func (d *decoder) jsonNumber(n *yaml.Node) string {
	if jsonNumber.MatchString(n.Value) {
		return n.Value
	}
	var i int64
	if n.Tag == "!!int" && n.Decode(&i) == nil { // into an integer a fraction would be decoded too, without its digits
		return strconv.FormatInt(i, 10)
	}
	var f float64
	if n.Decode(&f) == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	d.fail(posOf(n), "", "json: JSON has no number %s", quote(n.Value))
	return "null"
}

// jsonText quotes a text without escaping more than JSON asks for.
func jsonText(text string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(text); err != nil {
		return []byte(`""`) // Encode of a string into memory does not fail
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
