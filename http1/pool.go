package http1

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// PoolOptions is how connections to one endpoint are made and kept.
type PoolOptions struct {
	Address         string        // host:port
	ConnectTimeout  time.Duration // the connection, with TLS the handshake too
	IdleTimeout     time.Duration // an unused connection is closed after it
	ProgressTimeout time.Duration // no byte of a running exchange for so long ends it
	MaxIdle         int           // connections kept while unused; more are closed
	MaxBound        int           // connections kept for one client each (see Call.Prelude and Bound); 0: 4096
	MaxHeader       int           // bytes of a response head
	MaxHeaderCount  int           // fields of a response

	// TLS is for connections with TLS; nil is for plain ones. The owner sets what proves the two
	// sides to each other (ServerName, RootCAs, Certificates); the pool speaks only HTTP/1.1 in it,
	// and keeps sessions for resumption if TLS has no cache.
	TLS *tls.Config

	// Dial makes a connection without TLS; nil dials TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// Pool holds the connections to one endpoint. All cores share it; the connection used last is
// used first, so that the others grow idle and go. It is safe for concurrent use.
type Pool struct {
	o PoolOptions

	mu       sync.Mutex
	idle     []*clientConn                     // the oldest first
	bound    map[*message.Bindings]*clientConn // those that belong to one client each; nil while there are none
	closed   bool
	life     lifetime
	declared int64 // what the connection that came back last was promised by Keep-Alive, 0 for nothing
	suspect  int64 // moment at which a connection was last found closed too early, 0 for never
	swept    int64 // moment at which a closed connection last made the others be looked at
	stats    PoolStats
}

// PoolStats says how a pool's connections are used. The counters count from its beginning.
type PoolStats struct {
	Idle  int // connections kept unused
	Bound int // connections kept for one client each

	Stale   uint64 // unused connections that were found closed, or to have said something, before they were used
	Raced   uint64 // requests that met the end of an unused connection on the way
	Spared  uint64 // requests that must not be sent twice, kept from a connection that could end meanwhile
	Evicted uint64 // connections of one client that were closed because there were too many of the sort
}

// defaultMaxBound is PoolOptions.MaxBound where it is 0.
const defaultMaxBound = 4096

// NewPool returns an empty pool.
func NewPool(o PoolOptions) *Pool {
	if o.Dial == nil {
		d := &net.Dialer{Timeout: o.ConnectTimeout, KeepAlive: -1}
		o.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return d.DialContext(ctx, "tcp", address)
		}
	}
	if o.TLS != nil {
		o.TLS = clientTLS(o.TLS)
	}
	if o.MaxBound <= 0 {
		o.MaxBound = defaultMaxBound
	}
	return &Pool{o: o}
}

// get returns an unused connection that was still open when it was last looked at, or nil.
func (p *Pool) get(x *message.Exchange, c *Call) *clientConn {
	if x.Bindings.Any() {
		if cc := p.takeBound(x.Bindings, c); cc != nil {
			return cc
		}
	}
	if len(c.Prelude) > 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	cc := p.idle[n-1]
	if c.Once && p.risky(cc, c.Begun) {
		p.stats.Spared++ // the others are older
		return nil
	}
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	return cc
}

// put takes back a connection on which both messages ended where their framing says.
func (p *Pool) put(cc *clientConn) {
	cc.idleSince = cc.answered
	if cc.body.waited {
		cc.idleSince = message.Now() // the body took its time
	}
	if cc.private() {
		p.putBound(cc)
		return
	}
	p.mu.Lock()
	p.declared = cc.keepFor
	if p.life.estimate != 0 {
		p.life.open(cc.unused, cc.idleSince) // it has carried an exchange since
	}
	if p.closed || len(p.idle) >= p.o.MaxIdle {
		p.mu.Unlock()
		cc.end()
		return
	}
	p.idle = append(p.idle, cc)
	p.mu.Unlock()
}

