package cache

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

func TestParseRanges(t *testing.T) {
	many := "bytes=" + strings.TrimSuffix(strings.Repeat("0-1,", 1000), ",")
	for _, c := range []struct {
		value string
		size  int64
		want  []span
		ok    bool
	}{
		{"bytes=0-1", 10, []span{{0, 2}}, true},
		{"bytes=1-", 10, []span{{1, 10}}, true},
		{"bytes=-3", 10, []span{{7, 10}}, true},
		{"bytes=-30", 10, []span{{0, 10}}, true},
		{"bytes=-0", 10, nil, true},
		{"bytes=5-99", 10, []span{{5, 10}}, true},
		{"bytes=10-", 10, nil, true},
		{"bytes=0-0,-1", 10, []span{{0, 1}, {9, 10}}, true},
		{"bytes=0-0, 20-30", 10, []span{{0, 1}}, true},
		{"BYTES = 0-1", 10, []span{{0, 2}}, true},
		{"bytes=0-", 0, nil, true},
		{"bytes=99999999999999999999999-", 10, nil, true},
		{"bytes=3-1", 10, nil, false},
		{"bytes=a-1", 10, nil, false},
		{"bytes=1-b", 10, nil, false},
		{"bytes=-", 10, nil, false},
		{"bytes=1", 10, nil, false},
		{"bytes=", 10, nil, false},
		{"bytes=,", 10, nil, false},
		{"items=0-1", 10, nil, false},
		{"bytes 0-1", 10, nil, false},
		{many, 10, nil, false},
	} {
		got, ok := parseRanges([]byte(c.value), c.size, nil)
		if ok != c.ok || ok && !slices.Equal(got, c.want) {
			t.Errorf("%.40q of %d: %v, %v; want %v, %v", c.value, c.size, got, ok, c.want, c.ok)
		}
	}
}

func TestJoin(t *testing.T) {
	for _, c := range []struct{ in, want []span }{
		{[]span{{0, 5}, {3, 9}}, []span{{0, 9}}},
		{[]span{{3, 9}, {0, 5}}, []span{{0, 9}}},
		{[]span{{0, 5}, {60, 70}}, []span{{0, 70}}},
		{[]span{{900, 1000}, {0, 5}}, []span{{900, 1000}, {0, 5}}},
		{[]span{{900, 1000}, {0, 5}, {950, 990}}, []span{{0, 5}, {900, 1000}}},
	} {
		if got := join(c.in); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.in, got, c.want)
		}
	}
}

// text is a body in which every place is another.
func text(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%06d.", i)
	}
	return b.String()[:n]
}

// TestRanges is RFC 9110 section 14 and case 58 of the security list, from a stored copy.
func TestRanges(t *testing.T) {
	const size = 200_000 // several chunks
	body := text(size)
	all := "Cache-Control: max-age=60\nContent-Type: text/plain\nETag: \"a\"\n" + dated("Date", 0) + dated("Last-Modified", -100)
	overlapping := "bytes=" + strings.TrimSuffix(strings.Repeat("0-,", 1000), ",")
	for _, c := range []struct {
		name, request string
		status        int
		contentRange  string
		want          string
	}{
		{"first bytes", "Range: bytes=0-1", 206, "bytes 0-1/200000", body[:2]},
		{"across chunks", "Range: bytes=60000-140000", 206, "bytes 60000-140000/200000", body[60000:140001]},
		{"the rest", "Range: bytes=199990-", 206, "bytes 199990-199999/200000", body[199990:]},
		{"the end", "Range: bytes=-5", 206, "bytes 199995-199999/200000", body[size-5:]},
		{"all of it", "Range: bytes=0-", 206, "bytes 0-199999/200000", body},
		{"overlapping ones are one", "Range: bytes=5-9,0-7", 206, "bytes 0-9/200000", body[:10]},
		{"none can be satisfied", "Range: bytes=200000-", 416, "bytes */200000", ""},
		{"1000 overlapping parts", "Range: " + overlapping, 200, "", body},
		{"two of everything", "Range: bytes=0-99999,100090-", 200, "", body},
		{"another unit", "Range: lines=0-1", 200, "", body},
		{"two fields", "Range: bytes=0-1\nRange: bytes=2-3", 200, "", body},
		{"If-Range that holds", "Range: bytes=0-1\nIf-Range: \"a\"", 206, "bytes 0-1/200000", body[:2]},
		{"If-Range of another", "Range: bytes=0-1\nIf-Range: \"b\"", 200, "", body},
		{"If-Range, weak", "Range: bytes=0-1\nIf-Range: W/\"a\"", 200, "", body},
		{"If-Range with the date", "Range: bytes=0-1\n" + dated("If-Range", -100), 206, "bytes 0-1/200000", body[:2]},
		{"If-Range with another date", "Range: bytes=0-1\n" + dated("If-Range", -99), 200, "", body},
		{"the condition goes first", "Range: bytes=0-1\nIf-None-Match: \"a\"", 304, "", ""},
	} {
		s, r := newTestStore(Rules{})
		get(t, s, r, request("GET http://bank.example/x", ""), at(0), says(answer{fields: all, body: body}))
		got := get(t, s, r, request("GET http://bank.example/x", c.request), at(1), down)
		if got.fetched || got.status != c.status || got.field("Content-Range") != c.contentRange || got.body != c.want {
			t.Errorf("%s: %d, Content-Range %q, %d bytes (fetched %v), want %d, %q, %d bytes", c.name, got.status, got.field("Content-Range"), len(got.body),
				got.fetched, c.status, c.contentRange, len(c.want))
		}
	}
}

