package expr

import (
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
		{`claims.sub`, 0, `known: request, client, path, response`},
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
		{`request.headers[x]`, 16, `write ["name"]`},
		{`request.headers[0]`, 16, `write ["name"]`},
		{`request.headers["x"]["y"]`, 21, "has no members"},
		{`request.headers.a.b.c`, 19, "expected the end"},
		{`request.path.x`, 13, `"path" has no members`},
		{`request.path == "/"`, 13, "expected the end"},
		{`path.ix`, 5, `did you mean "id"?`},
		{`path.id.x`, 8, "has no members"},
		{`client.addr`, 7, "known: ip, port"},
		{`"a" + "b"`, 4, "expected the end"},
		{`"\x"`, 1, "unknown escape"},
		{`"open`, 0, "not closed"},
		{`"open\`, 5, "unknown escape"},
		{`1 + 2`, 0, "begins with a name"},
		{`env:HOME`, 0, "read when the configuration is loaded"},
		{"\xff", 0, "begins with a name"},
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
	for _, src := range []string{`request.headers["a"]`, `path.id`, `"\n`, `request.query['q']`, `request.headers.x-y`, `response["status"]`, `a.b.c.d.e`, "\x80", `path[`} {
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
		if got, ok := p.Append(before, exchange()); !ok && len(got) != len(before) {
			t.Fatalf("%q: without a value it appended %q", src, got)
		}
	})
}
