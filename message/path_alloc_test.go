//go:build !race

package message

import "testing"

// TestPathAllocations: reading a request's path and authority and building a path cost no allocation once their memory is there.
func TestPathAllocations(t *testing.T) {
	dst := make([]byte, 0, 256)
	for name, f := range map[string]func(){
		"plain":     func() { AppendPath(dst, []byte("/accounts/7"), PathRules{}) },
		"canonical": func() { AppendPath(dst, []byte("/a%20b/%61;x/./..//%25.c"), PathRules{}) },
		"refused":   func() { AppendPath(dst, []byte("/x/%252e%252e/a"), PathRules{}) },
		"match":     func() { AppendMatchPath(dst, []byte("/a%20b;x/%40"), true) },
		"value":     func() { AppendPathValue(dst, []byte("a/b %2F.c")) },
		"rest":      func() { AppendPathRest(dst, []byte("a/b %2F.c")) },
		"query":     func() { AppendQueryValue(dst, []byte("a=b&c")) },
		"host":      func() { ParseAuthority(dst, []byte("Shop.Example.:8443")) },
		"IPv6":      func() { ParseAuthority(dst, []byte("[2001:DB8:0:0::1]:443")) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}
