package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-gateway/sluice/bench/load"
	"github.com/sluice-gateway/sluice/bench/origin"
	"github.com/sluice-gateway/sluice/bench/peer"
)

// documentSize is the size of the JSON that services take and answer.
const documentSize = 1024

// slowStep is how long the slowest step of row compose-half takes.
const slowStep = 2 * time.Millisecond

// halfClients is how many connections that row has: so many that none of its requests waits for one, at a hundred for each millisecond.
const halfClients = 400

// sites is the process with the services of the rows whose proxies look into bodies.
type sites struct {
	process                              *peer.Process
	plain, changed                       []string // both take a document; changed takes it as GatewayTransform changes it
	account, recent, rates, slowestRates string
}

// The documents.
var (
	transferDocument = origin.Document("transfer", documentSize) // read-only
	accountDocument  = origin.Document("account", documentSize)  // read-only
	recentDocument   = origin.Document("recent", documentSize)   // read-only
	ratesDocument    = origin.Document("rates", documentSize)    // read-only
)

// The address that the load comes from, as the proxy knows it.
const loadClient = "127.0.0.1"

// inward is what the request policy of GatewayTransform makes of a document.
func inward(document []byte) []byte {
	return bytes.Replace(document, []byte(`"from":"nobody"`), []byte(`"from":"`+loadClient+`"`), 1)
}

// outward is what its response policy makes of one.
func outward(document []byte) []byte {
	return bytes.Replace(document, []byte(`"currency":"EUR"`), []byte(`"currency":"CHF"`), 1)
}

// overview is the answer of GatewayCompose.
func overview() []byte {
	return fmt.Appendf(nil, `{"account":%s,"recent":%s,"rates":%s}`, accountDocument, recentDocument, ratesDocument)
}

// startSites starts the services, once for a run.
func (s *suite) startSites(ctx context.Context) (*sites, error) {
	if s.sites != nil {
		return s.sites, nil
	}
	free, err := peer.FreeAddresses(8)
	if err != nil {
		return nil, err
	}
	t := &sites{plain: free[:2], changed: free[2:4], account: free[4], recent: free[5], rates: free[6], slowestRates: free[7]}
	plan, err := json.Marshal([]origin.Site{
		{Addresses: t.plain, Answer: accountDocument, Want: transferDocument, Fields: []string{"Authorization: Bearer nothing"}},
		{Addresses: t.changed, Answer: accountDocument, Want: inward(transferDocument), Fields: []string{"X-Client-Address: " + loadClient}, Absent: []string{"Authorization"}},
		{Addresses: free[4:5], Answer: accountDocument},
		{Addresses: free[5:6], Answer: recentDocument},
		{Addresses: free[6:7], Answer: ratesDocument},
		{Addresses: free[7:8], Answer: ratesDocument, Delay: slowStep},
	})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(s.dir, "sites.json")
	if err := os.WriteFile(file, plan, 0o644); err != nil {
		return nil, err
	}
	t.process, err = s.runner.Start(peer.Spec{Name: "sites", Dir: s.dir, CPU: s.originCPU, Env: []string{"GOMAXPROCS=1"},
		Args: []string{s.programs.Self, sitesCommand, file}})
	if err != nil {
		return nil, err
	}
	// They are opened in order, so when the last one answers they all do.
	err = t.process.Await(ctx, startLimit, func(ctx context.Context) error {
		got, err := ask(ctx, t.slowestRates, load.Request(benchHost, "/", false))
		if err != nil {
			return err
		}
		return got.expect(200, ratesDocument)
	})
	if err != nil {
		t.process.Stop()
		return nil, err
	}
	s.sites = t
	return t, nil
}

// runSites serves what a file says.
func runSites(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: %s FILE", sitesCommand)
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	var list []origin.Site
	if err := json.Unmarshal(text, &list); err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return origin.ServeSites(ctx, list)
}

// transforms sets the bare proxy beside one that changes header and body of request and answer. The services find out what did not reach them as it should.
func (s *suite) transforms(ctx context.Context, _ peer.Kind) ([]side, error) {
	t, err := s.startSites(ctx)
	if err != nil {
		return nil, err
	}
	requests := [][]byte{load.RequestWith("POST", benchHost, "/transfers", transferDocument, "Authorization: Bearer nothing", "Content-Type: application/json")}
	return []side{
		{name: sideBare, plan: peer.Plan{Backends: t.plain}, origin: t.process, requests: requests, body: accountDocument},
		{name: sideTransform, plan: peer.Plan{Gateway: peer.GatewayTransform, Backends: t.changed}, origin: t.process, requests: requests, body: outward(accountDocument)},
	}, nil
}

// composeSides sets the bare proxy beside one that makes an answer of three. With a rate both get that many requests a second, and the slowest step takes slowStep;
// what the bare proxy passes on then is that step alone.
func (s *suite) composeSides(ctx context.Context, rate int) ([]side, error) {
	t, err := s.startSites(ctx)
	if err != nil {
		return nil, err
	}
	name, slowest, alone, answer, clients := sideBare, t.rates, t.account, accountDocument, 0
	if rate > 0 {
		name, slowest, alone, answer, clients = sideStep, t.slowestRates, t.slowestRates, ratesDocument, halfClients
	}
	requests := [][]byte{load.Request(benchHost, "/overview", false)}
	counted := map[string]float64{}
	for _, step := range []string{"account", "recent", "rates"} {
		counted[fmt.Sprintf(stepsOK, step)] = 1
	}
	return []side{
		{name: name, plan: peer.Plan{Backends: []string{alone}}, origin: t.process, requests: requests, body: answer, rate: rate, clients: clients},
		{name: sideCompose, plan: peer.Plan{Gateway: peer.GatewayCompose, Steps: []string{t.account, t.recent, slowest}}, origin: t.process, requests: requests,
			body: overview(), rate: rate, clients: clients, counted: counted},
	}, nil
}

// composes is as fast as it goes.
func (s *suite) composes(ctx context.Context, _ peer.Kind) ([]side, error) {
	return s.composeSides(ctx, 0)
}

// composesHalf is at half of the rate at which compositions saturate a core.
func (s *suite) composesHalf(ctx context.Context, _ peer.Kind) ([]side, error) {
	rate, err := s.halfOfCompositions(ctx)
	if err != nil {
		return nil, err
	}
	return s.composeSides(ctx, rate)
}

// halfOfCompositions is half of the median rate in row compose. Where that row was not measured, one measurement stands in.
func (s *suite) halfOfCompositions(ctx context.Context) (int, error) {
	metric := metricOf(sideCompose, metricRate)
	if top := s.report.Summary(rowCompose, string(peer.Sluice), metric); top.N > 0 {
		return max(int(top.Median/2), 1), nil
	}
	if s.composeRate == 0 {
		v, err := s.beside(s.composes, nil)(ctx, peer.Sluice)
		if err != nil {
			return 0, fmt.Errorf("top rate of compositions: %w", err)
		}
		s.composeRate = v[metric]
		s.note("half rate of compositions is %.0f requests/s, half of one measurement", s.composeRate/2)
	}
	return max(int(s.composeRate/2), 1), nil
}

// added is what a composition takes longer than its slowest step alone.
func added(v values) {
	v[metricAddedP50] = v[metricOf(sideCompose, metricP50)] - v[metricOf(sideStep, metricP50)]
	v[metricAddedP99] = v[metricOf(sideCompose, metricP99)] - v[metricOf(sideStep, metricP99)]
}
