package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/sluice-gateway/sluice/balance"
)

const (
	// work is the mean time of a request without waiting.
	work = 10 * millisecond
	// patience is the deadline of most comparisons.
	patience = second
)

// steady is a rate that does not change: load is the part of their time for which that many endpoints of speed 1 have work.
func steady(load float64, endpoints int) func(int64) float64 {
	return func(int64) float64 { return load * float64(endpoints) }
}

// homogeneous compares on equal endpoints, at several loads.
func homogeneous() (string, []plot) {
	t := newTable("algorithm", "endpoints", "load", "mean ms", "p50", "p99", "p99.9", "lost")
	policies := append(unkeyed(), named("least_connections"), named("maglev"))
	keys := newZipf(100_000, 0)
	p := plot{
		name: "homogeneous", title: "Equal endpoints: 99th percentile by load", x: "load of 16 endpoints", y: "p99, ms",
		ticks: []float64{0.5, 0.6, 0.7, 0.8, 0.9}, log: true, low: 20, high: 1000,
	}
	for _, n := range []int{4, 16} {
		for _, load := range []float64{0.5, 0.6, 0.7, 0.8, 0.9} {
			for i, policy := range policies {
				if n == 4 && load != 0.7 && load != 0.9 {
					continue
				}
				m := &model{policy: policy, endpoints: equalMachines(n), work: work, rate: steady(load, n), from: 30 * second, until: 330 * second, seed: 2}
				if balance.Keyed(policy.options.Algorithm) {
					m.keys = keys
				}
				if n == 4 || load == 0.9 { // queues change slowly near full load
					m.until = 930 * second
				}
				out := simulate(m)
				if load == 0.7 || load == 0.9 {
					t.add(append([]string{policy.name, fmt.Sprint(n), fmt.Sprint(load)}, out.cells()...)...)
				}
				if n == 16 {
					p.point(i, policy.name, load, out.percentile(0.99)/float64(millisecond))
				}
			}
		}
	}
	return t.text(), []plot{p}
}

// point adds a point to a line, and the line if need be.
func (p *plot) point(i int, name string, x, y float64) {
	for len(p.lines) <= i {
		p.lines = append(p.lines, line{})
	}
	l := &p.lines[i]
	l.name = name
	l.x, l.y = append(l.x, x), append(l.y, y)
}

// mixedWork has requests of very different size.
func mixedWork() (string, []plot) {
	t := newTable("algorithm", "endpoints", "mean ms", "p50", "p99", "p99.9", "lost")
	for _, n := range []int{4, 16} {
		for _, policy := range append(unkeyed(), named("least_connections")) {
			out := simulate(&model{policy: policy, endpoints: equalMachines(n), work: work, mixed: true, rate: steady(0.6, n), from: 30 * second, until: 630 * second, seed: 8})
			t.add(append([]string{policy.name, fmt.Sprint(n)}, out.cells()...)...)
		}
	}
	return t.text(), nil
}

// heterogeneous has endpoints of which half are three times as fast as the others, with and without weights that say so.
func heterogeneous() (string, []plot) {
	const n = 16
	t := newTable("algorithm", "weights", "mean ms", "p50", "p99", "p99.9", "lost", "share of the slow half")
	for _, weighted := range []bool{false, true} {
		for _, policy := range unkeyed() {
			machines := equalMachines(n)
			for i := range machines {
				speed := 1.5
				if i%2 == 1 {
					speed = 0.5
				}
				machines[i].speed = func(int64) float64 { return speed }
				if weighted && i%2 == 0 {
					machines[i].weight = 3
				}
			}
			out := simulate(&model{policy: policy, endpoints: machines, work: work, rate: steady(0.7, n), deadline: patience, from: 30 * second, until: 330 * second, seed: 3})
			slow := 0.0
			for i := 1; i < n; i += 2 {
				slow += out.share(i)
			}
			weights := "all 1"
			if weighted {
				weights = "3 and 1"
			}
			t.add(append(append([]string{policy.name, weights}, out.cells()...), percent(slow))...)
		}
	}
	return t.text(), nil
}

// The fault of the comparisons with one sick endpoint begins and ends.
const (
	faultBegins = 60 * second
	faultEnds   = 180 * second
	plotEnds    = 300 * second
)

func faulty(now int64) bool { return now >= faultBegins && now < faultEnds }

