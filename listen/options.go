package listen

import (
	"crypto/tls"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/message"
)

// DefaultHandshakeTimeout bounds a TLS handshake when the options do not.
const DefaultHandshakeTimeout = 10 * time.Second

// Options are everything of a listener that a reload may change. They are not changed after they were given to [Start] or [Listener.Swap]; a
// connection keeps those that it was accepted with.
type Options struct {
	// Name of the listener, for reports.
	Name string
	// Protocols are the codecs that serve the connections.
	Protocols Protocols
	// TLS is the configuration of handshakes; nil for plain connections. Its NextProtos should be Protocols.Words(). One value belongs to
	// one listener: it holds the keys of the session tickets.
	TLS *tls.Config
	// Proxy says what is done about PROXY protocol headers.
	Proxy ProxyOptions
	// HandshakeTimeout bounds the TLS handshake and the PROXY header before it as a whole, from its first byte on, however slowly their bytes come. That
	// first byte is waited for as long again; with [ProxyOptional] for Proxy.Wait, if that is longer. 0 means [DefaultHandshakeTimeout].
	HandshakeTimeout time.Duration
	// MaxConnections bounds the connections open at once; 0 for no bound. At the bound the listener first closes a connection that is idle, the way
	// it does when it drains, and takes the new one in its place (up to an eighth more may be open until the idle ones are gone). Without an
	// idle one the new connection is reset at once: a balancer or health check in front then knows and goes elsewhere, where a connection
	// left waiting in the system's queue would time out.
	MaxConnections int
	// MaxPerSource bounds the connections open at once of one IPv4 address or one IPv6 network of 64 bits; 0 for no bound. More are reset.
	MaxPerSource int
	// Metrics to count with; nil counts nothing.
	Metrics *Metrics
	// Report is told of trouble that no request carries: failed handshakes, refused connections, accept errors, panics. Each kind is
	// reported at most once in ten seconds, with the number of times. It may be called by any goroutine and must not wait. May be nil.
	Report func(error)
}

// noMetrics counts nothing. Read-only.
var noMetrics = Metrics{}

func (o *Options) metrics() *Metrics {
	if o.Metrics == nil {
		return &noMetrics
	}
	return o.Metrics
}

func (o *Options) handshakeTimeout() time.Duration {
	if o.HandshakeTimeout <= 0 {
		return DefaultHandshakeTimeout
	}
	return o.HandshakeTimeout
}

// quiet is how long a kind of trouble is not reported again.
const quiet = 10 * time.Second

// trouble is one kind of report. It keeps a flood of the same from becoming a flood of lines: a client can cause a failed handshake in
// microseconds.
type trouble struct {
	next  atomic.Int64 // moment of message.Now from which the next report may go
	count atomic.Uint64
}

// due counts one event and reports whether it is to be told, with the number of events since the last one told.
func (o *Options) due(t *trouble) (uint64, bool) {
	t.count.Add(1)
	if o.Report == nil {
		return 0, false
	}
	now, next := message.Now(), t.next.Load()
	if now < next || !t.next.CompareAndSwap(next, now+int64(quiet)) {
		return 0, false
	}
	return t.count.Swap(0), true
}

// report tells of trouble that is due.
func (o *Options) report(err error) { o.Report(fmt.Errorf("listener %q: %w", o.Name, err)) }
