package identity

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/metric"
)

// The defaults of [KeysOptions].
const (
	DefaultRefresh     = 10 * time.Minute
	DefaultTimeout     = 2 * time.Second
	DefaultMinInterval = 5 * time.Second
)

const (
	// firstRetry and lastRetry are the first and the longest wait after a fetch that failed; it doubles in between.
	firstRetry = 500 * time.Millisecond
	lastRetry  = 30 * time.Second
	// fileMinInterval takes the place of MinInterval for a file, where a look costs nothing.
	fileMinInterval = 100 * time.Millisecond
	// reportEvery is the shortest time between two lines about keys that cannot be got.
	reportEvery = time.Minute
	// jitter is the largest share by which a refresh comes early, so that many gateways do not fall into step.
	jitter = 0.1
)

// The words of [Keys.Degraded].
const (
	KeysUnavailable = "jwks_unavailable" // there are no keys yet, and every token is refused
	KeysStale       = "jwks_stale"       // keys are there, but the last attempt to get them anew failed
)

// KeysOptions say where keys come from: exactly one of File and URL.
type KeysOptions struct {
	// File with a JWK Set, looked at once a second.
	File string
	// URL of a JWK Set, http or https, and how to get it: how old it may become, how long a fetch may take as a whole, and how long after the
	// beginning of one a token with an unknown key may begin the next. 0 means the defaults.
	URL         string
	Refresh     time.Duration
	Timeout     time.Duration
	MinInterval time.Duration
	// Roots that the issuer's certificate is verified by; nil means those of the system.
	Roots *x509.CertPool
	// Report takes lines for the operator, one call at a time; nil for nobody.
	Report func(line string)
	// Fetched and Failed count the attempts to get the keys by how they ended; a look at a file that has not changed is none. Nil ones count nothing.
	Fetched *metric.Counter
	Failed  *metric.Counter
}

// KeysStatus is what is known of keys now.
type KeysStatus struct {
	Keys      int
	Last      time.Time // when they were last got; zero if never
	Failures  int       // attempts that failed since then
	LastError string
}

// Keys are the keys of an issuer, kept up to date for as long as they are open. All methods may be called by any goroutine.
//
// Keys that were got once stay in use until others take their place, however long the issuer is away: that it does not answer says nothing about
// its keys. Only one fetch is under way at any time.
type Keys struct {
	name    string // for reports
	options KeysOptions
	load    loader
	file    bool
	random  func() float64
	release func() // gives up what load holds

	current atomic.Pointer[jwkSet] // nil until there was one

	mu     sync.Mutex
	flight *flight    // guarded by mu: the fetch that is under way or asked for; nil if there is none
	began  time.Time  // guarded by mu: when the last fetch began
	status KeysStatus // guarded by mu
	broken bool       // guarded by mu: the file was read and refused, and has not changed since

	asked     chan struct{} // holds one: somebody waits for flight
	first     chan struct{}
	firstOnce sync.Once
	cancel    context.CancelFunc
	done      chan struct{} // closed when the goroutine has ended

	reports reports // owned by the goroutine
}

// flight is one fetch.
type flight struct{ done chan struct{} }

// OpenKeys reads a file, which must be right, or begins to fetch a URL, and returns at once: tokens that come while the first fetch is under way wait
// for it. Close ends it.
func OpenKeys(o KeysOptions) (*Keys, error) {
	if (o.File == "") == (o.URL == "") {
		return nil, errors.New("keys come from a file or from a URL, one of them")
	}
	o = o.withDefaults()
	if o.File != "" {
		return openKeys(o.File, o, (&file{path: o.File, most: maxDocument}).load, nil, rand.Float64)
	}
	f, err := newFetcher(o.URL, o.Roots, o.Timeout)
	if err != nil {
		return nil, err
	}
	return openKeys(o.URL, o, f.load, f.close, rand.Float64)
}

