package route

import (
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// The reference: every route is asked, and the best of those that match is chosen by comparing them as the contract's sentence says. It shares nothing
// with the table but the structs that go in.

// refHost returns how well a route's hosts match: 0 not, 1 any, more for longer suffixes, most for an exact host.
func refHost(hosts []string, host string) int {
	if len(hosts) == 0 {
		return 1
	}
	best := 0
	for _, h := range hosts {
		switch suffix, wild := strings.CutPrefix(h, "*"); {
		case !wild && h == host:
			best = 1 << 20
		case wild && len(host) > len(suffix) && strings.HasSuffix(host, suffix):
			best = max(best, 1+len(suffix))
		}
	}
	return best
}

// refPath returns whether a pattern matches a path, and what makes it better than another that matches too, compared from left to right, less is better.
func refPath(pattern, path string) (rank []int, ok bool) {
	pats, segs := strings.Split(pattern[1:], "/"), strings.Split(path[1:], "/")
	for i := range segs {
		segs[i], _, _ = strings.Cut(segs[i], ";")
		segs[i], _ = url.PathUnescape(segs[i])
	}
	rank = []int{0}
	for i, p := range pats {
		if p == "*" || strings.HasSuffix(p, "...}") {
			rank[0] = 2
			return append(rank, 2), len(segs) > i
		}
		if i >= len(segs) {
			return nil, false
		}
		if strings.HasPrefix(p, "{") {
			if segs[i] == "" {
				return nil, false
			}
			rank[0] = 1
			rank = append(rank, 1)
			continue
		}
		if p, _ = url.PathUnescape(p); p != segs[i] {
			return nil, false
		}
		rank = append(rank, 0)
	}
	return rank, len(pats) == len(segs)
}

// refMethod returns how well methods match, less is better; ok is false if not.
func refMethod(methods []string, method string) (rank int, ok bool) {
	switch {
	case len(methods) == 0:
		return 2, true
	case slices.Contains(methods, method):
		return 0, true
	case method == "HEAD" && slices.Contains(methods, "GET"):
		return 1, true
	}
	return 0, false
}

type refRequest struct {
	method, host, path, query string
	headers                   [][2]string
}

func refPredicates(m *Match, r *refRequest) bool {
	for _, f := range m.Headers {
		if !slices.ContainsFunc(r.headers, func(h [2]string) bool { return strings.EqualFold(h[0], f.Name) && (f.Any || h[1] == f.Value) }) {
			return false
		}
	}
	values, _ := url.ParseQuery(r.query)
	for _, p := range m.Query {
		got, ok := values[p.Name]
		if !ok || !p.Any && !slices.Contains(got, p.Value) {
			return false
		}
	}
	return true
}

// reference returns what a request leads to.
func reference(routes []Route[int], r *refRequest) refAnswer {
	var whole, unknown []candidate // of the path as it is, and of what follows a version that is unknown
	miss := refAnswer{route: -1, passed: map[string]bool{}}
	for i := range routes {
		m := &routes[i].Match
		host := refHost(m.Hosts, r.host)
		if host == 0 || !refPredicates(m, r) {
			continue
		}
		method, allowed := refMethod(m.Methods, r.method)
		for _, c := range refCandidates(&routes[i], r) {
			list := &whole
			if c.unknown {
				list = &unknown
			}
			switch {
			case c.passed:
				miss.passed[c.failure] = true
			case !allowed:
				miss.allow = append(miss.allow, m.Methods...)
			default:
				c.route = i
				c.rank = append(append([]int{-host}, c.rank...), c.versions, method, -len(m.Headers), -len(m.Query), i)
				*list = append(*list, c)
			}
		}
	}
	if all := slices.Concat(whole, unknown); len(all) > 0 {
		host := slices.MinFunc(all, compareRanks).rank[0]
		other := func(c candidate) bool { return c.rank[0] != host }
		whole, unknown = slices.DeleteFunc(whole, other), slices.DeleteFunc(unknown, other)
		if len(whole) == 0 {
			return slices.MinFunc(unknown, compareRanks).refAnswer
		}
		best := slices.MinFunc(whole, compareRanks)
		if len(unknown) > 0 && !best.literal && best.failure == "" {
			best = slices.MinFunc(unknown, compareRanks)
		}
		return best.refAnswer
	}
	if slices.Contains(miss.allow, "GET") {
		miss.allow = append(miss.allow, "HEAD")
	}
	slices.Sort(miss.allow)
	miss.allow = slices.Compact(miss.allow)
	return miss
}

// chooser makes decisions out of bytes, so that a fuzzer can steer them; when they are used up it always decides for the first.
type chooser struct{ data []byte }

func (c *chooser) n(n int) int {
	if len(c.data) == 0 {
		return 0
	}
	b := c.data[0]
	c.data = c.data[1:]
	return int(b) % n
}

func pick[E any](c *chooser, from ...E) E { return from[c.n(len(from))] }

func (c *chooser) pattern() string {
	var b strings.Builder
	for i := range 1 + c.n(4) {
		capture := "{" + string(rune('p'+i)) + "}"
		b.WriteByte('/')
		b.WriteString(pick(c, "a", "b", capture, capture, capture, "c", "%40", "é", "d%20d", "e%25", "f%2Fg"))
	}
	b.WriteString(pick(c, "", "", "", "", "/", "/*", "/{more...}"))
	return b.String()
}

// path makes a path, in most cases one that a pattern of routes matches.
func (c *chooser) path(routes []Route[int]) string {
	var b strings.Builder
	if c.n(4) > 0 {
		for _, p := range strings.Split(routes[c.n(len(routes))].Match.Path[1:], "/") {
			switch {
			case p == "*" || strings.HasPrefix(p, "{"):
				p = pick(c, "a", "b", "a%2Fb", "a;x=1", "%40", "c", "", "f%2Fg")
			case c.n(8) == 7:
				p = pick(c, "a", "b", "@", "c;y")
			}
			b.WriteString("/" + strings.ReplaceAll(p, "é", "%C3%A9"))
		}
		return b.String()
	}
	for range 1 + c.n(4) {
		b.WriteByte('/')
		b.WriteString(pick(c, "a", "b", "c", "%40", "@", "%C3%A9", "d%20d", "a;x=1", "b;", "e%25", "f%2Fg", "a%2Fb", "a%252Fb", "z", "%61"))
	}
	b.WriteString(pick(c, "", "", "/"))
	return b.String()
}

func (c *chooser) route() Route[int] {
	var m Match
	m.Hosts = pick(c, nil, nil, nil, nil, nil, []string{"a.test"}, []string{"*.test"}, []string{"*.a.test"}, []string{"b.a.test", "c.test"}, []string{"*.test", "a.test"})
	m.Path = c.pattern()
	m.Methods = pick(c, nil, nil, nil, []string{"GET"}, []string{"POST", "PUT"}, []string{"HEAD"}, []string{"PURGE"}, []string{"GET", "DELETE"})
	for _, name := range []string{"X-A", "X-B"} {
		if v := c.n(8); v < 3 && v > 0 {
			m.Headers = append(m.Headers, FieldMatch{Name: name, Value: "1", Any: v == 2})
		}
		if v := c.n(8); v < 3 && v > 0 {
			m.Query = append(m.Query, ParamMatch{Name: strings.ToLower(name), Value: "1", Any: v == 2})
		}
	}
	r := Route[int]{Match: m, KeepEncodedSlash: c.n(4) == 3}
	if name := pick(c, "", "", "", "", "", "bank", "bank", "shop", "mail", "path"); name != "" {
		r.API = testAPIs[name]
		for _, v := range r.API.Versions {
			if c.n(3) == 2 {
				r.Versions = append(r.Versions, v)
			}
		}
	}
	return r
}

func (c *chooser) request(routes []Route[int]) refRequest {
	r := refRequest{
		method: pick(c, "GET", "HEAD", "POST", "PURGE", "DELETE", "PATCH", "OTHER"),
		host:   pick(c, "a.test", "b.a.test", "x.a.test", "x.y.test", "c.test", "other", "test"),
		path:   c.path(routes),
		query:  pick(c, "", "x-a=1", "x-b=1&x-a=2", "x%2Da=%31&x-b", "x-a=2&x-a=1&x-b=1"),
	}
	r.path = pick(c, "", "", "", "", "", "", "", "", "", "", "/v1", "/v2", "/v3", "/v9", "/2024-06", "/v1;p", "/va") + r.path
	r.query += pick(c, "", "", "", "", "&version=v1", "&version=v9", "&v=v2", "&v=v2&v=v%31", "&v=")
	for _, h := range [][2]string{
		pick(c, [2]string{}, [2]string{}, [2]string{}, [2]string{"Accept-Version", "v1"}, [2]string{"Accept-Version", "v3"}, [2]string{"accept-version", "v9"}),
		pick(c, [2]string{}, [2]string{}, [2]string{}, [2]string{}, [2]string{}, [2]string{}, [2]string{}, [2]string{"Accept-Version", "v1"}),
		pick(c, [2]string{}, [2]string{}, [2]string{}, [2]string{"X-Shop", "v1"}, [2]string{"X-Shop", "2024-06"}, [2]string{"X-Shop", "v9"}),
		pick(c, [2]string{}, [2]string{}, [2]string{}, [2]string{"Accept", "application/vnd.bank.v1+json"}, [2]string{"Accept", "*/*, application/vnd.bank.v9+json"},
			[2]string{"Accept", "application/vnd.bank.v1+json; q=0.2, Application/vnd.bank.v3+json; charset=utf-8; q=0.5"}, [2]string{"Accept", "text/x-mail-v9"}),
	} {
		if h[0] != "" {
			r.headers = append(r.headers, h)
		}
	}
	for _, name := range []string{"X-A", "x-b"} {
		if v := c.n(4); v > 0 {
			r.headers = append(r.headers, [2]string{name, pick(c, "1", "2")})
		}
		if v := c.n(4); v > 2 {
			r.headers = append(r.headers, [2]string{name, "1"})
		}
	}
	return r
}

// checkAgainstReference builds a table out of data and compares what requests out of data lead to.
func checkAgainstReference(t *testing.T, data []byte) {
	c := &chooser{data}
	routes := make([]Route[int], 1+c.n(20))
	var b Builder[int]
	for i := range routes {
		routes[i] = c.route()
		routes[i].Payload = i
		if err := b.AddRoute(routes[i]); err != nil {
			t.Fatalf("%v: %+v", err, routes[i].Match)
		}
	}
	table, warnings, err := b.Review()
	if err != nil {
		t.Fatal(err)
	}
	never := make(map[int]bool)
	for _, w := range warnings {
		if w.Hosts == nil && w.Index >= 0 {
			never[w.Index] = true
		}
	}
	x := new(message.Exchange)
	for range 16 {
		r := c.request(routes)
		fill(t, x, &r)
		r.path = string(x.Request.Path) // the canonical one
		a := reference(routes, &r)
		if a.route >= 0 && a.failure == "" && x.Request.HasSlash && !routes[a.route].KeepEncodedSlash {
			slashed := r
			slashed.path = strings.ReplaceAll(strings.ReplaceAll(r.path, "%2F", "/"), "//", "/")
			if b := reference(routes, &slashed); b.route >= 0 && (b.route != a.route || b.failure != "" || b.version != a.version) {
				a.failure = "path_ambiguous"
			}
		}
		if a.route >= 0 && never[a.route] {
			t.Errorf("%+v\n was said never to match, and does\n%+v", routes[a.route].Match, r)
		}
		var res Result[int]
		table.Lookup(x, &res)
		if want := a.wanted(); !slices.Contains(want, told(&res)) {
			t.Errorf("%+v\n leads to %q, want %q", r, told(&res), want)
			for i := range routes {
				t.Logf("%d: %+v %v %v", i, routes[i].Match, routes[i].API, routes[i].Versions)
			}
			return
		}
	}
}

func fill(t *testing.T, x *message.Exchange, r *refRequest) {
	t.Helper()
	lines := []string{r.method + " http://" + r.host + r.path}
	if r.query != "" {
		lines[0] += "?" + r.query
	}
	for _, h := range r.headers {
		lines = append(lines, h[0]+": "+h[1])
	}
	request(t, x, strings.Join(lines, "\n"))
}

func TestAgainstReference(t *testing.T) {
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	for i := range rounds {
		rng := rand.New(rand.NewPCG(uint64(i), 1))
		data := make([]byte, 800)
		for k := range data {
			data[k] = byte(rng.Uint32())
		}
		checkAgainstReference(t, data)
		if t.Failed() {
			t.Fatalf("with seed %d", i)
		}
	}
}

func FuzzLookup(f *testing.F) {
	for i := range 8 {
		rng := rand.New(rand.NewPCG(uint64(i), 2))
		data := make([]byte, 100*(i+1))
		for k := range data {
			data[k] = byte(rng.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(checkAgainstReference)
}

// TestReferenceSeesEverything: the comparison above would be idle if its requests rarely matched.
func TestReferenceSeesEverything(t *testing.T) {
	seen := make(map[string]int)
	for i := range 1500 {
		rng := rand.New(rand.NewPCG(uint64(i), 3))
		data := make([]byte, 800)
		for k := range data {
			data[k] = byte(rng.Uint32())
		}
		c := &chooser{data}
		routes := make([]Route[int], 1+c.n(20))
		for i := range routes {
			routes[i] = c.route()
		}
		r := c.request(routes)
		best := reference(routes, &r)
		switch {
		case best.failure != "":
			seen[best.failure]++
		case best.route >= 0:
			if rank, ok := refPath(routes[best.route].Match.Path, r.path); ok {
				seen[[]string{"exact", "captures", "prefix"}[rank[0]]]++
			} else {
				seen["behind a version"]++
			}
			if best.version != "" {
				seen["versioned"]++
			}
		case best.allow != nil:
			seen["method"]++
		case len(best.passed) > 0:
			for reason := range best.passed {
				seen["passed "+reason]++
			}
		default:
			seen["none"]++
		}
	}
	for kind, least := range map[string]int{"exact": 15, "captures": 15, "prefix": 15, "method": 15, "none": 15, "versioned": 15, "behind a version": 15,
		"version_unknown 404": 10, "version_unknown 400": 15, "version_unknown 406": 2, "header_repeated 0": 2, "passed version_not_offered 0": 15} {
		if seen[kind] < least {
			t.Errorf("only %d of 1500 requests end as %s: %v", seen[kind], kind, seen)
		}
	}
}
