package identity

import (
	_ "embed"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// vectors are the examples of the RFCs: tokens, and the keys that verify them.
//
//go:embed testdata/vectors.json
var vectors []byte

type vector struct {
	Source string
	Key    map[string]string
	Token  string
}

func readVectors(t testing.TB) []vector {
	t.Helper()
	var list []vector
	if err := json.Unmarshal(vectors, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

// verifier returns one that knows the key of the example, and accepts all algorithms.
func (v *vector) verifier(t testing.TB) *Verifier {
	t.Helper()
	o := VerifierOptions{Leeway: -1}
	if v.Key["kty"] == "oct" {
		secret, ok := decode([]byte(v.Key["k"]))
		if !ok {
			t.Fatal("the secret is not base64url")
		}
		o.Secret = secret
	} else {
		key := v.Key
		if key == nil {
			key = map[string]string{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
		}
		o.Keys = keysOf(t, jwks(string(must(json.Marshal(key)))))
		o.Algorithms = []Algorithm{RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA}
	}
	return newVerifier(t, o)
}

// Examples whose payload are claims are verified as a whole, a moment before they expire and at that moment; the others have to get as far as their
// payload, which is behind the signature; and those without a signature get nowhere.
func TestVectors(t *testing.T) {
	expiry := time.Unix(1300819380, 0)
	for _, v := range readVectors(t) {
		t.Run(v.Source, func(t *testing.T) {
			verifier := v.verifier(t)
			before := expiry.Add(-time.Nanosecond)
			id, refusal := verifier.Verify([]byte(v.Token), before)
			payload, _ := decode([]byte(strings.Split(v.Token, ".")[1]))
			switch {
			case v.Key == nil:
				if refusal == nil || refusal.Reason != message.TokenInvalid {
					t.Errorf("what is not signed: %v", refusal)
				}
				return
			case !strings.HasPrefix(string(payload), "{"):
				if refusal == nil || !strings.HasPrefix(refusal.Detail, "its payload") {
					t.Errorf("the signature was not accepted: %v", refusal)
				}
			case refusal != nil:
				t.Fatalf("refused: %v", refusal)
			default:
				if string(id.Raw) != string(payload) || string(id.Claim("exp").Raw) != "1300819380" || string(id.Claim("http://example.com/is_root").Raw) != "true" {
					t.Errorf("claims %+v", id)
				}
				expect(t, verifier, []byte(v.Token), expiry, message.TokenExpired)
			}
			forgeries(t, &v, verifier, before)
		})
	}
}

// forgeries changes each character of the token: none of these is accepted.
func forgeries(t *testing.T, v *vector, verifier *Verifier, now time.Time) {
	t.Helper()
	step := 1
	if len(v.Token) > 400 {
		step = 7 // RSA: enough of them
	}
	for i := 0; i < len(v.Token); i += step {
		for _, c := range []byte{'A', 'B', '_', '.', '=', '\n'} {
			if v.Token[i] == c {
				continue
			}
			forged := []byte(v.Token)
			forged[i] = c
			if _, refusal := verifier.Verify(forged, now); refusal == nil || strings.HasPrefix(refusal.Detail, "its payload: ") {
				t.Fatalf("accepted with %q at %d: %s", c, i, forged)
			}
		}
	}
}
