package document

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestMerge(t *testing.T) {
	for _, c := range []struct {
		values                    string // with | between them; nothing is an absent one
		first, last, deep, strict string // what it gives; for strict "!name" is the conflict
	}{
		{``, `null`, `null`, `null`, `null`},
		{`|null|`, `null`, `null`, `null`, `null`},
		{`{ "a" : 1 }`, `{ "a" : 1 }`, `{ "a" : 1 }`, `{ "a" : 1 }`, `{ "a" : 1 }`},
		{`null| 5 |`, `5`, `5`, `5`, `5`},
		{`{"a":1}|null||{"b":2}`, `{"a":1,"b":2}`, `{"a":1,"b":2}`, `{"a":1,"b":2}`, `{"a":1,"b":2}`},
		{`{"a":1.0, "b":[ 1 ]}|{"c": 1e2 ,"b":2}|{"a":3}`, `{"a":1.0,"b":[ 1 ],"c":1e2}`, `{"a":3,"b":2,"c":1e2}`, `{"a":3,"b":2,"c":1e2}`, `!b`},
		{`{"a":{"x":1,"y":1}}|{"a":{"y":2,"z":2}}|{"a":{"z":3}}`, `{"a":{"x":1,"y":1}}`, `{"a":{"z":3}}`, `{"a":{"x":1,"y":2,"z":3}}`, `!a`},
		{`{"a":{"x":1}}|{"a":5}|{"a":{"z":3}}`, `{"a":{"x":1}}`, `{"a":{"z":3}}`, `{"a":{"z":3}}`, `!a`},
		{`{"a":{"x":1}}|{"a":null}`, `{"a":{"x":1}}`, `{"a":null}`, `{"a":null}`, `!a`},
		{`{"a":[1]}|{"a":[2]}`, `{"a":[1]}`, `{"a":[2]}`, `{"a":[2]}`, `!a`},
		{`{"a":1}|5|{"b":2}`, `{"a":1,"b":2}`, `{"b":2}`, `{"b":2}`, `!`},
		{`{"a":1}|{"b":2}|[5]`, `{"a":1,"b":2}`, `[5]`, `[5]`, `!`},
		{`5|{"a":1}|{"b":2}`, `5`, `{"a":1,"b":2}`, `{"a":1,"b":2}`, `!`},
		{`"x"|7`, `"x"`, `7`, `7`, `!`},
		{`{}|{}`, `{}`, `{}`, `{}`, `{}`},
		{`{}|{"a":{"b":{}}}|{"a":{"b":{},"c":{}}}`, `{"a":{"b":{}}}`, `{"a":{"b":{},"c":{}}}`, `{"a":{"b":{},"c":{}}}`, `!a`},
		// Names in other spellings: that of the first stays.
		{`{"\u0061":1}|{"a":2}`, `{"\u0061":1}`, `{"\u0061":2}`, `{"\u0061":2}`, `!a`},
		{`{"é":1}|{"\u00e9":2,"\u00c9":3}`, `{"é":1,"\u00c9":3}`, `{"é":2,"\u00c9":3}`, `{"é":2,"\u00c9":3}`, `!é`},
		// Of several members of one name in one object the last one counts; it is no conflict.
		{`{"a":1,"b":0,"a":2}|{"c":3}`, `{"a":2,"b":0,"c":3}`, `{"a":2,"b":0,"c":3}`, `{"a":2,"b":0,"c":3}`, `{"a":2,"b":0,"c":3}`},
		{`{"a":{"x":1}}|{"a":1,"a":{"y":2}}`, `{"a":{"x":1}}`, `{"a":{"y":2}}`, `{"a":{"x":1,"y":2}}`, `!a`},
		{`{"a":{"x":1}}|{"a":{"y":2},"a":1}|{"a":{}}`, `{"a":{"x":1}}`, `{"a":{}}`, `{"a":{}}`, `!a`},
	} {
		var values []Value
		for text := range strings.SplitSeq(c.values, "|") {
			values = append(values, Of([]byte(text)))
		}
		for s, want := range map[Strategy]string{First: c.first, Last: c.last, Deep: c.deep, Strict: c.strict} {
			dst, err := AppendMerged([]byte("<"), s, values...)
			var conflict *ConflictError
			if name, isConflict := strings.CutPrefix(want, "!"); isConflict {
				if !errors.As(err, &conflict) || conflict.Name != name || string(dst) != "<" {
					t.Errorf("%s by %d: %s, %v; want a conflict of %q", c.values, s, dst, err, name)
				}
			} else if err != nil || string(dst) != "<"+want {
				t.Errorf("%s by %d: %s, %v; want %s", c.values, s, dst, err, want)
			}
		}
	}
}

