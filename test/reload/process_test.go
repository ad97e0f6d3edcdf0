package reload

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/test/rig"
)

// program is the path of the command, built for the test.
type program string

// TestProcess runs the command itself, with its signals, its exit codes and what it says.
func TestProcess(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sluice")
	if out, err := exec.Command("go", "build", "-o", file, "github.com/sluice-gateway/sluice/cmd/sluice").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	p := program(file)
	t.Run("reloads and ends", func(t *testing.T) { t.Parallel(); p.reloadsAndEnds(t) })
	t.Run("watches", func(t *testing.T) { t.Parallel(); p.watches(t) })
	t.Run("refuses to start", func(t *testing.T) { t.Parallel(); p.refusesToStart(t) })
	t.Run("full disk", func(t *testing.T) { t.Parallel(); p.fullDisk(t) })
	t.Run("dead pipe", func(t *testing.T) { t.Parallel(); p.deadPipe(t) })
	t.Run("pipe that nobody reads", func(t *testing.T) { t.Parallel(); p.stuckPipe(t) })
}

// process is the running program.
type process struct {
	*exec.Cmd
	t      *testing.T
	stderr rig.Buffer
	done   chan struct{} // closed when it has ended
}

// launch runs the program with these arguments. stdout is where its standard output goes, nil for nowhere.
func (b program) launch(t *testing.T, stdout *os.File, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(string(b), args...), t: t, done: make(chan struct{})}
	if stdout != nil {
		p.Stdout = stdout
	}
	pipe, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_, _ = io.Copy(&p.stderr, pipe)
		_ = p.Wait()
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("standard error of sluice %s:\n%s", strings.Join(args, " "), p.stderr.String())
		}
	})
	return p
}

// says waits for a line on standard error.
func (p *process) says(pattern string) {
	p.t.Helper()
	want := regexp.MustCompile("(?m)^" + pattern + "$")
	testnet.Eventually(p.t, "the line "+pattern, func() bool { return want.MatchString(p.stderr.String()) })
}

