package policy

import (
	"fmt"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/limit"
	"github.com/sluice-gateway/sluice/message"
)

// storeUse is what a policy says of where it counts.
type storeUse struct {
	store     *config.Store // its own; nil for none
	onFailure string        // one of the words of config
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
	use     string // limits and records have connections of their own: a record may be large, and no request should wait for another's
}

// What stores are used for.
const (
	storeOfLimits  = "limits"
	storeOfRecords = "answers to idempotent requests"
)

// instance is what all stores of a program tell that they are, so that a program with several stores counts as one.
type instance struct{ name string }

// instanceKey is what it is kept under.
type instanceKey struct{}

// Close implements io.Closer.
func (instance) Close() error { return nil }

// storeOf returns the store that a policy uses, its own or that of all; nil for none.
func (c *BuildContext) storeOf(own *config.Store) *config.Store {
	if own != nil {
		return own
	}
	return c.Config.Store
}

// openStore returns a connection to a store, nil if there is none to be used. ok is false where that was reported.
func (c *BuildContext) openStore(s *config.Store, use string, timeout time.Duration) (store *limit.Store, ok bool) {
	if s == nil || c.Program == nil {
		return nil, true
	}
	i, ok := kept(c, instanceKey{}, func() (instance, error) { return instance{limit.NewInstance()}, nil })
	if !ok {
		return nil, false
	}
	k, ok := kept(c, storeKey{s.Redis, timeout, use}, func() (keptStore, error) {
		made, err := limit.OpenStore(limit.StoreOptions{
			URL: string(s.Redis), Of: use, Timeout: timeout, Instance: i.name, Now: message.Now, Report: c.Program.Reporter(),
		})
		if err == nil {
			awaitFirst(made)
		}
		return keptStore{made}, err
	})
	return k.Store, ok
}

// storeGrace is how long a start or a reload waits for a store that is used for the first time.
const storeGrace = 300 * time.Millisecond

// awaitFirst waits until a store has been reached or not, so that the first requests are counted like all others.
func awaitFirst(s *limit.Store) {
	timer := time.NewTimer(storeGrace)
	defer timer.Stop()
	select {
	case <-s.First():
	case <-timer.C: // it is found away by requests, and used when it answers
	}
}

// limiterOptions are what a limiter is made of.
type limiterOptions struct {
	name    string // of what is counted together
	windows []limit.Window
	quota   limit.QuotaOptions // Limit 0 for none
	use     storeUse
}

// limiterOf returns a limiter, or reports why there is none. It is nil where nothing is served.
func (c *BuildContext) limiterOf(o limiterOptions) (l limit.Limiter, ok bool) {
	if c.Program == nil {
		return nil, true
	}
	for i := range o.windows {
		o.windows[i].Burst = o.windows[i].Quota() // whether it was written or not: what is counted is kept either way
	}
	s := c.storeOf(o.use.store)
	if s == nil {
		return c.localLimiter(&o)
	}
	store, ok := c.openStore(s, storeOfLimits, s.Timeout)
	if !ok {
		return nil, false
	}
	return c.sharedLimiter(&o, store)
}

// sharedKey is what a limiter on a store is kept under. It goes by the connection: a limiter does not change to another one.
type sharedKey struct {
	store         *limit.Store
	name, windows string
	quota         quotaKey
	limit         int64
	failure       limit.FailureMode
}

// keptShared is a limiter on a store as a keep-pool wants it.
type keptShared struct{ *limit.Shared }

// Close implements io.Closer.
func (k keptShared) Close() error { k.Shared.Close(); return nil }

func (c *BuildContext) sharedLimiter(o *limiterOptions, store *limit.Store) (limit.Limiter, bool) {
	mode := failureMode(o.use.onFailure)
	key := sharedKey{store, o.name, fmt.Sprint(o.windows), quotaKeyOf(o, ""), o.quota.Limit, mode}
	k, ok := kept(c, key, func() (keptShared, error) {
		made, err := limit.NewShared(limit.SharedOptions{Store: store, Name: o.name, Windows: o.windows, Quota: o.quota, OnFailure: mode})
		return keptShared{made}, err
	})
	if !ok {
		return nil, false
	}
	return k.Shared, true
}

// rateKey is what a rate in memory is kept under: what was counted means something as long as rate and burst stay.
type rateKey struct{ name, windows string }

// keptRate is a rate as a keep-pool wants it.
type keptRate struct{ *limit.Rate }

// Close implements io.Closer: there is nothing to end.
func (keptRate) Close() error { return nil }

// quotaKey is what a quota in memory is kept under. The limit is none of it: what was counted in a period stays counted when the limit is changed.
type quotaKey struct {
	name   string
	period limit.Period
	zone   string
	dir    string // where it is kept over restarts; "" for nowhere
}

func quotaKeyOf(o *limiterOptions, dir string) quotaKey {
	k := quotaKey{name: o.name, period: o.quota.Period, dir: dir}
	if o.quota.Zone != nil {
		k.zone = o.quota.Zone.String()
	}
	return k
}

// localLimiter makes a limiter that counts in this program.
func (c *BuildContext) localLimiter(o *limiterOptions) (limit.Limiter, bool) {
	l := new(limit.Local)
	if len(o.windows) > 0 {
		k, ok := kept(c, rateKey{o.name, fmt.Sprint(o.windows)}, func() (keptRate, error) {
			made, err := limit.NewRate(limit.RateOptions{Windows: o.windows})
			return keptRate{made}, err
		})
		if !ok {
			return nil, false
		}
		l.Rate = k.Rate
	}
	if o.quota.Limit > 0 {
		quota, ok := c.localQuota(o)
		if !ok {
			return nil, false
		}
		l.Quota, l.Limit = quota, o.quota.Limit
	}
	return l, true
}

// ledgerKey is what the file with the quotas of a state directory is kept under.
type ledgerKey struct{ dir string }

// localQuota returns a quota, which is kept over restarts if there is a directory for state.
func (c *BuildContext) localQuota(o *limiterOptions) (*limit.Quota, bool) {
	q := o.quota
	q.Name = o.name
	dir, report := c.Program.State(), c.Program.Reporter()
	open := func() (*limit.Quota, error) { return limit.NewQuota(q) }
	if dir != "" {
		// Each configuration that uses a quota holds the file, too: the quota may be another's, and must not outlive it.
		ledger, ok := kept(c, ledgerKey{dir}, func() (*limit.Ledger, error) {
			return limit.OpenLedger(limit.LedgerOptions{Dir: dir, Clock: time.Now, Report: report})
		})
		if !ok {
			return nil, false
		}
		open = func() (*limit.Quota, error) { return ledger.Quota(q) }
	}
	return kept(c, quotaKeyOf(o, dir), open)
}
