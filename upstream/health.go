package upstream

import (
	"context"
	"fmt"
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
			ep.since.Store(now)
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

// startCheck starts a goroutine that watches over the endpoint of a slot; Close ends and joins it. The caller holds mu.
func (b *Backend) startCheck(slot int) {
	e := &b.roster[slot]
	ep := e.ep
	ctx, cancel := context.WithCancel(b.checks)
	e.stop = cancel
	first := !ep.lastCheck().known
	waits := first && b.pending > 0
	if waits {
		b.pending++
	}
	// The first round is spread over the interval like the others, but a new endpoint does not wait long for its first check.
	wait := time.Duration(rand.Float64() * float64(b.options.Check.Interval))
	if first {
		wait = min(wait/10, maxFirstWait)
	}
	b.checkers.Go(func() {
		b.watchOver(ctx, ep, wait, func() {
			if waits && b.checks.Err() == nil { // a backend that is closed becomes ready no more
				waits = false
				b.settled()
			}
		})
	})
}

// watchOver checks one endpoint, first after wait and then at every interval, until ctx ends. It calls checked after each, and at its own end.
func (b *Backend) watchOver(ctx context.Context, ep *Endpoint, wait time.Duration, checked func()) {
	defer checked()
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
		err := checkSafely(limited, b.check, &Target{ep.address, ep.transport.Load().tls})
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
		checked()
		interval := o.Interval
		if o.DownInterval > 0 && !ep.settledUp() {
			interval = min(interval, o.DownInterval)
		}
		timer.Reset(jittered(interval, o.Jitter))
	}
}

// checkSafely runs a check. A panic over an answer, which would be a mistake of this program, fails the check and ends nothing.
func checkSafely(ctx context.Context, c Check, t *Target) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the check panicked, which is a bug in this program: %v", p)
		}
	}()
	return c.Run(ctx, t)
}

// settledUp reports whether the endpoint is up and its last check has passed.
func (ep *Endpoint) settledUp() bool {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return !ep.down.Load() && ep.record.fails == 0
}

// jittered varies d by the share to both sides, so that checks of many endpoints by many proxies do not fall into step.
func jittered(d time.Duration, share float64) time.Duration {
	return time.Duration(float64(d) * (1 + share*(2*rand.Float64()-1)))
}
