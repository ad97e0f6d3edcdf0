package discovery

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// service looks up the hosts of a service and their addresses.
func (r *round) service(ctx context.Context, name string) outcome {
	m := &r.services
	var extra map[string]*[2]addressSet
	if m.name != name || !m.due.After(r.now) {
		q := question{name, dns.TypeSRV}
		a, err := r.servers.resolve(ctx, q)
		switch {
		case err != nil:
			return outcome{err: err}
		case len(a.services) == 0:
			return outcome{absent: absence(a, q)}
		}
		r.answered = true
		extra = a.extra
		list, leftOut := choose(a.services)
		*m = serviceMemory{name: name, list: list, leftOut: cmp.Or(a.refused, leftOut)}
		m.expires, m.due = r.times(a.ttl)
	}
	hosts := r.all(ctx, m.list, extra)
	c := collection{expires: m.expires, due: m.due, leftOut: m.leftOut}
	for _, s := range m.list {
		c.add(hosts[s.host], s)
	}
	return r.outcome(&c, "the resolver says that none of the hosts of the service has an address")
}

// absence says why an answer to the SRV question has no services.
func absence(a *answer, q question) string {
	name := strings.TrimSuffix(q.name, ".")
	switch {
	case a.none:
		return fmt.Sprintf(`the resolver says that the service %s is not available here (target ".")`, name)
	case a.rcode == dns.RcodeNameError:
		return fmt.Sprintf("the resolver says that %s does not exist", name)
	}
	return fmt.Sprintf("the resolver says that %s has no SRV records", name)
}

// choose returns the services in a stable order, each host and port once, at most MaxTargets of them.
func choose(all []service) (list []service, leftOut string) {
	slices.SortFunc(all, func(a, b service) int {
		return cmp.Or(cmp.Compare(a.host, b.host), cmp.Compare(a.port, b.port), cmp.Compare(a.priority, b.priority), cmp.Compare(b.weight, a.weight))
	})
	all = slices.CompactFunc(all, func(a, b service) bool { return a.host == b.host && a.port == b.port })
	slices.SortStableFunc(all, func(a, b service) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(b.weight, a.weight))
	})
	if n := len(all); n > MaxTargets {
		all, leftOut = all[:MaxTargets], fmt.Sprintf("the answer has %d SRV records, and the first %d by priority and weight are used", n, MaxTargets)
	}
	return all, leftOut
}

// all resolves the hosts of the services, several at a time.
func (r *round) all(ctx context.Context, list []service, extra map[string]*[2]addressSet) map[string]resolved {
	hosts := make(map[string]resolved)
	var names []string
	for _, s := range list {
		if _, seen := hosts[s.host]; !seen {
			hosts[s.host] = resolved{}
			names = append(names, s.host)
		}
	}
	next := make(chan string)
	var workers sync.WaitGroup
	for range min(sideBySide, len(names)) {
		workers.Go(func() {
			for name := range next {
				h := r.host(ctx, name, extra[name])
				r.mu.Lock()
				hosts[name] = h
				r.mu.Unlock()
			}
		})
	}
	for _, name := range names {
		next <- name
	}
	close(next)
	workers.Wait()
	return hosts
}
