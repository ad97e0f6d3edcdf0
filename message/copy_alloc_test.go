//go:build !race

package message

import "testing"

// TestCopyRequestDoesNotAllocate: the memory of the copy is that of the exchange, which is used again.
func TestCopyRequestDoesNotAllocate(t *testing.T) {
	x, c := copySource(), new(Exchange)
	c.Reset()
	if got := testing.AllocsPerRun(100, func() {
		CopyRequest(c, x)
		c.Reset()
	}); got != 0 {
		t.Errorf("a copy allocates %v times", got)
	}
}
