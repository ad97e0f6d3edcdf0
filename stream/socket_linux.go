//go:build linux

package stream

import (
	"io"
	"syscall"
	"unsafe" //house:allow unsafe RawSyscall6 takes addresses as numbers; each is converted within the call, which keeps the slice alive
)

// The operations below run inside a syscall.RawConn callback, on sockets that Go has set
// non-blocking. They use RawSyscall: the scheduler is not told, because a non-blocking call
// returns at once, and telling it costs more than the bookkeeping of a short call is worth.

// Receive reads what the socket holds into p. again is true if it holds nothing; the end of the
// stream is io.EOF. len(p) > 0.
func Receive(fd uintptr, p []byte) (n int, again bool, err error) {
	for {
		r, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), syscall.MSG_DONTWAIT, 0, 0)
		switch e {
		case 0:
			if r == 0 {
				return 0, false, io.EOF
			}
			return int(r), false, nil
		case syscall.EAGAIN:
			return 0, true, nil
		case syscall.EINTR:
			continue
		default:
			return 0, false, e
		}
	}
}

// Send writes as much of p as the socket takes at once. len(p) > 0.
func Send(fd uintptr, p []byte) (n int, err error) {
	for {
		r, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
		switch e {
		case 0:
			return int(r), nil
		case syscall.EAGAIN:
			return 0, nil
		case syscall.EINTR:
			continue
		default:
			return 0, e
		}
	}
}

// Quiet reports whether the socket is open and holds nothing to read: no data, no end of
// stream, no error. It takes no data from the socket.
func Quiet(fd uintptr) bool {
	_, e := peek(fd)
	return e == syscall.EAGAIN
}

// Open reports whether there is something to read or the peer may still send: no end of stream
// and no error stands first. It takes no data from the socket.
func Open(fd uintptr) bool {
	n, e := peek(fd)
	return e == syscall.EAGAIN || e == 0 && n > 0
}

func peek(fd uintptr) (n int, e syscall.Errno) {
	var one [1]byte
	for {
		r, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&one[0])), 1, syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
		if e != syscall.EINTR {
			return int(r), e
		}
	}
}
