package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// during starts f and returns a channel that is closed when it has returned.
func during(f func()) chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	return done
}

// busyGateway forwards to an origin that holds its answers, with everything that a configuration may have.
func busyGateway(t *testing.T, shutdown string) (g *running, o *testnet.Origin, open chan struct{}) {
	o, open = held(t, "late")
	g = start(t, strings.Replace(forwarding(o.Addr), "routes:", "admin: {address: \"127.0.0.1:0\"}\naccess_log: stdout\nshutdown: "+shutdown+"\nroutes:", 1))
	g.wait()
	return g, o, open
}

// fetch asks the admin listener.
func fetch(t testing.TB, url string) (status int, body string) {
	t.Helper()
	client := http.Client{Timeout: testnet.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func TestCloseCuts(t *testing.T) {
	g, o, open := busyGateway(t, "{}")
	address, admin := g.address("web"), g.AdminAddr().String()
	busy, idle := g.dial("web"), g.dial("web")
	busy.Send(get("/"))
	testnet.Eventually(t, "the request at the endpoint", func() bool { return o.Received() != "" })
	c := g.Config()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(g.Close)
		wg.Go(func() {
			_ = g.Apply(c) // before or after the end, both are fine
			_, _ = g.Backends(), g.Addr("web")
			g.ReopenLogs()
		})
	}
	busy.WantClosed()
	idle.WantClosed()
	close(open) // the exchange ends, and with it its goroutine
	wg.Wait()
	g.Close()
	g.Shutdown()
	if !refused(address) || !refused(admin) {
		t.Error("a socket is still open")
	}
	if err := g.Apply(c); !errors.Is(err, ErrClosed) {
		t.Errorf("Apply after Close: %v", err)
	}
	if g.Ready() || g.Addr("web") != nil || g.AdminAddr() != nil || g.Config() != nil || len(g.Backends()) != 0 {
		t.Error("a closed gateway still shows something")
	}
	if err := g.WaitReady(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("WaitReady after Close: %v", err)
	}
	if n := len(g.endpoints.kept) + len(g.stores.kept) + len(g.logs.kept) + len(g.owing) + len(g.live); n != 0 {
		t.Errorf("%d things are kept", n)
	}
}

func TestNothingToClose(t *testing.T) {
	g := New(Options{})
	if err := g.WaitReady(t.Context()); err == nil || g.Ready() {
		t.Errorf("ready without a configuration: %v", err)
	}
	g.ReopenLogs()
	g.Shutdown()
	g = New(Options{})
	g.Close()
	if g.Registry() == nil || g.Config() != nil || g.AdminAddr() != nil {
		t.Error("a gateway that never had a configuration shows one")
	}
}

// TestShutdownDrains: what is under way is answered, whoever is idle is sent away, nothing new is
// taken, and /readyz says so.
func TestShutdownDrains(t *testing.T) {
	g, o, open := busyGateway(t, "{timeout: 1h}")
	admin := "http://" + g.AdminAddr().String()
	busy, idle := g.dial("web"), g.dial("web")
	busy.Send(get("/"))
	testnet.Eventually(t, "the request at the endpoint", func() bool { return o.Received() != "" })
	c := g.Config()
	first, second := during(g.Shutdown), during(g.Shutdown)
	idle.WantEOF()
	testnet.Eventually(t, "the mark of draining", g.draining.Load)
	if status, body := fetch(t, admin+"/readyz"); status != 503 || !strings.Contains(body, "draining") {
		t.Errorf("/readyz: %d %s", status, body)
	}
	if status, _ := fetch(t, admin+"/healthz"); status != 200 {
		t.Errorf("/healthz: %d", status)
	}
	if err := g.Apply(c); !errors.Is(err, ErrClosed) {
		t.Errorf("Apply while draining: %v", err)
	}
	close(open)
	if r := busy.ReadResponse("GET"); string(r.Body) != "late" || r.Header.Get("Connection") != "close" {
		t.Errorf("answer %+v", r)
	}
	busy.WantEOF()
	testnet.Receive(t, "the end of Shutdown", first)
	testnet.Receive(t, "the end of the other Shutdown", second)
	if n := strings.Count(g.out.String(), "\n"); n != 1 || g.reports.String() != "" {
		t.Errorf("%d lines in the log; reports: %s", n, g.reports.String())
	}
}

// TestShutdownHasAnEnd: what does not end in time is cut, and told.
func TestShutdownHasAnEnd(t *testing.T) {
	g, o, open := busyGateway(t, "{timeout: 10ms}")
	busy := g.dial("web")
	busy.Send(get("/"))
	testnet.Eventually(t, "the request at the endpoint", func() bool { return o.Received() != "" })
	done := during(g.Shutdown)
	busy.WantClosed()
	close(open)
	testnet.Receive(t, "the end of Shutdown", done)
	if got := g.reports.String(); !strings.Contains(got, `listener "web": 1 requests were cut off`) {
		t.Errorf("reports: %s", got)
	}
}

// TestCloseEndsShutdown and its delay, however long they were to last.
func TestCloseEndsShutdown(t *testing.T) {
	g, o, open := busyGateway(t, "{timeout: 1h, delay: 1h}")
	address := g.address("web")
	busy := g.dial("web")
	busy.Send(get("/"))
	testnet.Eventually(t, "the request at the endpoint", func() bool { return o.Received() != "" })
	done := during(g.Shutdown)
	testnet.Eventually(t, "the mark of draining", g.draining.Load)
	if refused(address) {
		t.Error("not accepting during the delay")
	}
	g.Close()
	testnet.Receive(t, "the end of Shutdown", done)
	busy.WantClosed()
	close(open)
}

// TestListenerGoneIsCutByClose: a listener that drains after a reload does not hold Close up.
func TestListenerGoneIsCutByClose(t *testing.T) {
	g, o, open := busyGateway(t, "{timeout: 1h}")
	busy := g.dial("web")
	busy.Send(get("/"))
	testnet.Eventually(t, "the request at the endpoint", func() bool { return o.Received() != "" })
	g.take(strings.ReplaceAll(fixed("x"), "web", "other"))
	g.Close()
	busy.WantClosed()
	close(open)
}

func TestReadiness(t *testing.T) {
	checked := make(chan struct{})
	slow := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		if _, read := c.ReadRequest(); read && c.Wait(checked) {
			c.Send(ok("well"))
		}
	})
	bad := testnet.NewOrigin(t, testnet.Answer("HTTP/1.1 500 Ill\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
	text := func(endpoint, more string) string {
		c := strings.Replace(forwarding(endpoint), "]}", "], health: {active: {http: /up, interval: 10s, timeout: 20s}}}", 1)
		return strings.Replace(c, "routes:\n", "routes:\n  - {match: {path: /fixed}, respond: {text: x}}\n", 1) + more
	}
	g := start(t, text(slow.Addr, "admin: {address: \"127.0.0.1:0\"}\n"))
	admin := "http://" + g.AdminAddr().String()
	waiting := make(chan error, 1)
	go func() { waiting <- g.WaitReady(t.Context()) }()
	testnet.Eventually(t, "the check", func() bool { return slow.Received() != "" })
	if status, body := fetch(t, admin+"/readyz"); g.Ready() || status != 503 || !strings.Contains(body, "starting") {
		t.Errorf("/readyz before the first round: %d %s", status, body)
	}
	want(t, g.dial("web"), "/fixed", 200, "x") // listeners accept before that
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.WaitReady(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("WaitReady that is not waited for: %v", err)
	}
	// A generation that never became ready is replaced: whoever waits, waits for the next one.
	g.take(text(bad.Addr, "admin: {address: \"127.0.0.1:0\"}\n"))
	if err := testnet.Receive(t, "the end of the wait", waiting); err != nil {
		t.Fatal(err)
	}
	// The round is done, although it found nothing good: what to do then is the backend's affair.
	if status, body := fetch(t, admin+"/readyz"); !g.Ready() || status != 200 || !strings.Contains(body, `"ready":true`) {
		t.Errorf("/readyz: %d %s", status, body)
	}
	if e := g.Backends()[0].Endpoints[0]; e.Healthy || !e.Checked {
		t.Errorf("endpoint %+v", e)
	}
	close(checked)
}

// TestAdminComesAndGoes while somebody reads there.
func TestAdminComesAndGoes(t *testing.T) {
	with := func(address string) string { return fixed("x") + "admin: {address: \"" + address + "\"}\n" }
	g := start(t, fixed("x"))
	if g.AdminAddr() != nil {
		t.Fatal("an admin listener that nobody asked for")
	}
	g.take(with("127.0.0.1:0"))
	first := g.AdminAddr().String()
	g.take(with("127.0.0.1:0"))
	if g.AdminAddr().String() != first {
		t.Error("an address that has not changed has another port")
	}
	// A profile that takes an hour is under way; the address changes.
	reading := testnet.Dial(t, first)
	reading.Send("GET /debug/pprof/goroutine?seconds=200 HTTP/1.1\r\nHost: a\r\n\r\n")
	busy := testnet.Dial(t, first)
	if r := busy.Do("GET", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); r.Status != 200 {
		t.Errorf("/healthz: %d %s", r.Status, r.Body)
	}
	g.take(with("localhost:0"))
	second := g.AdminAddr().String()
	if status, body := fetch(t, "http://"+second+"/metrics"); status != 200 || !strings.Contains(body, "sluice_config_generation 4\n") {
		t.Errorf("/metrics: %d %.300s", status, body)
	}
	testnet.Eventually(t, "the end of the first address", func() bool { return refused(first) })
	if r, err := reading.TryResponse("GET"); err == nil && r.Status == 200 {
		t.Errorf("a profile of 200 seconds ended well: %+v", r)
	}
	g.take(fixed("x"))
	if g.AdminAddr() != nil {
		t.Error("the admin listener is still there")
	}
	testnet.Eventually(t, "the end of the second address", func() bool { return refused(second) })
}

// TestAdminUnderReload scrapes without a pause while configurations change.
func TestAdminUnderReload(t *testing.T) {
	g := start(t, "")
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := range 20 {
		host := []string{"127.0.0.1", "localhost"}[i/2%2]
		g.take(fixed("x") + "admin: {address: \"" + host + ":0\"}\n")
		address := g.AdminAddr().String()
		for _, path := range []string{"/metrics", "/readyz"} {
			wg.Go(func() {
				c := http.Client{Timeout: testnet.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
				for {
					select {
					case <-stop:
						return
					default:
					}
					r, err := c.Get("http://" + address + path)
					if err != nil {
						return // the address is gone
					}
					_, _ = io.Copy(io.Discard, r.Body)
					_ = r.Body.Close()
				}
			})
		}
	}
	close(stop)
	wg.Wait()
	if n := g.metric("sluice_config_generation"); n != "20" {
		t.Errorf("generation %s, want 20", n)
	}
}

// TestLogFileChanges: lines go to the file of the configuration that an exchange began in, and none
// is lost, not even of one that is still under way.
func TestLogFileChanges(t *testing.T) {
	dir := t.TempDir()
	o, open := held(t, "late")
	text := func(name string) string {
		return forwarding(o.Addr) + "access_log: " + filepath.Join(dir, name) + "\n"
	}
	routes := func(name string) string {
		return strings.Replace(text(name), "routes:\n", "routes:\n  - {match: {path: /now}, respond: {text: now}}\n", 1)
	}
	g := start(t, routes("a.log"))
	busy, c := g.dial("web"), g.dial("web")
	busy.Send(get("/late"))
	testnet.Eventually(t, "the request at the endpoint", func() bool { return o.Received() != "" })
	for range 50 {
		want(t, c, "/now", 200, "now")
	}
	g.take(routes("b.log"))
	for range 7 {
		want(t, c, "/now", 200, "now")
	}
	g.sweep()
	g.sweep()
	if len(g.owing) != 1 {
		t.Fatalf("%d logs wait for lines, want the one of the exchange that is under way", len(g.owing))
	}
	close(open)
	want(t, c, "/now", 200, "now")
	if r := busy.ReadResponse("GET"); r.Status != 200 {
		t.Fatalf("answer %+v", r)
	}
	testnet.Eventually(t, "the end of the log that is replaced", func() bool { g.sweep(); return len(g.owing) == 0 })
	read := func(name string) (all, late int) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), "\n"), strings.Count(string(b), `"path":"/late"`)
	}
	if all, late := read("a.log"); all != 51 || late != 1 {
		t.Errorf("a.log: %d lines, %d of the exchange that was under way; want 51 and 1", all, late)
	}
	g.Close()
	if all, late := read("b.log"); all != 8 || late != 0 {
		t.Errorf("b.log: %d lines, %d of them late; want 8 and 0", all, late)
	}
	if lines, lost := g.metric("sluice_access_log_lines_total"), g.metric("sluice_access_log_dropped_total"); lines != "59" || lost != "0" {
		t.Errorf("%s lines written, %s dropped", lines, lost)
	}
}

