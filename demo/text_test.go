package demo

import (
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                         "-",
		-time.Second:              "-",
		time.Microsecond:          "0.00 ms",
		850 * time.Microsecond:    "0.85 ms",
		994 * time.Microsecond:    "0.99 ms",
		996 * time.Microsecond:    "1.0 ms",
		2540 * time.Microsecond:   "2.5 ms",
		9960 * time.Microsecond:   "10 ms",
		84 * time.Millisecond:     "84 ms",
		999 * time.Millisecond:    "999 ms",
		9996 * 100000:             "1.0 s",
		1250*time.Millisecond + 1: "1.3 s",
		90 * time.Second:          "90.0 s",
	} {
		if got := duration(d); got != want {
			t.Errorf("%d ns is written %q, want %q", d, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 12345: "12,345", 1234567: "1,234,567"} {
		if got := count(n); got != want {
			t.Errorf("%d is written %q, want %q", n, got, want)
		}
	}
}

func TestPercent(t *testing.T) {
	for share, want := range map[float64]string{-1: "-", 0: "0%", 0.333: "33%", 1: "100%"} {
		if got := percent(share); got != want {
			t.Errorf("%g is written %q, want %q", share, got, want)
		}
	}
}

func TestClock(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "00:00", 59*time.Second + 999*time.Millisecond: "00:59", time.Minute: "01:00",
		time.Hour - time.Second: "59:59", time.Hour: "1:00:00", 25*time.Hour + 61*time.Second: "25:01:01",
	} {
		if got := clock(d); got != want {
			t.Errorf("%s is written %q, want %q", d, got, want)
		}
	}
}

func TestPort(t *testing.T) {
	for address, want := range map[string]string{"127.0.0.1:8080": ":8080", "[::1]:80": ":80", "nonsense": "nonsense"} {
		if got := port(address); got != want {
			t.Errorf("the port of %s is %q, want %q", address, got, want)
		}
	}
}
