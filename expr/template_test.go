package expr

import (
	"bytes"
	"net/url"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

func TestTemplate(t *testing.T) {
	const missing = "\x00missing"
	for _, c := range []struct {
		src    string
		enc    Encoding
		want   string
		reason message.Reason
	}{
		{"", None, "", 0},
		{"plain", None, "plain", 0},
		{"a $ b $$ } {", None, "a $ b $$ } {", 0},
		{"$${request.path}", None, "${request.path}", 0},
		{"$$${x}", None, "$${x}", 0},
		{"${request.method} ${request.path}!", None, "GET /a/b%20c!", 0},
		{`${"}"}${'{'}`, None, "}{", 0},
		{"${request.query.injected}", None, "${request.host}", 0},
		{"x ${request.query.absent}", None, missing, 0},

		{"${request.query.crlf}", None, "a\r\nb", 0},
		{"${request.query.crlf}", HeaderValue, missing, message.HeaderValueInvalid},
		{"x${request.query.pad}", HeaderValue, "x x", 0},
		{"${request.query.pad}", HeaderValue, "x", 0},
		{"${request.headers.absent}", HeaderValue, missing, 0},
		{`${"\n"}`, HeaderValue, missing, message.HeaderValueInvalid},

		{"/accounts/${path.id}/x", Path, "/accounts/4%202%2F%25/x", 0},
		{"/a/${path.dots}", Path, missing, message.PathValueInvalid},
		{"/a/${path.none}", Path, missing, message.PathValueInvalid},
		{"/a/${path.absent}", Path, missing, message.PathValueInvalid},
		{"/a/${path.rest}", Path, "/a/a/b%20c", 0},
		{"/a?${path.rest}", Query, "/a?a%2Fb%20c", 0},
		{"/a${request.path}", Path, "/a/a/b%20c", 0},
		{"/a/${request.query.q}", Path, "/a/1%202%2F3", 0},

		{"a=${request.query.q}&b=${request.path}", Query, "a=1%202%2F3&b=%2Fa%2Fb%2520c", 0},
		{"a=${request.query.empty}", Query, "a=", 0},
		{"a=${request.query.absent}", Query, missing, message.PathValueInvalid},

		{"${claims.sub + '!'}", None, "7!", 0},
		{"n=${claims.level + 1} ${claims.amount}", None, "n=4 1.50", 0},
		{"${claims.roles}", None, missing, 0},
		{"${[1]}", None, missing, 0},
		{"${claims.crlf}", HeaderValue, missing, message.HeaderValueInvalid},
		{"${claims.crlf + 'x'}", HeaderValue, missing, message.HeaderValueInvalid},
		{"${' ' + claims.sub}", HeaderValue, "7", 0},
		{"${claims.absent + 'x'}", HeaderValue, missing, 0},
		{"/a/${account.body.id}", Path, "/a/a%2F1", 0},
		{"/a/${account.body.id + '/b'}", Path, "/a/a%2F1%2Fb", 0},
		{"/a/${true ? request.path : ''}", Path, "/a/%2Fa%2Fb%2520c", 0}, // worked out, so it is data
		{"/a/${'.' + '.'}", Path, missing, message.PathValueInvalid},
		{"/a/${'' + ''}", Path, missing, message.PathValueInvalid},
		{"/a/${claims.absent + 'x'}", Path, missing, message.PathValueInvalid},
		{"/a/${claims.roles}", Path, missing, message.PathValueInvalid},
		{"/a/${claims.level + 1}", Path, "/a/4", 0},
		{"?a=${claims.sub + '&b=c'}", Query, "?a=7%26b%3Dc", 0},
		{"?a=${failed.body.items}", Query, missing, message.PathValueInvalid},
		{"https://${claims.sub + '/x@y'}.example/?a=${claims.sub + '#'}", URL, "https://7%2Fx%40y.example/?a=7%23", 0},
		{"${{'a': '}'}.a}", None, "}", 0},
		{"${request.query.injected + ''}", None, "${request.host}", 0},

		{"https://${request.host}${request.path}?${request.query}", URL, "https://shop.example/a/b%20c?" + string(exchange().Request.Query), 0},
		{"${request.scheme}://www.${request.host}/", URL, "https://www.shop.example/", 0},
		{"https://x.example/${path.rest}?r=${path.rest}", URL, "https://x.example/a/b%20c?r=a%2Fb%20c", 0},
		{"https://${request.path}", URL, "https://%2Fa%2Fb%2520c", 0}, // a path never becomes a host
		{"https://${path.rest}", URL, "https://a%2Fb%20c", 0},
		{"https://${path.id}.example/", URL, "https://4%202%2F%25.example/", 0},
		{"https://x.example/${path.id}?to=${path.id}#${request.path}", URL, "https://x.example/4%202%2F%25?to=4%202%2F%25#%2Fa%2Fb%2520c", 0},
		{"//${request.host}/x", URL, "//shop.example/x", 0},
		{"${request.path}", URL, "/a/b%20c", 0},
		{"${request.query.injected}", URL, "%24%7Brequest.host%7D", 0},
		{"https://x.example/${path.dots}", URL, missing, message.PathValueInvalid},
	} {
		tmpl, err := CompileTemplate(c.src, known())
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
			continue
		}
		got, ok, reason := tmpl.Append([]byte("before "), exchange(), c.enc)
		if !ok {
			if string(got) != "before " {
				t.Errorf("%s: without a value it left %q", c.src, got)
			}
			got = []byte("before " + missing)
		}
		if string(got) != "before "+c.want || reason != c.reason {
			t.Errorf("%s as %d = %q, reason %q; want %q, reason %q", c.src, c.enc, got, reason, "before "+c.want, c.reason)
		}
	}
}

