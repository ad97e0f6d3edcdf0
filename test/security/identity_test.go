package security

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/test/rig"
)

// identitySecret signs the tokens of these tests.
const identitySecret = "a-secret-of-32-bytes-or-more-0123456789"

// identityToken returns the field of a token with claims, as JSON.
func identityToken(claims string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	mac := hmac.New(sha256.New, []byte(identitySecret))
	mac.Write([]byte(text))
	return "Authorization: Bearer " + text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) + "\r\n"
}

// identitySite is a configuration with identity policies of several kinds, for the addresses of an auth service and of a backend.
const identitySite = `version: 1
admin: {address: "127.0.0.1:0"}
access_log: stdout
listeners: {web: {address: "127.0.0.1:0", protocol: http, trailers: [X-User, X-Sum], limits: {header_count: 500}}}
consumers: [{name: partner, api_keys: ["sha256:5f7b2ed74a9736a538a6fb5a5a1a76afdcdd0d177d7fc6e79c6b6843527d848d"]}]
policies:
  sign-in: {jwt: {secret: "a-secret-of-32-bytes-or-more-0123456789", require: []}}
  key: {api_key: {}}
  asked: {forward_auth: {url: "http://%s/check", headers: [X-User, X-Roles], request_headers: [Cookie, Accept]}}
  either: {any_of: [asked, key]}
routes:
  - {match: {path: /open}, backend: app}
  - {match: {path: /token}, policies: [sign-in], backend: app}
  - {match: {path: /key}, policies: [key], backend: app}
  - {match: {path: /asked}, policies: [asked], backend: app}
  - {match: {path: /either}, policies: [either], backend: app}
  - {match: {path: /parts}, policies: [asked], compose: {steps: {app: {backend: app, path: /part}}, body: {app: "${app.body}"}}}
backends:
  app: {endpoints: [%q]}
`

// forgeries are fields by which a client says what only the gateway, or the service that it asks, may say of it.
func forgeries() string {
	var b strings.Builder
	for _, field := range []string{
		"X-Consumer", "X-Consumer-Plan", "X-Authenticated-Subject", "X-Client-Cert", "Sluice-Reason", "Sluice-Debug", "X-Sluice-Debug", "X-User", "X-Roles",
	} {
		for _, s := range spellings(field) {
			b.WriteString(s + ": forged\r\n" + s + ": forged again\r\n")
		}
	}
	return b.String()
}

// The auth service is asked about a request that holds nothing forged, and neither the backend gets any of it, whatever the service answers; as trailers
// neither.
func TestCase27And31AuthSubrequest(t *testing.T) {
	t.Parallel()
	auth := rig.NewOrigin(t, "auth", func(c *rig.OriginConn) {
		for r := c.Request(); r != nil; r = c.Request() {
			if strings.Contains(r.Header.Get("Cookie"), "silent") {
				c.Answer(200, "") // nothing of the caller
			} else {
				c.Answer(200, "", "X-User: jane")
			}
		}
	})
	backend := rig.NewOrigin(t, "app", nil)
	g := rig.Start(t, fmt.Sprintf(identitySite, auth.Addr(), backend.Addr()))
	for _, c := range []struct{ path, fields, user string }{
		{"/asked", "Cookie: loud\r\n", "[jane]"}, {"/asked", "Cookie: silent\r\n", "[]"}, {"/asked", "", "[jane]"},
		{"/either", "Cookie: loud\r\n", "[jane]"}, {"/either", "X-API-Key: demo-partner-key\r\n", "[]"},
		{"/parts", "Cookie: silent\r\n", "[]"},
	} {
		client := g.Dial("web")
		client.Send("POST " + c.path + " HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n" + c.fields + forgeries() +
			"\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n" + forgeries() + "\r\n")
		if r := client.Response("POST"); r.Status != 200 {
			t.Errorf("%s: answer %d %q", c.path, r.Status, r.Reason())
		}
		client.Close()
		all, err := backend.Requests()
		if err != nil || len(all) == 0 {
			t.Fatalf("%s: the backend got %d requests, %v", c.path, len(all), err)
		}
		last := all[len(all)-1]
		if got := fmt.Sprint(last.Header.All("X-User")); got != c.user {
			t.Errorf("%s with %q: the backend got X-User %s, want %s", c.path, c.fields, got, c.user)
		}
		if got := fmt.Sprint(last.Trailer); c.path != "/parts" && got != "[{X-Sum 1}]" {
			t.Errorf("%s: the backend got the trailers %s", c.path, got)
		}
	}
	for _, o := range []*rig.Origin{auth, backend} {
		if got := o.Received(); strings.Contains(got, "forged") {
			t.Errorf("%s got\n%s", o.Name, got)
		}
	}
}

