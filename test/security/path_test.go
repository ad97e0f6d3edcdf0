package security

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/test/rig"
)

// zones is a configuration where the router's decision shows: what is below /admin must not be reachable by any other spelling, and what is not must not
// be taken for it.
const zones = `version: 1
access_log: stdout
listeners: {web: {address: "127.0.0.1:0", protocol: http%s}}
routes:
  - {name: admin, match: {path: "/admin/*"}, backend: admin}
  - {name: exact, match: {path: "/admin"}, backend: admin}
  - {name: item, match: {path: "/items/{id}"}, backend: open%s}
  - {name: open, match: {path: "/*"}, backend: open}
backends: {admin: {endpoints: [%q]}, open: {endpoints: [%q]}}
`

// reading is how one spelling of a path must be read.
type reading struct {
	sent  string
	route string // that is chosen; "" if the request is refused
	path  string // that is forwarded and logged; the reason if the request is refused
}

// checkReadings sends each target and checks that router, backend and log see the same path.
func checkReadings(t *testing.T, listener, item string, all []reading) {
	t.Helper()
	admin, open := rig.NewOrigin(t, "admin", nil), rig.NewOrigin(t, "open", nil)
	g := rig.Start(t, fmt.Sprintf(zones, listener, item, admin.Addr(), open.Addr()))
	ids := make([]string, len(all))
	for i, q := range all {
		c := g.Dial("web")
		before := map[*rig.Origin]int{admin: len(admin.Received()), open: len(open.Received())}
		c.Push(get(q.sent))
		r := c.Response("GET")
		c.Close()
		ids[i] = r.Header.Get("X-Request-Id")
		if q.route == "" {
			if r.Status != 400 || r.Reason() != q.path {
				t.Errorf("%q: answer %d %q, want 400 %s", q.sent, r.Status, r.Reason(), q.path)
			}
			if len(admin.Received()) != before[admin] || len(open.Received()) != before[open] {
				t.Errorf("%q: something reached a backend", q.sent)
			}
			continue
		}
		o := map[string]*rig.Origin{"admin": admin, "exact": admin, "item": open, "open": open}[q.route]
		if r.Status != 200 || string(r.Body) != o.Name {
			t.Errorf("%q: answer %d %q %q, want 200 of %s", q.sent, r.Status, r.Reason(), r.Body, o.Name)
			continue
		}
		saw, err := o.Asked(ids[i])
		if err != nil || len(saw) != 1 {
			t.Errorf("%q: the backend saw %d requests (%v)", q.sent, len(saw), err)
			continue
		}
		if path, _, _ := strings.Cut(saw[0].Target, "?"); path != q.path {
			t.Errorf("%q: forwarded %q, want %q", q.sent, saw[0].Target, q.path)
		}
	}
	g.Close()
	log := byID(t, g.Log(len(all)))
	for i, q := range all {
		l := log[ids[i]]
		switch {
		case l == nil:
			t.Errorf("%q: no line in the log", q.sent)
		case q.route == "" && l["reason"] != q.path:
			t.Errorf("%q: logged reason %v, want %s", q.sent, l["reason"], q.path)
		case q.route != "" && (l["path"] != q.path || l["route"] != q.route):
			t.Errorf("%q: logged %v for route %v; want %q for route %s", q.sent, l["path"], l["route"], q.path, q.route)
		}
	}
}

// byID returns the lines of an access log by their request ids.
func byID(t *testing.T, lines []map[string]any) map[string]map[string]any {
	t.Helper()
	all := make(map[string]map[string]any, len(lines))
	for _, l := range lines {
		id, _ := l["request_id"].(string)
		if id == "" || all[id] != nil {
			t.Errorf("line without an id of its own: %v", l)
		}
		all[id] = l
	}
	return all
}