// A request must not choose the host of an address that was written as a path.
func TestTemplateNamesNoHost(t *testing.T) {
	x := exchange()
	x.Request.Path = []byte("//evil.example/x") // with paths: {slashes: keep}
	for _, c := range []struct {
		src string
		ok  bool
	}{{"${request.path}", false}, {"/x${request.path}", true}, {"//x.example${request.path}", true}, {"https:${request.path}", true}} {
		tmpl, err := CompileTemplate(c.src, known())
		if err != nil {
			t.Fatal(err)
		}
		if got, ok, _ := tmpl.Append(nil, x, URL); ok != c.ok {
			t.Errorf("%s = %q, %v; want %v", c.src, got, ok, c.ok)
		}
	}
}

func TestTemplateErrors(t *testing.T) {
	for _, c := range []struct {
		src    string
		offset int
		want   string
	}{
		{"abc ${request.path", 4, "write $${ for a plain ${"},
		{"abc ${}", 6, "empty"},
		{"${request.path} ${request.pth}", 26, `did you mean "path"?`},
		{`${"}`, 0, "not closed"},
		{"${claim.sub}", 2, `did you mean "claims"?`},
		{"a ${claims.sub + 1} ${1 + }", 26, "ends too early"},
		{"${env:HOME}", 2, "read when the configuration is loaded"},
		{"${{}", 0, "not closed"},
		{strings.Repeat("${'a'}", maxParts+1), 6 * maxParts, "256 parts"},
		{strings.Repeat("a", MaxSource+1), 0, "64 KiB"},
	} {
		_, err := CompileTemplate(c.src, known())
		if err == nil || err.Offset != c.offset || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40s: error %+v, want %q at %d", c.src, err, c.want, c.offset)
		}
	}
}

func TestTemplateConst(t *testing.T) {
	for _, c := range []struct {
		src, want string
		ok        bool
	}{{"", "", true}, {"a $${b}", "a ${b}", true}, {"a ${'b'}", "", false}, {"${path.id}", "", false}} {
		tmpl, err := CompileTemplate(c.src, known())
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := tmpl.Const(); string(got) != c.want || ok != c.ok {
			t.Errorf("%q: Const = %q, %v; want %q, %v", c.src, got, ok, c.want, c.ok)
		}
	}
}

