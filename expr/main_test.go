package expr

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/netip"
	"testing"

	"github.com/sluice-gateway/sluice/document"
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
	x.Identity = identity(`{"sub":"7","roles":["customer","a\u0064min"],"level":3,"amount":1.50,"admin":true,"none":null,"empty":"",` +
		`"address":{"city":"B\u00fcrgel","zip":"0\"1"},"big":12345678901234567890,"a.b":"dotted","crlf":"a\r\nb"}`)
	x.Identity.Consumer, x.Identity.Plan = "budget-app", "partner"
	x.Version = "v2"
	x.Client.Certificates = []*x509.Certificate{certificate}
	header := new(message.Header)
	add(header, "Content-Type", "application/json")
	add(header, "X-Total", "2")
	add(header, "X-Total", "3")
	x.Steps = append(x.Steps,
		message.Step{Done: true, Status: 200, Header: header, Body: []byte(accountBody)},
		message.Step{Done: true, Body: []byte("null")}, // failed, and optional
		message.Step{Done: true, Status: 201, Header: new(message.Header), Body: []byte(`[{"id":"x","n":2},{"id":"y","n":10}]`)},
		message.Step{}) // has not ended
	x.Item = []byte(`{"id": 7, "tags": ["a", "b"]}`)
	return x
}

const accountBody = `{ "id" : "a/1", "balance": 10.50, "count": 3, "exp": 1.20e+2, "big": 123456789012345678901234567890, "tiny": 0.10,` +
	` "items": [ {"id": 1.0, "price": 9.90}, {"id": 2, "price": 100, "name": "\u00e9\/"} ], "amounts": [3, 1.5, 2.50, 3.0], "ok": true, "nil": null,` +
	` "0": "zero", "text": "plain" }`

// identity returns one with the claims of a token.
func identity(claims string) *message.Identity {
	i := &message.Identity{Raw: []byte(claims)}
	for name, v := range document.Of(i.Raw).Members {
		text, _ := name.AppendText(nil)
		c := message.Claim{Name: string(text), Raw: v.Raw()}
		if v.Kind() == document.String {
			c.Text, _ = v.AppendText([]byte{})
		}
		i.Claims = append(i.Claims, c)
	}
	return i
}

// certificate is one without a signature: nothing here looks at it.
var certificate = &x509.Certificate{
	Raw:          []byte("der"),
	Subject:      pkix.Name{CommonName: "mobile", Organization: []string{"Bank"}},
	Issuer:       pkix.Name{CommonName: "ca"},
	SerialNumber: big.NewInt(0xbeef),
	DNSNames:     []string{"mobile.example"},
	IPAddresses:  []net.IP{net.IPv4(192, 0, 2, 1)},
}

func add(h *message.Header, name, value string) { h.Add(message.NameOf(name), []byte(value)) }

// known is an environment with everything.
func known() Env {
	return Env{
		Captures: []string{"id", "dots", "none", "rest", "absent"}, Rest: "rest", Response: true, Claims: true, Consumer: true, Version: true,
		Steps: []string{"account", "failed", "rows", "later"}, Item: "item",
	}
}

// parseClaims checks that a text can be the claims of a token: an object without two members of one name.
func parseClaims(text string) ([]byte, error) {
	v, err := document.Parse([]byte(text), document.Limits{Duplicates: true})
	if err == nil && v.Kind() != document.Object {
		err = errMissing
	}
	return v.Raw(), err
}
