package document

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

// wide are limits that no text of a test reaches.
var wide = Limits{Depth: MaxDepth, Keys: 1 << 30, Digits: math.MaxInt}

// accepted are texts that RFC 8259 allows. They cover what the cases y_* of JSONTestSuite cover.
var accepted = []string{
	`[]`, `{}`, ` [] `, "\t\r\n[\t\r\n]\t\r\n", `[[]   ]`, `[""]`, `["a"]`, `[false]`, `true`, `null`, `0`, `-0`, `-1`, `""`, `" "`, `42`, `-0.1`,
	`[null, 1, "1", {}]`, `[1,null,null,null,2]`, `[2] `, ` [1]`, `[0e+1]`, `[0e1]`, `[ 4]`, `[-0.000000000000000000000000000000000000000000000000000000000000000000000000000001]`,
	`[20e1]`, `[-0]`, `[-123]`, `[-1]`, `[1E22]`, `[1E-2]`, `[1E+2]`, `[123e45]`, `[123.456e78]`, `[1e-2]`, `[1e+2]`, `[123.456789]`, `[1.5]`,
	`{"asd":"sdf", "dfg":"fgh"}`, `{"a":"b","a":"c"}`, `{"a":"b","a":"b"}`, `{"":0}`, `{"foo\u0000bar": 42}`, `{ "min": -1.0e+28, "max": 1.0e+28 }`,
	"{\n\"a\": \"b\"\n}", `{"x":[{"id": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}], "id": "x"}`,
	`["\u0060\u012a\u12AB"]`, `["\ud801\udc37"]`, `["\uD83d\uDE39\ud83d\udc8d"]`, `["\"\\\/\b\f\n\r\t"]`, `["\\u0000"]`, `["\""]`, `["a/*b*/c/*d//e"]`,
	`["\\a"]`, `["\\n"]`, `["\u0012"]`, `["\uFFFF"]`, `["asd "]`, `["\uDBFF\uDFFF"]`, `["new\u00A0line"]`, "[\"\U0010ffff\"]", "[\"\uffff\"]",
	`["\u0000"]`, `["\u002c"]`, "[\"\u03c0\"]", "[\"\U0001bfff\"]", "[\" \"]", "[\"\u2028\"]", "[\"\u2029\"]", `["\u0061\u30af\u30EA\u30b9"]`, "[\"new line\"]", "[\"\u007f\"]",
	`["\uA66D"]`, "[\"\u2342\u3648\u2639\u2603\"]", `["\u0022"]`, `["\uDBFF\uDFFE"]`, `["\uD83F\uDFFE"]`, `["\u200B"]`, `["\u2064"]`, `["\uFDD0"]`, `["\uFFFE"]`, `["\u005C"]`,
	`[""]`, "[\"\ufffd\"]", `["\ufffd"]`, "\"\u20ac\U0001d11e\"", `[1.7976931348623157e400]`, `[100000000000000000000000000000000000]`, `[123123e100]`,
}