func (o KeysOptions) withDefaults() KeysOptions {
	if o.Refresh <= 0 {
		o.Refresh = DefaultRefresh
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.MinInterval <= 0 {
		o.MinInterval = DefaultMinInterval
	}
	if o.File != "" {
		o.Refresh, o.MinInterval = defaultInterval, fileMinInterval
	}
	if o.Report == nil {
		o.Report = func(string) {}
	}
	return o
}

// openKeys is OpenKeys with a network and chance of its own.
func openKeys(name string, o KeysOptions, load loader, release func(), random func() float64) (*Keys, error) {
	ctx, cancel := context.WithCancel(context.Background())
	k := &Keys{name: name, options: o, load: load, file: o.File != "", random: random, release: release,
		asked: make(chan struct{}, 1), first: make(chan struct{}), cancel: cancel, done: make(chan struct{})}
	k.reports = reports{about: "keys of " + name, out: o.Report}
	wait := time.Duration(0)
	if k.file {
		if wait = k.attempt(ctx); !k.Available() {
			cancel()
			return nil, errors.New(k.Status().LastError)
		}
		k.firstOnce.Do(func() { close(k.first) })
	} else {
		k.begin() // before the goroutine runs, so that whoever comes at once has something to wait for
	}
	go k.run(ctx, wait)
	return k, nil
}

// Available reports whether there are keys. It is false only until the first were got.
func (k *Keys) Available() bool { return k.current.Load() != nil }

// Degraded returns why the keys are not as they should be, [KeysUnavailable] or [KeysStale]; "" if they are.
func (k *Keys) Degraded() string {
	if !k.Available() {
		return KeysUnavailable
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.status.Failures > 0 {
		return KeysStale
	}
	return ""
}

// First returns a channel that is closed after the first fetch, whether it got keys or not, or by Close.
func (k *Keys) First() <-chan struct{} { return k.first }

// Status returns what is known now.
func (k *Keys) Status() KeysStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.status
	if set := k.current.Load(); set != nil {
		s.Keys = len(set.keys)
	}
	return s
}

// Close ends the fetches, one that is under way too, and waits until the goroutine has ended. The keys stay as they are.
func (k *Keys) Close() {
	k.cancel()
	<-k.done
}

// run is the goroutine: the only one that fetches.
func (k *Keys) run(ctx context.Context, wait time.Duration) {
	defer close(k.done)
	if k.release != nil {
		defer k.release()
	}
	defer k.firstOnce.Do(func() { close(k.first) })
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-k.asked:
		}
		f := k.begin()
		timer.Reset(k.attempt(ctx))
		k.end(f)
		k.firstOnce.Do(func() { close(k.first) })
	}
}

// begin begins a fetch, or returns the one that was asked for.
func (k *Keys) begin() *flight {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.flight == nil {
		k.flight, k.began = &flight{done: make(chan struct{})}, time.Now()
	}
	select {
	case <-k.asked: // whoever asked waits for this one
	default:
	}
	return k.flight
}

// end ends a fetch and wakes those who wait for it.
func (k *Keys) end(f *flight) {
	k.mu.Lock()
	k.flight = nil
	k.mu.Unlock()
	close(f.done)
}

// again gets the keys anew for a token whose key is not known, and reports whether it was worth waiting: false says at once that the last fetch began
// too short a time ago. Whoever comes while a fetch is under way waits for that one.
func (k *Keys) again() bool {
	k.mu.Lock()
	f := k.flight
	if f == nil {
		if time.Since(k.began) < k.options.MinInterval {
			k.mu.Unlock()
			return false
		}
		f = &flight{done: make(chan struct{})}
		k.flight, k.began = f, time.Now()
		select {
		case k.asked <- struct{}{}:
		default:
		}
	}
	k.mu.Unlock()
	return k.await(f)
}

// await waits for a fetch, at most for the timeout.
func (k *Keys) await(f *flight) bool {
	timer := time.NewTimer(k.options.Timeout)
	defer timer.Stop()
	select {
	case <-f.done:
		return true
	case <-timer.C:
	case <-k.done:
	}
	return false
}

// set returns the keys, or nil if there are none yet. While the very first fetch is under way it waits for that: a program that has just started
// should not refuse who comes in its first milliseconds.
func (k *Keys) set() *jwkSet {
	if set := k.current.Load(); set != nil {
		return set
	}
	select {
	case <-k.first:
	default:
		k.mu.Lock()
		f := k.flight
		k.mu.Unlock()
		if f != nil {
			k.await(f)
		}
	}
	return k.current.Load()
}

