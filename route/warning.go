package route

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
)

// MaxVisits is the number of tree nodes that a request may visit at one host before Build warns. A usual table stays under fifty.
const MaxVisits = 1000

// Warning is something that Build found worth saying about a table that works.
type Warning struct {
	Route string   // the name of the route that it is about; "" if it is about several
	Index int      // its place among the routes added, from 0; -1 if it is about several
	By    string   // the route that takes its requests, if that is what it is about
	Hosts []string // the hosts at which it never matches; nil if it never matches at all
	Text  string   // the whole warning
}

// shadows finds routes that can never match. Only a route of the same host and pattern can take all requests of another: every other route that goes before
// it is narrower.
type shadows struct {
	places map[place]*taking
	order  []*shadowed
}

// place is where routes can take each other's requests: a pattern at a host, and a version of an API or none.
type place struct {
	leaf    *leaf
	api     *api
	rank    rank
	version int
}

// taking is what the routes of a place, in the order of the file, take already.
type taking struct {
	same  map[string]*taken // by the text of all predicates, for routes that are alike
	loose []loose           // routes with a predicate that fits any value: they may take requests of others that are not alike
}

// taken is what routes with the same predicates take.
type taken struct {
	methods uint64
	by      []maker
	any     *maker // the first that takes every method
}

type maker struct {
	name    string
	methods uint64
}

type loose struct {
	name string
	e    *entry
}

// shadowed is a route with the hosts at which others take all its requests.
type shadowed struct {
	name  string
	index int
	hosts int
	at    []string
	by    string
}

// add notes a route at one of its hosts; routes come in the order of the file.
func (s *shadows) add(name string, h host, l *leaf, e *entry) {
	if n := len(s.order); n == 0 || s.order[n-1].index != e.index {
		s.order = append(s.order, &shadowed{name: name, index: e.index})
	}
	current := s.order[len(s.order)-1]
	current.hosts++
	p, versions := place{leaf: l, rank: e.rank}, uint64(1)
	if e.offer != nil {
		p.api, versions = e.offer.api, e.offer.versions
	}
	first, free := "", false // in one version at least nobody takes its requests
	for ; versions != 0; versions &= versions - 1 {
		p.version = bits.TrailingZeros64(versions)
		r := s.places[p]
		if r == nil {
			r = &taking{same: make(map[string]*taken)}
			s.places[p] = r
		}
		by := r.add(name, e)
		if by == "" {
			free = true
		} else if first == "" {
			first = by
		}
	}
	if !free {
		current.at = append(current.at, h.String())
		current.by = first
	}
}

// add enters e and returns the name of the route that takes its requests, or "".
func (r *taking) add(name string, e *entry) string {
	key := e.key()
	t := r.same[key]
	if t == nil {
		t = &taken{}
		r.same[key] = t
	}
	by := r.takenBy(t, e)
	m := maker{name, e.methods}
	if e.methods == 0 {
		if t.any == nil {
			t.any = &m
		}
	} else {
		t.methods |= e.methods
		t.by = append(t.by, m)
	}
	if e.loose() {
		r.loose = append(r.loose, loose{name, e})
	}
	return by
}

// takenBy returns the name of a route before e that takes requests of e, if such routes together take all of them.
func (r *taking) takenBy(t *taken, e *entry) string {
	if e.methods == 0 {
		if t.any != nil {
			return t.any.name
		}
		for _, l := range r.loose {
			if l.e.methods == 0 && l.e.covers(e) {
				return l.name
			}
		}
		return ""
	}
	left, first := e.methods&^t.methods, ""
	for _, m := range t.by {
		if first == "" && m.methods&e.methods != 0 {
			first = m.name
		}
	}
	for _, l := range r.loose {
		if l.e.methods&left != 0 && l.e.covers(e) {
			left &^= l.e.methods
			if first == "" {
				first = l.name
			}
		}
	}
	if left != 0 {
		return ""
	}
	return first
}

// covers reports whether every request that fits the predicates of e2 fits those of e, where both have as many, so that the file's order decides.
func (e *entry) covers(e2 *entry) bool {
	if e.counts != e2.counts {
		return false
	}
	for i := range e.predicates {
		implied := false
		for j := range e2.predicates {
			implied = implied || e2.predicates[j].implies(&e.predicates[i])
		}
		if !implied {
			return false
		}
	}
	return true
}

// loose reports whether e has a predicate that a different one implies.
func (e *entry) loose() bool {
	return slices.ContainsFunc(e.predicates, func(p predicate) bool { return p.any })
}

// key returns a text that is the same for entries with the same predicates.
func (e *entry) key() string {
	keys := make([]string, len(e.predicates))
	for i := range e.predicates {
		keys[i] = e.predicates[i].key()
	}
	slices.Sort(keys)
	return strings.Join(keys, "\n")
}

// String returns the pattern as it is written.
func (h host) String() string {
	switch {
	case h.wild && h.name == "":
		return "*"
	case h.wild:
		return "*." + h.name
	}
	return h.name
}

// warnings returns a warning for every route that never matches at one of its hosts, in the order of the file.
func (s *shadows) warnings() []Warning {
	var all []Warning
	for _, r := range s.order {
		if len(r.at) == 0 {
			continue
		}
		w := Warning{Route: r.name, Index: r.index, By: r.by}
		if len(r.at) == r.hosts {
			w.Text = fmt.Sprintf("route %s can never match: %s stands before it and matches the same requests; remove one, or tell them apart", r.name, r.by)
		} else {
			w.Hosts = r.at
			w.Text = fmt.Sprintf("route %s can never match at %s: %s stands before it and matches the same requests there", r.name, strings.Join(r.at, ", "), r.by)
		}
		all = append(all, w)
	}
	return all
}

// costs returns a warning for every host level at which a request can be made to visit many nodes.
func (m *matcher) costs() []Warning {
	var all []Warning
	check := func(h host, r *hostRoutes) {
		if n := r.visits(); n > MaxVisits {
			all = append(all, Warning{Index: -1, Text: fmt.Sprintf("at host %s so many path patterns overlap (a literal in one where another has a capture) "+
				"that one request can cost %d steps: use fewer captures before literals", h, n)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.hosts.exact)) {
		check(host{name: name}, m.hosts.exact[name])
	}
	for _, name := range slices.Sorted(maps.Keys(m.hosts.suffixes)) {
		check(host{name, true}, m.hosts.suffixes[name])
	}
	if m.hosts.any != nil {
		check(host{wild: true}, m.hosts.any)
	}
	return all
}
