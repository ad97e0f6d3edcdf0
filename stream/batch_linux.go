//go:build !portable

package stream

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe" //house:allow unsafe recvmmsg and sendmmsg take structs of pointers; all of them point into one batch on the heap, which the caller holds

	"golang.org/x/sys/unix"
)

const (
	// batchSize is how many datagrams go through one system call. On loopback sending one takes 2.4 µs, so that a full batch keeps a processor from
	// the scheduler for less than 0.1 ms; more in one call saved nothing that could be measured.
	batchSize = 32
	// maxSegments is how many datagrams the kernel takes as segments of one (UDP_MAX_SEGMENTS of older kernels is 64).
	maxSegments = batchSize
	// maxSegmented is how many bytes these may have together: what fits in one IPv4 datagram.
	maxSegmented = 65507
	// nameSize is the size of the largest socket address, sockaddr_in6.
	nameSize = unix.SizeofSockaddrInet6
	// controlSize holds a packet info and a segment size with their headers: 40 + 24 bytes.
	controlSize = 64
	// cmsgHeader and cmsgAlign are the layout of struct cmsghdr: its data and its successor stand at multiples of the size of a long.
	cmsgHeader = unix.SizeofCmsghdr
	cmsgAlign  = unix.SizeofPtr
	// wholeLength makes recvfrom tell the length of the datagram, not of what fitted.
	wholeLength = unix.MSG_DONTWAIT | unix.MSG_TRUNC
)

// header is struct mmsghdr.
type header struct {
	unix.Msghdr
	Len uint32
}

// batch is the memory of the system calls that move several datagrams at once: one slot for each datagram that is received, and what tells the
// kernel which of them go where. The bytes of a slot are valid until the next receive into it. It belongs to one goroutine.
type batch struct {
	slot    int    // bytes that a datagram may have
	buffers []byte // batchSize slots
	stride  int

	whole    [batchSize]unix.Iovec // all of each slot, to receive into
	named    [batchSize]header     // receive into whole, with the sender's address and control messages
	plain    [batchSize]header     // receive into whole, from a connected socket
	names    [batchSize][nameSize]byte
	controls [batchSize][controlSize]byte
	used     int // headers of named that the kernel has written to

	pieces   [batchSize]unix.Iovec // datagrams to send, those for one receiver side by side
	out      [batchSize]header     // each sends one piece, or several as segments
	outNotes [batchSize][controlSize]byte
	single   unix.Msghdr
}

// newBatch makes a batch for datagrams of up to slot bytes. With control messages are received beside the datagrams of a socket that is not connected.
func newBatch(slot int, control bool) *batch {
	// Slots a multiple of 4 KiB apart would share few sets of the processor's caches.
	stride := (slot+4095)&^4095 + 17*64
	b := &batch{slot: slot, stride: stride, buffers: make([]byte, batchSize*stride)}
	for i := range batchSize {
		w := &b.whole[i]
		w.Base = &b.buffers[i*stride]
		w.SetLen(slot)
		b.named[i].Iov, b.named[i].Iovlen = w, 1
		b.plain[i].Iov, b.plain[i].Iovlen = w, 1
		b.named[i].Name = &b.names[i][0]
		if control {
			b.named[i].Control = &b.controls[i][0]
		}
	}
	b.used = batchSize
	return b
}

// data returns the first n bytes of slot i.
func (b *batch) data(i, n int) []byte { return b.buffers[i*b.stride : i*b.stride+n] }

// receiveNamed receives what stands in a socket that is not connected, at most batchSize datagrams.
func (b *batch) receiveNamed(fd int) (n int, e syscall.Errno) {
	for i := range b.used {
		h := &b.named[i]
		h.Namelen = nameSize
		if h.Control != nil {
			h.SetControllen(controlSize)
		}
	}
	n, e = receiveMany(fd, b.named[:])
	b.used = n
	return n, e
}

// receivePlain receives from a connected socket into the slots from first on.
func (b *batch) receivePlain(fd, first int) (n int, e syscall.Errno) {
	return receiveMany(fd, b.plain[first:])
}

// plainLen returns the length of the datagram that receivePlain put into slot i, more than the slot holds if it was cut.
func (b *batch) plainLen(i int) int {
	if b.plain[i].Flags&unix.MSG_TRUNC != 0 {
		return b.slot + 1
	}
	return int(b.plain[i].Len)
}

// receiveOne receives one datagram from a connected socket into slot i. n is its length, also where that is more than the slot holds.
func (b *batch) receiveOne(fd, i int) (n int, e syscall.Errno) {
	r, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(b.whole[i].Base)), uintptr(b.slot), wholeLength, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(r), 0
}

