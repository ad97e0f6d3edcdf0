package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/sluice-gateway/sluice/balance"
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

	rowAPIKey      = "api-key"
	rowJWT         = "jwt"
	rowRateKeys    = "rate-keys"
	rowTransform   = "transform"
	rowCompose     = "compose"
	rowComposeHalf = "compose-half"
	rowCache       = "cache"

	rowTCPBulk     = "tcp-bulk"
	rowTCPExchange = "tcp-rr"
	rowTCPConnect  = "tcp-connections"
	rowUDP         = "udp"
	rowPick        = "pick"
)

// rowNames lists the rows in the order in which they are measured. The order binds: half needs the rate that small finds, and compose-half that of compose.
func rowNames() []string {
	return slices.Concat([]string{rowSmall, rowKilobyte, rowHalf, rowRoutes, rowReload, rowIdle, rowHandshake, rowTLS}, gatewayRows(), relayRows(), []string{rowPick})
}

// gatewayRows lists the rows that measure the API gateway beside the bare proxy.
func gatewayRows() []string {
	return []string{rowAPIKey, rowJWT, rowRateKeys, rowTransform, rowCompose, rowComposeHalf, rowCache}
}

// relayRows lists the rows that measure the layer 4 listeners.
func relayRows() []string { return []string{rowTCPBulk, rowTCPExchange, rowTCPConnect, rowUDP} }

