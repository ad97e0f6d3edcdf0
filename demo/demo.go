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
	// Public and Admin are where the gateway and its admin listener should be; "" means what bank.yaml says. If a port is taken, the system chooses
	// another one, as it does for the endpoints.
	Public, Admin string

	plans    []plan // the bank; nil means the one of bankPlan
	anywhere bool   // the system chooses the ports of all endpoints, as if those of bank.yaml were taken
}

// lookEvery is how often the state of the endpoints is looked at, so that nothing between two updates is missed.
const lookEvery = 100 * time.Millisecond

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
	i, err := newIssuer()
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	f, err := openFolder(i)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer f.remove()
	file, err := f.wanted()
	if err != nil {
		return err
	}
	b, err := openBank(o.plans, file.starts(o.anywhere))
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer b.close()
	g := gateway.New(gateway.Options{Version: "demo", Report: func(line string) { j.add("sluice: %s", line) }})
	defer g.Close()
	at, err := f.serve(g, b, file, o)
	if err != nil {
		return err
	}
	if g.WaitReady(ctx) != nil {
		return nil // ended before it began
	}
	file.each(at, func(what, old, now string) { j.addMoved(old, what, now) })
	l := newLoad(at.public, o.Rate, i, j)
	s := &show{
		observer: newObserver(g, b, l, j, file.provenance(at), tries(at.public, at.admin, f.path)),
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

// wanted returns the addresses of bank.yaml, which is checked on the way.
func (f *folder) wanted() (*places, error) {
	_, file, err := f.read(bankYAML)
	return file, err
}

// starts returns where the endpoints should be opened.
func (p *places) starts(anywhere bool) map[string][]string {
	if !anywhere {
		return p.endpoints
	}
	all := make(map[string][]string)
	for name, addresses := range p.endpoints {
		for _, a := range addresses {
			all[name] = append(all[name], elsewhere(a))
		}
	}
	return all
}

// serve makes the gateway serve bank.yaml, with the addresses that the bank and the gateway have got, writes the text down for those who want to read
// it, and returns the addresses.
func (f *folder) serve(g *gateway.Gateway, b *bank, file *places, o Options) (*places, error) {
	at := &places{public: available(orElse(o.Public, file.public)), admin: available(orElse(o.Admin, file.admin)), endpoints: b.addresses()}
	c, _, err := f.read(file.rewrite(bankYAML, at))
	if err != nil {
		return nil, err
	}
	if err := g.Apply(c); err != nil {
		return nil, err
	}
	at.public, at.admin = g.Addr(listenerName).String(), g.AdminAddr().String()
	if err := f.write("bank.yaml", file.rewrite(bankYAML, at)); err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	return at, nil
}

// available returns address, or one whose port the system chooses if address is taken.
func available(address string) string {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return elsewhere(address)
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
