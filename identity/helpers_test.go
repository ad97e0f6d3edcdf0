package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// at is the time of most tests.
var at = time.Unix(1_790_000_000, 0)

// signing is a key with its private half.
type signing struct {
	kid     string
	alg     Algorithm
	private crypto.Signer
}

// rsaOnce makes one RSA key for all tests: that takes long.
var rsaOnce = sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) })

// pass lets time go by in a bubble, until everybody has done what was due.
func pass(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
	synctest.Wait()
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newES256(kid string) *signing {
	return &signing{kid, ES256, must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
}

func newEd25519(kid string) *signing {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return &signing{kid, EdDSA, private}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// public returns the JWK, with members that replace its own; nil ones are left out.
func (s *signing) public(members map[string]any) string {
	m := map[string]any{"use": "sig"}
	if s.kid != "" {
		m["kid"] = s.kid
	}
	switch k := s.private.Public().(type) {
	case *rsa.PublicKey:
		m["kty"], m["n"], m["e"] = "RSA", b64(k.N.Bytes()), b64(big.NewInt(int64(k.E)).Bytes())
	case *ecdsa.PublicKey:
		point := must(k.Bytes())[1:]
		m["kty"], m["crv"] = "EC", k.Curve.Params().Name
		m["x"], m["y"] = b64(point[:len(point)/2]), b64(point[len(point)/2:])
	case ed25519.PublicKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", b64(k)
	}
	maps.Copy(m, members)
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	return string(must(json.Marshal(m)))
}

// jwks returns a key set.
func jwks(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

func setFrom(keys ...*signing) string {
	var list []string
	for _, k := range keys {
		list = append(list, k.public(nil))
	}
	return jwks(list...)
}

// sign signs bytes by an algorithm.
func (s *signing) sign(alg Algorithm, signed []byte) []byte {
	row := &algorithms[alg]
	switch k := s.private.(type) {
	case *rsa.PrivateKey:
		if row.family == familyPSS {
			return must(rsa.SignPSS(rand.Reader, k, row.hash, row.digest(signed), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))
		}
		return must(rsa.SignPKCS1v15(nil, k, row.hash, row.digest(signed)))
	case *ecdsa.PrivateKey:
		r, v, err := ecdsa.Sign(rand.Reader, k, row.digest(signed))
		if err != nil {
			panic(err)
		}
		signature := make([]byte, row.size)
		r.FillBytes(signature[:row.size/2])
		v.FillBytes(signature[row.size/2:])
		return signature
	case ed25519.PrivateKey:
		return ed25519.Sign(k, signed)
	}
	panic("no such key")
}

// token makes a token with the usual header.
func (s *signing) token(payload string) []byte {
	header := fmt.Sprintf(`{"alg":%q,"typ":"JWT"`, s.alg)
	if s.kid != "" {
		header += fmt.Sprintf(`,"kid":%q`, s.kid)
	}
	return s.raw(s.alg, header+"}", payload)
}

// raw makes a token with any header, signed by alg.
func (s *signing) raw(alg Algorithm, header, payload string) []byte {
	signed := []byte(b64([]byte(header)) + "." + b64([]byte(payload)))
	return []byte(string(signed) + "." + b64(s.sign(alg, signed)))
}

// hmacToken makes a token with an HMAC.
func hmacToken(secret []byte, header, payload string) []byte {
	signed := b64([]byte(header)) + "." + b64([]byte(payload))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	return []byte(signed + "." + b64(mac.Sum(nil)))
}

// claimsText returns a payload that is accepted, with members that replace its own; nil ones are left out.
func claimsText(members map[string]any) string {
	m := map[string]any{"iss": "https://id.bank.example", "aud": "bank-api", "sub": "alice", "exp": at.Unix() + 600, "iat": at.Unix()}
	maps.Copy(m, members)
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	return string(must(json.Marshal(m)))
}

// scripted is an issuer in memory.
type scripted struct {
	mu       sync.Mutex
	document string        // guarded by mu; "" is an issuer that is away
	delay    time.Duration // guarded by mu: how long an answer takes
	times    []time.Time   // guarded by mu: when it was asked
	active   int           // guarded by mu
	most     int           // guarded by mu: how many fetches there were at the same time
}

func (s *scripted) set(document string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.document = document
}

func (s *scripted) asked() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Time(nil), s.times...)
}

func (s *scripted) load(ctx context.Context) ([]byte, bool, error) {
	s.mu.Lock()
	s.times = append(s.times, time.Now())
	s.active++
	s.most = max(s.most, s.active)
	delay := s.delay
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.active--
		s.mu.Unlock()
	}()
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.document == "" {
		return nil, false, fmt.Errorf("the issuer is away")
	}
	return []byte(s.document), true, nil
}

// open opens Keys over the issuer, without jitter.
func (s *scripted) open(t testing.TB, o KeysOptions) *Keys {
	t.Helper()
	o.URL = "https://id.bank.example/jwks"
	k, err := openKeys(o.URL, o.withDefaults(), s.load, nil, func() float64 { return 0 })
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// keysOf returns Keys that have the document.
func keysOf(t testing.TB, document string) *Keys {
	t.Helper()
	k := (&scripted{document: document}).open(t, KeysOptions{})
	t.Cleanup(k.Close)
	<-k.First()
	if !k.Available() {
		t.Fatalf("the key set is not accepted: %+v", k.Status())
	}
	return k
}

// bankOptions are those of bank.yaml.
func bankOptions(k *Keys) VerifierOptions {
	return VerifierOptions{Keys: k, Issuer: "https://id.bank.example", Audiences: []string{"bank-api"}}
}

func newVerifier(t testing.TB, o VerifierOptions) *Verifier {
	t.Helper()
	v, err := NewVerifier(o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// expect verifies a token and compares the reason; ReasonNone expects an identity.
func expect(t testing.TB, v *Verifier, token []byte, now time.Time, want message.Reason) *message.Identity {
	t.Helper()
	id, refusal := v.Verify(token, now)
	got := message.ReasonNone
	if refusal != nil {
		got = refusal.Reason
	}
	if got != want || (id == nil) != (want != message.ReasonNone) {
		t.Errorf("%v %v, want %v: %.200s", got, refusal, want, token)
	}
	return id
}

// lines collects what is reported.
type lines struct {
	mu   sync.Mutex
	list []string // guarded by mu
}

func (l *lines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, line)
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.list...)
}

// writeFile replaces a file as a whole, as whoever takes care does.
func writeFile(t testing.TB, path, content string) string {
	t.Helper()
	next := path + ".new"
	if err := os.WriteFile(next, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func tempFile(t testing.TB, content string) string {
	t.Helper()
	return writeFile(t, filepath.Join(t.TempDir(), "file"), content)
}
