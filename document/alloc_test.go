//go:build !race

package document

import (
	"fmt"
	"strings"
	"testing"
)

// TestNoAllocations holds that reading and writing allocate nothing, once there is room to write in and the pools are warm.
func TestNoAllocations(t *testing.T) {
	small, large := ordinary(1000), ordinary(60_000)
	var many strings.Builder
	for i := range DefaultKeys {
		fmt.Fprintf(&many, `,"k\u0061%d":0`, i)
	}
	members := []byte("{" + many.String()[1:] + "}")
	v, doc := Of(large), must(t, someDocument)
	p := path(t, "transactions.300.text")
	renames, removes, sets, values := parseChanges(t, `owner.since>owner.from account>id transactions.1>owner.first -transactions.0 -owner.name transactions.1.text="x" a.b.c=1 a.d={} a.d.e=2`)
	edit, err := NewEdit(renames, removes, sets)
	if err != nil {
		t.Fatal(err)
	}
	repeated := Of([]byte(`{"owner":1,"owner":{"name":2,"name":3},"a":5,"a":{}}`))
	failing, err := NewEdit(nil, nil, []Path{path(t, "account.x")})
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]byte, 0, 512<<10)
	text := []byte("a text with \"quotes\", é and \xff\n")
	parts := []Value{Of(small), doc, must(t, `{"owner":{"name":{"first":"x"}},"account":null}`), v}
	arrays := []Value{v.Member("transactions"), Of([]byte("[1]"))}
	name := doc.Member("b\"\n").Index(3)
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"parse", func() { use(Parse(large, wide)) }},
		{"parse, small", func() { use(Parse(small, Limits{})) }},
		{"parse, duplicates", func() { use(Parse(large, Limits{Duplicates: true})) }},
		{"parse, many members", func() { use(Parse(members, Limits{Duplicates: true})) }},
		{"member", func() { v.Member("transactions").Kind(); doc.Member("é😀").Kind() }},
		{"path", func() { v.At(p).Kind() }},
		{"walks", func() {
			n := 0
			for name, value := range v.Members {
				for item := range value.Items {
					n += len(item.Raw()) + len(name.Raw())
				}
			}
		}},
		{"len", func() { doc.Len() }},
		{"int", func() { doc.Member("a").Int() }},
		{"float", func() { doc.Member("a").Float() }},
		{"equals", func() { name.Equals("x\ty") }},
		{"text", func() { name.AppendText(dst) }},
		{"string", func() { AppendString(dst, text) }},
		{"compact", func() { AppendCompact(dst, v) }},
		{"edit", func() { use(edit.Append(dst, v, values)) }},
		{"edit of repeated members", func() { use(edit.Append(dst, repeated, values)) }},
		{"edit of nothing", func() { use(edit.Append(dst, Value{}, values)) }},
		{"edit that fails", func() { use(failing.Append(dst, v, values[1:])) }},
		{"first", func() { use(AppendMerged(dst, First, parts...)) }},
		{"last", func() { use(AppendMerged(dst, Last, parts...)) }},
		{"deep", func() { use(AppendMerged(dst, Deep, parts...)) }},
		{"strict", func() { use(AppendMerged(dst, Strict, parts[2], Value{}, doc.Member("nested"))) }},
		{"concat", func() { use(AppendConcat(dst, arrays...)) }},
	} {
		if got := testing.AllocsPerRun(50, c.do); got != 0 {
			t.Errorf("%s allocates %v times", c.name, got)
		}
	}
}

// use takes results that do not matter.
func use[T any](T, error) {}

// TestRefusalAllocatesOnce holds that what is wrong costs the error, and no more with more of it.
func TestRefusalAllocatesOnce(t *testing.T) {
	text := []byte(strings.Repeat(`{"a":[`, 1<<16))
	if got := testing.AllocsPerRun(50, func() { use(Parse(text, Limits{Duplicates: true})) }); got > 1 {
		t.Errorf("%v allocations", got)
	}
}
