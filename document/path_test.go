package document

import (
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	for _, c := range []struct {
		src   string
		names []string
	}{
		{"a", []string{"a"}},
		{"items.0.id", []string{"items", "0", "id"}},
		{`a\.b.c`, []string{"a.b", "c"}},
		{`a\\.b`, []string{`a\`, "b"}},
		{`\\\.`, []string{`\.`}},
		{"with space.é", []string{"with space", "é"}},
		{"-", []string{"-"}},
		{"$.x", []string{"$", "x"}},
	} {
		p, err := ParsePath(c.src)
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
			continue
		}
		var names []string
		for _, s := range p.steps {
			names = append(names, s.name)
		}
		if strings.Join(names, "|") != strings.Join(c.names, "|") || p.String() != c.src {
			t.Errorf("%s: %q, written %s", c.src, names, p)
		}
	}
	for _, c := range []struct{ src, want string }{
		{"", "byte 0: a name is missing"},
		{".", "byte 0: a name is missing"},
		{"a.", "byte 2: a name is missing"},
		{".a", "byte 0: a name is missing"},
		{"a..b", "byte 2: a name is missing"},
		{`a\`, "byte 1: a backslash stands only before"},
		{`a\n`, "byte 1: a backslash stands only before"},
		{`ab\"c`, "byte 2: a backslash stands only before"},
		{"a\xff", "not UTF-8"},
		{strings.Repeat("a.", 128) + "a", "more than 128 names"},
	} {
		if p, err := ParsePath(c.src); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.20q: %v, %v; want %s", c.src, p, err, c.want)
		}
	}
	if _, err := ParsePath(strings.Repeat("a.", 127) + "a"); err != nil {
		t.Error(err)
	}
}

func TestIndexes(t *testing.T) {
	for name, want := range map[string]int{
		"0": 0, "1": 1, "10": 10, "2147483647": 1<<31 - 1, "2147483648": -1, "00": -1, "01": -1, "-1": -1, "+1": -1, "1_0": -1, "0x1": -1, "1.0": -1, " 1": -1, "a": -1,
		"99999999999999999999999": -1, "٣": -1,
	} {
		if got := newStep(name).index; got != want {
			t.Errorf("%q is the index %d; want %d", name, got, want)
		}
	}
}
