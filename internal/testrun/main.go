// Command testrun runs stages of tests one after the other and ends with one line that says how many passed, failed and were skipped.
//
//	testrun 'race: go test -race ./...' 'fuzz: fuzz 2s ./...'
//
// A stage is a name and a command. `go test` is run with -json added, its failures are printed as they come, with what the test printed, and each
// package gets a line. `fuzz TIME PATTERN…` finds the fuzz targets of the packages and fuzzes each for that time: go test takes one at a time.
// All stages run, whatever becomes of the ones before. The exit code is 1 when anything failed, or when a stage ran no tests at all.
//
// The numbers are of test runs: a test that runs in two stages counts in both. A test with subtests counts by those.
package main

import (
	"bufio"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

func main() {
	note := flag.String("note", "", "a line to print before the stages and again before the last line")
	flag.Parse()
	stages, err := parseStages(flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err)
		os.Exit(2)
	}
	r := &runner{out: os.Stdout, exec: execute}
	if !r.runAll(stages, *note) {
		os.Exit(1)
	}
}

// stage is one command that runs tests.
type stage struct {
	name string
	args []string
}

// parseStages reads "name: command with arguments". Arguments are separated by spaces; there is no quoting.
func parseStages(texts []string) ([]stage, error) {
	if len(texts) == 0 {
		return nil, errors.New("no stages: give at least one as 'name: command'")
	}
	var stages []stage
	for _, text := range texts {
		name, command, ok := strings.Cut(text, ":")
		args := strings.Fields(command)
		if !ok || len(args) < 2 {
			return nil, fmt.Errorf("stage %q: write it as 'name: command arguments'", text)
		}
		stages = append(stages, stage{strings.TrimSpace(name), args})
	}
	return stages, nil
}

// executor runs a command and gives visit each line that it prints. The error is the command's: *exec.ExitError when it ended with a code.
type executor func(args []string, visit func(line []byte)) error

// execute is the executor that really runs the command. Standard error is part of what it visits: the go command reports there what it could not build.
func execute(args []string, visit func(line []byte)) error {
	cmd := exec.Command(args[0], args[1:]...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	for in := bufio.NewReaderSize(pipe, 64<<10); ; {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			visit(line)
		}
		if err != nil {
			break
		}
	}
	return cmd.Wait()
}

// runner runs stages and adds up what they report.
type runner struct {
	out   io.Writer
	exec  executor
	total counts
}

// runAll runs the stages, prints the totals, and reports whether everything passed.
func (r *runner) runAll(stages []stage, note string) bool {
	sayNote(r.out, note)
	var table []string
	good := true
	for _, s := range stages {
		fmt.Fprintf(r.out, "=== %s: %s\n", s.name, strings.Join(s.args, " "))
		start := time.Now()
		n := r.run(s)
		if n.total() == 0 {
			n.failed++
			fmt.Fprintf(r.out, "FAIL %s: no tests ran\n", s.name)
		}
		good = good && n.failed == 0
		r.total.add(n)
		table = append(table, fmt.Sprintf("%-12s %5.0fs   %s", s.name, time.Since(start).Seconds(), n))
	}
	fmt.Fprintf(r.out, "\n%s\n", strings.Join(table, "\n"))
	sayNote(r.out, note)
	fmt.Fprintln(r.out, r.total)
	return good
}

func sayNote(out io.Writer, note string) {
	if note != "" {
		bar := strings.Repeat("!", min(len(note), 100))
		fmt.Fprintf(out, "%s\n%s\n%s\n", bar, note, bar)
	}
}

// run runs one stage.
func (r *runner) run(s stage) counts {
	if s.args[0] == "fuzz" {
		return r.fuzz(s.args[1], s.args[2:])
	}
	return r.test(s.args, newReport(r.out))
}

// test runs one go test command and prints into rep.
func (r *runner) test(args []string, rep *report) counts {
	err := r.exec(withJSON(args), rep.line)
	rep.finish()
	if err != nil && rep.counts.failed == 0 {
		rep.counts.failed++
		fmt.Fprintf(rep.out, "FAIL %s: %v\n", strings.Join(args, " "), err)
		rep.out.Write(rep.loose)
	}
	return rep.counts
}

// withJSON adds -json to a go test command.
func withJSON(args []string) []string {
	i := slices.Index(args, "test")
	if i < 0 || slices.Contains(args, "-json") {
		return args
	}
	return slices.Insert(slices.Clone(args), i+1, "-json")
}

// fuzzTries is how often a target is fuzzed again when go test fails by itself: up to Go 1.26 it sometimes takes the end of -fuzztime for a failure of the
// target (golang/go#75804). Nothing is lost: a real failure writes its input to testdata and fails the first time.
const fuzzTries = 3

// fuzz fuzzes every target of the packages for the given time.
func (r *runner) fuzz(span string, patterns []string) counts {
	var sum counts
	targets, err := r.fuzzTargets(patterns)
	if err != nil {
		fmt.Fprintf(r.out, "FAIL fuzz: %v\n", err)
		sum.failed++
	}
	for _, t := range targets {
		args := []string{"go", "test", "-run=^$", "-fuzz=^" + t.name + "$", "-fuzztime=" + span, t.pkg}
		var n counts
		for try := range fuzzTries {
			var said strings.Builder
			rep := newReport(&said)
			rep.label = t.name
			n = r.test(args, rep)
			spurious := n.failed > 0 && strings.Contains(said.String(), "context deadline exceeded") && !strings.Contains(said.String(), "Failing input written")
			if spurious && try < fuzzTries-1 {
				fmt.Fprintf(r.out, "     %s %s: go test took the end of -fuzztime for a failure; once more\n", t.pkg, t.name)
				continue
			}
			io.WriteString(r.out, said.String())
			break
		}
		sum.add(n)
	}
	return sum
}

// fuzzTarget is one Fuzz function.
type fuzzTarget struct{ pkg, name string }

// fuzzTargets lists the Fuzz functions of the packages in the order of packages and names.
func (r *runner) fuzzTargets(patterns []string) ([]fuzzTarget, error) {
	var targets []fuzzTarget
	var names []string
	var said []byte
	args := append([]string{"go", "test", "-list=^Fuzz"}, patterns...)
	err := r.exec(args, func(line []byte) {
		said = append(said, line...)
		switch fields := strings.Fields(string(line)); {
		case len(fields) == 1 && strings.HasPrefix(fields[0], "Fuzz"):
			names = append(names, fields[0])
		case len(fields) >= 2 && fields[0] == "ok": // closes the list of a package: ok PATH TIME
			for _, name := range names {
				targets = append(targets, fuzzTarget{fields[1], name})
			}
			names = nil
		}
	})
	if err != nil {
		err = fmt.Errorf("go test -list: %w\n%s", err, said)
	}
	slices.SortFunc(targets, func(a, b fuzzTarget) int {
		return cmp.Or(cmp.Compare(a.pkg, b.pkg), cmp.Compare(a.name, b.name))
	})
	return targets, err
}
