package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/discovery"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/upstream"
)

// Options of a gateway.
type Options struct {
	// Version is what sluice_build_info tells.
	Version string
	// Report is told what operators should know and no request carries: one line, without a
	// prefix. It may be called by any goroutine and must not wait. Nil drops the lines.
	Report func(line string)
	// Stdout and Stderr are where an access log goes that is configured so. Nil drops the lines.
	Stdout, Stderr io.Writer
}

// Gateway is a running program: listeners, backends, and the configuration that they serve. All
// methods are safe for concurrent use; changes happen one after the other.
type Gateway struct {
	o        Options
	registry *metric.Registry
	scope    *metric.Scope
	reloads  [2]*metric.Counter // taken over, refused
	number   *metric.Gauge
	loaded   *metric.Gauge

	// mu is held while a configuration is compiled and taken over, and never while something ends:
	// that may take seconds, and what ends may ask the gateway.
	mu        sync.Mutex
	current   *generation
	endpoints *endpointKeep
	watchers  *keep[discovery.Target, *watched]
	stores    *keep[storeKey, *store]
	logs      *keep[logKey, *proxy.Log]
	things    *keep[any, io.Closer] // of policies
	secret    []byte                // of session cookies, made when it is first needed
	branches  proxy.Branches        // requests beside those of clients: of mirrors, and of policies
	owing     []*owing              // logs that no generation has any more
	live      map[listenerKey]*live
	admin     *adminServer
	closed    bool

	overriding sync.Mutex // one operator at a time sets something of an endpoint; taken before mu

	ready    atomic.Bool
	draining atomic.Bool        // Shutdown or Close has begun; no configuration is taken any more
	life     context.Context    // ends with Close, and with it whatever drains
	end      context.CancelFunc // ends life
	leaving  sync.WaitGroup     // what drains and ends; Add under mu and before closed
	done     sync.WaitGroup     // the gateway's own goroutines
	closing  sync.Once
}

// New returns a gateway that serves nothing yet. Close ends it.
func New(o Options) *Gateway {
	if o.Report == nil {
		o.Report = func(string) {}
	}
	if o.Stdout == nil {
		o.Stdout = io.Discard
	}
	if o.Stderr == nil {
		o.Stderr = io.Discard
	}
	reg := metric.NewRegistry(metric.Options{})
	g := &Gateway{o: o, registry: reg, scope: reg.Scope(), live: make(map[listenerKey]*live)}
	g.reloads = [2]*metric.Counter{g.scope.Counter(metric.ConfigReloads, "ok"), g.scope.Counter(metric.ConfigReloads, "refused")}
	g.number = g.scope.Gauge(metric.ConfigGeneration)
	g.loaded = g.scope.Gauge(metric.ConfigLoaded)
	g.scope.Gauge(metric.BuildInfo, o.Version, runtime.Version()).Set(1)
	g.endpoints = newEndpointKeep(reg)
	g.watchers = newKeep[discovery.Target](func(w *watched) { w.end() })
	g.stores = newKeep[storeKey](func(s *store) { s.certificates.Close() })
	g.logs = newKeep[logKey](g.leaveLog)
	g.things = newKeep[any](func(c io.Closer) {
		if err := c.Close(); err != nil {
			g.o.Report(err.Error())
		}
	})
	g.branches.Report = g.o.Report
	g.scope.GaugeFunc(metric.MirroredBytes, g.branches.Held)
	g.life, g.end = context.WithCancel(context.Background())
	g.done.Go(g.sweepAll)
	return g
}

// sweepEvery is how often unused connections to endpoints are looked at.
const sweepEvery = 5 * time.Second

func (g *Gateway) sweepAll() {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-g.life.Done():
			return
		case <-t.C:
			g.sweep()
		}
	}
}

