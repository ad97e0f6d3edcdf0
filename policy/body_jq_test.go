package policy

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/itchyny/gojq"

	"github.com/sluice-gateway/sluice/document"
)

// runJQ runs a program on a text and returns its output, or the error.
func runJQ(t testing.TB, src, text string) (string, error) {
	t.Helper()
	p, failure := compileJQ(src)
	if failure != nil {
		t.Fatalf("%s: %s", src, failure.message)
	}
	v, err := document.Parse([]byte(text), editLimits)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	m := newBodyMemory(maxBodyMemory)
	k, out, err := p.run(m, v, minOutput)
	if err != nil {
		if m.held.Load() != 0 {
			t.Errorf("%d bytes held after %v", m.held.Load(), err)
		}
		return "", err
	}
	result := string(out)
	m.give(k)
	if m.held.Load() != 0 {
		t.Errorf("%d bytes held", m.held.Load())
	}
	return result, nil
}

// What a program passes on keeps its order and its bytes; numbers keep their digits.
func TestJQBytes(t *testing.T) {
	for _, c := range []struct{ program, in, out string }{
		{`.`, `{"b": 1.10, "a" :[1e2 , "\u00e9"]}`, `{"b": 1.10, "a" :[1e2 , "\u00e9"]}`},
		{`del(.x)`, `{"b": 1.10, "x":1, "a" :[1e2 , "\u00e9"]}`, `{"b": 1.10, "a" :[1e2 , "\u00e9"]}`},
		{`del(.x, .y)`, `{"x":1,"b":1.10,"y":1,"a":2}`, `{"b":1.10,"a":2}`},
		{`del(.x)`, `null`, `null`},
		{`del(.x)`, `[1]`, ``},
		{`del(.x) | .`, `{"b": 1.10, "x":1, "a" :[1e2 , "\u00e9"]}`, `{"b":1.10,"a":[1e2 , "\u00e9"]}`},
		{`del(.x.y)`, `{"b": 1.10, "x":{"y":1,"a": 2}}`, `{"b":1.10,"x":{"a":2}}`},
		{`.a`, `{"a": 123456789012345678901234567890}`, `123456789012345678901234567890`},
		{`.a`, `{"a": 0.1000000000000000055511151231257827}`, `0.1000000000000000055511151231257827`},
		{`-.a`, `{"a": 1.50}`, `-1.50`},
		{`.n += 1`, `{"z":1.0,"n":41,"a":2.0}`, `{"z":1.0,"n":42,"a":2.0}`},
		{`.new = 1`, `{"z":1,"a":2}`, `{"z":1,"a":2,"new":1}`},
		{`{total: (.items | length), items}`, `{"items":[{"id":2,"a":1},{"id":1}]}`, `{"items":[{"id":2,"a":1},{"id":1}],"total":2}`},
		{`{items: [.items[] | select(.ok)]}`, `{"items":[{"z":1,"ok":false},{"z":2,"ok":true,"a":1}]}`, `{"items":[{"z":2,"ok":true,"a":1}]}`},
		{`.items |= map(del(.secret))`, `{"items":[{"z":1,"secret":2,"a":3},{"z":4,"a":5}]}`, `{"items":[{"z":1,"a":3},{"z":4,"a":5}]}`},
		{`.data | del(.x)`, `{"data":{"z":1,"x":2,"a":3}}`, `{"z":1,"a":3}`},
		{`.items | sort_by(.n)`, `{"items":[{"z":0,"n":2},{"n":1,"a":0}]}`, `[{"n":1,"a":0},{"z":0,"n":2}]`},
		{`.list[1:]`, `{"list":[{"b":1},{"b":2,"a":3}]}`, `[{"b":2,"a":3}]`},
		{`[.list[:1], .list]`, `{"list":[ 1 , 2 ]}`, `[[1],[ 1 , 2 ]]`},
		{`with_entries(.value |= tostring)`, `{"b":1,"a":2}`, `{"b":"1","a":"2"}`},
		{`.a + .b`, `{"a":{"y":1},"b":{"x":2}}`, `{"y":1,"x":2}`},
		{`{b: 1, a: 2}`, `{}`, `{"a":2,"b":1}`},
		{`"<&>\u2028"`, `{}`, "\"<&>\u2028\""},
		{`[nan, infinite, -infinite, 1e1000, null, true]`, `0`, `[null,1.7976931348623157e+308,-1.7976931348623157e+308,1.7976931348623157e+308,null,true]`},
		{`[.a / 2, .a * 3, .a - 1]`, `{"a":7}`, `[3.5,21,6]`},
		{`[1, []]`, `[]`, `[1,[]]`},
		{`"\(.a) \(.b)"`, `{"a":1.0,"b":"x"}`, `"1.0 x"`},
		{`.a *= 2 | .b -= 1`, `{"a":2,"b":3}`, `{"a":4,"b":2}`},
		{`.l -= [1]`, `{"l":[1,2,1]}`, `{"l":[2]}`},
		{`"ab" * .n`, `{"n":3}`, `"ababab"`},
		{`.o * {b: {c: 1}}`, `{"o":{"b":{"d":2}}}`, `{"b":{"d":2,"c":1}}`},
		{`[.[0][.i]]`, `[{"i":0}]`, ``},
		{`.l[.i]`, `{"l":[5,6],"i":1}`, `6`},
		{`.l[.i] = 9`, `{"l":[5,6],"i":1}`, `{"l":[5,9],"i":1}`},
		{`getpath(["a", "b"])`, `{"a":{"b":[1, 2]}}`, `[1, 2]`},
		{`[.a | test("^x")], (.a | sub("x"; "y"))`, `{"a":"xx"}`, `[true]`},
		{`.a | gsub("x"; "y")`, `{"a":"xx"}`, `"yy"`},
		{`.a | fromjson`, `{"a":"[1.10]"}`, `[1.10]`},
		{`.a | tonumber`, `{"a":"12"}`, `12`},
		{`[[1,2],[3]] | transpose`, `0`, `[[1,3],[2,null]]`},
		{`[contains({a: "b"}), (.a | inside("abc")), ("abcb" | indices("b")), ("abcb" | index("b")), ("abcb" | rindex("b"))]`, `{"a":"bc"}`, `[true,true,[1,3],1,3]`},
	} {
		got, err := runJQ(t, c.program, c.in)
		if c.out == "" {
			if err == nil {
				t.Errorf("%s: %s, want an error", c.program, got)
			}
			continue
		}
		if err != nil || got != c.out {
			t.Errorf("%s of %s\ngot  %s, %v\nwant %s", c.program, c.in, got, err, c.out)
		}
	}
}

