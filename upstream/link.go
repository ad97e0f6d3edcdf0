package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/balance"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/stream"
)

// Caller is what is known of a client whose bytes are passed on unread.
type Caller struct {
	Client netip.AddrPort // what a PROXY header has said, or the other end of the connection
	Server netip.AddrPort // the address that it connected to
	TLVs   []byte         // of the PROXY header that came; they travel on
}

// Link is what a backend remembers of a connection or session of layer 4, and the connection to the endpoint. It belongs to one goroutine; the
// zero value is ready, for one use.
type Link struct {
	Shard metric.Shard // where it counts

	Conn      net.Conn // to the endpoint, after Connect; it belongs to the caller
	Attempts  int      // endpoints that were tried
	Connected int64    // moment of message.Now at which the connection was made

	flight   Flight
	endpoint *Endpoint
	began    int64
	failure  message.Failure
}

// Endpoint returns the address of the endpoint, "" before there is one.
func (l *Link) Endpoint() string {
	if l.endpoint == nil {
		return ""
	}
	return l.endpoint.address
}

// Usable reports whether the endpoint is still to be used: it is well, or all are used because too few are, and it is not put out of service.
func (l *Link) Usable() bool {
	return l.endpoint.state() != StateMaint && (l.endpoint.usable(message.Now()) || l.flight.backend.current().panics)
}

// open makes the link ready for a pick.
func (l *Link) open(b *Backend, c *Caller) {
	l.began = message.Now()
	f := &l.flight
	f.Shard, f.backend, f.own = l.Shard, b, -1
	if c.Client.IsValid() {
		// The text of the address, as client.ip is for a request: the same client is placed alike by both.
		var text [48]byte
		f.query.Hash, f.query.Keyed = balance.Hash(c.Client.Addr().Unmap().AppendTo(text[:0])), true
	}
}

// Connect opens a connection to an endpoint, and to the next one if that fails, each within the time to connect. The failure is that of the last
// one, and valid for as long as l is. Every Connect that succeeds is followed by Done.
func (b *Backend) Connect(l *Link, c *Caller) *message.Failure {
	l.open(b, c)
	f := &l.flight
	last := -1
	var tried balance.Tried // Tried of the query is emptied when all were
	for {
		now := message.Now()
		slot, refused := b.reserve(f, now, 0, last)
		if refused != nil {
			if last >= 0 {
				return &l.failure
			}
			l.failure = *refused
			return &l.failure
		}
		now = f.query.Now // it may have waited
		ep := f.choice.slots[slot]
		if tried.Has(slot) {
			ep.release() // all have been tried: the client is not kept waiting for the same again
			return &l.failure
		}
		ep.metrics.requests.Inc(l.Shard)
		l.Attempts++
		l.endpoint = ep
		failure := b.dial(l, ep, c)
		if failure == nil {
			ep.metrics.fresh.Inc(l.Shard)
			l.Connected = message.Now()
			b.metrics.duration.Observe(l.Shard, time.Duration(l.Connected-now))
			if b.timed {
				ep.load.Observe(l.Connected, l.Connected-now)
			}
			return nil
		}
		ep.release()
		l.failure = *failure
		begun := now
		now = message.Now()
		b.penalise(ep, now, now-begun)
		b.failed(ep, l.Shard, kindOf(failure.Reason), true, now)
		if l.Attempts >= balance.MaxTried {
			return &l.failure
		}
		f.query.Tried.Add(slot)
		tried.Add(slot)
		last = slot
	}
}

// dial opens the connection and says what goes first on it.
func (b *Backend) dial(l *Link, ep *Endpoint, c *Caller) *message.Failure {
	o := &ep.transport.Load().options
	//house:allow call a dial is ended by its deadline
	ctx, cancel := context.WithTimeout(context.Background(), o.Connect)
	defer cancel()
	conn, err := ep.connect(ctx)
	if err != nil {
		return connectFailure(err)
	}
	if b.options.ProxyProtocol > 0 {
		header, err := stream.AppendProxyHeader(nil, b.options.ProxyProtocol, &stream.ProxyHeader{
			Source: c.Client, Destination: c.Server, Transport: stream.ProxyStream, TLVs: c.TLVs,
		})
		if err == nil {
			_, err = conn.Write(header) // fits into the socket's empty buffer
		}
		if err != nil {
			_ = conn.Close()
			return connectFailure(err)
		}
	}
	if o.Secure {
		secured := tls.Client(conn, ep.transport.Load().tls)
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			f := connectFailure(err)
			if f.Reason == message.UpstreamConnectFailed {
				f.Reason = message.UpstreamTLSFailed
			}
			return f
		}
		conn = secured
	}
	l.Conn = conn
	return nil
}

// connect opens a connection, without the look-up of a name where the address is none.
func (ep *Endpoint) connect(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	if !ep.literal.IsValid() {
		return d.DialContext(ctx, "tcp", ep.address)
	}
	conn, err := d.DialTCP(ctx, "tcp", netip.AddrPort{}, ep.literal)
	if err != nil {
		return nil, err // and no interface that holds a nil pointer
	}
	return conn, nil
}

// connectFailure is the failure of a connection of which nothing came.
func connectFailure(err error) *message.Failure {
	f := &message.Failure{Reason: message.UpstreamConnectFailed, Side: message.SideUpstream, Stage: message.StageConnect, Retry: message.RetryUnsent, Err: err}
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		f.Reason = message.UpstreamConnectRefused
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		f.Reason = message.UpstreamConnectTimeout
	}
	return f
}

// Assign picks an endpoint without connecting to it, for datagrams, and never waits. Every Assign that succeeds is followed by Done.
func (b *Backend) Assign(l *Link, c *Caller) (netip.AddrPort, *message.Failure) {
	l.open(b, c)
	slot, refused := b.reserve(&l.flight, l.began, l.began, -1)
	if refused != nil {
		l.failure = *refused
		return netip.AddrPort{}, &l.failure
	}
	ep := l.flight.choice.slots[slot]
	l.endpoint, l.Attempts, l.Connected = ep, 1, l.began
	ep.metrics.requests.Inc(l.Shard)
	if !ep.literal.IsValid() {
		ep.release()
		l.failure = message.Failure{Reason: message.UpstreamConnectFailed, Side: message.SideUpstream, Stage: message.StageConnect, Err: errName}
		return netip.AddrPort{}, &l.failure
	}
	return ep.literal, nil
}

var errName = errors.New("datagrams need the address of an endpoint, not a name; write {dns: NAME, port: PORT}")

// Done ends a link after its connection or session has. failure is why it ended, nil if in the ordinary way. It is held against the endpoint if its side
// is upstream; what this program has ended itself says nothing about the endpoint.
func (l *Link) Done(failure *message.Failure) {
	ep, b := l.endpoint, l.flight.backend
	ep.release()
	switch now := message.Now(); {
	case failure == nil:
		b.succeeded(ep, now)
	case failure.Side == message.SideUpstream:
		b.penalise(ep, now, l.Connected-l.began)
		b.failed(ep, l.Shard, kindOf(failure.Reason), failure.Stage == message.StageConnect, now)
	}
}
