package identity

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// bank is an issuer with a key of each kind, and who trusts it.
type bank struct {
	rsa, ec, ed *signing
	keys        *Keys
	verifier    *Verifier
}

func newBank(t testing.TB) *bank {
	b := &bank{rsa: &signing{"r", RS256, rsaOnce()}, ec: newES256("e"), ed: newEd25519("o")}
	b.keys = keysOf(t, setFrom(b.rsa, b.ec, b.ed))
	b.verifier = newVerifier(t, bankOptions(b.keys))
	return b
}

// What RFC 8725 warns of, and what has been found in libraries since.
func TestAttacks(t *testing.T) {
	b := newBank(t)
	good := claimsText(nil)
	stranger := newES256("e")
	jwk := func(s *signing) string { return s.public(nil) }
	spki := must(x509.MarshalPKIXPublicKey(b.rsa.private.Public()))
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
	parts := func(token []byte) [][]byte { return bytes.Split(token, []byte(".")) }
	join := func(p ...[]byte) []byte { return bytes.Join(p, []byte(".")) }
	of := func(token []byte, signature []byte) []byte {
		p := parts(token)
		return join(p[0], p[1], []byte(b64(signature)))
	}
	fixed := func(r, s *big.Int) []byte {
		out := make([]byte, 64)
		r.FillBytes(out[:32])
		s.FillBytes(out[32:])
		return out
	}
	order := elliptic.P256().Params().N
	ecToken, rsaToken, edToken := b.ec.token(good), b.rsa.token(good), b.ed.token(good)
	for _, token := range [][]byte{ecToken, rsaToken, edToken} {
		expect(t, b.verifier, token, at, message.ReasonNone)
	}
	ecSignature, _ := decode(parts(ecToken)[2])
	r, s := new(big.Int).SetBytes(ecSignature[:32]), new(big.Int).SetBytes(ecSignature[32:])
	head := func(format string, args ...any) []byte { return b.ec.raw(ES256, fmt.Sprintf(format, args...), good) }
	none := func(alg string) []byte {
		return []byte(b64([]byte(fmt.Sprintf(`{"alg":%q,"kid":"e"}`, alg))) + "." + b64([]byte(good)) + ".")
	}

	for _, test := range []struct {
		name  string
		token []byte
		want  message.Reason
	}{
		{"alg none", none("none"), message.TokenInvalid},
		{"alg None", none("None"), message.TokenInvalid},
		{"alg nOnE", none("nOnE"), message.TokenInvalid},
		{"alg empty", none(""), message.TokenInvalid},
		{"alg none with a signature", b.ec.raw(ES256, `{"alg":"none","kid":"e"}`, good), message.TokenInvalid},
		{"no alg", b.ec.raw(ES256, `{"kid":"e"}`, good), message.TokenInvalid},
		{"alg a number", b.ec.raw(ES256, `{"alg":256,"kid":"e"}`, good), message.TokenInvalid},
		{"alg null", b.ec.raw(ES256, `{"alg":null,"kid":"e"}`, good), message.TokenInvalid},
		{"alg a list", b.ec.raw(ES256, `{"alg":["ES256"],"kid":"e"}`, good), message.TokenInvalid},
		{"alg in lower case", b.ec.raw(ES256, `{"alg":"es256","kid":"e"}`, good), message.TokenInvalid},
		{"Alg", b.ec.raw(ES256, `{"Alg":"ES256","kid":"e"}`, good), message.TokenInvalid},
		{"alg that is not listed", b.rsa.raw(RS512, `{"alg":"RS512","kid":"r"}`, good), message.TokenInvalid},

		{"HMAC with the public key as PEM", hmacToken(publicPEM, `{"alg":"HS256","kid":"r"}`, good), message.TokenInvalid},
		{"HMAC with the public key as DER", hmacToken(spki, `{"alg":"HS256","kid":"r"}`, good), message.TokenInvalid},
		{"HMAC with the JWK", hmacToken([]byte(jwk(b.rsa)), `{"alg":"HS256","kid":"r"}`, good), message.TokenInvalid},
		{"HMAC with nothing", hmacToken(nil, `{"alg":"HS256"}`, good), message.TokenInvalid},
		{"the key of another algorithm", b.rsa.raw(RS256, `{"alg":"RS256","kid":"e"}`, good), message.TokenInvalid},
		{"ES256 with an RSA key", b.ec.raw(ES256, `{"alg":"ES256","kid":"r"}`, good), message.TokenInvalid},
		{"EdDSA with an EC key", b.ed.raw(EdDSA, `{"alg":"EdDSA","kid":"e"}`, good), message.TokenInvalid},
		{"PS256 signature as RS256", b.rsa.raw(PS256, `{"alg":"RS256","kid":"r"}`, good), message.TokenInvalid},
		{"RS256 signature as PS256", b.rsa.raw(RS256, `{"alg":"PS256","kid":"r"}`, good), message.TokenInvalid},

		{"somebody else's key under a known kid", stranger.token(good), message.TokenInvalid},
		{"embedded jwk", stranger.raw(ES256, `{"alg":"ES256","kid":"e","jwk":`+jwk(stranger)+`}`, good), message.TokenInvalid},
		{"embedded jwk without kid", stranger.raw(ES256, `{"alg":"ES256","jwk":`+jwk(stranger)+`}`, good), message.TokenInvalid},
		{"jku", stranger.raw(ES256, `{"alg":"ES256","kid":"e","jku":"http://127.0.0.1:1/jwks"}`, good), message.TokenInvalid},
		{"x5u", stranger.raw(ES256, `{"alg":"ES256","kid":"e","x5u":"http://127.0.0.1:1/pem"}`, good), message.TokenInvalid},
		{"x5c", stranger.raw(ES256, `{"alg":"ES256","kid":"e","x5c":["MIIB"]}`, good), message.TokenInvalid},
		{"own jwk beside a right signature is not looked at", head(`{"alg":"ES256","kid":"e","jwk":%s}`, jwk(stranger)), message.ReasonNone},

		{"kid unknown", head(`{"alg":"ES256","kid":"x"}`), message.KeyUnknown},
		{"kid empty", head(`{"alg":"ES256","kid":""}`), message.KeyUnknown},
		{"kid a path", head(`{"alg":"ES256","kid":"../../dev/null"}`), message.KeyUnknown},
		{"kid SQL", head(`{"alg":"ES256","kid":"x' UNION SELECT 'e"}`), message.KeyUnknown},
		{"kid with NUL", head(`{"alg":"ES256","kid":"e\u0000"}`), message.KeyUnknown},
		{"kid in another case", head(`{"alg":"ES256","kid":"E"}`), message.KeyUnknown},
		{"kid a number", head(`{"alg":"ES256","kid":1}`), message.TokenInvalid},
		{"kid null", head(`{"alg":"ES256","kid":null}`), message.TokenInvalid},
		{"no kid", head(`{"alg":"ES256"}`), message.ReasonNone},

		{"crit unknown", head(`{"alg":"ES256","kid":"e","crit":["x"],"x":1}`), message.TokenInvalid},
		{"crit exp", head(`{"alg":"ES256","kid":"e","crit":["exp"],"exp":1}`), message.TokenInvalid},
		{"crit empty", head(`{"alg":"ES256","kid":"e","crit":[]}`), message.TokenInvalid},
		{"crit no list", head(`{"alg":"ES256","kid":"e","crit":"b64"}`), message.TokenInvalid},
		{"crit null", head(`{"alg":"ES256","kid":"e","crit":null}`), message.TokenInvalid},
		{"b64 false", head(`{"alg":"ES256","kid":"e","b64":false}`), message.TokenInvalid},
		{"b64 false, critical", head(`{"alg":"ES256","kid":"e","b64":false,"crit":["b64"]}`), message.TokenInvalid},
		{"b64 a string", head(`{"alg":"ES256","kid":"e","b64":"true"}`), message.TokenInvalid},
		{"b64 true", head(`{"alg":"ES256","kid":"e","b64":true}`), message.ReasonNone},
		{"zip", head(`{"alg":"ES256","kid":"e","zip":"DEF"}`), message.TokenInvalid},
		{"enc", head(`{"alg":"ES256","kid":"e","enc":"A256GCM"}`), message.TokenInvalid},
		{"nested", b.ec.raw(ES256, `{"alg":"ES256","kid":"e","cty":"JWT"}`, string(rsaToken)), message.TokenInvalid},
		{"nested, in lower case", head(`{"alg":"ES256","kid":"e","cty":"application/jwt"}`), message.TokenInvalid},
		{"nested without cty", b.ec.raw(ES256, `{"alg":"ES256","kid":"e"}`, string(rsaToken)), message.TokenInvalid},
		{"encrypted", []byte("eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..AAAA.AAAA.AAAA"), message.TokenInvalid},
		{"JSON form", []byte(`{"payload":"","signatures":[]}`), message.TokenInvalid},

		{"typ of a logout token", head(`{"alg":"ES256","kid":"e","typ":"logout+jwt"}`), message.TokenInvalid},
		{"typ of a proof of possession", head(`{"alg":"ES256","kid":"e","typ":"dpop+jwt"}`), message.TokenInvalid},
		{"typ of an access token", head(`{"alg":"ES256","kid":"e","typ":"at+jwt"}`), message.ReasonNone},
		{"typ as a media type", head(`{"alg":"ES256","kid":"e","typ":"application/AT+JWT"}`), message.ReasonNone},
		{"typ jwt", head(`{"alg":"ES256","kid":"e","typ":"jwt"}`), message.ReasonNone},
		{"typ a number", head(`{"alg":"ES256","kid":"e","typ":1}`), message.TokenInvalid},

		{"alg twice", head(`{"alg":"ES256","kid":"e","alg":"ES256"}`), message.TokenInvalid},
		{"alg twice, escaped", head(`{"alg":"ES256","kid":"e","\u0061lg":"none"}`), message.TokenInvalid},
		{"kid twice", head(`{"alg":"ES256","kid":"x","kid":"e"}`), message.TokenInvalid},
		{"a member twice below", head(`{"alg":"ES256","kid":"e","x":{"a":1,"a":2}}`), message.TokenInvalid},
		{"header no object", b.ec.raw(ES256, `["ES256"]`, good), message.TokenInvalid},
		{"header empty", b.ec.raw(ES256, ``, good), message.TokenInvalid},
		{"header goes on", b.ec.raw(ES256, `{"alg":"ES256","kid":"e"}x`, good), message.TokenInvalid},
		{"header with invalid UTF-8", b.ec.raw(ES256, "{\"alg\":\"ES256\",\"kid\":\"e\",\"x\":\"\xff\"}", good), message.TokenInvalid},
		{"header nested deeply", head(`{"alg":"ES256","kid":"e","x":%s%s}`, strings.Repeat("[", 100), strings.Repeat("]", 100)), message.TokenInvalid},
		{"sub twice", b.ec.raw(ES256, `{"alg":"ES256","kid":"e"}`, strings.Replace(good, "{", `{"sub":"mallory",`, 1)), message.TokenInvalid},
		{"a claim twice below", b.ec.token(`{"exp":9999999999,"a":{"b":1,"b":2}}`), message.TokenInvalid},

		{"no signature", of(ecToken, nil), message.TokenInvalid},
		{"zero signature (CVE-2022-21449)", of(ecToken, make([]byte, 64)), message.TokenInvalid},
		{"r zero", of(ecToken, fixed(new(big.Int), s)), message.TokenInvalid},
		{"s zero", of(ecToken, fixed(r, new(big.Int))), message.TokenInvalid},
		{"r and s the order", of(ecToken, fixed(order, order)), message.TokenInvalid},
		{"r short", of(ecToken, ecSignature[1:]), message.TokenInvalid},
		{"signature too long", of(ecToken, append([]byte{0}, ecSignature...)), message.TokenInvalid},
		{"signature in DER", of(ecToken, must(b.ec.private.Sign(nil, algorithms[ES256].digest([]byte("x")), algorithms[ES256].hash))), message.TokenInvalid},
		{"RSA signature zero", of(rsaToken, make([]byte, 256)), message.TokenInvalid},
		{"RSA signature one", of(rsaToken, append(make([]byte, 255), 1)), message.TokenInvalid},
		{"RSA signature empty", of(rsaToken, []byte{0}), message.TokenInvalid},
		{"Ed25519 signature zero", of(edToken, make([]byte, 64)), message.TokenInvalid},
		{"another payload", join(parts(ecToken)[0], []byte(b64([]byte(claimsText(map[string]any{"sub": "root"})))), parts(ecToken)[2]), message.TokenInvalid},
		{"the signature of another token", join(parts(ecToken)[0], parts(ecToken)[1], parts(edToken)[2]), message.TokenInvalid},

		{"padding", append(bytes.Clone(ecToken), '='), message.TokenInvalid},
		{"a line end", append(bytes.Clone(ecToken), '\n'), message.TokenInvalid},
		{"a line end within", bytes.Replace(ecToken, []byte("."), []byte("\r\n."), 1), message.TokenInvalid},
		{"a space before", append([]byte(" "), ecToken...), message.TokenInvalid},
		{"base64 of the other alphabet", []byte(strings.NewReplacer("-", "+", "_", "/").Replace(string(withSpecial(b.ec, good)))), message.TokenInvalid},
		{"unused bits set", unusedBits(ecToken), message.TokenInvalid},
		{"four parts", append(bytes.Clone(ecToken), ".x"...), message.TokenInvalid},
		{"two parts", join(parts(ecToken)[:2]...), message.TokenInvalid},
		{"dots", []byte(".."), message.TokenInvalid},
		{"one dot", []byte("."), message.TokenInvalid},
		{"NUL", []byte{0}, message.TokenInvalid},
		{"empty", nil, message.TokenMissing},

		{"issuer of somebody else", b.ec.token(claimsText(map[string]any{"iss": "https://id.other.example"})), message.IssuerWrong},
		{"issuer with a slash more", b.ec.token(claimsText(map[string]any{"iss": "https://id.bank.example/"})), message.IssuerWrong},
		{"no issuer", b.ec.token(claimsText(map[string]any{"iss": nil})), message.IssuerWrong},
		{"issuer a list", b.ec.token(claimsText(map[string]any{"iss": []string{"https://id.bank.example"}})), message.TokenInvalid},
		{"audience of another service", b.ec.token(claimsText(map[string]any{"aud": "other-api"})), message.AudienceWrong},
		{"audience that begins alike", b.ec.token(claimsText(map[string]any{"aud": "bank-api-2"})), message.AudienceWrong},
		{"no audience", b.ec.token(claimsText(map[string]any{"aud": nil})), message.AudienceWrong},
		{"audiences without ours", b.ec.token(claimsText(map[string]any{"aud": []string{"a", "b"}})), message.AudienceWrong},
		{"no audiences", b.ec.token(claimsText(map[string]any{"aud": []string{}})), message.AudienceWrong},
		{"audiences with a number", b.ec.token(claimsText(map[string]any{"aud": []any{"bank-api", 1}})), message.TokenInvalid},
		{"audience an object", b.ec.token(claimsText(map[string]any{"aud": map[string]any{"bank-api": 1}})), message.TokenInvalid},
		{"audience null", b.ec.raw(ES256, `{"alg":"ES256","kid":"e"}`, strings.Replace(good, `"bank-api"`, `null`, 1)), message.TokenInvalid},
		{"audiences with ours", b.ec.token(claimsText(map[string]any{"aud": []string{"a", "bank-api"}})), message.ReasonNone},
	} {
		t.Run(test.name, func(t *testing.T) { expect(t, b.verifier, test.token, at, test.want) })
	}
}

