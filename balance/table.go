package balance

import (
	"fmt"
	"strings"
)

// Default is the algorithm of a backend that names none.
const Default = "least_request"

// algorithms is read-only: every algorithm with the word that configurations use. A constructor
// gets one or more members, all of a weight above 0. start is where algorithms that take turns
// begin.
var algorithms = []struct {
	name string
	make func(members []Member, start uint64) Picker
}{
	{"least_request", newLeastRequest},
	{"random", newRandom},
	{"round_robin", newRoundRobin},
}

// Names returns the words of all algorithms, sorted.
func Names() []string {
	names := make([]string, len(algorithms))
	for i := range algorithms {
		names[i] = algorithms[i].name
	}
	return names
}

// New builds the picker of an algorithm over members, which it copies. start is where algorithms
// that take turns begin, 0 for the first turn: a picker that replaces another begins at a random
// place, so that many replacements do not favour the first members. An unknown algorithm is an error;
// a set without members of a weight above 0 is not: its picker picks nothing.
func New(algorithm string, members []Member, start uint64) (Picker, error) {
	for i := range algorithms {
		if algorithms[i].name != algorithm {
			continue
		}
		used := make([]Member, 0, len(members))
		for _, m := range members {
			if m.Weight > 0 {
				used = append(used, m)
			}
		}
		if len(used) == 0 {
			return none{}, nil
		}
		return algorithms[i].make(used, start), nil
	}
	return nil, fmt.Errorf("balance: no algorithm %q: use one of %s", algorithm, strings.Join(Names(), ", "))
}
