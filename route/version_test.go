package route

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// testAPIs are the APIs that routes of the tests belong to; read-only.
var testAPIs = map[string]*API{
	"bank": {Name: "bank", Default: "v2", Versions: []string{"v1", "v2", "v3"}, By: []Selector{
		{SelectPath, ""}, {SelectHeader, "Accept-Version"}, {SelectMediaType, "application/vnd.bank.{version}+json"}, {SelectQuery, "version"}}},
	"shop": {Name: "shop", Versions: []string{"v1", "2024-06"}, By: []Selector{{SelectHeader, "X-Shop"}, {SelectPath, ""}}},
	"mail": {Name: "mail", Default: "v1", Versions: []string{"v1", "v2"}, By: []Selector{{SelectQuery, "v"}, {SelectMediaType, "text/x-mail-{version}"}}},
	"path": {Name: "path", Versions: []string{"v1", "v2"}, By: []Selector{{SelectPath, ""}}},
	"type": {Name: "type", Versions: []string{"v1", "v2"}, By: []Selector{{SelectMediaType, "application/{version}"}}},
}

// versioned writes a result as the tests of versions want it: the route and the version, or the reason with its status.
func versioned(x *message.Exchange, res *Result[string]) string {
	switch {
	case res.Reason == message.VersionUnknown:
		return fmt.Sprintf("%s %d", res.Reason, res.Status)
	case res.Reason != message.ReasonNone:
		return outcome(res)
	case res.API == nil:
		return res.Name
	}
	text := res.Name + " " + res.API.Versions[res.Version]
	if res.InPath {
		text += " behind " + string(TrimVersion(x.Request.Path))
	}
	return text
}

