package main

import (
	"time"

	"github.com/sluice-gateway/sluice/bench/load"
)

// timetable says when each request is due, counted from the start, whatever becomes of those before it. It never goes back.
type timetable []time.Duration

// steady is rate requests a second for the whole length.
func steady(rate int, length time.Duration) (timetable, error) {
	s, err := load.NewSchedule(rate)
	if err != nil {
		return nil, err
	}
	t := make(timetable, 0, int(length.Seconds()*float64(rate))+1)
	for i := uint64(0); s.At(i) < length; i++ {
		t = append(t, s.At(i))
	}
	return t, nil
}

// The pauses of bursts vary by sweepStep, sweepSteps times.
const (
	sweepStep  = 2 * time.Millisecond
	sweepSteps = 10
)

// bursts is size requests at once, then a pause, and so on. The first pauses are those of lead; the others begin at gap and grow by sweepStep from one to the next,
// sweepSteps times, so that what is answered in one burst is asked again just before, at, and just after gap.
func bursts(size int, gap time.Duration, lead []time.Duration, length time.Duration) timetable {
	var t timetable
	at := time.Duration(0)
	for n := 0; at < length; n++ {
		for range size {
			t = append(t, at)
		}
		if n < len(lead) {
			at += lead[n]
		} else {
			at += gap + time.Duration((n-len(lead))%sweepSteps)*sweepStep
		}
	}
	return t
}