// refusedTexts are texts that are not JSON, each with the offset of what is wrong. They cover what the cases n_* of JSONTestSuite cover, and
// those i_* that are about text: half surrogates and bytes that are not UTF-8.
var refusedTexts = []struct {
	text   string
	offset int
}{
	{``, 0}, {` `, 1}, {`[1 true]`, 3}, {"[a\xe5]", 1}, {`["": 1]`, 3}, {`[""],`, 4}, {`[,1]`, 1}, {`[1,,2]`, 3}, {`["x",,]`, 5}, {`["x"]]`, 5},
	{`["",]`, 4}, {`["x"`, 4}, {`[x`, 1}, {`[3[4]]`, 2}, {"[\xff]", 1}, {`[1:2]`, 2}, {`[,]`, 1}, {`[-]`, 2}, {`[   , ""]`, 4}, {"[\"a\",\n4\n,1,", 11},
	{`[1,]`, 3}, {"[\"\va\"\\f]", 2}, {`[*]`, 1}, {`[1,`, 3}, {"[1,\n1\n,1", 8}, {`[{}`, 3}, {`[fals]`, 5}, {`[nul]`, 4}, {`[tru]`, 4}, {"123\x00", 3},
	{`[++1234]`, 1}, {`[+1]`, 1}, {`[+Inf]`, 1}, {`[-01]`, 3}, {`[-1.0.]`, 5}, {`[-2.]`, 4}, {`[-NaN]`, 2}, {`[.-1]`, 1}, {`[.2e-3]`, 1}, {`[0.1.2]`, 4},
	{`[0.3e+]`, 6}, {`[0.3e]`, 5}, {`[0.e1]`, 3}, {`[0E+]`, 4}, {`[0E]`, 3}, {`[1.0e+]`, 6}, {`[1.0e-]`, 6}, {`[1.0e]`, 5}, {`[1 000.0]`, 3}, {`[1eE2]`, 3},
	{`[2.e+3]`, 3}, {`[2.e3]`, 3}, {`[9.e+]`, 3}, {`[Inf]`, 1}, {`[NaN]`, 1}, {"[\uff11]", 1}, {`[1+2]`, 2}, {`[0x1]`, 2}, {`[0x42]`, 2}, {`[Infinity]`, 1},
	{`[0e+-1]`, 4}, {`[-123.123foo]`, 9}, {"[123\xe5]", 4}, {"[1e1\xe5]", 4}, {"[0\xe5]\n", 2}, {`[-Infinity]`, 2}, {`[-foo]`, 2}, {`[- 1]`, 2}, {`[-012]`, 3}, {`[-.123]`, 2},
	{`[-1x]`, 3}, {`[1ea]`, 3}, {"[1e\xe5]", 3}, {`[1.]`, 3}, {`[.123]`, 1}, {`[1.2a-3]`, 4}, {`[1.8011670033376514H-308]`, 19}, {`[012]`, 2}, {`01`, 1}, {`00`, 1},
	{`["x", truth]`, 9}, {`{[: "x"}`, 1}, {`{"x", null}`, 4}, {`{"x"::"b"}`, 5}, {"{\U0001f1e8\U0001f1ed}", 1}, {`{"a":"a" 123}`, 9}, {`{key: 'value'}`, 1}, {"{\"\xb9\":\"0\",}", 2},
	{`{"a" b}`, 5}, {`{:"b"}`, 1}, {`{"a" "b"}`, 5}, {`{"a":`, 5}, {`{"a"`, 4}, {`{1:1}`, 1}, {`{9999E9999:1}`, 1}, {`{null:null,null:null}`, 1}, {`{"id":0,,,,,}`, 8},
	{`{'a':0}`, 1}, {`{"id":0,}`, 8}, {`{"a":"b"}/**/`, 9}, {`{"a":"b"}/**//`, 9}, {`{"a":"b"}//`, 9}, {`{"a":"b",,"c":"d"}`, 9}, {`{a: "b"}`, 1}, {`{"a":"a`, 7},
	{`{ "foo" : "bar", "a" }`, 21}, {`{"a":"b"}#`, 9}, {`["\uD800\"]`, 2}, {`["\uD800\u"]`, 2}, {`["\uD800\u1"]`, 2}, {`["\uD800\u1x"]`, 2}, {`[é]`, 1},
	{"[\"\\\x00\"]", 2}, {`["\x00"]`, 2}, {`["\\\"]`, 7}, {"[\"\\\t\"]", 2}, {"[\"\\\U0001f300\"]", 2}, {`["\"]`, 5}, {`["\u00A"]`, 2}, {`["\uD834\uDd"]`, 2},
	{`["\uD800\uD800\x"]`, 2}, {`["\a"]`, 2}, {`["\uqqqq"]`, 2}, {"[\"\\\xe5\"]", 2}, {`[\u0020"asd"]`, 1}, {`[\n]`, 1}, {`"`, 1}, {`['single quote']`, 1}, {`abc`, 0},
	{`["\`, 2}, {"[\"a\x00a\"]", 3}, {"[\"new\nline\"]", 5}, {"[\"\t\"]", 2}, {`"\UA66D"`, 1}, {`""x`, 2}, {"[\u2060]", 1}, {"\xef\xbb\xbf", 0}, {"\xef\xbb\xbf{}", 0},
	{`<.>`, 0}, {`[<null>]`, 1}, {`[1]x`, 3}, {`[1]]`, 3}, {`["asd]`, 6}, {`aå`, 0}, {`[True]`, 1}, {`1]`, 1}, {`{"x": true,`, 11}, {`[][]`, 2}, {`]`, 0},
	{"\xef\xbb{}", 0}, {"\xe5", 0}, {`[`, 1}, {"[\x00]", 1}, {`2@`, 1}, {`{}}`, 2}, {`{"":`, 4}, {`{"a":/*comment*/"b"}`, 5}, {`{"a": true} "x"`, 12}, {`['`, 1},
	{`[,`, 1}, {`[{`, 2}, {`["a`, 3}, {`["a"`, 4}, {`{`, 1}, {`{]`, 1}, {`{,`, 1}, {`{[`, 1}, {`{"a`, 3}, {`{'a'`, 1}, {`["\{["\{["\{`, 2}, {`*`, 0}, {`{"a":"b"}#{}`, 9},
	{`[\u000A""]`, 1}, {`[1`, 2}, {`[ false, nul`, 12}, {`[ true, fals`, 12}, {`[ false, tru`, 12}, {`{"asd":"asd"`, 12}, {"\u00e5", 0}, {"[\u2060]", 1}, {"[\f]", 1}, {"[\v]", 1}, {"[\u00a0]", 1},
	{`["\uDADA"]`, 2}, {`["\uD888\u1234"]`, 2}, {`["\uD800\n"]`, 2}, {`["\uDd1ea"]`, 2}, {`["\uD800\uD800\n"]`, 2}, {`["\ud800"]`, 2}, {`["\ud800abc"]`, 2}, {`["\uDd1e\uD834"]`, 2}, {`["\uDFAA"]`, 2},
	{"[\"\xff\"]", 2}, {"[\"\xe6\x97\xa5\xd1\x88\xfa\"]", 7}, {"[\"\xf4\xbf\xbf\xbf\"]", 2}, {"[\"\xc0\xaf\"]", 2}, {"[\"\xfc\x83\xbf\xbf\xbf\xbf\"]", 2}, {"[\"\x81\"]", 2},
	{"[\"\xe9\"]", 2}, {"[\"\xed\xa0\x80\"]", 2}, {"[\"\xe0\xff\"]", 2}, {"\xff\xfe[\x00]\x00", 0}, {"\"aaaaaaaaaaaaaaa\x1f\"", 16}, {"\"aaaaaaaa\xc3\"", 9}, {"{\"a\":1}\x00", 7}, {`{"a":1]`, 6}, {`[1}`, 2},
	{`{"a":tru}`, 8}, {`nul`, 3}, {`nulll`, 4}, {`-`, 1}, {`1e`, 2}, {`1.`, 2}, {`{"a":1,}`, 7}, {`{"a":1 "b":2}`, 7}, {`"\u12"`, 1}, {`"\u123g"`, 1},
}

func TestParse(t *testing.T) {
	for _, text := range accepted {
		for _, duplicates := range []bool{false, true} {
			v, err := Parse([]byte(text), Limits{Duplicates: duplicates && !strings.Contains(text, `"a":"b","a"`)})
			if err != nil {
				t.Errorf("%q is refused: %v", text, err)
			} else if want := strings.Trim(text, " \t\r\n"); string(v.Raw()) != want {
				t.Errorf("%q is read as %q", text, v.Raw())
			}
		}
	}
	for _, c := range refusedTexts {
		v, err := Parse([]byte(c.text), Limits{})
		var e *Error
		if !errors.As(err, &e) || e.Kind != Invalid || e.Offset != c.offset || v.Exists() {
			t.Errorf("%q: %v with %v; want it invalid at byte %d", c.text, err, v.Kind(), c.offset)
		}
	}
}

// TestParsePrefixes cuts texts short: none is JSON before its end, and reading stays within what is there.
func TestParsePrefixes(t *testing.T) {
	for _, text := range accepted {
		if text = strings.TrimSpace(text); strings.ContainsAny(text[:1], "-0123456789") {
			continue
		}
		for n := range len(text) {
			short := []byte(text)[:n:n]
			_, err := Parse(short, Limits{})
			var e *Error
			if !errors.As(err, &e) || e.Kind != Invalid || e.Offset > n {
				t.Errorf("%q: %v", short, err)
			}
		}
	}
}

// TestParseAlignment puts what is special in a string at every place of the eight bytes that are looked at together.
func TestParseAlignment(t *testing.T) {
	for before := range 20 {
		for after := range 20 {
			for _, c := range []struct {
				in string
				ok bool
			}{{`\"`, true}, {"é", true}, {"\U0001f600", true}, {`\ud83d\ude00`, true}, {"\x1f", false}, {"\x00", false}, {"\x80", false}, {`"`, false}, {`\`, false}, {"\x7f", true}, {"!", true}, {"[", true}, {"]", true}, {"#", true}} {
				text := `["` + strings.Repeat("a", before) + c.in + strings.Repeat("b", after) + `"]`
				v, err := Parse([]byte(text), Limits{})
				if (err == nil) != c.ok && !(c.in == `\` && after > 0 && err == nil) { // \b is an escape
					t.Errorf("%q: %v", text, err)
				}
				if err == nil && v.Len() != 1 {
					t.Errorf("%q has %d elements", text, v.Len())
				}
			}
		}
	}
}

func TestLimits(t *testing.T) {
	members := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"k%d":%d`, i, i)
		}
		return "{" + b.String()[1:] + "}"
	}
	digits := strings.Repeat("7", 1000)
	for _, c := range []struct {
		name   string
		text   string
		limits Limits
		want   error
	}{
		{"default depth", strings.Repeat("[", 64) + strings.Repeat("]", 64), Limits{}, nil},
		{"over default depth", strings.Repeat("[", 65) + strings.Repeat("]", 65), Limits{}, &Error{TooDeep, 64}},
		{"objects count", `{"a":{"b":[{}]}}`, Limits{Depth: 3}, &Error{TooDeep, 11}},
		{"a value at the limit", `{"a":{"b":[1]}}`, Limits{Depth: 3}, nil},
		{"depth one", `[1,"a",null]`, Limits{Depth: 1}, nil},
		{"depth is not breadth", `[[],[],[{}],[]]`, Limits{Depth: 3}, nil},
		{"largest depth", strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth), Limits{Depth: 1 << 30}, nil},
		{"over largest depth", strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1), Limits{Depth: 1 << 30}, &Error{TooDeep, MaxDepth}},
		{"default keys", members(10_000), Limits{}, nil},
		{"over default keys", members(10_001), Limits{}, &Error{TooManyKeys, len(members(10_000))}},
		{"keys over all objects", `[{"a":1},{"a":1},{"a":{"a":1}}]`, Limits{Keys: 3}, &Error{TooManyKeys, 23}},
		{"keys to the limit", `[{"a":1},{"a":1},{"a":{"a":1}}]`, Limits{Keys: 4}, nil},
		{"default digits", digits, Limits{}, nil},
		{"over default digits", "[" + digits + "1]", Limits{}, &Error{NumberTooLong, 1}},
		{"sign and point are no digits", "-" + digits[:999] + ".5", Limits{}, nil},
		{"over in the fraction", "-" + digits[:999] + ".55", Limits{}, &Error{NumberTooLong, 0}},
		{"the exponent counts", "1e999", Limits{}, nil},
		{"over by the exponent", "1e1000", Limits{}, &Error{NumberTooLong, 0}},
		{"over by a negative exponent", `{"a": 1E-1000}`, Limits{}, &Error{NumberTooLong, 6}},
		{"a bomb for who computes exactly", "[1,1e999999999]", Limits{}, &Error{NumberTooLong, 3}},
		{"an exponent beyond all integers", "1e" + strings.Repeat("9", 500), Limits{}, &Error{NumberTooLong, 0}},
		{"zeros in the exponent", "1e" + strings.Repeat("0", 1000) + "1", Limits{}, &Error{NumberTooLong, 0}},
		{"syntax before bounds", digits + "1.", Limits{}, &Error{Invalid, 1002}},
		{"duplicates unchecked", `{"a":1,"a":2}`, Limits{}, nil},
		{"duplicates", `{"a":1,"a":2}`, Limits{Duplicates: true}, &Error{DuplicateKey, 7}},
		{"duplicates by escapes", `{"ab":1,"a\u0062":2}`, Limits{Duplicates: true}, &Error{DuplicateKey, 8}},
		{"duplicates, both with escapes", `{"\u0061b":1,"a\u0062":2}`, Limits{Duplicates: true}, &Error{DuplicateKey, 13}},
		{"duplicate surrogates", "{\"\\ud83d\\ude00\":1,\"\U0001f600\":2}", Limits{Duplicates: true}, &Error{DuplicateKey, 18}},
		{"duplicate empty names", `{"":1,"":2}`, Limits{Duplicates: true}, &Error{DuplicateKey, 6}},
		{"duplicate behind an object", `{"a":{"a":[{"a":1}],"b":2},"b":3,"a":4}`, Limits{Duplicates: true}, &Error{DuplicateKey, 33}},
		{"same name in other objects", `{"a":{"a":[{"a":1},{"a":1}],"b":2},"b":{"a":1}}`, Limits{Duplicates: true}, nil},
		{"not quite duplicates", `{"a":1,"A":1,"a ":1,"á":1,"a\u0000":1,"":1}`, Limits{Duplicates: true}, nil},
		{"last of many", members(9999)[:len(members(9999))-1] + `,"k17":1}`, Limits{Duplicates: true}, &Error{DuplicateKey, len(members(9999))}},
		{"many", members(10_000), Limits{Duplicates: true}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := Parse([]byte(c.text), c.limits)
			if c.want == nil {
				if err != nil || string(v.Raw()) != c.text {
					t.Errorf("refused: %v", err)
				}
				return
			}
			var e *Error
			if !errors.As(err, &e) || *e != *c.want.(*Error) {
				t.Errorf("%v; want %v", err, c.want)
			}
		})
	}
}

