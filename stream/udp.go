package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// UDPHandler decides where the datagrams of new clients go. The relay calls it from one goroutine at a time, with its lock held: it must be quick, must
// not wait, and must not call the relay.
type UDPHandler interface {
	// Open begins a session: client sent its first datagram to local, the address that was asked. Where the system cannot tell which that was,
	// the address of local is unspecified. first is valid until Open returns. If ok is false the datagram is dropped and counted
	// (UDPNoEndpoint); otherwise End of the session is called exactly once, also when its endpoint cannot be reached.
	Open(client, local netip.AddrPort, first []byte) (s UDPSession, endpoint netip.AddrPort, ok bool)
}

// UDPSession is the owner's side of a session. The relay calls it as it calls UDPHandler.
type UDPSession interface {
	// Usable reports whether the endpoint is still to be used. It is asked when datagrams of the client arrive, at most once for each batch;
	// if it is not, the session ends (UDPReplaced) and a new one is opened for them.
	Usable() bool
	// End tells that the session is over. No method of the session is called after it.
	End(UDPResult)
}

// UDPEnd tells how a session ended.
type UDPEnd uint8

// The ways in which a session ends.
const (
	UDPIdle       UDPEnd = iota // no datagram either way for the idle time
	UDPUnanswered               // the endpoint has not answered at all for the unanswered time
	UDPAnswered                 // as many replies as expected (UDPOptions.Responses)
	UDPRefused                  // the endpoint's host said that nobody listens there (ICMP port unreachable)
	UDPFailed                   // no socket towards the endpoint, or an error of it; UDPResult.Err has it
	UDPReplaced                 // its endpoint is not usable any more
	UDPEvicted                  // the oldest one when the table was full
	UDPClosed                   // the relay ended

	udpEnds = iota
)

// String returns the name for logs and labels: idle, unanswered, answered, refused, failed, replaced, evicted or closed.
func (e UDPEnd) String() string {
	return [...]string{"idle", "unanswered", "answered", "refused", "failed", "replaced", "evicted", "closed", "unknown"}[min(e, udpEnds)]
}

// UDPDrop tells why a datagram was not passed on.
type UDPDrop uint8

// The reasons to drop a datagram.
const (
	UDPTableFull  UDPDrop = iota // no room for a session, and none that is old enough to make some
	UDPNoEndpoint                // the handler has none
	UDPNoSocket                  // no socket towards the endpoint: no descriptor or port is left, or there is no way to it
	UDPDraining                  // of a new client while the relay drains
	UDPTruncated                 // longer than UDPOptions.MaxDatagram
	UDPOversize                  // longer than the way to its receiver takes
	UDPBlocked                   // the send buffer of the socket is full
	UDPUnsent                    // any other error of sending
	UDPMalformed                 // its sender's address cannot be read

	udpDrops = iota
)

// String returns the name for logs and labels, such as table_full.
func (d UDPDrop) String() string {
	return [...]string{"table_full", "no_endpoint", "no_socket", "draining", "truncated", "oversize", "blocked", "unsent", "malformed", "unknown"}[min(d, udpDrops)]
}

// UDPResult is the story of one session.
type UDPResult struct {
	Client, Local, Endpoint netip.AddrPort
	End                     UDPEnd
	Err                     error // of UDPRefused and UDPFailed
	Began                   time.Time
	Lasted                  time.Duration // from the first datagram to the last one
	FirstReply              time.Duration // from the first datagram to the first reply; 0 if there was none
	Requests, RequestBytes  uint64        // datagrams that the client sent, dropped ones included
	Replies, ReplyBytes     uint64        // datagrams that the endpoint sent, dropped ones included
}