// withSpecial returns a token that has characters which the two alphabets write differently.
func withSpecial(s *signing, payload string) []byte {
	for {
		if token := s.token(payload); bytes.ContainsAny(token, "-_") {
			return token
		}
	}
}

// unusedBits sets a bit in the last character of the signature that means nothing: a decoder that is not strict takes this for the same token.
func unusedBits(token []byte) []byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	forged := bytes.Clone(token)
	last := &forged[len(forged)-1]
	*last = alphabet[strings.IndexByte(alphabet, *last)|1]
	return forged
}

// A secret that is known from a public key never verifies anything where signatures and HMACs are both accepted.
func TestSecretAndKeys(t *testing.T) {
	b := newBank(t)
	secret := bytes.Repeat([]byte("s3cret--"), 4)
	o := bankOptions(b.keys)
	o.Secret = secret
	v := newVerifier(t, o)
	good := claimsText(nil)
	expect(t, v, hmacToken(secret, `{"alg":"HS256"}`, good), at, message.ReasonNone)
	expect(t, v, hmacToken(secret, `{"alg":"HS256","kid":"e"}`, good), at, message.ReasonNone)
	expect(t, v, b.ec.token(good), at, message.ReasonNone)
	expect(t, v, hmacToken([]byte(b.rsa.public(nil)), `{"alg":"HS256","kid":"r"}`, good), at, message.TokenInvalid)
	expect(t, v, hmacToken(secret, `{"alg":"RS256","kid":"r"}`, good), at, message.TokenInvalid)
	expect(t, v, hmacToken(secret, `{"alg":"HS512"}`, good), at, message.TokenInvalid)
	expect(t, v, hmacToken(secret[:31], `{"alg":"HS256"}`, good), at, message.TokenInvalid)
}

