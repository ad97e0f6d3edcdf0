package limit

import (
	"encoding/binary"
	"encoding/hex"
	"testing"
)

// TestDigest: the vectors of the reference implementation of SipHash-2-4 with 128 bits: the key is 00…0f, the input 00, 01, 02 and so on.
func TestDigest(t *testing.T) {
	var text [16]byte
	for i := range text {
		text[i] = byte(i)
	}
	s := seedOf(text[:])
	var input []byte
	for n, want := range []string{
		"a3817f04ba25a8e66df67214c7550293",
		"da87c1d86b99af44347659119b22fc45",
		"8177228da4a45dc7fca38bdef60affe4",
		"9c70b60c5267a94e5f33b6b02985ed51",
		"f88164c12d9c8faf7d0f6e7c7bcd5579",
		"1368875980776f8854527a07690e9627",
		"14eeca338b208613485ea0308fd7a15e",
		"a1f1ebbed8dbc153c0b84aa61ff08239",
		"3b62a9ba6258f5610f83e264f31497b4",
	} {
		d := s.of(input)
		got := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, d.hi), d.lo)
		if hex.EncodeToString(got) != want {
			t.Errorf("%d bytes: %x instead of %s", n, got, want)
		}
		input = append(input, byte(n))
	}
	if back := seedOf(s.bytes()); back != s {
		t.Errorf("%v becomes %v", s, back)
	}
	if a, b := newSeed(), newSeed(); a == b {
		t.Errorf("two seeds are the same: %v", a)
	}
}
