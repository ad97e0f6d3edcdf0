package identity

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// benchToken returns a token of about the size that issuers make.
func benchToken(s *signing) []byte {
	return s.token(claimsText(map[string]any{"scope": "openid profile accounts transfers", "azp": "mobile-app", "jti": "0b1f7c1e-5a1c-4b5e-9a59-3f7d3c1f2a11",
		"roles": []string{"customer", "premium"}, "sid": "7d0f6f2c-55a4-4a4e-8f43-2f5f6f3b6c11", "name": "Alice Example", "locale": "en-GB"}))
}

func BenchmarkToken(b *testing.B) {
	bank := newBank(b)
	cold := bankOptions(bank.keys)
	cold.CacheBytes = -1
	for _, s := range []*signing{bank.rsa, bank.ec, bank.ed} {
		token := benchToken(s)
		warm := newVerifier(b, bankOptions(bank.keys))
		warm.Verify(token, at)
		b.Run(s.alg.String()+"/cached", func(b *testing.B) {
			b.SetBytes(int64(len(token)))
			for b.Loop() {
				if warm.Cached(token, time.Unix(1_790_000_000, 0)) == nil {
					b.Fatal("not known")
				}
			}
		})
		none := newVerifier(b, cold)
		b.Run(s.alg.String()+"/verified", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if id, refusal := none.Verify(token, at); id == nil {
					b.Fatal(refusal)
				}
			}
		})
	}
}

func BenchmarkCachedParallel(b *testing.B) {
	bank := newBank(b)
	v := bank.verifier
	var tokens [1024][]byte
	for i := range tokens {
		tokens[i] = bank.ed.token(claimsText(map[string]any{"jti": fmt.Sprint(i)}))
		v.Verify(tokens[i], at)
	}
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if v.Cached(tokens[i%len(tokens)], at) == nil {
				b.Error("not known")
				return
			}
		}
	})
}

func BenchmarkAPIKey(b *testing.B) {
	s, ids := keySetOf(b, 10_000)
	key := []byte("key-5000")
	var id *message.Identity
	for b.Loop() {
		id = s.Find(key)
	}
	if id != ids[5000] {
		b.Fatal("not found")
	}
}

func BenchmarkPassword(b *testing.B) {
	p, _ := openPasswords(b, "alice:"+bcryptOf("correct horse"), PasswordsOptions{})
	name, password := []byte("alice"), []byte("correct horse")
	p.Check(name, password, at)
	b.Run("cached", func(b *testing.B) {
		for b.Loop() {
			if p.Cached(name, password, at) == nil {
				b.Fatal("not known")
			}
		}
	})
}

func BenchmarkCertificate(b *testing.B) {
	root := issue(nil, nil)
	client := chain(issue(root, nil))
	for name, bytes := range map[string]int64{"cached": 0, "verified": -1} {
		a, _ := openAuthorities(b, root.pem(), AuthoritiesOptions{CacheBytes: bytes})
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if id, refusal := a.Verify(client, at); id == nil {
					b.Fatal(refusal)
				}
			}
		})
	}
}