func TestMultipartRanges(t *testing.T) {
	body := text(10_000)
	s, r := newTestStore(Rules{})
	get(t, s, r, request("GET http://bank.example/x", ""), at(0), says(answer{fields: "Cache-Control: max-age=60\nContent-Type: text/plain", body: body}))
	x := request("GET http://bank.example/x", "Range: bytes=5000-5009, 0-4, -10")
	var u Use
	if act := s.Lookup(&u, x, r, nil, at(1)); act != Hit || x.Response.Status != 206 {
		t.Fatalf("action %d, status %d", act, x.Response.Status)
	}
	length := x.Response.Length
	all := readBody(t, x.Response.Body)
	if int64(len(all)) != length {
		t.Errorf("%d bytes where %d were announced", len(all), length)
	}
	_, params, err := mime.ParseMediaType(string(x.Response.Header.Get(message.ContentType)))
	if err != nil {
		t.Fatal(err)
	}
	want := []struct{ contentRange, body string }{
		{"bytes 5000-5009/10000", body[5000:5010]}, {"bytes 0-4/10000", body[:5]}, {"bytes 9990-9999/10000", body[9990:]},
	}
	parts := multipart.NewReader(strings.NewReader(all), params["boundary"])
	for _, w := range want {
		p, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(p)
		if string(got) != w.body || p.Header.Get("Content-Range") != w.contentRange || p.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("part %q %q of type %q", p.Header.Get("Content-Range"), got, p.Header.Get("Content-Type"))
		}
	}
	if _, err := parts.NextPart(); err != io.EOF {
		t.Errorf("after the last part: %v", err)
	}
}

// FuzzRange: whatever is asked for, what is served lies within the body, and never costs more than a few times the body.
func FuzzRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-1", "bytes=-5", "bytes=1-,2-,3-", "bytes=9-1", "bytes=0-0,50-50,99-99", "x=1"} {
		f.Add([]byte(seed), uint16(100))
	}
	f.Fuzz(func(t *testing.T, value []byte, n uint16) {
		if !message.ValidValue(value) {
			return
		}
		body := bytes.Repeat([]byte("0123456789"), int(n)/10+1)
		e := &Entry{status: 200, chunks: [][]byte{body[:len(body)/2], body[len(body)/2:]}, length: int64(len(body))}
		x := new(message.Exchange)
		x.Reset()
		x.Request.Method = message.Method{Known: message.GET}
		x.Request.Header.Add(message.Range.Name(), value)
		e.give(x, at(0))
		giveRanges(x, e, at(0))
		got, err := drain(x.Response.Body)
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(got)) != x.Response.Length {
			t.Fatalf("%d bytes where %d were announced", len(got), x.Response.Length)
		}
		if len(got) > 2*len(body)+200 {
			t.Fatalf("%d bytes for a body of %d", len(got), len(body))
		}
		switch x.Response.Status {
		case 200:
			if got != string(body) {
				t.Fatalf("the whole is not the body")
			}
		case 206:
			if x.Response.Header.Has(message.ContentRange) && !bytes.Contains(body, []byte(got)) {
				t.Fatalf("%q is no part of the body", got)
			}
		case 416:
		default:
			t.Fatalf("status %d", x.Response.Status)
		}
	})
}
