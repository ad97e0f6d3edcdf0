package security

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/test/rig"
)

// smuggled is a request that must never reach a backend: it only ever stands inside a body.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"

func TestCase09BodyThenSecondRequest(t *testing.T) {
	t.Parallel()
	withLength := func(method, body string) string {
		return fmt.Sprintf("%s /first HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n%s", method, len(body), body)
	}
	withChunks := func(method, body string) string {
		return fmt.Sprintf("%s /first HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", method, len(body), body)
	}
	var all []attempt
	for _, method := range []string{"GET", "HEAD", "DELETE", "OPTIONS", "POST", "PURGE"} {
		for _, body := range []string{"x", smuggled, "0\r\n\r\n" + smuggled, strings.Repeat("x", 20_000)} {
			name := fmt.Sprintf("%s with %.12q", method, body)
			want := []answer{{method: method, status: 200}, {status: 200}}
			saw := []string{fmt.Sprintf("%s /first %q", method, body), `GET /second ""`}
			all = append(all,
				attempt{name: name, raw: withLength(method, body) + get("/second"), open: true, want: want, backend: saw},
				attempt{name: name + " in chunks", raw: withChunks(method, body) + get("/second"), open: true, want: want, backend: saw})
		}
	}
	all = append(all,
		// A body that no field announces is none.
		attempt{name: "no length", raw: "GET /first HTTP/1.1\r\nHost: a.test\r\n\r\n" + get("/second"), open: true,
			want: []answer{{status: 200}, {status: 200}}, backend: []string{`GET /first ""`, `GET /second ""`}},
		attempt{name: "length too small", raw: "POST /first HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\nabc\r\n\r\n",
			want: []answer{{method: "POST", status: 200}, {status: 400, reason: "request_line_invalid"}}, backend: []string{`POST /first "a"`}},
		attempt{name: "empty line between", raw: withLength("POST", "x") + "\r\n" + get("/second"), open: true,
			want: []answer{{method: "POST", status: 200}, {status: 200}}, backend: []string{`POST /first "x"`, `GET /second ""`}},
	)
	runAll(t, all)
}

// early is a configuration where some answers come without the body having been read.
const early = `version: 1
access_log: stdout
listeners:
  web: {address: "127.0.0.1:0", protocol: http, limits: {body: 100000, drain_body: 1000}, timeouts: {body: 5s}}
routes:
  - {name: fixed, match: {path: /fixed}, respond: {status: 401, text: "no"}}
  - {name: moved, match: {path: /moved}, redirect: {to: /elsewhere}}
  - {name: read, match: {path: /read, method: GET}, backend: app}
  - {name: probe, match: {path: /probe}, backend: app}
  - {name: upload, match: {path: /upload}, backend: app}
backends:
  app: {endpoints: [%q]}
`

