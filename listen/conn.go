package listen

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/metric"
)

// Conn is one accepted connection. It belongs to the goroutine that serves it; Draining and Idle form the interface by which a codec
// takes part in draining (http1.Life).
//
// What a codec does: it sets the deadline of an idle wait and calls Idle(true), in either order, then asks Draining, and waits for the first byte
// of a request. When bytes have come it calls Idle(false) and serves the request, telling the client that the connection will close if
// Draining is true by then. A listener that wants the connection to end makes Draining true and then moves the read deadline of an idle
// connection to the past, which wakes the wait. A codec that is woken with Draining looks once more for bytes that have arrived, under a
// new deadline, before it closes. The nudge never comes later than Idle(false) returns, but the read deadline may then be in the past, so a
// codec sets it anew before it reads on.
type Conn struct {
	conn     net.Conn // what the codec uses: raw, or TLS over it
	raw      net.Conn
	listener *Listener
	options  *Options // those it was accepted with
	remote   netip.AddrPort
	local    netip.AddrPort
	tlvs     []byte              // of the PROXY header
	by       time.Time           // when the handshakes must have ended; set where there are any
	secured  *TLSInfo            // nil without TLS
	shown    []*x509.Certificate // by the client
	state    atomic.Uint32
	shard    metric.Shard

	// Guarded by registry.mu.
	prev, next *Conn
	seen       uint32 // state at the last look for a connection to reclaim
	reclaimed  bool
	counted    bool // in registry.sources
}

// TLSInfo is what a handshake found out.
type TLSInfo struct {
	ServerName string // SNI in lower case; "" if the client named none
	Protocol   string // agreed on by ALPN; "" if the client does not use it
	Version    uint16 // tls.VersionTLS12 or tls.VersionTLS13
	Cipher     uint16 // see tls.CipherSuiteName
	Resumed    bool   // the session began with an earlier connection
}

// The state of a connection is one word: three flags, and above them a count of idle periods, by which a second look tells a connection that is
// still idle from one that is idle again.
const (
	stateIdle    = 1 << iota // between requests
	stateNudging             // the listener is moving the read deadline; only while stateIdle was set
	stateLeaving             // this connection is asked to end, whatever the listener does; never cleared
	statePeriod              // one idle period
)

func newConn(l *Listener, nc net.Conn, o *Options, shard metric.Shard) *Conn {
	c := &Conn{conn: nc, raw: nc, listener: l, options: o, shard: shard}
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		// A socket for both families shows IPv4 clients as ::ffff:a.b.c.d.
		c.remote = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	if a, ok := nc.LocalAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		c.local = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return c
}

// NetConn returns the connection to read and write: a *net.TCPConn, or a *tls.Conn whose handshake is done. No deadline is set.
func (c *Conn) NetConn() net.Conn { return c.conn }

// Remote returns the address of the client, IPv4 as such: of the other end of the connection, or what a PROXY header has said.
func (c *Conn) Remote() netip.AddrPort { return c.remote }

// Local returns the address that the client connected to: this end of the connection, or what a PROXY header has said.
func (c *Conn) Local() netip.AddrPort { return c.local }

// proxyTLVs returns what the PROXY header said besides addresses.
func (c *Conn) proxyTLVs() []byte { return c.tlvs }

// TLS returns what the handshake found out, or nil for a plain connection.
func (c *Conn) TLS() *TLSInfo { return c.secured }

// Certificates returns what the client has shown in the handshake, its own first; for a resumed session in that of the connection that the session began
// with. That the client has the key was made sure of then, and nothing else was. The slice is shared and must not be changed.
func (c *Conn) Certificates() []*x509.Certificate { return c.shown }

// ServerName returns the name that a TLS client asked for, in lower case, or "".
func (c *Conn) ServerName() string {
	if c.secured == nil {
		return ""
	}
	return c.secured.ServerName
}

// Shard says which cell of counters this connection adds to; see [metric.Shard].
func (c *Conn) Shard() metric.Shard { return c.shard }

// Draining reports whether the exchange that is running, or the next one if none is, is to be the last of the connection. Once true it
// stays true.
func (c *Conn) Draining() bool {
	return c.listener.draining.Load() || c.state.Load()&stateLeaving != 0
}

// Idle notes that the connection waits for a request, or no longer does. It costs one atomic operation and may be repeated. Only the goroutine that
// serves the connection calls it.
func (c *Conn) Idle(idle bool) {
	for {
		old := c.state.Load()
		if (old&stateIdle != 0) == idle {
			return
		}
		next := old &^ stateIdle
		switch {
		case idle:
			next = (old | stateIdle) + statePeriod
		case old&stateNudging != 0:
			// The listener has this connection in its hands for the length of one call that does not wait. Going on now would let its nudge hit
			// the request.
			runtime.Gosched()
			continue
		}
		if c.state.CompareAndSwap(old, next) {
			return
		}
	}
}

// past is a moment that makes waiting reads fail at once. Read-only.
var past = time.Unix(1, 0)

// nudge asks the connection to end and wakes it if it is idle. It reports whether it was. Any goroutine but the connection's own may call it.
func (c *Conn) nudge() bool {
	for {
		old := c.state.Load()
		switch {
		case old&stateNudging != 0:
			return true // another is at it
		case old&stateIdle == 0:
			if c.state.CompareAndSwap(old, old|stateLeaving) {
				return false
			}
		case c.state.CompareAndSwap(old, old|stateNudging|stateLeaving):
			// The deadline of the socket serves TLS as well, and a closed socket refuses it without harm.
			_ = c.raw.SetReadDeadline(past)
			c.state.And(^uint32(stateNudging))
			return true
		}
	}
}

// isIdle reports whether the codec waits for a request.
func (c *Conn) isIdle() bool { return c.state.Load()&stateIdle != 0 }

// reset closes a connection without a farewell and frees what the kernel holds for it at once.
func reset(nc net.Conn) {
	if t, ok := nc.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = nc.Close()
}

// shut ends both directions of a connection that another goroutine uses. Closing it would wait
// for that goroutine, which may itself wait for an endpoint.
func shut(nc net.Conn) {
	t, ok := nc.(*net.TCPConn)
	if !ok {
		_ = nc.Close()
		return
	}
	_ = t.CloseRead()
	_ = t.CloseWrite()
	_ = t.SetDeadline(past)
}

// tlsInfo takes what is of interest from a finished handshake.
func tlsInfo(s *tls.ConnectionState) *TLSInfo {
	return &TLSInfo{
		ServerName: lowerName(s.ServerName),
		Protocol:   s.NegotiatedProtocol,
		Version:    s.Version,
		Cipher:     s.CipherSuite,
		Resumed:    s.DidResume,
	}
}

// lowerName lowers the ASCII letters of a name. Case folding of Unicode would make equal what is different.
func lowerName(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + ('a' - 'A')
		}
	}
	return string(b)
}
