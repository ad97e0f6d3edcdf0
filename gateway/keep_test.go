package gateway

import (
	"errors"
	"slices"
	"testing"
)

func TestKeep(t *testing.T) {
	var ended []string
	made := 0
	p := newKeep[string](func(v string) { ended = append(ended, v) })
	open := func() (string, error) { made++; return "thing", nil }
	for range 3 {
		if v, err := p.acquire("a", open); v != "thing" || err != nil {
			t.Fatal(v, err)
		}
	}
	failed := errors.New("no")
	if _, err := p.acquire("b", func() (string, error) { return "", failed }); err != failed {
		t.Fatalf("error %v", err)
	}
	if made != 1 || len(p.kept) != 1 {
		t.Fatalf("made %d things and kept %d, want one", made, len(p.kept))
	}
	if last := p.release("b"); last != nil {
		t.Error("a thing that was never made was let go of")
	}
	for range 2 {
		if p.release("a") != nil {
			t.Error("a thing with users ended")
		}
	}
	var seen []string
	p.each(func(v string) { seen = append(seen, v) })
	last := p.release("a")
	if last == nil || len(p.kept) != 0 || !slices.Equal(seen, []string{"thing"}) {
		t.Fatalf("the last user let go: end %v, %d kept, saw %q", last != nil, len(p.kept), seen)
	}
	if len(ended) != 0 {
		t.Error("a thing ended before the caller said so")
	}
	if last(); !slices.Equal(ended, []string{"thing"}) {
		t.Errorf("ended %q", ended)
	}
	if p.release("a") != nil {
		t.Error("let go of twice")
	}
	if _, err := p.acquire("a", open); err != nil || made != 2 {
		t.Errorf("not made anew: %v, made %d", err, made)
	}
}