// TestSelectors: each case is an API, and which version a request to / means: a name, or a reason with its status.
func TestSelectors(t *testing.T) {
	const accept = "GET http://h/\nAccept: "
	for _, c := range []struct{ api, request, want string }{
		// by path
		{"bank", "GET http://h/v1/", "v1"},
		{"bank", "GET http://h/v1", "v1"},
		{"bank", "GET http://h/v1;x=1/", "v1"},
		{"bank", "GET http://h/%761", "v1"},
		{"bank", "GET http://h/v9/", "version_unknown 404"},
		{"bank", "GET http://h/v9", "version_unknown 404"},
		{"bank", "GET http://h/v10/", "version_unknown 404"},
		{"bank", "GET http://h/V1/", "no_route"},
		{"bank", "GET http://h/v1a/", "no_route"},
		{"bank", "GET http://h/v/", "no_route"},
		{"shop", "GET http://h/2024-06", "2024-06"},
		{"shop", "GET http://h/2024-07", "no_route"}, // no v and digits
		{"path", "GET http://h/", "version_unknown 404"},
		{"mail", "GET http://h/v1", "no_route"}, // not by path

		// by header
		{"bank", "GET http://h/\naccept-version: v1", "v1"},
		{"bank", "GET http://h/\nAccept-Version: v9", "version_unknown 400"},
		{"bank", "GET http://h/\nAccept-Version: V1", "version_unknown 400"},
		{"bank", "GET http://h/\nAccept-Version: v1, v1", "version_unknown 400"},
		{"bank", "GET http://h/\nAccept-Version: ", "v2"},
		{"bank", "GET http://h/\nAccept-Version: v1\nAccept-Version: v1", "header_repeated"},
		{"bank", "GET http://h/\nAccept-Version: \nAccept-Version: v1", "header_repeated"},
		{"shop", "GET http://h/\nx-shop: v1", "v1"},
		{"shop", "GET http://h/\nX-Shop: v1\nX-SHOP: v1", "header_repeated"},
		{"shop", "GET http://h/", "version_unknown 400"},

		// by query
		{"mail", "GET http://h/?v=v2", "v2"},
		{"mail", "GET http://h/?a=v1&%76=v%32&b", "v2"},
		{"mail", "GET http://h/?v=v3", "version_unknown 400"},
		{"mail", "GET http://h/?v=", "v1"},
		{"mail", "GET http://h/?v", "v1"},
		{"mail", "GET http://h/?V=v2", "v1"},
		{"mail", "GET http://h/?v=v2&v=v2", "v2"},
		{"mail", "GET http://h/?v=v2&v=v1", "version_unknown 400"},
		{"mail", "GET http://h/?v=v2&v=v9", "version_unknown 400"},

		// by media type
		{"bank", accept + "application/vnd.bank.v1+json", "v1"},
		{"bank", accept + "Application/Vnd.Bank.V1+JSON; charset=utf-8", "v1"},
		{"bank", accept + "application/vnd.bank.v9+json", "version_unknown 406"},
		{"bank", accept + "application/vnd.bank.+json", "v2"}, // says nothing
		{"bank", accept + "application/json, */*;q=0.1", "v2"},
		{"bank", accept + "application/vnd.bank.v1+json;q=0.3, application/vnd.bank.v3+json; Q=0.301", "v3"},
		{"bank", accept + "application/vnd.bank.v3+json, application/vnd.bank.v1+json;q=1.000", "v3"},
		{"bank", accept + "application/vnd.bank.v3+json;q=0.000, application/vnd.bank.v1+json;q=0.001", "v1"},
		{"bank", accept + "application/vnd.bank.v3+json;q=0", "v2"},
		{"bank", accept + "application/vnd.bank.v9+json, application/vnd.bank.v1+json;q=0.1", "v1"},
		{"bank", accept + "application/vnd.bank.v9+json, application/json;q=0.1", "v2"},
		{"bank", accept + "application/vnd.bank.v9+json, application/json;q=0", "version_unknown 406"},
		{"bank", accept + "text/html\nAccept: application/vnd.bank.v1+json", "v1"},
		{"bank", "POST http://h/\nContent-Type: application/vnd.bank.v1+json;charset=utf-8\nbody: 5", "v1"},
		{"bank", "POST http://h/\nContent-Type: application/vnd.bank.v9+json\nbody: 5", "version_unknown 406"},
		{"bank", "POST http://h/\nContent-Type: application/json\nbody: 5", "v2"},
		{"bank", "POST http://h/\nbody: 5", "v2"},
		{"bank", "GET http://h/\nContent-Type: application/vnd.bank.v1+json", "v2"}, // there is no body
		{"bank", "POST http://h/\nContent-Type: application/vnd.bank.v1+json\nAccept: application/vnd.bank.v3+json\nbody: 5", "v3"},
		{"type", "GET http://h/", "version_unknown 406"},
		{"type", accept + "application/v2", "v2"},
		{"type", accept + "application/*", "version_unknown 406"},

		// disagreement: the first of `by` that names a version decides, and the others are not looked at
		{"bank", "GET http://h/v1/\nAccept-Version: v3", "v1"},
		{"bank", "GET http://h/v1/\nAccept-Version: v9", "v1"},
		{"bank", "GET http://h/v1/\nAccept-Version: v2\nAccept-Version: v3", "v1"},
		{"bank", "GET http://h/?version=v1\nAccept-Version: v3", "v3"},
		{"bank", "GET http://h/?version=v1\nAccept: application/vnd.bank.v3+json", "v3"},
		{"bank", "GET http://h/?version=v3", "v3"},
		{"shop", "GET http://h/v1/\nX-Shop: 2024-06", "2024-06"},
		{"shop", "GET http://h/v1/\nX-Shop: v9", "version_unknown 400"},
		{"shop", "GET http://h/v9/\nX-Shop: v1", "version_unknown 404"}, // v9 would else be a part of the path
		{"shop", "GET http://h/v9/\nX-Shop: v7", "version_unknown 400"},
		{"mail", "GET http://h/?v=v2\nAccept: text/x-mail-v1", "v2"},
		{"mail", "GET http://h/\nAccept: text/x-mail-v2", "v2"},
	} {
		table, _ := build(t, "* * / @"+c.api)
		x := new(message.Exchange)
		request(t, x, c.request)
		if strings.Contains(c.request, "\nbody: ") {
			x.Request.Length = 5
		}
		var res Result[string]
		table.Lookup(x, &res)
		got := versioned(x, &res)
		if res.Reason == message.ReasonNone {
			got = res.API.Versions[res.Version]
		} else if res.Reason != message.NoRoute && (res.API != testAPIs[c.api] || res.Payload != "* * / @"+c.api || res.Version >= 0) {
			t.Errorf("%s, %q: the failure tells %+v", c.api, c.request, res)
		}
		if got != c.want {
			t.Errorf("%s, %q: %s, want %s", c.api, c.request, got, c.want)
		}
	}
}