// Who calls is what was found out, on routes with and without identity, also if the client is a trusted proxy.
func TestCase31WhoCalls(t *testing.T) {
	t.Parallel()
	for _, listener := range []string{"", trusted + ", "} {
		backend := rig.NewOrigin(t, "app", nil)
		text := fmt.Sprintf(identitySite, "127.0.0.1:1", backend.Addr())
		g := rig.Start(t, strings.Replace(text, "trailers: [X-User", listener+"trailers: [X-User", 1))
		for path, fields := range map[string]string{"/open": "", "/token": identityToken(`{"sub":"c-7"}`), "/key": "X-API-Key: demo-partner-key\r\n"} {
			client := g.Dial("web")
			client.Send("GET " + path + " HTTP/1.1\r\nHost: a.test\r\n" + fields + strings.ReplaceAll(forgeries(), "X-User", "X-Usual") + "\r\n")
			if r := client.Response("GET"); r.Status != 200 {
				t.Errorf("%s: answer %d %q", path, r.Status, r.Reason())
			}
			client.Close()
			want := map[bool]string{true: "[partner]", false: "[]"}[path == "/key"]
			all, err := backend.Requests()
			if err != nil {
				t.Fatal(err)
			}
			header := all[len(all)-1].Header
			if got := fmt.Sprint(header.All("X-Consumer")); got != want {
				t.Errorf("%s: the backend got X-Consumer %s, want %s", path, got, want)
			}
			for _, f := range header {
				name := strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(f.Name))
				if strings.HasPrefix(f.Value, "forged") && !strings.HasPrefix(name, "x-us") && name != "x-roles" {
					t.Errorf("%s: the backend got %s: %s", path, f.Name, f.Value)
				}
			}
		}
	}
}

// The admin listener answers no page of the web, changes nothing for a request that a page could send by itself, and nothing but exact paths.
func TestCase66Admin(t *testing.T) {
	t.Parallel()
	backend := rig.NewOrigin(t, "app", nil)
	g := rig.Start(t, fmt.Sprintf(identitySite, "127.0.0.1:1", backend.Addr()))
	address := g.AdminAddr().String()
	if !strings.HasPrefix(address, "127.0.0.1:") {
		t.Errorf("the admin listener is at %s", address)
	}
	endpoint := "/backends/app/endpoints/" + backend.Addr()
	const drain = `{"state": "drain"}`
	ask := func(method, path, host, fields, body string) *testnet.Response {
		c := testnet.Dial(t, address)
		defer c.Close()
		return c.Do(method, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n%s", method, path, host, len(body), fields, body))
	}
	state := func() string {
		r := ask("GET", "/backends/app", address, "", "")
		var answer struct{ Endpoints []struct{ State string } }
		if err := json.Unmarshal(r.Body, &answer); err != nil || len(answer.Endpoints) != 1 {
			t.Fatalf("%d %s %v", r.Status, r.Body, err)
		}
		return answer.Endpoints[0].State
	}
	const asJSON = "Content-Type: application/json\r\n"
	for _, c := range []struct {
		name, method, path, host, fields string
		status                           int
	}{
		{"a page's change", "PATCH", endpoint, address, asJSON + "Origin: https://evil.test\r\n", 403},
		{"a page's change, of no origin", "PATCH", endpoint, address, asJSON + "Origin: null\r\n", 403},
		{"a page's look", "GET", "/backends", address, "Origin: https://evil.test\r\n", 403},
		{"a name that leads here", "PATCH", endpoint, "rebound.evil.test", asJSON, 403},
		{"a name that leads here, with the port", "GET", "/backends", "rebound.evil.test:" + address[strings.LastIndexByte(address, ':')+1:], "", 403},
		{"a form", "POST", endpoint, address, "Content-Type: application/x-www-form-urlencoded\r\n", 405},
		{"text", "PATCH", endpoint, address, "Content-Type: text/plain\r\n", 415},
		{"no type", "PATCH", endpoint, address, "", 415},
		{"a change by a look", "GET", endpoint + "?state=drain", address, "", 405},
		{"a longer path", "PATCH", endpoint + "/more", address, asJSON, 404},
		{"another case", "PATCH", strings.Replace(endpoint, "/backends", "/Backends", 1), address, asJSON, 404},
	} {
		r := ask(c.method, c.path, c.host, c.fields, drain)
		if r.Status != c.status {
			t.Errorf("%s: status %d, want %d: %s", c.name, r.Status, c.status, r.Body)
		}
		if got := state(); got != "ready" {
			t.Fatalf("%s: the endpoint is in the state %q", c.name, got)
		}
		if kind := r.Header.Get("Content-Type"); strings.Contains(kind, "html") || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: the answer is of the type %q", c.name, kind)
		}
	}
	if r := ask("GET", "/backends/%3Cscript%3E", address, "", ""); r.Status != 404 || strings.Contains(string(r.Body), "<script>") {
		t.Errorf("the answer holds what was asked for: %d %s", r.Status, r.Body)
	}
	if r := ask("PATCH", endpoint, address, asJSON, drain); r.Status != 200 || state() != "drain" {
		t.Errorf("an operator's change: status %d, state %s", r.Status, state())
	}
}

