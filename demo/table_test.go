package demo

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files instead of comparing with them")

// golden compares a text with a file of testdata, or writes the file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("not as in %s (-rewrite writes it anew):\n%s", name, got)
	}
}

// sample is a frame in which everything occurs.
func sample() *frame {
	slow := trouble{"slow", "slow, 40 to 120 ms", "is slow: 40 to 120 ms"}
	return &frame{
		elapsed: 67*time.Second + 300*time.Millisecond,
		rate:    1200,
		source:  "examples/bank/bank.yaml as it stands",
		tries:   tries("127.0.0.1:8080", "127.0.0.1:9900", "/tmp/sluice-demo-1"),
		last:    figures{over: time.Second, answered: 1187, failed: 2, saved: 12, cached: 368, p50: 2100 * time.Microsecond, p99: 84 * time.Millisecond},
		total: figures{
			over: 67 * time.Second, answered: 80123, failed: 4, skipped: 7, cached: 25001, partial: 42, saved: 1061, retries: 1070, denied: 3, ejections: 5, downs: 6,
			p50: 2300 * time.Microsecond, p99: 91 * time.Millisecond,
		},
		backends: []backendRow{
			{name: "accounts", usable: 2, endpoints: []endpointRow{
				{address: "127.0.0.1:40001", inFlight: 1, perSecond: 228.4, share: 0.5, requests: 15000, totalShare: 0.5},
				{address: "127.0.0.1:40002", inFlight: 2, perSecond: 228.4, share: 0.5, requests: 15001, totalShare: 0.5},
			}},
			{name: "transactions", usable: 2, endpoints: []endpointRow{
				{address: "127.0.0.1:40011", perSecond: 160, share: 0.46, requests: 11000, totalShare: 0.46},
				{address: "127.0.0.1:40012", inFlight: 11, share: -1, requests: 2000, failures: 1234, ejections: 1, downs: 6, totalShare: 0.08,
					state: down, trouble: trouble{"stopped", "refuses connections", "stops"}},
				{address: "127.0.0.1:40013", perSecond: 9.6, share: 0.08, requests: 11001, totalShare: 0.46, trouble: slow},
			}},
			{name: "rates", usable: 1, endpoints: []endpointRow{
				{address: "127.0.0.1:40021", perSecond: 1111, share: 1, requests: 9000, totalShare: 0.5},
				{address: "127.0.0.1:40022", requests: 9000, totalShare: 0.5, failures: 3, ejections: 4, state: ejected, ejected: 1940 * time.Millisecond},
			}},
		},
		failure: "GET /rates/EUR: 502 upstream_reset",
		events: []event{
			{0, "bank: transactions :40013 is slow: 40 to 120 ms"},
			{61 * time.Second, "bank: transactions :40012 stops"},
			{62 * time.Second, "sluice: transactions :40012 is down: connections to it fail"},
			{66 * time.Second, "sluice: rates :40022 is ejected for 2.0 s: its requests fail"},
		},
	}
}

// text is what a terminal would show.
func text(f *frame, width, height int, colour bool) string {
	var b strings.Builder
	for _, l := range layout(f, width, height) {
		l.write(&b, width, colour)
		b.WriteByte('\n')
	}
	return b.String()
}

func TestTable(t *testing.T) {
	for _, test := range []struct {
		file          string
		width, height int
		colour        bool
	}{
		{"80x24.txt", 80, 24, false},
		{"120x40.txt", 120, 40, false},
		{"60x14.txt", 60, 14, false},
		{"80x20.txt", 80, 20, false},
		{"colour.txt", 104, 24, true},
	} {
		t.Run(test.file, func(t *testing.T) { golden(t, test.file, text(sample(), test.width, test.height, test.colour)) })
	}
}

func TestTableFits(t *testing.T) {
	f := sample()
	for width := range 130 {
		for height := range 40 {
			lines := strings.Split(strings.TrimSuffix(text(f, width, height, false), "\n"), "\n")
			if len(lines) > max(height, 1) { // a text without a line counts as one that is empty
				t.Fatalf("%d lines on a screen of %d", len(lines), height)
			}
			for _, l := range lines {
				if len([]rune(l)) > width {
					t.Fatalf("%q is wider than %d", l, width)
				}
			}
		}
	}
}

func TestPlainLines(t *testing.T) {
	golden(t, "plain.txt", greeting(sample())+plainLine(sample()))
}

func TestSummary(t *testing.T) { golden(t, "summary.txt", summary(sample())) }

func TestEmptyFrame(t *testing.T) {
	f := &frame{}
	for _, got := range []string{text(f, 80, 24, true), plainLine(f), summary(f)} {
		if strings.Contains(got, "NaN") || strings.Contains(got, "Inf") {
			t.Errorf("a frame of nothing shows %q", got)
		}
	}
}
