package proxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
	"github.com/sluice-gateway/sluice/route"
)

// day is a moment of the tests: midnight of 2026-01-01, in the zone of the caller.
var day = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// bank is an API with an old version, one that ends in a far future, one that has ended, and one without anything.
func bank(scope *metric.Scope, by ...route.Selector) (*route.API, *API) {
	of := &route.API{Name: "bank", By: by, Default: "v4", Versions: []string{"v1", "v2", "v3", "v4"}}
	return of, NewAPI(of, []Version{
		{Name: "v1", Deprecated: day, Successor: "v4", Link: `https://bank.example/v1>"ends`},
		{Name: "v2", Deprecated: day, Sunset: day.AddDate(900, 0, 0), Successor: "v4"},
		{Name: "v3", Sunset: day.AddDate(-1, 0, 0), Successor: "v4"},
		{Name: "v4"},
	}, scope, NewCallers([]string{"alice", "bob"}))
}

// of makes a route of a test one of an API.
func of(requests *route.API, answers *API, r route.Route[*Route], versions ...string) route.Route[*Route] {
	r.API, r.Versions, r.Payload.API = requests, versions, answers
	return r
}

var (
	byPath   = route.Selector{Kind: route.SelectPath}
	byHeader = route.Selector{Kind: route.SelectHeader, Name: "accept-version"}
	byType   = route.Selector{Kind: route.SelectMediaType, Name: "application/vnd.bank.{version}+json"}
	byQuery  = route.Selector{Kind: route.SelectQuery, Name: "version"}
)

// values returns the values of a field, one after the other.
func values(r *testnet.Response, name string) string {
	var all []string
	for _, f := range r.Header {
		if strings.EqualFold(f.Name, name) {
			all = append(all, f.Value)
		}
	}
	return strings.Join(all, " | ")
}

