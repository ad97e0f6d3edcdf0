package leak

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"testing"
	"time"
)

// leave, set in the environment of a child process, makes the tests there leave a goroutine behind.
const leave = "SLUICE_LEAK_TEST_LEAVE"

func TestMain(m *testing.M) {
	if os.Getenv(leave) != "" { // the outcome is certain, so the child need not wait for it
		os.Exit(run(m, 10*time.Millisecond, os.Stderr))
	}
	Main(m)
}

// forgotten never ends; its name is looked for in the report.
func forgotten() { select {} }

func TestGateReportsAGoroutineThatStays(t *testing.T) {
	before := goroutines()
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		<-stop
	}()
	var report bytes.Buffer
	if code := gate(0, before, time.Millisecond, &report); code != 1 {
		t.Errorf("code = %d, want 1", code)
	}
	if got := report.String(); !strings.Contains(got, "1 goroutines outlived") || !strings.Contains(got, "TestGateReportsAGoroutineThatStays") {
		t.Errorf("the report does not show the goroutine:\n%s", got)
	}
	close(stop)
	<-ended
	report.Reset()
	if code := gate(0, before, patience, &report); code != 0 || report.Len() != 0 {
		t.Errorf("after its end: code = %d, report %q; want 0 and nothing", code, report.String())
	}
}

func TestGateWaitsForAGoroutineThatIsEnding(t *testing.T) {
	before := goroutines()
	go func() {
		time.Sleep(20 * time.Millisecond) //house:allow sleep this is the goroutine that is slow to end
	}()
	if left := leftover(before, patience); len(left) != 0 {
		t.Errorf("a goroutine that ends by itself was reported:\n%s", strings.Join(left, "\n\n"))
	}
}

func TestGateKeepsTheCodeOfFailedTests(t *testing.T) {
	stop, ended := make(chan struct{}), make(chan struct{})
	before := goroutines()
	go func() {
		defer close(ended)
		<-stop
	}()
	var report bytes.Buffer
	if code := gate(2, before, 0, &report); code != 2 || report.Len() != 0 {
		t.Errorf("code = %d, report %q; want 2 and nothing", code, report.String())
	}
	close(stop)
	<-ended
}

func TestSignalLoopIsHarmless(t *testing.T) {
	before := goroutines()
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt)
	signal.Stop(c)
	if left := leftover(before, patience); len(left) != 0 {
		t.Errorf("reported:\n%s", strings.Join(left, "\n\n"))
	}
}

func TestNumber(t *testing.T) {
	for _, c := range []struct {
		stack string
		want  uint64
	}{
		{"goroutine 17 [select]:\nmain.main()", 17},
		{"goroutine 18446744073709551615 [running]:", 1<<64 - 1},
		{"something else", 0},
		{"", 0},
	} {
		if got := number([]byte(c.stack)); got != c.want {
			t.Errorf("number(%q) = %d, want %d", c.stack, got, c.want)
		}
	}
}

// TestLeaveInChild does its work in the child process of TestProcessEndsWithOne only.
//
//house:allow idle-test it fails by the exit code of its process, which that test reads
func TestLeaveInChild(t *testing.T) {
	if os.Getenv(leave) == "" {
		return
	}
	go forgotten()
}

// TestProcessEndsWithOne runs this test binary again with one test that passes and leaves a goroutine.
func TestProcessEndsWithOne(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLeaveInChild$")
	cmd.Env = append(os.Environ(), leave+"=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("error = %v, want exit status 1\n%s", err, out)
	}
	if !bytes.Contains(out, []byte("leak.forgotten(")) {
		t.Errorf("the stack is not shown:\n%s", out)
	}
	if bytes.Contains(out, []byte("--- FAIL")) {
		t.Errorf("a test failed, so this shows nothing about the gate:\n%s", out)
	}
}
