package report

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestSummarize(t *testing.T) {
	cases := []struct {
		values []float64
		want   Summary
	}{
		{nil, Summary{}},
		{[]float64{3}, Summary{3, 3, 3, 1}},
		{[]float64{4, 1}, Summary{2.5, 1, 4, 2}},
		{[]float64{9, 1, 5}, Summary{5, 1, 9, 3}},
		{[]float64{9, 1, 5, 6}, Summary{5.5, 1, 9, 4}},
	}
	for _, c := range cases {
		given := slices.Clone(c.values)
		if got := Summarize(c.values); got != c.want {
			t.Errorf("%v: got %+v, want %+v", c.values, got, c.want)
		}
		if !slices.Equal(given, c.values) {
			t.Errorf("%v was reordered to %v", given, c.values)
		}
	}
}

func TestPairRatios(t *testing.T) {
	subject := map[int]float64{0: 10, 1: 30, 2: 5, 4: 1}
	reference := map[int]float64{0: 20, 1: 30, 2: 0, 3: 7}
	if got := PairRatios(subject, reference); !slices.Equal(got, []float64{0.5, 1}) {
		t.Errorf("got %v, want rounds 0 and 1 only", got)
	}
}

// sample makes a report of one row in which the machine slows down by half from round to round: only ratios by
// pairs see that the subject always costs 0.9 of its reference.
func sample() *Report {
	line := Line{Row: "small", Metric: "cpu", Title: "CPU per request", Unit: "µs", Decimals: 1,
		Targets: []Target{{Against: "nginx", Max: 1.05}, {Against: "other", Max: 0.4}}}
	failed := Line{Row: "small", Metric: "failed", Title: "failed", Targets: []Target{{Max: 0, Worst: true}}}
	r := &Report{Subject: "sluice", Reference: "nginx", Peers: []string{"nginx", "other", "sluice"},
		Environment: map[string]string{"kernel": "6"}, Lines: []Line{line, failed, {Row: "never", Title: "never measured"}}}
	for round := range 3 {
		base := 1000 * float64(round+2)
		r.Add(Sample{Row: "small", Round: round, Peer: "nginx", Values: map[string]float64{"cpu": base}})
		r.Add(Sample{Row: "small", Round: round, Peer: "other", Values: map[string]float64{"cpu": 2 * base}})
		r.Add(Sample{Row: "small", Round: round, Peer: "sluice", Values: map[string]float64{"cpu": 0.9 * base, "failed": float64(round / 2)}})
	}
	return r
}

func TestJudge(t *testing.T) {
	r := sample()
	verdict, ratio := r.Judge(r.Lines[0], r.Lines[0].Targets[0])
	if verdict != Met || ratio.Median != 0.9 || ratio.Min != 0.9 || ratio.Max != 0.9 {
		t.Errorf("against nginx: %v %+v", verdict, ratio)
	}
	if verdict, ratio := r.Judge(r.Lines[0], r.Lines[0].Targets[1]); verdict != Missed || ratio.Median != 0.45 {
		t.Errorf("against other: %v %+v", verdict, ratio)
	}
	if verdict, _ := r.Judge(r.Lines[1], r.Lines[1].Targets[0]); verdict != Missed {
		t.Errorf("one failed request in the worst round: %v", verdict)
	}
	if verdict, _ := r.Judge(r.Lines[1], Target{Max: 0}); verdict != Met {
		t.Errorf("no failed request in the median: %v", verdict)
	}
	if verdict, _ := r.Judge(r.Lines[2], Target{Max: 1}); verdict != Unknown {
		t.Errorf("never measured: %v", verdict)
	}
	r.Add(Sample{Row: "small", Round: 3, Peer: "sluice", Error: "broken"})
	if verdict, _ := r.Judge(r.Lines[0], r.Lines[0].Targets[0]); verdict != Missed || !r.Failed() {
		t.Errorf("after a failed measurement: %v", verdict)
	}
}

func TestTargetBounds(t *testing.T) {
	figure := Summary{Median: 2, Min: 1, Max: 3, N: 3}
	cases := []struct {
		target Target
		unit   string
		text   string
		met    bool
	}{
		{Target{Max: 2}, "µs", "≤ 2 µs", true},
		{Target{Max: 1.9}, "", "≤ 1.9", false},
		{Target{Max: 2, Worst: true}, "", "≤ 2", false},
		{Target{Max: 3, Worst: true, Against: "a"}, "µs", "≤ 3 × a", true},
		{Target{Min: 2}, "1/s", "≥ 2 1/s", true},
		{Target{Min: 2.1, Against: "a"}, "", "≥ 2.1 × a", false},
		{Target{Min: 2, Worst: true}, "", "≥ 2", false},
		{Target{Min: 1, Worst: true}, "", "≥ 1", true},
	}
	for _, c := range cases {
		if got := c.target.text(c.unit); got != c.text {
			t.Errorf("%+v: text %q, want %q", c.target, got, c.text)
		}
		if got := c.target.met(figure); got != c.met {
			t.Errorf("%+v: met %v, want %v", c.target, got, c.met)
		}
	}
}

func TestTables(t *testing.T) {
	r := sample()
	var text, markdown bytes.Buffer
	if err := r.Text(&text); err != nil {
		t.Fatal(err)
	}
	if err := r.Markdown(&markdown); err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{text.String(), markdown.String()} {
		for _, want := range []string{"CPU per request, µs", "3,000.0 (2,000.0–4,000.0)", "0.90 (0.90–0.90)", "≤ 1.05 × nginx; ≤ 0.4 × other",
			"met; missed at 0.45", "kernel: 6"} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is missing in\n%s", want, out)
			}
		}
		if strings.Contains(out, "never") {
			t.Errorf("a line without samples is shown:\n%s", out)
		}
	}
	lines := strings.Split(markdown.String(), "\n")
	for _, line := range lines[:4] {
		if strings.Count(line, "|") != strings.Count(lines[0], "|") {
			t.Errorf("ragged line %q", line)
		}
	}
	r.Add(Sample{Row: "small", Round: 3, Peer: "other", Error: "a\nb"})
	text.Reset()
	if err := r.Text(&text); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "failed (1 of 4)") || !strings.Contains(text.String(), "small, other, round 4: a; b") {
		t.Errorf("the failure is not shown:\n%s", text.String())
	}
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	if err := sample().JSON(&out); err != nil {
		t.Fatal(err)
	}
	var back struct {
		Samples []Sample
		Figures []struct {
			Row     string
			Ratio   Summary
			Results []Verdict
		}
	}
	if err := json.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if len(back.Samples) != 9 || len(back.Figures) != 2 || back.Figures[0].Ratio.Median != 0.9 || len(back.Figures[0].Results) != 2 {
		t.Errorf("read back: %+v", back)
	}
}

func TestNumber(t *testing.T) {
	cases := map[string]string{
		number(0, 0): "0", number(999, 0): "999", number(1000, 0): "1,000", number(1234567.891, 2): "1,234,567.89",
		number(-1234.5, 1): "-1,234.5", number(0.04, 1): "0.0",
	}
	for got, want := range cases {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
