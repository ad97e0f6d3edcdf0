//go:build unix && !linux

package stream

import (
	"io"
	"syscall"
)

// peekAtLeast copies the first bytes that the socket holds into p; enough says that they are at
// least need. The end of the stream before the first byte is io.EOF.
func peekAtLeast(fd uintptr, p []byte, need int) (n int, enough bool, err error) {
	for {
		n, _, err := syscall.Recvfrom(int(fd), p, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, false, nil
		case err != nil:
			return 0, false, err
		case n == 0:
			return 0, false, io.EOF
		}
		return n, n >= need, nil
	}
}

// discardUpTo takes up to count bytes out of the socket, through p.
func discardUpTo(fd uintptr, p []byte, count int) (n int, again bool, err error) {
	return Receive(fd, p[:min(count, len(p))])
}

// ended reports whether the peer sends no more, where that can be seen behind bytes that nobody
// takes. Here it cannot, and the deadline ends the wait.
func ended(uintptr) bool { return false }
