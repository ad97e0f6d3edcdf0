package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/metric"
)

const (
	// minPause and maxPause bound how long the accept loop waits after an error, longer each time. The clients wait in the system's queue.
	minPause = 5 * time.Millisecond
	maxPause = time.Second
	// settle is how long the queue must be empty before the socket is closed, since closing resets whoever stands in it.
	settle = 20 * time.Millisecond
	// lastOrders bounds that under a flood of new connections.
	lastOrders = time.Second
	// farewell is how long Drain waits for connections that it cut to notice.
	farewell = time.Second
)

// Listener accepts connections from a [Socket] and serves them. All methods may be called by any goroutine.
type Listener struct {
	socket   *Socket
	options  atomic.Pointer[Options]
	draining atomic.Bool
	conns    registry

	stop     chan struct{} // closed when accepting is to end
	stopOnce sync.Once
	accepted chan struct{} // closed when the accept loop has ended and the socket is closed

	refusals, sourceRefusals, acceptErrors, handshakes, proxies, panics trouble
}

// Start begins to accept from a socket, which belongs to the Listener from then on. It is ended by Drain or Close.
func Start(s *Socket, o *Options) *Listener {
	l := &Listener{socket: s, stop: make(chan struct{}), accepted: make(chan struct{})}
	l.conns.empty = make(chan struct{})
	l.options.Store(o)
	go l.accept()
	return l
}

// Swap replaces the options for connections accepted from now on. Open connections keep theirs, also where a bound is now lower.
func (l *Listener) Swap(o *Options) { l.options.Store(o) }

// Leave asks all connections that are open now to end after the exchange that they serve, and those that serve none to end at once. The listener goes on.
func (l *Listener) Leave() {
	for _, c := range l.conns.all() {
		c.nudge()
	}
}

// Options returns the options in force. They must not be changed.
func (l *Listener) Options() *Options { return l.options.Load() }

// Key returns the identity of the listener's socket.
func (l *Listener) Key() Key { return l.socket.key }

// Addr returns the address that clients connect to.
func (l *Listener) Addr() net.Addr { return l.socket.Addr() }

// Open returns the number of open connections.
func (l *Listener) Open() int { return l.conns.count() }

// Ended is closed when the socket is closed and every connection and its goroutine have ended, after Drain or Close.
func (l *Listener) Ended() <-chan struct{} { return l.conns.empty }

// Drain ends the listener without cutting requests. It first goes on for delay, as long as balancers in front need to notice that the
// program is no longer ready. Then it takes in who already stands in the system's queue, closes the socket, and asks every connection to end: one that
// serves a request ends after the answer, which tells the client; an idle one ends by itself unless a request comes that is under way. When
// ctx ends, what is left is closed; Drain returns how many of those were serving a request. Whatever blocks such a connection elsewhere is not
// in the listener's hands: Drain gives it a second, and [Listener.Ended] tells when all are gone.
func (l *Listener) Drain(ctx context.Context, delay time.Duration) (cut int) {
	pause(ctx.Done(), delay)
	// First the mark, then the nudge: a codec that misses the nudge because it was just going idle sees the mark.
	l.draining.Store(true)
	l.stopAccepting()
	for _, c := range l.conns.all() {
		if c.isIdle() {
			c.nudge()
		}
	}
	<-l.accepted
	select {
	case <-l.conns.empty:
		return 0
	case <-ctx.Done():
	}
	return l.cut()
}

// Close ends the listener at once and returns how many connections were serving a request.
func (l *Listener) Close() (cut int) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return l.Drain(ctx, 0)
}

// cut closes what is open and waits a moment for it to end.
func (l *Listener) cut() (cut int) {
	for _, c := range l.conns.all() {
		if !c.isIdle() {
			cut++
		}
		shut(c.raw)
	}
	t := time.NewTimer(farewell)
	defer t.Stop()
	select {
	case <-l.conns.empty:
	case <-t.C:
	}
	return cut
}

// stopAccepting wakes the accept loop for its end.
func (l *Listener) stopAccepting() {
	l.stopOnce.Do(func() {
		close(l.stop)
		setAcceptDeadline(l.socket.ln, past)
	})
}

// setAcceptDeadline bounds the wait for the next connection. A socket that cannot do that is closed, which ends the wait too.
func setAcceptDeadline(ln net.Listener, t time.Time) {
	if d, ok := ln.(interface{ SetDeadline(time.Time) error }); ok && d.SetDeadline(t) == nil {
		return
	}
	_ = ln.Close()
}

// pause waits for d or until done is closed.
func pause(done <-chan struct{}, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}

