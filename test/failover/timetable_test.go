package main

import (
	"slices"
	"testing"
	"time"
)

func TestSteady(t *testing.T) {
	table, err := steady(400, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if len(table) != 800 || table[0] != 0 || table[1] != 2500*time.Microsecond || table[799] != 1997500*time.Microsecond {
		t.Errorf("%d requests at %v, %v … %v", len(table), table[0], table[1], table[len(table)-1])
	}
	if _, err := steady(0, time.Second); err == nil {
		t.Error("a rate of 0 was accepted")
	}
}

func TestBursts(t *testing.T) {
	lead := []time.Duration{300 * time.Millisecond, 250 * time.Millisecond}
	table := bursts(3, 100*time.Millisecond, lead, 3*time.Second)
	if len(table)%3 != 0 {
		t.Fatalf("%d requests in bursts of 3", len(table))
	}
	var pauses []time.Duration
	for i := range table {
		switch {
		case table[i] >= 3*time.Second:
			t.Fatalf("request %d is due at %v", i, table[i])
		case i%3 > 0 && table[i] != table[i-1]:
			t.Fatalf("request %d is due at %v, the one before at %v", i, table[i], table[i-1])
		case i > 0 && i%3 == 0:
			pauses = append(pauses, table[i]-table[i-1])
		}
	}
	if len(pauses) < len(lead)+2*sweepSteps || !slices.Equal(pauses[:len(lead)], lead) {
		t.Fatalf("pauses %v", pauses)
	}
	for n, pause := range pauses[len(lead):] {
		if want := 100*time.Millisecond + time.Duration(n%sweepSteps)*sweepStep; pause != want {
			t.Errorf("pause %d is %v, want %v", n, pause, want)
		}
	}
}

// Every combination of method, framing and kind of cut must come about, and go to each of three endpoints that take turns.
func TestEveryKindOfRequestReachesEveryEndpoint(t *testing.T) {
	type kind struct {
		endpoint             int
		post, chunked, reset bool
	}
	seen := map[kind]bool{}
	for id := range 24 {
		seen[kind{id % len(endpointNames), isPost(id), isChunked(id), isReset(id)}] = true
	}
	if len(seen) != 24 {
		t.Errorf("%d kinds of 24", len(seen))
	}
}

func TestItemOf(t *testing.T) {
	for target, want := range map[string]int{"/item/0": 0, "/item/712": 712, "/item/-1": -1, "/item/": -1, "/item/7x": -1, "/healthz": -1, "": -1} {
		id, ok := itemOf(target)
		if ok != (want >= 0) || ok && id != want {
			t.Errorf("%q: %d %v", target, id, ok)
		}
	}
}
