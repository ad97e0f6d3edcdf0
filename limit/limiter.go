package limit

// Limiter decides whether a request may pass: by a rate, a quota or both. Local counts in this process, Shared in a store. Both may be called by any
// goroutine.
type Limiter interface {
	// Take counts a request of a key, which costs cost (at least 1), if it may pass, and fills in the result. now is the monotonic clock in nanoseconds,
	// wall the time of day in Unix nanoseconds. What is refused takes nothing of the rate and nothing of the quota. The key is not kept.
	Take(key []byte, cost, now, wall int64, r *Result)
	// Peek tells how a key stands, without counting anything: what it says is Passed, unless the store is away and nothing passes without it. The arguments
	// are those of Take.
	Peek(key []byte, now, wall int64, r *Result)
	// Waits says that Take may wait for a store, so that it should be called where waiting is allowed. It never waits longer than the store's timeout.
	Waits() bool
}

// Verdict is what becomes of a request.
type Verdict uint8

const (
	// Passed requests were counted, unless Result.Source says otherwise.
	Passed Verdict = 1 + iota
	// RateRefused requests come too often. A request that neither rate nor quota would let pass is refused by the rate.
	RateRefused
	// QuotaRefused requests have no quota left in this period.
	QuotaRefused
	// StoreAway says that the store cannot be asked, and that nothing passes without it.
	StoreAway
)

// Source tells who has counted.
type Source uint8

const (
	// FromMemory is this process, which counts alone.
	FromMemory Source = 1 + iota
	// FromStore is the store, which counts for all.
	FromStore
	// FromShare is this process, with its share of the limit, because the store is away.
	FromShare
	// FromNobody is what passes uncounted, because the store is away.
	FromNobody
)

// Result is what a Limiter says to one request. It belongs to the caller, who may use it again.
type Result struct {
	Verdict Verdict
	Source  Source
	// Rate is valid when there is a rate and Verdict is not StoreAway, Quota when there is a quota and Verdict is not StoreAway: the state after the
	// decision.
	HasRate, HasQuota bool
	Rate              Decision
	Quota             Usage
}

// RetryAfter returns the value of Retry-After for a request that was refused: whole seconds, at least 1.
func (r *Result) RetryAfter() int64 {
	switch r.Verdict {
	case RateRefused:
		return r.Rate.RetryAfter()
	case QuotaRefused:
		return r.Quota.RetryAfter()
	}
	return 1
}

// Local is a Limiter that counts in this process. Rate or Quota is there, or both.
type Local struct {
	Rate  *Rate
	Quota *Quota
	// Limit is how much of the quota each key has; 0 means as much as the quota's own options say. It is for a quota that others use with other limits, or that
	// was opened for a limit that has changed since.
	Limit int64
}

// Waits implements Limiter.
func (l *Local) Waits() bool { return false }

// Take implements Limiter.
func (l *Local) Take(key []byte, cost, now, wall int64, r *Result) {
	r.Verdict, r.Source, r.HasRate, r.HasQuota = Passed, FromMemory, l.Rate != nil, l.Quota != nil
	if l.Rate != nil {
		l.Rate.Take(key, cost, now, &r.Rate)
		if !r.Rate.Allowed {
			r.Verdict = RateRefused
		}
	}
	switch {
	case l.Quota == nil:
	case r.Verdict == RateRefused:
		l.Quota.PeekOf(key, l.Limit, wall, &r.Quota)
	default:
		if l.Quota.TakeOf(key, cost, l.Limit, wall, &r.Quota); !r.Quota.Allowed {
			r.Verdict = QuotaRefused
			if l.Rate != nil {
				// In between, another request of the key may have been refused by the rate; the quota would have refused it as well.
				l.Rate.Return(key, cost, now)
				l.Rate.Peek(key, now, &r.Rate)
			}
		}
	}
}

// Peek implements Limiter.
func (l *Local) Peek(key []byte, now, wall int64, r *Result) {
	r.Verdict, r.Source, r.HasRate, r.HasQuota = Passed, FromMemory, l.Rate != nil, l.Quota != nil
	if l.Rate != nil {
		l.Rate.Peek(key, now, &r.Rate)
	}
	if l.Quota != nil {
		l.Quota.PeekOf(key, l.Limit, wall, &r.Quota)
	}
}

// Close parts from the ledger, see Quota.Close.
func (l *Local) Close() error {
	if l.Quota != nil {
		return l.Quota.Close()
	}
	return nil
}