func TestCase35OnePath(t *testing.T) {
	t.Parallel()
	const invalid, ambiguous = "path_invalid", "path_ambiguous"
	checkReadings(t, "", "", []reading{
		{"/admin", "exact", "/admin"},
		{"/admin/x", "admin", "/admin/x"},
		{"/a/../admin/x", "admin", "/admin/x"},
		{"/a/./../admin/./x", "admin", "/admin/x"},
		{"/admin/../a", "open", "/a"},
		{"/admin/x/..", "admin", "/admin/"},
		{"/../../admin/x", "admin", "/admin/x"},
		{"/a//b", "open", "/a/b"},
		{"//admin//x", "admin", "/admin/x"},
		{"/a//../admin/x", "admin", "/admin/x"},
		{"/%61dmin/x", "admin", "/admin/x"},
		{"/%61%64%6D%69%6e/x", "admin", "/admin/x"},
		{"/admin%3fx", "open", "/admin%3Fx"},
		{"/admin/x%3Fy?z", "admin", "/admin/x%3Fy"},
		{"/admin?", "exact", "/admin"},
		{"/admin/x?/../a", "admin", "/admin/x"},
		{"/a?/../admin/x", "open", "/a"},
		{"/admin;x=1/y", "admin", "/admin;x=1/y"},
		{"/admin;x=1", "exact", "/admin;x=1"},
		{"/items/7;v=1", "item", "/items/7;v=1"},
		{"/admin/%2a%7e", "admin", "/admin/%2A~"},
		{"/%41dmin/x", "open", "/Admin/x"},
		{"/ADMIN/x", "open", "/ADMIN/x"},
		{"/a%2fb", "open", "/a%2Fb"},
		{"/items/%c3%bc", "item", "/items/%C3%BC"},
		{"/items/%ff", "item", "/items/%FF"},
		{"/items/...", "item", "/items/..."},
		{"/items/.x", "item", "/items/.x"},
		{"/items/x.", "item", "/items/x."},
		{"/items/a%40b", "item", "/items/a%40b"},

		{"/%2e%2e/admin", "", ambiguous},
		{"/a/%2e%2e/admin", "", ambiguous},
		{"/a/%2E./admin", "", ambiguous},
		{"/a/.%2e/admin", "", ambiguous},
		{"/a/%2e/b", "", ambiguous},
		{"/a/%252e%252e/admin", "", ambiguous},
		{"/a/%25252e%25252e/admin", "", ambiguous},
		{"/a/%25%32%65%25%32%65/admin", "", ambiguous},
		{"/a/.;/b", "", ambiguous},
		{"/a/..;/admin", "", ambiguous},
		{"/..;/admin", "", ambiguous},
		{"/a/..;x=y/admin", "", ambiguous},
		{"/a/%2e%2e;/admin", "", ambiguous},
		{"/a/;/b", "", ambiguous},
		{"/;x/admin", "", ambiguous},
		{"/a/..%2fadmin/x", "", ambiguous},
		{"/a%2f..%2fadmin/x", "", ambiguous},
		{"/a/%2e%2e%2fadmin", "", ambiguous},
		{"/a/..%5cadmin", "", ambiguous},
		{"/a\\b", "", ambiguous},
		{"/a/..\\admin", "", ambiguous},
		{"/a%5cb", "", ambiguous},
		{"/a%5Cb", "", ambiguous},
		{"/admin%2Fx", "", ambiguous}, // another route if %2F were a slash
		{"/items/a%2Fb", "", ambiguous},
		{"/%2Fadmin/x", "", ambiguous},
		{"/a%00", "", invalid},
		{"/a%00/admin", "", invalid},
		{"/a%", "", invalid},
		{"/a%2", "", invalid},
		{"/a%zz", "", invalid},
		{"/a%u002e", "", invalid},
		{"/a#frag", "", invalid},
		{"/a?b#frag", "", invalid},
		{"/%c0%ae%c0%ae/admin", "", invalid},
		{"/%c0%afadmin", "", invalid},
		{"/%e0%80%ae/admin", "", invalid},
		{"/%f0%80%80%ae/admin", "", invalid},
		{"/\u202e", "", invalid},
		{"/a\x01", "", invalid},
		{"/a\x7f", "", invalid},
	})
}

