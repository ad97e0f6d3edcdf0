package compose

import (
	"os"
	"testing"

	"github.com/sluice-gateway/sluice/internal/leak"
)

func TestMain(m *testing.M) {
	if os.Getenv(peerVariable) != "" {
		runPeer()
		return
	}
	leak.Main(m)
}
