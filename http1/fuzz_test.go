package http1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testnet"
	"github.com/sluice-gateway/sluice/message"
)

// everyCut returns the offsets before each byte of text.
func everyCut(text string) []int {
	cuts := make([]int, len(text))
	for i := range cuts {
		cuts[i] = i
	}
	return cuts
}

// A head is read in one way however it comes, and what is written of it is read as the same.
func FuzzRequestHead(f *testing.F) {
	for _, test := range requestHeads() {
		f.Add(test.head)
	}
	f.Add(string(browser))
	o := serverOptions()
	f.Fuzz(func(t *testing.T, head string) {
		x, p, done, reason := readHead(o, head)
		if len(head) < 400 {
			y, q, slowDone, slowReason := readHead(o, head, everyCut(head)...)
			if done != slowDone || reason != slowReason || done && reason == 0 && summary(x, p) != summary(y, q) {
				t.Fatalf("at once: %v, %q, %s; byte by byte: %v, %q, %s", done, reason, summary(x, p), slowDone, slowReason, summary(y, q))
			}
		}
		if !done || reason != message.ReasonNone {
			return
		}
		if !legalTarget(x.Request.Path) || !legalTarget(x.Request.Query) || !legalTarget(x.Request.Host) {
			t.Fatalf("accepted a target that cannot be written: %s", summary(x, p))
		}
		written, err := appendRequestHead(nil, x)
		if err != nil {
			t.Fatalf("accepted and cannot be written: %v", err)
		}
		if x.Request.Protocol == message.HTTP10 && x.Request.Host == nil {
			return
		}
		y, q, done, reason := readHead(o, string(written))
		if !done || reason != message.ReasonNone {
			t.Fatalf("wrote %q, which is refused: %q", written, reason)
		}
		y.Request.Protocol, q.connection, q.expect = x.Request.Protocol, p.connection, p.expect
		if summary(x, p) != summary(y, q) {
			t.Fatalf("read %s, wrote %q, which is %s", summary(x, p), written, summary(y, q))
		}
	})
}

func FuzzResponseHead(f *testing.F) {
	for _, test := range responseHeads() {
		f.Add(test.method, test.head)
	}
	f.Fuzz(func(t *testing.T, method, head string) {
		got, err := answer(method, head)
		if len(head) < 400 {
			slow, slowErr := answer(method, head, everyCut(head)...)
			if got != slow || (err == nil) != (slowErr == nil) {
				t.Fatalf("at once: %q, %v; byte by byte: %q, %v", got, err, slow, slowErr)
			}
		}
		if err != nil || got == "incomplete" {
			return
		}
		var x message.Exchange
		x.Reset()
		o := poolOptions("")
		var p responseParser
		x.Request.Method, x.Request.Protocol = message.MethodOf([]byte(method)), message.HTTP11
		if _, err := p.parse([]byte(head), &x, &o); err != nil {
			t.Fatal(err)
		}
		if err := p.finish(&x); err != nil {
			t.Fatal(err)
		}
		x.Response.Status, x.Response.Length = p.head.status, p.head.length
		written, err := appendResponseHead(nil, &x, responseFraming(&x), true, new(dateCache))
		if err != nil {
			t.Fatalf("accepted and cannot be written: %v", err)
		}
		if _, err := testnet.ReadResponse(bufio.NewReader(bytes.NewReader(written)), method); err != nil && err != io.ErrUnexpectedEOF && !strings.Contains(err.Error(), "length") {
			t.Fatalf("wrote %q, which is wrong: %v", written, err)
		}
	})
}

