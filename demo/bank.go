package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// bank is the three services behind the proxy. Whoever opens it closes it.
type bank struct {
	services []*service
	stop     context.CancelFunc
	scripts  sync.WaitGroup
}

// service is a group of interchangeable endpoints: what the configuration calls a backend.
type service struct {
	name      string
	endpoints []*endpoint
}

// plan says what a service is made of.
type plan struct {
	name      string
	api       http.Handler
	pace      span // how long an answer takes
	endpoints int
	slow      span    // how long an answer of the last endpoint takes; zero if it is like the others
	script    []stage // what goes wrong with the last endpoint, over and over; nothing if empty
}

// bankPlan is the bank that the demonstration shows. The story takes 12 seconds, and a run of ten sees all of it: an endpoint first fails so
// rarely that only retries help, then always, while its health check says that it is well, so that it is ejected; and later it restarts, which
// the health check finds.
func bankPlan() []plan {
	return []plan{
		{name: "accounts", api: accountAPI(), pace: span{time.Millisecond, 3 * time.Millisecond}, endpoints: 2},
		{name: "transactions", api: transactionAPI(), pace: span{2 * time.Millisecond, 6 * time.Millisecond}, endpoints: 3,
			slow: span{40 * time.Millisecond, 120 * time.Millisecond}},
		{name: "rates", api: rateAPI(), pace: span{time.Millisecond, 2 * time.Millisecond}, endpoints: 3,
			script: []stage{
				{well, time.Second}, {flaky, 2 * time.Second}, {failing, time.Second},
				{well, 2 * time.Second}, {refusing, 1500 * time.Millisecond}, {well, 4500 * time.Millisecond},
			}},
	}
}

// openBank starts the services, each endpoint on a loopback port that the system chooses.
func openBank(plans []plan) (*bank, error) {
	ctx, cancel := context.WithCancel(context.Background())
	b := &bank{stop: cancel}
	for _, p := range plans {
		s := &service{name: p.name}
		b.services = append(b.services, s)
		for i := range p.endpoints {
			last := i == p.endpoints-1
			e := &endpoint{api: p.api, pace: p.pace}
			if last && p.slow.most > 0 {
				e.pace, e.slow = p.slow, true
			}
			if err := e.open(ctx, "127.0.0.1:0"); err != nil {
				b.close()
				return nil, fmt.Errorf("the bank's service %s: %w", p.name, err)
			}
			s.endpoints = append(s.endpoints, e)
			if last && len(p.script) > 0 {
				b.scripts.Go(func() { e.follow(ctx, p.script) })
			}
		}
	}
	return b, nil
}

// close ends all services and waits for them.
func (b *bank) close() {
	b.stop()
	b.scripts.Wait()
	for _, s := range b.services {
		for _, e := range s.endpoints {
			e.close()
		}
	}
}

// addresses returns where the endpoints of the service named so are, or nil.
func (b *bank) addresses(name string) []string {
	var all []string
	for _, s := range b.services {
		for _, e := range s.endpoints {
			if s.name == name {
				all = append(all, e.address)
			}
		}
	}
	return all
}

// find returns the endpoint at an address, or nil.
func (b *bank) find(address string) *endpoint {
	for _, s := range b.services {
		for _, e := range s.endpoints {
			if e.address == address {
				return e
			}
		}
	}
	return nil
}

// mood is what is wrong with an endpoint at the moment.
type mood int32

const (
	well     mood = iota
	flaky         // every other request fails, which is too rare to be ejected for
	failing       // answers 500 or closes without an answer, and its health check says that it is well
	refusing      // nobody listens, as while a process restarts
)

// stage is a mood and how long it lasts.
type stage struct {
	mood  mood
	lasts time.Duration
}

// follow lets the endpoint go through a script over and over, until ctx ends.
func (e *endpoint) follow(ctx context.Context, script []stage) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := 0; ; i = (i + 1) % len(script) {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		e.become(ctx, script[i].mood)
		timer.Reset(script[i].lasts)
	}
}

// become puts the endpoint into a mood.
func (e *endpoint) become(ctx context.Context, m mood) {
	if m == refusing {
		e.mood.Store(int32(m))
		e.crash()
		return
	}
	if e.server == nil && e.reopen(ctx) != nil {
		return // the bank has been closed
	}
	e.mood.Store(int32(m))
}

// reopenEvery is how often an endpoint tries to get its port back.
const reopenEvery = 50 * time.Millisecond

// reopen listens again at the address from before. Somebody else may have been given the port as a client in the meantime; connections
// are short-lived, so it is free again soon.
func (e *endpoint) reopen(ctx context.Context) error {
	t := time.NewTicker(reopenEvery)
	defer t.Stop()
	for {
		err := e.open(ctx, e.address)
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}
