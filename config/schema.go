package config

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// object is a JSON object; encoding/json writes its members sorted.
type object map[string]any

// schemaBuilder collects the definitions of a schema.
type schemaBuilder struct {
	planner
	kinds Kinds
	defs  object
}

// outsidePattern is the alternative that every single value has: a reference to the outside.
const outsidePattern = `\$\{(env|file):[^}]+\}`

// Schema returns the JSON Schema (2020-12) of a configuration file with these policies, indented, with a final line break.
func Schema(kinds Kinds) []byte {
	b := &schemaBuilder{planner: planner{plans: map[reflect.Type]*plan{}}, kinds: kinds, defs: object{}}
	root := b.structBody(reflect.TypeFor[Config]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Sluice configuration"
	root["$defs"] = b.defs
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		mistake("config: schema: " + err.Error()) // a default that is no JSON value
	}
	return append(text, '\n')
}

// value returns the schema of a field, without description and default.
func (b *schemaBuilder) value(t reflect.Type, f *field) object {
	if t.Kind() == reflect.Pointer {
		return b.value(t.Elem(), f)
	}
	v := reflect.New(t)
	if c, ok := v.Interface().(nodeDecoder); ok {
		return c.nodeSchema(b)
	}
	switch {
	case t == filePathType:
		return object{"type": "string"}
	case asScalar(v.Elem()) != nil:
		return b.scalar(asScalar(v.Elem()).ConfigFormat(), f)
	case t.Kind() == reflect.Struct:
		return b.structRef(t)
	case b.isNamed(t):
		return b.named(t, f)
	case t.Kind() == reflect.Slice:
		return b.list(t, f)
	}
	return b.basic(t, f)
}

func (b *schemaBuilder) scalar(format Format, f *field) object {
	text := object{"type": "string"}
	if format.Pattern != "" {
		pattern := format.Pattern + "|" + outsidePattern
		if f != nil && f.none {
			pattern += "|^none$"
		}
		text["pattern"] = pattern
	}
	if !format.Integer {
		return text
	}
	return object{"anyOf": []any{object{"type": "integer", "minimum": 0}, text}}
}

func (b *schemaBuilder) basic(t reflect.Type, f *field) object {
	switch t.Kind() {
	case reflect.String:
		return b.text(f)
	case reflect.Bool:
		return object{"anyOf": []any{object{"type": "boolean"}, outside()}}
	}
	number := object{"type": "integer"}
	if t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64 {
		number["type"] = "number"
	}
	options := []any{number, outside()}
	if f != nil {
		if len(f.enum) > 0 {
			delete(number, "type")
			number["enum"] = numbers(f.enum)
		}
		for name, bound := range map[string]string{"minimum": f.min, "maximum": f.max} {
			if n, err := strconv.ParseInt(bound, 10, 64); err == nil {
				number[name] = n
			}
		}
		if f.none {
			options = append(options, object{"const": "none"})
		}
	}
	return object{"anyOf": options}
}

func outside() object { return object{"type": "string", "pattern": outsidePattern} }

func numbers(words []string) []any {
	out := make([]any, len(words))
	for i, w := range words {
		out[i] = json.Number(w)
	}
	return out
}

func (b *schemaBuilder) text(f *field) object {
	if f == nil {
		return object{"type": "string"}
	}
	if len(f.enum) > 0 {
		words := make([]any, 0, 2*len(f.enum))
		for _, w := range f.enum {
			words = append(words, w)
			if json.Valid([]byte(w)) {
				words = append(words, json.Number(w)) // `min_version: 1.2` may leave out the quotes
			}
		}
		return object{"anyOf": []any{object{"enum": words}, outside()}}
	}
	if f.check != nil && f.check.pattern != "" {
		return object{"type": "string", "pattern": f.check.pattern + "|" + outsidePattern}
	}
	return object{"type": "string"}
}

