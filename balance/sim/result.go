package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/sluice-gateway/sluice/balance"
)

// result is what came of a simulation, of the requests that came while it was measured and were over at its end.
type result struct {
	m        *model
	came     int
	perPlace []int // requests by endpoint
	home     int   // requests at the endpoint where their key belongs
	latency  []float32
	sum      float64
	good     int
	errors   int
	expiries int
	work     float64     // sum of the work of those that came, in units of the mean
	series   [][]int     // requests by slice of time and endpoint
	slow     [][]float32 // latencies by slice of time; with an expiry as the deadline
}

func newResult(m *model) *result {
	out := &result{m: m, perPlace: make([]int, len(m.endpoints))}
	out.series, out.slow = make([][]int, m.slices), make([][]float32, m.slices)
	for i := range out.series {
		out.series[i] = make([]int, len(m.endpoints))
	}
	return out
}

// slice returns the slice of time that a moment belongs to, or -1.
func (out *result) slice(at int64) int {
	if at < out.m.from || out.m.slices == 0 {
		return -1
	}
	return min(int((at-out.m.from)*int64(out.m.slices)/(out.m.until-out.m.from)), out.m.slices-1)
}

func (out *result) picked(now int64, j *job) {
	if now < out.m.from {
		return
	}
	out.came++
	out.perPlace[j.at]++
	out.work += j.work
	if i := out.slice(now); i >= 0 {
		out.series[i][j.at]++
	}
}

func (out *result) answered(j *job, took int64) {
	if j.arrived >= out.m.from {
		out.good++
		out.keep(j, took)
	}
}

// failed leaves the latency out: that of an error says nothing good.
func (out *result) failed(j *job) {
	if j.arrived >= out.m.from {
		out.errors++
	}
}

func (out *result) expired(j *job) {
	if j.arrived >= out.m.from {
		out.expiries++
		out.keep(j, out.m.deadline)
	}
}

func (out *result) keep(j *job, took int64) {
	out.latency = append(out.latency, float32(took))
	out.sum += float64(took)
	if i := out.slice(j.arrived); i >= 0 {
		out.slow[i] = append(out.slow[i], float32(took))
	}
}

// mean returns the mean latency in nanoseconds; requests whose client has gone count as long as it stayed.
func (out *result) mean() float64 { return out.sum / float64(max(1, len(out.latency))) }

// percentile returns what a share p of the latencies are not above.
func (out *result) percentile(p float64) float64 { return percentile(out.latency, p) }

func percentile(all []float32, p float64) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return float64(all[min(len(all)-1, int(math.Ceil(p*float64(len(all))))-1)])
}

// lost returns the share of the requests that got an error or nothing in time.
func (out *result) lost() float64 {
	return float64(out.errors+out.expiries) / float64(max(1, out.good+out.errors+out.expiries))
}

// share returns the part of the requests that an endpoint got.
func (out *result) share(at int) float64 {
	return float64(out.perPlace[at]) / float64(max(1, out.came))
}

// cells are the figures that most tables show.
func (out *result) cells() []string {
	return []string{
		milliseconds(out.mean()), milliseconds(out.percentile(0.5)), milliseconds(out.percentile(0.99)), milliseconds(out.percentile(0.999)),
		percent(out.lost()),
	}
}

// milliseconds writes nanoseconds with three figures.
func milliseconds(ns float64) string {
	x := ns / float64(millisecond)
	switch {
	case x < 10:
		return fmt.Sprintf("%.2f", x)
	case x < 100:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.0f", x)
}

// percent writes a share; what is not zero does not look like it.
func percent(share float64) string {
	switch x := 100 * share; {
	case x == 0:
		return "0"
	case x < 0.01:
		return "< 0.01 %"
	case x < 1:
		return fmt.Sprintf("%.2f %%", x)
	default:
		return fmt.Sprintf("%.1f %%", x)
	}
}

// identity is the address of an endpoint.
func identity(i int) string { return fmt.Sprintf("10.0.%d.%d:8080", i>>8, i&255) }

// keyHash is the hash of the k-th key.
func keyHash(k int) uint64 { return balance.Hash(fmt.Appendf(nil, "/images/%d.jpg", k)) }