func TestCase10EarlyAnswer(t *testing.T) {
	t.Parallel()
	var all []attempt
	for _, c := range []struct {
		target, reason string
		status         int
	}{{"/fixed", "", 401}, {"/moved", "", 308}, {"/nowhere", "no_route", 404}, {"/read", "method_not_allowed", 405}} {
		small := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n%s", c.target, len(smuggled), smuggled)
		chunks := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", c.target, len(smuggled), smuggled)
		large := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a.test\r\nContent-Length: 50000\r\n\r\n%s", c.target, strings.Repeat(smuggled, 100)) // the rest never comes
		want := answer{method: "POST", status: c.status, reason: c.reason}
		all = append(all,
			attempt{name: "small body " + c.target, raw: small, config: early, open: true, want: []answer{want}},
			attempt{name: "small body in chunks " + c.target, raw: chunks, config: early, open: true, want: []answer{want}},
			attempt{name: "large body " + c.target, raw: large, config: early, want: []answer{want}},
			attempt{name: "body that waits " + c.target, config: early, want: []answer{want},
				raw: fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n", c.target)},
		)
	}
	tooLarge := answer{method: "POST", status: 413, reason: "body_too_large"}
	all = append(all,
		attempt{name: "too large", config: early, want: []answer{tooLarge},
			raw: "POST /upload HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100001\r\n\r\n" + smuggled},
		attempt{name: "too large and waiting", config: early, want: []answer{tooLarge},
			raw: "POST /upload HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 100001\r\n\r\n"},
		attempt{name: "as large as it may be", config: early, want: []answer{{method: "POST", status: 200}}, open: true,
			raw:     "POST /upload HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000),
			backend: []string{fmt.Sprintf("POST /upload %q", strings.Repeat("x", 100000))}},
	)
	runAll(t, all)
}

// A chunked body that is larger than what is drained ends the connection although the answer could not know it.
func TestCase10EarlyAnswerEndlessBody(t *testing.T) {
	t.Parallel()
	o := rig.NewOrigin(t, "app", nil)
	g := rig.Start(t, fmt.Sprintf(early, o.Addr()))
	c := g.Dial("web")
	c.Send("POST /fixed HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n")
	if r := c.Response("POST"); r.Status != 401 {
		t.Fatalf("status %d, want 401", r.Status)
	}
	for c.TrySend("100\r\n"+strings.Repeat("x", 256)+"\r\n") == nil {
	}
	if rest := c.Rest(); rest != "" {
		t.Errorf("received %q behind the answer", rest)
	}
	if all := backendSaw(t, g, o); len(all) != 0 {
		t.Errorf("the backend saw %v", all)
	}
}

// A chunked body over the limit is found out only under way: the backend must not take its beginning for the whole.
func TestCase10BodyTooLargeUnderWay(t *testing.T) {
	t.Parallel()
	o := rig.NewOrigin(t, "app", nil)
	g := rig.Start(t, fmt.Sprintf(early, o.Addr()))
	c := g.Dial("web")
	c.Send("POST /upload HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nc350\r\n" + strings.Repeat("x", 50000) + "\r\n")
	testnet.Eventually(t, "the beginning of the body at the backend", func() bool { return len(o.Received()) > 40000 })
	c.Push("c351\r\n" + strings.Repeat("x", 50001) + "\r\n") // its end never comes
	r := c.Response("POST")
	if r.Status != 413 || r.Reason() != "body_too_large" || !r.Closes() {
		t.Errorf("answer %d %q, want 413 body_too_large and the end", r.Status, r.Reason())
	}
	c.WantClosed()
	g.Close()
	o.WaitEnd()
	if all, err := o.Requests(); err == nil || len(all) != 0 {
		t.Errorf("the backend saw %d whole requests", len(all))
	}
}

func TestCase11EarlyUpstreamAnswer(t *testing.T) {
	t.Parallel()
	half := strings.Repeat("x", 5000)
	request := "POST /upload HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10000\r\n\r\n" + half
	second := func(t *testing.T, g *rig.Gateway, o *rig.Origin) {
		t.Helper()
		c := g.Dial("web")
		c.Send(get("/second"))
		if r := c.Response("GET"); r.Status != 200 || string(r.Body) != "second" {
			t.Errorf("the next request got %d %q, want 200 second", r.Status, r.Body)
		}
		conns := o.Conns()
		if len(conns) != 2 || strings.Contains(conns[0].Bytes(), "/second") {
			t.Errorf("the next request went over %d connections, the first of which has %.200q", len(conns), conns[0].Bytes())
		}
	}
	// The origin answers as soon as it has the head and keeps the connection; the rest of the body is still missing.
	script := func(c *rig.OriginConn) {
		if c.Number == 1 {
			if c.Head() != nil {
				c.Answer(200, "early")
			}
			return
		}
		for c.Request() != nil {
			c.Answer(200, "second")
		}
	}
	t.Run("the client stops", func(t *testing.T) {
		o := rig.NewOrigin(t, "app", script)
		g := rig.Start(t, site(o, ""))
		c := g.Dial("web")
		c.Send(request)
		if r := c.Response("POST"); r.Status != 200 || string(r.Body) != "early" || !r.Closes() {
			t.Errorf("answer %d %q, closes %v; want 200 early and the end", r.Status, r.Body, r.Closes())
		}
		second(t, g, o)
		c.WantClosed()
	})
	t.Run("the client goes on", func(t *testing.T) {
		o := rig.NewOrigin(t, "app", script)
		g := rig.Start(t, site(o, ""))
		c := g.Dial("web")
		c.Send(request)
		if r := c.Response("POST"); r.Status != 200 || string(r.Body) != "early" {
			t.Errorf("answer %d %q, want 200 early", r.Status, r.Body)
		}
		c.Push(half + smuggled)
		c.WantClosed()
		second(t, g, o)
		if strings.Contains(o.Received(), "/smuggled") {
			t.Error("what stood behind the body has reached the backend")
		}
	})
	t.Run("refused and closed", func(t *testing.T) {
		o := rig.NewOrigin(t, "app", func(c *rig.OriginConn) {
			if c.Number == 1 {
				if c.Head() != nil {
					c.Answer(413, "early", "Connection: close")
				}
				c.CloseWrite()
				return
			}
			for c.Request() != nil {
				c.Answer(200, "second")
			}
		})
		g := rig.Start(t, site(o, ""))
		c := g.Dial("web")
		c.Send(request)
		if r := c.Response("POST"); r.Status != 413 || r.Reason() != "" || string(r.Body) != "early" {
			t.Errorf("answer %d %q %q, want the backend's own 413", r.Status, r.Reason(), r.Body)
		}
		second(t, g, o)
	})
	// The answer begins early and ends after the request: both are whole, and the connection may serve again.
	t.Run("answer ends behind the request", func(t *testing.T) {
		o := rig.NewOrigin(t, "app", func(c *rig.OriginConn) {
			for {
				r := c.Head()
				if r == nil {
					return
				}
				if r.Method == "POST" {
					c.Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nea")
				}
				if c.Request() == nil {
					return
				}
				if r.Method == "POST" {
					c.Send("rly")
				} else {
					c.Answer(200, "second")
				}
			}
		})
		g := rig.Start(t, site(o, ""))
		c := g.Dial("web")
		c.Send(request)
		testnet.Eventually(t, "the beginning of the body at the backend", func() bool { return strings.HasSuffix(o.Received(), "xxx") })
		c.Send(half)
		if r := c.Response("POST"); r.Status != 200 || string(r.Body) != "early" {
			t.Errorf("answer %d %q, want 200 early", r.Status, r.Body)
		}
		other := g.Dial("web")
		other.Send(get("/second"))
		if r := other.Response("GET"); string(r.Body) != "second" {
			t.Errorf("answer %q, want second", r.Body)
		}
		if all := backendSaw(t, g, o); len(all) != 2 || len(all[0].Body) != 10000 || all[1].Target != "/second" {
			t.Errorf("the backend saw %d requests", len(all))
		}
	})
}
