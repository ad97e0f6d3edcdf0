package upstream

import (
	"fmt"
	"slices"

	"github.com/sluice-gateway/sluice/discovery"
	"github.com/sluice-gateway/sluice/message"
)

// maxSlots bounds the endpoints of one backend, those that were found included. A Source is bounded by itself.
const maxSlots = 1 << 17

// placed is one address with its place among the endpoints.
type placed struct {
	address  string
	host     string // name it was found under; "" for one of the configuration
	weight   int
	priority int
}

// entry is one slot: an endpoint with its place, or nothing where one has gone. Slots keep their numbers for as long as their endpoint is there, so
// that a request which has tried a slot knows it again.
type entry struct {
	ep       *Endpoint
	host     string // name it was found under
	weight   int
	priority int
	users    int    // entries of options.Endpoints that lead to the address
	stop     func() // ends its checks; nil if there are none
}

// effectiveWeight is the weight that counts now; 0 for an endpoint that is to get nothing new.
func (e *entry) effectiveWeight() uint32 {
	o := e.ep.override.Load()
	switch {
	case o == nil:
		return uint32(e.weight)
	case o.State != StateReady:
		return 0
	case o.Weight >= 0:
		return uint32(o.Weight)
	}
	return uint32(e.weight)
}

// enlist fills the roster with what is known when the generation is made.
func (b *Backend) enlist() error {
	for i := range b.options.Endpoints {
		o := &b.options.Endpoints[i]
		if o.Source == nil {
			b.found[i] = []placed{{o.Address, "", o.Weight, o.Priority}}
		} else if found, known := o.Source.Current(); known {
			b.found[i] = place(found, o)
		}
		for _, p := range b.found[i] {
			if err := b.add(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// place makes addresses of what a Source has found.
func place(found []discovery.Found, o *EndpointOptions) []placed {
	out := make([]placed, 0, len(found))
	least := uint16(0)
	if len(found) > 0 {
		least = found[0].Priority
		for _, f := range found {
			least = min(least, f.Priority)
		}
	}
	for _, f := range found {
		weight := o.Weight
		if f.Weight > 0 {
			weight = min(MaxWeight, o.Weight*int(f.Weight))
		}
		out = append(out, placed{f.Address.String(), f.Host, weight, o.Priority + int(f.Priority-least)})
	}
	return out
}

// add gives an address a slot, or counts one more user of the slot that it has. The caller holds mu, or is New.
func (b *Backend) add(p placed) error {
	if slot, ok := b.places[p.address]; ok {
		e := &b.roster[slot]
		e.users++
		e.weight, e.priority = p.weight, p.priority
		return nil
	}
	slot := len(b.roster)
	if n := len(b.vacant); n > 0 {
		slot = b.vacant[n-1]
	} else if slot >= maxSlots {
		return errSlots
	}
	ep, err := b.keeper.Acquire(b.options.Name, b.options.Transport(p.address, p.host))
	if err != nil {
		return err
	}
	if slot == len(b.roster) {
		b.roster = append(b.roster, entry{})
	} else {
		b.vacant = b.vacant[:len(b.vacant)-1]
	}
	b.roster[slot] = entry{ep: ep, host: p.host, weight: p.weight, priority: p.priority, users: 1}
	b.places[p.address] = slot
	if b.queue != nil {
		ep.sit(seat{b.queue, slot, ep})
	}
	if b.live {
		b.employ(slot, true)
	}
	return nil
}

var errSlots = fmt.Errorf("more than %d endpoints", maxSlots)

// remove takes one user of an address away, and the endpoint with the last. What it is doing it ends as it would have. The caller holds mu and
// calls what is returned, if anything, without it.
func (b *Backend) remove(address string) (last func()) {
	slot, ok := b.places[address]
	if !ok {
		return nil
	}
	e := &b.roster[slot]
	if e.users--; e.users > 0 {
		return nil
	}
	ep, stop := e.ep, e.stop
	*e = entry{}
	delete(b.places, address)
	b.vacant = append(b.vacant, slot)
	ep.unwatch(b)
	ep.rise(b.queue)
	return func() {
		if stop != nil {
			stop()
		}
		b.keeper.Release(ep)
	}
}

// employ makes an endpoint of the roster work for this generation. fresh says that the backend was at work before it. The caller holds mu.
func (b *Backend) employ(slot int, fresh bool) {
	e := &b.roster[slot]
	e.ep.adopt(b.options.Transport(e.ep.address, e.host))
	e.ep.watch(b)
	if fresh && !e.ep.employed.Swap(true) {
		e.ep.since.Store(message.Now())
	}
	e.ep.employed.Store(true)
	if b.check == nil {
		e.ep.forget()
		return
	}
	b.startCheck(slot)
}

// follow subscribes to a Source, and makes Ready wait for its first answer.
func (b *Backend) follow(i int) {
	s := b.options.Endpoints[i].Source
	if s == nil {
		return
	}
	b.mu.Lock()
	b.pending++
	b.mu.Unlock()
	b.cancels = append(b.cancels, s.Subscribe(func([]discovery.Found) { b.replace(i) }))
	b.replace(i) // what came between New and Start
	b.checkers.Go(func() {
		select {
		case <-s.First():
			b.replace(i) // the subscription may not have brought it yet
			b.settled()
		case <-b.checks.Done():
		}
	})
}

// replace takes what a Source knows now in place of what it had found before. It asks the Source itself, under the lock, so that it does not
// matter in which order several callers come.
func (b *Backend) replace(i int) {
	b.mu.Lock()
	found, known := b.options.Endpoints[i].Source.Current()
	if b.closed || !known {
		b.mu.Unlock()
		return
	}
	before, next := b.found[i], place(found, &b.options.Endpoints[i])
	if slices.Equal(before, next) {
		b.mu.Unlock()
		return
	}
	// Nothing can fail here but the bound on endpoints: the settings of all are those that New has tried. What finds no room is not there.
	next = slices.DeleteFunc(next, func(p placed) bool { return b.add(p) != nil })
	b.found[i] = next
	var ends []func()
	for _, p := range before {
		if end := b.remove(p.address); end != nil {
			ends = append(ends, end)
		}
	}
	b.rebuild(message.Now())
	b.mu.Unlock()
	for _, end := range ends {
		end()
	}
}

// dismiss gives all endpoints back. Their places stay known: exchanges that are under way may still hold failures against them.
func (b *Backend) dismiss() {
	b.mu.Lock()
	roster := slices.Clone(b.roster)
	b.mu.Unlock()
	b.queue.close(roster)
	for i := range roster {
		if ep := roster[i].ep; ep != nil {
			ep.unwatch(b)
			b.keeper.Release(ep)
		}
	}
}
