package proxy

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// served runs an exchange through h as the codec does. end changes what the codec would have found
// out by the end.
func served(h *HTTP, x *message.Exchange, end func(*message.Exchange)) {
	h.Serve(x)
	x.Times.End = x.Times.Start + 12_345_678
	if end != nil {
		end(x)
	}
	_ = x.Response.Body.Close()
	h.Finish(x)
}

// TestLogLines writes one line for each kind of exchange. All times but the first hang on it, so the
// lines are the same every time.
func TestLogLines(t *testing.T) {
	l, text := openLog(t)
	s := trusting(t, "10.0.0.0/8")
	s = site(t, func(n *Site) { n.TrustedProxies, n.Log = s.TrustedProxies, l },
		at("/plain", &Route{Name: "plain"}),
		at("/items/{id}", &Route{Name: "items"}),
		at("/changed", &Route{
			Name:     "changed",
			Policies: policies(t, `[{request: {headers: {set: {Host: "inner.test:81", User-Agent: sluice}}, query: {set: {a: "2"}}}}]`),
		}),
		at("/refused", &Route{Name: "refused", Policies: policies(t, `[{request: {headers: {set: {X-In: '${request.query["x"]}'}}}}]`)}))
	h := NewHTTP(s)
	id := "X-Request-Id: 00000000000000000000000000000001"
	served(h, request("10.0.0.1:9", "example.test", "/plain", id, "X-Forwarded-For: 203.0.113.7"), nil)

	x := request("10.0.0.1:9", "example.test", "/items/7", id, `User-Agent: a "quoted" agent`)
	x.Request.Query, x.Request.Port, x.Request.Scheme = []byte("q=1&r"), []byte("8443"), "https"
	served(h, x, func(x *message.Exchange) {
		o, at := &x.Outcome, &x.Times
		o.Backend, o.Endpoint, o.Attempts, o.Received, o.Sent = "app", "127.0.0.1:9001", 2, 10, 2000
		at.Read, at.Connected, at.FirstByte = at.Start+1_000_000, at.Start+3_000_000, at.Start+10_000_000
		x.Response.Status = 201
	})

	x = request("10.0.0.1:9", "example.test", "/changed", id, "User-Agent: curl")
	x.Request.Query = []byte("a=1")
	served(h, x, nil)
	if string(x.Request.Host) != "inner.test" || string(x.Request.Query) != "a=2" {
		t.Fatalf("the policy did not change the request: %s %s", x.Request.Host, x.Request.Query)
	}

	x = request("10.0.0.1:9", "example.test", "/refused", id)
	x.Request.Query = []byte("x=%0A")
	served(h, x, nil)

	x = request("10.0.0.1:9", "example.test", "/items/7", id)
	served(h, x, func(x *message.Exchange) {
		o := &x.Outcome
		o.Backend, o.Endpoint, o.Attempts, o.Reused, o.Sent = "app", "127.0.0.1:9001", 1, true, 5
		x.Fail(&message.Failure{Reason: message.UpstreamBodyBroken, Side: message.SideUpstream, Stage: message.StageReceive, Err: errors.New("read tcp: reset")})
	})

	x = request("10.0.0.1:9", "example.test", "/items/7", id)
	served(h, x, func(x *message.Exchange) {
		x.Outcome.Backend = "app"
		x.Fail(&message.Failure{Reason: message.NoHealthyEndpoint, Side: message.SideUpstream, Stage: message.StageConnect})
	})

	served(h, request("10.0.0.1:9", "example.test", "/nowhere", id), nil)

	x = request("10.0.0.1:9", "", "", id) // a head that could not be read
	x.Request.Method, x.Request.Path, x.Request.Protocol = message.Method{}, nil, 0
	x.Fail(&message.Failure{Reason: message.HeaderTooLarge, Side: message.SideClient, Stage: message.StageRead})
	served(h, x, nil)

	moment := regexp.MustCompile(`"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`)
	got := text()
	if n := len(moment.FindAllString(got, -1)); n != 8 {
		t.Errorf("%d of 8 lines have a time:\n%s", n, got)
	}
	golden(t, "log.txt", moment.ReplaceAllString(got, `"time":"…"`))
}

