//go:build !race

package cache

import (
	"strconv"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/message"
)

// warm stores one answer and returns the exchange to ask for it with.
func warm(t testing.TB, fields, answerFields string, size int) (*Store, *Rules, *message.Exchange) {
	t.Helper()
	s, r := newTestStore(Rules{})
	body := strings.Repeat("b", size)
	x := request("GET http://bank.example/rates/EUR?from=USD", fields)
	if got := get(t, s, r, x, at(0), says(answer{fields: answerFields + dated("Date", 0), body: body})); got.body != body {
		t.Fatalf("body of %d bytes", len(got.body))
	}
	x.Reset()
	return s, r, x
}

const commonAnswer = `Cache-Control: max-age=3600
Content-Type: application/json
ETag: "5f7b2ed74a97"
Server: rates/1.4
X-Content-Type-Options: nosniff
`

// hitter asks for the stored answer again and again.
func hitter(t testing.TB, s *Store, r *Rules, x *message.Exchange, fields string) func() {
	var u Use
	line := "GET http://bank.example/rates/EUR?from=USD"
	ask(x, line, fields)
	var q message.Header
	q.CopyFrom(&x.Request.Header)
	host, path, query := x.Request.Host, x.Request.Path, x.Request.Query
	return func() {
		x.Reset()
		x.Request.Method = message.Method{Known: message.GET}
		x.Request.Scheme, x.Request.Host, x.Request.Path, x.Request.Query = "http", host, path, query
		x.Request.Header.CopyFrom(&q)
		u = Use{}
		if act := s.Lookup(&u, x, r, nil, at(10)); act != Hit {
			t.Fatalf("action %d", act)
		}
	}
}

func TestHitDoesNotAllocate(t *testing.T) {
	for _, c := range []struct{ name, request, answer string }{
		{"plain", "Accept: */*\nUser-Agent: test", commonAnswer},
		{"vary", "Accept-Encoding: gzip, br\nAccept-Language: de, en", commonAnswer + "Vary: Accept-Encoding, Accept-Language\n"},
		{"request control", "Cache-Control: max-age=600", commonAnswer},
		{"not modified", "If-None-Match: \"5f7b2ed74a97\"", commonAnswer},
		{"not modified since", "If-Modified-Since: Sun, 06 Nov 2050 08:49:37 GMT", strings.Replace(commonAnswer, "ETag", "X-Tag", 1)},
	} {
		asked := c.request
		if strings.HasPrefix(asked, "If-") {
			asked = "" // whoever asks so has the answer already, and gets no body
		}
		s, r, x := warm(t, asked, c.answer, 1024)
		f := hitter(t, s, r, x, c.request)
		f()
		if n := testing.AllocsPerRun(200, f); n != 0 {
			t.Errorf("%s: %v allocations for a hit", c.name, n)
		}
	}
}

func BenchmarkHit1KiB(b *testing.B) {
	for _, c := range []struct{ name, request, answer string }{
		{"plain", "Accept: */*\nUser-Agent: test", commonAnswer},
		{"vary", "Accept-Encoding: gzip, br\nUser-Agent: test", commonAnswer + "Vary: Accept-Encoding\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			s, r, x := warm(b, c.request, c.answer, 1024)
			f := hitter(b, s, r, x, c.request)
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}

func BenchmarkHitParallel(b *testing.B) {
	s, r, _ := warm(b, "", commonAnswer, 1024)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		x := new(message.Exchange)
		x.Reset()
		f := hitter(b, s, r, x, "Accept: */*")
		for pb.Next() {
			f()
		}
	})
}

// BenchmarkMiss is a miss with its flight, its fill and its eviction, but for what the origin costs.
func BenchmarkMiss(b *testing.B) {
	s := NewStore(4 << 20)
	r := NewRules(Rules{Namespace: s.NewNamespace(nil)}, "")
	body := []byte(strings.Repeat("b", 1024))
	fields := fieldsOf(commonAnswer)
	x, y := new(message.Exchange), new(message.Exchange)
	x.Reset()
	y.Reset()
	ask(x, "GET http://bank.example/rates/EUR", "Accept: */*")
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		x.Request.Path = strconv.AppendInt(append(x.Request.Path[:0], "/rates/"...), int64(n), 10)
		x.Response.Header.Reset()
		var u Use
		if act := s.Lookup(&u, x, r, nil, at(0)); act != Lead {
			b.Fatalf("action %d", act)
		}
		y.Response.Header.CopyFrom(fields)
		y.Fixed.Reset(body)
		y.Response.Status, y.Response.Body, y.Response.Length = 200, &y.Fixed, int64(len(body))
		u.Flight().Fill(y, at(0))
		if v, _ := u.Wait(x); v != Served {
			b.Fatalf("verdict %d", v)
		}
		x.Response.Body.Close()
	}
}
