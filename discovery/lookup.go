package discovery

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// sideBySide bounds the hosts of a service that are asked for at the same time, each with two questions.
	sideBySide = 8
	// absentFor is how long a family that a host has no addresses of is not asked for again, where the other family comes along with the SRV
	// records. Registries answer these with a time to live of 0, and without this every lookup would ask once for each host.
	absentFor = 30 * time.Second
)

// lookup looks a target up and remembers answers until their time to live is over, and longer where it is not answered. It is used by one goroutine.
type lookup struct {
	target          Target
	invalid         error // what Target.Check says
	timeout         time.Duration
	conf            string
	ask             asker
	lowest, highest time.Duration // bounds of a time to live

	services serviceMemory
	hosts    map[string]*hostMemory // by canonical name; has what the last lookup used, and no more
}

// serviceMemory is the last good answer to the SRV question.
type serviceMemory struct {
	name    string // that was asked for; names of a search list differ
	list    []service
	expires time.Time // end of the time to live
	due     time.Time // when it is asked for again: that, within the bounds and with jitter
	leftOut string
}

// hostMemory is what is known about the addresses of a name, by family.
type hostMemory [2]familyMemory

// familyMemory is the last good answer to the question for one family of addresses.
type familyMemory struct {
	addresses []netip.Addr // none: nothing is known, or the answer was that there are none
	expires   time.Time    // end of the time to live
	due       time.Time    // when it is asked for again; zero: there was no answer
}

// outcome is the result of a lookup.
type outcome struct {
	found   []Found // sorted; empty if nothing was found, or all failed
	expires time.Time
	due     time.Time // when the next lookup has something to ask; zero if all that was asked failed
	// err is the first question that failed. Found may be whole all the same: many servers fail at AAAA for ever.
	err        error
	incomplete bool   // what a failed question would have given is missing in found, or is there from an older answer
	absent     string // why found is empty though no question failed
	leftOut    string // what of the answers is not in found, and why
}

// problem says what is wrong, for the operator.
func (o *outcome) problem() string {
	if o.err != nil {
		return o.err.Error()
	}
	return o.absent
}

func newLookup(t Target, o *Options) lookup {
	l := lookup{target: t, invalid: t.Check(), timeout: o.Timeout, conf: cmp.Or(o.resolvConf, resolvConf), ask: o.ask, hosts: make(map[string]*hostMemory)}
	if l.ask == nil {
		l.ask = askNetwork
	}
	l.lowest, l.highest = t.ttls()
	return l
}

// run looks the target up, as of now, until ctx ends.
func (l *lookup) run(ctx context.Context, now time.Time) outcome {
	if l.invalid != nil {
		return outcome{err: l.invalid}
	}
	s := &servers{timeout: l.timeout, ask: l.ask}
	names := []string{dns.CanonicalName(l.target.Name)}
	if l.target.Resolver != "" {
		s.list = []string{l.target.Resolver}
	} else {
		s.list, names = systemConfig(l.conf, l.target.Name)
	}
	r := &round{lookup: l, servers: s, now: now, random: rand.Float64(), used: make(map[string]*hostMemory)}
	var out outcome
	for _, name := range names {
		if l.target.Service {
			out = r.service(ctx, name)
		} else {
			out = r.plain(ctx, name)
		}
		if len(out.found) > 0 || out.err != nil {
			break // the next name of the search list is for names that do not exist, not for servers that fail
		}
	}
	if len(out.found) > 0 {
		l.hosts = r.used
	}
	return out
}

// round is one lookup under way.
type round struct {
	*lookup
	servers *servers
	now     time.Time
	random  float64 // the jitter of this lookup; one for all, so that what has one time to live is asked for together

	mu       sync.Mutex             // guards what the goroutines of a round share
	used     map[string]*hostMemory // guarded by mu
	answered bool                   // guarded by mu: a question was answered with records
}

// plain looks up the addresses of a name.
func (r *round) plain(ctx context.Context, name string) outcome {
	var c collection
	c.add(r.host(ctx, name, nil), service{host: dns.CanonicalName(r.target.Name), port: r.target.Port, weight: 1})
	return r.outcome(&c, fmt.Sprintf("the resolver says that %s does not exist or has no addresses", strings.TrimSuffix(name, ".")))
}

// outcome makes the result of a round. One in which something failed and nothing was answered has failed as a whole, whatever is remembered.
func (r *round) outcome(c *collection, absent string) outcome {
	switch {
	case c.err != nil && (!r.answered || len(c.found) == 0):
		return outcome{err: c.err}
	case len(c.found) == 0:
		return outcome{absent: absent, leftOut: c.leftOut}
	}
	out := outcome{found: c.found, expires: c.expires, due: c.due, err: c.err, incomplete: c.incomplete, leftOut: c.leftOut}
	slices.SortFunc(out.found, compareFound)
	// An address that occurs twice, under two hosts or two weights, is one endpoint: that of the lower priority, then of the higher weight.
	seen := make(map[netip.AddrPort]bool, len(out.found))
	out.found = slices.DeleteFunc(out.found, func(f Found) bool {
		twice := seen[f.Address]
		seen[f.Address] = true
		return twice
	})
	if n := len(out.found); n > MaxAddresses {
		out.found = slices.Clip(out.found[:MaxAddresses])
		out.leftOut = fmt.Sprintf("%d addresses were found, and the first %d by priority and address are used", n, MaxAddresses)
	}
	return out
}

