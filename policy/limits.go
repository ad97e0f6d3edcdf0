package policy

import (
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/limit"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// StoreUse says where a limit is counted.
type StoreUse struct {
	// Store is where requests are counted together with other gateways. Without it that is the top-level `store`, and without that one the memory of
	// each gateway.
	Store *config.Store `yaml:"store"`
	// OnStoreFailure says what to do while the store is away: let pass (`open`), refuse with 503 (`closed`), or count in each gateway against its part of
	// the limit (`share`).
	OnStoreFailure string `yaml:"on_store_failure" default:"share" enum:"open closed share"`
}

// failureMode returns what to do while the store is away.
func failureMode(word string) limit.FailureMode {
	switch word {
	case config.StoreFailureOpen:
		return limit.Open
	case config.StoreFailureClosed:
		return limit.Closed
	}
	return limit.Share
}

// limiterKey is what a limiter is kept under with its counts: they last as long as what they are counted against stays as it is.
type limiterKey struct {
	policy, windows, quota, zone string
	store, failure               string
}

// keptLimiter is a limiter as a keep-pool wants it.
type keptLimiter struct {
	limit.Limiter
	close func() error
}

// Close implements io.Closer.
func (k *keptLimiter) Close() error { return k.close() }

// keptStore is a store as a keep-pool wants it.
type keptStore struct{ *limit.Store }

// Close implements io.Closer.
func (k keptStore) Close() error { k.Store.Close(); return nil }

// Degraded implements Degraded.
func (k keptStore) Degraded() string {
	if k.Available() {
		return ""
	}
	return "store_unavailable"
}

// storeKey is what a store is kept under.
type storeKey struct {
	url     config.RedisURL
	timeout time.Duration
}

// ledgerKey is what the file with the quotas of a state directory is kept under.
type ledgerKey struct{ dir string }

// openStore returns the store of a limit, nil if it has none. ok is false where that was reported.
func (c *BuildContext) openStore(own *config.Store) (store *limit.Store, ok bool) {
	s := own
	if s == nil {
		s = c.Config.Store
	}
	if s == nil || c.Program == nil {
		return nil, true
	}
	k, ok := kept(c, storeKey{s.Redis, s.Timeout}, func() (keptStore, error) {
		made, err := limit.OpenStore(limit.StoreOptions{URL: string(s.Redis), Timeout: s.Timeout, Now: message.Now, Report: c.Program.Reporter()})
		return keptStore{made}, err
	})
	return k.Store, ok
}

// limiterOf returns the limiter for windows and a quota, which has Limit 0 for none; nil where nothing is served, or with a report.
func (c *BuildContext) limiterOf(name string, windows []limit.Window, quota limit.QuotaOptions, use *StoreUse) limit.Limiter {
	if c.Program == nil {
		return nil
	}
	store, ok := c.openStore(use.Store)
	if !ok {
		return nil
	}
	key := limiterKey{policy: name, windows: fmt.Sprint(windows), quota: fmt.Sprint(quota.Limit, quota.Period)}
	if quota.Zone != nil {
		key.zone = quota.Zone.String()
	}
	if store != nil {
		key.store, key.failure = store.Address(), use.OnStoreFailure
	}
	k, ok := kept(c, key, func() (*keptLimiter, error) {
		if store != nil {
			sh, err := limit.NewShared(limit.SharedOptions{Store: store, Name: name, Windows: windows, Quota: quota, OnFailure: failureMode(use.OnStoreFailure)})
			if err != nil {
				return nil, err
			}
			return &keptLimiter{sh, func() error { sh.Close(); return nil }}, nil
		}
		return c.localLimiter(name, windows, quota)
	})
	if !ok {
		return nil
	}
	return k.Limiter
}

// localLimiter makes a limiter that counts in this program.
func (c *BuildContext) localLimiter(name string, windows []limit.Window, quota limit.QuotaOptions) (*keptLimiter, error) {
	local := new(limit.Local)
	var err error
	if len(windows) > 0 {
		if local.Rate, err = limit.NewRate(limit.RateOptions{Windows: windows}); err != nil {
			return nil, err
		}
	}
	if quota.Limit > 0 {
		if local.Quota, err = c.localQuota(name, quota); err != nil {
			return nil, err
		}
	}
	return &keptLimiter{local, local.Close}, nil
}

// localQuota makes a quota, which is kept over restarts if there is a directory for state.
func (c *BuildContext) localQuota(name string, o limit.QuotaOptions) (*limit.Quota, error) {
	o.Name = name
	dir := c.Program.State()
	if dir == "" {
		return limit.NewQuota(o)
	}
	ledger, err := c.ledger(dir)
	if err != nil {
		return nil, err
	}
	return ledger.Quota(o)
}

// ledger returns the file with the quotas.
func (c *BuildContext) ledger(dir string) (*limit.Ledger, error) {
	report := c.Program.Reporter()
	thing, err := c.Program.Keep(c.Name, ledgerKey{dir}, func() (io.Closer, error) {
		return limit.OpenLedger(limit.LedgerOptions{Dir: dir, Clock: time.Now, Report: report})
	})
	if err != nil {
		return nil, err
	}
	ledger, ok := thing.(*limit.Ledger)
	if !ok {
		return nil, fmt.Errorf("the state directory %s is in use for something else", dir) // not reached: the key has a type of its own
	}
	return ledger, nil
}

// limitFailures are what limits refuse with.
type limitFailures struct{ rate, quota, store *message.Failure }

func newLimitFailures(name string) limitFailures {
	refuse := func(reason message.Reason, side message.Side, text string) *message.Failure {
		return &message.Failure{Reason: reason, Side: side, Stage: message.StageRoute, Err: fmt.Errorf("policy %s: %s", name, text)}
	}
	return limitFailures{
		rate:  refuse(message.RateLimited, message.SideClient, "the rate is exceeded"),
		quota: refuse(message.QuotaExceeded, message.SideClient, "the quota is used up"),
		store: refuse(message.LimitStoreUnavailable, message.SideInternal, "the store is away"),
	}
}

// limitNote is what a limit remembers of an exchange until it has a response. It is pooled.
type limitNote struct {
	result limit.Result
	plan   *planLimiter // of plan_limit
}

// limitNotes is a pool (read-only: what it holds has no meaning).
var limitNotes = sync.Pool{New: func() any { return new(limitNote) }}

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

// failure counts a decision and returns what it refuses with, or nil.
func (n *limitNote) failure(counts *limitCounts, failures *limitFailures) *message.Failure {
	if n.result.Source == limit.FromShare || n.result.Source == limit.FromNobody {
		counts.away.Inc(0)
	}
	switch n.result.Verdict {
	case limit.RateRefused:
		counts.refused.Inc(0)
		return failures.rate
	case limit.QuotaRefused:
		counts.refused.Inc(0)
		return failures.quota
	case limit.StoreAway:
		counts.away.Inc(0)
		return failures.store
	}
	counts.passed.Inc(0)
	return nil
}

// take asks a limiter, which may wait for its store.
func (n *limitNote) take(x *message.Exchange, l limit.Limiter, key []byte, cost int64) {
	now := message.Now()
	wall := message.WallTime(now).UnixNano()
	if l.Waits() {
		n.wait(x, l, key, cost, now, wall)
		return
	}
	l.Take(key, cost, now, wall, &n.result)
}

func (n *limitNote) wait(x *message.Exchange, l limit.Limiter, key []byte, cost, now, wall int64) {
	x.Await(func() { l.Take(key, cost, now, wall, &n.result) })
}
