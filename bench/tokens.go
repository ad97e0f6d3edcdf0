package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"runtime"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/bench/peer"
)

// tokenBits is the size of the RSA key that tokens are signed with (RS256), the least that is still allowed and what most issuers have.
const tokenBits = 2048

// freshTokens is how many tokens the jwt row has that are not known when they come: more than Sluice has memory for, in turn. TestFreshTokensAreForgotten holds it.
const freshTokens = 28000

// issuer signs tokens as an OpenID provider does.
type issuer struct {
	key *rsa.PrivateKey
	now time.Time
}

func newIssuer() (*issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, tokenBits)
	if err != nil {
		return nil, fmt.Errorf("key of the tokens: %w", err)
	}
	return &issuer{key, time.Now()}, nil
}

// keySet is the issuer's JSON Web Key Set.
func (i *issuer) keySet() ([]byte, error) {
	e := big.NewInt(int64(i.key.E)).Bytes()
	return json.Marshal(map[string]any{"keys": []map[string]string{{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "bench",
		"n": base64.RawURLEncoding.EncodeToString(i.key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(e),
	}}})
}

// token is the n-th token: of another customer than all others, with the claims that Keycloak puts into an access token, good for a day.
func (i *issuer) token(n int) (string, error) {
	name := fmt.Sprintf("customer-%08d", n)
	claims, err := json.Marshal(map[string]any{
		"iss": peer.Issuer, "aud": peer.Audience, "sub": name, "jti": fmt.Sprintf("onrtac:4f1c2b7e-9d55-4c83-8a17-%012d", n), "typ": "Bearer",
		"iat": i.now.Unix(), "nbf": i.now.Unix(), "exp": i.now.Add(24 * time.Hour).Unix(), "auth_time": i.now.Unix(),
		"azp": "mobile-app", "sid": fmt.Sprintf("b0a6f1e2-31d7-4a55-9c0e-%012d", n), "acr": "1", "scope": "openid profile email accounts:read transfers:write",
		"allowed-origins": []string{"https://app.bank.example"},
		"realm_access":    map[string]any{"roles": []string{"customer", "offline_access", "uma_authorization", "default-roles-bank"}},
		"resource_access": map[string]any{"account": map[string]any{"roles": []string{"manage-account", "manage-account-links", "view-profile"}}},
		"email_verified":  true, "name": "Erika Mustermann", "preferred_username": name, "given_name": "Erika", "family_name": "Mustermann",
		"email": name + "@bank.example", "locale": "de-CH",
	})
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","typ":"JWT","kid":"bench"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(nil, i.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// tokens are the first n tokens. Signing is slow, so all processors do it.
func (i *issuer) tokens(n int) ([]string, error) {
	list, workers := make([]string, n), runtime.GOMAXPROCS(0)
	failures := make([]error, workers)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for k := w; k < n && failures[w] == nil; k += workers {
				list[k], failures[w] = i.token(k)
			}
		})
	}
	all.Wait()
	return list, errors.Join(failures...)
}

// consumerKey is the API key of the n-th consumer.
func consumerKey(n int) string { return fmt.Sprintf("bench-%04d-1f9b6c0de4a57382", n) }

// consumers are the first n consumers, each with its key.
func consumers(n int) []peer.Consumer {
	list := make([]peer.Consumer, n)
	for i := range list {
		sum := sha256.Sum256([]byte(consumerKey(i)))
		list[i] = peer.Consumer{Name: fmt.Sprintf("app-%04d", i), Hash: hex.EncodeToString(sum[:])}
	}
	return list
}
