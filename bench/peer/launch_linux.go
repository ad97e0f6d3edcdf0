package peer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Programs are the paths of the peers' programs.
type Programs struct {
	NGINX, HAProxy, Sluice string
	Self                   string // the benchmark, for ReverseProxyCommand
	NGINXStream            bool   // nginx has its layer 4 module
	NGINXStreamFile        string // and keeps it in this file; empty: built in
}

// Of is the program of a kind, or "" when it was not found.
func (p Programs) Of(k Kind) string {
	switch {
	case k.IsNGINX():
		return p.NGINX
	case k == HAProxy:
		return p.HAProxy
	case k == Sluice:
		return p.Sluice
	}
	return p.Self
}

// ReverseProxyCommand is the benchmark's sub-command that runs the ReverseProxy peer.
const ReverseProxyCommand = "reverseproxy"

// Launch writes the plan's configuration and starts the proxy on a processor. It does not wait until it serves.
func (r *Runner) Launch(k Kind, p Plan, programs Programs, cpu int) (*Process, error) {
	if err := p.Write(k); err != nil {
		return nil, err
	}
	main := filepath.Join(p.Dir, MainFile(k))
	program := programs.Of(k)
	s := Spec{Name: string(k), Dir: p.Dir, CPU: cpu}
	switch {
	case k.IsNGINX():
		s.Args = []string{program, "-p", p.Dir, "-e", "stderr", "-c", main}
	case k == HAProxy && p.Reload:
		s.Args = []string{program, "-W", "-db", "-f", main}
	case k == HAProxy:
		s.Args = []string{program, "-db", "-f", main}
	case k == Sluice:
		s.Args = []string{program, "run", main}
		s.Env = []string{"GOMAXPROCS=1"}
	default:
		s.Args = []string{program, ReverseProxyCommand, "-address", p.Address, "-routes", strconv.Itoa(p.Routes)}
		if p.TLS() {
			s.Args = append(s.Args, "-certificate", p.Certificate, "-key", p.Key)
		}
		s.Args = append(s.Args, p.Backends...)
		s.Env = []string{"GOMAXPROCS=1"}
	}
	return r.Start(s)
}

// Reload tells the process to take the configuration that is in its directory now.
func (p *Process) Reload(k Kind) error {
	switch {
	case k.IsNGINX(), k == Sluice:
		return p.Signal(syscall.SIGHUP)
	case k == HAProxy:
		return p.Signal(syscall.SIGUSR2)
	}
	return fmt.Errorf("%s cannot reload", k)
}

// FreeAddresses returns n loopback addresses whose ports are free now. The ports lie below the range from which the
// kernel takes those of outgoing connections, so that none of the clients can take one before the proxy listens.
func FreeAddresses(n int) ([]string, error) {
	const low, high = 20000, 32000
	var list []string
	for try := 0; try < 1000 && len(list) < n; try++ {
		address := fmt.Sprintf("127.0.0.1:%d", low+rand.IntN(high-low))
		socket, err := net.Listen("tcp4", address)
		if err != nil {
			continue
		}
		defer socket.Close()                              // held until all are found, so that none is found twice
		packets, err := net.ListenPacket("udp4", address) // the same port serves UDP in some rows
		if err != nil {
			continue
		}
		defer packets.Close()
		list = append(list, address)
	}
	if len(list) < n {
		return nil, errors.New("no free ports between 20000 and 32000")
	}
	return list, nil
}

// RaiseFileLimit raises the number of descriptors of this process, and of the children that it will start, to want where
// it may, and returns what is allowed now.
func RaiseFileLimit(want uint64) (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	raised := syscall.Rlimit{Cur: max(want, limit.Cur), Max: max(want, limit.Max)}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err != nil {
		raised = syscall.Rlimit{Cur: limit.Max, Max: limit.Max}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err != nil {
			return limit.Cur, err
		}
	}
	return raised.Cur, nil
}

// IsRoot tells whether the benchmark runs as root.
func IsRoot() bool { return os.Geteuid() == 0 }
