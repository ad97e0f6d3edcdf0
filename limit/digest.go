package limit

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
)

// digest stands for a key in a table. It is a keyed hash of 128 bits, and keys with the same digest share a counter: among a million keys the
// chance that two do is under 1 in 10^26, and nobody who does not know the seed can look for such keys. The text of a key is kept nowhere.
type digest struct{ hi, lo uint64 }

// seed is the key of the hash: of one table, or of one ledger file whose counts must be found again after a restart.
type seed struct{ k0, k1 uint64 }

// newSeed returns a seed that nobody can guess.
func newSeed() seed {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program when the system has no randomness
	return seedOf(b[:])
}

// seedOf reads a seed from its 16 bytes.
func seedOf(b []byte) seed {
	return seed{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
}

// bytes returns the 16 bytes that seedOf reads.
func (s seed) bytes() []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, s.k0), s.k1)
}

// of returns the digest of a key: SipHash-2-4 with 128 bits of output (Aumasson and Bernstein 2012, and their reference code). A digest is never
// all zero: that is the mark of an empty slot.
func (s seed) of(key []byte) digest {
	v := sip{s.k0 ^ 0x736f6d6570736575, s.k1 ^ 0x646f72616e646f6d ^ 0xee, s.k0 ^ 0x6c7967656e657261, s.k1 ^ 0x7465646279746573}
	last := uint64(len(key)) << 56
	for len(key) >= 8 {
		m := binary.LittleEndian.Uint64(key)
		v.v3 ^= m
		v.round()
		v.round()
		v.v0 ^= m
		key = key[8:]
	}
	for i, b := range key {
		last |= uint64(b) << (8 * i)
	}
	v.v3 ^= last
	v.round()
	v.round()
	v.v0 ^= last

	var d digest
	v.v2 ^= 0xee
	d.hi = v.finish()
	v.v1 ^= 0xdd
	d.lo = v.finish()
	if d.hi|d.lo == 0 {
		d.lo = 1
	}
	return d
}

// sip is the state of SipHash.
type sip struct{ v0, v1, v2, v3 uint64 }

func (v *sip) finish() uint64 {
	v.round()
	v.round()
	v.round()
	v.round()
	return v.v0 ^ v.v1 ^ v.v2 ^ v.v3
}

func (v *sip) round() {
	v.v0 += v.v1
	v.v1 = bits.RotateLeft64(v.v1, 13) ^ v.v0
	v.v0 = bits.RotateLeft64(v.v0, 32)
	v.v2 += v.v3
	v.v3 = bits.RotateLeft64(v.v3, 16) ^ v.v2
	v.v0 += v.v3
	v.v3 = bits.RotateLeft64(v.v3, 21) ^ v.v0
	v.v2 += v.v1
	v.v1 = bits.RotateLeft64(v.v1, 17) ^ v.v2
	v.v2 = bits.RotateLeft64(v.v2, 32)
}
