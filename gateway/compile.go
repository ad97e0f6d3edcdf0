package gateway

import (
	"fmt"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/compose"
	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/http1"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/policy"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/route"
)

// drainLinger is how long an idle connection of a draining listener may still begin a request.
const drainLinger = 500 * time.Millisecond

// compiler makes sites of the text of a configuration and reports what is wrong with it. Nothing in
// it depends on the machine or on what is running, so that checking and serving find the same.
type compiler struct {
	config *config.Config
	report *config.Reporter
	scope  *metric.Scope            // nil: nothing is counted, because nothing is going to be served
	keys   map[string]*expr.Program // what backends hash by, by backend

	serving policy.Program // nil: nothing is going to be served

	apis map[string]compiledAPI
}

// compiledRoute is what all listeners share of a route.
type compiledRoute struct {
	config   *config.Route
	policies *policy.Chain
	action   proxy.Action
	mirror   *proxy.Mirror // nil for none
	rewrite  *proxy.Rewrite
	plan     *compose.Plan // of the action, if it is a composition
}

// compile makes the sites of all listeners, in the order of the file. They lack their log and their
// backends, see generation.connect. With errors in the report they must not be used.
func (k *compiler) compile() ([]compiledRoute, []*proxy.Site) {
	k.checkAddresses()
	checkCertificates(k.config, k.report)
	k.compileKeys()
	k.compileAPIs()
	routes := make([]compiledRoute, len(k.config.Routes))
	consumers := policy.NewConsumers(k.config)
	for i, r := range k.config.Routes {
		env := expr.Env{Version: r.API != ""}
		env.Captures, env.Rest = route.Captures(r.Match.Path)
		c := &routes[i]
		c.config = r
		var known policy.Known
		c.policies, known = policy.Compile(r.Policies, policy.BuildContext{
			Route: r.Name, Env: env, Report: k.report, Config: k.config, Consumers: consumers, Program: k.serving,
		})
		env = known.Env(env)
		c.action = k.action(c, env)
		c.rewrite = k.rewrite(r.Rewrite, env)
		if m := r.Mirror; m != nil {
			routes[i].mirror = &proxy.Mirror{
				Share: float64(m.Share), MaxBody: int64(m.MaxBody), Metrics: proxy.NewMirrorMetrics(k.scope, r.Name),
			}
		}
	}
	sites := make([]*proxy.Site, len(k.config.Listeners)) // nil for those of layer 4
	for i, l := range k.config.Listeners {
		if !l.L4() {
			sites[i] = k.site(l, routes)
		}
	}
	return routes, sites
}

// compileKeys compiles what backends hash by.
func (k *compiler) compileKeys() {
	k.keys = map[string]*expr.Program{}
	for _, b := range k.config.Backends {
		if b.Balance.Key != "" {
			// Which routes lead there is not known here. What the caller's identity does not have has no value, and the request goes where any may.
			k.keys[b.Name] = k.program(&b.Balance.Key, "key", expr.Env{Claims: true, Consumer: true, Version: true})
		}
	}
}

// program compiles an expression, or reports what is wrong with it.
func (k *compiler) program(src *string, name string, env expr.Env) *expr.Program {
	p, err := expr.Compile(*src, env)
	if err != nil {
		k.report.AddSuggest(k.report.At(src), err.Suggestion, "%s: %s", name, err.Message)
		return nil
	}
	return p
}

// checkAddresses reports addresses that are the same although they are spelled in different ways.
func (k *compiler) checkAddresses() {
	owners := make(map[listenerKey]string)
	claim := func(a *config.Address, network, name string) {
		key, err := keyOf(name, network, *a)
		if err != nil {
			k.report.Add(k.report.At(a), "address: %v", err)
			return
		}
		if other, ok := owners[key]; ok {
			k.report.Add(k.report.At(a), "%s and %s listen on the same address; give each an address of its own", other, name)
			return
		}
		owners[key] = name
	}
	for _, l := range k.config.Listeners {
		claim(&l.Address, l.Network(), fmt.Sprintf("listener %q", l.Name))
	}
	if k.config.Admin != nil {
		claim(&k.config.Admin.Address, "tcp", "admin")
	}
}

// rewrite compiles what a route changes for its backend.
func (k *compiler) rewrite(c *config.Rewrite, env expr.Env) *proxy.Rewrite {
	if c == nil {
		return nil
	}
	w := &proxy.Rewrite{Path: k.template(&c.Path, "path", env), Host: k.template(&c.Host, "host", env)}
	if c.Method != "" {
		w.Method, w.Named = message.MethodOf([]byte(c.Method)), true
	}
	return w
}

