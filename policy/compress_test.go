package policy

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/sluice-gateway/sluice/message"
)

// inflated returns what an encoded text stands for.
func inflated(t testing.TB, encoding, text string) string {
	t.Helper()
	var r io.Reader = strings.NewReader(text)
	switch encoding {
	case "gzip":
		z, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		r = z
	case "br":
		r = brotli.NewReader(r)
	case "zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		r = z
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: %v", encoding, err)
	}
	return string(out)
}

// long is a text that is worth compressing.
var long = strings.Repeat("the same again and again, ", 100)

func TestCompress(t *testing.T) {
	const text = "Content-Type: text/plain"
	for _, c := range []struct{ name, options, accept, lines, want string }{
		{"gzip", `{}`, "gzip", text, "gzip"},
		{"brotli", `{}`, "br", text, "br"},
		{"zstd", `{}`, "zstd", text, "zstd"},
		{"x-gzip", `{}`, "X-GZIP", text, "gzip"},
		{"our order", `{}`, "gzip, zstd, br", text, "br"},
		{"another order", `{encodings: [gzip, br]}`, "br, gzip", text, "gzip"},
		{"the client's order", `{}`, "br;q=0.1, gzip;q=0.9, zstd;q=0.5", text, "gzip"},
		{"anything", `{}`, "*", text, "br"},
		{"anything but one", `{}`, "*;q=0.5, br;q=0", text, "zstd"},
		{"only what is offered", `{encodings: gzip}`, "br, zstd;q=1.0", text, ""},
		{"refused", `{}`, "gzip;q=0, br;q=0.0, zstd;q=0.000", text, ""},
		{"plain is liked better", `{}`, "gzip;q=0.5, identity", text, ""},
		{"nothing accepted", `{}`, "", text, ""},
		{"a weight that is none", `{}`, "gzip;q=2, br;q=x, zstd;level=1", text, ""},
		{"white space", `{}`, "deflate ,\tgzip ; q=0.5 ", text, "gzip"},
		{"two fields", `{}`, "br;q=0.1|gzip", text, "gzip"},
		{"JSON", `{}`, "gzip", "Content-Type: application/json; charset=utf-8", "gzip"},
		{"JSON of some kind", `{}`, "gzip", "Content-Type: application/vnd.x+json", "gzip"},
		{"a picture", `{}`, "gzip", "Content-Type: image/png", ""},
		{"SVG", `{}`, "gzip", "Content-Type: image/svg+xml", "gzip"},
		{"no type", `{}`, "gzip", "A: 1", ""},
		{"other types", `{types: ["image/*"]}`, "gzip", "Content-Type: image/png", "gzip"},
		{"compressed already", `{}`, "gzip", text + "|Content-Encoding: br", "-br"},
		{"no-transform", `{}`, "gzip", text + "|Cache-Control: public, no-transform", ""},
		{"a part", `{}`, "gzip", text + "|Content-Range: bytes 0-1/2", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := chain(t, "[{compress: "+c.options+"}]")
			x := exchange("-")
			for _, v := range strings.Split(c.accept, "|") {
				if v != "" {
					addLine(&x.Request.Header, "Accept-Encoding: "+v)
				}
			}
			ran, _, _ := p.Request(x, 0, nil)
			source := answered(x, 200, long, append(strings.Split(c.lines, "|"), `ETag: "1"`, "Digest: a", "Accept-Ranges: bytes")...)
			if _, f := p.Response(x, ran, 0); f != nil {
				t.Fatal(f)
			}
			h := &x.Response.Header
			if want, already := strings.CutPrefix(c.want, "-"); already || want == "" {
				if x.Response.Body != message.Body(source) || string(h.Get(message.ContentEncoding)) != want || string(h.Get(message.ETag)) != `"1"` || !h.Has(message.Digest) {
					t.Errorf("it was changed: %s", dump(h))
				}
				return
			}
			if got := string(h.Get(message.ContentEncoding)); got != c.want {
				t.Fatalf("encoding %q, want %q", got, c.want)
			}
			if x.Response.Length != message.LengthUnknown || string(h.Get(message.ETag)) != `W/"1"` || h.Has(message.Digest) || h.Has(message.AcceptRanges) ||
				string(h.Get(message.Vary)) != "Accept-Encoding" {
				t.Errorf("length %d, header %s", x.Response.Length, dump(h))
			}
			body := whole(t, x.Response.Body)
			if got := inflated(t, c.want, body); got != long || len(body) > len(long)/4 {
				t.Errorf("%d bytes stand for %d of %d", len(body), len(got), len(long))
			}
			_ = x.Response.Body.Close()
			if source.closed != 1 {
				t.Errorf("the source was closed %d times", source.closed)
			}
		})
	}
}