// TestMetrics: every exchange is counted once, on its route or on none.
func TestMetrics(t *testing.T) {
	reg := metric.NewRegistry(metric.Options{})
	scope := reg.Scope()
	route := &Route{Name: "items", Metrics: NewRouteMetrics(scope, "web", "items")}
	s := site(t, nil, at("/items/{id}", route))
	s.Seal(scope)
	h := NewHTTP(s)
	for range 3 {
		served(h, request("192.0.2.7:1", "example.test", "/items/7"), func(x *message.Exchange) { x.Outcome.Sent, x.Outcome.Received = 100, 7 })
	}
	served(h, request("192.0.2.7:1", "example.test", "/nowhere"), nil)
	served(h, request("192.0.2.7:1", "example.test", "/items/7"), func(x *message.Exchange) {
		x.Fail(&message.Failure{Reason: message.ClientClosed})
	})
	x := request("192.0.2.7:1", "example.test", "/items/7")
	h.Finish(x) // never served: not counted
	var page strings.Builder
	if _, err := reg.WriteTo(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`sluice_requests_total{listener="web",route="items",code="200"} 4`,
		`sluice_requests_total{listener="web",route="",code="404"} 1`,
		`sluice_failures_total{route="items",reason="client_closed"} 1`,
		`sluice_failures_total{route="",reason="no_route"} 1`,
		`sluice_bytes_sent_total{listener="web"} 300`,
		`sluice_bytes_received_total{listener="web"} 21`,
		`sluice_request_duration_seconds_count{route="items"} 4`,
	} {
		if !strings.Contains(page.String(), want+"\n") {
			t.Errorf("%s is not in\n%s", want, page.String())
		}
	}
}

// TestLogWaitsForExchanges: a log knows what exchanges under way will still write.
func TestLogWaitsForExchanges(t *testing.T) {
	l, text := openLog(t)
	h := NewHTTP(site(t, func(s *Site) { s.Log = l }, at("/*", &Route{})))
	if !l.Settled() {
		t.Fatal("a new log is owed something")
	}
	var all []*message.Exchange
	for i := range 3 {
		x := request("192.0.2.7:1", "example.test", fmt.Sprintf("/%d", i))
		h.Serve(x)
		all = append(all, x)
	}
	for _, x := range all {
		if l.Settled() {
			t.Fatal("settled although an exchange is under way")
		}
		h.Finish(x)
	}
	if !l.Settled() {
		t.Fatal("not settled although no exchange is under way")
	}
	if n := strings.Count(text(), "\n"); n != 3 {
		t.Errorf("%d lines, want 3", n)
	}
}

// TestStatesAreReused: an exchange that another handler served before is served all the same.
func TestStatesAreReused(t *testing.T) {
	a := NewHTTP(site(t, nil, at("/a", &Route{})))
	b := NewHTTP(site(t, nil, at("/b", &Route{})))
	x := request("192.0.2.7:1", "example.test", "/a")
	served(a, x, nil)
	x.Reset()
	x.Request = request("192.0.2.7:1", "example.test", "/b").Request
	served(b, x, nil)
	if x.Response.Status != 200 || x.Outcome.Route != "/b" {
		t.Errorf("%d on route %q", x.Response.Status, x.Outcome.Route)
	}
	x = request("192.0.2.7:1", "example.test", "/a")
	x.State = "something of another handler"
	served(a, x, nil)
	if x.Response.Status != 200 {
		t.Errorf("status %d", x.Response.Status)
	}
}

// TestLiveLog goes the whole way, with a client that leaves in the middle of an answer.
func TestLiveLog(t *testing.T) {
	gone := make(chan struct{})
	o := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
		if _, ok := c.ReadRequest(); !ok || !c.Send("HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n"+strings.Repeat("x", 100_000)) {
			return
		}
		if c.Wait(gone) {
			c.Send(strings.Repeat("x", 1_900_000))
		}
	})
	l, text := openLog(t)
	s := site(t, func(s *Site) { s.Log = l }, at("/*", &Route{Name: "all", Action: &Forward{backend(t, o.Addr, nil, nil)}}))
	c := connect(t, NewHTTP(s), serverOptions(), "192.0.2.7:1")
	c.Send(get("/big"))
	c.WantPrefix("HTTP/1.1 200 OK\r\n")
	_ = c.Conn.Close()
	close(gone)
	testnet.Eventually(t, "the end of the exchange", l.Settled)
	testnet.Receive(t, "the end of the connection to the endpoint", o.Conn(0).Ended())
	line := text()
	for _, want := range []string{`"route":"all"`, `"status":200,"reason":"client_closed","side":"client","stage":"write"`, `"backend":"app"`, o.Addr, `"attempts":1`} {
		if !strings.Contains(line, want) {
			t.Errorf("no %s in %s", want, line)
		}
	}
}
