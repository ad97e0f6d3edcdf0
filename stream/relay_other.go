//go:build unix && !linux

package stream

import "syscall"

// errAborted is what the peer's reset is called when the system has told it to a write before.
const errAborted = syscall.ECONNRESET

// aborted reports whether the connection of the socket is gone, where the system can tell. Here it
// tells of every reset itself.
func aborted(uintptr) bool { return false }

// settle does nothing here: how much the peer has not acknowledged cannot be asked.
func settle(Conn, syscall.RawConn) {}