// oneSlow has one endpoint that becomes twenty times slower.
func oneSlow() (string, []plot) {
	machines := func(n int) []machine {
		all := equalMachines(n)
		all[0].speed = func(now int64) float64 {
			if faulty(now) {
				return 0.05
			}
			return 1
		}
		return all
	}
	return sick(machines, plot{name: "one-slow", title: "One of 10 endpoints becomes 20 times slower, and heals"})
}

// oneFailing has one endpoint that becomes sick and answers everything with an error, in a tenth of the time.
func oneFailing() (string, []plot) {
	machines := func(n int) []machine {
		all := equalMachines(n)
		all[0].fails = faulty
		return all
	}
	return sick(machines, plot{name: "one-failing", title: "One of 10 endpoints answers with errors, fast, and heals"})
}

// sick compares while the first endpoint is sick, and plots its share before, during and after.
func sick(machines func(n int) []machine, p plot) (string, []plot) {
	t := newTable("algorithm", "endpoints", "mean ms", "p50", "p99", "p99.9", "lost", "share of the sick one")
	p.x, p.y, p.unit = "seconds", "its share of the requests", " %"
	p.ticks = []float64{0, 60, 120, 180, 240, 300}
	p.shaded = [2]float64{float64(faultBegins / second), float64(faultEnds / second)}
	for _, n := range []int{3, 10} {
		for i, policy := range append(unkeyed(), named("least_connections")) {
			m := model{policy: policy, endpoints: machines(n), work: work, rate: steady(0.6, n), deadline: patience, seed: 4}
			m.from, m.until = faultBegins, faultEnds
			out := simulate(&m)
			t.add(append(append([]string{policy.name, strconv.Itoa(n)}, out.cells()...), percent(out.share(0)))...)
			if n == 3 {
				continue
			}
			m.from, m.until, m.slices = 0, plotEnds, 60
			for k, counts := range simulate(&m).series {
				all := 0
				for _, c := range counts {
					all += c
				}
				p.point(i, policy.name, (float64(k)+0.5)*float64(plotEnds/second)/60, 100*float64(counts[0])/float64(all))
			}
		}
	}
	most := 0.0
	for _, l := range p.lines {
		most = max(most, slices.Max(l.y))
	}
	for _, p.high = range []float64{25, 50, 100} {
		if p.high > most {
			break
		}
	}
	return t.text(), []plot{p}
}

// rampLoads are the loads of the ramp, in parts of what the endpoints are allotted (Wydrowski and others, Load is not what you should
// balance: Introducing Prequal, 2024, figure 6). Read-only.
var rampLoads = []float64{0.75, 0.83, 0.93, 1.03, 1.14, 1.27, 1.41, 1.57, 1.74}

// ramp lets the load grow beyond what the endpoints are allotted. Each shares its machine with others: at a moment one in five gets what it is
// allotted and no more, and the others get between 1.4 and 3 times as much, which changes every minute or so.
func ramp() (string, []plot) {
	const (
		n        = 50
		step     = 40 * second
		deadline = 5 * second
	)
	t := newTable(append([]string{"p99.9 in ms (lost)"}, loadNames()...)...)
	p := plot{
		name: "ramp", title: "Load beyond the allotted capacity: 99.9th percentile", x: "load, in parts of what is allotted", y: "p99.9, ms",
		ticks: rampLoads, log: true, low: 20, high: 5000,
	}
	for i, policy := range unkeyed() {
		machines := equalMachines(n)
		for k := range machines {
			machines[k].speed = neighbours(uint64(k))
		}
		out := simulate(&model{
			policy: policy, endpoints: machines, work: work, deadline: deadline, from: 0, until: step * int64(len(rampLoads)), slices: len(rampLoads), seed: 5,
			rate: func(now int64) float64 { return n * rampLoads[min(int(now/step), len(rampLoads)-1)] },
		})
		cells := []string{policy.name}
		for k, latencies := range out.slow {
			lost := 0
			for _, l := range latencies {
				if int64(l) >= deadline {
					lost++
				}
			}
			tail := percentile(latencies, 0.999)
			cells = append(cells, fmt.Sprintf("%.0f (%s)", tail/float64(millisecond), percent(float64(lost)/float64(len(latencies)))))
			p.point(i, policy.name, rampLoads[k], tail/float64(millisecond))
		}
		t.add(cells...)
	}
	return t.text(), []plot{p}
}

