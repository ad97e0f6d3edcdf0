package limit

import (
	"bytes"
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
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// redis is a server of its own for one test. It forgets everything when it ends.
type redis struct {
	t       testing.TB
	program string
	port    string
	args    []string
	cmd     *exec.Cmd
	out     bytes.Buffer
}

// startRedis starts a server on a free port; args are options beside port and address.
func startRedis(t testing.TB, args ...string) *redis {
	t.Helper()
	r := &redis{t: t, args: args}
	for _, name := range []string{"redis-server", "valkey-server", "/usr/bin/redis-server", "/usr/sbin/redis-server"} {
		if path, err := exec.LookPath(name); err == nil {
			r.program = path
			break
		}
	}
	if r.program == "" {
		testnet.Lacks(t, "redis-server is missing; on Debian, apt-get install redis-server")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, r.port, _ = net.SplitHostPort(ln.Addr().String())
	_ = ln.Close()
	r.start()
	t.Cleanup(func() {
		r.kill()
		if t.Failed() {
			t.Logf("redis-server says:\n%.2000s", r.out.String())
		}
	})
	return r
}

// start starts the server, again on the same port, and waits until it answers.
func (r *redis) start() {
	r.t.Helper()
	args := append([]string{"--port", r.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"}, r.args...)
	r.cmd = exec.Command(r.program, args...)
	r.cmd.Dir, r.cmd.Stdout, r.cmd.Stderr = r.t.TempDir(), &r.out, &r.out
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	testnet.Eventually(r.t, "redis-server", func() bool {
		nc, err := net.DialTimeout("tcp", "127.0.0.1:"+r.port, testnet.Patience)
		if err == nil {
			_ = nc.Close()
		}
		return err == nil
	})
}

// kill ends the server without a chance to say goodbye.
func (r *redis) kill() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
	r.cmd = nil
}

// freeze stops the server where it is, thaw lets it go on: connections stay open, and nothing is answered in between.
func (r *redis) freeze() { _ = r.cmd.Process.Signal(syscall.SIGSTOP) }
func (r *redis) thaw()   { _ = r.cmd.Process.Signal(syscall.SIGCONT) }

func (r *redis) url() string { return "redis://127.0.0.1:" + r.port }

// run runs a command of the server and returns its answer as redis-cli prints it.
func (r *redis) run(args ...string) string {
	r.t.Helper()
	cli := filepath.Join(filepath.Dir(r.program), strings.Replace(filepath.Base(r.program), "-server", "-cli", 1))
	out, err := exec.Command(cli, append([]string{"-p", r.port}, args...)...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("redis-cli %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// since is when the clock of the tests began. Read-only.
var since = time.Now()

// mono is a monotonic clock.
func mono() int64 { return int64(time.Since(since)) + 1 }

// reports collects the lines of a store.
type reports struct {
	mu    sync.Mutex
	lines []string
}

func (r *reports) add(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
}

func (r *reports) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.lines...)
}

// openStore opens a store with a timeout that a busy machine keeps to, unless o says otherwise.
func openStore(t testing.TB, o StoreOptions) (*Store, *reports) {
	t.Helper()
	lines := &reports{}
	o.Now, o.Report = mono, lines.add
	if o.Timeout == 0 {
		o.Timeout = time.Second
	}
	s, err := OpenStore(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, lines
}

func available(t testing.TB, stores ...*Store) {
	t.Helper()
	for _, s := range stores {
		testnet.Eventually(t, "the store", s.Available)
	}
}

func newShared(t testing.TB, o SharedOptions) *Shared {
	t.Helper()
	sh, err := NewShared(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sh.Close)
	return sh
}

// ask takes one request at the present time.
func ask(l Limiter, key string, cost int64) Result {
	var r Result
	l.Take([]byte(key), cost, mono(), time.Now().UnixNano(), &r)
	return r
}

// authority makes a certificate for 127.0.0.1 in files, and returns them with who trusts it.
func authority(t *testing.T) (certFile, keyFile string, trust *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(certFile, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return certFile, keyFile, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}
