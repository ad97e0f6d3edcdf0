package metric

import (
	"math"
	"runtime"
	"runtime/metrics"
)

// reading is the value of a scraped family, if the system tells it.
type reading struct {
	value float64
	known bool
}

// readings has a slot for every family so that it can be filled by ID; only those of scraped families are used.
type readings [numFamilies]reading

func (r *readings) set(id ID, v float64) { r[id] = reading{value: v, known: true} }

// runtimeNames are the runtime's own names of what is shown, with the family of each.
var runtimeNames = [...]struct {
	name string
	id   ID
}{
	{"/sched/goroutines:goroutines", GoGoroutines},
	{"/memory/classes/heap/objects:bytes", GoHeapAlloc},
	{"/gc/heap/objects:objects", GoHeapObjects},
	{"/gc/heap/goal:bytes", GoHeapGoal},
	{"/memory/classes/total:bytes", GoMemory},
	{"/gc/heap/allocs:bytes", GoAllocBytes},
	{"/gc/cycles/total:gc-cycles", GoGCCycles},
	{"/sched/pauses/total/gc:seconds", GoGCPauseSum},
}

// scrape reads the process and the Go runtime. It costs tens of microseconds and does not stop the program, as runtime.ReadMemStats would.
func (r *Registry) scrape() *readings {
	out := new(readings)
	out.set(ProcessStart, float64(r.started.UnixMilli())/1e3)
	out.set(GoMaxProcs, float64(runtime.GOMAXPROCS(0)))
	var samples [len(runtimeNames)]metrics.Sample
	for i, n := range runtimeNames {
		samples[i].Name = n.name
	}
	metrics.Read(samples[:])
	for i, n := range runtimeNames {
		switch samples[i].Value.Kind() {
		case metrics.KindUint64:
			out.set(n.id, float64(samples[i].Value.Uint64()))
		case metrics.KindFloat64Histogram:
			sum, longest := pauses(samples[i].Value.Float64Histogram())
			out.set(GoGCPauseSum, sum)
			out.set(GoGCPauseMax, longest)
		}
	}
	readProcess(out)
	return out
}

// pauses estimates the sum of a runtime histogram from the middles of its buckets, and its maximum as the upper edge of the last one in use.
func pauses(h *metrics.Float64Histogram) (sum, longest float64) {
	for i, n := range h.Counts {
		if n == 0 {
			continue
		}
		lo, hi := h.Buckets[i], h.Buckets[i+1]
		if math.IsInf(lo, -1) {
			lo = 0
		}
		if math.IsInf(hi, 1) {
			hi = lo
		}
		sum += float64(n) * (lo + hi) / 2
		longest = hi
	}
	return sum, longest
}
