// Package leak is the goroutine gate of the tests. In Sluice every goroutine has an owner that joins it, so once the tests of a package are
// over none may be left. A package asks for the gate with
//
//	func TestMain(m *testing.M) { leak.Main(m) }
package leak

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// patience is how long a goroutine may take to end after the last test. It is generous because it is only spent when something is left:
// closing a connection, for one, wakes its reader but does not wait for it.
const patience = 10 * time.Second

// harmless names frames of goroutines that live as long as the process and that no test can end. Read-only.
var harmless = []string{
	"os/signal.signal_recv(", // started by the first signal.Notify, never stopped
	"os/signal.loop(",
}

// Main runs the tests of m and ends the process: with the code of the tests, or with 1 and the stacks on standard error when the tests
// passed but goroutines that they started are still there after ten seconds. Goroutines older than the tests do not count. When a test has
// failed the gate keeps quiet: what a broken test leaves behind would only hide why it failed.
func Main(m *testing.M) { os.Exit(run(m, patience, os.Stderr)) }

// run runs the tests of m and returns the exit code of the process.
func run(m *testing.M, wait time.Duration, out io.Writer) int {
	before := goroutines()
	return gate(m.Run(), before, wait, out)
}

// gate returns the exit code of the process: code, or 1 when code is 0 and goroutines that are not in before outlive wait.
func gate(code int, before map[uint64]string, wait time.Duration, out io.Writer) int {
	if code != 0 {
		return code
	}
	left := leftover(before, wait)
	if len(left) == 0 {
		return 0
	}
	fmt.Fprintf(out, "leak: %d goroutines outlived the tests; each needs an owner that ends and joins it:\n", len(left))
	for _, stack := range left {
		fmt.Fprintf(out, "\n%s\n", stack)
	}
	return 1
}

// leftover returns the stacks of the goroutines that are not in before, as soon as there are none or after wait.
func leftover(before map[uint64]string, wait time.Duration) []string {
	deadline := time.Now().Add(wait)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		var left []string
		for id, stack := range goroutines() {
			if _, old := before[id]; !old {
				left = append(left, stack)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
		time.Sleep(pause)
	}
}

// goroutines returns the stacks of all goroutines but the calling one and the harmless ones, by goroutine number.
func goroutines() map[uint64]string {
	all := make(map[uint64]string)
	// runtime.Stack writes the caller first and separates goroutines by an empty line.
	for i, stack := range bytes.Split(stacks(), []byte("\n\n")) {
		if i == 0 || isHarmless(stack) {
			continue
		}
		all[number(stack)] = string(bytes.TrimSpace(stack))
	}
	return all
}

// stacks returns the stacks of all goroutines, whole.
func stacks() []byte {
	for size := 64 << 10; ; size *= 2 {
		buf := make([]byte, size)
		if n := runtime.Stack(buf, true); n < size {
			return buf[:n]
		}
	}
}

// number reads N of "goroutine N [state]:". It is 0 when the text has another form, so that such a goroutine is reported and not lost.
func number(stack []byte) uint64 {
	rest, _ := bytes.CutPrefix(stack, []byte("goroutine "))
	digits, _, _ := bytes.Cut(rest, []byte(" "))
	n, _ := strconv.ParseUint(string(digits), 10, 64)
	return n
}

func isHarmless(stack []byte) bool {
	for _, frame := range harmless {
		if bytes.Contains(stack, []byte(frame)) {
			return true
		}
	}
	return false
}
