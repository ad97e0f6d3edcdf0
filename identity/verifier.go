package identity

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// DefaultLeeway is by how much the clocks of an issuer and of the gateway may differ.
const DefaultLeeway = 30 * time.Second

// maxTries bounds how many keys a token without a kid, or with one that several keys have, is tried with.
const maxTries = 8

// VerifierOptions say which tokens are accepted.
type VerifierOptions struct {
	// Keys verify signatures, Secret the HMACs (HS256 and so on) of whoever shares it; at least one of them is there. The owner of the Keys closes them.
	Keys   *Keys
	Secret []byte
	// Algorithms that are accepted. Without any: RS256, PS256, ES256 and EdDSA with Keys, HS256 with a Secret.
	Algorithms []Algorithm
	// Issuer that the token must be of, and audiences one of which it must be for. Empty ones are not looked at.
	Issuer    string
	Audiences []string
	// Leeway for exp and nbf; 0 means DefaultLeeway, a negative one none.
	Leeway time.Duration
	// Require names claims that must be there; nil means exp, an empty list nothing.
	Require []string
	// Types are the values of typ in the header that are accepted; a token without it always is, unless NeedType. Without any: JWT, JOSE and at+jwt,
	// so that the other tokens of an issuer (of a logout, of a proof of possession) are no access tokens: RFC 8725 section 3.11.
	Types    []string
	NeedType bool
	// MaxToken bounds the bytes of a token; 0 means 16 KiB.
	MaxToken int
	// CacheBytes bounds the memory of verified tokens; 0 means 32 MiB, a negative number none.
	CacheBytes int64
	Cache      CacheMetrics
	// Attach is given the identity of each token when it was verified, before anybody else sees it: it may set Consumer and Plan. May be nil; called by
	// any goroutine, several at a time.
	Attach func(*message.Identity)
}

// Verifier verifies tokens: JWTs (RFC 7519) in the compact form of JWS, by the rules of RFC 8725. All methods may be called by any goroutine.
type Verifier struct {
	options VerifierOptions
	accepts algorithmSet
	secret  source // of the entries that rest on the secret: never retired
	cache   *cache
}

// NewVerifier checks the options. The slices in them must not be changed afterwards.
func NewVerifier(o VerifierOptions) (*Verifier, error) {
	if o.Keys == nil && len(o.Secret) == 0 {
		return nil, errors.New("there is nothing to verify tokens by: give a key set or a secret")
	}
	if len(o.Algorithms) == 0 {
		if o.Keys != nil {
			o.Algorithms = append(o.Algorithms, RS256, PS256, ES256, EdDSA)
		}
		if len(o.Secret) > 0 {
			o.Algorithms = append(o.Algorithms, HS256)
		}
	}
	for _, a := range o.Algorithms {
		switch {
		case a.String() == "":
			return nil, fmt.Errorf("there is no algorithm number %d", a)
		case a.Symmetric() && len(o.Secret) == 0:
			return nil, fmt.Errorf("the algorithm %v needs a secret", a)
		case a.Symmetric() && len(o.Secret) < algorithms[a].size: // RFC 7518 section 3.2
			return nil, fmt.Errorf("the secret has %d bytes, and %v needs %d or more that cannot be guessed", len(o.Secret), a, algorithms[a].size)
		case !a.Symmetric() && o.Keys == nil:
			return nil, fmt.Errorf("the algorithm %v needs a key set", a)
		}
	}
	if len(o.Secret) > 0 && !slices.ContainsFunc(o.Algorithms, Algorithm.Symmetric) {
		return nil, errors.New("the secret is not used: list HS256, HS384 or HS512 among the algorithms")
	}
	return &Verifier{options: o.withDefaults(), accepts: setOf(o.Algorithms...), cache: newCache(o.CacheBytes, o.Cache)}, nil
}

func (o VerifierOptions) withDefaults() VerifierOptions {
	if o.Leeway == 0 {
		o.Leeway = DefaultLeeway
	}
	o.Leeway = max(o.Leeway, 0)
	if o.Require == nil {
		o.Require = []string{"exp"}
	}
	if len(o.Types) == 0 {
		o.Types = []string{"JWT", "JOSE", "at+jwt"}
	}
	if o.MaxToken <= 0 {
		o.MaxToken = maxToken
	}
	if o.Attach == nil {
		o.Attach = func(*message.Identity) {}
	}
	return o
}

// Cached returns the identity of a token that was verified before and still is good at the moment, or nil. It neither waits nor allocates.
func (v *Verifier) Cached(token []byte, now time.Time) *message.Identity {
	if len(token) > v.options.MaxToken {
		return nil
	}
	return v.cache.get(token, now.UnixNano())
}

