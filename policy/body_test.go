package policy

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
	"github.com/sluice-gateway/sluice/metric"
)

// keeper is a Program that keeps things, so that the policies of a chain share their memory.
type keeper struct {
	Program // what it is not asked for here
	things  map[any]io.Closer
}

// Registry implements Program: nothing is counted.
func (k *keeper) Registry() *metric.Registry { return nil }

func (k *keeper) Keep(_ string, key any, open func() (io.Closer, error)) (io.Closer, error) {
	if thing := k.things[key]; thing != nil {
		return thing, nil
	}
	thing, err := open()
	if err == nil {
		k.things[key] = thing
	}
	return thing, err
}

// keptChain returns a chain whose policies share the memory m.
func keptChain(t testing.TB, policies string, m *bodyMemory) *Chain {
	t.Helper()
	cfg, list, err := load(policies)
	if err != nil {
		t.Fatalf("policies: %s\n%v", policies, err)
	}
	c := context(cfg)
	c.Program = &keeper{things: map[any]io.Closer{bodyMemoryKey{}: m}}
	built, _ := Compile(list, c)
	if err := c.Report.Err(); err != nil {
		t.Fatalf("policies: %s\n%v", policies, err)
	}
	return built
}

// script is a body that gives pieces, each in the same memory, and ends with an error.
type script struct {
	pieces []string
	end    error // nil for io.EOF
	buf    []byte
	reads  int
	closed int
}

// split returns a body of a text in n pieces.
func split(text string, n int) *script {
	s := &script{}
	for size := max(1, (len(text)+n-1)/n); len(text) > 0; {
		size = min(size, len(text))
		s.pieces = append(s.pieces, text[:size])
		text = text[size:]
	}
	return s
}

func (s *script) Next() ([]byte, error) {
	s.reads++
	for i := range s.buf {
		s.buf[i] = '!' // what was lent is not valid any more
	}
	if len(s.pieces) == 0 {
		if s.end != nil {
			return nil, s.end
		}
		return nil, io.EOF
	}
	s.buf = append(s.buf[:0], s.pieces[0]...)
	s.pieces = s.pieces[1:]
	return s.buf, nil
}

func (s *script) Close() error { s.closed++; return nil }

// posted returns an exchange whose request has a body in three pieces. Without a type there is no Content-Type. chunked hides the length.
func posted(contentType, text string, chunked bool) *message.Exchange {
	x := exchange("q=1")
	x.Request.Method = message.MethodOf([]byte("POST"))
	if contentType != "" {
		addLine(&x.Request.Header, "Content-Type: "+contentType)
	}
	if text != "" || chunked {
		x.Request.Body, x.Request.Length = split(text, 3), int64(len(text))
	}
	if chunked {
		x.Request.Length = message.LengthUnknown
	}
	return x
}

// whole reads a body to its end.
func whole(t testing.TB, b message.Body) string {
	t.Helper()
	var out strings.Builder
	for {
		piece, err := b.Next()
		if err == io.EOF {
			return out.String()
		}
		if err != nil {
			t.Fatalf("the body ends with %v", err)
		}
		if len(piece) == 0 {
			t.Fatal("an empty piece")
		}
		out.Write(piece)
	}
}

// outcome is what became of a request: its body, or the failure.
func outcome(t testing.TB, x *message.Exchange, f *message.Failure) string {
	t.Helper()
	if f != nil {
		return told(f)
	}
	text := whole(t, x.Request.Body)
	if x.Request.Length >= 0 && x.Request.Length != int64(len(text)) {
		t.Errorf("the length is %d, the body %q has %d bytes", x.Request.Length, text, len(text))
	}
	return text
}

// told returns status and reason of a failure.
func told(f *message.Failure) string {
	status := f.Status
	if status == 0 {
		status = f.Reason.Status()
	}
	return fmt.Sprint(status, " ", f.Reason)
}

