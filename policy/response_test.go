package policy

import (
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

func TestResponseHeaders(t *testing.T) {
	for _, c := range []struct{ name, changes, before, after string }{
		{"remove", `remove: [Server]`, "Server: origin/1.0|A: 1", "A: 1"},
		{"set", `set: {Server: gate, Strict-Transport-Security: max-age=1}`, "Server: origin", "Server: gate|Strict-Transport-Security: max-age=1"},
		{"add", `add: {Set-Cookie: "b=2", Vary: Origin}`, "Set-Cookie: a=1|Vary: Accept", "Set-Cookie: a=1|Vary: Accept|Set-Cookie: b=2|Vary: Origin"},
		{"rename", `rename: {X-Old: X-New}`, "X-Old: 1", "X-New: 1"},
		{"order", `{add: {X-A: "4"}, set: {X-A: "3"}, remove: [X-B], rename: {X-C: X-B}}`, "X-A: 1|X-C: 2", "X-A: 3|X-A: 4"},
		{"values of the response", `{set: {X-Status: "${response.status}", X-Was: "${response.headers.server}"}, remove: [Server]}`, "Server: o", "X-Status: 404|X-Was: o"},
		{"values of the request", `set: {X-Id: "${path.id}", X-Path: "${request.path}"}`, "", "X-Id: 7|X-Path: /items/7/a/b"},
		{"a missing value", `set: {X-A: "${response.headers.absent}"}`, "X-A: 1", ""},
		{"a missing value in the middle", `set: {X-A: "${response.headers.absent}", X-B: "${path.id}", X-C: "c"}`, "X-B: 1", "X-B: 7|X-C: c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := chain(t, "[{response: {headers: "+braces(c.changes)+"}}]")
			x := exchange("-", "Host: shop.example")
			ran, _, f := p.Request(x, 0, nil)
			if f != nil {
				t.Fatal(f)
			}
			x.Response.Status = 404
			if c.before != "" {
				for _, l := range strings.Split(c.before, "|") {
					addLine(&x.Response.Header, l)
				}
			}
			if left, f := p.Response(x, ran, 0); left != 0 || f != nil {
				t.Fatalf("Response = %d, %v", left, f)
			}
			if got := strings.ReplaceAll(dump(&x.Response.Header), "\n", "|"); got != c.after {
				t.Errorf("got  %s\nwant %s", got, c.after)
			}
			if dump(&x.Request.Header) != "Host: shop.example" {
				t.Errorf("the request became %q", dump(&x.Request.Header))
			}
		})
	}
}

// What a request brings that a response cannot hold is found before the request is forwarded.
func TestResponseRefusesEarly(t *testing.T) {
	p := chain(t, `[{response: {headers: {set: {X-A: "${response.status} ${request.query.q}"}}}}]`)
	x := exchange("q=a%0D%0AX-Evil:1")
	ran, done, f := p.Request(x, 0, nil)
	if ran != 1 || done || f == nil || f.Reason != message.HeaderValueInvalid {
		t.Fatalf("Request = %d, %v, %v; want header_value_invalid", ran, done, f)
	}
	x = exchange("q=fine")
	ran, _, f = p.Request(x, 0, nil)
	if f != nil {
		t.Fatal(f)
	}
	x.Response.Status = 200
	if _, f := p.Response(x, ran, 0); f != nil || dump(&x.Response.Header) != "X-A: 200 fine" {
		t.Errorf("header %q, %v", dump(&x.Response.Header), f)
	}
}

// A response that a later policy has made impossible is replaced, and not sent with part of the changes.
func TestResponseRefusedLate(t *testing.T) {
	p := chain(t, `[{response: {headers: {remove: [A], set: {X-A: "${request.query.q}"}}}}]`)
	x := exchange("q=fine")
	ran, _, _ := p.Request(x, 0, nil)
	x.Request.Query = []byte("q=%0A")
	addLine(&x.Response.Header, "A: 1")
	left, f := p.Response(x, ran, 0)
	if left != 0 || f == nil || f.Reason != message.HeaderValueInvalid || dump(&x.Response.Header) != "A: 1" {
		t.Errorf("Response = %d, %v, header %q", left, f, dump(&x.Response.Header))
	}

	p = chain(t, `[{response: {headers: {rename: {X-Type: Content-Type}}}}]`)
	x = exchange("-")
	addLine(&x.Response.Header, "X-Type: a")
	addLine(&x.Response.Header, "X-Type: b")
	if _, f := p.Response(x, 1, 0); f == nil || f.Reason != message.UpstreamResponseInvalid || f.Side != message.SideUpstream {
		t.Errorf("two fields for one: %v", f)
	}
}
