package document

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// parseChanges returns an edit written in words: renames "a>b", removes "-a", sets "a=1".
func parseChanges(t testing.TB, changes string) (renames []Rename, removes, sets []Path, values [][]byte) {
	t.Helper()
	for _, c := range strings.Fields(changes) {
		if name, ok := strings.CutPrefix(c, "-"); ok {
			removes = append(removes, path(t, name))
		} else if name, value, ok := strings.Cut(c, "="); ok {
			sets = append(sets, path(t, name))
			values = append(values, []byte(value))
		} else {
			from, to, _ := strings.Cut(c, ">")
			renames = append(renames, Rename{path(t, from), path(t, to)})
		}
	}
	return renames, removes, sets, values
}

func TestEdit(t *testing.T) {
	for _, c := range []struct{ text, changes, want string }{
		{`{"a":1,"b":2}`, ``, `{"a":1,"b":2}`},
		// What is not touched keeps its order, its bytes and its white space.
		{"{ \"a\" : 1.50 ,\n \"\\u0062\" : [ 1 , 2 ] ,\n \"c\" : 1E2 }", `a=7 d="new"`, "{ \"a\" : 7 ,\n \"\\u0062\" : [ 1 , 2 ] ,\n \"c\" : 1E2,\"d\":\"new\" }"},
		{"{\n  \"a\": 1,\n  \"b\": 2,\n  \"c\": 3\n}", `-b`, "{\n  \"a\": 1,\n  \"c\": 3\n}"},
		{"{\n  \"a\": 1,\n  \"b\": 2\n}", `-a`, "{\n  \"b\": 2\n}"},
		{"{\n  \"a\": 1,\n  \"b\": 2\n}", `-b`, "{\n  \"a\": 1\n}"},
		{"{\n  \"a\": 1\n}", `-a`, "{\n}"},
		{"{\"a\": 1 , \"b\": 2 , \"c\": 3}", `-a -b -c`, "{}"},
		{"{\"a\": 1 , \"b\": 2 , \"c\": 3}", `-a -b`, "{ \"c\": 3}"},
		{"{\"a\": 1 , \"b\": 2 , \"c\": 3}", `-b -c`, "{\"a\": 1}"},
		{"{\"a\": 1 , \"b\": 2 , \"c\": 3}", `-a -c`, "{ \"b\": 2}"},
		{"[ 1 , 2 , 3 ]", `-0 -2`, "[ 2 ]"},
		// Removing: paths as they are before.
		{`[0,1,2,3,4]`, `-0 -1 -4`, `[2,3]`},
		{`{"i":[{"a":1,"b":2},{"a":3}]}`, `-i.0.a -i.1.a -i.2.a -x.y -i.0.a.z`, `{"i":[{"b":2},{}]}`},
		{`{"a":"text"}`, `-a.b -a.0`, `{"a":"text"}`},
		{`{"a":{"b":1}}`, `-a.b -a`, `{}`},
		// Setting.
		{`{}`, `a.b.c=1`, `{"a":{"b":{"c":1}}}`},
		{`{}`, `a.0=1`, `{"a":{"0":1}}`},
		{`{"a":{"0":1,"1":2}}`, `a.0=5`, `{"a":{"0":5,"1":2}}`},
		{`{"a":[1,2]}`, `a.2=3 a.3.x=4 a.0=0`, `{"a":[0,2,3,{"x":4}]}`},
		{`[]`, `0=1`, `[1]`},
		{`[ ]`, `0=1 1=2`, `[1,2 ]`},
		{`{"a":1}`, `a=[1,2] a.0={"x":1} a.0.y=2 a.2=3`, `{"a":[{"x":1,"y":2},2,3]}`},
		{`{"a":{"b":1}}`, `a.b=2 a={} b=1`, `{"a":{},"b":1}`},
		{`{}`, `a.b=2 c=3 a=1`, `{"c":3,"a":1}`},
		{`{}`, `c=3 b=2 a=1`, `{"c":3,"b":2,"a":1}`},
		{`{"a":1}`, `a=2 a=3`, `{"a":3}`},
		{`{}`, `a.x= a.y=1 b=1 a.x=2`, `{"a":{"y":1,"x":2},"b":1}`},
		{`{"a":"x"}`, `a.b=1 a={"c":2}`, `{"a":{"c":2}}`},
		{`{}`, `a\.b=1 c\\=2`, `{"a.b":1,"c\\":2}`},
		{`{"x":1}`, "a\"b=1", `{"x":1,"a\"b":1}`},
		// Renaming.
		{`{"a":1, "b":2}`, `a>c`, `{"c":1, "b":2}`},
		{`{"a" : 1, "b":2}`, `a>b`, `{"b" : 1}`},
		{`{"b":2, "a":1}`, `a>b`, `{ "b":1}`},
		{`{"b":2}`, `a>b`, `{"b":2}`},
		{`{"a":1,"b":2}`, `a>c b>a c>b`, `{"b":1,"a":2}`},
		{`{"a":{"x":1,"y":2}}`, `a.x>a.z`, `{"a":{"z":1,"y":2}}`},
		{`{"a":{"x":1},"b":{}}`, `a.x>b.x`, `{"a":{},"b":{"x":1}}`},
		{`{"a":{"x":1},"b":{}}`, `a.x>c.d.e`, `{"a":{},"b":{},"c":{"d":{"e":1}}}`},
		{`{"a":1,"b":2}`, `a>a.b`, `{"b":2,"a":{"b":1}}`},
		{`{"a":{"b":1},"c":2}`, `a.b>a`, `{"a":1,"c":2}`},
		{`{"a":{"b":1},"c":2}`, `a>b b.b>b.d`, `{"b":{"d":1},"c":2}`},
		{`[1,2,3]`, `0>2`, `[2,3,1]`},
		{`[1,2,3]`, `0>1`, `[2,1]`},
		{`{"0":1,"1":2}`, `0>2`, `{"1":2,"2":1}`},
		{`{"a":1}`, `a>a b>b`, `{"a":1}`},
		{`{"a":"text"}`, `b>a.b`, `{"a":"text"}`},
		// One after the other.
		{`{"a":1,"b":2}`, `a>c -c c=3`, `{"b":2,"c":3}`},
		{`{"a":1,"b":2}`, `a>b -b`, `{}`},
		{`{"a":{"x":1}}`, `a>b b.y=2 -b.x`, `{"b":{"y":2}}`},
		{`[1,2,3]`, `-0 0=7 2=8`, `[7,3,8]`},
		{`{"a":1}`, `-a a.b=1`, `{"a":{"b":1}}`},
		{`{"a":{"b":1,"c":2},"d":[1,2]}`, `a.b>a.x -a.c -d.1 d.0=9 d.1=8`, `{"a":{"x":1},"d":[9,8]}`},
		// Names in other spellings, and several of one.
		{`{"\u0061":1,"b":2}`, `a=3`, `{"\u0061":3,"b":2}`},
		{`{"\u0061":1,"b":2}`, `a>c`, `{"c":1,"b":2}`},
		{`{"a":1,"b":2,"\u0061":3,"a":4}`, `a=5`, `{"b":2,"a":5}`},
		{`{"a":1,"b":2,"a":3}`, `-a`, `{"b":2}`},
		{`{"a":1,"a":{"x":1}}`, `a.y=2`, `{"a":{"x":1,"y":2}}`},
		{`{"a":{"x":1},"b":2,"a":3}`, `a>c`, `{"b":2,"c":3}`},
		{`{"b":0,"a":1,"b":2,"a":3}`, `a>b`, `{"b":3}`},
		{`{"b":0,"b":0}`, `a=1`, `{"b":0,"b":0,"a":1}`},
		{`{"a":{"b":1,"b":2},"a":{"b":3,"c":{"d":1},"b":4}}`, `a.b=5 a.c.e=6`, `{"a":{"c":{"d":1,"e":6},"b":5}}`},
		// Documents that are no objects, or not there.
		{`"text"`, `-a`, `"text"`},
		{`"text"`, `a>b`, `"text"`},
		{`null`, `a=`, `null`},
		{``, `a=1`, `{"a":1}`},
		{``, `-a`, ``},
		{``, `a>b -c d.e=1`, `{"d":{"e":1}}`},
	} {
		e, err := NewEdit(first3(parseChanges(t, c.changes)))
		if err != nil {
			t.Errorf("%s: %v", c.changes, err)
			continue
		}
		_, _, _, values := parseChanges(t, c.changes)
		got, err := e.Append(nil, Of([]byte(c.text)), values)
		if err != nil || string(got) != c.want {
			t.Errorf("%s\n%s gives\n%s, %v; want\n%s", c.text, c.changes, got, err, c.want)
		}
		if c.text != "" {
			renames, removes, sets, values := parseChanges(t, c.changes)
			checkEdit(t, c.text, renames, removes, sets, values)
		}
	}
}

