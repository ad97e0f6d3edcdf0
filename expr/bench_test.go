package expr

import "testing"

func BenchmarkCEL(b *testing.B) {
	x := exchange()
	for _, src := range []string{
		`"customer" in claims.roles`, `claims.sub == "7"`, `claims.sub + "-" + path.id`, `has(claims.sub) ? claims.sub : client.ip`,
		`request.method == "GET" && claims.level >= 2`, `claims.absent == "7"`, `account.body.items.map(i, i.price)`, `merge.deep(account.body, rows.body[0])`,
	} {
		b.Run(src, func(b *testing.B) {
			p, err := Compile(src, known())
			if err != nil {
				b.Fatal(err)
			}
			dst := make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				dst, _ = p.AppendJSON(dst[:0], x)
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, src := range []string{`claims.sub`, `"customer" in claims.roles`} {
		b.Run(src, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Compile(src, known()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDocument(b *testing.B) {
	d, err := CompileDocument([]byte(`{"account":"${account.body}","recent":"${rows.body}","rates":"${failed.body.items}","sub":"${claims.sub}"}`), known())
	if err != nil {
		b.Fatal(err)
	}
	x := exchange()
	dst := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		dst, _ = d.Append(dst[:0], x)
	}
}
