package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/sluice-gateway/sluice/bench/peer"
)

// pickTime is how long the benchmark of one algorithm runs.
const pickTime = "100ms"

// pick runs the benchmarks of package balance, on the core that is the proxy's in the other rows.
func (s *suite) pick(ctx context.Context, _ peer.Kind) (values, error) {
	if err := s.buildPicks(ctx); err != nil {
		return nil, err
	}
	args := []string{s.picks, "-test.run=^$", "-test.bench=^BenchmarkPick$/^.*$/^1000$", "-test.benchmem", "-test.benchtime=" + pickTime, "-test.cpu=1"}
	if s.proxyCPU >= 0 {
		args = append([]string{s.programs.Self, peer.PinCommand, strconv.Itoa(s.proxyCPU)}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = s.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("the benchmark of package balance: %w: %.500s", err, bytes.TrimSpace(out))
	}
	return parsePicks(out)
}

// buildPicks builds the test program of package balance, once for a run.
func (s *suite) buildPicks(ctx context.Context) error {
	if s.picks != "" {
		return nil
	}
	root, err := sourceTree(ctx)
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, "balance.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", path, "./balance")
	build.Dir = root
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go test -c ./balance: %w: %.500s", err, bytes.TrimSpace(text))
	}
	s.picks = path
	return nil
}

// pickLine is a line that go test prints of one algorithm at 1,000 endpoints.
var pickLine = regexp.MustCompile(`(?m)^BenchmarkPick/([a-z_]+)/1000(?:-\d+)?\s+\d+\s+([\d.]+) ns/op.*?\s(\d+) allocs/op`)

// parsePicks reads what go test has printed.
func parsePicks(out []byte) (values, error) {
	v := values{}
	for _, m := range pickLine.FindAllSubmatch(out, -1) {
		ns, err1 := strconv.ParseFloat(string(m[2]), 64)
		allocations, err2 := strconv.ParseFloat(string(m[3]), 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("%q: %w", m[0], err)
		}
		v[metricPick(string(m[1]))] = ns
		v[metricAllocations] = max(v[metricAllocations], allocations)
	}
	if len(v) == 0 {
		return nil, fmt.Errorf("no benchmark of a pick at 1,000 endpoints in %.500q", out)
	}
	return v, nil
}
