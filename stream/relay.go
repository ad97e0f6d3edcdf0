package stream

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Conn is one side of a relay. net.Conn fits. A *net.TCPConn is driven by its descriptor; with
// one on either side bytes are copied without a buffer while nothing moves, and with Pipes they
// need not be copied at all. Anything else (TLS, memory) is read and written as it is.
type Conn interface {
	io.ReadWriteCloser
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// RelayOptions bound a relay. The zero value has no bounds and copies.
type RelayOptions struct {
	// Idle ends the relay when for so long no byte and no end went in either direction, also
	// while one direction has ended already; 0 for no bound.
	Idle time.Duration

	// Lifetime ends the relay so long after its beginning, whatever it does; 0 for no bound.
	Lifetime time.Duration

	// Stuck ends the relay when bytes wait for a peer that has taken none for so long, although
	// the other direction may move; 0 leaves it to Idle. Of a Conn that is not plain TCP it sees
	// steps of 16 KiB.
	Stuck time.Duration

	EarlyA []byte // bytes that a sent already; they go to b first. Read until the relay ends
	EarlyB []byte // bytes that b sent already; they go to a first. Read until the relay ends

	Pipes *Pipes // what long transfers between two *net.TCPConn go through; nil to copy always
}

// ErrIdle is EndIdle as an error, for whoever has to report one, as tunnels have. No relay returns it.
var ErrIdle = errors.New("no byte in either direction for the idle time")

// Side names one of the two connections of a relay.
type Side uint8

// The sides.
const (
	NoSide Side = iota
	SideA
	SideB
)

// String implements fmt.Stringer.
func (s Side) String() string { return [...]string{"none", "a", "b"}[s&3%3] }

func (s Side) other() Side { return SideA + SideB - s }

// Ending tells how a relay, or one direction of it, came to its end.
type Ending uint8

// The endings. Those before EndIdle come from a side, the others from this program.
const (
	EndNone     Ending = iota
	EndFIN             // the side sent all it had; the other direction may go on
	EndReset           // the side reset its connection, or closed it while bytes were on their way to it
	EndFailed          // the side's connection failed otherwise (the peer is away, a TLS error)
	EndIdle            // RelayOptions.Idle
	EndLifetime        // RelayOptions.Lifetime
	EndStuck           // RelayOptions.Stuck; the side is the one that takes nothing
	EndStopped         // RelaySession.Stop, or somebody closed a connection of the relay
)

// endings are the names, as they stand in logs.
var endings = [...]string{"none", "fin", "reset", "failed", "idle", "lifetime", "stuck", "stopped"}

// String implements fmt.Stringer.
func (e Ending) String() string { return endings[e&7] }

// RelayEnd is one event that ended a direction, or all.
type RelayEnd struct {
	Side Side // whose doing it was; NoSide for EndIdle, EndLifetime and EndStopped
	How  Ending
}

// RelayResult is what a relay did.
type RelayResult struct {
	AB, BA int64 // bytes of a that b's connection took, and of b that a's took

	// First is the first end; Last what ended the relay as a whole. If each side ended with a FIN
	// both are EndFIN, of different sides: nothing was lost. If they are the same, one event
	// ended both directions.
	First, Last RelayEnd

	// FirstAB and FirstBA are when the first byte of that direction was passed on, counted from
	// the beginning of the relay; 0 if there was none.
	FirstAB, FirstBA time.Duration

	Duration time.Duration // of the relay
	Err      error         // of EndReset, EndFailed and of somebody's Close: what the system said; else nil
}

// Relay is RelaySession.Run of a session that nobody else knows.
func Relay(a, b Conn, o RelayOptions) RelayResult {
	var s RelaySession
	return s.Run(a, b, o)
}

// RelaySession is one relay that others can watch and stop. The zero value is ready for one Run.
type RelaySession struct {
	ab, ba direction
	o      RelayOptions
	began  time.Time

	// cut tells both directions to leave; it is set once, with mu held, after the reason stands in
	// last. A direction that waits is woken by a deadline that has passed: closing would wait for
	// it, and would send a FIN where a reset is due.
	cut atomic.Bool

	mu      sync.Mutex // guards the below; never held while waiting
	running bool
	stopped bool
	first   RelayEnd
	last    RelayEnd
	err     error
	timer   *time.Timer
}

// direction moves the bytes of one side to the other. It belongs to one goroutine, except for
// what is atomic.
type direction struct {
	s              *RelaySession
	side           Side // whose bytes these are
	from, to       Conn
	fromRaw, toRaw syscall.RawConn // of plain TCP, else nil
	back           *direction      // the other one
	moved          atomic.Int64    // bytes that to has taken
	last           atomic.Int64    // moment of the last byte or of the end
	waiting        atomic.Int64    // moment since which to takes nothing, 0 if it does
	ended          atomic.Bool     // the end was passed on, or is about to be
	first          int64           // moment of the first byte, 0 for none
	early          []byte
	left           bool // the goroutine is through; guarded by s.mu
	lost           bool // to is gone, and back reads what it had sent; guarded by s.mu
	transfer
}

// moment returns nanoseconds since the beginning of the relay; never 0.
func (s *RelaySession) moment() int64 { return int64(time.Since(s.began)) + 1 }

// Run moves bytes between a and b until both directions have ended, and closes both. The end of
// one direction is passed on as a half-close (shutdown, close_notify) while the other goes on;
// a connection that cannot do that is closed. A reset, a failure and every end made by this
// program but EndIdle reach the other side as a reset where it is TCP, because what it received
// is not whole; after EndIdle nothing was on its way, and both are closed in order. Deadlines of
// a and b are cleared at the beginning. Whoever else closes one of them stops the relay.
//
// Run uses the calling goroutine and one more, which it joins. An idle relay of two *net.TCPConn
// holds no buffer. At most one buffer of 32 KiB or one pipe is held for each direction, so a peer
// that takes nothing makes the other one wait.
func (s *RelaySession) Run(a, b Conn, o RelayOptions) RelayResult {
	s.o, s.began = o, time.Now()
	s.ab.init(s, SideA, a, b, o.EarlyA)
	s.ba.init(s, SideB, b, a, o.EarlyB)
	s.ab.back, s.ba.back = &s.ba, &s.ab
	if s.start() {
		s.both()
	}
	return s.finish()
}

// both runs the two directions. A panic of either, which is a mistake of this program, ends both and goes on in the calling goroutine, whose owner
// knows what to do with it.
func (s *RelaySession) both() {
	var panicked any
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() {
			if panicked = recover(); panicked != nil {
				s.Stop()
			}
		}()
		s.ba.run()
	})
	whole := false
	defer func() {
		if !whole {
			s.Stop()
		}
		wg.Wait()
		if whole && panicked != nil {
			//house:allow panic it is another goroutine's, handed on
			panic(panicked)
		}
	}()
	s.ab.run()
	whole = true
}

