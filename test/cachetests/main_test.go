// Package cachetests measures the cache by the tests that others have written for HTTP caches: the npm package http-cache-tests, whose results for other
// proxies stand on https://cache-tests.fyi. Its origin server and its client run on both sides of a whole gateway with one route.
//
// Node.js and npm are installed where they are missing and it is possible (root on Debian), unless SLUICE_NO_INSTALL is in the environment; the package
// comes by `npm ci`, pinned by suite/package-lock.json. The figures are printed by
//
//	go test ./test/cachetests -run TestSuite -v
package cachetests

import (
	"bufio"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/leak"
	"github.com/sluice-gateway/sluice/internal/testnet"
)

func TestMain(m *testing.M) { leak.Main(m) }

//go:embed suite
var files embed.FS // read-only

// installed returns the paths of node and npm, installed if they are missing and that is possible.
func installed(t *testing.T) (node, npm string) {
	t.Helper()
	find := func() (missing error) {
		if node, missing = exec.LookPath("node"); missing == nil {
			npm, missing = exec.LookPath("npm")
		}
		return missing
	}
	if find() == nil {
		return node, npm
	}
	problem := install()
	if err := find(); err != nil {
		testnet.Lacks(t, "NOT TESTED, because %v: %v", err, problem)
	}
	return node, npm
}

// install installs node and npm.
func install() error {
	const command = "apt-get install nodejs npm"
	apt, err := exec.LookPath("apt-get")
	switch {
	case os.Getenv("SLUICE_NO_INSTALL") != "":
		return fmt.Errorf("SLUICE_NO_INSTALL is set; run %s", command)
	case err != nil:
		return fmt.Errorf("there is no apt-get here; install nodejs and npm in this system's way")
	case os.Geteuid() != 0:
		return fmt.Errorf("installing needs root; run %s", command)
	}
	// Tests of other packages may be installing something, too: they take the same lock.
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "sluice-test-install.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	for _, args := range [][]string{{"update", "-q"}, {"install", "-q", "-y", "--no-install-recommends", "nodejs", "npm"}} {
		if out, err := execute("", apt, append([]string{"-o", "DPkg::Lock::Timeout=60"}, args...)...); err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, last(out))
		}
	}
	return nil
}

// execute runs a program to its end and returns what it prints.
func execute(dir, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// last returns the end of an output.
func last(out string) string { return strings.TrimSpace(out[max(0, len(out)-1000):]) }

// unpack puts the suite and the packages that it needs into a folder of the test.
func unpack(t *testing.T, npm string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, files); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "suite")
	out, err := execute(dir, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-timeout=30000")
	if err != nil {
		t.Fatalf("npm ci: %v\n%s", err, last(out))
	}
	return dir
}

// suite is the process of the tests.
type suite struct {
	t    *testing.T
	in   io.WriteCloser
	out  *bufio.Reader
	port string
	said strings.Builder // standard error; complete when the process has ended
}

// start starts the process, which ends with the test.
func start(t *testing.T, node, dir string) *suite {
	t.Helper()
	s := &suite{t: t}
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	cmd := exec.CommandContext(ctx, node, "suite.mjs")
	cmd.Dir, cmd.Stderr = dir, &s.said
	var err error
	if s.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer cancel()
		_ = s.in.Close()
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("the suite ended: %v\n%s", err, last(s.said.String()))
		}
	})
	s.out = bufio.NewReader(out)
	s.port = strings.TrimPrefix(s.line(), "origin ")
	return s
}

// line returns the next line that the process says.
func (s *suite) line() string {
	s.t.Helper()
	line, err := s.out.ReadString('\n')
	if err != nil {
		s.t.Fatalf("the suite says no more: %v", err)
	}
	return strings.TrimSpace(line)
}

// outcome is one test, and why it failed: "" if it passed.
type outcome struct{ ID, Kind, Suite, Name, Result string }

// run runs all tests against the cache at base, or those with the ids.
func (s *suite) run(base string, ids ...string) []outcome {
	s.t.Helper()
	if _, err := fmt.Fprintln(s.in, strings.Join(append([]string{"run", base}, ids...), " ")); err != nil {
		s.t.Fatal(err)
	}
	var all []outcome
	if err := json.Unmarshal([]byte(s.line()), &all); err != nil {
		s.t.Fatal(err)
	}
	return all
}
