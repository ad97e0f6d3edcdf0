// Package bank runs the bank's configuration, examples/bank/bank.yaml, as it stands: only addresses, files and dates are replaced. Its tests look at
// everything from outside: raw bytes go in, and what is looked at is what clients get and every byte that reached a backend. Each answer that the gateway
// gives to a test is searched for what no answer may tell, see [bank.ask].
package bank

import (
	"testing"

	"github.com/sluice-gateway/sluice/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }
