package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/bench/load"
	"github.com/sluice-gateway/sluice/bench/peer"
)

// side is one of the proxies that a row of the API gateway sets beside each other: the bare one, and those that do something with each request. All of them
// run at the same time and are loaded in turns.
type side struct {
	name     string // of its metrics: see metricOf
	plan     peer.Plan
	origin   *peer.Process // what answers behind it
	requests [][]byte
	numbers  *load.Numbers
	body     []byte // of every answer
	rate     int    // 0: as fast as it goes
	clients  int    // connections; 0: as many as -connections says
	scraped  bool   // its metrics are read every second while it is loaded
	spares   bool   // its backends are not asked
	// prepare puts there what has to be there before the first load, and proves that the proxy does what the row says: that it refuses what it must, and so on.
	// The values that it returns are added to those of the row.
	prepare func(ctx context.Context, u *setup) (values, error)
	// counted are counters of Sluice, by what a series begins with, and how much each request must move them; by nothing where it is 0.
	counted map[string]float64
}

// standing is a side whose proxy runs.
type standing struct {
	side
	*setup
	next           int                // of the requests, where the next turn begins
	before         map[string]float64 // the counters before the first turn
	allocated      float64            // bytes of Sluice's heap for each request
	heapBefore     map[string]float64
	cpu, originCPU time.Duration
	span           time.Duration
	requests       uint64 // right answers in the windows of all turns
	foreign        float64
	latency        load.Histogram
}

// scene makes the sides of a row for a proxy.
type scene func(context.Context, peer.Kind) ([]side, error)

// beside measures the sides of a row in turns. Then derive, when there is one, makes further metrics of theirs.
func (s *suite) beside(sides scene, derive func(values)) func(context.Context, peer.Kind) (values, error) {
	return func(ctx context.Context, kind peer.Kind) (values, error) {
		v := values{}
		list, err := s.stand(ctx, kind, sides, v)
		defer stopAll(list)
		if err != nil {
			return nil, err
		}
		if err := s.turns(ctx, list); err != nil {
			return nil, err
		}
		for _, k := range list {
			if err := k.judge(ctx); err != nil {
				return nil, fmt.Errorf("%s: %w", k.name, err)
			}
		}
		summarize(list, v)
		if derive != nil {
			derive(v)
		}
		return v, nil
	}
}

func stopAll(list []*standing) {
	for _, k := range list {
		k.process.Stop()
	}
}

// stand starts the proxies of all sides. Those that it returns run, also when there is an error.
func (s *suite) stand(ctx context.Context, kind peer.Kind, sides scene, v values) (list []*standing, err error) {
	all, err := sides(ctx, kind)
	if err != nil {
		return nil, err
	}
	for _, side := range all {
		k, err := s.standUp(ctx, kind, side, v)
		if k != nil {
			list = append(list, k)
		}
		if err != nil {
			return list, fmt.Errorf("%s: %w", side.name, err)
		}
	}
	return list, nil
}

func (s *suite) standUp(ctx context.Context, kind peer.Kind, side side, v values) (*standing, error) {
	if side.clients == 0 {
		side.clients = s.connections
	}
	side.plan.Connections = loadedConnections + side.clients
	first := side.requests[0]
	if side.numbers != nil {
		first = numbered(first, 0)
	}
	u, err := s.launch(ctx, kind, side.plan, func(ctx context.Context, address string) error {
		got, err := ask(ctx, address, first)
		return errors.Join(err, got.expect(http.StatusOK, side.body))
	})
	if err != nil {
		return nil, err
	}
	u.origin, u.body = side.origin, side.body
	k := &standing{side: side, setup: u}
	if side.prepare != nil {
		more, err := side.prepare(ctx, u)
		if err != nil {
			return k, err
		}
		maps.Copy(v, more)
	}
	if kind == peer.Sluice {
		if k.heapBefore, err = counters(ctx, u.plan.Admin, heapCounters()); err != nil {
			return k, err
		}
	}
	k.before, err = counters(ctx, u.plan.Admin, side.counted)
	return k, err
}

// heapCounters are what tells how much of the heap a request takes: warm-ups count, too.
func heapCounters() map[string]float64 { return map[string]float64{heapAllocated: 0, requestsMade: 0} }

// numbered is a request with a number at its place.
func numbered(request []byte, n int) []byte {
	return bytes.Replace(request, []byte(load.NumberPlace), fmt.Appendf(nil, "%0*d", len(load.NumberPlace), n), 1)
}

// The turns.
const (
	turnPairs   = 2                      // each side has two turns in each
	turnShare   = 0.2                    // of -seconds
	laterWarmup = 150 * time.Millisecond // at most, of all turns of a side but the first: before them the proxy has been warm
)

