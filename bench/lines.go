package main

import (
	"fmt"
	"io"

	"github.com/sluice-gateway/sluice/bench/peer"
	"github.com/sluice-gateway/sluice/bench/report"
)

// The rows: what the flag -only takes and what Sample.Row says.
const (
	rowSmall     = "small"
	rowKilobyte  = "kilobyte"
	rowHalf      = "half"
	rowRoutes    = "routes"
	rowReload    = "reload"
	rowIdle      = "idle"
	rowHandshake = "handshake"
	rowTLS       = "tls"
)

// rowNames lists the rows in the order in which they are measured. The order binds: half needs the rate that small finds.
func rowNames() []string {
	return []string{rowSmall, rowKilobyte, rowHalf, rowRoutes, rowReload, rowIdle, rowHandshake, rowTLS}
}

// listRows prints the rows with what they measure.
func listRows(w io.Writer) {
	for _, name := range rowNames() {
		fmt.Fprintf(w, "%-10s %s\n", name, rowTitle(name))
	}
}

func rowTitle(name string) string {
	switch name {
	case rowSmall:
		return "128-byte answers, keep-alive, as fast as it goes"
	case rowKilobyte:
		return "1 KiB answers, keep-alive, as fast as it goes"
	case rowHalf:
		return "latency at half of NGINX's top rate, from a fixed timetable"
	case rowRoutes:
		return "CPU per request with 10 routes and with many (-routes)"
	case rowReload:
		return "reload of many routes under 1,000 requests/s"
	case rowIdle:
		return "memory of idle keep-alive connections (-idle)"
	case rowHandshake:
		return "full TLS 1.3 handshakes, one request each"
	case rowTLS:
		return "128-byte answers over kept-alive TLS 1.3"
	}
	return ""
}

// The metrics: keys of Sample.Values. Times are in microseconds where nothing else is said.
const (
	metricCPU     = "cpu_us"     // processor time of the proxy for each request, user and system
	metricUser    = "user_share" // the part of it in user space, 0…1
	metricRate    = "rate"       // right answers per second
	metricP50     = "p50_us"
	metricP99     = "p99_us"
	metricBusy    = "busy"        // processor time of the proxy by wall clock; near 1 means that it was saturated
	metricLoad    = "load_cpu_us" // processor time of client and backends for each request: what the proxy is up against
	metricForeign = "foreign"     // share of the window in which others than the proxy had its core
	metricOffered = "offered_rate"
	metricFew     = "few_cpu_us"
	metricMany    = "many_cpu_us"
	metricGrowth  = "many_to_few"
	metricFailed  = "failed"
	metricRaced   = "failed_closed_while_reused"
	metricLive    = "live_ms"
	metricMax     = "max_ms"
	metricMemory  = "kib_per_connection"
)

// tableLines are the lines of the table with the targets that the project has set itself.
func tableLines(o options) []report.Line {
	nginx, goProxy := string(peer.NGINX), string(peer.ReverseProxy)
	price := []report.Target{{Against: nginx, Max: 1.05}, {Against: goProxy, Max: 0.4}}
	many := groupThousands(o.routes)
	var lines []report.Line
	for _, size := range []struct{ row, title string }{{rowSmall, "128 B"}, {rowKilobyte, "1 KiB"}} {
		lines = append(lines,
			report.Line{Row: size.row, Metric: metricCPU, Title: size.title + ": CPU per request", Unit: "µs", Decimals: 1, Targets: price},
			report.Line{Row: size.row, Metric: metricRate, Title: size.title + ": requests/s on one core", Decimals: 0},
			report.Line{Row: size.row, Metric: metricP50, Title: size.title + ": p50 at that rate", Unit: "µs", Decimals: 0},
			report.Line{Row: size.row, Metric: metricP99, Title: size.title + ": p99 at that rate", Unit: "µs", Decimals: 0},
		)
	}
	return append(lines,
		report.Line{Row: rowHalf, Metric: metricP50, Title: "half of NGINX's top rate: p50", Unit: "µs", Decimals: 0},
		report.Line{Row: rowHalf, Metric: metricP99, Title: "half of NGINX's top rate: p99", Unit: "µs", Decimals: 0,
			Targets: []report.Target{{Against: nginx, Max: 1.2}}},
		report.Line{Row: rowRoutes, Metric: metricFew, Title: "10 routes: CPU per request", Unit: "µs", Decimals: 1},
		report.Line{Row: rowRoutes, Metric: metricMany, Title: many + " routes: CPU per request", Unit: "µs", Decimals: 1},
		report.Line{Row: rowRoutes, Metric: metricGrowth, Title: many + " routes / 10 routes", Decimals: 3,
			Targets: []report.Target{{Max: 1.03}}},
		report.Line{Row: rowReload, Metric: metricFailed, Title: "reload of " + many + " routes: failed requests", Decimals: 0,
			Targets: []report.Target{{Max: 0, Worst: true}}},
		report.Line{Row: rowReload, Metric: metricLive, Title: "reload of " + many + " routes: live after", Unit: "ms", Decimals: 0,
			Targets: []report.Target{{Against: nginx, Max: 1}}},
		report.Line{Row: rowReload, Metric: metricMax, Title: "reload of " + many + " routes: slowest answer", Unit: "ms", Decimals: 1},
		report.Line{Row: rowIdle, Metric: metricMemory, Title: "memory per idle connection", Unit: "KiB", Decimals: 2,
			Targets: []report.Target{{Max: 8}}},
		report.Line{Row: rowHandshake, Metric: metricCPU, Title: "full TLS 1.3 handshake and one request: CPU", Unit: "µs", Decimals: 0,
			Targets: []report.Target{{Against: nginx, Max: 0.95}}},
		report.Line{Row: rowHandshake, Metric: metricRate, Title: "full TLS 1.3 handshakes/s", Decimals: 0},
		report.Line{Row: rowTLS, Metric: metricCPU, Title: "128 B over TLS 1.3, kept alive: CPU per request", Unit: "µs", Decimals: 1},
	)
}

func groupThousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", groupThousands(n/1000), n%1000)
}
