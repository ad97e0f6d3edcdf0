package http1

import (
	"crypto/x509"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/stream"
)

// ServerOptions is how a listener reads requests. It is shared by its connections and not
// changed after the first.
type ServerOptions struct {
	Scheme string // "http" or "https"

	MaxRequestLine int   // bytes of the request line
	MaxHeader      int   // bytes of the head in all
	MaxHeaderCount int   // fields
	MaxBody        int64 // bytes of the request body; 0 for no bound
	DrainBody      int64 // bytes of an unread body that are read to keep the connection
	MaxRequests    int   // requests of one connection; 0 for no bound

	HeaderTimeout time.Duration // the whole head, from its first byte
	BodyTimeout   time.Duration // progress of the body
	MinRate       int64         // bytes per second that a body must reach after BodyTimeout; 0 for none
	IdleTimeout   time.Duration // between requests
	WriteTimeout  time.Duration // progress of the response
	DrainLinger   time.Duration // how long an idle connection may still begin a request while draining

	Paths    message.PathRules
	Warn     bool           // count what paths and hosts would be refused for, where they can be forwarded
	Upgrade  []string       // protocols that a client may upgrade to, lower case
	Trailers []message.Name // request trailers that are forwarded
	Identity bool           // fields that say who calls stay in the request, for the handler to decide; else they are removed

	OnWarn  func(message.Reason) // called for each request that Warn let through; may be nil
	OnAlias func(n int)          // called with the number of imitating fields removed; may be nil

	date dateCache
}

func (o *ServerOptions) warned(x *message.Exchange, r message.Reason) {
	x.Outcome.Warning = r
	if o.OnWarn != nil {
		o.OnWarn(r)
	}
}

// Life tells a connection of its listener's state.
type Life interface {
	// Draining reports whether the listener is ending: the response of the running request is
	// the last. When it becomes true, an idle connection's read deadline is moved to the past.
	Draining() bool
	// Idle notes whether the connection is between requests.
	Idle(idle bool)
}

// Peer is what the listener knows of the client.
type Peer struct {
	Addr   netip.AddrPort
	Local  netip.AddrPort // the address that it connected to
	Server string         // SNI, lower case
	Life   Life           // may be nil

	// Certificates that the client has shown in the TLS handshake, its own first; shared by all requests of the connection, and not changed.
	Certificates []*x509.Certificate
}

// session is what a connection owns while requests are served, and does not while it is idle.
type session struct {
	x      message.Exchange
	rd     reader
	buf    [bufferSize]byte // what rd reads into
	wbuf   []byte
	parser requestParser
	body   body
}

// sessions is read-only in the sense that matters: it is a pool, see leases.
var sessions = sync.Pool{New: func() any {
	s := &session{wbuf: make([]byte, 0, 4<<10)}
	s.reset()
	return s
}}

// reset empties the session for the next request.
func (s *session) reset() {
	s.x.Reset()
	s.parser = requestParser{}
}

// serverConn serves one client connection. One goroutine runs it.
type serverConn struct {
	conn
	peer     Peer
	o        *ServerOptions
	h        message.Handler
	s        *session // nil while idle
	by       int64    // the deadline that the current wait really has
	ended    int64    // when the last exchange ended and the wait for the next began, 0 before the first wait
	leaveBy  int64    // when the wait of a draining connection ends, 0 before it drains
	requests int
	next     step // what readable ended with
	refused  message.Reason
	probed   bool // the socket was once found empty by asking
	gone     bool // the client has ended the connection
	broken   bool // the connection must not end in order
	bindings message.Bindings

	// expecting orders the "100 Continue", which a pump may send, and the answer. Only
	// requests with Expect take it.
	expecting sync.Mutex
	began     bool // the final answer of a request with Expect has begun; guarded by expecting

	one    [1]byte
	onRead func(uintptr) bool // readable, bound once
}

// step is what a connection does next.
type step uint8

const (
	stepWait   step = iota // wait for bytes
	stepServe              // a head is complete
	stepRefuse             // a head is refused
	stepClose              // the connection has ended, or must end
)

