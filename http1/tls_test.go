package http1

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// certificate makes a certificate for the length of a test.
func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// secured serves one connection with TLS and returns its client.
func secured(t *testing.T, p *proxy) *testnet.Client {
	t.Helper()
	client, server := testnet.TCPPair(t)
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		nc := tls.Server(server, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
		ServeConn(nc, Peer{Addr: peerOf, Server: "a.example", Life: p.life}, p.server, p)
	}()
	return testnet.NewClient(t, tls.Client(client, &tls.Config{InsecureSkipVerify: true})) // the certificate is not what is tested
}

// What is done with plain sockets by other means works over TLS too.
func TestSecured(t *testing.T) {
	t.Run("exchanges", func(t *testing.T) {
		p := newProxy(t, mirror, nil)
		c := secured(t, p)
		for _, size := range []int{0, 1, 100_000, 1 << 20} {
			body := noise(size)
			sent := make(chan error, 1)
			go func() { sent <- c.TrySend(post("/", body)) }()
			r := c.ReadResponse("POST")
			if err := <-sent; err != nil || string(r.Body) != body {
				t.Fatalf("%d bytes came as %d, %v", size, len(r.Body), err)
			}
		}
		c.Send(get("/1") + get("/2")[:10])
		want(t, c.ReadResponse("GET"), 200, "")
		c.Send(get("/2")[10:])
		want(t, c.ReadResponse("GET"), 200, "")
		c.CloseWrite()
		c.WantEOF()
	})
	t.Run("idle", func(t *testing.T) {
		p := newProxy(t, echo, func(p *proxy) { p.server.IdleTimeout = 30 * time.Millisecond })
		c := secured(t, p)
		want(t, c.Do("GET", get("/")), 200, "GET / ")
		c.WantEOF()
	})
	t.Run("half a head", func(t *testing.T) {
		p := newProxy(t, echo, func(p *proxy) { p.server.HeaderTimeout = 300 * time.Millisecond })
		c := secured(t, p)
		c.Send("GET / HTTP/1.1\r\n")
		if r := c.ReadResponse("GET"); r.Status != 408 {
			t.Errorf("%d %v", r.Status, r.Header)
		}
		c.WantEOF()
	})
	t.Run("draining", func(t *testing.T) {
		p := newProxy(t, echo, nil)
		c := secured(t, p)
		want(t, c.Do("GET", get("/")), 200, "GET / ")
		p.life.drain.Store(true)
		r := c.Do("GET", get("/"))
		if want(t, r, 200, "GET / "); r.Header.Get("Connection") != "close" {
			t.Errorf("%v", r.Header)
		}
		c.WantEOF()
	})
	// The end of TLS is an orderly end by itself, so it must not stand behind a body cut short.
	t.Run("cut short", func(t *testing.T) {
		p := newProxy(t, once("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", nil), nil)
		c := secured(t, p)
		c.Send("GET / HTTP/1.0\r\n\r\n")
		if r, err := c.TryResponse("GET"); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("a response that was cut short ended in order: %+v, %v", r, err)
		}
	})
	t.Run("tunnel", func(t *testing.T) {
		p := newProxy(t, switchTo(echoBytes), nil)
		c := secured(t, p)
		c.Send(webSocket + "early")
		if r := c.ReadResponse("GET"); r.Status != 101 {
			t.Fatalf("%d %v", r.Status, r.Header)
		}
		c.WantPrefix("early")
		c.CloseWrite()
		c.WantEOF()
	})
}