// TestVersionsOfRoutes: each case is a table, and what requests lead to: "#N VERSION [behind PATH]" or a reason.
func TestVersionsOfRoutes(t *testing.T) {
	for _, c := range []struct {
		name   string
		routes []string
		want   [][2]string
	}{
		{"one path, a route for each version", []string{"* * /a @bank:v1", "* * /a @bank:v2,v3"}, [][2]string{
			{"GET http://h/v1/a", "#0 v1 behind /a"}, {"GET http://h/v3/a", "#1 v3 behind /a"}, {"GET http://h/a", "#1 v2"},
			{"GET http://h/a\nAccept-Version: v1", "#0 v1"}, {"GET http://h/v2", "no_route"}, {"GET http://h/v1/v1/a", "no_route"},
		}},
		{"a version that is not offered", []string{"GET * /a @bank:v1", "* * /b @bank"}, [][2]string{
			{"GET http://h/a", "version_not_offered"}, {"GET http://h/v3/a", "version_not_offered"}, {"PUT http://h/a", "version_not_offered"},
			{"PUT http://h/v1/a", "method_not_allowed GET, HEAD"}, {"GET http://h/v9/a", "version_unknown 404"}, {"GET http://h/v9/c", "no_route"},
			{"GET http://h/v9/b", "version_unknown 404"}, {"GET http://h/c\nAccept-Version: v9", "no_route"},
		}},
		{"the version goes before the method", []string{"GET * /a @bank", "* * /a @bank:v1", "GET * /a"}, [][2]string{
			{"GET http://h/v1/a", "#1 v1 behind /a"}, {"GET http://h/v2/a", "#0 v2 behind /a"}, {"PUT http://h/v1/a", "#1 v1 behind /a"},
			{"PUT http://h/v2/a", "method_not_allowed GET, HEAD"}, {"HEAD http://h/v1/a", "#1 v1 behind /a"}, {"GET http://h/a", "#0 v2"},
		}},
		{"HEAD within its version", []string{"GET * /a @bank:v1", "HEAD * /a @bank:v2", "HEAD * /a @bank", "HEAD * /a"}, [][2]string{
			{"HEAD http://h/v1/a", "#0 v1 behind /a"}, {"HEAD http://h/v2/a", "#1 v2 behind /a"}, {"HEAD http://h/v3/a", "#2 v3 behind /a"},
		}},
		{"methods are those of the version", []string{"GET * /a @bank:v1", "POST * /a @bank:v2", "PUT * /a"}, [][2]string{
			{"DELETE http://h/v1/a", "method_not_allowed GET, HEAD"}, {"DELETE http://h/a", "method_not_allowed POST, PUT"},
		}},
		{"predicates", []string{"* * /a @bank:v1 X-A: 1", "* * /a @bank:v2 X-A: 2"}, [][2]string{
			{"GET http://h/v1/a\nX-A: 1", "#0 v1 behind /a"}, {"GET http://h/v1/a", "no_route"}, {"GET http://h/v1/a\nX-A: 2", "version_not_offered"},
		}},
		{"less specific routes take what is not offered", []string{"* * /a @bank:v1", "* * /{x} @bank:v2", "* * /*"}, [][2]string{
			{"GET http://h/v1/a", "#0 v1 behind /a"}, {"GET http://h/v2/a", "#1 v2 behind /a"}, {"GET http://h/v3/a", "#2"}, {"GET http://h/a", "#1 v2"},
		}},
		{"what is unknown is refused", []string{"* * /a @bank", "* * /*"}, [][2]string{
			{"GET http://h/v9/a", "version_unknown 404"}, {"GET http://h/a\nAccept-Version: v9", "version_unknown 400"},
			{"GET http://h/b\nAccept-Version: v9", "#1"}, {"GET http://h/v9/b", "#1"}, {"GET http://h/v9", "#1"}, {"GET http://h/v1/b", "#1"},
		}},
		{"who names a segment means it", []string{"* * /a @bank", "* * /v9/*", "* * /v8/b @bank"}, [][2]string{
			{"GET http://h/v9/a", "#1"}, {"GET http://h/v8/a", "version_unknown 404"}, {"GET http://h/v8/b", "#2 v2"}, {"GET http://h/v1/v8/b", "#2 v1 behind /v8/b"},
			{"GET http://h/v7/v8/b", "version_unknown 404"},
		}},
		{"routes without an API go on", []string{"* * /v1/a", "* * /v1/*", "* * /{x}/c", "* * /a @bank", "* * /b/c @bank", "* * /* @bank"}, [][2]string{
			{"GET http://h/v1/a", "#3 v1 behind /a"}, {"GET http://h/v1/b", "#5 v1 behind /b"}, // equal patterns: the API goes first
			{"GET http://h/x/c", "#2"}, {"GET http://h/v1/c", "#2"}, {"GET http://h/v1/b/c", "#4 v1 behind /b/c"},
		}},
		{"captures and rests", []string{"* * /{x} @path", "* * /f/* @path"}, [][2]string{
			{"GET http://h/v1/b", "#0 v1 behind /b"}, {"GET http://h/v1", "no_route"}, {"GET http://h/v9", "version_unknown 404"},
			{"GET http://h/b", "version_unknown 404"}, {"GET http://h/v2/f/g/h", "#1 v2 behind /f/g/h"}, {"GET http://h/v2/f", "#0 v2 behind /f"},
			{"GET http://h/v9/f/g", "version_unknown 404"},
		}},
		{"the version alone", []string{"* * / @path", "* * /{x...} @bank"}, [][2]string{
			{"GET http://h/v1", "#0 v1 behind /"}, {"GET http://h/v1/", "#0 v1 behind /"}, {"GET http://h/v3", "#1 v3 behind /"}, {"GET http://h/", "#1 v2"},
			{"GET http://h/v1/a", "#1 v1 behind /a"}, {"GET http://h/v1a", "#1 v2"},
		}},
		{"two APIs", []string{"* * /a @bank:v1", "* * /a @shop:v1", "* * /b @shop:2024-06"}, [][2]string{
			{"GET http://h/v1/a", "#0 v1 behind /a"}, {"GET http://h/a\nX-Shop: v1", "#1 v1"}, {"GET http://h/2024-06/b", "#2 2024-06 behind /b"},
			{"GET http://h/v2/a", "version_unknown 404"}, // the shop has no v2
			{"GET http://h/v2/b", "version_unknown 404"},
		}},
		{"hosts", []string{"* a /x @bank", "* * /{x}/x"}, [][2]string{
			{"GET http://a/v9/x", "version_unknown 404"}, {"GET http://b/v9/x", "#1"}, {"GET http://a/v1/x", "#0 v1 behind /x"}, {"GET http://b/v1/x", "#1"},
		}},
		{"an encoded slash", []string{"* * /* @bank", "* * /a @bank", "* * /b/{x} @bank keep"}, [][2]string{
			{"GET http://h/v1%2Fa", "path_ambiguous"}, {"GET http://h/v1%2Fb", "path_ambiguous"}, {"GET http://h/v9%2Fb", "path_ambiguous"},
			{"GET http://h/v1/c%2Fb", "#0 v1 behind /c%2Fb"}, {"GET http://h/v1/b/c%2Fb", "#2 v1 behind /b/c%2Fb"}, {"GET http://h/c%2Fb", "#0 v2"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			table, _ := build(t, c.routes...)
			x := new(message.Exchange)
			for _, w := range c.want {
				request(t, x, w[0])
				var res Result[string]
				table.Lookup(x, &res)
				got := versioned(x, &res)
				if i := slices.Index(c.routes, res.Name); i >= 0 {
					got = strings.Replace(got, res.Name, fmt.Sprintf("#%d", i), 1)
				}
				if got != w[1] {
					t.Errorf("%q leads to %s, want %s", w[0], got, w[1])
				}
			}
		})
	}
}

// TestVersionedCaptures: captures are those of the path without its version.
func TestVersionedCaptures(t *testing.T) {
	for _, c := range []struct{ route, target, want string }{
		{"* * /a/{x}/{y} @bank", "/v1/a/b%20c/d", "x=b c y=d"},
		{"* * /a/{x}/{y} @bank", "/a/b/d", "x=b y=d"},
		{"* * /a/* @bank", "/v1;p=1/a/b%2Fc/d", "rest=b/c/d (b%2Fc/d)"},
		{"* * /{x...} @bank", "/v1", "x= ()"},
		{"* * /{x...} @bank", "/v1/", "x= ()"},
		{"* * /{x...} @bank", "/v1/v1/a;b", "x=v1/a (v1/a;b)"},
	} {
		table, _ := build(t, c.route)
		x := new(message.Exchange)
		request(t, x, "GET http://h"+c.target)
		var res Result[string]
		table.Lookup(x, &res)
		var got []string
		for _, v := range x.Captures {
			text := v.Name + "=" + string(v.Value)
			if v.Raw != nil {
				text += " (" + string(v.Raw) + ")"
			}
			got = append(got, text)
		}
		if res.Reason != message.ReasonNone || strings.Join(got, " ") != c.want {
			t.Errorf("%s, %s: %v %q, want %q", c.route, c.target, res.Reason, got, c.want)
		}
	}
}

func TestTrimVersion(t *testing.T) {
	for in, want := range map[string]string{
		"/v1": "/", "/v1/": "/", "/v1/a/b": "/a/b", "/v1//a": "//a", "//v1/a": "/a", "//v1": "/", "": "/", "/": "/",
	} {
		if got := string(TrimVersion([]byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestAPIErrors(t *testing.T) {
	path := []Selector{{SelectPath, ""}}
	many := make([]string, MaxVersions+1)
	for i := range many {
		many[i] = fmt.Sprintf("v%d", i)
	}
	for _, c := range []struct {
		part, text string
		api        API
		versions   []string
	}{
		{"api", "does not say", API{Versions: []string{"v1"}}, nil},
		{"api", "0 versions", API{By: path}, nil},
		{"api", "65 versions", API{By: path, Versions: many}, nil},
		{"api", `"v1"`, API{By: path, Versions: []string{"v1", "v1"}}, nil},
		{"api", `"v 1"`, API{By: path, Versions: []string{"v 1"}}, nil},
		{"api", `"."`, API{By: path, Versions: []string{"."}}, nil},
		{"api", `""`, API{By: path, Versions: []string{""}}, nil},
		{"api", `"v2"`, API{By: path, Versions: []string{"v1"}, Default: "v2"}, nil},
		{"api", `"a b"`, API{By: []Selector{{SelectHeader, "a b"}}, Versions: []string{"v1"}}, nil},
		{"api", "empty", API{By: []Selector{{SelectQuery, ""}}, Versions: []string{"v1"}}, nil},
		{"api", "a/b", API{By: []Selector{{SelectMediaType, "a/b"}}, Versions: []string{"v1"}}, nil},
		{"api", "{version}/b", API{By: []Selector{{SelectMediaType, "{version}/b"}}, Versions: []string{"v1"}}, nil},
		{"api", "once", API{By: []Selector{{SelectMediaType, "a/{version}{version}"}}, Versions: []string{"v1"}}, nil},
		{"api", "kind 9", API{By: []Selector{{9, ""}}, Versions: []string{"v1"}}, nil},
		{"versions", `"v2"`, API{By: path, Versions: []string{"v1"}}, []string{"v1", "v2"}},
	} {
		var b Builder[int]
		err := b.AddRoute(Route[int]{Name: "x", API: &c.api, Versions: c.versions})
		var e *Error
		if !errors.As(err, &e) || e.Part != c.part || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%+v: error %v, want one of %s that says %q", c.api, err, c.part, c.text)
		}
	}
	var b Builder[int]
	if err := b.AddRoute(Route[int]{API: &API{By: path, Versions: many[:MaxVersions], Default: "v63"}, Match: Match{Path: strings.Repeat("/a", MaxSegments)}}); err != nil {
		t.Fatalf("%d versions: %v", MaxVersions, err)
	}
	table, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	x := new(message.Exchange)
	for version, want := range map[string]int{"": 63, "/v0": 0, "/v62": 62} {
		request(t, x, "GET http://h"+version+strings.Repeat("/a", MaxSegments))
		var res Result[int]
		if table.Lookup(x, &res); res.Reason != message.ReasonNone || res.Version != want {
			t.Errorf("%q: %v, version %d, want %d", version, res.Reason, res.Version, want)
		}
	}
}

// FuzzVersion reads versions from arbitrary fields and queries: what comes out is a place or one of the words for none, and the same twice.
func FuzzVersion(f *testing.F) {
	for _, s := range [][3]string{
		{"v1", "application/vnd.bank.v1+json;q=0.5, */*", "version=v1&version=v%31"},
		{"", "application/vnd.bank.v9+json;q=1.0000;;q=", "version&=&version=%"},
		{"v1,v2", ";,;q=0,q=\"a,b\"", "version=v1;version=v2"},
		{" v1", "application/vnd.bank.+json", "&&version=+"},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, header, accept, query string) {
		for _, value := range []string{header, accept} {
			if !message.ValidValue([]byte(value)) {
				return
			}
		}
		table, _ := build(t, "* * / @bank")
		x := new(message.Exchange)
		request(t, x, "GET http://h/")
		x.Request.Query = []byte(query)
		x.Request.Header.Add(message.NameOf("Accept-Version"), []byte(header))
		x.Request.Header.Add(message.NameOf("Accept"), []byte(accept))
		var first, second Result[string]
		table.Lookup(x, &first)
		table.Lookup(x, &second)
		switch {
		case first.Reason != second.Reason || first.Version != second.Version:
			t.Fatalf("%+v, then %+v", first, second)
		case first.Reason == message.ReasonNone && (first.Version < 0 || first.Version > 2), first.Reason != message.ReasonNone && first.Reason != message.VersionUnknown:
			t.Fatalf("%+v", first)
		case first.Reason == message.ReasonNone && header != "" && header != first.API.Versions[first.Version]:
			t.Fatalf("the header says %q, and %+v was found", header, first)
		}
	})
}
