package expr

import (
	"net/netip"
	"testing"

	"github.com/sluice-gateway/sluice/internal/leak"
	"github.com/sluice-gateway/sluice/message"
)

func TestMain(m *testing.M) { leak.Main(m) }

// exchange returns one with something behind every selector.
func exchange() *message.Exchange {
	x := new(message.Exchange)
	x.Reset()
	x.Request.Protocol = message.HTTP11
	x.Request.Method = message.MethodOf([]byte("GET"))
	x.Request.Scheme = "https"
	x.Request.Host = []byte("shop.example")
	x.Request.Port = []byte("8443")
	x.Request.Path = []byte("/a/b%20c")
	x.Request.Query = []byte("q=1+2%2F3&empty=&q=second&flag&%6Eame=v&bad=%zz&&injected=$%7Brequest.host%7D&crlf=a%0D%0Ab&pad=%20x%20")
	add(&x.Request.Header, "Host", "Client.Spelling:8443")
	add(&x.Request.Header, "Accept", "text/html")
	add(&x.Request.Header, "X-Many", "one")
	add(&x.Request.Header, "x-many", "two")
	add(&x.Request.Header, "Accept", "*/*")
	add(&x.Request.Header, "X-Empty", "")
	add(&x.Request.Header, "Cookie", "a=1; session=s%201;b = 2; a=3")
	add(&x.Request.Header, "Cookie", "late=4; quoted=\"q\"; =nameless; a")
	x.Client.Peer = netip.MustParseAddrPort("192.0.2.7:4711")
	x.Client.Addr = netip.MustParseAddr("192.0.2.7")
	x.ID = []byte("id-1")
	x.Captures = append(x.Captures,
		message.Capture{Name: "id", Value: []byte("4 2/%")},
		message.Capture{Name: "dots", Value: []byte("..")},
		message.Capture{Name: "none", Value: []byte{}},
		message.Capture{Name: "rest", Value: []byte("a/b c")})
	x.Response.Status = 404
	add(&x.Response.Header, "Server", "origin")
	add(&x.Response.Header, "Vary", "Accept")
	add(&x.Response.Header, "Vary", "Origin")
	return x
}

func add(h *message.Header, name, value string) { h.Add(message.NameOf(name), []byte(value)) }

// known is an environment with everything.
func known() Env {
	return Env{Captures: []string{"id", "dots", "none", "rest", "absent"}, Rest: "rest", Response: true}
}
