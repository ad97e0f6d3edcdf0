package proxy

import (
	"math/rand/v2"
	"net/netip"

	"github.com/sluice-gateway/sluice/message"
)

// receive reads what the request says of its way here and writes what the backend is told.
func (s *Site) receive(x *message.Exchange) {
	s.recognise(x)
	if !x.Client.Trusted {
		forgetManaged(&x.Request.Header)
	}
	s.identify(x)
	x.Request.Header.Set(requestID, x.ID)
	s.forward(x)
}

// recognise finds out who asks: the rightmost address of the way here that is not a trusted proxy.
func (s *Site) recognise(x *message.Exchange) {
	c := &x.Client
	c.Addr = hop(x)
	c.Trusted = s.trusts(c.Addr)
	if c.Trusted && x.Request.Header.Has(message.XForwardedFor) {
		c.Addr = s.clientAddr(&x.Request.Header, c.Addr)
	}
}

// hop returns the address of the other end of the connection as networks and fields have it: IPv4
// as such, and without the zone, which means something on this machine only.
func hop(x *message.Exchange) netip.Addr { return x.Client.Peer.Addr().Unmap().WithZone("") }

// managedIDs is read-only: the fields that tell of the way here, and who calls. A client's copy is a claim
// that only a trusted proxy may make; who calls only where the codec lets it pass at all (trusted_identity).
var managedIDs = func() (ids []message.ID) {
	for id := range message.Known {
		if id.Flags()&(message.FlagManaged|message.FlagIdentity) != 0 {
			ids = append(ids, id)
		}
	}
	return ids
}()

func forgetManaged(h *message.Header) {
	for _, id := range managedIDs {
		if h.Has(id) {
			h.Remove(id.Name())
		}
	}
}

// tellIdentity tells the backend who calls. What a trusted proxy has said of that yields to what was found out here.
func tellIdentity(x *message.Exchange) {
	h, id := &x.Request.Header, x.Identity
	if id.Consumer != "" {
		h.Set(consumerField, x.KeepScratch(append(x.Scratch(), id.Consumer...)))
	} else {
		h.Remove(consumerField)
	}
	if id.Plan != "" {
		h.Set(planField, x.KeepScratch(append(x.Scratch(), id.Plan...)))
	} else {
		h.Remove(planField)
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

// clientAddr walks X-Forwarded-For, all lines of it, from its right end: each trusted proxy
// vouches for the address to its left. The client is the first that is not a trusted proxy. An
// entry that is no address ends the walk: what stands to its left nobody vouches for.
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
//
// What is built on scratch memory is kept, although the header copies it: the memory then grows to
// what a request needs, and the next one finds it there.
func (s *Site) forward(x *message.Exchange) {
	h := &x.Request.Header
	ip := x.KeepScratch(hop(x).AppendTo(x.Scratch()))
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
		forwardRFC7239(x)
	}
}

// joined returns all values of a list field and one more, in memory of x.
func joined(x *message.Exchange, h *message.Header, id message.ID, element []byte) []byte {
	b := x.Scratch()
	for i := range h.Len() {
		if f := h.At(i); f.ID == id && len(f.Value) > 0 {
			b = append(b, f.Value...)
			b = append(b, ", "...)
		}
	}
	return x.KeepScratch(append(b, element...))
}

// forwardRFC7239 adds this hop to Forwarded (RFC 7239 section 4).
func forwardRFC7239(x *message.Exchange) {
	h, peer := &x.Request.Header, hop(x)
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
	b = x.KeepScratch(b)
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
	return x.KeepScratch(append(b, r.Port...))
}
