package demo

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// issuer signs tokens for the customers of one run, as the bank's identity provider would (RFC 7519, RFC 8037). Its key is made anew in each run
// and is never written down. It is read-only once it is made.
type issuer struct {
	key     ed25519.PrivateKey
	keyID   string
	expires time.Time
}

// tokenLife is how long tokens of a run are good: longer than anybody watches it.
const tokenLife = 30 * 24 * time.Hour

func newIssuer() (*issuer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return &issuer{key: key, keyID: "this-run", expires: time.Now().Add(tokenLife)}, nil
}

// join returns a JSON Web Key Set with the issuer's public key behind those that it has.
func (i *issuer) join(set string) (string, error) {
	var all struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal([]byte(set), &all); err != nil {
		return "", err
	}
	public, _ := i.key.Public().(ed25519.PublicKey)
	all.Keys = append(all.Keys, json.RawMessage(fmt.Sprintf(
		`{"kty":"OKP","crv":"Ed25519","use":"sig","alg":"EdDSA","kid":%q,"x":%q}`, i.keyID, base64.RawURLEncoding.EncodeToString(public))))
	text, err := json.MarshalIndent(all, "", "  ")
	return string(text) + "\n", err
}

// token returns a customer's token in the form of the field Authorization.
func (i *issuer) token(account int) string {
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode(fmt.Appendf(nil, `{"alg":"EdDSA","typ":"JWT","kid":%q}`, i.keyID)) + "." + encode(fmt.Appendf(nil,
		`{"iss":"https://id.bank.example","aud":"bank-api","sub":%q,"roles":["customer"],"exp":%d}`, strconv.Itoa(account), i.expires.Unix()))
	return "Bearer " + signed + "." + encode(ed25519.Sign(i.key, []byte(signed)))
}
