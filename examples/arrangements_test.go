package examples

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// TestArrangements runs each arrangement by its script: processes of the program, one behind the other.
func TestArrangements(t *testing.T) {
	program := filepath.Join(t.TempDir(), "sluice")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/sluice-gateway/sluice/cmd/sluice").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, a := range []struct {
		folder  string
		hops    int      // processes that a request passes, with the service
		shared  bool     // two gateways count together
		victims []string // may die while requests run
	}{
		{"balancer-gateways", 3, true, []string{"gateway-1"}},
		{"gateway-balancer", 3, false, []string{"service-1"}},
		{"balancer-gateways-balancer", 4, true, []string{"gateway-2", "service-2"}},
	} {
		t.Run(a.folder, func(t *testing.T) {
			if a.shared { // it is installed before the script looks for it; without it all but the limit can be tested
				t.Run("redis", func(t *testing.T) { testnet.Programs(t, "redis-server") })
			}
			r := startArrangement(t, program, a.folder)
			t.Run("what survives every hop", func(t *testing.T) { r.survives(t, a.hops) })
			if a.shared {
				t.Run("limit", r.limits)
			}
			for _, victim := range a.victims {
				t.Run("killed "+victim, func(t *testing.T) { r.outlives(t, victim) })
			}
		})
	}
}

// arrangement is one that runs.
type arrangement struct {
	front     string         // where its clients go
	processes map[string]int // ids by name
}

var (
	fixedAddress = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	processLine  = regexp.MustCompile(`^(\S+) is ready, process (\d+)$`)
	frontLine    = regexp.MustCompile(`^all is ready at http://(\S+);`)
)

// startArrangement runs the script of an arrangement, in a copy whose addresses are free ones, until the test ends.
func startArrangement(t *testing.T, program, folder string) *arrangement {
	t.Helper()
	dir := t.TempDir()
	copyArrangements(t, dir)
	var said lineLog
	cmd := exec.Command("sh", filepath.Join(dir, folder, "start.sh"))
	cmd.Env = append(os.Environ(), "SLUICE="+program, "PATH="+os.Getenv("PATH")+":/usr/sbin:/usr/bin")
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := &arrangement{processes: map[string]int{}}
	ready, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			_, _ = said.Write([]byte(lines.Text() + "\n"))
			if m := processLine.FindStringSubmatch(lines.Text()); m != nil {
				a.processes[m[1]], _ = strconv.Atoi(m[2])
			} else if m := frontLine.FindStringSubmatch(lines.Text()); m != nil {
				a.front = m[1]
				close(ready)
			}
		}
		_ = cmd.Wait()
	}()
	t.Cleanup(func() { endArrangement(t, a, cmd, ended, &said) })
	select {
	case <-ready:
	case <-ended:
		t.Fatalf("the script has ended:\n%s", said.text())
	case <-time.After(testnet.Patience):
		t.Fatalf("the script is not ready:\n%s", said.text())
	}
	return a
}

// endArrangement does what Ctrl-C does, and wants that nothing is left.
func endArrangement(t *testing.T, a *arrangement, cmd *exec.Cmd, ended <-chan struct{}, said *lineLog) {
	_ = cmd.Process.Signal(os.Interrupt)
	select {
	case <-ended:
		if code := cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("the script ends with %d", code)
		}
	case <-time.After(testnet.Patience):
		t.Error("the script does not end")
		_ = cmd.Process.Kill()
		<-ended
	}
	for name, pid := range a.processes {
		if syscall.Kill(pid, 0) == nil {
			t.Errorf("%s is left", name)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if t.Failed() {
		t.Logf("the script says:\n%s", said.text())
	}
}

// copyArrangements copies the arrangements into dir. The same fixed address becomes the same free one in all files.
func copyArrangements(t *testing.T, dir string) {
	t.Helper()
	addresses := map[string]string{}
	err := filepath.WalkDir("arrangements", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel("arrangements", path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(dir, name), 0o700)
		}
		text := fixedAddress.ReplaceAllStringFunc(string(read(t, path)), func(fixed string) string {
			if addresses[fixed] == "" {
				addresses[fixed] = address(t)
			}
			return addresses[fixed]
		})
		// What a busy machine needs to reach Redis in time is no part of the example.
		text = strings.ReplaceAll(text, "timeout: 20ms", "timeout: 1s")
		return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// lineLog is what was written, for any number of goroutines.
type lineLog struct {
	mu   sync.Mutex
	said strings.Builder
}

// Write implements io.Writer.
func (l *lineLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.Write(p)
}

func (l *lineLog) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.String()
}

// reached is what a service says of a request that reached it.
type reached struct {
	Service      int
	Path         string
	Client       string
	ForwardedFor string `json:"forwarded_for"`
	Consumer     *string
	Key          *string
	RequestID    string `json:"request_id"`
	Traceparent  string
}

// visitor is a client at an address of its own, so that it can be told from the processes. It is closed with the test.
func visitor(t *testing.T, from string) *http.Client {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: testnet.Patience}
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, to)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: testnet.Patience}
}

// ask sends a GET with the partner's key and further fields.
func (a *arrangement) ask(client *http.Client, path string, fields ...string) (status int, header http.Header, body []byte, err error) {
	q, err := http.NewRequest("GET", "http://"+a.front+path, nil)
	if err != nil {
		return 0, nil, nil, err
	}
	q.Header.Set("X-API-Key", "demo-partner-key")
	for i := 0; i < len(fields); i += 2 {
		q.Header.Set(fields[i], fields[i+1])
	}
	r, err := client.Do(q)
	if err != nil {
		return 0, nil, nil, err
	}
	defer func() { _ = r.Body.Close() }()
	body, err = io.ReadAll(r.Body)
	return r.StatusCode, r.Header, body, err
}

