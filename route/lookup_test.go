package route

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// parseRoute reads a route as the tests write it: "METHODS HOSTS PATTERN FIELD: VALUE … ?PARAM=VALUE …", where "*" is any method or host, lists are
// separated by commas, and a value "*" is any value; @API:VERSION,… belongs to one of testAPIs. The text is the route's name.
func parseRoute(t testing.TB, text string) Route[string] {
	t.Helper()
	words := strings.Fields(text)
	if len(words) < 3 {
		t.Fatalf("route %q has fewer than three words", text)
	}
	r := Route[string]{Name: text, Payload: text}
	if words[0] != "*" {
		r.Match.Methods = strings.Split(words[0], ",")
	}
	if words[1] != "*" {
		r.Match.Hosts = strings.Split(words[1], ",")
	}
	r.Match.Path = words[2]
	for i := 3; i < len(words); i++ {
		switch w := words[i]; {
		case w == "keep":
			r.KeepEncodedSlash = true
		case w[0] == '@':
			name, versions, some := strings.Cut(w[1:], ":")
			if r.API = testAPIs[name]; r.API == nil {
				t.Fatalf("route %q: there is no API %s", text, name)
			}
			if some {
				r.Versions = strings.Split(versions, ",")
			}
		case w[0] == '?':
			name, value, _ := strings.Cut(w[1:], "=")
			r.Match.Query = append(r.Match.Query, ParamMatch{Name: name, Value: value, Any: value == "*"})
		default:
			i++
			r.Match.Headers = append(r.Match.Headers, FieldMatch{Name: strings.TrimSuffix(w, ":"), Value: words[i], Any: words[i] == "*"})
		}
	}
	return r
}

func build(t testing.TB, routes ...string) (*Table[string], []Warning) {
	t.Helper()
	var b Builder[string]
	for _, text := range routes {
		if err := b.AddRoute(parseRoute(t, text)); err != nil {
			t.Fatal(err)
		}
	}
	table, warnings, err := b.Review()
	if err != nil {
		t.Fatal(err)
	}
	return table, warnings
}

// request fills x as a codec would: "METHOD http://HOST/PATH?QUERY", then header lines.
func request(t testing.TB, x *message.Exchange, text string) {
	t.Helper()
	x.Reset()
	lines := strings.Split(text, "\n")
	method, target, _ := strings.Cut(lines[0], " ")
	host, path, ok := strings.Cut(strings.TrimPrefix(target, "http://"), "/")
	if !ok {
		t.Fatalf("request %q has no path", text)
	}
	path, query, hasQuery := strings.Cut("/"+path, "?")
	r := &x.Request
	r.Method = message.MethodOf([]byte(method))
	var reason message.Reason
	if host != "" {
		if r.Host, r.Port, reason = message.ParseAuthority(nil, []byte(host)); reason != message.ReasonNone {
			t.Fatalf("request %q: %s", text, reason)
		}
	}
	if r.Path, r.HasSlash, reason = message.AppendPath(nil, []byte(path), message.PathRules{}); reason != message.ReasonNone {
		t.Fatalf("request %q: %s", text, reason)
	}
	if hasQuery {
		r.Query = []byte(query)
	}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(message.NameOf(name), []byte(value))
	}
}

// outcome writes a result as the tests want it: the route's name, or the reason and Allow.
func outcome(res *Result[string]) string {
	switch {
	case res.Reason == message.PathAmbiguous:
		return "path_ambiguous"
	case res.Reason != message.ReasonNone:
		return strings.TrimSpace(res.Reason.String() + " " + string(res.Allow))
	case res.Payload != res.Name:
		return fmt.Sprintf("payload %q of route %q", res.Payload, res.Name)
	}
	return res.Name
}

// lookups is a table, and what requests to it lead to: the place of the route in the table as "#N", or the outcome.
type lookups struct {
	name   string
	routes []string
	want   [][2]string
}

func (c *lookups) run(t *testing.T) {
	check := func(order []int) {
		routes := make([]string, len(c.routes))
		for i, from := range order {
			routes[i] = c.routes[from]
		}
		table, _ := build(t, routes...)
		x := new(message.Exchange)
		for _, w := range c.want {
			request(t, x, w[0])
			var res Result[string]
			table.Lookup(x, &res)
			want := w[1]
			if n := 0; strings.HasPrefix(want, "#") {
				if _, err := fmt.Sscanf(want, "#%d", &n); err != nil {
					t.Fatal(err)
				}
				want = c.routes[n]
			}
			if got := outcome(&res); got != want {
				t.Errorf("%q with the routes in the order %v\n leads to %q\n    want %q", w[0], order, got, want)
			}
		}
	}
	order := make([]int, len(c.routes))
	for i := range order {
		order[i] = i
	}
	check(order)
	if !strings.Contains(c.name, "file order") {
		slices.Reverse(order)
		check(order)
	}
}

