package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// backendUses is who uses which backend.
type backendUses struct {
	names     map[string]bool // of all backends
	http      map[string]bool // used by routes
	streams   map[string]bool // used by listeners for tcp and tls
	datagrams map[string]bool // used by listeners for udp
}

func newBackendUses(names map[string]bool) *backendUses {
	return &backendUses{names, map[string]bool{}, map[string]bool{}, map[string]bool{}}
}

// use notes that a backend is used, or reports that there is none of the name.
func (u *backendUses) use(r *Reporter, by map[string]bool, name *string) {
	by[*name] = true
	if u.names[*name] || *name == "" && !r.Set(name) {
		return
	}
	r.AddSuggest(r.At(name), DidYouMean(*name, sortedKeys(u.names)), "unknown backend %s", quote(*name))
}

func (t *Route) linkBackends(r *Reporter, u *backendUses) {
	u.use(r, u.http, &t.Backend)
	if t.Split != nil {
		for i := range t.Split.To {
			u.use(r, u.http, &t.Split.To[i].Backend)
		}
	}
	if t.Compose != nil {
		for _, step := range t.Compose.Steps {
			u.use(r, u.http, &step.Backend)
		}
	}
	if t.Mirror != nil {
		u.use(r, u.http, &t.Mirror.Backend)
	}
}

func (l *Listener) linkBackends(r *Reporter, u *backendUses) {
	by := u.http // a listener that goes by the routes has no backend; that it has one is reported, and nothing that follows from it
	switch {
	case l.Protocol == ProtocolUDP:
		by = u.datagrams
	case l.L4():
		by = u.streams
	}
	u.use(r, by, &l.Backend)
	for _, s := range l.SNI {
		u.use(r, by, &s.Backend)
		for i := range s.ALPN {
			u.use(r, by, &s.ALPN[i].Backend)
		}
	}
}

// linkUses reports a backend that nobody uses, and settings that whoever uses it can do nothing with.
func (b *Backend) linkUses(r *Reporter, u *backendUses) {
	http, streams, datagrams := u.http[b.Name], u.streams[b.Name], u.datagrams[b.Name]
	if !http && !streams && !datagrams {
		r.Warn(b.Pos, "no route or listener uses the backend %q", b.Name)
		return
	}
	if (streams || datagrams) && b.Balance.Key != "" && strings.TrimSpace(b.Balance.Key) != "client.ip" {
		r.AddSuggest(r.At(&b.Balance.Key), "write key: client.ip, or make a backend of its own for the routes",
			"key: a listener for tcp, tls or udp uses the backend %q, and knows of client.ip only", b.Name)
	}
	if datagrams {
		b.linkAddresses(r)
	}
	switch {
	case http:
	case streams:
		b.strange(r, "tcp, tls or udp", b.onlyHTTP())
	default:
		b.strange(r, "udp", append(b.onlyHTTP(), b.onlyStreams()...))
	}
	b.linkCheck(r, http || streams, datagrams)
}

// onlyHTTP are the settings that nothing but requests goes by.
func (b *Backend) onlyHTTP() []setting {
	return []setting{{&b.Session, "session"}, {&b.Hedge, "hedge"}, {&b.Limits, "limits"}, {&b.Retries, "retries"},
		{&b.Timeouts.FirstByte, "timeouts.first_byte"}, {&b.Timeouts.Idle, "timeouts.idle"},
		{&b.Connections.Idle, "connections.idle"}, {&b.Connections.MaxIdle, "connections.max_idle"}}
}

// onlyStreams are the settings that belong to connections, which datagrams have none of, and do not wait for.
func (b *Backend) onlyStreams() []setting {
	all := []setting{{&b.Timeouts.Connect, "timeouts.connect"}, {&b.Connections.Queue, "connections.queue"}, {&b.Connections.QueueTimeout, "connections.queue_timeout"}}
	if a := b.Health.Active; a == nil || a.UDP != nil {
		all = append(all, setting{&b.TLS, "tls"}, setting{&b.ProxyProtocol, "proxy_protocol"}) // no check opens a connection either
	}
	return all
}

// strange reports those of the settings that stand in the file.
func (b *Backend) strange(r *Reporter, protocols string, all []setting) {
	for _, s := range all {
		if r.Set(s.at) {
			r.Add(r.At(s.at), "%s: has no meaning for the backend %q, which only listeners for %s use", s.name, b.Name, protocols)
		}
	}
}

// linkAddresses reports names in the place of addresses: datagrams go to the address of their endpoint, and nothing looks a name up for each of them.
func (b *Backend) linkAddresses(r *Reporter) {
	for i := range b.Endpoints {
		e := &b.Endpoints[i]
		host, port := e.Address.Host(), e.Address.Port()
		if _, err := netip.ParseAddr(host); host == "" || port == 0 || err == nil {
			continue // an address, or reported where it stands
		}
		suggestion := fmt.Sprintf("write {dns: %s, port: %d}", host, port)
		if host == "localhost" {
			suggestion = fmt.Sprintf("write 127.0.0.1:%d", port) // name servers do not know it
		}
		r.AddSuggest(r.At(&e.Address), suggestion, "the endpoint %s is a name, and the listeners for udp that use the backend %q need an address", e.Address, b.Name)
	}
}

// linkCheck warns of an active check that asks at a port which nobody uses. A check that only connects is none: name servers have both.
func (b *Backend) linkCheck(r *Reporter, streams, datagrams bool) {
	a := b.Health.Active
	if a == nil {
		return
	}
	switch kind := a.Kind(); {
	case kind == "udp" && !datagrams:
		r.WarnSuggest(r.At(a), "write tcp: true or http: PATH", "the check by udp asks a port of udp, and no listener for udp uses the backend %q", b.Name)
	case (kind == "http" || kind == "tls") && !streams:
		r.WarnSuggest(r.At(a), "write udp: {send: TEXT}", "the check by %s asks a port of tcp, and only listeners for udp use the backend %q", kind, b.Name)
	}
}

// checkLoops reports a listener that would pass its connections on to itself.
func (c *Config) checkLoops(r *Reporter) {
	for _, l := range c.Listeners {
		if !l.L4() || l.Address == "" {
			continue
		}
		names := []string{l.Backend}
		for _, s := range l.SNI {
			names = append(names, s.Backend)
			for _, a := range s.ALPN {
				names = append(names, a.Backend)
			}
		}
		for _, name := range names {
			b := c.Backend(name)
			if b == nil {
				continue
			}
			for i := range b.Endpoints {
				if e := &b.Endpoints[i]; e.Address != "" && reaches(e.Address, l.Address) {
					r.Add(r.At(&e.Address), "the endpoint %s is the address of listener %q itself, which would pass every connection on to itself for ever", e.Address, l.Name)
				}
			}
		}
	}
}

// reaches reports whether connecting to an address surely ends at a listener of this machine.
func reaches(endpoint, listener Address) bool {
	if endpoint.Port() != listener.Port() || listener.Port() == 0 {
		return false
	}
	if endpoint == listener {
		return true
	}
	to, err := netip.ParseAddr(endpoint.Host())
	loopback := err == nil && to.IsLoopback() || endpoint.Host() == "localhost"
	at, err := netip.ParseAddr(listener.Host())
	everywhere := listener.Host() == "" || err == nil && at.IsUnspecified()
	return loopback && everywhere
}