// The spellings that a listener or route may let pass are still read once.
func TestCase35OnePathRelaxed(t *testing.T) {
	t.Parallel()
	t.Run("slashes kept", func(t *testing.T) {
		checkReadings(t, ", paths: {slashes: keep}", "", []reading{
			{"/a//b", "open", "/a//b"},
			{"//admin/x", "open", "//admin/x"},
			{"/admin//x", "admin", "/admin//x"},
			{"/a//../admin", "open", "/a/admin"},
		})
	})
	t.Run("slashes refused", func(t *testing.T) {
		checkReadings(t, ", paths: {slashes: refuse}", "", []reading{
			{"/a//b", "", "path_ambiguous"},
			{"/a/", "open", "/a/"},
			{"//", "", "path_ambiguous"},
		})
	})
	t.Run("backslash kept", func(t *testing.T) {
		checkReadings(t, ", paths: {backslash: keep}", "", []reading{
			{"/a\\b", "open", "/a\\b"},
			{"/a%5cb", "open", "/a%5Cb"},
			{"/a/..\\admin", "", "path_ambiguous"},
			{"/a/%2e%2e%5cadmin", "", "path_ambiguous"},
		})
	})
	t.Run("encoded slash kept on a route", func(t *testing.T) {
		checkReadings(t, "", ", paths: {encoded_slash: keep}", []reading{
			{"/items/a%2fb", "item", "/items/a%2Fb"},
			{"/items/..%2fadmin", "", "path_ambiguous"},
			{"/admin%2Fx", "", "path_ambiguous"},
		})
	})
	t.Run("only one route keeps backslashes", func(t *testing.T) {
		checkReadings(t, "", ", paths: {backslash: keep}", []reading{
			{"/items/a\\b", "item", "/items/a\\b"},
			{"/a\\b", "", "path_ambiguous"},
			{"/admin/a%5cb", "", "path_ambiguous"},
		})
	})
	t.Run("only warned", func(t *testing.T) {
		checkReadings(t, ", strict: warn", "", []reading{
			{"/a/%2e%2e/admin/x", "admin", "/admin/x"},
			{"/a%5cb", "open", "/a%5Cb"},
			{"/a%zz", "", "path_invalid"},
			{"/a b", "", "request_line_invalid"},
		})
	})
}

