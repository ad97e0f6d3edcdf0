package http1

import (
	"bytes"

	"github.com/sluice-gateway/sluice/message"
)

// Some connections to an endpoint belong to one client's connection for all their life: with NTLM
// and Negotiate it is the connection that is logged in (RFC 4559 section 6), not the request, and a
// PROXY header in front names one client. Such a connection is never among the pool's idle ones.
// The pool keeps it for the client's connection (x.Bindings), one for each, until that ends.

// loginHere reports whether the exchange makes its connection one that holds a login: whether the
// request carries one that is bound to connections, or the answer asks for one.
func loginHere(x *message.Exchange) bool {
	h := &x.Response.Header
	return x.Request.Header.Has(message.Authorization) && anyLogin(&x.Request.Header, message.Authorization) ||
		h.Has(message.WWWAuthenticate) && anyLogin(h, message.WWWAuthenticate) ||
		h.Has(message.ProxyAuthenticate) && anyLogin(h, message.ProxyAuthenticate)
}

// anyLogin looks for the schemes in all fields id of h. A quoted comma may make it see one that is
// not there, which costs only the sharing of a connection.
func anyLogin(h *message.Header, id message.ID) bool {
	for i := range h.Len() {
		f := h.At(i)
		if f.ID != id {
			continue
		}
		for rest := f.Value; ; {
			challenge, r, ok := message.NextElement(rest)
			if !ok {
				break
			}
			rest = r
			if n := bytes.IndexAny(challenge, " \t"); n >= 0 {
				challenge = challenge[:n]
			}
			if message.EqualFold(challenge, "ntlm") || message.EqualFold(challenge, "negotiate") {
				return true
			}
		}
	}
	return false
}

// private reports whether the connection belongs to one client.
func (cc *clientConn) private() bool { return cc.login || len(cc.prelude) > 0 }

// Bound reports whether the pool keeps a connection that is logged in for the client of b. Its
// requests must go there: elsewhere they are not logged in.
func (p *Pool) Bound(b *message.Bindings) bool {
	if !b.Any() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	cc := p.bound[b]
	return cc != nil && cc.login
}

// takeBound returns the connection that is kept for the client, if it begins as c wants it to. One
// that does not is closed.
func (p *Pool) takeBound(b *message.Bindings, c *Call) *clientConn {
	p.mu.Lock()
	cc := p.bound[b]
	if cc == nil {
		p.mu.Unlock()
		return nil
	}
	delete(p.bound, b)
	fits := bytes.Equal(cc.prelude, c.Prelude)
	if fits && c.Once && !cc.login && p.risky(cc, c.Begun) {
		fits = false
		p.stats.Spared++
	}
	p.mu.Unlock()
	if !fits {
		cc.end()
		return nil
	}
	return cc
}

// putBound keeps a connection for its client. One that has none to keep it for is closed.
func (p *Pool) putBound(cc *clientConn) {
	b := cc.owner
	if b == nil || !b.Bind(p) { // not under the lock: another pool may have to forget
		cc.end()
		return
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		cc.end()
		return
	}
	before := p.bound[b]
	if before == nil && len(p.bound) >= p.o.MaxBound {
		before = p.anyBound()
		delete(p.bound, before.owner)
		p.stats.Evicted++
	}
	if p.bound == nil {
		p.bound = make(map[*message.Bindings]*clientConn)
	}
	p.bound[b] = cc
	p.mu.Unlock()
	if before != nil {
		before.end()
	}
}

// anyBound returns one of the connections that are bound, by chance. p.mu is held, and there is one.
func (p *Pool) anyBound() *clientConn {
	for _, cc := range p.bound {
		return cc
	}
	return nil
}

// Forget closes what is kept for the client's connection of b, which has ended. It implements
// message.Keeper.
func (p *Pool) Forget(b *message.Bindings) {
	p.mu.Lock()
	cc := p.bound[b]
	delete(p.bound, b)
	p.mu.Unlock()
	if cc != nil {
		cc.end()
	}
}
