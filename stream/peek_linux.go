package stream

import (
	"io"
	"syscall"
	"unsafe" //house:allow unsafe RawSyscall6 takes addresses as numbers; each is converted within the call, which keeps the memory alive
)

// msgTrunc is MSG_TRUNC: of a stream it means that bytes are counted and not copied.
const msgTrunc = 0x20

// receiveFlags is recv(2) without waiting. p may be empty where flags have msgTrunc.
func receiveFlags(fd uintptr, p []byte, size int, flags uintptr) (int, syscall.Errno) {
	for {
		n, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(size),
			flags|syscall.MSG_DONTWAIT, 0, 0)
		if e != syscall.EINTR {
			return int(n), e
		}
	}
}

// peekAtLeast copies the first bytes that the socket holds into p, if it holds at least need of
// them. A look that would not do is not worth copying: a peer that sends byte by byte would have
// everything copied again for each. The end of the stream before the first byte is io.EOF.
func peekAtLeast(fd uintptr, p []byte, need int) (n int, enough bool, err error) {
	if need > 1 {
		n, e := receiveFlags(fd, nil, need, syscall.MSG_PEEK|msgTrunc)
		if e == 0 && n < need && n > 0 || e == syscall.EAGAIN {
			return n, false, nil
		}
	}
	n, e := receiveFlags(fd, p, len(p), syscall.MSG_PEEK)
	switch {
	case e == syscall.EAGAIN:
		return 0, false, nil
	case e != 0:
		return 0, false, e
	case n == 0:
		return 0, false, io.EOF
	}
	return n, n >= need, nil
}

// discardUpTo takes up to count bytes out of the socket.
func discardUpTo(fd uintptr, _ []byte, count int) (n int, again bool, err error) {
	n, e := receiveFlags(fd, nil, count, msgTrunc)
	switch {
	case e == syscall.EAGAIN:
		return 0, true, nil
	case e != 0:
		return 0, false, e
	case n == 0:
		return 0, false, io.EOF
	}
	return n, false, nil
}

// pollfd is struct pollfd.
type pollfd struct {
	fd              int32
	events, revents int16
}

const (
	pollErr   = 0x8
	pollHup   = 0x10
	pollRdhup = 0x2000
)

// ended reports whether the peer sends no more. Behind bytes that nobody takes an end can be seen in
// no other way.
func ended(fd uintptr) bool {
	p := pollfd{fd: int32(fd), events: pollRdhup}
	var now syscall.Timespec
	n, _, e := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	return e == 0 && n == 1 && p.revents&(pollErr|pollHup|pollRdhup) != 0
}
