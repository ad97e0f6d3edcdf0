package upstream

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// minTryTime is what must be left before the deadline for a try to make sense: less does not suffice for a connection and an answer.
const minTryTime = int64(time.Millisecond)

// retryRules are the settings of retries, compiled. They are read-only after they were made.
type retryRules struct {
	attempts int
	connect  bool
	reset    bool
	timeout  bool
	perTry   int64
	backoff  int64
	maxBody  int64
	statuses [10]uint64 // a bit for each status from 0 to 639
	known    uint16     // a bit for each message.MethodID that may be repeated
	others   []string   // further methods
}

func newRetryRules(o *RetryOptions) retryRules {
	r := retryRules{
		attempts: o.Attempts, connect: o.Connect, reset: o.Reset, timeout: o.Timeout,
		perTry: int64(o.PerTry), backoff: int64(o.Backoff), maxBody: o.MaxBody,
	}
	for _, s := range o.Statuses {
		for code := max(s.Low, 0); code <= s.High && code < 64*len(r.statuses); code++ {
			r.statuses[code/64] |= 1 << (code % 64)
		}
	}
	for _, m := range []message.MethodID{message.GET, message.HEAD, message.OPTIONS, message.PUT, message.DELETE} {
		r.known |= 1 << m
	}
	for _, name := range o.Methods {
		if m := message.MethodOf([]byte(name)); m.Known != message.MethodOther {
			r.known |= 1 << m.Known
		} else {
			r.others = append(r.others, name)
		}
	}
	return r
}

// repeatable reports whether a request of method m may be sent again although it may have been received.
func (r *retryRules) repeatable(m message.Method) bool {
	if m.Known != message.MethodOther {
		return r.known&(1<<m.Known) != 0
	}
	for _, name := range r.others {
		if m.Is(name) {
			return true
		}
	}
	return false
}

// onStatus reports whether an answer of this status is dropped for another try.
func (r *retryRules) onStatus(status int) bool {
	return uint(status) < uint(64*len(r.statuses)) && r.statuses[status/64]&(1<<(status%64)) != 0
}

// verdict is what becomes of a request after a try.
type verdict uint8

const (
	giveUp verdict = iota // the client gets what there is
	replay                // once more to the same endpoint on a new connection: the try met the end of an idle connection
	again                 // to another endpoint if there is one, within budget and deadline
)

// try is what a decision about another one looks at. Nothing of an answer has reached the client.
type try struct {
	failure  *message.Failure // nil if there is an answer
	status   int              // of the answer
	reused   bool             // it went over a connection that had carried others
	replayed bool             // the request was replayed before
	repeats  bool             // the method may be repeated
	kept     bool             // the body can be sent from its beginning
	left     int              // retries left
}

// decide is the rule of retries, but for budget, deadline and endpoints.
func (r *retryRules) decide(t *try) verdict {
	if !t.kept {
		return giveUp
	}
	f := t.failure
	if f == nil {
		if t.repeats && t.left > 0 && r.onStatus(t.status) {
			return again
		}
		return giveUp
	}
	if f.Side != message.SideUpstream || f.Retry == message.RetryNever {
		return giveUp
	}
	unsent := f.Retry == message.RetryUnsent
	if idleRace(f, t.reused) && !t.replayed && (unsent || t.repeats) {
		return replay
	}
	switch {
	case t.left <= 0, !unsent && !t.repeats:
		return giveUp
	case unsent && r.connect, !unsent && timedOut(f.Reason) && r.timeout, !unsent && !timedOut(f.Reason) && r.reset:
		return again
	}
	return giveUp
}

// maxBackoff is how many times the first one the longest backoff is.
const maxBackoff = 10

// pause returns how long to wait before another retry when made have been. The first goes at once, because it goes elsewhere; later ones wait for
// a random time, so that requests that failed together do not come together again (full jitter: Brooker, Exponential Backoff and Jitter, 2015).
// random is uniform over all values. At least half of the time that is left before the deadline is left to the retry.
func (r *retryRules) pause(made int, random uint64, now, deadline int64) time.Duration {
	if made == 0 || r.backoff == 0 {
		return 0
	}
	limit := r.backoff * min(maxBackoff, int64(1)<<min(made-1, 4))
	wait, _ := bits.Mul64(random, uint64(limit)+1)
	if deadline != 0 {
		wait = min(wait, uint64(max(0, deadline-now)/2))
	}
	return time.Duration(wait)
}

// idleRace reports whether a try failed only because the endpoint closed an idle connection while the request was on its way. That is
// nobody's fault (RFC 9112 section 9.3.1): no failure of the endpoint, and no cost to the budget.
func idleRace(f *message.Failure, reused bool) bool {
	return reused && f.Stage != message.StageConnect && (f.Retry == message.RetryReused || f.Retry == message.RetryUnsent)
}

// timedOut reports whether r is a wait that was too long for an endpoint that had the request.
func timedOut(r message.Reason) bool {
	return r == message.UpstreamTimeoutFirstByte || r == message.UpstreamTimeoutPerTry || r == message.UpstreamTimeoutIdle
}

// budget bounds the retries of a backend that are under way at once to a share of its requests in flight, so that retries cannot multiply the
// load of a backend that fails because of its load. The floor lets a backend with little traffic retry at all.
type budget struct {
	share    float64
	floor    int64
	retrying atomic.Int64
}

// take counts a retry, or reports that there may not be another one beside inFlight requests.
func (b *budget) take(inFlight int64) bool {
	if b.retrying.Add(1) > max(b.floor, int64(b.share*float64(inFlight))) {
		b.retrying.Add(-1)
		return false
	}
	return true
}

// give ends a retry that was taken.
func (b *budget) give() { b.retrying.Add(-1) }
