package gateway

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
)

// echoing is an origin that answers with its name and the target of the request, and what it says itself of versions.
func echoing(t testing.TB, name string) *testnet.Origin {
	return testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		for {
			r, ok := c.ReadRequest()
			if !ok {
				return
			}
			body := name + " " + r.Target + " " + r.Header.Get("X-Seen")
			if !c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nDeprecation: @7\r\nLink: <https://a.example>; rel=\"license\"\r\nVary: Accept-Encoding\r\nContent-Length: %d\r\n\r\n%s", len(body), body)) {
				return
			}
		}
	})
}

// versions is a configuration with the section of the contract's bank.yaml, with dates of this test, and a backend for each version of a route.
func versions(old, next, more string) string {
	return fmt.Sprintf(`version: 1
access_log: stdout
listeners: {public: {address: "127.0.0.1:0", protocol: http}}
versions:
  bank-api:
    by: [path, header: Accept-Version, media_type: "application/vnd.bank.{version}+json", query: version]
    default: v2
    v0: {sunset: 2020-02-29, successor: v2}
    v1: {deprecated: 2026-01-01, sunset: 9027-01-01, successor: v2, link: https://bank.example/v1-ends}
    v2: {}
    v3: {}
policies:
  tell: {request: {headers: {set: {X-Seen: "${version}${request.path}"}}}}
routes:
  - {name: account-1, api: bank-api, versions: [v0, v1], match: {path: "/accounts/{id}", method: GET}, policies: [tell], rewrite: "/old/${path.id}", backend: old}
  - {name: account-2, api: bank-api, versions: [v2], match: {path: "/accounts/{id}", method: GET}, policies: [tell], backend: next}
  - {name: transfer, api: bank-api, versions: [v2], match: {path: /transfers, method: POST}, backend: next}
  - {name: never, api: bank-api, match: {path: /never}, policies: [{ip_filter: {deny: 127.0.0.0/8}}], respond: {}}
  - {name: rates, match: {path: "/rates/{currency}", method: GET}, backend: next}
%s
backends:
  old: {endpoints: [%q]}
  next: {endpoints: [%q]}
`, more, old, next)
}