// referenceDecode decodes a chunked body in the simplest way there is.
func referenceDecode(text string) (d decoded) {
	takeLine := func(limit int) (string, bool) {
		end := strings.IndexByte(text, '\n')
		if end < 0 {
			if d.end = "cut"; len(text) > limit+1 {
				d.end = "chunk_invalid"
			}
			return "", false
		}
		l, whole := strings.CutSuffix(text[:end], "\r")
		if !whole || len(l) > limit {
			d.end = "chunk_invalid"
			return "", false
		}
		text = text[end+1:]
		return l, true
	}
	overhead, payload := 0, ""
	for {
		l, ok := takeLine(maxChunkLine)
		if !ok {
			return d
		}
		digits, extension, _ := strings.Cut(l, ";")
		size, err := strconv.ParseUint(digits, 16, 62)
		if overhead += len(l) + 4; err != nil || len(digits) > 16 || strings.ContainsAny(digits, "+-_xX") || !message.LegalValue([]byte(extension)) || overhead > 16<<10+16*len(payload) {
			d.end = "chunk_invalid"
			return d
		}
		if size == 0 {
			break
		}
		if uint64(len(text)) < size {
			d.end = "cut"
			return d
		}
		payload += text[:size]
		text = text[size:]
		if !strings.HasPrefix(text, "\r\n") {
			if d.end = "chunk_invalid"; text == "" || text == "\r" {
				d.end = "cut"
			}
			return d
		}
		text = text[2:]
	}
	for total := 0; ; {
		l, ok := takeLine(maxTrailers)
		if !ok {
			return d
		}
		if l == "" {
			break
		}
		if total += len(l); total > maxTrailers {
			d.end = "header_too_large"
			return d
		}
		f, reason := parseField([]byte(l), 0, len(l))
		if reason != message.ReasonNone {
			d.end = reason.String()
			return d
		}
		if name := l[:f.nameLen]; trailerAllowed(f.id, []byte(name)) {
			d.trailer += fmt.Sprintf("[%s=%s]", name, l[f.value:f.value+f.valueLen])
		}
	}
	d.payload, d.rest = payload, text
	return d
}

func TestReferenceDecoder(t *testing.T) {
	for _, test := range chunkTests {
		if got := referenceDecode(test.text); got.end != test.want.end || got.end == "" && got != test.want {
			t.Errorf("%s: %.300v, want %.300v", test.name, got, test.want)
		}
	}
}

func FuzzChunked(f *testing.F) {
	for _, test := range chunkTests {
		f.Add(test.text, uint16(3))
	}
	f.Fuzz(func(t *testing.T, text string, size uint16) {
		if len(text) > 20_000 {
			return
		}
		want := referenceDecode(text)
		if want.end != "" {
			want = decoded{end: want.end}
		}
		var cuts []int
		for at := int(size); size > 0 && at < len(text); at += int(size) {
			cuts = append(cuts, at)
		}
		if got := decode(frameChunked, 0, cut(text, cuts...)); got != want {
			t.Fatalf("%q in pieces of %d: %+v, want %+v", text, size, got, want)
		}
	})
}

// counter is a handler that reads every body and answers with what it saw.
type counter struct {
	methods  []string // of the requests that were served
	finished int
}

func (c *counter) Serve(x *message.Exchange) {
	c.methods = append(c.methods, x.Request.Method.Text())
	n, end := 0, "whole"
	for {
		piece, err := x.Request.Body.Next()
		if n += len(piece); err != nil {
			if err != io.EOF {
				end = err.Error()
			}
			break
		}
	}
	x.Response.Status = 200
	if x.Outcome.Reason != message.ReasonNone {
		x.Response.Status = x.Outcome.Reason.Status()
	}
	x.Fixed.Reset([]byte(fmt.Sprintf("%d bytes, %s", n, end)))
	x.Response.Body, x.Response.Length = &x.Fixed, message.LengthUnknown
}

func (c *counter) Finish(*message.Exchange) { c.finished++ }