// listRows prints the rows with what they measure.
func listRows(w io.Writer) {
	for _, name := range rowNames() {
		fmt.Fprintf(w, "%-15s %s\n", name, rowTitle(name))
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
	case rowAPIKey:
		return "API key, rate limit, and both with metrics, beside the bare proxy"
	case rowJWT:
		return "JWT, known and not known, beside the bare proxy"
	case rowRateKeys:
		return "a rate limit for many clients (-keys), and what they take of memory, beside the bare proxy"
	case rowTransform:
		return "header and body of 1 KiB of JSON changed in both directions, beside the bare proxy"
	case rowCompose:
		return "one answer made of three of 1 KiB, beside one that is passed on"
	case rowComposeHalf:
		return "latency of compositions at half of their top rate, beside their slowest step alone"
	case rowCache:
		return "1 KiB answers from the cache, beside those of NGINX and the bare proxy"
	case rowTCPBulk:
		return "large transfers through a TCP listener, endpoint to client and client to endpoint"
	case rowTCPExchange:
		return "128 bytes there and back over kept TCP connections, as fast as it goes"
	case rowTCPConnect:
		return "new TCP connections with one exchange of 128 bytes each"
	case rowUDP:
		return "UDP packets: few busy clients as fast as it goes, and a new session for each question"
	case rowPick:
		return "the cost of a pick among 1,000 endpoints, for every balancing algorithm (go test -bench)"
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

	metricOver     = "over_bare"     // of a side: its CPU per request by that of the bare proxy
	metricHeap     = "heap_bytes"    // of a side: what each request allocates; the steady state of a proxy is near 0
	metricKeyBytes = "bytes_per_key" // resident memory for each client of a limit
	metricAddedP50 = "added_p50_us"  // by a composition to its slowest step
	metricAddedP99 = "added_p99_us"

	metricDownCPU     = "down_cpu_ms_per_gb" // endpoint to client; a GB is 10⁹ bytes
	metricDownRate    = "down_gb_per_second"
	metricUpCPU       = "up_cpu_ms_per_gb" // client to endpoint
	metricUpRate      = "up_gb_per_second"
	metricPackets     = "packets_per_cpu_second" // both directions count: a question and its answer are two
	metricPacketRate  = "packets_per_second"
	metricSessions    = "session_packets_per_cpu_second"
	metricSessionCPU  = "session_cpu_us"
	metricSessionP50  = "session_p50_us"
	metricSessionP99  = "session_p99_us"
	metricLost        = "lost" // share of the datagrams without an answer, 0…1, of both regimes the worse
	metricAllocations = "most_allocations"
)

// metricOf is the metric of one of several sides of a row.
func metricOf(side, metric string) string { return side + "_" + metric }

// metricPick is the time of a pick by an algorithm, in nanoseconds.
func metricPick(algorithm string) string { return algorithm + "_ns" }

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
	lines = append(lines,
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
	lines = append(lines, gatewayLines(o)...)
	lines = append(lines, relayLines()...)
	return append(lines, pickLines()...)
}

// relayLines are the lines of the layer 4 rows.
func relayLines() []report.Line {
	nginx, haproxy := string(peer.NGINX), string(peer.HAProxy)
	asHAProxy := []report.Target{{Against: haproxy, Max: 1.1}}
	questions := groupThousands(questionRate)
	return []report.Line{
		{Row: rowTCPBulk, Metric: metricDownCPU, Title: "TCP, endpoint to client: CPU per GB", Unit: "ms", Decimals: 0, Targets: asHAProxy},
		{Row: rowTCPBulk, Metric: metricDownRate, Title: "TCP, endpoint to client: GB/s", Decimals: 2},
		{Row: rowTCPBulk, Metric: metricUpCPU, Title: "TCP, client to endpoint: CPU per GB", Unit: "ms", Decimals: 0, Targets: asHAProxy},
		{Row: rowTCPBulk, Metric: metricUpRate, Title: "TCP, client to endpoint: GB/s", Decimals: 2},
		{Row: rowTCPExchange, Metric: metricCPU, Title: "TCP, 128 B there and back: CPU per exchange", Unit: "µs", Decimals: 1, Targets: asHAProxy},
		{Row: rowTCPExchange, Metric: metricRate, Title: "TCP, 128 B there and back: exchanges/s on one core", Decimals: 0},
		{Row: rowTCPExchange, Metric: metricP50, Title: "TCP, 128 B there and back: p50 at that rate", Unit: "µs", Decimals: 0},
		{Row: rowTCPExchange, Metric: metricP99, Title: "TCP, 128 B there and back: p99 at that rate", Unit: "µs", Decimals: 0},
		{Row: rowTCPConnect, Metric: metricCPU, Title: "TCP, connection with one exchange: CPU", Unit: "µs", Decimals: 1},
		{Row: rowTCPConnect, Metric: metricRate, Title: "TCP, connection with one exchange: connections/s", Decimals: 0},
		{Row: rowUDP, Metric: metricPackets, Title: fmt.Sprintf("UDP, %d busy clients: packets per CPU second", packetClients), Decimals: 0,
			Targets: []report.Target{{Against: nginx, Min: 1.5}}},
		{Row: rowUDP, Metric: metricPacketRate, Title: fmt.Sprintf("UDP, %d busy clients: packets/s", packetClients), Decimals: 0},
		{Row: rowUDP, Metric: metricP99, Title: fmt.Sprintf("UDP, %d busy clients: p99 at that rate", packetClients), Unit: "µs", Decimals: 0},
		{Row: rowUDP, Metric: metricSessions, Title: "UDP, a session for each question: packets per CPU second", Decimals: 0},
		{Row: rowUDP, Metric: metricSessionP99, Title: "UDP, a session for each question: p99 at " + questions + "/s", Unit: "µs", Decimals: 0},
	}
}

// pickLines has a line for each balancing algorithm that there is.
func pickLines() []report.Line {
	var lines []report.Line
	for _, name := range balance.Names() {
		lines = append(lines, report.Line{Row: rowPick, Metric: metricPick(name), Title: "pick among 1,000 endpoints: " + name, Unit: "ns", Decimals: 0,
			Targets: []report.Target{{Max: 100}}})
	}
	return append(lines, report.Line{Row: rowPick, Metric: metricAllocations, Title: "pick among 1,000 endpoints: allocations, the most of all", Decimals: 0,
		Targets: []report.Target{{Max: 0, Worst: true}}})
}

// What loads the layer 4 rows.
const (
	messageSize   = 128
	packetClients = 64
	questionRate  = 5000 // sessions per second
)

func groupThousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", groupThousands(n/1000), n%1000)
}
