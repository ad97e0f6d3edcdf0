package config

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
)

// manual writes the tables of the manual, each struct once, outer ones first.
type manual struct {
	planner
	out   bytes.Buffer
	queue []section
	done  map[reflect.Type]string // title by struct
}

// section is one table to write.
type section struct {
	title string
	typ   reflect.Type
	keys  []manualKey // of a value with a form of its own; else those of the struct
}

// manualKey is a row of the table of a value with a form of its own.
type manualKey struct{ name, typ, def, meaning string }

// described is a nodeDecoder that is a map, with keys of its own and others that are names of structs.
type described interface {
	manualKeys() []manualKey
	// manualOthers returns what the other keys stand for, in one word, and the struct of their values.
	manualOthers() (word string, t reflect.Type)
}

const manualHead = `# Configuration

This page is generated from the structs of the configuration and their comments. Do not edit it: change those.

A configuration is one YAML file. An unknown key is an error, and every error names file, line and column, shows the line and suggests what would be
right. ` + "`sluice check FILE`" + ` prints all of them; ` + "`sluice schema`" + ` prints a JSON Schema for editors.

- **Durations** are written ` + "`250ms`, `5s`, `1h`, `1h30m`" + `; **sizes** ` + "`64KiB`, `1MiB`" + ` or as a number of bytes; **shares** ` + "`20%`" + `. ` + "`none`" + ` means no limit where a key allows it.
- ` + "`${env:NAME}` and `${file:PATH}`" + ` are replaced when the file is loaded and never printed; a value that itself holds ` + "`${`" + ` is refused. Paths are relative to the directory of the file.
- Anchors, aliases and ` + "`<<`" + ` may be used, within bounds. A file has one YAML document of at most 16 MiB.
- A thing used once may be written in place: a policy in a route's list, an endpoint as ` + "`host:port`" + `, ` + "`balance: random`" + `.

`

// Markdown returns the page docs/configuration.md for a program with these policies.
func Markdown(kinds Kinds) []byte {
	m := &manual{planner: planner{plans: map[reflect.Type]*plan{}}, done: map[reflect.Type]string{}}
	m.out.WriteString(manualHead)
	m.add("The file", reflect.TypeFor[Config]())
	m.flush()
	if words := kinds.words(); len(words) > 0 {
		m.out.WriteString("## Policies\n\nA policy is a map with its kind as the only key, under `policies` with a name, or in a route's list.\n\n")
		for _, word := range words {
			if same := m.add("`"+word+"`", reflect.TypeOf(kinds[word]()).Elem()); same != "" {
				fmt.Fprintf(&m.out, "### `%s`\n\nA map%s.\n\n", word, same)
			}
			m.flush()
		}
	}
	return append(bytes.TrimRight(m.out.Bytes(), "\n"), '\n')
}

func (m *manual) flush() {
	for len(m.queue) > 0 {
		s := m.queue[0]
		m.queue = m.queue[1:]
		m.table(s)
	}
}

func (m *manual) table(s section) {
	level := "##"
	if strings.HasPrefix(s.title, "`") {
		level = "###"
	}
	fmt.Fprintf(&m.out, "%s %s\n\n", level, s.title)
	if doc := docs[typeName(s.typ)]; doc != "" {
		fmt.Fprintf(&m.out, "%s\n\n", doc)
	}
	if s.keys != nil {
		m.out.WriteString(manualColumns)
		for _, k := range s.keys {
			fmt.Fprintf(&m.out, "| %s | %s | %s | %s |\n", k.name, cell(k.typ), cell(k.def), cell(k.meaning))
		}
		m.out.WriteString("\n")
		return
	}
	pl := m.plan(s.typ)
	if len(pl.fields) == 0 {
		m.out.WriteString("It has no keys.\n\n")
		return
	}
	m.out.WriteString(manualColumns)
	for _, f := range pl.fields {
		fmt.Fprintf(&m.out, "| `%s` | %s | %s | %s |\n", f.name, cell(m.typeOf(f)+m.follow(f, s.title)), cell(defaultText(f)), cell(docOf(s.typ, f)+limits(f)))
	}
	m.out.WriteString("\n")
	if pl.short != nil {
		fmt.Fprintf(&m.out, "One value in place of the map is `%s`.\n\n", pl.short.name)
	}
}

