package policy

import (
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

func TestRequestHeaders(t *testing.T) {
	for _, c := range []struct{ name, changes, before, after string }{
		{"set, absent", `set: {X-A: one}`, "B: 2", "B: 2|X-A: one"},
		{"set replaces every copy, in place", `set: {x-a: one}`, "X-A: 1|B: 2|X-a: 3", "X-A: one|B: 2"},
		{"add keeps", `add: {X-A: one}`, "X-A: 1|B: 2", "X-A: 1|B: 2|X-A: one"},
		{"remove all copies", `remove: [x-a, Absent]`, "X-A: 1|B: 2|X-a: 3", "B: 2"},
		{"remove, one name", `remove: Authorization`, "Authorization: secret|B: 2", "B: 2"},
		{"rename", `rename: {X-Old: X-New}`, "X-Old: 1|B: 2|x-old: 3", "X-New: 1|B: 2|X-New: 3"},
		{"rename takes the place of the new name", `rename: {X-Old: X-User}`, "X-User: forged|X-Old: real", "X-User: real"},
		{"rename of nothing changes nothing", `rename: {X-Old: X-User}`, "X-User: stays", "X-User: stays"},
		{"rename to a known name", `rename: {X-Token: Authorization}`, "X-Token: t", "Authorization: t"},
		{"rename of a known name", `rename: {Authorization: X-Token}`, "Authorization: t", "X-Token: t"},

		{"order: rename before remove", `{remove: [X-New], rename: {X-Old: X-New}}`, "X-Old: 1", ""},
		{"order: remove before set", `{set: {X-A: one}, remove: [X-A]}`, "X-A: 1", "X-A: one"},
		{"order: rename before set", `{set: {X-New: one}, rename: {X-Old: X-New}}`, "X-Old: 1|B: 2", "X-New: one|B: 2"},
		{"order: set before add", `{add: {X-A: two}, set: {X-A: one}}`, "X-A: 0", "X-A: one|X-A: two"},
		{"order: remove before add", `{add: {X-A: two}, remove: [X-A]}`, "X-A: 0", "X-A: two"},

		{"values see the request as it came", `{set: {X-A: "key ${request.headers.authorization}", X-B: "${request.headers[\"x-a\"]}"}, remove: [Authorization]}`,
			"Authorization: k|X-A: old", "X-A: key k|X-B: old"},
		{"captures", `set: {X-Id: "${path.id}", X-Rest: "${path.rest}"}`, "", "X-Id: 7|X-Rest: a/b"},
		{"client", `set: {X-Real-IP: "${client.ip}"}`, "", "X-Real-IP: 192.0.2.7"},
		{"nothing is expanded twice", `set: {X-A: "${request.headers.b}"}`, "B: ${request.host}", "B: ${request.host}|X-A: ${request.host}"},
		{"escaped", `set: {X-A: "$${request.host}"}`, "", "X-A: ${request.host}"},
		{"a missing value is not set, nor left to the client", `set: {X-A: "u-${request.query.user}", X-B: ok}`, "X-A: forged|C: 3", "C: 3|X-B: ok"},
		{"a missing value is not added", `add: {X-A: "${request.query.user}", X-B: ok}`, "X-A: 1", "X-A: 1|X-B: ok"},
		{"an empty value is one", `set: {X-A: "${request.headers.e}"}`, "E: ", "E: |X-A: "},
		{"identity fields may be set", `set: {X-Authenticated-Subject: "${path.id}"}`, "", "X-Authenticated-Subject: 7"},
		{"white space at the ends", `set: {X-A: " one ", X-B: " ${path.id} "}`, "", "X-A: one|X-B: 7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := chain(t, "[{request: {headers: "+braces(c.changes)+"}}]")
			var lines []string
			if c.before != "" {
				lines = strings.Split(c.before, "|")
			}
			x := exchange("q=1", lines...)
			if ran, done, f := p.Request(x, 0, nil); ran != 1 || done || f != nil {
				t.Fatalf("Request = %d, %v, %v", ran, done, f)
			}
			if got := strings.ReplaceAll(dump(&x.Request.Header), "\n", "|"); got != c.after {
				t.Errorf("got  %s\nwant %s", got, c.after)
			}
			if string(x.Request.Query) != "q=1" {
				t.Errorf("the query became %q", x.Request.Query)
			}
		})
	}
}

// braces puts braces around changes that have none.
func braces(changes string) string {
	if strings.HasPrefix(changes, "{") {
		return changes
	}
	return "{" + changes + "}"
}

