// Package linuxonly builds on Linux only; the tests of lint show that the check for macOS finds it.
package linuxonly

import "syscall"

// Create makes an epoll instance, which macOS has not.
func Create() (int, error) { return syscall.EpollCreate1(0) }
