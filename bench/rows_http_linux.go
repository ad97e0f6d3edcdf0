package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"github.com/sluice-gateway/sluice/bench/load"
	"github.com/sluice-gateway/sluice/bench/peer"
)

// path is what the rows with one route ask for.
const path = "/accounts/4711"

// saturate measures what a request costs, and how many a core carries, when every connection always has one underway.
func (s *suite) saturate(size int) func(context.Context, peer.Kind) (values, error) {
	return func(ctx context.Context, kind peer.Kind) (values, error) { return s.fullSpeed(ctx, kind, size) }
}

func (s *suite) fullSpeed(ctx context.Context, kind peer.Kind, size int) (values, error) {
	u, err := s.start(ctx, kind, size, path, nil)
	if err != nil {
		return nil, err
	}
	defer u.process.Stop()
	g, err := s.newGauge(u)
	if err != nil {
		return nil, err
	}
	client := s.plain(u, path)
	client.Window = s.window(g)
	result, err := client.Run(ctx)
	if err != nil {
		return nil, err
	}
	return price(result, g)
}

// halfRate measures latency at half of the rate at which NGINX is saturated, the same for all peers.
func (s *suite) halfRate(ctx context.Context, kind peer.Kind) (values, error) {
	rate, err := s.halfOfTop(ctx)
	if err != nil {
		return nil, err
	}
	u, err := s.start(ctx, kind, 128, path, nil)
	if err != nil {
		return nil, err
	}
	defer u.process.Stop()
	g, err := s.newGauge(u)
	if err != nil {
		return nil, err
	}
	client := s.plain(u, path)
	client.Rate, client.Window = rate, s.window(g)
	result, err := client.Run(ctx)
	if err != nil {
		return nil, err
	}
	v, err := price(result, g)
	if err == nil {
		v[metricOffered] = float64(rate)
	}
	return v, err
}

// halfOfTop is half of NGINX's median rate in row small. Where that row was not measured, one measurement stands in; where
// NGINX is left out, the first peer stands in for it.
func (s *suite) halfOfTop(ctx context.Context) (int, error) {
	reference := s.peers[0]
	if slices.Contains(s.peers, peer.NGINX) {
		reference = peer.NGINX
	}
	if top := s.report.Summary(rowSmall, string(reference), metricRate); top.N > 0 {
		return int(top.Median / 2), nil
	}
	if s.topRate == 0 {
		v, err := s.fullSpeed(ctx, reference, 128)
		if err != nil {
			return 0, fmt.Errorf("top rate of %s: %w", reference, err)
		}
		s.topRate = v[metricRate]
		s.note("half rate is %.0f requests/s, half of one measurement of %s", s.topRate/2, reference)
	}
	return max(int(s.topRate/2), 1), nil
}

// fewRoutes is the short table that the long one is compared with.
const fewRoutes = 10

// manyRoutes measures the same proxy with a short and with a long route table: both run, and take turns (short, long, long,
// short), so that a drift of the machine cancels out of the ratio.
func (s *suite) manyRoutes(ctx context.Context, kind peer.Kind) (values, error) {
	var cpu, requests [2]float64
	var setups [2]*setup
	for i, n := range []int{fewRoutes, s.routes} {
		u, err := s.start(ctx, kind, 128, peer.RoutePath(n-1), func(p *peer.Plan) { p.Routes = n })
		if err != nil {
			return nil, err
		}
		defer u.process.Stop()
		setups[i] = u
	}
	for _, i := range []int{0, 1, 1, 0} {
		g, err := s.newGauge(setups[i])
		if err != nil {
			return nil, err
		}
		client := s.plain(setups[i], routePaths(setups[i].plan.Routes)...)
		client.Window = s.window(g)
		client.Measure /= 2
		result, err := client.Run(ctx)
		if err != nil {
			return nil, err
		}
		if _, err := price(result, g); err != nil {
			return nil, err
		}
		cpu[i] += microseconds(g.used().Total)
		requests[i] += float64(result.Requests)
	}
	few, many := cpu[0]/requests[0], cpu[1]/requests[1]
	return values{metricFew: few, metricMany: many, metricGrowth: many / few}, nil
}

// routePaths asks for n routes: in turn the last exact one, a random one, the last prefix and a random one. A
// table that is searched from its start pays at the last routes, one that is a tree pays in cache misses at random ones.
func routePaths(n int) []string {
	random := rand.New(rand.NewPCG(1, uint64(n)))
	paths := make([]string, 0, 4*1024)
	for len(paths) < cap(paths) {
		paths = append(paths, peer.RoutePath(n-1), peer.RoutePath(random.IntN(n)), peer.RoutePath(n-2), peer.RoutePath(random.IntN(n)))
	}
	return paths
}

// profileOf loads Sluice once more, without measuring, and keeps the CPU profile that it makes of itself.
func (s *suite) profileOf(row string, size int) func(context.Context) error {
	return func(ctx context.Context) error {
		u, err := s.start(ctx, peer.Sluice, size, path, nil)
		if err != nil {
			return err
		}
		defer u.process.Stop()
		return s.saveProfile(ctx, row, u, func(w load.Window) error {
			client := s.plain(u, path)
			client.Window = w
			_, err := client.Run(ctx)
			return err
		})
	}
}

// saveProfile writes the file name.pprof while run loads Sluice for the window that it gets.
func (s *suite) saveProfile(ctx context.Context, name string, u *setup, run func(load.Window) error) error {
	if err := os.MkdirAll(s.profile, 0o755); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", u.plan.Admin, int(s.seconds)+1)
		done <- saveURL(ctx, url, filepath.Join(s.profile, name+".pprof"))
	}()
	err := run(load.Window{Measure: s.options.measure() + s.warmup})
	return errors.Join(err, <-done)
}

func saveURL(ctx context.Context, url, file string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.LimitReader(response.Body, 64<<20))
	return errors.Join(err, out.Close())
}
