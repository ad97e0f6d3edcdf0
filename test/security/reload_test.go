package security

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/config"
	"github.com/sluice-gateway/sluice/test/rig"
)

func TestCase68BadConfiguration(t *testing.T) {
	t.Parallel()
	o := rig.NewOrigin(t, "app", nil)
	good := site(o, "")
	g := rig.Start(t, good)
	c := g.Dial("web") // a connection from before every attempt
	works := func() {
		t.Helper()
		for _, c := range []*rig.Client{c, g.Dial("web")} {
			c.Send(get("/"))
			if r := c.Response("GET"); r.Status != 200 || string(r.Body) != "app" {
				t.Errorf("answer %d %q, want that of the configuration before", r.Status, r.Body)
			}
		}
		if got := g.Metric("sluice_config_generation"); got != "1" {
			t.Errorf("generation %s is served, want 1", got)
		}
	}
	works()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, q := range []struct {
		name, old, new string
		place          string // how the error begins; "" if it is not about the text
		text           string // what it holds
	}{
		{"no YAML", "routes:", "routes: [", "test.yaml:", ""},
		{"nothing", good, "", "test.yaml:1", ""},
		{"unknown key", "backend: app", "backnd: app", "test.yaml:6:", "backend"},
		{"unknown backend", "backend: app", "backend: ap", "test.yaml:6:", "app"},
		{"bad duration", "protocol: http", "protocol: http, timeouts: {header: 10}", "test.yaml:4:", "10s"},
		{"bad address", `"127.0.0.1:0"`, `"127.0.0.1"`, "test.yaml:4:", "127.0.0.1"},
		{"bad pattern", "/*", "/*/x", "test.yaml:6:", "path"},
		{"bad expression", "backend: app", `redirect: {to: "${nothing}"}`, "test.yaml:6:", "nothing"},
		{"two actions", "backend: app", `backend: app, respond: {text: x}`, "test.yaml:6:", "actions"},
		{"header that would be two", "backend: app", `policies: [{request: {headers: {set: {X-A: "b\r\nc"}}}}], backend: app`, "test.yaml:6:", "X-A"},
		{"no certificate", "protocol: http", "protocol: https, tls: {certificates: [{cert: none.pem, key: none.key}]}", "test.yaml:4:", "none.pem"},
		{"another version", "version: 1", "version: 2", "test.yaml:1:", "version"},
		{"busy port", `"127.0.0.1:0"`, fmt.Sprintf("%q", taken.Addr()), "", taken.Addr().String()},
		{"busy port of admin", "access_log: stdout", fmt.Sprintf("access_log: stdout\nadmin: {address: %q}", taken.Addr()), "", taken.Addr().String()},
		{"log in a folder that is not there", "access_log: stdout", "access_log: /nowhere/at/all/access.log", "", "/nowhere/at/all"},
		{"two listeners at one address", `listeners:`, "listeners:\n  a: {address: \"127.0.0.1:9\", protocol: http}\n  b: {address: \"127.0.0.1:9\", protocol: http}", "", "127.0.0.1:9"},
	} {
		err := g.Reload(strings.Replace(good, q.old, q.new, 1))
		var inText config.Errors
		switch {
		case err == nil:
			t.Fatalf("%s: it is taken over", q.name)
		case errors.As(err, &inText) != (q.place != "") && q.text != "127.0.0.1:9":
			t.Errorf("%s: error %v, of the text: want %v", q.name, err, q.place != "")
		case !strings.HasPrefix(err.Error(), q.place) || !strings.Contains(err.Error(), q.text):
			t.Errorf("%s: error %q, want it to begin with %s and to hold %q", q.name, err, q.place, q.text)
		}
		works()
	}
	// All errors are told, and the next good configuration is taken over.
	err = g.Reload(strings.NewReplacer("backend: app", "backnd: app", "protocol: http", "protocol: htp", "version: 1", "version: 3").Replace(good))
	for _, place := range []string{"test.yaml:1:", "test.yaml:4:", "test.yaml:6:"} {
		if err == nil || !strings.Contains(err.Error(), place) {
			t.Errorf("error %v, want one at %s too", err, place)
		}
	}
	works()
	if err := g.Reload(strings.Replace(good, "backend: app", "respond: {text: new}", 1)); err != nil {
		t.Fatal(err)
	}
	c.Send(get("/"))
	if r := c.Response("GET"); string(r.Body) != "new" {
		t.Errorf("answer %q, want that of the new configuration", r.Body)
	}
}
