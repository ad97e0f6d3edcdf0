package clients

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/test/rig"
)

// issuer signs certificates that curl is told to trust.
type issuer struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{t: t, dir: t.TempDir()}
	i.cert, i.key = i.sign("ca", true)
	return i
}

// sign makes a certificate in NAME.pem and NAME.key.
func (i *issuer) sign(name string, ca bool) (*x509.Certificate, *ecdsa.PrivateKey) {
	i.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: ca, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	parent, signer := i.cert, i.key
	if ca {
		template.KeyUsage |= x509.KeyUsageCertSign
		parent, signer = template, key
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		i.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		i.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(filepath.Join(i.dir, name+file), pem.EncodeToMemory(block), 0o600); err != nil {
			i.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		i.t.Fatal(err)
	}
	return cert, key
}

// origin is a server that ends TLS itself, speaks HTTP/2 and HTTP/1.1, and says who it is.
func (i *issuer) origin(name string) string {
	i.t.Helper()
	i.sign(name, false)
	pair, err := tls.LoadX509KeyPair(filepath.Join(i.dir, name+".pem"), filepath.Join(i.dir, name+".key"))
	if err != nil {
		i.t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s by %s to %s", name, r.Proto, r.TLS.ServerName)
	}))
	s.TLS, s.EnableHTTP2 = &tls.Config{Certificates: []tls.Certificate{pair}}, true
	s.StartTLS()
	i.t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// TestCurl: curl by server name through TLS that is passed on, with a certificate of the origin that it verifies; and by HTTP to a listener that ends TLS.
func TestCurl(t *testing.T) {
	t.Parallel()
	program := need(t, "curl")["curl"]
	ca := newIssuer(t)
	shop, mail := ca.origin("shop.test"), ca.origin("mail.test")
	ca.sign("web.test", false)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %s %s %d", r.Method, r.Host, r.URL, r.Header.Get("X-Forwarded-Proto"), len(body))
	}))
	t.Cleanup(app.Close)
	g := rig.Start(t, fmt.Sprintf(`version: 1
access_log: stdout
listeners:
  passthrough: {address: "127.0.0.1:0", protocol: tls, sni: {shop.test: shop, "*.test": mail}}
  web: {address: "127.0.0.1:0", protocol: https, tls: {certificates: [{cert: %[1]q, key: %[2]q}]}}
routes: [{backend: app}]
backends: {shop: {endpoints: [%[3]q]}, mail: {endpoints: [%[4]q]}, app: {endpoints: [%[5]q]}}
`, filepath.Join(ca.dir, "web.test.pem"), filepath.Join(ca.dir, "web.test.key"), shop, mail, strings.TrimPrefix(app.URL, "http://")))
	curl := func(listener, name, path string, args ...string) (string, error) {
		t.Helper()
		_, port, _ := strings.Cut(g.Address(listener), ":")
		all := append([]string{"-sS", "--max-time", "30", "--cacert", filepath.Join(ca.dir, "ca.pem"), "--resolve", name + ":" + port + ":127.0.0.1"}, args...)
		return try(t, nil, program, append(all, "https://"+name+":"+port+path)...)
	}
	for _, c := range []struct {
		name, args, want string
	}{
		{"shop.test", "--http1.1", "shop.test by HTTP/1.1 to shop.test"},
		{"mail.test", "--http1.1", "mail.test by HTTP/1.1 to mail.test"},
		{"shop.test", "--http2", "shop.test by HTTP/2.0 to shop.test"}, // what the two agree on is theirs
		{"shop.test", "--tls-max 1.2", "shop.test by "},
	} {
		if got, err := curl("passthrough", c.name, "/", strings.Fields(c.args)...); err != nil || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s %s: %q, %v; want %q", c.name, c.args, got, err, c.want)
		}
	}
	// A name without a backend: an alert, that curl has words for.
	if got, err := curl("passthrough", "nowhere.example", "/"); err == nil || !strings.Contains(strings.ReplaceAll(got, "_", " "), "unrecognized name") {
		t.Errorf("a name that nobody serves: %q, %v", got, err)
	}
	_, port, _ := strings.Cut(g.Address("web"), ":")
	if got, err := curl("web", "web.test", "/a?b=c"); err != nil || got != "GET web.test:"+port+" /a?b=c https 0" {
		t.Errorf("GET: %q, %v", got, err)
	}
	upload := filepath.Join(t.TempDir(), "upload")
	if err := os.WriteFile(upload, bytes.Repeat([]byte("0123456789abcdef"), 10<<20/16), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-T", upload}, {"-T", upload, "-H", "Transfer-Encoding: chunked"}, {"-T", upload, "-H", "Expect: 100-continue"}} {
		if got, err := curl("web", "web.test", "/up", args...); err != nil || got != "PUT web.test:"+port+" /up https 10485760" {
			t.Errorf("%v: %q, %v", args, got, err)
		}
	}
	// Five requests over one connection.
	got, err := curl("web", "web.test", "/[1-5]", "-w", " %{num_connects};")
	if err != nil || strings.Count(got, " 1;") != 1 || strings.Count(got, " 0;") != 4 {
		t.Errorf("five requests: %q, %v", got, err)
	}
	// curl closes its connection while the origin says that it does too: that may be met by a reset.
	passed := 0
	for _, line := range g.Log(14) {
		if line["listener"] == "passthrough" && line["server_name"] == "shop.test" && line["backend"] == "shop" && (line["reason"] == nil || line["reason"] == "client_reset") {
			passed++
		}
	}
	if passed != 3 {
		t.Errorf("%d lines about connections that were passed on to shop.test, want 3:\n%s", passed, g.Out.String())
	}
}