// UDPOptions bound a relay. The zero value means the defaults.
type UDPOptions struct {
	// Idle ends a session that had no datagram either way for so long. Default 30 s.
	Idle time.Duration
	// Unanswered takes the place of Idle for sessions that had no reply yet, and for those whose client has sent all it may (Requests).
	// It is at most Idle. Default 5 s.
	Unanswered time.Duration
	// MaxSessions bounds the sessions that are open at once. Each takes a descriptor and a port of this host; the system's range of ports
	// (about 28,000 as shipped) and ulimit -n bound them as well: when either is used up, a session is evicted as when the table is full.
	// Default 16,384.
	MaxSessions int
	// EvictAfter is how long a session must have been idle to make room for a new one when the table is full: those that were never answered
	// first, then the one that is idle for longest. At most Idle. Default 1 s.
	EvictAfter time.Duration
	// Requests is how many datagrams of a client belong to one session; the next one opens another, while this one waits for its replies. 1 balances
	// each by itself, and should have Responses beside it. 0 sets no bound.
	Requests int
	// Responses is how many replies are expected to each datagram. A session that had them all ends at once, which frees its port; 0 waits for Idle.
	Responses int
	// MaxDatagram is the longest datagram that is passed on, in bytes. It holds from the start of the relay. Default 65,535: all of them.
	MaxDatagram int
	// Buffer is asked of the system for the listening socket, in bytes, for receiving and for sending. The system may give less. It holds from the
	// start of the relay. Default 4 MiB; negative leaves the socket as it is.
	Buffer int
	// NoSegmentation keeps the relay from handing runs of datagrams to the system as one (UDP_SEGMENT on Linux), which is cheaper by far. It falls
	// back by itself where the system refuses; this is for drivers that accept and then do harm.
	NoSegmentation bool
	// Report takes what an operator should know, at most once a second and while the relay's lock is held. May be nil.
	Report func(error)
}

const (
	defaultUDPIdle       = 30 * time.Second
	defaultUDPUnanswered = 5 * time.Second
	defaultUDPEvictAfter = time.Second
	defaultUDPSessions   = 16384
	defaultUDPBuffer     = 4 << 20
	longestDatagram      = 65535
)

// orDefault returns v, or d if v is not positive.
func orDefault[T int | time.Duration](v, d T) T {
	if v <= 0 {
		return d
	}
	return v
}

func (o UDPOptions) withDefaults() UDPOptions {
	o.Idle = orDefault(o.Idle, defaultUDPIdle)
	o.Unanswered = min(orDefault(o.Unanswered, defaultUDPUnanswered), o.Idle)
	o.EvictAfter = min(orDefault(o.EvictAfter, defaultUDPEvictAfter), o.Idle)
	o.MaxSessions = orDefault(o.MaxSessions, defaultUDPSessions)
	o.MaxDatagram = min(orDefault(o.MaxDatagram, longestDatagram), longestDatagram)
	if o.Buffer == 0 {
		o.Buffer = defaultUDPBuffer
	}
	return o
}

// UDPStats are the counters of a relay since its start.
type UDPStats struct {
	Sessions               int    // open now
	Parked                 int    // sockets of ended sessions that are kept for new ones, at most 4,096
	Opened                 uint64 // sessions that the handler opened
	Ended                  [udpEnds]uint64
	Requests, RequestBytes uint64 // datagrams that clients sent, dropped ones included
	Replies, ReplyBytes    uint64 // datagrams that endpoints sent, dropped ones included
	Dropped                [udpDrops]uint64
	Overflow               uint64 // datagrams of clients for which the listening socket had no room; 0 where the system does not tell
	RequestBatches         uint64 // calls of the system that received requests
	ReplyBatches           uint64 // and that sent replies
}

// EndedBy returns how many sessions ended in the given way.
func (s *UDPStats) EndedBy(e UDPEnd) uint64 { return s.Ended[e] }

// DroppedFor returns how many datagrams were dropped for the given reason.
func (s *UDPStats) DroppedFor(d UDPDrop) uint64 { return s.Dropped[d] }

// UDPRelay moves datagrams between the clients of one socket and the endpoints that a handler picks for them. A session binds a client, and the
// address that it asked, to an endpoint; it has a socket of its own, connected to the endpoint, so that only this endpoint's replies go back to that client.
// They leave from the address that was asked. The relay sends to a client only what the client's endpoint sent, datagram by datagram.
//
// Datagrams of one client reach its endpoint in the order in which they came, and replies come back in theirs. All methods may be called by any
// goroutine but those of the handler.
type UDPRelay struct {
	started time.Time
	local   netip.AddrPort
	done    chan struct{} // closed when all goroutines have ended and all sockets are closed
	empty   chan struct{} // closed when the relay drains and no session is open

	mu       sync.Mutex // held while a batch is worked on, never across a wait
	handler  UDPHandler
	options  UDPOptions
	table    udpTable
	stats    UDPStats
	draining bool
	emptied  bool
	closing  bool
	reported time.Duration // when Report was called last
	silenced bool          // Report has been called at all
	engine   udpEngine
}

