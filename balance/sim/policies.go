package main

import (
	"math/bits"

	"github.com/sluice-gateway/sluice/balance"
)

// named returns the policy that is an algorithm with its defaults.
func named(algorithm string) policy {
	return policy{name: algorithm, options: balance.Options{Algorithm: algorithm}}
}

// unkeyed are the algorithms that most comparisons are about. Those that place by key are compared with each other; with many keys of
// equal demand they do what random does. least_connections does what least_request does, exactly up to 32 endpoints.
func unkeyed() []policy {
	return []policy{named("random"), named("round_robin"), named("least_request"), named("least_latency")}
}

// shortestOf takes the shortest queue of d that are drawn: it is here to hold the simulator against the theory at more than one d.
type shortestOf struct {
	members []balance.Member
	d       int
}

func newShortestOf(d int) policy {
	return policy{name: "shortest of some", make: func(members []balance.Member) balance.Picker { return &shortestOf{members, d} }}
}

// Pick draws d members, and may draw one twice, as the theory's endless number of endpoints makes that impossible.
func (s *shortestOf) Pick(q *balance.Query) int {
	random := q.Random
	var best *balance.Member
	for range s.d {
		hi, _ := bits.Mul64(random, uint64(len(s.members)))
		if m := &s.members[hi]; best == nil || m.Load.InFlight() < best.Load.InFlight() {
			best = m
		}
		random = (random ^ random>>29) * 0x9fb21c651e98df25
		random ^= random >> 32
	}
	return best.Slot
}
