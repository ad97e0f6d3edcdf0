package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/sluice-gateway/sluice/bench/load"
	"github.com/sluice-gateway/sluice/bench/origin"
	"github.com/sluice-gateway/sluice/bench/peer"
)

// transferSize is the length of one large transfer: long enough that its connection costs nothing beside it.
const transferSize = 64 << 20

// endpoints is the process behind the layer 4 listeners, with two addresses for each of its services.
type endpoints struct {
	process *peer.Process
	origin.Raw
}

// startEndpoints starts the process, once for a run.
func (s *suite) startEndpoints(ctx context.Context) (*endpoints, error) {
	if s.endpoints != nil {
		return s.endpoints, nil
	}
	e := &endpoints{Raw: origin.Raw{Message: messageSize, Transfer: transferSize}}
	args := []string{s.programs.Self, rawCommand, "-message", strconv.Itoa(e.Message), "-transfer", strconv.FormatInt(e.Transfer, 10)}
	services := []struct {
		name string
		list *[]string
	}{{"echo", &e.Echo}, {"once", &e.Once}, {"source", &e.Source}, {"sink", &e.Sink}, {"packets", &e.Packets}}
	free, err := peer.FreeAddresses(2 * len(services))
	if err != nil {
		return nil, err
	}
	for i, service := range services {
		*service.list = free[2*i : 2*i+2]
		for _, address := range *service.list {
			args = append(args, "-"+service.name, address)
		}
	}
	e.process, err = s.runner.Start(peer.Spec{Name: "endpoints", Dir: s.dir, CPU: s.originCPU, Env: []string{"GOMAXPROCS=1"}, Args: args})
	if err != nil {
		return nil, err
	}
	// The services are opened in order, so when the last one answers they all do.
	for _, address := range e.Packets {
		if err := e.process.Await(ctx, startLimit, func(ctx context.Context) error { return probe(ctx, "udp4", address, nil) }); err != nil {
			e.process.Stop()
			return nil, err
		}
	}
	s.endpoints = e
	return e, nil
}

// relayLoad is one way to load a layer 4 listener.
type relayLoad struct {
	name     string    // of its profile
	plan     peer.Plan // what all proxies get; addresses and sizes are added
	backends func(*endpoints) []string
	answer   []byte // what the endpoints answer to a message, its first bytes; nil: the message itself
	share    int    // its part of the measuring time: one half, one third …
	run      func(ctx context.Context, address string, w load.Window) (*load.Result, error)
}

// startRelay launches a proxy with a layer 4 listener and returns when the endpoints have answered through it. The caller stops it.
func (s *suite) startRelay(ctx context.Context, kind peer.Kind, l relayLoad) (*setup, error) {
	e, err := s.startEndpoints(ctx)
	if err != nil {
		return nil, err
	}
	p := l.plan
	p.Module, p.Backends, p.Connections = s.programs.NGINXStreamFile, l.backends(e), loadedConnections+s.connections
	u, err := s.launch(ctx, kind, p, func(ctx context.Context, address string) error {
		return probe(ctx, p.Protocol+"4", address, l.answer)
	})
	if err != nil {
		return nil, err
	}
	u.origin = e.process
	return u, nil
}

// underLoad starts a proxy, loads it, and reads what it has cost. A failed request fails the whole.
func (s *suite) underLoad(ctx context.Context, kind peer.Kind, l relayLoad) (*load.Result, *gauge, error) {
	u, err := s.startRelay(ctx, kind, l)
	if err != nil {
		return nil, nil, err
	}
	defer u.process.Stop()
	g, err := s.newGauge(u)
	if err != nil {
		return nil, nil, err
	}
	w := s.window(g)
	w.Measure /= time.Duration(l.share)
	result, err := l.run(ctx, u.plan.Address, w)
	if err == nil {
		err = errors.Join(result.Err(), g.err)
	}
	if err != nil {
		return nil, nil, err
	}
	return result, g, nil
}

// profileOfRelay is profileOf for the layer 4 rows, with a profile for each of the loads.
func (s *suite) profileOfRelay(loads ...relayLoad) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, l := range loads {
			u, err := s.startRelay(ctx, peer.Sluice, l)
			if err != nil {
				return err
			}
			err = s.saveProfile(ctx, l.name, u, func(w load.Window) error {
				_, err := l.run(ctx, u.plan.Address, w)
				return err
			})
			u.process.Stop()
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// canRelay tells which proxies take part in the rows of a layer 4 protocol.
func (s *suite) canRelay(protocol string) func(peer.Kind) bool {
	return func(k peer.Kind) bool { return k.CanRelay(protocol) && (k != peer.NGINX || s.programs.NGINXStream) }
}

// probeLimit is how long a probe waits: a datagram that was sent too early has no answer.
const probeLimit = 200 * time.Millisecond

// probe is nil when address answers a message with the same message, or with answer where that is given.
func probe(ctx context.Context, network, address string, answer []byte) error {
	c, err := (&net.Dialer{Timeout: probeLimit}).DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	defer c.Close()
	message := origin.Body(messageSize)
	if answer == nil {
		answer = message
	}
	_ = c.SetDeadline(time.Now().Add(probeLimit))
	if _, err := c.Write(message); err != nil {
		return err
	}
	got := make([]byte, len(answer))
	if _, err := io.ReadFull(c, got); err != nil {
		return fmt.Errorf("%s does not answer: %w", address, err)
	}
	if !bytes.Equal(got, answer) {
		return fmt.Errorf("%s answers with other bytes", address)
	}
	return nil
}
