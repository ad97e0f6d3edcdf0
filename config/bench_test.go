package config

import (
	"fmt"
	"strings"
	"testing"
)

// manyRoutes is a file with n routes to one backend.
func manyRoutes(n int) string {
	var b strings.Builder
	b.WriteString(head + "backends: {app: {endpoints: [\"127.0.0.1:1\"]}}\nroutes:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {name: r%d, match: {host: h%d.example, path: \"/p%d/{id}\", headers: {X-A: \"%d\"}}, backend: app}\n", i, i%100, i, i)
	}
	return b.String()
}

// BenchmarkLoad10k is the part of a reload of 10,000 routes that this package takes.
func BenchmarkLoad10k(b *testing.B) {
	text := []byte(manyRoutes(10_000))
	o := testOptions()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load("x.yaml", text, o); err != nil {
			b.Fatal(err)
		}
	}
}
