package main

import (
	"context"

	"github.com/sluice-gateway/sluice/bench/load"
	"github.com/sluice-gateway/sluice/bench/origin"
	"github.com/sluice-gateway/sluice/bench/peer"
)

// bulkConnections is how many large transfers are underway at once.
const bulkConnections = 8

// tcpIdle is the idle_timeout of the TCP listeners; nothing is idle as long as that.
const tcpIdle = "1m"

// bulk is the load of large transfers in one direction, for half of the time.
func (s *suite) bulk(upload bool) relayLoad {
	content := origin.NewContent()
	l := relayLoad{name: "tcp-bulk-down", share: 2, answer: content.From(0, messageSize), plan: peer.Plan{Protocol: peer.ProtocolTCP, Idle: tcpIdle},
		backends: func(e *endpoints) []string { return e.Source }}
	if upload {
		l.name, l.answer = "tcp-bulk-up", []byte(origin.Spoiled) // a message is no transfer
		l.backends = func(e *endpoints) []string { return e.Sink }
	}
	l.run = func(ctx context.Context, address string, w load.Window) (*load.Result, error) {
		return load.Bulk{Address: address, Connections: bulkConnections, Transfer: transferSize, Upload: upload, Content: content.From,
			Verdict: []byte(origin.Complete), Window: w}.Run(ctx)
	}
	return l
}

// tcpBulk measures what it costs to move a GB through a TCP listener, in each direction.
func (s *suite) tcpBulk(ctx context.Context, kind peer.Kind) (values, error) {
	v := values{}
	for _, d := range []struct {
		cpu, rate string
		load      relayLoad
	}{{metricDownCPU, metricDownRate, s.bulk(false)}, {metricUpCPU, metricUpRate, s.bulk(true)}} {
		result, g, err := s.underLoad(ctx, kind, d.load)
		if err != nil {
			return nil, err
		}
		gigabytes := float64(result.Bytes) / 1e9
		v[d.cpu] = 1000 * g.used().Total.Seconds() / gigabytes
		v[d.rate] = result.Throughput() / 1e9
		v[metricForeign] = max(v[metricForeign], g.foreign())
		v["busy_"+d.rate] = g.used().Total.Seconds() / result.Elapsed.Seconds()
		v["load_"+d.cpu] = 1000 * g.oursTo.Sub(g.oursFrom).Total.Seconds() / gigabytes
	}
	return v, nil
}

// exchanges is the load of messages that come back, on connections that stay or with a new connection for each.
func (s *suite) exchanges(fresh bool) relayLoad {
	l := relayLoad{name: rowTCPExchange, share: 1, plan: peer.Plan{Protocol: peer.ProtocolTCP, Idle: tcpIdle},
		backends: func(e *endpoints) []string { return e.Echo }}
	if fresh {
		l.name = rowTCPConnect
		l.backends = func(e *endpoints) []string { return e.Once }
	}
	l.run = func(ctx context.Context, address string, w load.Window) (*load.Result, error) {
		return load.Plain{Address: address, Connections: s.connections, Requests: messages(), Echo: true, Fresh: fresh, Window: w}.Run(ctx)
	}
	return l
}

// tcpExchanges measures what an exchange costs, and how many a core carries, when every connection always has one underway.
func (s *suite) tcpExchanges(fresh bool) func(context.Context, peer.Kind) (values, error) {
	return func(ctx context.Context, kind peer.Kind) (values, error) {
		result, g, err := s.underLoad(ctx, kind, s.exchanges(fresh))
		if err != nil {
			return nil, err
		}
		return price(result, g)
	}
}

// messages are different ones, so that an answer that belongs to another connection is seen.
func messages() [][]byte {
	const count = 101 // a prime, so that no number of connections always sends the same
	list := make([][]byte, count)
	content := origin.NewContent()
	for i := range list {
		list[i] = content.From(int64(i)*messageSize, messageSize)
	}
	return list
}