func TestRequestBody(t *testing.T) {
	const js = "application/json"
	for _, c := range []struct{ name, body, kind, before, after string }{
		{"set", `set: {from: "${path.id}"}`, js, `{"to":"x", "amount": 10.50}`, `{"to":"x", "amount": 10.50,"from":"7"}`},
		{"set replaces in its place", `set: {from: "me"}`, js, `{"from":"forged","to":"x"}`, `{"from":"me","to":"x"}`},
		{"set makes parents", `set: {a.b.c: 1}`, js, `{}`, `{"a":{"b":{"c":1}}}`},
		{"set an element", `set: {items.0.id: "n"}`, js, `{"items":[{"id":1},{"id":2}]}`, `{"items":[{"id":"n"},{"id":2}]}`},
		{"set below a text", `set: {a.b: 1}`, js, `{"a":"text"}`, "422 body_path_invalid"},
		{"set below a list", `set: {a.b: 1}`, js, `{"a":[]}`, "422 body_path_invalid"},
		{"set in a list", `set: {a: 1}`, js, `[1]`, "422 body_path_invalid"},
		{"a dot in a name", `set: {'a\.b': 1}`, js, `{"a.b":0}`, `{"a.b":1}`},
		{"a literal number keeps its digits", `set: {n: 1.10, e: 1e400}`, js, `{}`, `{"n":1.10,"e":1e400}`},
		{"a value with structure", `set: {meta: {ip: "${client.ip}", list: [1, "${path.id}"]}}`, js, `{}`, `{"meta":{"ip":"192.0.2.7","list":[1,"7"]}}`},
		{"a value that is missing", `set: {a: "${request.query.none}"}`, js, `{"a":1}`, `{"a":null}`},
		{"a value is escaped", `set: {a: "${request.headers.x}"}`, js, `{}`, `{"a":"\"},{"}`},
		{"remove", `remove: [b, c.d, none.x]`, js, `{"a":1,"b":2,"c":{"d":1,"e":2}}`, `{"a":1,"c":{"e":2}}`},
		{"rename", `rename: {old: new}`, js, `{"a":1,"old":2,"z":3}`, `{"a":1,"new":2,"z":3}`},
		{"order: rename, remove, set", `{rename: {a: b}, remove: [b], set: {c: 1}}`, js, `{"a":1}`, `{"c":1}`},
		{"untouched members keep their bytes", `remove: [x]`, js, "{ \"n\" : 1.00e2,\n\"s\":\"\\u00e9\", \"x\":1 }", "{ \"n\" : 1.00e2,\n\"s\":\"\\u00e9\" }"},
		{"nothing to change", `remove: [x]`, js, `{"a" : 1}`, `{"a" : 1}`},
		{"jq", `jq: "del(.x)"`, js, `{"b":1.10,"x":0,"a":{"z":1,"y":[1e2]}}`, `{"b":1.10,"a":{"z":1,"y":[1e2]}}`},
		{"jq: the first output", `jq: ".a, .b"`, js, `{"a":[1],"b":2}`, `[1]`},
		{"jq without output", `jq: "empty"`, js, `{}`, "422 transform_failed"},
		{"jq with an error", `jq: ".a.b"`, js, `{"a":1}`, "422 transform_failed"},
		{"set, then jq", `{set: {n: 2}, jq: ".n + 1"}`, js, `{}`, "3"},
		{"template", `template: {id: "${path.id}", n: 1.0}`, js, `{"a":1}`, `{"id":"7","n":1.0}`},
		{"template of another type", `template: ["${path.id}"]`, "text/plain", `hello`, `["7"]`},
		{"suffix +json", `set: {a: 1}`, "Application/Vnd.Bank.v2+JSON; charset=utf-8", `{}`, `{"a":1}`},
		{"not JSON", `set: {a: 1}`, "text/plain", `{}`, "415 body_not_json"},
		{"no type", `set: {a: 1}`, "", `{}`, "415 body_not_json"},
		{"only like JSON", `set: {a: 1}`, "application/jsonp", `{}`, "415 body_not_json"},
		{"broken", `set: {a: 1}`, js, `{"a":`, "400 json_invalid"},
		{"more behind it", `set: {a: 1}`, js, `{} {}`, "400 json_invalid"},
		{"not UTF-8", `set: {a: 1}`, js, "{\"b\":\"\xff\"}", "400 json_invalid"},
		{"a member twice", `set: {b: 1}`, js, `{"a":1,"a":2}`, "422 json_duplicate_key"},
		{"too deep", `set: {b: 1}`, js, strings.Repeat("[", 300) + strings.Repeat("]", 300), "422 json_too_deep"},
		{"a number too long", `set: {b: 1}`, js, `[1e100000]`, "422 json_too_large"},
		{"no body: set", `set: {a: 1}`, js, "", `{"a":1}`},
		{"no body: template", `template: {a: 1}`, "", "", `{"a":1}`},
		{"no body: remove", `remove: [a]`, js, "", ""},
		{"no body: jq", `jq: ".a"`, js, "", ""},
		{"at the bound", `{max: 10B, set: {b: 1}}`, js, `{"a":"12"}`, `{"a":"12","b":1}`},
		{"over the bound", `{max: 10B, set: {b: 1}}`, js, `{"a":"123"}`, "413 body_too_large"},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/chunked=%v", c.name, chunked), func(t *testing.T) {
				m := newBodyMemory(1 << 20)
				p := keptChain(t, "[{request: {body: "+braces(c.body)+"}}]", m)
				x := posted(c.kind, c.before, chunked)
				addLine(&x.Request.Header, `X: "},{`)
				ran, _, f := p.Request(x, 0, nil)
				if got := outcome(t, x, f); got != c.after {
					t.Errorf("%s\ngot  %s\nwant %s", c.before, got, c.after)
				}
				p.Response(x, ran, 0)
				if held := m.held.Load(); held != 0 {
					t.Errorf("%d bytes are held after the response", held)
				}
			})
		}
	}
}

