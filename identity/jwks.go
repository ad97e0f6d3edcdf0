package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"

	"github.com/lestrrat-go/jwx/v3/jwk"
)

const (
	// maxKeys bounds the keys of a document.
	maxKeys = 1000
	// minRSABits is from RFC 7518 section 3.3; maxRSABits bounds what one verification costs.
	minRSABits = 2048
	maxRSABits = 8192
)

// key is a public key of an issuer. It is immutable but for being retired, and stays the same value while it stays the same in the documents, so that
// tokens that it has verified need not be verified again.
type key struct {
	source
	id     string
	hasID  bool
	public crypto.PublicKey
	fits   algorithmSet // by kind, curve, and the alg of the document
	print  [sha256.Size]byte
}

// jwkSet is what a document of an issuer says. It is immutable.
type jwkSet struct {
	keys []*key
	byID map[string][]*key
}

// fitting returns the keys that a token may be signed with, as far as its header tells, and whether there is any of that id. Several keys may have one
// id (RFC 7517 section 4.5); all of the algorithm count.
func (s *jwkSet) fitting(id []byte, hasID bool, a Algorithm, most int) (fit []*key, known bool) {
	among := s.keys
	if hasID {
		among = s.byID[string(id)]
	}
	for _, k := range among {
		if k.fits.has(a) && len(fit) < most {
			fit = append(fit, k)
		}
	}
	return fit, len(among) > 0
}

// parseJWKS reads a JWK Set (RFC 7517 section 5). Keys that are for something else are passed over, as that section wants; what is odd about others
// is in leftOut, the first only. A set without keys revokes all and is taken at its word, but one whose keys are all unusable is an error.
//
// A panic over a document, which would be a mistake of the program or its library, counts as a broken document: nobody who answers for an
// issuer may end the program.
func parseJWKS(document []byte) (set *jwkSet, leftOut string, err error) {
	defer func() {
		if p := recover(); p != nil {
			set, leftOut, err = nil, "", fmt.Errorf("reading the key set panicked: %v", p)
		}
	}()
	members, err := parseObject(document)
	if err != nil {
		return nil, "", fmt.Errorf("the key set cannot be read: %w", err)
	}
	list := find(members, "keys")
	if list == nil {
		return nil, "", errors.New(`the key set has no member "keys" (RFC 7517 section 5)`)
	}
	elements, err := parseArray(list.raw)
	if err != nil {
		return nil, "", fmt.Errorf(`"keys" of the key set: %w`, err)
	}
	if len(elements) > maxKeys {
		return nil, "", fmt.Errorf("the key set has %d keys, and %d is the most", len(elements), maxKeys)
	}
	set = &jwkSet{byID: make(map[string][]*key, len(elements))}
	seen := make(map[[sha256.Size]byte]bool, len(elements))
	for i, element := range elements {
		k, err := parseKey(element)
		if err != nil {
			if leftOut == "" {
				leftOut = fmt.Sprintf("key %d of the set is not used: %v", i+1, err)
			}
			continue
		}
		if k == nil || seen[k.print] {
			continue
		}
		seen[k.print] = true
		set.keys = append(set.keys, k)
		if k.hasID {
			set.byID[k.id] = append(set.byID[k.id], k)
		}
	}
	if len(set.keys) == 0 && len(elements) > 0 {
		if leftOut == "" {
			leftOut = "all are for something else than signatures"
		}
		return nil, "", fmt.Errorf("none of the %d keys of the set can be used: %s", len(elements), leftOut)
	}
	return set, leftOut, nil
}

// parseKey reads one key; nil is one for something else.
func parseKey(element []byte) (*key, error) {
	members, err := parseObject(element)
	if err != nil {
		return nil, err
	}
	var texts [6]string
	var present [6]bool
	for i, name := range [...]string{"kty", "kid", "use", "alg", "crv", "d"} {
		m := find(members, name)
		if present[i] = m != nil; m == nil {
			continue
		}
		if m.text == nil {
			return nil, fmt.Errorf("%s is no string", name)
		}
		texts[i] = string(m.text)
	}
	kty, use, alg := texts[0], texts[2], texts[3]
	parts := materialOf(kty)
	switch {
	case kty == "oct":
		return nil, errors.New("a symmetric key has no place in a key set: whoever can read it can make tokens")
	case parts == nil, present[2] && use != "sig":
		return nil, nil
	}
	if verifies, err := hasVerify(members); !verifies || err != nil {
		return nil, err
	}
	public, err := publicKey(members, parts)
	if err != nil {
		return nil, err
	}
	k := &key{id: texts[1], hasID: present[1], public: public, fits: fitting(public)}
	if present[3] {
		a := setOf(named([]byte(alg))) &^ 1
		if a&setOf(EdDSA, Ed25519) != 0 {
			a = setOf(EdDSA, Ed25519)
		}
		if k.fits &= a; k.fits == 0 {
			return nil, nil // for encryption, or for an algorithm that is not supported
		}
	}
	if k.fits == 0 {
		return nil, nil // a curve that is not supported
	}
	k.fingerprint(members, parts)
	return k, nil
}