// template compiles a text, nil for an empty one.
func (k *compiler) template(src *string, name string, env expr.Env) *expr.Template {
	if *src == "" {
		return nil
	}
	t, err := expr.CompileTemplate(*src, env)
	if err != nil {
		k.report.AddSuggest(k.report.At(src), err.Suggestion, "%s: %s", name, err.Message)
	}
	return t
}

func (k *compiler) action(c *compiledRoute, env expr.Env) proxy.Action {
	r := c.config
	switch {
	case r.Compose != nil:
		c.plan = compose.Compile(r.Compose, env, k.report)
		return &proxy.Compose{Plan: c.plan}
	case r.Redirect != nil:
		to, err := expr.CompileTemplate(r.Redirect.To, env)
		if err == nil {
			err = to.Check(expr.URL)
		}
		if err != nil {
			k.report.AddSuggest(k.report.At(&r.Redirect.To), err.Suggestion, "to: %s", err.Message)
			return nil
		}
		return &proxy.Redirect{To: to, Status: r.Redirect.Status}
	case r.Respond != nil:
		return respond(r.Respond)
	case r.Split != nil:
		a := &proxy.Split{}
		if r.Split.Key != "" {
			a.Key = k.program(&r.Split.Key, "key", env)
		}
		for _, p := range r.Split.To {
			a.Parts = append(a.Parts, proxy.SplitPart{Weight: uint64(p.Weight)})
		}
		a.Seal()
		return a
	}
	return &proxy.Forward{}
}

func respond(c *config.Respond) *proxy.Respond {
	a := &proxy.Respond{Status: c.Status}
	switch {
	case c.JSON != nil:
		a.ContentType, a.Body = []byte("application/json"), c.JSON
	case c.Text != nil:
		a.ContentType, a.Body = []byte("text/plain; charset=utf-8"), []byte(*c.Text)
	case c.Body != nil:
		a.ContentType, a.Body = []byte(c.ContentType), []byte(*c.Body)
	}
	for _, h := range c.Headers {
		a.Headers = append(a.Headers, proxy.Field{Name: message.NameOf(h.Name), Value: []byte(h.Value)})
	}
	return a
}

// site makes what a listener serves.
func (k *compiler) site(l *config.Listener, all []compiledRoute) *proxy.Site {
	var b route.Builder[*proxy.Route]
	b.Grow(len(all))
	added := make([]*config.Route, 0, len(all))
	for i := range all {
		c := all[i].config
		if !onListener(c, l) {
			continue
		}
		paths := routePaths(l, c)
		r := &proxy.Route{
			Name: c.Name, Timeout: c.Timeout, Policies: all[i].policies, Action: all[i].action, Mirror: all[i].mirror, Rewrite: all[i].rewrite,
			Upgrade:  lowered(effective(c.Upgrade, l.Upgrade)),
			Trailers: names(effective(c.Trailers, l.Trailers)),
			Metrics:  proxy.NewRouteMetrics(k.scope, l.Name, c.Name),
			Paths:    plain(paths),
			API:      k.apis[c.API].answers,
		}
		err := b.AddRoute(route.Route[*proxy.Route]{
			Name: c.Name, Match: match(&c.Match), Payload: r, KeepEncodedSlash: paths.KeepEncodedSlash,
			API: k.apis[c.API].requests, Versions: c.Versions,
		})
		if err != nil {
			k.report.Add(c.Pos, "%v", err)
			continue
		}
		added = append(added, c)
	}
	table, err := k.table(&b, l, added)
	if err != nil {
		k.report.Add(l.Pos, "the routes of listener %q: %v", l.Name, err)
		return nil
	}
	s := &proxy.Site{
		Listener: l.Name, Table: table, Paths: k.sharedPaths(l), Warn: l.Strict == config.StrictWarn,
		TrustedProxies: l.TrustedProxies, RFC7239: l.Forwarded == config.ForwardedRFC7239,
		ProblemType: k.config.Problems.Type, Secrets: policy.SecretParameters(k.config),
	}
	for i := range all {
		s.Preflights = s.Preflights || onListener(all[i].config, l) && all[i].policies.Preflight() != nil
	}
	s.Seal(k.scope)
	return s
}

// table builds the table of a listener's routes. A check, which serves nothing, takes the time to
// look for what is worth a warning.
func (k *compiler) table(b *route.Builder[*proxy.Route], l *config.Listener, added []*config.Route) (*route.Table[*proxy.Route], error) {
	if k.scope != nil {
		return b.Build()
	}
	t, warnings, err := b.Review()
	k.warn(l, added, warnings)
	return t, err
}

