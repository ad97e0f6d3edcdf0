package testnet

import (
	"net/netip"
	"runtime"
	"strings"
	"testing"
)

// Lacks ends a test that needs what this machine does not have. On Linux, where everything that the tests need is to be had, that is a failure: a
// test that is left out in silence proves nothing. Elsewhere the test is skipped.
func Lacks(t testing.TB, format string, args ...any) {
	t.Helper()
	if runtime.GOOS == "linux" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// LacksAddress is Lacks for a local address that could not be used. Without IPv6, which containers often have none of, the test is skipped on Linux as well.
func LacksAddress(t testing.TB, address string, err error) {
	t.Helper()
	host := strings.Trim(address[:max(0, strings.LastIndexByte(address, ':'))], "[]")
	if ip, bad := netip.ParseAddr(host); bad == nil && ip.Is6() {
		t.Skipf("this machine has no %s: %v", address, err)
	}
	Lacks(t, "this machine has no %s: %v", address, err)
}
