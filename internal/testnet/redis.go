package testnet

import (
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Redis is a real redis-server of its own for one test. It forgets everything when it ends. Its methods are for the test's goroutine.
type Redis struct {
	// Port is where it listens on 127.0.0.1, Args are its options beside port and address. Both may be changed between Kill and Start.
	Port string
	Args []string

	t       testing.TB
	program string
	cmd     *exec.Cmd
	out     strings.Builder
}

// StartRedis starts a server on a free port of 127.0.0.1; args are options beside port and address. It ends with the test.
func StartRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	r := &Redis{t: t, Args: args}
	if r.program = FindProgram("valkey-server"); r.program == "" || FindProgram("redis-server") != "" {
		r.program = Programs(t, "redis-server")["redis-server"]
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, r.Port, _ = net.SplitHostPort(ln.Addr().String())
	_ = ln.Close()
	r.Start()
	t.Cleanup(func() {
		r.Kill()
		if t.Failed() {
			t.Logf("%s says:\n%.2000s", filepath.Base(r.program), r.out.String())
		}
	})
	return r
}

// Start starts the server, again on the same port, and waits until it accepts connections.
func (r *Redis) Start() {
	r.t.Helper()
	args := append([]string{"--port", r.Port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"}, r.Args...)
	r.cmd = exec.Command(r.program, args...)
	r.cmd.Dir, r.cmd.Stdout, r.cmd.Stderr = r.t.TempDir(), &r.out, &r.out
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	Eventually(r.t, "redis-server", func() bool {
		nc, err := net.DialTimeout("tcp", "127.0.0.1:"+r.Port, Patience)
		if err == nil {
			_ = nc.Close()
		}
		return err == nil
	})
}

// Kill ends the server without a chance to say goodbye.
func (r *Redis) Kill() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
	r.cmd = nil
}

// Freeze stops the server where it is, Thaw lets it go on: connections stay open, and nothing is answered in between.
func (r *Redis) Freeze() { _ = r.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (r *Redis) Thaw() { _ = r.cmd.Process.Signal(syscall.SIGCONT) }

// Address returns host and port.
func (r *Redis) Address() string { return "127.0.0.1:" + r.Port }

// URL returns the address as limits read it.
func (r *Redis) URL() string { return "redis://" + r.Address() }

// Run runs a command of the server and returns its answer as redis-cli prints it.
func (r *Redis) Run(args ...string) string {
	r.t.Helper()
	name := strings.Replace(filepath.Base(r.program), "-server", "-cli", 1)
	cli := FindProgram(name)
	if cli == "" {
		cli = Programs(r.t, "redis-cli")["redis-cli"]
	}
	out, err := exec.Command(cli, append([]string{"-p", r.Port}, args...)...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}
