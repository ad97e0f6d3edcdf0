package http1

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// answerTest is a response head and how it is read.
type answerTest struct {
	name   string
	method string
	head   string
	is     string // summary; "" for a refused one
}

func status(l string, fields ...string) string {
	return l + "\r\n" + strings.Join(append(fields, "\r\n"), "\r\n")
}

// answer reads head as it arrives in pieces that end at cuts, and at its end.
func answer(method, head string, cuts ...int) (string, error) {
	var x message.Exchange
	x.Reset()
	x.Request.Method = message.MethodOf([]byte(method))
	var p responseParser
	o := poolOptions("")
	for _, cut := range append(cuts, len(head)) {
		n, err := p.parse([]byte(head[:cut]), &x, &o)
		if err != nil {
			return "", err
		}
		if n == 0 {
			continue
		}
		if err := p.finish(&x); err != nil {
			return "", err
		}
		if !removeConnectionFields(&x.Response.Header) {
			return "", errHead
		}
		s := fmt.Sprintf("%d %s %d", p.head.status, []string{"none", "length", "chunked", "close"}[p.head.framing], p.head.length)
		if p.head.keep {
			s += " keep"
		}
		for i := range x.Response.Header.Len() {
			if f := x.Response.Header.At(i); f.ID.Flags()&(message.FlagHop|message.FlagFraming) == 0 {
				s += fmt.Sprintf(" [%s=%s]", f.Name, f.Value)
			}
		}
		return s, nil
	}
	return "incomplete", nil
}