// What names the bytes of the body goes when they change, and stays when they do not.
func TestRequestBodyHeader(t *testing.T) {
	lines := []string{"Content-MD5: a", "Digest: b", "Content-Digest: c", "Repr-Digest: d", "X-Other: e"}
	for _, c := range []struct{ body, kind, before, after string }{
		{`set: {a: 1}`, "application/json", `{}`, "Content-Type: application/json\nX-Other: e"},
		{`remove: [a]`, "application/json", `{}`, "Content-Type: application/json\nContent-MD5: a\nDigest: b\nContent-Digest: c\nRepr-Digest: d\nX-Other: e"},
		{`template: {a: 1}`, "text/xml", `<a/>`, "Content-Type: application/json\nX-Other: e"},
		{`template: {a: 1}`, "a/b+json", `{}`, "Content-Type: a/b+json\nX-Other: e"},
	} {
		x := posted(c.kind, c.before, false)
		for _, l := range lines {
			addLine(&x.Request.Header, l)
		}
		if _, _, f := chain(t, "[{request: {body: "+braces(c.body)+"}}]").Request(x, 0, nil); f != nil {
			t.Fatal(f)
		}
		if got := dump(&x.Request.Header); got != c.after {
			t.Errorf("%s\ngot  %s\nwant %s", c.body, got, c.after)
		}
	}
}

// The values of a body are those that the request came with, and its header may be set as the operator wants it.
func TestRequestBodyOrder(t *testing.T) {
	p := chain(t, `[{request: {headers: {set: {Content-Type: application/vnd.x+json, A: "2"}, remove: [B]}, body: {set: {a: "${request.headers.a}", b: "${request.headers.b}"}}}}]`)
	x := posted("application/json", `{}`, false)
	addLine(&x.Request.Header, "A: 1")
	addLine(&x.Request.Header, "B: 1")
	_, _, f := p.Request(x, 0, nil)
	if got := outcome(t, x, f); got != `{"a":"1","b":"1"}` {
		t.Errorf("body %s", got)
	}
	if got := dump(&x.Request.Header); got != "Content-Type: application/vnd.x+json\nA: 2" {
		t.Errorf("header %s", got)
	}
}

func TestRequestBodyEncoded(t *testing.T) {
	p := chain(t, `[{request: {body: {set: {a: 1}}}}]`)
	x := posted("application/json", "whatever", false)
	addLine(&x.Request.Header, "Content-Encoding: gzip")
	_, _, f := p.Request(x, 0, nil)
	if f == nil || told(f) != "415 body_not_json" || len(f.Fields) != 1 || f.Fields[0].Name != acceptEncoding {
		t.Errorf("%+v", f)
	}
}

// One reading of the network serves all policies, and what one has made of the body the next one sees.
func TestRequestBodyShared(t *testing.T) {
	m := newBodyMemory(1 << 20)
	p := keptChain(t, `[{validate: {}}, {request: {body: {set: {a: 1}}}}, {validate: {json_schema: {required: [a]}}}, {request: {body: {jq: "{b: .a}"}}}]`, m)
	x := posted("application/json", `{"z":0}`, true)
	source := x.Request.Body.(*script)
	ran, _, f := p.Request(x, 0, nil)
	if got := outcome(t, x, f); got != `{"b":1}` {
		t.Errorf("body %s", got)
	}
	if source.reads != 4 {
		t.Errorf("%d reads of three pieces and an end", source.reads)
	}
	if m.held.Load() == 0 {
		t.Error("nothing is held while the request is under way")
	}
	if p.Response(x, ran, 0); m.held.Load() != 0 {
		t.Errorf("%d bytes are held after the response", m.held.Load())
	}
}

