package demo

import (
	"time"

	"github.com/sluice-gateway/sluice/metric"
)

// frame is what is shown at one moment. Nothing in it changes any more.
type frame struct {
	elapsed  time.Duration
	rate     int    // requests/s that are sent
	source   string // where the configuration is from
	tries    []string
	last     figures // since the frame before
	total    figures // since the start
	backends []backendRow
	events   []event // the oldest first
	failure  string  // what the client saw last of a request that failed, "" if none did
}

// figures are the load as the client sees it.
type figures struct {
	over      time.Duration
	answered  uint64
	failed    uint64
	skipped   uint64
	cached    uint64 // answers that were kept from before
	partial   uint64 // answers that lack an optional part
	saved     uint64 // retries that brought an answer
	p50, p99  time.Duration
	retries   uint64
	denied    uint64 // retries that the budget did not allow
	ejections uint64
	downs     uint64
}

// perSecond returns requests/s.
func (f *figures) perSecond() float64 { return perSecond(f.answered+f.failed, f.over) }

// cachedShare returns what part of the answers was kept from before, below 0 if there were none.
func (f *figures) cachedShare() float64 {
	if f.answered == 0 {
		return -1
	}
	return float64(f.cached) / float64(f.answered)
}

func perSecond(n uint64, over time.Duration) float64 {
	if over <= 0 {
		return 0
	}
	return float64(n) / over.Seconds()
}

type backendRow struct {
	name      string
	usable    int
	endpoints []endpointRow
}

type endpointRow struct {
	address  string
	state    state
	ejected  time.Duration // how much longer, if state is ejected
	inFlight int64
	trouble  trouble // what the bank makes it do

	// Since the frame before.
	perSecond float64
	share     float64 // of the attempts of its backend, 0 to 1; below 0 if there were none

	// Since the start.
	requests   uint64
	failures   uint64
	ejections  uint64
	downs      uint64
	totalShare float64
}

// state is what the gateway thinks of an endpoint.
type state int

const (
	healthy state = iota
	ejected       // left out for a while because its requests failed
	down          // its health checks fail
)

// event is something that happened.
type event struct {
	at   time.Duration // since the start
	text string
}

// quantiles fills p50 and p99 from a histogram's content.
func (f *figures) quantiles(s *metric.Snapshot) { f.p50, f.p99 = s.Quantile(0.5), s.Quantile(0.99) }
