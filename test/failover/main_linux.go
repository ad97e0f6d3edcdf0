package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sluice-gateway/sluice/bench/peer"
)

func main() {
	if err := dispatch(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "failover:", err)
		os.Exit(1)
	}
}

// dispatch dispatches the sub-commands, by which the command starts itself again, and otherwise runs the scenarios.
func dispatch(args []string) error {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	if len(args) > 0 {
		switch args[0] {
		case peer.PinCommand:
			return peer.Pin(args[1:])
		case originCommand:
			return runOrigin(ctx, args[1:])
		}
	}
	o, err := parseOptions(args, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case o.list:
		listScenarios(os.Stdout)
		return nil
	}
	return runAll(ctx, o)
}

// runAll runs what was asked for, prints each table when it is complete, and ends with an error if something that is promised does not hold.
func runAll(ctx context.Context, o options) error {
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	s, err := newSuite(ctx, o)
	if err != nil {
		return err
	}
	defer s.close()
	var all []comparison
	problems := 0
	for _, sc := range pick(o.only) {
		c := comparison{scenario: sc, timing: timingOf(sc, o.length())}
		for _, k := range o.proxies {
			progress("%s: %s …", sc.name, k)
			outcome, err := s.judged(ctx, sc, k)
			if err != nil {
				return fmt.Errorf("scenario %s with %s: %w", sc.name, k, err)
			}
			problems += len(outcome.problems)
			c.outcomes = append(c.outcomes, outcome)
		}
		all = append(all, c)
		if err := c.text(os.Stdout); err != nil {
			return err
		}
	}
	if o.markdown != "" {
		if err := writeMarkdown(o.markdown, s.circumstances(ctx), all); err != nil {
			return err
		}
	}
	if problems > 0 {
		return fmt.Errorf("sluice does not hold %d of the assertions; they stand below the tables", problems)
	}
	return nil
}
