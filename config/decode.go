package config

import (
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of what one file may make of the memory it was given.
const (
	maxDepth    = 64      // values within values
	maxExpanded = 100_000 // values reached through aliases
)

// nodeDecoder is a value with a form of its own. It is implemented by pointers of this package.
type nodeDecoder interface {
	// decodeNode sets the value from a node that is no alias, and reports what is wrong.
	decodeNode(d *decoder, n *yaml.Node)
	// nodeSchema is the value's JSON Schema.
	nodeSchema(b *schemaBuilder) object
	// nodeType is the value's type in tables of the manual.
	nodeType() string
}

// decoder fills structs from YAML nodes. One decoder serves one Load.
type decoder struct {
	*Reporter
	planner
	options   Options
	dir       string // directory of the configuration file
	depth     int
	inAlias   int // levels below the outermost alias around the current node
	outermost Pos // place of that alias
	expanded  int
	// references counts `${env:…}` and `${file:…}`
	references int
	exhausted  bool   // too much came out of aliases; reported once, and nothing more is decoded
	texts      *[]Pos // places of the texts of the value that is decoded, if they are wanted
}

func newDecoder(r *Reporter, o Options, dir string) *decoder {
	return &decoder{Reporter: r, planner: planner{plans: map[reflect.Type]*plan{}}, options: o, dir: dir}
}

func posOf(n *yaml.Node) Pos { return Pos{n.Line, n.Column} }

// document decodes the root of the file.
func (d *decoder) document(n *yaml.Node, cfg *Config) {
	d.value(n, reflect.ValueOf(cfg).Elem(), &field{name: "the file"}, posOf(n))
}

// enter follows an alias and counts what it brings. It reports false if the node must not be decoded.
func (d *decoder) enter(n *yaml.Node) (*yaml.Node, bool) {
	if d.exhausted {
		return nil, false
	}
	if d.depth >= maxDepth {
		d.fail(posOf(n), "", "the values are nested more than %d deep", maxDepth)
		return nil, false
	}
	d.depth++
	if n.Kind == yaml.AliasNode {
		if d.inAlias++; d.inAlias == 1 {
			d.outermost = posOf(n)
		}
		n = n.Alias
	} else if d.inAlias > 0 {
		d.inAlias++
	}
	if d.inAlias > 0 && !d.spend() {
		d.leave()
		return nil, false
	}
	return n, true
}

func (d *decoder) leave() {
	d.depth--
	d.inAlias = max(0, d.inAlias-1)
}

// spend counts one value that was reached through an alias.
func (d *decoder) spend() bool {
	if d.expanded++; d.expanded > maxExpanded && !d.exhausted {
		d.exhausted = true
		d.fail(d.outermost, "write the values out", "the aliases of the file expand to more than %d values", maxExpanded)
	}
	return !d.exhausted
}

// value decodes a node into an addressable value. at is the place that stands for the value in messages: its key, or its own.
func (d *decoder) value(n *yaml.Node, v reflect.Value, f *field, at Pos) {
	n, ok := d.enter(n)
	if !ok {
		return
	}
	defer d.leave()
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" && v.Type() != jsonType {
		suggestion := ""
		if d.mayBeEmpty(v.Type()) {
			suggestion = "write {} for the defaults"
		}
		d.fail(posOf(n), suggestion, "%s: the value is missing", f.name)
		return
	}
	if n.Kind == yaml.MappingNode && n.Tag != "!!map" || n.Kind == yaml.SequenceNode && n.Tag != "!!seq" {
		d.fail(posOf(n), "", "%s: YAML tags such as %s are not used here", f.name, quote(n.Tag))
		return
	}
	if c, ok := v.Addr().Interface().(nodeDecoder); ok {
		c.decodeNode(d, n)
		return
	}
	if s := asScalar(v); s != nil || v.Type() == filePathType {
		d.scalar(n, v, f)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		target := reflect.New(v.Type().Elem())
		d.depth-- // the pointer is no level of the file
		d.value(n, target.Elem(), f, at)
		d.depth++
		v.Set(target)
	case reflect.Struct:
		d.structure(n, v, f, at)
	case reflect.Slice:
		if d.isNamed(v.Type()) {
			d.named(n, v, f)
		} else {
			d.list(n, v, f)
		}
	default:
		d.scalar(n, v, f)
	}
}

// mayBeEmpty reports a struct without required keys.
func (d *decoder) mayBeEmpty(t reflect.Type) bool {
	if !isPlainStruct(t) {
		return false
	}
	for _, f := range d.plan(t).fields {
		if f.required {
			return false
		}
	}
	return true
}

// structure decodes a map into a struct, or another value into its short field.
func (d *decoder) structure(n *yaml.Node, v reflect.Value, f *field, at Pos) {
	pl := d.plan(v.Type())
	d.setDefaults(v)
	d.places.mark(v.Addr().Interface(), at)
	if pl.pos >= 0 {
		v.Field(pl.pos).Set(reflect.ValueOf(at))
	}
	switch {
	case n.Kind == yaml.MappingNode:
		d.keys(n, v, pl, f, at)
	case pl.short != nil:
		short := v.Field(pl.short.index)
		d.places.mark(short.Addr().Interface(), posOf(n))
		d.value(n, short, pl.short, posOf(n))
	default:
		d.fail(posOf(n), known(pl.names), "%s: expected a map of keys, found %s", f.name, describe(n))
		return
	}
	d.check(v)
}