func TestVersionFields(t *testing.T) {
	const v1Ends = ` | <https://bank.example/v1%3E%22ends>; rel="deprecation"`
	own := &Respond{Status: 200, Headers: []Field{
		{message.NameOf("deprecation"), []byte("@1")}, {message.NameOf("Sunset"), []byte("soon")}, {message.NameOf("Link"), []byte("</next>; rel=next")},
		{message.NameOf("Vary"), []byte("Origin")}, {message.NameOf("vary"), []byte("accept-version, Cookie")},
	}}
	for _, c := range []struct {
		name    string
		by      []route.Selector
		request string
		status  int
		want    map[string]string // of fields; those that are not named here must not be there
	}{
		{"an old version", []route.Selector{byPath}, get("/v1/plain"), 200, map[string]string{
			"Deprecation": "@1767225600", "Link": `</v4/plain>; rel="successor-version"` + v1Ends}},
		{"an old version that ends", []route.Selector{byPath}, get("/v2/plain"), 200, map[string]string{
			"Deprecation": "@1767225600", "Sunset": "Tue, 01 Jan 2926 00:00:00 GMT", "Link": `</v4/plain>; rel="successor-version"`}},
		{"a version that has ended", []route.Selector{byPath}, get("/v3/plain?a=b"), 410, map[string]string{
			"Sunset": "Wed, 01 Jan 2025 00:00:00 GMT", "Link": `</v4/plain?a=b>; rel="successor-version"`}},
		{"a new version", []route.Selector{byPath}, get("/v4/plain"), 200, nil},
		{"the default", []route.Selector{byPath, byHeader}, get("/plain"), 200, map[string]string{"Vary": "accept-version"}},
		{"two fields", []route.Selector{byType, byHeader, byQuery}, get("/plain", "Accept: application/vnd.bank.v2+json"), 200, map[string]string{
			"Vary": "Accept, accept-version", "Deprecation": "@1767225600", "Sunset": "Tue, 01 Jan 2926 00:00:00 GMT", "Link": `</plain>; rel="successor-version"`}},
		{"what a service says", []route.Selector{byPath, byHeader, byType}, get("/v2/own"), 200, map[string]string{
			"Vary": "Origin, accept-version, Cookie, Accept", "Deprecation": "@1767225600", "Sunset": "Tue, 01 Jan 2926 00:00:00 GMT",
			"Link": `</next>; rel=next | </v4/own>; rel="successor-version"`}},
		{"what a service says of a new version", []route.Selector{byPath}, get("/own"), 200, map[string]string{
			"Vary": "Origin | accept-version, Cookie", "Deprecation": "@1", "Sunset": "soon", "Link": "</next>; rel=next"}},
		{"an answer that depends on everything", []route.Selector{byHeader}, get("/all"), 200, map[string]string{"Vary": "*"}},
		{"refused by a policy", []route.Selector{byPath, byHeader}, get("/v1/refused?q=%0A"), 400, map[string]string{
			"Vary": "accept-version", "Deprecation": "@1767225600", "Link": `</v4/refused?q=%0A>; rel="successor-version"` + v1Ends}},
		{"not one of the route's", []route.Selector{byPath, byHeader}, get("/v2/some/part"), 404, map[string]string{"Vary": "accept-version"}},
		{"unknown in the path", []route.Selector{byPath, byHeader}, get("/v9/plain"), 404, map[string]string{"Vary": "accept-version"}},
		{"unknown in a field", []route.Selector{byHeader}, get("/plain", "Accept-Version: v9"), 400, map[string]string{"Vary": "accept-version"}},
		{"unknown as a type", []route.Selector{byType}, get("/plain", "Accept: application/vnd.bank.v9+json"), 406, map[string]string{"Vary": "Accept"}},
		{"unknown in the query", []route.Selector{byQuery}, get("/plain?version=v9"), 400, nil},
		{"twice", []route.Selector{byHeader}, get("/plain", "Accept-Version: v1", "Accept-Version: v1"), 400, map[string]string{"Vary": "accept-version"}},
		{"of no API", []route.Selector{byPath, byHeader}, get("/free"), 200, nil},

		// The link is a reference, whatever the client has sent.
		{"the version alone", []route.Selector{byPath}, get("/v1"), 200, map[string]string{
			"Deprecation": "@1767225600", "Link": `</v4/>; rel="successor-version"` + v1Ends}},
		{"bytes that end a link", []route.Selector{byPath}, get(`/v2/a%3Eb"<>{}|^?c=">`), 200, map[string]string{
			"Deprecation": "@1767225600", "Sunset": "Tue, 01 Jan 2926 00:00:00 GMT", "Link": `</v4/a%3Eb%22%3C%3E%7B%7D%7C%5E?c=%22%3E>; rel="successor-version"`}},
		{"an empty query", []route.Selector{byHeader}, get("/plain?", "Accept-Version: v2"), 200, map[string]string{
			"Vary": "accept-version", "Deprecation": "@1767225600", "Sunset": "Tue, 01 Jan 2926 00:00:00 GMT", "Link": `</plain?>; rel="successor-version"`}},
		{"the version in the query", []route.Selector{byQuery}, get("/plain?a=1&version=v2&&%76ersion=v%32&versions=v2"), 200, map[string]string{
			"Deprecation": "@1767225600", "Sunset": "Tue, 01 Jan 2926 00:00:00 GMT",
			"Link": `</plain?a=1&version=v4&&%76ersion=v4&versions=v2>; rel="successor-version"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			requests, answers := bank(nil, c.by...)
			api := func(r route.Route[*Route], versions ...string) route.Route[*Route] {
				return of(requests, answers, r, versions...)
			}
			s := site(t, nil,
				api(at("/plain", &Route{})), api(at("/own", &Route{Action: own})), api(at("/some/part", &Route{}), "v1"), at("/free", &Route{}),
				api(at("/all", &Route{Action: &Respond{Status: 200, Headers: []Field{{message.Vary.Name(), []byte("*")}}}})),
				api(at("/refused", &Route{Policies: policies(t, `[{request: {headers: {set: {X-In: '${request.query["q"]}'}}}}]`)})),
				api(at("/", &Route{})), api(at("/{x}", &Route{})))
			r := ask(t, s, c.request)
			if r.Status != c.status {
				t.Errorf("answer %d %s, want %d", r.Status, r.Body, c.status)
			}
			for _, name := range []string{"Vary", "Deprecation", "Sunset", "Link"} {
				if got := values(r, name); got != c.want[name] {
					t.Errorf("%s: %s\n want %s", name, got, c.want[name])
				}
			}
		})
	}
}

func TestVersionProblems(t *testing.T) {
	requests, answers := bank(nil, byPath, byHeader, byType)
	s := site(t, nil, of(requests, answers, at("/a", &Route{}), "v1", "v4"))
	for _, c := range []struct {
		request  string
		status   int
		reason   message.Reason
		versions bool
	}{
		{get("/v9/a"), 404, message.VersionUnknown, true},
		{get("/a", "Accept-Version: nine"), 400, message.VersionUnknown, true},
		{get("/a", "Accept: application/vnd.bank.v9+json"), 406, message.VersionUnknown, true},
		{get("/v2/a"), 404, message.VersionNotOffered, false},
		{get("/v2/b"), 404, message.NoRoute, false},
		{get("/a", "Accept-Version: v1", "Accept-Version: v1"), 400, message.HeaderRepeated, false},
	} {
		r := ask(t, s, c.request)
		p := problemOf(t, r)
		if r.Status != c.status || p["status"] != float64(c.status) || p["reason"] != c.reason.String() || r.Header.Get("Sluice-Reason") != c.reason.String() {
			t.Errorf("%q: %d %v, want %d %s", c.request, r.Status, p, c.status, c.reason)
		}
		if got := fmt.Sprint(p["versions"]); (got == "[v1 v2 v3 v4]") != c.versions {
			t.Errorf("%q: versions %s", c.request, got)
		}
	}
}

// TestSunsetIsAMoment: until a second before it the version is served, and from it on it is not, with nothing forwarded.
func TestSunsetIsAMoment(t *testing.T) {
	now := message.Now()
	for offset, want := range map[time.Duration]int{-time.Second: 410, 0: 410, time.Second: 200} {
		requests := &route.API{Name: "a", By: []route.Selector{byPath}, Versions: []string{"v1"}}
		answers := NewAPI(requests, []Version{{Name: "v1", Sunset: message.WallTime(now).Truncate(time.Second).Add(offset)}}, nil, NewCallers(nil))
		s := site(t, nil, of(requests, answers, at("/a", &Route{})))
		h := NewHTTP(s)
		x := request("192.0.2.7:1", "example.test", "/v1/a")
		x.Times.Read = now
		served(h, x, func(x *message.Exchange) {
			if x.Response.Status != want || (x.Outcome.Reason == message.VersionSunset) != (want == 410) || x.Outcome.Route != "/a" {
				t.Errorf("%v from the sunset: %d %s on %q, want %d", offset, x.Response.Status, x.Outcome.Reason, x.Outcome.Route, want)
			}
		})
	}
	o := echo(t)
	requests, answers := bank(nil, byPath)
	s := site(t, nil, of(requests, answers, at("/a", &Route{Action: &Forward{backend(t, o.Addr, nil, nil)}})))
	if r := ask(t, s, get("/v3/a")); r.Status != 410 || o.Conns() != 0 {
		t.Errorf("answer %d, and %d connections to the service", r.Status, o.Conns())
	}
	if r := ask(t, s, get("/v2/a")); r.Status != 200 || r.Header.Get("X-Target") != "/a" {
		t.Errorf("answer %d from %q", r.Status, r.Header.Get("X-Target"))
	}
}

// TestVersionInThePath: what is forwarded, and what policies and templates see, has no version in its path, however paths are read.
func TestVersionInThePath(t *testing.T) {
	o := echo(t)
	merge, keep := message.PathRules{}, message.PathRules{Slashes: message.SlashesKeep}
	for _, c := range []struct {
		name            string
		listener, route message.PathRules
		sent, forwarded string // or, without a slash, the reason
	}{
		{"plain", merge, merge, "/v1/a/b", "/a/b"},
		{"with parameters", merge, merge, "/v1;x/a;y/b?v1", "/a;y/b?v1"},
		{"the version alone", merge, merge, "/v1", "/"},
		{"escaped", merge, merge, "/%76%31/a%20b", "/a%20b"},
		{"kept on the route", merge, keep, "//v1//a//b", "//a//b"},
		{"merged on the route", keep, merge, "/v1//a//b", "/a/b"},
		{"merged on the route, and another version then", keep, merge, "//v1/a", "path_ambiguous"},
		{"kept", keep, keep, "/v1//a", "//a"},
		{"dots", merge, merge, "/v2/../v1/a", "/a"},
		{"no version", merge, merge, "/a/v1", "/a/v1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			requests, answers := bank(nil, byPath)
			s := site(t, func(s *Site) { s.Paths = c.listener },
				of(requests, answers, at("/{x...}", &Route{Action: &Forward{backend(t, o.Addr, nil, nil)}, Paths: c.route})))
			r := connect(t, NewHTTP(s), listening(s), "192.0.2.7:1").Do("GET", get(c.sent))
			got := r.Header.Get("X-Target")
			if r.Status != 200 {
				got = r.Header.Get("Sluice-Reason")
			}
			if got != c.forwarded {
				t.Errorf("%s: %s, want %s", c.sent, got, c.forwarded)
			}
		})
	}
	requests, answers := bank(nil, byPath)
	s := site(t, nil, of(requests, answers, at("/old/{id}/*", &Route{Action: redirect(t, "/old/{id}/*", "/new${request.path}/${path.id}/${path.rest}", 308)})))
	if r := ask(t, s, get("/v1/old/7/a/b")); r.Header.Get("Location") != "/new/old/7/a/b/7/a/b" {
		t.Errorf("redirected to %q", r.Header.Get("Location"))
	}
}

// TestChoosingAgain: a route may be looked for twice, and the version is taken off once.
func TestChoosingAgain(t *testing.T) {
	requests, answers := bank(nil, byPath, byHeader)
	s := site(t, nil, of(requests, answers, at("/a", &Route{})), at("/b", &Route{}))
	x := request("192.0.2.7:1", "example.test", "/v1/a")
	state := &state{site: s}
	for range 2 {
		if f := state.choose(x, message.ReasonNone); f != nil || string(x.Request.Path) != "/a" || x.Version != "v1" || state.route.Name != "/a" {
			t.Fatalf("%v: %q %q on %s", f, x.Request.Path, x.Version, state.route.Name)
		}
	}
	state.leaveVersion(x)
	if string(x.Request.Path) != "/v1/a" || x.Version != "" || state.versioned.api != nil {
		t.Errorf("left with %q %q %+v", x.Request.Path, x.Version, state.versioned)
	}
}

// TestVersionsAreCounted, by the consumer where there is one, and logged.
func TestVersionsAreCounted(t *testing.T) {
	reg := metric.NewRegistry(metric.Options{})
	scope := reg.Scope()
	requests, answers := bank(scope, byPath)
	l, text := openLog(t)
	s := site(t, func(s *Site) { s.Log = l }, of(requests, answers, at("/a", &Route{}), "v1", "v3", "v4"), at("/free", &Route{}))
	h := NewHTTP(s)
	for _, c := range []struct{ path, consumer string }{
		{"/v1/a", ""}, {"/v1/a", "alice"}, {"/v1/a", "alice"}, {"/a", "bob"}, {"/v3/a", "-"}, {"/a", "stranger"}, {"/v2/a", ""}, {"/v9/a", ""}, {"/free", "bob"},
	} {
		x := request("192.0.2.7:1", "example.test", c.path)
		served(h, x, func(x *message.Exchange) {
			if c.consumer != "-" {
				x.Identity = &message.Identity{Consumer: c.consumer}
			}
		})
	}
	var page strings.Builder
	if _, err := reg.WriteTo(&page); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(page.String()) {
		if rest, ok := strings.CutPrefix(line, `sluice_api_requests_total{api="bank",`); ok {
			got = append(got, strings.TrimSpace(rest))
		}
	}
	slices.Sort(got)
	want := []string{`version="v1",consumer="alice"} 2`, `version="v1",consumer=""} 1`, `version="v3",consumer=""} 1`, `version="v4",consumer="bob"} 1`, `version="v4",consumer=""} 1`}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("counted %q\n   want %q", got, want)
	}
	lines := strings.Split(strings.TrimSpace(text()), "\n")
	for i, want := range []string{`"api":"bank","version":"v1"`, "", "", `"api":"bank","version":"v4"`, `"api":"bank","version":"v3"`, "", `"api":"bank","client"`, `"api":"bank","client"`} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line %d is %s, want %s in it", i, lines[i], want)
		}
	}
	if strings.Contains(lines[8], `"api"`) || !strings.Contains(lines[0], `"path":"/a"`) {
		t.Errorf("lines\n%s\n%s", lines[8], lines[0])
	}
}

// TestPreflightOfVersions: a browser asks without the field that names the version, and gets an answer nevertheless; a request that is no preflight of a
// route with the policy goes on as if it had not been looked at as one.
func TestPreflightOfVersions(t *testing.T) {
	requests, answers := bank(nil, byHeader, byPath)
	cors := `[{cors: {origins: ["https://app.example"]}}]`
	keep := message.PathRules{Slashes: message.SlashesKeep}
	s := site(t, func(s *Site) { s.Preflights = true },
		of(requests, answers, at("/a", &Route{Policies: policies(t, cors)}), "v1", "v3"),
		of(requests, answers, at("/b", &Route{})),
		at("/c/{x}", &Route{Paths: keep, Action: redirect(t, "/c/{x}", "/found${request.path}", 308)}))
	for _, c := range []struct {
		path   string
		status int
		want   string // where Access-Control-Allow-Origin is
	}{
		{"/a", 204, "https://app.example"}, {"/v1/a", 204, "https://app.example"}, {"/v3/a", 204, "https://app.example"}, {"/v9/a", 204, "https://app.example"},
		{"/v1/b", 200, ""}, {"/v2/none", 404, ""},
	} {
		r := ask(t, s, "OPTIONS "+c.path+" HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n\r\n")
		if r.Status != c.status || r.Header.Get("Access-Control-Allow-Origin") != c.want {
			t.Errorf("%s: answer %d %v, want %d %q", c.path, r.Status, r.Header, c.status, c.want)
		}
	}
	r := ask(t, s, "OPTIONS //c/d HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n\r\n")
	if got := r.Header.Get("Location"); r.Status != 308 || got != "/found//c/d" {
		t.Errorf("kept slashes: answer %d to %q", r.Status, got)
	}
}
