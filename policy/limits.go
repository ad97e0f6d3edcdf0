package policy

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/limit"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// limitFailures are what limits refuse with.
type limitFailures struct{ rate, quota, store, keyless, costless *message.Failure }

func newLimitFailures(name string) limitFailures {
	refuse := func(reason message.Reason, side message.Side, text string) *message.Failure {
		return &message.Failure{Reason: reason, Side: side, Stage: message.StageRoute, Err: fmt.Errorf("policy %s: %s", name, text)}
	}
	return limitFailures{
		rate:     refuse(message.RateLimited, message.SideClient, "the rate is exceeded"),
		quota:    refuse(message.QuotaExceeded, message.SideClient, "the quota is used up"),
		store:    refuse(message.LimitStoreUnavailable, message.SideInternal, "the store is away"),
		keyless:  refuse(message.ExpressionFailed, message.SideClient, "the key has no value"),
		costless: refuse(message.ExpressionFailed, message.SideClient, "the cost has no value, or none that is an integer"),
	}
}

// limitNote is what a limit remembers of an exchange until it has a response. It is pooled.
type limitNote struct {
	result limit.Result
	plan   *planLimiter // of plan_limit
}

// limitNotes is a pool (read-only: what it holds has no meaning).
var limitNotes = sync.Pool{New: func() any { return new(limitNote) }}

// free gives a note back.
func (n *limitNote) free() {
	n.plan = nil
	limitNotes.Put(n)
}

// take asks a limiter, which may wait for its store. A cost below 1 counts for nothing, and passes.
func (n *limitNote) take(x *message.Exchange, l limit.Limiter, key []byte, cost int64) {
	now := message.Now()
	wall := message.WallTime(now).UnixNano()
	if l.Waits() {
		n.wait(x, l, key, cost, now, wall)
		return
	}
	n.ask(l, key, cost, now, wall)
}

// takeByCalendar is take for a limiter with a quota. It looks at the wall clock itself: that may have been set since the program has begun, or the machine may
// have slept, and a quota begins anew when the day does.
func (n *limitNote) takeByCalendar(x *message.Exchange, l limit.Limiter, key []byte, cost int64) {
	now, wall := message.Now(), time.Now().UnixNano()
	if l.Waits() {
		n.wait(x, l, key, cost, now, wall)
		return
	}
	n.ask(l, key, cost, now, wall)
}

// ask asks a limiter.
func (n *limitNote) ask(l limit.Limiter, key []byte, cost, now, wall int64) {
	if cost < 1 {
		l.Peek(key, now, wall, &n.result)
		return
	}
	l.Take(key, cost, now, wall, &n.result)
}

// wait asks a limiter that may wait.
func (n *limitNote) wait(x *message.Exchange, l limit.Limiter, key []byte, cost, now, wall int64) {
	x.Await(func() { n.ask(l, key, cost, now, wall) })
}

// known reports whether the limiter has told how the key stands: while its store is away it may not.
func (n *limitNote) known() bool { return n.result.Verdict != limit.StoreAway }

// failure counts a decision and returns what it refuses with, or nil.
func (n *limitNote) failure(counts *limitCounts, failures *limitFailures) *message.Failure {
	if n.result.Source == limit.FromShare || n.result.Source == limit.FromNobody {
		counts.away.Inc(0)
	}
	var f *message.Failure
	switch n.result.Verdict {
	case limit.RateRefused:
		f = failures.rate
	case limit.QuotaRefused:
		f = failures.quota
	case limit.StoreAway:
		f = failures.store
	default:
		counts.passed.Inc(0)
		return nil
	}
	counts.refused.Inc(0)
	return f
}

// Names of the fields of limits; read-only.
var (
	rateLimitField  = message.RateLimit.Name()
	ratePolicyField = message.RateLimitPolicy.Name()
	retryAfterField = message.RetryAfter.Name()
)

// limitMark is the owner of the note that a gateway's own limit has written fields of an answer. Read-only.
var limitMark = new(int)

// beginFields removes a backend's own fields, if no limit of the route has written its own yet.
func beginFields(x *message.Exchange) {
	if x.Note(limitMark) != nil {
		return
	}
	x.SetNote(limitMark, limitMark)
	x.Response.Header.Remove(rateLimitField)
	x.Response.Header.Remove(ratePolicyField)
}

// setRetryAfter tells a caller that this policy has refused when to come again.
func setRetryAfter(x *message.Exchange, seconds int64) {
	x.Response.Header.Set(retryAfterField, x.KeepScratch(strconv.AppendInt(x.Scratch(), seconds, 10)))
}

// limitCounts counts what a limit decides.
type limitCounts struct{ passed, refused, away *metric.Counter }

func newLimitCounts(c *BuildContext) limitCounts {
	if c.Program == nil {
		return limitCounts{}
	}
	s := c.Program.Scope()
	return limitCounts{s.Counter(metric.LimitDecisions, c.Name, "passed"), s.Counter(metric.LimitDecisions, c.Name, "refused"), s.Counter(metric.LimitDecisions, c.Name, "store_away")}
}

// limitScope names what is counted together in all programs: the kind and, with scopeOf, the policy.
func (c *BuildContext) limitScope(kind string) string { return kind + "\x00" + c.scopeOf() }
