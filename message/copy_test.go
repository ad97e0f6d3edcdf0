package message

import (
	"net/netip"
	"reflect"
	"testing"
)

// copySource is an exchange in which everything is set that a request can have.
func copySource() *Exchange {
	x := new(Exchange)
	x.Reset()
	r := &x.Request
	r.Protocol, r.Method, r.Scheme = HTTP11, MethodOf(x.Keep([]byte("PROPFIND"))), "https"
	r.Host, r.Port, r.Path = x.Keep([]byte("shop.example")), x.Keep([]byte("8443")), x.Keep([]byte("/a/b"))
	r.Query, r.RawPath, r.HasSlash = x.Keep([]byte("q=1")), x.Keep([]byte("/a%2Fb")), true
	r.Header.Add(NameOf("X-One"), []byte("1"))
	r.Header.Add(Accept.Name(), []byte("*/*"))
	r.Trailer.Add(NameOf("X-Sum"), []byte("9"))
	r.Body, r.Length = &Bytes{piece: []byte("body")}, 4
	r.WantsTrailers, r.Trailers = true, []Name{NameOf("X-Sum")}
	r.Pumping = true
	r.Upgrade = x.Keep([]byte("websocket"))
	x.Client = Client{
		Peer: netip.MustParseAddrPort("192.0.2.1:1000"), Local: netip.MustParseAddrPort("192.0.2.2:443"),
		Addr: netip.MustParseAddr("198.51.100.1"), Trusted: true, Server: "shop.example",
	}
	x.ID, x.Deadline = x.Keep([]byte("id-1")), 77
	x.Times = Times{Start: 1, Read: 2, Routed: 3, Connected: 4, FirstByte: 5, End: 6}
	x.Outcome = Outcome{Route: "r", Attempts: 2}
	x.Captures = append(x.Captures, Capture{Name: "id", Value: []byte("7")})
	x.Bindings = &Bindings{}
	x.Interim = noInterim{}
	return x
}

type noInterim struct{}

func (noInterim) WriteInterim(int, *Header) error { return nil }

// TestCopyRequest takes a copy, destroys the original, and looks whether the copy still says the same.
func TestCopyRequest(t *testing.T) {
	x, want := copySource(), copySource()
	c := new(Exchange)
	c.Reset()
	CopyRequest(c, x)
	x.Reset()
	x.Keep(make([]byte, 200))
	x.Request.Header.Add(NameOf("X-Other"), make([]byte, 100))

	got, w := &c.Request, &want.Request
	if got.Method.Text() != "PROPFIND" || got.Protocol != w.Protocol || got.Scheme != w.Scheme || got.HasSlash != w.HasSlash ||
		got.WantsTrailers != w.WantsTrailers || !reflect.DeepEqual(got.Trailers, w.Trailers) {
		t.Errorf("request %+v", got)
	}
	for _, f := range []struct {
		name      string
		got, want []byte
	}{
		{"host", got.Host, w.Host}, {"port", got.Port, w.Port}, {"path", got.Path, w.Path}, {"query", got.Query, w.Query},
		{"raw path", got.RawPath, w.RawPath}, {"upgrade", got.Upgrade, w.Upgrade}, {"id", c.ID, want.ID},
		{"field", got.Header.Find(NameOf("X-One")), []byte("1")}, {"known field", got.Header.Get(Accept), []byte("*/*")},
	} {
		if string(f.got) != string(f.want) {
			t.Errorf("%s is %q, want %q", f.name, f.got, f.want)
		}
	}
	if got.Header.Len() != 2 {
		t.Errorf("%d fields", got.Header.Len())
	}
	if !reflect.DeepEqual(c.Client, want.Client) || c.Deadline != 77 || c.Times != (Times{Start: 1, Read: 2, Routed: 3}) {
		t.Errorf("client %+v, deadline %d, times %+v", c.Client, c.Deadline, c.Times)
	}
	// What is the original's alone.
	if _, err := got.Body.Next(); err == nil || got.Length != 0 || got.Pumping || got.Trailer.Len() != 0 {
		t.Errorf("the copy has a body, or trailers: %+v", got)
	}
	if c.Interim != nil || c.Bindings != nil || len(c.Captures) != 0 || !reflect.DeepEqual(c.Outcome, Outcome{}) {
		t.Errorf("the copy has what is the original's alone: %+v", c)
	}
}

// TestCopyRequestKeepsAbsent says that what was not there is not there in the copy, and what was empty is empty.
func TestCopyRequestKeepsAbsent(t *testing.T) {
	for _, query := range [][]byte{nil, {}} {
		x, c := new(Exchange), new(Exchange)
		x.Reset()
		c.Reset()
		x.Request.Method, x.Request.Query = MethodOf([]byte("GET")), query
		CopyRequest(c, x)
		r := &c.Request
		if (r.Query == nil) != (query == nil) || r.Upgrade != nil || r.Host != nil || r.Method.Known != GET || c.ID != nil {
			t.Errorf("query %v: the copy is %+v", query, r)
		}
	}
}
