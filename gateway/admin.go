package gateway

import (
	"fmt"
	"net"
	"time"

	"github.com/sluice-gateway/sluice/admin"
	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/listen"
	"github.com/sluice-gateway/sluice/policy"
	"github.com/sluice-gateway/sluice/upstream"
)

// adminGrace is how long a scrape or a profile that runs may go on when its listener ends.
const adminGrace = time.Second

// adminServer is the listener for operators. It outlives configurations that leave its address
// as it is.
type adminServer struct {
	key    listen.Key
	addr   net.Addr
	server *admin.Server
}

// bindAdmin opens the admin socket that the generation needs, if it is not open already.
func (g *Gateway) bindAdmin(gen *generation) error {
	a := gen.config.Admin
	if a == nil {
		return nil
	}
	key, err := listen.KeyOf("tcp", string(a.Address))
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	if g.admin != nil && g.admin.key == key {
		return nil
	}
	gen.adminSocket, err = listen.Open("admin", string(a.Address))
	return err
}

// swapAdmin starts the admin listener of a generation, and ends that of the one before if its
// address is another: beside the lock, because a profile may run there for minutes, and whoever
// reads there may hold up others.
func (g *Gateway) swapAdmin(gen *generation) {
	if gen.config.Admin != nil && gen.adminSocket == nil {
		return // the address has stayed
	}
	if old := g.admin; old != nil {
		g.admin = nil
		g.leaving.Go(func() { old.server.Close(adminGrace) })
	}
	s := gen.adminSocket
	if s == nil {
		return
	}
	gen.adminSocket = nil
	source := admin.Source{
		Metrics: g.registry, Ready: g.Ready, Draining: g.draining.Load, Degraded: g.Degraded,
		Backends: g.Backends, Routes: g.routes, Override: g.override,
		Cache: g.cacheState, Purge: g.purge,
	}
	g.admin = &adminServer{key: s.Key(), addr: s.Addr(), server: admin.Start(s.Listener(), source, g.o.Report)}
}

// routes returns the routes of the configuration that is served.
func (g *Gateway) routes() []admin.Route {
	c := g.Config()
	if c == nil {
		return nil
	}
	list := make([]admin.Route, len(c.Routes))
	for i, r := range c.Routes {
		list[i] = admin.Route{
			Name: r.Name, Listeners: []string{}, Hosts: r.Match.Host, Path: r.Match.Path, Methods: r.Match.Method,
			Headers: pairs(r.Match.Headers, ": "), Query: pairs(r.Match.Query, "="), Policies: []string{},
		}
		for _, l := range c.Listeners {
			if !l.L4() && onListener(r, l) {
				list[i].Listeners = append(list[i].Listeners, l.Name)
			}
		}
		for _, p := range r.Policies {
			list[i].Policies = append(list[i].Policies, p.Name)
		}
		switch {
		case r.Redirect != nil:
			list[i].Action = "redirect"
		case r.Respond != nil:
			list[i].Action = "respond"
		case r.Split != nil:
			list[i].Action = "split"
			for _, p := range r.Split.To {
				list[i].Backends = append(list[i].Backends, p.Backend)
			}
		default:
			list[i].Action, list[i].Backends = "backend", []string{r.Backend}
		}
		if r.Mirror != nil {
			list[i].Mirror = r.Mirror.Backend
		}
	}
	return list
}

func pairs(all []config.Pair, between string) []string {
	var out []string
	for _, p := range all {
		out = append(out, p.Name+between+p.Value)
	}
	return out
}

// caches returns what the caches of the configuration that is served keep together, nil if it has none.
func (g *Gateway) caches() *policy.CacheStore {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.current == nil {
		return nil
	}
	store, _ := g.current.caches.(*policy.CacheStore)
	return store
}

// cacheState tells how full the caches are.
func (g *Gateway) cacheState() admin.CacheState {
	s := g.caches()
	if s == nil {
		return admin.CacheState{}
	}
	total, coming := s.Bytes()
	return admin.CacheState{Memory: s.Memory(), Bytes: total, Coming: coming, Objects: s.Objects()}
}

// purge drops stored answers. Where nothing is cached there are none.
func (g *Gateway) purge(p admin.Purge) (n int, err error) {
	s := g.caches()
	if s == nil {
		return 0, nil
	}
	var what string
	switch {
	case p.Key != "":
		what = p.Key
		n, err = s.Purge(p.Key)
	case p.Prefix != "":
		what = "all that begins with " + p.Prefix
		n, err = s.PurgePrefix(p.Prefix)
	default:
		what = "the tag " + p.Tag
		n = s.PurgeTag(p.Tag)
	}
	if err == nil {
		g.o.Report(fmt.Sprintf("admin: purged %q: %d answers", what, n))
	}
	return n, err
}

// override sets something of an endpoint against the configuration. One at a time does, so that two changes of one endpoint both last.
func (g *Gateway) override(backend, address string, change func(upstream.Override) *upstream.Override) error {
	g.overriding.Lock()
	defer g.overriding.Unlock()
	g.mu.Lock()
	var b *upstream.Backend
	if g.current != nil {
		b = g.current.byName[backend]
	}
	g.mu.Unlock()
	if b == nil {
		return admin.ErrUnknown
	}
	ep := b.Endpoint(address)
	if ep == nil {
		return admin.ErrUnknown
	}
	now := upstream.Override{Weight: -1}
	if o := ep.Override(); o != nil {
		now = *o
	}
	next := change(now)
	g.endpoints.override(ep, next)
	what := "nothing is set against the configuration any more"
	if next != nil {
		if what = "state " + next.State.String(); next.Weight >= 0 {
			what += fmt.Sprintf(", weight %d", next.Weight)
		}
	}
	g.o.Report(fmt.Sprintf("admin: backend %q, endpoint %s: %s", backend, address, what))
	return nil
}
