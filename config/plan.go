package config

import (
	"fmt"
	"path"
	"reflect"
	"strings"
)

// plan is what the tags of one struct say, worked out once for each load.
type plan struct {
	typ    reflect.Type
	fields []*field
	byName map[string]*field
	names  []string // keys in the order of the struct
	key    *field   // the field tagged ",key"
	value  *field   // the field tagged ",value"
	short  *field   // the field tagged ",short"
	pos    int      // index of the field Pos, or -1
}

// field is one key.
type field struct {
	name                   string // the key; of ",key" and ",value" fields the Go name in lower case
	goName                 string
	index                  int
	typ                    reflect.Type
	required, single, none bool
	defText                string // the tag default
	hasDef                 bool
	def                    reflect.Value // the parsed default
	enum                   []string
	words                  []string
	min, max               string
	check                  *textCheck
}

var posType = reflect.TypeFor[Pos]()

// planner builds plans. A mistake in the tags is a mistake of the program, not of its input, so it ends the program; every struct is planned by the tests.
type planner struct{ plans map[reflect.Type]*plan }

func (p *planner) plan(t reflect.Type) *plan {
	if pl := p.plans[t]; pl != nil {
		return pl
	}
	pl := &plan{typ: t, byName: map[string]*field{}, pos: -1}
	p.plans[t] = pl
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Type == posType && f.Name == "Pos" {
			pl.pos = i
			continue
		}
		tag, ok := f.Tag.Lookup("yaml")
		if !ok || tag == "-" || !f.IsExported() {
			continue
		}
		pl.add(newField(t, f, i, tag), tag)
	}
	return pl
}

func (pl *plan) add(f *field, tag string) {
	name, options, _ := strings.Cut(tag, ",")
	f.name = name
	if name == "" {
		f.name = strings.ToLower(f.goName)
	}
	for o := range strings.SplitSeq(options, ",") {
		switch o {
		case "":
		case "required":
			f.required = true
		case "single":
			f.single = true
		case "none":
			f.none = true
		case "short":
			pl.short = f
		case "key":
			pl.key = f
		case "value":
			pl.value = f
		default:
			mistake(fmt.Sprintf("config: %s.%s: unknown option %q", pl.typ, f.goName, o))
		}
	}
	if f.hasDef {
		f.parseDefault(pl.typ)
	}
	if name != "" {
		pl.fields = append(pl.fields, f)
		pl.byName[name] = f
		pl.names = append(pl.names, name)
	}
}

func newField(t reflect.Type, f reflect.StructField, index int, tag string) *field {
	out := &field{goName: f.Name, index: index, typ: f.Type, min: f.Tag.Get("min"), max: f.Tag.Get("max"),
		enum: strings.Fields(f.Tag.Get("enum")), words: strings.Fields(f.Tag.Get("words"))}
	out.defText, out.hasDef = f.Tag.Lookup("default")
	if name, ok := f.Tag.Lookup("check"); ok {
		c, ok := textChecks(name)
		if !ok {
			mistake(fmt.Sprintf("config: %s.%s: unknown check %q", t, f.Name, name))
		}
		out.check = &c
	}
	for _, bound := range []string{out.min, out.max} {
		if bound != "" && f.Type.Kind() != reflect.Slice {
			parseTag(t, out, f.Type, bound)
		}
	}
	return out
}

func (f *field) parseDefault(owner reflect.Type) {
	if f.none && f.defText == "none" {
		f.def = reflect.Zero(f.typ)
		return
	}
	if f.typ.Kind() != reflect.Slice {
		f.def = parseTag(owner, f, f.typ, f.defText)
		return
	}
	f.def = reflect.MakeSlice(f.typ, 0, 4)
	for part := range strings.SplitSeq(f.defText, ",") {
		f.def = reflect.Append(f.def, parseTag(owner, f, f.typ.Elem(), part))
	}
}

func parseTag(owner reflect.Type, f *field, t reflect.Type, text string) reflect.Value {
	v := reflect.New(t).Elem()
	if err := parseText(v, text); err != nil {
		mistake(fmt.Sprintf("config: %s.%s: tag %q: %s", owner, f.goName, text, err))
	}
	return v
}

// parseText sets a scalar of any type from its text.
func parseText(v reflect.Value, text string) error {
	if s := asScalar(v); s != nil {
		return s.ParseConfig(text)
	}
	return parseBasic(v, text)
}

// setDefault gives a field the value that it has when its key is absent.
func (p *planner) setDefault(f *field, v reflect.Value) {
	switch {
	case f.hasDef && f.typ.Kind() == reflect.Slice:
		v.Set(reflect.AppendSlice(reflect.MakeSlice(f.typ, 0, f.def.Len()), f.def)) // a copy: the plan's own must stay
	case f.hasDef:
		v.Set(f.def)
	case isPlainStruct(f.typ):
		p.setDefaults(v)
	}
}

// setDefaults fills a struct that is absent.
func (p *planner) setDefaults(v reflect.Value) {
	for _, f := range p.plan(v.Type()).fields {
		p.setDefault(f, v.Field(f.index))
	}
}

// Defaults fills the struct behind ptr with the defaults of its tags, as Load does for keys that are absent. It is for code that builds
// options without a file, such as tests. It panics if ptr is not a pointer to a struct or its tags are wrong.
func Defaults(ptr any) {
	p := &planner{plans: map[reflect.Type]*plan{}}
	p.setDefaults(reflect.ValueOf(ptr).Elem())
}

// isPlainStruct reports a struct that is decoded key by key.
func isPlainStruct(t reflect.Type) bool {
	if t.Kind() != reflect.Struct || t == prefixType || t == posType {
		return false
	}
	ptr := reflect.PointerTo(t)
	return !ptr.Implements(scalarInterface) && !ptr.Implements(nodeInterface)
}

// isNamed reports a slice that is written as a map, because its structs have a ",key" field.
func (p *planner) isNamed(t reflect.Type) bool {
	if t.Kind() != reflect.Slice {
		return false
	}
	e := t.Elem()
	if e.Kind() == reflect.Pointer {
		e = e.Elem()
	}
	return e.Kind() == reflect.Struct && e != prefixType && p.plan(e).key != nil
}

var (
	scalarInterface = reflect.TypeFor[Scalar]()
	nodeInterface   = reflect.TypeFor[nodeDecoder]()
)

// mistake ends the program because the tags of a struct are wrong.
func mistake(what string) {
	//house:allow panic the tags are part of the program and every struct is planned by the tests, so no input reaches this
	panic(what)
}

// typeName is how the docs and the schema call a type: package and name.
func typeName(t reflect.Type) string {
	return path.Base(t.PkgPath()) + "." + t.Name()
}
