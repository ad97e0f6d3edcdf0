package config

import (
	"slices"
	"strings"
	"time"
)

// Defaults of Listener.IdleTimeout.
const (
	DefaultIdleStream   = 5 * time.Minute
	DefaultIdleDatagram = 30 * time.Second
)

// ServerName is where a `tls` listener passes connections on to that ask for one name.
type ServerName struct {
	// Name that the client asks for: exact, `*.suffix`, or `*` for every other one and for clients that name none.
	Name string `yaml:",key" check:"servername"`
	// Pos is the place of the name.
	Pos Pos `yaml:"-"`
	// Backend that gets the connections.
	Backend string `yaml:"backend,short"`
	// ALPN passes connections on by the protocol that the client offers, such as `h2` or `http/1.1`: the first of these that it offers. The
	// others go to `backend`, or are refused if there is none.
	ALPN []ALPNBackend `yaml:"alpn"`
}

// Check reports a name that leads nowhere.
func (s *ServerName) Check(r *Reporter) {
	if s.Backend == "" && len(s.ALPN) == 0 && !r.Set(&s.Backend) && !r.Set(&s.ALPN) {
		r.AddSuggest(s.Pos, "write NAME: BACKEND", "the server name %q has no backend", s.Name)
	}
}

// ALPNBackend is where connections go that offer one protocol.
type ALPNBackend struct {
	// Protocol as ALPN names it.
	Protocol string `yaml:",key"`
	// Pos is the place of the protocol.
	Pos Pos `yaml:"-"`
	// Backend that gets the connections.
	Backend string `yaml:",value"`
}

// UDP is what only listeners of datagrams have.
type UDP struct {
	// Requests is how many datagrams of one client go to the same endpoint before one is picked anew. `1` picks one for each datagram.
	Requests int `yaml:"requests,none" default:"none" min:"1" max:"1000000"`
	// Responses is how many answers each datagram of a client gets. A client is forgotten when all its datagrams have had as many, as `1` for DNS.
	// Without it the idle timeout decides.
	Responses int `yaml:"responses,none" default:"none" min:"1" max:"1000000"`
}

// L4 reports whether the listener passes bytes on unread.
func (l *Listener) L4() bool {
	return l.Protocol == ProtocolTCP || l.Protocol == ProtocolUDP || l.Protocol == ProtocolTLS
}

// Network returns the network that the listener's address belongs to: "tcp" or "udp".
func (l *Listener) Network() string {
	if l.Protocol == ProtocolUDP {
		return "udp"
	}
	return "tcp"
}

// Check reports a listener whose protocol and other settings do not fit, and sets the defaults that depend on the protocol.
func (l *Listener) Check(r *Reporter) {
	l.checkTLS(r)
	l.checkTarget(r)
	l.checkMeaning(r)
	if l.TrustedIdentity && len(l.TrustedProxies) == 0 && !r.Set(&l.TrustedProxies) {
		r.AddSuggest(r.At(&l.TrustedIdentity), "add trusted_proxies: [NETWORK]", "trusted_identity: there are no trusted_proxies to believe")
	}
	for i, p := range l.TrustedProxies {
		if p.Bits() == 0 && p.IsValid() {
			r.Warn(r.At(&l.TrustedProxies[i]), "trusted_proxies: %s lets every client say who it is", p)
		}
	}
	if l.IdleTimeout == 0 {
		if l.IdleTimeout = DefaultIdleStream; l.Protocol == ProtocolUDP {
			l.IdleTimeout = DefaultIdleDatagram
		}
	}
	if l.ProxyProtocol == "" {
		if l.ProxyProtocol = ProxyProtocolOff; !l.L4() && len(l.TrustedProxies) > 0 {
			l.ProxyProtocol = ProxyProtocolOptional
		}
	}
	if l.ProxyProtocol != ProxyProtocolOff && len(l.TrustedProxies) == 0 && !r.Set(&l.TrustedProxies) {
		r.AddSuggest(r.At(&l.ProxyProtocol), "add trusted_proxies: [NETWORK]", "proxy_protocol: nobody is trusted to send a PROXY header")
	}
}

func (l *Listener) checkTLS(r *Reporter) {
	switch {
	case l.Protocol == ProtocolHTTPS && l.TLS == nil && !r.Set(&l.TLS):
		r.AddSuggest(l.Pos, "add tls: {certificates: [{cert: FILE, key: FILE}]}", "listener %q speaks https but has no tls", l.Name)
	case l.TLS == nil:
	case l.Protocol == ProtocolHTTP:
		r.AddSuggest(r.At(&l.TLS), "write protocol: https", "listener %q speaks http, so it cannot have tls", l.Name)
	case l.Protocol == ProtocolTCP:
		r.AddSuggest(r.At(&l.TLS), "write protocol: tls", "listener %q passes plain tcp on, so it cannot have tls", l.Name)
	case l.Protocol == ProtocolUDP:
		r.Add(r.At(&l.TLS), "listener %q speaks udp, so it cannot have tls", l.Name)
	}
}

