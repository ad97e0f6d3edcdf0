//go:build unix && !linux

package stream

import (
	"io"
	"syscall"
)

// Receive reads what the socket holds into p. again is true if it holds nothing; the end of the
// stream is io.EOF. len(p) > 0. It runs inside a syscall.RawConn callback.
func Receive(fd uintptr, p []byte) (n int, again bool, err error) {
	for {
		n, err := syscall.Read(int(fd), p)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, true, nil
		case err != nil:
			return 0, false, err
		case n == 0:
			return 0, false, io.EOF
		}
		return n, false, nil
	}
}

// Send writes as much of p as the socket takes at once. len(p) > 0.
func Send(fd uintptr, p []byte) (n int, err error) {
	for {
		n, err := syscall.Write(int(fd), p)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, nil
		case err != nil:
			return 0, err
		}
		return n, nil
	}
}

// Quiet reports whether the socket is open and holds nothing to read: no data, no end of
// stream, no error. It takes no data from the socket.
func Quiet(fd uintptr) bool {
	_, err := peek(fd)
	return err == syscall.EAGAIN
}

// Open reports whether there is something to read or the peer may still send: no end of stream
// and no error stands first. It takes no data from the socket.
func Open(fd uintptr) bool {
	n, err := peek(fd)
	return err == syscall.EAGAIN || err == nil && n > 0
}

func peek(fd uintptr) (n int, err error) {
	var one [1]byte
	for {
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		if err != syscall.EINTR {
			return n, err
		}
	}
}
