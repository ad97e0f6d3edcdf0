package main

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/bench/load"
	"github.com/sluice-gateway/sluice/bench/peer"
	"github.com/sluice-gateway/sluice/bench/report"
)

// gatewaySuite is a testSuite with Sluice, built from this tree, and few tokens.
func gatewaySuite(t *testing.T) *suite {
	t.Helper()
	s := testSuite(t)
	s.seconds = 0.5 // of which a turn is a fifth
	s.report, s.peers = &report.Report{}, []peer.Kind{peer.NGINX, peer.Sluice}
	if err := s.buildSluice(t.Context()); err != nil || s.programs.Sluice == "" {
		t.Fatal(err, s.report.Notes)
	}
	if err := s.signTokens(100); err != nil {
		t.Fatal(err)
	}
	return s
}

// patiently measures again when a short window has passed without an answer, as it may on a crowded machine.
func patiently(t *testing.T, measure func(context.Context, peer.Kind) (values, error), kind peer.Kind) (v values, err error) {
	t.Helper()
	for range 10 {
		if v, err = measure(t.Context(), kind); err == nil || !strings.Contains(err.Error(), "no request was answered") {
			break
		}
	}
	return v, err
}

// TestGatewayRows measures each row of the API gateway once. What the rows prove before they measure holds here, too.
func TestGatewayRows(t *testing.T) {
	s := gatewaySuite(t)
	lines := gatewayLines(s.options)
	seen := 0
	for _, r := range s.rows() {
		for _, kind := range []peer.Kind{peer.NGINX, peer.Sluice} {
			if !slices.Contains(gatewayRows(), r.name) || !r.can(kind) || s.programs.Of(kind) == "" {
				continue
			}
			seen++
			t.Run(r.name+"/"+string(kind), func(t *testing.T) {
				v, err := patiently(t, r.measure, kind)
				if err != nil {
					t.Fatal(err)
				}
				for _, line := range lines {
					got, ok := v[line.Metric]
					if kind == peer.Sluice && line.Row == r.name && !ok {
						t.Errorf("%s is not measured", line.Metric)
					}
					// What is added may be nothing, and so few keys fit into memory that was there.
					if ok && line.Row == r.name && !(got > 0) && line.Metric != metricAddedP99 && line.Metric != metricKeyBytes {
						t.Errorf("%s is %v", line.Metric, got)
					}
				}
			})
		}
	}
	if seen < len(gatewayRows()) {
		t.Errorf("%d rows are measured, there are %d", seen, len(gatewayRows()))
	}
}

// TestASideThatDoesNotDoWhatItSaysFails sets bare proxies in the place of others.
func TestASideThatDoesNotDoWhatItSaysFails(t *testing.T) {
	s := gatewaySuite(t)
	get := [][]byte{load.Request(benchHost, path, false)}
	for name, c := range map[string]struct {
		work   peer.Gateway
		change func(*side)
		want   string
	}{
		"no keys": {"", func(x *side) { x.prepare = refusesKeys }, "must be refused with 401 api_key_missing"},
		"no tokens": {"", func(x *side) {
			x.prepare = refusesTokens(load.RequestWith("GET", benchHost, path, nil, "Authorization: Bearer a.b.0123456789abcdef"))
		}, "must be refused with 401 token_missing"},
		"no limit":      {"", func(x *side) { x.prepare = tellsItsLimit }, "has no limit"},
		"no cache":      {"", func(x *side) { x.prepare = isHit }, "not a hit"},
		"counts less":   {peer.GatewayRate, func(x *side) { x.counted = map[string]float64{ratePassed: 3} }, "which count for 3 each"},
		"counts at all": {"", func(x *side) { x.counted = map[string]float64{asked: 0} }, "has moved by"},
		"no such count": {"", func(x *side) { x.counted = map[string]float64{ratePassed: 1} }, "have no sluice_limit"},
		"no new keys": {peer.GatewayRate, func(x *side) {
			x.prepare = func(ctx context.Context, u *setup) (values, error) { return nil, s.knownKeys(ctx, u, get[0]) }
		}, "only 0 are known"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := patiently(t, s.beside(func(ctx context.Context, _ peer.Kind) ([]side, error) {
				x, err := s.textSide(ctx, 128, sideBare, c.work, get)
				c.change(&x)
				return []side{x}, err
			}, nil), peer.Sluice)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("measured %v, %v; want an error with %q", v, err, c.want)
			}
		})
	}
}

func TestABackendThatMustNotBeAskedIsWatched(t *testing.T) {
	k := &standing{side: side{spares: true}, setup: &setup{}, requests: 1_000_000, originCPU: time.Second}
	if err := k.judge(t.Context()); err == nil {
		t.Error("1 µs for each request was accepted")
	}
	k.originCPU = 400 * time.Millisecond
	if err := k.judge(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSummarizeComparesWithTheFirstSide(t *testing.T) {
	v := values{}
	list := []*standing{
		{side: side{name: sideBare}, cpu: time.Second, requests: 100_000, span: 2 * time.Second, foreign: 0.01},
		{side: side{name: sideRate}, cpu: time.Second, requests: 80_000, span: 2 * time.Second, foreign: 0.03},
	}
	list[1].latency.Record(64 * time.Nanosecond)
	summarize(list, v)
	for metric, want := range map[string]float64{metricOf(sideBare, metricCPU): 10, metricOf(sideRate, metricCPU): 12.5, metricOf(sideRate, metricOver): 1.25,
		metricOf(sideRate, metricRate): 40_000, metricOf(sideRate, metricP99): 0.064, metricForeign: 0.03} {
		if v[metric] != want {
			t.Errorf("%s is %v, want %v", metric, v[metric], want)
		}
	}
	if _, ok := v[metricOffered]; ok {
		t.Error("a rate was offered")
	}
	list[0].rate, list[1].rate = 45_000, 45_000
	if summarize(list, v); v[metricOffered] != 45_000 || v[metricRate] != 40_000 {
		t.Errorf("%v of %v requests/s, want 40000 of 45000", v[metricRate], v[metricOffered])
	}
	if _, ok := v[metricOf(sideBare, metricOver)]; ok {
		t.Error("the bare proxy is compared with itself")
	}
}

func TestHalfOfCompositionsUsesTheMeasuredRate(t *testing.T) {
	s := &suite{report: &report.Report{}}
	for round, rate := range []float64{20000, 30000, 24000} {
		s.report.Add(report.Sample{Row: rowCompose, Round: round, Peer: "sluice", Values: values{metricOf(sideCompose, metricRate): rate}})
	}
	if rate, err := s.halfOfCompositions(t.Context()); err != nil || rate != 12000 {
		t.Errorf("half rate is %d (%v), want half of the median", rate, err)
	}
}

func TestLimitField(t *testing.T) {
	const state, quota = `"fair-use";r=9999998;t=1`, `"fair-use";q=10000000;w=864000`
	for _, c := range []struct {
		value, name string
		want        int
	}{{state, "r", 9999998}, {state, "t", 1}, {quota, "q", 10000000}, {state, "q", -1}, {"", "r", -1}, {"x;r=y", "r", -1}} {
		if got := limitField(c.value, c.name); got != c.want {
			t.Errorf("%s of %s is %d, want %d", c.name, c.value, got, c.want)
		}
	}
}
