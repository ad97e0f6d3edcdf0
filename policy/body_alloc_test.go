//go:build !race

package policy

import (
	"io"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// once is a body of one piece that can be begun again.
type once struct {
	text  []byte
	given bool
}

func (o *once) Next() ([]byte, error) {
	if o.given {
		return nil, io.EOF
	}
	o.given = true
	return o.text, nil
}
func (o *once) Close() error { return nil }

// account is a small document, as APIs have them.
const account = `{"id":"7","owner":{"name":"Ada","since":2019},"balance":1024.50,"currency":"EUR","tags":["a","b"],"internal":{"shard":3}}`

// bodyBench runs a request and its response through a chain, with bodies.
type bodyBench struct {
	p                *Chain
	x                *message.Exchange
	request, answer  once
	post             message.Method
	host, path, json []byte
}

func newBodyBench(t testing.TB, policies string, m *bodyMemory) *bodyBench {
	b := &bodyBench{p: keptChain(t, policies, m), x: new(message.Exchange), post: message.MethodOf([]byte("POST"))}
	b.host, b.path, b.json = []byte("shop.example"), []byte("/items/7/a/b"), []byte("application/json")
	b.request.text, b.answer.text = []byte(account), []byte(account)
	b.x.Reset()
	return b
}

func (b *bodyBench) run(t testing.TB) {
	x := b.x
	b.request.given, b.answer.given = false, false
	x.Request.Method, x.Request.Host, x.Request.Path = b.post, b.host, b.path
	x.Request.Body, x.Request.Length = &b.request, int64(len(b.request.text))
	x.Request.Header.Add(contentType, b.json)
	ran, done, f := b.p.Request(x, 0, nil)
	if done || f != nil {
		t.Fatal(done, f)
	}
	x.Response.Status, x.Response.Body, x.Response.Length = 200, &b.answer, int64(len(b.answer.text))
	x.Response.Header.Add(contentType, b.json)
	if _, f := b.p.Response(x, ran, 0); f != nil {
		t.Fatal(f)
	}
	_ = x.Response.Body.Close()
	x.Reset()
}

// Changes of a request by path cost no allocation; those of a response the one for its body, which may be closed when it was closed before.
func TestBodyAllocations(t *testing.T) {
	for _, c := range []struct {
		policies string
		most     float64
	}{
		{`[{request: {body: {set: {from: "${request.host}", owner.name: x}, remove: [internal], rename: {balance: amount}}}}]`, 0},
		{`[{request: {body: {template: {a: "${request.host}"}}}}]`, 0},
		{`[{validate: {content_type: application/json}}, {request: {body: {remove: [internal]}}}]`, 0},
		{`[{validate: {max_body: 1KiB, content_type: text/plain}}]`, 0},
		{`[{response: {body: {set: {status: "${response.status}"}, remove: [internal]}}}]`, 1},
	} {
		b := newBodyBench(t, c.policies, newBodyMemory(maxBodyMemory))
		if strings.Contains(c.policies, "text/plain") {
			b.json = []byte("text/plain")
		}
		b.run(t)
		if n := testing.AllocsPerRun(200, func() { b.run(t) }); n > c.most {
			t.Errorf("%s: %v allocations, want at most %v", c.policies, n, c.most)
		}
	}
}

// Responses that a body policy has nothing to do with cost no more for it.
func TestCompressAllocations(t *testing.T) {
	b := newBodyBench(t, `[{compress: {}}]`, newBodyMemory(1))
	if n := testing.AllocsPerRun(200, func() { b.run(t) }); n != 0 {
		t.Errorf("%v allocations for a response that is not compressed", n)
	}
}

func BenchmarkBody(b *testing.B) {
	for _, c := range []struct{ name, policies string }{
		{"request set", `[{request: {body: {set: {from: "${request.host}"}}}}]`},
		{"response remove", `[{response: {body: {remove: [internal]}}}]`},
		{"response jq", `[{response: {body: {jq: "del(.internal)"}}}]`},
		{"validate JSON", `[{validate: {}}]`},
		{"validate schema", `[{validate: {json_schema: {type: object, required: [id, owner], properties: {id: {type: string}, balance: {type: number}}}}}]`},
		{"template", `[{request: {body: {template: {a: "${request.host}", b: [1, 2]}}}}]`},
	} {
		b.Run(strings.ReplaceAll(c.name, " ", "_"), func(b *testing.B) {
			x := newBodyBench(b, c.policies, newBodyMemory(maxBodyMemory))
			b.ReportAllocs()
			b.SetBytes(int64(len(account)))
			for b.Loop() {
				x.run(b)
			}
		})
	}
}

func BenchmarkCompress(b *testing.B) {
	text := strings.Repeat(account, 50)
	for _, encoding := range []string{"gzip", "br", "zstd"} {
		b.Run(encoding, func(b *testing.B) {
			x := newBodyBench(b, `[{compress: {}}]`, newBodyMemory(1))
			accept := []byte(encoding)
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			sent := 0
			for b.Loop() {
				x.answer = once{text: []byte(text)}
				x.x.Request.Header.Add(acceptEncoding, accept)
				x.x.Response.Status, x.x.Response.Body, x.x.Response.Length = 200, &x.answer, int64(len(text))
				x.x.Response.Header.Add(contentType, x.json)
				if _, f := x.p.Response(x.x, 1, 0); f != nil {
					b.Fatal(f)
				}
				sent = 0
				for piece, err := x.x.Response.Body.Next(); err == nil; piece, err = x.x.Response.Body.Next() {
					sent += len(piece)
				}
				_ = x.x.Response.Body.Close()
				x.x.Reset()
			}
			b.ReportMetric(float64(sent)/float64(len(text)), "ratio")
		})
	}
}