func first3(renames []Rename, removes, sets []Path, _ [][]byte) ([]Rename, []Path, []Path) {
	return renames, removes, sets
}

func TestEditErrors(t *testing.T) {
	for _, c := range []struct{ text, changes, want string }{
		{`{"a":"text"}`, `a.b=1`, "a.b"},
		{`{"a":null}`, `a.b.c=1`, "a.b.c"},
		{`{"a":{"b":5}}`, `-x a.b.c=1`, "a.b.c"},
		{`{"a":[1]}`, `a.2=1`, "a.2"},
		{`{"a":[1]}`, `a.x=1`, "a.x"},
		{`{"a":[1]}`, `a.00=1`, "a.00"},
		{`{"a":[1]}`, `a.2=1 a.1=1`, "a.2"},
		{`{"a":[1]}`, `a.0.x=1`, "a.0.x"},
		{`"text"`, `a=1`, "a"},
		{`{"a":1}`, `a.b=2 a.c=3`, "a.b"},
		{`{}`, `a=1 a.b=2`, "a.b"},
		{`{"a":1,"b":"text"}`, `a>b.c`, "b.c"},
		{`{"a":1,"b":[]}`, `a>b.c`, "b.c"},
		{`{"a":1}`, `a\.x.y=1 a.z=1`, "a.z"},
	} {
		renames, removes, sets, values := parseChanges(t, c.changes)
		e, err := NewEdit(renames, removes, sets)
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.Append([]byte("x"), Of([]byte(c.text)), values)
		var wrong *PathError
		if !errors.As(err, &wrong) || wrong.Path.String() != c.want || string(got) != "x" {
			t.Errorf("%s %s: %s, %v; want a PathError for %s", c.text, c.changes, got, err, c.want)
			continue
		}
		if want := "a value cannot be put at the path " + c.want + ":"; !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v; want %s…", err, want)
		}
		checkEdit(t, c.text, renames, removes, sets, values)
		// The same edit goes on to work for others.
		if got, err := e.Append(nil, Of([]byte(`{"k":1}`)), make([][]byte, len(values))); err != nil || string(got) != `{"k":1}` {
			t.Errorf("%s afterwards: %s, %v", c.changes, got, err)
		}
	}
	one := path(t, "a")
	for name, err := range map[string]error{
		"rename":  second(NewEdit([]Rename{{one, Path{}}}, nil, nil)),
		"rename2": second(NewEdit([]Rename{{Path{}, one}}, nil, nil)),
		"remove":  second(NewEdit(nil, []Path{{}}, nil)),
		"set":     second(NewEdit(nil, nil, []Path{one, {}})),
	} {
		if !errors.Is(err, errNoPath) {
			t.Errorf("%s without a path: %v", name, err)
		}
	}
	if _, err := NewEdit(nil, nil, make([]Path, maxChanges+1)); err == nil || !strings.Contains(err.Error(), "257 changes") {
		t.Errorf("too many changes: %v", err)
	}
}