// A backend that answers early still reads the request: its memory is given back when the answer is closed.
func TestRequestBodyPumping(t *testing.T) {
	m := newBodyMemory(1 << 20)
	p := keptChain(t, `[{request: {body: {set: {a: 1}}}}]`, m)
	x := posted("application/json", `{"z":0}`, true)
	ran, _, f := p.Request(x, 0, nil)
	if f != nil {
		t.Fatal(f)
	}
	x.Request.Pumping = true
	answer := split("hello", 1)
	x.Response.Body, x.Response.Status = answer, 200
	p.Response(x, ran, 0)
	if m.held.Load() == 0 {
		t.Fatal("the memory was given back while the request was under way")
	}
	if got := whole(t, x.Request.Body); got != `{"z":0,"a":1}` {
		t.Errorf("request %s", got)
	}
	if got := whole(t, x.Response.Body); got != "hello" {
		t.Errorf("answer %s", got)
	}
	for range 2 {
		if err := x.Response.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if m.held.Load() != 0 || answer.closed == 0 {
		t.Errorf("%d bytes held, answer closed %d times", m.held.Load(), answer.closed)
	}
}

// A client that breaks off, and memory that is full.
func TestRequestBodyFails(t *testing.T) {
	broken := &message.Failure{Reason: message.BodyTimeout, Side: message.SideClient, Stage: message.StageRead}
	m := newBodyMemory(16 << 10)
	p := keptChain(t, `[{request: {body: {set: {a: 1}}}}]`, m)
	x := posted("application/json", "", true)
	x.Request.Body = &script{pieces: []string{`{"a":`}, end: broken}
	if ran, _, f := p.Request(x, 0, nil); f != broken || m.held.Load() != 0 {
		t.Errorf("%v, %d bytes held", f, m.held.Load())
	} else {
		p.Response(x, ran, 0)
	}
	x = posted("application/json", `{"a":"`+strings.Repeat("x", 32<<10)+`"}`, true)
	_, _, f := p.Request(x, 0, nil)
	if f == nil || told(f) != "503 concurrency_exceeded" || m.held.Load() != 0 || m.refused.Load() != 1 {
		t.Errorf("%v, %d bytes held, %d refused", f, m.held.Load(), m.refused.Load())
	}
}

// A large body grows from block to block, and its announced length alone takes no memory.
func TestBodyGrows(t *testing.T) {
	m := newBodyMemory(64 << 20)
	text := `{"a":"` + strings.Repeat("0123456789", 300_000) + `"}`
	for _, n := range []int{1, 7, 4000} {
		for _, length := range []int64{int64(len(text)), message.LengthUnknown} {
			c := m.content()
			if err := m.read(c, split(text, n), length, 4<<20); err != nil || string(c.text) != text {
				t.Fatalf("%d pieces: %v, %d bytes", n, err, len(c.text))
			}
			if held := m.held.Load(); held < int64(len(text)) || held > 2*int64(len(text)) {
				t.Errorf("%d bytes held for %d", held, len(text))
			}
			c.release()
		}
	}
	c := m.content()
	err := m.read(c, &script{pieces: []string{"{"}, end: errBodyLarge}, 1<<20, 1<<20)
	if err == nil || m.held.Load() != 0 {
		t.Errorf("%v, %d bytes held", err, m.held.Load())
	}
	if err := m.read(m.content(), split("x", 1), 1<<30, 1<<20); err != errBodyLarge {
		t.Errorf("announced: %v", err)
	}
}

// zipped encodes a text.
func zipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return b.String()
}

// answered gives an exchange a response.
func answered(x *message.Exchange, status int, text string, lines ...string) *script {
	s := split(text, 3)
	x.Response.Status = status
	x.Response.Body, x.Response.Length = s, int64(len(text))
	for _, l := range lines {
		addLine(&x.Response.Header, l)
	}
	return s
}

