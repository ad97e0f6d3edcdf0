package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

// FuzzParse compares what is accepted, and what is read, with encoding/json. That lets pass what is not UTF-8 and half surrogates, which is
// all that may be refused beyond it.
func FuzzParse(f *testing.F) {
	for _, text := range accepted {
		f.Add([]byte(text))
	}
	for _, c := range refusedTexts {
		f.Add([]byte(c.text))
	}
	f.Add([]byte(someDocument))
	f.Add(ordinary(1000))
	f.Fuzz(func(t *testing.T, text []byte) {
		kept := bytes.Clone(text)
		readNonsense(Of(text))
		v, err := Parse(text, wide)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(text) || v.Exists() {
				t.Fatalf("%q: %#v", text, err)
			}
			deep := e.Kind == TooDeep && bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")) > MaxDepth
			if !deep && (e.Kind != Invalid || json.Valid(text) && utf8.Valid(text) && !hasHalfSurrogate(text)) {
				t.Fatalf("%q is refused: %v", text, err)
			}
			return
		}
		if !json.Valid(text) || !utf8.Valid(text) || hasHalfSurrogate(text) {
			t.Fatalf("%q is accepted", text)
		}
		compareReads(t, v)
		compareLimits(t, text)
		if !bytes.Equal(text, kept) {
			t.Fatalf("%q has become %q", kept, text)
		}
	})
}

// hasHalfSurrogate looks for a half of a surrogate pair in a text that is JSON.
func hasHalfSurrogate(text []byte) bool {
	s := strings.ReplaceAll(string(text), `\\`, "##")
	for {
		i := strings.Index(s, `\u`)
		if i < 0 {
			return false
		}
		r := hex4([]byte(s[i:]))
		if s = s[i+6:]; !utf16.IsSurrogate(r) {
			continue
		}
		if utf16.DecodeRune(r, hex4([]byte(s))) == utf8.RuneError {
			return true
		}
		s = s[6:]
	}
}

// compareReads compares a value with what encoding/json reads.
func compareReads(t *testing.T, v Value) {
	d := json.NewDecoder(bytes.NewReader(v.Raw()))
	d.UseNumber()
	var want any
	if err := d.Decode(&want); err != nil {
		t.Fatalf("%q: %v", v.Raw(), err)
	}
	if got := v.Decode(); !reflect.DeepEqual(got, want) {
		t.Fatalf("%q is %#v; want %#v", v.Raw(), got, want)
	}
	compact := AppendCompact(nil, v)
	var b bytes.Buffer
	if err := json.Compact(&b, v.Raw()); err != nil || !bytes.Equal(b.Bytes(), compact) {
		t.Fatalf("%q is %q without spaces; want %q, %v", v.Raw(), compact, b.Bytes(), err)
	}
	compareParts(t, v, want)
}

// compareParts compares a value, and one by one what is in it, with what encoding/json has read.
func compareParts(t *testing.T, v Value, want any) {
	switch want := want.(type) {
	case map[string]any:
		for name, value := range want {
			got := v.Member(name)
			if !reflect.DeepEqual(got.Decode(), value) || !v.At(Path{[]step{newStep(name)}}).Exists() {
				t.Fatalf("%q: member %q is %q; want %#v", v.Raw(), name, got.Raw(), value)
			}
			compareParts(t, got, value)
		}
		if v.Kind() != Object || v.Len() < len(want) || v.Index(0).Exists() {
			t.Fatalf("%q: %v of %d", v.Raw(), v.Kind(), v.Len())
		}
	case []any:
		i := 0
		for item := range v.Items {
			if !bytes.Equal(v.Index(i).Raw(), item.Raw()) {
				t.Fatalf("%q: element %d is %q and %q", v.Raw(), i, item.Raw(), v.Index(i).Raw())
			}
			compareParts(t, item, want[i])
			i++
		}
		if v.Kind() != Array || v.Len() != len(want) || i != len(want) || v.Index(i).Exists() {
			t.Fatalf("%q: %v of %d", v.Raw(), v.Kind(), v.Len())
		}
	case string:
		text, ok := v.AppendText(nil)
		if !ok || string(text) != want || !v.Equals(want) || v.Equals(want+"x") {
			t.Fatalf("%q is the text %q; want %q", v.Raw(), text, want)
		}
		if again := AppendString(nil, text); !Of(again).Equals(want) || !json.Valid(again) {
			t.Fatalf("%q is written %q", text, again)
		}
	case json.Number:
		f, err := want.Float64()
		if got, ok := v.Float(); ok != (err == nil) || got != f {
			t.Fatalf("%q is %g, %t; want %g, %v", v.Raw(), got, ok, f, err)
		}
		n, err := want.Int64()
		if got, ok := v.Int(); err == nil && (!ok || got != n) || ok && err != nil && float64(got) != f {
			t.Fatalf("%q is %d, %t; want %d, %v", v.Raw(), got, ok, n, err)
		}
	}
}

