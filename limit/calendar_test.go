package limit

import (
	"fmt"
	"testing"
	"time"
	_ "time/tzdata" // the tests need the zones, whatever the machine has
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func unix(t testing.TB, text string) int64 {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at.Unix()
}

func TestTerms(t *testing.T) {
	for _, c := range []struct {
		period           Period
		zone             string
		at               string
		start, end, note string
	}{
		{Second, "UTC", "2026-03-01T10:20:30Z", "2026-03-01T10:20:30Z", "2026-03-01T10:20:31Z", ""},
		{Minute, "UTC", "2026-03-01T10:20:30Z", "2026-03-01T10:20:00Z", "2026-03-01T10:21:00Z", ""},
		{Minute, "UTC", "1969-12-31T23:59:59Z", "1969-12-31T23:59:00Z", "1970-01-01T00:00:00Z", "before 1970"},
		{Hour, "UTC", "2026-03-01T10:20:30Z", "2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z", ""},
		{Hour, "Asia/Kolkata", "2026-03-01T10:20:30Z", "2026-03-01T09:30:00Z", "2026-03-01T10:30:00Z", "half an hour off"},
		{Hour, "Asia/Kathmandu", "2026-03-01T10:20:30Z", "2026-03-01T10:15:00Z", "2026-03-01T11:15:00Z", "three quarters off"},
		{Hour, "Australia/Lord_Howe", "2026-04-04T14:45:00Z", "2026-04-04T14:00:00Z", "2026-04-04T15:00:00Z", "before the clocks go back by half an hour"},
		{Hour, "Australia/Lord_Howe", "2026-04-04T15:10:00Z", "2026-04-04T15:00:00Z", "2026-04-04T15:30:00Z", "and after it"},
		{Day, "UTC", "2026-02-28T23:59:59Z", "2026-02-28T00:00:00Z", "2026-03-01T00:00:00Z", ""},
		{Day, "UTC", "2028-02-28T23:59:59Z", "2028-02-28T00:00:00Z", "2028-02-29T00:00:00Z", "leap year"},
		{Day, "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", "23 hours"},
		{Day, "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", "25 hours"},
		{Day, "America/Santiago", "2026-09-06T12:00:00Z", "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z", "no midnight: the clocks go forward then"},
		{Day, "America/Santiago", "2026-09-06T03:59:59Z", "2026-09-05T04:00:00Z", "2026-09-06T04:00:00Z", "the day before"},
		{Day, "America/Santiago", "2026-04-05T02:30:00Z", "2026-04-04T03:00:00Z", "2026-04-05T04:00:00Z", "its last hour is twice"},
		{Day, "America/Santiago", "2026-04-05T03:30:00Z", "2026-04-04T03:00:00Z", "2026-04-05T04:00:00Z", "also the second time"},
		{Day, "America/Havana", "2026-11-01T04:30:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z", "midnight is twice: the first counts"},
		{Day, "America/Havana", "2026-11-01T05:30:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z", "also the second time"},
		{Day, "Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z", "the day before the one that never was"},
		{Day, "Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z", "the day after it"},
		{Week, "UTC", "2026-03-01T10:00:00Z", "2026-02-23T00:00:00Z", "2026-03-02T00:00:00Z", "a Sunday"},
		{Week, "UTC", "2026-03-02T00:00:00Z", "2026-03-02T00:00:00Z", "2026-03-09T00:00:00Z", "a Monday"},
		{Week, "Europe/Berlin", "2026-03-25T10:00:00Z", "2026-03-22T23:00:00Z", "2026-03-29T22:00:00Z", "167 hours"},
		{Week, "Europe/Berlin", "2026-01-01T10:00:00Z", "2025-12-28T23:00:00Z", "2026-01-04T23:00:00Z", "over the new year"},
		{Month, "UTC", "2026-01-31T23:59:59Z", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", ""},
		{Month, "UTC", "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z", "over the new year"},
		{Month, "UTC", "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z", "29 days"},
		{Month, "Europe/Berlin", "2026-03-15T12:00:00Z", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z", "31 days less an hour"},
		{Month, "Europe/Berlin", "2026-02-28T23:30:00Z", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z", "March there already"},
		{Month, "Pacific/Kiritimati", "2026-02-28T10:30:00Z", "2026-02-28T10:00:00Z", "2026-03-31T10:00:00Z", "14 hours ahead"},
	} {
		t.Run(fmt.Sprint(c.period, " ", c.zone, " ", c.at), func(t *testing.T) {
			got := c.period.termOf(unix(t, c.at), zone(t, c.zone))
			if want := (term{unix(t, c.start), unix(t, c.end)}); got != want {
				z := zone(t, c.zone)
				t.Errorf("%s: %v – %v instead of %s – %s", c.note, time.Unix(got.start, 0).In(z), time.Unix(got.end, 0).In(z), c.start, c.end)
			}
		})
	}
}

// TestTermsAreWithoutGaps: in every zone, each moment lies in one term, the next begins where it ends, and it is what the clock on the wall says.
func TestTermsAreWithoutGaps(t *testing.T) {
	for _, name := range []string{"UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "America/Havana", "Asia/Beirut", "Africa/Cairo",
		"Asia/Kathmandu", "Pacific/Apia", "Pacific/Kiritimati", "Australia/Lord_Howe", "Atlantic/Azores", "America/Sao_Paulo", "Asia/Tehran"} {
		z := zone(t, name)
		for _, p := range []Period{Hour, Day, Week, Month} {
			at := unix(t, "2011-06-15T00:00:00Z")
			end := unix(t, "2013-02-01T00:00:00Z")
			if p == Hour {
				end = unix(t, "2012-05-01T00:00:00Z")
			}
			for at < end {
				tm := p.termOf(at, z)
				if !tm.contains(at) || tm.end <= tm.start {
					t.Fatalf("%s %v: %d is not in %v", name, p, at, tm)
				}
				for _, inside := range []int64{tm.start, tm.end - 1, tm.start + (tm.end-tm.start)/2} {
					if other := p.termOf(inside, z); other != tm {
						t.Fatalf("%s %v: %v at %d, %v at %d", name, p, tm, at, other, inside)
					}
				}
				first, last := time.Unix(tm.start, 0).In(z), time.Unix(tm.end-1, 0).In(z)
				if p == Day && first.YearDay() != last.YearDay() || p == Month && first.Month() != last.Month() ||
					p == Week && first.Weekday() != time.Monday && !(name == "Pacific/Apia" && first.Weekday() == time.Saturday) {
					t.Fatalf("%s %v: from %v to %v", name, p, first, last)
				}
				at = tm.end
			}
		}
	}
}

// TestCalendarGoesBack: a clock that is set back a little opens no period again; one that was wrong by much does not stay wrong.
func TestCalendarGoesBack(t *testing.T) {
	c := calendar{period: Day, zone: time.UTC}
	today, yesterday := unix(t, "2026-03-02T00:00:00Z"), unix(t, "2026-03-01T00:00:00Z")
	for _, step := range []struct {
		at   string
		want int64
	}{
		{"2026-03-01T23:59:59Z", yesterday}, {"2026-03-02T00:00:01Z", today}, {"2026-03-01T23:59:58Z", today}, {"2026-03-01T23:00:00Z", today},
		{"2026-03-01T22:59:59Z", yesterday}, {"2026-03-02T12:00:00Z", today},
	} {
		if got := c.at(unix(t, step.at) * s1); got.start != step.want {
			t.Errorf("%s: %v", step.at, time.Unix(got.start, 0).UTC())
		}
	}
}

func TestParsePeriod(t *testing.T) {
	for _, p := range []Period{Second, Minute, Hour, Day, Week, Month} {
		if got, err := ParsePeriod(p.String()); got != p || err != nil {
			t.Errorf("%v: %v, %v", p, got, err)
		}
		if p.Nominal() <= 0 {
			t.Errorf("%v lasts %v", p, p.Nominal())
		}
	}
	for _, word := range []string{"", "year", "S", "days"} {
		if got, err := ParsePeriod(word); err == nil {
			t.Errorf("%q is %v", word, got)
		}
	}
	if Period(77).String() != "" {
		t.Error("a period that is none has a word")
	}
}