// attempt gets the keys once and returns the wait until the next time.
func (k *Keys) attempt(ctx context.Context) time.Duration {
	limited, cancel := context.WithTimeout(ctx, k.options.Timeout)
	document, changed, err := k.load(limited)
	cancel()
	if ctx.Err() != nil {
		return lastRetry // cut by Close: the result says nothing
	}
	var set *jwkSet
	leftOut := ""
	if err == nil && changed {
		set, leftOut, err = parseJWKS(document)
	}
	now := time.Now()
	switch {
	case err != nil:
		k.options.Failed.Inc(0)
		return k.failed(err, changed, now)
	case !changed:
		return k.unchanged()
	}
	k.options.Fetched.Inc(0)
	k.publish(set, now)
	k.reports.works(len(set.keys))
	k.reports.leftOut(now, leftOut)
	return k.wait(0)
}

// publish makes set the keys in use.
func (k *Keys) publish(set *jwkSet, now time.Time) {
	old := k.current.Load()
	next := set.succeed(old)
	k.current.Store(next)
	// Only then: a token that finds its key retired is judged by the new set.
	old.retire(next)
	k.mu.Lock()
	k.status, k.broken = KeysStatus{Last: now}, false
	k.mu.Unlock()
}

// unchanged notes a look at a file that is what it was. If it is what was refused, that goes on to be wrong.
func (k *Keys) unchanged() time.Duration {
	k.mu.Lock()
	broken := k.broken
	if !broken {
		k.status.Failures, k.status.LastError = 0, ""
	}
	k.mu.Unlock()
	if set := k.current.Load(); !broken && set != nil {
		k.reports.works(len(set.keys))
	} else if broken {
		k.reports.fails(time.Now(), k.Status().LastError+"; the keys got before stay in use")
	}
	return k.wait(0)
}

// failed notes an attempt that failed.
func (k *Keys) failed(err error, read bool, now time.Time) time.Duration {
	k.mu.Lock()
	k.status.Failures++
	k.status.LastError = err.Error()
	k.broken = read
	failures := k.status.Failures
	k.mu.Unlock()
	switch {
	case k.file && failures == 1:
		// A file that is being written is no event for anybody: it is told of at the second look.
	case k.Available():
		k.reports.fails(now, fmt.Sprintf("%v; the keys got before stay in use", err))
	default:
		k.reports.fails(now, fmt.Sprintf("%v; no keys are known yet", err))
	}
	return k.wait(failures)
}

// wait returns the time until the next attempt.
func (k *Keys) wait(failures int) time.Duration {
	switch {
	case k.file:
		return k.options.Refresh
	case failures > 0:
		return min(lastRetry, firstRetry<<min(failures-1, 10))
	}
	return k.options.Refresh - time.Duration(jitter*k.random()*float64(k.options.Refresh))
}

// reports writes the lines about keys, few enough that an issuer that is away does not fill a log.
type reports struct {
	about string
	out   func(line string)

	failing  bool      // the operator was told of a failure, and not yet of its end
	failedAt time.Time // when the operator was last told of a failure
	left     string    // what was last said about keys that are not used
	leftAt   time.Time
}

// fails tells of a failure, unless it is less than a minute since the last time.
func (r *reports) fails(now time.Time, text string) {
	if !r.failedAt.IsZero() && now.Sub(r.failedAt) < reportEvery {
		return
	}
	r.failing, r.failedAt = true, now
	r.out(r.about + ": " + text)
}

// works tells that all is well again, if the operator knows that it was not.
func (r *reports) works(n int) {
	if r.failing {
		r.failing = false
		r.out(fmt.Sprintf("%s: got again (keys: %d)", r.about, n))
	}
}

// leftOut tells which key is not used, once until that changes, and at most once a minute.
func (r *reports) leftOut(now time.Time, text string) {
	switch {
	case text == "":
		r.left = ""
	case text != r.left && (r.leftAt.IsZero() || now.Sub(r.leftAt) >= reportEvery):
		r.left, r.leftAt = text, now
		r.out(r.about + ": " + text)
	}
}
