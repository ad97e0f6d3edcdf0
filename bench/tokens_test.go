package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/bench/peer"
	"github.com/sluice-gateway/sluice/identity"
	"github.com/sluice-gateway/sluice/metric"
)

// testVerifier verifies the tokens of an issuer as the jwt policy does, but for the memory that it has for known ones.
func testVerifier(t *testing.T, i *issuer, memory int64, metrics identity.CacheMetrics) *identity.Verifier {
	t.Helper()
	set, err := i.keySet()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, set, 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := identity.OpenKeys(identity.KeysOptions{File: file})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keys.Close)
	v, err := identity.NewVerifier(identity.VerifierOptions{Keys: keys, Issuer: peer.Issuer, Audiences: []string{peer.Audience}, CacheBytes: memory, Cache: metrics})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestFreshTokensAreForgotten holds what row jwt says: of so many tokens none is known any more when its turn comes again. Here are a fiftieth of the tokens and of the memory.
func TestFreshTokensAreForgotten(t *testing.T) {
	const share = 50
	const memory = 32 << 20 // the default of identity.VerifierOptions, which the policy leaves as it is
	i, err := newIssuer()
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := i.tokens(freshTokens / share)
	if err != nil {
		t.Fatal(err)
	}
	hits := metric.NewCounter(1)
	v := testVerifier(t, i, memory/share, identity.CacheMetrics{Hits: hits})
	for range 3 {
		for n, token := range tokens {
			id, refusal := v.Verify([]byte(token), time.Now())
			if refusal != nil {
				t.Fatalf("token %d: %v", n, refusal.Detail)
			}
			if want := fmt.Sprintf("customer-%08d", n); !strings.Contains(string(id.Raw), want) {
				t.Errorf("token %d is of %s, want %s", n, id.Raw, want)
			}
		}
	}
	if n := hits.Value(); n > uint64(len(tokens)/50) {
		t.Errorf("%d of %d tokens were known when they came again", n, 2*len(tokens))
	}
	// One that comes again and again is known soon: at its first coming it may have found its place in the table taken by others that were just used.
	for range 10 {
		if _, refusal := v.Verify([]byte(tokens[len(tokens)-1]), time.Now()); refusal != nil {
			t.Fatal(refusal.Detail)
		}
	}
	if hits.Value() == 0 {
		t.Error("a token that comes ten times is never known")
	}
}

func TestConsumersAreToldApart(t *testing.T) {
	seen := map[string]bool{}
	for i, c := range consumers(100) {
		if seen[c.Name] || seen[c.Hash] || len(c.Hash) != 64 || seen[consumerKey(i)] {
			t.Errorf("consumer %d: %+v", i, c)
		}
		seen[c.Name], seen[c.Hash], seen[consumerKey(i)] = true, true, true
	}
}