func TestLookup(t *testing.T) {
	for _, c := range []lookups{
		{"host", []string{"* shop.example /*", "* *.shop.example /*", "* *.img.shop.example /*", "* *.example /*", "* * /*"}, [][2]string{
			{"GET http://shop.example/", "#0"},
			{"GET http://SHOP.Example.:8080/", "#0"},
			{"GET http://a.shop.example/", "#1"},
			{"GET http://b.a.shop.example/", "#1"},
			{"GET http://img.shop.example/", "#1"},
			{"GET http://a.img.shop.example/", "#2"},
			{"GET http://a.b.c.d.e.f.img.shop.example/", "#2"},
			{"GET http://xshop.example/", "#3"},
			{"GET http://example/", "#4"},
			{"GET http://other/", "#4"},
			{"GET http:///", "#4"},
		}},
		{"host lists, addresses", []string{"* a,b.c,*.d /*", "* [::1] /*", "* 127.0.0.1 /*"}, [][2]string{
			{"GET http://a/", "#0"},
			{"GET http://b.c/", "#0"},
			{"GET http://x.d/", "#0"},
			{"GET http://[0:0::1]:80/", "#1"},
			{"GET http://127.0.0.1/", "#2"},
			{"GET http://d/", "no_route"},
			{"GET http://c/", "no_route"},
		}},
		{"a host without a matching path falls back", []string{"* a.b /x", "* *.b /y", "* * /*", "GET a.b /z", "* *.b /h X-A: 1"}, [][2]string{
			{"GET http://a.b/x", "#0"},
			{"GET http://a.b/y", "#1"},
			{"GET http://a.b/q", "#2"},
			{"GET http://a.b/z", "#3"},
			{"POST http://a.b/z", "#2"},
			{"GET http://a.b/h", "#2"},
			{"GET http://a.b/h\nX-A: 1", "#4"},
			{"GET http://c/x", "#2"},
		}},
		{"exact, captures, prefix", []string{"* * /a/b", "* * /a/{x}", "* * /{y}/b", "* * /a/*", "* * /a/b/*", "* * /*", "* * /{y}/{x}"}, [][2]string{
			{"GET http://h/a/b", "#0"},
			{"GET http://h/a/c", "#1"},
			{"GET http://h/c/b", "#2"},
			{"GET http://h/c/c", "#6"},
			{"GET http://h/a/", "#3"},
			{"GET http://h/a/c/d", "#3"},
			{"GET http://h/a/b/", "#4"},
			{"GET http://h/a/b/c/d", "#4"},
			{"GET http://h/a", "#5"},
			{"GET http://h/", "#5"},
			{"GET http://h/c/d/e", "#5"},
		}},
		{"captures go before any prefix", []string{"* * /static/*", "* * /{a}/{b}"}, [][2]string{
			{"GET http://h/static/x", "#1"},
			{"GET http://h/static/x/y", "#0"},
		}},
		{"longer literal prefix", []string{"* * /*", "* * /a/*", "* * /a/b/*", "* * /{x}/b/c/*", "* * /a/{x}/c/*", "* * /a/{x...}", "* * /{x}/*"}, [][2]string{
			{"GET http://h/a/b/c/d", "#2"},
			{"GET http://h/a/x/c/d", "#4"},
			{"GET http://h/x/b/c/d", "#3"},
			{"GET http://h/x/b/d", "#6"},
			{"GET http://h/x", "#0"},
		}},
		{"backtracking", []string{"* * /a/{x}/c", "* * /{x}/b/d", "* * /{x}/{y}/{z}", "* * /a/b/{z}/q", "* * /{x}/b/{z}/r"}, [][2]string{
			{"GET http://h/a/b/c", "#0"},
			{"GET http://h/a/b/d", "#1"},
			{"GET http://h/a/b/e", "#2"},
			{"GET http://h/a/b/e/q", "#3"},
			{"GET http://h/a/b/e/r", "#4"},
			{"GET http://h/a/b/e/s", "no_route"},
			{"GET http://h/a/b", "no_route"},
		}},
		{"backtracking for predicates", []string{"GET * /a/b", "* * /a/{x} X-A: 1", "PUT * /{x}/b", "DELETE * /a/*", "POST * /*"}, [][2]string{
			{"GET http://h/a/b", "#0"},
			{"PUT http://h/a/b\nX-A: 1", "#1"},
			{"PUT http://h/a/b", "#2"},
			{"DELETE http://h/a/b", "#3"},
			{"POST http://h/a/b", "#4"},
			{"PATCH http://h/a/b", "method_not_allowed DELETE, GET, HEAD, POST, PUT"},
			{"PATCH http://h/a", "method_not_allowed POST"},
		}},
		{"segments are whole (security case 39)", []string{"* * /admin/*", "* * /admin", "* * /v/{x}"}, [][2]string{
			{"GET http://h/admin", "#1"},
			{"GET http://h/admin/", "#0"},
			{"GET http://h/administrator", "no_route"},
			{"GET http://h/adm", "no_route"},
			{"GET http://h/admin//x", "#0"},
			{"GET http://h/v/", "no_route"},
			{"GET http://h/v", "no_route"},
			{"GET http://h/v/x/", "no_route"},
			{"GET http://h/ADMIN", "no_route"},
		}},
		{"final slash", []string{"* * /a", "* * /a/", "* * /b/{x}", "* * /b/{x}/", "* * /"}, [][2]string{
			{"GET http://h/a", "#0"}, {"GET http://h/a/", "#1"}, {"GET http://h/b/c", "#2"}, {"GET http://h/b/c/", "#3"}, {"GET http://h/", "#4"},
			{"GET http://h/c", "no_route"},
		}},
		{"one reading (security case 35)", []string{"* * /admin", "* * /@me", "* * /a%20b", "* * /é", "* * /{x}", "* * /{x}/{y}", `* * /a|b"`}, [][2]string{
			{"GET http://h/x/../admin", "#0"},
			{"GET http://h//admin", "#0"},
			{"GET http://h/./%61dmin", "#0"},
			{"GET http://h/admin;v=1", "#0"},
			{"GET http://h/admin;", "#0"},
			{"GET http://h/%40me", "#1"},
			{"GET http://h/@me;x", "#1"},
			{"GET http://h/a%20b", "#2"},
			{"GET http://h/%c3%a9", "#3"},
			{"GET http://h/%7b", "#4"},
			{"GET http://h/admin%3bx", "#4"},
			{"GET http://h/admin%252f", "#4"},
			{"GET http://h/admin;x/y", "#5"},
			{"GET http://h/a%7Cb%22", "#6"},
		}},
		{"no pattern is any path", []string{"GET * /*", "* * /{rest...}"}, [][2]string{{"GET http://h/a/b", "#0"}, {"PUT http://h/a/b", "#1"}, {"PUT http://h/", "#1"}}},
		{"method", []string{"* * /a", "GET * /a", "PUT,POST * /a", "PURGE * /a", "GET * /b", "HEAD * /b", "GET * /c", "* * /c", "GET * /c X-A: 1"}, [][2]string{
			{"HEAD http://h/c\nX-A: 1", "#8"},
			{"GET http://h/a", "#1"},
			{"HEAD http://h/a", "#1"},
			{"POST http://h/a", "#2"},
			{"PURGE http://h/a", "#3"},
			{"purge http://h/a", "#0"},
			{"DELETE http://h/a", "#0"},
			{"GET http://h/b", "#4"},
			{"HEAD http://h/b", "#5"},
			{"HEAD http://h/c", "#6"},
			{"PUT http://h/b", "method_not_allowed GET, HEAD"},
		}},
		{"HEAD takes the most specific path", []string{"GET * /a", "HEAD * /*", "* * /*", "GET * /b X-A: 1"}, [][2]string{
			{"HEAD http://h/a", "#0"}, {"HEAD http://h/c", "#1"}, {"HEAD http://h/b", "#1"}, {"HEAD http://h/b\nX-A: 1", "#3"}, {"GET http://h/b", "#2"},
		}},
		{"Allow", []string{"GET * /a", "PUT * /{x} X-A: 1", "PURGE,POST h /*", "DELETE *.h /*", "OPTIONS i /a"}, [][2]string{
			{"TRACE http://i/a", "method_not_allowed GET, HEAD, OPTIONS"},
			{"TRACE http://h/a", "method_not_allowed GET, HEAD, POST, PURGE"},
			{"TRACE http://h/a\nX-A: 1", "method_not_allowed GET, HEAD, POST, PURGE, PUT"},
			{"TRACE http://x.h/b", "method_not_allowed DELETE"},
			{"GET http://i/b", "no_route"},
			{"GET http://i/b\nX-A: 1", "method_not_allowed PUT"},
			{"NEW http://i/a", "method_not_allowed GET, HEAD, OPTIONS"},
		}},
		{"headers before query before file order", []string{
			"* * /a ?q=1 ?r=1 ?s=1", "* * /a X-A: 1", "* * /a X-A: 1 ?q=1", "* * /a X-A: 1 X-B: 1", "GET * /a", "* * /a",
		}, [][2]string{
			{"PUT http://h/a?q=1&r=1&s=1", "#0"},
			{"PUT http://h/a?q=1&r=1&s=1\nX-A: 1", "#2"},
			{"PUT http://h/a?q=2\nX-A: 1", "#1"},
			{"PUT http://h/a?q=1\nX-A: 1\nX-B: 1", "#3"},
			{"GET http://h/a?q=1\nX-A: 1\nX-B: 1", "#4"},
			{"PUT http://h/a", "#5"},
		}},
		{"file order", []string{"* * /{a}", "* * /{b}", "* * /x ?q=1", "* * /x ?r=1"}, [][2]string{
			{"GET http://h/a", "#0"}, {"GET http://h/x?r=1&q=1", "#2"}, {"GET http://h/x?r=1", "#3"},
		}},
		{"header values (security case 34)", []string{"* * /* X-Env: beta", "* * /* Accept-Language: de", "* * /* User-Agent: a,b", "* * /* X-Any: *", "* * /*"}, [][2]string{
			{"GET http://h/\nX-Env: beta", "#0"},
			{"GET http://h/\nx-env: beta", "#0"},
			{"GET http://h/\nX-Env: prod\nX-Env: beta", "#0"},
			{"GET http://h/\nX-Env: prod, beta", "#0"},
			{"GET http://h/\nX-Env: beta,prod", "#0"},
			{"GET http://h/\nX-Env: betamax", "#4"},
			{"GET http://h/\nX-Env: Beta", "#4"},
			{"GET http://h/\nX-Env: prod;beta", "#4"},
			{"GET http://h/\nAccept-Language: fr, de", "#1"},
			{"GET http://h/\nUser-Agent: a,b", "#2"},
			{"GET http://h/\nUser-Agent: a", "#4"},
			{"GET http://h/\nX-Any: ", "#3"},
		}},
		{"query values", []string{"* * /a ?q=1", "* * /b ?q=*", "* * /c ?a=ä%2B&", "* * /d ?q="}, [][2]string{
			{"GET http://h/a?q=1", "#0"},
			{"GET http://h/a?q=2&q=1", "#0"},
			{"GET http://h/a?%71=%31", "#0"},
			{"GET http://h/a?&&x&q=1&", "#0"},
			{"GET http://h/a?q=11", "no_route"},
			{"GET http://h/a?q", "no_route"},
			{"GET http://h/a?Q=1", "no_route"},
			{"GET http://h/a", "no_route"},
			{"GET http://h/b?q", "#1"},
			{"GET http://h/b?q=", "#1"},
			{"GET http://h/b?qq=", "no_route"},
			{"GET http://h/c?a=%c3%a4%252B%26", "#2"},
			{"GET http://h/d?q", "#3"},
			{"GET http://h/d?q=", "#3"},
			{"GET http://h/d?q=+", "no_route"},
		}},
		{"encoded slash", []string{"* * /files/{name}", "* * /files/secret/{name}", "* * /x/*", "* * /k/{name} keep", "* * /k/a/b", "GET * /m/a/b", "* * /m/{x}", "* * /n%2Fo"}, [][2]string{
			{"GET http://h/files/a%2Fb", "#0"},
			{"GET http://h/files/secret%2Fb", "path_ambiguous"},
			{"GET http://h/files%2Fa", "no_route"},
			{"GET http://h/x/a%2Fb%2fc", "#2"},
			{"GET http://h/k/a%2Fb", "#3"},
			{"GET http://h/m/a%2Fb", "path_ambiguous"},
			{"PUT http://h/m/a%2Fb", "#6"},
			{"GET http://h/files/secret/%2Fb", "#1"},
			{"GET http://h/n%2Fo", "#7"},
			{"GET http://h/files/secret;x%2Fb", "path_ambiguous"},
		}},
	} {
		t.Run(c.name, c.run)
	}
}

