package proxy

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/stream"
	"github.com/sluice-gateway/sluice/upstream"
)

// DatagramSite is one generation of what a listener for udp serves. It is immutable once it is sealed and given to Datagram.
type DatagramSite struct {
	Listener string
	Backend  *upstream.Backend
	Log      *Log // nil for none

	metrics sessionMetrics
}

// Seal completes a site. scope keeps its metrics.
func (s *DatagramSite) Seal(scope *metric.Scope) { s.metrics.open(scope, s.Listener) }

// Datagram picks the endpoints for the clients of one listener. It outlives configurations: each session takes the site of its moment and keeps it
// to its end. It implements stream.UDPHandler.
type Datagram struct {
	site  atomic.Pointer[DatagramSite]
	shard metric.Shard // sessions are opened by one goroutine at a time
}

// NewDatagram returns the handler of a listener that serves site.
func NewDatagram(site *DatagramSite) *Datagram {
	h := &Datagram{}
	h.site.Store(site)
	return h
}

// Swap makes site the one that later sessions are opened by.
func (h *Datagram) Swap(site *DatagramSite) { h.site.Store(site) }

// conversation is one client with its endpoint.
type conversation struct {
	site  *DatagramSite
	link  upstream.Link
	start int64
	line  metric.Line
}

// Open implements stream.UDPHandler.
func (h *Datagram) Open(client, local netip.AddrPort, _ []byte) (stream.UDPSession, netip.AddrPort, bool) {
	site := h.site.Load()
	c := &conversation{site: site, start: message.Now()}
	h.shard++
	c.link.Shard = h.shard
	endpoint, failure := site.Backend.Assign(&c.link, &upstream.Caller{Client: client, Server: local})
	if site.Log != nil {
		site.Log.due.Inc(h.shard)
	}
	if failure != nil {
		c.finish(&stream.UDPResult{Client: client, Local: local}, failure)
		return nil, netip.AddrPort{}, false
	}
	return c, endpoint, true
}

// Usable implements stream.UDPSession.
func (c *conversation) Usable() bool { return c.link.Usable() }

// End implements stream.UDPSession.
func (c *conversation) End(r stream.UDPResult) {
	var failure *message.Failure
	f := message.Failure{Side: message.SideUpstream, Stage: message.StageWait, Err: r.Err}
	switch r.End {
	case stream.UDPRefused:
		f.Reason, failure = message.UpstreamConnectRefused, &f
	case stream.UDPFailed:
		f.Reason, failure = message.UpstreamConnectFailed, &f
	case stream.UDPUnanswered:
		// Not every protocol answers: this is told, and not held against the endpoint.
		f.Reason, f.Side, failure = message.UpstreamTimeoutFirstByte, message.SideInternal, &f
	case stream.UDPReplaced:
		f.Reason, f.Side, failure = message.NoHealthyEndpoint, message.SideInternal, &f
	case stream.UDPEvicted:
		f.Reason, f.Side, failure = message.TooManyConnections, message.SideInternal, &f
	case stream.UDPClosed:
		f.Reason, f.Side, failure = message.ShuttingDown, message.SideInternal, &f
	}
	c.link.Done(failure)
	c.finish(&r, failure)
}

// finish counts and logs a session that has ended, or that never began.
func (c *conversation) finish(r *stream.UDPResult, failure *message.Failure) {
	m, shard := &c.site.metrics, c.link.Shard
	m.Received.Add(shard, r.RequestBytes)
	m.Sent.Add(shard, r.ReplyBytes)
	reason := message.ReasonNone
	if failure != nil {
		reason = failure.Reason
	}
	m.Ends.Inc(shard, int(reason))
	m.Duration.Observe(shard, r.Lasted)
	if c.site.Log == nil {
		return
	}
	l := &c.line
	l.Start()
	l.Time(keyTime, message.WallTime(c.start).UnixNano())
	l.String(keyListener, c.site.Listener)
	l.String(keyProtocol, "udp")
	var text [64]byte
	l.Bytes(keyClient, r.Client.AppendTo(text[:0]))
	if r.Local.IsValid() {
		l.Bytes(keyLocal, r.Local.AppendTo(text[:0]))
	}
	if failure != nil {
		logFailure(l, failure)
	}
	l.String(keyBackend, c.site.Backend.Name())
	if e := c.link.Endpoint(); e != "" {
		l.String(keyEndpoint, e)
	}
	l.Int(keyRequests, int64(r.Requests))
	l.Int(keyReplies, int64(r.Replies))
	l.Int(keyReceived, int64(r.RequestBytes))
	l.Int(keySent, int64(r.ReplyBytes))
	l.Milliseconds(keyDuration, r.Lasted)
	if r.FirstReply > 0 {
		l.Milliseconds(keyFirstReply, time.Duration(r.FirstReply))
	}
	c.site.Log.writer.Append(l.End())
	c.site.Log.given.Inc(shard)
}