func second(_ *Edit, err error) error { return err }

// TestEditValues gives fewer values than there are sets, and none.
func TestEditValues(t *testing.T) {
	e, err := NewEdit(nil, nil, []Path{path(t, "a"), path(t, "b.c"), path(t, "d")})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		values [][]byte
		want   string
	}{
		{nil, `{"b":"x"}`},
		{[][]byte{[]byte("1")}, `{"b":"x","a":1}`},
		{[][]byte{nil, nil, []byte("2")}, `{"b":"x","d":2}`},
		{[][]byte{[]byte("1"), {}, []byte("2"), []byte("3")}, `{"b":"x","a":1,"d":2}`},
	} {
		if got, err := e.Append(nil, Of([]byte(`{"b":"x"}`)), c.values); err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v; want %s", c.values, got, err, c.want)
		}
	}
}

// TestPasses holds that changes that do not build on each other take one way over the document.
func TestPasses(t *testing.T) {
	for changes, want := range map[string]int{
		``:                            0,
		`a>a`:                         0,
		`a>b c>d x.a>x.b`:             1,
		`a>b -c d=1 e.f=2 -e.g`:       1,
		`-a.0 -a.1 b.0=1`:             1,
		`-a -a.b -a`:                  1,
		`a=1 a.b=2 b=3`:               1,
		`a>b b>c`:                     2,
		`a>b -b`:                      2,
		`a>b.c`:                       1,
		`a>b.c d>e`:                   2,
		`-a.0 a.0=1`:                  2,
		`-a.0 a.1.x=1`:                2,
		`a>b -b.x b.x=1`:              3,
		`-a b=1 a=2`:                  2,
		`0>1 -2`:                      2,
		`a>b c>d e>f.g h>i -k -l m=1`: 3,
	} {
		e, err := NewEdit(first3(parseChanges(t, changes)))
		if err != nil || len(e.passes) != want {
			t.Errorf("%s: %d passes, %v; want %d", changes, len(e.passes), err, want)
		}
	}
}

