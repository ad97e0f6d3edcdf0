package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// checker of JSON Schema for the words that Schema uses. An unknown word is an error, so that it cannot pass unseen.
type validator struct{ root map[string]any }

func (v *validator) check(s map[string]any, x any, at string) error {
	for word, arg := range s {
		if err := v.word(word, arg, s, x, at); err != nil {
			return err
		}
	}
	return nil
}

func (v *validator) word(word string, arg any, s map[string]any, x any, at string) error {
	fail := func(why string) error { return fmt.Errorf("%s: %s", at, why) }
	object, isObject := x.(map[string]any)
	list, isList := x.([]any)
	text, isText := x.(string)
	number, isNumber := x.(float64)
	switch word {
	case "$schema", "title", "description", "default", "$defs":
	case "$ref":
		name := strings.TrimPrefix(arg.(string), "#/$defs/")
		def, ok := v.root["$defs"].(map[string]any)[name].(map[string]any)
		if !ok {
			return fail("no definition " + name)
		}
		return v.check(def, x, at)
	case "type":
		ok := map[string]bool{"object": isObject, "array": isList, "string": isText, "number": isNumber,
			"integer": isNumber && number == float64(int64(number)), "boolean": reflect.TypeOf(x) == reflect.TypeFor[bool]()}[arg.(string)]
		if !ok {
			return fail(fmt.Sprintf("%v is no %s", x, arg))
		}
	case "properties":
		for name, sub := range arg.(map[string]any) {
			if value, ok := object[name]; ok {
				if err := v.check(sub.(map[string]any), value, at+"."+name); err != nil {
					return err
				}
			}
		}
	case "additionalProperties":
		known, _ := s["properties"].(map[string]any)
		for name, value := range object {
			if _, ok := known[name]; ok {
				continue
			}
			sub, ok := arg.(map[string]any)
			if !ok {
				return fail("unknown key " + name)
			}
			if err := v.check(sub, value, at+"."+name); err != nil {
				return err
			}
		}
	case "propertyNames":
		for name := range object {
			if err := v.check(arg.(map[string]any), name, at+"."+name); err != nil {
				return err
			}
		}
	case "required":
		for _, name := range arg.([]any) {
			if _, ok := object[name.(string)]; isObject && !ok {
				return fail("missing " + name.(string))
			}
		}
	case "items":
		for i, one := range list {
			if err := v.check(arg.(map[string]any), one, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	case "anyOf":
		var errs []string
		for _, sub := range arg.([]any) {
			err := v.check(sub.(map[string]any), x, at)
			if err == nil {
				return nil
			}
			errs = append(errs, err.Error())
		}
		return fail("none of: " + strings.Join(errs, " | "))
	case "enum":
		if !slices.Contains(arg.([]any), x) {
			return fail(fmt.Sprintf("%v is none of %v", x, arg))
		}
	case "const":
		if arg != x {
			return fail(fmt.Sprintf("%v is not %v", x, arg))
		}
	case "pattern":
		if isText && !regexp.MustCompile(arg.(string)).MatchString(text) {
			return fail(fmt.Sprintf("%q does not match %s", text, arg))
		}
	case "minimum":
		if isNumber && number < arg.(float64) {
			return fail(fmt.Sprintf("%v is less than %v", x, arg))
		}
	case "maximum":
		if isNumber && number > arg.(float64) {
			return fail(fmt.Sprintf("%v is more than %v", x, arg))
		}
	case "minItems", "minProperties":
		if n := float64(len(list) + len(object)); (isList || isObject) && n < arg.(float64) {
			return fail("too few")
		}
	case "maxItems", "maxProperties":
		if n := float64(len(list) + len(object)); (isList || isObject) && n > arg.(float64) {
			return fail("too many")
		}
	default:
		return fail("the schema uses the unknown word " + word)
	}
	return nil
}

// plainJSON turns what the YAML library decodes into what encoding/json would.
func plainJSON(x any) any {
	switch x := x.(type) {
	case map[string]any:
		for k := range x {
			x[k] = plainJSON(x[k])
		}
	case []any:
		for i := range x {
			x[i] = plainJSON(x[i])
		}
	case int:
		return float64(x)
	case time.Time:
		return x.Format(time.DateOnly)
	}
	return x
}

func loadSchema(t *testing.T) *validator {
	t.Helper()
	v := &validator{}
	if err := json.Unmarshal(Schema(testOptions().Kinds), &v.root); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestSchemaAgrees holds the schema against the decoder: what is accepted is valid, and of what is refused the shape is not.
func TestSchemaAgrees(t *testing.T) {
	v := loadSchema(t)
	read := func(name string) any {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var x any
		if err := yaml.Unmarshal(data, &x); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return plainJSON(x)
	}
	for _, name := range inputs(t, "testdata/good/*.yaml") {
		if err := v.check(v.root, read(name), filepath.Base(name)); err != nil {
			t.Errorf("accepted by Load, refused by the schema: %v", err)
		}
	}
	for _, name := range []string{"unknown", "types", "types2", "ranges", "enums", "missing", "missing2", "missing3", "scalars", "policies", "list", "text"} {
		if v.check(v.root, read("testdata/bad/"+name+".yaml"), name) == nil {
			t.Errorf("%s: refused by Load, accepted by the schema", name)
		}
	}
	for _, tc := range []struct {
		text  string
		valid bool
	}{
		{`{version: 1, listeners: {a: {address: ":1", protocol: http}}}`, true},
		{`{version: 2, listeners: {a: {address: ":1", protocol: http}}}`, true}, // which versions there are is for the program to say
		{`{version: 1, listeners: {"a b": {address: ":1", protocol: http}}}`, false},
		{`{version: 1, listeners: {a: {address: ":1", protocol: htp}}}`, false},
		{`{version: 1, listeners: {a: {address: "${env:X}", protocol: "${env:X}", timeouts: {idle: "${file:x}"}}}}`, true},
		{`{version: 1, listeners: {a: {address: ":1", protocol: http, timeouts: {idle: none}}}}`, false},
		{`{version: 1, listeners: {a: {address: ":1", protocol: http, limits: {body: none, requests: none}}}}`, true},
		{`{version: 1, listeners: {a: {address: ":1", protocol: http, limits: {connections: none}}}}`, false},
		{`{version: 1, listeners: {a: {address: ":1", protocol: http, limits: {connections: 0}}}}`, false},
		{`{version: 1, listeners: {a: {address: ":1", protocol: http}}, routes: [{policies: [a, {request: {}}, {test: 5}], backend: a}]}`, true},
		{`{version: 1, listeners: {a: {address: ":1", protocol: http}}, routes: [{policies: [{request: {}, response: {}}], backend: a}]}`, false},
		{`{version: 1, listeners: {a: {address: ":1", protocol: http}}, routes: [{policies: [{reqest: {}}], backend: a}]}`, false},
	} {
		var x any
		if err := yaml.Unmarshal([]byte(tc.text), &x); err != nil {
			t.Fatal(err)
		}
		if err := v.check(v.root, plainJSON(x), "file"); (err == nil) != tc.valid {
			t.Errorf("%s: valid = %v, want %v (%v)", tc.text, err == nil, tc.valid, err)
		}
	}
}

// TestEveryKeyIsDescribed checks that the schema and the manual name every key of every struct, with a meaning.
func TestEveryKeyIsDescribed(t *testing.T) {
	manual := string(Markdown(Kinds{}))
	v := loadSchema(t)
	p := &planner{plans: map[reflect.Type]*plan{}}
	seen := 0
	var walk func(typ reflect.Type, schema map[string]any)
	walk = func(typ reflect.Type, schema map[string]any) {
		if both, ok := schema["anyOf"].([]any); ok {
			schema = both[1].(map[string]any)
		}
		properties, _ := schema["properties"].(map[string]any)
		for _, f := range p.plan(typ).fields {
			seen++
			sub, ok := properties[f.name].(map[string]any)
			if !ok {
				t.Errorf("%s: the schema lacks %s", typ, f.name)
				continue
			}
			doc, _ := sub["description"].(string)
			if len(doc) < 10 {
				t.Errorf("%s.%s has no doc comment", typ, f.goName)
			}
			if !strings.Contains(manual, "| `"+f.name+"` |") || !strings.Contains(manual, cell(doc)) {
				t.Errorf("%s: the manual lacks %s", typ, f.name)
			}
			if strings.HasPrefix(doc, f.goName+" is ") || strings.HasPrefix(doc, f.goName+" bounds ") {
				t.Errorf("%s.%s: the text begins with the Go name: %s", typ, f.goName, doc)
			}
			inner := f.typ
			for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
				inner = inner.Elem()
			}
			if isPlainStruct(inner) && p.plan(inner).value == nil {
				walk(inner, v.root["$defs"].(map[string]any)[typeName(inner)].(map[string]any))
			}
		}
	}
	walk(reflect.TypeFor[Config](), v.root)
	if seen < 80 {
		t.Errorf("only %d keys were looked at", seen)
	}
}

func TestManualShowsPolicies(t *testing.T) {
	manual := string(Markdown(testOptions().Kinds))
	for _, want := range []string{"### `request`", "### `request.headers`", "### `response`\n\nA map, as `request`.", "| `rate` | number | `3` |", "One value in place of the map is `rate`."} {
		if !strings.Contains(manual, want) {
			t.Errorf("the manual lacks %q", want)
		}
	}
	for i, line := range strings.Split(manual, "\n") {
		if strings.HasPrefix(line, "|") && strings.Count(strings.ReplaceAll(line, `\|`, ""), "|") != 5 {
			t.Errorf("line %d is not a row of four cells: %s", i+1, line)
		}
	}
}
