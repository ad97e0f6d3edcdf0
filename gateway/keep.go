package gateway

import (
	"sync"

	"github.com/sluice-gateway/sluice/discovery"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/upstream"
)

// keep is a pool of things that outlive a generation. Each has a key, by which the next
// generation finds it again, and a count of the generations that use it; the last one that lets
// go ends it. It has a lock of its own, because backends come at any time for endpoints that were
// looked up; no other lock is taken under it but what open needs.
type keep[K comparable, V any] struct {
	mu   sync.Mutex
	kept map[K]*kept[V]
	end  func(V)
}

type kept[V any] struct {
	value V
	users int
}

func newKeep[K comparable, V any](end func(V)) *keep[K, V] {
	return &keep[K, V]{kept: make(map[K]*kept[V]), end: end}
}

// acquire returns the thing under key, made if there is none yet.
func (p *keep[K, V]) acquire(key K, open func() (V, error)) (V, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k, ok := p.kept[key]; ok {
		k.users++
		return k.value, nil
	}
	v, err := open()
	if err != nil {
		return v, err
	}
	p.kept[key] = &kept[V]{value: v, users: 1}
	return v, nil
}

// release lets go of the thing under key. If nobody uses it any more it is out of the pool, and
// last ends it: to be called without a lock, because that may take a while. Else last is nil.
func (p *keep[K, V]) release(key K) (last func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, ok := p.kept[key]
	if !ok {
		return nil
	}
	if k.users--; k.users > 0 {
		return nil
	}
	delete(p.kept, key)
	return func() { p.end(k.value) }
}

// each calls f with everything in the pool.
func (p *keep[K, V]) each(f func(V)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range p.kept {
		f(k.value)
	}
}

// endpointKey is the identity of an endpoint.
type endpointKey struct{ backend, address string }

// endpointKeep keeps endpoints for backends.
type endpointKeep struct {
	*keep[endpointKey, *upstream.Endpoint]
	registry *metric.Registry

	setting   sync.Mutex
	overrides map[endpointKey]*upstream.Override // what operators have set, also of endpoints that have gone and may come back
}

// maxOverrides bounds what is remembered of endpoints that have gone.
const maxOverrides = 10_000

// override sets what an operator wants of an endpoint, and remembers it for when DNS drops the endpoint and brings it back.
func (k *endpointKeep) override(ep *upstream.Endpoint, o *upstream.Override) {
	k.setting.Lock()
	defer k.setting.Unlock()
	key := endpointKey{ep.Backend(), ep.Address()}
	if o == nil {
		delete(k.overrides, key)
	} else if len(k.overrides) < maxOverrides {
		k.overrides[key] = o
	}
	ep.SetOverride(o)
}

// remembered gives a new endpoint what an operator had set of it.
func (k *endpointKeep) remembered(ep *upstream.Endpoint) *upstream.Endpoint {
	k.setting.Lock()
	defer k.setting.Unlock()
	if o := k.overrides[endpointKey{ep.Backend(), ep.Address()}]; o != nil {
		ep.SetOverride(o)
	}
	return ep
}

func newEndpointKeep(reg *metric.Registry) *endpointKeep {
	return &endpointKeep{
		keep: newKeep[endpointKey](func(ep *upstream.Endpoint) { ep.Close() }), registry: reg,
		overrides: make(map[endpointKey]*upstream.Override),
	}
}

// Acquire implements upstream.Keeper.
func (k *endpointKeep) Acquire(backend string, o upstream.TransportOptions) (*upstream.Endpoint, error) {
	return k.acquire(endpointKey{backend, o.Address}, func() (*upstream.Endpoint, error) {
		ep, err := upstream.NewEndpoint(backend, o, k.registry)
		if err != nil {
			return nil, err
		}
		return k.remembered(ep), nil
	})
}

// Release implements upstream.Keeper.
func (k *endpointKeep) Release(ep *upstream.Endpoint) {
	if last := k.release(endpointKey{ep.Backend(), ep.Address()}); last != nil {
		last()
	}
}

// watched is what looks addresses up, with its series.
type watched struct {
	*discovery.Watcher
	scope *metric.Scope
}

func (w *watched) end() {
	w.Close()
	w.scope.Release()
}
