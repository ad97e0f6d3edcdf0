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

// StreamModule finds the layer 4 module of an nginx program: built in (found, no file), or a file of its own. An nginx
// without it has no TCP and UDP listeners.
func StreamModule(ctx context.Context, nginx string) (file string, found bool) {
	if nginx == "" {
		return "", false
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, nginx, "-V").CombinedOutput()
	if err != nil {
		return "", false
	}
	file, builtIn := streamModule(string(out))
	if builtIn || file == "" {
		return "", builtIn
	}
	_, err = os.Stat(file)
	return file, err == nil
}

// streamModule reads what nginx -V prints: where the module would be, or that it is built in.
func streamModule(text string) (file string, builtIn bool) {
	var dir, prefix string
	dynamic := false
	for _, word := range strings.Fields(text) {
		switch name, value, _ := strings.Cut(word, "="); {
		case name == "--with-stream" && value == "dynamic":
			dynamic = true
		case name == "--with-stream":
			return "", true
		case name == "--modules-path":
			dir = value
		case name == "--prefix":
			prefix = value
		}
	}
	if dir == "" && prefix != "" {
		dir = filepath.Join(prefix, "modules")
	}
	if !dynamic || dir == "" {
		return "", false
	}
	return filepath.Join(dir, "ngx_stream_module.so"), false
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