func TestVersionsFromTheFile(t *testing.T) {
	old, next := echoing(t, "old"), echoing(t, "next")
	g := start(t, versions(old.Addr, next.Addr, ""))
	const deprecated = `@1767225600, Mon, 01 Jan 9027 00:00:00 GMT, </v2/accounts/7>; rel="successor-version", <https://bank.example/v1-ends>; rel="deprecation"`
	for _, tc := range []struct {
		request string // method, target, and fields
		status  int
		body    string // or the reason
		fields  string // Deprecation, Sunset, and Link but for that of the service
	}{
		{"GET /v2/accounts/7", 200, "next /accounts/7 v2/accounts/7", "@7"},
		{"GET /accounts/7", 200, "next /accounts/7 v2/accounts/7", "@7"},
		{"GET /v1/accounts/7", 200, "old /old/7 v1/accounts/7", deprecated},
		{"GET /accounts/7\r\nAccept-Version: v1", 200, "old /old/7 v1/accounts/7", deprecated},
		{"GET /accounts/7\r\nAccept: application/vnd.bank.v1+json", 200, "old /old/7 v1/accounts/7", deprecated},
		{"GET /accounts/7?version=v1", 200, "old /old/7?version=v1 v1/accounts/7", strings.Replace(deprecated, "/7>", "/7?version=v2>", 1)},
		{"GET /v1/accounts/7\r\nAccept-Version: v3", 200, "old /old/7 v1/accounts/7", deprecated},
		{"GET /v1/accounts/a%2Fb", 200, "old /old/a%2Fb v1/accounts/a%2Fb", strings.Replace(deprecated, "/7>", "/a%2Fb>", 1)},
		{"GET /v9/accounts/7", 404, "version_unknown", ""},
		{"GET /accounts/7\r\nAccept-Version: v9", 400, "version_unknown", ""},
		{"GET /accounts/7?version=v9", 400, "version_unknown", ""},
		{"GET /accounts/7\r\nAccept: application/vnd.bank.v9+json", 406, "version_unknown", ""},
		{"GET /accounts/7\r\nAccept-Version: v1\r\nAccept-Version: v2", 400, "header_repeated", ""},
		{"GET /v3/accounts/7", 404, "version_not_offered", ""},
		{"POST /v1/transfers\r\nContent-Length: 0", 404, "version_not_offered", ""},
		{"DELETE /v1/accounts/7", 405, "method_not_allowed", ""},
		{"GET /v0/accounts/7", 410, "version_sunset", `Sat, 29 Feb 2020 00:00:00 GMT, </v2/accounts/7>; rel="successor-version"`},
		{"GET /v1/accounts/..%2F7", 400, "path_ambiguous", ""},
		{"GET /v1/never", 403, "address_refused", strings.Replace(deprecated, "/accounts/7>", "/never>", 1)},
		{"GET /rates/EUR", 200, "next /rates/EUR ", "@7"},
		{"GET /rates/EUR\r\nAccept-Version: v9", 200, "next /rates/EUR ", "@7"},
		{"GET /v1/rates/EUR", 404, "no_route", ""},
		{"GET /v9/rates/EUR", 404, "no_route", ""},
	} {
		line, fields, _ := strings.Cut(tc.request, "\r\n")
		if fields != "" {
			fields += "\r\n"
		}
		method, _, _ := strings.Cut(line, " ")
		r := g.dial("public").Do(method, line+" HTTP/1.1\r\nHost: bank.example\r\n"+fields+"\r\n")
		got := string(r.Body)
		var problem struct {
			Reason   string
			Status   int
			Versions []string
		}
		if r.Status != 200 {
			if err := json.Unmarshal(r.Body, &problem); err != nil || problem.Status != r.Status {
				t.Errorf("%s: %v %s", tc.request, err, r.Body)
			}
			got = problem.Reason
		}
		if r.Status != tc.status || got != tc.body {
			t.Errorf("%q: answer %d %q, want %d %q", tc.request, r.Status, got, tc.status, tc.body)
		}
		if listed := fmt.Sprint(problem.Versions) == "[v0 v1 v2 v3]"; listed != (tc.body == "version_unknown") {
			t.Errorf("%q: the problem lists %v", tc.request, problem.Versions)
		}
		var told []string
		for _, name := range []string{"Deprecation", "Sunset", "Link"} {
			for _, v := range r.Header.All(name) {
				if v != `<https://a.example>; rel="license"` {
					told = append(told, v)
				}
			}
		}
		if got := strings.Join(told, ", "); got != tc.fields {
			t.Errorf("%q: the answer says\n%s, want\n%s", tc.request, got, tc.fields)
		}
		if own := strings.Join(r.Header.All("Link"), ""); r.Status == 200 && !strings.Contains(own, "license") {
			t.Errorf("%q: the service's own link is lost: %q", tc.request, own)
		}
		want := map[bool]string{true: "Accept-Encoding, Accept-Version, Accept", false: "Accept-Version, Accept"}[r.Status == 200]
		if strings.Contains(tc.request, "rates") || tc.body == "method_not_allowed" || tc.body == "path_ambiguous" {
			want = map[bool]string{true: "Accept-Encoding"}[r.Status == 200]
		}
		if got := strings.Join(r.Header.All("Vary"), " | "); got != want {
			t.Errorf("%q: Vary %q, want %q", tc.request, got, want)
		}
	}
	for series, want := range map[string]string{
		`{api="bank-api",version="v1",consumer=""}`: "7", `{api="bank-api",version="v2",consumer=""}`: "2", `{api="bank-api",version="v0",consumer=""}`: "1",
	} {
		// An exchange is counted when its answer has been sent, which the client may see first.
		testnet.Eventually(t, series+" to be "+want, func() bool { return g.metric("sluice_api_requests_total"+series) == want })
	}
	if got := old.Received() + next.Received(); strings.Contains(got, "/v0") || strings.Contains(got, "/v1") || strings.Contains(got, "/v2") {
		t.Error("a service got a path with a version")
	}
	g.Close()
	for _, want := range []string{`"route":"account-1","api":"bank-api","version":"v1"`, `"route":"account-1","api":"bank-api","version":"v0"`, `"api":"bank-api","client"`} {
		if !strings.Contains(g.out.String(), want) {
			t.Errorf("the log has no line with %s", want)
		}
	}
}

