package gateway

import (
	"runtime/debug"
	"testing"
)

func TestCollectPercent(t *testing.T) {
	for _, tc := range []struct {
		live uint64
		want int
	}{{0, 400}, {4 << 20, 400}, {16 << 20, 400}, {32 << 20, 200}, {64 << 20, 100}, {8 << 30, 100}} {
		if got := collectPercent(tc.live); got != tc.want {
			t.Errorf("%d MiB live: %d, want %d", tc.live>>20, got, tc.want)
		}
	}
}

func TestCollectorLeavesOperatorsWord(t *testing.T) {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	t.Setenv("GOGC", "50")
	newCollector().look()
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("with GOGC set the percentage became %d", got)
	}
	t.Setenv("GOGC", "")
	c := newCollector()
	c.percent = 1000 // as if the heap had been another
	c.look()
	if got := debug.SetGCPercent(100); got != c.percent || got > collectMost {
		t.Errorf("the percentage is %d, the collector says %d", got, c.percent)
	}
}