func TestCompressLeft(t *testing.T) {
	p := chain(t, `[{compress: {min_size: 100B}}]`)
	for _, c := range []struct {
		name, method string
		status       int
		length       int64
		vary         string
	}{
		{"HEAD", "HEAD", 200, 3000, "Accept-Encoding"},
		{"204", "GET", 204, 0, ""},
		{"304", "GET", 304, 0, "Accept-Encoding"},
		{"206", "GET", 206, 3000, ""},
		{"small", "GET", 200, 99, ""},
		{"101", "GET", 101, 0, ""},
	} {
		x := exchange("-", "Accept-Encoding: gzip")
		x.Request.Method = message.MethodOf([]byte(c.method))
		source := answered(x, c.status, long, "Content-Type: text/plain")
		x.Response.Length = c.length
		if _, f := p.Response(x, 1, 0); f != nil || x.Response.Body != message.Body(source) || string(x.Response.Header.Get(message.Vary)) != c.vary {
			t.Errorf("%s: %v, header %s", c.name, f, dump(&x.Response.Header))
		}
	}
	x := exchange("-", "Accept-Encoding: gzip", "Cache-Control: no-transform")
	source := answered(x, 200, long, "Content-Type: text/plain", "Vary: *")
	if _, f := p.Response(x, 1, 0); f != nil || x.Response.Body != message.Body(source) {
		t.Errorf("no-transform of the client: %v", f)
	}
	for _, c := range []struct{ before, after string }{{"*", "Vary: *"}, {"accept-encoding", "Vary: accept-encoding"}, {"Origin", "Vary: Origin|Vary: Accept-Encoding"}} {
		x := exchange("-")
		answered(x, 200, long, "Vary: "+c.before, "Content-Type: text/plain")
		p.Response(x, 1, 0)
		x.Response.Header.Remove(contentType)
		if got := strings.ReplaceAll(dump(&x.Response.Header), "\n", "|"); got != c.after {
			t.Errorf("%s has become %s", c.before, got)
		}
	}
}

// steps is a body whose pieces are there when the test says so.
type steps struct {
	pieces chan string
	there  bool
	buf    []byte
}

func (s *steps) Next() ([]byte, error) {
	piece, ok := <-s.pieces
	if !ok {
		return nil, io.EOF
	}
	s.buf = append(s.buf[:0], piece...)
	return s.buf, nil
}
func (s *steps) Ready() bool  { return s.there }
func (s *steps) Close() error { return nil }

// What a source pauses behind is given at once, so that events reach the client when they happen.
func TestCompressFlushes(t *testing.T) {
	for _, encoding := range []string{"gzip", "br", "zstd"} {
		x := exchange("-", "Accept-Encoding: "+encoding)
		source := &steps{pieces: make(chan string, 1)}
		x.Response.Status, x.Response.Body, x.Response.Length = 200, source, message.LengthUnknown
		addLine(&x.Response.Header, "Content-Type: text/event-stream")
		if _, f := chain(t, `[{compress: {}}]`).Response(x, 1, 0); f != nil {
			t.Fatal(f)
		}
		var sent bytes.Buffer
		want := ""
		for _, event := range []string{"data: 1\n\n", "data: 2\n\n", "data: 3\n\n"} {
			source.pieces <- event
			piece, err := x.Response.Body.Next() // would wait for the next event, if this one were kept
			if err != nil {
				t.Fatal(err)
			}
			sent.Write(piece)
			want += event
			if got := begun(t, encoding, sent.Bytes(), len(want)); got != want {
				t.Errorf("%s: %q has come, want %q", encoding, got, want)
			}
		}
		close(source.pieces)
		sent.WriteString(whole(t, x.Response.Body))
		if got := inflated(t, encoding, sent.String()); got != want {
			t.Errorf("%s: %q, want %q", encoding, got, want)
		}
	}
}

// begun decodes the first n bytes of an encoded text that has not ended.
func begun(t *testing.T, encoding string, text []byte, n int) string {
	t.Helper()
	var r io.Reader = bytes.NewReader(text)
	switch encoding {
	case "gzip":
		z, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		r = z
	case "br":
		r = brotli.NewReader(r)
	case "zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		r = z
	}
	out := make([]byte, n)
	k, _ := io.ReadFull(r, out)
	return string(out[:k])
}

// Small pieces that are there together are compressed together.
func TestCompressGathers(t *testing.T) {
	x := exchange("-", "Accept-Encoding: gzip")
	source := &steps{pieces: make(chan string, 1000), there: true}
	for range 1000 {
		source.pieces <- "a piece of 20 bytes "
	}
	close(source.pieces)
	x.Response.Status, x.Response.Body, x.Response.Length = 200, source, message.LengthUnknown
	addLine(&x.Response.Header, "Content-Type: text/plain")
	if _, f := chain(t, `[{compress: {}}]`).Response(x, 1, 0); f != nil {
		t.Fatal(f)
	}
	if body := whole(t, x.Response.Body); len(body) > 500 {
		t.Errorf("20000 bytes have become %d", len(body))
	}
}

