package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/stream"
)

// judge makes a reason of how a session ended: whose end came first, at which stage, and whether it was one that both could expect.
func (s *session) judge() {
	r := &s.result
	f := message.Failure{Stage: message.StageReceive, Err: r.Err}
	end := r.Last
	if r.First.How != stream.EndFIN && r.First.How != stream.EndNone {
		end = r.First
	}
	if r.First.How == stream.EndFIN && end.Side == stream.SideA && end.How == stream.EndReset {
		// One side had said all, and then the client closed without reading to the end. TLS clients do that: the farewell of the other side
		// meets a closed socket. Which side ended first stands in the log all the same.
		return
	}
	switch end.How {
	case stream.EndReset, stream.EndFailed:
		f.Reason, f.Side = message.ClientReset, message.SideClient
		if end.Side == stream.SideB {
			f.Reason, f.Side = message.UpstreamReset, message.SideUpstream
		}
	case stream.EndIdle:
		f.Reason, f.Side = message.IdleTimeout, message.SideInternal
	case stream.EndLifetime:
		f.Reason, f.Side = message.LifetimeReached, message.SideInternal
	case stream.EndStuck:
		f.Reason, f.Side = message.ClientTimeout, message.SideClient
		if end.Side == stream.SideB {
			f.Reason, f.Side = message.UpstreamTimeoutIdle, message.SideUpstream
		}
	case stream.EndStopped:
		f.Reason, f.Side = message.ShuttingDown, message.SideInternal
	default:
		return // both have ended in order
	}
	if r.BA == 0 {
		f.Stage = message.StageWait // nothing came from the endpoint
	}
	s.failure = f
}

// blame returns what is held against the endpoint: that it reset a session before it had answered a byte.
func (s *session) blame() *message.Failure {
	if s.failure.Side == message.SideUpstream && s.result.BA == 0 {
		return &s.failure
	}
	return nil
}

// refuse ends a connection that is not passed on: by a reset, so that the client knows at once that nobody was there.
func refuse(nc net.Conn) {
	if secured, ok := nc.(*tls.Conn); ok {
		nc = secured.NetConn() // without a farewell, which would make of it an orderly end
	}
	if t, ok := nc.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = nc.Close()
}

// isGone reports whether err says that the client has left.
func isGone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed)
}

// count adds the session to the metrics.
func (s *session) count() {
	m := &s.site.metrics
	m.Received.Add(s.in.Shard, uint64(s.result.AB))
	m.Sent.Add(s.in.Shard, uint64(s.result.BA))
	m.Ends.Inc(s.in.Shard, int(s.failure.Reason))
	m.Duration.Observe(s.in.Shard, time.Duration(message.Now()-s.start))
}

// The keys of a line about a session, beside those of requests; read-only.
var (
	keyServerName   = metric.NewKey("server_name")
	keyALPN         = metric.NewKey("alpn")
	keyFirstEnd     = metric.NewKey("first_end")
	keyFirstRequest = metric.NewKey("first_request_ms")
	keyFirstReply   = metric.NewKey("first_reply_ms")
	keyRequests     = metric.NewKey("datagrams_received")
	keyReplies      = metric.NewKey("datagrams_sent")
	keyLocal        = metric.NewKey("server")
)

// log hands one line of the access log over.
func (s *session) log() {
	if s.site.Log == nil {
		return
	}
	l, now := &s.line, message.Now()
	l.Start()
	l.Time(keyTime, message.WallTime(s.start).UnixNano())
	l.String(keyListener, s.site.Listener)
	l.String(keyProtocol, s.site.Protocol)
	var text [64]byte
	l.Bytes(keyClient, s.in.Upstream.Client.AppendTo(text[:0]))
	if s.in.Upstream.Server.IsValid() {
		l.Bytes(keyLocal, s.in.Upstream.Server.AppendTo(text[:0]))
	}
	if s.name != "" {
		l.String(keyServerName, s.name)
	}
	if s.alpn != "" {
		l.String(keyALPN, s.alpn)
	}
	logFailure(l, &s.failure)
	if s.backend != "" {
		l.String(keyBackend, s.backend)
		if e := s.link.Endpoint(); e != "" {
			l.String(keyEndpoint, e)
		}
		l.Int(keyAttempts, int64(s.link.Attempts))
	}
	l.Int(keyReceived, s.result.AB)
	l.Int(keySent, s.result.BA)
	if first := s.result.First; first.How != stream.EndNone {
		l.String(keyFirstEnd, sides[first.Side&3]+" "+first.How.String())
	}
	l.Milliseconds(keyDuration, time.Duration(now-s.start))
	stage(l, keyConnect, s.start, s.link.Connected)
	if s.result.FirstAB > 0 {
		l.Milliseconds(keyFirstRequest, s.result.FirstAB)
	}
	if s.result.FirstBA > 0 {
		l.Milliseconds(keyFirstReply, s.result.FirstBA)
	}
	s.site.Log.writer.Append(l.End())
	s.site.Log.given.Inc(s.in.Shard)
}

// sides are the words for the sides of a relay. Read-only.
var sides = [4]string{"none", "client", "upstream", "none"}

func logFailure(l *metric.Line, f *message.Failure) {
	if f.Reason == message.ReasonNone {
		return
	}
	l.String(keyReason, f.Reason.String())
	l.String(keySide, f.Side.String())
	l.String(keyStage, f.Stage.String())
	if f.Err != nil {
		l.String(keyError, f.Err.Error())
	}
}
