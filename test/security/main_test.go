// Package security holds the checklist of the ways in which proxies were broken into, one test for each case, numbered as the list in README.md. Every
// test sends raw bytes to a whole gateway and looks at three things: what the client gets, whether the connection goes on, and every byte that
// reached the backend.
package security

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/leak"
	"github.com/sluice-gateway/sluice/test/rig"
)

func TestMain(m *testing.M) { leak.Main(m) }

// site returns a configuration with one listener, one catch-all route and one endpoint. listener is further keys of the listener, as
// "limits: {body: 10}", separated by commas.
func site(o *rig.Origin, listener string) string {
	if listener != "" {
		listener = ", " + listener
	}
	return fmt.Sprintf(`version: 1
access_log: stdout
listeners:
  web: {address: "127.0.0.1:0", protocol: http%s}
routes:
  - {name: all, match: {path: "/*"}, backend: app}
backends:
  app: {endpoints: [%q]}
`, listener, o.Addr())
}

// answer is what a client gets for one request.
type answer struct {
	method string // of the request; "" is GET
	status int
	reason string // Sluice-Reason
}

// attempt is one thing that an attacker may try.
type attempt struct {
	name     string
	raw      string   // what the client sends, in one piece
	listener string   // further keys of the listener
	config   string   // the whole configuration instead, with %s for the address of the origin
	want     []answer // what it gets
	open     bool     // the connection goes on afterwards; it is closed otherwise
	backend  []string // what reaches the backend, each as "METHOD TARGET BODY", BODY being quoted
	check    func(t *testing.T, r *result)
}

// result is what became of an attempt.
type result struct {
	answers  []*rig.Response
	requests []*rig.Request // at the backend, without the probe
	log      []map[string]any
}

// refused is an attempt that gets one answer and a closed connection, and that the backend never sees.
func refused(name, raw string, status int, reason string) attempt {
	return attempt{name: name, raw: raw, want: []answer{{status: status, reason: reason}}}
}

// passes is an attempt that is an ordinary request in the end.
func passes(name, raw string, backend ...string) attempt {
	a := attempt{name: name, raw: raw, open: true, backend: backend}
	for range backend {
		a.want = append(a.want, answer{status: 200})
	}
	return a
}

func runAll(t *testing.T, all []attempt) {
	t.Helper()
	for _, a := range all {
		t.Run(a.name, func(t *testing.T) { run(t, a) })
	}
}

const probe = "GET /probe HTTP/1.1\r\nHost: probe.test\r\n\r\n"

func run(t *testing.T, a attempt) {
	t.Helper()
	o := rig.NewOrigin(t, "app", nil)
	text := site(o, a.listener)
	if a.config != "" {
		text = fmt.Sprintf(a.config, o.Addr())
	}
	g := rig.Start(t, text)
	c := g.Dial("web")
	c.Push(a.raw)
	r := &result{}
	for i, w := range a.want {
		if w.method == "" {
			w.method = "GET"
		}
		got := c.Response(w.method)
		r.answers = append(r.answers, got)
		if got.Status != w.status || got.Reason() != w.reason {
			t.Errorf("answer %d is %d %q, want %d %q; its body: %s", i, got.Status, got.Reason(), w.status, w.reason, got.Body)
		}
		if last := i == len(a.want)-1; got.Closes() != (last && !a.open) {
			t.Errorf("answer %d says Connection: %q", i, got.Header.Get("Connection"))
		}
	}
	if a.open {
		c.Send(probe)
		if got := c.Response("GET"); got.Status != 200 {
			t.Errorf("the next request on the connection gets %d %q", got.Status, got.Reason())
		}
	} else {
		c.WantClosed()
	}
	c.Close()
	r.requests = backendSaw(t, g, o)
	r.log = g.Log(len(a.want))
	var saw []string
	for _, q := range r.requests {
		saw = append(saw, fmt.Sprintf("%s %s %q", q.Method, q.Target, q.Body))
	}
	if strings.Join(saw, "\n") != strings.Join(a.backend, "\n") {
		t.Errorf("the backend saw:\n%s\nwant:\n%s", strings.Join(saw, "\n"), strings.Join(a.backend, "\n"))
	}
	if a.check != nil {
		a.check(t, r)
	}
}

// backendSaw ends the gateway, waits until everything that it sent has arrived, and returns the requests that reached the origin, but for probes. Whatever
// is not a sequence of well-formed, complete requests fails the test.
func backendSaw(t *testing.T, g *rig.Gateway, o *rig.Origin) []*rig.Request {
	t.Helper()
	g.Close()
	o.WaitEnd()
	all, err := o.Requests()
	if err != nil {
		t.Errorf("the backend received what is no request: %v", err)
	}
	var kept []*rig.Request
	for _, q := range all {
		if q.Target != "/probe" {
			kept = append(kept, q)
		}
	}
	return kept
}

// lineOf returns the line of the access log about a path. Lines of two connections may come in any order.
func lineOf(t *testing.T, lines []map[string]any, path string) map[string]any {
	t.Helper()
	for _, l := range lines {
		if l["path"] == path {
			return l
		}
	}
	t.Fatalf("no line about %s in the access log: %v", path, lines)
	return nil
}
