package demo

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// enough bounds a run that waits for something.
const enough = time.Minute

// watcher is an Out that calls see with each text as it is written.
type watcher struct {
	all bytes.Buffer
	see func(text string) error
}

func (w *watcher) Write(p []byte) (int, error) {
	w.all.Write(p)
	if err := w.see(string(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// testOptions are a quick run on ports of the system's choice, in which one endpoint is in a mood all the time: one of accounts, or that of rates if
// it is sluggish.
func testOptions(t *testing.T, m mood) Options {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	plans := bankPlan()
	for i := range plans {
		switch {
		case plans[i].name == "accounts" && m != sluggish, plans[i].name == "rates" && m == sluggish:
			plans[i].script = []stage{{m, time.Hour}}
		default:
			plans[i].script = nil
		}
	}
	return Options{Rate: 200, Interval: 50 * time.Millisecond, Public: "127.0.0.1:0", Admin: "127.0.0.1:0", plans: plans, anywhere: true}
}

// counted makes the services count their requests.
func counted(plans []plan, n *atomic.Int64) {
	for i := range plans {
		api := plans[i].api
		plans[i].api = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n.Add(1)
			api.ServeHTTP(w, r)
		})
	}
}

// number returns the number behind a label of the summary.
func number(t *testing.T, text, label string) int {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + label + ` +([\d,]+)`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no %q in:\n%s", label, text)
	}
	n, err := strconv.Atoi(strings.ReplaceAll(m[1], ",", ""))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	o := testOptions(t, well)
	var requests atomic.Int64
	counted(o.plans, &requests)
	out := &watcher{see: func(string) error {
		if requests.Load() >= 150 { // an overview is three
			cancel()
		}
		return nil
	}}
	o.Out = out
	if err := Run(ctx, o); err != nil {
		t.Fatal(err)
	}
	text := out.all.String()
	if n := number(t, text, "requests"); n < 50 {
		t.Errorf("%d requests, want 50 at least", n)
	}
	if n := number(t, text, "failed"); n != 0 {
		t.Errorf("%d requests failed:\n%s", n, text)
	}
	if !regexp.MustCompile(`(?m)^     curl -i -H @customer 127\.0\.0\.1:\d+/overview$`).MatchString(text) {
		t.Errorf("no command to try in:\n%s", text)
	}
	if left, _ := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "*")); len(left) > 0 {
		t.Errorf("files are left: %v", left)
	}
}

// What goes wrong must be seen, and must not reach the client.
func TestRunThroughTrouble(t *testing.T) {
	for _, test := range []struct {
		name string
		mood mood
		seen string // in a line
		want string // a label of the summary whose number is not 0
	}{
		{"retries", flaky, `retries saved [1-9]`, "retries saved"},
		{"ejection", failing, `accounts 1/2 \(:\d+ ejected \d+\.\ds\)`, "ejections"},
		{"health", refusing, `accounts 1/2 \(:\d+ down\)`, "went down"},
		{"part that is missing", sluggish, `partial [1-9]`, "partial"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), enough)
			defer cancel()
			o := testOptions(t, test.mood)
			seen := regexp.MustCompile(test.seen)
			out := &watcher{see: func(text string) error {
				if seen.MatchString(text) {
					cancel()
				}
				return nil
			}}
			o.Out = out
			if err := Run(ctx, o); err != nil {
				t.Fatal(err)
			}
			text := out.all.String()
			text = text[max(0, len(text)-4000):] // the end, with the summary
			if number(t, text, test.want) == 0 {
				t.Errorf("%s: 0, want more:\n%s", test.want, text)
			}
			if n := number(t, text, "failed"); n != 0 {
				t.Errorf("%d requests failed:\n%s", n, text)
			}
		})
	}
}

func TestRunThatIsOverBeforeItBegins(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := testOptions(t, well)
	o.Out = new(bytes.Buffer)
	if err := Run(ctx, o); err != nil {
		t.Error(err)
	}
}

// Cancelled while requests are under way, a run ends without waiting for the next update.
func TestCancelAtOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := testOptions(t, well)
	o.Interval = time.Hour
	o.Out = &watcher{see: func(string) error { cancel(); return nil }}
	done := make(chan error, 1)
	go func() { done <- Run(ctx, o) }()
	timer := time.NewTimer(enough)
	defer timer.Stop()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-timer.C:
		t.Fatal("the run goes on")
	}
}

func TestRunWithoutReader(t *testing.T) {
	broken := errors.New("the disk is full")
	for _, test := range []struct {
		name  string
		cause error
		after int // writes that succeed
		want  error
	}{
		{"from the beginning", broken, 0, broken},
		{"in the middle", broken, 2, broken},
		{"a pipe that was closed", &os.PathError{Op: "write", Path: "stdout", Err: syscall.EPIPE}, 1, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), enough)
			defer cancel()
			o := testOptions(t, well)
			n := 0
			o.Out = &watcher{see: func(string) error {
				if n++; n > test.after {
					return test.cause
				}
				return nil
			}}
			if err := Run(ctx, o); !errors.Is(err, test.want) || ctx.Err() != nil {
				t.Errorf("%v (%v), want %v", err, ctx.Err(), test.want)
			}
		})
	}
}

func TestRunRefusesRates(t *testing.T) {
	for _, rate := range []int{-1, maxRate + 1} {
		if err := Run(t.Context(), Options{Out: new(bytes.Buffer), Rate: rate}); err == nil || !strings.Contains(err.Error(), "use 0 to 10000") {
			t.Errorf("a rate of %d: %v", rate, err)
		}
	}
}

func TestRunRefusesAnAddress(t *testing.T) {
	o := testOptions(t, well)
	o.Out, o.Public = new(bytes.Buffer), "nowhere"
	if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "address") {
		t.Errorf("the address %q: %v", o.Public, err)
	}
}

func TestTakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	taken := l.Addr().String()
	if got := available(taken); got != "127.0.0.1:0" {
		t.Errorf("instead of %s, which is taken, %s", taken, got)
	}
	_ = l.Close()
	if got := available(taken); got != taken {
		t.Errorf("instead of %s, which is free, %s", taken, got)
	}
	if got := available("nowhere"); got != "nowhere" {
		t.Errorf("instead of what is no address, %s", got)
	}
	j := &journal{}
	j.addMoved("127.0.0.1:8080", "the proxy", "127.0.0.1:8080")
	j.addMoved("127.0.0.1:0", "the proxy", "127.0.0.1:4000")
	j.addMoved("127.0.0.1:8080", "the proxy", "127.0.0.1:4000")
	if got, _ := j.latest(); len(got) != 1 || got[0].text != "127.0.0.1:8080 is taken: the proxy is at 127.0.0.1:4000" {
		t.Errorf("noted %v", got)
	}
}

func TestJournalIsBounded(t *testing.T) {
	j := &journal{}
	for i := range 3 * maxEvents {
		j.add("%d", i)
	}
	j.addFailure("GET /: 502")
	got, failure := j.latest()
	if failure != "GET /: 502" {
		t.Errorf("the latest failure is %q", failure)
	}
	if len(got) != maxEvents || got[maxEvents-2].text != strconv.Itoa(3*maxEvents-1) {
		t.Errorf("%v, want the latest %d", got, maxEvents)
	}
}
