package examples

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwk"
)

// read returns a file of the examples.
func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestBankIsTheContract holds the bank to the text that was agreed on: its words are the vocabulary of every configuration.
func TestBankIsTheContract(t *testing.T) {
	for file, want := range map[string]string{
		"bank/bank.yaml":             "96bb048cbdc1ae1bfb5e13488e878a2942fc836532891f366b4400024c08ffa1",
		"bank/schemas/transfer.json": "77036f2cd449712d7b1f0308d038d20941456e7db007ffb9d66920ebc849cfcb",
	} {
		sum := sha256.Sum256(read(t, file))
		if got := hex.EncodeToString(sum[:]); got != want {
			t.Errorf("%s has SHA-256 %s, want %s", file, got, want)
		}
	}
}

// TestBankTokens verifies the tokens by the key set beside them, by other code than the gateway's, and that nothing in the set is private.
func TestBankTokens(t *testing.T) {
	set, err := jwk.Parse(read(t, "bank/certs/jwks.json"))
	if err != nil {
		t.Fatal(err)
	}
	if set.Len() != 2 {
		t.Errorf("%d keys, want 2", set.Len())
	}
	for i := range set.Len() {
		key, _ := set.Key(i)
		if private, err := jwk.IsPrivateKey(key); err != nil || private {
			t.Errorf("key %d is private, or no key: %v", i, err)
		}
	}
	century := time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, token := range []struct {
		file      string
		algorithm string
		subject   string
		role      string
		expires   time.Time
	}{
		{"customer", "ES256", "1001", "customer", century},
		{"clerk", "RS256", "1002", "clerk", century},
		{"expired", "ES256", "1001", "customer", time.Date(2025, 1, 1, 1, 0, 0, 0, time.UTC)},
	} {
		t.Run(token.file, func(t *testing.T) {
			parts := strings.Split(strings.TrimSuffix(string(read(t, "bank/tokens/"+token.file+".jwt")), "\n"), ".")
			if len(parts) != 3 {
				t.Fatalf("a token of %d parts", len(parts))
			}
			var header struct{ Alg, Kid, Typ string }
			if err := json.Unmarshal(decode(t, parts[0]), &header); err != nil {
				t.Fatal(err)
			}
			if header.Alg != token.algorithm || header.Typ != "JWT" {
				t.Errorf("header %+v, want the algorithm %s", header, token.algorithm)
			}
			key, ok := set.LookupKeyID(header.Kid)
			if !ok {
				t.Fatalf("no key has the id %q", header.Kid)
			}
			signature := decode(t, parts[2])
			if err := verify(key, parts[0]+"."+parts[1], signature); err != nil {
				t.Fatal(err)
			}
			signature[len(signature)/2] ^= 1 // one bit decides, or any token would do
			if verify(key, parts[0]+"."+parts[1], signature) == nil {
				t.Error("a signature that was changed verifies")
			}
			var claims struct {
				Issuer   string   `json:"iss"`
				Audience string   `json:"aud"`
				Subject  string   `json:"sub"`
				Roles    []string `json:"roles"`
				Expires  int64    `json:"exp"`
			}
			if err := json.Unmarshal(decode(t, parts[1]), &claims); err != nil {
				t.Fatal(err)
			}
			if claims.Issuer != "https://id.bank.example" || claims.Audience != "bank-api" || claims.Subject != token.subject ||
				!slices.Equal(claims.Roles, []string{token.role}) || claims.Expires != token.expires.Unix() {
				t.Errorf("claims %+v", claims)
			}
		})
	}
}

// decode returns what a part of a token says.
func decode(t *testing.T, part string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// verify checks a signature by ES256 or RS256 (RFC 7518 sections 3.3 and 3.4).
func verify(key jwk.Key, signed string, signature []byte) error {
	sum := sha256.Sum256([]byte(signed))
	var raw any
	if err := jwk.Export(key, &raw); err != nil {
		return err
	}
	switch public := raw.(type) {
	case *ecdsa.PublicKey:
		half := len(signature) / 2
		r, s := new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])
		if half == 32 && ecdsa.Verify(public, sum[:], r, s) {
			return nil
		}
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], signature)
	}
	return errors.New("the signature is not of this key")
}
