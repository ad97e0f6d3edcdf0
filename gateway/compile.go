package gateway

import (
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/expr"
	"github.com/sluice-gateway/sluice/http1"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/policy"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/route"
	"github.com/sluice-gateway/sluice/upstream"
)

// drainLinger is how long an idle connection of a draining listener may still begin a request.
const drainLinger = 500 * time.Millisecond

// compiler makes routes and sites of a configuration.
type compiler struct {
	gateway *Gateway
	config  *config.Config
	report  *config.Reporter
	scope   *metric.Scope
}

// compiledRoute is what all listeners share of a route.
type compiledRoute struct {
	config   *config.Route
	policies *policy.Chain
	action   proxy.Action
}

// routes compiles all routes. With backends nil it only checks them.
func (k *compiler) routes(backends map[string]*upstream.Backend) []compiledRoute {
	all := make([]compiledRoute, len(k.config.Routes))
	for i, r := range k.config.Routes {
		captures, rest := route.Captures(r.Match.Path)
		all[i] = compiledRoute{
			config: r,
			policies: policy.Compile(r.Policies, policy.BuildContext{
				Route: r.Name, Captures: captures, Rest: rest, Report: k.report,
			}),
			action: k.action(r, backends, expr.Env{Captures: captures, Rest: rest}),
		}
	}
	return all
}

func (k *compiler) action(r *config.Route, backends map[string]*upstream.Backend, env expr.Env) proxy.Action {
	switch {
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
	}
	return &proxy.Forward{Backend: backends[r.Backend]}
}

func respond(c *config.Respond) *proxy.Respond {
	a := &proxy.Respond{Status: c.Status, ContentType: c.ContentType}
	switch {
	case c.JSON != nil:
		a.ContentType, a.Body = "application/json", c.JSON
	case c.Text != nil:
		a.ContentType, a.Body = "text/plain; charset=utf-8", []byte(*c.Text)
	case c.Body != nil:
		a.Body = []byte(*c.Body)
	}
	for _, h := range c.Headers {
		a.Headers = append(a.Headers, proxy.Field{Name: message.NameOf(h.Name), Value: h.Value})
	}
	return a
}

// site makes what a listener serves.
func (k *compiler) site(l *config.Listener, all []compiledRoute, log *metric.LogWriter) *proxy.Site {
	var b route.Builder[*proxy.Route]
	shared := k.sharedPaths(l)
	for i := range all {
		c := all[i].config
		if !onListener(c, l) {
			continue
		}
		r := &proxy.Route{
			Name: c.Name, Timeout: c.Timeout, Policies: all[i].policies, Action: all[i].action,
			Upgrade:    lowered(effective(c.Upgrade, l.Upgrade)),
			Trailers:   names(effective(c.Trailers, l.Trailers)),
			Metrics:    proxy.NewRouteMetrics(k.scope, l.Name, c.Name),
			Paths:      routePaths(l, c),
			PlainPaths: plain(routePaths(l, c)) == shared,
		}
		err := b.AddRoute(route.Route[*proxy.Route]{
			Name: c.Name, Match: match(&c.Match), Payload: r, KeepEncodedSlash: r.Paths.KeepEncodedSlash,
		})
		if err != nil {
			k.report.Add(c.Pos, "%v", err)
		}
	}
	table, _, err := b.Build()
	if err != nil {
		k.report.Add(l.Pos, "the routes of listener %q: %v", l.Name, err)
		return nil
	}
	s := &proxy.Site{
		Listener: l.Name, Table: table, TrustedProxies: l.TrustedProxies,
		RFC7239: l.Forwarded == config.ForwardedRFC7239, ProblemType: k.config.Problems.Type, Log: log,
	}
	s.Seal(k.scope)
	return s
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

// paths sets how the codec of a listener reads requests: the union of what its routes permit.
func (k *compiler) paths(l *config.Listener, o *http1.ServerOptions) {
	o.Paths = k.sharedPaths(l)
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
