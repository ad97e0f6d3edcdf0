package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// counts are numbers of test runs.
type counts struct{ passed, failed, skipped int }

func (c counts) total() int { return c.passed + c.failed + c.skipped }

func (c counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.passed, c.failed, c.skipped)
}

func (c *counts) add(d counts) {
	c.passed += d.passed
	c.failed += d.failed
	c.skipped += d.skipped
}

// event is one line of go test -json; `go doc test2json` and `go help buildjson` describe it.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of what was built, for build-output and build-fail
	Test        string
	Output      string
	Elapsed     float64 // seconds
	FailedBuild string  // in the fail of a package: what could not be built
}

// maxKept bounds what is kept of the output of one test until it is known to have failed; of more the end is kept.
const maxKept = 256 << 10

// report reads the events of one go test command, prints failures and packages, and counts.
type report struct {
	out      io.Writer
	label    string // printed beside the package, to tell fuzz targets apart
	counts   counts
	packages map[string]*pkgRun
	builds   map[string][]byte // what the compiler said, by import path
	loose    []byte            // lines that are no events
}

// pkgRun is what is known of a package whose tests run.
type pkgRun struct {
	counts  counts
	output  map[string][]byte // by test that has not ended; the package's own under ""
	parents map[string]bool   // tests that have subtests
	failing map[string]bool   // tests with a failed subtest
}

func newReport(out io.Writer) *report {
	return &report{out: out, packages: make(map[string]*pkgRun), builds: make(map[string][]byte)}
}

// line takes one line of the command's output.
func (r *report) line(line []byte) {
	var e event
	if !bytes.HasPrefix(line, []byte("{")) || json.Unmarshal(line, &e) != nil {
		r.loose = keep(r.loose, string(line))
		return
	}
	switch e.Action {
	case "build-output":
		r.builds[e.ImportPath] = keep(r.builds[e.ImportPath], e.Output)
		return
	case "build-fail":
		return
	}
	p := r.packages[e.Package]
	if p == nil {
		p = &pkgRun{output: make(map[string][]byte), parents: make(map[string]bool), failing: make(map[string]bool)}
		r.packages[e.Package] = p
	}
	switch e.Action {
	case "run":
		if parent, ok := parentOf(e.Test); ok {
			p.parents[parent] = true
		}
	case "output":
		p.output[e.Test] = keep(p.output[e.Test], e.Output)
	case "pass", "fail", "skip":
		if e.Test != "" {
			r.endTest(p, e)
		} else {
			r.endPackage(p, e)
		}
	}
}

// keep appends text to kept and drops the beginning of what is too much.
func keep(kept []byte, text string) []byte {
	kept = append(kept, text...)
	if over := len(kept) - maxKept; over > 0 {
		kept = append(kept[:0], kept[over:]...)
	}
	return kept
}

// parentOf returns the test that a subtest belongs to.
func parentOf(test string) (string, bool) {
	i := strings.LastIndexByte(test, '/')
	if i < 0 {
		return "", false
	}
	return test[:i], true
}

// endTest counts a test and prints what it said when it failed or was skipped. A test with subtests counts by those, unless it failed on its own account.
func (r *report) endTest(p *pkgRun, e event) {
	output := p.output[e.Test]
	delete(p.output, e.Test)
	switch {
	case e.Action == "fail":
		if parent, ok := parentOf(e.Test); ok {
			p.failing[parent] = true
		}
		if !p.failing[e.Test] {
			p.counts.failed++
		}
		fmt.Fprintf(r.out, "FAIL %s %s (%.2fs)\n", e.Package, e.Test, e.Elapsed)
		r.out.Write(readable(output))
	case p.parents[e.Test]:
	case e.Action == "pass":
		p.counts.passed++
	default:
		// Which tests are left out must be seen, and why: a count alone hides a machine that lacks what half of them need.
		p.counts.skipped++
		fmt.Fprintf(r.out, "SKIP %s %s\n", e.Package, e.Test)
		r.out.Write(readable(output))
	}
}

// readable leaves out the lines by which go test marks the beginning and end of tests, and the progress of fuzzing.
func readable(output []byte) []byte {
	var kept []byte
	for line := range bytes.Lines(output) {
		if text := bytes.TrimSpace(line); bytes.HasPrefix(text, []byte("=== ")) || bytes.HasPrefix(text, []byte("--- FAIL")) || bytes.HasPrefix(text, []byte("--- SKIP")) || bytes.HasPrefix(text, []byte("fuzz: elapsed")) {
			continue
		}
		kept = append(kept, line...)
	}
	return kept
}

// endPackage prints the line of a package and adds up its tests. A package that fails without a failed test (it did not build, it left goroutines
// behind, it panicked, it took too long) counts as one failure.
func (r *report) endPackage(p *pkgRun, e event) {
	own := p.output[""]
	delete(r.packages, e.Package)
	if e.Action == "fail" {
		if p.counts.failed == 0 {
			p.counts.failed++
		}
		// What unfinished tests said is the only trace of a panic or of a test that hangs.
		for test, output := range p.output {
			if test != "" {
				fmt.Fprintf(r.out, "FAIL %s %s did not end\n", e.Package, test)
				r.out.Write(readable(output))
			}
		}
		fmt.Fprintf(r.out, "FAIL %s (%.1fs, %s)\n", r.name(e.Package), e.Elapsed, p.counts)
		r.out.Write(r.builds[e.FailedBuild])
		r.out.Write(own)
	} else if p.counts.total() > 0 {
		fmt.Fprintf(r.out, "ok   %s (%.1fs, %s)\n", r.name(e.Package), e.Elapsed, p.counts)
	}
	r.counts.add(p.counts)
}

func (r *report) name(pkg string) string {
	if r.label != "" {
		return pkg + " " + r.label
	}
	return pkg
}

// finish counts the packages that began and never ended.
func (r *report) finish() {
	for name, p := range r.packages {
		if p.counts.failed == 0 {
			p.counts.failed++
		}
		fmt.Fprintf(r.out, "FAIL %s did not end\n", name)
		r.counts.add(p.counts)
	}
}
