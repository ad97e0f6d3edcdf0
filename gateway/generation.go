package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/cert"
	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/discovery"
	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/http1"
	"github.com/sluice-gateway/sluice/listen"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/policy"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/stream"
	"github.com/sluice-gateway/sluice/upstream"
)

// generation is one compiled configuration. It is immutable once it is live.
type generation struct {
	config      *config.Config
	backends    []*upstream.Backend // in the order of the file
	byName      map[string]*upstream.Backend
	listeners   []*boundListener
	adminSocket *listen.Socket // opened for this generation and not taken over yet
	scope       *metric.Scope
	held        []func() (last func()) // lets go of what the generation holds in keep-pools
	used        []used                 // what policies keep
	services    map[string]*service    // that policies send requests to, by origin
	caches      policy.Invalidator     // nil where nothing is cached
	gone        chan struct{}          // closed when another generation is live
}

// boundListener is a listener of a generation.
type boundListener struct {
	config  *config.Listener
	key     listenerKey
	socket  *listen.Socket // opened for this generation and not started yet; nil if the listener is open already
	options *listen.Options
	server  *http1.ServerOptions
	site    *proxy.Site       // of http and https, else nil
	stream  *proxy.StreamSite // of tcp and tls, else nil

	datagram *proxy.DatagramSite // of udp, else nil
	packets  packets
}

// packets is what a listener for udp has in place of connections.
type packets struct {
	options stream.UDPOptions
	socket  *listen.PacketSocket // opened for this generation and not started yet
	started *live                // started for this generation, and not live yet
}

// listenerKey is the identity of a listener: its address, and its name where the system chooses the
// port, so that a file may have several such.
type listenerKey struct {
	listen.Key
	name string
}

func keyOf(name, network string, a config.Address) (listenerKey, error) {
	key, err := listen.KeyOf(network, string(a))
	if err != nil {
		return listenerKey{}, err
	}
	if !strings.HasSuffix(key.Address, ":0") {
		name = ""
	}
	return listenerKey{key, name}, nil
}

// build compiles a configuration. Nothing that is running notices. On error the generation holds
// what it has got so far; the caller retires it.
func (g *Gateway) build(gen *generation) error {
	c := gen.config
	k := &compiler{config: c, report: c.Reporter(), scope: gen.scope, serving: &tenancy{g, gen}}
	routes, sites := k.compile()
	if err := k.report.Err(); err != nil {
		return err
	}
	if err := g.connect(gen, k, routes); err != nil {
		return err
	}
	log, err := g.openLog(gen)
	if err != nil {
		return err
	}
	for i, l := range c.Listeners {
		bound, err := g.buildListener(gen, l)
		if err != nil {
			return err
		}
		switch l.Protocol {
		case config.ProtocolHTTP, config.ProtocolHTTPS:
			k.union(l, bound.server)
			bound.site = sites[i]
			bound.site.Log, bound.server.Paths = log, sites[i].Paths
			bound.site.Branches, bound.site.Caches = &g.branches, gen.caches
		case config.ProtocolUDP:
			bound.datagram = g.datagramSite(gen, l, bound, log)
		default:
			bound.stream = g.streamSite(gen, l, log)
			if bound.options.TLS != nil && bound.stream.Names != nil {
				bound.options.TLS = refuseUnknown(bound.options.TLS, bound.stream.Names)
			}
		}
		gen.listeners = append(gen.listeners, bound)
	}
	return nil
}

// connect makes the backends and gives them to the routes that forward.
func (g *Gateway) connect(gen *generation, k *compiler, routes []compiledRoute) error {
	gen.byName = make(map[string]*upstream.Backend, len(gen.config.Backends))
	if err := g.lookUp(gen); err != nil {
		return err
	}
	for _, b := range gen.config.Backends {
		backend, err := g.buildBackend(gen, b, k.keys[b.Name])
		if err != nil {
			return err
		}
		gen.backends = append(gen.backends, backend)
		gen.byName[b.Name] = backend
	}
	for i := range routes {
		if m := routes[i].mirror; m != nil {
			m.Backend, m.Branches = gen.byName[routes[i].config.Mirror.Backend], &g.branches
		}
		switch a := routes[i].action.(type) {
		case *proxy.Forward:
			a.Backend = gen.byName[routes[i].config.Backend]
		case *proxy.Compose:
			routes[i].plan.Connect(func(name string) *upstream.Backend { return gen.byName[name] }, gen.scope, routes[i].config.Name)
		case *proxy.Split:
			for j, p := range routes[i].config.Split.To {
				a.Parts[j].Backend = gen.byName[p.Backend]
			}
		}
	}
	return nil
}

func (g *Gateway) buildBackend(gen *generation, b *config.Backend, key *expr.Program) (*upstream.Backend, error) {
	o, err := upstream.FromConfig(b)
	if err != nil {
		return nil, err
	}
	o.Key = key
	o.Running = g.current != nil && g.current.config.Backend(b.Name) != nil
	if o.Session != nil && o.Session.Secret == nil {
		if o.Session.Secret, err = g.sessionSecret(gen); err != nil {
			return nil, err
		}
	}
	for i := range b.Endpoints {
		if e := &b.Endpoints[i]; e.Address == "" {
			if o.Endpoints[i].Source, err = g.watch(gen, e); err != nil {
				return nil, err
			}
		}
	}
	return upstream.New(o, g.endpoints, g.registry)
}

