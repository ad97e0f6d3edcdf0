package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/internal/testnet"
)

// buffer is an io.Writer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// running is a gateway under test.
type running struct {
	*Gateway
	t            testing.TB
	reports, out buffer
}

// start makes a gateway and lets it serve a configuration.
func start(t testing.TB, text string) *running {
	t.Helper()
	g := &running{t: t}
	g.Gateway = New(Options{
		Version: "test", Stdout: &g.out,
		Report: func(line string) { _, _ = g.reports.Write([]byte(line + "\n")) },
	})
	t.Cleanup(g.Close)
	if text != "" {
		g.take(text)
	}
	return g
}

// parse reads a text that must be valid. Files in it are relative to the temporary folder.
func parse(t testing.TB, text string) *config.Config {
	t.Helper()
	c, err := Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, text)
	}
	return c
}

// take lets the gateway take over a configuration.
func (g *running) take(text string) {
	g.t.Helper()
	if err := g.Apply(parse(g.t, text)); err != nil {
		g.t.Fatalf("%v\nin\n%s", err, text)
	}
}

// address returns the address of a listener.
func (g *running) address(listener string) string {
	g.t.Helper()
	a := g.Addr(listener)
	if a == nil {
		g.t.Fatalf("there is no listener %q", listener)
	}
	return a.String()
}

// dial connects to a listener.
func (g *running) dial(listener string) *testnet.Client {
	g.t.Helper()
	return testnet.Dial(g.t, g.address(listener))
}

// metric returns the value of a series as it stands on the page, or "".
func (g *running) metric(series string) string {
	g.t.Helper()
	var b strings.Builder
	if _, err := g.Registry().WriteTo(&b); err != nil {
		g.t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if v, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// wait waits until g is ready.
func (g *running) wait() {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testnet.Patience)
	defer cancel()
	if err := g.WaitReady(ctx); err != nil {
		g.t.Fatal(err)
	}
}

// get is a GET request.
func get(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: example.test\r\n\r\n" }

// want asks on a connection and compares the body of the answer.
func want(t testing.TB, c *testnet.Client, path string, status int, body string) {
	t.Helper()
	r := c.Do("GET", get(path))
	if r.Status != status || body != "" && string(r.Body) != body {
		t.Fatalf("%s: answer %d %q, want %d %q", path, r.Status, r.Body, status, body)
	}
}

// fixed is a configuration with one listener that answers with a text.
func fixed(text string) string {
	return fmt.Sprintf("version: 1\nlisteners: {web: {address: \"127.0.0.1:0\", protocol: http}}\nroutes:\n  - respond: {text: %q}\n", text)
}

// forwarding is a configuration with a backend app.
func forwarding(endpoints ...string) string {
	return fmt.Sprintf("version: 1\nlisteners: {web: {address: \"127.0.0.1:0\", protocol: http}}\nroutes:\n  - {name: all, backend: app}\nbackends:\n"+
		"  app: {endpoints: [%s]}\n", strings.Join(endpoints, ", "))
}

// refused reports whether nobody listens at an address.
func refused(address string) bool {
	nc, err := net.DialTimeout("tcp", address, testnet.Patience)
	if err == nil {
		_ = nc.Close()
	}
	return err != nil
}

// ok is the answer of an origin.
func ok(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// held is an origin whose answers wait until the channel is closed.
func held(t testing.TB, body string) (o *testnet.Origin, open chan struct{}) {
	open = make(chan struct{})
	return testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		for {
			if _, read := c.ReadRequest(); !read || !c.Wait(open) || !c.Send(ok(body)) {
				return
			}
		}
	}), open
}

// write writes a file of a test.
func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// certificate writes a certificate for a name and its key into a folder.
func certificate(t testing.TB, dir, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
	return cert, key
}
