package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sluice-gateway/sluice/bench/load"
	"github.com/sluice-gateway/sluice/bench/origin"
	"github.com/sluice-gateway/sluice/bench/peer"
)

// What the rows of the API gateway are loaded with.
const (
	manyConsumers = 1000 // each with a key, which they use in turn
	fewTokens     = 1000 // that are verified once and then known
)

const benchHost = "bench.example"

// withField are GET requests that differ in one field.
func withField(n int, field func(int) string) [][]byte {
	list := make([][]byte, n)
	for i := range list {
		list[i] = load.RequestWith("GET", benchHost, path, nil, field(i))
	}
	return list
}

// textSide is a side in front of the backends of the other rows, which answer text.
func (s *suite) textSide(ctx context.Context, size int, name string, work peer.Gateway, requests [][]byte) (side, error) {
	b, err := s.startBackends(ctx, size)
	if err != nil {
		return side{}, err
	}
	return side{name: name, plan: peer.Plan{Gateway: work, Backends: b.addresses}, origin: b.process, requests: requests, body: origin.Body(size)}, nil
}

// The counters that the rows look at.
const (
	keyPassed    = `sluice_authentications_total{policy="key",result="passed"}`
	keyRefused   = `sluice_authentications_total{policy="key",result="refused"}`
	tokenPassed  = `sluice_authentications_total{policy="sign-in",result="passed"}`
	tokenRefused = `sluice_authentications_total{policy="sign-in",result="refused"}`
	ratePassed   = `sluice_limit_decisions_total{policy="fair-use",result="passed"}`
	rateRefused  = `sluice_limit_decisions_total{policy="fair-use",result="refused"}`
	stepsOK      = `sluice_steps_total{route="overview",step="%s",outcome="ok"}`
	asked        = `sluice_endpoint_requests_total{`

	requestsMade  = `sluice_requests_total{`
	heapAllocated = `go_memstats_alloc_bytes_total`
)

// apiKeys sets beside each other: the bare proxy, one that knows its callers by API keys, one that limits them by address, and one that knows them and limits each.
// All get the same requests, with a key.
func (s *suite) apiKeys(ctx context.Context, _ peer.Kind) ([]side, error) {
	requests := withField(manyConsumers, func(i int) string { return "X-API-Key: " + consumerKey(i) })
	known := consumers(manyConsumers)
	var list []side
	for _, l := range []struct {
		name    string
		work    peer.Gateway
		prepare func(context.Context, *setup) (values, error)
		counted map[string]float64
	}{
		{sideBare, "", nil, nil},
		{sideAPIKey, peer.GatewayAPIKey, refusesKeys, map[string]float64{keyPassed: 1, keyRefused: 0}},
		{sideRate, peer.GatewayRate, tellsItsLimit, map[string]float64{ratePassed: 1, rateRefused: 0}},
		{sideBoth, peer.GatewayBoth, refusesKeys, map[string]float64{keyPassed: 1, keyRefused: 0, ratePassed: 1, rateRefused: 0}},
	} {
		side, err := s.textSide(ctx, 128, l.name, l.work, requests)
		if err != nil {
			return nil, err
		}
		side.plan.Consumers, side.prepare, side.counted, side.scraped = known, l.prepare, l.counted, l.name == sideBoth
		list = append(list, side)
	}
	return list, nil
}

// refusesKeys is content with a proxy that lets nobody pass without a key that it knows.
func refusesKeys(ctx context.Context, u *setup) (values, error) {
	unknown := load.RequestWith("GET", benchHost, path, nil, "X-API-Key: "+strings.ToUpper(consumerKey(0)))
	return nil, errors.Join(
		refused(ctx, u.plan.Address, load.Request(benchHost, path, false), http.StatusUnauthorized, "api_key_missing"),
		refused(ctx, u.plan.Address, unknown, http.StatusUnauthorized, "api_key_unknown"))
}

// tellsItsLimit is content with a proxy whose answers say how much of a limit is left.
func tellsItsLimit(ctx context.Context, u *setup) (values, error) {
	got, err := ask(ctx, u.plan.Address, load.Request(benchHost, path, false))
	if err == nil && (got.header.Get("RateLimit") == "" || got.header.Get("RateLimit-Policy") == "") {
		err = fmt.Errorf("the answer has no limit: %v", got.header)
	}
	return nil, err
}

// signTokens makes an issuer with n tokens.
func (s *suite) signTokens(n int) error {
	i, err := newIssuer()
	if err != nil {
		return err
	}
	set, err := i.keySet()
	if err != nil {
		return err
	}
	s.keySet = filepath.Join(s.dir, "jwks.json")
	if err := os.WriteFile(s.keySet, set, 0o644); err != nil {
		return err
	}
	s.tokens, err = i.tokens(n)
	return err
}

// tokenSides sets beside each other: the bare proxy and one that verifies tokens, each with few tokens, which the second one soon knows, and the latter with more
// tokens than it can remember, so that it has to verify each of them each time.
func (s *suite) tokenSides(ctx context.Context, _ peer.Kind) ([]side, error) {
	fresh := withField(len(s.tokens), func(i int) string { return "Authorization: Bearer " + s.tokens[i] })
	few := fresh[:min(fewTokens, len(fresh))]
	var list []side
	for _, l := range []struct {
		name     string
		work     peer.Gateway
		requests [][]byte
	}{{sideBare, "", few}, {sideCached, peer.GatewayJWT, few}, {sideFresh, peer.GatewayJWT, fresh}} {
		side, err := s.textSide(ctx, 128, l.name, l.work, l.requests)
		if err != nil {
			return nil, err
		}
		side.plan.KeySet = s.keySet
		if l.work != "" {
			side.prepare, side.counted = refusesTokens(l.requests[0]), map[string]float64{tokenPassed: 1, tokenRefused: 0}
		}
		list = append(list, side)
	}
	return list, nil
}