// accept is the listener's goroutine. One is enough: on two cores a connection with one request took the same 30 to 34 µs of CPU time whether one
// or two goroutines accepted from one socket, or one each from two sockets with SO_REUSEPORT, which would also hide a port that is taken.
func (l *Listener) accept() {
	defer close(l.accepted)
	defer l.conns.seal()
	defer l.socket.Close()
	var shard metric.Shard
	wait := time.Duration(0)
	for {
		nc, err := l.socket.ln.Accept()
		if err == nil {
			wait = 0
			shard++
			l.admit(nc, shard)
			continue
		}
		// The end is looked for only here: its wake-up is an error, and the queue is emptied after it.
		select {
		case <-l.stop:
			l.emptyQueue(shard)
			return
		default:
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		l.acceptFailed(err)
		wait = min(max(2*wait, minPause), maxPause)
		pause(l.stop, wait)
	}
}

// emptyQueue accepts who connected before the socket closes.
func (l *Listener) emptyQueue(shard metric.Shard) {
	for end := time.Now().Add(lastOrders); ; {
		now := time.Now()
		if now.After(end) {
			return
		}
		setAcceptDeadline(l.socket.ln, now.Add(settle))
		if time.Since(now) > settle/2 {
			continue // held up by a busy machine: Accept would give up without a look at the queue
		}
		nc, err := l.socket.ln.Accept()
		if err != nil {
			return
		}
		shard++
		l.admit(nc, shard)
	}
}

// acceptFailed counts and tells that the system could not give a connection, and lets go of an idle one if that helps.
func (l *Listener) acceptFailed(err error) {
	o := l.options.Load()
	o.metrics().AcceptFailed.Inc(0)
	var sys syscall.Errno
	if errors.As(err, &sys) {
		err = sys
	}
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		if c := l.conns.spare(); c != nil {
			o.metrics().Reclaimed.Inc(0)
			c.nudge()
		}
		err = fmt.Errorf("%w; raise the limit of open files (ulimit -n, LimitNOFILE=) or lower limits.connections", err)
	}
	if n, ok := o.due(&l.acceptErrors); ok {
		o.report(fmt.Errorf("accepting failed %d times: %w", n, err))
	}
}

// admit starts to serve a new connection or refuses it. It runs in the accept loop.
func (l *Listener) admit(nc net.Conn, shard metric.Shard) {
	o := l.options.Load()
	m := o.metrics()
	c := newConn(l, nc, o, shard)
	perSource := o.MaxPerSource
	if o.Proxy.Mode != ProxyOff && o.Proxy.trusts(c.remote.Addr()) {
		perSource = 0 // the connections of many clients come from there
	}
	v, victim := l.conns.add(c, o.MaxConnections, perSource)
	if victim != nil {
		m.Reclaimed.Inc(shard)
		victim.nudge()
	}
	switch v {
	case admitted:
		m.Open.Inc()
		m.Accepted.Inc(shard)
		switch {
		case o.Proxy.Mode != ProxyOff:
			go c.begin()
		case o.TLS != nil:
			go c.secure()
		default:
			go c.serve(o.Protocols.choose(""))
		}
		return
	case tooMany:
		m.TooMany.Inc(shard)
		if n, ok := o.due(&l.refusals); ok {
			o.report(fmt.Errorf("%d connections refused (too_many_connections): %d are open, as many as limits.connections allows", n, o.MaxConnections))
		}
	case tooManySource:
		m.TooManySource.Inc(shard)
		if n, ok := o.due(&l.sourceRefusals); ok {
			o.report(fmt.Errorf("%d connections refused (too_many_from_source): %s has %d open, as many as one client may", n, c.remote.Addr(), o.MaxPerSource))
		}
	}
	reset(nc)
}

// serve is the goroutine of a connection whose protocol is known.
func (c *Conn) serve(h ConnHandler) {
	defer func() { c.end(recover()) }()
	if h != nil {
		h.ServeConn(c)
	}
}

// end closes and forgets a connection; its last goroutine defers it. A panic ends only this connection: what others are doing is worth more than
// the difference between a broken connection and a broken program, and the report carries the stack.
func (c *Conn) end(panicked any) {
	if panicked != nil {
		c.options.metrics().Panicked.Inc(c.shard)
		if n, ok := c.options.due(&c.listener.panics); ok {
			c.options.report(fmt.Errorf("%d connections ended by a panic, which is a bug in this program: %v\n%s", n, panicked, debug.Stack()))
		}
	}
	_ = c.raw.Close()
	c.options.metrics().Open.Dec()
	c.listener.conns.remove(c)
}