// Each algorithm verifies what it has signed, and no other algorithm of its family does.
func TestAlgorithms(t *testing.T) {
	r := &signing{"r", RS256, rsaOnce()}
	ed := newEd25519("o")
	o := bankOptions(keysOf(t, setFrom(r, ed)))
	o.Algorithms = []Algorithm{RS256, RS384, RS512, PS256, PS384, PS512, EdDSA, Ed25519}
	o.Secret = bytes.Repeat([]byte("x"), 64)
	o.Algorithms = append(o.Algorithms, HS256, HS384, HS512)
	v := newVerifier(t, o)
	for _, signed := range []Algorithm{RS256, RS384, RS512, PS256, PS384, PS512} {
		for _, named := range []Algorithm{RS256, RS384, RS512, PS256, PS384, PS512} {
			want := message.TokenInvalid
			if named == signed {
				want = message.ReasonNone
			}
			expect(t, v, r.raw(signed, fmt.Sprintf(`{"alg":%q,"kid":"r"}`, named), claimsText(nil)), at, want)
		}
	}
	expect(t, v, ed.raw(EdDSA, `{"alg":"EdDSA","kid":"o"}`, claimsText(nil)), at, message.ReasonNone)
	expect(t, v, ed.raw(EdDSA, `{"alg":"Ed25519","kid":"o"}`, claimsText(nil)), at, message.ReasonNone)
	for _, name := range Algorithms() {
		if a, err := ParseAlgorithm(name); err != nil || a.String() != name {
			t.Errorf("%s is %v, %v", name, a, err)
		}
	}
	for _, name := range []string{"none", "", "rs256", "RS1", "ES256K", "HS256 "} {
		if a, err := ParseAlgorithm(name); err == nil || named([]byte(name)) != 0 {
			t.Errorf("%q is %v", name, a)
		}
	}
}