// TestVersionsByConsumer: who uses what is counted over a reload, and the versions of the next configuration are the ones that count.
func TestVersionsByConsumer(t *testing.T) {
	const text = `version: 1
listeners: {public: {address: "127.0.0.1:0", protocol: http}}
versions: {bank-api: {by: path, default: v2, v1: {}, v2: {}, v3: {}}}
consumers: [{name: budget-app, api_keys: ["sha256:5f7b2ed74a9736a538a6fb5a5a1a76afdcdd0d177d7fc6e79c6b6843527d848d"]}]
routes:
  - {api: bank-api, match: {path: /key}, policies: [{api_key: {header: X-API-Key}}], respond: {}}
`
	g := start(t, text)
	c := g.dial("public")
	ask := func(path string, status int) {
		t.Helper()
		if r := c.Do("GET", "GET "+path+" HTTP/1.1\r\nHost: a\r\nX-API-Key: demo-partner-key\r\n\r\n"); r.Status != status {
			t.Fatalf("%s: answer %d %s, want %d", path, r.Status, r.Body, status)
		}
	}
	series := func(version string) string {
		return g.metric(`sluice_api_requests_total{api="bank-api",version="` + version + `",consumer="budget-app"}`)
	}
	ask("/v1/key", 200)
	ask("/key", 200)
	if series("v1") != "1" || series("v2") != "1" {
		t.Errorf("counted %s and %s, want one each", series("v1"), series("v2"))
	}
	g.take(strings.Replace(strings.Replace(text, "v3: {}", "v4: {}", 1), "default: v2", "default: v4", 1))
	ask("/v1/key", 200)
	ask("/v3/key", 404)
	ask("/key", 200)
	if series("v1") != "2" || series("v4") != "1" {
		t.Errorf("counted %s and %s after the reload, want 2 and 1", series("v1"), series("v4"))
	}
}

// TestRoutesBesideVersions: a catch-all of no API gets what is not the API's, and not what only misspells a version of it.
func TestRoutesBesideVersions(t *testing.T) {
	old, next := echoing(t, "old"), echoing(t, "next")
	g := start(t, versions(old.Addr, next.Addr, "  - {name: site, match: {path: /*}, respond: {text: site}}\n  - {name: first, match: {path: /v0/*}, respond: {text: first}}"))
	c := g.dial("public")
	for path, body := range map[string]string{
		"/": "site", "/v1": "site", "/v9": "site", "/v9/site": "site", "/v3/accounts/7": "site", "/v1/accounts": "site", "/v0/a": "first",
		"/v2/accounts/7": "next /accounts/7 v2/accounts/7",
	} {
		want(t, c, path, 200, body)
	}
	want(t, c, "/v9/accounts/7", 404, "")
	want(t, c, "/v0/accounts/7", 410, "") // more specific than /v0/*
}

// TestCheckOfVersions: what the table finds and what the text shows is told with its place.
func TestCheckOfVersions(t *testing.T) {
	text := versions("127.0.0.1:1", "127.0.0.1:1", "  - {name: hidden, api: bank-api, versions: v2, match: {path: \"/accounts/{x}\", method: GET}, respond: {}}\n"+
		"  - {name: behind, api: bank-api, match: {path: /v1/a}, respond: {}}\n  - {name: last, api: bank-api, match: {path: \"/accounts/{x}\", method: GET}, respond: {}}")
	c := parse(t, text)
	if err := Check(c); err != nil {
		t.Fatal(err)
	}
	got := c.Warnings.Error()
	for _, want := range []string{`route "hidden" can never match`, `"v1" is a version of the API "bank-api"`} {
		if strings.Count(got, want) != 1 {
			t.Errorf("the warnings are\n%s\nwant %q once", got, want)
		}
	}
	if strings.Contains(got, "last") {
		t.Errorf("the warnings are\n%s", got)
	}
	c = parse(t, strings.Replace(text, "{name: rates,", "{name: rates, policies: [tell],", 1))
	if err := Check(c); err == nil || !strings.Contains(err.Error(), "version is not known here") {
		t.Errorf("a route of no API has a version: %v", err)
	}
}