// expanding is a configuration that puts data of requests wherever it can.
const expanding = `version: 1
access_log: stdout
listeners: {web: {address: "127.0.0.1:0", protocol: http}}
policies:
  sign-in: {jwt: {secret: "a-secret-of-32-bytes-or-more-0123456789", require: []}}
  copy:
    request:
      headers: {set: {X-Copy: "${request.headers['x-in']}", X-Claim: "a ${claims.note} b", X-Cookie: "${request.cookies.c}"}}
      query: {set: {copy: "${request.query.q}", claim: "${claims.note}"}}
      body: {set: {copy: "${request.headers['x-in']}", nested.claim: "${claims.note}"}}
  back: {response: {headers: {set: {X-Back: "${request.headers['x-in']}", X-Their: "${response.headers['x-told']}"}}, body: {set: {copy: "${request.query.q}"}}}}
  shape: {request: {body: {template: {a: "${request.headers['x-in']}", "b": ["${claims.note}"]}}}}
routes:
  - {match: {path: "/copy/{name}"}, policies: [sign-in, copy, back], rewrite: "/to/${path.name}", backend: app}
  - {match: {path: "/shape/{name}"}, policies: [sign-in, shape], backend: app}
  - {match: {path: "/moved/*"}, policies: [sign-in], redirect: {to: "/to/${path.rest}?x=${request.query.q}", status: 307}}
  - match: {path: "/parts/{name}"}
    policies: [sign-in]
    compose:
      steps:
        one: {backend: app, path: "/one/${path.name}", query: {q: "${request.query.q}"}, headers: {X-In: "${request.headers['x-in']}"}, method: POST, body: {in: "${claims.note}"}}
        two: {backend: app, path: "/two/${one.body.told}", query: {q: "${one.body.told}"}, headers: {X-In: "${one.body.told}"}, method: POST, body: {in: "${one.body.told}", all: "${one.body}"}}
      body: {one: "${one.body}", text: "told: ${two.body.told}", in: "${request.headers['x-in']}"}
backends:
  app: {endpoints: [%q]}
`