// Stop ends the relay, if it runs, and keeps it from beginning, if it does not yet. It does not
// wait; Run returns soon. Any goroutine may call it at any time, more than once.
func (s *RelaySession) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	if s.running {
		s.cutLocked(RelayEnd{How: EndStopped}, nil)
	}
}

// Moved returns how many bytes went from a to b and from b to a until now. Any goroutine may call it.
func (s *RelaySession) Moved() (ab, ba int64) { return s.ab.moved.Load(), s.ba.moved.Load() }

func (d *direction) init(s *RelaySession, side Side, from, to Conn, early []byte) {
	d.s, d.side, d.from, d.to, d.early = s, side, from, to, early
	d.fromRaw, d.toRaw = rawOf(from), rawOf(to)
}

// rawOf returns how to reach the descriptor of a plain TCP connection.
func rawOf(c Conn) syscall.RawConn {
	if t, ok := c.(*net.TCPConn); ok {
		if raw, err := t.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}

func (s *RelaySession) start() bool {
	for _, c := range [...]Conn{s.ab.from, s.ba.from} {
		_ = c.SetReadDeadline(time.Time{})
		_ = c.SetWriteDeadline(time.Time{})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = true
	if s.stopped {
		s.cutLocked(RelayEnd{How: EndStopped}, nil)
		return false
	}
	if next := s.next(s.moment()); next > 0 {
		s.timer = time.AfterFunc(time.Duration(next), s.look)
	}
	return true
}

// finish closes both connections in the way that the end asks for.
func (s *RelaySession) finish() RelayResult {
	s.mu.Lock()
	s.running = false // look, which may wait for the lock, does nothing from now on
	if s.timer != nil {
		s.timer.Stop()
	}
	r := RelayResult{
		AB: s.ab.moved.Load(), BA: s.ba.moved.Load(), First: s.first, Last: s.last, Err: s.err,
		FirstAB: time.Duration(s.ab.first), FirstBA: time.Duration(s.ba.first), Duration: time.Since(s.began),
	}
	s.mu.Unlock()
	inOrder := !s.cut.Load() || r.Last.How == EndIdle
	for _, d := range [...]*direction{&s.ab, &s.ba} {
		switch {
		case inOrder:
			_ = d.from.Close()
		case r.Last.How == EndReset && r.Last.Side != d.side && d.fromRaw != nil:
			settle(d.from, d.fromRaw)
			fallthrough
		default:
			abort(d.from)
		}
	}
	return r
}

// past is read-only: a deadline that has passed.
var past = time.Unix(1, 0)

// abort closes c with a reset where there is TCP below, and without a close_notify: it would call
// whole what is not.
func abort(c Conn) {
	var below io.Closer = c
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		below = t.NetConn()
	}
	if l, ok := below.(interface{ SetLinger(sec int) error }); ok {
		_ = l.SetLinger(0)
	}
	_ = below.Close()
}

// cutLocked ends both directions, for the first reason that is given. s.mu is held.
func (s *RelaySession) cutLocked(e RelayEnd, err error) {
	if s.cut.Load() {
		return
	}
	s.note(e)
	if s.err == nil {
		s.err = err
	}
	s.cut.Store(true)
	for _, c := range [...]Conn{s.ab.from, s.ba.from} {
		_ = c.SetReadDeadline(past)
		_ = c.SetWriteDeadline(past)
	}
}

// note records an end. s.mu is held.
func (s *RelaySession) note(e RelayEnd) {
	if s.first.How == EndNone {
		s.first = e
	}
	s.last = e
}

// look is called by the timer: it ends the relay if a bound is met, else sets the timer anew. The
// clock is thus looked at by the timer, and nothing that moves bytes ever moves a timer.
func (s *RelaySession) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running || s.cut.Load() {
		return
	}
	now := s.moment()
	if e := s.due(now); e.How != EndNone {
		s.cutLocked(e, nil)
		return
	}
	s.timer.Reset(time.Duration(s.next(now)))
}

