package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/cert"
	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/listen"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/policy"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/upstream"
)

// Options of a gateway.
type Options struct {
	// Version is what sluice_build_info tells.
	Version string
	// Report is told what operators should know and no request carries: one line, without a
	// prefix. It may be called by any goroutine. Nil drops the lines.
	Report func(line string)
	// Stdout and Stderr are where an access log goes that is configured so. Nil means the
	// program's own.
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

	mu        sync.Mutex
	current   *generation
	endpoints *keep[endpointKey, *upstream.Endpoint]
	stores    *keep[storeKey, *store]
	logs      *keep[logKey, *metric.LogWriter]
	live      map[listen.Key]*live
	admin     *adminServer
	leaving   sync.WaitGroup // listeners that vanished and are draining
	closed    bool

	ready    atomic.Bool
	draining atomic.Bool
	stop     context.CancelFunc
	done     sync.WaitGroup // the gateway's own goroutines
}

// live is a listener that is open, with the handler that survives its configurations.
type live struct {
	listener *listen.Listener
	handler  *proxy.HTTP
	name     string
}

type endpointKey struct{ backend, address string }

// New returns a gateway that serves nothing yet. Close ends it.
func New(o Options) *Gateway {
	if o.Report == nil {
		o.Report = func(string) {}
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	reg := metric.NewRegistry(metric.Options{})
	g := &Gateway{o: o, registry: reg, scope: reg.Scope(), live: make(map[listen.Key]*live)}
	g.reloads = [2]*metric.Counter{g.scope.Counter(metric.ConfigReloads, "ok"), g.scope.Counter(metric.ConfigReloads, "refused")}
	g.number = g.scope.Gauge(metric.ConfigGeneration)
	g.loaded = g.scope.Gauge(metric.ConfigLoaded)
	g.scope.Gauge(metric.BuildInfo, o.Version, runtime.Version()).Set(1)
	g.endpoints = newKeep[endpointKey](func(ep *upstream.Endpoint) { ep.Close() })
	g.stores = newKeep[storeKey](func(s *store) { s.certificates.Close() })
	g.logs = newKeep[logKey](func(w *metric.LogWriter) { g.closeLog(w) })
	ctx, cancel := context.WithCancel(context.Background())
	g.stop = cancel
	g.done.Add(1)
	go g.sweep(ctx)
	return g
}

// sweepEvery is how often unused connections to endpoints are looked at.
const sweepEvery = 5 * time.Second

// sweep closes connections to endpoints that nobody used for too long.
func (g *Gateway) sweep(ctx context.Context) {
	defer g.done.Done()
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		g.mu.Lock()
		var all []*upstream.Endpoint
		g.endpoints.each(func(ep *upstream.Endpoint) { all = append(all, ep) })
		g.mu.Unlock()
		for _, ep := range all {
			ep.Sweep()
		}
	}
}

// ErrClosed says that the gateway has ended.
var ErrClosed = errors.New("the gateway is closed")

// Apply makes a checked configuration the one that is served. If it returns an error, what was
// served before goes on unchanged. A config.Errors is about the text; others are about the
// machine, such as a port that is taken.
func (g *Gateway) Apply(c *config.Config) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed
	}
	next, err := g.build(c)
	if err != nil {
		return err
	}
	if err := g.bind(next); err != nil {
		g.retire(next)
		return err
	}
	g.commit(next)
	return nil
}

// commit makes a generation that is built and bound the live one. Nothing in it can fail.
func (g *Gateway) commit(next *generation) {
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
		if at, ok := g.live[l.key]; ok {
			l.options.Protocols.HTTP1 = &listen.HTTP1{Options: l.server, Handler: at.handler}
			at.handler.Swap(l.site)
			at.listener.Swap(l.options)
			at.name = l.site.Listener
			continue
		}
		h := proxy.NewHTTP(l.site)
		l.options.Protocols.HTTP1 = &listen.HTTP1{Options: l.server, Handler: h}
		g.live[l.key] = &live{listener: listen.Start(l.socket, l.options), handler: h, name: l.site.Listener}
		l.socket = nil
	}
	g.dropListeners(next)
	g.swapAdmin(next)
	g.current = next
	g.number.Set(g.number.Value() + 1)
	g.loaded.Set(time.Now().Unix())
	if old != nil {
		g.retire(old)
	}
}

// dropListeners drains the listeners that the generation does not have. The others do not
// notice.
func (g *Gateway) dropListeners(next *generation) {
	keys := make(map[listen.Key]bool, len(next.listeners))
	for _, l := range next.listeners {
		keys[l.key] = true
	}
	for key, l := range g.live {
		if keys[key] {
			continue
		}
		delete(g.live, key)
		within := next.config.Shutdown.Timeout
		g.leaving.Add(1)
		go func() {
			defer g.leaving.Done()
			g.drain(l, within, 0)
		}()
	}
}

