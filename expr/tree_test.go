package expr

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/document"
)

func TestDocument(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{`{}`, `{}`},
		{`null`, `null`},
		{` { "a" : [ 1.10 , -0, 1e400, "x\u0041\/" ] , "b" : { } } `, `{"a":[1.10,-0,1e400,"x\u0041\/"],"b":{}}`},
		{`"${account.body}"`, accountBody},
		{`{"account":"${account.body.items}","recent":"${failed.body.items}","sub":"${claims.sub}"}`,
			`{"account":[ {"id": 1.0, "price": 9.90}, {"id": 2, "price": 100, "name": "\u00e9\/"} ],"recent":null,"sub":"7"}`},
		{`["${claims.amount}","${claims.level}","${claims.admin}","${claims.none}","${claims.absent}","${claims.absent + 1}"]`, `[1.50,3,true,null,null,null]`},
		{`["${account.status}","${request.size}","${client.port}","${version}"]`, `[200,0,4711,"v2"]`},
		{`["${1.10}","${true}","${null}","${'text'}","${1 + 1}"]`, `[1.10,true,null,"text",2]`},
		{`{"n":"${claims.amount} EUR","x":"a ${claims.absent} b","y":"${claims.roles} ","z":"${claims.sub}${claims.sub}"}`, `{"n":"1.50 EUR","x":null,"y":null,"z":"77"}`},
		{`{"q":"${request.query.injected}","p":"${path.id}","c":"say ${claims.address.zip}","l":"${claims.crlf} ü"}`,
			`{"q":"${request.host}","p":"4 2/%","c":"say 0\"1","l":"a\r\nb ü"}`},
		{`{"a":"$${claims.sub}","b":"$$${claims.sub}","c":"a \" ${claims.sub}","d":"$${a} ${claims.sub}"}`, `{"a":"${claims.sub}","b":"$${claims.sub}","c":"a \" 7","d":"${a} 7"}`},
		{`{"${claims.sub}":1}`, `{"${claims.sub}":1}`}, // names of members are fixed
		{`{"m":"${merge.deep({'b': claims.amount}, {'a': 1})}","l":"${concat(item.tags, ['c'])}"}`, `{"m":{"b":1.50,"a":1},"l":["a", "b","c"]}`},
		{`{"m":"${merge.error(item, item)}"}`, refusedValue},
		{`{"m":"x ${string(merge.error(item, item).id)}"}`, refusedValue},
		{`["${client.cert.san}","${request.query_all['q']}","${request.query_all['z']}"]`, `[["mobile.example","192.0.2.1"],["1 2/3","second"],null]`},
		{`"${ claims.sub }"`, `"7"`},
		{`"${{'a': {'b': 1}}}"`, `{"a":{"b":1}}`},
	} {
		d, err := CompileDocument([]byte(c.src), known())
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
			continue
		}
		got, ok := d.Append([]byte("x"), exchange())
		switch {
		case !ok && string(got) != "x":
			t.Errorf("%s: refused, and it left %q", c.src, got)
		case !ok:
			got = []byte("x" + refusedValue)
		case !json.Valid(got[1:]):
			t.Errorf("%s gives %s, which is no JSON", c.src, got[1:])
		}
		if string(got) != "x"+c.want {
			t.Errorf("%s\n = %s\nwant %s", c.src, got[1:], c.want)
		}
	}
}

func TestDocumentErrors(t *testing.T) {
	for _, c := range []struct {
		src          string
		leaf, offset int
		want         string
	}{
		{`{"a":"x","b":["y","${claims.sub","z"]}`, 2, 0, "not closed"},
		{`{"a":"${claims.sub}","b":{"c":"a ${request.pth}"}}`, 1, 12, `did you mean "path"?`},
		{`["${request.pth}"]`, 0, 10, `did you mean "path"?`},
		{`[1,null,"${1 +}"]`, 0, 5, "ends too early"},
		{`["plain","$${","\u0024{a.b}"]`, 2, 2, `"a" is not known here`},
		{`{"a":}`, -1, 0, "not valid JSON"},
		{``, -1, 0, "not valid JSON"},
		{`["a","${` + strings.Repeat(" ", MaxSource+1) + `}"]`, 1, 0, "64 KiB"},
		{`["a","x${` + strings.Repeat(" ", MaxSource) + `}"]`, 1, 0, "64 KiB"},
	} {
		_, err := CompileDocument([]byte(c.src), known())
		if err == nil || err.Leaf != c.leaf || err.Offset != c.offset || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s: error %+v, want %q at %d of string %d", c.src, err, c.want, c.offset, c.leaf)
		}
	}
}