func TestLookupOfNoPath(t *testing.T) {
	table, _ := build(t, "* * /*")
	x := new(message.Exchange)
	for _, path := range []string{"", "*", "a"} {
		x.Reset()
		x.Request.Path = []byte(path)
		var res Result[string]
		table.Lookup(x, &res)
		if res.Reason != message.NoRoute {
			t.Errorf("path %q leads to %q", path, outcome(&res))
		}
	}
	var none Table[string]
	request(t, x, "GET http://h/")
	var res Result[string]
	none.Lookup(x, &res)
	if res.Reason != message.NoRoute {
		t.Errorf("an empty table leads to %q", outcome(&res))
	}
}

func TestCaptures(t *testing.T) {
	table, _ := build(t, "* * /a/{id}", "* * /b/{x}/c/{y}", "* * /old/*", "* * /p/{v}/{more...}", "GET * /same/{get}", "PUT * /same/{put}")
	x := new(message.Exchange)
	x.Captures = append(x.Captures, message.Capture{Name: "left over"})
	for _, c := range []struct{ target, want string }{
		{"GET http://h/a/7", "id=7"},
		{"GET http://h/a/%37%20%e2%82%ac", "id=7 €"},
		{"GET http://h/a/a%2Fb", "id=a/b"},
		{"GET http://h/a/a%252Fb", "id=a%2Fb"},
		{"GET http://h/a/7;v=1", "id=7"},
		{"GET http://h/a/%3bx", "id=;x"},
		{"GET http://h/a/a+b", "id=a+b"},
		{"GET http://h/b/1/c/2", "x=1 y=2"},
		{"GET http://h/b/%31;p/c;q/%322;r", "x=1 y=22"},
		{"GET http://h/old/", "rest="},
		{"GET http://h/old/a", "rest=a"},
		{"GET http://h/old/a/b%2Fc;d/%25/", "rest=a/b/c/%/"},
		{"GET http://h/p/2/x/y", "v=2 more=x/y"},
		{"GET http://h/same/1", "get=1"},
		{"PUT http://h/same/1", "put=1"},
		{"POST http://h/same/1", ""},
		{"GET http://h/none", ""},
	} {
		request(t, x, c.target)
		var res Result[string]
		table.Lookup(x, &res)
		table.Lookup(x, &res) // a second time, as after a rewrite: nothing is left over of the first
		var got []string
		for _, capture := range x.Captures {
			got = append(got, fmt.Sprintf("%s=%s", capture.Name, capture.Value))
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%q captures %q, want %q (%s)", c.target, text, c.want, outcome(&res))
		}
	}
}

