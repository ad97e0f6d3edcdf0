package cert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// made is a self-signed certificate with its key.
type made struct {
	leaf *x509.Certificate
	cert []byte // PEM
	key  []byte // PEM
}

func ecKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// template is valid from an hour ago for a year.
func template(names ...string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{Organization: []string{"Sluice tests"}},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(1, 0, 0),
		DNSNames:     names,
	}
}

func sign(t testing.TB, tmpl *x509.Certificate, key crypto.Signer) made {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return made{
		leaf: leaf,
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}
}

// issue makes a certificate for names with an ECDSA key.
func issue(t testing.TB, names ...string) made {
	t.Helper()
	return sign(t, template(names...), ecKey(t))
}

// put writes a file below dir and returns its path.
func put(t testing.TB, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// save writes the pair m under a name and returns its files.
func save(t testing.TB, dir, name string, m made) Files {
	t.Helper()
	return Files{Cert: put(t, dir, name+".pem", m.cert), Key: put(t, dir, name+".key", m.key)}
}

// open opens a store that looks at its files only when it is told to.
func open(t testing.TB, o Options, files ...Files) *Store {
	t.Helper()
	o.Interval = -1
	s, err := Open(files, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// shake performs a handshake between c and a client and returns what both know of it.
func shake(t testing.TB, server, client *tls.Config) (atServer, atClient tls.ConnectionState) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	cs, cc := tls.Server(a, server), tls.Client(b, client)
	failed := make(chan error, 1)
	go func() {
		err := cs.Handshake()
		if err == nil {
			_, err = cs.Write([]byte("x")) // carries the tickets of TLS 1.3 before it
		}
		failed <- err
	}()
	if err := cc.Handshake(); err != nil {
		t.Fatal(err)
	}
	if _, err := cc.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	return cs.ConnectionState(), cc.ConnectionState()
}

// ask returns the serial number of the certificate that a client is shown for a name.
func ask(t testing.TB, s *Store, name string) *big.Int {
	t.Helper()
	_, state := shake(t, s.Config(0, "http/1.1"), &tls.Config{ServerName: name, InsecureSkipVerify: true})
	return state.PeerCertificates[0].SerialNumber
}
