package config

import (
	"fmt"
	"strings"
	"testing"
)

// TestSyntaxErrorsNameTheLine covers errors for which the YAML library names the beginning of the map around them.
func TestSyntaxErrorsNameTheLine(t *testing.T) {
	block := func(n int) string {
		var b strings.Builder
		b.WriteString(head + "routes:\n")
		for i := range n {
			fmt.Fprintf(&b, "  - name: r%d\n    match: {path: /p%d,\n            method: GET}\n    respond: {}\n", i, i)
		}
		return b.String()
	}
	for _, tc := range []struct {
		name, text string
		line       int
	}{
		{"a wrong indentation at the end", block(3) + "   backends: {}\n", 16},
		{"a wrong indentation in a long file", block(2000) + "   backends: {}\n" + strings.Repeat("# end\n", 100), 8004},
		{"a bracket left open, text behind", head + "backends: {a: {endpoints: []}\nroutes: []\nadmin: {}\n", 3},
		{"a map in braces over many lines, the line before", "{\n\"version\": 1,\n\"listeners\": {},,\n\"routes\": []\n}\n", 2},
		{"a quote left open", head + "problems: {type: \"x}\n", 3},
		{"in the first line", "}\n" + head, 1},
		{"in the last line", head + "}", 3},
	} {
		errs := refuse(t, tc.text)
		if len(errs) != 1 || errs[0].Line != tc.line || !strings.HasPrefix(errs[0].Message, "not valid YAML: ") {
			t.Errorf("%s: %v, want line %d", tc.name, errs, tc.line)
		}
	}
}

// TestLinesAreSplitAsYAMLDoes: a place must be in the line that the YAML library counts.
func TestLinesAreSplitAsYAMLDoes(t *testing.T) {
	for _, newline := range []string{"\n", "\r\n", "\r", "\u0085", "\u2028", "\u2029"} {
		text := strings.ReplaceAll("version: 1\n# é\nlisteners:\n  web: {adress: x}\n", "\n", newline)
		errs := refuse(t, text)
		last := errs[len(errs)-1]
		if last.Line != 4 || last.Column != 9 || last.Source != "  web: {adress: x}" || last.Caret != 8 {
			t.Errorf("%q: %+v", newline, last)
		}
	}
}