// resolved is what a round knows about a host.
type resolved struct {
	memory  *hostMemory
	err     error   // the first question that failed
	failed  [2]bool // by family: what memory has is from an older answer
	refused string  // an address that is not used, and why
}

// host brings what is known about a name up to date: from the additional section of an SRV answer where that has the addresses, else by asking for both
// families side by side.
func (r *round) host(ctx context.Context, name string, extra *[2]addressSet) resolved {
	h := resolved{memory: &hostMemory{}}
	m := h.memory
	if old := r.hosts[name]; old != nil {
		*m = *old // a copy, because a round that finds nothing leaves the memory as it is
	}
	due := m.due(r.now)
	ask := [2]bool{due, due}
	if extra != nil {
		for f := range m {
			ask[f] = !m[f].due.After(r.now)
			if len(extra[f].addresses) > 0 {
				m[f] = r.remember(extra[f].addresses, extra[f].ttl)
				ask[f] = false
			}
		}
	}
	r.askFor(ctx, name, ask, &h)
	return h
}

// due reports whether the host is to be asked for: there are no addresses, or those of one family have come to their time. Both families are asked
// for together, so that a name which is gone does not lose one before the other.
func (m *hostMemory) due(now time.Time) bool {
	none := true
	for f := range m {
		if len(m[f].addresses) > 0 {
			none = false
			if !m[f].due.After(now) {
				return true
			}
		}
	}
	return none
}

// askFor asks for families of a name and takes over what is answered.
func (r *round) askFor(ctx context.Context, name string, ask [2]bool, h *resolved) {
	var answers [2]*answer
	var errs [2]error
	var both sync.WaitGroup
	for f := range ask {
		if ask[f] {
			both.Go(func() { answers[f], errs[f] = r.servers.resolve(ctx, question{name, familyTypes[f]}) })
		}
	}
	both.Wait()
	found, gone := false, false
	for f, a := range answers {
		if a != nil {
			h.memory[f] = r.remember(a.addresses, a.ttl)
			h.refused = cmp.Or(h.refused, a.refused)
			found = found || len(a.addresses) > 0
			gone = gone || a.rcode == dns.RcodeNameError
		}
	}
	for f, err := range errs {
		switch {
		case err == nil:
		case gone:
			// There is no such name, so there is no other family either, whatever became of the question for it.
			h.memory[f] = r.remember(nil, 0)
		default:
			h.failed[f] = true
			if h.err == nil {
				h.err = err
			}
		}
	}
	r.mu.Lock()
	r.used[name] = h.memory
	r.answered = r.answered || found
	r.mu.Unlock()
}

// remember makes the memory of an answer that came now.
func (r *round) remember(addresses []netip.Addr, ttl time.Duration) familyMemory {
	m := familyMemory{addresses: addresses}
	if len(addresses) == 0 {
		m.due = r.now.Add(absentFor)
	} else {
		m.expires, m.due = r.times(ttl)
	}
	return m
}

// times returns when an answer of this time to live expires, within the bounds, and when it is to be asked for again: then or, with jitter, somewhat
// earlier, but not before the lower bound.
func (r *round) times(ttl time.Duration) (expires, due time.Time) {
	ttl = max(r.lowest, min(ttl, r.highest))
	return r.now.Add(ttl), r.now.Add(max(r.lowest, shortened(ttl, r.random)))
}

// collection gathers a set.
type collection struct {
	found        []Found
	expires, due time.Time
	err          error
	incomplete   bool
	leftOut      string
}

// add puts the addresses of a host into the set, as those of s.
func (c *collection) add(h resolved, s service) {
	if c.err == nil {
		c.err = h.err
	}
	c.leftOut = cmp.Or(c.leftOut, h.refused)
	n := len(c.found)
	for f := range h.memory {
		m := &h.memory[f]
		if len(m.addresses) == 0 {
			continue
		}
		c.expires = earliest(c.expires, m.expires)
		if h.failed[f] {
			c.incomplete = true
		} else {
			c.due = earliest(c.due, m.due)
		}
		for _, a := range m.addresses {
			c.found = append(c.found, Found{
				Address: netip.AddrPortFrom(a, s.port), Weight: s.weight, Priority: s.priority, Host: strings.TrimSuffix(s.host, ".")})
		}
	}
	if len(c.found) == n && h.err != nil {
		c.incomplete = true
	}
}

// earliest returns the earlier of two times; a zero one is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
