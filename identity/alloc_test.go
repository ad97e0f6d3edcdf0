//go:build !race

package identity

import (
	"encoding/base64"
	"testing"
)

// What every request passes through allocates nothing.
func TestNoAllocations(t *testing.T) {
	b := newBank(t)
	token := b.rsa.token(claimsText(nil))
	if id, refusal := b.verifier.Verify(token, at); id == nil {
		t.Fatal(refusal)
	}
	keys, _ := keySetOf(t, 1000)
	key, unknown := []byte("key-500"), []byte("key-unknown")
	p, _ := openPasswords(t, "a:"+sha256Of("x"), PasswordsOptions{})
	name, password := []byte("a"), []byte("x")
	if check(p, "a", "x", at) != "a" {
		t.Fatal("the password is refused")
	}
	basic, room := []byte(base64.StdEncoding.EncodeToString([]byte("a:x"))), make([]byte, 0, 64)
	root := issue(nil, nil)
	a, _ := openAuthorities(t, root.pem(), AuthoritiesOptions{})
	client := chain(issue(root, nil))
	if id, refusal := a.Verify(client, at); id == nil {
		t.Fatal(refusal)
	}
	for name, f := range map[string]func() bool{
		"cached token":       func() bool { return b.verifier.Cached(token, at) != nil },
		"verified token":     func() bool { id, _ := b.verifier.Verify(token, at); return id != nil },
		"token not cached":   func() bool { return b.verifier.Cached(token[1:], at) == nil },
		"no token":           func() bool { _, refusal := b.verifier.Verify(nil, at); return refusal != nil },
		"API key":            func() bool { return keys.Find(key) != nil },
		"unknown API key":    func() bool { return keys.Find(unknown) == nil },
		"cached password":    func() bool { return p.Cached(name, password, at) != nil },
		"checked password":   func() bool { id, _ := p.Check(name, password, at); return id != nil },
		"basic":              func() bool { _, _, ok := ParseBasic(basic, room); return ok },
		"cached certificate": func() bool { id, _ := a.Verify(client, at); return id != nil },
	} {
		ok := true
		if n := testing.AllocsPerRun(100, func() { ok = ok && f() }); n != 0 || !ok {
			t.Errorf("%s: %v allocations, %v", name, n, ok)
		}
	}
}
