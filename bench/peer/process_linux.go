package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Runner starts the processes of a benchmark and answers for them: Close ends every one that is still there. It is safe
// for concurrent use.
type Runner struct {
	self string // this program, for its sub-commands
	mu   sync.Mutex
	live map[*Process]struct{}
}

// NewRunner makes a Runner. The self path is the benchmark's own program, which is started again to pin a child to a
// processor before it becomes the child's program.
func NewRunner(self string) *Runner {
	return &Runner{self: self, live: map[*Process]struct{}{}}
}

// Process is a child of the benchmark, in a process group of its own that holds its own children too.
type Process struct {
	Name   string
	cmd    *exec.Cmd
	runner *Runner
	log    string
	done   chan struct{} // closed when the child has ended and been waited for
	state  error         // how it ended; read after done
	stop   sync.Once
}

// Spec says how to start a Process.
type Spec struct {
	Name string
	Dir  string // working directory; output.log is written there
	CPU  int    // processor to pin it to; negative: not pinned
	Env  []string
	Args []string // program and arguments
}

// Start begins a process. Its output goes to a file, because nobody would empty a pipe during a measurement.
func (r *Runner) Start(s Spec) (*Process, error) {
	path, err := exec.LookPath(s.Args[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	args := append([]string{path}, s.Args[1:]...)
	if s.CPU >= 0 {
		args = append([]string{r.self, PinCommand, strconv.Itoa(s.CPU)}, args...)
	}
	p := &Process{Name: s.Name, runner: r, log: filepath.Join(s.Dir, s.Name+".log"), done: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = s.Dir, out, out
	p.cmd.Env = append(os.Environ(), s.Env...)
	// Its own group, so that a Ctrl-C at the terminal reaches only the benchmark, which then stops its children in
	// order; the death signal is for the case that the benchmark itself is killed.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	r.live[p] = struct{}{}
	go func() {
		p.state = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Close stops all processes that are still running and waits for them.
func (r *Runner) Close() {
	r.mu.Lock()
	left := make([]*Process, 0, len(r.live))
	for p := range r.live {
		left = append(left, p)
	}
	r.mu.Unlock()
	for _, p := range left {
		p.Stop()
	}
}

// PID is the id of the process that was started; its children are in Tree.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal to the process itself, not to its children.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// stopGrace is how long a process has to end by itself. Draining is no subject here, so it is short.
const stopGrace = 2 * time.Second

// Stop ends the process and its children: first by SIGTERM, after stopGrace by SIGKILL to the group, which only ever
// holds what this process has started. It waits for the end and may be called more than once.
func (p *Process) Stop() {
	p.stop.Do(func() {
		group := -p.PID()
		_ = p.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(stopGrace):
		}
		// Also after a clean end: a worker that outlives its master would disturb the next measurement.
		_ = syscall.Kill(group, syscall.SIGKILL)
		<-p.done
		p.runner.mu.Lock()
		delete(p.runner.live, p)
		p.runner.mu.Unlock()
	})
	<-p.done
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Tail is the end of what the process has written, for error messages.
func (p *Process) Tail() string {
	f, err := os.Open(p.log)
	if err != nil {
		return ""
	}
	defer f.Close()
	const most = 1000
	if info, err := f.Stat(); err == nil && info.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd)
	}
	text, _ := io.ReadAll(io.LimitReader(f, most))
	return string(bytes.TrimSpace(text))
}

// Await calls probe until it returns nil, the process ends, or limit is over.
func (p *Process) Await(ctx context.Context, limit time.Duration, probe func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := probe(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready (%v): %s", p.Name, p.state, p.Tail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready within %v: %w; its output: %s", p.Name, limit, err, p.Tail())
		case <-tick.C:
		}
	}
}

// PinCommand is the sub-command by which the benchmark's program pins itself to a processor and becomes another program:
// PinCommand CPU PROGRAM ARGS…
const PinCommand = "pin"

// Pin carries out PinCommand; args are those behind it. It returns only with an error.
func Pin(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: pin CPU PROGRAM ARGS…")
	}
	cpu, err := strconv.Atoi(args[0])
	if err != nil {
		return fmt.Errorf("pin: processor %q is not a number", args[0])
	}
	if err := PinSelf(cpu); err != nil {
		return err
	}
	// The death signal that Start has asked for belongs to one thread, and is lost when another one calls exec. Ask again.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0, 0, 0); err != nil {
		return fmt.Errorf("pin: death signal: %w", err)
	}
	return fmt.Errorf("pin: %s: %w", args[1], syscall.Exec(args[1], args[1:], os.Environ()))
}

// PinSelf pins all threads of this process to one processor; threads and children that come later inherit it.
func PinSelf(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	// A thread may be born from an unpinned one during the walk, so walk until nothing is new.
	seen := map[string]bool{}
	for round := 0; round < 100; round++ {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		found := false
		for _, task := range tasks {
			id, err := strconv.Atoi(task.Name())
			if err != nil || seen[task.Name()] {
				continue
			}
			seen[task.Name()], found = true, true
			if err := unix.SchedSetaffinity(id, &set); err != nil && err != unix.ESRCH {
				return fmt.Errorf("pin to processor %d: %w", cpu, err)
			}
		}
		if !found {
			return nil
		}
	}
	return errors.New("pin: threads keep appearing")
}

// Processors lists the processors that this process may use.
func Processors() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, err
	}
	var list []int
	for cpu := 0; cpu < len(set)*64; cpu++ {
		if set.IsSet(cpu) {
			list = append(list, cpu)
		}
	}
	return list, nil
}