func TestNewVerifierRefuses(t *testing.T) {
	k := keysOf(t, setFrom(newES256("e")))
	long := bytes.Repeat([]byte("x"), 64)
	for _, test := range []struct {
		o    VerifierOptions
		want string
	}{
		{VerifierOptions{}, "nothing to verify"},
		{VerifierOptions{Keys: k, Algorithms: []Algorithm{HS256}}, "needs a secret"},
		{VerifierOptions{Secret: long, Algorithms: []Algorithm{RS256}}, "needs a key set"},
		{VerifierOptions{Secret: long[:31]}, "32 or more"},
		{VerifierOptions{Secret: long[:63], Algorithms: []Algorithm{HS512}}, "64 or more"},
		{VerifierOptions{Keys: k, Secret: long, Algorithms: []Algorithm{RS256}}, "not used"},
		{VerifierOptions{Keys: k, Algorithms: []Algorithm{0}}, "no algorithm"},
		{VerifierOptions{Keys: k, Algorithms: []Algorithm{200}}, "no algorithm"},
	} {
		if _, err := NewVerifier(test.o); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v, want %q", err, test.want)
		}
	}
}

// A token may be as large as MaxToken, and not a byte larger.
func TestTokenSize(t *testing.T) {
	b := newBank(t)
	size := func(n int) []byte { return b.ec.token(claimsText(map[string]any{"pad": strings.Repeat("x", n)})) }
	n := 0
	for step := 8 << 10; step > 0; step /= 2 {
		if len(size(n+step)) <= maxToken {
			n += step
		}
	}
	expect(t, b.verifier, size(n), at, message.ReasonNone)
	expect(t, b.verifier, size(n+4), at, message.TokenInvalid)
	if got := len(size(n)); got < maxToken-4 || got > maxToken {
		t.Fatalf("the largest token has %d bytes", got)
	}
	o := bankOptions(b.keys)
	o.MaxToken = 100
	expect(t, newVerifier(t, o), b.ec.token(claimsText(nil)), at, message.TokenInvalid)
}