// sweep closes connections to endpoints that nobody used for too long, and logs that are owed
// nothing any more.
func (g *Gateway) sweep() {
	g.mu.Lock()
	var all []*upstream.Endpoint
	g.endpoints.each(func(ep *upstream.Endpoint) { all = append(all, ep) })
	settled := g.settledLogs()
	g.mu.Unlock()
	for _, ep := range all {
		ep.Sweep()
	}
	for _, l := range settled {
		g.closeLog(l)
	}
}

// ErrClosed says that the gateway has ended, or is about to.
var ErrClosed = errors.New("the gateway is ending")

// Apply makes a checked configuration the one that is served. If it returns an error, what was
// served before goes on unchanged. A config.Errors is about the text; others are about the
// machine, such as a port that is taken.
func (g *Gateway) Apply(c *config.Config) error {
	ends, err := g.apply(c)
	for _, end := range ends {
		end()
	}
	return err
}

// apply is Apply; what it returns besides is to be called without the lock.
func (g *Gateway) apply(c *config.Config) ([]func(), error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.draining.Load() {
		return nil, ErrClosed
	}
	next := &generation{config: c, scope: g.registry.Scope(), gone: make(chan struct{})}
	err := g.build(next)
	if err == nil {
		err = g.bind(next)
	}
	if err != nil {
		return g.retire(next), err
	}
	return g.commit(next), nil
}

// commit makes a generation that is built and bound the live one. Nothing in it can fail.
func (g *Gateway) commit(next *generation) (ends []func()) {
	old := g.current
	if old != nil {
		for _, b := range old.backends {
			b.Close() // ends its checks only: exchanges that are under way go on with it
		}
	}
	for _, b := range next.backends {
		b.Start()
	}
	for _, l := range next.listeners {
		at := g.live[l.key]
		if at == nil {
			if at = l.packets.started; at == nil {
				at = &live{}
			}
			l.packets.started = nil
			g.live[l.key] = at
		}
		at.take(l)
		switch {
		case at.packets != nil:
			countPackets(next.scope, l.config.Name, at.packets)
		case l.stream != nil:
			countPipes(next.scope, l.config.Name, at.stream)
		}
	}
	g.dropListeners(next)
	g.swapAdmin(next)
	g.current = next
	g.number.Set(g.number.Value() + 1)
	g.loaded.Set(time.Now().Unix())
	if old != nil {
		close(old.gone)
		return g.retire(old)
	}
	return nil
}

// dropListeners drains the listeners that the generation does not have. The others do not
// notice.
func (g *Gateway) dropListeners(next *generation) {
	keys := make(map[listenerKey]bool, len(next.listeners))
	for _, l := range next.listeners {
		keys[l.key] = true
	}
	for key, l := range g.live {
		if keys[key] {
			continue
		}
		delete(g.live, key)
		g.leave(l, next.config.Shutdown.Timeout, 0)
	}
}

// leave drains a listener beside everything else.
func (g *Gateway) leave(l *live, within, delay time.Duration) {
	g.leaving.Go(func() { g.drain(l, within, delay) })
}

func (g *Gateway) drain(l *live, within, delay time.Duration) {
	ctx, cancel := context.WithTimeout(g.life, within+delay)
	defer cancel()
	if cut := l.drain(ctx, delay); cut > 0 {
		what := "requests"
		if l.http == nil {
			what = "sessions"
		}
		g.o.Report(fmt.Sprintf("listener %q: %d %s were cut off", l.name, cut, what))
	}
}

// retire lets go of what a generation holds. What it returns ends what nobody holds any more, and
// is to be called without the lock.
func (g *Gateway) retire(gen *generation) (ends []func()) {
	for _, l := range gen.listeners {
		if l.socket != nil {
			_ = l.socket.Close() // never used
		}
		if s := l.packets.socket; s != nil {
			_ = s.Close()
		}
		if s := l.packets.started; s != nil {
			g.leave(s, 0, 0)
		}
	}
	if gen.adminSocket != nil {
		_ = gen.adminSocket.Close()
	}
	for _, b := range gen.backends {
		b.Close()
	}
	for _, release := range slices.Backward(gen.held) { // what was held later may use what was held before
		if last := release(); last != nil {
			ends = append(ends, last)
		}
	}
	gen.scope.Release()
	return ends
}

