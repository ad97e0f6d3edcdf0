package stream

import (
	"syscall"
	"time"
	"unsafe" //house:allow unsafe RawSyscall6 takes addresses as numbers; each is converted within the call, which keeps the variable alive
)

// errAborted is what the peer's reset is called when the system has told it to a write before.
const errAborted = syscall.ECONNRESET

const tcpClose = 7 // TCP_CLOSE: neither side has anything more to say

// aborted reports whether the connection of the socket is gone. The system tells of a reset once,
// to the first who asks, be it a write in the other direction; a read after it sees what looks like
// an orderly end. While nobody has sent a FIN to the peer, only a reset leads to this state.
func aborted(fd uintptr) bool {
	var state [4]byte // the first byte of struct tcp_info
	size := uint32(len(state))
	_, _, e := syscall.RawSyscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
		uintptr(unsafe.Pointer(&state[0])), uintptr(unsafe.Pointer(&size)), 0)
	return e == 0 && state[0] == tcpClose
}

// settle waits until the peer has acknowledged all that was sent to it, for at most half a second:
// a reset throws away what it overtakes, and had the peers spoken directly it would have come last.
func settle(c Conn, raw syscall.RawConn) {
	unsent := func(fd uintptr) bool {
		n := int32(0)
		_, _, e := syscall.RawSyscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&n)))
		return e == 0 && n > 0 && !aborted(fd)
	}
	end := time.Now().Add(500 * time.Millisecond)
	for pause := time.Millisecond; time.Now().Before(end); pause *= 2 {
		if waiting := false; raw.Control(func(fd uintptr) { waiting = unsent(fd) }) != nil || !waiting {
			return
		}
		_ = c.SetReadDeadline(time.Now().Add(pause))
		_ = raw.Read(func(fd uintptr) bool { return !unsent(fd) })
	}
}
