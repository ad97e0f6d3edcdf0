package gateway

import (
	"fmt"
	"io"
	"net/url"
	"sync"

	"github.com/sluice-gateway/sluice/admin"
	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/policy"
	"github.com/sluice-gateway/sluice/upstream"
)

// tenancy is what the policies of a generation know of the program.
type tenancy struct {
	gateway *Gateway
	gen     *generation
}

// used is a kept thing with the name of a policy that uses it.
type used struct {
	policy string
	thing  io.Closer
}

// Keep implements policy.Program.
func (p *tenancy) Keep(name string, key any, open func() (io.Closer, error)) (io.Closer, error) {
	g := p.gateway
	thing, err := g.things.acquire(key, open)
	if err != nil {
		return nil, err
	}
	p.gen.held = append(p.gen.held, func() func() { return g.things.release(key) })
	p.gen.used = append(p.gen.used, used{name, thing})
	return thing, nil
}

// Caches implements policy.Program.
func (p *tenancy) Caches(i policy.Invalidator) { p.gen.caches = i }

// Registry implements policy.Program.
func (p *tenancy) Registry() *metric.Registry { return p.gateway.registry }

// Scope implements policy.Program.
func (p *tenancy) Scope() *metric.Scope { return p.gen.scope }

// State implements policy.Program.
func (p *tenancy) State() string { return string(p.gen.config.State) }

// Reporter implements policy.Program.
func (p *tenancy) Reporter() func(line string) { return p.gateway.o.Report }

// service is a backend that policies send requests of their own to.
type service struct{ backend *upstream.Backend }

// Service implements policy.Program.
func (p *tenancy) Service(origin string) (policy.Service, error) {
	if s := p.gen.services[origin]; s != nil {
		return s, nil
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is no origin such as http://127.0.0.1:9000", origin)
	}
	b := new(config.Backend)
	config.Defaults(b)
	b.Name = origin
	address := u.Host
	if u.Port() == "" {
		address += map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	}
	var e config.Endpoint
	config.Defaults(&e)
	e.Address = config.Address(address)
	b.Endpoints = []config.Endpoint{e}
	if u.Scheme == "https" {
		b.TLS = new(config.BackendTLS)
		config.Defaults(b.TLS)
	}
	backend, err := p.gateway.buildBackend(p.gen, b, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", origin, err)
	}
	s := &service{backend}
	if p.gen.services == nil {
		p.gen.services = make(map[string]*service)
	}
	p.gen.services[origin] = s
	p.gen.backends = append(p.gen.backends, backend)
	return s, nil
}

// flights is a pool (read-only: what it holds has no meaning).
var flights = sync.Pool{New: func() any { return new(upstream.Flight) }}

// Do implements policy.Service.
func (s *service) Do(x *message.Exchange) (done func(), failure *message.Failure) {
	f := flights.Get().(*upstream.Flight)
	end := func() {
		_ = x.Response.Body.Close() // nobody uses what is left of it
		f.Finish(x)
		flights.Put(f)
	}
	if failure := s.backend.Do(x, f); failure != nil {
		kept := *failure // which may be a part of the flight
		end()
		return nil, &kept
	}
	return end, nil
}

// Degraded tells which policies cannot do their work for a while, and why, by one word each.
func (g *Gateway) Degraded() []admin.Degradation {
	g.mu.Lock()
	var all []used
	if g.current != nil {
		all = g.current.used
	}
	g.mu.Unlock()
	var out []admin.Degradation
	seen := make(map[admin.Degradation]bool)
	for _, u := range all {
		thing, ok := u.thing.(policy.Degraded)
		if !ok {
			continue
		}
		d := admin.Degradation{Policy: u.policy, Reason: thing.Degraded()}
		if d.Reason != "" && !seen[d] {
			seen[d] = true
			out = append(out, d)
		}
	}
	return out
}
