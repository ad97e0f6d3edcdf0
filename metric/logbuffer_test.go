package metric

import (
	"strings"
	"testing"
)

func TestLogBufferVerdicts(t *testing.T) {
	b := newLogBuffer(32, 16)
	for round := range 4 { // both halves, twice
		for i, step := range []struct {
			line string
			want verdict
		}{
			{"1234567\n", keptFirst},
			{"890123\n", kept},
			{"4\n", keptEnough},
			{"567890123456789\n", dropped}, // two bytes too long
			{"56789012345678\n", kept},     // just fits
			{"\n", dropped},
		} {
			if got := b.append([]byte(step.line)); got != step.want {
				t.Errorf("round %d, step %d: %d, want %d", round, i, got, step.want)
			}
		}
		if got, want := string(b.swap()), "1234567\n890123\n4\n56789012345678\n"; got != want {
			t.Errorf("round %d: %q, want %q", round, got, want)
		}
	}
	if got := b.swap(); len(got) != 0 {
		t.Errorf("an empty buffer holds %q", got)
	}
}

// Several producers see room at the same time and only then reserve: the first that does not fit ends the half, shorter ones behind it are dropped too.
func TestLogBufferCrossing(t *testing.T) {
	b := newLogBuffer(32, 16)
	for round := range 4 {
		long := []byte(strings.Repeat("x", 19) + "\n")
		for i, step := range []struct {
			line string
			want verdict
		}{
			{string(long), keptFirst}, // to 20, beyond the mark already
			{string(long), dropped},   // would have begun at 20
			{"a\n", dropped},
			{string(long), dropped},
		} {
			if got := b.put([]byte(step.line)); got != step.want {
				t.Errorf("round %d, step %d: %d, want %d", round, i, got, step.want)
			}
		}
		if got := b.append([]byte("b\n")); got != dropped {
			t.Errorf("round %d: a full half kept a line", round)
		}
		if got := string(b.swap()); got != string(long) {
			t.Errorf("round %d: %q", round, got)
		}
	}
	// A line that ends at the very end leaves no room, and the one behind it begins there.
	b.put([]byte(strings.Repeat("y", 31) + "\n"))
	if b.put([]byte("z\n")) != dropped {
		t.Error("a line was kept beyond the end")
	}
	if got := len(b.swap()); got != 32 {
		t.Errorf("%d bytes, want 32", got)
	}
}

func TestLogBufferSeal(t *testing.T) {
	b := newLogBuffer(32, 16)
	b.append([]byte("a\n"))
	if got := string(b.seal()); got != "a\n" {
		t.Errorf("seal returned %q", got)
	}
	for _, add := range []func([]byte) verdict{b.append, b.put} {
		if add([]byte("b\n")) != dropped {
			t.Error("a line was kept after the seal")
		}
	}
}

// The consumer does not take a half before the producers that reserved in it have filled their places.
func TestLogBufferWaitsForProducers(t *testing.T) {
	b := newLogBuffer(32, 16)
	b.append([]byte("a\n"))
	b.state.Add(2) // a producer reserves and is descheduled
	got := make(chan string)
	go func() { got <- string(b.swap()) }()
	eventually(t, "the swap", func() bool { return b.state.Load()&halfBit != 0 })
	if b.append([]byte("c\n")) != keptFirst {
		t.Error("the other half is not active while the consumer waits")
	}
	copy(b.halves[0].buf[2:], "b\n")
	b.halves[0].done.Add(2)
	if s := <-got; s != "a\nb\n" {
		t.Errorf("took %q", s)
	}
}
