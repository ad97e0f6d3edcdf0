package policy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/message"
)

// authority issues certificates.
type authority struct {
	t           testing.TB
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, file string) *authority {
	t.Helper()
	a := &authority{t: t}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.certificate, a.key = a.issue(template)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// issue makes a certificate, signed by itself if there is no authority yet.
func (a *authority) issue(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := template, key
	if a.certificate != nil {
		parent, signer = a.certificate, a.key
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return c, key
}

// mutual is a configuration with a route whose clients show certificates.
func mutual(dir, list string) string {
	return strings.NewReplacer("policies:\n  sign-in", "policies:\n  devices: {mtls: {ca: \""+filepath.Join(dir, "ca.pem")+"\"}}\n  device-or-key: {any_of: [devices, partner-key]}\n  sign-in",
		"  - {name: jane", "  - {name: door, plan: partner, claims: {dns: door.bank.example}}\n  - {name: jane",
		`"127.0.0.1:8080", protocol: http}`, `"127.0.0.1:8080", protocol: https, tls: {certificates: [{cert: a, key: b}]}}`).Replace(identities(dir, list))
}

func TestMTLS(t *testing.T) {
	dir := users(t)
	ca := newAuthority(t, filepath.Join(dir, "ca.pem"))
	other := newAuthority(t, filepath.Join(dir, "other.pem"))
	jane := x509.Certificate{Subject: pkix.Name{CommonName: "jane"}}
	door := x509.Certificate{Subject: pkix.Name{CommonName: "jane"}, DNSNames: []string{"a.bank.example", "door.bank.example"}}
	old := x509.Certificate{Subject: pkix.Name{CommonName: "jane"}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}
	joe := x509.Certificate{Subject: pkix.Name{CommonName: "joe"}}
	const challenge = "; WWW-Authenticate: ClientCertificate"
	for _, c := range []struct {
		name, list string
		by         *authority
		of         *x509.Certificate
		caller     string
		refusal    string
	}{
		{"none", "[devices]", nil, nil, "nobody", "401 client_cert_missing" + challenge},
		{"by name", "[devices]", ca, &jane, "CN=jane jane standard", ""},
		{"by claim", "[devices]", ca, &door, "CN=jane door partner", ""}, // claims come before the name
		{"no consumer", "[devices]", ca, &joe, "CN=joe", ""},
		{"another authority", "[devices]", other, &jane, "nobody", "401 client_cert_invalid" + challenge},
		{"expired", "[devices]", ca, &old, "nobody", "401 client_cert_invalid" + challenge},
		{"none of two", "[device-or-key]", nil, nil, "nobody", "401 credentials_missing" + challenge + ", ApiKey"},
		{"one of two", "[device-or-key]", ca, &jane, "CN=jane jane standard", ""},
	} {
		chain := guard(t, newServed(t), mutual(dir, c.list))
		x := exchange("-")
		x.Times.Read = message.Now()
		if c.of != nil {
			leaf, _ := c.by.issue(c.of)
			x.Client.Certificates = []*x509.Certificate{leaf}
		}
		_, _, f := chain.Request(x, 0, nil)
		if caller(x) != c.caller || refusal(f) != c.refusal {
			t.Errorf("%s: %s, %q; want %s, %q", c.name, caller(x), refusal(f), c.caller, c.refusal)
		}
	}
}

func TestWantsCertificate(t *testing.T) {
	dir := users(t)
	newAuthority(t, filepath.Join(dir, "ca.pem"))
	for list, want := range map[string]bool{"[devices]": true, "[sign-in, device-or-key]": true, "[either]": false, "[]": false} {
		for _, plain := range []bool{false, true} {
			text := mutual(dir, list)
			if plain {
				text = strings.Replace(text, "protocol: https, tls: {certificates: [{cert: a, key: b}]}", "protocol: http", 1)
			}
			cfg, err := config.Load("test.yaml", []byte(text), config.Options{Kinds: Kinds()})
			if err != nil {
				t.Fatal(err)
			}
			if got := WantsCertificate(cfg.Routes[0].Policies, cfg); got != want {
				t.Errorf("%s: %v, want %v", list, got, want)
			}
			_, warnings, err := compiled(cfg, nil)
			if warned := strings.Contains(warnings.Error(), "no client can show a certificate"); err != nil || warned != (want && plain) {
				t.Errorf("%s, plain %v: %v %v", list, plain, warnings, err)
			}
		}
	}
}
