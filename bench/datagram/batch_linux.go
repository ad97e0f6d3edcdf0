package datagram

import (
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// header is the kernel's struct mmsghdr: a message and how many of its bytes were moved.
type header struct {
	message unix.Msghdr
	n       uint32
}

// Batch is a set of datagram buffers that one call receives or sends. It owns its memory; what Data returns is valid until
// the next Receive. It is not safe for concurrent use.
type Batch struct {
	headers []header
	vectors []unix.Iovec
	names   []unix.RawSockaddrInet4 // nil: for connected sockets
	bytes   []byte
	size    int // of one buffer
}

// New makes a batch of count datagrams of at most size bytes. An addressed one is for sockets that are not connected: Receive keeps
// the IPv4 address of each sender, and Send sends each datagram to the address that was kept in its place.
func New(count, size int, addressed bool) *Batch {
	b := &Batch{headers: make([]header, count), vectors: make([]unix.Iovec, count), bytes: make([]byte, count*size), size: size}
	if addressed {
		b.names = make([]unix.RawSockaddrInet4, count)
	}
	for i := range b.headers {
		b.vectors[i].Base = &b.bytes[i*size]
		m := &b.headers[i].message
		m.Iov = &b.vectors[i]
		m.SetIovlen(1)
		if addressed {
			m.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		}
	}
	return b
}

// Size is the number of datagrams that the batch has room for.
func (b *Batch) Size() int { return len(b.headers) }

// Buffer is the whole buffer of datagram i, to be filled before SetLen and Send.
func (b *Batch) Buffer(i int) []byte { return b.bytes[i*b.size : (i+1)*b.size] }

// Data is datagram i, as it was received or as SetLen has cut it.
func (b *Batch) Data(i int) []byte { return b.Buffer(i)[:b.vectors[i].Len] }

// SetLen makes datagram i n bytes long for Send.
func (b *Batch) SetLen(i, n int) { b.vectors[i].SetLen(n) }

// Truncated tells whether datagram i was longer than its buffer when it was received.
func (b *Batch) Truncated(i int) bool { return b.headers[i].message.Flags&unix.MSG_TRUNC != 0 }

// Receive takes the datagrams that are there, up to Size, without waiting. It returns 0 and no error when there are none.
func (b *Batch) Receive(fd int) (int, error) {
	for i := range b.headers {
		b.vectors[i].SetLen(b.size)
		if b.names != nil {
			b.headers[i].message.Namelen = unix.SizeofSockaddrInet4
		}
	}
	n, err := b.call(unix.SYS_RECVMMSG, fd, b.headers)
	if err != nil {
		return 0, fmt.Errorf("recvmmsg: %w", err)
	}
	for i := range b.headers[:n] {
		b.vectors[i].SetLen(int(b.headers[i].n))
	}
	return n, nil
}

// Send sends the first n datagrams without waiting and returns how many the kernel took. They are fewer when the socket's buffer
// is full. An error (a refusal by the other side belongs to an earlier datagram) ends it.
func (b *Batch) Send(fd, n int) (int, error) {
	sent := 0
	for sent < n {
		// One that is refused ends the call and takes its error along; the next call begins with it.
		moved, err := b.call(unix.SYS_SENDMMSG, fd, b.headers[sent:n])
		if err != nil {
			return sent, fmt.Errorf("sendmmsg: %w", err)
		}
		if moved == 0 {
			break
		}
		sent += moved
	}
	return sent, nil
}

// call makes one of the two system calls. An error counts only when no datagram was moved.
func (b *Batch) call(trap uintptr, fd int, headers []header) (int, error) {
	moved, _, errno := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&headers[0])), uintptr(len(headers)), unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
		return int(moved), nil
	case unix.EAGAIN, unix.EINTR:
		return 0, nil
	}
	return 0, errno
}

// Listen opens a non-blocking UDP socket on an IPv4 address, with buffers for bufferBytes where the system allows as much.
func Listen(address string, bufferBytes int) (int, error) {
	target, err := netip.ParseAddrPort(address)
	if err != nil || !target.Addr().Is4() {
		return -1, fmt.Errorf("the address %q is not an IPv4 address with a port", address)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	Widen(fd, bufferBytes)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(target.Port()), Addr: target.Addr().As4()}); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("listen on %s: %w", address, err)
	}
	return fd, nil
}

// Widen asks for socket buffers of n bytes each: beyond the system's limit where the process may, up to it otherwise.
func Widen(fd, n int) {
	for _, option := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, option[0], n) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option[1], n)
		}
	}
}