// Stats returns what is remembered of verified tokens.
func (v *Verifier) Stats() CacheStats { return v.cache.stats() }

// Degraded returns why tokens cannot be verified as they should be, as [Keys.Degraded] does.
func (v *Verifier) Degraded() string {
	if v.options.Keys == nil {
		return ""
	}
	return v.options.Keys.Degraded()
}

// Verify returns who the token is of, or why it is refused. A token whose key is not known may wait for the issuer, at most for the timeout of the
// Keys; so an exchange calls it within Await. The identity is shared by all requests with the token, and must not be changed.
func (v *Verifier) Verify(token []byte, now time.Time) (*message.Identity, *Refusal) {
	switch {
	case len(token) == 0:
		return nil, refusedMissing
	case len(token) > v.options.MaxToken:
		return nil, refusedLarge
	}
	at := now.UnixNano()
	if id := v.cache.get(token, at); id != nil {
		return id, nil
	}
	if len(v.options.Secret) == 0 && v.options.Keys.set() == nil {
		return nil, refusedUnavailable // whatever the token is
	}
	p, refusal := parseToken(token, v.options.Types)
	if refusal != nil {
		return nil, refusal
	}
	return v.verify(token, &p, at)
}

// The refusals that depend on no token. Read-only.
var (
	refusedMissing     = &Refusal{message.TokenMissing, "there is no token"}
	refusedLarge       = invalid("it is too large")
	refusedAlgorithm   = invalid("its algorithm is not one of those that are accepted")
	refusedKey         = invalid("its key is not for its algorithm")
	refusedSignature   = invalid("its signature is wrong")
	refusedPayload     = invalid("its payload is not base64url in its only form")
	refusedNoType      = invalid("it says no type (typ)")
	refusedUnavailable = &Refusal{message.JWKSUnavailable, "the keys of the issuer were not got yet"}
	refusedUnknown     = &Refusal{message.KeyUnknown, "its key is not in the key set"}
	refusedIssuer      = &Refusal{message.IssuerWrong, "its issuer (iss) is another one"}
	refusedAudience    = &Refusal{message.AudienceWrong, "its audience (aud) is another one"}
	refusedExpired     = &Refusal{message.TokenExpired, "it has expired (exp)"}
	refusedEarly       = &Refusal{message.TokenNotYetValid, "it is not valid yet (nbf)"}
)

// verify decides about a token whose form is right: the signature first, so that nothing that was not signed is looked at more closely.
func (v *Verifier) verify(token []byte, p *parsed, now int64) (*message.Identity, *Refusal) {
	if !v.accepts.has(p.algorithm) {
		return nil, refusedAlgorithm
	}
	if v.options.NeedType && !p.hasType {
		return nil, refusedNoType
	}
	s := &v.secret
	if p.algorithm.Symmetric() {
		if !p.algorithm.authenticate(v.options.Secret, p.signed, p.signature) {
			return nil, refusedSignature
		}
	} else {
		k, refusal := v.signer(p)
		if refusal != nil {
			return nil, refusal
		}
		s = &k.source
	}
	payload, ok := decode(p.payload)
	if !ok {
		return nil, refusedPayload
	}
	c, refusal := parseClaims(payload)
	if refusal == nil {
		refusal = v.judge(c, now)
	}
	if refusal != nil {
		return nil, refusal
	}
	id := &message.Identity{Claims: c.list, Raw: payload}
	v.options.Attach(id)
	from, until := c.span(int64(v.options.Leeway))
	return v.cache.put(token, id, from, until, now, s), nil
}

// signer returns the key that has signed the token. When there is none, the keys are got anew if that may be, and it looks once more.
func (v *Verifier) signer(p *parsed) (*key, *Refusal) {
	set := v.options.Keys.set()
	if set == nil {
		return nil, refusedUnavailable
	}
	k, refusal := set.signer(p)
	// A kid that is known decides. Without one, a signature that no key fits may be that of a new key.
	if refusal == nil || p.hasKid && refusal != refusedUnknown || !v.options.Keys.again() {
		return k, refusal
	}
	if next := v.options.Keys.set(); next != set {
		return next.signer(p)
	}
	return nil, refusal
}

// signer returns the key of the set that has signed the token.
func (s *jwkSet) signer(p *parsed) (*key, *Refusal) {
	fit, known := s.fitting(p.kid, p.hasKid, p.algorithm, maxTries)
	for _, k := range fit {
		if p.algorithm.verify(k.public, p.signed, p.signature) {
			return k, nil
		}
	}
	switch {
	case len(fit) > 0:
		return nil, refusedSignature
	case known && p.hasKid:
		return nil, refusedKey
	}
	return nil, refusedUnknown
}