func TestResponseBody(t *testing.T) {
	const js = "Content-Type: application/json"
	bomb := zipped(strings.Repeat(" ", 1<<20) + "{}")
	for _, c := range []struct{ name, body, lines, before, after, header string }{
		{"jq", `jq: "del(.internal)"`, js, `{"id":7,"internal":{"a":1},"amount":10.50}`, `{"id":7,"amount":10.50}`, js},
		{"set", `set: {status: "${response.status}", ip: "${client.ip}"}`, js, `{"a":1}`, `{"a":1,"status":200,"ip":"192.0.2.7"}`, js},
		{"template", `template: {code: "${response.status}"}`, "Content-Type: text/html", `<p>`, `{"code":200}`, js},
		{"another type", `jq: ".a"`, "Content-Type: text/html|ETag: \"x\"", `<p>`, `<p>`, "Content-Type: text/html|ETag: \"x\""},
		{"no type", `jq: ".a"`, "", `{"a":1}`, `{"a":1}`, ""},
		{"broken", `jq: ".a"`, js, `{"a":`, "502 response_not_json", ""},
		{"no output", `jq: "empty"`, js, `{"a":1}`, "502 transform_failed", ""},
		{"jq error", `jq: ".a.b"`, js, `{"a":1}`, "502 transform_failed", ""},
		{"a path", `set: {a.b: 1}`, js, `{"a":1}`, "502 transform_failed", ""},
		{"a member twice", `remove: [a]`, js, `{"a":1,"b":2,"a":3}`, `{"b":2}`, js},
		{"at the bound", `{max: 9B, set: {b: 1}}`, js, `{"a":"1"}`, `{"a":"1","b":1}`, js},
		{"over the bound", `{max: 8B, set: {b: 1}}`, js, `{"a":"1"}`, "502 response_too_large", ""},
		{"empty", `jq: ".a"`, js, ``, ``, js},
		{"a strong tag", `set: {a: 1}`, js + `|ETag: "v1"`, `{}`, `{"a":1}`, js + `|ETag: W/"v1"`},
		{"a weak tag", `set: {a: 1}`, js + `|ETag: W/"v1"`, `{}`, `{"a":1}`, js + `|ETag: W/"v1"`},
		{"no tag at all", `set: {a: 1}`, js + `|ETag: v1`, `{}`, `{"a":1}`, js},
		{"digests", `set: {a: 1}`, js + `|Content-MD5: a|Digest: b|Content-Digest: c|Repr-Digest: d|Accept-Ranges: bytes`, `{}`, `{"a":1}`, js},
		{"nothing to change", `remove: [x]`, js + `|ETag: "v1"|Digest: b`, `{"a" : 1}`, `{"a" : 1}`, js + `|ETag: "v1"|Digest: b`},
		{"gzip", `set: {a: 1}`, js + `|Content-Encoding: gzip|ETag: "v1"`, zipped(`{}`), `{"a":1}`, js + `|ETag: W/"v1"`},
		{"gzip, nothing to change", `remove: [x]`, js + `|Content-Encoding: gzip`, zipped(`{"a":1}`), `{"a":1}`, js},
		{"gzip, another type", `remove: [x]`, `Content-Type: text/plain|Content-Encoding: gzip`, zipped(`a`), zipped(`a`), `Content-Type: text/plain|Content-Encoding: gzip`},
		{"gzip, over the bound", `{max: 64KiB, remove: [x]}`, js + `|Content-Encoding: gzip`, bomb, "502 response_too_large", ""},
		{"gzip, broken", `remove: [x]`, js + `|Content-Encoding: gzip`, zipped(`{"a":1}`)[:20], "502 response_encoding_unsupported", ""},
		{"gzip, none", `remove: [x]`, js + `|Content-Encoding: gzip`, `{"a":1}`, "502 response_encoding_unsupported", ""},
		{"brotli", `remove: [x]`, js + `|Content-Encoding: br`, `xyz`, "502 response_encoding_unsupported", ""},
		{"two encodings", `remove: [x]`, js + `|Content-Encoding: gzip, gzip`, `xyz`, "502 response_encoding_unsupported", ""},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/chunked=%v", c.name, chunked), func(t *testing.T) {
				m := newBodyMemory(8 << 20)
				p := keptChain(t, "[{response: {body: "+braces(c.body)+"}}]", m)
				x := exchange("q=1")
				ran, _, f := p.Request(x, 0, nil)
				if f != nil {
					t.Fatal(f)
				}
				var lines []string
				if c.lines != "" {
					lines = strings.Split(c.lines, "|")
				}
				source := answered(x, 200, c.before, lines...)
				if chunked {
					x.Response.Length = message.LengthUnknown
				}
				_, f = p.Response(x, ran, 0)
				if f != nil {
					if got := told(f); got != c.after {
						t.Errorf("got  %s (%v)\nwant %s", got, f.Err, c.after)
					}
				} else {
					got := whole(t, x.Response.Body)
					if got != c.after {
						t.Errorf("got  %s\nwant %s", got, c.after)
					}
					if x.Response.Length >= 0 && x.Response.Length != int64(len(got)) {
						t.Errorf("length %d of %d bytes", x.Response.Length, len(got))
					}
					if got := strings.ReplaceAll(dump(&x.Response.Header), "\n", "|"); got != c.header {
						t.Errorf("header %s\nwant   %s", got, c.header)
					}
				}
				for range 2 { // the proxy and the codec may both close it
					_ = x.Response.Body.Close()
				}
				if source.closed == 0 {
					t.Error("the answer of the backend was not closed")
				}
				if held := m.held.Load(); held != 0 {
					t.Errorf("%d bytes are held when the response is closed", held)
				}
			})
		}
	}
}

