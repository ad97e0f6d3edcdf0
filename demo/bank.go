package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
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
	name   string
	api    http.Handler
	pace   span    // how long an answer takes
	slow   span    // how long an answer of the last endpoint takes; zero if it is like the others
	script []stage // what goes wrong with the last endpoint, over and over; nothing if empty
}

// bankPlan is the bank that the demonstration shows. The story of accounts takes 22 seconds, and a run of ten sees all of it: an endpoint first
// fails so rarely that only retries help, then restarts, which the health check finds; and later it fails always, while its health check says that
// it is well, so that it is ejected. Meanwhile rates, which has one endpoint only, is too slow now and then to be a part of /overview.
func bankPlan() []plan {
	return []plan{
		{name: "accounts", api: accountAPI(), pace: span{time.Millisecond, 3 * time.Millisecond},
			script: []stage{
				{well, time.Second}, {flaky, 1500 * time.Millisecond}, {refusing, time.Second},
				{well, 4500 * time.Millisecond}, {failing, time.Second}, {well, 13 * time.Second},
			}},
		{name: "transactions", api: transactionAPI(), pace: span{2 * time.Millisecond, 6 * time.Millisecond},
			slow: span{40 * time.Millisecond, 120 * time.Millisecond}},
		{name: "rates", api: rateAPI(), pace: span{time.Millisecond, 2 * time.Millisecond},
			script: []stage{{well, 3 * time.Second}, {sluggish, 2 * time.Second}, {well, 6 * time.Second}}},
	}
}

// openBank starts the services, each endpoint at the address that it should have, or where the system chooses if that is taken.
func openBank(plans []plan, endpoints map[string][]string) (*bank, error) {
	ctx, cancel := context.WithCancel(context.Background())
	b := &bank{stop: cancel}
	for _, p := range plans {
		s := &service{name: p.name}
		b.services = append(b.services, s)
		for i, address := range endpoints[p.name] {
			last := i == len(endpoints[p.name])-1
			e := &endpoint{api: p.api, pace: p.pace}
			if last && p.slow.most > 0 {
				e.pace, e.slow = p.slow, true
			}
			if e.open(ctx, address) != nil {
				if err := e.open(ctx, elsewhere(address)); err != nil {
					b.close()
					return nil, fmt.Errorf("the bank's service %s: %w", p.name, err)
				}
			}
			s.endpoints = append(s.endpoints, e)
			if last && len(p.script) > 0 {
				b.scripts.Go(func() { e.follow(ctx, p.script) })
			}
		}
	}
	return b, nil
}

// elsewhere returns an address whose port the system chooses.
func elsewhere(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address // whoever uses it says what is wrong with it
	}
	return net.JoinHostPort(host, "0")
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

// addresses returns where the endpoints of each service are.
func (b *bank) addresses() map[string][]string {
	all := make(map[string][]string)
	for _, s := range b.services {
		for _, e := range s.endpoints {
			all[s.name] = append(all[s.name], e.address)
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
	flaky         // now and then requests fail, which is too rare to be ejected for
	failing       // closes without an answer, and its health check says that it is well
	refusing      // nobody listens, as while a process restarts
	sluggish      // answers come later than /overview waits for them
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