// What a pattern captured is put into another path without making new segments of it.
func TestCase36CapturedPath(t *testing.T) {
	t.Parallel()
	o := rig.NewOrigin(t, "app", nil)
	g := rig.Start(t, fmt.Sprintf(`version: 1
access_log: stdout
listeners: {web: {address: "127.0.0.1:0", protocol: http}}
routes:
  - {match: {path: "/old/*"}, redirect: {to: "/new/${path.rest}"}}
  - {match: {path: "/one/{id}"}, redirect: {to: "https://a.test/x/${path.id}/y?z=${path.id}"}}
  - {match: {path: "/q"}, redirect: {to: "/r/${request.query['to']}"}}
  - match: {path: "/head/{id}"}
    policies: [{request: {headers: {set: {X-Id: "${path.id}"}}, query: {set: {id: "${path.id}"}}}}]
    backend: app
backends: {app: {endpoints: [%q]}}
`, o.Addr()))
	for _, q := range []struct{ sent, location, reason string }{
		{"/old/a/b", "/new/a/b", ""},
		{"/old/a%2Fb/c", "/new/a%2Fb/c", ""}, // %2F stays what it was
		{"/old/a%20b", "/new/a%20b", ""},
		{"/old/a%3Fb", "/new/a%3Fb", ""},
		{"/old/%252e%252e/b", "", "path_ambiguous"},
		{"/old/..%2fb", "", "path_ambiguous"},
		{"/old/.../b", "/new/.../b", ""},
		{"/one/a%2Fb", "https://a.test/x/a%2Fb/y?z=a%2Fb", ""},
		{"/one/a%252Fb", "https://a.test/x/a%252Fb/y?z=a%252Fb", ""},
		{"/one/a%26b%3Dc", "https://a.test/x/a%26b%3Dc/y?z=a%26b%3Dc", ""},
		{"/one/%0d%0aX:y", "https://a.test/x/%0D%0AX%3Ay/y?z=%0D%0AX%3Ay", ""},
		{"/q?to=a", "/r/a", ""},
		{"/q?to=..", "", "path_value_invalid"},
		{"/q?to=%2e%2e", "", "path_value_invalid"},
		{"/q?to=.", "", "path_value_invalid"},
		{"/q?to=%252e%252e", "", "path_value_invalid"},
		{"/q?to=", "", "path_value_invalid"},
		{"/q", "", "path_value_invalid"},
		{"/q?to=../admin", "", "path_value_invalid"},
		{"/q?to=//evil.test", "/r/%2F%2Fevil.test", ""},
		{"/q?to=%00", "", "path_value_invalid"},
	} {
		c := g.Dial("web")
		c.Push(get(q.sent))
		r := c.Response("GET")
		c.Close()
		got := r.Header.Get("Location")
		if got != q.location || r.Reason() != q.reason || (r.Status == 308) != (q.reason == "") {
			t.Errorf("%s: answer %d %q to %q, want %q to %q", q.sent, r.Status, r.Reason(), got, q.reason, q.location)
		}
	}
	for _, q := range []struct{ sent, target, id, reason string }{
		{"/head/a", "/head/a?id=a", "a", ""},
		{"/head/a%26b%3D1", "/head/a%26b%3D1?id=a%26b%3D1", "a&b=1", ""},
		{"/head/a%0d%0aX:y", "", "", "header_value_invalid"},
		{"/head/%C3%BC", "/head/%C3%BC?id=%C3%BC", "ü", ""},
	} {
		c := g.Dial("web")
		c.Push(get(q.sent))
		r := c.Response("GET")
		c.Close()
		saw, err := o.Asked(r.Header.Get("X-Request-Id"))
		switch {
		case q.reason != "":
			if r.Status != 400 || r.Reason() != q.reason || len(saw) != 0 {
				t.Errorf("%s: answer %d %q and %d requests, want 400 %s", q.sent, r.Status, r.Reason(), len(saw), q.reason)
			}
		case err != nil || len(saw) != 1:
			t.Errorf("%s: the backend saw %d requests (%v)", q.sent, len(saw), err)
		case saw[0].Target != q.target || saw[0].Header.Get("X-Id") != q.id:
			t.Errorf("%s: forwarded %q with X-Id %q, want %q with %q", q.sent, saw[0].Target, saw[0].Header.Get("X-Id"), q.target, q.id)
		}
	}
}

