//go:build !race

package policy

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"path/filepath"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// Who was recognised before costs no allocation, whatever the request shows, and neither does who shows nothing.
func TestIdentityAllocations(t *testing.T) {
	dir := users(t)
	ca := newAuthority(t, filepath.Join(dir, "ca.pem"))
	leaf, _ := ca.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "jane"}})
	token := "Authorization: Bearer " + bearer(nil)
	for _, c := range []struct {
		list, query, line string
		passes            bool
	}{
		{"[sign-in]", "a=1", token, true},
		{"[sign-in]", "a=1", "Accept: a", false},
		{"[partner-key]", "a=1", "X-API-Key: " + testKey, true},
		{"[partner-key]", "a=1&api_key=demo%2Dpartner-key", "Accept: a", true},
		{"[partner-key]", "a=1", "Cookie: a=b; key=" + testKey + "; c=d", true},
		{"[partner-key]", "a=1", "X-API-Key: wrong", false},
		{"[staff]", "a=1", basic("jane", "secret word"), true},
		{"[devices]", "a=1", "Accept: a", true},
		{"[either]", "a=1", token, true},
		{"[either]", "a=1", "X-API-Key: " + testKey, true},
		{"[either]", "a=1", "Accept: a", false},
		{"[sign-in, {authorize: {allow: claims.sub == 'c-7'}}]", "a=1", token, true},
		{"[sign-in, {authorize: {allow: claims.sub == 'c-8'}}]", "a=1", token, false},
	} {
		chain := guard(t, newServed(t), mutual(dir, c.list))
		x := new(message.Exchange)
		x.Reset()
		name, value := c.line[:0], ""
		for i := range c.line {
			if c.line[i] == ':' {
				name, value = c.line[:i], c.line[i+2:]
				break
			}
		}
		field, text, query, path := message.NameOf(name), []byte(value), []byte(c.query), []byte("/items/7/a/b")
		certificates := []*x509.Certificate{leaf}
		n := testing.AllocsPerRun(100, func() {
			x.Request.Path, x.Request.Query = path, query
			x.Request.Header.Add(field, text)
			x.Times.Read = message.Now()
			x.Client.Certificates = certificates
			if _, done, f := chain.Request(x, 0, nil); done || (f == nil) != c.passes {
				t.Fatalf("%s with %s: %v", c.list, name, f)
			}
			x.Reset()
		})
		if n != 0 {
			t.Errorf("%s with %s: %v allocations, want 0", c.list, name, n)
		}
	}
}

func BenchmarkIdentity(b *testing.B) {
	dir := users(b)
	for _, c := range []struct{ list, line string }{
		{"[sign-in]", "Authorization: Bearer " + bearer(nil)}, {"[partner-key]", "X-API-Key: " + testKey}, {"[staff]", basic("jane", "secret word")},
	} {
		b.Run(c.list, func(b *testing.B) {
			chain := guard(b, newServed(b), identities(dir, c.list))
			x := exchange("a=1", c.line)
			copied := new(message.Header)
			copied.CopyFrom(&x.Request.Header)
			b.ReportAllocs()
			for b.Loop() {
				x.Request.Header.CopyFrom(copied)
				x.Times.Read = message.Now()
				if _, _, f := chain.Request(x, 0, nil); f != nil {
					b.Fatal(f)
				}
			}
		})
	}
}
