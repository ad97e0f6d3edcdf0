package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/bench/peer"
	"github.com/sluice-gateway/sluice/config"
)

func TestTables(t *testing.T) {
	s := scenarios()[0]
	o := example(t, s)
	o.results[0].verdict, o.results[0].detail = failed, "status 502"
	o.problems, o.notes = []string{"1 GETs failed"}, []string{"a note"}
	c := comparison{scenario: s, timing: o.timing, outcomes: []*outcome{o, {scenario: s, timing: o.timing, proxy: "nginx", missing: "not installed"}}}
	var b bytes.Buffer
	if err := c.text(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"from 2 s to 6 s of 8 s", "3200", "DOES NOT HOLD: 1 GETs failed", "1 × GET: status 502", "a note", "p99 by second: 6 6 6 6 6 6 6 6 ms", "not installed",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	var m strings.Builder
	c.markdown(&m)
	lines := strings.Split(m.String(), "\n")
	if !strings.HasPrefix(lines[0], "### refuse: ") {
		t.Errorf("heading %q", lines[0])
	}
	rows := 0
	for _, line := range lines {
		if strings.HasPrefix(line, "|") {
			if rows++; strings.Count(line, "|") != len(heads)+1 {
				t.Errorf("row %q", line)
			}
		}
	}
	if rows != 4 {
		t.Errorf("%d rows in\n%s", rows, m.String())
	}
}

func TestTablesSayWhatDoesNotApply(t *testing.T) {
	for _, s := range scenarios() {
		o := example(t, s)
		row := o.row()
		if len(row) != len(heads) || row[len(row)-1] != "holds" {
			t.Errorf("scenario %s: row %q", s.name, row)
		}
		if late := row[8] != "–"; late == (s.always || s.inTurn) {
			t.Errorf("scenario %s: p99 after 2 s is %q", s.name, row[8])
		}
		c := comparison{scenario: s, timing: o.timing}
		if when := c.when(); when == "" || strings.Contains(when, "e+") {
			t.Errorf("scenario %s: %q", s.name, when)
		}
	}
}

func TestWriteMarkdown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	const text = "# Page\n" + markerBegin + "last year\n" + markerEnd + "rest\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := scenarios()[0]
	o := example(t, s)
	all := []comparison{{scenario: s, timing: o.timing, outcomes: []*outcome{o}}}
	for range 2 { // the second time changes nothing
		if err := writeMarkdown(path, "On a quiet machine.", all); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if page := string(got); !strings.HasPrefix(page, "# Page\n"+markerBegin) || !strings.HasSuffix(page, markerEnd+"rest\n") ||
		strings.Contains(page, "last year") || strings.Count(page, "On a quiet machine.") != 1 || strings.Count(page, "### refuse") != 1 {
		t.Errorf("page:\n%s", page)
	}
	for _, text := range []string{"", markerBegin, markerEnd + markerBegin} {
		if _, err := between([]byte(text), "x"); err == nil {
			t.Errorf("%q has no markers, and was accepted", text)
		}
	}
}

// TestPage holds that the page in docs has a place for the tables, and a table for each scenario.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/failover.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := between(page, ""); err != nil {
		t.Fatal(err)
	}
	for _, s := range scenarios() {
		if !bytes.Contains(page, []byte("### "+s.name+": "+s.title+"\n")) {
			t.Errorf("the page has no table of scenario %s: write it with go run ./test/failover -markdown docs/failover.md", s.name)
		}
	}
}

func examplePlan(dir string) plan {
	return plan{Dir: dir, Address: "127.0.0.1:20001", Admin: "127.0.0.1:20002", Endpoints: []string{"127.0.0.1:20003", "127.0.0.1:20004", "127.0.0.1:20005"}}
}

// TestConfigurations holds that each proxy gets all addresses, and that the real loader takes Sluice's file without a warning.
func TestConfigurations(t *testing.T) {
	for _, k := range proxyKinds {
		for _, latency := range []bool{false, true} {
			p := examplePlan(t.TempDir())
			p.Latency, p.Root = latency, true
			path, err := p.write(k)
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range append(p.Endpoints, p.Address) {
				if !bytes.Contains(text, []byte(want)) {
					t.Errorf("%s: %s is missing in\n%s", k, want, text)
				}
			}
			if got := command(k, "program", p.Dir, path); got[0] != "program" || got[len(got)-1] != path {
				t.Errorf("%s is called as %q", k, got)
			}
			if k != peer.Sluice {
				continue
			}
			if bytes.Contains(text, []byte("least_latency")) != latency {
				t.Errorf("balance by latency is %v in\n%s", !latency, text)
			}
			c, err := config.Load(path, text, config.Options{})
			if err != nil {
				t.Fatalf("%v in\n%s", err, text)
			}
			if len(c.Warnings) > 0 {
				t.Errorf("warnings: %v", c.Warnings)
			}
		}
	}
	bad := examplePlan("/tmp/a b")
	if _, err := bad.write(peer.NGINX); err == nil {
		t.Error("a directory with a blank was accepted")
	}
}

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-only", "hang, cut", "-proxies", "haproxy,sluice", "-seconds", "6.5"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.only) != 2 || len(o.proxies) != 2 || o.proxies[0] != peer.HAProxy || o.length() != 6500*time.Millisecond {
		t.Errorf("options %+v", o)
	}
	for _, args := range [][]string{
		{"-only", "nothing"}, {"-proxies", "apache"}, {"-proxies", "nginx,nginx"}, {"-proxies", ","}, {"-seconds", "1"}, {"-seconds", "NaN"}, {"-limit", "1ms"}, {"-only", "hang", "-markdown", "x.md"}, {"word"}, {"-unknown"},
	} {
		if _, err := parseOptions(args, io.Discard); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
	var b bytes.Buffer
	listScenarios(&b)
	if n := strings.Count(b.String(), "\n"); n != len(scenarios()) {
		t.Errorf("%d scenarios are listed", n)
	}
}

func TestExplain(t *testing.T) {
	path := filepath.Join(t.TempDir(), accessLogName)
	var log strings.Builder
	log.WriteString(`{"status":200,"path":"/item/1"}` + "\n" + "no JSON\n" + `{"status":200,"reason":"upstream_body_broken"}` + "\n")
	for range 2 * mostLines {
		log.WriteString(`{"status":502,"reason":"upstream_reset"}` + "\n")
	}
	if err := os.WriteFile(path, []byte(log.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	metrics := "sluice_retries_total{outcome=\"saved\"} 3\nsluice_retries_total{outcome=\"lost\"} 0\nsluice_requests_total{} 7\n"
	notes := explain([]byte(metrics), path)
	if len(notes) != 1+mostLines+1 || !strings.Contains(notes[0], "saved") || !strings.Contains(notes[1], "upstream_body_broken") || !strings.Contains(notes[len(notes)-1], "9 more") {
		t.Errorf("notes:\n%s", strings.Join(notes, "\n"))
	}
	if notes := failedLines(filepath.Join(t.TempDir(), "none")); len(notes) != 1 {
		t.Errorf("without a log: %q", notes)
	}
}
