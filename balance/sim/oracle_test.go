//go:build !race

package main

import (
	"math"
	"testing"
)

// TestOracles holds the simulator against the theory: mean times within 2 %, for the pickers of the package balance and one that is here for the purpose.
func TestOracles(t *testing.T) {
	for _, o := range oracles() {
		mean, load := o.measure()
		t.Logf("%s, load %v (came to %.4f): %.4f, theory %.4f, %+.2f %%", o.name, o.load, load, mean, o.want, 100*(mean/o.want-1))
		if math.Abs(mean/o.want-1) > 0.02 {
			t.Errorf("%s at load %v: mean %.4f, and the theory says %.4f", o.name, o.load, mean, o.want)
		}
	}
}
