package identity

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

func keySetOf(t testing.TB, n int) (*KeySet, []*message.Identity) {
	t.Helper()
	hashes, ids := make([]KeyHash, n), make([]*message.Identity, n)
	for i := range n {
		hashes[i], ids[i] = sha256.Sum256(fmt.Appendf(nil, "key-%d", i)), &message.Identity{Consumer: fmt.Sprint(i)}
	}
	s, err := NewKeySet(hashes, ids)
	if err != nil {
		t.Fatal(err)
	}
	return s, ids
}

func TestKeySet(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 100, 5000} {
		s, ids := keySetOf(t, n)
		for i, id := range ids {
			if got := s.Find(fmt.Appendf(nil, "key-%d", i)); got != id {
				t.Fatalf("%d keys: key %d belongs to %+v", n, i, got)
			}
		}
		hash := sha256.Sum256([]byte("key-0"))
		for _, key := range []string{"", "key", "key-0 ", "KEY-0", fmt.Sprintf("key-%d", n), fmt.Sprintf("%x", hash), string(hash[:]), "key-0\x00"} {
			if got := s.Find([]byte(key)); got != nil {
				t.Errorf("%d keys: %q belongs to %+v", n, key, got)
			}
		}
		if s.Len() != n {
			t.Errorf("%d keys are %d", n, s.Len())
		}
	}
}

// The key of the contract's example.
func TestKeySetExample(t *testing.T) {
	var hash KeyHash
	if _, err := fmt.Sscanf("5f7b2ed74a9736a538a6fb5a5a1a76afdcdd0d177d7fc6e79c6b6843527d848d", "%x", (*hexBytes)(&hash)); err != nil {
		t.Fatal(err)
	}
	app := &message.Identity{Consumer: "budget-app", Plan: "partner"}
	s, err := NewKeySet([]KeyHash{hash}, []*message.Identity{app})
	if err != nil || s.Find([]byte("demo-partner-key")) != app {
		t.Errorf("not found, %v", err)
	}
}

// hexBytes scans hexadecimal digits.
type hexBytes KeyHash

func (h *hexBytes) Scan(state fmt.ScanState, _ rune) error {
	var b []byte
	_, err := fmt.Fscanf(state, "%x", &b)
	copy(h[:], b)
	return err
}

func TestKeySetRefuses(t *testing.T) {
	a := KeyHash{1}
	id := &message.Identity{}
	if _, err := NewKeySet([]KeyHash{a, {2}, a}, []*message.Identity{id, id, id}); err == nil || !strings.Contains(err.Error(), "number 3") {
		t.Error(err)
	}
	if _, err := NewKeySet([]KeyHash{a}, nil); err == nil {
		t.Error("a hash without an identity is accepted")
	}
}

// A key is looked for up to its bound, and not beyond.
func TestKeySize(t *testing.T) {
	long := strings.Repeat("k", maxAPIKey+1)
	id := &message.Identity{}
	s, err := NewKeySet([]KeyHash{sha256.Sum256([]byte(long)), sha256.Sum256([]byte(long[1:]))}, []*message.Identity{id, id})
	if err != nil || s.Find([]byte(long)) != nil || s.Find([]byte(long[1:])) != id {
		t.Errorf("%v", err)
	}
}