// warn passes on what the table of a listener's routes found. Routes that the check of the text has
// warned of already are left out.
func (k *compiler) warn(l *config.Listener, added []*config.Route, warnings []route.Warning) {
	for _, w := range warnings {
		pos, on := l.Pos, ""
		if w.Index >= 0 {
			pos = added[w.Index].Pos
		}
		if slices.ContainsFunc(k.config.Warnings, func(e *config.Error) bool { return e.Line == pos.Line && e.Column == pos.Column }) {
			continue
		}
		if len(k.config.Listeners) > 1 {
			on = fmt.Sprintf("on the listener %q: ", l.Name)
		}
		k.report.Warn(pos, "%s%s", on, w.Text)
	}
}

func onListener(c *config.Route, l *config.Listener) bool {
	return len(c.Listeners) == 0 || slices.Contains(c.Listeners, l.Name)
}

// effective is a route's own list if it has one, even an empty one, else its listener's.
func effective(own, listener []string) []string {
	if own != nil {
		return own
	}
	return listener
}

func names(words []string) []message.Name {
	out := make([]message.Name, len(words))
	for i, w := range words {
		out[i] = message.NameOf(w)
	}
	return out
}

func match(m *config.Match) route.Match {
	out := route.Match{Hosts: m.Host, Path: m.Path, Methods: m.Method}
	for _, h := range m.Headers {
		out.Headers = append(out.Headers, route.FieldMatch{Name: h.Name, Value: h.Value, Any: h.Value == config.AnyValue})
	}
	for _, q := range m.Query {
		out.Query = append(out.Query, route.ParamMatch{Name: q.Name, Value: q.Value, Any: q.Value == config.AnyValue})
	}
	return out
}

func pathRules(slashes, backslash, encodedSlash string) message.PathRules {
	r := message.PathRules{KeepBackslash: backslash == config.Keep, KeepEncodedSlash: encodedSlash == config.Keep}
	switch slashes {
	case config.SlashesKeep:
		r.Slashes = message.SlashesKeep
	case config.SlashesRefuse:
		r.Slashes = message.SlashesRefuse
	}
	return r
}

// routePaths is how a route reads paths: its own words, and its listener's where it has none.
func routePaths(l *config.Listener, c *config.Route) message.PathRules {
	p := l.Paths
	if o := c.Paths; o != nil {
		p.Slashes = either(o.Slashes, p.Slashes)
		p.Backslash = either(o.Backslash, p.Backslash)
		p.EncodedSlash = either(o.EncodedSlash, p.EncodedSlash)
	}
	return pathRules(p.Slashes, p.Backslash, p.EncodedSlash)
}

// plain leaves out of rules what the table of routes applies itself.
func plain(r message.PathRules) message.PathRules {
	r.KeepEncodedSlash = false
	return r
}

func either(own, other string) string {
	if own != "" {
		return own
	}
	return other
}

// sharedPaths is how a listener reads a path before its route is known: what one of its routes
// lets pass must not be refused here. Routes that are stricter look again. Whether slashes are
// merged for matching stays the listener's word.
func (k *compiler) sharedPaths(l *config.Listener) message.PathRules {
	shared := plain(pathRules(l.Paths.Slashes, l.Paths.Backslash, l.Paths.EncodedSlash))
	for _, c := range k.config.Routes {
		if c.Paths == nil || !onListener(c, l) {
			continue
		}
		own := routePaths(l, c)
		shared.KeepBackslash = shared.KeepBackslash || own.KeepBackslash
		if shared.Slashes == message.SlashesRefuse && own.Slashes != message.SlashesRefuse {
			shared.Slashes = message.SlashesMerge
		}
	}
	return shared
}

// union sets what the codec of a listener lets pass: the union of what its routes permit.
func (k *compiler) union(l *config.Listener, o *http1.ServerOptions) {
	upgrades, trailers := slices.Clone(l.Upgrade), slices.Clone(l.Trailers)
	for _, c := range k.config.Routes {
		if onListener(c, l) {
			upgrades = append(upgrades, c.Upgrade...)
			trailers = append(trailers, c.Trailers...)
		}
	}
	o.Upgrade = slices.Compact(slices.Sorted(slices.Values(lowered(upgrades))))
	o.Trailers = names(slices.Compact(slices.Sorted(slices.Values(trailers))))
}