// compareLimits holds that the limits of exactly what is there let it pass, and those of one less do not.
func compareLimits(t *testing.T, text []byte) {
	var has Limits
	v := Of(text)
	duplicates := measure(v, 0, &has)
	exact := Limits{Depth: max(has.Depth, 1), Keys: max(has.Keys, 1), Digits: max(has.Digits, 1)}
	if _, err := Parse(text, exact); err != nil {
		t.Fatalf("%q with %+v: %v", text, exact, err)
	}
	for kind, tight := range map[ErrorKind]Limits{
		TooDeep:       {Depth: has.Depth - 1, Keys: exact.Keys, Digits: exact.Digits},
		TooManyKeys:   {Depth: exact.Depth, Keys: has.Keys - 1, Digits: exact.Digits},
		NumberTooLong: {Depth: exact.Depth, Keys: exact.Keys, Digits: has.Digits - 1},
	} {
		if tight.Depth <= 0 || tight.Keys <= 0 || tight.Digits <= 0 {
			continue // the default
		}
		var e *Error
		if _, err := Parse(text, tight); !errors.As(err, &e) || e.Kind != kind {
			t.Fatalf("%q with %+v: %v; want %v", text, tight, err, kind)
		}
	}
	exact.Duplicates = true
	var e *Error
	if _, err := Parse(text, exact); duplicates && (!errors.As(err, &e) || e.Kind != DuplicateKey) || !duplicates && err != nil {
		t.Fatalf("%q with duplicates %t: %v", text, duplicates, err)
	}
}

// measure finds the least limits of a value, and whether an object has two members of one name.
func measure(v Value, depth int, has *Limits) (duplicates bool) {
	switch v.Kind() {
	case Number:
		// The exponent counts as its digits at least; those beyond what can be counted are left out.
		mantissa, exponent, _ := strings.Cut(strings.ToLower(string(v.Raw())), "e")
		digits := strings.TrimLeft(exponent, "+-")
		n := len(strings.NewReplacer("-", "", ".", "").Replace(mantissa))
		has.Digits = max(has.Digits, n+max(exponentOf([]byte(digits)), len(digits)))
	case Array:
		has.Depth = max(has.Depth, depth+1)
		for item := range v.Items {
			duplicates = measure(item, depth+1, has) || duplicates
		}
	case Object:
		has.Depth = max(has.Depth, depth+1)
		var names []string
		for name, value := range v.Members {
			has.Keys++
			text, _ := name.AppendText(nil)
			names = append(names, string(text))
			duplicates = measure(value, depth+1, has) || duplicates
		}
		slices.Sort(names)
		duplicates = duplicates || len(slices.Compact(names)) < len(names)
	}
	return duplicates
}

// readNonsense reads a value that nobody has checked. It must end.
func readNonsense(v Value) {
	v.Len()
	v.Decode()
	v.Int()
	v.Float()
	v.Equals("a")
	v.AppendText(nil)
	AppendCompact(nil, v)
	for name, value := range v.Members {
		name.AppendText(nil)
		v.Member("a")
		value.Kind()
	}
	v.At(Path{[]step{newStep("a"), newStep("0")}})
}

