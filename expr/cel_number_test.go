package expr

import (
	"math/big"
	"testing"

	"github.com/sluice-gateway/sluice/document"
)

func TestCompareNumbers(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"1", "1", 0}, {"1", "1.0", 0}, {"1", "1e0", 0}, {"10", "1E+1", 0}, {"0.1", "1e-1", 0}, {"0", "-0.00", 0}, {"0", "0e99999999999999999999", 0},
		{"100", "1e2", 0}, {"0.00120", "1.2e-3", 0}, {"1", "2", -1}, {"-1", "-2", 1}, {"-1", "1", -1}, {"0", "-1", 1}, {"0", "1", -1}, {"1", "0", 1}, {"-1", "0", -1},
		{"9", "10", -1}, {"-9", "-10", 1}, {"1.5", "1.50", 0}, {"1.5", "1.49999999999999999999999999", 1},
		{"12345678901234567890", "12345678901234567891", -1}, {"1e400", "1e401", -1}, {"1e-400", "0", 1}, {"12.5", "12.25", 1}, {"0.5", "0.05", 1},
		{"1e99999999999999999999", "2", 1}, {"1e-99999999999999999999", "2", -1},
	} {
		if got := compareNumbers([]byte(c.a), []byte(c.b)); got != c.want {
			t.Errorf("compare %s with %s: %d, want %d", c.a, c.b, got, c.want)
		}
		if got := compareNumbers([]byte(c.b), []byte(c.a)); got != -c.want {
			t.Errorf("compare %s with %s: %d, want %d", c.b, c.a, got, -c.want)
		}
	}
}

// Numbers are compared as exact fractions are.
func FuzzCompareNumbers(f *testing.F) {
	for _, s := range [][2]string{{"1.50", "1.5"}, {"-0", "0"}, {"1e3", "1000"}, {"0.001", "1e-3"}, {"100.010", "1.0001e2"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, s := range []string{a, b} {
			v, err := document.Parse([]byte(s), document.Limits{Digits: 300})
			if err != nil || v.Kind() != document.Number || len(s) > 300 {
				return
			}
			if e := exponentOf([]byte(exponentText(s))); e < -1000 {
				return // the fraction would be long
			}
		}
		x, ok := new(big.Rat).SetString(string(document.Of([]byte(a)).Raw()))
		y, also := new(big.Rat).SetString(string(document.Of([]byte(b)).Raw()))
		if !ok || !also {
			return
		}
		if got := compareNumbers(document.Of([]byte(a)).Raw(), document.Of([]byte(b)).Raw()); got != x.Cmp(y) {
			t.Fatalf("compare %s with %s: %d, want %d", a, b, got, x.Cmp(y))
		}
	})
}

// exponentText returns what stands behind the e of a number.
func exponentText(s string) string {
	for i := range len(s) {
		if s[i]|0x20 == 'e' {
			return s[i+1:]
		}
	}
	return ""
}
