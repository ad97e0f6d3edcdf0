package config

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// link resolves names and checks what concerns more than one struct.
func (c *Config) link(r *Reporter, o Options) {
	c.linkListeners(r)
	policies := make(map[string]*Policy, len(c.Policies))
	for _, p := range c.Policies {
		policies[p.Name] = p
	}
	usedPolicies := map[string]bool{}
	uses := newBackendUses(c.backendNames())
	for _, l := range c.Listeners {
		l.linkBackends(r, uses)
	}
	routes := make(map[string]*Route, len(c.Routes))
	for i, t := range c.Routes {
		t.linkName(r, i, routes)
		t.linkListeners(r, c.Listeners)
		t.linkBackends(r, uses)
		t.linkPolicies(r, policies, usedPolicies)
	}
	for _, b := range c.Backends {
		b.linkUses(r, uses)
	}
	c.linkConsumers(r)
	c.linkAPIs(r)
	c.linkReferences(r, policies, usedPolicies)
	for _, p := range c.Policies {
		if !usedPolicies[p.Name] {
			r.Warn(p.Pos, "no route uses the policy %q", p.Name)
		}
	}
	c.checkLoops(r)
	http := slices.ContainsFunc(c.Listeners, func(l *Listener) bool { return !l.L4() })
	if len(c.Routes) == 0 && http && r.Err() == nil {
		r.Warn(Pos{1, 1}, "there are no routes: every request is answered 404")
	}
	if len(c.Routes) > 0 && !http && r.Err() == nil {
		r.Warn(c.Routes[0].Pos, "there are routes, but no listener for http or https goes by them")
	}
	c.warnNeverMatching(r)
	if o.CheckFiles {
		c.checkFiles(r)
	}
}

func (c *Config) backendNames() map[string]bool {
	names := make(map[string]bool, len(c.Backends))
	for _, b := range c.Backends {
		names[b.Name] = true
	}
	return names
}

// Backend returns the backend of that name, or nil. It searches the list; a caller with many names makes its own map.
func (c *Config) Backend(name string) *Backend {
	for _, b := range c.Backends {
		if b.Name == name {
			return b
		}
	}
	return nil
}

// Listener returns the listener of that name, or nil.
func (c *Config) Listener(name string) *Listener {
	for _, l := range c.Listeners {
		if l.Name == name {
			return l
		}
	}
	return nil
}

// linkListeners reports addresses that two listeners would need.
func (c *Config) linkListeners(r *Reporter) {
	type owner struct {
		name string
		pos  Pos
	}
	owners := map[string]owner{}
	claim := func(a *Address, network, name string) {
		if *a == "" || a.Port() == 0 {
			return // not decoded, or chosen by the system
		}
		key := network + " " + listenKey(*a)
		if first, ok := owners[key]; ok {
			r.Add(r.At(a), "%s and %s listen on the same address, %s (line %d)", first.name, name, *a, first.pos.Line)
			return
		}
		owners[key] = owner{name, r.At(a)}
	}
	list := make([]func(), 0, len(c.Listeners)+1)
	if c.Admin != nil {
		list = append(list, func() { claim(&c.Admin.Address, "tcp", "admin") })
	}
	for _, l := range c.Listeners {
		list = append(list, func() { claim(&l.Address, l.Network(), "listener "+quote(l.Name)) })
	}
	if c.Admin != nil && len(c.Listeners) > 0 && r.At(&c.Admin.Address).Line > r.At(&c.Listeners[0].Address).Line {
		list = append(list[1:], list[0]) // the second in the file is the one reported
	}
	for _, f := range list {
		f()
	}
}

// listenKey is the same for two addresses that cannot both be listened on. All spellings of "every address" are one.
func listenKey(a Address) string {
	host := a.Host()
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
		if ip.IsUnspecified() {
			host = ""
		}
	}
	return fmt.Sprintf("%s:%d", host, a.Port())
}

// linkName gives a route without a name its default and reports names that occur twice.
func (t *Route) linkName(r *Reporter, i int, routes map[string]*Route) {
	if t.Name == "" {
		t.Name = fmt.Sprintf("route-%d", i+1)
	}
	if first, ok := routes[t.Name]; ok {
		r.Add(t.namePos(r), "two routes have the name %q, the first on line %d", t.Name, first.namePos(r).Line)
		return
	}
	routes[t.Name] = t
}

// namePos is the place of the route's name, or of the route if it has none of its own. It is asked for only when something is wrong: the first
// question of a reporter costs more than reading a route.
func (t *Route) namePos(r *Reporter) Pos {
	if r.Set(&t.Name) {
		return r.At(&t.Name)
	}
	return t.Pos
}

func (t *Route) linkListeners(r *Reporter, listeners []*Listener) {
	for i := range t.Listeners {
		name := t.Listeners[i]
		at := slices.IndexFunc(listeners, func(l *Listener) bool { return l.Name == name })
		if at < 0 {
			names := make([]string, len(listeners))
			for j, l := range listeners {
				names[j] = l.Name
			}
			r.AddSuggest(r.At(&t.Listeners[i]), DidYouMean(name, names), "unknown listener %s", quote(name))
		} else if listeners[at].L4() {
			r.Add(r.At(&t.Listeners[i]), "the listener %s speaks %s and knows no routes", quote(name), listeners[at].Protocol)
		}
	}
	checkRepeated(r, t.Listeners, "listeners")
}

func (t *Route) linkPolicies(r *Reporter, policies map[string]*Policy, used map[string]bool) {
	for i, p := range t.Policies {
		if p.InPlace {
			continue
		}
		named := policies[p.Name]
		if named == nil {
			r.AddSuggest(p.Pos, DidYouMean(p.Name, sortedKeys(policies)), "unknown policy %s", quote(p.Name))
			continue
		}
		if used[p.Name] && slices.Contains(t.Policies[:i], named) {
			r.Add(p.Pos, "the policy %q is named twice on this route", p.Name)
		}
		used[p.Name] = true
		t.Policies[i] = named
	}
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// checkFiles reports files that cannot be opened.
func (c *Config) checkFiles(r *Reporter) {
	for _, b := range c.Backends {
		if b.TLS != nil {
			checkFile(r, &b.TLS.CA, "ca")
			checkFile(r, &b.TLS.Cert, "cert")
			checkFile(r, &b.TLS.Key, "key")
		}
	}
	for _, l := range c.Listeners {
		if l.TLS == nil {
			continue
		}
		for i := range l.TLS.Certificates {
			crt := &l.TLS.Certificates[i]
			checkFile(r, &crt.Cert, "cert")
			checkFile(r, &crt.Key, "key")
		}
	}
}

func checkFile(r *Reporter, name *FilePath, key string) {
	if *name == "" {
		return
	}
	info, err := os.Stat(string(*name))
	if err == nil && info.IsDir() {
		r.Add(r.At(name), "%s: %s is a directory", key, quote(string(*name)))
		return
	}
	if err == nil {
		var f *os.File
		if f, err = os.Open(string(*name)); err == nil {
			_ = f.Close() // only opened to see that it can be
			return
		}
	}
	r.Add(r.At(name), "%s: %s: %s", key, quote(string(*name)), fileProblem(err))
}

// maxAlike bounds the routes that are compared with each other because they differ in values only.
const maxAlike = 64

// matchKey is what two matches must have in common for the later one to be in question: everything but the values of headers and query.
type matchKey struct{ listener, host, path, version, method, fields string }

// earlier is a route seen before, with the values it asks for.
type earlier struct {
	route  *Route
	values []string
}

// warnNeverMatching reports routes that can never match because earlier ones with an equally specific match take all their requests.
func (c *Config) warnNeverMatching(r *Reporter) {
	seen := make(map[matchKey][]earlier, len(c.Routes))
	all := make([]string, 0, len(c.Listeners))
	for _, l := range c.Listeners {
		if !l.L4() {
			all = append(all, l.Name)
		}
	}
	for _, t := range c.Routes {
		keys, values := t.matchKeys(all)
		var by *Route
		hidden := len(keys) > 0
		for _, k := range keys {
			cover := covering(seen[k], values)
			if cover == nil {
				hidden = false
			} else if by == nil {
				by = cover
			}
			if len(seen[k]) < maxAlike {
				seen[k] = append(seen[k], earlier{t, values})
			}
		}
		if hidden {
			r.Warn(t.Pos, "route %q can never match: route %q on line %d takes its requests", t.Name, by.Name, by.Pos.Line)
		}
	}
}

func covering(list []earlier, values []string) *Route {
next:
	for _, e := range list {
		for i, v := range e.values {
			if v != AnyValue && v != values[i] {
				continue next
			}
		}
		return e.route
	}
	return nil
}

// matchKeys returns one key for each listener, host, version and method of a route, and the values of its headers and query in the order of their names.
func (t *Route) matchKeys(all []string) (keys []matchKey, values []string) {
	or := func(list []string, none string) []string {
		if len(list) == 0 {
			return []string{none}
		}
		return list
	}
	listeners := all
	if len(t.Listeners) > 0 {
		listeners = t.Listeners
	}
	fields, values := pairKeys(t.Match.Headers, strings.ToLower)
	query, more := pairKeys(t.Match.Query, func(s string) string { return s })
	values = append(values, more...)
	path := canonicalPattern(t.Match.Path)
	const most = 10_000 // keys of one route; beyond it is not looked at
	hosts, methods := or(t.Match.Host, ""), or(t.Match.Method, "")
	versions := []string{""} // routes for listed versions, for all of an API, and of no API do not go by the order of the file among each other
	if t.API != "" {
		versions = or(t.Versions, "*")
	}
	if len(listeners)*len(hosts)*len(versions)*len(methods) > most {
		return nil, nil
	}
	for _, l := range listeners {
		for _, h := range hosts {
			for _, v := range versions {
				for _, m := range methods {
					keys = append(keys, matchKey{l, h, path, t.API + "\x00" + v, m, fields + "?" + query})
				}
			}
		}
	}
	return keys, values
}

func pairKeys(pairs []Pair, fold func(string) string) (key string, values []string) {
	if len(pairs) == 0 {
		return "", nil
	}
	sorted := slices.Clone(pairs)
	slices.SortFunc(sorted, func(a, b Pair) int { return strings.Compare(fold(a.Name), fold(b.Name)) })
	var b strings.Builder
	for _, p := range sorted {
		b.WriteString(fold(p.Name) + "\x00")
		values = append(values, p.Value)
	}
	return b.String(), values
}

// canonicalPattern takes the names out of captures: they do not count for what a pattern matches.
func canonicalPattern(pattern string) string {
	if !strings.Contains(pattern, "{") {
		return pattern
	}
	segments := strings.Split(pattern, "/")
	for i, s := range segments {
		if strings.HasPrefix(s, "{") {
			segments[i] = "{}"
			if strings.HasSuffix(s, "...}") {
				segments[i] = "*"
			}
		}
	}
	return strings.Join(segments, "/")
}
