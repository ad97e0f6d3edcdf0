package discovery

import (
	"fmt"
	"time"
)

// reports writes the lines about one target, few enough that a broken resolver does not fill a log. Owned by the watcher's goroutine.
type reports struct {
	target string
	out    func(line string)

	failing  bool      // the operator was told of a failure, and not yet of its end
	failedAt time.Time // when the operator was last told of a failure
	left     string    // what was last said about things left out of an answer
	leftAt   time.Time
}

// fails tells of a lookup that failed, unless it is less than a minute since the last time.
func (r *reports) fails(now time.Time, text string) {
	if !r.failedAt.IsZero() && now.Sub(r.failedAt) < reportEvery {
		return
	}
	r.failing, r.failedAt = true, now
	r.line(text)
}

// works tells that lookups work again, if the operator knows that they did not.
func (r *reports) works(n int) {
	if r.failing {
		r.failing = false
		r.line(fmt.Sprintf("works again (endpoints: %d)", n))
	}
}

// leftOut tells what of an answer is not used, once until that changes, and at most once a minute.
func (r *reports) leftOut(now time.Time, text string) {
	switch {
	case text == "":
		r.left = ""
	case text != r.left && (r.leftAt.IsZero() || now.Sub(r.leftAt) >= reportEvery):
		r.left, r.leftAt = text, now
		r.line(text)
	}
}

func (r *reports) line(text string) { r.out(fmt.Sprintf("discovery of %s: %s", r.target, text)) }
