package main

import (
	"fmt"
	"math"
)

// The mean times in the system of theory: arrivals by a Poisson process, exponential work of mean 1, many endpoints, of which each has work for the share
// load of its time.

// meanRandom is M/M/1.
func meanRandom(load float64) float64 { return 1 / (1 - load) }

// meanTurns is D/M/1: of many endpoints that take turns, each gets a request after nearly equal times.
func meanTurns(load float64) float64 {
	sigma := load
	for range 1000 {
		sigma = math.Exp(-(1 - sigma) / load)
	}
	return 1 / (1 - sigma)
}

// meanShortestOf is the shortest queue of d, for an endless number of endpoints (Mitzenmacher, 1996; Vvedenskaya, Dobrushin, Karpelevich, 1996).
func meanShortestOf(load float64, d int) float64 {
	sum := 0.0
	for i := 1.0; ; i++ {
		term := math.Pow(load, (math.Pow(float64(d), i)-float64(d))/float64(d-1))
		if sum += term; term < 1e-12 {
			return sum
		}
	}
}

// oracle is one case of which the theory knows the answer.
type oracle struct {
	policy    policy
	name      string
	load      float64
	want      float64
	endpoints int
	requests  int // to be measured
}

// oracles are the cases that the simulator must get right within 2 %.
func oracles() []oracle {
	var all []oracle
	for _, load := range []float64{0.7, 0.9, 0.95} {
		// The queues of M/M/1 near full load change so slowly that many requests say little; it does not depend on the number of endpoints, and
		// with fewer of them the same requests are a longer time.
		endpoints, requests := 1000, int(24_000/math.Pow(1-load, 2))
		if requests > 1_000_000 {
			endpoints = 100
		}
		all = append(all,
			oracle{named("random"), "random", load, meanRandom(load), endpoints, requests},
			oracle{named("round_robin"), "round_robin", load, meanTurns(load), 1000, requests / 2},
			oracle{named("least_request"), "least_request, two of many", load, meanShortestOf(load, 2), 1000, 800_000},
			oracle{newShortestOf(3), "the shortest of three", load, meanShortestOf(load, 3), 1000, 800_000})
	}
	return all
}

// measure returns the mean time in the system, in units of the mean work, and the load as it came to be.
func (o *oracle) measure() (mean, load float64) {
	const work = second // so long that rounding to nanoseconds does not add to the load
	rate := o.load * float64(o.endpoints)
	length := int64(float64(o.requests) / rate * float64(work))
	warm := max(length/5, 40*work)
	out := simulate(&model{
		policy: o.policy, endpoints: equalMachines(o.endpoints), work: work, rate: func(int64) float64 { return rate },
		from: warm, until: warm + length, seed: 1,
	})
	return out.mean() / float64(work), out.work * float64(work) / float64(length) / float64(o.endpoints)
}

// theory is the table of the oracles.
func theory() (string, []plot) {
	t := newTable("algorithm", "endpoints", "load", "theory", "simulated", "difference")
	for _, o := range oracles() {
		mean, _ := o.measure()
		t.add(o.name, fmt.Sprint(o.endpoints), fmt.Sprint(o.load), fmt.Sprintf("%.3f", o.want), fmt.Sprintf("%.3f", mean),
			fmt.Sprintf("%+.1f %%", 100*(mean/o.want-1)))
	}
	return t.text(), nil
}
