package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash/maphash"
	"math/bits"

	"github.com/sluice-gateway/sluice/message"
)

// maxAPIKey bounds the bytes of a key that somebody presents, and with them what looking for it costs.
const maxAPIKey = 4 << 10

// KeyHash is the SHA-256 hash of an API key. Keys themselves are never kept.
type KeyHash [sha256.Size]byte

// KeySet finds out whose an API key is. It is immutable and may be shared by goroutines.
//
// Keys are random and long, so that one unsalted SHA-256 is enough: nobody can try them through. What remains is that the time of a search might tell
// how much of a stored hash a guess has right. It cannot: the place is chosen by a second hash, with a seed that is new in each process, over
// the whole SHA-256; the hashes at that place are all compared, each in constant time; and how many there are says nothing about what they are.
// Even a hash that was known would not give away its key.
type KeySet struct {
	seed   maphash.Seed
	mask   uint64
	starts []uint32 // where the entries of each place begin; the next one tells where they end
	keys   []storedKey
}

type storedKey struct {
	hash     KeyHash
	identity *message.Identity
}

// NewKeySet makes a set of the hashes and the identities that they stand for, which are shared by all requests. The error is about a hash that stands
// there twice, by the number of the second.
func NewKeySet(hashes []KeyHash, identities []*message.Identity) (*KeySet, error) {
	if len(hashes) != len(identities) {
		return nil, errors.New("there must be an identity for each hash of a key")
	}
	places := uint64(1) << bits.Len64(uint64(2*len(hashes)))
	s := &KeySet{seed: maphash.MakeSeed(), mask: places - 1, starts: make([]uint32, places+1), keys: make([]storedKey, len(hashes))}
	seen := make(map[KeyHash]bool, len(hashes))
	for i := range hashes {
		if seen[hashes[i]] {
			return nil, fmt.Errorf("hash number %d of a key stands there twice", i+1)
		}
		seen[hashes[i]] = true
		s.starts[s.place(&hashes[i])+1]++
	}
	for i := 1; i < len(s.starts); i++ {
		s.starts[i] += s.starts[i-1]
	}
	next := append([]uint32(nil), s.starts...)
	for i := range hashes {
		at := &next[s.place(&hashes[i])]
		s.keys[*at] = storedKey{hashes[i], identities[i]}
		*at++
	}
	return s, nil
}

func (s *KeySet) place(hash *KeyHash) uint64 { return maphash.Bytes(s.seed, hash[:]) & s.mask }

// Len returns the number of keys.
func (s *KeySet) Len() int { return len(s.keys) }

// Find returns who the key belongs to, or nil. It does not allocate.
func (s *KeySet) Find(key []byte) *message.Identity {
	if len(key) == 0 || len(key) > maxAPIKey {
		return nil
	}
	hash := KeyHash(sha256.Sum256(key))
	place := s.place(&hash)
	var found *message.Identity
	for i := s.starts[place]; i < s.starts[place+1]; i++ {
		if k := &s.keys[i]; subtle.ConstantTimeCompare(k.hash[:], hash[:]) == 1 {
			found = k.identity
		}
	}
	return found
}
