package document

import (
	"bytes"
	"fmt"
	"testing"
)

// ordinary returns an answer of an API as they are: a list of records with names, texts and numbers, of at least n bytes.
func ordinary(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"account": "4711-0815", "owner": {"name": "Jörg Müller", "since": "2011-04-30"}, "transactions": [`)
	for i := 0; b.Len() < n; i++ {
		if i > 0 {
			b.WriteString(",\n ")
		}
		fmt.Fprintf(&b, `{"id": %d, "date": "2026-03-%02d", "amount": %d.%02d, "currency": "EUR", "text": "Invoice no. %d of our \"special\" offer", "pending": %t, "tags": ["card", "eu"], "counterparty": null}`,
			100000+i, i%28+1, i*37%5000-2500, i%100, i*31, i%7 == 0)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

func BenchmarkParse(b *testing.B) {
	for _, size := range []int{256, 1 << 10, 64 << 10, 1 << 20} {
		text := ordinary(size)
		for _, duplicates := range []bool{false, true} {
			b.Run(fmt.Sprintf("size=%d/duplicates=%t", size, duplicates), func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Parse(text, Limits{Keys: 1 << 20, Duplicates: duplicates}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkRead(b *testing.B) {
	text := ordinary(64 << 10)
	v := Of(text)
	p, err := ParsePath("transactions.300.text")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("member", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			v.Member("transactions")
		}
	})
	b.Run("path", func(b *testing.B) {
		for b.Loop() {
			v.At(p)
		}
	})
	b.Run("compact", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		dst := make([]byte, 0, len(text))
		for b.Loop() {
			AppendCompact(dst, v)
		}
	})
	b.Run("string", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		dst := make([]byte, 0, 2*len(text))
		for b.Loop() {
			AppendString(dst, text)
		}
	})
}

func BenchmarkEdit(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		text := ordinary(size)
		for _, changes := range []string{
			`owner.country="DE"`,
			`account>id -owner.since owner.country="DE" transactions.1.text="x" transactions.2.category.name="y"`,
			`owner.name>name`,
		} {
			edit, err := NewEdit(first3(parseChanges(b, changes)))
			if err != nil {
				b.Fatal(err)
			}
			_, _, _, values := parseChanges(b, changes)
			b.Run(fmt.Sprintf("size=%d/%.20s", size, changes), func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				dst := make([]byte, 0, 3*len(text))
				for b.Loop() {
					if _, err := edit.Append(dst, Of(text), values); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkMerge(b *testing.B) {
	parts := []Value{
		Of([]byte(`{"id":"4711","owner":{"name":"A","since":"2011"},"balance":12.50,"currency":"EUR"}`)),
		Of([]byte(`{"rates":{"USD":1.1,"GBP":0.8},"owner":{"segment":"gold"},"updated":"2026-03-01"}`)),
		Of(ordinary(1 << 10)),
	}
	for name, s := range map[string]Strategy{"first": First, "last": Last, "deep": Deep} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			dst := make([]byte, 0, 4<<10)
			for b.Loop() {
				if _, err := AppendMerged(dst, s, parts...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
