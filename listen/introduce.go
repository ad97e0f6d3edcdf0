package listen

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/stream"
)

// ProxyMode says what is done about PROXY protocol headers.
type ProxyMode uint8

// The modes.
const (
	ProxyOff      ProxyMode = iota // connections begin with what they carry
	ProxyOptional                  // those of trusted proxies may begin with a header
	ProxyRequired                  // only those of trusted proxies are accepted, and each begins with a header
)

// ProxyOptions are the settings of PROXY protocol headers.
type ProxyOptions struct {
	Mode    ProxyMode
	Trusted []netip.Prefix // whose headers are believed
	// Wait bounds the wait for the first bytes of a connection in mode ProxyOptional, in which nobody need have anything to say yet.
	Wait time.Duration
	// Linger bounds that wait once the listener ends, or needs the room: bytes that are under way then are still served. 0 means half a second.
	Linger time.Duration
}

const defaultProxyLinger = 500 * time.Millisecond

func (o *ProxyOptions) trusts(a netip.Addr) bool {
	for _, p := range o.Trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// begin is the first goroutine of a connection that may have something to say about itself: it takes the PROXY header and goes on with the handshake or
// the codec.
func (c *Conn) begin() {
	handed := false
	defer func() {
		if p := recover(); p != nil || !handed {
			c.end(p)
		}
	}()
	if c.options.Proxy.Mode != ProxyOff && !c.introduce() {
		return
	}
	handed = true // whoever goes on ends the connection, panics included
	if c.options.TLS != nil {
		c.secure()
	} else {
		c.serve(c.options.Protocols.choose(""))
	}
}

// introduce takes the PROXY header of a connection, and reports whether the connection goes on. Whoever is not trusted cannot say who he is: his
// header is refused, and not read as something else.
func (c *Conn) introduce() bool {
	o := &c.options.Proxy
	trusted := o.trusts(c.remote.Addr())
	if !trusted && o.Mode == ProxyRequired {
		c.refused(errProxyUntrusted)
		return false
	}
	plain, ok := c.raw.(*net.TCPConn)
	if !ok {
		return true // a listener of this package has no other
	}
	header, err := c.takeHeader(plain, trusted)
	if err == nil && header == nil && o.Mode == ProxyRequired {
		err = errProxyMissing
	}
	if err != nil {
		c.refused(err)
		return false
	}
	if plain.SetReadDeadline(time.Time{}) != nil {
		return false
	}
	if header != nil {
		c.believe(header)
	}
	return true
}

// takeHeader waits for the first bytes of a connection, and takes the PROXY header out of them if they are one. Nobody's header but that of a trusted
// proxy is taken.
func (c *Conn) takeHeader(plain *net.TCPConn, trusted bool) (*stream.ProxyHeader, error) {
	raw, err := plain.SyscallConn()
	if err != nil {
		return nil, err
	}
	p := stream.GetPeeker()
	defer p.Release()
	if err := c.first(p, raw); err != nil {
		return nil, err
	}
	// The first bytes are there: the rest has the time of a handshake.
	c.by = time.Now().Add(c.options.handshakeTimeout())
	if err := plain.SetReadDeadline(c.by); err != nil {
		return nil, err
	}
	if !trusted {
		err := p.Look(raw, func(b []byte) int {
			_, need, err := stream.ParseProxyHeader(b)
			if errors.Is(err, stream.ErrMoreNeeded) && len(b) < signatureBytes {
				return min(need, signatureBytes)
			}
			if errors.Is(err, stream.ErrNotProxyHeader) {
				return 0
			}
			trusted = true // it begins as a header does: that is all that there is to know of it
			return 0
		})
		if err == nil && trusted {
			err = errProxyUntrusted
		}
		return nil, err
	}
	header, err := p.TakeProxyHeader(raw)
	if errors.Is(err, stream.ErrNotProxyHeader) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	header.TLVs = bytes.Clone(header.TLVs) // they lie in what the Peeker has
	return &header, nil
}

// first waits for the first bytes. In mode ProxyOptional the connection is idle meanwhile: it may be woken to make room, or because the listener ends,
// and then has a moment left, in which what is under way arrives and is served. The deadline is set first and the mark read afterwards, as the
// listener does it the other way around; one of the two sees the other.
func (c *Conn) first(p *stream.Peeker, raw syscall.RawConn) error {
	o := &c.options.Proxy
	wait := c.options.handshakeTimeout()
	idle := o.Mode == ProxyOptional
	if idle {
		wait = max(wait, o.Wait)
		c.Idle(true)
		defer c.Idle(false) // from then on no wake-up moves the deadline
	}
	until, lingers := time.Now().Add(wait), false
	for {
		if err := c.raw.SetReadDeadline(until); err != nil {
			return err
		}
		if idle && c.Draining() && !lingers {
			linger := o.Linger
			if linger <= 0 {
				linger = defaultProxyLinger
			}
			lingers, until = true, time.Now().Add(min(linger, time.Until(until)))
			continue
		}
		err := p.Look(raw, func([]byte) int { return 0 })
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if !time.Now().Before(until) {
			if lingers {
				return errAsked
			}
			return err
		}
	}
}

// signatureBytes is by how many bytes at the latest a connection is known to begin with a PROXY header or not: the signature of version 2.
const signatureBytes = 12

var (
	errProxyUntrusted = errors.New("a PROXY header from an address that is not one of trusted_proxies")
	errProxyMissing   = errors.New("no PROXY header, which proxy_protocol: required asks for")
	errAsked          = errors.New("the listener has asked the connection to end before it said anything") // no fault of the client
)

// believe takes over what a header says. One without addresses, as a health check of the proxy itself sends it, leaves those of the connection.
func (c *Conn) believe(h *stream.ProxyHeader) {
	c.options.metrics().ProxyAccepted.Inc(c.shard)
	c.tlvs = h.TLVs
	if h.Local || !h.Source.IsValid() {
		return
	}
	c.remote = h.Source
	if h.Destination.IsValid() {
		c.local = h.Destination
	}
}

// refused counts and tells why a connection ended before it began.
func (c *Conn) refused(err error) {
	m := c.options.metrics()
	var format *stream.FormatError
	switch {
	case errors.Is(err, errProxyUntrusted):
		m.ProxyUntrusted.Inc(c.shard)
	case errors.Is(err, errProxyMissing):
		m.ProxyMissing.Inc(c.shard)
	case errors.Is(err, os.ErrDeadlineExceeded):
		m.ProxyTimeout.Inc(c.shard)
		return // a client that has nothing to say is no trouble
	case errors.As(err, &format):
		m.ProxyInvalid.Inc(c.shard)
	default:
		return // it has left, or was asked to
	}
	reset(c.raw)
	if n, due := c.options.due(&c.listener.proxies); due {
		c.options.report(fmt.Errorf("%d connections refused, the last one of %s: %w", n, c.remote.Addr(), err))
	}
}
