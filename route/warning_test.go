package route

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// TestNeverMatches: each case is a table, and the routes that can never match as "place<place of the one before it[@hosts]".
func TestNeverMatches(t *testing.T) {
	for _, c := range []struct {
		name   string
		routes []string
		want   []string
	}{
		{"different", []string{"* * /a", "* * /b", "GET * /a", "* h /a", "* * /a X-A: 1", "* * /a ?q=1", "* * /{x}", "* * /*"}, nil},
		{"the same", []string{"* * /a", "* * /b", "* * /a"}, []string{"2<0"}},
		{"the same but for names of captures", []string{"* * /{a}/b", "* * /{b}/b", "* * /c/*", "* * /c/{r...}"}, []string{"1<0", "3<2"}},
		{"another spelling of the same", []string{"* * /@", "* * /%40", "* A.b /x", "* a.B. /x"}, []string{"1<0", "3<2"}},
		{"a method of several", []string{"GET,POST * /a", "POST * /a", "PUT,GET * /a"}, []string{"1<0"}},
		{"several for one", []string{"GET * /a", "POST * /a", "GET,POST * /a"}, []string{"2<0"}},
		{"any method is less than one", []string{"* * /a", "GET * /a"}, nil},
		{"any method twice", []string{"* * /a X-A: 1", "* * /a X-A: 1"}, []string{"1<0"}},
		{"all named methods are not any", []string{"GET,POST * /a", "* * /a"}, nil},
		{"HEAD is more than GET", []string{"GET * /a", "HEAD * /a"}, nil},
		{"predicates in another order", []string{"* * /a X-A: 1 X-B: 2", "* * /a x-b: 2 x-a: 1"}, []string{"1<0"}},
		{"any value before one", []string{"* * /a X-A: *", "* * /a X-A: 1"}, []string{"1<0"}},
		{"one value before any", []string{"* * /a X-A: 1", "* * /a X-A: *"}, nil},
		{"any value of a parameter before one", []string{"GET * /a ?q=*", "GET * /a ?q=1", "PUT * /a ?q=1"}, []string{"1<0"}},
		{"more predicates win", []string{"* * /a X-A: *", "* * /a X-A: 1 X-B: 1"}, nil},
		{"any value and a method each", []string{"GET * /a X-A: *", "PUT * /a X-A: 1", "GET,PUT * /a X-A: 1"}, []string{"2<1"}},
		{"a header is no parameter", []string{"* * /a x: 1", "* * /a ?x=1"}, nil},
		{"one of two hosts", []string{"* a /x", "* a,b /x"}, []string{"1<0@a"}},
		{"both hosts", []string{"* *.a,b /x", "* *.a /x", "* b,*.a /x"}, []string{"1<0", "2<0"}},
		{"one host in two spellings", []string{"* a,A. /x"}, nil},
		{"any value and a method before any method", []string{"GET * /a X-A: *", "* * /a X-A: 1"}, nil},
		{"any host and one", []string{"* * /x", "* a /x"}, nil},
		{"a version each", []string{"* * /a @bank:v1", "* * /a @bank:v2", "* * /a @bank", "* * /a"}, nil},
		{"the same version", []string{"* * /a @bank:v1", "* * /a @bank:v1", "* * /{x} @bank", "* * /{y} @bank"}, []string{"1<0", "3<2"}},
		{"a version of several", []string{"* * /a @bank:v1,v2", "* * /a @bank:v2", "* * /a @bank:v2,v3"}, []string{"1<0"}},
		{"several for two versions", []string{"* * /a @bank:v1", "* * /a @bank:v2", "* * /a @bank:v2,v1"}, []string{"2<0"}},
		{"a method of a version", []string{"GET * /a @bank:v1,v2", "GET * /a @bank:v1", "GET,PUT * /a @bank:v2", "* * /a @bank:v1"}, []string{"1<0"}},
		{"versions with any value", []string{"* * /a @bank:v1,v2 X-A: *", "* * /a @bank:v1 X-A: 1", "* * /a @bank:v3 X-A: 1"}, []string{"1<0"}},
		{"the same version of another API", []string{"* * /a @bank:v1", "* * /a @shop:v1"}, nil},
		{"listed versions and all", []string{"GET * /a @path", "GET * /a @path:v1,v2"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, warnings := build(t, c.routes...)
			var got []string
			for _, w := range warnings {
				text := fmt.Sprintf("%d<%d", w.Index, slices.Index(c.routes, w.By))
				if w.Hosts != nil {
					text += "@" + strings.Join(w.Hosts, ",")
				}
				got = append(got, text)
				if w.Route != c.routes[w.Index] || !strings.Contains(w.Text, w.Route) || !strings.Contains(w.Text, w.By) {
					t.Errorf("warning %+v", w)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestAddRouteErrors(t *testing.T) {
	deep := strings.Repeat("/a", MaxSegments)
	for _, c := range []struct {
		part, text string // what the error must say
		match      Match
	}{
		{"host", "a b", Match{Hosts: []string{"a b"}}},
		{"host", "port", Match{Hosts: []string{"a:80"}}},
		{"host", "*.", Match{Hosts: []string{"*."}}},
		{"host", "a.*", Match{Hosts: []string{"b", "a.*"}}},
		{"host", "*a", Match{Hosts: []string{"*a"}}},
		{"host", "*.[::1]", Match{Hosts: []string{"*.[::1]"}}},
		{"host", "xn--", Match{Hosts: []string{"münchen.example"}}},
		{"host", "user@a", Match{Hosts: []string{"user@a"}}},
		{"path", "begins with /", Match{Path: "a"}},
		{"path", "begins with /", Match{Path: "*"}},
		{"path", "last segment", Match{Path: "/*/a"}},
		{"path", "last segment", Match{Path: "/{a...}/b"}},
		{"path", "two captures", Match{Path: "/{a}/{a}"}},
		{"path", "two captures", Match{Path: "/{rest}/*"}},
		{"path", "segment of its own", Match{Path: "/a*"}},
		{"path", "segment of its own", Match{Path: "/a{b}"}},
		{"path", "segment of its own", Match{Path: "/{b}c"}},
		{"path", "no name", Match{Path: "/{}"}},
		{"path", "no name", Match{Path: "/{...}"}},
		{"path", "no name", Match{Path: "/{a}{b}"}},
		{"path", "slashes", Match{Path: "/a//b"}},
		{"path", "slashes", Match{Path: "//"}},
		{"path", "dot segments", Match{Path: "/a/../b"}},
		{"path", "path_ambiguous", Match{Path: "/a/%2e"}},
		{"path", "path_ambiguous", Match{Path: "/..%2F"}},
		{"path", "path_invalid", Match{Path: "/a%"}},
		{"path", "path_invalid", Match{Path: "/%00"}},
		{"path", ";", Match{Path: "/a;b"}},
		{"path", "query", Match{Path: "/a?b"}},
		{"path", "query", Match{Path: "/a#b"}},
		{"path", "at most 32", Match{Path: deep + "/a"}},
		{"method", "GET POST", Match{Methods: []string{"GET POST"}}},
		{"method", `""`, Match{Methods: []string{""}}},
		{"match", "X A", Match{Headers: []FieldMatch{{Name: "X A"}}}},
		{"match", "X-A", Match{Headers: []FieldMatch{{Name: "X-A", Value: "a\r\n"}}}},
		{"match", "empty", Match{Query: []ParamMatch{{}}}},
	} {
		var b Builder[int]
		err := b.AddRoute(Route[int]{Name: "x", Match: c.match})
		var e *Error
		if !errors.As(err, &e) || e.Part != c.part || e.Route != "x" || e.Unwrap() == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%+v: error %v, want one of %s that says %q", c.match, err, c.part, c.text)
		}
		if table, _, err := b.Review(); err != nil || table.Len() != 0 {
			t.Errorf("%+v: after the error the table has %d routes (%v)", c.match, table.Len(), err)
		}
	}
	var b Builder[int]
	if err := b.AddRoute(Route[int]{Match: Match{Path: deep}}); err != nil {
		t.Errorf("%d segments: %v", MaxSegments, err)
	}
}

func TestTooManyMethods(t *testing.T) {
	var b Builder[int]
	var names []string
	for i := range MaxMethods - 1 {
		names = append(names, fmt.Sprintf("M%02d", i))
	}
	if err := b.AddRoute(Route[int]{Match: Match{Methods: append(names, "Z")}}); err != nil {
		t.Fatal(err)
	}
	table, _, err := b.Review()
	if err != nil {
		t.Fatalf("%d methods: %v", MaxMethods, err)
	}
	x := new(message.Exchange)
	for method, want := range map[string]message.Reason{"M00": message.ReasonNone, "Z": message.ReasonNone, "GET": message.MethodNotAllowed} {
		request(t, x, method+" http://h/")
		var res Result[int]
		table.Lookup(x, &res)
		if res.Reason != want {
			t.Errorf("%s: %q, want %q", method, res.Reason, want)
		}
	}
	if err := b.AddRoute(Route[int]{Match: Match{Methods: []string{"GET"}}}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Review(); err == nil || !strings.Contains(err.Error(), "66 different methods") {
		t.Errorf("too many methods: %v", err)
	}
}

// TestBuildTwice: a table does not change when its builder goes on.
func TestBuildTwice(t *testing.T) {
	var b Builder[string]
	if err := b.AddRoute(parseRoute(t, "POST * /a")); err != nil {
		t.Fatal(err)
	}
	first, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.AddRoute(parseRoute(t, "DELETE * /a")); err != nil {
		t.Fatal(err)
	}
	second, _, err := b.Review()
	if err != nil {
		t.Fatal(err)
	}
	x := new(message.Exchange)
	for _, c := range []struct {
		table  *Table[string]
		method string
		want   string
	}{
		{first, "POST", "POST * /a"}, {first, "DELETE", "method_not_allowed POST"},
		{second, "POST", "POST * /a"}, {second, "DELETE", "DELETE * /a"}, {second, "GET", "method_not_allowed DELETE, POST"},
	} {
		request(t, x, c.method+" http://h/a")
		var res Result[string]
		c.table.Lookup(x, &res)
		if got := outcome(&res); got != c.want {
			t.Errorf("%s: %q, want %q", c.method, got, c.want)
		}
	}
	if first.Len() != 1 || second.Len() != 2 {
		t.Errorf("%d and %d routes", first.Len(), second.Len())
	}
}

// overlapping returns patterns of n segments, each a literal or a capture, in all 2^n ways, all ending in a literal that the request does not have.
func overlapping(n int) []string {
	var all []string
	for bits := range 1 << n {
		var b strings.Builder
		b.WriteString("* * ")
		for i := range n {
			if bits&(1<<i) == 0 {
				b.WriteString("/a")
			} else {
				fmt.Fprintf(&b, "/{c%d}", i)
			}
		}
		all = append(all, b.String()+"/end")
	}
	return all
}

// TestWalkIsBounded: the worst that patterns can do to a walk is a visit to each of their nodes, and Build knows how many that are.
func TestWalkIsBounded(t *testing.T) {
	for _, c := range []struct {
		routes []string
		visits int // of the tree of captures or prefixes
		warns  bool
	}{
		{[]string{"* * /{a}/{b}/x"}, 4, false},
		{[]string{"* * /a/*", "* * /b/*", "* * /{x}/*"}, 3, false},
		{overlapping(3), 15 + 8 - 2, false}, // the pattern without captures is elsewhere
		{overlapping(9), 1023 + 512 - 2, true},
	} {
		table, warnings := build(t, c.routes...)
		root := table.matcher.hosts.any.captures
		if root == nil {
			root = table.matcher.hosts.any.prefixes
		}
		if got := root.visits(); got != c.visits {
			t.Errorf("%d routes: at most %d visits, want %d", len(c.routes), got, c.visits)
		}
		if warned := len(warnings) > 0; warned != c.warns {
			t.Errorf("%d routes: warnings %v", len(c.routes), warnings)
		}
		for _, w := range warnings {
			if w.Index != -1 || !strings.Contains(w.Text, fmt.Sprint(c.visits+1)) {
				t.Errorf("warning %+v", w)
			}
		}
	}
}

// TestWalkVisitsWhatItMust counts the steps of the worst walk and of walks over long paths: none is more than Build says.
func TestWalkVisitsWhatItMust(t *testing.T) {
	table, _ := build(t, overlapping(8)...)
	root := table.matcher.hosts.any.captures
	for _, path := range []string{
		strings.Repeat("/a", 8) + "/no", strings.Repeat("/a", 8) + "/end/no", strings.Repeat("/a", 100_000), "/" + strings.Repeat("a", 1<<20),
		"/" + strings.Repeat("/", 100_000),
	} {
		q := query{x: new(message.Exchange)}
		q.read([]byte(path))
		steps := 0
		count(root, &q, &steps)
		if steps > root.visits() {
			t.Errorf("path of %d bytes: %d steps, and at most %d were promised", len(path), steps, root.visits())
		}
		if e := q.walk(root); e != nil {
			t.Errorf("path of %d bytes: found %+v", len(path), e)
		}
		if q.known > 10 {
			t.Errorf("path of %d bytes: %d segments were searched for", len(path), q.known)
		}
	}
}

// count walks as walk does, by recursion.
func count(n *node, q *query, steps *int) {
	*steps++
	if int(q.starts[n.depth]) > len(q.path) {
		return
	}
	segment := q.segment(int(n.depth))
	if c := n.child(segment); c != nil {
		count(c, q, steps)
	}
	if n.capture != nil && len(segment) > 0 {
		count(n.capture, q, steps)
	}
}
