//go:build !race

package cert

import (
	"crypto/tls"
	"testing"
)

func TestChoiceDoesNotAllocate(t *testing.T) {
	s := &Store{}
	s.current.Store(setOf([]string{"first.example"}, []string{"a.example"}, []string{"*.a.example"}))
	for _, name := range []string{"", "a.example", "x.a.example", "none.example"} {
		hello := &tls.ClientHelloInfo{ServerName: name}
		if n := testing.AllocsPerRun(100, func() {
			if c, err := s.GetCertificate(hello); c == nil || err != nil {
				t.Fatal("no certificate")
			}
		}); n != 0 {
			t.Errorf("GetCertificate for %q allocates %v times", name, n)
		}
	}
}