// Whatever a client sends, its connection ends, and it gets whole answers, one for each request.
func FuzzServerStream(f *testing.F) {
	f.Add(get("/") + post("/", "hello") + get("/"))
	f.Add("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + get("/"))
	f.Add(get("/", "Connection: close") + get("/"))
	f.Add("GET / HTTP/1.0\r\n\r\n")
	f.Add("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n\r\n" + get("/"))
	f.Add(webSocket + "bytes")
	for _, test := range requestHeads() {
		f.Add(test.head + get("/"))
	}
	for _, test := range chunkTests {
		f.Add("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + test.text)
	}
	o := serverOptions()
	f.Fuzz(func(t *testing.T, stream string) {
		if len(stream) > 50_000 {
			return
		}
		client, server := testnet.Pipe(1 << 20)
		if _, err := client.Write([]byte(stream)); err != nil {
			t.Fatal(err)
		}
		_ = client.CloseWrite()
		var c counter
		ServeConn(server, Peer{Addr: peerOf}, o, &c)
		answers, err := io.ReadAll(client)
		if err != nil {
			t.Fatal(err)
		}
		_ = client.Close()
		if c.finished != len(c.methods) {
			t.Fatalf("%d exchanges were served and %d finished", len(c.methods), c.finished)
		}
		br := bufio.NewReader(bytes.NewReader(answers))
		for i, method := range c.methods {
			r, err := testnet.ReadResponse(br, method)
			for err == nil && r.Status < 200 {
				r, err = testnet.ReadResponse(br, method)
			}
			if err != nil {
				t.Fatalf("answer %d of %d: %v\n%q", i, len(c.methods), err, answers)
			}
		}
		if rest, _ := io.ReadAll(br); len(rest) > 0 {
			t.Fatalf("%d requests were served, and behind their answers came %q", len(c.methods), rest)
		}
	})
}

// Whatever is accepted here, net/http accepts as well, and reads as the same: a backend that reads
// requests as most programs do sees what was authorised.
func FuzzAgainstNetHTTP(f *testing.F) {
	for _, test := range requestHeads() {
		f.Add(test.head + "behind")
	}
	for _, test := range chunkTests {
		f.Add("POST /a?b HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + test.text)
	}
	f.Add(post("/", "hello", "Content-Type: text/plain", "A: 1", "a: 2") + get("/"))
	f.Add(string(browser))
	o := serverOptions()
	f.Fuzz(func(t *testing.T, text string) {
		x, p, done, reason := readHead(o, text)
		if !done || reason != message.ReasonNone {
			return
		}
		r := &x.Request
		ours := decoded{rest: text[p.end:]}
		switch {
		case r.Length > 0:
			ours = decode(frameLength, r.Length, cut(text[p.end:]))
		case r.Length < 0:
			ours = decode(frameChunked, 0, cut(text[p.end:]))
		}
		br := bufio.NewReaderSize(strings.NewReader(strings.TrimLeft(text[:p.skip], "\r\n")+text[p.skip:]), 64<<10)
		theirs, err := http.ReadRequest(br)
		if err != nil {
			if strings.Contains(err.Error(), "bad trailer key") {
				return // what Trailer announces is hop-by-hop and not forwarded
			}
			t.Fatalf("net/http refuses %q: %v", text, err)
		}
		target := string(r.RawPath)
		if r.Query != nil {
			target += "?" + string(r.Query)
		}
		if i := strings.Index(theirs.RequestURI, "://"); i > 0 && theirs.RequestURI[0] != '/' {
			path := strings.TrimLeft(theirs.RequestURI[i+3:], "/")
			path = path[max(0, strings.IndexAny(path+"/", "/?")):]
			if !strings.HasPrefix(path, "/") {
				path = "/" + path
			}
			theirs.RequestURI = path
		}
		if r.Method.Text() != theirs.Method || target != theirs.RequestURI {
			t.Fatalf("%q: we read %s %s, net/http reads %s %s", text, r.Method.Text(), target, theirs.Method, theirs.RequestURI)
		}
		if host := hostOf(theirs.Host); host != string(r.Host) && !strings.HasPrefix(host, "[") {
			t.Fatalf("%q: we read host %q, net/http reads %q", text, r.Host, theirs.Host)
		}
		if r.Protocol == message.HTTP11 && theirs.Close != p.connection.close {
			t.Fatalf("%q: we read close %v, net/http reads %v", text, p.connection.close, theirs.Close)
		}
		compareFields(t, text, &r.Header, theirs.Header)
		if r.Length != theirs.ContentLength {
			t.Fatalf("%q: we read length %d, net/http reads %d", text, r.Length, theirs.ContentLength)
		}
		if ours.end != "" {
			return // refused or cut short here: nothing of it counts
		}
		body, err := io.ReadAll(theirs.Body)
		if err != nil {
			t.Fatalf("%q: net/http cannot read the body: %v", text, err)
		}
		rest, _ := io.ReadAll(br)
		if string(body) != ours.payload || string(rest) != ours.rest {
			t.Fatalf("%q: we read body %q and then %q, net/http %q and then %q", text, ours.payload, ours.rest, body, rest)
		}
	})
}

// hostOf is the host of an authority as routes see it.
func hostOf(authority string) string {
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && !strings.HasSuffix(authority, "]") {
		authority = authority[:i]
	}
	authority = strings.ToLower(authority)
	if len(authority) > 1 {
		authority = strings.TrimSuffix(authority, ".")
	}
	return authority
}

// compareFields checks that every field that is forwarded has the values that net/http reads.
func compareFields(t *testing.T, text string, ours *message.Header, theirs http.Header) {
	t.Helper()
	values := make(map[string][]string)
	for i := range ours.Len() {
		f := ours.At(i)
		if f.ID.Flags()&(message.FlagHop|message.FlagFraming) == 0 {
			name := http.CanonicalHeaderKey(string(f.Name))
			values[name] = append(values[name], string(f.Value))
		}
	}
	for name, all := range values {
		if fmt.Sprintf("%q", all) != fmt.Sprintf("%q", theirs[name]) {
			t.Fatalf("%q: we read %s: %q, net/http reads %q", text, name, all, theirs[name])
		}
	}
}