func loadNames() []string {
	var names []string
	for _, l := range rampLoads {
		names = append(names, fmt.Sprintf("%.2f", l))
	}
	return names
}

// neighbours returns the speed of an endpoint that shares its machine.
func neighbours(seed uint64) func(now int64) float64 {
	rnd := rand.New(rand.NewPCG(seed, 99))
	until, speed := int64(0), 1.0
	return func(now int64) float64 {
		for now >= until {
			until += int64(rnd.ExpFloat64() * 60 * float64(second))
			if x := rnd.Float64(); x < 0.2 {
				speed = 1
			} else {
				speed = 1.4 + 2*(x-0.2) // up to 3
			}
		}
		return speed
	}
}

// severalProxies has proxies that do not know of each other's requests.
func severalProxies() (string, []plot) {
	const n = 16
	t := newTable("algorithm", "proxies", "mean ms", "p50", "p99", "p99.9", "lost")
	for _, policy := range append(unkeyed(), named("least_connections")) {
		for _, proxies := range []int{1, 4, 16} {
			out := simulate(&model{policy: policy, endpoints: equalMachines(n), work: work, rate: steady(0.8, n), proxies: proxies, from: 30 * second, until: 330 * second, seed: 6})
			t.add(append([]string{policy.name, fmt.Sprint(proxies)}, out.cells()...)...)
		}
	}
	return t.text(), nil
}

// hotKeys has keys of which few are asked for much: the most wanted alone is more than one endpoint can serve.
func hotKeys() (string, []plot) {
	const n = 16
	t := newTable("algorithm", "`bounded_load`", "mean ms", "p50", "p99", "p99.9", "lost", "largest share, of the mean", "at the key's own endpoint")
	for _, algorithm := range []string{"random", "ring_hash", "maglev", "rendezvous"} {
		for _, c := range []float64{0, 2, 1.5, 1.25, 1.1} {
			if c > 0 && algorithm != "maglev" {
				continue
			}
			policy := named(algorithm)
			policy.options.BoundedLoad = c
			out := simulate(&model{
				policy: policy, endpoints: equalMachines(n), work: work, rate: steady(0.7, n), deadline: patience, keys: newZipf(10_000, 1),
				from: 30 * second, until: 330 * second, seed: 7,
			})
			bound, home := "none", "–"
			if c > 0 {
				bound = fmt.Sprintf("%.0f%%", 100*(c-1)) // as the configuration has it
			}
			if balance.Keyed(algorithm) {
				home = percent(float64(out.home) / float64(out.came))
			}
			largest := 0.0
			for i := range n {
				largest = math.Max(largest, out.share(i)*n)
			}
			t.add(append(append([]string{algorithm, bound}, out.cells()...), fmt.Sprintf("%.2f", largest), home)...)
		}
	}
	return t.text(), nil
}

// keysMoved tells how even the shares of keys are, and what the loss of an endpoint moves.
func keysMoved() (string, []plot) {
	const keys = 1 << 21
	t := newTable("endpoints", "ring_hash: largest share, of the mean", "maglev", "rendezvous", "ring_hash: moved keys, of those that must", "maglev", "rendezvous")
	for _, n := range []int{3, 10, 30, 100, 300, 600, 1000} {
		row := []string{fmt.Sprint(n)}
		var movedCells []string
		for _, algorithm := range []string{"ring_hash", "maglev", "rendezvous"} {
			members := make([]balance.Member, n)
			for i := range members {
				members[i] = balance.Member{Slot: i, Weight: 1, Load: new(balance.Load), ID: identity(i)}
			}
			policy := named(algorithm)
			before, after := policy.picker(members), policy.picker(members[:n-1])
			counts := make([]int, n)
			largest, moved := 0, 0
			for k := range uint64(keys) {
				q := balance.Query{Hash: k*(math.MaxUint64/keys) + math.MaxUint64/keys/2, Keyed: true} // evenly over all hashes
				i := before.Pick(&q)
				if counts[i]++; counts[i] > largest {
					largest = counts[i]
				}
				if after.Pick(&q) != i {
					moved++
				}
			}
			row = append(row, fmt.Sprintf("%.3f", float64(largest)*float64(n)/keys))
			movedCells = append(movedCells, fmt.Sprintf("%.2f", float64(moved)/float64(counts[n-1])))
		}
		t.add(append(row, movedCells...)...)
	}
	return t.text(), nil
}
