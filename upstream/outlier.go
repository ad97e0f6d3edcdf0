package upstream

import (
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// failingStatuses are the statuses of an answer that count as failures of the endpoint. Read-only.
var failingStatuses = []struct {
	status int
	name   string
}{{500, "status_500"}, {502, "status_502"}, {503, "status_503"}, {504, "status_504"}}

// failingStatus returns the place of a status in failingStatuses, or -1.
func failingStatus(status int) int {
	if status < 500 || status > 504 {
		return -1
	}
	for i := range failingStatuses {
		if failingStatuses[i].status == status {
			return i
		}
	}
	return -1
}

// maxGrowth is how many times longer than the first an ejection may become.
const maxGrowth = 10

// failed takes a request that failed through the endpoint's fault, counted under the name at place kind of failureNames. connecting says
// that no connection could be opened.
func (b *Backend) failed(ep *Endpoint, shard metric.Shard, kind int, connecting bool, now int64) {
	ep.failures.Add(1)
	ep.metrics.failures.Inc(shard, kind)
	if connecting && b.check != nil && ep.couldNotConnect(b.options.Check.Fall) {
		b.refreshBeside(now)
		ep.changedBeside(b)
	}
	// What fails while the endpoint is ejected had begun before, or came in panic: it is not held against it after its return.
	if ep.ejectedFor(now) > 0 {
		return
	}
	o := &b.options.Outlier
	inRow := o.Consecutive > 0 && int(ep.failing.Add(1)) >= o.Consecutive
	inWindow := o.ErrorRate > 0 && ep.window.failed(now, o)
	if !inRow && !inWindow {
		return
	}
	if b.eject(ep, shard, now) {
		b.refreshBeside(now) // in case this generation is not live
		ep.changedBeside(b)
	}
}

// succeeded takes a request that went well, which was answered at the moment now.
func (b *Backend) succeeded(ep *Endpoint, now int64) {
	ep.succeeded()
	if o := &b.options.Outlier; o.ErrorRate > 0 {
		ep.window.succeeded(now, o)
	}
}

// eject leaves ep out for a while, if the backend can do without it. It reports whether it did.
func (b *Backend) eject(ep *Endpoint, shard metric.Shard, now int64) bool {
	// Only one decision at a time, or two endpoints could each count on the other to stay. Whoever finds another decision under way
	// leaves it at that: the next failure asks again.
	if !b.mu.TryLock() {
		return false
	}
	defer b.mu.Unlock()
	if ep.ejectedFor(now) > 0 || !b.spare(ep, now) {
		return false
	}
	times := min(ep.ejections.Add(1), maxGrowth)
	ep.failing.Store(0)
	ep.window.clear()
	ep.ejectedUntil.Store(now + int64(times)*int64(b.options.Outlier.Eject))
	ep.metrics.ejections.Inc(shard)
	return true
}

// spare reports whether ep may be ejected: the ejected stay within their share of all endpoints, but one may always be ejected (unless the share is 0); and
// another endpoint is left that is usable.
func (b *Backend) spare(ep *Endpoint, now int64) bool {
	total, ejected, others := 0, 0, 0
	for i := range b.roster {
		e := &b.roster[i]
		if e.ep == nil || e.effectiveWeight() == 0 {
			continue
		}
		total++
		if e.ep.ejectedFor(now) > 0 {
			ejected++
		} else if e.ep != ep && b.well(e.ep) {
			others++
		}
	}
	allowed := 0
	if b.options.Outlier.MaxEjected > 0 {
		allowed = max(1, int(b.options.Outlier.MaxEjected*float64(total)))
	}
	return others > 0 && ejected < allowed
}

// kindOf returns the place of a failure's reason in failureNames.
func kindOf(r message.Reason) int { return int(r) }

// kindOfStatus returns the place in failureNames of the status at place i of failingStatuses.
func kindOfStatus(i int) int { return len(failureNames) - len(failingStatuses) + i }
