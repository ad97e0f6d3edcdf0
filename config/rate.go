package config

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Rate is a number of requests in a unit of time, such as 10/s. The zero value is no rate.
type Rate struct {
	// Count is how many there may be in one unit; at least 1.
	Count int64
	// Unit is the word of the unit: s, m, h, day, week or month.
	Unit string
}

// rateUnits is read-only. A month is no fixed time: where a rate needs one it is 30 days, and a quota counts calendar months.
var rateUnits = []struct {
	word  string
	lasts time.Duration
}{{"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"day", 24 * time.Hour}, {"week", 7 * 24 * time.Hour}, {"month", 30 * 24 * time.Hour}}

// otherUnits is read-only: what is written for a unit and is none.
var otherUnits = map[string]string{
	"sec": "s", "second": "s", "seconds": "s", "min": "m", "minute": "m", "minutes": "m", "hour": "h", "hours": "h", "d": "day", "days": "day",
	"w": "week", "weeks": "week", "months": "month", "mo": "month",
}

// maxRate keeps a rate's products with times within 64 bits.
const maxRate = 1_000_000_000_000

// Per returns the time of the unit; a month has 30 days.
func (r Rate) Per() time.Duration {
	for _, u := range rateUnits {
		if u.word == r.Unit {
			return u.lasts
		}
	}
	return 0
}

// ParseConfig implements [Scalar].
func (r *Rate) ParseConfig(text string) error {
	number, unit, ok := strings.Cut(text, "/")
	n, err := parseDigits(number)
	if err != nil {
		return err
	}
	if !ok {
		return meant(number + "/s")
	}
	if n < 1 {
		return &Hint{Problem: "it is less than 1"}
	}
	if n > maxRate || n > math.MaxInt64/2 {
		return errTooLarge
	}
	to := Rate{Count: n, Unit: unit}
	if to.Per() == 0 {
		if other := otherUnits[strings.ToLower(unit)]; other != "" {
			return meant(number + "/" + other)
		}
		words := make([]string, len(rateUnits))
		for i, u := range rateUnits {
			words[i] = u.word
		}
		return &Hint{Problem: "its unit is not known", Suggestion: DidYouMean(unit, words)}
	}
	*r = to
	return nil
}

// ConfigFormat implements [Scalar].
func (r *Rate) ConfigFormat() Format {
	return Format{Noun: "a rate such as 10/s, 600/m or 1000000/month", Name: "rate", Pattern: `^[0-9]+/(s|m|h|day|week|month)$`}
}

// String writes the rate as it is read.
func (r Rate) String() string {
	if r.Count == 0 {
		return ""
	}
	return strconv.FormatInt(r.Count, 10) + "/" + r.Unit
}
