package listen

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/cert"
)

// certify writes a self-signed certificate for names into dir.
func certify(t testing.TB, dir, file string, names ...string) cert.Files {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	f := cert.Files{Cert: filepath.Join(dir, file+".pem"), Key: filepath.Join(dir, file+".key")}
	for path, block := range map[string]*pem.Block{f.Cert: {Type: "CERTIFICATE", Bytes: der}, f.Key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// store holds certificates for a.example, which is the default, and *.b.example.
func store(t testing.TB) *cert.Store {
	t.Helper()
	dir := t.TempDir()
	s, err := cert.Open([]cert.Files{certify(t, dir, "a", "a.example"), certify(t, dir, "b", "*.b.example")}, cert.Options{Interval: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// secureOptions are those of a TLS listener whose codec is w.
func secureOptions(t testing.TB, w *words) (*Options, *Metrics, *reports) {
	t.Helper()
	m, told := counters(), &reports{}
	o := &Options{Name: "test", Protocols: Protocols{HTTP1: w}, Metrics: m, Report: told.add}
	o.TLS = store(t).Config(tls.VersionTLS12, o.Protocols.Words()...)
	return o, m, told
}

// secureConnect shakes hands as a client.
func secureConnect(t testing.TB, l *Listener, config *tls.Config) (*client, *tls.Conn) {
	t.Helper()
	c := tls.Client(connect(t, l), config)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return clientOf(t, c), c
}

func TestTLS(t *testing.T) {
	w := &words{busy: make(chan *Conn, 1)}
	o, m, told := secureOptions(t, w)
	l := start(t, o)
	tests := []struct {
		sni  string
		alpn []string
		max  uint16
		cert string // name in the certificate that is shown
		want TLSInfo
	}{
		{"a.example", []string{"http/1.1"}, 0, "a.example", TLSInfo{ServerName: "a.example", Protocol: "http/1.1", Version: tls.VersionTLS13}},
		{"X.B.example", nil, tls.VersionTLS12, "*.b.example", TLSInfo{ServerName: "x.b.example", Version: tls.VersionTLS12}},
		{"other.example", []string{"h2", "http/1.1"}, 0, "a.example", TLSInfo{ServerName: "other.example", Protocol: "http/1.1", Version: tls.VersionTLS13}},
		{"", nil, 0, "a.example", TLSInfo{Version: tls.VersionTLS13}},
	}
	for i, tt := range tests {
		c, tc := secureConnect(t, l, &tls.Config{ServerName: tt.sni, NextProtos: tt.alpn, MaxVersion: tt.max, InsecureSkipVerify: true})
		if got := tc.ConnectionState().PeerCertificates[0].DNSNames[0]; got != tt.cert {
			t.Errorf("%q is shown the certificate of %s, want %s", tt.sni, got, tt.cert)
		}
		c.send("x")
		c.want("x")
		conn := await(t, "the request", w.busy)
		got := *conn.TLS()
		if got.Cipher == 0 {
			t.Error("no cipher suite")
		}
		if got.Cipher = 0; got != tt.want {
			t.Errorf("%q: %+v, want %+v", tt.sni, got, tt.want)
		}
		if _, ok := conn.NetConn().(*tls.Conn); !ok || conn.ServerName() != tt.want.ServerName {
			t.Errorf("connection is a %T for %q", conn.NetConn(), conn.ServerName())
		}
		if m.Handshakes.Value() != uint64(i+1) {
			t.Errorf("%d handshakes counted, want %d", m.Handshakes.Value(), i+1)
		}
		c.Close()
	}
	if all := told.all(); len(all) != 0 {
		t.Errorf("reported %q", all)
	}
}

func TestTLSResumptionAcrossSwap(t *testing.T) {
	o, m, _ := secureOptions(t, &words{})
	l := start(t, o)
	client := &tls.Config{ServerName: "a.example", InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for range 2 {
		c, _ := secureConnect(t, l, client)
		c.send("x")
		c.want("x")
		c.Close()
		next := *o // as a reload that keeps the TLS configuration
		l.Swap(&next)
	}
	if m.Handshakes.Value() != 1 || m.Resumed.Value() != 1 {
		t.Errorf("%d handshakes, %d resumed, want 1, 1", m.Handshakes.Value(), m.Resumed.Value())
	}
}

func TestHandshakeTrouble(t *testing.T) {
	tests := []struct {
		name    string
		timeout time.Duration
		do      func(t *testing.T, c *client)
		counter func(*Metrics) uint64
		report  string // "" for none
	}{
		{
			"silent client", 20 * time.Millisecond, func(t *testing.T, c *client) { c.wantEnd() },
			func(m *Metrics) uint64 { return m.HandshakeTimeout.Value() }, "timeout",
		}, {
			// One deadline for the whole handshake: bytes that keep coming do not extend it (security case 46).
			"slow client", 50 * time.Millisecond, func(t *testing.T, c *client) {
				if _, err := c.Write([]byte{22, 3, 1, 0x40, 0}); err != nil { // a record of 16 KiB, at a byte in a millisecond
					t.Fatal(err)
				}
				for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
					if _, err := c.Write([]byte{1}); err != nil {
						return
					}
				}
				t.Error("the deadline never came")
			},
			func(m *Metrics) uint64 { return m.HandshakeTimeout.Value() }, "timeout",
		}, {
			"client that leaves", 0, func(t *testing.T, c *client) { c.Close() },
			func(m *Metrics) uint64 { return m.HandshakeClosed.Value() }, "",
		}, {
			"plain HTTP", 0, func(t *testing.T, c *client) {
				c.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r")
				b, _ := io.ReadAll(c.r)
				if answer := string(b); !strings.HasPrefix(answer, "HTTP/1.1 400 Bad Request\r\n") || !strings.HasSuffix(answer, "https:// first\n") ||
					!strings.Contains(answer, "Connection: close\r\n") {
					t.Errorf("answered %q", answer)
				}
			},
			func(m *Metrics) uint64 { return m.HandshakeFailed.Value() }, "speaks plain HTTP",
		}, {
			"rubbish", 0, func(t *testing.T, c *client) {
				c.send("\x00\x01\x02\x03\x04\x05\x06\x07")
				_, _ = io.ReadAll(c.r)
			},
			func(m *Metrics) uint64 { return m.HandshakeFailed.Value() }, "does not look like a TLS handshake",
		}, {
			"old version", 0, func(t *testing.T, c *client) {
				err := tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}).Handshake()
				if err == nil || !strings.Contains(err.Error(), "protocol version") {
					t.Errorf("handshake: %v", err)
				}
			},
			func(m *Metrics) uint64 { return m.HandshakeFailed.Value() }, "unsupported versions",
		}, {
			"protocol that is not spoken", 0, func(t *testing.T, c *client) {
				err := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"smtp"}}).Handshake()
				if err == nil || !strings.Contains(err.Error(), "no application protocol") {
					t.Errorf("handshake: %v", err)
				}
			},
			func(m *Metrics) uint64 { return m.HandshakeFailed.Value() }, "unsupported application protocols",
		}, {
			"client that does not trust the certificate", 0, func(t *testing.T, c *client) {
				if err := tls.Client(c, &tls.Config{ServerName: "a.example", MaxVersion: tls.VersionTLS12}).Handshake(); err == nil {
					t.Error("the self-signed certificate is trusted")
				}
			},
			func(m *Metrics) uint64 { return m.HandshakeFailed.Value() }, "127.0.0.1: the client refused: tls: ",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, m, told := secureOptions(t, &words{})
			o.HandshakeTimeout = tt.timeout
			l := start(t, o)
			tt.do(t, connect(t, l))
			eventually(t, "the count", func() bool { return tt.counter(m) == 1 })
			eventually(t, "the end", func() bool { return l.Open() == 0 })
			all := told.all()
			switch {
			case tt.report == "" && len(all) > 0:
				t.Errorf("reported %q", all)
			case tt.report != "" && (len(all) != 1 || !strings.Contains(all[0], tt.report) || !strings.Contains(all[0], "1 TLS handshakes failed")):
				t.Errorf("reported %q, want one line with %q", all, tt.report)
			}
		})
	}
}