// refusesTokens is content with a proxy that lets nobody pass without a token, nor with one whose signature has been changed.
func refusesTokens(request []byte) func(context.Context, *setup) (values, error) {
	changed := bytes.Clone(request)
	dot := bytes.LastIndexByte(changed, '.') // that before the signature
	changed[dot+10] = 'A' + (changed[dot+10]-'A'+1)%26
	return func(ctx context.Context, u *setup) (values, error) {
		return nil, errors.Join(
			refused(ctx, u.plan.Address, load.Request(benchHost, path, false), http.StatusUnauthorized, "token_missing"),
			refused(ctx, u.plan.Address, changed, http.StatusUnauthorized, "token_invalid"))
	}
}

// limitKeys sets the bare proxy beside one that limits many clients, all of which it knows before it is measured: each request is of another client than those
// before. And beside the same proxy with one client, to tell what the policy costs from what its memory costs.
func (s *suite) limitKeys(ctx context.Context, _ peer.Kind) ([]side, error) {
	const field = "X-Client: client-" + load.NumberPlace
	requests := [][]byte{load.RequestWith("GET", benchHost, path, nil, field)}
	bare, err := s.textSide(ctx, 128, sideBare, "", requests)
	if err != nil {
		return nil, err
	}
	with, err := s.textSide(ctx, 128, sideKeys, peer.GatewayRateKeys, requests)
	if err != nil {
		return nil, err
	}
	bare.numbers, with.numbers = &load.Numbers{Count: uint64(s.keys)}, &load.Numbers{Count: uint64(s.keys)}
	with.counted = map[string]float64{ratePassed: 1, rateRefused: 0}
	with.prepare = func(ctx context.Context, u *setup) (values, error) { return s.fillKeys(ctx, u, requests[0], field) }
	one, err := s.textSide(ctx, 128, sideOneKey, peer.GatewayRateKeys, [][]byte{numbered(requests[0], 0)})
	one.counted = with.counted
	return []side{bare, one, with}, err
}

// fillKeys makes all clients known, and measures the memory that this takes.
func (s *suite) fillKeys(ctx context.Context, u *setup, request []byte, field string) (values, error) {
	warm := load.Plain{Address: u.plan.Address, Connections: s.connections, Requests: [][]byte{numbered(request, 0)}, Body: u.body, Window: load.Window{Measure: s.warmup + 1}}
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
	fill := load.Fill{Address: u.plan.Address, Request: load.RequestWith("GET", benchHost, peer.FillPath, nil, field), Body: []byte(peer.FillText),
		Numbers: load.Numbers{Count: uint64(s.keys)}}
	if err := fill.Run(ctx); err != nil {
		return nil, err
	}
	after, err := load.Settle(ctx, resident, settleStep, settleLimit, settleShare, settleCalm)
	if err != nil {
		return nil, err
	}
	return values{metricKeyBytes: max(after-before, 0) / float64(s.keys)}, s.knownKeys(ctx, u, request)
}

// A sample of the clients must be known.
const (
	sampledKeys = 50
	keptKeys    = 0.9 // of the sample: a table that is as large as there are clients has forgotten a few
)

// knownKeys is nil when the proxy still knows the clients: they have less left than one that has come for the first time.
func (s *suite) knownKeys(ctx context.Context, u *setup, request []byte) error {
	known := 0
	for i := range sampledKeys {
		got, err := ask(ctx, u.plan.Address, numbered(request, i*(s.keys/sampledKeys)))
		if err != nil {
			return err
		}
		left, quota := limitField(got.header.Get("RateLimit"), "r"), limitField(got.header.Get("RateLimit-Policy"), "q")
		if left < 0 || quota < 0 {
			return fmt.Errorf("the answer has no limit: %v", got.header)
		}
		if left < quota-1 {
			known++
		}
	}
	if float64(known) < keptKeys*sampledKeys {
		return fmt.Errorf("of %d clients only %d are known", sampledKeys, known)
	}
	return nil
}

// limitField is a number in the value of RateLimit or RateLimit-Policy, or -1.
func limitField(value, name string) int {
	for _, part := range strings.Split(value, ";") {
		if text, ok := strings.CutPrefix(part, name+"="); ok {
			if n, err := strconv.Atoi(text); err == nil {
				return n
			}
		}
	}
	return -1
}

// cacheHits sets the bare proxy beside one that has kept the answer. Of NGINX only the latter is measured: the former is row kilobyte.
func (s *suite) cacheHits(ctx context.Context, kind peer.Kind) ([]side, error) {
	requests := [][]byte{load.Request(benchHost, path, false)}
	hit, err := s.textSide(ctx, 1024, sideHit, peer.GatewayCache, requests)
	if err != nil {
		return nil, err
	}
	hit.spares = true
	if kind != peer.Sluice {
		return []side{hit}, nil
	}
	hit.counted = map[string]float64{asked: 0}
	hit.prepare = isHit
	bare, err := s.textSide(ctx, 1024, sideBare, "", requests)
	return []side{bare, hit}, err
}

// isHit is content with a proxy that says that it has kept the answer.
func isHit(ctx context.Context, u *setup) (values, error) {
	got, err := ask(ctx, u.plan.Address, load.Request(benchHost, path, false))
	if status := got.header.Get("Cache-Status"); err == nil && !strings.HasPrefix(status, "sluice; hit") {
		err = fmt.Errorf("the second answer has Cache-Status %q, not a hit", status)
	}
	return nil, errors.Join(err, got.expect(http.StatusOK, u.body))
}
