package bank

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"testing"
	"time"
)

// issuer signs tokens as the bank's does, with a key of the test. It shares no line with the product.
type issuer struct {
	t   testing.TB
	key *ecdsa.PrivateKey
	kid string

	signatures []string // of all tokens so far
}

// claims are what a token says.
type claims map[string]any

func newIssuer(t testing.TB, kid string) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{t: t, key: key, kid: kid}
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// keySet returns the JSON Web Key Set of the issuer.
func (i *issuer) keySet() string {
	public, err := i.key.PublicKey.ECDH()
	if err != nil {
		i.t.Fatal(err)
	}
	point := public.Bytes() // 4, x, y
	return fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":%q,"x":%q,"y":%q}]}`, i.kid, encode(point[1:33]), encode(point[33:]))
}

// sign returns a token with these claims, which replace those of a good one; nil takes a claim away.
func (i *issuer) sign(changes claims) string {
	all := claims{
		"iss": "https://id.bank.example", "aud": "bank-api", "sub": "7", "roles": []string{"customer"}, "exp": time.Now().Add(time.Hour).Unix(),
	}
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	payload, err := json.Marshal(all)
	if err != nil {
		i.t.Fatal(err)
	}
	return i.seal(fmt.Sprintf(`{"alg":"ES256","typ":"JWT","kid":%q}`, i.kid), string(payload))
}

// seal signs a header and a payload as they stand.
func (i *issuer) seal(header, payload string) string {
	text := encode([]byte(header)) + "." + encode([]byte(payload))
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, sum[:])
	if err != nil {
		i.t.Fatal(err)
	}
	signature := encode(append(fixed(r), fixed(s)...))
	i.signatures = append(i.signatures, signature)
	return text + "." + signature
}

func fixed(n *big.Int) []byte { return n.FillBytes(make([]byte, 32)) }

// customer returns a good token of a customer.
func (i *issuer) customer(sub string) string { return i.sign(claims{"sub": sub}) }
