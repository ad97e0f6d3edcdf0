package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/bench/load"
	"github.com/sluice-gateway/sluice/bench/peer"
	"github.com/sluice-gateway/sluice/bench/report"
)

// values are what one measurement yields, by metric.
type values map[string]float64

// row is one kind of measurement.
type row struct {
	name    string
	measure func(ctx context.Context, kind peer.Kind) (values, error)
	can     func(peer.Kind) bool // nil: every kind
	profile func(ctx context.Context) error
}

// rows are all measurements, in the order of rowNames.
func (s *suite) rows() []row {
	tcp, udp := s.canRelay(peer.ProtocolTCP), s.canRelay(peer.ProtocolUDP)
	return []row{
		{name: rowSmall, measure: s.saturate(128), profile: s.profileOf(rowSmall, 128)},
		{name: rowKilobyte, measure: s.saturate(1024), profile: s.profileOf(rowKilobyte, 1024)},
		{name: rowHalf, measure: s.halfRate},
		{name: rowRoutes, measure: s.manyRoutes},
		{name: rowReload, measure: s.reloadUnderLoad, can: peer.Kind.CanReload},
		{name: rowIdle, measure: s.idleMemory},
		{name: rowHandshake, measure: s.handshakes},
		{name: rowTLS, measure: s.keptAliveTLS},
		s.gatewayRow(rowAPIKey, s.apiKeys, nil),
		s.gatewayRow(rowJWT, s.tokenSides, nil),
		s.gatewayRow(rowRateKeys, s.limitKeys, nil),
		s.gatewayRow(rowTransform, s.transforms, nil),
		s.gatewayRow(rowCompose, s.composes, nil),
		s.gatewayRow(rowComposeHalf, s.composesHalf, added),
		{name: rowCache, measure: s.beside(s.cacheHits, nil), profile: s.profileOfSides(rowCache, s.cacheHits),
			can: func(k peer.Kind) bool { return k == peer.Sluice || k == peer.NGINX }},
		{name: rowTCPBulk, measure: s.tcpBulk, can: tcp, profile: s.profileOfRelay(s.bulk(false), s.bulk(true))},
		{name: rowTCPExchange, measure: s.tcpExchanges(false), can: tcp, profile: s.profileOfRelay(s.exchanges(false))},
		{name: rowTCPConnect, measure: s.tcpExchanges(true), can: tcp, profile: s.profileOfRelay(s.exchanges(true))},
		{name: rowUDP, measure: s.udp, can: udp, profile: s.profileOfRelay(s.busyClients(), s.shortSessions())},
		{name: rowPick, measure: s.pick, can: func(k peer.Kind) bool { return k == peer.Sluice }},
	}
}

// gatewayRow is a row of the API gateway that only Sluice takes part in.
func (s *suite) gatewayRow(name string, sides scene, derive func(values)) row {
	return row{name: name, measure: s.beside(sides, derive), profile: s.profileOfSides(name, sides), can: func(k peer.Kind) bool { return k == peer.Sluice }}
}

// measurementLimit bounds a single measurement, whatever hangs.
const measurementLimit = 2*time.Minute + startLimit

// rounds measures everything: row by row, within a row round by round, within a round every peer once. Neighbours in a
// round are compared with each other, so that a slow minute of the machine hits all of them.
func (s *suite) rounds(ctx context.Context) {
	for _, r := range s.rows() {
		if !s.wants(r.name) {
			continue
		}
		progress("%s: %s", r.name, rowTitle(r.name))
		for round := range s.options.rounds {
			for _, kind := range s.peers {
				if ctx.Err() != nil {
					return
				}
				if r.can == nil || r.can(kind) {
					s.sample(ctx, r, round, kind)
				}
			}
		}
		s.remark(r.name)
		if r.profile != nil && s.options.profile != "" && s.programs.Sluice != "" {
			if err := r.profile(ctx); err != nil {
				s.note("no profile of row %s: %v", r.name, err)
			}
		}
	}
}