func responseHeads() []answerTest {
	all := []answerTest{
		{"length", "GET", status("HTTP/1.1 200 OK", "Content-Length: 5"), "200 length 5 keep"},
		{"no phrase", "GET", status("HTTP/1.1 200 ", "Content-Length: 0"), "200 length 0 keep"},
		{"no phrase, no space", "GET", status("HTTP/1.1 200", "Content-Length: 0"), "200 length 0 keep"},
		{"odd phrase", "GET", status("HTTP/1.1 299 \tSo-so \xe4", "Content-Length: 0"), "299 length 0 keep"},
		{"chunked", "GET", status("HTTP/1.1 200 OK", "Transfer-Encoding: Chunked"), "200 chunked -1 keep"},
		{"until the end", "GET", status("HTTP/1.1 200 OK"), "200 close -1"},
		{"close", "GET", status("HTTP/1.1 200 OK", "Content-Length: 5", "Connection: x, Close"), "200 length 5"},
		{"1.0", "GET", status("HTTP/1.0 200 OK", "Content-Length: 5"), "200 length 5"},
		{"1.0 keep-alive", "GET", status("HTTP/1.0 200 OK", "Content-Length: 5", "Connection: keep-alive"), "200 length 5 keep"},
		{"HEAD with length", "HEAD", status("HTTP/1.1 200 OK", "Content-Length: 5"), "200 none 5 keep"},
		{"HEAD without", "HEAD", status("HTTP/1.1 200 OK"), "200 none -1 keep"},
		{"HEAD chunked", "HEAD", status("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), "200 none -1 keep"},
		{"204", "GET", status("HTTP/1.1 204 No Content"), "204 none 0 keep"},
		{"204 with an empty length", "GET", status("HTTP/1.1 204 No Content", "Content-Length: 0"), "204 none 0 keep"},
		{"304 with length", "GET", status("HTTP/1.1 304 Not Modified", "Content-Length: 5"), "304 none 5 keep"},
		{"100", "GET", status("HTTP/1.1 100 Continue"), "100 none 0 keep"},
		{"fields", "GET", status("HTTP/1.1 200 OK", "A: 1", "Set-Cookie: a", "Set-Cookie: b", "Content-Length: 0"), "200 length 0 keep [A=1] [Set-Cookie=a] [Set-Cookie=b]"},
		{"fields of the connection", "GET", status("HTTP/1.1 200 OK", "A: 1", "B: 2", "Connection: a", "Content-Length: 0"), "200 length 0 keep [B=2]"},
		{"what only the proxy says", "GET", status("HTTP/1.1 200 OK", "Sluice-Reason: x", "sluice-partial: x", "Sluice-Other: x", "Content-Length: 0"), "200 length 0 keep"},
		{"two lengths", "GET", status("HTTP/1.1 200 OK", "Content-Length: 5", "Content-Length: 5"), ""},
		{"length and chunked", "GET", status("HTTP/1.1 200 OK", "Content-Length: 5", "Transfer-Encoding: chunked"), ""},
		{"chunked twice", "GET", status("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), ""},
		{"chunked in 1.0", "GET", status("HTTP/1.0 200 OK", "Transfer-Encoding: chunked"), ""},
		{"204 with length", "GET", status("HTTP/1.1 204 No Content", "Content-Length: 5"), ""},
		{"204 chunked", "GET", status("HTTP/1.1 204 No Content", "Transfer-Encoding: chunked"), ""},
		{"100 with length", "GET", status("HTTP/1.1 100 Continue", "Content-Length: 5"), ""},
		{"HTTP/2", "GET", status("HTTP/2.0 200 OK"), ""},
		{"no version", "GET", status("200 OK"), ""},
		{"status 99", "GET", status("HTTP/1.1 099 X"), ""},
		{"status 600", "GET", status("HTTP/1.1 600 X"), ""},
		{"status of two digits", "GET", status("HTTP/1.1 20 OK"), ""},
		{"status of four digits", "GET", status("HTTP/1.1 2000 OK"), ""},
		{"signed status", "GET", status("HTTP/1.1 +20 OK"), ""},
		{"two spaces", "GET", status("HTTP/1.1  200 OK"), ""},
		{"control byte in the phrase", "GET", status("HTTP/1.1 200 O\x00K"), ""},
		{"empty line first", "GET", "\r\n" + status("HTTP/1.1 200 OK"), ""},
		{"LF alone", "GET", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", ""},
		{"LF alone at the end", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n", ""},
		{"folded", "GET", status("HTTP/1.1 200 OK", "A: 1", " 2"), ""},
		{"space before the colon", "GET", status("HTTP/1.1 200 OK", "A : 1"), ""},
		{"no colon", "GET", status("HTTP/1.1 200 OK", "A"), ""},
		{"NUL in a value", "GET", status("HTTP/1.1 200 OK", "A: \x00"), ""},
		{"CR in a value", "GET", status("HTTP/1.1 200 OK", "A: 1\rB: 2"), ""},
		{"too many fields", "GET", status("HTTP/1.1 200 OK", strings.Split(strings.Repeat("A: 1,", 100)+"A: 1", ",")...), ""},
		{"too many connection tokens", "GET", status("HTTP/1.1 200 OK", "Connection: "+strings.Repeat("a,", 33)), ""},
	}
	for _, v := range badLengths {
		all = append(all, answerTest{fmt.Sprintf("length %q", v), "GET", status("HTTP/1.1 200 OK", "Content-Length: "+v), ""})
	}
	for _, v := range badEncodings {
		all = append(all, answerTest{fmt.Sprintf("encoding %q", v), "GET", status("HTTP/1.1 200 OK", "Transfer-Encoding: "+v), ""})
	}
	return all
}

func TestResponseHeads(t *testing.T) {
	for _, test := range responseHeads() {
		got, err := answer(test.method, test.head)
		if got != test.is || (err != nil) != (test.is == "") {
			t.Errorf("%s: read %q (%v), want %q", test.name, got, err, test.is)
		}
		var all []int
		for cut := range len(test.head) {
			if got, _ := answer(test.method, test.head, cut); got != test.is {
				t.Errorf("%s cut at %d: read %q, want %q", test.name, cut, got, test.is)
			}
			all = append(all, cut)
		}
		if got, _ := answer(test.method, test.head, all...); got != test.is {
			t.Errorf("%s byte by byte: read %q, want %q", test.name, got, test.is)
		}
	}
}

func TestLimitOfResponseHeads(t *testing.T) {
	const frame = "HTTP/1.1 200 OK\r\nX: \r\n\r\n"
	limit := poolOptions("").MaxHeader
	head := strings.Replace(frame, "X: ", "X: "+strings.Repeat("v", limit-len(frame)), 1)
	if got, err := answer("GET", head); err != nil || !strings.HasPrefix(got, "200 ") {
		t.Errorf("a head of the largest size: %.20q, %v", got, err)
	}
	for name, large := range map[string]string{"whole": strings.Replace(head, "X: ", "X: v", 1), "without end": head[:limit-2] + "vv"} {
		if _, err := answer("GET", large); !errors.Is(err, errHeadLarge) {
			t.Errorf("a head that is too large, %s: %v, want %v", name, err, errHeadLarge)
		}
	}
}

// What a response says of its connection and of its framing is never written to a client.
func TestWrittenFields(t *testing.T) {
	var x message.Exchange
	x.Reset()
	r := &x.Response
	for _, f := range []string{"Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length", "Upgrade", "Trailer", "TE", "Proxy-Connection", "Proxy-Authenticate", "X"} {
		r.Header.Add(message.NameOf(f), []byte("v"))
	}
	r.Status, r.Length = 200, 3
	x.Request.Protocol = message.HTTP11
	var date dateCache
	date.line.Store(&dateLine{until: math.MaxInt64, text: []byte("Date: now\r\n")})
	got, err := appendResponseHead(nil, &x, frameLength, true, &date)
	if want := "HTTP/1.1 200 OK\r\nX: v\r\nDate: now\r\nContent-Length: 3\r\n\r\n"; string(got) != want || err != nil {
		t.Errorf("wrote %q (%v), want %q", got, err, want)
	}
}

// A field that would be read as something else is not written, whoever made it.
func TestUnwritableFields(t *testing.T) {
	for _, f := range []struct{ name, value string }{
		{"X", "a\r\nSet-Cookie: b"}, {"X", "a\nb"}, {"X", "a\x00"}, {"X\r\nY", "a"}, {"X Y", "a"}, {"X:", "a"}, {"", "a"}, {"Server", "a\rb"},
	} {
		var x message.Exchange
		x.Reset()
		x.Response.Header.Add(message.NameOf(f.name), []byte(f.value))
		x.Response.Status = 200
		if got, err := appendResponseHead(nil, &x, frameNone, true, new(dateCache)); err == nil {
			t.Errorf("%q: %q was written: %q", f.name, f.value, got)
		}
		x.Request.Header.CopyFrom(&x.Response.Header)
		if got, err := appendRequestHead(nil, &x); err == nil {
			t.Errorf("%q: %q was sent: %q", f.name, f.value, got)
		}
	}
}

// A handler may give the codec any status; only a final one that has three digits is written.
func TestStatusLines(t *testing.T) {
	for status, want := range map[int]string{
		200: "HTTP/1.1 200 OK\r\n", 299: "HTTP/1.1 299 \r\n", 999: "HTTP/1.1 999 \r\n",
		0: "HTTP/1.1 500 Internal Server Error\r\n", 1000: "HTTP/1.1 500 Internal Server Error\r\n", -1: "HTTP/1.1 500 Internal Server Error\r\n",
	} {
		if got := string(appendStatusLine(nil, status)); got != want {
			t.Errorf("status %d: %q, want %q", status, got, want)
		}
	}
}
