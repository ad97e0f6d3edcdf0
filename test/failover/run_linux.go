package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/bench/load"
	"github.com/sluice-gateway/sluice/bench/peer"
)

// suite is everything that the command does in one call. It owns the directory of configurations and logs, and all child processes.
type suite struct {
	options
	runner   *peer.Runner
	self     string
	programs map[peer.Kind]string // "" when it was not found
	dir      string
}

func newSuite(ctx context.Context, o options) (*suite, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &suite{options: o, runner: peer.NewRunner(self), self: self, programs: map[peer.Kind]string{}}
	if s.dir, err = os.MkdirTemp("", "sluice-failover-"); err != nil {
		return nil, err
	}
	for _, k := range o.proxies {
		if k != peer.Sluice {
			s.programs[k] = peer.FindProgram(string(k))
			continue
		}
		if s.programs[k], err = s.build(ctx); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

// close ends every child and removes what was written.
func (s *suite) close() {
	s.runner.Close()
	if s.keep {
		progress("configurations and logs are in %s", s.dir)
		return
	}
	_ = os.RemoveAll(s.dir)
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// build builds ./cmd/sluice of the module in which the command was started.
func (s *suite) build(ctx context.Context) (string, error) {
	if s.sluice != "" {
		path, err := filepath.Abs(s.sluice)
		if err != nil {
			return "", err
		}
		_, err = os.Stat(path)
		return path, err
	}
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	root := filepath.Dir(string(bytes.TrimSpace(out)))
	if err != nil || root == "." || root == "/dev" {
		return "", errors.New("start this inside the source tree, or with -sluice PROGRAM")
	}
	progress("building sluice")
	path := filepath.Join(s.dir, "sluice")
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", path, "./cmd/sluice")
	build.Dir = root
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/sluice: %w: %.2000s", err, bytes.TrimSpace(text))
	}
	return path, nil
}

// number finds the version in what a program says about itself.
var number = regexp.MustCompile(`\d+(\.\d+)+`)

// circumstances tells on what the tables were made.
func (s *suite) circumstances(ctx context.Context) string {
	parts := []string{fmt.Sprintf("%s, %s/%s, %d processors", time.Now().Format(time.DateOnly), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())}
	for _, k := range s.proxies {
		if k == peer.Sluice || s.programs[k] == "" {
			continue
		}
		text, err := exec.CommandContext(ctx, s.programs[k], "-v").CombinedOutput()
		if err != nil {
			continue // it has run, so this is no matter
		}
		parts = append(parts, string(k)+" "+string(number.Find(text)))
	}
	return "On " + strings.Join(parts, "; ") + "."
}

// run is one proxy in one scenario.
type run struct {
	*suite
	scenario  *scenario
	kind      peer.Kind
	timing    timing
	dir       string
	plan      plan
	ledger    *ledger
	endpoints []*endpoint
	proxy     *peer.Process
	start     time.Time
}

// mostRepeats is how often a run is repeated in which something does not hold while the machine was busy with other things.
const mostRepeats = 2

// judged runs a scenario with a proxy. A failure counts only if the machine was quiet and the run meant something, or not so each time.
func (s *suite) judged(ctx context.Context, sc *scenario, k peer.Kind) (*outcome, error) {
	for again := 0; ; again++ {
		o, err := s.measure(ctx, sc, k, again)
		if err != nil {
			return nil, err
		}
		o.again = again
		if len(o.problems) == 0 || o.disturbance() <= disturbed && hadItsPart(o) == "" || again == mostRepeats {
			return o, nil
		}
		progress("%s: %s: %s; the machine held up clients or endpoints for up to %v; once more", sc.name, k, strings.Join(o.problems, "; "), round(o.disturbance()))
	}
}

// measure does one run. An error is one of the harness; what a proxy does is in the outcome.
func (s *suite) measure(ctx context.Context, sc *scenario, k peer.Kind, again int) (*outcome, error) {
	o := &outcome{scenario: sc, proxy: string(k), timing: timingOf(sc, s.length())}
	if s.programs[k] == "" {
		o.missing = "not installed"
		return o, nil
	}
	r := &run{suite: s, scenario: sc, kind: k, timing: o.timing, ledger: newLedger(), dir: filepath.Join(s.dir, fmt.Sprintf("%s-%s-%d", sc.name, k, again+1))}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		return nil, err
	}
	defer r.close()
	if err := r.startEndpoints(ctx); err != nil {
		return nil, err
	}
	if err := r.startProxy(ctx); err != nil {
		return nil, err
	}
	results, err := r.load(ctx)
	if err != nil {
		return nil, err
	}
	o.results, o.ledger = results, r.ledger
	var metrics []byte
	if k == peer.Sluice {
		_, metrics, _ = load.Fetch(ctx, r.plan.Admin, "/metrics", false)
	}
	select {
	case <-r.proxy.Done():
		return nil, fmt.Errorf("%s ended in the middle of scenario %s: %s", k, sc.name, r.proxy.Tail())
	default:
	}
	if err := r.settle(); err != nil {
		return nil, err
	}
	if k == peer.Sluice {
		r.proxy.Stop() // which writes the rest of its log
		if o.problems = sc.judge(o); len(o.problems) > 0 {
			o.notes = explain(metrics, filepath.Join(r.dir, accessLogName))
		}
	}
	return o, nil
}

// load lets the clients run while the endpoints fail.
func (r *run) load(ctx context.Context) ([]result, error) {
	table, err := r.scenario.table(r.timing.length)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A moment for everybody to be ready, so that the first requests are not late already.
	r.start = time.Now().Add(50 * time.Millisecond)
	c := &client{address: r.plan.Address, posts: r.scenario.posts}
	fault := make(chan error, 1)
	go func() {
		err := r.faults(ctx)
		if err != nil {
			cancel()
		}
		fault <- err
	}()
	results := c.run(ctx, table, r.start)
	if err := <-fault; err != nil {
		return nil, err
	}
	return results, ctx.Err()
}

// startLimit is how long a proxy may take until it answers.
const startLimit = 15 * time.Second

// startProxy starts the proxy and returns when it has answered; Sluice also when its first checks are done.
func (r *run) startProxy(ctx context.Context) error {
	addresses, err := peer.FreeAddresses(2)
	if err != nil {
		return err
	}
	r.plan = plan{Dir: r.dir, Address: addresses[0], Admin: addresses[1], Latency: r.scenario.byTime, Root: peer.IsRoot()}
	for _, e := range r.endpoints {
		r.plan.Endpoints = append(r.plan.Endpoints, e.address)
	}
	config, err := r.plan.write(r.kind)
	if err != nil {
		return err
	}
	r.proxy, err = r.runner.Start(peer.Spec{Name: string(r.kind), Dir: r.dir, CPU: -1, Args: command(r.kind, r.programs[r.kind], r.dir, config)})
	if err != nil {
		return err
	}
	return r.proxy.Await(ctx, startLimit, func(ctx context.Context) error {
		if r.kind == peer.Sluice {
			if status, _, err := load.Fetch(ctx, r.plan.Admin, "/readyz", false); err != nil || status != 200 {
				return fmt.Errorf("/readyz answers with status %d: %w", status, err)
			}
		}
		// Each endpoint once: a proxy may take what its first check has not found yet for well.
		for range r.endpoints {
			status, _, err := load.Fetch(ctx, r.plan.Address, checkPath, false)
			if err != nil || status != 200 {
				return fmt.Errorf("%s answers with status %d: %w", checkPath, status, err)
			}
		}
		return nil
	})
}

// close ends what is left of the run.
func (r *run) close() {
	if r.proxy != nil {
		r.proxy.Stop()
	}
	for _, e := range r.endpoints {
		e.stop()
	}
}
