package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/bench/load"
	"github.com/sluice-gateway/sluice/bench/origin"
	"github.com/sluice-gateway/sluice/bench/peer"
	"github.com/sluice-gateway/sluice/bench/report"
)

// suite is one run of the benchmark. It owns the directory of configurations and logs, all child processes, and the report.
type suite struct {
	options
	runner         *peer.Runner
	programs       peer.Programs
	dir            string
	proxyCPU       int // -1: not pinned
	loadCPU        int
	originCPU      int // on two processors the same as loadCPU
	certificate    certificateFiles
	origins        map[int]*backends // by size of their answers
	endpoints      *endpoints        // of the layer 4 rows
	picks          string            // the test program of package balance
	sites          *sites            // of the rows that look into bodies
	tokens         []string          // of the jwt row, and the file with the key set of their issuer
	keySet         string
	composeRate    float64 // of compositions, when row compose was not measured
	started        int     // proxies started so far; numbers their directories
	topRate        float64 // of NGINX, when row small was not measured
	report         *report.Report
	leftOutSubject bool
}

// startLimit is how long a proxy may take until it answers; 10,000 routes are many for some.
const startLimit = 30 * time.Second

// loadedConnections is the most client connections that a proxy of a loaded row is configured for.
const loadedConnections = 1000

