//go:build !portable

package stream

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe" //house:allow unsafe connect and epoll_wait take addresses as numbers; each is converted within the call, which keeps the memory alive

	"golang.org/x/sys/unix"
)

// The engine of Linux: one goroutine owns an epoll set with the listening socket and the sockets of all sessions. The set is itself a file that the
// runtime's poller waits for, so that the goroutine parks as any other and no thread is held; once awake it drains what is ready without asking the
// scheduler. Requests are read in batches and handed on session by session; the replies of many sessions leave in one system call.

const (
	// eventsSize is how many sockets are looked at in one turn.
	eventsSize = 128
	// listenIndex is how events name the listening socket.
	listenIndex = -1
)

// udpKey is who sent a datagram, and to which address: no pointers and no gaps, so that it is compared and hashed as plain memory.
type udpKey struct {
	name  [nameSize]byte // of the client, in the form of the kernel, with zeros behind shorter ones
	local [16]byte       // zeros where the socket has only one address, and where the system does not tell
	scope uint32         // the interface, where local is link-local
}

// udpSocket is the engine's part of a session.
type udpSocket struct {
	*udpPeer      // nil once the session has ended
	linked   bool // has requests in the present batch, from slot head to slot tail
	head     uint8
	tail     uint8
	skip     uint8 // reads until the next one that is batched
	lone     uint8 // what skip was set to last; 0 if there was more than one reply
	unsplit  bool  // the system has refused to segment datagrams of this session
	noteLen  uint8
	note     [controlSize]byte // makes replies leave from the address that was asked
}

// udpEngine is the goroutine and its sockets. Its fields belong to the relay's lock, but for what the loop alone touches.
type udpEngine struct {
	listen   int // -1 when closed
	family   int // of the listening socket
	nameLen  int // of addresses of this family
	wildcard bool
	segments bool // the system knows UDP_SEGMENT; one that does not would send all in one datagram
	set      int  // the descriptor of epoll
	epoll    *os.File
	raw      syscall.RawConn
	poll     func(fd uintptr) bool // waits for events; bound once
	events   [eventsSize]unix.EpollEvent
	ready    int
	armed    time.Duration // when the loop wakes up at the latest, 0 for never

	peers  udpPeers
	batch  *batch
	sizes  [batchSize]int             // of the datagrams in the slots
	next   [batchSize]uint8           // the next slot of the same session
	again  [batchSize]bool            // the datagram met an endpoint that is gone already
	order  [2 * batchSize]*udpSession // sessions with requests in the batch
	orders int
	owners [batchSize]*udpSession // whose each piece is
	slots  [batchSize]uint8       // where each piece lies
	firsts [batchSize + 1]int     // the first piece of each header
	filled int                    // slots with replies that are not sent yet
	count  int                    // pieces of them
	ended  [batchSize]*udpSession // had their last reply in this batch
	ends   int
}

// start takes the socket over and starts the loop.
func (e *udpEngine) start(r *UDPRelay, conn *net.UDPConn) error {
	e.listen = -1
	if err := e.adopt(conn); err != nil {
		return err
	}
	err := e.prepare(r)
	if err != nil {
		_ = unix.Close(e.listen)
		return err
	}
	_ = conn.Close() // the loop has a descriptor of its own; this takes the other one out of the runtime's poller
	go e.run(r)
	return nil
}

// adopt duplicates the descriptor of conn.
func (e *udpEngine) adopt(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var dup error
	err = raw.Control(func(fd uintptr) {
		e.listen, dup = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err := errors.Join(err, dup); err != nil {
		e.listen = -1
		return err
	}
	return nil
}

// prepare makes the epoll set and the memory.
func (e *udpEngine) prepare(r *UDPRelay) (err error) {
	if e.family, err = unix.GetsockoptInt(e.listen, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil {
		return err
	}
	e.nameLen = unix.SizeofSockaddrInet4
	if e.family != unix.AF_INET {
		e.nameLen = unix.SizeofSockaddrInet6
	}
	if e.wildcard = r.local.Addr().IsUnspecified(); e.wildcard {
		// On a socket for both versions this one option tells of IPv4 as well.
		level, option := unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
		if e.family == unix.AF_INET {
			level, option = unix.IPPROTO_IP, unix.IP_PKTINFO
		}
		if err := unix.SetsockoptInt(e.listen, level, option, 1); err != nil {
			return fmt.Errorf("asking for the addresses that datagrams are sent to: %w", err)
		}
	}
	_, unknown := unix.GetsockoptInt(e.listen, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
	e.segments = unknown == nil
	e.batch = newBatch(r.options.MaxDatagram, e.wildcard)
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	if err := errors.Join(unix.SetNonblock(fd, true), epollAdd(fd, e.listen, listenIndex)); err != nil {
		_ = unix.Close(fd)
		return err
	}
	e.set, e.epoll = fd, os.NewFile(uintptr(fd), "epoll")
	e.raw, err = e.epoll.SyscallConn()
	if err = errors.Join(err, e.epoll.SetReadDeadline(time.Time{})); err != nil { // the poller does not take it
		_ = e.epoll.Close()
		return err
	}
	e.poll = func(fd uintptr) bool {
		e.ready = epollTake(fd, e.events[:])
		return e.ready > 0
	}
	return nil
}

// epollAdd has epoll tell by index when fd can be read or has an error.
func epollAdd(epoll, fd int, index int32) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: index}
	_, _, err := syscall.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epoll), unix.EPOLL_CTL_ADD, uintptr(fd), uintptr(unsafe.Pointer(&event)), 0, 0)
	if err != 0 {
		return err
	}
	return nil
}