// StartUDP begins to relay the datagrams of conn, which belongs to the relay from then on, also when StartUDP fails. The relay is ended by Drain or
// Close. On Linux it takes the socket out of the hands of the net package: conn is closed, and the socket is not.
//
// A relay is served by one goroutine (on Linux; elsewhere by one for each session and two more). More processors serve one address by more relays on
// sockets with SO_REUSEPORT.
func StartUDP(conn *net.UDPConn, h UDPHandler, o UDPOptions) (*UDPRelay, error) {
	o = o.withDefaults()
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		_ = conn.Close()
		return nil, errors.New("relay of datagrams: the socket has no address")
	}
	if o.Buffer > 0 {
		// Best effort: what the system gives less is seen as UDPStats.Overflow.
		_ = conn.SetReadBuffer(o.Buffer)
		_ = conn.SetWriteBuffer(o.Buffer)
	}
	ap := local.AddrPort()
	r := &UDPRelay{
		started: time.Now(), local: netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), handler: h, options: o,
		done: make(chan struct{}), empty: make(chan struct{}),
	}
	r.table.sessions = make(map[udpKey]*udpSession)
	if err := r.engine.start(r, conn); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("relay of datagrams on %s: %w", r.local, err)
	}
	return r, nil
}

// Addr returns the address that clients send to.
func (r *UDPRelay) Addr() netip.AddrPort { return r.local }

// Swap replaces handler and options. Open sessions keep their endpoint, and how many requests and responses they have; time-outs and the
// bound of the table hold for all from now on, but where more sessions are open than the bound allows they stay.
func (r *UDPRelay) Swap(h UDPHandler, o UDPOptions) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o = o.withDefaults()
	o.MaxDatagram = r.options.MaxDatagram
	r.handler, r.options = h, o
	r.engine.arm(r)
}

// Stats returns the counters.
func (r *UDPRelay) Stats() UDPStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Sessions = r.table.open
	s.Overflow, s.Parked = max(s.Overflow, r.engine.overflow()), r.engine.parked()
	return s
}

// Drain ends the relay gently: no new sessions, and those that are open go on until they end by themselves or ctx ends. Then the socket is
// closed. It returns how many sessions it cut.
func (r *UDPRelay) Drain(ctx context.Context) (cut int) {
	r.mu.Lock()
	r.draining = true
	r.checkEmpty()
	r.mu.Unlock()
	select {
	case <-r.empty:
	case <-ctx.Done():
	case <-r.done:
	}
	return r.Close()
}

// Close ends the relay at once, waits for its goroutines, and returns how many sessions it cut.
func (r *UDPRelay) Close() (cut int) {
	r.mu.Lock()
	if !r.closing {
		r.closing = true
		cut = r.table.open
		r.engine.wake(r)
	}
	r.mu.Unlock()
	<-r.done
	return cut
}

// Done is closed when the relay has ended.
func (r *UDPRelay) Done() <-chan struct{} { return r.done }

// clock returns the time since the start of the relay. It is read once for each batch.
func (r *UDPRelay) clock() time.Duration { return time.Since(r.started) }

// checkEmpty tells Drain when it is over. It is called with the lock held.
func (r *UDPRelay) checkEmpty() {
	if r.draining && r.table.open == 0 && !r.emptied {
		r.emptied = true
		close(r.empty)
	}
}

// drop counts n datagrams that are not passed on.
func (r *UDPRelay) drop(why UDPDrop, n int) { r.stats.Dropped[why] += uint64(n) }

// report tells the owner of an error, at most once a second.
func (r *UDPRelay) report(now time.Duration, err error) {
	if r.options.Report == nil || r.silenced && now-r.reported < time.Second {
		return
	}
	r.silenced, r.reported = true, now
	r.options.Report(fmt.Errorf("relay of datagrams on %s: %w", r.local, err))
}