const manualColumns = "| key | type | default | meaning |\n|---|---|---|---|\n"

// follow queues the table of a field's struct. If the struct has its table elsewhere, it returns words that say where.
func (m *manual) follow(f *field, outer string) string {
	t := f.typ
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	own, _ := reflect.New(t).Interface().(described)
	if own == nil && (!isPlainStruct(t) || m.plan(t).value != nil) {
		return ""
	}
	title := strings.Trim(outer, "`") + "." + f.name
	if outer == "The file" {
		title = f.name
	}
	if m.isNamed(f.typ) {
		title += ".NAME"
	} else if f.typ.Kind() == reflect.Slice {
		title += "[]"
	}
	if own != nil {
		m.queue = append(m.queue, section{"`" + title + "`", t, own.manualKeys()})
		word, others := own.manualOthers()
		return m.add("`"+title+"."+word+"`", others)
	}
	return m.add("`"+title+"`", t)
}

// add queues a table, unless the struct has one.
func (m *manual) add(title string, t reflect.Type) string {
	if first := m.done[t]; first != "" && first != title {
		return ", as " + first
	}
	m.done[t] = title
	m.queue = append(m.queue, section{title: title, typ: t})
	return ""
}

// typeOf names the type of a field.
func (m *manual) typeOf(f *field) string {
	if len(f.enum) > 0 {
		return "`" + strings.Join(f.enum, "`, `") + "`"
	}
	return m.nameOf(f.typ, f)
}

func (m *manual) nameOf(t reflect.Type, f *field) string {
	if t.Kind() == reflect.Pointer {
		return m.nameOf(t.Elem(), f)
	}
	v := reflect.New(t)
	if c, ok := v.Interface().(nodeDecoder); ok {
		return c.nodeType()
	}
	switch s := asScalar(v.Elem()); {
	case s != nil:
		return s.ConfigFormat().Name
	case t == filePathType:
		return "file"
	case m.isNamed(t):
		e := t.Elem()
		if e.Kind() == reflect.Pointer {
			e = e.Elem()
		}
		if pl := m.plan(e); pl.value != nil {
			return "map of name to " + m.nameOf(pl.value.typ, pl.value)
		}
		return "map of name to map"
	case t.Kind() == reflect.Slice:
		name := "list of " + m.nameOf(t.Elem(), f)
		if f.single {
			return m.nameOf(t.Elem(), f) + " or " + name
		}
		return name
	case t.Kind() == reflect.Struct:
		if pl := m.plan(t); pl.short != nil {
			return "map or " + m.nameOf(pl.short.typ, pl.short)
		}
		return "map"
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "`true`, `false`"
	}
	return "number"
}

func defaultText(f *field) string {
	switch {
	case f.required:
		return "required"
	case f.hasDef && f.typ.Kind() == reflect.Slice:
		return "`[" + strings.ReplaceAll(f.defText, ",", ", ") + "]`"
	case f.hasDef:
		return "`" + f.defText + "`"
	}
	return ""
}

// limits says the range of a field, and that none is allowed.
func limits(f *field) string {
	var b strings.Builder
	unit := ""
	if f.typ.Kind() == reflect.Slice {
		unit = " entries"
	}
	switch {
	case f.min != "" && f.max != "":
		fmt.Fprintf(&b, " From %s to %s%s.", f.min, f.max, unit)
	case f.min != "" && strings.Trim(f.min, "0s%") != "":
		fmt.Fprintf(&b, " At least %s%s.", f.min, unit)
	case f.max != "":
		fmt.Fprintf(&b, " At most %s%s.", f.max, unit)
	}
	if f.none {
		b.WriteString(" `none` for no limit.")
	}
	return b.String()
}

// cell makes a text fit for a table.
func cell(text string) string {
	return strings.TrimSpace(strings.ReplaceAll(strings.ReplaceAll(text, "|", `\|`), "\n", " "))
}
