package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/bench/peer"
)

// answerLimit is how long an endpoint may take to begin or to obey.
const answerLimit = 10 * time.Second

// endpoint is one endpoint of a run: a process of its own, which can be ended and started again at the same address.
type endpoint struct {
	name    string
	address string
	suite   *suite
	dir     string
	ledger  *ledger

	process *peer.Process
	control net.Conn
	says    chan string // what the process says beside its reports; closed when all that it said was read
}

// start starts the process and returns when it listens.
func (e *endpoint) start(ctx context.Context) error {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer ln.Close()
	e.process, err = e.suite.runner.Start(peer.Spec{Name: "origin-" + e.name, Dir: e.dir, CPU: -1,
		Args: []string{e.suite.self, originCommand, e.name, e.address, ln.Addr().String()}})
	if err != nil {
		return err
	}
	_ = ln.(*net.TCPListener).SetDeadline(time.Now().Add(answerLimit))
	if e.control, err = ln.Accept(); err != nil {
		return fmt.Errorf("endpoint %s does not call back: %w; its output: %s", e.name, err, e.process.Tail())
	}
	e.says = make(chan string, 1)
	go e.listen(e.control, e.says)
	return e.expect(ctx, sayUp)
}

// listen reads what the process says until it ends. Who waits for the end of says has joined it.
func (e *endpoint) listen(control net.Conn, says chan<- string) {
	defer close(says)
	lines := bufio.NewScanner(control)
	for lines.Scan() {
		if line := lines.Text(); !e.ledger.take(e.name, line) {
			says <- line
		}
	}
}

// expect waits for what the process is to say next. What it reported before then is in the ledger.
func (e *endpoint) expect(ctx context.Context, want string) error {
	timer := time.NewTimer(answerLimit)
	defer timer.Stop()
	select {
	case line, ok := <-e.says:
		switch {
		case !ok:
			return fmt.Errorf("endpoint %s has ended; its output: %s", e.name, e.process.Tail())
		case line != want:
			return fmt.Errorf("endpoint %s says %q, not %q", e.name, line, want)
		}
		return nil
	case <-timer.C:
		return fmt.Errorf("endpoint %s does not say %q", e.name, want)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// order changes the mode and waits until it is so.
func (e *endpoint) order(ctx context.Context, m mode) error {
	_ = e.control.SetWriteDeadline(time.Now().Add(answerLimit))
	if _, err := e.control.Write([]byte(sayMode + string(m) + "\n")); err != nil {
		return fmt.Errorf("endpoint %s: %w", e.name, err)
	}
	return e.expect(ctx, sayMode+string(m))
}

// end asks the process to end in order, and waits until it has.
func (e *endpoint) end(ctx context.Context) error {
	if err := e.process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("endpoint %s: %w", e.name, err)
	}
	timer := time.NewTimer(answerLimit)
	defer timer.Stop()
	select {
	case <-e.process.Done():
	case <-timer.C:
		return fmt.Errorf("endpoint %s does not end", e.name)
	case <-ctx.Done():
		return ctx.Err()
	}
	e.stop()
	return nil
}

// stop ends the process in any case, and reads the rest of what it has said.
func (e *endpoint) stop() {
	if e.process == nil {
		return
	}
	e.process.Stop()
	if e.control != nil {
		for line := range e.says {
			progress("endpoint %s: %s", e.name, line)
		}
		_ = e.control.Close()
	}
	e.process, e.control = nil, nil
}

// faults lets the endpoints fail as the scenario says, until all is over.
func (r *run) faults(ctx context.Context) error {
	s := r.scenario
	switch {
	case s.inTurn:
		for i, e := range r.endpoints {
			turn := r.timing.turn(i)
			if !r.until(ctx, turn.from) {
				return ctx.Err()
			}
			if err := e.end(ctx); err != nil {
				return err
			}
			if !r.until(ctx, turn.to) {
				return ctx.Err()
			}
			if err := e.start(ctx); err != nil {
				return err
			}
		}
		return nil
	case s.always:
		return nil // since before the start
	}
	bad := r.endpoints[len(r.endpoints)-1]
	if !r.until(ctx, r.timing.fault.from) {
		return ctx.Err()
	}
	if err := bad.order(ctx, s.mode); err != nil {
		return err
	}
	if !r.until(ctx, r.timing.fault.to) {
		return ctx.Err()
	}
	return bad.order(ctx, modeWell)
}

// until waits for a moment of the run.
func (r *run) until(ctx context.Context, at time.Duration) bool {
	timer := time.NewTimer(time.Until(r.start.Add(at)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// startEndpoints starts all endpoints of a run. Those that are up when it fails are the run's to stop.
func (r *run) startEndpoints(ctx context.Context) error {
	addresses, err := peer.FreeAddresses(len(endpointNames))
	if err != nil {
		return err
	}
	for i, name := range endpointNames {
		e := &endpoint{name: name, address: addresses[i], suite: r.suite, dir: r.dir, ledger: r.ledger}
		r.endpoints = append(r.endpoints, e)
		if err := e.start(ctx); err != nil {
			return err
		}
	}
	if r.scenario.always {
		return r.endpoints[len(r.endpoints)-1].order(ctx, r.scenario.mode)
	}
	return nil
}

// settle ends all endpoints, so that everything which they reported is in the ledger.
func (r *run) settle() error {
	var errs []error
	for _, e := range r.endpoints {
		if e.process != nil {
			select {
			case <-e.process.Done():
				errs = append(errs, fmt.Errorf("endpoint %s ended by itself: %s", e.name, strings.TrimSpace(e.process.Tail())))
			default:
			}
		}
		e.stop()
	}
	return errors.Join(errs...)
}