// piece makes the first n bytes of slot i piece k of what is to be sent.
func (b *batch) piece(k, i, n int) {
	p := &b.pieces[k]
	p.Base = &b.buffers[i*b.stride]
	p.SetLen(n)
}

// pack fills out[m] with pieces from first on for one receiver: one piece, or as many as can go as segments of one datagram if segment is true.
// All but the last must have the same size then. name and note are the address and control messages of the receiver, valid until the batch is sent;
// nil for a connected socket. It returns how many pieces it took.
func (b *batch) pack(m, first, end int, name, note []byte, segment bool) int {
	h := &b.out[m]
	h.Iov, h.Name, h.Namelen, h.Control = &b.pieces[first], nil, 0, nil
	h.SetControllen(0)
	if len(name) > 0 {
		h.Name, h.Namelen = &name[0], uint32(len(name))
	}
	n := 1
	if segment {
		n = segments(b.pieces[first:end])
	}
	h.SetIovlen(n)
	switch {
	case n > 1:
		c := b.outNotes[m][:0]
		c = append(c, note...)
		c = appendSegment(c, uint16(b.pieces[first].Len))
		h.Control = &c[0]
		h.SetControllen(len(c))
	case len(note) > 0:
		h.Control = &note[0]
		h.SetControllen(len(note))
	}
	return n
}

// segments returns how many of the pieces, from the first on, the kernel may cut out of one long datagram (UDP_SEGMENT): all have one size, but the
// last may be shorter. It is never 0 for pieces that are not empty.
func segments(pieces []unix.Iovec) int {
	size, total, n := pieces[0].Len, pieces[0].Len, 1
	if size == 0 {
		return 1
	}
	for n < len(pieces) && n < maxSegments {
		l := pieces[n].Len
		if l == 0 || l > size || total+l > maxSegmented {
			break
		}
		total += l
		n++
		if l < size {
			break
		}
	}
	return n
}

// sendOut sends out[from:to] and returns how many the kernel took. e tells why the next one was not.
func (b *batch) sendOut(fd, from, to int) (n int, e syscall.Errno) {
	for {
		r, _, e := syscall.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.out[from])), uintptr(to-from), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		if e == syscall.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(r), 0
	}
}

// sendPiece sends piece k by itself, with the address and control messages of its receiver, or to the peer of a connected socket.
func (b *batch) sendPiece(fd, k int, name, note []byte) (e syscall.Errno) {
	p := &b.pieces[k]
	for {
		if len(name) == 0 {
			_, _, e = syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(p.Base)), uintptr(p.Len), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		} else {
			h := &b.single
			h.Iov, h.Iovlen = p, 1
			h.Name, h.Namelen = &name[0], uint32(len(name))
			h.Control = nil
			if h.SetControllen(len(note)); len(note) > 0 {
				h.Control = &note[0]
			}
			_, _, e = syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(h)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		}
		if e != syscall.EINTR {
			return e
		}
	}
}

// receiveMany is recvmmsg on a socket that is not waited for. EAGAIN is 0 datagrams, and no error.
func receiveMany(fd int, into []header) (n int, e syscall.Errno) {
	for {
		r, _, e := syscall.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&into[0])), uintptr(len(into)), unix.MSG_DONTWAIT, 0, 0)
		switch e {
		case 0:
			return int(r), 0
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return 0, 0
		default:
			return 0, e
		}
	}
}

// addrPort reads a sockaddr_in or sockaddr_in6 in the form of the kernel. Addresses of IPv4 that are mapped into IPv6 become IPv4. scope is the
// number of the interface of a link-local address, which the result has not.
func addrPort(name []byte) (ap netip.AddrPort, scope uint32, ok bool) {
	if len(name) < 2 {
		return netip.AddrPort{}, 0, false
	}
	switch family := binary.NativeEndian.Uint16(name); {
	case family == unix.AF_INET && len(name) >= unix.SizeofSockaddrInet4:
		port := binary.BigEndian.Uint16(name[2:])
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(name[4:8])), port), 0, true
	case family == unix.AF_INET6 && len(name) >= unix.SizeofSockaddrInet6:
		port := binary.BigEndian.Uint16(name[2:])
		addr := netip.AddrFrom16([16]byte(name[8:24])).Unmap()
		if addr.Is6() && addr.IsLinkLocalUnicast() {
			scope = binary.NativeEndian.Uint32(name[24:])
		}
		return netip.AddrPortFrom(addr, port), scope, true
	}
	return netip.AddrPort{}, 0, false
}

