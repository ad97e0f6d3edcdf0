package main

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseStages(t *testing.T) {
	got, err := parseStages([]string{"race: go test -race ./...", "fuzz: fuzz 2s ./..."})
	want := []stage{{"race", []string{"go", "test", "-race", "./..."}}, {"fuzz", []string{"fuzz", "2s", "./..."}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for _, bad := range [][]string{nil, {"go test"}, {"race: go"}} {
		if _, err := parseStages(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestWithJSON(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"go test ./...", "go test -json ./..."},
		{"go -C x test -race ./...", "go -C x test -json -race ./..."},
		{"go test -json ./...", "go test -json ./..."},
		{"true or false", "true or false"},
	} {
		if got := strings.Join(withJSON(strings.Fields(c.args)), " "); got != c.want {
			t.Errorf("withJSON(%s) = %s, want %s", c.args, got, c.want)
		}
	}
}

// script is an executor that prints prepared texts, one for each run, and notes what was run.
type script struct {
	texts []string
	errs  []error
	ran   []string
}

func (s *script) exec(args []string, visit func([]byte)) error {
	n := len(s.ran)
	s.ran = append(s.ran, strings.Join(args, " "))
	for line := range strings.Lines(s.texts[n]) {
		visit([]byte(line))
	}
	return s.errs[n]
}

const (
	onePass = `{"Action":"run","Package":"p","Test":"T"}
{"Action":"pass","Package":"p","Test":"T"}
{"Action":"pass","Package":"p"}
`
	oneFail = `{"Action":"run","Package":"p","Test":"T"}
{"Action":"fail","Package":"p","Test":"T"}
{"Action":"fail","Package":"p"}
`
	deadline = `{"Action":"run","Package":"p","Test":"T"}
{"Action":"output","Package":"p","Test":"T","Output":"    context deadline exceeded\n"}
{"Action":"fail","Package":"p","Test":"T"}
{"Action":"fail","Package":"p"}
`
	crash = `{"Action":"run","Package":"p","Test":"T"}
{"Action":"output","Package":"p","Test":"T","Output":"    context deadline exceeded\n    Failing input written to testdata\n"}
{"Action":"fail","Package":"p","Test":"T"}
{"Action":"fail","Package":"p"}
`
)

var errExit = errors.New("exit status 1")

func TestRunAll(t *testing.T) {
	test := stage{"test", []string{"go", "test", "./..."}}
	fuzz := stage{"fuzz", []string{"fuzz", "2s", "./..."}}
	list := "FuzzB\nFuzzA\nok  \tp\t0.1s\n?   \tq\t[no test files]\n"
	for _, c := range []struct {
		name   string
		stages []stage
		texts  []string
		errs   []error
		good   bool
		last   string
		runs   int
	}{
		{"all pass", []stage{test, test}, []string{onePass, onePass}, []error{nil, nil}, true, "2 passed, 0 failed, 0 skipped", 2},
		{"a failure does not end the stages", []stage{test, test}, []string{oneFail, onePass}, []error{errExit, nil}, false, "1 passed, 1 failed, 0 skipped", 2},
		{"no tests is a failure", []stage{test}, []string{""}, []error{nil}, false, "0 passed, 1 failed, 0 skipped", 1},
		{"a code without a failed test is a failure", []stage{test}, []string{onePass}, []error{errExit}, false, "1 passed, 1 failed, 0 skipped", 1},
		{"fuzz each target", []stage{fuzz}, []string{list, onePass, onePass}, []error{nil, nil, nil}, true, "2 passed, 0 failed, 0 skipped", 3},
		{"fuzz again at the deadline", []stage{fuzz}, []string{list, deadline, onePass, onePass}, []error{nil, errExit, nil, nil}, true, "2 passed, 0 failed, 0 skipped", 4},
		{"but not for ever", []stage{fuzz}, []string{list, deadline, deadline, deadline, onePass}, []error{nil, errExit, errExit, errExit, nil}, false,
			"1 passed, 1 failed, 0 skipped", 5},
		{"nor with a failing input", []stage{fuzz}, []string{list, crash, onePass}, []error{nil, errExit, nil}, false, "1 passed, 1 failed, 0 skipped", 3},
		{"no list is a failure", []stage{fuzz}, []string{"FAIL p\n"}, []error{errExit}, false, "0 passed, 1 failed, 0 skipped", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			s := &script{texts: c.texts, errs: c.errs}
			r := &runner{out: &out, exec: s.exec}
			good := r.runAll(c.stages, "")
			lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			if last := lines[len(lines)-1]; good != c.good || last != c.last || len(s.ran) != c.runs {
				t.Errorf("good = %v, last line %q, %d runs; want %v, %q, %d\n%s", good, last, len(s.ran), c.good, c.last, c.runs, out.String())
			}
		})
	}
}

func TestFuzzCommand(t *testing.T) {
	s := &script{texts: []string{"FuzzA\nok  \tp\t0.1s\n", onePass}, errs: []error{nil, nil}}
	r := &runner{out: &strings.Builder{}, exec: s.exec}
	r.fuzz("2s", []string{"./..."})
	want := []string{"go test -list=^Fuzz ./...", "go test -json -run=^$ -fuzz=^FuzzA$ -fuzztime=2s p"}
	if !slices.Equal(s.ran, want) {
		t.Errorf("ran %q, want %q", s.ran, want)
	}
}

func TestNoteIsPrintedTwice(t *testing.T) {
	var out strings.Builder
	s := &script{texts: []string{onePass}, errs: []error{nil}}
	(&runner{out: &out, exec: s.exec}).runAll([]stage{{"test", []string{"go", "test"}}}, "no race detector here")
	if n := strings.Count(out.String(), "no race detector here"); n != 2 {
		t.Errorf("the note is printed %d times, want 2:\n%s", n, out.String())
	}
}

// TestWithGo runs the real go command over a small module: what it writes must still be what is read here.
func TestWithGo(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":            "module example.org/m\n\ngo 1.26\n",
		"good/good_test.go": "package good\n\nimport \"testing\"\n\nfunc TestGood(t *testing.T) {}\n\nfunc FuzzGood(f *testing.F) { f.Fuzz(func(*testing.T, int) {}) }\n",
		"bad/bad_test.go":   "package bad\n\nimport \"testing\"\n\nfunc TestBad(t *testing.T) { t.Error(\"as it should\") }\n",
		"none/none_test.go": "package none\n\nfunc broken() { return 1 }\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	var out strings.Builder
	r := &runner{out: &out, exec: execute}
	if r.runAll([]stage{{"test", []string{"go", "test", "./..."}}}, "") {
		t.Error("a failed test and a package that does not build were good")
	}
	if want := (counts{passed: 2, failed: 2}); r.total != want {
		t.Errorf("total = %v, want %v", r.total, want)
	}
	for _, part := range []string{"as it should", "too many return values", "ok   example.org/m/good"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%q is not in:\n%s", part, out.String())
		}
	}
	targets, err := r.fuzzTargets([]string{"./good"})
	if want := []fuzzTarget{{"example.org/m/good", "FuzzGood"}}; err != nil || !slices.Equal(targets, want) {
		t.Errorf("targets = %v, %v; want %v", targets, err, want)
	}
}

func TestExecuteReportsAMissingCommand(t *testing.T) {
	var out strings.Builder
	r := &runner{out: &out, exec: execute}
	if r.runAll([]stage{{"test", []string{"no-such-command-here", "test"}}}, "") || r.total.failed == 0 {
		t.Errorf("total = %v; want a failure\n%s", r.total, out.String())
	}
}