func TestTemplateCheck(t *testing.T) {
	for _, c := range []struct {
		src string
		at  int // -1 if it is legal
	}{{"plain ${path.id}", -1}, {"a\nb", 1}, {"${path.id} a\x00", 12}, {`x ${"\n"}`, 2}, {"${request.query[\"\\n\"]}", -1}} {
		tmpl, err := CompileTemplate(c.src, known())
		if err != nil {
			t.Fatal(err)
		}
		err = tmpl.Check(HeaderValue)
		if at := c.at; err == nil && at >= 0 || err != nil && err.Offset != at {
			t.Errorf("%q: Check = %+v, want an error at %d", c.src, err, at)
		}
	}
}

func TestTemplateMayRefuse(t *testing.T) {
	for src, want := range map[string]bool{
		"": false, "plain": false, "${request.headers.a} ${request.cookies.a} ${response.status}": false, "${request.path}": false,
		"${version} ${account.status} ${client.ip}": false, "${claims.level + 1 > 2}": false, "${request.size + 1}": false,
		"${claims.sub}": true, "${claims.a.b}": true, "${account.body}": true, "${item.id}": true, "${claims.sub + ''}": true, "${client.cert.subject}": true,
		"a ${path.id}": true, "${path.rest}": true, "${request.query.q}": true, "${'a'}": true,
	} {
		tmpl, err := CompileTemplate(src, known())
		if err != nil {
			t.Fatal(err)
		}
		if got := tmpl.MayRefuse(); got != want {
			t.Errorf("%q: MayRefuse = %v, want %v", src, got, want)
		}
	}
}

func TestTemplateRefuses(t *testing.T) {
	for src, want := range map[string]bool{
		"${response.headers.absent} ${request.query.crlf}": true, // though Append ends at the missing one
		"${claims.crlf}": true, "${claims.crlf + ''}": true, "${claims.sub}": false, "${claims.sub + ''}": false, "${claims.roles}": false, "${claims.absent.x}": false,
		"${request.query.q}": false, "${path.id}": false, "${request.query.absent}": false, `${"\n"}`: true, "${request.query}": false,
	} {
		tmpl, err := CompileTemplate(src, known())
		if err != nil {
			t.Fatal(err)
		}
		if got := tmpl.Refuses(exchange()); got != want {
			t.Errorf("%q: Refuses = %v, want %v", src, got, want)
		}
	}
	x := exchange()
	x.Captures[0].Value = []byte("a\x00")
	tmpl, err := CompileTemplate("${path.id}", known())
	if err != nil {
		t.Fatal(err)
	}
	if !tmpl.Refuses(x) {
		t.Error("a capture with NUL is not refused")
	}
}