// TestReopenLogs: after a file was moved away, lines go to a new one of its name.
func TestReopenLogs(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "access.log")
	g := start(t, fixed("x")+"access_log: "+name+"\n")
	c := g.dial("web")
	has := func(name string, n int) func() bool {
		return func() bool {
			b, err := os.ReadFile(name)
			return err == nil && strings.Count(string(b), "\n") == n
		}
	}
	want(t, c, "/1", 200, "x")
	testnet.Eventually(t, "the first line", has(name, 1))
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	g.ReopenLogs()
	want(t, c, "/2", 200, "x")
	testnet.Eventually(t, "the second line, in the new file", has(name, 1))
	if !has(name+".1", 1)() {
		t.Error("the old file has changed")
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	g.ReopenLogs()
	if got := g.reports.String(); strings.Count(got, "access log: ") != 1 || !strings.Contains(got, "lines go on to where they went") {
		t.Errorf("reports: %s", got)
	}
	want(t, c, "/3", 200, "x")
}

// TestStalledLog: a log that takes nothing holds up neither requests nor a reload.
func TestStalledLog(t *testing.T) {
	stuck := make(chan struct{})
	g := &running{t: t}
	g.Gateway = New(Options{Stdout: writerFunc(func(p []byte) (int, error) { <-stuck; return len(p), nil })})
	t.Cleanup(g.Close)
	g.take(fixed("x") + "access_log: stdout\n")
	c := g.dial("web")
	for range 10 {
		want(t, c, "/", 200, "x")
	}
	g.take(fixed("y"))
	want(t, c, "/", 200, "y")
	close(stuck)
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestReportsOfListeners are marked with the listener once.
func TestReportsOfListeners(t *testing.T) {
	crt, key := certificate(t, t.TempDir(), "a.test")
	g := start(t, strings.Replace(fixed("x"), "protocol: http", fmt.Sprintf("protocol: https, tls: {certificates: [{cert: %q, key: %q}]}", crt, key), 1))
	c := g.dial("web")
	c.Send("no handshake at all, this is\r\n\r\n")
	_, _ = io.Copy(io.Discard, c.Conn)
	testnet.Eventually(t, "the report", func() bool { return g.reports.String() != "" })
	if got := g.reports.String(); strings.Count(got, `listener "web"`) != 1 {
		t.Errorf("report %s", got)
	}
}

// TestCertificateIsPickedUp without a reload, by the store's own look at the files.
func TestCertificateIsPickedUp(t *testing.T) {
	dir := t.TempDir()
	crt, key := certificate(t, dir, "a.test")
	g := start(t, strings.Replace(fixed("x"), "protocol: http", fmt.Sprintf("protocol: https, tls: {certificates: [{cert: %q, key: %q}]}", crt, key), 1))
	before := g.metric(`sluice_certificate_reloads_total{result="ok"}`)
	certificate(t, dir, "a.test")
	deadline := time.Now().Add(testnet.Patience)
	for !strings.Contains(g.reports.String(), "was replaced") && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	if after := g.metric(`sluice_certificate_reloads_total{result="ok"}`); before == after || g.metric("sluice_config_generation") != "1" {
		t.Errorf("%q reloads before, %q after; reports: %s", before, after, g.reports.String())
	}
}