// Keys that are too weak, or for something else, verify nothing, and do no harm to the others of their set.
func TestKeySets(t *testing.T) {
	r, e := &signing{"r", RS256, rsaOnce()}, newES256("e")
	with := func(s *signing, members map[string]any) string { return s.public(members) }
	n512 := b64(new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 512), big.NewInt(1)).Bytes())
	huge := b64(new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 9000), big.NewInt(1)).Bytes())
	for _, test := range []struct {
		name, key string
		keys      int    // usable ones beside e
		left      string // part of what is reported
	}{
		{"plain", with(r, nil), 1, ""},
		{"use sig, key_ops verify", with(r, map[string]any{"key_ops": []string{"verify"}}), 1, ""},
		{"alg that fits", with(r, map[string]any{"alg": "PS256"}), 1, ""},
		{"unknown members, certificates that are none", with(r, map[string]any{"x5c": []string{"!"}, "x5u": "http://127.0.0.1:1/", "iat": 1}), 1, ""},
		{"no kid", with(r, map[string]any{"kid": nil}), 1, ""},
		{"with its private half", with(r, map[string]any{"d": "AQAB", "p": "AQ"}), 1, ""},
		{"use enc", with(r, map[string]any{"use": "enc"}), 0, ""},
		{"key_ops encrypt", with(r, map[string]any{"key_ops": []string{"encrypt"}}), 0, ""},
		{"key_ops no list", with(r, map[string]any{"key_ops": "verify"}), 0, "key_ops"},
		{"alg of an encryption", with(r, map[string]any{"alg": "RSA-OAEP"}), 0, ""},
		{"alg of another kind", with(r, map[string]any{"alg": "ES256"}), 0, ""},
		{"alg a number", with(r, map[string]any{"alg": 1}), 0, "alg is no string"},
		{"alg none", with(r, map[string]any{"alg": "none"}), 0, ""},
		{"weak", with(r, map[string]any{"n": n512}), 0, "key 1 of the set is not used"},
		{"too large", with(r, map[string]any{"n": huge}), 0, "9000 bits"},
		{"exponent 1", with(r, map[string]any{"e": "AQ"}), 0, "key 1"},
		{"exponent 2", with(r, map[string]any{"e": "Ag"}), 0, "key 1"},
		{"no modulus", with(r, map[string]any{"n": nil}), 0, "n is missing"},
		{"not on the curve", with(newES256("x"), map[string]any{"x": b64(make([]byte, 32))}), 0, "key 1"},
		{"another curve", with(newES256("x"), map[string]any{"crv": "P-384"}), 0, "key 1"},
		{"secp256k1", with(newES256("x"), map[string]any{"crv": "secp256k1"}), 0, ""},
		{"X25519", with(newEd25519("x"), map[string]any{"crv": "X25519"}), 0, ""},
		{"Ed25519 too short", with(newEd25519("x"), map[string]any{"x": "AAAA"}), 0, "key 1"},
		{"symmetric", `{"kty":"oct","kid":"s","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T"}`, 0, "symmetric"},
		{"unknown kty", `{"kty":"PQC","kid":"s"}`, 0, ""},
		{"no kty", `{"kid":"s"}`, 0, ""},
		{"no object", `"key"`, 0, "no JSON object"},
		{"a member twice", `{"kty":"RSA","kty":"EC"}`, 0, "cannot be read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			set, left, err := parseJWKS([]byte(jwks(test.key, e.public(nil))))
			if test.name == "a member twice" {
				if err == nil || !strings.Contains(err.Error(), test.left) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil || len(set.keys) != test.keys+1 || (test.left == "") != (left == "") || !strings.Contains(left, test.left) {
				t.Fatalf("%d keys, left out %q, %v", len(set.keys), left, err)
			}
			v := newVerifier(t, bankOptions(keysOf(t, jwks(test.key, e.public(nil)))))
			expect(t, v, e.token(claimsText(nil)), at, message.ReasonNone)
		})
	}
}