// Answers that have no body of their own, and problems that the gateway describes, are left as they are.
func TestResponseBodyLeft(t *testing.T) {
	p := chain(t, `[{response: {body: {set: {a: 1}}}}]`)
	for _, c := range []struct {
		name   string
		method string
		status int
		reason message.Reason
		tag    string
		length int64
	}{
		{"HEAD", "HEAD", 200, message.ReasonNone, `W/"t"`, message.LengthUnknown},
		{"204", "GET", 204, message.ReasonNone, `"t"`, 2},
		{"304", "GET", 304, message.ReasonNone, `W/"t"`, 2},
		{"a problem", "GET", 502, message.UpstreamReset, `"t"`, 2},
	} {
		x := exchange("q=1")
		x.Request.Method = message.MethodOf([]byte(c.method))
		ran, _, _ := p.Request(x, 0, nil)
		source := answered(x, c.status, `{}`, "Content-Type: application/json", `ETag: "t"`)
		x.Outcome.Reason = c.reason
		if _, f := p.Response(x, ran, 0); f != nil {
			t.Errorf("%s: %v", c.name, f)
		}
		if x.Response.Body != message.Body(source) || source.reads != 0 || string(x.Response.Header.Get(message.ETag)) != c.tag || x.Response.Length != c.length {
			t.Errorf("%s: %d reads, tag %s, length %d", c.name, source.reads, x.Response.Header.Get(message.ETag), x.Response.Length)
		}
	}
}

// The backend is asked for what can be changed; policies before this one see again what the client has asked for.
func TestResponseBodyAsks(t *testing.T) {
	p := chain(t, `[{response: {body: {remove: [a]}}}]`)
	for _, c := range []struct{ before, sent, after string }{
		{"Accept-Encoding: gzip, br|Range: bytes=0-1|If-Range: \"x\"", "Accept-Encoding: identity", "Accept-Encoding: gzip, br"},
		{"Accept-Encoding: gzip|Accept-Encoding: br", "Accept-Encoding: identity", "Accept-Encoding: gzip, br"},
		{"A: 1", "A: 1|Accept-Encoding: identity", "A: 1"},
		{"Accept-Encoding: identity", "Accept-Encoding: identity", "Accept-Encoding: identity"},
	} {
		x := exchange("-", strings.Split(c.before, "|")...)
		ran, _, _ := p.Request(x, 0, nil)
		if got := strings.ReplaceAll(dump(&x.Request.Header), "\n", "|"); got != c.sent {
			t.Errorf("sent %s, want %s", got, c.sent)
		}
		x.Response.Status = 204
		p.Response(x, ran, 0)
		if got := strings.ReplaceAll(dump(&x.Request.Header), "\n", "|"); got != c.after {
			t.Errorf("after %s, want %s", got, c.after)
		}
	}
}

