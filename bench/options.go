// Command bench measures Sluice beside NGINX, HAProxy and httputil.ReverseProxy on one machine: it starts them, each on one
// core, loads them in turns, and prints what they cost. README.md beside it says how to read the figures. It does not judge
// correctness beyond the answers that it gets, and it is no part of Sluice.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/bench/peer"
)

// options are what the command line asks for.
type options struct {
	rounds      int
	seconds     float64
	warmup      time.Duration
	only        []string
	peers       []peer.Kind
	connections int // of the loaded rows
	idle        int
	routes      int
	keys        int    // of the rate-keys row
	sluice      string // a program built before, instead of this tree
	processors  []int  // of the proxy, of the load, of the backends
	install     bool
	markdown    bool
	json        string
	profile     string
	keep        bool
	list        bool
	limit       time.Duration
}

const usage = `Measures Sluice, NGINX, HAProxy and httputil.ReverseProxy side by side on this machine.

usage: go run ./bench [flags]

`

// parseOptions reads the command line. What flag prints (help, errors) goes to out.
func parseOptions(args []string, out io.Writer) (options, error) {
	var o options
	var only, rows, peers, cpus string
	var quick bool
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(out)
	f.Usage = func() {
		fmt.Fprint(out, usage)
		f.PrintDefaults()
	}
	f.IntVar(&o.rounds, "rounds", 5, "rounds; in each round every peer is measured once")
	f.Float64Var(&o.seconds, "seconds", 3, "length of one measurement")
	f.DurationVar(&o.warmup, "warmup", 700*time.Millisecond, "load before each measurement that does not count")
	f.StringVar(&only, "only", "", "rows to measure, separated by commas (all; see -list)")
	f.StringVar(&rows, "rows", "", "regular expression: measure the rows whose names it matches, besides those of -only")
	f.StringVar(&peers, "peers", "nginx,haproxy,reverseproxy,sluice", "proxies to measure, in the order of a round; also nginx-forward and nginx-log")
	f.IntVar(&o.connections, "connections", 64, "keep-alive connections of the load")
	f.IntVar(&o.idle, "idle", 10000, "connections of the idle row")
	f.IntVar(&o.routes, "routes", 10000, "routes of the routes and reload rows")
	f.IntVar(&o.keys, "keys", 1000000, "clients of the rate-keys row")
	f.StringVar(&o.sluice, "sluice", "", "measure this program instead of building ./cmd/sluice")
	f.StringVar(&cpus, "cpus", "", "processors as P,L or P,L,B: of the proxy, of the load, of the backends (the first that are allowed, B only if there are three)")
	f.BoolVar(&o.install, "install", true, "install missing peers with apt-get (Debian, root)")
	f.BoolVar(&o.markdown, "markdown", false, "print the table as Markdown")
	f.StringVar(&o.json, "json", "", "write every sample to this file")
	f.StringVar(&o.profile, "profile", "", "after each loaded row, write CPU profiles of Sluice into this directory")
	f.BoolVar(&o.keep, "keep", false, "keep the directory with configurations and logs, and print its name")
	f.BoolVar(&o.list, "list", false, "list the rows and end")
	f.BoolVar(&quick, "quick", false, "a first impression: 1 round of 1 second, 2,000 idle connections, 200,000 keys")
	f.DurationVar(&o.limit, "limit", 45*time.Minute, "end the whole run after this time, with what there is")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("argument %q is not understood; see -help", f.Arg(0))
	}
	if quick {
		o.applyQuick(f)
	}
	return o, errors.Join(o.parseRows(only, rows), o.parseLists(peers, cpus), o.check())
}

// applyQuick shortens what the command line has not set itself.
func (o *options) applyQuick(f *flag.FlagSet) {
	set := map[string]bool{}
	f.Visit(func(f *flag.Flag) { set[f.Name] = true })
	if !set["rounds"] {
		o.rounds = 1
	}
	if !set["seconds"] {
		o.seconds = 1
	}
	if !set["warmup"] {
		o.warmup = 300 * time.Millisecond
	}
	if !set["idle"] {
		o.idle = 2000
	}
	if !set["keys"] {
		o.keys = 200000
	}
}

// parseRows reads which rows to measure: those of a list, and those that an expression matches.
func (o *options) parseRows(only, expression string) error {
	names := rowNames()
	for _, name := range split(only) {
		if !slices.Contains(names, name) {
			return fmt.Errorf("row %q is not known; known are %s", name, strings.Join(names, ", "))
		}
		o.only = append(o.only, name)
	}
	if expression == "" {
		return nil
	}
	matcher, err := regexp.Compile(expression)
	if err != nil {
		return fmt.Errorf("-rows: %w", err)
	}
	before := len(o.only)
	for _, name := range names {
		if matcher.MatchString(name) {
			o.only = append(o.only, name)
		}
	}
	if len(o.only) == before {
		return fmt.Errorf("-rows %q matches none of %s", expression, strings.Join(names, ", "))
	}
	return nil
}

func (o *options) parseLists(peers, cpus string) error {
	for _, name := range split(peers) {
		kind, err := peer.ParseKind(name)
		if err != nil {
			return err
		}
		if slices.Contains(o.peers, kind) {
			return fmt.Errorf("peer %s is named twice", kind)
		}
		o.peers = append(o.peers, kind)
	}
	if cpus == "" {
		return nil
	}
	for _, text := range split(cpus) {
		cpu, err := strconv.Atoi(text)
		if err != nil || cpu < 0 || slices.Contains(o.processors, cpu) {
			return fmt.Errorf("-cpus %q is not a list of different processors", cpus)
		}
		o.processors = append(o.processors, cpu)
	}
	if n := len(o.processors); n != 2 && n != 3 {
		return fmt.Errorf("-cpus %q names %d processors; 2 or 3 are needed", cpus, n)
	}
	return nil
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func (o *options) check() error {
	var errs []error
	within := func(name string, value, low, high float64) {
		if !(value >= low && value <= high) {
			errs = append(errs, fmt.Errorf("-%s %v is not between %v and %v", name, value, low, high))
		}
	}
	within("rounds", float64(o.rounds), 1, 100)
	within("seconds", o.seconds, 0.2, 60)
	within("warmup in seconds", o.warmup.Seconds(), 0, 60)
	within("connections", float64(o.connections), 1, 10000)
	within("idle", float64(o.idle), 100, 1000000)
	within("routes", float64(o.routes), 10, 99999)
	within("keys", float64(o.keys), 1000, 1000000)
	within("limit in minutes", o.limit.Minutes(), 0.1, 600)
	if len(o.peers) == 0 {
		errs = append(errs, errors.New("-peers names no proxy"))
	}
	return errors.Join(errs...)
}

// measure is the length of one measurement.
func (o *options) measure() time.Duration { return time.Duration(o.seconds * float64(time.Second)) }

// wants tells whether a row is to be measured.
func (o *options) wants(row string) bool { return len(o.only) == 0 || slices.Contains(o.only, row) }
