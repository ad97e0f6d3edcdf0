package listen

import (
	"net/netip"
	"sync"
)

// lookAt bounds how many connections a search for an idle one looks at, since clients wait for the accept loop meanwhile.
const lookAt = 64

// verdict is what becomes of a new connection.
type verdict uint8

const (
	admitted verdict = iota
	tooMany
	tooManySource
	ended // the listener is closed
)

// registry knows the open connections of a listener: a list in the connections themselves, so that adding and removing costs a few
// nanoseconds under one lock and no memory. Requests never come here.
type registry struct {
	mu         sync.Mutex
	head, tail *Conn
	n          int
	leaving    int                  // of them reclaimed and not yet gone
	sources    map[netip.Addr]int32 // connections by client, of those accepted under MaxPerSource; holds no zeros, so at most n entries
	sealed     bool                 // no more are added
	empty      chan struct{}        // closed when sealed and n is 0
}

// add admits c or not. The idle connection that had to be asked to end for it is returned too; the caller nudges it.
func (r *registry) add(c *Conn, maxTotal, maxPerSource int) (verdict, *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sealed {
		return ended, nil
	}
	source := sourceOf(c.remote.Addr())
	if maxPerSource > 0 && int(r.sources[source]) >= maxPerSource {
		return tooManySource, nil
	}
	var victim *Conn
	if maxTotal > 0 && r.n-r.leaving >= maxTotal {
		if victim = r.reclaim(maxTotal/8 + 1); victim == nil {
			return tooMany, nil
		}
	}
	if maxPerSource > 0 {
		if r.sources == nil {
			r.sources = make(map[netip.Addr]int32)
		}
		r.sources[source]++
		c.counted = true
	}
	r.link(c)
	r.n++
	return admitted, victim
}

// remove forgets c.
func (r *registry) remove(c *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unlink(c)
	r.n--
	if c.reclaimed {
		r.leaving--
	}
	if c.counted {
		source := sourceOf(c.remote.Addr())
		if r.sources[source]--; r.sources[source] <= 0 {
			delete(r.sources, source)
		}
	}
	if r.sealed && r.n == 0 {
		close(r.empty)
	}
}

// seal lets no more connections in. It is called once.
func (r *registry) seal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sealed = true
	if r.n == 0 {
		close(r.empty)
	}
}

// reclaim picks an idle connection and marks it, if fewer than most are marked already. The list turns like the hand of a clock (second
// chance, Corbató 1968): it takes a connection that has not been used since the hand passed it before, else the first idle one of this turn.
// The caller holds r.mu.
func (r *registry) reclaim(most int) *Conn {
	if r.leaving >= most {
		return nil
	}
	var pick *Conn
	for range min(r.n, lookAt) {
		c := r.head
		r.unlink(c)
		r.link(c)
		state := c.state.Load()
		if c.reclaimed || state&stateIdle == 0 {
			continue
		}
		if c.seen == state {
			pick = c
			break
		}
		c.seen = state
		if pick == nil {
			pick = c
		}
	}
	if pick != nil {
		pick.reclaimed = true
		r.leaving++
	}
	return pick
}

// spare is reclaim for when the system has run out of something that connections hold.
func (r *registry) spare() *Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reclaim(r.n/8 + 1)
}

// all returns the open connections. It copies them so that nobody waits for the lock while they are woken.
func (r *registry) all() []*Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*Conn, 0, r.n)
	for c := r.head; c != nil; c = c.next {
		list = append(list, c)
	}
	return list
}

// count returns the number of open connections.
func (r *registry) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

// link appends c. The caller holds r.mu.
func (r *registry) link(c *Conn) {
	c.prev, c.next = r.tail, nil
	if r.tail == nil {
		r.head = c
	} else {
		r.tail.next = c
	}
	r.tail = c
}

// unlink takes c out of the list. The caller holds r.mu.
func (r *registry) unlink(c *Conn) {
	if c.prev == nil {
		r.head = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		r.tail = c.prev
	} else {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
}

// sourceOf returns what counts as one client: an IPv4 address, or the network of 64 bits that a single IPv6 client has to itself.
func sourceOf(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}