// A program ends within its bounds, whatever it is and whatever it is given.
func TestJQBounds(t *testing.T) {
	ones := "[" + strings.Repeat("1,", 200_000) + "2]"
	for _, c := range []struct{ name, program, in string }{
		{"a loop", `def f: f; f`, `0`},
		{"recursion", `def f: 1 + f; f`, `0`},
		{"repeat", `[repeat(1)]`, `0`},
		{"range", `[range(.n)]`, `{"n":1e9}`},
		{"until", `0 | until(. < 0; . + 1)`, `0`},
		{"a text repeated", `"abc" * .n`, `{"n":1e9}`},
		{"a text repeated, the other way", `.n * "abc"`, `{"n":1e9}`},
		{"a text repeated in its place", `.t *= .n`, `{"t":"abc","n":1e9}`},
		{"an element far out", `.a[.n] = 1`, `{"a":[],"n":500000000}`},
		{"a path far out", `setpath(["a", .n]; 1)`, `{"a":[],"n":500000000}`},
		{"the difference of long lists", `.a - .b`, `{"a":` + ones + `,"b":` + ones + `}`},
		{"the same in its place", `.a -= .b`, `{"a":` + ones + `,"b":` + ones + `}`},
		{"a list in a list", `. as $d | .a | contains($d.b)`, `{"a":` + ones + `,"b":` + ones + `}`},
		{"an index in a list", `. as $d | .a | indices($d.b)`, `{"a":` + ones + `,"b":` + ones + `}`},
		{"transposed", `transpose`, `[` + strings.Repeat("[],", 2000) + ones + `]`},
		{"all matches", `.a | gsub("x"; "y")`, `{"a":"` + strings.Repeat("x", 200_000) + `"}`},
		{"a long number", `.a | tonumber | . * .`, `{"a":"` + strings.Repeat("9", 200_000) + `"}`},
		{"JSON in a text", `.a | fromjson`, `{"a":"` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `"}`},
		{"much output", `[range(200000)] | map("0123456789")`, `0`},
		{"a text that doubles", `reduce range(60) as $i ("x"; . + .)`, `0`},
		{"a list that doubles", `reduce range(60) as $i ([1]; . + .)`, `0`},
		{"a list that doubles in its place", `{l: [1]} | reduce range(60) as $i (.; .l += .l)`, `0`},
		{"text of a value that doubles", `reduce range(60) as $i (1; [., .]) | tojson`, `0`},
		{"a value that doubles, compared", `reduce range(60) as $i (1; {a: ., b: .}) | . == (. | .a)`, `0`},
		{"a number that doubles", `reduce range(60) as $i (3; . * .) | tostring | length`, `0`},
		{"depth", `reduce range(50000) as $i (1; [.])`, `0`},
		{"output that doubles", `reduce range(40) as $i (.; [., .])`, `{"a":1}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			begin := time.Now()
			got, err := runJQ(t, c.program, c.in)
			t.Logf("%v: %v", time.Since(begin).Round(time.Millisecond), err)
			if err == nil {
				t.Errorf("it ends with %.40s", got)
			}
		})
	}
}

// A run that is ended says so, and the next is not touched by it.
func TestJQBudget(t *testing.T) {
	p, failure := compileJQ(`if .loop then [repeat(1)] else .a end`)
	if failure != nil {
		t.Fatal(failure.message)
	}
	m := newBodyMemory(maxBodyMemory)
	for range 3 {
		if _, _, err := p.run(m, document.Of([]byte(`{"loop":true}`)), minOutput); err != errJQBudget {
			t.Errorf("%v", err)
		}
		k, out, err := p.run(m, document.Of([]byte(`{"a":1}`)), minOutput)
		if err != nil || string(out) != "1" {
			t.Errorf("%s, %v", out, err)
		}
		m.give(k)
	}
	small := newBodyMemory(8 << 10)
	if _, _, err := p.run(small, document.Of([]byte(`{"a":[`+strings.Repeat("1,", 1000)+`1]}`)), minOutput); err != errBodyMemory || small.held.Load() != 0 {
		t.Errorf("%v with %d bytes held", err, small.held.Load())
	}
}

// Whatever a program does: what is written is what the interpreter has put out, in another order of members and with the input's own spelling.
func FuzzJQ(f *testing.F) {
	for _, program := range []string{
		`.`, `del(.a)`, `.a`, `[.[]?]`, `.a.b = 1`, `map_values(1)?`, `to_entries?`, `with_entries(.)?`, `.[1:]?`, `reverse?`, `[., .]`, `{a: ., b: .a?}`,
		`. as [$a, $b] | [$b, $a]`, `try error catch .`, `[paths]`, `.. | numbers`, `[.. | strings]`, `walk(.)`, `. * .`, `. - .`, `.[0] *= 2`, `add?`,
		`def f(x): x | x; f(.a?)`, `reduce .[]? as $x (0; . - 1)`, `limit(3; repeat(.))`, `tojson`, `tostream`, `[splits("a")]?`, `label $f | 1, break $f`,
		`.a[.b] |= 2`, `"x" * .a`, `.["a", "b"]?`, `if .a then .b else .c end`, `@base64 "\(.)"`, `group_by(.a)?`, `unique?`, `flatten?`, `input`, `[limit(5; range(.a))]?`,
	} {
		f.Add(program, `{"a":{"b":1.10,"x":[1,2]},"c":["z",null],"b":2}`)
		f.Add(program, `[[3,1],[2],{"a":1e2}]`)
	}
	m := newBodyMemory(maxBodyMemory)
	f.Fuzz(func(t *testing.T, program, text string) {
		if len(program) > 1000 || len(text) > 1000 {
			return
		}
		p, failure := compileJQ(program)
		v, err := document.Parse([]byte(text), editLimits)
		if failure != nil || err != nil || p == nil {
			return
		}
		held := m.held.Load()
		k, out, err := p.run(m, v, minOutput)
		if err == nil {
			compare(t, p, v, out)
			m.give(k)
		}
		if m.held.Load() != held {
			t.Errorf("%d bytes more are held", m.held.Load()-held)
		}
	})
}

// compare runs the program once more and compares what it puts out with what was written.
func compare(t *testing.T, p *jqProgram, v document.Value, out []byte) {
	t.Helper()
	if _, err := document.Parse(out, document.Limits{Depth: document.MaxDepth, Keys: 1 << 30, Digits: 1 << 30}); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, out)
	}
	d := jqDecoder{origins: map[uintptr]jqOrigin{}}
	result, ok := p.code.Run(d.value(v)).Next()
	if !ok {
		t.Fatal("no output at another time")
	}
	plain, err := gojq.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(plain), "\ufffd") || bytes.Contains(v.Raw(), []byte("now")) {
		return
	}
	if a, b := parsed(t, plain), parsed(t, out); !reflect.DeepEqual(a, b) {
		t.Errorf("written %s\nput out %s", out, plain)
	}
}

func parsed(t *testing.T, text []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}