// TestEditModel compares edits of random documents with the model.
func TestEditModel(t *testing.T) {
	for seed := range uint64(20_000) {
		a := author{rand.New(rand.NewPCG(seed, 1))}
		var renames []Rename
		for range a.IntN(3) {
			renames = append(renames, Rename{a.path(), a.path()})
		}
		sets := a.paths()
		var values [][]byte
		for range sets {
			value := []string{"", "1", `"s"`, "[]", "{}", `{"a":{"b":1}}`, `[[0],{"a":1}]`}[a.IntN(7)]
			values = append(values, []byte(value))
		}
		checkEdit(t, a.space()+a.value(4)+a.space(), renames, a.paths(), sets, values)
	}
}

// TestEditManyDuplicates gives an edit one name over and over again. It ends with one, and does not keep the room that it has needed.
func TestEditManyDuplicates(t *testing.T) {
	text := "{" + strings.Repeat(`"a":{"b":1},`, 10_000) + `"a":{"b":2},"c":3}`
	renames, removes, sets, values := parseChanges(t, `a.b=5`)
	e, err := NewEdit(renames, removes, sets)
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.Append(nil, Of([]byte(text)), values)
	if want := `{"a":{"b":5},"c":3}`; err != nil || string(got) != want {
		t.Errorf("%.100s, %v; want %s", got, err, want)
	}
	if r := rewriters.Get().(*rewriter); cap(r.changes) > keptChanges {
		t.Errorf("room for %d changes is kept", cap(r.changes))
	}
}

// TestEditDeep changes what lies deepest.
func TestEditDeep(t *testing.T) {
	p := path(t, strings.Repeat("a.", 100)+"b")
	e, err := NewEdit(nil, nil, []Path{p})
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.Append(nil, Value{}, [][]byte{[]byte("1")})
	want := strings.Repeat(`{"a":`, 100) + `{"b":1}` + strings.Repeat("}", 100)
	if err != nil || string(got) != want {
		t.Fatalf("%s, %v", got, err)
	}
	again, err := e.Append(nil, must(t, want), [][]byte{[]byte("2")})
	if err != nil || string(again) != strings.Replace(want, "1", "2", 1) {
		t.Errorf("%s, %v", again, err)
	}
}

// TestEditWide makes as many changes at once as there may be.
func TestEditWide(t *testing.T) {
	var sets []Path
	var values [][]byte
	text, want := "{", "{"
	for i := range maxChanges {
		sets = append(sets, path(t, fmt.Sprintf("k%d", i)))
		values = append(values, fmt.Append(nil, i))
		if i%2 == 0 {
			text += fmt.Sprintf(`"k%d":null,`, i)
			want += fmt.Sprintf(`"k%d":%d,`, i, i)
		}
	}
	for i := 1; i < maxChanges; i += 2 {
		want += fmt.Sprintf(`"k%d":%d,`, i, i)
	}
	e, err := NewEdit(nil, nil, sets)
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.Append(nil, must(t, strings.TrimSuffix(text, ",")+"}"), values)
	if want = strings.TrimSuffix(want, ",") + "}"; err != nil || string(got) != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}

// TestRewritersForget looks at a released rewriter: it refers to no text.
func TestRewritersForget(t *testing.T) {
	renames, removes, sets, values := parseChanges(t, `a>b.c b=1 d.e=2`)
	e, err := NewEdit(renames, removes, sets)
	if err != nil {
		t.Fatal(err)
	}
	r := new(rewriter)
	if _, err := r.move(nil, []byte(`{"a":1,"b":{}}`), e.passes[0].move); err != nil {
		t.Fatal(err)
	}
	if _, err := r.pass(nil, []byte(`{"b":1,"d":3}`), e.passes[1].changes, values); err == nil {
		t.Error("a value is put into a number")
	}
	r.release()
	if r.values != nil || r.tree != nil || r.one[0] != nil || len(r.changes) != 0 {
		t.Errorf("a released rewriter is %+v", r)
	}
}
