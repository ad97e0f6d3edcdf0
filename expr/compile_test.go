package expr

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

func TestSelectors(t *testing.T) {
	const missing = "\x00missing"
	for _, c := range []struct{ src, want string }{
		{`request.method`, "GET"},
		{`request.scheme`, "https"},
		{`request.host`, "shop.example"},
		{`request.path`, "/a/b%20c"},
		{`request.size`, "0"},
		{`request.id`, "id-1"},
		{` request . path `, "/a/b%20c"},
		{`request["method"]`, "GET"},

		{`request.query["q"]`, "1 2/3"}, // the first, decoded once
		{`request.query.q`, "1 2/3"},
		{`request.query['q']`, "1 2/3"},
		{`request.query.empty`, ""},
		{`request.query.flag`, ""},
		{`request.query.name`, "v"}, // its name is sent with an escape
		{`request.query.bad`, "%zz"},
		{`request.query.injected`, "${request.host}"}, // never expanded again
		{`request.query[""]`, "error"},
		{`request.query.absent`, missing},

		{`request.headers.accept`, "text/html, */*"},
		{`request.headers["ACCEPT"]`, "text/html, */*"},
		{`request.headers["x-many"]`, "one, two"},
		{`request.headers["x-empty"]`, ""},
		{`request.headers["x-absent"]`, missing},
		{`request.headers["cookie"]`, "a=1; session=s%201;b = 2; a=3; late=4; quoted=\"q\"; =nameless; a"},
		{`request.headers.host`, "shop.example:8443"}, // the authority that was matched, not another view of it

		{`request.cookies.a`, "1"},
		{`request.cookies["session"]`, "s%201"},
		{`request.cookies.late`, "4"},
		{`request.cookies.quoted`, `"q"`},
		{`request.cookies.b`, missing}, // "b " is another name
		{`request.cookies.A`, missing},
		{`request.cookies.lat`, missing},

		{`path.id`, "4 2/%"},
		{`path["id"]`, "4 2/%"},
		{`path.none`, ""},
		{`path.rest`, "a/b c"},
		{`path.absent`, missing},

		{`client.ip`, "192.0.2.7"},
		{`client.port`, "4711"},

		{`claims.sub`, "7"},
		{`claims["sub"]`, "7"},
		{`claims["a.b"]`, "dotted"},
		{`claims.level`, "3"},
		{`claims.amount`, "1.50"},
		{`claims.admin`, "true"},
		{`claims.none`, missing},
		{`claims.empty`, ""},
		{`claims.roles`, missing}, // a list has no text
		{`claims.roles.1`, "admin"},
		{`claims.roles[0]`, "customer"},
		{`claims.roles[2]`, missing},
		{`claims.address.city`, "Bürgel"},
		{`claims.address["zip"]`, `0"1`},
		{`claims.address.street`, missing},
		{`claims.sub.x`, missing},
		{`claims`, missing},
		{`consumer.name`, "budget-app"},
		{`consumer.plan`, "partner"},
		{`version`, "v2"},
		{`client.cert.subject`, "CN=mobile,O=Bank"},
		{`client.cert.issuer`, "CN=ca"},
		{`client.cert.serial`, "beef"},
		{`client.cert.fingerprint`, "5050d80d22ecd471ea55df7034042c1e041341ff4066e7f6ff38e20b720df8ea"},
		{`client.cert.san`, missing},
		{`request.query_all["q"]`, missing},

		{`account.status`, "200"},
		{`account.headers["x-total"]`, "2, 3"},
		{`account.headers.absent`, missing},
		{`account.body.id`, "a/1"},
		{`account.body.balance`, "10.50"},
		{`account.body.exp`, "1.20e+2"},
		{`account.body.ok`, "true"},
		{`account.body.nil`, missing},
		{`account.body.items.0.id`, "1.0"},
		{`account.body.items[1].name`, "é/"},
		{`account.body.0`, "zero"},
		{`account.body["0"]`, "zero"},
		{`account.body.items.-1`, "error"},
		{`failed.status`, "0"},
		{`failed.headers.x`, missing},
		{`failed.body.items`, missing},
		{`later.status`, missing},
		{`later.body.id`, missing},
		{`item.id`, "7"},
		{`item.tags.1`, "b"},

		{`1.50`, "1.50"},
		{` -2e9 `, "-2e9"},
		{`true`, "true"},
		{`null`, missing},

		{`response.status`, "404"},
		{`response.headers.server`, "origin"},
		{`response.headers["Vary"]`, "Accept, Origin"},
		{`response.headers["x-absent"]`, missing},

		{`"text"`, "text"},
		{`'it''s'`, "error"},
		{`'a "b" \' \\ \n'`, "a \"b\" ' \\ \n"},
		{`""`, ""},
	} {
		p, err := Compile(c.src, known())
		if c.want == "error" {
			if err == nil {
				t.Errorf("%s: compiled, want an error", c.src)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
			continue
		}
		got, ok := p.Append([]byte("before"), exchange())
		if !ok {
			if string(got) != "before" {
				t.Errorf("%s: without a value it appended %q", c.src, got)
			}
			got = []byte("before" + missing)
		}
		if string(got) != "before"+c.want {
			t.Errorf("%s = %q, want %q", c.src, got, "before"+c.want)
		}
	}
}

// Without anything in the exchange a selector has no value or an empty one, and never fails.
func TestSelectorsOfNothing(t *testing.T) {
	for _, src := range []string{
		`request.scheme`, `request.host`, `request.headers.host`, `request.path`, `request.query.q`, `request.id`, `request.headers.accept`,
		`request.cookies.a`, `path.id`, `client.ip`, `client.port`, `response.status`, `response.headers.server`,
		`claims.sub`, `claims.a.b`, `consumer.name`, `consumer.plan`, `version`, `client.cert.subject`, `client.cert.serial`, `client.cert.fingerprint`,
		`client.cert.san`, `account.status`, `account.headers.a`, `account.body`, `account.body.a`, `item`, `item.a`, `request.query_all["q"]`,
	} {
		p, err := Compile(src, known())
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		x := new(message.Exchange)
		x.Reset()
		if got, ok := p.Append(nil, x); ok || len(got) > 0 {
			t.Errorf("%s of an empty exchange = %q, %v; want no value", src, got, ok)
		}
		if got, ok := p.AppendJSON(nil, x); ok || len(got) > 0 {
			t.Errorf("%s of an empty exchange = %s as JSON, %v; want no value", src, got, ok)
		}
	}
	p, _ := Compile("request.size", Env{})
	x := exchange()
	x.Request.Length = message.LengthUnknown
	if got, ok := p.Append(nil, x); ok {
		t.Errorf("request.size of a body of unknown length = %q, want no value", got)
	}
}

// Behind a trusted proxy the peer's port is the proxy's and not the client's.
func TestClientBehindProxy(t *testing.T) {
	x := exchange()
	x.Client.Addr = x.Client.Addr.Next()
	ip, _ := Compile("client.ip", Env{})
	if got, _ := ip.Append(nil, x); string(got) != "192.0.2.8" {
		t.Errorf("client.ip = %q, want the client's", got)
	}
	port, _ := Compile("client.port", Env{})
	if got, ok := port.Append(nil, x); ok {
		t.Errorf("client.port = %q, want no value", got)
	}
}

func TestCompileErrors(t *testing.T) {
	for _, c := range []struct {
		src    string
		offset int
		want   string // in message and suggestion
	}{
		{``, 0, "empty"},
		{`  `, 0, "empty"},
		{`reqest.path`, 0, `did you mean "request"?`},
		{`steps.account`, 0, `known: request, client, path, claims, consumer, version, response, account, failed, rows, later, item`},
		{`request`, 0, "known: method"},
		{`request.`, 8, "name is missing"},
		{`request.pth`, 8, `did you mean "path"?`},
		{`request.Path`, 8, `did you mean "path"?`},
		{`request.body`, 8, "known: method"},
		{`request.headers`, 8, `request.headers["name"]`},
		{`request.headers["a b"]`, 16, "cannot be the name of a header"},
		{`request.headers.x-name`, 17, `write request.headers["x-name"]`},
		{`request.headers["x`, 16, "not closed"},
		{`request.headers["x"`, 19, "add ]"},
		{`request.headers[x]`, 16, `write ["x"]`},
		{`request.headers[0]`, 16, `write ["name"]`},
		{`request.headers["x"]["y"]`, 21, "has no members"},
		{`request.headers.a.b.c`, 18, `"a" has no members`},
		{`request.path.x`, 13, `"path" has no members`},
		{`path.ix`, 5, `did you mean "id"?`},
		{`path.id.x`, 8, "has no members"},
		{`client.addr`, 7, "known: ip, port, cert"},
		{`client.cert`, 7, "known: subject, issuer"},
		{`client.cert.subjct`, 12, `did you mean "subject"?`},
		{`client.cert.subject.x`, 20, "has no members"},
		{`consumer`, 0, "known: name, plan"},
		{`consumer.nme`, 9, `did you mean "name"?`},
		{`version.x`, 8, "has no members"},
		{`account`, 0, "known: status, headers, body"},
		{`account.headers`, 8, `write account.headers["name"]`},
		{`account.headers["a b"]`, 16, "cannot be the name of a header"},
		{`account.bdy`, 8, `did you mean "body"?`},
		{`account.status.x`, 15, "has no members"},
		{`request.query_all`, 8, `request.query_all["name"]`},
		{`request.headers.0`, 16, `write ["name"]`},
		{`"\x"`, 1, "unknown escape"},
		{`"open`, 0, "not closed"},
		{`"open\`, 5, "unknown escape"},
		{`file:secret`, 0, "read when the configuration is loaded"},
		{`env:HOME`, 0, "read when the configuration is loaded"},
		{"a\xff", 1, "not UTF-8"},
		{`request.query["` + strings.Repeat("n", maxName+1) + `"]`, 14, "longer than 4 KiB"},
		{strings.Repeat(" ", MaxSource+1), 0, "longer than 64 KiB"},
	} {
		_, err := Compile(c.src, known())
		if err == nil {
			t.Errorf("%.40s: compiled, want an error with %q", c.src, c.want)
			continue
		}
		if err.Offset != c.offset || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40s: error at %d: %v; want %q at %d", c.src, err.Offset, err, c.want, c.offset)
		}
	}
}

// What is not there when an expression runs is refused when it is compiled.
func TestEnv(t *testing.T) {
	for _, c := range []struct {
		src  string
		env  Env
		want string // "" if it compiles
	}{
		{`response.status`, Env{}, "no response yet"},
		{`response.status`, Env{Response: true}, ""},
		{`path.id`, Env{}, "captures nothing"},
		{`path.id`, Env{Captures: []string{"id"}}, ""},
		{`path.id`, Env{AnyCapture: true}, ""},
		{`path.id`, Env{Captures: []string{"name"}}, "does not capture"},
		{`path`, Env{Captures: []string{"name"}}, "known: name"},
		{`path.id`, Env{Any: true}, ""},
		{`claims.sub`, Env{}, `claims is not known here; put an identity policy such as jwt before this one`},
		{`claims.sub == ""`, Env{}, `claims is not known here; put an identity policy such as jwt before this one`},
		{`claims.sub`, Env{Claims: true}, ""},
		{`claims.sub == ""`, Env{Any: true}, ""},
		{`consumer.name`, Env{Claims: true}, "consumer is not known here"},
		{`consumer.plan`, Env{Consumer: true}, ""},
		{`consumer.plan != ""`, Env{Any: true}, ""},
		{`version`, Env{}, "version is not known here"},
		{`version == "v1"`, Env{Version: true}, ""},
		{`response.status`, Env{Any: true}, "no response yet"},
		{`response.status > 1`, Env{Any: true}, "no response yet"},
		{`account.body`, Env{Any: true}, `"account" is not known here`},
		{`account.body`, Env{Steps: []string{"account"}}, ""},
		{`item`, Env{}, `"item" is not known here`},
		{`element.id`, Env{Item: "element"}, ""},
		{`element.id + 1`, Env{Item: "element"}, ""},
	} {
		_, err := Compile(c.src, c.env)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s in %+v: %v", c.src, c.env, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s in %+v: error %v, want %q", c.src, c.env, err, c.want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"path", "path", 0}, {"PATH", "path", 0}, {"pth", "path", 1}, {"paht", "path", 2}, {"x", "headers", 7}} {
		if got := distance(c.a, c.b, 8); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
	if got := distance("x", "headers", 2); got <= 2 {
		t.Errorf("distance beyond the bound = %d, want more than 2", got)
	}
}

func FuzzCompile(f *testing.F) {
	for _, src := range []string{`request.headers["a"]`, `path.id`, `"\n`, `request.query['q']`, `request.headers.x-y`, `response["status"]`, `a.b.c.d.e`, "\x80", `path[`,
		`"a" in claims.roles`, `account.body.items.map(i, i.price * 2)`, `{"a": [claims.amount]}`, `claims.?a.orValue(1)`, `merge.deep(account.body, item)`,
		`request.path.matches("^/(a|b)+")`, `[1, 2.5, "x"].sort()`, `1.50`, `lists.range(5).map(x, x * x)`, `claims.level + 1 == 4 ? "a" : "b"`,
		`"%s".format([claims])`, `cel.bind(a, claims, a.level)`, `request.query_all["q"].join(",")`, `type(1) == int`, `-claims.amount`, `timestamp("2026-01-02T03:04:05Z")`} {
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		p, err := Compile(src, known())
		if (p == nil) == (err == nil) {
			t.Fatalf("%q: program %v, error %v; want exactly one of them", src, p, err)
		}
		if err != nil {
			if err.Offset < 0 || err.Offset > len(src) {
				t.Fatalf("%q: error at %d, outside of the text", src, err.Offset)
			}
			if len(err.Error()) > 2*len(src)+1000 {
				t.Fatalf("%q: an error of %d bytes", src, len(err.Error()))
			}
			return
		}
		before := []byte("before")
		x := exchange()
		if got, ok := p.Append(before, x); !ok && len(got) != len(before) {
			t.Fatalf("%q: without a value it appended %q", src, got)
		}
		got, ok := p.AppendJSON(before, x)
		if !ok && len(got) != len(before) {
			t.Fatalf("%q: without a value it appended %q", src, got)
		}
		if ok && !json.Valid(got[len(before):]) {
			t.Fatalf("%q gives %q, which is no JSON", src, got[len(before):])
		}
		p.True(x)
		p.Int(x)
	})
}
