package main

import (
	"crypto/tls"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/bench/load"
	"github.com/sluice-gateway/sluice/bench/peer"
	"github.com/sluice-gateway/sluice/bench/report"
)

func TestRowsFollowRowNames(t *testing.T) {
	s := &suite{}
	var names []string
	for _, r := range s.rows() {
		names = append(names, r.name)
	}
	if !slices.Equal(names, rowNames()) {
		t.Errorf("rows are %v, names are %v", names, rowNames())
	}
}

func TestRoutePathsReachWorstPlacedRoutes(t *testing.T) {
	for _, n := range []int{10, 10000} {
		paths := routePaths(n)
		seen := map[string]int{}
		for _, p := range paths {
			seen[p]++
		}
		if seen[peer.RoutePath(n-1)] < len(paths)/4 || seen[peer.RoutePath(n-2)] < len(paths)/4 {
			t.Errorf("%d routes: the last two get %d and %d of %d requests", n, seen[peer.RoutePath(n-1)], seen[peer.RoutePath(n-2)], len(paths))
		}
		if len(seen) < min(n, 1500) {
			t.Errorf("%d routes: only %d are asked for", n, len(seen))
		}
		if seen[peer.RoutePath(n)] > 0 {
			t.Errorf("%d routes: a route that does not exist is asked for", n)
		}
	}
}

func TestPrice(t *testing.T) {
	g := &gauge{cpu: 0, from: peer.Usage{Total: time.Second}, to: peer.Usage{Total: 1500 * time.Millisecond, User: 100 * time.Millisecond, System: 300 * time.Millisecond},
		busyFrom: time.Second, busyTo: 1700 * time.Millisecond, windowFrom: time.Unix(0, 0), window: time.Unix(1, 0)}
	result := &load.Result{Requests: 20000, Elapsed: time.Second}
	v, err := price(result, g)
	if err != nil {
		t.Fatal(err)
	}
	want := values{metricCPU: 25, metricRate: 20000, metricBusy: 0.5, metricUser: 0.25, metricForeign: 0.2}
	for metric, figure := range want {
		if math.Abs(v[metric]-figure) > 1e-9 {
			t.Errorf("%s is %v, want %v", metric, v[metric], figure)
		}
	}
	result.Failures[load.Status] = 1
	if _, err := price(result, g); err == nil {
		t.Error("a failed request did not fail the measurement")
	}
	g.err = io.EOF
	if _, err := price(&load.Result{Requests: 1}, g); err == nil {
		t.Error("unreadable processor time did not fail the measurement")
	}
}

func TestHalfOfTopUsesTheMeasuredRate(t *testing.T) {
	s := &suite{options: options{peers: []peer.Kind{peer.Sluice, peer.NGINX}}, report: &report.Report{}}
	for round, rate := range []float64{50000, 70000, 52000} {
		s.report.Add(report.Sample{Row: rowSmall, Round: round, Peer: "nginx", Values: values{metricRate: rate}})
	}
	rate, err := s.halfOfTop(t.Context())
	if err != nil || rate != 26000 {
		t.Errorf("half rate is %d (%v), want half of the median", rate, err)
	}
}

func TestCertificateIsReadable(t *testing.T) {
	files, err := writeCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]string{{files.certificate, files.key}, {files.combined, files.combined}} {
		if _, err := tls.LoadX509KeyPair(pair[0], pair[1]); err != nil {
			t.Error(err)
		}
	}
}

func TestParsePicks(t *testing.T) {
	out := []byte("goos: linux\nBenchmarkPick/random/1000            \t 9000000\t        12.50 ns/op\t       0 B/op\t       0 allocs/op\n" +
		"BenchmarkPick/random/1000/tried      \t 9000000\t        99.00 ns/op\t       0 B/op\t       9 allocs/op\n" +
		"BenchmarkPick/least_request/1000-2   \t  900000\t       120 ns/op\t        64.0 extra/op\t      16 B/op\t       2 allocs/op\n" +
		"BenchmarkPick/round_robin/100        \t 9000000\t        77.00 ns/op\t       0 B/op\t       7 allocs/op\nPASS\n")
	v, err := parsePicks(out)
	if err != nil {
		t.Fatal(err)
	}
	want := values{metricPick("random"): 12.5, metricPick("least_request"): 120, metricAllocations: 2}
	if !maps.Equal(v, want) {
		t.Errorf("read %v, want %v", v, want)
	}
	if v, err := parsePicks([]byte("PASS\n")); err == nil {
		t.Errorf("nothing was read as %v", v)
	}
}

func TestMessagesDiffer(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range messages() {
		if len(m) != messageSize || seen[string(m)] {
			t.Errorf("a message of %d bytes, or twice the same", len(m))
		}
		seen[string(m)] = true
	}
}

func TestWhoTakesPartInRelayRows(t *testing.T) {
	s := &suite{programs: peer.Programs{NGINXStream: true}}
	for _, r := range s.rows() {
		if !slices.Contains(relayRows(), r.name) {
			continue
		}
		for _, kind := range peer.Kinds() {
			want := kind == peer.NGINX || kind == peer.Sluice || kind == peer.HAProxy && r.name != rowUDP
			if r.can(kind) != want {
				t.Errorf("row %s, %s: %v, want %v", r.name, kind, !want, want)
			}
		}
		s.programs.NGINXStream = false
		if r.can(peer.NGINX) || !r.can(peer.Sluice) {
			t.Errorf("row %s without the stream module: nginx %v, sluice %v", r.name, r.can(peer.NGINX), r.can(peer.Sluice))
		}
		s.programs.NGINXStream = true
	}
}

func TestRemarkSpeaksOfLostDatagrams(t *testing.T) {
	s := &suite{options: options{peers: []peer.Kind{peer.NGINX, peer.Sluice}}, report: &report.Report{}}
	s.report.Add(report.Sample{Row: rowUDP, Peer: "nginx", Values: values{metricLost: 0.0005}})
	s.report.Add(report.Sample{Row: rowUDP, Peer: "sluice", Values: values{metricLost: 0.02}})
	s.remark(rowUDP)
	if notes := strings.Join(s.report.Notes, " "); !strings.Contains(notes, "through sluice") || strings.Contains(notes, "nginx") {
		t.Errorf("notes: %s", notes)
	}
}