func TestMergeErrors(t *testing.T) {
	if got := (&ConflictError{strings.Repeat("n", 5000)}).Error(); len(got) > 250 || !strings.Contains(got, "the member \"nnn") {
		t.Error(got)
	}
	if got := (&ConflictError{}).Error(); !strings.Contains(got, "no object") {
		t.Error(got)
	}
	deep := Of([]byte(strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000)))
	got, err := AppendMerged([]byte("<"), Deep, deep, deep)
	var tooDeep *Error
	if !errors.As(err, &tooDeep) || tooDeep.Kind != TooDeep || string(got) != "<" {
		t.Errorf("%.20s, %v; want an error", got, err)
	}
	if got, err := AppendMerged(nil, Last, deep, deep); err != nil || len(got) != len(deep.Raw()) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	// After errors the next one finds nothing of them.
	for range 2 * MaxDepth {
		if _, err := AppendMerged(nil, Strict, must(t, `{"a":{"b":1}}`), must(t, `{"c":0,"a":1}`)); err == nil {
			t.Fatal("a conflict is none")
		}
	}
	if got, err := AppendMerged(nil, Deep, must(t, `{"a":{"b":1}}`), must(t, `{"a":{"c":1}}`)); err != nil || string(got) != `{"a":{"b":1,"c":1}}` {
		t.Errorf("%s, %v", got, err)
	}
}

func TestConcat(t *testing.T) {
	for _, c := range []struct{ values, want string }{
		{``, `[]`},
		{`null||[]|[ ]`, `[]`},
		{`[1, 2]`, `[1, 2]`},
		{`[ 1 , {"a": 1.0} ]|[]|null|["x"]|[ [ ] ]`, `[1 , {"a": 1.0},"x",[ ]]`},
		{`[]|[1]|[2]`, `[1,2]`},
		{`[1]|{}`, `!value 2 to concatenate is no array; its kind is object`},
		{`"x"`, `!value 1 to concatenate is no array; its kind is string`},
	} {
		var values []Value
		for text := range strings.SplitSeq(c.values, "|") {
			values = append(values, Of([]byte(text)))
		}
		got, err := AppendConcat([]byte("<"), values...)
		if message, wrong := strings.CutPrefix(c.want, "!"); wrong {
			var kind *KindError
			if !errors.As(err, &kind) || err.Error() != message || string(got) != "<" {
				t.Errorf("%s: %s, %v; want %s", c.values, got, err, message)
			}
		} else if err != nil || string(got) != "<"+c.want {
			t.Errorf("%s: %s, %v; want %s", c.values, got, err, c.want)
		}
	}
}

// mergeModels is what AppendMerged does, two objects at a time. It reports false for a conflict.
func mergeModels(s Strategy, parts []*model) (*model, bool) {
	object := func(m *model) bool { return m.kind == Object }
	other := func(m *model) bool { return m.kind != Object }
	switch {
	case len(parts) == 0:
		return &model{kind: Null, raw: []byte("null")}, true
	case s == Strict && len(parts) > 1 && slices.ContainsFunc(parts, other):
		return nil, false
	case s == First && other(parts[0]):
		return parts[0], true
	case s == First:
		parts = slices.DeleteFunc(slices.Clone(parts), other)
	case other(parts[len(parts)-1]):
		return parts[len(parts)-1], true
	default:
		for slices.ContainsFunc(parts, other) {
			parts = parts[slices.IndexFunc(parts, other)+1:]
		}
	}
	if len(parts) == 1 && object(parts[0]) {
		return parts[0], true
	}
	sum := parts[0].unique()
	for _, p := range parts[1:] {
		if !sum.merge(s, p.unique()) {
			return nil, false
		}
	}
	return sum, true
}

// merge adds the members of o to m, two objects that have each name once. It reports false for a conflict.
func (m *model) merge(s Strategy, o *model) bool {
	for i, name := range o.names {
		at := slices.Index(m.names, name)
		switch {
		case at < 0:
			m.names, m.values = append(m.names, name), append(m.values, o.values[i])
		case s == Strict:
			return false
		case s == Deep && m.values[at].kind == Object && o.values[i].kind == Object:
			m.values[at] = m.values[at].unique()
			m.values[at].merge(Deep, o.values[i].unique())
		case s != First:
			m.values[at] = o.values[i]
		}
	}
	return true
}