func TestCase37Hosts(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 10_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			var routes strings.Builder
			for i := range n - 1 {
				fmt.Fprintf(&routes, "  - {match: {host: \"h%d.test\"}, respond: {text: \"h%d\"}}\n", i, i)
			}
			o := rig.NewOrigin(t, "app", nil)
			g := rig.Start(t, fmt.Sprintf(`version: 1
access_log: stdout
listeners: {web: {address: "127.0.0.1:0", protocol: http}}
routes:
%s  - {name: shop, match: {host: [Shop.Test, xn--mnchen-3ya.test, "[2001:DB8::1]"]}, backend: app}
  - {name: below, match: {host: "*.Shop.Test"}, respond: {text: below}}
  - {name: others, respond: {text: others}}
backends: {app: {endpoints: [%q]}}
`, routes.String(), o.Addr()))
			c := g.Dial("web")
			logged := make(map[string]string)
			for _, q := range []struct{ host, want, forwarded string }{
				{"shop.test", "app", "shop.test"},
				{"SHOP.TEST", "app", "shop.test"},
				{"sHoP.tEsT", "app", "shop.test"},
				{"shop.test.", "app", "shop.test"},
				{"shop.test:8080", "app", "shop.test:8080"},
				{"Shop.Test.:80", "app", "shop.test:80"},
				{"xn--mnchen-3ya.test", "app", "xn--mnchen-3ya.test"},
				{"XN--MNCHEN-3YA.test", "app", "xn--mnchen-3ya.test"},
				{"[2001:db8::1]", "app", "[2001:db8::1]"},
				{"[2001:0DB8:0:0::1]:80", "app", "[2001:db8::1]:80"},
				{"a.shop.test", "below", ""},
				{"A.b.SHOP.test.:1", "below", ""},
				{"xshop.test", "others", ""},
				{"shop.test.evil", "others", ""},
				{"shop-test", "others", ""},
			} {
				c.Send(hosted("Host: " + q.host + "\r\n"))
				r := c.Response("GET")
				if string(r.Body) != q.want {
					t.Errorf("Host %s is answered by %q, want %q", q.host, r.Body, q.want)
				}
				if q.want == "app" {
					saw, err := o.Asked(r.Header.Get("X-Request-Id"))
					if err != nil || len(saw) != 1 || saw[0].Header.Get("Host") != q.forwarded {
						t.Errorf("Host %s: forwarded %v (%v), want %s", q.host, saw, err, q.forwarded)
					}
					name := q.forwarded
					if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, ']') {
						name = name[:i]
					}
					logged[r.Header.Get("X-Request-Id")] = name
				}
			}
			g.Close()
			for id, l := range byID(t, g.Log(1)) {
				if want, forwarded := logged[id]; forwarded && l["host"] != want {
					t.Errorf("logged host %v, forwarded %s", l["host"], want)
				}
			}
		})
	}
}

// Letters whose lower case has another length, or is ASCII, or whose upper case is two letters: nobody may fold them.
func TestCase38CaseFolding(t *testing.T) {
	t.Parallel()
	var all []attempt
	for _, odd := range []string{"\u212a", "\u0130", "\u1e9e", "\u017f", "\ufb03", "\u1f88", "\xe2\x84", "\xff"} {
		all = append(all,
			refused(odd+" in a host", hosted("Host: "+odd+"elvin.test\r\n"), 400, "host_invalid"),
			refused(odd+" in a target", get("/"+odd), 400, "path_invalid"),
			refused(odd+" in a name", with("X-"+odd+": 1\r\n"), 400, "header_name_invalid"),
			refused(odd+" in a method", odd+"ET / HTTP/1.1\r\nHost: a.test\r\n\r\n", 400, "method_invalid"),
			refused(odd+" in a coding", post("Transfer-Encoding: "+odd+"chunked\r\n", hello), 400, "transfer_encoding_invalid"),
			passes(odd+" in a value", with("X-A: "+odd+"\r\n"), `GET /x ""`),
			passes(odd+" in Connection", with("Connection: X-"+odd+", clo"+odd+"e\r\n"), `GET /x ""`),
		)
	}
	runAll(t, all)
}

func TestCase39PrefixEndsAtSegment(t *testing.T) {
	t.Parallel()
	checkReadings(t, "", "", []reading{
		{"/admin", "exact", "/admin"},
		{"/admin/", "admin", "/admin/"},
		{"/administrator", "open", "/administrator"},
		{"/administrator/x", "open", "/administrator/x"},
		{"/admin.html", "open", "/admin.html"},
		{"/admin%20", "open", "/admin%20"},
		{"/adminx/../admin/x", "admin", "/admin/x"},
		{"/admi", "open", "/admi"},
		{"/x/admin/y", "open", "/x/admin/y"},
		{"/items/7/x", "open", "/items/7/x"},
		{"/items/", "open", "/items/"},
	})
}