func TestDocumentUses(t *testing.T) {
	for src, want := range map[string]string{
		`{"a":"x"}`: "[] []",
		`{"a":"${rows.body}","b":"${account.body.id} ${rows.status}","c":"${claims.sub}"}`: "[0 2] [account rows]",
		`["${merge.deep(failed.body, account.body)}"]`:                                     "[0 1] [account failed]",
	} {
		d, err := CompileDocument([]byte(src), known())
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(d.Steps(), d.Uses()); got != want {
			t.Errorf("%s uses %s, want %s", src, got, want)
		}
	}
}

// Whatever the template, and whatever the request, the result is JSON of the same form as the template; nothing of a request becomes more than
// a value.
func FuzzDocument(f *testing.F) {
	for _, src := range []string{
		`{"a":"${request.query.q}","b":[1.10,"x ${path.id} y"]}`, `"${account.body}"`, `["$${","${claims.sub}"]`, `{"a":"${[request.query.q, path.id]}"}`,
		`"${{request.query.q: path.id}}"`, `["${merge.deep(item, {'q': path.id})}"]`, `"${item.a} ${item}"`, `{"${x}":"${request.headers.accept + path.id}"}`,
		`"${claims.transformMap(k, v, v)}"`, `"${json.decode(path.id)}"`, `"${item.map(x, [x, x])}"`,
	} {
		f.Add(src, "a\"b\x00\xff", `{"a":[1.0,"\u0022"]}`)
		f.Add(src, `","x":"`, `"\\"`)
		f.Add(src, "${request.host}", `null`)
	}
	f.Fuzz(func(t *testing.T, src, value, item string) {
		d, err := CompileDocument([]byte(src), known())
		if err != nil {
			if err.Leaf < -1 || err.Leaf > len(src) || err.Offset < 0 || err.Offset > len(src) {
				t.Fatalf("%q: error at %d of string %d", src, err.Offset, err.Leaf)
			}
			return
		}
		x := exchange()
		x.Captures[0].Value = []byte(value)
		add(&x.Request.Header, "Accept", value)
		x.Request.Query = []byte("q=" + escaped(value))
		if _, err := document.Parse([]byte(item), document.Limits{}); err == nil {
			x.Item = []byte(item)
		}
		out, ok := d.Append([]byte("before"), x)
		rest, kept := strings.CutPrefix(string(out), "before")
		if !kept || !ok && rest != "" {
			t.Fatalf("%q: %q, %v", src, out, ok)
		}
		if !ok {
			return
		}
		if !json.Valid([]byte(rest)) {
			t.Fatalf("%q with %q and %q gives %q, which is no JSON", src, value, item, rest)
		}
		if !sameForm(document.Of([]byte(src)), document.Of([]byte(rest))) {
			t.Fatalf("%q with %q and %q gives %q, which has another form", src, value, item, rest)
		}
	})
}

func escaped(value string) string {
	var b strings.Builder
	for i := range len(value) {
		fmt.Fprintf(&b, "%%%02X", value[i])
	}
	return b.String()
}

// sameForm reports whether b is a with other values for texts that have an expression.
func sameForm(a, b document.Value) bool {
	if a.Kind() == document.String {
		text, _ := a.AppendText(nil)
		return strings.Contains(string(text), "${") || string(a.Raw()) == string(b.Raw())
	}
	if a.Kind() != b.Kind() || a.Len() != b.Len() {
		return false
	}
	switch a.Kind() {
	case document.Object:
		var names, others []string
		var values []document.Value
		for n, v := range b.Members {
			others, values = append(others, string(n.Raw())), append(values, v)
		}
		same := true
		for n, v := range a.Members {
			same = same && sameForm(v, values[len(names)])
			names = append(names, string(n.Raw()))
		}
		return same && strings.Join(names, " ") == strings.Join(others, " ")
	case document.Array:
		for i := range a.Len() {
			if !sameForm(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	}
	return string(a.Raw()) == string(b.Raw())
}