// FuzzNonsense changes and merges what nobody has checked. What comes out has no meaning, but it must end.
func FuzzNonsense(f *testing.F) {
	for _, c := range refusedTexts {
		f.Add([]byte(c.text), []byte(`{"a":{`))
	}
	f.Add([]byte(`{"a":,,"a"`), []byte(`{"a":{"b"`))
	f.Add([]byte(`{"a":1,"0"`), []byte(`["a"`))
	e, err := NewEdit(first3(parseChanges(f, `a>b x>c.d -0 -a.b -q a.0=1 e=1 b.b=1`)))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		for _, values := range [][][]byte{nil, {b, b, b}} {
			if got, err := e.Append([]byte("<"), Of(a), values); !bytes.HasPrefix(got, []byte("<")) || err != nil && len(got) != 1 {
				t.Errorf("%q, %v", got, err)
			}
		}
		for s := First; s <= Strict; s++ {
			if got, err := AppendMerged([]byte("<"), s, Of(a), Of(b), Of(a)); !bytes.HasPrefix(got, []byte("<")) || err != nil && len(got) != 1 {
				t.Errorf("%q, %v", got, err)
			}
		}
		if got, err := AppendConcat([]byte("<"), Of(a), Of(b)); !bytes.HasPrefix(got, []byte("<")) || err != nil && len(got) != 1 {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// FuzzPath holds that a path is written as it was read, and leads where its names lead.
func FuzzPath(f *testing.F) {
	for _, src := range []string{"a", "a.b", "b\"\n.3", `nested.deep.a\.b`, `nested.deep.c\\d`, "nested.deep.list.1.id", "twice.last", "a..b", `a\x`, "0", "00", "é😀", "nested.deep.list.2.0.0"} {
		f.Add(src, []byte(someDocument))
	}
	f.Add("0.00.a", []byte(`[{"00":{"a":1}}]`))
	f.Fuzz(func(t *testing.T, src string, text []byte) {
		p, err := ParsePath(src)
		if err != nil {
			return
		}
		if p.String() != src {
			t.Fatalf("%q is written %q", src, p)
		}
		v, err := Parse(text, wide)
		if err != nil {
			return
		}
		want, exists := v.Decode(), true
		for _, s := range p.steps {
			switch at := want.(type) {
			case map[string]any:
				want, exists = at[s.name]
			case []any:
				if exists = s.index >= 0 && s.index < len(at); exists {
					want = at[s.index]
				}
			default:
				exists = false
			}
			if !exists {
				want = nil
				break
			}
		}
		if got := v.At(p); got.Exists() != exists || !reflect.DeepEqual(got.Decode(), want) {
			t.Fatalf("%q in %q: %q; want %#v, %t", src, text, got.Raw(), want, exists)
		}
	})
}

// FuzzEdit compares edits with the model. The changes are lines: "a>b", "-a", "a=1".
func FuzzEdit(f *testing.F) {
	f.Add([]byte(someDocument), "a>x\n-nested.deep.list.0\nnested.deep.list.1.id=5")
	f.Add([]byte(someDocument), "twice>nested.twice\n-b\n0={}\n0.x=1")
	f.Add([]byte(`{"a":[1,2,3],"b":{"a":1}}`), "a.0>b.c\nb>a\n-a.1\na.0=[]\na.0.0=1")
	f.Add([]byte(`{"a":1,"a":2,"b":3,"b":{"c":1}}`), "a>b\nb>c\nb.c=")
	f.Add([]byte(`[[],{},[1 , 2 ]]`), "-2.0\n-2.1\n0.0=1\n1.0=2")
	f.Fuzz(func(t *testing.T, text []byte, changes string) {
		if len(text) > 4<<10 {
			return
		}
		if _, err := Parse(text, wide); err != nil {
			return
		}
		var renames []Rename
		var removes, sets []Path
		var values [][]byte
		for line := range strings.Lines(changes) {
			line = strings.TrimSuffix(line, "\n")
			if len(renames)+len(removes)+len(sets) == 20 {
				break
			}
			if name, ok := strings.CutPrefix(line, "-"); ok {
				if p, err := ParsePath(name); err == nil {
					removes = append(removes, p)
				}
			} else if from, to, ok := strings.Cut(line, ">"); ok {
				p, err := ParsePath(from)
				q, err2 := ParsePath(to)
				if err == nil && err2 == nil {
					renames = append(renames, Rename{p, q})
				}
			} else if name, value, ok := strings.Cut(line, "="); ok {
				v, invalid := Parse([]byte(value), Limits{Duplicates: true}) // of several members one would be left where something is set in it
				p, err := ParsePath(name)
				if err == nil && (value == "" || invalid == nil) {
					sets, values = append(sets, p), append(values, v.Raw())
				}
			}
		}
		checkEdit(t, string(text), renames, removes, sets, values)
	})
}

// FuzzMerge compares merges with the model.
func FuzzMerge(f *testing.F) {
	f.Add(uint8(First), []byte(`{"a":1,"b":{"c":[1]}}`), []byte(`{"a":2,"d":null}`), []byte(`{"b":{"e":1}}`))
	f.Add(uint8(Last), []byte(`{"a":1,"a":{"c":[1]}}`), []byte(` 5 `), []byte(`{"b":{"e":1}}`))
	f.Add(uint8(Deep), []byte(`{"a":1,"b":{"c":[1], "d":{"x":1.0}}}`), []byte(`{"\u0062":{"d":{"x":2e0}}}`), []byte(`{"b":{"e":1},"b":{"f":{}}}`))
	f.Add(uint8(Deep), []byte(`{"a":{"b":1,"b":{"c":1}}}`), []byte(`{"a":{"b":{"d":1}},"a":{"b":{"d":1},"b":{"e":2}}}`), []byte(`null`))
	f.Add(uint8(Strict), []byte(`{"a":1}`), []byte(`{"b":1,"b":2}`), []byte(`{"c":1}`))
	f.Fuzz(func(t *testing.T, s uint8, a, b, c []byte) {
		var values []Value
		for _, text := range [][]byte{a, b, c} {
			v, err := Parse(text, wide)
			if err != nil || len(text) > 4<<10 {
				return
			}
			values = append(values, v)
		}
		checkMerge(t, Strategy(s%4), values...)
		if concat, err := AppendConcat(nil, values...); err == nil {
			n := 0
			for _, v := range values {
				n += v.Len()
			}
			if got := must(t, string(concat)).Len(); got != n {
				t.Fatalf("%s of %q %q %q", concat, a, b, c)
			}
		}
	})
}

// FuzzString holds that any bytes become a JSON string, which encoding/json reads as it would write it.
func FuzzString(f *testing.F) {
	for _, text := range []string{"", "plain", "\x00\x1f\"\\/\u2028", "\xff\xfe", "é\xc3", "\xed\xa0\x80", "12345678\n", "\U0010ffff"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := Parse(AppendString(nil, []byte(text)), wide)
		var got string
		if err == nil {
			err = json.Unmarshal(v.Raw(), &got)
		}
		if want := string([]rune(text)); err != nil || got != want || !v.Equals(want) {
			t.Fatalf("%q is written %q: %v", text, v.Raw(), err)
		}
	})
}