func (g *Gateway) drain(l *live, within, delay time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), within+delay)
	defer cancel()
	if cut := l.listener.Drain(ctx, delay); cut > 0 {
		g.o.Report(fmt.Sprintf("listener %q: %d requests were cut off at the end of the drain timeout", l.name, cut))
	}
}

// retire lets go of what a generation holds.
func (g *Gateway) retire(gen *generation) {
	for _, l := range gen.listeners {
		if l.socket != nil {
			_ = l.socket.Close() // never used
		}
	}
	if gen.adminSocket != nil {
		_ = gen.adminSocket.Close()
	}
	for _, b := range gen.backends {
		b.Close()
	}
	for _, release := range gen.held {
		release()
	}
	gen.scope.Release()
}

// Shutdown ends the gateway without cutting requests: it says that it is not ready any more,
// goes on for the configured delay, stops accepting, and lets requests in flight end, for the
// configured time at most. Then it closes.
func (g *Gateway) Shutdown() {
	g.draining.Store(true)
	g.mu.Lock()
	var within, delay time.Duration
	if g.current != nil {
		within, delay = g.current.config.Shutdown.Timeout, g.current.config.Shutdown.Delay
	}
	var all []*live
	for key, l := range g.live {
		all = append(all, l)
		delete(g.live, key)
	}
	g.mu.Unlock()
	var wg sync.WaitGroup
	for _, l := range all {
		wg.Add(1)
		go func() {
			defer wg.Done()
			g.drain(l, within, delay)
		}()
	}
	wg.Wait()
	g.Close()
}

// Close ends the gateway at once: what is in flight is cut.
func (g *Gateway) Close() {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return
	}
	g.closed = true
	for key, l := range g.live {
		l.listener.Close()
		delete(g.live, key)
	}
	g.mu.Unlock()
	g.leaving.Wait()
	g.stop()
	g.done.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.current != nil {
		g.retire(g.current)
		g.current = nil
	}
	g.closeAdmin()
}

// Addr returns the address of a listener of the current configuration, with the port that the
// system chose where the configuration says 0; nil if there is none of the name.
func (g *Gateway) Addr(listener string) net.Addr {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.live {
		if l.name == listener {
			return l.listener.Addr()
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
	g.mu.Lock()
	gen := g.current
	g.mu.Unlock()
	if gen == nil {
		return errors.New("no configuration is served")
	}
	for _, b := range gen.backends {
		select {
		case <-b.Ready():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	g.ready.Store(true)
	return nil
}

// ReopenLogs opens the files of access logs anew, for whoever has moved them away.
func (g *Gateway) ReopenLogs() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.logs.each(func(w *metric.LogWriter) {
		if err := w.Reopen(); err != nil {
			g.o.Report(fmt.Sprintf("access log: %v; lines go on to where they went", err))
		}
	})
}

func (g *Gateway) closeLog(w *metric.LogWriter) {
	if err := w.Close(logFlush); err != nil {
		g.o.Report(fmt.Sprintf("access log: %v", err))
	}
}

// logFlush bounds how long the last lines of an access log may take.
const logFlush = 2 * time.Second

// Load reads a configuration file with everything that this program knows of policies.
func Load(file string) (*config.Config, error) {
	return config.Read(file, config.Options{Kinds: policy.Kinds(), CheckFiles: true})
}

// Parse is Load for a text that stands in no file; paths in it are relative to file's directory.
func Parse(file string, text []byte) (*config.Config, error) {
	return config.Load(file, text, config.Options{Kinds: policy.Kinds(), CheckFiles: true})
}

// Check reports what is wrong with a configuration beyond its text: certificates that cannot be
// used, expressions that do not compile. It opens no port and starts nothing.
func Check(c *config.Config) error {
	g := &Gateway{o: Options{Report: func(string) {}}}
	r := c.Reporter()
	checkCertificates(c, r)
	table := &compiler{gateway: g, config: c, report: r}
	table.routes(nil)
	return r.Err()
}

func checkCertificates(c *config.Config, r *config.Reporter) {
	for _, l := range c.Listeners {
		if l.TLS == nil {
			continue
		}
		problems, warnings := cert.Check(certFiles(l.TLS), time.Now())
		for _, p := range problems {
			r.Add(r.At(&l.TLS.Certificates[p.Index].Cert), "%s", p.Error())
		}
		for _, w := range warnings {
			r.Warn(r.At(&l.TLS.Certificates[w.Index].Cert), "%s", w.Error())
		}
	}
}
