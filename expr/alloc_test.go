//go:build !race

package expr

import (
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// everything is a template of every kind of selector.
const everything = `${request.method}${request.scheme}${request.host}${request.path}${request.query}${request.size}${request.id}` +
	`${request.query.q}${request.query.name}${request.headers.accept}${request.headers["x-many"]}${request.headers.host}${request.cookies.late}` +
	`${path.id}${client.ip}${client.port}${response.status}${response.headers.vary}${"text"} text`

func TestAllocations(t *testing.T) {
	tmpl, err := CompileTemplate(everything, known())
	if err != nil {
		t.Fatal(err)
	}
	x := exchange()
	dst := make([]byte, 0, 4096)
	for _, enc := range []Encoding{None, HeaderValue, Path, Query, URL} {
		n := testing.AllocsPerRun(100, func() {
			out, ok, reason := tmpl.Append(dst, x, enc)
			if !ok || len(out) == 0 {
				t.Fatalf("encoding %d: %q", enc, reason)
			}
		})
		if n != 0 {
			t.Errorf("encoding %d: %v allocations, want 0", enc, n)
		}
	}
}

func BenchmarkSelector(b *testing.B) {
	for _, src := range []string{`request.path`, `request.headers.accept`, `request.headers["x-many"]`, `request.query.name`, `request.cookies.late`, `path.id`, `client.ip`} {
		b.Run(src, func(b *testing.B) {
			p, err := Compile(src, known())
			if err != nil {
				b.Fatal(err)
			}
			x := exchange()
			dst := make([]byte, 0, 256)
			b.ReportAllocs()
			for b.Loop() {
				dst, _ = p.Append(dst[:0], x)
			}
		})
	}
}

func BenchmarkTemplate(b *testing.B) {
	for _, c := range []struct {
		src string
		enc Encoding
	}{{`id ${path.id}`, HeaderValue}, {`/accounts/${path.id}`, Path}} {
		b.Run(c.src, func(b *testing.B) {
			tmpl, err := CompileTemplate(c.src, known())
			if err != nil {
				b.Fatal(err)
			}
			x := exchange()
			dst := make([]byte, 0, 256)
			reason := message.ReasonNone
			b.ReportAllocs()
			for b.Loop() {
				dst, _, reason = tmpl.Append(dst[:0], x, c.enc)
			}
			if reason != message.ReasonNone {
				b.Fatal(reason)
			}
		})
	}
}
