package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// authority is a certificate with its key, of an authority or of a client.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// issue makes a certificate signed by parent, or by itself.
func issue(parent *authority, change func(*x509.Certificate)) *authority {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0xabc),
		Subject:      pkix.Name{CommonName: "app", Organization: []string{"Bank"}},
		NotBefore:    at.Add(-time.Hour), NotAfter: at.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if parent == nil {
		template.Subject.CommonName = "Root"
		asAuthority(template)
	}
	if change != nil {
		change(template)
	}
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	signer, by := crypto.Signer(key), template
	if parent != nil {
		signer, by = parent.key, parent.certificate
	}
	der := must(x509.CreateCertificate(rand.Reader, template, by, key.Public(), signer))
	return &authority{must(x509.ParseCertificate(der)), key}
}

func asAuthority(c *x509.Certificate) {
	c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
}

func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}))
}

func chain(list ...*authority) []*x509.Certificate {
	var certificates []*x509.Certificate
	for _, a := range list {
		certificates = append(certificates, a.certificate)
	}
	return certificates
}

func openAuthorities(t testing.TB, content string, o AuthoritiesOptions) (*Authorities, string) {
	t.Helper()
	path := tempFile(t, content)
	o.Interval = -1
	a, err := OpenAuthorities(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a, path
}

func TestAuthorities(t *testing.T) {
	root, other := issue(nil, nil), issue(nil, nil)
	between := issue(root, asAuthority)
	with := func(change func(*x509.Certificate)) *authority { return issue(root, change) }
	good := with(nil)
	a, _ := openAuthorities(t, "A comment.\n"+root.pem(), AuthoritiesOptions{CacheBytes: -1})
	for _, test := range []struct {
		name  string
		chain []*x509.Certificate
		want  message.Reason
	}{
		{"good", chain(good), message.ReasonNone},
		{"good, with its root", chain(good, root), message.ReasonNone},
		{"by way of another", chain(issue(between, nil), between), message.ReasonNone},
		{"by way of one that is not shown", chain(issue(between, nil)), message.ClientCertInvalid},
		{"for any use", chain(with(func(c *x509.Certificate) { c.ExtKeyUsage = nil })), message.ReasonNone},
		{"for servers", chain(with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })), message.ClientCertInvalid},
		{"of a stranger", chain(issue(other, nil)), message.ClientCertInvalid},
		{"of a stranger who shows our root", chain(issue(other, nil), root), message.ClientCertInvalid},
		{"of a stranger who shows his root", chain(issue(other, nil), other), message.ClientCertInvalid},
		{"by way of one that is no authority", chain(issue(good, nil), good), message.ClientCertInvalid},
		{"by itself", chain(other), message.ClientCertInvalid},
		{"expired", chain(with(func(c *x509.Certificate) { c.NotAfter = at.Add(-time.Second) })), message.ClientCertInvalid},
		{"not yet valid", chain(with(func(c *x509.Certificate) { c.NotBefore = at.Add(time.Second) })), message.ClientCertInvalid},
		{"NUL in a name", chain(with(func(c *x509.Certificate) { c.Subject.CommonName = "app\x00.bank.example" })), message.ClientCertInvalid},
		{"line end in an alternative name", chain(with(func(c *x509.Certificate) { c.EmailAddresses = []string{"a@b.example\r\nX: y"} })), message.ClientCertInvalid},
		{"too many", chain(good, root, root, root, root, root, root, root, root, root, root), message.ClientCertInvalid},
		{"none", nil, message.ClientCertMissing},
	} {
		id, refusal := a.Verify(test.chain, at)
		got := message.ReasonNone
		if refusal != nil {
			got = refusal.Reason
		}
		if got != test.want || (id == nil) != (refusal != nil) {
			t.Errorf("%s: %v %v, want %v", test.name, got, refusal, test.want)
		}
	}
	if a.Len() != 1 || a.Degraded() {
		t.Errorf("%d authorities, degraded %v", a.Len(), a.Degraded())
	}
}