// putName writes an address in the form of the kernel, for a socket of the given family, and returns its length; 0 if that family cannot reach it.
func putName(name *[nameSize]byte, ap netip.AddrPort, family int) int {
	addr := ap.Addr()
	switch {
	case family == unix.AF_INET && (addr.Is4() || addr.Is4In6()):
		*name = [nameSize]byte{}
		binary.NativeEndian.PutUint16(name[:], unix.AF_INET)
		binary.BigEndian.PutUint16(name[2:], ap.Port())
		a := addr.As4()
		copy(name[4:], a[:])
		return unix.SizeofSockaddrInet4
	case family == unix.AF_INET6 && addr.IsValid():
		*name = [nameSize]byte{}
		binary.NativeEndian.PutUint16(name[:], unix.AF_INET6)
		binary.BigEndian.PutUint16(name[2:], ap.Port())
		a := addr.As16()
		copy(name[8:], a[:])
		binary.NativeEndian.PutUint32(name[24:], scopeOf(addr))
		return unix.SizeofSockaddrInet6
	}
	return 0
}

// scopeOf returns the number of the interface that the zone of an address names, 0 for none.
func scopeOf(addr netip.Addr) uint32 {
	zone := addr.Zone()
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	return 0
}

// asked finds the address that a datagram was sent to in the control messages beside it (IP_PKTINFO, IPV6_PKTINFO). It is not valid if there is none.
func asked(control []byte) (addr netip.Addr, scope uint32) {
	for len(control) >= cmsgHeader {
		size, level, kind := readCmsg(control)
		if size < cmsgHeader || size > len(control) {
			return netip.Addr{}, 0
		}
		data := control[cmsgHeader:size]
		switch {
		case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			// The second of the two addresses is the one of this host; it differs from the first where the datagram went to all.
			return netip.AddrFrom4([4]byte(data[4:8])), 0
		case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			addr = netip.AddrFrom16([16]byte(data[:16])).Unmap()
			if addr.Is6() && addr.IsLinkLocalUnicast() {
				scope = binary.NativeEndian.Uint32(data[16:])
			}
			return addr, scope
		}
		next := (size + cmsgAlign - 1) &^ (cmsgAlign - 1)
		if next > len(control) {
			return netip.Addr{}, 0
		}
		control = control[next:]
	}
	return netip.Addr{}, 0
}

// readCmsg reads a struct cmsghdr. A size that does not fit in an int is 0.
func readCmsg(c []byte) (size, level, kind int) {
	if cmsgAlign == 8 {
		size = int(binary.NativeEndian.Uint64(c))
	} else {
		size = int(binary.NativeEndian.Uint32(c))
	}
	return max(size, 0), int(int32(binary.NativeEndian.Uint32(c[cmsgHeader-8:]))), int(int32(binary.NativeEndian.Uint32(c[cmsgHeader-4:])))
}

// appendCmsg appends a control message with room for n zero bytes of data, and returns the room as well.
func appendCmsg(c []byte, level, kind, n int) (all, data []byte) {
	at, size := len(c), cmsgHeader+n
	for range (size + cmsgAlign - 1) &^ (cmsgAlign - 1) {
		c = append(c, 0)
	}
	if cmsgAlign == 8 {
		binary.NativeEndian.PutUint64(c[at:], uint64(size))
	} else {
		binary.NativeEndian.PutUint32(c[at:], uint32(size))
	}
	binary.NativeEndian.PutUint32(c[at+cmsgHeader-8:], uint32(level))
	binary.NativeEndian.PutUint32(c[at+cmsgHeader-4:], uint32(kind))
	return c, c[at+cmsgHeader : at+size]
}

// appendSource appends the control message that makes a datagram leave from addr, for a socket of the given family. Where addr cannot be a source
// (none, or a group) the kernel shall choose.
func appendSource(c []byte, addr netip.Addr, scope uint32, family int) []byte {
	if !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() {
		return c
	}
	if family == unix.AF_INET {
		c, data := appendCmsg(c, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
		a := addr.As4()
		copy(data[4:], a[:])
		return c
	}
	c, data := appendCmsg(c, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
	a := addr.As16()
	copy(data, a[:])
	binary.NativeEndian.PutUint32(data[16:], scope)
	return c
}

// appendSegment appends the control message that cuts a datagram into several of the given size (UDP_SEGMENT).
func appendSegment(c []byte, size uint16) []byte {
	c, data := appendCmsg(c, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2)
	binary.NativeEndian.PutUint16(data, size)
	return c
}