// lookupGrace is how long a reload waits for names that are looked up for the first time, while the configuration before is served.
const lookupGrace = 2 * time.Second

// lookUp begins to look up what backends are found by, and waits for the first answers if something is served already: a backend that is asked
// for another name, by another resolver or at other times, would have no endpoints until then, and forget those that it finds again. At the
// start there is nobody to wait for: readiness does.
func (g *Gateway) lookUp(gen *generation) error {
	var fresh []*discovery.Watcher
	for _, b := range gen.config.Backends {
		for i := range b.Endpoints {
			if e := &b.Endpoints[i]; e.Address == "" {
				w, err := g.watch(gen, e)
				if err != nil {
					return err
				}
				fresh = append(fresh, w)
			}
		}
	}
	if g.current == nil || len(fresh) == 0 {
		return nil
	}
	timer := time.NewTimer(lookupGrace)
	defer timer.Stop()
	for _, w := range fresh {
		select {
		case <-w.First():
		case <-timer.C:
			return nil // it becomes known later, like at the start
		case <-g.life.Done():
			return ErrClosed
		}
	}
	return nil
}

// watch returns what looks an endpoint's addresses up.
func (g *Gateway) watch(gen *generation, e *config.Endpoint) (*discovery.Watcher, error) {
	t := discovery.Target{Name: e.DNS, Port: uint16(e.Port), Resolver: string(e.Resolver), MinTTL: e.MinTTL, MaxTTL: e.MaxTTL}
	if e.SRV != "" {
		t.Service, t.Name, t.Port = true, e.SRV, 0
	}
	w, err := g.watchers.acquire(t, func() (*watched, error) {
		scope := g.registry.Scope()
		return &watched{discovery.Watch(t, discovery.Options{Report: g.o.Report, Metrics: scope}), scope}, nil
	})
	if err != nil {
		return nil, err
	}
	gen.held = append(gen.held, func() func() { return g.watchers.release(t) })
	return w.Watcher, nil
}

// logKey is the identity of an access log.
type logKey struct {
	path   string
	buffer int64
}

func (g *Gateway) openLog(gen *generation) (*proxy.Log, error) {
	a := gen.config.AccessLog
	if a == nil {
		return nil, nil
	}
	path := string(a.Path)
	key := logKey{path, int64(a.Buffer)}
	log, err := g.logs.acquire(key, func() (*proxy.Log, error) {
		o := metric.LogOptions{
			Buffer:  int(a.Buffer),
			Lines:   g.scope.Counter(metric.AccessLogLines),
			Dropped: g.scope.Counter(metric.AccessLogDropped),
			Notify:  g.logTrouble(path),
		}
		if o.Writer = g.stream(path); o.Writer == nil {
			o.Path = path
		}
		w, err := metric.OpenLog(o)
		if err != nil {
			return nil, err
		}
		return proxy.NewLog(w), nil
	})
	if err != nil {
		return nil, err
	}
	gen.held = append(gen.held, func() func() { return g.logs.release(key) })
	return log, nil
}

func (g *Gateway) stream(path string) io.Writer {
	switch path {
	case "stdout":
		return g.o.Stdout
	case "stderr":
		return g.o.Stderr
	}
	return nil
}

func (g *Gateway) logTrouble(path string) func(error) {
	return func(err error) {
		if err == nil {
			g.o.Report("access log " + path + ": works again")
			return
		}
		g.o.Report(fmt.Sprintf("access log %s: %v; requests go on, lines that find no room are counted in sluice_access_log_dropped_total", path, err))
	}
}

// store is the certificates of a listener with the TLS configuration that holds its session
// keys.
type store struct {
	certificates *cert.Store
	tls          *tls.Config
}

// storeKey is the identity of a store: who listens, under which policy, with which files.
type storeKey struct {
	listener listenerKey
	version  string
	files    string
	tickets  bool
	clients  bool // are asked for certificates: a session that began without the question must not resume where it is asked
}

func certFiles(t *config.TLS) []cert.Files {
	files := make([]cert.Files, len(t.Certificates))
	for i, c := range t.Certificates {
		files[i] = cert.Files{Cert: string(c.Cert), Key: string(c.Key)}
	}
	return files
}