// risky reports whether the endpoint may close the connection while a request is on its way: it is
// near the end of the time for which the endpoint keeps it, or others were closed a moment ago that
// were not. p.mu is held.
func (p *Pool) risky(cc *clientConn, now int64) bool {
	return ending(now-cc.idleSince, shorter(cc.keepFor, p.life.estimate)) ||
		p.suspect != 0 && cc.idleSince < p.suspect && now-p.suspect < int64(suspectFor)
}

const (
	// suspectFor is how long one connection that was closed unexpectedly casts doubt on those
	// unused since before: a process that ends closes all its connections within moments.
	suspectFor = time.Second
	// sweepPause is the least time between two looks at all connections because of one.
	sweepPause = 10 * time.Millisecond
)

// lost notes that a connection from the pool had ended before it was used, or ended under the
// request, and looks at the others: what closed it has often closed them too.
func (p *Pool) lost(cc *clientConn, raced bool) {
	now := message.Now()
	p.mu.Lock()
	low, high := cc.seenOpen-cc.idleSince, now-cc.idleSince
	if raced {
		low, high = cc.unused, cc.unused
		p.stats.Raced++
	} else {
		p.stats.Stale++
	}
	p.ended(cc, low, high, now)
	look := now-p.swept >= int64(sweepPause)
	if look {
		p.swept = now
	}
	p.mu.Unlock()
	if look {
		p.Sweep()
	}
}

// ended learns from the end of an unused connection, see lifetime.closed. p.mu is held.
func (p *Pool) ended(cc *clientConn, low, high, now int64) {
	known := cc.keepFor
	if p.life.sure {
		known = shorter(known, p.life.estimate)
	}
	if !ending(high, known) {
		p.suspect = now
	}
	p.life.closed(low, high, cc.idleSince, now)
}

// KeepAlive returns how long the endpoint keeps a connection that is not used, as it says by
// Keep-Alive or as its closes have shown; learned is false, and the time 0, while that is not
// known.
func (p *Pool) KeepAlive() (life time.Duration, learned bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.declared
	if p.life.sure {
		n = shorter(n, p.life.estimate)
	}
	return time.Duration(n), n != 0
}

// Idle returns how many connections are kept unused.
func (p *Pool) Idle() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle)
}

// Stats returns the state of the pool.
func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Idle, s.Bound = len(p.idle), len(p.bound)
	return s
}

// Sweep closes connections that were unused for the idle timeout, and those that the endpoint
// has closed or sent something on: whatever it says without being asked would be taken for the
// answer to the next request. It also closes those that the endpoint is about to close. Its owner
// calls it every few seconds.
func (p *Pool) Sweep() {
	now := message.Now()
	var dead []*clientConn
	p.mu.Lock()
	p.life.forget(now)
	kept := p.idle[:0]
	for i, cc := range p.idle {
		if p.keeps(cc, now, i == 0) {
			kept = append(kept, cc)
		} else {
			dead = append(dead, cc)
		}
	}
	clear(p.idle[len(kept):])
	p.idle = kept
	for b, cc := range p.bound {
		if !p.keeps(cc, now, true) {
			delete(p.bound, b)
			dead = append(dead, cc)
		}
	}
	p.mu.Unlock()
	for _, cc := range dead {
		cc.end()
	}
}

// keeps reports whether an unused connection stays. The oldest of all may stay to show when the
// endpoint closes it: what was learned would never be found wrong otherwise. p.mu is held.
func (p *Pool) keeps(cc *clientConn, now int64, oldest bool) bool {
	age := now - cc.idleSince
	if !cc.quiet() {
		p.stats.Stale++
		p.ended(cc, cc.seenOpen-cc.idleSince, age, now)
		return false
	}
	cc.seenOpen = now
	p.life.open(age, now)
	return age <= int64(p.o.IdleTimeout) && !ending(age, cc.keepFor) && (oldest || !p.life.sure || !ending(age, p.life.estimate))
}

// Close closes the unused connections; those in use are closed when they come back.
func (p *Pool) Close() {
	p.mu.Lock()
	idle, bound := p.idle, p.bound
	p.idle, p.bound, p.closed = nil, nil, true
	p.mu.Unlock()
	for _, cc := range idle {
		cc.end()
	}
	for _, cc := range bound {
		cc.end()
	}
}
