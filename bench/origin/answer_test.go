package origin

import (
	"bytes"
	"testing"
)

func TestBodyHasItsSize(t *testing.T) {
	for _, size := range []int{0, 1, 74, 75, 76, 128, 1024} {
		if got := len(Body(size)); got != size {
			t.Errorf("%d bytes, want %d", got, size)
		}
		if !bytes.HasSuffix(Answer(size), Body(size)) {
			t.Errorf("the answer of %d does not end with its body", size)
		}
	}
}
