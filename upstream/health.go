package upstream

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// maxFirstWait bounds how long the first check of an endpoint is put off: the first round is spread like all others, but readiness
// waits for it.
const maxFirstWait = 250 * time.Millisecond

// checkRecord is what the active checks of an endpoint have found.
type checkRecord struct {
	known  bool   // there was a check
	passes int    // in a row
	fails  int    // in a row
	at     int64  // moment of the last check
	fault  string // what was wrong at the last check; "" if it passed
}

// checked takes the result of a check and reports whether the endpoint went up or down. The very first result decides alone, so that a new
// endpoint is not used for fall × interval only to find that it is dead.
func (ep *Endpoint) checked(err error, rise, fall int, now int64) bool {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	r := &ep.record
	first := !r.known
	r.known, r.at = true, now
	if err == nil {
		r.fault, r.fails = "", 0
		r.passes++
		ep.refused.Store(0)
		if ep.down.Load() && (first || r.passes >= rise) {
			ep.down.Store(false)
			return true
		}
		return false
	}
	r.fault, r.passes = err.Error(), 0
	r.fails++
	if !ep.down.Load() && (first || r.fails+int(ep.refused.Load()) >= fall) {
		ep.down.Store(true)
		return true
	}
	return false
}

// couldNotConnect takes a request that could not connect, which counts like a failed check, and reports whether the endpoint went down.
func (ep *Endpoint) couldNotConnect(fall int) bool {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	ep.record.passes = 0
	if ep.record.fails+int(ep.refused.Add(1)) >= fall && !ep.down.Load() {
		ep.down.Store(true)
		return true
	}
	return false
}

// forget drops what checks have found, for a configuration that has none: nothing would bring the endpoint up again.
func (ep *Endpoint) forget() {
	ep.mu.Lock()
	ep.record = checkRecord{}
	ep.down.Store(false)
	ep.mu.Unlock()
}

// lastCheck returns the record of the checks.
func (ep *Endpoint) lastCheck() checkRecord {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return ep.record
}

// startChecks starts a goroutine for each endpoint; Close ends and joins them.
func (b *Backend) startChecks() {
	//house:allow call checks run beside the requests; their context ends dials and reads at once when the backend is closed
	ctx, cancel := context.WithCancel(context.Background())
	b.stopChecks = cancel
	pending := int64(0)
	first := make([]bool, len(b.endpoints))
	for i, ep := range b.endpoints {
		if first[i] = !ep.lastCheck().known; first[i] {
			pending++
		}
	}
	b.firstRound.Store(pending)
	if pending == 0 {
		close(b.ready)
	}
	for i, ep := range b.endpoints {
		// The first round is spread over the interval like the others, but a new endpoint does not wait long for its first check.
		wait := time.Duration(rand.Float64() * float64(b.options.Check.Interval))
		if first[i] {
			wait = min(wait/10, maxFirstWait)
		}
		b.checkers.Go(func() { b.watchOver(ctx, ep, wait, first[i]) })
	}
}

// watchOver checks one endpoint, first after wait and then at every interval, until ctx ends.
func (b *Backend) watchOver(ctx context.Context, ep *Endpoint, wait time.Duration, first bool) {
	o := b.options.Check
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		limited, cancel := context.WithTimeout(ctx, o.Timeout)
		err := b.check.Run(limited, ep.address)
		cancel()
		if ctx.Err() != nil {
			return // cut by the end of the backend: the result says nothing
		}
		if err == nil {
			ep.metrics.passed.Inc(0)
		} else {
			ep.metrics.failed.Inc(0)
		}
		if ep.checked(err, o.Rise, o.Fall, message.Now()) {
			ep.changed()
		}
		if first {
			first = false
			if b.firstRound.Add(-1) == 0 {
				close(b.ready)
			}
		}
		timer.Reset(jittered(o.Interval, o.Jitter))
	}
}

// jittered varies d by the share to both sides, so that checks of many endpoints by many proxies do not fall into step.
func jittered(d time.Duration, share float64) time.Duration {
	return time.Duration(float64(d) * (1 + share*(2*rand.Float64()-1)))
}