func TestAmbiguousStillTellsTheRoute(t *testing.T) {
	table, _ := build(t, "* * /a/{x}", "* * /a/b/{x}")
	x := new(message.Exchange)
	request(t, x, "GET http://h/a/b%2Fc")
	var res Result[string]
	table.Lookup(x, &res)
	if res.Reason != message.PathAmbiguous || res.Name != "* * /a/{x}" || res.Pattern != "/a/{x}" || string(x.Capture("x")) != "b/c" {
		t.Errorf("got %+v, x = %q", res, x.Capture("x"))
	}
}

// A capture of several segments carries the piece of the path besides its decoded value, parameters and escapes included.
func TestRawCapture(t *testing.T) {
	for _, tc := range []struct{ pattern, path, value, raw string }{
		{"/old/*", "/old/a%2Fb/c", "a/b/c", "a%2Fb/c"},
		{"/old/*", "/old/", "", ""},
		{"/{a}/x/{b...}", "/p;v=1/x/q;w=2/r%20s", "q/r s", "q;w=2/r%20s"},
		{"/*", "/a", "a", "a"},
	} {
		var b Builder[int]
		if err := b.AddRoute(Route[int]{Name: "r", Match: Match{Path: tc.pattern}}); err != nil {
			t.Fatal(err)
		}
		table, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		var x message.Exchange
		x.Request.Method, x.Request.Path = message.MethodOf([]byte("GET")), []byte(tc.path)
		var res Result[int]
		table.Lookup(&x, &res)
		if len(x.Captures) == 0 {
			t.Errorf("%s on %s: no capture, reason %s", tc.pattern, tc.path, res.Reason)
			continue
		}
		if c := x.Captures[len(x.Captures)-1]; string(c.Value) != tc.value || string(c.Raw) != tc.raw || c.Raw == nil {
			t.Errorf("%s on %s: value %q, raw %q; want %q and %q", tc.pattern, tc.path, c.Value, c.Raw, tc.value, tc.raw)
		}
	}
}
