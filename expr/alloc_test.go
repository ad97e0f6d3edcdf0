//go:build !race

package expr

import (
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// everything is a template of every kind of selector that does not describe a certificate.
const everything = `${request.method}${request.scheme}${request.host}${request.path}${request.query}${request.size}${request.id}` +
	`${request.query.q}${request.query.name}${request.headers.accept}${request.headers["x-many"]}${request.headers.host}${request.cookies.late}` +
	`${path.id}${client.ip}${client.port}${response.status}${response.headers.vary}${"text"} text` +
	`${claims.sub}${claims.level}${claims.address.city}${claims["a.b"]}${claims.roles[1]}${consumer.name}${consumer.plan}${version}` +
	`${account.status}${account.headers["x-total"]}${account.body.id}${account.body.items.1.price}${account.body.items[1].name}${item.tags[0]}${1.50}`

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

// Selectors allocate nothing in a document either, nor as conditions and numbers.
func TestDocumentAllocations(t *testing.T) {
	d, err := CompileDocument([]byte(`{"account":"${account.body}","recent":"${failed.body.items}","sub":"${claims.sub}","text":"a ${claims.address.city}",`+
		`"n":["${account.status}","${request.size}","${claims.amount}","${request.query_all['q']}"],"fixed":1.10,"c":"${consumer.name}"}`), known())
	if err != nil {
		t.Fatal(err)
	}
	x := exchange()
	dst := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := d.Append(dst, x); !ok {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("a document: %v allocations, want 0", n)
	}
	for _, src := range []string{`claims.admin`, `claims.level`, `account.status`, `account.body.items.0.id`, `true`, `"customer" in claims.roles`, `claims.sub == "7"`,
		`request.method != "POST"`, `"admin" in claims.roles && claims.sub == "7"`} {
		p, err := Compile(src, known())
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() {
			p.True(x)
			p.Int(x)
		}); n != 0 {
			t.Errorf("%s: %v allocations, want 0", src, n)
		}
	}
}

func BenchmarkSelector(b *testing.B) {
	for _, src := range []string{`request.path`, `request.headers.accept`, `request.headers["x-many"]`, `request.query.name`, `request.cookies.late`, `path.id`, `client.ip`,
		`claims.sub`, `claims.level`, `claims.address.city`, `consumer.name`, `version`, `account.body.id`, `account.body.items.1.id`, `account.headers["x-total"]`} {
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
