package proxy

import (
	"math/rand/v2"
	"net/netip"

	"github.com/sluice-gateway/sluice/message"
)

// receive reads what the request says of its way here and writes what the backend is told.
func (s *Site) receive(x *message.Exchange) {
	h := &x.Request.Header
	c := &x.Client
	peer := c.Peer.Addr().Unmap()
	c.Addr, c.Trusted = peer, s.trusts(peer)
	if !c.Trusted {
		s.forgetManaged(h)
	} else if list := h.Get(message.XForwardedFor); list != nil {
		c.Addr = s.clientAddr(h, peer)
	}
	s.identify(x)
	h.Set(requestID, x.ID)
	s.forward(x, peer)
}

// managedIDs is read-only: the fields that tell of the way here. A client's copy is a claim
// that only a trusted proxy may make.
var managedIDs = func() (ids []message.ID) {
	for id := range message.Known {
		if id.Flags()&message.FlagManaged != 0 {
			ids = append(ids, id)
		}
	}
	return ids
}()

func (s *Site) forgetManaged(h *message.Header) {
	for _, id := range managedIDs {
		if h.Has(id) {
			h.Remove(id.Name())
		}
	}
}

func (s *Site) trusts(a netip.Addr) bool {
	for _, p := range s.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// clientAddr walks X-Forwarded-For from its right end: each trusted proxy vouches for the
// address to its left. The client is the first that is not a trusted proxy. An entry that is
// no address ends the walk: what stands to its left nobody vouches for.
func (s *Site) clientAddr(h *message.Header, peer netip.Addr) netip.Addr {
	client := peer
	for i := h.Len() - 1; i >= 0; i-- {
		f := h.At(i)
		if f.ID != message.XForwardedFor {
			continue
		}
		rest := f.Value
		for len(rest) > 0 {
			cut := len(rest)
			for cut > 0 && rest[cut-1] != ',' {
				cut--
			}
			entry := message.TrimSpace(rest[cut:])
			rest = rest[:max(cut-1, 0)]
			if len(entry) == 0 {
				continue
			}
			a, ok := parseAddr(entry)
			if !ok {
				return client
			}
			client = a
			if !s.trusts(a) {
				return client
			}
		}
	}
	return client
}

// parseAddr reads an address as X-Forwarded-For has it, with or without a port and brackets.
func parseAddr(b []byte) (netip.Addr, bool) {
	if len(b) > 64 {
		return netip.Addr{}, false
	}
	text := string(b)
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return a.Unmap(), true
	}
	if ap, err := netip.ParseAddrPort(text); err == nil && ap.Addr().Zone() == "" {
		return ap.Addr().Unmap(), true
	}
	if n := len(text); n > 2 && text[0] == '[' && text[n-1] == ']' {
		if a, err := netip.ParseAddr(text[1 : n-1]); err == nil && a.Zone() == "" {
			return a.Unmap(), true
		}
	}
	return netip.Addr{}, false
}

// identify gives the exchange its id: a trusted proxy's, or a new one of 128 random bits.
func (s *Site) identify(x *message.Exchange) {
	if x.Client.Trusted {
		if id := x.Request.Header.Get(message.XRequestId); validID(id) {
			x.ID = id
			return
		}
	}
	const digits = "0123456789abcdef"
	b := x.Scratch()
	for range 2 {
		for r, i := rand.Uint64(), 0; i < 16; i++ {
			b = append(b, digits[r&15])
			r >>= 4
		}
	}
	x.ID = x.KeepScratch(b)
}

// validID reports whether a proxy's id can go into fields, documents and logs as it is.
func validID(id []byte) bool {
	if len(id) == 0 || len(id) > 128 {
		return false
	}
	for _, c := range id {
		if c <= ' ' || c >= 0x7F || c == '"' || c == '\\' || c == '<' {
			return false
		}
	}
	return true
}

// forward sets the forwarding fields. What a trusted proxy said is continued, anything else
// was removed before.
func (s *Site) forward(x *message.Exchange, peer netip.Addr) {
	h := &x.Request.Header
	ip := peer.AppendTo(x.Scratch())
	if !h.Has(message.XForwardedFor) {
		h.Add(forwardedFor, ip)
	} else {
		h.Set(forwardedFor, joined(x, h, message.XForwardedFor, ip))
	}
	if !h.Has(message.XForwardedProto) {
		h.Add(forwardedProto, []byte(x.Request.Scheme))
	}
	if !h.Has(message.XForwardedHost) && len(x.Request.Host) > 0 {
		h.Add(forwardedHost, authority(x))
	}
	if s.RFC7239 {
		s.forwardRFC7239(x, peer)
	}
}

// joined returns all values of a list field and one more, over scratch memory of x. The element may
// lie there itself.
func joined(x *message.Exchange, h *message.Header, id message.ID, element []byte) []byte {
	element = x.KeepScratch(element)
	b := x.Scratch()
	for i := range h.Len() {
		if f := h.At(i); f.ID == id && len(f.Value) > 0 {
			b = append(b, f.Value...)
			b = append(b, ", "...)
		}
	}
	return append(b, element...)
}

// forwardRFC7239 adds this hop to Forwarded (RFC 7239 section 4).
func (s *Site) forwardRFC7239(x *message.Exchange, peer netip.Addr) {
	h := &x.Request.Header
	b := append(x.Scratch(), "for="...)
	if peer.Is4() {
		b = peer.AppendTo(b)
	} else {
		b = append(b, `"[`...)
		b = peer.AppendTo(b)
		b = append(b, `]"`...)
	}
	b = append(b, ";proto="...)
	b = append(b, x.Request.Scheme...)
	if len(x.Request.Host) > 0 {
		b = append(b, `;host="`...)
		b = append(b, x.Request.Host...)
		if len(x.Request.Port) > 0 {
			b = append(b, ':')
			b = append(b, x.Request.Port...)
		}
		b = append(b, '"')
	}
	if h.Has(message.Forwarded) {
		b = joined(x, h, message.Forwarded, b)
	}
	h.Set(forwarded, b)
}

// authority returns host and port as the request has them.
func authority(x *message.Exchange) []byte {
	r := &x.Request
	if len(r.Port) == 0 {
		return r.Host
	}
	b := append(x.Scratch(), r.Host...)
	b = append(b, ':')
	return append(b, r.Port...)
}
