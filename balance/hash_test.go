package balance

import (
	"bytes"
	"strings"
	"testing"
)

// TestHashIsXXH64 holds the vectors of the reference implementation, one for each way through the function.
func TestHashIsXXH64(t *testing.T) {
	for _, test := range []struct {
		key  string
		want uint64
	}{
		{"", 0xef46db3751d8e999},
		{"a", 0xd24ec4f1a98c6e5b},
		{"as", 0x1c330fb2d66be179},
		{"asd", 0x631c37ce72a97393},
		{"asdf", 0x415872f599cea71e},
		{"Call me Ishmael. Some years ago--never mind how long precisely-", 0x02a2e85470d6fd96},
	} {
		if got := Hash([]byte(test.key)); got != test.want {
			t.Errorf("Hash(%q) = %#x, want %#x", test.key, got, test.want)
		}
	}
}

// TestHashSpreads: keys that differ in one bit differ in about half of the bits of their hashes, at every length.
func TestHashSpreads(t *testing.T) {
	for n := 1; n <= 80; n++ {
		key := []byte(strings.Repeat("k", n))
		before := Hash(key)
		if !bytes.Equal(key, bytes.Repeat([]byte("k"), n)) {
			t.Fatal("the key was changed")
		}
		flips := 0
		for bit := range 8 * n {
			key[bit/8] ^= 1 << (bit % 8)
			for x := before ^ Hash(key); x != 0; x &= x - 1 {
				flips++
			}
			key[bit/8] ^= 1 << (bit % 8)
		}
		if mean := float64(flips) / float64(8*n); mean < 26 || mean > 38 {
			t.Errorf("a changed bit of %d bytes changes %.1f bits of the hash, want about 32", n, mean)
		}
	}
}

func FuzzHash(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("198.51.100.7"))
	f.Add(bytes.Repeat([]byte{0xff}, 100))
	f.Fuzz(func(t *testing.T, key []byte) {
		h := Hash(key)
		if Hash(bytes.Clone(key)) != h {
			t.Error("the same key has two hashes")
		}
		if Hash(append(bytes.Clone(key), 0)) == h {
			t.Error("one more byte changed nothing")
		}
	})
}
