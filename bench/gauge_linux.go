package main

import (
	"errors"
	"os"
	"time"

	"github.com/sluice-gateway/sluice/bench/load"
	"github.com/sluice-gateway/sluice/bench/peer"
)

// gauge reads the processor time of a proxy, and that of its core, at the borders of a measured window.
type gauge struct {
	cpu                int   // the proxy's core; negative: not pinned
	pids, ours         []int // the proxy's processes; this one and the origin
	from, to           peer.Usage
	oursFrom, oursTo   peer.Usage
	busyFrom, busyTo   time.Duration
	windowFrom, window time.Time
	err                error
}

func (s *suite) newGauge(u *setup) (*gauge, error) {
	pids, err := u.process.Tree()
	return &gauge{cpu: s.proxyCPU, pids: pids, ours: []int{os.Getpid(), u.origin.PID()}}, err
}

func (g *gauge) begin() {
	g.windowFrom = time.Now()
	g.read(&g.from, &g.oursFrom, &g.busyFrom)
}

func (g *gauge) end() {
	g.read(&g.to, &g.oursTo, &g.busyTo)
	g.window = time.Now()
}

func (g *gauge) read(usage, ours *peer.Usage, busy *time.Duration) {
	var err1, err2, err3 error
	*usage, err1 = peer.ReadUsage(g.pids)
	*ours, err2 = peer.ReadUsage(g.ours)
	if g.cpu >= 0 {
		*busy, err3 = peer.ReadBusy(g.cpu)
	}
	g.err = errors.Join(g.err, err1, err2, err3)
}

// used is the processor time of the proxy between the two borders.
func (g *gauge) used() peer.Usage { return g.to.Sub(g.from) }

// foreign is the share of the window in which others than the proxy had its core, 0…1. Interrupts count as others.
func (g *gauge) foreign() float64 {
	length := g.window.Sub(g.windowFrom)
	if g.cpu < 0 || length <= 0 {
		return 0
	}
	return max(0, (g.busyTo-g.busyFrom-g.used().Total).Seconds()/length.Seconds())
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// price turns a client's result and a gauge into the metrics that most rows share. Failed requests fail it.
func price(result *load.Result, g *gauge) (values, error) {
	if g.err != nil {
		return nil, g.err
	}
	if err := result.Err(); err != nil {
		return nil, err
	}
	used := g.used()
	v := values{
		metricCPU:     microseconds(used.Total) / float64(result.Requests),
		metricRate:    result.Rate(),
		metricP50:     microseconds(result.Latency.Quantile(0.5)),
		metricP99:     microseconds(result.Latency.Quantile(0.99)),
		metricBusy:    used.Total.Seconds() / result.Elapsed.Seconds(),
		metricLoad:    microseconds(g.oursTo.Sub(g.oursFrom).Total) / float64(result.Requests),
		metricForeign: g.foreign(),
	}
	if ticks := used.User + used.System; ticks > 0 {
		v[metricUser] = used.User.Seconds() / ticks.Seconds()
	}
	return v, nil
}
