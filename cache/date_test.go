package cache

import (
	"testing"
	"time"
)

func TestParseDate(t *testing.T) {
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC).Unix()
	want := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC).Unix()
	for _, s := range []string{
		"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
		"SUN, 06 NOV 1994 08:49:37 gmt", "Sun, 06 Nov 1994 08:49:37 UTC",
	} {
		if got, ok := parseDate([]byte(s), now); !ok || got != want {
			t.Errorf("%q: %d, %v; want %d", s, got, ok, want)
		}
	}
	for s, year := range map[string]int{"Thursday, 18-Aug-50 02:01:18 GMT": 2050, "Thursday, 18-Aug-76 02:01:18 GMT": 2076, "Thursday, 18-Aug-77 02:01:18 GMT": 1977} {
		if got, ok := parseDate([]byte(s), now); !ok || time.Unix(got, 0).UTC().Year() != year {
			t.Errorf("%q: %v, %v; want the year %d", s, time.Unix(got, 0).UTC(), ok, year)
		}
	}
	for _, s := range []string{
		"", "0", "-1", "Sun", "Sun,", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 94 08:49:37 GMT",
		"Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT", "Sun, 06 Nov 1994 08:60:37 GMT", "Sun, 00 Nov 1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 08:49:37 GMTx", "Sun, 06 Nov 1994 08.49.37 GMT", "Sun  06 Nov 1994 08:49:37 GMT", "Sun Nov 6 08:49:37 1994", "1994-11-06T08:49:37Z",
	} {
		if got, ok := parseDate([]byte(s), now); ok {
			t.Errorf("%q is read as %v", s, time.Unix(got, 0).UTC())
		}
	}
}

// FuzzDate: what is written is read back, and what is read is one moment in whatever form.
func FuzzDate(f *testing.F) {
	f.Add("Sun, 06 Nov 1994 08:49:37 GMT")
	f.Add("Sunday, 06-Nov-94 08:49:37 GMT")
	f.Add("Sun Nov  6 08:49:37 1994")
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseDate([]byte(s), 1_780_000_000)
		if !ok {
			return
		}
		text := appendDate(nil, time.Unix(got, 0))
		if again, ok := parseDate(text, 0); got >= 0 && (!ok || again != got) {
			t.Fatalf("%q is %d, which is written %q and read as %d, %v", s, got, text, again, ok)
		}
	})
}