// ServeConn serves the requests of nc until the connection ends, and closes it.
func ServeConn(nc net.Conn, peer Peer, o *ServerOptions, h message.Handler) {
	c := &serverConn{peer: peer, o: o, h: h}
	c.init(nc)
	c.onRead = c.readable
	defer c.bindings.Close()
	linger := c.serve()
	c.release()
	if linger {
		c.lingerClose()
	}
	_ = nc.Close()
}

// serve reports whether the client may still be sending: the connection must then be closed
// slowly, or the kernel answers the unread bytes with a reset that overtakes the response.
func (c *serverConn) serve() (linger bool) {
	next := stepWait
	for {
		switch next {
		case stepWait:
			next = c.wait()
		case stepServe:
			if next = c.exchange(); next == stepWait {
				next = c.look()
			}
		case stepRefuse:
			c.refuse()
			return true
		case stepClose:
			if c.broken {
				c.abort()
				return false
			}
			return c.unread()
		}
	}
}

// unread reports whether the client may have sent what was not read: the rest of a body, or
// requests behind one that was the last.
func (c *serverConn) unread() bool {
	if c.s == nil || c.gone {
		return false
	}
	return c.s.body.framing != frameNone && !c.s.body.ended || c.s.rd.buffered() > 0 || !c.quietNow()
}

// wait waits until a head is complete or refused. An idle connection waits without a buffer.
func (c *serverConn) wait() step {
	c.park()
	for {
		var err error
		if c.raw != nil {
			c.next = stepClose
			if err = c.raw.Read(c.onRead); err == nil {
				return c.next
			}
		} else {
			var next step
			if next, err = c.waitStream(); err == nil {
				return next
			}
		}
		if !isTimeout(err) {
			c.gone = true
			return stepClose
		}
		if c.readFired(c.by) {
			if c.partial() {
				c.refused = message.HeaderTimeout
				return stepRefuse
			}
			return stepClose
		}
		c.rearm()
	}
}

// waitStream is wait on a connection that is no plain socket, such as TLS. It waits with one
// byte, so that no buffer is held meanwhile.
func (c *serverConn) waitStream() (step, error) {
	if !c.partial() {
		n, err := c.nc.Read(c.one[:])
		if n == 0 {
			return stepClose, err
		}
		c.begin()
		rd := &c.s.rd
		rd.buf[rd.w] = c.one[0]
		rd.w++
		c.s.x.Times.Start = message.Now()
		c.by = c.s.x.Times.Start + int64(c.o.HeaderTimeout)
	}
	for {
		if !c.room() {
			return stepRefuse, nil
		}
		c.armRead(c.by)
		n, err := c.nc.Read(c.s.rd.buf[c.s.rd.w:])
		c.s.rd.w += n
		if n == 0 && err != nil {
			return stepClose, err
		}
		if next := c.look(); next != stepWait {
			return next, nil
		}
	}
}

// readable runs when the socket may hold bytes. It serves exchanges that need nothing but what
// is buffered from inside the wait: the connection is then not asked for bytes that it cannot
// have yet, which saves a system call for each request. While it runs it must not read from
// the connection by other means nor close it.
func (c *serverConn) readable(fd uintptr) bool {
	c.held = fd
	defer func() { c.held = 0 }()
	for {
		c.begin()
		if !c.room() {
			c.next = stepRefuse
			return true
		}
		rd := &c.s.rd
		space := rd.buf[rd.w:]
		n, again, err := stream.Receive(fd, space)
		if again {
			c.park()
			return false
		}
		if err != nil {
			c.next, c.gone = stepClose, true
			return true
		}
		rd.w += n
		next := c.look()
		for next == stepServe && c.complete() {
			if next = c.exchange(); next == stepWait {
				next = c.look()
			}
		}
		if next != stepWait {
			c.next = next
			return true
		}
		// The socket was emptied: whatever comes now wakes the wait. An end that came together
		// with these bytes does not wake it any more, so once a connection it is asked for.
		if n < len(space) && c.probed {
			c.park()
			return false
		}
		c.probed = c.probed || n < len(space)
	}
}

