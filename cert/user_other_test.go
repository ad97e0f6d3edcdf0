//go:build !linux

package cert

import (
	"os"
	"testing"
)

// asAnybody runs f where that is not root, who may read every file.
func asAnybody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() == 0 {
		t.Skip("root may read every file")
	}
	f()
}