// due returns the bound that is met at the moment now, if one is.
func (s *RelaySession) due(now int64) RelayEnd {
	if s.o.Lifetime > 0 && now > int64(s.o.Lifetime) {
		return RelayEnd{How: EndLifetime}
	}
	for _, d := range [...]*direction{&s.ab, &s.ba} {
		if since := d.waiting.Load(); s.o.Stuck > 0 && since > 0 && now-since >= int64(s.o.Stuck) {
			return RelayEnd{Side: d.side.other(), How: EndStuck}
		}
	}
	if s.o.Idle > 0 && now-max(s.ab.last.Load(), s.ba.last.Load()) >= int64(s.o.Idle) {
		for _, d := range [...]*direction{&s.ab, &s.ba} {
			if d.waiting.Load() > 0 { // bytes wait: the end will not be one in order
				return RelayEnd{Side: d.side.other(), How: EndStuck}
			}
		}
		return RelayEnd{How: EndIdle}
	}
	return RelayEnd{}
}

// next returns how long after now a bound may be met at the earliest, 0 if there is none.
func (s *RelaySession) next(now int64) int64 {
	next := int64(0)
	by := func(since int64, bound time.Duration) {
		if left := max(since+int64(bound)-now, 1); bound > 0 && (next == 0 || left < next) {
			next = left
		}
	}
	by(1, s.o.Lifetime)
	by(max(s.ab.last.Load(), s.ba.last.Load(), 1), s.o.Idle)
	for _, d := range [...]*direction{&s.ab, &s.ba} {
		since := d.waiting.Load()
		if since == 0 {
			since = now // it may begin to wait right now
		}
		by(since, s.o.Stuck)
	}
	return next
}

// run moves all bytes of the direction.
func (d *direction) run() {
	if d.fromRaw != nil && d.toRaw != nil {
		d.runRaw()
	} else {
		d.runCopy()
	}
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	d.left = true
	switch {
	case d.back.lost:
		d.s.cutLocked(RelayEnd{Side: d.side, How: EndReset}, nil)
	case d.back.ended.Load():
		_ = d.to.SetReadDeadline(past) // it may watch that connection
	}
}

// finished passes the end of d's bytes on. It reports false if the relay ends as a whole instead.
func (d *direction) finished() bool {
	s := d.s
	s.mu.Lock()
	if s.cut.Load() || d.back.lost {
		s.mu.Unlock()
		return false
	}
	s.note(RelayEnd{Side: d.side, How: EndFIN})
	s.mu.Unlock()
	d.last.Store(s.moment())
	d.ended.Store(true)
	if h, ok := d.to.(interface{ CloseWrite() error }); ok {
		_ = h.CloseWrite() // if it fails the connection is gone, and the other direction sees it
		return true
	}
	_ = d.to.Close()
	return true
}

// failed ends both directions because of an error of the connection of side.
func (d *direction) failed(side Side, err error) {
	e := RelayEnd{Side: side, How: EndFailed}
	switch {
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		e.How = EndReset
	case errors.Is(err, net.ErrClosed):
		if d.back.ended.Load() && side == d.side && d.back.closes() {
			return // it could not be closed in one direction
		}
		e = RelayEnd{How: EndStopped}
	case errors.Is(err, os.ErrDeadlineExceeded) && (d.s.cut.Load() || d.ended.Load()):
		return // it was woken
	}
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	if e.How == EndReset && side != d.side && d.toRaw != nil && !d.back.left && !d.s.cut.Load() {
		// What the peer sent before it went lies in our socket, and may be the answer that says why
		// it went. The other direction passes it on, and comes to the reset by itself.
		d.lost = true
		d.s.note(e)
		d.s.err = err
		return
	}
	d.s.cutLocked(e, err)
}

// closes reports whether the end of d was passed on by closing the connection as a whole.
func (d *direction) closes() bool {
	_, ok := d.to.(interface{ CloseWrite() error })
	return !ok
}

// took counts n bytes that d.to has taken.
func (d *direction) took(n int) {
	if n == 0 {
		return
	}
	now := d.s.moment()
	if d.first == 0 {
		d.first = now
	}
	d.moved.Add(int64(n))
	d.last.Store(now)
	if d.waiting.Load() != 0 {
		d.waiting.Store(0)
	}
}

// stuck notes that d.to takes no more for now.
func (d *direction) stuck() {
	if d.waiting.Load() == 0 {
		d.waiting.Store(d.s.moment())
	}
}