func (b *schemaBuilder) list(t reflect.Type, f *field) object {
	one := *f
	one.min, one.max, one.none = "", "", false
	item := b.value(t.Elem(), &one)
	list := object{"type": "array", "items": item}
	bounds(list, f, "minItems", "maxItems")
	if !f.single {
		return list
	}
	return object{"anyOf": []any{list, item}}
}

func bounds(into object, f *field, low, high string) {
	if n, err := strconv.Atoi(f.min); err == nil {
		into[low] = n
	}
	if n, err := strconv.Atoi(f.max); err == nil {
		into[high] = n
	}
}

func (b *schemaBuilder) named(t reflect.Type, f *field) object {
	e := t.Elem()
	if e.Kind() == reflect.Pointer {
		e = e.Elem()
	}
	pl := b.plan(e)
	var value object
	if pl.value != nil {
		value = b.value(pl.value.typ, pl.value)
	} else {
		value = b.value(e, nil)
	}
	out := object{"type": "object", "additionalProperties": value}
	if c := pl.key.check; c != nil && c.pattern != "" {
		out["propertyNames"] = object{"pattern": c.pattern}
	}
	bounds(out, f, "minProperties", "maxProperties")
	return out
}

// structRef returns a reference to the definition of a struct, with its short form.
func (b *schemaBuilder) structRef(t reflect.Type) object {
	name := typeName(t)
	if _, ok := b.defs[name]; !ok {
		b.defs[name] = object{} // breaks cycles
		b.defs[name] = b.structDef(t)
	}
	return object{"$ref": "#/$defs/" + name}
}

func (b *schemaBuilder) structDef(t reflect.Type) object {
	body := b.structBody(t)
	pl := b.plan(t)
	if pl.short == nil {
		return body
	}
	out := object{"anyOf": []any{b.value(pl.short.typ, pl.short), body}}
	if doc, ok := body["description"]; ok {
		out["description"] = doc
	}
	return out
}

func (b *schemaBuilder) structBody(t reflect.Type) object {
	properties := object{}
	var required []string
	for _, f := range b.plan(t).fields {
		p := b.value(f.typ, f)
		if doc := docOf(t, f); doc != "" {
			p = withNote(p, "description", doc)
		}
		if f.hasDef {
			p = withNote(p, "default", defaultValue(f))
		}
		properties[f.name] = p
		if f.required {
			required = append(required, f.name)
		}
	}
	out := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	if doc := docs[typeName(t)]; doc != "" {
		out["description"] = doc
	}
	return out
}

func withNote(o object, key string, value any) object {
	out := make(object, len(o)+1)
	for k, v := range o {
		out[k] = v
	}
	out[key] = value
	return out
}

// docOf is the doc comment of a field.
func docOf(t reflect.Type, f *field) string { return docs[typeName(t)+"."+f.goName] }

// defaultValue is a default as JSON.
func defaultValue(f *field) any {
	kind := f.typ.Kind()
	if kind == reflect.Slice {
		var out []any
		for part := range strings.SplitSeq(f.defText, ",") {
			out = append(out, part)
		}
		return out
	}
	plain := asScalar(reflect.New(f.typ).Elem()) == nil
	if plain && kind != reflect.String && f.defText != "none" {
		return json.RawMessage(f.defText)
	}
	return f.defText
}

// policy returns the definition of a policy: a map with exactly one of the kinds.
func (b *schemaBuilder) policy() object {
	const name = "policy"
	if _, ok := b.defs[name]; !ok {
		b.defs[name] = object{}
		properties := object{}
		for _, word := range b.kinds.words() {
			t := reflect.TypeOf(b.kinds[word]()).Elem()
			properties[word] = b.value(t, &field{name: word})
		}
		b.defs[name] = object{"type": "object", "properties": properties, "additionalProperties": false, "minProperties": 1, "maxProperties": 1}
	}
	return object{"$ref": "#/$defs/" + name}
}