func TestCertificateClaims(t *testing.T) {
	root := issue(nil, nil)
	client := issue(root, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: `ap"p,O=Evil`, Organization: []string{"Bank"}}
		c.DNSNames, c.EmailAddresses = []string{"app.bank.example", "b.example"}, []string{"app@bank.example"}
		c.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 1)}
		c.URIs = []*url.URL{must(url.Parse("spiffe://bank.example/app"))}
	})
	a, _ := openAuthorities(t, root.pem(), AuthoritiesOptions{Attach: func(id *message.Identity) { id.Consumer = string(id.Claim("cn").Text) }})
	id, refusal := a.Verify(chain(client), at)
	if refusal != nil {
		t.Fatal(refusal)
	}
	var got map[string]any
	if err := json.Unmarshal(id.Raw, &got); err != nil {
		t.Fatalf("%v: %s", err, id.Raw)
	}
	if len(got) != len(id.Claims) || id.Consumer != `ap"p,O=Evil` {
		t.Errorf("%d members, %d claims, consumer %q", len(got), len(id.Claims), id.Consumer)
	}
	for name, want := range map[string]string{
		"sub": `"CN=ap\\\"p\\,O=Evil,O=Bank"`, "iss": `"CN=Root,O=Bank"`, "cn": `"ap\"p,O=Evil"`, "serial": `"abc"`,
		"dns": `["app.bank.example","b.example"]`, "email": `["app@bank.example"]`, "uri": `["spiffe://bank.example/app"]`, "ip": `["192.0.2.1"]`,
	} {
		c := id.Claim(name)
		if c == nil || string(c.Raw) != want {
			t.Errorf("%s: %+v, want %s", name, c, want)
			continue
		}
		if text, ok := parseText(c.Raw); ok != (c.Text != nil) || string(text) != string(c.Text) {
			t.Errorf("%s: %q and %s", name, c.Text, c.Raw)
		}
	}
	if sub := string(id.Claim("sub").Text); !strings.Contains(sub, `\,O=Evil`) {
		t.Errorf("a name could pass for two: %s", sub)
	}
	if n := len(id.Claim("fingerprint").Text); n != 64 {
		t.Errorf("a fingerprint of %d digits", n)
	}
}

// A certificate that was verified is known again until the first of its chain expires, or the authorities change.
func TestCertificatesAreRemembered(t *testing.T) {
	root := issue(nil, nil)
	between := issue(root, func(c *x509.Certificate) {
		asAuthority(c)
		c.NotAfter = at.Add(time.Minute)
	})
	client := issue(between, nil)
	attached := 0
	a, path := openAuthorities(t, root.pem(), AuthoritiesOptions{Attach: func(*message.Identity) { attached++ }})
	verify := func(now time.Time, list ...*authority) *message.Identity {
		id, _ := a.Verify(chain(list...), now)
		return id
	}
	first := verify(at, client, between)
	if first == nil || verify(at, client, between) != first || verify(at, client) != first || attached != 1 {
		t.Errorf("%+v, attached %d", first, attached)
	}
	if verify(at.Add(time.Minute+time.Second), client, between) != nil {
		t.Error("known although a certificate of the chain has expired")
	}
	other := issue(nil, nil)
	writeFile(t, path, other.pem()+root.pem())
	a.watch.check()
	if second := verify(at, client, between); second == nil || second == first || a.Len() != 2 {
		t.Error("it was not verified anew")
	}
	writeFile(t, path, "no certificate")
	a.watch.check()
	if !a.Degraded() || verify(at, client, between) == nil {
		t.Error("a broken file has changed something")
	}
	writeFile(t, path, other.pem())
	a.watch.check()
	if a.Degraded() || verify(at, client, between) != nil {
		t.Error("known although its authority is gone")
	}
	if s := a.Stats(); s.Entries != 1 {
		t.Errorf("%+v", s)
	}
}

func TestParsePoolRefuses(t *testing.T) {
	root := issue(nil, nil)
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")}))
	for _, test := range []struct{ content, want string }{
		{"", "no certificate"},
		{"text", "no certificate"},
		{root.pem() + issue(root, nil).pem(), "certificate 2 is not that of an authority"},
		{root.pem() + key, "block 2 is not of the type"},
		{"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate 1 cannot be read"},
	} {
		if _, err := parsePool([]byte(test.content)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v, want %q", err, test.want)
		}
	}
}