// TestBombs gives Parse what is made to exhaust it. All end at their bound, long before the end of the text.
func TestBombs(t *testing.T) {
	const size = 1 << 20
	for _, c := range []struct {
		name string
		text string
		kind ErrorKind
		max  int // the largest offset
	}{
		{"arrays", strings.Repeat("[", size), TooDeep, DefaultDepth},
		{"objects", strings.Repeat(`{"":`, size/4), TooDeep, 4 * DefaultDepth},
		{"mixed", strings.Repeat(`[{"a":`, size/6), TooDeep, 6 * DefaultDepth},
		{"members", "{" + strings.Repeat(`"":0,`, size/5), TooManyKeys, 5 * (DefaultKeys + 1)},
		{"objects in a row", "[" + strings.Repeat(`{"":0},`, size/7), TooManyKeys, 7 * (DefaultKeys + 1)},
		{"digits", strings.Repeat("9", size), NumberTooLong, 0},
		{"exponents", "[" + strings.Repeat("1e999999,", size/9), NumberTooLong, 1},
	} {
		_, err := Parse([]byte(c.text), Limits{})
		var e *Error
		if !errors.As(err, &e) || e.Kind != c.kind || e.Offset > c.max {
			t.Errorf("%s: %v; want %q by byte %d", c.name, err, c.kind, c.max)
		}
	}
}

