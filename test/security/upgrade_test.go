package security

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/test/rig"
)

const (
	webSocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
)

// upgradeTo is a GET that asks for another protocol with these fields.
func upgradeTo(fields string) string {
	return "GET /chat HTTP/1.1\r\nHost: a.test\r\n" + fields + "\r\n"
}

func TestCase14UpgradeDeclined(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, raw, body string }{
		{"with a length", rig.Answer(200, "plain"), "plain"},
		{"with chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + hello, "hello"},
		{"with an Upgrade", rig.Answer(200, "plain", "Connection: Upgrade", "Upgrade: websocket"), "plain"},
		{"refused", rig.Answer(426, "plain", "Upgrade: h2c"), "plain"},
		{"to another protocol", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n", ""},
		{"to nothing", "HTTP/1.1 101 Switching Protocols\r\n\r\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := rig.NewOrigin(t, "app", func(oc *rig.OriginConn) {
				for oc.Request() != nil {
					if oc.Number == 1 {
						oc.Send(c.raw)
					} else {
						oc.Answer(200, "second")
					}
				}
			})
			g := rig.Start(t, site(o, ""))
			cl := g.Dial("web")
			// What follows would be frames of the other protocol, or a request that slips past the proxy through a tunnel that is none.
			cl.Send(upgradeTo(webSocket) + smuggled)
			r := cl.Response("GET")
			switch {
			case c.body == "" && (r.Status != 502 || r.Reason() != "upstream_response_invalid"):
				t.Errorf("answer %d %q, want 502 upstream_response_invalid", r.Status, r.Reason())
			case c.body != "" && (r.Status == 101 || string(r.Body) != c.body):
				t.Errorf("answer %d %q, want %q", r.Status, r.Body, c.body)
			case len(r.Header.All("Upgrade")) > 0:
				t.Errorf("the answer has Upgrade: %q", r.Header.All("Upgrade"))
			}
			if !r.Closes() {
				t.Error("the connection is not said to end, although bytes of another protocol may follow")
			}
			cl.WantClosed()
			for _, q := range backendSaw(t, g, o) {
				if q.Target != "/chat" {
					t.Errorf("the backend saw %s %s", q.Method, q.Target)
				}
			}
		})
	}
}

func TestCase15BytesBeforeSwitch(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	o := rig.NewOrigin(t, "app", func(c *rig.OriginConn) {
		for {
			r := c.Request()
			switch {
			case r == nil:
				return
			case r.Target != "/chat":
				c.Answer(200, "plain")
				continue
			}
			c.Wait(release)
			c.Send(switching + "welcome")
			return // from here on everything is recorded
		}
	})
	g := rig.Start(t, site(o, ""))
	c := g.Dial("web")
	c.Send(upgradeTo(webSocket) + "early")
	o.Wait("the request", func(conns []*rig.OriginConn) bool { return len(conns) > 0 && conns[0].Served > 0 })
	// Whole exchanges go through the gateway meanwhile; what stands behind the request for an upgrade does not.
	other := g.Dial("web")
	for range 20 {
		other.Send(get("/probe"))
		other.Response("GET")
	}
	chat := o.Conns()[0]
	if strings.Contains(chat.Bytes(), "early") {
		t.Fatalf("the backend received %q before its 101", chat.Bytes())
	}
	close(release)
	if r := c.Response("GET"); r.Status != 101 || r.Header.Get("Upgrade") != "websocket" {
		t.Fatalf("answer %d, Upgrade %q; want 101 to websocket", r.Status, r.Header.Get("Upgrade"))
	}
	c.WantPrefix("welcome")
	c.Send(" and late")
	c.CloseWrite()
	testnet.Eventually(t, "the bytes of the tunnel", func() bool { return strings.Contains(chat.Bytes(), "late") })
	if !strings.HasSuffix(chat.Bytes(), "\r\n\r\nearly and late") {
		t.Errorf("the backend received %q, want it to end in: early and late", chat.Bytes())
	}
}

// fieldsSeen returns which of the names reached the backend.
func fieldsSeen(r *result, names ...string) string {
	var seen []string
	for _, n := range names {
		for _, v := range r.requests[0].Header.All(n) {
			seen = append(seen, n+": "+v)
		}
	}
	return strings.Join(seen, "\n")
}

