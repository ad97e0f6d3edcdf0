package balance

import (
	"encoding/binary"
	"math/bits"
)

// The primes of XXH64.
const (
	prime1 = 0x9e3779b185ebca87
	prime2 = 0xc2b2ae3d27d4eb4f
	prime3 = 0x165667b19e3779f9
	prime4 = 0x85ebca77c2b2ae63
	prime5 = 0x27d4eb2f165667c5
)

// Hash is XXH64 with seed 0 (Yann Collet, 2012), for Query.Hash. It is the same in every process, on every machine and in every version, so
// that instances which know the same endpoints place a key on the same one. It does not protect against whoever chooses keys on purpose to hit one endpoint.
func Hash(key []byte) uint64 {
	n := uint64(len(key))
	var h uint64
	if len(key) >= 32 {
		h, key = stripes(key)
	} else {
		h = prime5
	}
	h += n
	for ; len(key) >= 8; key = key[8:] {
		h ^= round(0, binary.LittleEndian.Uint64(key))
		h = bits.RotateLeft64(h, 27)*prime1 + prime4
	}
	if len(key) >= 4 {
		h ^= uint64(binary.LittleEndian.Uint32(key)) * prime1
		h = bits.RotateLeft64(h, 23)*prime2 + prime3
		key = key[4:]
	}
	for _, b := range key {
		h ^= uint64(b) * prime5
		h = bits.RotateLeft64(h, 11) * prime1
	}
	h = (h ^ h>>33) * prime2
	h = (h ^ h>>29) * prime3
	return h ^ h>>32
}

// stripes takes the whole stripes of 32 bytes off a key, four lanes at a time.
func stripes(key []byte) (h uint64, rest []byte) {
	one := uint64(prime1)
	a, b, c, d := one+prime2, uint64(prime2), uint64(0), -one
	for ; len(key) >= 32; key = key[32:] {
		a = round(a, binary.LittleEndian.Uint64(key))
		b = round(b, binary.LittleEndian.Uint64(key[8:]))
		c = round(c, binary.LittleEndian.Uint64(key[16:]))
		d = round(d, binary.LittleEndian.Uint64(key[24:]))
	}
	h = bits.RotateLeft64(a, 1) + bits.RotateLeft64(b, 7) + bits.RotateLeft64(c, 12) + bits.RotateLeft64(d, 18)
	for _, lane := range [4]uint64{a, b, c, d} {
		h = (h^round(0, lane))*prime1 + prime4
	}
	return h, key
}

func round(lane, input uint64) uint64 {
	return bits.RotateLeft64(lane+input*prime2, 31) * prime1
}
