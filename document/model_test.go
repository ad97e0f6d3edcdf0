package document

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// model is a document as encoding/json reads it, in order. It is what edits and merges are compared with: slow, and plainly right.
type model struct {
	kind    Kind
	raw     []byte // the text, as long as nothing within has changed
	names   []string
	values  []*model // of members or elements
	touched bool     // something within has changed
}

func newModel(t testing.TB, text []byte) *model {
	t.Helper()
	m := &model{kind: kindTable[text[0]], raw: text}
	if m.kind != Object && m.kind != Array {
		return m
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if _, err := d.Token(); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	for d.More() {
		if m.kind == Object {
			name, err := d.Token()
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			m.names = append(m.names, name.(string))
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		m.values = append(m.values, newModel(t, raw))
	}
	return m
}

// same tells how got differs from what m says; nothing if it does not.
func (m *model) same(got *model, at string) string {
	if m.kind != got.kind {
		return fmt.Sprintf("%s: %v is %v", at, m.kind, got.kind)
	}
	if !m.touched {
		if !bytes.Equal(m.raw, got.raw) {
			return fmt.Sprintf("%s: %s has become %s", at, m.raw, got.raw)
		}
		return ""
	}
	if !slices.Equal(m.names, got.names) || len(m.values) != len(got.values) {
		return fmt.Sprintf("%s: %q (%d) should be %q (%d)", at, got.names, len(got.values), m.names, len(m.values))
	}
	for i, v := range m.values {
		if diff := v.same(got.values[i], fmt.Sprintf("%s.%d", at, i)); diff != "" {
			return diff
		}
	}
	return ""
}

// find returns the place of a step's value, -1 if there is none.
func (m *model) find(s step) int {
	switch m.kind {
	case Object:
		for i := len(m.names) - 1; i >= 0; i-- {
			if m.names[i] == s.name {
				return i
			}
		}
	case Array:
		if s.index < len(m.values) {
			return s.index
		}
	}
	return -1
}

// single leaves one member of each name on the path, the last.
func (m *model) single(p Path) {
	if len(p.steps) == 0 {
		return
	}
	last := m.find(p.steps[0])
	if last < 0 {
		return
	}
	m.touched = true
	if m.kind == Object {
		for i := last - 1; i >= 0; i-- {
			if m.names[i] == p.steps[0].name {
				m.take(i)
				last--
			}
		}
	}
	m.values[last].single(Path{p.steps[1:]})
}

func (m *model) take(i int) *model {
	v := m.values[i]
	m.values = slices.Delete(m.values, i, i+1)
	if m.kind == Object {
		m.names = slices.Delete(m.names, i, i+1)
	}
	m.touched = true
	return v
}

// at returns the object or array and the place in it that a path leads to.
func (m *model) at(p Path) (*model, int) {
	i := m.find(p.steps[0])
	if i < 0 {
		return nil, -1
	}
	m.touched = true
	if len(p.steps) == 1 {
		return m, i
	}
	return m.values[i].at(Path{p.steps[1:]})
}

// put puts v at the path, and reports whether that is possible.
func (m *model) put(p Path, v *model) bool {
	if m.kind != Object && m.kind != Array {
		return false
	}
	m.touched = true
	i := m.find(p.steps[0])
	if i < 0 {
		if m.kind == Object {
			m.names = append(m.names, p.steps[0].name)
		} else if p.steps[0].index != len(m.values) {
			return false
		}
		i = len(m.values)
		m.values = append(m.values, &model{kind: Object, raw: []byte("{}")})
	}
	if len(p.steps) == 1 {
		m.values[i] = v
		return true
	}
	return m.values[i].put(Path{p.steps[1:]}, v)
}

// edit makes the changes one after the other, and reports whether they are possible.
func (m *model) edit(t testing.TB, renames []Rename, removes, sets []Path, values [][]byte) bool {
	for _, r := range renames {
		if r.From.String() == r.To.String() {
			continue
		}
		if renamesMember(r) {
			m.renameMember(r)
			continue
		}
		if holder, _ := m.at(r.From); holder == nil {
			continue
		}
		m.single(r.From)
		holder, i := m.at(r.From)
		v := holder.take(i)
		m.single(r.To)
		if !m.put(r.To, v) {
			return false
		}
	}
	m.remove(removes)
	for i, p := range sets {
		m.single(p)
		replaced := slices.ContainsFunc(sets[i+1:], func(q Path) bool {
			j := slices.IndexFunc(sets, func(s Path) bool { return s.String() == q.String() })
			for j = max(j, i+1); j < len(sets); j++ {
				if sets[j].String() == q.String() && len(values[j]) > 0 && p.within(q) {
					return true
				}
			}
			return false
		})
		if len(values[i]) > 0 && !replaced && !m.put(p, newModel(t, values[i])) {
			return false
		}
	}
	return true
}

func (m *model) renameMember(r Rename) {
	m.single(r.From)
	m.single(r.To)
	if holder, i := m.at(r.From); holder != nil && holder.kind == Object {
		holder.names[i] = r.To.last().name
		for j := range holder.names {
			if j != i && holder.names[j] == r.To.last().name {
				holder.take(j)
				break
			}
		}
	}
}

func (m *model) remove(removes []Path) {
	for _, p := range removes {
		m.single(p)
	}
	type place struct {
		holder *model
		value  *model
	}
	var gone []place
	for _, p := range removes {
		if holder, i := m.at(p); holder != nil {
			gone = append(gone, place{holder, holder.values[i]})
		}
	}
	for _, g := range gone {
		if i := slices.Index(g.holder.values, g.value); i >= 0 {
			g.holder.take(i)
		}
	}
}

// checkEdit compares an edit with the model.
func checkEdit(t testing.TB, text string, renames []Rename, removes, sets []Path, values [][]byte) {
	t.Helper()
	v, err := Parse([]byte(text), wide)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	e, err := NewEdit(renames, removes, sets)
	if err != nil {
		t.Fatal(err)
	}
	want := newModel(t, v.Raw())
	possible := want.edit(t, renames, removes, sets, values)
	describe := func() string {
		return fmt.Sprintf("%s\nrename %s remove %s set %s to %s", text, renames, removes, sets, values)
	}
	dst, err := e.Append([]byte("before"), v, values)
	if !strings.HasPrefix(string(dst), "before") {
		t.Fatalf("%s\nwhat was in dst is %s", describe(), dst)
	}
	got := dst[len("before"):]
	if !possible {
		if _, ok := err.(*PathError); !ok || len(got) > 0 {
			t.Fatalf("%s\ngives %s, %v; want a PathError", describe(), got, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("%s\ngives %v", describe(), err)
	}
	result, err := Parse(got, wide)
	if err != nil {
		t.Fatalf("%s\ngives %s, which is no JSON: %v", describe(), got, err)
	}
	if diff := want.same(newModel(t, result.Raw()), "$"); diff != "" {
		t.Fatalf("%s\ngives %s: %s", describe(), got, diff)
	}
	if string(v.Raw()) != strings.Trim(text, " \n\r\t") {
		t.Fatalf("%s\nhas changed the document: %s", describe(), v.Raw())
	}
}

// author makes documents and paths that often meet: few names, little depth.
type author struct{ *rand.Rand }

// authorNames are names, in several spellings of one, among them numbers.
var authorNames = []string{`a`, `b`, `c`, `0`, `1`, `\u0061`, `a.b`, `\u0030`, `d`}

func (a author) space() string { return []string{"", "", "", " ", "\n  ", "\t"}[a.IntN(6)] }

// value returns a document of at most this depth.
func (a author) value(depth int) string {
	kind := a.IntN(9)
	if depth == 0 {
		kind %= 4
	}
	var b strings.Builder
	switch kind {
	case 0:
		return []string{"1.50", "-0", "1E+2", "12345678901234567890"}[a.IntN(4)]
	case 1:
		return []string{"true", "null", "false"}[a.IntN(3)]
	case 2, 3:
		return []string{`"x"`, `"\u0041\/"`, `"}"`, `"]\""`, `","`, `""`}[a.IntN(6)]
	case 4, 5:
		b.WriteString("[" + a.space())
		for i := range a.IntN(4) {
			if i > 0 {
				b.WriteString("," + a.space())
			}
			b.WriteString(a.value(depth-1) + a.space())
		}
		b.WriteString("]")
	default:
		b.WriteString("{" + a.space())
		for i := range a.IntN(6) {
			if i > 0 {
				b.WriteString("," + a.space())
			}
			b.WriteString(`"` + authorNames[a.IntN(len(authorNames))] + `"` + a.space() + ":" + a.space() + a.value(depth-1) + a.space())
		}
		b.WriteString("}")
	}
	return b.String()
}

// path returns a path of one to three names.
func (a author) path() Path {
	var p Path
	for range 1 + a.IntN(3) {
		p.steps = append(p.steps, newStep([]string{"a", "b", "c", "0", "1", "2", "a.b", "d"}[a.IntN(8)]))
	}
	return p
}

func (a author) paths() []Path {
	var all []Path
	for range a.IntN(4) {
		all = append(all, a.path())
	}
	return all
}
