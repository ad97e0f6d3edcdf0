//go:build !race

package proxy

import (
	"strings"
	"testing"
)

// TestSplitAllocations: to choose costs nothing, with a key and without, whatever the names.
func TestSplitAllocations(t *testing.T) {
	long := strings.Repeat("n", 63)
	for _, key := range []string{"", "request.path", `request.headers["x-user"]`, "client.ip"} {
		a := splitOf(t, key, part{"a", 95}, part{long, 5}, part{"off", 0})
		x := request("192.0.2.7:1", "a.test", "/"+strings.Repeat("p", 200), "X-User: ann")
		if n := testing.AllocsPerRun(500, func() {
			if a.choose(x) == nil {
				t.Fatal("no backend")
			}
		}); n != 0 {
			t.Errorf("key %q: %v allocations, want 0", key, n)
		}
	}
}

func BenchmarkSplit(b *testing.B) {
	for name, key := range map[string]string{"drawn": "", "keyed": "request.path"} {
		b.Run(name, func(b *testing.B) {
			a := splitOf(b, key, part{"shop", 95}, part{"shop-next", 5})
			x := request("192.0.2.7:1", "a.test", "/checkout/7")
			b.ReportAllocs()
			for b.Loop() {
				a.choose(x)
			}
		})
	}
}