// turns loads the sides one after the other, then in the opposite order, and all that again: a drift of the machine cancels out, and what disturbs one turn is a part of
// the whole.
func (s *suite) turns(ctx context.Context, list []*standing) error {
	back := slices.Clone(list)
	slices.Reverse(back)
	for i, k := range slices.Repeat(slices.Concat(list, back), turnPairs) {
		w := load.Window{Warmup: s.warmup, Measure: time.Duration(turnShare * float64(s.options.measure()))}
		if i >= len(list) {
			w.Warmup = min(w.Warmup, laterWarmup)
		}
		if err := s.turn(ctx, k, w); err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
	}
	return nil
}

// turn loads one side once.
func (s *suite) turn(ctx context.Context, k *standing, w load.Window) error {
	g, err := s.newGauge(k.setup)
	if err != nil {
		return err
	}
	pids := []int{k.setup.origin.PID()}
	from, err := peer.ReadUsage(pids)
	if err != nil {
		return err
	}
	w.Begin, w.End = g.begin, g.end
	result, err := s.loadSide(ctx, k, w)
	if err != nil {
		return err
	}
	to, err := peer.ReadUsage(pids)
	if err != nil {
		return err
	}
	v, err := price(result, g)
	if err != nil {
		return err
	}
	k.cpu += g.used().Total
	k.originCPU += to.Sub(from).Total
	k.requests += result.Requests
	k.span += result.Elapsed
	k.foreign = max(k.foreign, v[metricForeign])
	k.latency.Merge(&result.Latency)
	return nil
}

// loadSide drives a side for a window.
func (s *suite) loadSide(ctx context.Context, k *standing, w load.Window) (*load.Result, error) {
	stop := func() error { return nil }
	if k.scraped {
		stop = scrape(ctx, k.setup.plan.Admin)
	}
	client := load.Plain{Address: k.setup.plan.Address, Connections: k.clients, Requests: k.side.requests, Next: &k.next, Numbers: k.numbers,
		Body: k.side.body, Rate: k.rate, Window: w}
	result, err := client.Run(ctx)
	return result, errors.Join(err, stop())
}

// mostIdle is the processor time for each request that a backend may take which is not asked: it looks at its clock now and then.
const mostIdle = 500 * time.Nanosecond

// judge is nil when the load has moved what it must, and nothing that it must not.
func (k *standing) judge(ctx context.Context) error {
	if k.spares && k.originCPU > mostIdle*time.Duration(k.requests)+20*time.Millisecond {
		return fmt.Errorf("the backends, which should not have been asked, have used %v for %d requests", k.originCPU, k.requests)
	}
	if k.heapBefore != nil {
		heap, err := counters(ctx, k.setup.plan.Admin, heapCounters())
		if err != nil {
			return err
		}
		k.allocated = (heap[heapAllocated] - k.heapBefore[heapAllocated]) / max(heap[requestsMade]-k.heapBefore[requestsMade], 1)
	}
	after, err := counters(ctx, k.setup.plan.Admin, k.counted)
	if err != nil {
		return err
	}
	for name, each := range k.counted {
		switch moved := after[name] - k.before[name]; {
		case each == 0 && moved != 0:
			return fmt.Errorf("%s has moved by %v", name, moved)
		case moved < each*float64(k.requests):
			return fmt.Errorf("%s has moved by %v with %d requests, which count for %v each", name, moved, k.requests, each)
		}
	}
	return nil
}

// summarize makes the metrics of the sides, and compares those after the first with it.
func summarize(list []*standing, v values) {
	for i, k := range list {
		n := float64(k.requests)
		v[metricOf(k.name, metricCPU)] = microseconds(k.cpu) / n
		v[metricOf(k.name, metricRate)] = n / k.span.Seconds()
		v[metricOf(k.name, metricP50)] = microseconds(k.latency.Quantile(0.5))
		v[metricOf(k.name, metricP99)] = microseconds(k.latency.Quantile(0.99))
		v[metricForeign] = max(v[metricForeign], k.foreign)
		if k.heapBefore != nil {
			v[metricOf(k.name, metricHeap)] = k.allocated
		}
		if k.rate > 0 {
			v[metricOffered] = float64(k.rate)
			if slowest, ok := v[metricRate]; !ok || v[metricOf(k.name, metricRate)] < slowest {
				v[metricRate] = v[metricOf(k.name, metricRate)]
			}
		}
		if i > 0 {
			v[metricOf(k.name, metricOver)] = v[metricOf(k.name, metricCPU)] / v[metricOf(list[0].name, metricCPU)]
		}
	}
}

// profileOfSides is profileOf for the sides of a row, each of which gets a profile of its own.
func (s *suite) profileOfSides(row string, sides scene) func(context.Context) error {
	return func(ctx context.Context) error {
		list, err := s.stand(ctx, peer.Sluice, sides, values{})
		defer stopAll(list)
		if err != nil {
			return err
		}
		for _, k := range list {
			err := s.saveProfile(ctx, row+"-"+k.name, k.setup, func(w load.Window) error {
				_, err := s.loadSide(ctx, k, w)
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
}