// ends waits for the end and returns the exit code.
func (p *process) ends() int {
	p.t.Helper()
	testnet.Receive(p.t, "the end of the program", p.done)
	return p.ProcessState.ExitCode()
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// save writes a configuration file as an editor does: beside it, then over it.
func save(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

func fetch(t *testing.T, address, path string) *rig.Response {
	t.Helper()
	c := rig.Dial(t, address)
	c.Send("GET " + path + " HTTP/1.1\r\nHost: " + address + "\r\nConnection: close\r\n\r\n")
	return c.Response("GET")
}

func (b program) reloadsAndEnds(t *testing.T) {
	release := make(chan struct{})
	o := rig.NewOrigin(t, "app", func(c *rig.OriginConn) {
		for {
			r := c.Request()
			if r == nil {
				return
			}
			if r.Target == "/wait" {
				c.Wait(release)
			}
			c.Answer(200, "app")
		}
	})
	web, admin, file := freeAddress(t), freeAddress(t), filepath.Join(t.TempDir(), "sluice.yaml")
	text := simple(web, o.Addr(), fmt.Sprintf("admin: %q\nshutdown: {timeout: 20s}", admin))
	save(t, file, text)
	p := b.launch(t, nil, "run", file)
	p.says("sluice: ready")
	if r := fetch(t, admin, "/readyz"); r.Status != 200 {
		t.Errorf("readyz of a program that is ready: %d %s", r.Status, r.Body)
	}
	if r := fetch(t, web, "/"); r.Status != 200 || string(r.Body) != "app" {
		t.Errorf("answer %d %q", r.Status, r.Body)
	}

	save(t, file, strings.Replace(text, "backend: app", "respond: {text: new}", 1))
	p.signal(syscall.SIGHUP)
	p.says(regexp.QuoteMeta("sluice: reloaded "+file) + ` \(\d+ ms\)`)
	if r := fetch(t, web, "/"); string(r.Body) != "new" {
		t.Errorf("answer %q after the reload", r.Body)
	}

	save(t, file, strings.NewReplacer("backend: app", "backnd: app", "protocol: http", "protocol: htp").Replace(text))
	p.signal(syscall.SIGHUP)
	p.says(regexp.QuoteMeta(file) + `:4:\d+: .*htp.*`)
	p.says(regexp.QuoteMeta(file) + `:5:\d+: .*backnd.*`)
	p.says("sluice: reload of .* refused.*")
	if r := fetch(t, web, "/"); string(r.Body) != "new" {
		t.Errorf("answer %q after the refused reload", r.Body)
	}
	if r := fetch(t, admin, "/metrics"); !strings.Contains(string(r.Body), `sluice_config_reloads_total{result="refused"} 1`) {
		t.Error("the refused reload is not counted")
	}

	save(t, file, text)
	p.signal(syscall.SIGHUP)
	testnet.Eventually(t, "the second reload", func() bool { return strings.Count(p.stderr.String(), "sluice: reloaded ") == 2 })
	wait := rig.Dial(t, web)
	wait.Send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
	testnet.Eventually(t, "the request at the origin", func() bool { return strings.Contains(o.Received(), "/wait") })
	p.signal(syscall.SIGTERM)
	p.says("sluice: draining")
	refusedAt(t, web)
	close(release)
	if r := wait.Response("GET"); r.Status != 200 || !r.Closes() {
		t.Errorf("the request in flight: %d, closes %v; want 200 and the end", r.Status, r.Closes())
	}
	if code := p.ends(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	p.says("sluice: ended")
}

func (b program) watches(t *testing.T) {
	web, file := freeAddress(t), filepath.Join(t.TempDir(), "sluice.yaml")
	text := fmt.Sprintf("version: 1\nlisteners: {web: {address: %q, protocol: http}}\nroutes: [{respond: {text: old}}]\n", web)
	save(t, file, text)
	p := b.launch(t, nil, "run", "--watch", file)
	p.says("sluice: ready")
	save(t, file, strings.Replace(text, "respond", "respnd", 1))
	p.says(regexp.QuoteMeta(file) + `:3:\d+: .*respnd.*`)
	if r := fetch(t, web, "/"); string(r.Body) != "old" {
		t.Errorf("answer %q with a broken file", r.Body)
	}
	save(t, file, strings.Replace(text, "old", "newer", 1))
	p.says("sluice: reloaded .*")
	if r := fetch(t, web, "/"); string(r.Body) != "newer" {
		t.Errorf("answer %q after the change", r.Body)
	}
	p.signal(syscall.SIGINT)
	if code := p.ends(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func (b program) refusesToStart(t *testing.T) {
	o := rig.NewOrigin(t, "app", nil)
	free, file := freeAddress(t), filepath.Join(t.TempDir(), "sluice.yaml")
	text := simple(free, o.Addr(), "")
	for _, c := range []struct {
		name, text string
		args       []string
		code       int
		says       []string
	}{
		{"busy port", strings.Replace(text, "listeners: {", fmt.Sprintf("listeners: {other: {address: %q, protocol: http}, ", o.Addr()), 1), []string{"run", file}, 1,
			[]string{`sluice: listener "other": .*` + regexp.QuoteMeta(o.Addr()) + ".*"}},
		{"busy port of admin", strings.Replace(text, "version: 1", fmt.Sprintf("version: 1\nadmin: %q", o.Addr()), 1), []string{"run", file}, 1,
			[]string{`sluice: .*admin.*` + regexp.QuoteMeta(o.Addr()) + ".*"}},
		{"broken file", strings.NewReplacer("version: 1", "version: 7", "backend: app", "backend: ap").Replace(text), []string{"run", file}, 1,
			[]string{regexp.QuoteMeta(file) + `:1:\d+: .*`, regexp.QuoteMeta(file) + `:4:\d+: .*"ap".*`}},
		{"broken file, checked", strings.Replace(text, "protocol: http", "protocol: http, tls: {}", 1), []string{"check", file}, 1, []string{regexp.QuoteMeta(file) + `:3:\d+: .*tls.*`}},
		{"no file", text, []string{"run", file + ".missing"}, 1, []string{"sluice: .*missing.*"}},
		{"no file to check", text, []string{"check", file + ".missing"}, 1, []string{"sluice: .*missing.*"}},
		{"no argument", text, []string{"run"}, 2, []string{"usage:"}},
		{"no command", text, nil, 2, []string{"usage:"}},
		{"unknown command", text, []string{"rn", file}, 2, []string{`sluice: there is no command "rn" .*run.*`}},
		{"unknown flag", text, []string{"run", "--wacht", file}, 2, []string{".*wacht.*"}},
		{"fine, checked", text, []string{"check", file}, 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			save(t, file, c.text)
			p := b.launch(t, nil, c.args...)
			if code := p.ends(); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			for _, line := range c.says {
				p.says(line)
			}
			if text := p.stderr.String(); strings.Contains(text, "goroutine ") || strings.Contains(text, "sluice: ready") {
				t.Errorf("standard error: %s", text)
			}
		})
	}
}

// losesItsLog runs the program with a log that nobody takes: it costs lines, never requests.
func (b program) losesItsLog(t *testing.T, stdout *os.File, log, says string, dead func()) {
	t.Helper()
	o := rig.NewOrigin(t, "app", nil)
	web, admin, file := freeAddress(t), freeAddress(t), filepath.Join(t.TempDir(), "sluice.yaml")
	save(t, file, simple(web, o.Addr(), fmt.Sprintf("admin: %q\naccess_log: %s\nshutdown: {timeout: 5s}", admin, log)))
	p := b.launch(t, stdout, "run", file)
	p.says("sluice: ready")
	if dead != nil {
		dead()
	}
	c := rig.Dial(t, web)
	for range 400 {
		c.Send("GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: " + strings.Repeat("x", 200) + "\r\n\r\n")
		if r := c.Response("GET"); r.Status != 200 || r.Closes() {
			t.Fatalf("answer %d, closes %v", r.Status, r.Closes())
		}
	}
	testnet.Eventually(t, "the drop to be counted", func() bool {
		return regexp.MustCompile(`(?m)^sluice_access_log_dropped_total [1-9]`).Match(fetch(t, admin, "/metrics").Body)
	})
	if says != "" {
		p.says(says)
	}
	c.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if r := c.Response("GET"); r.Status != 200 {
		t.Errorf("answer %d", r.Status)
	}
	began := time.Now()
	p.signal(syscall.SIGTERM)
	if code := p.ends(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if took := time.Since(began); took > testnet.Patience/2 {
		t.Errorf("the end took %s", took)
	}
}

func (b program) fullDisk(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /dev/full")
	}
	b.losesItsLog(t, nil, "{path: /dev/full, buffer: 4KiB}", "sluice: access log .*", nil)
}

func (b program) deadPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	b.losesItsLog(t, w, "{path: stdout, buffer: 4KiB}", "sluice: access log .*", func() { _ = r.Close() })
}

func (b program) stuckPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	// The pipe is full from the beginning.
	if err := w.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = w.Write(make([]byte, 4<<10))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	b.losesItsLog(t, w, "{path: stdout, buffer: 4KiB}", "", nil)
}
