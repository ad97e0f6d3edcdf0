package limit

import (
	"testing"

	"github.com/sluice-gateway/sluice/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }
