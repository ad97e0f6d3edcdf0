package route

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/sluice-gateway/sluice/message"
)

// Match says which requests a route is for. All parts must hold; an empty part holds for every request.
type Match struct {
	Hosts   []string // names, addresses in brackets if IPv6, `*.suffix`; any of them
	Path    string   // pattern: literal segments, {name}, and last {name...} or *
	Methods []string // any of them; GET also takes HEAD unless another route does
	Headers []FieldMatch
	Query   []ParamMatch
}

// Route is one route as a table takes it.
type Route[T any] struct {
	Name    string
	Match   Match
	Payload T
	// API is the one that the route belongs to, nil for none, and Versions are those of it that the route is for, all of them if there are none.
	API      *API
	Versions []string
	// KeepEncodedSlash trusts the route's backend to read %2F in a path as it was meant: the request is not refused where reading it as a slash would
	// select another route.
	KeepEncodedSlash bool
}

// Error says which part of a route is wrong.
type Error struct {
	Route string // its name
	Part  string // the key: host, path, method, api, versions, or match for a header or query
	Err   error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("route %s: %s: %v", e.Route, e.Part, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Builder collects routes for a table. It belongs to one goroutine.
type Builder[T any] struct {
	routes []compiled
	listed []listed[T]
	apis   map[*API]*api
}

// compiled is a route before its table is built.
type compiled struct {
	name    string
	hosts   []host
	pattern pattern
	methods []string
	entry   entry // offer is that of the pattern without a version
}

type host struct {
	name string
	wild bool
}

// Grow makes room for n more routes.
func (b *Builder[T]) Grow(n int) {
	b.routes = slices.Grow(b.routes, n)
	b.listed = slices.Grow(b.listed, n)
}

// AddRoute adds a route behind those added before; the order is that of the file, the last criterion of precedence. It returns an *Error if the
// route cannot be understood; the builder is then as before.
func (b *Builder[T]) AddRoute(r Route[T]) error {
	c, part, err := compile(&r.Match)
	if err != nil {
		return &Error{Route: r.Name, Part: part, Err: err}
	}
	if r.API != nil {
		if part, err := b.offer(&c.entry, r.API, r.Versions); err != nil {
			return &Error{Route: r.Name, Part: part, Err: err}
		}
	}
	c.name = r.Name
	c.entry.index = len(b.routes)
	c.entry.keepSlash = r.KeepEncodedSlash
	b.routes = append(b.routes, c)
	b.listed = append(b.listed, listed[T]{r.Payload, r.Name, c.pattern.text})
	return nil
}

// offer makes e an entry of an API.
func (b *Builder[T]) offer(e *entry, a *API, versions []string) (part string, err error) {
	c := b.apis[a]
	if c == nil {
		if c, err = compileAPI(a); err != nil {
			return "api", err
		}
		if b.apis == nil {
			b.apis = make(map[*API]*api)
		}
		b.apis[a] = c
	}
	e.offer, e.rank = &offer{api: c, path: unnamed}, rankListed
	if len(versions) == 0 {
		e.offer.versions, e.rank = 1<<len(a.Versions)-1, rankAny
	}
	for _, name := range versions {
		place := slices.Index(a.Versions, name)
		if place < 0 {
			return "versions", fmt.Errorf("the API %s has no version %q", a.Name, name)
		}
		e.offer.versions |= 1 << place
	}
	return "", nil
}

// compile makes an entry of a match; part names the key that is wrong.
func compile(m *Match) (c compiled, part string, err error) {
	c.methods, c.entry.rank = m.Methods, rankNone
	for _, text := range m.Hosts {
		name, wild, err := parseHost(text)
		if err != nil {
			return c, "host", err
		}
		if h := (host{name, wild}); !slices.Contains(c.hosts, h) {
			c.hosts = append(c.hosts, h)
		}
	}
	if len(c.hosts) == 0 {
		c.hosts = []host{{wild: true}}
	}
	if c.pattern, err = parsePattern(m.Path); err != nil {
		return c, "path", err
	}
	c.entry.literal = c.pattern.segments[0].kind == literal
	for i, s := range c.pattern.segments {
		if s.kind != literal {
			c.entry.captures = append(c.entry.captures, captured{s.text, i, s.kind == rest})
		}
	}
	for _, name := range m.Methods {
		if !message.ValidToken([]byte(name)) {
			return c, "method", fmt.Errorf("%q is no method", name)
		}
	}
	for i, compile := range predicateTable {
		all, err := compile(m)
		if err != nil {
			return c, "match", err
		}
		for k := range all {
			all[k].row = i
		}
		c.entry.counts[i] = len(all)
		c.entry.predicates = append(c.entry.predicates, all...)
	}
	return c, "", nil
}

// Build makes the table of the routes added so far. It fails if the routes name too many methods.
func (b *Builder[T]) Build() (*Table[T], error) {
	t, _, err := b.build(nil)
	return t, err
}

// Review is Build with what is worth a warning, which takes longer to find than the table to build.
func (b *Builder[T]) Review() (*Table[T], []Warning, error) {
	return b.build(&shadows{places: make(map[place]*taking)})
}

// build makes the table, and looks for warnings if s is there.
func (b *Builder[T]) build(s *shadows) (*Table[T], []Warning, error) {
	t := &Table[T]{routes: slices.Clone(b.listed)}
	var names []string
	for i := range b.routes {
		names = append(names, b.routes[i].methods...)
	}
	var err error
	if t.matcher.methods, err = makeMethods(names); err != nil {
		return nil, nil, err
	}
	var shared []*leaf // those of several routes, which must be in order
	for i := range b.routes {
		c := &b.routes[i]
		e := c.entry
		e.methods = t.matcher.methods.mask(c.methods)
		for _, h := range c.hosts {
			level := t.matcher.hosts.level(h.name, h.wild)
			l := level.add(&c.pattern)
			shared = l.add(e, shared)
			if s != nil {
				s.add(c.name, h, l, &e)
			}
			if e.offer != nil && e.offer.api.byPath {
				t.matcher.inPath = true
				shared = level.addVersions(&c.pattern, e, shared)
			}
		}
	}
	for _, l := range shared {
		slices.SortFunc(l.entries, func(a, b entry) int { return compare(&a, &b) })
	}
	if s == nil {
		return t, nil, nil
	}
	return t, append(s.warnings(), t.matcher.costs()...), nil
}

// add enters e, and l among those that several entries share.
func (l *leaf) add(e entry, shared []*leaf) []*leaf {
	l.entries = append(l.entries, e)
	l.versioned = l.versioned || e.offer != nil
	if len(l.entries) == 2 {
		shared = append(shared, l)
	}
	return shared
}

// addVersions enters e, whose API has its versions in the path, once for each version before its pattern, and once for those that are unknown.
func (h *hostRoutes) addVersions(p *pattern, e entry, shared []*leaf) []*leaf {
	whole := *e.offer
	enter := func(level *hostRoutes, p *pattern, place int8, literal bool) {
		o := whole
		o.path = place
		e.offer, e.literal = &o, literal
		shared = level.add(p).add(e, shared)
	}
	for i, name := range whole.api.Versions {
		version := segment{literal, name}
		behind := pattern{class: p.class, segments: append([]segment{version}, p.segments...)}
		enter(h, &behind, int8(i), true)
		if s := p.segments[0]; len(p.segments) == 1 && (s.kind == rest || s.kind == literal && s.text == "") {
			enter(h, &pattern{class: p.class, segments: behind.segments[:1]}, int8(i), true) // /v1 is / in version v1
		}
	}
	if h.unknown == nil {
		h.unknown = &hostRoutes{}
	}
	enter(h.unknown, p, unknown, false)
	return shared
}

// compare orders the routes of a leaf, the one that wins first.
func compare(a, b *entry) int {
	if a.rank != b.rank {
		return cmp.Compare(a.rank, b.rank)
	}
	if (a.methods == 0) != (b.methods == 0) {
		if a.methods != 0 {
			return -1
		}
		return 1
	}
	for i := range a.counts {
		if c := cmp.Compare(b.counts[i], a.counts[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(a.index, b.index)
}
