package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/gateway"
)

// Options of the demonstration.
type Options struct {
	// Out is where it is shown. A terminal is redrawn in place; anything else gets one plain line for each interval.
	Out io.Writer
	// Rate is how many requests are sent per second, 0 to 10,000. With 0 none are, for those who bring their own.
	Rate int
	// Interval between two updates; 0 means a second.
	Interval time.Duration
	// Public and Admin are where the proxy and its admin listener should be; "" means 127.0.0.1:8080 and 127.0.0.1:9900. If a port is taken,
	// the system chooses another one.
	Public, Admin string

	plans []plan // the bank; nil means the one of bankPlan
}

const (
	defaultPublic = "127.0.0.1:8080"
	defaultAdmin  = "127.0.0.1:9900"
	// lookEvery is how often the state of the endpoints is looked at, so that nothing between two updates is missed.
	lookEvery = 100 * time.Millisecond
)

// Run shows the demonstration until ctx ends, then a summary. When it returns, everything that it started has ended. It returns an error
// if the demonstration cannot be started or shown; that ctx ends is none.
func Run(ctx context.Context, o Options) error {
	if o.Rate < 0 || o.Rate > maxRate {
		return fmt.Errorf("demo: a rate of %d requests/s is outside of what can be sent; use 0 to %d", o.Rate, maxRate)
	}
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	if o.plans == nil {
		o.plans = bankPlan()
	}
	j := &journal{began: time.Now()}
	b, err := openBank(o.plans)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer b.close()
	g := gateway.New(gateway.Options{Version: "demo", Report: func(line string) { j.add("sluice: %s", line) }})
	defer g.Close()
	file, err := serve(g, b, o)
	if err != nil {
		return err
	}
	if file != "" {
		defer func() { _ = os.Remove(file) }() // it lies among other temporary files, which are cleared anyway
	}
	if g.WaitReady(ctx) != nil {
		return nil // ended before it began
	}
	public, admin := g.Addr(listenerName).String(), g.AdminAddr().String()
	j.addMoved(orElse(o.Public, defaultPublic), "the proxy", public)
	j.addMoved(orElse(o.Admin, defaultAdmin), "the admin listener", admin)
	l := newLoad(public, o.Rate, j.addFailure)
	s := &show{
		observer: newObserver(g, b, l, j, tries(public, admin, file)),
		screen:   newScreen(o.Out, os.Getenv), interval: o.Interval,
	}
	err = s.run(ctx)
	g.Shutdown()
	if errors.Is(err, syscall.EPIPE) {
		return nil // the reader has seen enough
	}
	return err
}

// listenerName is the listener that the configuration has for clients.
const listenerName = "public"

// serve makes the gateway serve the bank, and writes the configuration to a file for those who want to read it. It returns the file's name, "" if
// it could not be written, which is no reason to show nothing.
func serve(g *gateway.Gateway, b *bank, o Options) (file string, err error) {
	const name = "demo.yaml" // in messages; it is no file
	text := configuration(b, available(orElse(o.Public, defaultPublic)), available(orElse(o.Admin, defaultAdmin)))
	c, err := gateway.Parse(name, []byte(text))
	if err != nil {
		return "", err
	}
	if err := g.Apply(c); err != nil {
		return "", err
	}
	f, err := os.CreateTemp("", "sluice-demo-*.yaml")
	if err != nil {
		return "", nil
	}
	_, err = io.WriteString(f, configuration(b, g.Addr(listenerName).String(), g.AdminAddr().String()))
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(f.Name()) // half a file would mislead
		return "", nil
	}
	return f.Name(), nil
}

// available returns address, or one whose port the system chooses if address is taken.
func available(address string) string {
	l, err := net.Listen("tcp", address)
	if err != nil {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return address // Parse says what is wrong with it
		}
		return net.JoinHostPort(host, "0")
	}
	_ = l.Close()
	return address
}

// show is a run: the load, and what is seen of it.
type show struct {
	observer *observer
	screen   *screen
	interval time.Duration
}

// run sends the load and shows frames until ctx ends, and then the summary.
func (s *show) run(ctx context.Context) error {
	o := s.observer
	err := s.screen.begin(o.frame())
	if err == nil {
		o.load.start()
		err = s.watch(ctx)
		o.load.stop()
	}
	if err == nil {
		err = s.screen.end(o.frame())
	} else {
		_ = s.screen.end(nil) // it fails as well, or gives the terminal back
	}
	if err != nil {
		return fmt.Errorf("demo: cannot show anything: %w", err)
	}
	return nil
}

// watch shows frames until ctx ends.
func (s *show) watch(ctx context.Context) error {
	look := time.NewTicker(min(lookEvery, s.interval))
	defer look.Stop()
	draw := time.NewTicker(s.interval)
	defer draw.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
			s.observer.look()
		case <-draw.C:
			if err := s.screen.show(s.observer.frame()); err != nil {
				return err
			}
		}
	}
}