// materialOf returns the members that make up a public key, or nil for a type that is not known.
func materialOf(kty string) []string {
	switch kty {
	case "RSA":
		return []string{"kty", "n", "e"}
	case "EC":
		return []string{"kty", "crv", "x", "y"}
	case "OKP":
		return []string{"kty", "crv", "x"}
	}
	return nil
}

// hasVerify reports whether key_ops allows verification (RFC 7517 section 4.3).
func hasVerify(members []member) (bool, error) {
	m := find(members, "key_ops")
	if m == nil {
		return true, nil
	}
	list, err := parseArray(m.raw)
	if err != nil {
		return false, fmt.Errorf("key_ops: %w", err)
	}
	for _, raw := range list {
		if text, ok := parseText(raw); ok && string(text) == "verify" {
			return true, nil
		}
	}
	return false, nil
}

// publicKey makes the public key. The library is given the public members only: a private part that was published by mistake is never in memory as
// one, and neither certificates nor links in a key are looked at.
func publicKey(members []member, parts []string) (crypto.PublicKey, error) {
	document := []byte{'{'}
	for i, name := range parts {
		m := find(members, name)
		if m == nil || m.text == nil {
			return nil, fmt.Errorf("%s is missing or no string", name)
		}
		if i > 0 {
			document = append(document, ',')
		}
		document = strconv.AppendQuote(document, name)
		document = append(document, ':')
		document = append(document, m.raw...)
	}
	if crv := find(members, "crv"); crv != nil && !knownCurve(string(crv.text)) {
		return nil, nil
	}
	parsed, err := jwk.ParseKey(append(document, '}'))
	if err != nil {
		return nil, fmt.Errorf("it is broken: %w", err)
	}
	var public any
	if err := jwk.Export(parsed, &public); err != nil {
		return nil, fmt.Errorf("it is broken: %w", err)
	}
	switch k := public.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits || k.E < 3 || k.E&1 == 0 {
			return nil, fmt.Errorf("an RSA key of %d bits with the exponent %d: it needs %d to %d bits and an odd exponent from 3",
				bits, k.E, minRSABits, maxRSABits)
		}
	case *ecdsa.PublicKey, ed25519.PublicKey:
	default:
		return nil, fmt.Errorf("it became a %T", public)
	}
	return public, nil
}

func knownCurve(name string) bool {
	for _, row := range algorithms {
		if row.curve != "" && row.curve == name {
			return true
		}
	}
	return false
}

// fingerprint makes the print of k: of everything that it is used by.
func (k *key) fingerprint(members []member, parts []string) {
	h := sha256.New()
	write := func(text []byte) {
		var size [8]byte
		for i := range size {
			size[i] = byte(len(text) >> (8 * i))
		}
		h.Write(size[:])
		h.Write(text)
	}
	if k.hasID {
		write([]byte(k.id))
	}
	write([]byte(strconv.FormatUint(uint64(k.fits), 16)))
	for _, name := range parts {
		write(find(members, name).text)
	}
	h.Sum(k.print[:0])
}

// succeed returns the set that takes the place of old: keys that are in both stay the same values. It returns old where nothing has changed.
func (s *jwkSet) succeed(old *jwkSet) *jwkSet {
	if old == nil {
		return s
	}
	before := make(map[[sha256.Size]byte]*key, len(old.keys))
	for _, k := range old.keys {
		before[k.print] = k
	}
	next := &jwkSet{byID: make(map[string][]*key, len(s.keys))}
	kept := 0
	for _, k := range s.keys {
		if same := before[k.print]; same != nil {
			k, kept = same, kept+1
		}
		next.keys = append(next.keys, k)
		if k.hasID {
			next.byID[k.id] = append(next.byID[k.id], k)
		}
	}
	if kept == len(s.keys) && kept == len(old.keys) {
		return old
	}
	return next
}

// retire retires the keys of s that next does not have.
func (s *jwkSet) retire(next *jwkSet) {
	if s == nil || s == next {
		return
	}
	stays := make(map[*key]bool, len(next.keys))
	for _, k := range next.keys {
		stays[k] = true
	}
	for _, k := range s.keys {
		if !stays[k] {
			k.retired.Store(true)
		}
	}
}
