package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/internal/testnet"
)

// program is Run in a goroutine.
type program struct {
	t      testing.TB
	file   string
	errs   buffer
	reload chan os.Signal
	stop   context.CancelFunc
	ended  chan error
	addr   string
}

// fileText is a configuration that answers with a text, on an address that is known.
func fileText(address, text string) string {
	return fmt.Sprintf("version: 1\nlisteners: {web: {address: %q, protocol: http}}\nroutes:\n  - respond: {text: %q}\n", address, text)
}

// launch runs a configuration file, looking at it all the time if it is watched.
func launch(t *testing.T, watch bool, edit func(text string) string) *program {
	t.Helper()
	// The address must be known: a port that was free a moment ago.
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, file: filepath.Join(t.TempDir(), "sluice.yaml"), reload: make(chan os.Signal), ended: make(chan error, 1), addr: free.Addr().String()}
	_ = free.Close()
	text := fileText(p.addr, "one")
	if edit != nil {
		text = edit(text)
	}
	write(t, p.file, text)
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	go func() {
		p.ended <- Run(ctx, p.file, RunOptions{Options: Options{Stderr: &p.errs}, Watch: watch, Reload: p.reload, look: time.Millisecond})
	}()
	t.Cleanup(func() {
		stop()
		if err := testnet.Receive(t, "the end of Run", p.ended); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	p.says("sluice: ready\n", 1)
	return p
}

// says waits until standard error has a text so many times.
func (p *program) says(text string, times int) {
	p.t.Helper()
	testnet.Eventually(p.t, fmt.Sprintf("%d times %q", times, text), func() bool { return strings.Count(p.errs.String(), text) >= times })
}

// answers asks on a new connection.
func (p *program) answers(body string) {
	p.t.Helper()
	want(p.t, testnet.Dial(p.t, p.addr), "/", 200, body)
}

func TestRunReloadsOnSignal(t *testing.T) {
	p := launch(t, false, nil)
	p.answers("one")
	write(t, p.file, fileText(p.addr, "two"))
	p.reload <- syscall.SIGHUP
	p.says("sluice: reloaded "+p.file, 1)
	p.answers("two")
	write(t, p.file, "version: 1\nlisteners: {web: {address: 1, protocl: http}}\n")
	p.reload <- syscall.SIGHUP
	p.says("sluice: reload of "+p.file+" refused", 1)
	p.says(p.file+":2:", 3) // every error with its place
	p.says(`did you mean "protocol"?`, 1)
	p.answers("two")
	if err := os.Remove(p.file); err != nil {
		t.Fatal(err)
	}
	p.reload <- syscall.SIGHUP
	p.says("sluice: reload of "+p.file+" refused", 2)
	p.answers("two")
	p.stop()
	p.says("sluice: draining\nsluice: ended\n", 1)
}

func TestRunWatches(t *testing.T) {
	p := launch(t, true, nil)
	p.answers("one")
	reloaded := "sluice: reloaded "

	write(t, p.file, fileText(p.addr, "two")) // in place
	p.says(reloaded, 1)
	p.answers("two")

	next := p.file + ".next"
	write(t, next, fileText(p.addr, "six")) // replaced by a file of the same size
	if info, err := os.Stat(p.file); err != nil || os.Chtimes(next, info.ModTime(), info.ModTime()) != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, p.file); err != nil {
		t.Fatal(err)
	}
	p.says(reloaded, 2)
	p.answers("six")

	write(t, p.file, "version: 2\n")
	p.says("refused", 1)
	p.says(p.file+":1:10: ", 1)
	p.answers("six")

	if err := os.Remove(p.file); err != nil { // nothing changes
		t.Fatal(err)
	}
	if err := os.Mkdir(p.file, 0o755); err != nil { // it cannot be read
		t.Fatal(err)
	}
	p.says("refused", 2)
	p.answers("six")
	if err := os.Remove(p.file); err != nil {
		t.Fatal(err)
	}
	write(t, p.file, fileText(p.addr, "ten"))
	p.says(reloaded, 3)
	p.answers("ten")
	if got := p.errs.String(); strings.Count(got, "refused") != 2 || strings.Count(got, reloaded) != 3 {
		t.Errorf("told more than happened:\n%s", got)
	}
}

// TestWatcher goes through what a file may do between two looks.
func TestWatcher(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x")
	step := 0
	set := func(text string) {
		write(t, name, text)
		step++ // another time of change, however coarse the clock of the file system is
		at := time.Unix(int64(1_700_000_000+step), 0)
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	set("a")
	w := watcher{file: name, loaded: stat(name)}
	look := func(what string, want bool) {
		t.Helper()
		if w.changed() != want {
			t.Errorf("%s: changed is %v, want %v", what, !want, want)
		}
	}
	look("as it was loaded", false)
	set("ab")
	look("changed, perhaps still being written", false)
	set("abc")
	look("changed again", false)
	look("quiet", true)
	look("told already", false)
	set("x")
	look("changed", false)
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	look("gone", false)
	look("still gone", false)
	set("y")
	look("back", false)
	look("back and quiet", true)
	if err := os.Chmod(name, 0o400); err != nil {
		t.Fatal(err)
	}
	look("another mode", false)
	look("another mode, quiet", true)
}

// TestRunReadsSecretsAgain: what ${file:…} names is read by a reload, and not watched.
func TestRunReadsSecretsAgain(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "first\n")
	p := launch(t, true, func(text string) string { return strings.Replace(text, `"one"`, `"${file:`+secret+`}"`, 1) })
	p.answers("first")
	write(t, secret, "second\n")
	p.answers("first")
	p.reload <- syscall.SIGHUP
	p.says("sluice: reloaded ", 1)
	p.answers("second")
	write(t, secret, "${env:HOME}")
	p.reload <- syscall.SIGHUP
	p.says("refused", 1)
	p.says("${file:"+secret+"}", 1)
	p.answers("second")
	if got := p.errs.String(); strings.Contains(got, "env:HOME") {
		t.Errorf("the value is told:\n%s", got)
	}
}

// TestRunThatCannotBegin starts nothing and says why.
func TestRunThatCannotBegin(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	for _, tc := range []struct{ name, text, want string }{
		{"busy", fileText(taken.Addr().String(), "x"), `listener "web": cannot listen on ` + taken.Addr().String()},
		{"broken", "version: 1\n", "listeners"},
		{"missing", "", "no such file"},
	} {
		file := filepath.Join(dir, tc.name+".yaml")
		if tc.text != "" {
			write(t, file, tc.text)
		}
		err := Run(t.Context(), file, RunOptions{})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.name, err, tc.want)
		}
	}
}

func TestExplain(t *testing.T) {
	var b strings.Builder
	Explain(&b, errors.Join(errors.New("listener \"a\": taken"), errors.New("listener \"b\": taken")))
	one := &config.Error{File: "x.yaml", Line: 3, Column: 5, Message: "unknown key", Source: "  kee: 1", Caret: 2, Suggestion: `did you mean "key"?`}
	Explain(&b, fmt.Errorf("wrapped: %w", config.Errors{one}))
	Warn(&b, config.Errors{one})
	want := "sluice: listener \"a\": taken\nsluice: listener \"b\": taken\n" +
		"x.yaml:3:5: unknown key\n    kee: 1\n    ^\n  did you mean \"key\"?\n" +
		"x.yaml:3:5: warning: unknown key\n    kee: 1\n    ^\n  did you mean \"key\"?\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	if one.Message != "unknown key" {
		t.Error("Warn has changed the warning")
	}
}
