package config

import (
	"net/netip"
	"strings"
)

// backendUses is who uses which backend.
type backendUses struct {
	names map[string]bool // of all backends
	http  map[string]bool // used by routes
	l4    map[string]bool // used by listeners
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
	if t.Mirror != nil {
		u.use(r, u.http, &t.Mirror.Backend)
	}
}

func (l *Listener) linkBackends(r *Reporter, u *backendUses) {
	u.use(r, u.l4, &l.Backend)
	for _, s := range l.SNI {
		u.use(r, u.l4, &s.Backend)
		for i := range s.ALPN {
			u.use(r, u.l4, &s.ALPN[i].Backend)
		}
	}
}

// linkUses reports a backend that nobody uses, and settings that whoever uses it knows nothing of.
func (b *Backend) linkUses(r *Reporter, u *backendUses) {
	http, l4 := u.http[b.Name], u.l4[b.Name]
	if !http && !l4 {
		r.Warn(b.Pos, "no route or listener uses the backend %q", b.Name)
	}
	if !l4 {
		return
	}
	if b.Balance.Key != "" && strings.TrimSpace(b.Balance.Key) != "client.ip" {
		r.AddSuggest(r.At(&b.Balance.Key), "write key: client.ip, or make a backend of its own for the routes",
			"key: a listener for tcp, tls or udp uses the backend %q, and knows of client.ip only", b.Name)
	}
	if http {
		return
	}
	for _, s := range []setting{{&b.Session, "session"}, {&b.Hedge, "hedge"}, {&b.Limits, "limits"}, {&b.Timeouts.FirstByte, "timeouts.first_byte"}} {
		if r.Set(s.at) {
			r.Add(r.At(s.at), "%s: has no meaning for the backend %q, which only listeners for tcp, tls or udp use", s.name, b.Name)
		}
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
