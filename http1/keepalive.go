package http1

import (
	"bytes"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// keepAlive is what a Keep-Alive field says of its connection.
type keepAlive struct {
	timeout time.Duration // how long the endpoint keeps it unused; below 0: not said
	max     int           // how many further requests it takes; below 0: not said
}

const (
	maxKeepAlive       = 24 * time.Hour // more says nothing: no connection is kept unused so long
	maxKeepAliveParams = 16
	maxParamDigits     = 9
)

// parseKeepAlive reads a Keep-Alive field (RFC 2068 section 19.7.1.1): a list of name=value, of
// which "timeout" in seconds and "max" are known. Others are passed over. ok is false, and nothing
// is believed, if a known one is no plain number or stands twice.
func parseKeepAlive(v []byte) (k keepAlive, ok bool) {
	k = keepAlive{timeout: -1, max: -1}
	for params := 0; ; params++ {
		param, rest, more := message.NextElement(v)
		if !more {
			return k, true
		}
		v = rest
		if params == maxKeepAliveParams {
			return keepAlive{timeout: -1, max: -1}, false
		}
		name, value, _ := bytes.Cut(param, []byte{'='})
		timeout := message.EqualFold(name, "timeout")
		if !timeout && !message.EqualFold(name, "max") {
			continue
		}
		n, number := parseLength(value)
		if !number || len(value) > maxParamDigits || timeout && k.timeout >= 0 || !timeout && k.max >= 0 {
			return keepAlive{timeout: -1, max: -1}, false
		}
		if timeout {
			k.timeout = min(time.Duration(n)*time.Second, maxKeepAlive)
		} else {
			k.max = int(n)
		}
	}
}

// learnKeepAlive takes over what the endpoint says of the connection, and reports whether it may be
// used again.
func (cc *clientConn) learnKeepAlive(h *message.Header) (reuse bool) {
	k, ok := parseKeepAlive(h.Get(message.KeepAlive))
	if !ok {
		return true
	}
	if k.timeout >= 0 {
		cc.keepFor = int64(k.timeout)
	}
	if k.max >= 0 {
		// Some count down, some always say the same number: the first word holds unless a later one
		// says less.
		if last := cc.served + k.max; cc.servesUntil == 0 || last < cc.servesUntil {
			cc.servesUntil = last
		}
	}
	return k.timeout != 0 && (cc.servesUntil == 0 || cc.served < cc.servesUntil)
}

// lifetime is what a pool has learned of how long the endpoint keeps unused connections, from those
// that it closed and those that were still open. All times are nanoseconds. The zero value knows
// nothing. The pool's lock guards it.
//
// A close tells two ages: that at which the connection was last seen open, and that at which it was
// found closed; the truth lies between. The estimate is the low end, or next to nothing where there
// is none, and open connections that are older lift it, so that it comes near the truth from below. An endpoint that restarts closes
// connections of any age, so one close proves nothing: the estimate is sure when a connection that
// began to be unused after the first close has ended at the same age.
type lifetime struct {
	estimate int64 // connections are kept at least so long, it seems; 0: nothing is known
	sure     bool  // two closes say so that have nothing to do with each other
	at       int64 // moment of the last close that fits
	doubted  int64 // moment of a close far too early for a sure estimate, 0 for none
}

const (
	// minLearned: a connection that ends so young was not closed for being unused.
	minLearned = int64(time.Second)
	// forgetAfter is how long an estimate lasts that no close confirms. A pool that has unused
	// connections lets one grow old to see.
	forgetAfter = int64(15 * time.Minute)
)

// closed notes at the moment now that a connection unused since the moment since was last seen open
// at the age low and found closed at the age high.
func (l *lifetime) closed(low, high, since, now int64) {
	if high < minLearned {
		return
	}
	low = max(min(low, high), 0)
	guess := low
	if low == 0 {
		// It was not looked at in between, so all that is known is the high end. A guess that is too low costs a connection now and
		// then, and open ones lift it; one that is too high costs requests.
		guess = min(high/2, minLearned)
	}
	switch {
	case l.estimate == 0:
		*l = lifetime{estimate: guess, at: now}
	case high < l.estimate && l.sure && (l.doubted == 0 || since <= l.doubted):
		if l.doubted == 0 || now-l.doubted > forgetAfter {
			l.doubted = now // a restart, most likely; if it happens again, it is not
		}
	case high < l.estimate:
		l.sure = l.doubted != 0 && l.sure
		l.estimate, l.at, l.doubted = guess, now, 0
	default:
		fits := low <= l.estimate+l.estimate/4
		l.sure = fits && (l.sure || since > l.at)
		l.estimate, l.at, l.doubted = max(l.estimate, low), now, 0
	}
}

// open notes that a connection was seen open when it had been unused for age.
func (l *lifetime) open(age, now int64) {
	if l.estimate == 0 || age <= l.estimate {
		return
	}
	if age > l.estimate+l.estimate/4 {
		l.sure, l.at = false, now
	}
	l.estimate, l.doubted = age, 0
}

// forget drops an estimate that was not confirmed for long.
func (l *lifetime) forget(now int64) {
	if l.estimate != 0 && now-l.at > forgetAfter {
		*l = lifetime{}
	}
}

// ending reports whether a connection that is kept unused for life in all is so near the end of it
// at age that the endpoint may close it while a request is on its way. life 0 is no end.
func ending(age, life int64) bool {
	return life != 0 && age >= life-max(life/10, int64(endMargin))
}

// endMargin is the least distance from the end of a connection's life: more than the way to an
// endpoint and its timers' grain.
const endMargin = 100 * time.Millisecond

// shorter returns the shorter one of two lives, of which 0 is none.
func shorter(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