// The alg of a key holds for the tokens that it verifies.
func TestKeyAlgorithm(t *testing.T) {
	r := &signing{"r", RS256, rsaOnce()}
	v := newVerifier(t, bankOptions(keysOf(t, jwks(r.public(map[string]any{"alg": "PS256"})))))
	expect(t, v, r.raw(PS256, `{"alg":"PS256","kid":"r"}`, claimsText(nil)), at, message.ReasonNone)
	expect(t, v, r.raw(RS256, `{"alg":"RS256","kid":"r"}`, claimsText(nil)), at, message.TokenInvalid)
}

func TestKeySetDocuments(t *testing.T) {
	e := newES256("e")
	many := make([]string, maxKeys+1)
	for i := range many {
		many[i] = `{"kty":"x"}`
	}
	for _, test := range []struct{ document, want string }{
		{jwks(e.public(nil)), ""},
		{" " + jwks(e.public(nil)) + "\n", ""},
		{`{"keys":[]}`, ""},
		{jwks(append(many[:maxKeys-1:maxKeys-1], e.public(nil))...), ""},
		{jwks(many...), "1001 keys"},
		{e.public(nil), `no member "keys"`},
		{``, "not well-formed"},
		{`null`, "no JSON object"},
		{`{"keys":null}`, "no JSON array"},
		{`{"keys":{}}`, "no JSON array"},
		{`{"keys":[],"keys":[]}`, "twice"},
		{jwks(`{"kty":"x"}`), "something else"},
		{jwks(`{"kty":"RSA"}`), "n is missing"},
		{jwks(e.public(nil)) + "x", "well-formed"},
		{`{"keys":[` + strings.Repeat("[", 100000), "nested"},
	} {
		set, _, err := parseJWKS([]byte(test.document))
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.100s: %v, want %q", test.document, err, test.want)
		}
		if (set == nil) != (err != nil) {
			t.Errorf("%.100s: %v with %v", test.document, set, err)
		}
	}
}

