package cache

import (
	"bytes"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

func TestVaryOf(t *testing.T) {
	for _, c := range []struct {
		fields string
		names  string
		any    bool
	}{
		{"", "", false},
		{"Vary:", "", false},
		{"Vary: Foo", "foo", false},
		{"Vary: foo, Bar\nVary: FOO,,baz", "bar,baz,foo", false},
		{"Vary: *", "", true},
		{"Vary: , *", "", true},
		{"Vary:\nVary: *", "", true},
		{"Vary: Foo, *", "", true},
		{"Vary: Accept, x-consumer", "", true}, // set behind the cache
		{"Vary: Foo Bar", "", true},            // no list of names: nobody knows what it depends on
		{"Vary: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", "", true},
	} {
		v, any := varyOf(fieldsOf(c.fields))
		text := ""
		if v != nil {
			text = v.text
		}
		if text != c.names || any != c.any {
			t.Errorf("%q: %q, %v; want %q, %v", c.fields, text, any, c.names, c.any)
		}
	}
}

// TestSelecting is RFC 9111 section 4.1: which requests are the same for an answer.
func TestSelecting(t *testing.T) {
	for _, c := range []struct {
		vary, a, b string
		same       bool
	}{
		{"Foo", "Foo: 1", "Foo: 1", true},
		{"Foo", "Foo: 1", "Foo: 2", false},
		{"Foo", "Foo: 1", "", false},
		{"Foo", "Foo:", "", false},
		{"Foo", "", "", true},
		{"Foo", "Foo: 1\nOther: 2", "Foo: 1\nOther: 3", true},
		{"Foo", "Foo: 1, 2", "Foo: 1\nFoo: 2", true},
		{"Foo", "Foo: 1,2", "Foo:  1 ,  2 ", true},
		{"Foo", "Foo: 1, 2", "Foo: 2, 1", false},
		{"Foo", "Foo: A", "Foo: a", false},
		{"Foo", `Foo: "a, b"`, `Foo: "a,b"`, false},
		{"Foo", `Foo: "a\", b", c`, `Foo: "a\", b",c`, true},
		{"Foo, Bar", "Foo: 1\nBar: 2", "Bar: 2\nFoo: 1", true},
		{"Foo, Bar", "Foo: 1\nBar: 2", "Foo: 2\nBar: 1", false},
		{"Foo, Bar", "Foo: 1", "Bar: 1", false},
		{"Accept-Language", "Accept-Language: en, de", "Accept-Language: DE,en", true},
		{"Accept-Language", "Accept-Language: en;q=0.5, de", "Accept-Language: de, en; q=0.5", true},
		{"Accept-Language", "Accept-Language: en;q=0.5, de", "Accept-Language: de;q=0.5, en", false},
		{"Accept-Encoding", "Accept-Encoding: gzip, br", "Accept-Encoding: br, gzip", true},
		{"Accept", "Accept: a/b;profile=X", "Accept: a/b;profile=x", false},
		{"Cookie", "Cookie: a=1 , b", "Cookie: a=1, b", false},
		{"Authorization", "Authorization: Bearer a", "Authorization: Bearer A", false},
	} {
		v, _ := varyOf(fieldsOf("Vary: " + c.vary))
		a, b := v.appendValues(nil, fieldsOf(c.a), nil), v.appendValues(nil, fieldsOf(c.b), nil)
		if same := bytes.Equal(a, b); same != c.same {
			t.Errorf("Vary: %s: %q and %q are the same = %v, want %v (%q, %q)", c.vary, c.a, c.b, same, c.same, a, b)
		}
	}
}

func TestFavourite(t *testing.T) {
	for field, want := range map[string]string{
		"": "", "de": "de", "DE-ch": "de-ch", "en, de": "", "fr;q=0.5, de;q=1.0": "de", "fr;q=0.5, de": "de", "fr;q=0.5, de;q=0.4": "fr", "*": "", "*, de;q=0.9": "",
		"de;q=0": "", "de;q=x": "", "de;q=0.8, fr;q=0.81": "fr", "de;level=1, fr;q=0.1": "fr",
	} {
		h := fieldsOf("Accept-Language: " + field)
		if field == "" {
			h = fieldsOf("")
		}
		if got := string(favourite(h)); got != want {
			t.Errorf("%q: %q, want %q", field, got, want)
		}
	}
}

// FuzzVary: the form of a request's values depends on no white space around commas, is the same however lines are joined, and never mixes up two fields.
func FuzzVary(f *testing.F) {
	f.Add([]byte("Accept-Language, Foo"), []byte("en, de;q=0.5"), []byte("1, 2"))
	f.Add([]byte("Foo, Cookie"), []byte(`"a, b`), []byte(`x\",`))
	f.Fuzz(func(t *testing.T, names, one, two []byte) {
		if !message.ValidValue(names) || !message.ValidValue(one) || !message.ValidValue(two) {
			return
		}
		h := new(message.Header)
		h.Add(message.Vary.Name(), names)
		v, any := varyOf(h)
		if any || v == nil {
			return
		}
		q := new(message.Header)
		for _, n := range v.names {
			q.Add(n, one)
		}
		first := v.appendValues(nil, q, nil)
		if n := bytes.Count(first, []byte{0}); n != len(v.names) {
			t.Fatalf("%d values for %d names: %q", n, len(v.names), first)
		}
		if again := v.appendValues(nil, q, nil); !bytes.Equal(first, again) {
			t.Fatalf("%q, and then %q", first, again)
		}
		lines, joined := new(message.Header), new(message.Header)
		foo := message.NameOf("Foo")
		lines.Add(foo, one)
		lines.Add(foo, two)
		joined.Add(foo, append(append(append([]byte(nil), one...), " ,  "...), two...))
		if bytes.Count(one, []byte(`"`)) > 0 || bytes.Count(two, []byte(`"`)) > 0 {
			return // a quote that is open at the end of a line would go on
		}
		w, _ := varyOf(fieldsOf("Vary: Foo"))
		if a, b := w.appendValues(nil, lines, nil), w.appendValues(nil, joined, nil); !bytes.Equal(a, b) {
			t.Fatalf("lines %q, joined %q", a, b)
		}
	})
}