func TestRequestHost(t *testing.T) {
	for _, c := range []struct{ value, host, port string }{
		{"inner.example", "inner.example", ""},
		{"Inner.Example:8080", "inner.example", "8080"},
		{"[2001:DB8::1]", "[2001:db8::1]", ""},
		{"[2001:db8:0::1]:81", "[2001:db8::1]", "81"},
		{"${path.id}.example", "7.example", ""},
		{"${request.query.host}", "from-query.example", "99"},
		{"${request.query.absent}", "shop.example", ""}, // a host cannot be missing
	} {
		x := exchange("host=from-query.example:99", "Host: shop.example")
		if _, _, f := chain(t, `[{request: {headers: {set: {Host: "`+c.value+`"}}}}]`).Request(x, 0, nil); f != nil {
			t.Errorf("%s: %v", c.value, f)
			continue
		}
		if string(x.Request.Host) != c.host || string(x.Request.Port) != c.port {
			t.Errorf("%s: host %q, port %q; want %q, %q", c.value, x.Request.Host, x.Request.Port, c.host, c.port)
		}
		want := c.host
		if c.port != "" {
			want += ":" + c.port
		}
		if got := dump(&x.Request.Header); got != "Host: "+want {
			t.Errorf("%s: header %q, want the same host", c.value, got)
		}
	}
}

// A request that is refused has not been changed and is not forwarded.
func TestRequestRefused(t *testing.T) {
	const all = `rename: {B: C}, remove: [D], set: {E: "1"}, add: {F: "2"}`
	for _, c := range []struct {
		name, policy, query string
		reason              message.Reason
		status              int
	}{
		{"CR LF in a header", `{headers: {` + all + `, set: {X-A: "${request.query.q}"}}}`, "q=a%0D%0AX-Evil:1", message.HeaderValueInvalid, 400},
		{"NUL in a header", `{headers: {add: {X-A: "${request.query.q}"}, rename: {B: C}}}`, "q=%00", message.HeaderValueInvalid, 400},
		{"no value for a parameter", `{headers: {` + all + `}, query: {set: {a: "${request.query.q}"}}}`, "b=1", message.PathValueInvalid, 400},
		{"a host that is none", `{headers: {set: {Host: "${request.query.q}"}}}`, "q=a%2Fb", message.HostInvalid, 400},
		{"a host with user", `{headers: {set: {Host: "${request.query.q}"}}}`, "q=user@host", message.HostInvalid, 400},
		{"two fields for one", `{headers: {rename: {X-Token: Authorization}}}`, "", message.HeaderRepeated, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			// set stands twice in some of the policies above; the last one is meant.
			if strings.Count(c.policy, "set: {") > 1 {
				c.policy = strings.Replace(c.policy, `set: {E: "1"}, `, "", 1)
			}
			x := exchange(c.query, "B: 1", "D: 2", "X-Token: a", "X-Token: b")
			before := dump(&x.Request.Header)
			ran, done, f := chain(t, "[{request: "+c.policy+"}, shared]").Request(x, 0, nil)
			if ran != 1 || done || f == nil || f.Reason != c.reason || f.Reason.Status() != c.status || f.Side != message.SideClient {
				t.Fatalf("Request = %d, %v, %+v; want the reason %s", ran, done, f, c.reason)
			}
			if after := dump(&x.Request.Header); after != before || string(x.Request.Query) != c.query || string(x.Request.Host) != "shop.example" {
				t.Errorf("the refused request was changed:\n%s\n%s", after, x.Request.Query)
			}
			if x.Outcome.Policy != "request" || !strings.Contains(f.Error(), "policy request: ") {
				t.Errorf("policy %q, error %v: want the name of the policy", x.Outcome.Policy, f)
			}
		})
	}
}

