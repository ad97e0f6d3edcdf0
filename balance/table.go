package balance

import (
	"fmt"
	"math"
	"strings"
)

// Default is the algorithm of a backend that names none.
const Default = "least_request"

// Options say how a picker picks.
type Options struct {
	// Algorithm is a word of Names.
	Algorithm string
	// Start is where algorithms that take turns begin, 0 for the first turn: a picker that replaces another begins at a random place,
	// so that many replacements do not favour the first members.
	Start uint64
	// BoundedLoad, for hash algorithms, is how many times its fair part of the requests in flight an endpoint may have before a request
	// goes to the next one: 1.25 is usual. At least 1; 0 is no bound.
	BoundedLoad float64
}

// algorithms is read-only: every algorithm with the word that configurations use. A constructor
// gets one or more members, all of a weight above 0.
var algorithms = []struct {
	name  string
	keyed bool // places requests by Query.Hash
	make  func(members []Member, o *Options) Picker
}{
	{"least_connections", false, newLeastConnections},
	{"least_latency", false, newLeastLatency},
	{"least_request", false, newLeastRequest},
	{"maglev", true, newMaglev},
	{"random", false, newRandom},
	{"rendezvous", true, newRendezvous},
	{"ring_hash", true, newRingHash},
	{"round_robin", false, newRoundRobin},
}

// Names returns the words of all algorithms, sorted.
func Names() []string {
	names := make([]string, len(algorithms))
	for i := range algorithms {
		names[i] = algorithms[i].name
	}
	return names
}

// Keyed reports whether algorithm places requests by their key: whether Query.Hash and Options.BoundedLoad mean anything to it.
func Keyed(algorithm string) bool {
	for i := range algorithms {
		if algorithms[i].name == algorithm {
			return algorithms[i].keyed
		}
	}
	return false
}

// New builds the picker of an algorithm over members, which it copies. An unknown algorithm is an error, and so is a bound of load below 1
// or for an algorithm that does not place by key; a set without members of a weight above 0 is not: its picker picks nothing.
func New(o Options, members []Member) (Picker, error) {
	for i := range algorithms {
		if algorithms[i].name != o.Algorithm {
			continue
		}
		switch {
		case o.BoundedLoad == 0:
		case !algorithms[i].keyed:
			return nil, fmt.Errorf("balance: %s has no bounded load: leave it out, or use an algorithm that places by key", o.Algorithm)
		case !(o.BoundedLoad >= 1) || math.IsInf(o.BoundedLoad, 1): // not a number is neither
			return nil, fmt.Errorf("balance: bounded load %v: use a number from 1 on, 1.25 for one", o.BoundedLoad)
		}
		used := ofWeight(members)
		if len(used) == 0 {
			return none{}, nil
		}
		return algorithms[i].make(used, &o), nil
	}
	return nil, fmt.Errorf("balance: no algorithm %q: use one of %s", o.Algorithm, strings.Join(Names(), ", "))
}

// ofWeight returns a copy of the members that have a weight.
func ofWeight(members []Member) []Member {
	used := make([]Member, 0, len(members))
	for _, m := range members {
		if m.Weight > 0 {
			used = append(used, m)
		}
	}
	return used
}
