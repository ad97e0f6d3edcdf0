package cert

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
)

func TestChoiceByName(t *testing.T) {
	dir := t.TempDir()
	first := issue(t, "default.example", "Upper.Example")
	wild := issue(t, "*.shop.example", "*.SHOP.example")
	exact := issue(t, "www.shop.example", "shop.example")
	s := open(t, Options{}, save(t, dir, "first", first), save(t, dir, "wild", wild), save(t, dir, "exact", exact))
	tests := []struct {
		name string
		want made
	}{
		{"default.example", first},
		{"upper.example", first},
		{"www.shop.example", exact},
		{"WWW.Shop.EXAMPLE", exact},
		{"shop.example", exact},
		{"img.shop.example", wild},
		{"IMG.shop.example", wild},
		{"a.b.shop.example", first}, // a wildcard is one label
		{"shop.example.evil", first},
		{"other.example", first},
		{"", first},
		{strings.Repeat("a", 60) + "." + strings.Repeat("b.", 100) + "shop.example", first},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := ask(t, s, tt.name); got.Cmp(tt.want.leaf.SerialNumber) != 0 {
				t.Errorf("%q: certificate %v, want %v", tt.name, got, tt.want.leaf.SerialNumber)
			}
		})
	}
}

func TestChoiceByKeyType(t *testing.T) {
	dir := t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	withEC := issue(t, "a.example")
	withRSA := sign(t, template("a.example"), key)
	s := open(t, Options{}, save(t, dir, "ec", withEC), save(t, dir, "rsa", withRSA))
	for _, name := range []string{"a.example", "unknown.example"} {
		for _, tt := range []struct {
			suite uint16
			want  made
		}{
			{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, withRSA},
			{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, withEC},
		} {
			client := &tls.Config{ServerName: name, InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tt.suite}}
			_, state := shake(t, s.Config(0), client)
			if got := state.PeerCertificates[0].SerialNumber; got.Cmp(tt.want.leaf.SerialNumber) != 0 {
				t.Errorf("%s with %s: the wrong certificate", name, tls.CipherSuiteName(tt.suite))
			}
		}
		if got := ask(t, s, name); got.Cmp(withEC.leaf.SerialNumber) != 0 {
			t.Errorf("%s: a client that knows both is not shown the first", name)
		}
	}
}

func TestCommonNameCountsOnlyAlone(t *testing.T) {
	dir := t.TempDir()
	first := issue(t, "first.example")
	old := template()
	old.Subject.CommonName = "old.example"
	oldMade := sign(t, old, ecKey(t))
	both := template("new.example")
	both.Subject.CommonName = "common.example"
	s := open(t, Options{}, save(t, dir, "first", first), save(t, dir, "old", oldMade), save(t, dir, "both", sign(t, both, ecKey(t))))
	if got := ask(t, s, "old.example"); got.Cmp(oldMade.leaf.SerialNumber) != 0 {
		t.Error("the only name of an old certificate does not count")
	}
	if got := ask(t, s, "common.example"); got.Cmp(first.leaf.SerialNumber) != 0 {
		t.Error("a common name beside alternative names counts")
	}
}

func TestClassify(t *testing.T) {
	tests := []struct {
		in   string
		want string
		kind nameKind
	}{
		{"a.example", "a.example", nameUsable},
		{"A.Example", "a.example", nameUsable},
		{"localhost", "localhost", nameUsable},
		{"_dmarc.x-y.example", "_dmarc.x-y.example", nameUsable},
		{"*.a.example", "*.a.example", nameUsable},
		{"xn--bcher-kva.example", "xn--bcher-kva.example", nameUsable},
		{"*", "", nameUnusable},
		{"*.", "", nameUnusable},
		{"*.*.a", "", nameUnusable},
		{"a*.b", "", nameUnusable},
		{"", "", nameUnusable},
		{".", "", nameUnusable},
		{"a..b", "", nameUnusable},
		{"a.b.", "", nameUnusable},
		{"a,b", "", nameUnusable},
		{strings.Repeat("a", 64) + ".b", "", nameUnusable},
		{strings.Repeat("a.", 127) + "a", "", nameUnusable},
		{"a\x00b", "", nameBroken},
		{"a b", "", nameBroken},
		{"a\r\nb", "", nameBroken},
		{"b\xc3\xbccher.example", "", nameBroken},
		{"a\x7f", "", nameBroken},
	}
	for _, tt := range tests {
		if got, kind := classify(tt.in); got != tt.want || kind != tt.kind {
			t.Errorf("classify(%q) = %q, %d, want %q, %d", tt.in, got, kind, tt.want, tt.kind)
		}
	}
}

// setOf makes a set of certificates that have nothing but names.
func setOf(names ...[]string) *set {
	all := make([]*loaded, len(names))
	for i, list := range names {
		all[i] = &loaded{index: i, names: list, cert: tls.Certificate{Leaf: &x509.Certificate{}}}
	}
	return newSet(all)
}

func FuzzFind(f *testing.F) {
	for _, seed := range []string{"", "a.example", "A.EXAMPLE", "x.a.example", "x.y.a.example", ".a.example", "*.a.example", "a.example.",
		"\x00", "b\xc3\xbc.a.example", "\xe2\x84\xaa.example", strings.Repeat("a.", 200)} {
		f.Add(seed)
	}
	s := setOf([]string{"first.example"}, []string{"a.example", "k.example"}, []string{"*.a.example"})
	at := func(i int) *tls.Certificate { return &s.all[i].cert }
	f.Fuzz(func(t *testing.T, name string) {
		list := s.find(name)
		if len(list) != 1 {
			t.Fatalf("find(%q) gave %d certificates", name, len(list))
		}
		// The rules once more, in the words of the specification.
		want := at(0)
		lower := lowerASCII(name)
		label, suffix, dotted := strings.Cut(lower, ".")
		switch {
		case len(name) > maxName:
		case lower == "a.example" || lower == "k.example":
			want = at(1)
		case dotted && label != "" && suffix == "a.example":
			want = at(2)
		}
		if list[0] != want {
			t.Fatalf("find(%q) gave another certificate", name)
		}
		if strings.EqualFold(lower, name) != true || lowerASCII(lower) != lower || len(lower) != len(name) {
			t.Fatalf("lowerASCII(%q) = %q", name, lower)
		}
	})
}
