//go:build !portable

package stream

import (
	"syscall"
	"time"
	"unsafe" //house:allow unsafe connect and recvfrom take addresses as numbers; each is converted within the call, which keeps the memory alive

	"golang.org/x/sys/unix"
)

// Sockets towards endpoints. Opening one, having epoll watch it and closing it takes 6 to 7 µs, more than passing on a question and its answer; to
// disconnect it and connect it anew takes 3 and gives it another port as well. So sockets of ended sessions are kept for a while.
//
// A kept socket must not bring a late reply of its last session to the next one. Disconnecting gives up its port, so that nothing finds it any more. But a
// datagram that another processor was delivering at that moment may still get in: therefore it rests for parkedRest, which outlasts that by far, and what
// is in it is thrown away before it is connected.

const (
	// parkedRest is how long a socket rests before it is used again.
	parkedRest = 100 * time.Millisecond
	// parkedFor is how long it is kept.
	parkedFor = 5 * time.Second
	// parkedMax bounds the kept sockets: enough for 40,000 new sessions in a second.
	parkedMax = 4096
	// discardMax is how many datagrams are thrown away at once.
	discardMax = 64
	// grownBuffer is the receive buffer, in bytes, of a socket that had a whole batch of replies in it. Others keep the system's default.
	grownBuffer = 1 << 20
)

// udpPeer is a socket towards an endpoint, watched by epoll.
type udpPeer struct {
	fd      int
	index   int32       // in udpPeers.all
	family  int         // AF_INET or AF_INET6
	session *udpSession // nil while it is parked
	grown   bool        // has a larger receive buffer
	parked  time.Duration
	next    *udpPeer // the one that was parked after it, or the next spare one
}

// udpPeers are the sockets of an engine.
type udpPeers struct {
	all    []*udpPeer // by index; nil where the socket was closed
	gaps   []int32    // indexes that are nil
	spare  *udpPeer   // memory to be used again
	idle   [2]udpPeerList
	parked int
}

// udpPeerList holds parked sockets of one family, the oldest first.
type udpPeerList struct{ first, last *udpPeer }

// listOf returns the list for sockets of a family.
func (u *udpPeers) listOf(family int) *udpPeerList {
	if family == unix.AF_INET {
		return &u.idle[0]
	}
	return &u.idle[1]
}

// take returns a socket that is not connected: a parked one that has rested, or a new one.
func (u *udpPeers) take(epoll, family int, now time.Duration) (*udpPeer, error) {
	for l := u.listOf(family); l.first != nil && now-l.first.parked >= parkedRest; {
		p := u.unpark(l)
		if p.discard() {
			return p, nil
		}
		u.shut(p)
	}
	p, err := u.open(epoll, family)
	if (err == syscall.EMFILE || err == syscall.ENFILE) && u.parked > 0 {
		u.closeParked()
		p, err = u.open(epoll, family)
	}
	return p, err
}

// open makes a socket.
func (u *udpPeers) open(epoll, family int) (*udpPeer, error) {
	fd, _, err := syscall.RawSyscall(unix.SYS_SOCKET, uintptr(family), unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != 0 {
		return nil, err
	}
	p := u.spare
	if p != nil {
		u.spare = p.next
	} else {
		p = &udpPeer{}
	}
	*p = udpPeer{fd: int(fd), family: family}
	if n := len(u.gaps); n > 0 {
		p.index, u.gaps = u.gaps[n-1], u.gaps[:n-1]
	} else {
		p.index = int32(len(u.all))
		u.all = append(u.all, nil)
	}
	u.all[p.index] = p
	if err := epollAdd(epoll, p.fd, p.index); err != nil {
		u.shut(p)
		return nil, err
	}
	return p, nil
}

// give parks a socket whose session has ended, or closes it.
func (u *udpPeers) give(p *udpPeer, now time.Duration) {
	p.session = nil
	if u.parked >= parkedMax || !p.disconnect() {
		u.shut(p)
		return
	}
	p.parked, p.next = now, nil
	l := u.listOf(p.family)
	if l.last != nil {
		l.last.next = p
	} else {
		l.first = p
	}
	l.last = p
	u.parked++
}

// unpark takes the oldest socket out of a list.
func (u *udpPeers) unpark(l *udpPeerList) *udpPeer {
	p := l.first
	if l.first = p.next; l.first == nil {
		l.last = nil
	}
	p.next = nil
	u.parked--
	return p
}

// shut closes a socket that is not parked. That takes it out of the epoll set too.
func (u *udpPeers) shut(p *udpPeer) {
	_, _, _ = syscall.RawSyscall(unix.SYS_CLOSE, uintptr(p.fd), 0, 0)
	u.all[p.index] = nil
	u.gaps = append(u.gaps, p.index)
	p.session, p.next = nil, u.spare
	u.spare = p
}

// trim closes the sockets that were not used for parkedFor.
func (u *udpPeers) trim(now time.Duration) {
	for i := range u.idle {
		for l := &u.idle[i]; l.first != nil && now-l.first.parked >= parkedFor; {
			u.shut(u.unpark(l))
		}
	}
}

// nextTrim returns when trim has something to do. ok is false if no socket is parked.
func (u *udpPeers) nextTrim() (at time.Duration, ok bool) {
	for i := range u.idle {
		if p := u.idle[i].first; p != nil && (!ok || p.parked+parkedFor < at) {
			at, ok = p.parked+parkedFor, true
		}
	}
	return at, ok
}

// closeParked closes all parked sockets.
func (u *udpPeers) closeParked() {
	for i := range u.idle {
		for l := &u.idle[i]; l.first != nil; {
			u.shut(u.unpark(l))
		}
	}
}

// disconnect undoes connect, port included, and reports whether it could.
func (p *udpPeer) disconnect() bool {
	name := [nameSize]byte{} // of the family AF_UNSPEC
	_, _, err := syscall.RawSyscall(unix.SYS_CONNECT, uintptr(p.fd), uintptr(unsafe.Pointer(&name)), unix.SizeofSockaddrInet4)
	return err == 0
}

// discard throws away what is in the socket, errors included, and reports whether it is empty now.
func (p *udpPeer) discard() bool {
	var one [1]byte
	for range discardMax {
		_, _, err := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(p.fd), uintptr(unsafe.Pointer(&one)), 1, unix.MSG_DONTWAIT, 0, 0)
		if err == syscall.EAGAIN {
			return true
		}
	}
	return false
}

// grow asks for a larger receive buffer. The system may give less.
func (p *udpPeer) grow() {
	if !p.grown {
		p.grown = true
		_ = unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, grownBuffer)
	}
}
