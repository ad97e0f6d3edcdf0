package main

import (
	"github.com/sluice-gateway/sluice/bench/peer"
	"github.com/sluice-gateway/sluice/bench/report"
)

// The sides of the rows of the API gateway, by what they are called in metrics.
const (
	sideBare      = "bare"
	sideAPIKey    = "api_key"
	sideRate      = "rate"
	sideBoth      = "api_key_rate"
	sideCached    = "cached"
	sideFresh     = "fresh"
	sideOneKey    = "one_key"
	sideKeys      = "keys"
	sideTransform = "transform"
	sideCompose   = "compose"
	sideStep      = "step" // the slowest one of a composition, alone
	sideHit       = "hit"
)

// gatewayLines are the lines of the rows of the API gateway.
func gatewayLines(o options) []report.Line {
	keys := groupThousands(o.keys)
	lines := sideLines(rowAPIKey, "128 B, key in the request", []sideLine{{sideAPIKey, "API key", 0}, {sideRate, "rate limit", 0}, {sideBoth, "API key, rate limit, metrics", 1.15}})
	lines = append(lines, sideLines(rowJWT, "128 B, token in the request", []sideLine{{sideCached, "JWT, token known", 0}, {sideFresh, "JWT, token not known (RS256)", 0}})...)
	lines = append(lines, sideLines(rowRateKeys, "128 B, "+keys+" clients", []sideLine{{sideOneKey, "rate limit of one client", 0}, {sideKeys, "rate limit of " + keys + " clients", 1.03}})...)
	lines = append(lines, report.Line{Row: rowRateKeys, Metric: metricKeyBytes, Title: "rate limit: memory per client", Unit: "B", Decimals: 0})
	lines = append(lines, sideLines(rowTransform, "1 KiB of JSON each way", []sideLine{{sideTransform, "header and body changed each way", 0}})...)
	lines = append(lines, sideLines(rowCompose, "1 KiB of JSON", []sideLine{{sideCompose, "composition of three", 4}})...)
	lines = append(lines,
		report.Line{Row: rowComposeHalf, Metric: metricOf(sideStep, metricP50), Title: "slowest step alone, at half of the top rate of compositions: p50", Unit: "µs", Decimals: 0},
		report.Line{Row: rowComposeHalf, Metric: metricOf(sideCompose, metricP50), Title: "composition at that rate: p50", Unit: "µs", Decimals: 0},
		report.Line{Row: rowComposeHalf, Metric: metricOf(sideStep, metricP99), Title: "slowest step alone at that rate: p99", Unit: "µs", Decimals: 0},
		report.Line{Row: rowComposeHalf, Metric: metricOf(sideCompose, metricP99), Title: "composition at that rate: p99", Unit: "µs", Decimals: 0},
		report.Line{Row: rowComposeHalf, Metric: metricAddedP99, Title: "composition at that rate: p99 over that of the step", Unit: "µs", Decimals: 0,
			Targets: []report.Target{{Max: 1000}}},
	)
	lines = append(lines, sideLines(rowCache, "1 KiB", []sideLine{{sideHit, "1 KiB from the cache", 0}})...)
	for i := range lines {
		if l := &lines[i]; l.Row == rowCache && l.Metric == metricOf(sideHit, metricCPU) {
			l.Targets = []report.Target{{Against: string(peer.NGINX), Max: 1}}
		}
	}
	return lines
}

// sideLine is what the table says of a side; most is the target of its CPU by that of the bare proxy, 0 for none.
type sideLine struct {
	side, title string
	most        float64
}

// sideLines are the lines of a row whose first side is the bare proxy, with what goes through it.
func sideLines(row, what string, sides []sideLine) []report.Line {
	lines := []report.Line{{Row: row, Metric: metricOf(sideBare, metricCPU), Title: "bare proxy, " + what + ": CPU per request", Unit: "µs", Decimals: 1}}
	for _, s := range sides {
		over := report.Line{Row: row, Metric: metricOf(s.side, metricOver), Title: s.title + " / bare proxy", Decimals: 3}
		if s.most > 0 {
			over.Targets = []report.Target{{Max: s.most}}
		}
		lines = append(lines, report.Line{Row: row, Metric: metricOf(s.side, metricCPU), Title: s.title + ": CPU per request", Unit: "µs", Decimals: 1}, over)
	}
	return lines
}
