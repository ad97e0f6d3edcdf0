//go:build !race

package compose

import (
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/upstream"
)

// TestAllocations: a composition allocates nothing once everything has its size, neither for steps side by side nor for those that follow each other.
func TestAllocations(t *testing.T) {
	text := `{"id":"7","currency":"EUR","items":[1,2,3],"x":"` + strings.Repeat("x", 1000) + `"}`
	o := testnet.NewOrigin(t, func(c *testnet.OriginConn) { testnet.Respond(c.Conn, []byte(ok(text, "Cache-Control: max-age=5"))) })
	for _, tc := range []struct{ name, compose string }{
		{"side by side", sideBySide},
		{"one after the other", oneAfterTheOther},
		{"elements", elementsOfList},
	} {
		t.Run(tc.name, func(t *testing.T) {
			reg := metric.NewRegistry(metric.Options{})
			scope := reg.Scope()
			defer scope.Release()
			p := planWith(t, tc.compose, scope, func(string) *upstream.Backend { return backend(t, o.Addr, nil) })
			x := new(message.Exchange)
			x.Reset()
			fields := []string{"Host: example.test", "Accept-Language: de", "User-Agent: test", "X-Request-Id: 1", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: http"}
			run := func() { once(t, p, x, fields) }
			for range 50 {
				run()
			}
			if n := testing.AllocsPerRun(300, run); n > 0 {
				t.Errorf("%v allocations for each composition, want 0", n)
			}
		})
	}
}