// A source that is cut short makes an answer that is cut short, and encoders come back whatever happens.
func TestCompressEnds(t *testing.T) {
	cut := errors.New("cut")
	for _, encoding := range []string{"gzip", "br", "zstd"} {
		p := chain(t, `[{compress: {}}]`)
		policy, ok := p.steps[0].response.(*compressPolicy)
		if !ok {
			t.Fatalf("%T", p.steps[0].response)
		}
		memory := policy.codings[0].memory
		for _, body := range []*script{{pieces: []string{long}, end: cut}, {end: cut}, split(long, 1), split("", 1), split(strings.Repeat(long, 100), 2)} {
			x := exchange("-", "Accept-Encoding: "+encoding)
			x.Response.Status, x.Response.Body, x.Response.Length = 200, body, message.LengthUnknown
			addLine(&x.Response.Header, "Content-Type: text/plain")
			p.Response(x, 1, 0)
			if memory.held.Load() == 0 {
				t.Fatal("an encoder costs nothing")
			}
			var err error
			for n := 0; err == nil; n++ {
				if _, err = x.Response.Body.Next(); n == 1 && body.end == nil {
					break // the client leaves
				}
			}
			if body.end != nil && err != cut {
				t.Errorf("%s: it ends with %v", encoding, err)
			}
			for range 2 {
				_ = x.Response.Body.Close()
			}
			if held := memory.held.Load(); held != 0 {
				t.Errorf("%s: %d bytes of encoders are held", encoding, held)
			}
			if _, err := x.Response.Body.Next(); err == nil {
				t.Errorf("%s: a closed body goes on", encoding)
			}
		}
		memory.limit = 1
		x := exchange("-", "Accept-Encoding: "+encoding)
		source := answered(x, 200, long, "Content-Type: text/plain")
		p.Response(x, 1, 0)
		if x.Response.Body != message.Body(source) || memory.skipped.Load() != 1 || x.Response.Header.Has(message.ContentEncoding) {
			t.Errorf("%s: without room it is compressed", encoding)
		}
	}
}

// compress before a response policy that changes the body gets what that has made, and compresses it.
func TestCompressChanged(t *testing.T) {
	p := chain(t, `[{compress: {min_size: 0}}, {response: {body: {remove: [secret]}}}]`)
	x := exchange("-", "Accept-Encoding: gzip")
	ran, _, _ := p.Request(x, 0, nil)
	if got := string(x.Request.Header.Get(message.AcceptEncoding)); got != "identity" {
		t.Errorf("the backend is asked for %s", got)
	}
	answered(x, 200, zipped(`{"a":1,"secret":2}`), "Content-Type: application/json", "Content-Encoding: gzip")
	if _, f := p.Response(x, ran, 0); f != nil {
		t.Fatal(f)
	}
	if got := inflated(t, "gzip", whole(t, x.Response.Body)); got != `{"a":1}` {
		t.Errorf("got %s", got)
	}
	_ = x.Response.Body.Close()
}

func TestCompressOptions(t *testing.T) {
	for _, c := range []struct{ policies, want string }{
		{`[{compress: {encodings: [gzip, gzip]}}]`, `encodings: "gzip" is written twice`},
		{`[{compress: {encodings: [deflate]}}]`, `encodings: "deflate" is not one of br, zstd, gzip`},
		{`[{compress: {types: [json]}}]`, `types: "json" is no media type without parameters`},
		{`[{compress: {levels: {gzip: 10}}}]`, `gzip: 10 is out of range`},
	} {
		_, _, err := load(c.policies)
		if got := strings.Join(at(err), "\n"); err == nil || !strings.Contains(got, c.want) {
			t.Errorf("%s\ngot  %s\nwant %s", c.policies, got, c.want)
		}
	}
}

// FuzzAcceptEncoding: whatever a client says it accepts, it gets that or plain text.
func FuzzAcceptEncoding(f *testing.F) {
	for _, s := range []string{"gzip", "br;q=0.5, *;q=0", ";q=1", "gzip;q=1.0000", "*;q=0.001", ",,", "identity;q=0", "GZIP;Q=0.3"} {
		f.Add(s)
	}
	p := newCompress(&CompressOptions{Encodings: []string{"br", "zstd", "gzip"}}, &BuildContext{}).(*compressPolicy)
	f.Fuzz(func(t *testing.T, value string) {
		var h message.Header
		h.Add(acceptEncoding, []byte(value))
		lower := strings.ToLower(value)
		if c := p.choose(&h); c != nil && !strings.Contains(lower, c.name) && !strings.Contains(lower, "*") {
			t.Errorf("%q gets %s", value, c.name)
		}
	})
}