// What a client or a service sends is data: a placeholder in it is never expanded, however often it is passed on.
func TestCase67PlaceholdersInData(t *testing.T) {
	t.Setenv("SLUICE_TEST_SECRET", "expanded-secret")
	for _, placeholder := range []string{
		"${env:SLUICE_TEST_SECRET}", "${claims.sub}", "$${claims.sub}", "${${claims.sub}}", "${file:/etc/hostname}", "${one.body.secret}", "${request.headers['authorization']}", "{{.Secret}}", "${",
	} {
		backend := rig.NewOrigin(t, "app", func(c *rig.OriginConn) {
			for c.Request() != nil {
				told, _ := json.Marshal(placeholder)
				c.Answer(200, `{"secret":"not shown","told":`+string(told)+`}`, "Content-Type: application/json", "X-Told: "+placeholder)
			}
		})
		g := rig.Start(t, fmt.Sprintf(expanding, backend.Addr()))
		note, err := json.Marshal(placeholder)
		if err != nil {
			t.Fatal(err)
		}
		token := identityToken(fmt.Sprintf(`{"sub":"expanded-sub","note":%s,"exp":%d}`, note, time.Now().Add(time.Hour).Unix()))
		quoted, escaped := string(note), url.QueryEscape(placeholder)
		inPath := strings.ReplaceAll(url.PathEscape(placeholder), "/", "%2F")
		var answers strings.Builder
		for _, path := range []string{"/copy/", "/shape/", "/moved/", "/parts/"} {
			name := inPath
			if strings.Contains(placeholder, "/") {
				name = "plain" // a slash is another case of the list
			}
			body := `{"own":` + quoted + `}`
			c := g.Dial("web")
			c.Send(fmt.Sprintf("POST %s%s?q=%s HTTP/1.1\r\nHost: a.test\r\n%sX-In: %s\r\nCookie: c=%s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
				path, name, escaped, token, placeholder, placeholder, len(body), body))
			r := c.Response("POST")
			c.Close()
			if r.Status != 200 && r.Status != 307 {
				t.Errorf("%s with %s: answer %d %q %s", path, placeholder, r.Status, r.Reason(), r.Body)
			}
			fmt.Fprintf(&answers, "%v\n%s\n", r.Header, r.Body)
		}
		got := backend.Received()
		for _, text := range []string{got, answers.String(), g.Out.String()} {
			if strings.Contains(text, "expanded-") {
				t.Errorf("%s was expanded:\n%s", placeholder, text)
			}
		}
		for what, want := range map[string]string{
			"a header": "X-Copy: " + placeholder + "\r\n", "a header of a claim": "X-Claim: a " + placeholder + " b\r\n", "a body": `{"own":` + quoted + `,"copy":` + quoted + `,"nested":{"claim":` + quoted + `}}`,
			"a template": `{"a":` + quoted + `,"b":[` + quoted + `]}`, "a part's body": `{"in":` + quoted + `}`, "what a service told": `{"in":` + quoted + `,"all":{"secret":"not shown","told":` + quoted + `}}`,
			"a part's header": "X-In: " + placeholder + "\r\n",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("%s: the backend did not get %s as it is, %q, in\n%s", placeholder, what, want, got)
			}
		}
		if want := `"text":"told: ` + quoted[1:]; !strings.Contains(answers.String(), want) || !strings.Contains(answers.String(), "{X-Back "+placeholder+"}") || !strings.Contains(answers.String(), "{X-Their "+placeholder+"}") {
			t.Errorf("%s: the answers are\n%s", placeholder, answers.String())
		}
	}
}

// The gateway's own names come from nobody but the gateway.
func TestCase69OwnNames(t *testing.T) {
	t.Parallel()
	backend := rig.NewOrigin(t, "app", func(c *rig.OriginConn) {
		for c.Request() != nil {
			c.Answer(200, "", "Sluice-Reason: forged", "X-Sluice-Debug: forged", "sluice-anything: forged", "X-Other: 1")
		}
	})
	g := rig.Start(t, fmt.Sprintf(identitySite, "127.0.0.1:1", backend.Addr()))
	for _, path := range []string{"/open", "/key"} {
		c := g.Dial("web")
		c.Send("GET " + path + " HTTP/1.1\r\nHost: a.test\r\nX-API-Key: demo-partner-key\r\n" + forgeries() + "X-Sluicegate: kept\r\n\r\n")
		r := c.Response("GET")
		c.Close()
		for _, f := range r.Header {
			if f.Value == "forged" {
				t.Errorf("%s: the client got %s of the service", path, f.Name)
			}
		}
		if r.Status != 200 || r.Header.Get("X-Other") != "1" {
			t.Errorf("%s: answer %d %v", path, r.Status, r.Header)
		}
	}
	all, err := backend.Requests()
	if err != nil || len(all) != 2 {
		t.Fatalf("%d requests, %v", len(all), err)
	}
	for _, q := range all {
		for _, f := range q.Header {
			if strings.Contains(strings.ToLower(f.Name), "sluice") && f.Value != "kept" {
				t.Errorf("the backend got %s: %s", f.Name, f.Value)
			}
		}
		if q.Header.Get("X-Sluicegate") != "kept" {
			t.Error("a name of somebody else was removed")
		}
	}
}