func TestRequestQuery(t *testing.T) {
	for _, c := range []struct{ name, changes, before, after string }{
		{"set, absent", `set: {a: one}`, "b=2", "b=2&a=one"},
		{"set, no query", `set: {a: one}`, "-", "a=one"},
		{"set, empty query", `set: {a: one}`, "", "a=one"},
		{"set replaces every copy, in place", `set: {a: one}`, "a=1&b=2&a=3", "a=one&b=2"},
		{"set finds an encoded name", `set: {a: one}`, "%61=1&b", "a=one&b"},
		{"set encodes", `set: {"a b": "1&2=3+4%"}`, "", "a%20b=1%262%3D3%2B4%25"},
		{"case counts", `set: {a: one}`, "A=1", "A=1&a=one"},
		{"add keeps", `add: {a: one}`, "a=1", "a=1&a=one"},
		{"remove all copies", `remove: [a, absent]`, "a=1&b=2&a&%61=3", "b=2"},
		{"remove the last", `remove: a`, "a=1", "-"},
		{"remove all but an empty piece", `remove: a`, "a=1&", ""},
		{"remove nothing", `remove: [c]`, "a=%zz&&b=+", "a=%zz&&b=+"},
		{"remove nothing of an empty query", `remove: [c]`, "", ""},
		{"remove nothing of none", `remove: [c]`, "-", "-"},
		{"rename", `rename: {old: new}`, "old=%41+b&x&old", "new=%41+b&x&new"},
		{"rename encodes", `rename: {old: "n=w"}`, "old=1", "n%3Dw=1"},
		{"rename takes the place of the new name", `rename: {id: user}`, "user=forged&id=real", "user=real"},
		{"rename of nothing changes nothing", `rename: {id: user}`, "user=stays", "user=stays"},
		{"a semicolon separates nothing", `remove: [b]`, "a=1;b=2", "a=1;b=2"},
		{"empty pieces stay", `remove: [b]`, "&a=1&&b=2&", "&a=1&&"},

		{"order: rename before remove", `{remove: [new], rename: {old: new}}`, "old=1&b=2", "b=2"},
		{"order: rename before set", `{set: {new: one}, rename: {old: new}}`, "old=1&b=2", "new=one&b=2"},
		{"order: remove before add", `{add: {a: two}, remove: [a]}`, "a=0&b", "b&a=two"},
		{"order: set before add", `{add: {a: two}, set: {a: one}}`, "a=0", "a=one&a=two"},
		// What set gives is there afterwards, in the place that is then the last.
		{"order: remove before set", `{set: {a: one}, remove: [a]}`, "a=0&b", "b&a=one"},

		{"values see the query as it came", `{set: {a: "${request.query.b}", b: "${request.query.a}"}, add: {c: "${request.query.a}"}, remove: [d]}`,
			"a=1&b=2&d=3", "a=2&b=1&c=1"},
		{"a value is decoded and encoded once", `set: {b: "${request.query.a}"}`, "a=%2541+%26", "a=%2541+%26&b=%2541%20%26"},
		{"nothing is expanded twice", `set: {b: "${request.query.a}"}`, "a=${path.id}", "a=${path.id}&b=%24%7Bpath.id%7D"},
		{"a line break is a byte of a value", `set: {b: "${request.query.a}"}`, "a=%0D%0A", "a=%0D%0A&b=%0D%0A"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := exchange(c.before, "A: 1")
			if _, _, f := chain(t, "[{request: {query: "+braces(c.changes)+"}}]").Request(x, 0, nil); f != nil {
				t.Fatal(f)
			}
			if got := text(x.Request.Query); got != c.after {
				t.Errorf("%s became %s, want %s", c.before, got, c.after)
			}
			if dump(&x.Request.Header) != "A: 1" {
				t.Errorf("the header became %q", dump(&x.Request.Header))
			}
		})
	}
}

// Header and query of one policy both see the request as it came to the policy; a later policy sees what an earlier one made of it.
func TestRequestOrder(t *testing.T) {
	x := exchange("q=1", "A: first")
	p := chain(t, `[{request: {headers: {set: {A: second}}, query: {set: {q: "${request.headers.a}"}}}}, {request: {query: {add: {r: "${request.headers.a}"}}}}]`)
	if _, _, f := p.Request(x, 0, nil); f != nil {
		t.Fatal(f)
	}
	if got := text(x.Request.Query); got != "q=first&r=second" {
		t.Errorf("query %s, want q=first&r=second", got)
	}
}

// What a policy made lives until the exchange is reset, whatever else is kept in it.
func TestRequestKeeps(t *testing.T) {
	p := chain(t, `[{request: {headers: {set: {X-A: "${path.id}", Host: "${path.id}.example:81"}}, query: {set: {q: "${path.rest}"}}}}]`)
	x := exchange("a=1&q=0")
	if _, _, f := p.Request(x, 0, nil); f != nil {
		t.Fatal(f)
	}
	for range 100 {
		x.Keep([]byte(strings.Repeat("x", 100)))
	}
	if got := text(x.Request.Query) + " " + string(x.Request.Host) + " " + string(x.Request.Port) + " " + dump(&x.Request.Header); got != "a=1&q=a%2Fb 7.example 81 X-A: 7\nHost: 7.example:81" {
		t.Errorf("got %s", got)
	}
	x.Reset()
	fill(x, "-")
	if _, _, f := p.Request(x, 0, nil); f != nil || text(x.Request.Query) != "q=a%2Fb" {
		t.Errorf("after a reset: %s, %v", text(x.Request.Query), f)
	}
}