func (s *suite) sample(ctx context.Context, r row, round int, kind peer.Kind) {
	inner, cancel := context.WithTimeout(ctx, measurementLimit)
	defer cancel()
	got, err := r.measure(inner, kind)
	if ctx.Err() != nil {
		return // cut short: neither a figure nor a failure
	}
	sample := report.Sample{Row: r.name, Round: round, Peer: string(kind), Values: got}
	if err != nil {
		sample.Values, sample.Error = nil, err.Error()
		progress("  round %d  %-13s failed: %v", round+1, kind, err)
	} else {
		progress("  round %d  %-13s %s", round+1, kind, describe(s.report.Lines, r.name, got))
	}
	s.report.Add(sample)
}

// What a row's samples must keep to if its figures are to be taken at face value.
const (
	crowded   = 0.05  // share of the proxy's core that others may have
	saturated = 0.9   // share of its core that a proxy uses when it is the slower side
	complete  = 0.999 // share of the datagrams that are answered
	kept      = 0.98  // share of the offered rate that is answered within the window
)

// remark notes under the table what a reader of the row's figures has to know.
func (s *suite) remark(row string) {
	var shared, unhurried, behind, leaky []string
	for _, kind := range s.peers {
		name := string(kind)
		if s.report.Summary(row, name, metricForeign).Max > crowded {
			shared = append(shared, name)
		}
		busy := s.report.Summary(row, name, metricBusy)
		if isFullSpeed(row) && busy.N > 0 && busy.Median < saturated {
			unhurried = append(unhurried, name)
		}
		if offered := s.report.Summary(row, name, metricOffered); s.report.Summary(row, name, metricRate).Min < kept*offered.Min {
			behind = append(behind, name)
		}
		if s.report.Summary(row, name, metricLost).Max > 1-complete {
			leaky = append(leaky, name)
		}
	}
	if len(shared) > 0 {
		s.note("in row %s other programs had more than %.0f %% of the core of %s; repeat it on a quiet machine", row, 100*crowded, strings.Join(shared, ", "))
	}
	if len(unhurried) > 0 {
		// The CPU per request stays true.
		s.note("in row %s the load was slower than %s, whose rate is therefore a lower bound", row, strings.Join(unhurried, ", "))
	}
	if len(leaky) > 0 {
		s.note("in row %s more than %.1f %% of the datagrams through %s had no answer", row, 100*(1-complete), strings.Join(leaky, ", "))
	}
	if len(behind) > 0 {
		s.note("in row %s the rate that was due was not kept by %s", row, strings.Join(behind, ", "))
	}
}

// isFullSpeed tells whether a row loads the proxies as fast as it goes, so that its rate is theirs.
func isFullSpeed(row string) bool {
	return slices.Contains([]string{rowSmall, rowKilobyte, rowTCPExchange, rowTCPConnect, rowUDP}, row)
}

// describe is one measurement in a line, in the order of the table.
func describe(lines []report.Line, row string, got values) string {
	text := ""
	for _, line := range lines {
		if v, ok := got[line.Metric]; ok && line.Row == row {
			text += fmt.Sprintf("  %s %.*f", line.Metric, max(line.Decimals, 1), v)
		}
	}
	if busy, ok := got[metricBusy]; ok {
		text += fmt.Sprintf("  busy %.0f %%", 100*busy)
	}
	return text
}

// window is the time of one measurement, with the gauge at its borders.
func (s *suite) window(g *gauge) load.Window {
	return load.Window{Warmup: s.warmup, Measure: s.options.measure(), Begin: g.begin, End: g.end}
}

// plain is the load of the rows without TLS.
func (s *suite) plain(u *setup, paths ...string) load.Plain {
	requests := make([][]byte, len(paths))
	for i, path := range paths {
		requests[i] = load.Request("bench.example", path, false)
	}
	return load.Plain{Address: u.plan.Address, Connections: s.connections, Requests: requests, Body: u.body}
}