// A body that the backend breaks off is a failure of the backend, and never a short answer.
func TestResponseBodyBroken(t *testing.T) {
	broken := &message.Failure{Reason: message.UpstreamBodyBroken, Side: message.SideUpstream, Stage: message.StageReceive}
	for _, lines := range [][]string{{"Content-Type: application/json"}, {"Content-Type: application/json", "Content-Encoding: gzip"}} {
		m := newBodyMemory(1 << 20)
		p := keptChain(t, `[{response: {body: {remove: [a]}}}]`, m)
		x := exchange("-")
		ran, _, _ := p.Request(x, 0, nil)
		answered(x, 200, "", lines...)
		x.Response.Body, x.Response.Length = &script{pieces: []string{zipped(`{"a":1}`)[:15]}, end: broken}, message.LengthUnknown
		_, f := p.Response(x, ran, 0)
		_ = x.Response.Body.Close()
		if f != broken || m.held.Load() != 0 {
			t.Errorf("%v, %d bytes held", f, m.held.Load())
		}
	}
}

func TestBodyOptionErrors(t *testing.T) {
	for _, c := range []struct{ policies, want string }{
		{`[{request: {body: {set: {"a..b": 1}}}}]`, `8:40 set: path "a..b"`},
		{`[{request: {body: {remove: ["a."]}}}]`, `remove: path "a."`},
		{`[{request: {body: {rename: {a: "b."}}}}]`, `rename: path "b."`},
		{`[{request: {body: {rename: {a: a}}}}]`, `rename: "a" is the same name`},
		{`[{request: {body: {remove: [a, a]}}}]`, `remove: "a" is written twice`},
		{`[{request: {body: {set: {a: {b: ["${request.pth}"]}}}}}]`, `8:48 "pth" is not a member of request; did you mean "path"?`},
		{`[{request: {body: {set: {a: "${response.status}"}}}}]`, `response`},
		{`[{request: {body: {template: {a: "${"}}}}]`, `8:48 the ${ is not closed`},
		{`[{request: {body: {jq: ".a |"}}}]`, `8:38 jq: line 1, column 5 of the program: the end of the program is not expected there`},
		{`[{request: {body: {jq: "nothing(1)"}}}]`, `jq: function not defined: nothing/1`},
		{`[{request: {body: {jq: "env.HOME"}}}]`, `env cannot be used: a program reads no environment`},
		{`[{request: {body: {jq: "$ENV.HOME"}}}]`, `$ENV cannot be used`},
		{`[{request: {body: {jq: "input"}}}]`, `input cannot be used`},
		{`[{request: {body: {jq: "import \"a\" as a; 1"}}}]`, `cannot import or include`},
		{`[{request: {body: {jq: "[.a, $__prog_args]"}}}]`, `variable not defined`},
		{`[{request: {body: {jq: "test(.re)"}}}]`, `the regular expression and its flags cannot be worked out; write it as a plain text`},
		{`[{request: {body: {jq: "def transpose: .; transpose"}}}]`, `transpose is a function of jq already`},
		{`[{request: {body: {jq: "_match(.; .; .)"}}}]`, `names that begin with _`},
		{`[{request: {body: {max: 1GiB, jq: .}}}]`, `max`},
		{`[{request: {body: {sett: {}}}}]`, `did you mean "set"?`},
	} {
		_, _, err := load(c.policies)
		if got := strings.Join(at(err), "\n"); err == nil || !strings.Contains(got, c.want) {
			t.Errorf("%s\ngot  %s\nwant %s", c.policies, got, c.want)
		}
	}
	cfg, list, err := load(`[{request: {body: {set: {a: "${path.idd}"}}}}]`)
	if err != nil {
		t.Fatal(err)
	}
	c := context(cfg)
	Compile(list, c)
	if got := strings.Join(at(c.Report.Err()), "\n"); !strings.Contains(got, `8:43 on the route "items"`) {
		t.Errorf("got %s", got)
	}
}

// Trailers that the route forwards need a body that tells its own end; a body that has changed is another one than they were said of.
func TestRequestBodyTrailers(t *testing.T) {
	for _, c := range []struct {
		policies string
		length   int64
	}{
		{`[{validate: {}}]`, message.LengthUnknown},
		{`[{request: {body: {remove: [x]}}}]`, message.LengthUnknown},
		{`[{request: {body: {set: {a: 1}}}}]`, 7},
	} {
		x := posted("application/json", `{}`, true)
		x.Request.Trailers = []message.Name{message.NameOf("X-Sum")}
		x.Request.Trailer.Add(x.Request.Trailers[0], []byte("1"))
		if _, _, f := chain(t, c.policies).Request(x, 0, nil); f != nil || x.Request.Length != c.length {
			t.Errorf("%s: %v, length %d, want %d", c.policies, f, x.Request.Length, c.length)
		}
	}
}
