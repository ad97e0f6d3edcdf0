package limit

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Period is a unit of the calendar.
type Period uint8

// The periods. A week begins on Monday. The zero value is none.
const (
	Second Period = 1 + iota
	Minute
	Hour
	Day
	Week
	Month
)

// periodWords are read-only.
var periodWords = [...]string{Second: "s", Minute: "m", Hour: "h", Day: "day", Week: "week", Month: "month"}

// ParsePeriod returns the period of a word: s, m, h, day, week or month.
func ParsePeriod(word string) (Period, error) {
	for p, w := range periodWords {
		if w == word && p > 0 {
			return Period(p), nil
		}
	}
	return 0, fmt.Errorf("the period %q is not known: write s, m, h, day, week or month", word)
}

func (p Period) String() string {
	if int(p) >= len(periodWords) {
		return ""
	}
	return periodWords[p]
}

// Nominal returns how long the period lasts as a rule: 24 hours for a day, 30 days for a month.
func (p Period) Nominal() time.Duration {
	switch p {
	case Second:
		return time.Second
	case Minute:
		return time.Minute
	case Hour:
		return time.Hour
	case Day:
		return 24 * time.Hour
	case Week:
		return 7 * 24 * time.Hour
	}
	return 30 * 24 * time.Hour
}

// term is one period of the calendar: from the second start up to, but not including, the second end, both in Unix time.
type term struct{ start, end int64 }

func (t term) contains(unix int64) bool { return t.start <= unix && unix < t.end }

// termOf returns the term that a second lies in. Terms of one period and zone neither overlap nor leave gaps, whatever the zone does to its clocks.
func (p Period) termOf(unix int64, zone *time.Location) term {
	switch p {
	case Second:
		return term{unix, unix + 1}
	case Minute:
		start := unix - floorMod(unix, 60)
		return term{start, start + 60}
	case Hour:
		return hourOf(time.Unix(unix, 0).In(zone))
	}
	year, month, day := time.Unix(unix, 0).In(zone).Date()
	switch p {
	case Week:
		// Go's weeks begin on Sunday.
		day -= (int(time.Date(year, month, day, 12, 0, 0, 0, time.UTC).Weekday()) + 6) % 7
		return term{firstOf(year, month, day, zone), firstOf(year, month, day+7, zone)}
	case Month:
		return term{firstOf(year, month, 1, zone), firstOf(year, month+1, 1, zone)}
	}
	return term{firstOf(year, month, day, zone), firstOf(year, month, day+1, zone)}
}

// hourOf returns the hour by the clock on the wall. Where the zone changes its offset in the middle of one, that hour ends there and another begins.
func hourOf(t time.Time) term {
	_, offset := t.Zone()
	unix := t.Unix()
	start := unix - floorMod(unix+int64(offset), 3600)
	end := start + 3600
	from, to := t.ZoneBounds()
	if !from.IsZero() {
		start = max(start, from.Unix())
	}
	if !to.IsZero() {
		end = min(end, to.Unix())
	}
	return term{start, end}
}

// firstOf returns the first second of a day of the calendar, which may be given as one beyond its month. Some zones have days that do not begin at
// midnight, because their clocks go forward then, days with two midnights, and days that never were.
func firstOf(year int, month time.Month, day int, zone *time.Location) int64 {
	wall := time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() // as if it were Unix time
	// No zone changes twice within two days, so these are the offsets that can hold at that midnight.
	before := time.Unix(wall-24*3600, 0).In(zone)
	after := time.Unix(wall+24*3600, 0).In(zone)
	_, early := before.Zone()
	_, late := after.Zone()
	first := min(wall-int64(early), wall-int64(late))
	for _, unix := range [...]int64{first, max(wall-int64(early), wall-int64(late))} {
		if _, offset := time.Unix(unix, 0).In(zone).Zone(); unix+int64(offset) == wall {
			return unix
		}
	}
	// There is no such midnight: the day begins when the clocks have gone forward over it.
	if _, change := before.ZoneBounds(); !change.IsZero() {
		return change.Unix()
	}
	return first
}

// floorMod returns a mod m, never negative.
func floorMod(a, m int64) int64 {
	if a %= m; a < 0 {
		a += m
	}
	return a
}

// clockStep is how far the clock may be set back without opening a period again that was over.
const clockStep = 3600

// calendar tells the term of the present, again and again for nearly the same present. It may be used by any goroutine.
type calendar struct {
	period Period
	zone   *time.Location
	now    atomic.Pointer[term]
}

// at returns the term of a moment in Unix nanoseconds. When the clock is set back by up to an hour over the beginning of a term, that term goes on,
// lest everybody had the old one's quota once more. A larger step back means that the clock was wrong before.
func (c *calendar) at(wall int64) term {
	unix := floorDiv(wall, int64(time.Second))
	old := c.now.Load()
	if old != nil && (old.contains(unix) || unix < old.start && old.start-unix <= clockStep) {
		return *old
	}
	now := c.period.termOf(unix, c.zone)
	c.now.CompareAndSwap(old, &now) // whoever is late has looked at nearly the same moment
	return now
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
