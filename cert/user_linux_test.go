package cert

import (
	"os"
	"runtime"
	"syscall"
	"testing"
)

// asAnybody runs f as somebody who is not root, because root may read every file. Only the thread of the calling goroutine changes, and only what it may do
// with files (setfsuid(2)).
func asAnybody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	const nobody = 65534
	runtime.LockOSThread() // and never unlocked if the way back fails: the thread then ends with the goroutine
	if err := syscall.Setfsuid(nobody); err != nil {
		t.Fatal(err)
	}
	f()
	if err := syscall.Setfsuid(0); err != nil {
		t.Fatal(err)
	}
	runtime.UnlockOSThread()
}