// complete reports whether the exchange can be served without reading from the client.
func (c *serverConn) complete() bool {
	s := c.s
	r := &s.x.Request
	return r.Upgrade == nil && !s.parser.expect && r.Length >= 0 &&
		int64(s.rd.buffered()-s.parser.end) >= r.Length
}

func (c *serverConn) partial() bool { return c.s != nil && c.s.rd.buffered() > 0 }

// begin takes a session.
func (c *serverConn) begin() {
	if c.s == nil {
		c.s = sessions.Get().(*session)
	}
	c.s.rd.c = &c.conn
	c.s.rd.take(&c.s.buf)
}

// release gives the session back.
func (c *serverConn) release() {
	if s := c.s; s != nil {
		c.s = nil
		s.reset()
		s.rd.release()
		s.rd.c, s.body = nil, body{}
		if cap(s.wbuf) > 64<<10 {
			s.wbuf = make([]byte, 0, 4<<10)
		}
		sessions.Put(s)
	}
}

// room makes room in the read buffer for more of a head.
func (c *serverConn) room() bool {
	rd := &c.s.rd
	if rd.w < len(rd.buf) {
		return true
	}
	if rd.compact(); rd.w < len(rd.buf) || rd.grow(c.o.MaxHeader) {
		return true
	}
	c.refused = message.HeaderTooLarge
	return false
}

// park sets the deadline of a wait that begins. An idle connection gives its session back.
func (c *serverConn) park() {
	if c.partial() {
		c.by = c.s.x.Times.Start + int64(c.o.HeaderTimeout)
		c.armRead(c.by)
		return
	}
	c.release()
	c.idle(true)
	within := c.o.IdleTimeout
	if c.requests == 0 {
		within = min(within, c.o.HeaderTimeout) // a connection that never asks is not idle, it is slow
	}
	if c.ended == 0 {
		c.ended = message.Now()
	}
	// From the same moment however often an early timer comes by here, or the wait would never end.
	c.by = c.ended + int64(within)
	c.armRead(c.by)
	c.lingerIfDraining()
}

// rearm continues a wait whose timer fired before its deadline: a lazy timer, or the nudge of a
// listener that drains.
func (c *serverConn) rearm() {
	c.armRead(c.by)
	if !c.partial() {
		c.lingerIfDraining()
	}
}

// lingerIfDraining shortens an idle wait while the listener drains: a request that is under way
// already is still served. The listener first marks itself draining and then nudges; here the
// timer is set first and the mark read afterwards, so one of the two sees the other.
func (c *serverConn) lingerIfDraining() {
	if c.draining() {
		if c.leaveBy == 0 {
			c.leaveBy = message.Now() + int64(c.o.DrainLinger)
		}
		c.by = min(c.by, c.leaveBy)
		c.armRead(c.by)
	}
}

func (c *serverConn) draining() bool { return c.peer.Life != nil && c.peer.Life.Draining() }

func (c *serverConn) idle(idle bool) {
	if c.peer.Life != nil {
		c.peer.Life.Idle(idle)
	}
}

// look reads the head of the next request from what is buffered.
func (c *serverConn) look() step {
	if !c.partial() {
		return stepWait
	}
	s := c.s
	if s.x.Times.End != 0 {
		s.reset() // of the exchange before
	}
	began := s.x.Times.Start == 0
	if began {
		s.x.Times.Start = message.Now()
	}
	c.idle(false)
	b := s.rd.buf[s.rd.r:s.rd.w]
	done, reason := s.parser.parse(b, &s.x, c.o)
	if done {
		reason = s.parser.finish(b, &s.x, c.o)
	}
	if s.parser.aliases > 0 && c.o.OnAlias != nil {
		c.o.OnAlias(s.parser.aliases)
		s.parser.aliases = 0
	}
	switch {
	case reason != message.ReasonNone:
		c.refused = reason
		return stepRefuse
	case !done:
		return stepWait
	}
	s.x.Times.Read = s.x.Times.Start
	if !began {
		s.x.Times.Read = message.Now() // the head came in pieces
	}
	return stepServe
}
