// Package clients lets programs that others have written talk through a whole gateway: redis-cli with redis-server, dig with dnsmasq, and curl. What two
// halves of one project take for the protocol they may have in common by mistake; with these they do not.
//
// Missing programs are installed where that is possible (root on Debian); elsewhere the tests that need them are skipped and say so. With
// SLUICE_NO_INSTALL in the environment nothing is installed.
package clients

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/internal/leak"
	"github.com/sluice-gateway/sluice/internal/testnet"
)

func TestMain(m *testing.M) { leak.Main(m) }

// need returns the paths of programs, and skips the test if one cannot be had.
func need(t *testing.T, names ...string) map[string]string {
	t.Helper()
	return testnet.Programs(t, names...)
}

// last returns the end of an output.
func last(out []byte, n int) string { return string(bytes.TrimSpace(out[max(0, len(out)-n):])) }

// run runs a program to its end and returns what it prints. A program that fails fails the test.
func run(t *testing.T, stdin []byte, program string, args ...string) string {
	t.Helper()
	out, err := try(t, stdin, program, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, last([]byte(out), 1000))
	}
	return out
}

func try(t *testing.T, stdin []byte, program string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*testnet.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// output is what a program has printed so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// launch starts a program that goes on until the test ends.
func launch(t *testing.T, program string, args ...string) *output {
	t.Helper()
	out := &output{}
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.TempDir(), out, out
	cmd.WaitDelay = testnet.Patience
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s says:\n%s", filepath.Base(program), last([]byte(out.String()), 2000))
		}
	})
	return out
}

// freePort returns a port that nobody listens on, neither for TCP nor for UDP. It is below those that the system gives to connections and to sockets that
// ask for any.
func freePort(t *testing.T) string {
	t.Helper()
	for range 1000 {
		port := strconv.Itoa(20_000 + rand.IntN(10_000))
		ln, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			continue
		}
		pc, err := net.ListenPacket("udp", "127.0.0.1:"+port)
		_ = ln.Close()
		if err == nil {
			_ = pc.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return ""
}

// accepts waits until somebody accepts connections at a port.
func accepts(t *testing.T, port string) {
	t.Helper()
	testnet.Eventually(t, "the server on port "+port, func() bool {
		nc, err := net.DialTimeout("tcp", "127.0.0.1:"+port, testnet.Patience)
		if err == nil {
			_ = nc.Close()
		}
		return err == nil
	})
}
