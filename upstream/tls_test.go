package upstream

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// authority signs certificates for a test, and writes them to files.
type authority struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err == nil {
		a.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// file writes a file and returns its name.
func (a *authority) file(name string, blocks ...*pem.Block) string {
	a.t.Helper()
	var data []byte
	for _, b := range blocks {
		data = append(data, pem.EncodeToMemory(b)...)
	}
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

func (a *authority) block() *pem.Block { return &pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw} }

// pair makes a certificate for a name or an address, and its key, as files.
func (a *authority) pair(name string) (cert, key string) {
	a.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	own := newKey(a.t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &own.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.file(name+".pem", &pem.Block{Type: "CERTIFICATE", Bytes: der}), a.file(name+".key", &pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

func TestClientTLSRefusesBadFiles(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	cert, key := a.pair("client.example")
	_, wrongKey := other.pair("client.example")
	broken := a.block()
	broken.Bytes = broken.Bytes[:50]
	for _, test := range []struct {
		name string
		o    TLSOptions
		want []string // what the error says
	}{
		{"no such CA", TLSOptions{CA: filepath.Join(a.dir, "none.pem")}, []string{"ca", "none.pem"}},
		{"empty CA", TLSOptions{CA: a.file("empty.pem")}, []string{"ca", "empty.pem", "no certificate"}},
		{"key for a CA", TLSOptions{CA: key}, []string{"ca", "client.example.key", "private key"}},
		{"second certificate broken", TLSOptions{CA: a.file("broken.pem", a.block(), broken)}, []string{"ca", "broken.pem", "certificate 2"}},
		{"no such certificate", TLSOptions{Cert: filepath.Join(a.dir, "none.pem"), Key: key}, []string{"cert", "none.pem"}},
		{"another key", TLSOptions{Cert: cert, Key: wrongKey}, []string{"cert", cert, "private key does not match"}},
		{"half a pair", TLSOptions{Cert: cert}, []string{"cert and key"}},
	} {
		_, err := ClientTLS(test.o)
		if err == nil {
			t.Errorf("%s: no error", test.name)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", test.name, err, want)
			}
		}
		// A configuration with such a file is refused, and so is an endpoint.
		o := Default()
		o.Name, o.TLS = "shop", &test.o
		o.Endpoints = []EndpointOptions{{Address: "127.0.0.1:1", Weight: 1}}
		if _, err := New(o, newKeeper(), nil); err == nil || !strings.Contains(err.Error(), test.want[0]) {
			t.Errorf("%s: a backend is made of it: %v", test.name, err)
		}
		if _, err := NewEndpoint("shop", o.Transport("127.0.0.1:1", ""), nil); err == nil {
			t.Errorf("%s: an endpoint is made of it", test.name)
		}
	}
}

func TestClientTLS(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.pair("client.example")
	c, err := ClientTLS(TLSOptions{ServerName: "db.example", CA: a.file("ca.pem", a.block(), a.block()), Cert: cert, Key: key, TLS13: true}, "h2", "http/1.1")
	if err != nil {
		t.Fatal(err)
	}
	if c.ServerName != "db.example" || c.RootCAs == nil || len(c.Certificates) != 1 || c.MinVersion != tls.VersionTLS13 || c.InsecureSkipVerify ||
		strings.Join(c.NextProtos, " ") != "h2 http/1.1" {
		t.Errorf("%+v", c)
	}
	c, err = ClientTLS(TLSOptions{Insecure: true})
	if err != nil || !c.InsecureSkipVerify || c.RootCAs != nil || c.MinVersion != tls.VersionTLS12 || c.NextProtos != nil || c.Certificates != nil {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestHTTPOverTLS: who the endpoint is decides, in a real handshake.
func TestHTTPOverTLS(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	ca, otherCA := a.file("ca.pem", a.block()), other.file("ca.pem", other.block())
	clientCert, clientKey := a.pair("client.example")
	for _, test := range []struct {
		name   string
		server string // of the certificate
		o      TLSOptions
		config func(*tls.Config) // of the endpoint
		want   message.Reason
	}{
		{"by address", "127.0.0.1", TLSOptions{CA: ca}, nil, message.ReasonNone},
		{"by name", "db.example", TLSOptions{CA: ca, ServerName: "db.example"}, nil, message.ReasonNone},
		{"wrong name", "db.example", TLSOptions{CA: ca}, nil, message.UpstreamTLSFailed},
		{"unknown signer", "127.0.0.1", TLSOptions{CA: otherCA}, nil, message.UpstreamTLSFailed},
		{"not verified", "db.example", TLSOptions{Insecure: true}, nil, message.ReasonNone},
		{"client certificate", "127.0.0.1", TLSOptions{CA: ca, Cert: clientCert, Key: clientKey}, func(c *tls.Config) {
			c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
			c.ClientCAs.AddCert(a.cert)
		}, message.ReasonNone},
		{"no client certificate", "127.0.0.1", TLSOptions{CA: ca}, func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }, message.UpstreamTLSFailed},
		{"too old", "127.0.0.1", TLSOptions{CA: ca, TLS13: true}, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, message.UpstreamTLSFailed},
		{"other protocols", "127.0.0.1", TLSOptions{CA: ca}, func(c *tls.Config) { c.NextProtos = []string{"postgresql"} }, message.UpstreamTLSFailed},
	} {
		t.Run(test.name, func(t *testing.T) {
			cert, key := a.pair(test.server)
			own, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			config := &tls.Config{Certificates: []tls.Certificate{own}, NextProtos: []string{"http/1.1"}}
			if test.config != nil {
				test.config(config)
			}
			o := newTLSOrigin(t, config)
			b := overHTTP1(t, func(opts *Options) { opts.TLS = &test.o }, o.Addr().String())
			body, failure, _ := exchange(b, "GET", "")
			switch {
			case test.want == message.ReasonNone && (failure != nil || body != "ok"):
				t.Errorf("%q, %v", body, failure)
			case test.want != message.ReasonNone && (failure == nil || failure.Reason != test.want || failure.Retry != message.RetryUnsent):
				t.Errorf("failure %+v, want %v", failure, test.want)
			case test.want != message.ReasonNone && o.requests.Load() != 0:
				t.Error("the endpoint has got a request")
			}
		})
	}
}

// tlsOrigin answers every request over TLS.
type tlsOrigin struct {
	net.Listener
	requests atomic.Int64
}

func newTLSOrigin(t testing.TB, config *tls.Config) *tlsOrigin {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &tlsOrigin{Listener: tls.NewListener(l, config)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := o.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for {
					if _, err := readRequest(r); err != nil {
						return
					}
					o.requests.Add(1)
					if _, err := io.WriteString(conn, okAnswer); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { // before it the backend is closed, and with it the connections
		_ = o.Close()
		wg.Wait()
	})
	return o
}