// newSuite finds or installs the programs and prepares the machine. When it fails, nothing is left behind.
func newSuite(ctx context.Context, o options) (*suite, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &suite{options: o, runner: peer.NewRunner(self), origins: map[int]*backends{}, programs: peer.Programs{Self: self}}
	if s.dir, err = os.MkdirTemp("", "sluice-bench-"); err != nil {
		return nil, err
	}
	s.report = &report.Report{Subject: string(peer.Sluice), Reference: string(peer.NGINX), Started: time.Now(), Lines: tableLines(o)}
	if err := s.prepare(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *suite) prepare(ctx context.Context) (err error) {
	if s.certificate, err = writeCertificate(s.dir); err != nil {
		return err
	}
	s.findPeers(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.buildSluice(ctx); err != nil {
		return err
	}
	s.peers = slices.DeleteFunc(s.peers, func(k peer.Kind) bool { return s.programs.Of(k) == "" })
	if len(s.peers) == 0 {
		return errors.New("no proxy is left to measure")
	}
	for _, kind := range s.peers {
		s.report.Peers = append(s.report.Peers, string(kind))
	}
	if s.wants(rowJWT) && slices.Contains(s.peers, peer.Sluice) {
		progress("signing %d tokens", freshTokens)
		if err := s.signTokens(freshTokens); err != nil { // before this process has only one processor
			return err
		}
	}
	if err := s.chooseProcessors(); err != nil {
		return err
	}
	s.limitIdle()
	s.report.Environment = environment(ctx, s.programs)
	s.report.Options = map[string]string{"rounds": strconv.Itoa(s.options.rounds), "seconds": fmt.Sprint(s.seconds),
		"connections": strconv.Itoa(s.connections), "idle": strconv.Itoa(s.idle), "routes": strconv.Itoa(s.routes), "keys": strconv.Itoa(s.keys)}
	return nil
}

// close ends every child and removes what the run has written.
func (s *suite) close() {
	s.runner.Close()
	if s.keep {
		progress("configurations and logs are in %s", s.dir)
		return
	}
	_ = os.RemoveAll(s.dir)
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

func (s *suite) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.report.Notes = append(s.report.Notes, text)
	progress("note: %s", text)
}

// findPeers finds nginx, with its layer 4 module, and haproxy, or installs them, or says that they are left out.
func (s *suite) findPeers(ctx context.Context) {
	needNGINX := slices.ContainsFunc(s.peers, peer.Kind.IsNGINX)
	needHAProxy := slices.Contains(s.peers, peer.HAProxy)
	needStream := slices.Contains(s.peers, peer.NGINX) && slices.ContainsFunc(relayRows(), s.wants)
	find := func() (missing []string) {
		if s.programs.NGINX = peer.FindProgram("nginx"); needNGINX && s.programs.NGINX == "" {
			missing = append(missing, "nginx-light")
		}
		if s.programs.NGINXStreamFile, s.programs.NGINXStream = peer.StreamModule(ctx, s.programs.NGINX); needStream && !s.programs.NGINXStream {
			missing = append(missing, "libnginx-mod-stream")
		}
		if s.programs.HAProxy = peer.FindProgram("haproxy"); needHAProxy && s.programs.HAProxy == "" {
			missing = append(missing, "haproxy")
		}
		return missing
	}
	missing := find()
	var err error
	if len(missing) > 0 && s.install {
		progress("installing %s", strings.Join(missing, " "))
		err = peer.Install(ctx, os.Stderr, missing...)
		missing = find()
	}
	for _, name := range missing {
		if err != nil {
			s.note("%s is left out: %v", name, err)
		} else {
			s.note("%s is left out: it is not installed", name)
		}
	}
}

// buildSluice builds ./cmd/sluice of the module in which the benchmark was started.
func (s *suite) buildSluice(ctx context.Context) error {
	if !slices.Contains(s.peers, peer.Sluice) {
		return nil
	}
	if s.sluice != "" {
		path, err := filepath.Abs(s.sluice)
		if err != nil {
			return err
		}
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("-sluice: %w", err)
		}
		s.programs.Sluice = path
		return nil
	}
	root, err := sourceTree(ctx)
	if err != nil {
		return fmt.Errorf("%w, or with -sluice PROGRAM", err)
	}
	progress("building sluice")
	path := filepath.Join(s.dir, "sluice")
	// Without the version control stamp: git refuses to look into another user's clone, which it is under sudo.
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", path, "./cmd/sluice")
	build.Dir = root
	if text, err := build.CombinedOutput(); err != nil {
		s.leftOutSubject = true
		s.note("sluice is left out: go build ./cmd/sluice: %v: %.500s", err, bytes.TrimSpace(text))
		return nil
	}
	s.programs.Sluice = path
	return nil
}

// sourceTree is the directory of the module in which the benchmark was started.
func sourceTree(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	root := filepath.Dir(string(bytes.TrimSpace(out)))
	if err != nil || root == "." || root == "/dev" {
		return "", errors.New("the benchmark must be started inside the source tree")
	}
	return root, nil
}

// chooseProcessors gives the proxy a core of its own and pins this process, which is the load, to another one.
func (s *suite) chooseProcessors() error {
	allowed, err := peer.Processors()
	if err != nil {
		return err
	}
	chosen := s.processors
	switch {
	case len(chosen) > 0:
	case len(allowed) >= 2:
		chosen = allowed[:min(3, len(allowed))]
	default:
		s.proxyCPU, s.loadCPU, s.originCPU = -1, -1, -1
		s.note("there is only one processor: proxy and load share it, so rates and latencies say little")
		return nil
	}
	for _, cpu := range chosen {
		if !slices.Contains(allowed, cpu) {
			return fmt.Errorf("processor %d is not among those allowed: %v", cpu, allowed)
		}
	}
	s.proxyCPU, s.loadCPU, s.originCPU = chosen[0], chosen[1], chosen[len(chosen)-1]
	return peer.PinSelf(s.loadCPU)
}

// limitIdle raises the limit of descriptors, and lowers the number of idle connections to what the limit allows.
func (s *suite) limitIdle() {
	const spare = 3000
	// A proxy that forgets the sessions of the udp row late holds a descriptor for each.
	allowed, err := peer.RaiseFileLimit(uint64(max(s.idle, 2*questionRate) + spare))
	if err != nil {
		s.note("the limit of open files cannot be raised: %v", err)
	}
	if most := max(int(min(allowed, 1<<30))-spare, 1); most < s.idle {
		s.note("the limit of open files (%d) allows %d idle connections, not %d", allowed, most, s.idle)
		s.idle = most
	}
}

// backends is one origin process, which listens on two addresses.
type backends struct {
	addresses []string
	process   *peer.Process
}

// startBackends starts the origin for answers of size bytes, once for a run.
func (s *suite) startBackends(ctx context.Context, size int) (*backends, error) {
	if b := s.origins[size]; b != nil {
		return b, nil
	}
	addresses, err := peer.FreeAddresses(2)
	if err != nil {
		return nil, err
	}
	p, err := s.runner.Start(peer.Spec{Name: fmt.Sprintf("origin-%d", size), Dir: s.dir, CPU: s.originCPU,
		Env: []string{"GOMAXPROCS=1"}, Args: append([]string{s.programs.Self, originCommand, strconv.Itoa(size)}, addresses...)})
	if err != nil {
		return nil, err
	}
	for _, address := range addresses {
		err := p.Await(ctx, startLimit, func(ctx context.Context) error { return answers(ctx, address, "/", size, false) })
		if err != nil {
			p.Stop()
			return nil, err
		}
	}
	s.origins[size] = &backends{addresses, p}
	return s.origins[size], nil
}

// answers is nil when address answers path with the origin's body. It closes its connection itself, because the origin,
// which knows no Connection field, would keep it.
func answers(ctx context.Context, address, path string, size int, secure bool) error {
	status, body, err := load.FetchExact(ctx, address, path, size, secure)
	switch {
	case err != nil:
		return err
	case status != 200:
		return fmt.Errorf("%s answers with status %d", address, status)
	case !bytes.Equal(body, origin.Body(size)):
		return fmt.Errorf("%s answers with a wrong body", address)
	}
	return nil
}

// setup is a proxy that has been started for one measurement.
type setup struct {
	kind    peer.Kind
	plan    peer.Plan
	process *peer.Process
	origin  *peer.Process // what answers behind it
	body    []byte
}

// start launches a proxy in front of backends that answer with size bytes; shape changes the plan before. It returns
// when the proxy has answered path rightly. The caller stops it.
func (s *suite) start(ctx context.Context, kind peer.Kind, size int, path string, shape func(*peer.Plan)) (*setup, error) {
	b, err := s.startBackends(ctx, size)
	if err != nil {
		return nil, err
	}
	p := peer.Plan{Backends: b.addresses, Connections: loadedConnections + s.connections}
	if shape != nil {
		shape(&p)
	}
	u, err := s.launch(ctx, kind, p, func(ctx context.Context, address string) error { return answers(ctx, address, path, size, p.TLS()) })
	if err != nil {
		return nil, err
	}
	u.origin, u.body = b.process, origin.Body(size)
	return u, nil
}

// launch completes a plan with what every proxy needs, starts the proxy and waits until probe, which gets its address, is content.
func (s *suite) launch(ctx context.Context, kind peer.Kind, p peer.Plan, probe func(ctx context.Context, address string) error) (*setup, error) {
	free, err := peer.FreeAddresses(2)
	if err != nil {
		return nil, err
	}
	s.started++
	p.Dir, p.Address, p.Admin = filepath.Join(s.dir, fmt.Sprintf("%03d-%s", s.started, kind)), free[0], free[1]
	p.Root = peer.IsRoot()
	if err := os.Mkdir(p.Dir, 0o755); err != nil {
		return nil, err
	}
	process, err := s.runner.Launch(kind, p, s.programs, s.proxyCPU)
	if err != nil {
		return nil, err
	}
	if err := process.Await(ctx, startLimit, func(ctx context.Context) error { return probe(ctx, p.Address) }); err != nil {
		process.Stop()
		return nil, err
	}
	return &setup{kind: kind, plan: p, process: process}, nil
}

// secure gives a plan the certificate, which makes its listener an https one.
func (s *suite) secure(p *peer.Plan) {
	p.Certificate, p.Key, p.Combined = s.certificate.certificate, s.certificate.key, s.certificate.combined
}
