package testnet

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// packages says which package of Debian has a program that tests use. Read-only.
var packages = map[string]string{
	"redis-server": "redis-server", "redis-cli": "redis-tools", "dig": "bind9-dnsutils", "dnsmasq": "dnsmasq-base", "curl": "curl",
}

// installing runs once, for all programs that are missing. Read-only.
var installing = sync.OnceValue(install)

// Programs returns the paths of programs that the test needs. Those that are missing are installed where that is possible (root on Debian, and nothing in
// SLUICE_NO_INSTALL): there it is a failure if one cannot be had. Elsewhere the test is skipped, and says so.
func Programs(t testing.TB, names ...string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range names {
		path := FindProgram(name)
		if path == "" {
			problem := installing()
			if path = FindProgram(name); path == "" {
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

// FindProgram looks for a program in PATH and where servers are kept; "" if it is nowhere.
func FindProgram(name string) string {
	for _, candidate := range []string{name, filepath.Join("/usr/sbin", name), filepath.Join("/usr/bin", name)} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	return ""
}

// mayInstall reports whether there is everything for installing programs: then a program that is missing all the same is a failure.
func mayInstall() bool {
	return os.Getenv("SLUICE_NO_INSTALL") == "" && FindProgram("apt-get") != "" && os.Geteuid() == 0
}

// install installs what is missing of all programs.
func install() error {
	missing := missingPackages()
	command := "apt-get install " + strings.Join(missing, " ")
	apt := FindProgram("apt-get")
	switch {
	case os.Getenv("SLUICE_NO_INSTALL") != "":
		return fmt.Errorf("SLUICE_NO_INSTALL is set; run %s", command)
	case apt == "":
		return fmt.Errorf("there is no apt-get here; install %s in this system's way", strings.Join(missing, ", "))
	case os.Geteuid() != 0:
		return fmt.Errorf("installing needs root; run %s", command)
	}
	// The tests of several packages run at once, and find the same missing.
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "sluice-test-install.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	if missing = missingPackages(); len(missing) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	for _, args := range [][]string{{"update", "-q"}, append([]string{"install", "-q", "-y", "--no-install-recommends"}, missing...)} {
		cmd := exec.CommandContext(ctx, apt, append([]string{"-o", "DPkg::Lock::Timeout=60"}, args...)...)
		// RUNLEVEL keeps the packages from starting their services: the tests start their own, on free ports.
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, bytes.TrimSpace(out[max(0, len(out)-300):]))
		}
	}
	return nil
}

// missingPackages returns the packages of all programs that are missing.
func missingPackages() []string {
	var missing []string
	for name, pkg := range packages {
		if FindProgram(name) == "" {
			missing = append(missing, pkg)
		}
	}
	slices.Sort(missing)
	return missing
}
