// Command failover shows what a failing endpoint costs clients: three endpoints behind a proxy, one of which fails in the middle of a steady load, in one of several
// ways. It counts what failed, what was wrong, how long requests took and where they went, for Sluice and, beside it, for NGINX and HAProxy; and it ends with 1 when Sluice does
// not hold what docs/failover.md promises. It measures no throughput; that is bench's.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/bench/peer"
)

// options are what the command line asks for.
type options struct {
	only     []string
	proxies  []peer.Kind
	seconds  float64
	sluice   string
	markdown string
	keep     bool
	list     bool
	limit    time.Duration
}

const usage = `Shows what failing endpoints cost clients, behind Sluice, NGINX and HAProxy.

usage: go run ./test/failover [flags]

`

// parseOptions reads the command line. What flag prints goes to out.
func parseOptions(args []string, out io.Writer) (options, error) {
	var o options
	var only, proxies string
	f := flag.NewFlagSet("failover", flag.ContinueOnError)
	f.SetOutput(out)
	f.Usage = func() {
		fmt.Fprint(out, usage)
		f.PrintDefaults()
	}
	f.StringVar(&only, "only", "", "scenarios to run, separated by commas (all; see -list)")
	f.StringVar(&proxies, "proxies", "sluice,nginx,haproxy", "proxies to run them with; only Sluice is held to what is promised")
	f.Float64Var(&o.seconds, "seconds", 8, "length of one run (of one twice that); the failure fills its second and third quarter")
	f.StringVar(&o.sluice, "sluice", "", "use this program instead of building ./cmd/sluice")
	f.StringVar(&o.markdown, "markdown", "", "write the tables between the markers of this file as well")
	f.BoolVar(&o.keep, "keep", false, "keep the directory with configurations and logs, and print its name")
	f.BoolVar(&o.list, "list", false, "list the scenarios and end")
	f.DurationVar(&o.limit, "limit", 15*time.Minute, "end the whole run after this time, as a failure")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("argument %q is not understood; see -help", f.Arg(0))
	}
	return o, errors.Join(o.parseLists(only, proxies), o.check())
}

func (o *options) parseLists(only, proxies string) error {
	for _, name := range split(only) {
		if !slices.Contains(scenarioNames(), name) {
			return fmt.Errorf("scenario %q is not known; known are %s", name, strings.Join(scenarioNames(), ", "))
		}
		o.only = append(o.only, name)
	}
	for _, name := range split(proxies) {
		k := peer.Kind(name)
		if !slices.Contains(proxyKinds, k) {
			return fmt.Errorf("proxy %q is not known; known are %v", name, proxyKinds)
		}
		if slices.Contains(o.proxies, k) {
			return fmt.Errorf("proxy %s is named twice", k)
		}
		o.proxies = append(o.proxies, k)
	}
	return nil
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// Below shortest there would be no time between the two seconds that a proxy has to find out and the end of the failure.
const (
	shortest = 6
	longest  = 60
)

func (o *options) check() error {
	var errs []error
	if !(o.seconds >= shortest && o.seconds <= longest) {
		errs = append(errs, fmt.Errorf("-seconds %v is not between %d and %d", o.seconds, shortest, longest))
	}
	if o.limit < time.Second {
		errs = append(errs, fmt.Errorf("-limit %v is less than a second", o.limit))
	}
	if o.markdown != "" && len(o.only) > 0 {
		errs = append(errs, errors.New("-markdown replaces all tables, so it needs all scenarios: leave -only out"))
	}
	if len(o.proxies) == 0 {
		errs = append(errs, errors.New("-proxies names no proxy"))
	}
	return errors.Join(errs...)
}

// length is the length of one run.
func (o *options) length() time.Duration { return time.Duration(o.seconds * float64(time.Second)) }

// listScenarios prints the scenarios.
func listScenarios(w io.Writer) {
	for _, s := range scenarios() {
		fmt.Fprintf(w, "%-9s %s\n", s.name, s.title)
	}
}