// survives wants that a service learns of client, caller and trace what the first process and the gateway have found out, and nothing that the client
// has made up.
func (a *arrangement) survives(t *testing.T, hops int) {
	const from, trace = "127.0.0.2", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ln, err := net.Listen("tcp", from+":0")
	if err != nil {
		testnet.LacksAddress(t, from+":0", err)
	}
	_ = ln.Close()
	client := visitor(t, from)
	status, header, body, err := a.ask(client, "/accounts/1001", "traceparent", trace,
		"X-Forwarded-For", "6.6.6.6", "X-Consumer", "somebody else", "X-Request-Id", "made up", "X-API-Key", "demo-partner-key")
	if err != nil || status != 200 {
		t.Fatalf("status %d, %v: %s", status, err, body)
	}
	var got reached
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	want := from + strings.Repeat(", 127.0.0.1", hops-1)
	if got.Path != "/accounts/1001" || got.Client != from || got.ForwardedFor != want {
		t.Errorf("the service sees %s from %s by way of %s, want %s by way of %s", got.Path, got.Client, got.ForwardedFor, from, want)
	}
	if got.Consumer == nil || *got.Consumer != "budget-app" {
		t.Errorf("the service is told of another caller than budget-app: %s", body)
	}
	if got.Key != nil {
		t.Errorf("the service gets the key: %s", body)
	}
	if id := header.Get("X-Request-Id"); got.RequestID != id || len(id) != 32 || got.Traceparent != trace {
		t.Errorf("the client has request id %s and trace %s, the service %s and %s", id, trace, got.RequestID, got.Traceparent)
	}
	// Without a key the gateway refuses, and its problem passes the balancer untouched.
	status, header, body, err = a.ask(client, "/accounts/1001", "X-API-Key", "")
	var problem struct {
		Reason    string
		RequestID string `json:"request_id"`
	}
	if err != nil || json.Unmarshal(body, &problem) != nil || status != 401 {
		t.Fatalf("without a key: status %d, %v: %s", status, err, body)
	}
	if problem.RequestID != header.Get("X-Request-Id") || problem.Reason != "api_key_missing" {
		t.Errorf("the problem %s does not fit the answer's fields %v", body, header)
	}
}

// limits asks more often than 20 times at once and once a second: both gateways together let no more pass.
func (a *arrangement) limits(t *testing.T) {
	testnet.Programs(t, "redis-server")
	if a.processes["redis"] == 0 {
		t.Fatal("the script has not started Redis")
	}
	const burst = 20
	client := visitor(t, "127.0.0.1")
	began := time.Now()
	passed, gateways := 0, map[string]int{}
	for range 3 * burst {
		status, header, body, err := a.ask(client, "/statements/1")
		switch {
		case err != nil || status != 200 && status != 429:
			t.Fatalf("status %d, %v: %s", status, err, body)
		case status == 200:
			passed++
		case header.Get("Retry-After") == "" || !strings.Contains(string(body), `"reason":"rate_limited"`):
			t.Fatalf("429 with %v: %s", header, body)
		}
		gateways[header.Get("X-Gateway")]++
	}
	most := burst + int(time.Since(began)/time.Second) + 1
	if passed < burst || passed > most {
		t.Errorf("%d of %d requests passed, want %d to %d", passed, 3*burst, burst, most)
	}
	if gateways["1"] == 0 || gateways["2"] == 0 {
		t.Errorf("requests went to %v, so this shows nothing", gateways)
	}
}

// outlives kills a process while requests run, and wants that none of them fails.
func (a *arrangement) outlives(t *testing.T, victim string) {
	pid := a.processes[victim]
	if pid == 0 {
		t.Fatalf("the script has not started %s", victim)
	}
	const clients, before, after = 8, 200, 600
	var answered, byVictim, failed atomic.Int64
	var last atomic.Pointer[string]
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range clients {
		client := visitor(t, "127.0.0.1")
		load.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				status, header, body, err := a.ask(client, fmt.Sprintf("/accounts/%d", n))
				if err != nil || status != 200 {
					text := fmt.Sprintf("status %d, %v: %s", status, err, body)
					last.Store(&text)
					failed.Add(1)
				}
				if served(victim, header, body) {
					byVictim.Add(1)
				}
				answered.Add(1)
			}
		})
	}
	testnet.Eventually(t, victim+" to answer", func() bool { return byVictim.Load() > 0 && answered.Load() > before })
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	at := answered.Load()
	testnet.Eventually(t, "answers after the end of "+victim, func() bool { return answered.Load() > at+after })
	close(stop)
	load.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed, the last with %s", n, answered.Load(), *last.Load())
	}
	delete(a.processes, victim) // the script knows that it is gone when it waits for it
}

// served reports whether an answer came from a process or passed through it.
func served(name string, header http.Header, body []byte) bool {
	kind, number, _ := strings.Cut(name, "-")
	if kind == "gateway" {
		return header.Get("X-Gateway") == number
	}
	var r reached
	return json.Unmarshal(body, &r) == nil && strconv.Itoa(r.Service) == number
}
