package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-gateway/sluice/bench/load"
	"github.com/sluice-gateway/sluice/bench/peer"
)

// The reload row.
const (
	reloadRate  = 1000             // requests per second
	reloadLead  = time.Second      // load before the reload
	reloadTail  = time.Second      // load after the new configuration is live
	reloadLimit = 20 * time.Second // a configuration that is not live by then has failed
	oldMarker   = "old"
	newMarker   = "new"
)

// reloadUnderLoad changes one of many routes while requests come at a constant rate. Every request that does not get the
// right answer counts, whatever the excuse. Live is the moment after which new connections get the new answer only.
func (s *suite) reloadUnderLoad(ctx context.Context, kind peer.Kind) (values, error) {
	u, err := s.start(ctx, kind, 128, peer.RoutePath(s.routes-1), func(p *peer.Plan) {
		p.Routes, p.Marker, p.Reload = s.routes, oldMarker, true
	})
	if err != nil {
		return nil, err
	}
	defer u.process.Stop()
	stop := make(chan struct{})
	client := s.plain(u, routePaths(s.routes)...)
	client.Rate, client.Stop = reloadRate, stop
	client.Window = load.Window{Warmup: s.warmup, Measure: reloadLead + reloadLimit + reloadTail}
	type outcome struct {
		result *load.Result
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		result, err := client.Run(ctx)
		done <- outcome{result, err}
	}()
	live, sighting, err := s.reload(ctx, u)
	if err == nil {
		err = sleep(ctx, reloadTail)
	}
	close(stop)
	load := <-done
	if err := errors.Join(err, load.err); err != nil {
		return nil, err
	}
	if load.result.Requests == 0 {
		return nil, load.result.Err()
	}
	failed := float64(load.result.Failed()) + float64(sighting.Failed)
	if failed > 0 {
		progress("    %s: %s; %d new connections failed: %v", kind, load.result.FailureText(), sighting.Failed, sighting.First)
	}
	return values{
		metricFailed: failed,
		metricRaced:  raced(load.result),
		metricLive:   float64(live) / float64(time.Millisecond),
		metricP99:    microseconds(load.result.Latency.Quantile(0.99)),
		metricMax:    float64(load.result.Latency.Max()) / float64(time.Millisecond),
	}, nil
}

// raced is how many of the failed requests met the close of a connection that had been idle, which a client may repeat.
func raced(r *load.Result) float64 { return float64(r.Failures[load.ClosedUnused]) }

// reload puts the new configuration in place, tells the proxy, and returns how long it took to be live.
func (s *suite) reload(ctx context.Context, u *setup) (time.Duration, load.Sighting, error) {
	if err := sleep(ctx, s.warmup+reloadLead); err != nil {
		return 0, load.Sighting{}, err
	}
	status, body, err := load.Fetch(ctx, u.plan.Address, peer.MarkerPath, false)
	if err != nil || status != 200 || string(body) != oldMarker {
		return 0, load.Sighting{}, errors.Join(fmt.Errorf("the marker is %d %.80q before the reload, want %q", status, body, oldMarker), err)
	}
	next := u.plan
	next.Marker = newMarker
	if err := next.Write(u.kind); err != nil {
		return 0, load.Sighting{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, reloadLimit)
	defer cancel()
	from := time.Now()
	if err := u.process.Reload(u.kind); err != nil {
		return 0, load.Sighting{}, err
	}
	marker := load.Marker{Address: u.plan.Address, Path: peer.MarkerPath, Want: newMarker, Old: oldMarker,
		Every: 2 * time.Millisecond, Streak: 10}
	sighting, err := marker.Watch(ctx)
	if err != nil {
		return 0, sighting, fmt.Errorf("%w after %v; output: %s", err, time.Since(from).Round(time.Millisecond), u.process.Tail())
	}
	return sighting.Live.Sub(from), sighting, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// The idle row.
const (
	idleWarmup    = 500 * time.Millisecond
	settleStep    = 200 * time.Millisecond
	settleLimit   = 8 * time.Second
	settleShare   = 0.002 // resident memory that moves less than this within a step is at rest
	settleCalm    = 5     // steps at rest in a row
	idleSpareConn = 200   // connections beside the idle ones: warm-up, readiness
)

// idleMemory measures what a connection costs that has made one request and waits for its next. The proxy is warmed up
// before, so that what it needs once is not counted for the connections.
func (s *suite) idleMemory(ctx context.Context, kind peer.Kind) (values, error) {
	u, err := s.start(ctx, kind, 128, path, func(p *peer.Plan) { p.Connections = s.idle + s.connections + idleSpareConn })
	if err != nil {
		return nil, err
	}
	defer u.process.Stop()
	warm := s.plain(u, path)
	warm.Window = load.Window{Measure: idleWarmup}
	if result, err := warm.Run(ctx); err != nil {
		return nil, err
	} else if err := result.Err(); err != nil {
		return nil, err
	}
	pids, err := u.process.Tree()
	if err != nil {
		return nil, err
	}
	resident := func() (float64, error) {
		n, err := peer.ResidentBytes(pids)
		return float64(n), err
	}
	before, err := load.Settle(ctx, resident, settleStep, settleLimit, settleShare, settleCalm)
	if err != nil {
		return nil, err
	}
	held, err := load.HoldIdle(ctx, u.plan.Address, s.idle, load.Request("bench.example", path, false), u.body)
	if err != nil {
		return nil, err
	}
	defer held.Close()
	after, err := load.Settle(ctx, resident, settleStep, settleLimit, settleShare, settleCalm)
	if err != nil {
		return nil, err
	}
	if broken := held.Broken(); broken > 0 {
		return nil, fmt.Errorf("the proxy closed %d of %d idle connections", broken, s.idle)
	}
	return values{
		metricMemory: (after - before) / 1024 / float64(s.idle),
		"before_kib": before / 1024,
		"after_kib":  after / 1024,
	}, nil
}