// epollTake returns how many events there are now.
func epollTake(epoll uintptr, events []unix.EpollEvent) int {
	for {
		n, _, err := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, epoll, uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
		if err == syscall.EINTR {
			continue
		}
		if err != 0 {
			return 0
		}
		return int(n)
	}
}

// run is the goroutine of the relay.
func (e *udpEngine) run(r *UDPRelay) {
	defer close(r.done)
	for {
		e.ready = 0
		err := e.raw.Read(e.poll)
		if !e.serve(r, err) {
			return
		}
	}
}

// serve does what is due. It reports false when the relay has ended.
func (e *udpEngine) serve(r *UDPRelay, waited error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock()
	if r.closing {
		r.endAll(now)
		e.peers.closeParked()
		r.stats.Overflow = e.overflow()
		_ = e.epoll.Close()
		_ = unix.Close(e.listen)
		e.listen = -1
		return false
	}
	if waited != nil { // the deadline has passed, and nobody has looked at the sockets yet
		e.ready = epollTake(uintptr(e.set), e.events[:])
	}
	asked := false
	for i := range e.ready {
		ev := &e.events[i]
		if ev.Fd == listenIndex {
			asked = true
			continue
		}
		// Sockets are opened and given to sessions only after all events of a turn were worked on, so that the index is of the socket that is meant.
		switch p := e.peers.all[ev.Fd]; {
		case p == nil:
		case p.session != nil:
			e.fromEndpoint(r, p.session, now)
		default:
			p.discard()
		}
	}
	e.flush(r, now)
	if asked {
		e.fromClients(r, now)
	}
	if waited == nil {
		e.arm(r)
		return true
	}
	e.armed = 0
	if e.ready < eventsSize { // a session with a reply in its socket is not idle, however late the loop is
		r.expire(now)
	}
	e.peers.trim(now)
	e.rearm(r)
	return true
}

// arm has the loop wake up when the next session may expire, unless it does so earlier anyway. It is called with the lock held.
func (e *udpEngine) arm(r *UDPRelay) {
	if at, ok := e.nextTimer(r); ok && (e.armed == 0 || at < e.armed) {
		e.rearm(r)
	}
}

// nextTimer returns when there is something to do even if nothing comes.
func (e *udpEngine) nextTimer(r *UDPRelay) (at time.Duration, ok bool) {
	at, ok = r.nextExpiry()
	if trim, any := e.peers.nextTrim(); any && (!ok || trim < at) {
		return trim, true
	}
	return at, ok
}

// rearm sets the deadline anew, or takes it away.
func (e *udpEngine) rearm(r *UDPRelay) {
	if r.closing {
		return // the deadline has passed for good
	}
	at, ok := e.nextTimer(r)
	if !ok {
		if e.armed != 0 {
			return // it wakes up once for nothing
		}
		_ = e.epoll.SetReadDeadline(time.Time{})
		return
	}
	// A moment later than needed, so that one timer ends the sessions of many clients.
	e.armed = at + min(r.options.Unanswered, time.Second)/listGrain
	_ = e.epoll.SetReadDeadline(r.started.Add(e.armed))
}

// wake ends the loop's wait for good. It is called with the lock held.
func (e *udpEngine) wake(*UDPRelay) { _ = e.epoll.SetReadDeadline(time.Unix(1, 0)) }

// overflow returns how many datagrams the system dropped because the listening socket was full, 0 if that cannot be known.
func (e *udpEngine) overflow() uint64 {
	if e.listen < 0 {
		return 0
	}
	var info [9]uint32 // SK_MEMINFO_VARS; the last one is SK_MEMINFO_DROPS
	size := uint32(unsafe.Sizeof(info))
	_, _, err := syscall.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(e.listen), unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if err != 0 {
		return 0
	}
	return uint64(info[8])
}

// parked returns how many sockets of ended sessions are kept.
func (e *udpEngine) parked() int { return e.peers.parked }

// connect gives a session a socket that is connected to its endpoint.
func (e *udpEngine) connect(_ *UDPRelay, s *udpSession, now time.Duration) error {
	addr := s.endpoint.Addr().Unmap()
	family := unix.AF_INET6
	if addr.Is4() {
		family = unix.AF_INET
	}
	var name [nameSize]byte
	n := putName(&name, netip.AddrPortFrom(addr, s.endpoint.Port()), family)
	if n == 0 {
		return syscall.EAFNOSUPPORT
	}
	p, err := e.peers.take(e.set, family, now)
	if err != nil {
		return err
	}
	_, _, failed := syscall.RawSyscall(unix.SYS_CONNECT, uintptr(p.fd), uintptr(unsafe.Pointer(&name)), uintptr(n))
	if failed != 0 {
		e.peers.shut(p)
		return failed
	}
	p.session, s.socket.udpPeer = s, p
	return nil
}

// disconnect takes the socket of a session away.
func (e *udpEngine) disconnect(s *udpSession, now time.Duration) {
	if p := s.socket.udpPeer; p != nil {
		s.socket.udpPeer = nil
		e.peers.give(p, now)
	}
}
