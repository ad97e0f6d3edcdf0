package gateway

import (
	"fmt"
	"strings"
	"testing"
)

// TestPreflight: preflight requests are answered by the route that the request to come would have, before policies and whatever version it will mean; and
// what a page may read stands on refusals, too.
func TestPreflight(t *testing.T) {
	app := repeating(t)
	g := start(t, fmt.Sprintf(`version: 1
listeners:
  web: {address: "127.0.0.1:0", protocol: http}
  other: {address: "127.0.0.1:0", protocol: http}
versions:
  shop:
    by: [path, header: Accept-Version]
    v0: {sunset: 2020-02-29, successor: v1}
    v1: {}
    v2: {}
policies:
  pages: {cors: {origins: [https://app.example, "https://*.shop.example"], credentials: true, headers: [Content-Type, X-Api-Key], expose: [Sunset], max_age: 1h}}
  everybody: {cors: {origins: "*"}}
  nobody: {ip_filter: {deny: 127.0.0.0/8}}
routes:
  - {name: items, api: shop, versions: [v0, v1], match: {path: "/items/{id}", method: [GET, PUT]}, policies: [nobody, pages], backend: app}
  - {name: open, match: {path: /open, method: GET}, policies: [everybody], backend: app}
  - {name: plain, match: {path: /plain, method: GET}, backend: app}
  - {name: own, match: {path: /own, method: [GET, OPTIONS]}, backend: app}
  - {name: elsewhere, listeners: [other], match: {path: /elsewhere}, policies: [everybody], respond: {}}
  - {name: gone, match: {path: /gone}, policies: [pages], backend: away}
backends:
  app: {endpoints: [%q]}
  away: {endpoints: ["127.0.0.1:1"]}
`, app.Addr))
	const from, evil = "Origin: https://app.example", "Origin: https://evil.example"
	const ask = "\r\nAccess-Control-Request-Method: "
	for _, tc := range []struct {
		request string // method, target, and fields
		status  int
		reason  string
		origin  string // Access-Control-Allow-Origin
		methods string // Access-Control-Allow-Methods
	}{
		{"OPTIONS /v1/items/7\r\n" + from + ask + "PUT", 204, "", "https://app.example", "PUT"},
		{"OPTIONS /v1/items/7\r\nOrigin: https://a.shop.example" + ask + "GET\r\nAccess-Control-Request-Headers: x-api-key,content-type", 204, "", "https://a.shop.example", "GET"},
		{"OPTIONS /v1/items/7\r\nOrigin: https://shop.example" + ask + "GET", 204, "", "", ""},
		{"OPTIONS /v1/items/7\r\n" + evil + ask + "PUT", 204, "", "", ""},
		{"OPTIONS /v1/items/7\r\n" + from + ask + "PUT\r\nAccess-Control-Request-Headers: x-other", 204, "", "", ""},
		// The field that will name the version is not sent ahead; neither is one that is over.
		{"OPTIONS /items/7\r\n" + from + ask + "GET\r\nAccess-Control-Request-Headers: accept-version", 204, "", "", ""},
		{"OPTIONS /items/7\r\n" + from + ask + "GET", 204, "", "https://app.example", "GET"},
		{"OPTIONS /v0/items/7\r\n" + from + ask + "GET", 204, "", "https://app.example", "GET"},
		// No route of that method: the request is what it is, a request of a method that the route does not have.
		{"OPTIONS /v1/items/7\r\n" + from + ask + "DELETE", 405, "method_not_allowed", "", ""},
		{"OPTIONS /v1/items/7\r\n" + from, 405, "method_not_allowed", "", ""},
		{"OPTIONS /v1/items/7" + ask + "PUT", 405, "method_not_allowed", "", ""},
		{"OPTIONS /unknown\r\n" + from + ask + "GET", 404, "no_route", "", ""},
		{"OPTIONS /elsewhere\r\n" + from + ask + "GET", 404, "no_route", "", ""},
		{"OPTIONS /plain\r\n" + from + ask + "GET", 405, "method_not_allowed", "", ""},
		{"OPTIONS /own\r\n" + from + ask + "GET", 200, "", "", ""},
		{"OPTIONS /open\r\n" + evil + ask + "GET", 204, "", "*", "GET"},
		{"OPTIONS /open\r\n" + evil + ask + "HEAD", 204, "", "*", "HEAD"},
		{"OPTIONS /open\r\n" + evil + ask + "G E T", 405, "method_not_allowed", "", ""},
		{"OPTIONS *\r\n" + from + ask + "GET", 404, "no_route", "", ""},
		// Answers and refusals.
		{"GET /v1/items/7\r\n" + from, 403, "address_refused", "https://app.example", ""},
		{"GET /v1/items/7\r\n" + evil, 403, "address_refused", "", ""},
		{"GET /gone\r\n" + from, 502, "upstream_connect_refused", "https://app.example", ""},
		{"GET /open\r\n" + from, 200, "", "*", ""},
		{"GET /v0/items/7\r\n" + from, 410, "version_sunset", "https://app.example", ""},
		{"GET /v2/items/7\r\n" + from, 404, "version_not_offered", "https://app.example", ""},
		{"GET /v9/items/7\r\n" + from, 404, "version_unknown", "https://app.example", ""},
		{"GET /v9/items/7\r\n" + evil, 404, "version_unknown", "", ""},
	} {
		method, _, _ := strings.Cut(tc.request, " ")
		line, fields, _ := strings.Cut(tc.request, "\r\n")
		if fields != "" {
			fields += "\r\n"
		}
		r := g.dial("web").Do(method, line+" HTTP/1.1\r\nHost: shop.example\r\n"+fields+"\r\n")
		if r.Status != tc.status || r.Header.Get("Sluice-Reason") != tc.reason ||
			r.Header.Get("Access-Control-Allow-Origin") != tc.origin || r.Header.Get("Access-Control-Allow-Methods") != tc.methods {
			t.Errorf("%q: %d %v", tc.request, r.Status, r.Header)
		}
		if n := len(r.Header.All("X-Request-Id")); n != 1 {
			t.Errorf("%q: %d request ids", tc.request, n)
		}
		pages := strings.Contains(tc.request, "/items") && tc.status != 405 || strings.Contains(tc.request, "/gone")
		if vary := strings.Join(r.Header.All("Vary"), ", "); pages != strings.Contains(vary, "Origin") && tc.status != 204 {
			t.Errorf("%q: Vary %q", tc.request, vary)
		}
		if got := r.Header.Get("Access-Control-Allow-Credentials"); (got == "true") != (tc.origin != "" && tc.origin != "*") {
			t.Errorf("%q: credentials %q", tc.request, got)
		}
	}
}
