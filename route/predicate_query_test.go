package route

import "testing"

func TestEqualDecoded(t *testing.T) {
	for _, c := range []struct {
		raw, decoded string
		want         bool
	}{
		{"", "", true},
		{"a", "a", true},
		{"%61", "a", true},
		{"%C3%a9", "é", true},
		{"a+b", "a b", true},
		{"a%20b", "a b", true},
		{"a%2Bb", "a+b", true},
		{"a+b", "a+b", false},
		{"%", "%", true},
		{"%4", "%4", true},
		{"%zz", "%zz", true},
		{"%2541", "%41", true},
		{"%2541", "A", false},
		{"a", "ab", false},
		{"ab", "a", false},
		{"a", "", false},
		{"A", "a", false},
		{"%00", "\x00", true},
	} {
		if got := EqualParam([]byte(c.raw), c.decoded); got != c.want {
			t.Errorf("EqualParam(%q, %q) = %v, want %v", c.raw, c.decoded, got, c.want)
		}
	}
}
