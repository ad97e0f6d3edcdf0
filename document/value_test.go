package document

import (
	"encoding/json"
	"math"
	"math/bits"
	"reflect"
	"strings"
	"testing"
)

// must returns the value of a text that is JSON.
func must(t testing.TB, text string) Value {
	t.Helper()
	v, err := Parse([]byte(text), wide)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// path returns the path of a text that is one.
func path(t testing.TB, src string) Path {
	t.Helper()
	p, err := ParsePath(src)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// someDocument has all that a document can have.
const someDocument = ` { "a" : 1.50e0 , "b\u0022\n" : [ true, false ,null,"x\ty" , { } , [ ] ],
	"nested":{"deep":{"list":[{"id":1},{"id":"two"},[[3]]],"a.b":"dot","c\\d":"slash"}},"":"empty","0":"zero",
	"twice":1,"tw\u0069ce":{"last":true},"é\ud83d\ude00":"ok","brackets":"}]{[\"\\"} `

func TestKinds(t *testing.T) {
	for text, want := range map[string]Kind{
		"null": Null, "true": Bool, "false": Bool, "0": Number, "-1": Number, "9e9": Number, `""`: String, "[]": Array, "{}": Object,
	} {
		v := must(t, text)
		if got := v.Kind(); got != want || !v.Exists() || string(v.Raw()) != text {
			t.Errorf("%s is %v, %q", text, got, v.Raw())
		}
	}
	var none Value
	if none.Exists() || none.Kind() != Absent || none.Raw() != nil || none.Len() != 0 || none.Decode() != nil || Of(nil).Exists() {
		t.Error("the zero value is something")
	}
	if got := Absent.String() + " " + Object.String() + " " + Kind(99).String(); got != "absent object unknown" {
		t.Error(got)
	}
}

func TestReads(t *testing.T) {
	v := must(t, someDocument)
	for _, c := range []struct{ path, want string }{
		{"a", "1.50e0"},
		{"b\"\n.0", "true"},
		{"b\"\n.3", `"x\ty"`},
		{"b\"\n.4", "{ }"},
		{"b\"\n.5", "[ ]"},
		{"b\"\n.6", ""},
		{"b\"\n.-1", ""},
		{"b\"\n.00", ""},
		{"b\"\n.x", ""},
		{"b\"\n.4.x", ""},
		{"nested.deep.list.0.id", "1"},
		{"nested.deep.list.1.id", `"two"`},
		{"nested.deep.list.2.0.0", "3"},
		{`nested.deep.a\.b`, `"dot"`},
		{`nested.deep.c\\d`, `"slash"`},
		{"nested.deep.a.b", ""},
		{"0", `"zero"`},
		{"twice", `{"last":true}`},
		{"twice.last", "true"},
		{"é😀", `"ok"`},
		{"é", ""},
		{"brackets", `"}]{[\"\\"`},
		{"a.b", ""},
		{"missing", ""},
		{"missing.more", ""},
	} {
		if got := string(v.At(path(t, c.path)).Raw()); got != c.want {
			t.Errorf("%s: %s; want %s", c.path, got, c.want)
		}
	}
	if got := string(v.At(Path{}).Raw()); got != strings.TrimSpace(someDocument) {
		t.Errorf("the empty path is at %s", got)
	}
	if got := v.Len(); got != 9 {
		t.Errorf("%d members", got)
	}
	if got := v.Member("b\"\n").Len(); got != 6 {
		t.Errorf("%d elements", got)
	}
	if got := string(v.Member("").Raw()); got != `"empty"` {
		t.Errorf("the member without a name is %s", got)
	}
	for _, other := range []string{"1", `"abc"`, "null", "[]", "{}", "[1]"} {
		o := must(t, other)
		if o.Member("0").Exists() || o.Index(-1).Exists() || o.Index(1).Exists() || o.Kind() != Array && o.Index(0).Exists() {
			t.Errorf("%s has members or elements", other)
		}
	}
}

func TestWalks(t *testing.T) {
	v := must(t, someDocument)
	var names, values []string
	for name, value := range v.Members {
		text, ok := name.AppendText(nil)
		if !ok {
			t.Errorf("the name %s is no string", name.Raw())
		}
		names = append(names, string(text))
		values = append(values, string(value.Raw()))
	}
	if want := []string{"a", "b\"\n", "nested", "", "0", "twice", "twice", "é😀", "brackets"}; !reflect.DeepEqual(names, want) {
		t.Errorf("names %q; want %q", names, want)
	}
	if want := "[ true, false ,null,\"x\\ty\" , { } , [ ] ]"; values[1] != want {
		t.Errorf("second value %s; want %s", values[1], want)
	}
	var items []string
	for item := range v.Member("b\"\n").Items {
		items = append(items, string(item.Raw()))
	}
	if want := []string{"true", "false", "null", `"x\ty"`, "{ }", "[ ]"}; !reflect.DeepEqual(items, want) {
		t.Errorf("items %q; want %q", items, want)
	}
	n := 0
	for range v.Members {
		if n++; n == 2 {
			break
		}
	}
	for range v.Member("b\"\n").Items {
		if n++; n == 4 {
			break
		}
	}
	for range v.Items {
		n = 100
	}
	for range v.Member("a").Members {
		n = 100
	}
	if n != 4 {
		t.Errorf("%d steps; want 4", n)
	}
}

func TestBool(t *testing.T) {
	for text, want := range map[string][2]bool{"true": {true, true}, "false": {false, true}, "null": {}, "1": {}, `"true"`: {}} {
		if b, ok := must(t, text).Bool(); b != want[0] || ok != want[1] {
			t.Errorf("%s is %t, %t", text, b, ok)
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct {
		text  string
		n     int64
		isInt bool
	}{
		{"0", 0, true}, {"-0", 0, true}, {"1", 1, true}, {"-1", -1, true}, {"12.0", 12, true}, {"1.2e1", 12, true}, {"12.50", 0, false}, {"120e-1", 12, true},
		{"0.0012e4", 12, true}, {"0.0012e3", 0, false}, {"1e18", 1_000_000_000_000_000_000, true}, {"1e19", 0, false}, {"0e99999999999999999999", 0, true},
		{"0.000e-99999999999999999999", 0, true}, {"1e99999999999999999999", 0, false}, {"1e-99999999999999999999", 0, false}, {"9223372036854775807", math.MaxInt64, true},
		{"9223372036854775808", 0, false}, {"-9223372036854775808", math.MinInt64, true}, {"-9223372036854775809", 0, false}, {"18446744073709551615", 0, false},
		{"18446744073709551616", 0, false}, {"18446744073709551620", 0, false}, {"99999999999999999999", 0, false}, {"92233720368547758070e-1", math.MaxInt64, true}, {"9223372036854775.807E+3", math.MaxInt64, true},
		{"1" + strings.Repeat("0", 100) + "e-100", 1, true}, {"0." + strings.Repeat("0", 99) + "7e100", 7, true}, {"0.5", 0, false}, {"1.5e0", 0, false}, {"100", 100, true}, {"10203.00", 10203, true},
		{`"1"`, 0, false}, {"null", 0, false}, {"true", 0, false}, {"[1]", 0, false},
	} {
		if n, ok := must(t, c.text).Int(); n != c.n || ok != c.isInt {
			t.Errorf("%.40s: %d, %t; want %d, %t", c.text, n, ok, c.n, c.isInt)
		}
	}
	for _, c := range []struct {
		text string
		f    float64
		ok   bool
	}{
		{"0", 0, true}, {"1.5", 1.5, true}, {"-1.5e3", -1500, true}, {"1e308", 1e308, true}, {"1e309", math.Inf(1), false}, {"-1e309", math.Inf(-1), false}, {"1e-400", 0, true},
		{"0.1", 0.1, true}, {"9007199254740993", 9007199254740992, true}, {`"1"`, 0, false}, {"null", 0, false}, {strings.Repeat("1", 60), 1.1111111111111111e59, true},
	} {
		if f, ok := must(t, c.text).Float(); f != c.f || ok != c.ok {
			t.Errorf("%s: %g, %t; want %g, %t", c.text, f, ok, c.f, c.ok)
		}
	}
	if f, _ := must(t, "-0").Float(); !math.Signbit(f) {
		t.Error("-0 has lost its sign")
	}
}

// TestSpecial holds that of eight bytes the first that is special is found, whichever it is, wherever it stands and whatever follows.
func TestSpecial(t *testing.T) {
	isSpecial := func(c int) bool { return c < ' ' || c == '"' || c == '\\' || c >= 0x80 }
	for _, plain := range []uint64{'a', ' ', '!', '#', '[', ']', 0x7F} {
		for _, next := range []uint64{'"', '\\', 0, 0x1F, 0x80, 0xA2, 0xDC, 0xFF, 'a'} {
			for c := range 256 {
				for place := range 8 {
					w := plain * repeat
					w = w&^(0xFF<<(8*place)) | uint64(c)<<(8*place)
					want := place
					if place < 7 {
						w = w&^(0xFF<<(8*place+8)) | next<<(8*place+8)
					}
					if !isSpecial(c) {
						if want = place + 1; place == 7 || !isSpecial(int(next)) {
							want = 8
						}
					}
					if got := bits.TrailingZeros64(special(w)) / 8; got != want {
						t.Fatalf("%016x: the first is %d; want %d", w, got, want)
					}
				}
			}
		}
	}
}

func TestText(t *testing.T) {
	for _, c := range []struct{ raw, text string }{
		{`""`, ""}, {`"abc"`, "abc"}, {`"a\"b"`, `a"b`}, {`"\b\f\n\r\t\/\\"`, "\b\f\n\r\t/\\"}, {`"\u0041\u00e9\u20AC"`, "Aé€"}, {`"\ud83d\ude00x"`, "😀x"}, {`"\u0000"`, "\x00"},
		{`"é"`, "é"}, {`"\uffff"`, "\uffff"}, {`"aaaaaaaaaaaaaaaaaaaaaa\u0041"`, "aaaaaaaaaaaaaaaaaaaaaaA"}, {`"\\u0041"`, `\u0041`}, {`"\ufffd"`, "\ufffd"},
	} {
		v := must(t, c.raw)
		if got, ok := v.AppendText([]byte("<")); string(got) != "<"+c.text || !ok {
			t.Errorf("%s: %q, %t", c.raw, got, ok)
		}
		if !v.Equals(c.text) {
			t.Errorf("%s does not equal %q", c.raw, c.text)
		}
		for _, other := range []string{c.text + "x", "x" + c.text, c.text + "\x00", strings.ToUpper(c.text) + "!"} {
			if v.Equals(other) {
				t.Errorf("%s equals %q", c.raw, other)
			}
		}
		if c.text != "" && v.Equals(c.text[:len(c.text)-1]) {
			t.Errorf("%s equals %q", c.raw, c.text[:len(c.text)-1])
		}
		again := AppendString([]byte("<"), []byte(c.text))
		if got := must(t, string(again[1:])); !got.Equals(c.text) {
			t.Errorf("%q is written as %s", c.text, again)
		}
	}
	if got, ok := must(t, "12").AppendText([]byte("<")); string(got) != "<" || ok {
		t.Errorf("a number has the text %q", got)
	}
	if must(t, "12").Equals("12") || (Value{}).Equals("") {
		t.Error("what is no string equals one")
	}
	for text, want := range map[string]string{
		"":                       `""`,
		"plain <&> é \u2028":     "\"plain <&> é \u2028\"",
		"\x00\x01\b\f\n\r\t\x1f": `"\u0000\u0001\b\f\n\r\t\u001f"`,
		"\x7f\"\\/":              "\"\x7f\\\"\\\\/\"",
		"\xff":                   "\"\ufffd\"",
		"a\xc3":                  "\"a\ufffd\"",
		"\xed\xa0\x80!":          "\"\ufffd\ufffd\ufffd!\"",
		"long enough for two\n":  `"long enough for two\n"`,
	} {
		if got := string(AppendString(nil, []byte(text))); got != want {
			t.Errorf("%q is written as %s; want %s", text, got, want)
		}
	}
}

func TestCompactAndDecode(t *testing.T) {
	v := must(t, someDocument)
	compact := AppendCompact([]byte("<"), v)
	if want := `<{"a":1.50e0,"b\u0022\n":[true,false,null,"x\ty",{},[]],"nested":{"deep":{"list":[{"id":1},{"id":"two"},[[3]]],"a.b":"dot","c\\d":"slash"}},` +
		`"":"empty","0":"zero","twice":1,"tw\u0069ce":{"last":true},"é\ud83d\ude00":"ok","brackets":"}]{[\"\\"}`; string(compact) != want {
		t.Errorf("compact: %s; want %s", compact, want)
	}
	want := map[string]any{
		"a": json.Number("1.50e0"), "b\"\n": []any{true, false, nil, "x\ty", map[string]any{}, []any{}}, "": "empty", "0": "zero",
		"nested": map[string]any{"deep": map[string]any{"a.b": "dot", `c\d`: "slash", "list": []any{
			map[string]any{"id": json.Number("1")}, map[string]any{"id": "two"}, []any{[]any{json.Number("3")}}}}},
		"twice": map[string]any{"last": true}, "é😀": "ok", "brackets": `}]{["\`,
	}
	if got := v.Decode(); !reflect.DeepEqual(got, want) {
		t.Errorf("decoded: %#v; want %#v", got, want)
	}
	deep := Of([]byte(strings.Repeat(`[{"a":`, 50_000) + strings.Repeat("}]", 50_000)))
	levels := 0
	for at := deep.Decode(); at != nil; levels++ {
		switch v := at.(type) {
		case []any:
			at = v[0]
		case map[string]any:
			at = v["a"]
		}
	}
	if levels != MaxDepth {
		t.Errorf("decoded %d levels; want %d", levels, MaxDepth)
	}
}

func TestOf(t *testing.T) {
	if got := string(Of([]byte(" \n[1] ")).Raw()); got != "[1]" {
		t.Errorf("%q", got)
	}
	if Of([]byte(" \n")).Exists() {
		t.Error("white space is a value")
	}
}