func TestCase16UpgradeToHTTP2(t *testing.T) {
	t.Parallel()
	var all []attempt
	for name, fields := range map[string]string{
		"h2c":                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
		"only Upgrade":       "Connection: Upgrade\r\nUpgrade: h2c\r\n",
		"not in Connection":  "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
		"other case":         "connection: upgrade\r\nUPGRADE: H2C\r\nhttp2-settings: AAMAAABk\r\n",
		"in a list":          "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
		"unknown protocol":   "Connection: Upgrade\r\nUpgrade: other/1\r\n",
		"TLS":                "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
		"settings only":      "Connection: HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n",
		"with an underscore": "Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2_Settings: AAMAAABk\r\n",
	} {
		a := passes(name, upgradeTo(fields), `GET /chat ""`)
		a.check = func(t *testing.T, r *result) {
			if seen := fieldsSeen(r, "Upgrade", "HTTP2-Settings", "HTTP2_Settings", "Connection"); seen != "" {
				t.Errorf("the backend got %s", seen)
			}
		}
		all = append(all, a)
	}
	all = append(all,
		attempt{name: "behind a body", raw: post("Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n", "hello"), open: true,
			want: []answer{{method: "POST", status: 200}}, backend: []string{`POST /x "hello"`}, check: func(t *testing.T, r *result) {
				if seen := fieldsSeen(r, "Upgrade", "Connection"); seen != "" {
					t.Errorf("the backend got %s", seen)
				}
			}})
	runAll(t, all)
}

func TestCase17Connect(t *testing.T) {
	t.Parallel()
	connect := func(name, raw string) attempt { return refused(name, raw, 501, "method_not_supported") }
	runAll(t, []attempt{
		connect("authority form", "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n"+smuggled),
		connect("path", "CONNECT /x HTTP/1.1\r\nHost: a.test\r\n\r\n"+smuggled),
		connect("absolute form", "CONNECT http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"),
		connect("with a body", "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nContent-Length: 42\r\n\r\n"+smuggled),
		connect("in chunks", "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nTransfer-Encoding: chunked\r\n\r\n"+hello),
		connect("HTTP/1.0", "CONNECT a.test:443 HTTP/1.0\r\n\r\n"+smuggled),
	})
}

// Extended CONNECT is a thing of HTTP/2 and 3; in HTTP/1 its pseudo-headers are broken field lines.
func TestCase18ExtendedConnect(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"websocket", "connect-udp", "unknown"} {
		runAll(t, []attempt{
			refused(protocol, "CONNECT /x HTTP/1.1\r\nHost: a.test\r\n:protocol: "+protocol+"\r\n\r\n", 400, "header_name_invalid"),
			refused(protocol+" with GET", "GET /x HTTP/1.1\r\nHost: a.test\r\n:protocol: "+protocol+"\r\n\r\n", 400, "header_name_invalid"),
			refused(protocol+" as a field", "CONNECT /x HTTP/1.1\r\nHost: a.test\r\nProtocol: "+protocol+"\r\n\r\n", 501, "method_not_supported"),
		})
	}
}

func TestCase19BadWebSocket(t *testing.T) {
	t.Parallel()
	var all []attempt
	for name, fields := range map[string]string{
		"no key":         "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
		"short key":      "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n",
		"key not base64": "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: !GhlIHNhbXBsZSBub25jZQ==\r\n",
		"two keys":       webSocket + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
		"no version":     "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
		"old version":    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
		"two Upgrades":   webSocket + "Upgrade: websocket\r\n",
	} {
		all = append(all, refused(name, upgradeTo(fields)+smuggled, 400, "upgrade_invalid"))
	}
	all = append(all, refused("with POST", "POST /chat HTTP/1.1\r\nHost: a.test\r\n"+webSocket+"\r\n", 400, "upgrade_invalid"))
	runAll(t, all)
}

// A handshake that the backend declines leaves no connection behind that anybody else could use.
func TestCase19FailedHandshakeIsNotPooled(t *testing.T) {
	t.Parallel()
	o := rig.NewOrigin(t, "app", func(c *rig.OriginConn) {
		for c.Request() != nil {
			c.Answer(403, fmt.Sprint("connection ", c.Number))
		}
	})
	g := rig.Start(t, site(o, ""))
	c := g.Dial("web")
	c.Send(upgradeTo(webSocket))
	if r := c.Response("GET"); r.Status != 403 || string(r.Body) != "connection 1" {
		t.Fatalf("answer %d %q, want 403 of connection 1", r.Status, r.Body)
	}
	other := g.Dial("web")
	other.Send(get("/second"))
	if r := other.Response("GET"); string(r.Body) != "connection 2" {
		t.Errorf("the next request went over %q, want connection 2", r.Body)
	}
}
