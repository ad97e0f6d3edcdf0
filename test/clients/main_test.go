// Package clients lets programs that others have written talk through a whole gateway: redis-cli with redis-server, dig with dnsmasq, and curl. What two
// halves of one project take for the protocol they may have in common by mistake; with these they do not.
//
// Missing programs are installed where that is possible (root on Debian); elsewhere the tests that need them are skipped and say so. With
// SLUICE_NO_INSTALL in the environment nothing is installed.
package clients

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/leak"
	"github.com/sluice-gateway/sluice/internal/testnet"
)

func TestMain(m *testing.M) { leak.Main(m) }

// packages says which package of Debian has a program. Read-only.
var packages = map[string]string{
	"redis-server": "redis-server", "redis-cli": "redis-tools", "dig": "bind9-dnsutils", "dnsmasq": "dnsmasq-base", "curl": "curl",
}

// installing runs once, for all programs that are missing.
var installing = sync.OnceValue(install)

// need returns the paths of programs, and skips the test if one cannot be had.
func need(t *testing.T, names ...string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range names {
		path := find(name)
		if path == "" {
			problem := installing()
			if path = find(name); path == "" {
				if mayInstall() {
					t.Fatalf("%s is missing, and could not be installed: %v", name, problem)
				}
				t.Skipf("NOT TESTED, because %s is missing: %v", name, problem)
			}
		}
		all[name] = path
	}
	return all
}

// find looks for a program in PATH and where servers are kept.
func find(name string) string {
	for _, candidate := range []string{name, filepath.Join("/usr/sbin", name), filepath.Join("/usr/bin", name)} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	return ""
}

// mayInstall reports whether there is everything for installing programs: then a program that is missing all the same is a failure.
func mayInstall() bool {
	return os.Getenv("SLUICE_NO_INSTALL") == "" && find("apt-get") != "" && os.Geteuid() == 0
}

// install installs what is missing of all programs.
func install() error {
	var missing []string
	for name, pkg := range packages {
		if find(name) == "" {
			missing = append(missing, pkg)
		}
	}
	slices.Sort(missing)
	command := "apt-get install " + strings.Join(missing, " ")
	apt := find("apt-get")
	switch {
	case os.Getenv("SLUICE_NO_INSTALL") != "":
		return fmt.Errorf("SLUICE_NO_INSTALL is set; run %s", command)
	case apt == "":
		return fmt.Errorf("there is no apt-get here; install %s in this system's way", strings.Join(missing, ", "))
	case os.Geteuid() != 0:
		return fmt.Errorf("installing needs root; run %s", command)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	for _, args := range [][]string{{"update", "-q"}, append([]string{"install", "-q", "-y", "--no-install-recommends"}, missing...)} {
		cmd := exec.CommandContext(ctx, apt, append([]string{"-o", "DPkg::Lock::Timeout=60"}, args...)...)
		// RUNLEVEL keeps the packages from starting their services: the tests start their own, on free ports.
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, last(out, 300))
		}
	}
	return nil
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
