// Command sluice is a load balancer and API gateway.
package main

//go:generate sh -c "go run . docs > ../../docs/configuration.md"

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/demo"
	"github.com/sluice-gateway/sluice/gateway"
)

const usage = `Sluice is a load balancer and API gateway in one program.

usage:
  sluice run [--watch] FILE    serve a configuration; SIGHUP reloads it, SIGTERM drains and ends
  sluice check FILE            print every error of a configuration and end with 1 if there is one
  sluice demo [--for 10s]      a bank behind an API gateway, and a load to watch
  sluice schema                print the JSON Schema of the configuration
  sluice docs                  print the reference of the configuration as Markdown
  sluice version               print the version
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // what was asked for could not be done; standard error says why
	exitUsage  = 2 // the command line is wrong
)

// commands is read-only: the words of the command line.
var commands = map[string]func(args []string, out, errs io.Writer) int{
	"run": serve, "check": check, "demo": runDemo, "schema": schema, "docs": docs, "version": version,
}

func run(args []string, out, errs io.Writer) int {
	if len(args) == 0 {
		_, _ = io.WriteString(errs, usage)
		return exitUsage
	}
	if args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		_, _ = io.WriteString(out, usage)
		return exitOK
	}
	command, ok := commands[args[0]]
	if !ok {
		hint := config.DidYouMean(args[0], slices.Sorted(maps.Keys(commands)))
		if hint != "" {
			hint = " (" + hint + ")"
		}
		_, _ = fmt.Fprintf(errs, "sluice: there is no command %q%s\n\n%s", args[0], hint, usage)
		return exitUsage
	}
	return command(args[1:], out, errs)
}

// parse reads flags and wants exactly n arguments behind them. If the command is not to go on it
// returns false and the exit code.
func parse(f *flag.FlagSet, args []string, n int, out, errs io.Writer) (code int, ok bool) {
	f.SetOutput(errs)
	f.Usage = func() {} // the whole usage is short, and where it goes depends on who asked
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		_, _ = io.WriteString(out, usage)
		return exitOK, false
	case err != nil: // and told
		_, _ = io.WriteString(errs, "\n"+usage)
		return exitUsage, false
	}
	if f.NArg() != n {
		_, _ = fmt.Fprintf(errs, "sluice %s: want %d argument(s), have %d\n\n%s", f.Name(), n, f.NArg(), usage)
		return exitUsage, false
	}
	return exitOK, true
}

func serve(args []string, out, errs io.Writer) int {
	f := flag.NewFlagSet("run", flag.ContinueOnError)
	watch := f.Bool("watch", false, "")
	if code, ok := parse(f, args, 1, out, errs); !ok {
		return code
	}
	// A log pipe whose reader is gone must cost lines, not the program.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	err := gateway.Run(ctx, f.Arg(0), gateway.RunOptions{
		Options: gateway.Options{Version: versionText(), Stdout: out, Stderr: errs}, Watch: *watch, Reload: reload,
	})
	if err != nil {
		gateway.Explain(errs, err)
		return exitFailed
	}
	return exitOK
}

func check(args []string, out, errs io.Writer) int {
	f := flag.NewFlagSet("check", flag.ContinueOnError)
	if code, ok := parse(f, args, 1, out, errs); !ok {
		return code
	}
	c, err := gateway.Load(f.Arg(0))
	if err != nil {
		gateway.Explain(errs, err)
		return exitFailed
	}
	warnings, err := gateway.Review(c)
	gateway.Warn(errs, c.Warnings)
	gateway.Warn(errs, warnings)
	if err != nil {
		gateway.Explain(errs, err)
		return exitFailed
	}
	_, _ = fmt.Fprintf(out, "%s: ok, %d listeners, %d routes, %d backends\n", f.Arg(0), len(c.Listeners), len(c.Routes), len(c.Backends))
	return exitOK
}

func runDemo(args []string, out, errs io.Writer) int {
	f := flag.NewFlagSet("demo", flag.ContinueOnError)
	within := f.Duration("for", 0, "")
	rate := f.Int("rate", 400, "")
	if code, ok := parse(f, args, 0, out, errs); !ok {
		return code
	}
	signal.Ignore(syscall.SIGPIPE) // a reader that has left ends the demonstration in order
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	if *within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *within)
		defer cancel()
	}
	if err := demo.Run(ctx, demo.Options{Out: out, Rate: *rate, Interval: time.Second}); err != nil {
		gateway.Explain(errs, err)
		return exitFailed
	}
	return exitOK
}

func schema(args []string, out, errs io.Writer) int {
	return write("schema", gateway.Schema, args, out, errs)
}

func docs(args []string, out, errs io.Writer) int {
	return write("docs", gateway.Reference, args, out, errs)
}

// write is a command that writes one text.
func write(name string, text func() []byte, args []string, out, errs io.Writer) int {
	if code, ok := parse(flag.NewFlagSet(name, flag.ContinueOnError), args, 0, out, errs); !ok {
		return code
	}
	if _, err := out.Write(text()); err != nil {
		gateway.Explain(errs, err)
		return exitFailed
	}
	return exitOK
}

func version(args []string, out, errs io.Writer) int {
	return write("version", func() []byte {
		return fmt.Appendf(nil, "sluice %s %s %s/%s\n", versionText(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	}, args, out, errs)
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
