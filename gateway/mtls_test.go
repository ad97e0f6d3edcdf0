package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// clientCA issues certificates of clients.
type clientCA struct {
	t    testing.TB
	file string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newClientCA(t testing.TB, file string) *clientCA {
	t.Helper()
	ca := &clientCA{t: t, file: file}
	made := ca.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	ca.cert, ca.key = made.Leaf, made.PrivateKey.(*ecdsa.PrivateKey)
	write(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})))
	return ca
}

// issue makes a certificate, signed by itself if it is the first.
func (ca *clientCA) issue(template *x509.Certificate) *tls.Certificate {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, by := template, key
	if ca.cert != nil {
		parent, by = ca.cert, ca.key
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		ca.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// devices is a configuration whose clients show certificates on some routes.
func devices(cert, key, ca, backend, routes string) string {
	return fmt.Sprintf(`version: 1
listeners:
  secure: {address: "127.0.0.1:0", protocol: https, tls: {certificates: [{cert: %q, key: %q}]}}
consumers: [{name: jane}, {name: door, claims: {dns: door.bank.example}}]
policies:
  devices: {mtls: {ca: %q}}
  keys: {api_key: {}}
  either: {any_of: [devices, keys]}
  told: {request: {headers: {set: {X-Name: "${claims.cn}", X-Print: "${client.cert.fingerprint}", X-Subject: "${client.cert.subject}"}}}}
routes:
  - {name: open, match: {path: /open}, policies: [{request: {headers: {set: {X-Subject: "${client.cert.subject}"}}}}], backend: app}
%sbackends: {app: {endpoints: [%q]}}
`, cert, key, ca, routes, backend)
}

// secure connects to the listener with a certificate, or without one.
func (g *running) secure(shown *tls.Certificate, sessions tls.ClientSessionCache) (c *testnet.Client, asked, resumed bool) {
	g.t.Helper()
	o := &tls.Config{InsecureSkipVerify: true, ServerName: "bank.example", ClientSessionCache: sessions}
	o.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked = true
		if shown == nil {
			return new(tls.Certificate), nil
		}
		return shown, nil
	}
	nc, err := net.DialTimeout("tcp", g.address("secure"), testnet.Patience)
	if err != nil {
		g.t.Fatal(err)
	}
	conn := tls.Client(nc, o)
	_ = conn.SetDeadline(time.Now().Add(testnet.Patience))
	if err := conn.Handshake(); err != nil {
		g.t.Fatal(err)
	}
	return testnet.NewClient(g.t, conn), asked, conn.ConnectionState().DidResume
}

func TestMutualTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir, "bank.example")
	ca, other := newClientCA(t, filepath.Join(dir, "ca.pem")), newClientCA(t, filepath.Join(dir, "other.pem"))
	g := start(t, devices(cert, key, ca.file, telling(t).Addr, "  - {name: door, match: {path: /door}, policies: [either, told], backend: app}\n"))
	named := func(name string) *x509.Certificate { return &x509.Certificate{Subject: pkix.Name{CommonName: name}} }
	old := named("jane")
	old.NotBefore, old.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	door := named("jane")
	door.DNSNames = []string{"door.bank.example"}
	for _, tc := range []struct {
		name  string
		shown *tls.Certificate
		open  string // what the backend gets on the open route
		want  string
	}{
		{"none", nil, "GET /open", "401 credentials_missing; WWW-Authenticate: ClientCertificate, ApiKey"},
		{"good", ca.issue(named("jane")), "GET /open\nX-Subject: CN=jane", "GET /door\nX-Name: jane\nX-Subject: CN=jane\nX-Consumer: jane"},
		{"by its domain", ca.issue(door), "GET /open\nX-Subject: CN=jane", "GET /door\nX-Name: jane\nX-Subject: CN=jane\nX-Consumer: door"},
		{"no consumer", ca.issue(named("joe")), "GET /open\nX-Subject: CN=joe", "GET /door\nX-Name: joe\nX-Subject: CN=joe"},
		{"another authority", other.issue(named("jane")), "GET /open\nX-Subject: CN=jane", "401 client_cert_invalid; WWW-Authenticate: ClientCertificate, ApiKey"},
		{"expired", ca.issue(old), "GET /open\nX-Subject: CN=jane", "401 client_cert_invalid; WWW-Authenticate: ClientCertificate, ApiKey"},
	} {
		c, asked, _ := g.secure(tc.shown, nil)
		if !asked {
			t.Errorf("%s: no certificate was asked for", tc.name)
		}
		r := c.Do("GET", with("/open"))
		if got := lines(r.Body, "X-Subject"); r.Status != 200 || got != tc.open {
			t.Errorf("%s: the open route: %s %s, want %s", tc.name, told(r), got, tc.open)
		}
		for range 2 { // the second time from memory
			r := c.Do("GET", with("/door"))
			got := told(r)
			if r.Status == 200 {
				got = lines(r.Body, "X-Name", "X-Subject", "X-Consumer")
			}
			if got != tc.want {
				t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
			}
		}
	}
}

// TestMutualTLSOverReloads: clients are asked where a route wants to know, from the reload on that makes it want so; a session that is resumed brings the
// certificate along, and one that began without the question is not resumed.
func TestMutualTLSOverReloads(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir, "bank.example")
	ca := newClientCA(t, filepath.Join(dir, "ca.pem"))
	backend := telling(t).Addr
	plain := devices(cert, key, ca.file, backend, "")
	wanting := devices(cert, key, ca.file, backend, "  - {name: door, match: {path: /door}, policies: [devices], backend: app}\n")
	jane := ca.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "jane"}})
	g := start(t, plain)
	sessions := tls.NewLRUClientSessionCache(0)
	ask := func(c *testnet.Client) string {
		c.Do("GET", with("/open")) // what the client is to keep of the session comes with the first answer
		return told(c.Do("GET", with("/door")))
	}
	early, asked, _ := g.secure(jane, sessions)
	if ask(early); asked {
		t.Error("a certificate was asked for although no route wants one")
	}
	if _, _, resumed := g.secure(jane, sessions); !resumed {
		t.Fatal("sessions are not resumed, so that this test shows nothing")
	}
	g.take(wanting)
	if got := ask(early); got != "401 client_cert_missing; WWW-Authenticate: ClientCertificate" {
		t.Errorf("a connection from before: %s", got)
	}
	c, asked, resumed := g.secure(jane, sessions)
	if got := ask(c); !asked || resumed || got != "200" {
		t.Errorf("after the reload: asked %v, resumed %v, %s", asked, resumed, got)
	}
	c, asked, resumed = g.secure(nil, sessions)
	if got := ask(c); asked || !resumed || got != "200" {
		t.Errorf("resumed: asked %v, resumed %v, %s", asked, resumed, got)
	}
	g.take(plain)
	if _, asked, resumed := g.secure(jane, sessions); asked || resumed {
		t.Errorf("without the route: asked %v, resumed %v", asked, resumed)
	}
}
