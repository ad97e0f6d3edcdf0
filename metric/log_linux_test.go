package metric

import (
	"errors"
	"syscall"
	"testing"
	"time"
)

// /dev/full is a disk without room.
func TestLogFullDisk(t *testing.T) {
	told := make(chan error, 10)
	w := openTestLog(t, LogOptions{Path: "/dev/full", Flush: time.Millisecond, Buffer: 4 << 10, Notify: func(err error) { told <- err }})
	eventually(t, "drops", func() bool { return !w.Append([]byte("line\n")) })
	if err := <-told; !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("told %v, want %v", err, syscall.ENOSPC)
	}
	if err := w.Close(patience); !errors.Is(err, ErrLogStalled) {
		t.Errorf("Close() = %v, want %v", err, ErrLogStalled)
	}
	if w.Lines() != 0 {
		t.Errorf("%d lines counted as written", w.Lines())
	}
}
