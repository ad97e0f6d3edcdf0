package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// feed gives a report the lines of text and ends it.
func feed(text string) (*report, string) {
	var out strings.Builder
	r := newReport(&out)
	for line := range strings.Lines(text) {
		r.line([]byte(line))
	}
	r.finish()
	return r, out.String()
}

func TestReport(t *testing.T) {
	for _, c := range []struct {
		name  string
		lines string
		want  counts
		says  []string // parts of what is printed
		not   []string // what is not printed
	}{
		{
			name: "passed and skipped",
			lines: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:3: there is no such program\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"pass","Package":"p","Elapsed":0.5}
`,
			want: counts{passed: 1, skipped: 1},
			says: []string{"SKIP p TestB\n    b_test.go:3: there is no such program\n", "ok   p (0.5s, 1 passed, 0 failed, 1 skipped)"},
			not:  []string{"chatter", "FAIL", "---"},
		},
		{
			name: "a failure is printed with what the test said",
			lines: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: got 1, want 2\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- FAIL: TestA (0.00s)\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}
`,
			want: counts{failed: 1}, says: []string{"FAIL p TestA", "got 1, want 2"}, not: []string{"=== RUN", "--- FAIL"},
		},
		{
			name: "a test with subtests counts by those",
			lines: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/one"}
{"Action":"pass","Package":"p","Test":"TestA/one"}
{"Action":"run","Package":"p","Test":"TestA/two"}
{"Action":"fail","Package":"p","Test":"TestA/two"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}
`,
			want: counts{passed: 1, failed: 1},
		},
		{
			name: "a test that fails beside its subtests counts too",
			lines: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/one"}
{"Action":"pass","Package":"p","Test":"TestA/one"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}
`,
			want: counts{passed: 1, failed: 1},
		},
		{
			name: "a package that does not build",
			lines: `{"ImportPath":"p [p.test]","Action":"build-output","Output":"p/a.go:3:1: syntax error\n"}
{"ImportPath":"p [p.test]","Action":"build-fail"}
{"Action":"start","Package":"p"}
{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}
{"Action":"fail","Package":"p","FailedBuild":"p [p.test]"}
`,
			want: counts{failed: 1}, says: []string{"syntax error"},
		},
		{
			name: "a package that fails after its tests",
			lines: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"leak: 1 goroutines outlived the tests\n"}
{"Action":"fail","Package":"p"}
`,
			want: counts{passed: 1, failed: 1}, says: []string{"leak: 1 goroutines"},
		},
		{
			name: "a test that never ends",
			lines: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"p"}
`,
			want: counts{failed: 1}, says: []string{"TestA did not end", "panic: test timed out"},
		},
		{
			name: "a stream that breaks off",
			lines: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA"}
not an event
`,
			want: counts{passed: 1, failed: 1}, says: []string{"FAIL p did not end"},
		},
		{
			name:  "a package without tests",
			lines: `{"Action":"start","Package":"p"}` + "\n" + `{"Action":"skip","Package":"p"}` + "\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, out := feed(c.lines)
			if r.counts != c.want {
				t.Errorf("counts = %v, want %v", r.counts, c.want)
			}
			for _, part := range c.says {
				if !strings.Contains(out, part) {
					t.Errorf("%q is not in:\n%s", part, out)
				}
			}
			for _, part := range c.not {
				if strings.Contains(out, part) {
					t.Errorf("%q is in:\n%s", part, out)
				}
			}
		})
	}
}

func TestOutputIsBounded(t *testing.T) {
	r := newReport(&strings.Builder{})
	for i := range 2 * maxKept / 100 {
		r.line(fmt.Appendf(nil, `{"Action":"output","Package":"p","Test":"TestA","Output":"%0100d\n"}`, i))
	}
	kept := string(r.packages["p"].output["TestA"])
	last := fmt.Sprintf("%0100d\n", 2*maxKept/100-1)
	if len(kept) > maxKept || !strings.HasSuffix(kept, last) {
		t.Errorf("kept %d bytes ending in %q; want at most %d, ending in the last line", len(kept), kept[len(kept)-20:], maxKept)
	}
}

func FuzzReport(f *testing.F) {
	f.Add("{\"Action\":\"run\",\"Package\":\"p\",\"Test\":\"TestA/b\"}\n{\"Action\":\"fail\",\"Package\":\"p\",\"Test\":\"TestA/b\"}\n")
	f.Add("{\"Action\":\"pass\",\"Package\":\"\"}\nnoise\n{}")
	f.Add("{\"Action\":\"fail\",\"Test\":\"TestA\"}")
	f.Add("{\"Action\":\"build-output\",\"Output\":\"x\"}")
	f.Fuzz(func(t *testing.T, text string) {
		r, _ := feed(text)
		if c := r.counts; c.passed < 0 || c.failed < 0 || c.skipped < 0 || c.total() > strings.Count(text, "\n")+1 {
			t.Errorf("counts = %v of %d lines", c, strings.Count(text, "\n")+1)
		}
	})
}
