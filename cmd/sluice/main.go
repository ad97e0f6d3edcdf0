// Command sluice is a load balancer and API gateway.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/demo"
	"github.com/sluice-gateway/sluice/gateway"
	"github.com/sluice-gateway/sluice/policy"
)

const usage = `Sluice is a load balancer and API gateway in one program.

usage:
  sluice run [--watch] FILE    serve a configuration; SIGHUP reloads it, SIGTERM drains and ends
  sluice check FILE            print every error of a configuration and end with 1 if there is one
  sluice demo [--for 10s]      a bank of three services, the proxy before it, and a load to watch
  sluice schema                print the JSON Schema of the configuration
  sluice docs                  print the reference of the configuration as Markdown
  sluice version               print the version
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// commands is read-only: the words of the command line.
var commands = map[string]func(args []string, out, errs io.Writer) int{
	"run": serve, "check": check, "demo": runDemo, "schema": schema, "docs": docs, "version": version,
}

func run(args []string, out, errs io.Writer) int {
	if len(args) == 0 {
		_, _ = io.WriteString(errs, usage)
		return 2
	}
	if args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		_, _ = io.WriteString(out, usage)
		return 0
	}
	command, ok := commands[args[0]]
	if !ok {
		words := make([]string, 0, len(commands))
		for w := range commands {
			words = append(words, w)
		}
		hint := config.DidYouMean(args[0], words)
		if hint != "" {
			hint = " (" + hint + ")"
		}
		_, _ = fmt.Fprintf(errs, "sluice: there is no command %q%s\n\n%s", args[0], hint, usage)
		return 2
	}
	return command(args[1:], out, errs)
}

// parse reads flags and wants exactly n arguments behind them.
func parse(f *flag.FlagSet, args []string, n int, errs io.Writer) bool {
	f.SetOutput(errs)
	f.Usage = func() { _, _ = io.WriteString(errs, usage) }
	if f.Parse(args) != nil {
		return false
	}
	if f.NArg() != n {
		_, _ = fmt.Fprintf(errs, "sluice %s: want %d argument(s), have %d\n\n%s", f.Name(), n, f.NArg(), usage)
		return false
	}
	return true
}

func serve(args []string, _, errs io.Writer) int {
	f := flag.NewFlagSet("run", flag.ContinueOnError)
	watch := f.Bool("watch", false, "")
	if !parse(f, args, 1, errs) {
		return 2
	}
	// A log pipe whose reader is gone must cost lines, not the program.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	err := gateway.Run(ctx, f.Arg(0), gateway.RunOptions{
		Options: gateway.Options{Version: versionText()}, Watch: *watch, Reload: reload, Stderr: errs,
	})
	if err != nil {
		gateway.Explain(errs, err)
		return 1
	}
	return 0
}

func check(args []string, out, errs io.Writer) int {
	f := flag.NewFlagSet("check", flag.ContinueOnError)
	if !parse(f, args, 1, errs) {
		return 2
	}
	c, err := gateway.Load(f.Arg(0))
	if err == nil {
		err = gateway.Check(c)
	}
	if err != nil {
		gateway.Explain(errs, err)
		return 1
	}
	if len(c.Warnings) > 0 {
		_, _ = fmt.Fprintln(errs, c.Warnings.Error())
	}
	_, _ = fmt.Fprintf(out, "%s: ok, %d listeners, %d routes, %d backends\n", f.Arg(0), len(c.Listeners), len(c.Routes), len(c.Backends))
	return 0
}

func runDemo(args []string, out, errs io.Writer) int {
	f := flag.NewFlagSet("demo", flag.ContinueOnError)
	within := f.Duration("for", 0, "")
	rate := f.Int("rate", 400, "")
	if !parse(f, args, 0, errs) {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if *within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *within)
		defer cancel()
	}
	if err := demo.Run(ctx, demo.Options{Out: out, Rate: *rate, Interval: time.Second}); err != nil {
		gateway.Explain(errs, err)
		return 1
	}
	return 0
}

func schema(_ []string, out, _ io.Writer) int {
	_, _ = out.Write(config.Schema(policy.Kinds()))
	return 0
}

func docs(_ []string, out, _ io.Writer) int {
	_, _ = out.Write(config.Markdown(policy.Kinds()))
	return 0
}

func version(_ []string, out, _ io.Writer) int {
	_, _ = fmt.Fprintf(out, "sluice %s %s %s/%s\n", versionText(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return 0
}

// versionText is the module's version, with the commit where the build knows it.
func versionText() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	text := info.Main.Version
	if text == "" || text == "(devel)" {
		text = "devel"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 && text == "devel" {
			return text + "-" + s.Value[:12]
		}
	}
	return text
}