// Shutdown ends the gateway without cutting requests: it says that it is not ready any more,
// goes on for the configured delay, stops accepting, and lets requests in flight end, for the
// configured time at most. Then it closes. Close ends a Shutdown that is under way.
func (g *Gateway) Shutdown() {
	g.draining.Store(true)
	g.mu.Lock()
	if g.current != nil && !g.closed {
		o := &g.current.config.Shutdown
		for key, l := range g.live {
			delete(g.live, key)
			g.leave(l, o.Timeout, o.Delay)
		}
	}
	g.mu.Unlock()
	g.leaving.Wait()
	g.Close()
}

// Close ends the gateway at once: what is in flight is cut. When it returns everything has ended,
// whoever called it first.
func (g *Gateway) Close() { g.closing.Do(g.close) }

func (g *Gateway) close() {
	g.draining.Store(true)
	g.end()
	var last sync.WaitGroup // not leaving, which a Shutdown may be waiting for
	g.mu.Lock()
	for key, l := range g.live {
		delete(g.live, key)
		last.Go(func() { g.drain(l, 0, 0) })
	}
	if a := g.admin; a != nil {
		g.admin = nil
		last.Go(func() { a.server.Close(adminGrace) })
	}
	g.closed = true
	g.mu.Unlock()
	last.Wait()
	g.leaving.Wait()
	g.branches.Close()
	g.done.Wait()
	g.mu.Lock()
	var ends []func()
	if g.current != nil {
		close(g.current.gone)
		ends = g.retire(g.current)
		g.current = nil
	}
	g.mu.Unlock()
	for _, end := range ends {
		end()
	}
	g.mu.Lock()
	owing := g.owing
	g.owing = nil
	g.mu.Unlock()
	for _, o := range owing {
		g.closeLog(o.log)
	}
}

// Addr returns the address of a listener of the current configuration, with the port that the
// system chose where the configuration says 0; nil if there is none of the name.
func (g *Gateway) Addr(listener string) net.Addr {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.live {
		if l.name == listener {
			return l.addr()
		}
	}
	return nil
}

// AdminAddr returns the address of the admin listener, or nil.
func (g *Gateway) AdminAddr() net.Addr {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.admin == nil {
		return nil
	}
	return g.admin.addr
}

// Config returns the configuration that is served, or nil.
func (g *Gateway) Config() *config.Config {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.current == nil {
		return nil
	}
	return g.current.config
}

// Registry returns the gateway's metrics.
func (g *Gateway) Registry() *metric.Registry { return g.registry }

// Backends returns the backends as they stand, in the order of the file.
func (g *Gateway) Backends() []upstream.Status {
	g.mu.Lock()
	var list []*upstream.Backend
	if g.current != nil {
		list = g.current.backends
	}
	g.mu.Unlock()
	all := make([]upstream.Status, len(list))
	for i, b := range list {
		all[i] = b.Snapshot()
	}
	return all
}

// Ready reports whether the configuration is live, the first round of health checks is done
// and the gateway is not ending.
func (g *Gateway) Ready() bool { return g.ready.Load() && !g.draining.Load() }

// WaitReady waits until the first round of health checks of the current configuration is done.
func (g *Gateway) WaitReady(ctx context.Context) error {
	for {
		g.mu.Lock()
		gen, closed := g.current, g.closed
		g.mu.Unlock()
		if closed {
			return ErrClosed
		}
		if gen == nil {
			return errors.New("no configuration is served")
		}
		done, err := gen.checked(ctx)
		if err != nil {
			return err
		}
		if done {
			g.ready.Store(true)
			return nil
		}
	}
}

// checked waits for the first round of health checks of a generation. It returns false if another
// one has taken its place meanwhile.
func (gen *generation) checked(ctx context.Context) (bool, error) {
	for _, b := range gen.backends {
		select {
		case <-b.Ready():
		case <-gen.gone:
			return false, nil
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	return true, nil
}
