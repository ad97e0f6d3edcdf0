package testnet

import (
	"testing"
	"time"
)

// Patience bounds every wait of a test. It is only spent when something is broken, so it is
// generous enough for a machine that does other things meanwhile.
const Patience = 20 * time.Second

// Eventually waits until done reports true, and fails the test if it never does.
func Eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for pause := 50 * time.Microsecond; !done(); pause = min(2*pause, 10*time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never came about: %s", what)
		}
		time.Sleep(pause)
	}
}

// Receive returns what comes from ch, or its zero value when ch is closed, and fails the test if
// neither happens.
func Receive[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	select {
	case v := <-ch:
		return v
	case <-timer.C:
		t.Fatalf("never came: %s", what)
		panic("not reached")
	}
}
