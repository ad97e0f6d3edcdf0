//go:build !race

package balance

import (
	"slices"
	"testing"
)

// TestLargeSets: every member has keys, also when there are more members than the usual table could serve.
func TestLargeSets(t *testing.T) {
	const n = 7000
	for _, name := range keyedNames() {
		if sums := keyShares(t, mustNew(t, name, set(equal(n)...)), n); slices.Min(sums) == 0 {
			t.Errorf("%s of %d: some member has no keys", name, n)
		}
	}
}