// checkTarget reports a listener that has nowhere to pass its connections on to, or should not have.
func (l *Listener) checkTarget(r *Reporter) {
	backend, sni := l.Backend != "" || r.Set(&l.Backend), len(l.SNI) > 0 || r.Set(&l.SNI)
	switch {
	case !l.L4():
		if backend {
			r.AddSuggest(r.At(&l.Backend), "write a route with match: {path: \"/*\"} and the backend", "backend: a listener for %s goes by the routes", l.Protocol)
		}
		if sni {
			r.AddSuggest(r.At(&l.SNI), "write protocol: tls", "sni: a listener for %s goes by the routes", l.Protocol)
		}
	case l.Protocol != ProtocolTLS && sni:
		r.AddSuggest(r.At(&l.SNI), "write protocol: tls", "sni: a listener for %s sees no server name", l.Protocol)
	case backend && sni:
		r.AddSuggest(r.At(&l.Backend), "write the backend as \"*\" under sni", "a listener has one of backend and sni")
	case !backend && !sni && l.Protocol == ProtocolTLS:
		r.AddSuggest(l.Pos, "add backend: NAME, or sni: {NAME: BACKEND}", "listener %q has nowhere to pass connections on to", l.Name)
	case !backend && !sni && l.Protocol != "":
		r.AddSuggest(l.Pos, "add backend: NAME", "listener %q has nowhere to pass connections on to", l.Name)
	}
	seen := map[string]bool{}
	for _, s := range l.SNI {
		if seen[s.Name] {
			r.Add(s.Pos, "the server name %q is written twice", s.Name)
		}
		seen[s.Name] = true
		if l.TLS != nil && r.Set(&s.ALPN) {
			r.AddSuggest(r.At(&s.ALPN), "make a listener without tls, which passes TLS on by the protocols that clients offer",
				"alpn: listener %q ends TLS and agrees on no protocol, so nobody is passed on by one", l.Name)
		}
	}
}

// setting is a key that only some protocols know.
type setting struct {
	at   any
	name string
}

// checkMeaning reports settings that have no meaning with the listener's protocol.
func (l *Listener) checkMeaning(r *Reporter) {
	http := []setting{{&l.Paths, "paths"}, {&l.Strict, "strict"}, {&l.Forwarded, "forwarded"}, {&l.Upgrade, "upgrade"}, {&l.Trailers, "trailers"},
		{&l.Timeouts.Body, "timeouts.body"}, {&l.Timeouts.Idle, "timeouts.idle"}, {&l.Timeouts.Write, "timeouts.write"},
		{&l.Limits.Headers, "limits.headers"}, {&l.Limits.HeaderCount, "limits.header_count"}, {&l.Limits.RequestLine, "limits.request_line"},
		{&l.Limits.Body, "limits.body"}, {&l.Limits.MinRate, "limits.min_rate"}, {&l.Limits.Requests, "limits.requests"},
		{&l.Limits.DrainBody, "limits.drain_body"}}
	streams := []setting{{&l.Lifetime, "lifetime"}}
	datagrams := []setting{{&l.UDP, "udp"}}
	connections := []setting{{&l.ProxyProtocol, "proxy_protocol"}, {&l.TrustedProxies, "trusted_proxies"}, {&l.Limits.PerSource, "limits.connections_per_source"},
		{&l.Timeouts.Header, "timeouts.header"}}
	var strange []setting
	switch l.Protocol {
	case ProtocolHTTP, ProtocolHTTPS:
		strange = append(append(streams, datagrams...), setting{&l.IdleTimeout, "idle_timeout"})
	case ProtocolTCP, ProtocolTLS:
		if strange = append(http, datagrams...); l.ProxyProtocol == ProxyProtocolOptional {
			// It bounds how long the first bytes are waited for, which may be a header.
			strange = slices.DeleteFunc(strange, func(s setting) bool { return s.at == any(&l.Timeouts.Idle) })
		}
	case ProtocolUDP:
		strange = append(append(http, streams...), connections...)
	}
	var names []string
	for _, s := range strange {
		if r.Set(s.at) {
			names = append(names, s.name)
		}
	}
	if len(names) > 0 {
		r.Add(l.Pos, "listener %q speaks %s, for which there is no %s", l.Name, l.Protocol, strings.Join(names, ", "))
	}
}
