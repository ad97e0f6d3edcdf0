package gateway

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// collector sets how often the garbage collector runs. A proxy that allocates next to nothing for a
// request has a heap of a few megabytes, and at the usual percentage each new TLS connection pays
// for collecting it again and again. So there may always be some garbage, whatever is live; a
// large heap is collected as usual.
type collector struct {
	before  int // the percentage that end restores
	percent int
	live    [1]metrics.Sample
}

const (
	// collectSlack is the garbage that there may always be, in bytes.
	collectSlack = 64 << 20
	// collectMost bounds the percentage: the heap grows to five times what is live.
	collectMost = 400
	// collectEvery is how often the size of the heap is looked at.
	collectEvery = 5 * time.Second
)

// newCollector returns nil, which does nothing, if the operator has decided by GOGC.
func newCollector() *collector {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	c := &collector{percent: collectMost}
	c.live[0].Name = "/gc/heap/live:bytes"
	c.before = debug.SetGCPercent(collectMost)
	return c
}

// end restores the percentage.
func (c *collector) end() {
	if c != nil {
		debug.SetGCPercent(c.before)
	}
}

// look adapts the percentage to the size of the heap.
func (c *collector) look() {
	if c == nil {
		return
	}
	metrics.Read(c.live[:])
	p := collectPercent(c.live[0].Value.Uint64())
	if p*4 < c.percent*3 || p*3 > c.percent*4 { // each change stops the world for a moment
		debug.SetGCPercent(p)
		c.percent = p
	}
}

// collectPercent is the percentage for so many live bytes.
func collectPercent(live uint64) int {
	return int(min(collectMost, max(100, collectSlack*100/max(live, 1))))
}