func (g *Gateway) openStore(gen *generation, l *config.Listener, key listenerKey) (*store, error) {
	files := certFiles(l.TLS)
	id := storeKey{listener: key, version: l.TLS.MinVersion, files: fmt.Sprint(files), tickets: l.TLS.SessionTickets, clients: wantsCertificates(gen.config, l)}
	s, err := g.stores.acquire(id, func() (*store, error) {
		certificates, err := cert.Open(files, cert.Options{
			Notify:   g.certNotice(l.Name),
			Replaced: g.scope.Counter(metric.CertificateReloads, "ok"),
			Failed:   g.scope.Counter(metric.CertificateReloads, "refused"),
		})
		if err != nil {
			return nil, err
		}
		version := uint16(tls.VersionTLS12)
		if l.TLS.MinVersion == "1.3" {
			version = tls.VersionTLS13
		}
		var words []string
		if !l.L4() { // what an endpoint speaks is not known here, so a stream agrees on nothing
			p := listen.Protocols{HTTP1: &listen.HTTP1{}}
			words = p.Words()
		}
		c := certificates.Config(version, words...)
		c.SessionTicketsDisabled = !l.TLS.SessionTickets
		if id.clients {
			c.ClientAuth = tls.RequestClientCert // who trusts a certificate is for the policies of the route
		}
		return &store{certificates, c}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("listener %q: %w", l.Name, err)
	}
	gen.held = append(gen.held, func() func() { return g.stores.release(id) })
	return s, nil
}

// wantsCertificates reports whether a route on the listener looks at the certificates of clients.
func wantsCertificates(c *config.Config, l *config.Listener) bool {
	if l.Protocol != config.ProtocolHTTPS {
		return false
	}
	return slices.ContainsFunc(c.Routes, func(r *config.Route) bool { return onListener(r, l) && policy.WantsCertificate(r.Policies, c) })
}

func (g *Gateway) certNotice(listener string) func(cert.Notice) {
	return func(n cert.Notice) {
		if n.Kind == cert.Replaced {
			g.o.Report(fmt.Sprintf("listener %q: certificate %s was replaced", listener, n.Files.Cert))
			return
		}
		g.o.Report(fmt.Sprintf("listener %q: %v", listener, n.Err))
	}
}

// proxyModes are the words of the configuration. Read-only.
var proxyModes = map[string]listen.ProxyMode{
	config.ProxyProtocolOff:      listen.ProxyOff,
	config.ProxyProtocolOptional: listen.ProxyOptional,
	config.ProxyProtocolRequired: listen.ProxyRequired,
}

// buildListener makes the options of a listener.
func (g *Gateway) buildListener(gen *generation, l *config.Listener) (*boundListener, error) {
	key, err := keyOf(l.Name, l.Network(), l.Address)
	if err != nil {
		return nil, fmt.Errorf("listener %q: %w", l.Name, err)
	}
	b := &boundListener{config: l, key: key}
	if l.Protocol == config.ProtocolUDP {
		return b, nil
	}
	b.options = &listen.Options{
		Name:             l.Name,
		HandshakeTimeout: l.Timeouts.Header,
		MaxConnections:   l.Limits.Connections,
		MaxPerSource:     l.Limits.PerSource,
		Proxy:            listen.ProxyOptions{Mode: proxyModes[l.ProxyProtocol], Trusted: l.TrustedProxies, Wait: l.Timeouts.Idle},
		Metrics:          listen.NewMetrics(gen.scope, l.Name),
		Report:           func(err error) { g.o.Report(err.Error()) },
	}
	strictness := gen.scope.CounterSet(metric.Strictness, proxy.ReasonWords(), l.Name)
	removed := gen.scope.Counter(metric.FieldsRemoved, l.Name)
	b.server = &http1.ServerOptions{
		Scheme:         l.Protocol,
		MaxRequestLine: int(l.Limits.RequestLine),
		MaxHeader:      int(l.Limits.Headers),
		MaxHeaderCount: l.Limits.HeaderCount,
		MaxBody:        int64(l.Limits.Body),
		DrainBody:      int64(l.Limits.DrainBody),
		MaxRequests:    l.Limits.Requests,
		HeaderTimeout:  l.Timeouts.Header,
		BodyTimeout:    l.Timeouts.Body,
		MinRate:        int64(l.Limits.MinRate),
		IdleTimeout:    l.Timeouts.Idle,
		WriteTimeout:   l.Timeouts.Write,
		DrainLinger:    drainLinger,
		Warn:           l.Strict == config.StrictWarn,
		Identity:       l.TrustedIdentity,
		OnWarn:         func(reason message.Reason) { strictness.Inc(0, int(reason)) },
		OnAlias:        func(n int) { removed.Add(0, uint64(n)) },
	}
	if l.TLS != nil {
		s, err := g.openStore(gen, l, key)
		if err != nil {
			return nil, err
		}
		b.options.TLS = s.tls
	}
	return b, nil
}

// bind opens the sockets that the generation needs and the running one does not have.
func (g *Gateway) bind(gen *generation) error {
	var failed []error
	for _, l := range gen.listeners {
		if _, ok := g.live[l.key]; ok {
			continue
		}
		var err error
		if l.datagram != nil {
			l.packets.socket, err = listen.OpenPackets(l.config.Name, string(l.config.Address))
		} else {
			l.socket, err = listen.Open(l.config.Name, string(l.config.Address))
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	if err := g.bindAdmin(gen); err != nil {
		failed = append(failed, err)
	}
	if len(failed) == 0 {
		failed = append(failed, g.startPackets(gen)...)
	}
	return errors.Join(failed...)
}

// lowered returns words in lower case.
func lowered(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = strings.ToLower(w)
	}
	return out
}
