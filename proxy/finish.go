package proxy

import (
	"time"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// count adds the exchange to the metrics.
func (s *state) count(x *message.Exchange) {
	r := s.route
	if r == nil {
		r = s.site.none
	}
	o := &x.Outcome
	s.countVersion(x)
	r.Metrics.Requests.Inc(s.shard, x.Response.Status)
	r.Metrics.Duration.Observe(s.shard, time.Duration(x.Times.End-x.Times.Start))
	if o.Reason != message.ReasonNone {
		r.Metrics.Failures.Inc(s.shard, int(o.Reason))
	}
	if o.Received > 0 {
		s.site.Metrics.Received.Add(s.shard, uint64(o.Received))
	}
	if o.Sent > 0 {
		s.site.Metrics.Sent.Add(s.shard, uint64(o.Sent))
	}
}

// The keys of an access-log line; read-only.
var (
	keyTime      = metric.NewKey("time")
	keyID        = metric.NewKey("request_id")
	keyListener  = metric.NewKey("listener")
	keyRoute     = metric.NewKey("route")
	keyClient    = metric.NewKey("client")
	keyConsumer  = metric.NewKey("consumer")
	keyMethod    = metric.NewKey("method")
	keyScheme    = metric.NewKey("scheme")
	keyHost      = metric.NewKey("host")
	keyPath      = metric.NewKey("path")
	keyQuery     = metric.NewKey("query")
	keyProtocol  = metric.NewKey("protocol")
	keyStatus    = metric.NewKey("status")
	keyReason    = metric.NewKey("reason")
	keySide      = metric.NewKey("side")
	keyStage     = metric.NewKey("stage")
	keyError     = metric.NewKey("error")
	keyWarning   = metric.NewKey("warning")
	keyPolicy    = metric.NewKey("policy")
	keyCache     = metric.NewKey("cache")
	keyBackend   = metric.NewKey("backend")
	keyEndpoint  = metric.NewKey("endpoint")
	keyAttempts  = metric.NewKey("attempts")
	keyReused    = metric.NewKey("reused")
	keyReceived  = metric.NewKey("bytes_received")
	keySent      = metric.NewKey("bytes_sent")
	keyDuration  = metric.NewKey("duration_ms")
	keyRead      = metric.NewKey("read_ms")
	keyConnect   = metric.NewKey("connect_ms")
	keyFirstByte = metric.NewKey("first_byte_ms")
	keyWrite     = metric.NewKey("write_ms")
	keyAgent     = metric.NewKey("user_agent")
)

// log hands one line of the access log over. It never waits: a line that finds no room is
// dropped and counted.
func (s *state) log(x *message.Exchange) {
	l, t, o := &s.line, &x.Times, &x.Outcome
	r := &x.Request
	l.Start()
	l.Time(keyTime, message.WallTime(t.Start).UnixNano())
	l.Bytes(keyID, x.ID)
	l.String(keyListener, s.site.Listener)
	if o.Route != "" {
		l.String(keyRoute, o.Route)
	}
	s.logVersion(x)
	var text [48]byte
	l.Bytes(keyClient, x.Client.Addr.AppendTo(text[:0]))
	if x.Identity != nil && x.Identity.Consumer != "" {
		l.String(keyConsumer, x.Identity.Consumer)
	}
	if method := r.Method.AppendTo(text[:0]); len(method) > 0 {
		l.Bytes(keyMethod, method)
		l.String(keyScheme, r.Scheme)
		l.Bytes(keyHost, s.asked.host)
		l.Bytes(keyPath, s.asked.path)
		if s.asked.query != nil {
			l.Bytes(keyQuery, s.site.visible(x, s.asked.query))
		}
		l.String(keyProtocol, r.Protocol.String())
	}
	l.Int(keyStatus, int64(x.Response.Status))
	if o.Reason != message.ReasonNone {
		l.String(keyReason, o.Reason.String())
		l.String(keySide, o.Side.String())
		l.String(keyStage, o.Stage.String())
		if o.Err != nil {
			l.String(keyError, o.Err.Error())
		}
	}
	if o.Warning != message.ReasonNone {
		l.String(keyWarning, o.Warning.String())
	}
	if o.Policy != "" {
		l.String(keyPolicy, o.Policy)
	}
	if o.Cache != "" {
		l.String(keyCache, o.Cache)
	}
	if o.Backend != "" {
		l.String(keyBackend, o.Backend)
		if o.Endpoint != "" {
			l.String(keyEndpoint, o.Endpoint)
		}
		l.Int(keyAttempts, int64(o.Attempts))
		l.Bool(keyReused, o.Reused)
	}
	l.Int(keyReceived, o.Received)
	l.Int(keySent, o.Sent)
	l.Milliseconds(keyDuration, time.Duration(t.End-t.Start))
	stage(l, keyRead, t.Start, t.Read)
	stage(l, keyConnect, t.Read, t.Connected)
	stage(l, keyFirstByte, t.Read, t.FirstByte)
	stage(l, keyWrite, t.FirstByte, t.End)
	if s.asked.agent != nil {
		l.Bytes(keyAgent, s.asked.agent)
	}
	s.site.Log.writer.Append(l.End())
	s.site.Log.given.Inc(s.shard)
}

// stage writes how long it took between two moments that both came.
func stage(l *metric.Line, k metric.Key, from, to int64) {
	if from > 0 && to >= from {
		l.Milliseconds(k, time.Duration(to-from))
	}
}
