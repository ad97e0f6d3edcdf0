package rig

import (
	"errors"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestParseRequests(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, c := range []struct {
		raw  string
		n    int
		part bool
		bad  bool
	}{
		{raw: ""},
		{raw: get, n: 1},
		{raw: get + "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab" + get, n: 3},
		{raw: get + "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX: y\r\n\r\n" + get, n: 3},
		{raw: get + "GET", n: 1, part: true},
		{raw: "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na", part: true},
		{raw: "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n", part: true},
		{raw: get + "x" + get, n: 1, bad: false},
		{raw: "GET / HTTP/1.0\r\nHost: a\r\n\r\n", bad: true},
		{raw: "GET / HTTP/1.1\r\n\r\n", bad: true},
		{raw: "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", bad: true},
		{raw: "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", bad: true},
		{raw: "GET / HTTP/1.1\r\nHost: a\r\nX: b\x01c\r\n\r\n", bad: true},
		{raw: "GET / HTTP/1.1\nHost: a\n\n", bad: true},
		{raw: "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nab", bad: true},
		{raw: "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab", bad: true},
	} {
		if c.raw == get+"x"+get {
			c.n = 2 // "xGET" is a method like any other: only the caller knows what it asked for
		}
		all, err := ParseRequests(c.raw)
		if len(all) != c.n || errors.Is(err, errPart) != c.part || (err != nil) != (c.part || c.bad) {
			t.Errorf("%q: %d requests, error %v; want %d, incomplete %v, malformed %v", c.raw, len(all), err, c.n, c.part, c.bad)
		}
	}
}

// The bench itself: what a client sends arrives, what an origin answers comes back, and a restart of the origin refuses connections meanwhile.
func TestBench(t *testing.T) {
	o := NewOrigin(t, "app", nil)
	g := Start(t, `{version: 1, access_log: stdout, listeners: {web: {address: "127.0.0.1:0", protocol: http}}, routes: [{backend: app}],
backends: {app: {endpoints: ["`+o.Addr()+`"]}}}`)
	c := g.Dial("web")
	ask := func() *Response {
		c.Send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
		return c.Response("GET")
	}
	if r := ask(); r.Status != 200 || string(r.Body) != "app" || r.Closes() {
		t.Fatalf("answer %d %q", r.Status, r.Body)
	}
	if !strings.HasPrefix(o.Received(), "GET /x HTTP/1.1\r\n") || g.Log(1)[0]["path"] != "/x" || g.Metric(`sluice_connections{listener="web"}`) != "1" {
		t.Errorf("received %q, logged %s", o.Received(), g.Out.String())
	}
	o.Unlisten()
	o.Conns()[0].Close()
	if r := ask(); r.Status != 502 || r.Reason() != "upstream_connect_refused" {
		t.Errorf("answer %d %q of an origin that is away", r.Status, r.Reason())
	}
	o.Listen()
	if r := ask(); r.Status != 200 {
		t.Errorf("answer %d %q of an origin that is back", r.Status, r.Reason())
	}
	g.Close()
	o.WaitEnd()
	if all, err := o.Requests(); err != nil || len(all) != 2 {
		t.Errorf("%d requests recorded (%v), want 2", len(all), err)
	}
}