// unique returns a copy of an object with the last member of each name, at the place of the first.
func (m *model) unique() *model {
	u := &model{kind: m.kind, touched: true}
	for i, name := range m.names {
		if at := slices.Index(u.names, name); at >= 0 {
			u.values[at] = m.values[i]
		} else {
			u.names, u.values = append(u.names, name), append(u.values, m.values[i])
		}
	}
	return u
}

// checkMerge compares a merge with the model.
func checkMerge(t testing.TB, s Strategy, values ...Value) {
	t.Helper()
	var parts []*model
	var texts []string
	for _, v := range values {
		texts = append(texts, string(v.Raw()))
		if v.Exists() && v.Kind() != Null {
			parts = append(parts, newModel(t, v.Raw()))
		}
	}
	want, possible := mergeModels(s, parts)
	got, err := AppendMerged(nil, s, values...)
	if !possible {
		var conflict *ConflictError
		if !errors.As(err, &conflict) || len(got) != 0 {
			t.Fatalf("%q by %d: %s, %v; want a conflict", texts, s, got, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("%q by %d: %v", texts, s, err)
	}
	result, err := Parse(got, wide)
	if err != nil {
		t.Fatalf("%q by %d: %s, which is no JSON: %v", texts, s, got, err)
	}
	if diff := want.same(newModel(t, result.Raw()), "$"); diff != "" {
		t.Fatalf("%q by %d: %s: %s", texts, s, got, diff)
	}
}

func TestMergeModel(t *testing.T) {
	for seed := range uint64(20_000) {
		a := author{rand.New(rand.NewPCG(seed, 2))}
		var values []Value
		for range a.IntN(5) {
			values = append(values, Of([]byte(a.value(4))))
		}
		checkMerge(t, Strategy(a.IntN(4)), values...)
	}
}

// TestMergeMany merges objects with many members: each finds its name at once, whichever of them has it.
func TestMergeMany(t *testing.T) {
	object := func(from, to int) Value {
		var b strings.Builder
		for i := from; i < to; i++ {
			fmt.Fprintf(&b, `,"k%d":{"v%d":%d}`, i, from, i)
		}
		return Of([]byte("{" + b.String()[1:] + "}"))
	}
	const n = 10_000
	values := []Value{object(0, n), object(n/2, n+n/2), object(n, 2*n)}
	for _, s := range []Strategy{First, Last, Deep} {
		got, err := AppendMerged(nil, s, values...)
		if err != nil {
			t.Fatal(err)
		}
		v := must(t, string(got))
		i := 0
		for name := range v.Members {
			if !name.Equals(fmt.Sprintf("k%d", i)) {
				t.Fatalf("member %d is %s", i, name.Raw())
			}
			i++
		}
		if i != 2*n {
			t.Errorf("%d members", i)
		}
		both := v.Member(fmt.Sprintf("k%d", n+1))
		if want := map[Strategy]string{First: `{"v5000":10001}`, Last: `{"v10000":10001}`, Deep: `{"v5000":10001,"v10000":10001}`}[s]; string(both.Raw()) != want {
			t.Errorf("by %d: %s; want %s", s, both.Raw(), want)
		}
	}
	if m := mergers.Get().(*merger); cap(m.links) > keptLinks || len(m.links) != 0 {
		t.Errorf("room for %d links is kept", cap(m.links))
	}
}

// TestMergersForget looks at a released merger: it refers to no text.
func TestMergersForget(t *testing.T) {
	m := &merger{strategy: Deep, names: borrowNames()}
	for _, text := range []string{`{"a":{"b":1,"c":{}}}`, `{"a":{"b":2,"d":{"e":1}}}`} {
		m.take(Of([]byte(text)))
	}
	if got, err := m.appendObject(nil, m.values); err != nil || string(got) != `{"a":{"b":2,"c":{},"d":{"e":1}}}` {
		t.Fatalf("%s, %v", got, err)
	}
	m.release()
	if m.names != nil || m.depth != 0 || len(m.members)+len(m.links)+len(m.values) != 0 {
		t.Errorf("a released merger is %+v", m)
	}
	for _, l := range m.links[:cap(m.links)] {
		if l.value.Exists() {
			t.Errorf("a released merger refers to %s", l.value.Raw())
		}
	}
	for _, v := range m.values[:cap(m.values)] {
		if v.Exists() {
			t.Errorf("a released merger refers to %s", v.Raw())
		}
	}
}
