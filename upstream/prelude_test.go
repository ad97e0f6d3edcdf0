package upstream

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

// TestProxyHeaderToEndpoints: every connection begins with the client's address, and serves that client only.
func TestProxyHeaderToEndpoints(t *testing.T) {
	client := func(port uint16) message.Client {
		return message.Client{Peer: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port), Local: netip.MustParseAddrPort("192.0.2.9:443")}
	}
	for _, test := range []struct {
		name    string
		version int
		client  message.Client
		want    string
	}{
		{"version 1", 1, client(1000), "PROXY TCP4 192.0.2.1 192.0.2.9 1000 443\r\n"},
		{"version 1, unknown", 1, message.Client{Peer: client(1).Peer}, "PROXY UNKNOWN\r\n"},
		{"version 2", 2, client(1000), "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x09\x03\xe8\x01\xbb"},
		{"version 2, local", 2, message.Client{}, "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := testnet.NewOrigin(t, func(c *testnet.OriginConn) {
				// Version 2 holds an empty line itself: what came is looked at as a whole.
				for served := 1; ; {
					if _, ok := c.ReadHead(); !ok {
						return
					}
					if strings.Count(c.Received(), "GET /") == served {
						served++
						if !c.Send(okAnswer) {
							return
						}
					}
				}
			})
			b := overHTTP1(t, func(opts *Options) { opts.ProxyProtocol = test.version }, o.Addr)
			var here, there message.Bindings
			defer here.Close()
			defer there.Close()
			var f Flight
			send := func(bindings *message.Bindings, who message.Client) {
				t.Helper()
				x := newExchange("GET")
				x.Request.Host, x.Request.Path = []byte("shop.example"), []byte("/")
				x.Client, x.Bindings = who, bindings
				if r := run(t, b, &f, x); r.body != "ok" {
					t.Fatalf("%+v", r)
				}
			}
			send(&here, test.client)
			send(&here, test.client)
			send(&there, test.client)
			send(nil, test.client)
			if n := o.Conns(); n != 3 {
				t.Fatalf("%d connections for three clients", n)
			}
			for i, requests := range []int{2, 1, 1} {
				got := o.Conn(i).Received()
				if !strings.HasPrefix(got, test.want+"GET / ") || strings.Count(got, "GET /") != requests || strings.Count(got, test.want) != 1 {
					t.Errorf("connection %d got %q", i, got)
				}
			}
		})
	}
}
