package policy

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/identity"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// identifier is a policy that finds out who calls. any_of asks several of them.
type identifier interface {
	Request
	// identify returns who calls, or why the policy lets nobody pass. It counts nothing. What the policy keeps from backends is gone when it lets somebody
	// pass. With a failure it may have filled x.Response, which then is the answer.
	identify(x *message.Exchange) (*message.Identity, *message.Failure)
	// conceal takes out of the request what the policy keeps from backends. any_of calls it for the policies that did not let the caller pass.
	conceal(x *message.Exchange)
	// challenge is what WWW-Authenticate tells a caller without credentials, "" for nothing.
	challenge() string
	// counted returns the counters of the policy.
	counted() *tally
}

// tally counts whom an identity policy lets pass.
type tally struct{ passed, refused *metric.Counter }

// newTally returns the counters of the policy that is being built; where nothing is served they count nothing.
func newTally(c *BuildContext) tally {
	if c.Program == nil {
		return tally{}
	}
	s := c.Program.Scope()
	return tally{s.Counter(metric.Authentications, c.Name, "passed"), s.Counter(metric.Authentications, c.Name, "refused")}
}

func (t *tally) counted() *tally { return t }

// settle is what OnRequest of an identity policy returns.
func (t *tally) settle(x *message.Exchange, id *message.Identity, failure *message.Failure) (done bool, err error) {
	if failure != nil {
		t.refused.Inc(0)
		return false, failure
	}
	t.passed.Inc(0)
	x.Identity = id
	return false, nil
}

// travelling is part of policies whose credentials go on to the backend, unless another policy removes them.
type travelling struct{}

func (travelling) conceal(*message.Exchange) {}

// refusals are the failures of one identity policy, one for each reason that it may refuse for, made before the first request.
type refusals struct {
	byReason map[message.Reason]*message.Failure
	other    *message.Failure
}

// wwwAuthenticate is read-only.
var wwwAuthenticate = message.WWWAuthenticate.Name()

// newRefusals makes the failures for reasons. challenge stands on those that are answered 401; "" for none.
func newRefusals(name, challenge string, reasons ...message.Reason) refusals {
	r := refusals{byReason: make(map[message.Reason]*message.Failure, len(reasons))}
	for _, reason := range reasons {
		r.byReason[reason] = newRefusal(name, challenge, reason)
	}
	r.other = newRefusal(name, challenge, message.TokenInvalid)
	return r
}

func newRefusal(name, challenge string, reason message.Reason) *message.Failure {
	f := &message.Failure{Reason: reason, Side: message.SideClient, Stage: message.StageRoute, Err: fmt.Errorf("policy %s refused the caller", name)}
	if reason.Status() == 503 {
		f.Side = message.SideInternal
	}
	if reason.Status() == 401 {
		f.Fields = challenged(challenge)
	}
	return f
}

// repeatedCredentials is the failure of a request with two copies of what would tell who calls: 401, because nobody was recognised.
func repeatedCredentials(name, challenge string) *message.Failure {
	f := newRefusal(name, challenge, message.HeaderRepeated)
	f.Status, f.Fields = 401, challenged(challenge)
	return f
}

// challenged returns the field that goes with a 401.
func challenged(challenge string) []message.FieldValue {
	if challenge == "" {
		return nil
	}
	return []message.FieldValue{{Name: wwwAuthenticate, Value: []byte(challenge)}}
}

// of returns the failure for a reason, with the cause for the log, which never holds anything that the caller sent.
func (r *refusals) of(reason message.Reason, detail string) *message.Failure {
	f := r.byReason[reason]
	if f == nil {
		f = r.other
	}
	if detail == "" {
		return f
	}
	with := *f
	with.Err = fmt.Errorf("%w: %s", f.Err, detail)
	return &with
}

// statusOf returns the status that a failure is answered with.
func statusOf(f *message.Failure) int {
	if f.Status != 0 {
		return f.Status
	}
	return f.Reason.Status()
}

// credentialOf returns what stands behind a scheme in a field of the request: credentials, or nil. more says that there are two copies of the field. A
// field with another scheme holds none.
func credentialOf(h *message.Header, field message.Name, scheme string) (credential []byte, more bool) {
	i := h.Index(field, 0)
	if i < 0 {
		return nil, false
	}
	if h.Index(field, i+1) >= 0 {
		return nil, true
	}
	value := h.At(i).Value
	if scheme == "" {
		return value, false
	}
	if len(value) <= len(scheme) || value[len(scheme)] != ' ' || !message.EqualFold(value[:len(scheme)], scheme) {
		return nil, false
	}
	return message.TrimSpace(value[len(scheme):]), false
}

// wallClock tells the time of day at moments of message.Now. Credentials end by the time of day, and message.WallTime does not follow when the
// machine's clock is set: a gateway that started before its machine knew the time would refuse every token until it is started again. Reading the
// clock for each request would cost more than what it is needed for, so it is looked at once a second. The zero value is ready.
type wallClock struct {
	offset atomic.Int64 // nanoseconds of Unix time less message.Now
	until  atomic.Int64 // moment of message.Now until which offset is used; stored after it
}

func (c *wallClock) at(now int64) time.Time {
	if now >= c.until.Load() {
		c.offset.Store(time.Now().UnixNano() - message.Now())
		c.until.Store(now + int64(time.Second))
	}
	return time.Unix(0, now+c.offset.Load())
}

// remembering is the series of what is kept of verified credentials. It lives as long as that does, so over configurations.
type remembering struct{ scope *metric.Scope }

// newRemembering opens the series under the name of the policy that is being built, and returns what a cache counts by.
func newRemembering(c *BuildContext) (remembering, identity.CacheMetrics) {
	s := c.Program.Registry().Scope()
	return remembering{s}, identity.CacheMetrics{
		Hits: s.Counter(metric.VerifiedCallers, c.Name, "hit"), Misses: s.Counter(metric.VerifiedCallers, c.Name, "miss"),
		Evicted: s.Counter(metric.VerifiedCallers, c.Name, "evicted"),
	}
}

// measure shows how much is remembered.
func (r remembering) measure(name string, stats func() identity.CacheStats) {
	r.scope.GaugeFunc(metric.VerifiedBytes, func() int64 { return stats().Bytes }, name)
}
