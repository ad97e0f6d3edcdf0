package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"math/big"
	"slices"
)

// Algorithm is a signature algorithm of JWS (RFC 7518 section 3, RFC 8037, RFC 9864). There is none for "none".
type Algorithm uint8

// The algorithms. EdDSA and Ed25519 are two names of one.
const (
	RS256 Algorithm = iota + 1
	RS384
	RS512
	PS256
	PS384
	PS512
	ES256
	ES384
	ES512
	EdDSA
	Ed25519
	HS256
	HS384
	HS512

	algorithmEnd
)

// family is what an algorithm needs of a key.
type family uint8

const (
	familyRSA family = iota + 1
	familyPSS
	familyECDSA
	familyEdDSA
	familyHMAC
)

type algorithmRow struct {
	name   string
	family family
	hash   crypto.Hash
	curve  string // crv of the key
	size   int    // bytes of a signature, 0 where the key says
}

// algorithms has a row for each Algorithm. Read-only.
var algorithms = [algorithmEnd]algorithmRow{
	RS256:   {"RS256", familyRSA, crypto.SHA256, "", 0},
	RS384:   {"RS384", familyRSA, crypto.SHA384, "", 0},
	RS512:   {"RS512", familyRSA, crypto.SHA512, "", 0},
	PS256:   {"PS256", familyPSS, crypto.SHA256, "", 0},
	PS384:   {"PS384", familyPSS, crypto.SHA384, "", 0},
	PS512:   {"PS512", familyPSS, crypto.SHA512, "", 0},
	ES256:   {"ES256", familyECDSA, crypto.SHA256, "P-256", 64},
	ES384:   {"ES384", familyECDSA, crypto.SHA384, "P-384", 96},
	ES512:   {"ES512", familyECDSA, crypto.SHA512, "P-521", 132},
	EdDSA:   {"EdDSA", familyEdDSA, 0, "Ed25519", ed25519.SignatureSize},
	Ed25519: {"Ed25519", familyEdDSA, 0, "Ed25519", ed25519.SignatureSize},
	HS256:   {"HS256", familyHMAC, crypto.SHA256, "", sha256.Size},
	HS384:   {"HS384", familyHMAC, crypto.SHA384, "", sha512.Size384},
	HS512:   {"HS512", familyHMAC, crypto.SHA512, "", sha512.Size},
}

// String returns the name that headers of tokens use.
func (a Algorithm) String() string {
	if a < algorithmEnd {
		return algorithms[a].name
	}
	return ""
}

// Symmetric reports whether whoever can verify a signature can also make one.
func (a Algorithm) Symmetric() bool { return a < algorithmEnd && algorithms[a].family == familyHMAC }

// ParseAlgorithm returns the algorithm of that name, exactly as RFC 7518 writes it.
func ParseAlgorithm(name string) (Algorithm, error) {
	for a := RS256; a < algorithmEnd; a++ {
		if algorithms[a].name == name {
			return a, nil
		}
	}
	return 0, fmt.Errorf("unknown algorithm %q: write one of %v", name, Algorithms())
}

// Algorithms returns the names of all algorithms.
func Algorithms() []string {
	list := make([]string, 0, algorithmEnd)
	for a := RS256; a < algorithmEnd; a++ {
		list = append(list, algorithms[a].name)
	}
	return list
}

// algorithmSet has a bit for each Algorithm.
type algorithmSet uint32

func (s algorithmSet) has(a Algorithm) bool { return s>>a&1 != 0 }

func setOf(list ...Algorithm) algorithmSet {
	var s algorithmSet
	for _, a := range list {
		s |= 1 << a
	}
	return s
}

// named returns the algorithm that a token's header names, or 0.
func named(text []byte) Algorithm {
	i := slices.IndexFunc(algorithms[:], func(row algorithmRow) bool { return row.name != "" && row.name == string(text) })
	return Algorithm(max(i, 0))
}

// fitting returns the algorithms that a public key can verify. The key decides this, not the token: that an RSA key is no HMAC secret
// (RFC 8725 section 3.1) and that a curve belongs to one algorithm (RFC 7518 section 3.4) cannot be got around.
func fitting(public crypto.PublicKey) algorithmSet {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return setOf(RS256, RS384, RS512, PS256, PS384, PS512)
	case *ecdsa.PublicKey:
		for _, a := range []Algorithm{ES256, ES384, ES512} {
			if k.Curve.Params().Name == algorithms[a].curve {
				return setOf(a)
			}
		}
	case ed25519.PublicKey:
		return setOf(EdDSA, Ed25519)
	}
	return 0
}

// digest returns the hash of what was signed.
func (r *algorithmRow) digest(signed []byte) []byte {
	switch r.hash {
	case crypto.SHA256:
		sum := sha256.Sum256(signed)
		return sum[:]
	case crypto.SHA384:
		sum := sha512.Sum384(signed)
		return sum[:]
	default:
		sum := sha512.Sum512(signed)
		return sum[:]
	}
}

// verify reports whether signature is that of signed. The standard library verifies; the form of a signature is checked here, since two forms of one
// signature would be two tokens (RFC 7518 section 3.4).
func (a Algorithm) verify(public crypto.PublicKey, signed, signature []byte) bool {
	row := &algorithms[a]
	if row.size != 0 && len(signature) != row.size {
		return false
	}
	switch k := public.(type) {
	case *rsa.PublicKey:
		switch row.family {
		case familyRSA:
			return rsa.VerifyPKCS1v15(k, row.hash, row.digest(signed), signature) == nil
		case familyPSS: // the salt is as long as the hash: RFC 7518 section 3.5
			return rsa.VerifyPSS(k, row.hash, row.digest(signed), signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
	case *ecdsa.PublicKey:
		if row.family == familyECDSA {
			r, s := new(big.Int).SetBytes(signature[:row.size/2]), new(big.Int).SetBytes(signature[row.size/2:])
			return ecdsa.Verify(k, row.digest(signed), r, s) // refuses 0 and what is not below the order
		}
	case ed25519.PublicKey:
		return row.family == familyEdDSA && ed25519.Verify(k, signed, signature)
	}
	return false
}

// authenticate reports whether signature is the HMAC of signed, in constant time.
func (a Algorithm) authenticate(secret, signed, signature []byte) bool {
	if !a.Symmetric() {
		return false
	}
	mac := hmac.New(algorithms[a].hash.New, secret)
	mac.Write(signed)
	return hmac.Equal(mac.Sum(nil), signature)
}
