package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/leak"
)

// TestMain lets the test program be what the benchmark's program is to a Runner: the one that pins and becomes another.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == PinCommand {
		fmt.Fprintln(os.Stderr, Pin(os.Args[2:]))
		os.Exit(1)
	}
	leak.Main(m)
}

func shell(t *testing.T, script string, cpu int) (*Runner, *Process) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := NewRunner(self)
	t.Cleanup(r.Close)
	p, err := r.Start(Spec{Name: "shell", Dir: t.TempDir(), CPU: cpu, Args: []string{"sh", "-c", script}})
	if err != nil {
		t.Fatal(err)
	}
	return r, p
}

// awaitOutput waits until the process has written text.
func awaitOutput(t *testing.T, p *Process, text string) {
	t.Helper()
	err := p.Await(t.Context(), 20*time.Second, func(context.Context) error {
		if !strings.Contains(p.Tail(), text) {
			return errors.New("not written yet")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func alive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	fields, ok := statFields(text)
	return ok && fields[0] != "Z"
}

func TestStopEndsTheWholeTree(t *testing.T) {
	for name, script := range map[string]string{
		"willing":  `sh -c 'echo up; exec sleep 600' & wait`,
		"stubborn": `trap "" TERM; sh -c 'trap "" TERM; echo up; while :; do sleep 1; done' & wait; wait`,
	} {
		t.Run(name, func(t *testing.T) {
			_, p := shell(t, script, -1)
			awaitOutput(t, p, "up")
			tree, err := p.Tree()
			if err != nil || len(tree) < 2 || tree[0] != p.PID() {
				t.Fatalf("the tree is %v (%v), want the shell and its child", tree, err)
			}
			p.Stop()
			p.Stop()
			for _, pid := range tree {
				for try := 0; alive(pid); try++ { // a killed grandchild is reaped by init when it gets to it
					if try > 2000 {
						t.Fatalf("process %d is still there", pid)
					}
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}
}

func TestRunnerCloseStopsWhatIsLeft(t *testing.T) {
	r, p := shell(t, `echo up; exec sleep 600`, -1)
	awaitOutput(t, p, "up")
	r.Close()
	select {
	case <-p.Done():
	default:
		t.Error("the process goes on")
	}
}

func TestPinnedProcessStaysOnItsProcessor(t *testing.T) {
	cpus, err := Processors()
	if err != nil || len(cpus) == 0 {
		t.Fatal(cpus, err)
	}
	last := cpus[len(cpus)-1]
	_, p := shell(t, `grep Cpus_allowed_list /proc/self/status; exec sleep 600`, last)
	awaitOutput(t, p, "Cpus_allowed_list")
	if got := strings.Fields(p.Tail()); got[len(got)-1] != fmt.Sprint(last) {
		t.Errorf("allowed: %v, want %d", got, last)
	}
}

func TestAwaitTellsWhyAProcessEnded(t *testing.T) {
	_, p := shell(t, `echo the reason >&2; exit 3`, -1)
	err := p.Await(t.Context(), 20*time.Second, func(context.Context) error { return errors.New("never") })
	if err == nil || !strings.Contains(err.Error(), "the reason") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error is %v", err)
	}
	_, p = shell(t, `exec sleep 600`, -1)
	err = p.Await(t.Context(), 10*time.Millisecond, func(context.Context) error { return errors.New("never ready") })
	if err == nil || !strings.Contains(err.Error(), "never ready") {
		t.Errorf("error is %v", err)
	}
}

func TestUsageGrowsWithWork(t *testing.T) {
	_, p := shell(t, `i=0; while :; do i=$((i+1)); done`, -1)
	pids := []int{p.PID()}
	var before Usage
	err := p.Await(t.Context(), 20*time.Second, func(context.Context) error {
		u, err := ReadUsage(pids)
		switch {
		case err != nil:
			return err
		case before.Total == 0:
			before = u
			return errors.New("first reading")
		case u.Sub(before).Total < 30*time.Millisecond:
			return errors.New("not enough work yet")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := ResidentBytes(pids); err != nil || n < 100<<10 || n > 100<<20 {
		t.Errorf("resident: %d bytes (%v)", n, err)
	}
	p.Stop()
	if _, err := ReadUsage(pids); err == nil {
		t.Error("a process that is gone has a processor time")
	}
}

func TestParseBusy(t *testing.T) {
	text := []byte("cpu  1 1 1 1 1 1 1 1 1 1\ncpu0 10 20 30 4000 5000 60 70 80 0 0\ncpu10 1 1 1 1 1 1 1 1 0 0\ncpu2 1 x 1 1 1 1 1 1\ncpu3 1\n")
	if got, err := parseBusy(text, 0); err != nil || got != 270*clockTick {
		t.Errorf("%v %v", got, err)
	}
	for _, cpu := range []int{1, 2, 3} {
		if _, err := parseBusy(text, cpu); err == nil {
			t.Errorf("processor %d was read", cpu)
		}
	}
}

func TestFreeAddressesDiffer(t *testing.T) {
	list, err := FreeAddresses(5)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, address := range list {
		if seen[address] {
			t.Errorf("%s is given twice", address)
		}
		seen[address] = true
	}
}

// TestPeersAcceptTheirConfigurations asks the real programs, where they are installed.
func TestPeersAcceptTheirConfigurations(t *testing.T) {
	p := plan(t)
	p.Routes, p.Marker, p.Reload, p.Root = 50, "old", true, IsRoot()
	checks := map[Kind][]string{
		NGINX:        {FindProgram("nginx"), "-t", "-p", p.Dir, "-e", "stderr", "-c", p.Dir + "/nginx.conf"},
		NGINXForward: {FindProgram("nginx"), "-t", "-p", p.Dir, "-e", "stderr", "-c", p.Dir + "/nginx.conf"},
		NGINXLog:     {FindProgram("nginx"), "-t", "-p", p.Dir, "-e", "stderr", "-c", p.Dir + "/nginx.conf"},
		HAProxy:      {FindProgram("haproxy"), "-c", "-f", p.Dir + "/haproxy.cfg"},
	}
	for kind, args := range checks {
		if args[0] == "" {
			t.Logf("%s is not installed", kind)
			continue
		}
		if err := p.Write(kind); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", kind, err, out)
		}
	}
}

func TestReloadOfWhatCannot(t *testing.T) {
	_, p := shell(t, `trap 'echo hup' HUP; echo up; while :; do sleep 0.1; done`, -1)
	awaitOutput(t, p, "up")
	if err := p.Reload(ReverseProxy); err == nil {
		t.Error("ReverseProxy cannot reload")
	}
	if err := p.Reload(Sluice); err != nil {
		t.Error(err)
	}
	awaitOutput(t, p, "hup")
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}
