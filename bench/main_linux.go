package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/bench/origin"
	"github.com/sluice-gateway/sluice/bench/peer"
	"github.com/sluice-gateway/sluice/bench/report"
	"github.com/sluice-gateway/sluice/bench/reverseproxy"
)

// originCommand is the sub-command that runs the backend: originCommand SIZE ADDRESS…
const originCommand = "origin"

// rawCommand is the sub-command that runs the endpoints of the layer 4 rows.
const rawCommand = "raw"

// sitesCommand is the sub-command that runs the services of the rows whose proxies look into bodies: sitesCommand FILE
const sitesCommand = "sites"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run dispatches the sub-commands, by which the benchmark starts itself again, and otherwise measures.
func run(args []string) error {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	if len(args) > 0 {
		switch args[0] {
		case peer.PinCommand:
			return peer.Pin(args[1:])
		case originCommand:
			return runOrigin(ctx, args[1:])
		case rawCommand:
			return runRaw(ctx, args[1:])
		case sitesCommand:
			return runSites(ctx, args[1:])
		case peer.ReverseProxyCommand:
			return runReverseProxy(ctx, args[1:])
		}
	}
	o, err := parseOptions(args, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case o.list:
		listRows(os.Stdout)
		return nil
	}
	return measure(ctx, o)
}

func runOrigin(ctx context.Context, args []string) error {
	var size int
	if len(args) < 2 {
		return errors.New("usage: origin SIZE ADDRESS…")
	}
	if _, err := fmt.Sscan(args[0], &size); err != nil || size < 1 || size > 1<<20 {
		return fmt.Errorf("origin: size %q is not between 1 and 1048576", args[0])
	}
	return origin.Serve(ctx, args[1:], size)
}

func runRaw(ctx context.Context, args []string) error {
	var c origin.Raw
	f := flag.NewFlagSet(rawCommand, flag.ContinueOnError)
	f.IntVar(&c.Message, "message", 0, "bytes of a message")
	f.Int64Var(&c.Transfer, "transfer", 0, "bytes of a transfer")
	for name, list := range map[string]*[]string{"echo": &c.Echo, "once": &c.Once, "source": &c.Source, "sink": &c.Sink, "packets": &c.Packets} {
		f.Func(name, "address of this service, any number of times", func(address string) error {
			*list = append(*list, address)
			return nil
		})
	}
	if err := f.Parse(args); err != nil {
		return err
	}
	return origin.ServeRaw(ctx, c)
}

func runReverseProxy(ctx context.Context, args []string) error {
	c := reverseproxy.Config{ReadHeaderTimeout: 10 * time.Second}
	var routes int
	f := flag.NewFlagSet(peer.ReverseProxyCommand, flag.ContinueOnError)
	f.StringVar(&c.Address, "address", "127.0.0.1:0", "address to listen on")
	f.StringVar(&c.Certificate, "certificate", "", "PEM file")
	f.StringVar(&c.Key, "key", "", "PEM file")
	f.IntVar(&routes, "routes", 0, "number of routes")
	if err := f.Parse(args); err != nil {
		return err
	}
	for _, route := range peer.Routes(routes) {
		if route.Exact {
			c.Exacts = append(c.Exacts, route.Path)
		} else {
			c.Prefixes = append(c.Prefixes, route.Path)
		}
	}
	c.Backends = f.Args()
	return reverseproxy.Serve(ctx, c)
}

// measure is a whole run: set up, all rounds of all rows, tear down, print.
func measure(ctx context.Context, o options) error {
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	s, err := newSuite(ctx, o)
	if err != nil {
		return err
	}
	defer s.close()
	s.rounds(ctx)
	s.report.Took = time.Since(s.report.Started).Seconds()
	if err := ctx.Err(); err != nil {
		s.report.Notes = append(s.report.Notes, "the run ended before its time; rounds are missing")
	}
	if o.markdown {
		err = s.report.Markdown(os.Stdout)
	} else {
		err = s.report.Text(os.Stdout)
	}
	if o.json != "" {
		err = errors.Join(err, writeJSON(o.json, s.report))
	}
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return errors.New("the run was cut short")
	case s.report.Failed():
		return errors.New("some measurements failed; see below the table")
	case s.leftOutSubject:
		return errors.New("sluice was not measured; see the notes below the table")
	}
	return nil
}

func writeJSON(path string, r *report.Report) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(r.JSON(io.Writer(f)), f.Close())
}
