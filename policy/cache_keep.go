package policy

import (
	"fmt"
	"slices"
	"sync"

	"github.com/sluice-gateway/sluice/cache"
	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// This file says what of the caches outlives a configuration. There is one store, as long as some policy keeps answers; a bound of its memory for each
// configuration that is alive, of which the largest holds; and a namespace for each policy, which ends with the policy or when other rules make other
// answers fit for it.

// CacheStore is what all caches of a program keep together. It is the Invalidator of a program, and safe for concurrent use.
type CacheStore struct {
	*cache.Store
	scope *metric.Scope

	mu     sync.Mutex // guards what follows
	bounds []int64
}

// Keys of what is kept.
type (
	cacheStoreKey struct{}
	cacheBoundKey struct{ bytes int64 }
	cacheSpaceKey struct{ policy, rules string }
)

// cacheBound is a configuration's bound of the memory.
type cacheBound struct {
	store *CacheStore
	bytes int64
}

// keptSpace is a namespace as a keep-pool wants it.
type keptSpace struct {
	store *CacheStore
	space *cache.Namespace
}

// cacheSpace returns the store and the namespace of the policy that is being built; nil where nothing is served, or with a report.
func (c *BuildContext) cacheSpace(o *CacheOptions, r *cache.Rules) (*cache.Store, *cache.Namespace) {
	memory := int64(c.Config.Cache.Memory)
	store, ok := kept(c, cacheStoreKey{}, func() (*CacheStore, error) { return newCacheStore(c.Program, memory), nil })
	if !ok {
		return nil, nil
	}
	if _, ok := kept(c, cacheBoundKey{memory}, func() (*cacheBound, error) { return store.bound(memory), nil }); !ok {
		return nil, nil
	}
	counters := c.cacheCounters() // also where the namespace is there: they live as long as a configuration asks for them
	space, ok := kept(c, cacheSpaceKey{c.cacheScope(), rulesText(o, r)}, func() (*keptSpace, error) {
		return &keptSpace{store, store.NewNamespace(func(e cache.Event) *metric.Counter { return counters[e] })}, nil
	})
	if !ok {
		return nil, nil
	}
	c.Program.Caches(store)
	return store.Store, space.space
}

// cacheScope is scopeOf, and keeps routes apart that a URI does not: where fields of the request choose the route, the same URI means several things.
func (c *BuildContext) cacheScope() string {
	i := slices.IndexFunc(c.Config.Routes, func(r *config.Route) bool { return r.Name == c.Route })
	if i >= 0 && len(c.Config.Routes[i].Match.Headers) > 0 && !c.InPlace {
		return c.Route + "\x00" + c.scopeOf()
	}
	return c.scopeOf()
}

// rulesText is the same for policies that may give each other's answers away: what is stored was judged by these rules.
func rulesText(o *CacheOptions, r *cache.Rules) string {
	return fmt.Sprintf("%v %v %v %v %v %v %v %v %q %q", r.TTL, r.DefaultTTL, r.Heuristic, r.StaleWhileRevalidate, r.StaleIfError, r.BehindIdentity, r.Shared, r.PerCaller,
		o.VaryOn, o.Targeted)
}

// cacheCounters returns the counters of all events.
func (c *BuildContext) cacheCounters() []*metric.Counter {
	var all []*metric.Counter
	s := c.Program.Scope()
	for e := range cache.Events {
		family := metric.CacheEvents
		if e.IsResult() {
			family = metric.CacheRequests
		}
		all = append(all, s.Counter(family, c.Name, e.String()))
	}
	return all
}

func newCacheStore(p Program, memory int64) *CacheStore {
	s := &CacheStore{Store: cache.NewStore(memory), scope: p.Registry().Scope()}
	s.scope.GaugeFunc(metric.CacheBytes, func() int64 { total, _ := s.Bytes(); return total })
	s.scope.GaugeFunc(metric.CacheObjects, s.Objects)
	return s
}

// Close implements io.Closer. What requests still read of the store stays until they have read it.
func (s *CacheStore) Close() error { s.scope.Release(); return nil }

// bound takes in another bound.
func (s *CacheStore) bound(bytes int64) *cacheBound {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bounds = append(s.bounds, bytes)
	s.Resize(slices.Max(s.bounds))
	return &cacheBound{s, bytes}
}

// Close implements io.Closer: the bound holds no longer.
func (b *cacheBound) Close() error {
	s := b.store
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bounds = slices.Delete(s.bounds, slices.Index(s.bounds, b.bytes), slices.Index(s.bounds, b.bytes)+1)
	if len(s.bounds) > 0 {
		s.Resize(slices.Max(s.bounds))
	}
	return nil
}

// Memory returns the bound that holds, in bytes.
func (s *CacheStore) Memory() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.bounds) == 0 {
		return 0
	}
	return slices.Max(s.bounds)
}

// Close implements io.Closer: the answers of the policy are dropped.
func (k *keptSpace) Close() error { k.store.Drop(k.space); return nil }

// Invalidate implements Invalidator.
func (s *CacheStore) Invalidate(x *message.Exchange, host, port, path, query []byte) {
	q := message.Request{Scheme: x.Request.Scheme, Host: host, Port: port, Path: path, Query: query}
	s.Store.Invalidate(cache.AppendURI(nil, &q), &x.Response.Header)
}