func FuzzTemplate(f *testing.F) {
	for _, src := range []string{"a ${path.id}", "$${", "${request.query.crlf}", "https://${request.host}${request.path}?${request.query}", "${", "${'}'}", "$$${request.host}", "/${path.dots}",
		"${claims.sub + request.query.q}", "${request.query.q == 'x' ? path.id : request.headers.accept}", "${[request.query.q].join(path.id)}"} {
		f.Add(src, "q=a%0Ab", "v", "/p")
	}
	f.Add("${request.headers.accept}${request.query.q}", "q=%20", " ", "/..")
	f.Fuzz(func(t *testing.T, src, query, value, path string) {
		tmpl, err := CompileTemplate(src, known())
		if err != nil {
			if err.Offset < 0 || err.Offset > len(src) {
				t.Fatalf("%q: error at %d, outside of the text", src, err.Offset)
			}
			return
		}
		x := exchange()
		x.Request.Query, x.Request.Path = []byte(query), []byte(path)
		x.Captures[0].Value = []byte(value)
		x.Request.Header.Set(message.Accept.Name(), []byte(value))
		bound := (len(src) + len(tmpl.parts)*(200+len(query)+3*len(value)+len(path))) * 3
		for i := range tmpl.parts {
			if tmpl.parts[i].program.op == opCEL {
				bound = 4 * maxOutput // what an expression makes of texts has bounds of its own
			}
		}
		for enc := None; enc <= URL; enc++ {
			out, ok, reason := tmpl.Append([]byte("before"), x, enc)
			rest, kept := bytes.CutPrefix(out, []byte("before"))
			switch {
			case !kept:
				t.Fatalf("%q as %d: what stood before is gone: %q", src, enc, out)
			case len(rest) > bound:
				t.Fatalf("%q as %d: %d bytes", src, enc, len(rest))
			case !ok && len(rest) > 0, ok && reason != message.ReasonNone:
				t.Fatalf("%q as %d: %q, %v, %q", src, enc, rest, ok, reason)
			case ok && enc == HeaderValue && !message.ValidValue(rest):
				t.Fatalf("%q: %q is no header value", src, rest)
			case enc == HeaderValue && reason != message.ReasonNone && tmpl.Check(HeaderValue) == nil && clean(query+path+value) && !tmpl.MayRefuse():
				t.Fatalf("%q is refused with %q, and MayRefuse did not tell", src, reason)
			case enc == HeaderValue && ok && tmpl.Refuses(x):
				t.Fatalf("%q: Refuses tells what Append did not: %q", src, rest)
			}
		}
	})
}

// clean reports whether s is something that a codec would let through.
func clean(s string) bool { return message.IndexInvalidValue([]byte(s)) < 0 }

// A value that goes into a path or query comes out of a standard parser as it went in, and splits nothing.
func FuzzTemplateRoundTrip(f *testing.F) {
	for _, v := range []string{"a", "a b", "a/b", "%2F", "%", "..", "?", "#&=", "\x00", "ü", "+", "..;", "\r\n"} {
		f.Add(v)
	}
	tmpl, err := CompileTemplate("https://x.example/a/${path.id}/b?k=${path.id}&l=1", known())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value string) {
		x := exchange()
		x.Captures[0].Value = []byte(value)
		out, ok, reason := tmpl.Append(nil, x, URL)
		if !ok {
			if reason != message.PathValueInvalid {
				t.Fatalf("%q is refused for %q", value, reason)
			}
			return
		}
		u, err := url.Parse(string(out))
		if err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		if u.Host != "x.example" || u.Path != "/a/"+value+"/b" || u.EscapedPath() != "/a/"+string(message.AppendQueryValue(nil, []byte(value)))+"/b" || u.Query().Get("k") != value || u.Query().Get("l") != "1" || u.Fragment != "" {
			t.Fatalf("%q in a URL is read back as %q", value, u)
		}
	})
}

// A capture of several segments goes into a path as it stood in the path that was read: %2F and "/" stay two things.
func TestRestKeepsEncodedSlash(t *testing.T) {
	tpl, err := CompileTemplate("/new/${path.rest}", Env{Captures: []string{"rest"}, Rest: "rest"})
	if err != nil {
		t.Fatal(err)
	}
	var x message.Exchange
	x.Captures = []message.Capture{{Name: "rest", Value: []byte("a/b/ü"), Raw: []byte("a%2Fb/%C3%BC")}}
	for enc, want := range map[Encoding]string{Path: "/new/a%2Fb/%C3%BC", URL: "/new/a%2Fb/%C3%BC", None: "/new/a/b/ü"} {
		got, ok, reason := tpl.Append(nil, &x, enc)
		if !ok || reason != message.ReasonNone || string(got) != want {
			t.Errorf("encoding %d: %q, %t, %s; want %q", enc, got, ok, reason, want)
		}
	}
}