// checker is what a struct may have to check more than its tags can say. Check is called after the struct was decoded, inner structs first, also if some
// fields could not be decoded; those have their default.
type checker interface{ Check(*Reporter) }

func (d *decoder) check(v reflect.Value) {
	if c, ok := v.Addr().Interface().(checker); ok && !d.exhausted {
		c.Check(d.Reporter)
	}
}

func (d *decoder) keys(n *yaml.Node, v reflect.Value, pl *plan, f *field, at Pos) {
	found := make([]bool, v.NumField())
	for _, e := range d.entries(n) {
		k := pl.byName[e.key]
		if k == nil {
			if e.key != "" || len(pl.names) > 0 {
				d.AddSuggest(e.pos, DidYouMean(e.key, pl.names), "unknown key %s%s", quote(e.key), inside(f))
			}
			continue
		}
		found[k.index] = true
		fv := v.Field(k.index)
		d.places.mark(fv.Addr().Interface(), posOf(e.value))
		if isPlainStruct(k.typ) || k.typ.Kind() == reflect.Pointer {
			d.value(e.value, fv, k, e.pos)
		} else {
			d.value(e.value, fv, k, posOf(e.value))
		}
	}
	for _, k := range pl.fields {
		if k.required && !found[k.index] && !d.exhausted {
			d.Add(at, "the key %q is missing%s", k.name, inside(f))
		}
	}
}

// inside names the struct that a message is about.
func inside(f *field) string {
	if f.name == "the file" || f.name == "" {
		return ""
	}
	return " in " + f.name
}

// named decodes a map of named structs into a slice, in the order of the file.
func (d *decoder) named(n *yaml.Node, v reflect.Value, f *field) {
	if n.Kind != yaml.MappingNode {
		d.fail(posOf(n), "write NAME: {…}", "%s: expected a map of names, found %s", f.name, describe(n))
		return
	}
	entries := d.entries(n)
	if !d.count(n, f, len(entries)) {
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(entries), len(entries)))
	for i, e := range entries {
		one := v.Index(i)
		if one.Kind() == reflect.Pointer {
			one.Set(reflect.New(one.Type().Elem()))
			one = one.Elem()
		}
		d.entry(e, one, f)
	}
}

// entry decodes one struct of a map of named structs.
func (d *decoder) entry(e entry, v reflect.Value, f *field) {
	pl := d.plan(v.Type())
	d.setDefaults(v)
	d.places.mark(v.Addr().Interface(), e.pos)
	v.Field(pl.key.index).SetString(e.key)
	if pl.pos >= 0 {
		v.Field(pl.pos).Set(reflect.ValueOf(e.pos))
	}
	if c := pl.key.check; c != nil {
		if _, err := c.run(e.key); err != nil {
			d.badText(e.pos, f.name, c.noun, written{text: e.key}, err)
		}
	}
	if pl.value != nil {
		value := v.Field(pl.value.index)
		d.places.mark(value.Addr().Interface(), posOf(e.value))
		named := *pl.value
		named.name = e.key
		d.value(e.value, value, &named, posOf(e.value))
		d.check(v)
		return
	}
	d.value(e.value, v, &field{name: quoteName(e.key)}, e.pos)
	v.Field(pl.key.index).SetString(e.key) // the defaults of structure do not reach it, but a decoder of its own may
}

func quoteName(name string) string {
	if nameText.MatchString(name) {
		return name
	}
	return quote(name)
}

// list decodes a list, or one value where that may stand for a list.
func (d *decoder) list(n *yaml.Node, v reflect.Value, f *field) {
	nodes := n.Content
	if n.Kind != yaml.SequenceNode {
		if !f.single {
			d.fail(posOf(n), "write [A, B], or each on a line of its own behind a dash", "%s: expected a list, found %s", f.name, describe(n))
			return
		}
		nodes = []*yaml.Node{n}
	}
	if !d.count(n, f, len(nodes)) {
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(nodes), len(nodes)))
	one := *f
	one.min, one.max = "", ""
	for i, item := range nodes {
		iv := v.Index(i)
		if iv.Kind() == reflect.Pointer {
			iv.Set(reflect.New(iv.Type().Elem()))
			iv = iv.Elem()
		}
		if !isPlainStruct(iv.Type()) {
			d.places.mark(iv.Addr().Interface(), posOf(item))
		}
		d.value(item, iv, &one, posOf(item))
	}
}

// count checks the number of entries of a list or map.
func (d *decoder) count(n *yaml.Node, f *field, have int) bool {
	if low, err := strconv.Atoi(f.min); err == nil && have < low {
		d.fail(posOf(n), "", "%s: at least %d must be there", f.name, low)
		return false
	}
	if high, err := strconv.Atoi(f.max); err == nil && have > high {
		d.fail(posOf(n), "", "%s: at most %d may be there, found %d", f.name, high, have)
		return false
	}
	return true
}

// describe names a node for messages.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	switch n.Tag {
	case "!!null":
		return "nothing"
	case "!!bool":
		return n.Value
	case "!!int", "!!float":
		return "the number " + quote(n.Value)
	}
	return quote(n.Value)
}

func known(names []string) string {
	if len(names) == 0 || len(names) > 24 {
		return ""
	}
	return "known keys: " + strings.Join(names, ", ")
}

func contains(list []string, word string) bool {
	for _, w := range list {
		if w == word {
			return true
		}
	}
	return false
}