// TestNamesStayApart holds what keeps the check of duplicates linear: whatever the names are, few share a place in the table.
func TestNamesStayApart(t *testing.T) {
	for _, form := range []string{"%d", "k%08d", "%d000000000000000000", "\\u0061%d", "%064d"} {
		n := borrowNames()
		n.enter()
		for i := range 10_000 {
			if _, added := n.add(fmt.Appendf(nil, form, i), strings.Contains(form, "\\")); !added {
				t.Fatalf(form+" is taken for another", i)
			}
		}
		steps := 0
		mask := len(n.slots) - 1
		for _, m := range n.list {
			steps += (int(m.slot) - int(m.hash)) & mask
		}
		if steps > 40_000 { // about 5,000 at this load
			t.Errorf("%q: %d steps for 10,000 names", form, steps)
		}
		n.leave()
		for i, at := range n.slots {
			if at != 0 {
				t.Fatalf("%q: slot %d is taken by a name that has gone", form, i)
			}
		}
		n.release()
	}
}

// TestTablesForget looks at released tables: they are empty and refer to no text, whatever has happened before.
func TestTablesForget(t *testing.T) {
	for _, text := range []string{`{"a":{"b":1,"c":{}},"d":[{"e":1}]}`, `{"a":{"b":1,"c":{"f":1,"f":2}}}`, `{"a":{"b":1,"c":{"f":`, string(ordinary(10_000))} {
		n := borrowNames()
		p := parser{text: []byte(text), depthLimit: 64, keys: 10_000, digits: 100, names: n}
		p.value(0)
		n.release()
		if len(n.slots) != firstSlots || len(n.list) != 0 || len(n.open) != 0 {
			t.Errorf("%q leaves %d slots, %d names, %d objects", text, len(n.slots), len(n.list), len(n.open))
		}
		for _, at := range n.slots[:cap(n.slots)] {
			if at != 0 {
				t.Errorf("%q leaves a slot that is taken", text)
			}
		}
		for _, m := range n.list[:cap(n.list)] {
			if m.raw != nil {
				t.Errorf("%q leaves the name %q", text, m.raw)
			}
		}
	}
}

func TestErrorText(t *testing.T) {
	_, err := Parse([]byte(`{"secret": hunter2}`), Limits{})
	if got, want := err.Error(), "not valid JSON at byte 11"; got != want {
		t.Errorf("%q; want %q", got, want)
	}
	if got := ErrorKind(200).String(); got != "refused" {
		t.Error(got)
	}
}
