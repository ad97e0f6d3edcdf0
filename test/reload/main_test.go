// Package reload holds the tests of a gateway that changes and ends under load: reloads, restarts of backends, drains, and the command with its signals
// and its exit codes.
package reload

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/sluice-gateway/sluice/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// freeAddress returns a loopback address that nobody listens on. Its port is below those that the system gives to outgoing connections, so that
// none of this test takes it while its listener is away.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(10_000))
		ln, err := net.Listen("tcp", address)
		if err == nil {
			_ = ln.Close()
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}
