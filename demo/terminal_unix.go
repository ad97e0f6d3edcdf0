//go:build unix

package demo

import (
	"os"

	"golang.org/x/sys/unix"
)

// terminalSize returns the size of a terminal in columns and rows, and whether file is one at all.
func terminalSize(file *os.File) (width, height int, ok bool) {
	raw, err := file.SyscallConn()
	if err != nil {
		return 0, 0, false
	}
	// Control and not Fd: Fd would make a file blocking that the runtime polls.
	err = raw.Control(func(fd uintptr) {
		size, err := unix.IoctlGetWinsize(int(fd), unix.TIOCGWINSZ)
		if err == nil {
			width, height, ok = int(size.Col), int(size.Row), true
		}
	})
	return width, height, ok && err == nil
}