// Several keys may have one kid: the one that fits counts, whichever that is.
func TestDuplicateKid(t *testing.T) {
	r, e, f := &signing{"k", RS256, rsaOnce()}, newES256("k"), newES256("k")
	v := newVerifier(t, bankOptions(keysOf(t, setFrom(r, e, f, e))))
	for _, s := range []*signing{r, e, f} {
		expect(t, v, s.token(claimsText(nil)), at, message.ReasonNone)
	}
	expect(t, v, newES256("k").token(claimsText(nil)), at, message.TokenInvalid)
	if n := v.options.Keys.Status().Keys; n != 3 {
		t.Errorf("%d keys", n)
	}
}

// A token without a kid is tried with so many keys and no more.
func TestTries(t *testing.T) {
	var list []*signing
	for range maxTries + 2 {
		list = append(list, newES256(""))
	}
	v := newVerifier(t, bankOptions(keysOf(t, setFrom(list...))))
	expect(t, v, list[maxTries-1].token(claimsText(nil)), at, message.ReasonNone)
	expect(t, v, list[maxTries].token(claimsText(nil)), at, message.TokenInvalid)
}

func TestRefusalText(t *testing.T) {
	b := newBank(t)
	_, refusal := b.verifier.Verify([]byte("secret.secret.secret"), at)
	if text := refusal.Error(); !strings.HasPrefix(text, "token_invalid: ") || strings.Contains(text, "secret") {
		t.Errorf("%q", text)
	}
	if !json.Valid([]byte(claimsText(nil))) {
		t.Error("the claims of the tests are no JSON")
	}
}
