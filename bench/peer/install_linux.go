package peer

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// FindProgram looks for a program in PATH and in the directories where distributions keep servers, which PATH often
// lacks for ordinary users. It returns "" when there is none.
func FindProgram(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return ""
}

// installLimit bounds the whole of an installation.
const installLimit = 5 * time.Minute

// Install installs Debian packages with apt-get, which needs root and the distribution's servers. What apt-get
// prints goes to out. The services of the packages are kept from starting where their maintainer scripts ask
// policy-rc.d or init for leave; the benchmark starts its own copies.
func Install(ctx context.Context, out io.Writer, packages ...string) error {
	apt, err := exec.LookPath("apt-get")
	if err != nil {
		return fmt.Errorf("apt-get is missing; install %v with this system's own tool", packages)
	}
	if !IsRoot() {
		return fmt.Errorf("installing needs root: run \"sudo apt-get install %s\" or this benchmark as root", strings.Join(packages, " "))
	}
	ctx, cancel := context.WithTimeout(ctx, installLimit)
	defer cancel()
	install := append([]string{"install", "-y", "--no-install-recommends"}, packages...)
	for _, args := range [][]string{{"update"}, install} {
		cmd := exec.CommandContext(ctx, apt, args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("apt-get %s: %w", args[0], err)
		}
	}
	return nil
}