// A TLS connection drains as a plain one does, and a request that comes while it lingers is served.
func TestDrainTLS(t *testing.T) {
	w := &words{linger: 2 * patience, waiting: make(chan *Conn, 10)}
	o, _, _ := secureOptions(t, w)
	l := start(t, o)
	c, _ := secureConnect(t, l, &tls.Config{InsecureSkipVerify: true})
	c.send("a")
	c.want("a")
	await(t, "the idle connection", w.waiting)
	await(t, "the idle connection", w.waiting)
	done := drain(t.Context(), l, 0)
	await(t, "the nudge", w.waiting)
	c.send("b")
	c.want("b last")
	c.wantEnd()
	if cut := await(t, "the drain", done); cut != 0 {
		t.Errorf("%d cut, want 0", cut)
	}
}

// The end of a listener does not wait for clients that are silent in their handshake.
func TestCloseDuringHandshake(t *testing.T) {
	o, _, _ := secureOptions(t, &words{})
	o.HandshakeTimeout = time.Hour
	l := start(t, o)
	c := connect(t, l)
	eventually(t, "the connection", func() bool { return l.Open() == 1 })
	l.Close()
	await(t, "the end", l.Ended())
	c.wantEnd()
}

func TestHandshakePanic(t *testing.T) {
	o, m, told := secureOptions(t, &words{})
	o.TLS.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { panic("bad store") }
	l := start(t, o)
	if err := tls.Client(connect(t, l), &tls.Config{InsecureSkipVerify: true}).Handshake(); err == nil {
		t.Error("the handshake succeeded")
	}
	eventually(t, "the count", func() bool { return m.Panicked.Value() == 1 && l.Open() == 0 })
	if all := told.all(); len(all) != 1 || !strings.Contains(all[0], "bad store") {
		t.Errorf("reported %q", all)
	}
}

func TestPlainAnswerIsFramed(t *testing.T) {
	head, body, ok := strings.Cut(plainAnswer, "\r\n\r\n")
	if !ok || !strings.Contains(head, "\r\nContent-Length: 54\r\n") || len(body) != 54 {
		t.Errorf("the answer has %d bytes behind %q", len(body), head)
	}
}

var _ net.Conn = (*client)(nil)
