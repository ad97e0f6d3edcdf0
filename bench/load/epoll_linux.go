package load

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// epollWait waits with the precision of nanoseconds where the kernel has epoll_pwait2 (Linux 5.11), and of
// milliseconds where it has not. A negative timeout polls; a very long one is cut to an hour.
func epollWait(epoll int, events []unix.EpollEvent, timeout time.Duration) (int, error) {
	timeout = min(max(timeout, 0), time.Hour)
	span := unix.NsecToTimespec(int64(timeout))
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), uintptr(unsafe.Pointer(&span)), 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EINTR:
		return 0, nil
	case unix.ENOSYS:
		count, err := unix.EpollWait(epoll, events, int(timeout.Round(time.Millisecond)/time.Millisecond))
		if err == unix.EINTR {
			return 0, nil
		}
		return count, err
	}
	return 0, errno
}
